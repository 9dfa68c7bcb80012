"""Bit-level descriptors of ISO/IEC 15938-17 headers, and the two interpreters of a syntax description.

A description is a function `structure(s, m)`: it names the elements of a structure in the standard's order, with their
conditions, as `m.element = s.u("element", bits, m.element)`. `Reader` returns what the bits say and ignores the given
value; `Writer` writes the given value and returns it. With a trace, a reader also notes every element's place.

This is not `vsei.syntax`: this package knows nothing of video bitstreams, and the descriptors differ (exp-Golomb codes
with a start order, little-endian floats, an alignment that costs a byte when there is nothing to align).
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple, Protocol, TypeVar

from nnpf.nnc.errors import NncError

T = TypeVar("T")

# ue(k) of a value that fits 64 bits never needs more; a run of zeros must not make the reader build huge integers.
MAX_GOLOMB_ORDER = 63


class TraceEntry(NamedTuple):
    """One element as it stands in the payload; `position` and `length` in bits."""

    element: str
    position: int
    length: int
    value: int | float | str | bytes


class Syntax(Protocol):
    """What a description may say. Every method takes the element's name and the value to write."""

    reading: bool

    def u(self, name: str, bits: int, value: int) -> int:
        """u(n): unsigned, most significant bit first"""

    def i(self, name: str, bits: int, value: int) -> int:
        """i(n): two's complement"""

    def ue(self, name: str, order: int, value: int) -> int:
        """ue(k): exp-Golomb code that starts with order k"""

    def ie(self, name: str, order: int, value: int) -> int:
        """ie(k): the same, signed: 0, 1, -1, 2, -2 ... are coded as 0, 1, 2, 3, 4 ..."""

    def st(self, name: str, value: str) -> str:
        """st(v): UTF-8 and a zero byte; starts byte-aligned"""

    def flt(self, name: str, value: float) -> float:
        """flt(32): IEEE 754, least significant byte first"""

    def octets(self, name: str, count: int, value: bytes) -> bytes:
        """u(8 * count), kept as bytes"""

    def rest(self, name: str, value: bytes) -> bytes:
        """all bytes up to the end of the unit"""

    def align(self) -> None:
        """a one bit, then zero bits to the next byte boundary; a whole byte where already aligned"""

    def each(self, count: int, values: Sequence[T], default: T) -> Iterable[T]:
        """The values to pass for an array of `count` elements, whichever way this goes"""

    def fail(self, name: str, problem: str) -> NncError:
        """The error to raise where a value makes it impossible to go on"""


class Reader:
    """Bits to values, from byte `start` to byte `end` of `data`."""

    reading = True

    def __init__(self, data: bytes, start: int, end: int, trace: list[TraceEntry] | None = None) -> None:
        self.data = data
        self.position = start * 8
        self.end = end * 8
        self.trace = trace

    def fail(self, name: str, problem: str) -> NncError:
        return NncError(problem, offset=self.position >> 3, field=name)

    @property
    def byte_position(self) -> int:
        """The next byte; the position must be aligned."""
        if self.position & 7:
            raise self.fail("", "a whole byte should start here")
        return self.position >> 3

    def _bits(self, name: str, count: int) -> int:
        position, end = self.position, self.position + count
        if end > self.end:
            raise self.fail(name, f"{count} bits wanted, {self.end - position} left in the unit")
        last = (end + 7) >> 3
        value = int.from_bytes(self.data[position >> 3 : last], "big") >> ((last << 3) - end)
        self.position = end
        return value & ((1 << count) - 1)

    def _note(self, name: str, start: int, value: int | float | str | bytes) -> None:
        if self.trace is not None:
            self.trace.append(TraceEntry(name, start, self.position - start, value))

    def u(self, name: str, bits: int, value: int = 0) -> int:
        start = self.position
        found = self._bits(name, bits)
        self._note(name, start, found)
        return found

    def i(self, name: str, bits: int, value: int = 0) -> int:
        start = self.position
        found = self._bits(name, bits)
        found -= (found >> (bits - 1)) << bits
        self._note(name, start, found)
        return found

    def _golomb(self, name: str, order: int) -> int:
        base = 0
        while not self._bits(name, 1):
            base += 1 << order
            order += 1
            if order > MAX_GOLOMB_ORDER:
                raise self.fail(name, "an exp-Golomb code longer than any that is in use")
        return base + self._bits(name, order)

    def ue(self, name: str, order: int, value: int = 0) -> int:
        start = self.position
        found = self._golomb(name, order)
        self._note(name, start, found)
        return found

    def ie(self, name: str, order: int, value: int = 0) -> int:
        start = self.position
        mapped = self._golomb(name, order)
        found = (mapped + 1) >> 1 if mapped & 1 else -(mapped >> 1)
        self._note(name, start, found)
        return found

    def st(self, name: str, value: str = "") -> str:
        start = self.position
        if start & 7:
            raise self.fail(name, "st(v) that is not byte-aligned")
        first = start >> 3
        stop = self.data.find(b"\0", first, self.end >> 3)
        if stop < 0:
            raise self.fail(name, "st(v) without its closing zero byte")
        try:
            found = self.data[first:stop].decode("utf-8")
        except UnicodeDecodeError:
            raise self.fail(name, "st(v) that is not UTF-8") from None
        self.position = (stop + 1) * 8
        self._note(name, start, found)
        return found

    def flt(self, name: str, value: float = 0.0) -> float:
        start = self.position
        found: float = struct.unpack("<f", self._bits(name, 32).to_bytes(4, "big"))[0]
        if found != found:
            raise self.fail(name, "not a number")
        self._note(name, start, found)
        return found

    def octets(self, name: str, count: int, value: bytes = b"") -> bytes:
        start = self.position
        found = self._bits(name, 8 * count).to_bytes(count, "big")
        self._note(name, start, found)
        return found

    def rest(self, name: str, value: bytes = b"") -> bytes:
        start = self.position
        found = self.data[self.byte_position : self.end >> 3]
        self.position = self.end
        self._note(name, start, found)
        return found

    def align(self) -> None:
        count = 8 - (self.position & 7)
        if self._bits("byte_alignment", count) != 1 << (count - 1):
            raise self.fail("byte_alignment", "these bits should be a one and zeros")

    def each(self, count: int, values: Sequence[T], default: T) -> Iterator[T]:
        # Every element costs at least a bit; a count beyond that is damage and must not start a long loop.
        if count > self.end - self.position:
            raise self.fail("", f"{count} elements announced, {self.end - self.position} bits left in the unit")
        return iter([default] * count)


class Writer:
    """Values to bits. A value that does not fit its descriptor is an error."""

    reading = False

    def __init__(self) -> None:
        self._done = bytearray()
        self._pending = 0
        self._count = 0

    def fail(self, name: str, problem: str) -> NncError:
        return NncError(problem, field=name)

    @property
    def position(self) -> int:
        """Bits written so far."""
        return 8 * len(self._done) + self._count

    def octets_written(self) -> bytes:
        """Everything written; must be byte-aligned."""
        if self._count:
            raise self.fail("", f"{self._count} bits beyond a whole number of bytes")
        return bytes(self._done)

    def _bits(self, count: int, value: int) -> None:
        self._pending = (self._pending << count) | value
        self._count += count
        rest = self._count & 7
        self._done += (self._pending >> rest).to_bytes(self._count >> 3, "big")
        self._pending &= (1 << rest) - 1
        self._count = rest

    def u(self, name: str, bits: int, value: int) -> int:
        if not 0 <= value < 1 << bits:
            raise self.fail(name, f"{value} does not fit in {bits} bits")
        self._bits(bits, value)
        return value

    def i(self, name: str, bits: int, value: int) -> int:
        if not -(1 << (bits - 1)) <= value < 1 << (bits - 1):
            raise self.fail(name, f"{value} does not fit in {bits} signed bits")
        self._bits(bits, value & ((1 << bits) - 1))
        return value

    def ue(self, name: str, order: int, value: int) -> int:
        rest = value
        if rest < 0:
            raise self.fail(name, f"{value} is negative")
        while rest >= 1 << order:
            rest -= 1 << order
            order += 1
            if order > MAX_GOLOMB_ORDER:
                raise self.fail(name, f"{value} is too large")
            self._bits(1, 0)
        self._bits(order + 1, (1 << order) | rest)
        return value

    def ie(self, name: str, order: int, value: int) -> int:
        self.ue(name, order, 2 * value - 1 if value > 0 else -2 * value)
        return value

    def st(self, name: str, value: str) -> str:
        if self._count:
            raise self.fail(name, "st(v) that is not byte-aligned")
        if "\0" in value:
            raise self.fail(name, f"{value!r} has a zero byte inside")
        try:
            self._done += value.encode("utf-8") + b"\0"
        except UnicodeEncodeError:
            raise self.fail(name, f"{value!r} cannot be written as UTF-8") from None
        return value

    def flt(self, name: str, value: float) -> float:
        try:
            self._bits(32, int.from_bytes(struct.pack("<f", value), "big"))
        except OverflowError:
            raise self.fail(name, f"{value} does not fit in a float") from None
        return value

    def octets(self, name: str, count: int, value: bytes) -> bytes:
        if len(value) != count:
            raise self.fail(name, f"{count} bytes wanted, {len(value)} given")
        self._bits(8 * count, int.from_bytes(value, "big"))
        return value

    def rest(self, name: str, value: bytes) -> bytes:
        if self._count:
            raise self.fail(name, "bytes that are not byte-aligned")
        self._done += value
        return value

    def align(self) -> None:
        count = 8 - self._count
        self._bits(count, 1 << (count - 1))

    def each(self, count: int, values: Sequence[T], default: T) -> Iterator[T]:
        if len(values) != count:
            raise self.fail("", f"{count} elements wanted, {len(values)} given")
        return iter(values)
