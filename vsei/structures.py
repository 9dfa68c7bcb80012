"""Parameter sets and headers of a stream as element lists, for whichever codec: what `dump --trace` shows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from vsei.annexb import rbsp
from vsei.errors import VseiError
from vsei.nal import Codec, NalHeader
from vsei.syntax import OutOfRange, Reader, Syntax, TraceEntry, Values

# A slice header is looked for in so many bytes first, so that the slice data need not be copied. Few are longer.
SLICE_HEADER_BYTES = 192


@dataclass(frozen=True, slots=True)
class Structure:
    """What one NAL unit says.

    Attributes:
        name: of the structure, in the standard's words: `seq_parameter_set_rbsp`, `slice_header`, ...
        values: its elements; those of the NAL unit header in the structure `nal_unit_header`.
        out_of_range: elements outside the standard's range.
        bits: length in the RBSP, NAL unit header and closing bits included; slice data come after it.
        unread_bits: of the RBSP after the closing bits; 0 except in broken parameter sets and headers.
    """

    name: str
    values: Values
    out_of_range: tuple[OutOfRange, ...]
    bits: int
    unread_bits: int = 0


class HeaderState(Protocol):
    """What the headers of a stream refer to, kept up to date NAL unit by NAL unit, in decoding order."""

    def read(
        self, header: NalHeader, data: bytes | memoryview, trace: list[TraceEntry] | None = None
    ) -> Structure | None:
        """What a NAL unit says, element by element, from its header on; None for types without a description.

        Parameter sets and picture headers come into force. Bit positions count from the first bit of the NAL unit,
        emulation prevention bytes left out.

        Raises:
            VseiError: the NAL unit ends too early, refers to a set that has not come, or makes no sense. `trace` then
                holds the elements before the fault.
        """

    def describe(self, s: Syntax) -> object:
        """The description of a NAL unit, from its header to its closing bits (of a slice: to those of its header)."""


def header_state(codec: Codec) -> HeaderState:
    """For a stream of this codec, before its first NAL unit."""
    # Imported here: most streams need only one of them.
    if codec is Codec.VVC:
        from vsei.vvc import nal_units as vvc

        return vvc.HeaderState()
    if codec is Codec.HEVC:
        from vsei.hevc import nal_units as hevc

        return hevc.HeaderState()
    from vsei.avc import nal_units as avc

    return avc.HeaderState()


T = TypeVar("T")


def run(
    description: Callable[[Syntax], T],
    data: bytes | memoryview,
    *,
    is_slice: bool,
    first_bit: int = 0,
    trace: list[TraceEntry] | None = None,
) -> tuple[Reader, T]:
    """Read a NAL unit. A slice header is read from the first bytes, or from all of them where those do not suffice."""
    before = len(trace) if trace is not None else 0
    if is_slice and len(data) > SLICE_HEADER_BYTES:
        reader = Reader(rbsp(data[:SLICE_HEADER_BYTES]), first_bit, trace=trace)
        try:
            return reader, description(reader)
        except VseiError:  # perhaps only because it was cut
            if trace is not None:
                del trace[before:]
    reader = Reader(rbsp(data), first_bit, trace=trace)
    return reader, description(reader)


def structure_of(name: str, reader: Reader, *, is_slice: bool) -> Structure:
    """What a reader has found, when it has come to the end of the description."""
    unread = 0 if is_slice else reader.source.remaining
    return Structure(name, reader.values, tuple(reader.out_of_range), reader.position, unread)


class ParsedSets(Generic[T]):
    """Parameter sets by their bytes: streams repeat them often, and they are parsed only once."""

    MAX = 512  # at a time, H.264 allows 32 SPSs and 256 PPSs, the others less; their content may change on the way

    def __init__(self) -> None:
        self._found: dict[bytes, T] = {}

    def get(self, data: bytes | memoryview, parse: Callable[[], T]) -> T:
        """The parameter set of a NAL unit; `parse` is asked for one that is new."""
        key = bytes(data)
        found = self._found.get(key)
        if found is None:
            found = parse()
            if len(self._found) >= self.MAX:
                self._found.clear()
            self._found[key] = found
        return found
