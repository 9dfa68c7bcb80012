"""Random structures from their own descriptions, at the bit level, and FFmpeg as the witness that they are right."""

import random
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from copy import deepcopy

import av

from tests.vsei.ffmpeg_trace import Element, trace_of_packets
from vsei.annexb import escape, rbsp
from vsei.bits import BitWriter
from vsei.errors import VseiError
from vsei.nal import Codec, read_header
from vsei.structures import Structure, header_state
from vsei.syntax import Key, TraceEntry, Values, key_of, subscripted, write

Choice = int | Callable[["Invented"], int]


class Invented:
    """Interprets a description by inventing values within their ranges; `values` and `target` then hold them.

    `choices` gives elements their value, or a function that finds one. Numbers stay small most of the time: so do the
    structures, and relations between elements hold more often.
    """

    def __init__(self, rng: random.Random, choices: Mapping[str, Choice]) -> None:
        self.rng = rng
        self.choices = choices
        self.values = Values()
        self.target = BitWriter()

    def __getitem__(self, key: Key) -> int:
        return self.values[key]

    @property
    def position(self) -> int:
        return self.target.pos

    def _int(self, name: str, index: tuple[int, ...], low: int, high: int) -> int:
        choice = self.choices.get(name)
        if choice is None:
            near = self.rng.choice((1, 3, 20))
            value = self.rng.randint(max(low, -near), max(low, min(high, near)))
        else:
            value = max(low, min(high, choice(self) if callable(choice) else choice))
        self.values.present[key_of(name, index)] = value
        return value

    def u(self, n: int, name: str, *index: int, min: int = 0, max: int | None = None) -> int:
        value = self._int(name, index, min, (1 << n) - 1 if max is None else max)
        self.target.u(n, value)
        return value

    def flag(self, name: str, *index: int) -> int:
        return self.u(1, name, *index)

    def i(self, n: int, name: str, *index: int) -> int:
        value = self._int(name, index, -(1 << (n - 1)), (1 << (n - 1)) - 1)
        self.target.u(n, value & ((1 << n) - 1))
        return value

    def ue(self, name: str, *index: int, min: int = 0, max: int = 2**32 - 2) -> int:
        value = self._int(name, index, min, max)
        self.target.ue(value)
        return value

    def se(self, name: str, *index: int, min: int = -(2**31) + 1, max: int = 2**31 - 1) -> int:
        value = self._int(name, index, min, max)
        self.target.se(value)
        return value

    def bits(self, n: int, name: str, *index: int) -> str:
        value = "".join(self.rng.choice("01") for _ in range(n))
        self.values.present[key_of(name, index)] = value
        if n:
            self.target.u(n, int(value, 2))
        return value

    def fixed(self, n: int, name: str, value: int) -> None:
        self.target.u(n, value)

    def align(self, name: str, bit: int = 0) -> None:
        while not self.target.aligned:
            self.target.u(1, bit)

    def infer(self, name: str, value: int, *index: int) -> int:
        self.values.inferred[key_of(name, index)] = value
        return value

    @contextmanager
    def structure(self, name: str, *index: int) -> Iterator[None]:
        outer, inner = self.values, Values()
        outer.present[key_of(name, index)] = inner
        self.values = inner
        try:
            yield
        finally:
            self.values = outer

    def extension(self, name: str, end: int | None = None) -> str:
        # Where the end is given, the closing bits (a one, then zeros up to a byte boundary) must reach it.
        room = self.rng.randint(0, 9) if end is None else end - self.position - self.rng.randint(1, 8)
        return self.bits(room, name) if room > 0 else ""

    def fail(self, name: str, problem: str) -> VseiError:
        return VseiError(problem, element=subscripted(name, ()))

    def more_rbsp_data(self, key: str) -> bool:
        return self.rng.random() < 0.5


def up_to(high: int, low: int = 0) -> Choice:
    return lambda s: s.rng.randint(low, high)


def nth(name: str) -> Choice:
    """0, 1, 2, ... for the elements of an array"""
    return lambda s: sum(key[0] == name for key in s.values.present)


class InventedStream:
    """The NAL units of one invented stream: `choices` make its parts fit together.

    Each NAL unit is read, written back and read by FFmpeg, and everybody has to agree. An invention that FFmpeg refuses
    (values that do not go together) is compared up to the refused element, and another one is tried.
    """

    ATTEMPTS = 100

    def __init__(self, seed: int, codec: Codec, template: av.VideoStream) -> None:
        self.rng = random.Random(seed)
        self.codec = codec
        self.state = header_state(codec)
        self.template = template
        self.bsf = av.bitstream.BitStreamFilterContext("trace_headers", template)
        self.accepted: Counter[str] = Counter()  # elements that FFmpeg read alike, without subscripts
        self.choices: dict[str, Choice] = {}

    def ours(self, trace: list[TraceEntry]) -> list[Element]:
        """A trace in FFmpeg's words."""
        raise NotImplementedError

    def theirs(self, elements: list[Element]) -> list[Element]:
        """FFmpeg's trace, where one of our elements is several lines there."""
        raise NotImplementedError

    def add(self, kind: int, slice_data: bytes = b"", **choices: Choice) -> bool:
        """Invent a NAL unit that FFmpeg takes. False: none was found."""
        for _ in range(self.ATTEMPTS):
            invented = Invented(self.rng, {**self.choices, **choices, "nal_unit_type": kind})
            before = deepcopy(self.state)
            try:
                self.state.describe(invented)
            except VseiError:
                continue  # a dead end, as tiles that are larger than the picture
            if slice_data:
                invented.fixed(-invented.position % 8, "slice_data", 0)
            if self._compare(invented, slice_data):
                return True
            self.state = before
        return False

    def _compare(self, invented: Invented, slice_data: bytes) -> bool:
        data = escape(invented.target.bytes() + slice_data)
        trace: list[TraceEntry] = []
        structure = self.state.read(read_header(self.codec, data), data, trace)
        assert isinstance(structure, Structure)
        assert structure.values == invented.values
        assert structure.out_of_range == ()
        assert structure.unread_bits == 0
        written = write(self.state.describe, structure.values).target
        written.u(-written.pos % 8, 0)
        assert written.bytes() + slice_data == rbsp(data)

        ((_, theirs),) = trace_of_packets([av.Packet(b"\0\0\0\1" + data)], self.template, self.bsf)
        theirs, ours = self.theirs(theirs), self.ours(trace)
        for our_element, their_element in zip(ours, theirs, strict=False):
            assert our_element == their_element, f"{our_element} is {their_element} to FFmpeg"
        if len(theirs) < len(ours):
            return False
        self.accepted.update(re.sub(r"\[.*", "", e.element) for e in trace)
        return True
