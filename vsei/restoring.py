"""What was taken out of a stream, exactly enough to put it back: every byte is as it was.

`vsei.edit.strip` tells what it takes; `restore` puts it into the stripped stream.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from vsei import sei
from vsei.annexb import START_CODE, NalUnit
from vsei.errors import VseiError
from vsei.nal import Codec, NalHeader, is_sei, read_header
from vsei.sei import TRAILING_BITS, SeiMessage


@dataclass(frozen=True, slots=True)
class TakenUnit:
    """An SEI NAL unit that went as a whole.

    Attributes:
        before: 0-based index of the NAL unit of the stripped stream that it stood in front of; their number at the end.
        gap: bytes between the NAL unit before it and its start code: trailing zeros of that one, or what leads the
            stream. Of several units that stood side by side, only the first has one.
        start_code: 3 or 4 bytes.
        zero_byte_stays: the NAL unit after it, which had a start code of 3 bytes, has taken over the fourth.
        zeros: trailing_zero_8bits after it.
        raw: the whole NAL unit, where header, messages and tail do not say all of it (bits that should be zero, missing
            or superfluous emulation prevention).
    """

    before: int
    header: NalHeader
    messages: tuple[SeiMessage, ...]
    tail: bytes = TRAILING_BITS
    start_code: int = 4
    zeros: int = 0
    gap: int = 0
    zero_byte_stays: bool = False
    raw: bytes | None = None

    @property
    def payload_types(self) -> tuple[int, ...]:
        return tuple(message.payload_type for message in self.messages)

    def nal_unit(self) -> bytes:
        return sei.build(self.header, self.messages, self.tail) if self.raw is None else self.raw


@dataclass(frozen=True, slots=True)
class TakenMessage:
    """A message that went, out of a NAL unit that stayed.

    Attributes:
        at: its place among the messages of the NAL unit, as they were.
        replaces: a message stayed there, but parts of it went (nesting): this is the message as it was.
    """

    at: int
    message: SeiMessage
    replaces: bool = False


@dataclass(frozen=True, slots=True)
class TakenPart:
    """What went out of an SEI NAL unit that stayed.

    Attributes:
        index: of the NAL unit in the stripped stream.
        raw: the whole NAL unit as it was, where the messages do not say all of it.
    """

    index: int
    messages: tuple[TakenMessage, ...]
    raw: bytes | None = None

    @property
    def payload_types(self) -> tuple[int, ...]:
        return tuple(taken.message.payload_type for taken in self.messages)


Taken: TypeAlias = TakenUnit | TakenPart


def _index(taken: Taken) -> tuple[int, bool]:
    return (taken.before, False) if isinstance(taken, TakenUnit) else (taken.index, True)


def restore(nal_units: Iterable[NalUnit], codec: Codec, taken: Sequence[Taken]) -> Iterator[NalUnit]:
    """The stream as it was before `taken` was stripped from it.

    Args:
        nal_units: of the stripped stream.

    Raises:
        VseiError: the stream is not the one that it was taken from: it is too short, or something else stands there.
    """
    waiting = deque(sorted(taken, key=_index))  # stable: units at one place stay in order
    before: NalUnit | None = None  # held back: its trailing zeros may be another's leading ones
    index, end = 0, 0
    for index, unit in enumerate(nal_units):
        end = unit.offset + len(unit.data)
        new = list(_units(waiting, index, before, unit))
        yield from new[:-1]
        before = new[-1]
        if waiting and _index(waiting[0]) == (index, True):
            part = waiting.popleft()
            assert isinstance(part, TakenPart)
            before = before._replace(data=memoryview(with_messages(before.data, codec, part)))
    count = index + 1 if before is not None else 0
    yield from _units(waiting, count, before, None)
    if waiting:
        raise VseiError(f"nothing to put back at NAL unit {_index(waiting[0])[0]}: there are {count}", offset=end)


def _units(waiting: deque[Taken], index: int, before: NalUnit | None, after: NalUnit | None) -> Iterator[NalUnit]:
    """The unit before, what stood between, the unit after."""
    between: list[TakenUnit] = []
    while waiting and isinstance(waiting[0], TakenUnit) and waiting[0].before == index:
        between.append(waiting.popleft())  # type: ignore[arg-type]
    if not between:
        yield from (unit for unit in (before, after) if unit is not None)
        return
    # All bytes of the gap, to be shared out. In an empty stream, zeros led the first unit if anything did.
    gap = bytes(before.zeros) if before is not None else b""
    gap += after.prefix if after is not None else bytes(between[0].gap) if before is None else b""
    share = between[0].gap
    stayed = any(taken.zero_byte_stays for taken in between)
    offset = after.offset if after is not None else before.offset if before is not None else 0
    if share + stayed + (len(START_CODE) if after is not None else 0) > len(gap):
        raise VseiError(
            f"not the stream that it was taken from: before NAL unit {index}, zeros are missing", offset=offset
        )
    if before is not None:
        yield before._replace(zeros=share)
    for i, taken in enumerate(between):
        start_code = START_CODE if taken.start_code == len(START_CODE) else b"\0" + START_CODE
        prefix = gap[:share] + start_code if i == 0 and before is None else start_code
        zeros = taken.zeros
        if after is None and i == len(between) - 1:
            zeros += len(gap) - share
        yield NalUnit(offset, prefix, memoryview(taken.nal_unit()), zeros)
    if after is not None:
        yield after._replace(prefix=gap[share + stayed :])


def with_messages(data: bytes | memoryview, codec: Codec, part: TakenPart) -> bytes:
    """An SEI NAL unit of the stripped stream with its messages back in. VseiError: it has too few."""
    if part.raw is not None:
        return part.raw
    header = read_header(codec, data)
    if not is_sei(codec, header.nal_unit_type):
        raise VseiError(f"NAL unit {part.index} is {header.name}, no SEI NAL unit")
    parsed = sei.parse(header, data)
    kept = deque(parsed.messages)
    there = {taken.at: taken for taken in part.messages}
    total = len(kept) + sum(not taken.replaces for taken in part.messages)
    out: list[SeiMessage] = []
    for i in range(total):
        taken = there.pop(i, None)
        if taken is not None and not taken.replaces:
            out.append(taken.message)
        elif not kept:
            break
        else:
            out.append(kept.popleft() if taken is None else taken.message)
            if taken is not None:
                kept.popleft()
    if there or kept:
        raise VseiError(f"NAL unit {part.index} has other messages than those that were left")
    return rebuilt(data, header, out, parsed.tail)


def rebuilt(data: bytes | memoryview, header: NalHeader, messages: Iterable[SeiMessage], tail: bytes) -> bytes:
    """An SEI NAL unit with other messages. Its header stays as it is, bits without a meaning too."""
    return bytes(data[: header.size]) + sei.build(header, messages, tail)[header.size :]
