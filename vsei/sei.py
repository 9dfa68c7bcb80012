"""SEI RBSPs: the messages of one SEI NAL unit (H.266 7.3.2.12 and 7.3.6, the same in H.265 and H.264)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from vsei import syntax
from vsei.annexb import escape, rbsp
from vsei.errors import VseiError
from vsei.nal import NalHeader
from vsei.syntax import Syntax


@dataclass(frozen=True, slots=True)
class SeiMessage:
    """sei_message(): the payload's type and its bytes, uninterpreted."""

    payload_type: int
    payload: bytes

    @property
    def size(self) -> int:
        """Bytes of the whole sei_message(), type and size included."""
        return self.payload_type // 255 + 1 + len(self.payload) // 255 + 1 + len(self.payload)


TRAILING_BITS = b"\x80"  # rbsp_trailing_bits() of an RBSP that is byte-aligned, as an SEI RBSP always is


@dataclass(frozen=True, slots=True)
class SeiNalUnit:
    """What an SEI NAL unit holds.

    Attributes:
        messages: in order.
        positions: byte position of each message in the NAL unit without emulation prevention.
        tail: the bytes after the last message; TRAILING_BITS in a proper stream.
        problem: why reading stopped before the end, if it did; the bytes not understood are in `tail`.
    """

    header: NalHeader
    messages: tuple[SeiMessage, ...]
    positions: tuple[int, ...]
    tail: bytes = TRAILING_BITS
    problem: VseiError | None = None


def sei_message(s: Syntax, *index: int) -> None:
    """sei_message(), its payload as bytes"""
    s.ff("payload_type", *index)
    s.b(s.ff("payload_size", *index), "payload", *index)


def parse(header: NalHeader, nal_unit: bytes | memoryview) -> SeiNalUnit:
    """The messages of an SEI NAL unit (`nal_unit` as in the stream, emulation prevention included). Never raises."""
    data = rbsp(nal_unit)
    reader = syntax.Reader(data, header.size * 8)
    source = reader.source
    stop = source.last_one_bit()
    messages: list[SeiMessage] = []
    positions: list[int] = []
    problem = None
    start = source.pos
    while source.pos < stop:
        start = source.pos
        try:
            sei_message(reader)
        except VseiError as error:
            problem = error
            source.pos = start
            break
        values = reader.values.present
        messages.append(SeiMessage(reader.values["payload_type"], bytes(values["payload"])))  # type: ignore[arg-type]
        positions.append(start >> 3)
    tail = data[source.pos >> 3 :]
    if problem is None and not messages:
        problem = VseiError("SEI NAL unit without a message", bit=start)
    elif problem is None and tail != TRAILING_BITS:
        problem = VseiError("the SEI RBSP does not end in rbsp_trailing_bits", bit=source.pos)
    return SeiNalUnit(header, tuple(messages), tuple(positions), tail, problem)


def build(header: NalHeader, messages: Iterable[SeiMessage], tail: bytes = TRAILING_BITS) -> bytes:
    """An SEI NAL unit, emulation prevention included; the reverse of `parse`."""
    out = bytearray(header.to_bytes())
    for message in messages:
        for number in (message.payload_type, len(message.payload)):
            out += b"\xff" * (number // 255) + bytes([number % 255])
        out += message.payload
    return escape(bytes(out + tail))
