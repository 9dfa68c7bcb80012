"""Messages put into a stream while it is copied: what `vsei.edit.inject` does, at the speed of the disk.

Nothing is made of the NAL units between the places where messages go: they are looked for with `vsei.outline`, and
what lies between is copied in large pieces. Memory holds a few megabytes, whatever the stream.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from vsei import limits
from vsei.annexb import START_CODE
from vsei.edit import LONG_START_CODE, NNPF_TYPES, Inserted, Placement, Tell, nal_unit_of, refuse_existing, wanted_at
from vsei.errors import VseiError
from vsei.grouping import MAX_GROUP_BYTES
from vsei.nal import Codec, NalHeader, read_header
from vsei.nested import NESTING_TYPES
from vsei.outline import LOOK_AHEAD, Outline, SeeSei
from vsei.sei import TRAILING_BITS

# Large enough for the loop around a block to cost nothing.
BLOCK_BYTES = 4 << 20
_FEW = 64


class Source(Protocol):
    """Where bytes come from: a file or a pipe, opened for reading."""

    def readinto1(self, buffer: memoryview, /) -> int:
        """Fill some of `buffer`; 0 is the end."""


class Target(Protocol):
    """Where bytes go."""

    def write(self, data: memoryview | bytes, /) -> object:
        """Write all of `data`."""


@dataclass(frozen=True, slots=True)
class Spliced:
    """What came of it.

    Attributes:
        bytes_in, bytes_out: length of the streams.
        pictures: coded pictures of the stream, where they were counted.
    """

    bytes_in: int
    bytes_out: int
    pictures: int | None


def splice(
    source: Source,
    target: Target,
    codec: Codec,
    placements: Sequence[Placement],
    decided: Sequence[frozenset[int]] | None = None,
    *,
    keep_existing: bool = False,
    tell: Tell | None = None,
    count: bool = True,
    advance: Callable[[int], None] | None = None,
    head: bytes = b"",
) -> Spliced:
    """Copy a stream and put messages in, as `vsei.edit.inject` does.

    Args:
        placements: of prefix SEI messages.
        decided: as for `inject`.
        keep_existing: let NNPFC and NNPFA messages that the stream has already stand, instead of refusing them.
        tell: called for each message put in.
        count: count the pictures. Without, it is faster, and decode indices that are told mean nothing.
        advance: called with the number of bytes read, again and again.
        head: the first bytes of the stream, where they were read already.

    Raises:
        VseiError: the stream has such messages; it has no start code, or too much before a picture comes.
    """
    if any(placement.suffix for placement in placements):
        raise ValueError("suffix SEI goes behind the slices, which are not looked at here")
    every = decided is not None or any(p.pictures.kind in ("all", "decode") for p in placements)
    outline = Outline(codec, every=every, count=count, see_sei=None if keep_existing else _refuse(codec))
    buffer = bytearray(max(BLOCK_BYTES, 2 * len(head)))
    buffer[: len(head)] = head
    filled = len(head)  # bytes of the stream in the buffer
    base = 0  # offset of the first of them
    scanned = 0
    bytes_out = 0
    built: dict[tuple[int, int, int], bytes] = {}  # NAL units, by placement, layer and temporal id
    more = True
    while more:
        if len(buffer) - filled < max(BLOCK_BYTES // 2, LOOK_AHEAD):
            if len(buffer) >= MAX_GROUP_BYTES:
                raise VseiError(f"{filled} bytes, and no picture", offset=base)
            buffer.extend(bytes(len(buffer)))
        with memoryview(buffer) as view, view[filled : len(buffer) - LOOK_AHEAD] as free:
            got = source.readinto1(free)
        more = got > 0
        filled += got
        if advance is not None and more:
            advance(got)
        if not more:
            buffer[filled : filled + LOOK_AHEAD] = bytes(LOOK_AHEAD)
        places, scanned = outline.scan(buffer, base, scanned, filled if more else filled + LOOK_AHEAD)
        if not more:
            outline.finish(buffer, base, filled)
        inserted: list[tuple[int, bytes]] = []  # where in the buffer, what
        for offset, start in places:
            at = offset - base
            for placement in wanted_at(start, placements, decided):
                key = id(placement), start.layer_id, start.temporal_id
                if key not in built:
                    built[key] = nal_unit_of(placement, codec, start)
                inserted.append((at, (LONG_START_CODE if buffer[at + 2] == 0 else START_CODE) + built[key]))
                if tell is not None:
                    tell(Inserted(start, placement.message))
        if not outline.started and base + filled > (limits.current().leading_bytes if more else 0):
            raise VseiError("no start code; not an Annex B byte stream", offset=0)
        settled = min(outline.settled - base, filled) if more else filled
        bytes_out += _write(target, buffer, settled, inserted)
        buffer[: filled - settled] = buffer[settled:filled]
        base, filled, scanned = base + settled, filled - settled, scanned - settled
    return Spliced(base, bytes_out, outline.pictures if count else None)


def _write(target: Target, buffer: bytearray, end: int, inserted: Sequence[tuple[int, bytes]]) -> int:
    """Write the start of a buffer with what is inserted. Returns the number of bytes."""
    written = 0
    with memoryview(buffer) as view:
        parts: list[memoryview | bytes] = []
        for at, data in inserted:
            parts += [view[written:at], data]
            written = at
        parts.append(view[written:end])
        # Pieces go out as they are while they are large; many small ones cost less in one.
        for part in parts if len(parts) <= _FEW else [b"".join(parts)]:
            target.write(part)
        for part in parts:
            if isinstance(part, memoryview):
                part.release()
    return end + sum(len(data) for _, data in inserted)


def _refuse(codec: Codec) -> SeeSei:
    """What raises VseiError where an SEI NAL unit holds NNPFC or NNPFA messages."""
    size = NalHeader(codec, 0).size
    doubtful = NNPF_TYPES | NESTING_TYPES | {255}
    ending = TRAILING_BITS[0]

    def see(offset: int, buffer: bytes | bytearray, begin: int, end: int) -> None:
        begin += 3 if buffer[begin + 2] else 4
        # Most hold one message of another kind, and end where this says: these need not be parsed.
        at = begin + size
        if at + 1 < end and buffer[at] not in doubtful and buffer[at + 1] < 255:
            last = at + 2 + buffer[at + 1]
            zeros = end - last - 1
            if (zeros == 0 or (zeros == 1 and not buffer[end - 1])) and buffer[last] == ending:
                return
        data = bytes(buffer[begin:end]).rstrip(b"\0")
        try:
            header = read_header(codec, data)
        except VseiError:
            return  # as the outline has it, too
        refuse_existing(header, data, offset)

    return see
