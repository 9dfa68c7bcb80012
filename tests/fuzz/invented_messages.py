"""SEI payloads invented from their own descriptions: every branch of the syntax is somewhere near one of them."""

from __future__ import annotations

import random

from tests.vsei.invented import Invented
from vsei import messages
from vsei.errors import VseiError
from vsei.nal import Codec
from vsei.syntax import key_of

ATTEMPTS = 50


class InventedMessage(Invented):
    """What messages have besides numbers: strings, bytes, and data to the end of the payload."""

    def b(self, n: int, name: str, *index: int) -> bytes:
        value = self.rng.randbytes(min(n, 1000))
        self.values.present[key_of(name, index)] = value
        self.target.raw(value)
        return value

    def st(self, name: str, *index: int) -> str:
        value = self.rng.choice(("", "tag:onnx.ai,2017:onnx", "file:f.onnx", "ä€"))
        self.values.present[key_of(name, index)] = value
        self.target.raw(value.encode() + b"\0")
        return value

    def ff(self, name: str, *index: int) -> int:
        value = self._int(name, index, 0, 300)
        self.target.raw(b"\xff" * (value // 255) + bytes([value % 255]))
        return value

    def rest(self, name: str) -> bytes:
        return self.b(self.rng.randint(0, 20), name)

    def more_data(self, key: str) -> bool:
        return self.rng.random() < 0.5

    def upcoming(self, key: object) -> None:
        return None


def invented_payload(rng: random.Random, payload_type: int, codec: Codec) -> bytes:
    """A payload of this type that mostly makes sense; zeros where none is found."""
    kind = messages.kind(payload_type, codec)
    assert kind is not None
    for _ in range(ATTEMPTS):
        # Small numbers of everything that is counted.
        invented = InventedMessage(rng, {"payload_type": lambda s: s.rng.choice((1, 5, 137, 144, 210, 211))})
        try:
            kind.description(invented)
        except VseiError:
            continue
        if not invented.target.aligned:
            invented.target.u(1, 1)
            invented.target.u(-invented.target.pos % 8, 0)
        return invented.target.bytes()
    return bytes(24)
