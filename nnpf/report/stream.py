"""What a bitstream says, gathered for a page: what it is, its messages, and where each filter is in force."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from nnpf.characteristics import out_of_range
from nnpf.evaluation import survey
from nnpf.intake import announced_pictures, picture_format
from vsei.annexb import NalUnit
from vsei.colour import Colour, colour
from vsei.listing import Counts, Found, nal_units_of
from vsei.messages import Message, NnpfActivation, NnpfCharacteristics
from vsei.messages.meanings import meaning, purposes
from vsei.messages.nnpf import reserved_value
from vsei.messages.processing_order import SeiProcessingOrder
from vsei.nal import Codec

# Messages that a page lists one by one; it says how many there are more.
MAX_MESSAGES = 400
# Lanes of a timeline. A stream could name a new nnpfc_id in every message.
MAX_LANES = 16
# Marks of one lane.
MAX_MARKS = 2000
_SHOWN_TEXT = 300  # characters of one element

MarkKind = Literal["base", "update", "activation", "cancel"]


@dataclass(frozen=True, slots=True)
class StreamPicture:
    """A picture that is output. `reasons`: why messages have no effect."""

    output_index: int
    poc: int
    clvs: int
    random_access: bool
    slice_type: str
    qp: int
    reasons: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Mark:
    """A message of a lane at a picture. `text`: in words."""

    output_index: int
    kind: MarkKind
    text: str


@dataclass(frozen=True, slots=True)
class Span:
    """Pictures, the last one included, for which the same filter is in force.

    Attributes:
        update: 1-based number of the update, in the order in which they come into force; 0 is the base.
    """

    first: int
    last: int
    update: int


@dataclass(frozen=True, slots=True)
class Lane:
    """One nnpfc_id over the stream, in output order. `unseen`: messages at pictures that are not output."""

    nnpfc_id: int
    purpose: str
    spans: tuple[Span, ...]
    marks: tuple[Mark, ...]
    unseen: int

    @property
    def pictures(self) -> int:
        return sum(span.last - span.first + 1 for span in self.spans)


@dataclass(frozen=True, slots=True)
class MessageRow:
    """One message. `what`: in words; `elements`: name, value, meaning."""

    nal_index: int
    offset: int
    name: str
    size: int
    output_index: int | None
    poc: int | None
    clvs: int | None
    what: str
    elements: tuple[tuple[str, str, str], ...]
    problems: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class StreamFacts:
    """A stream.

    Attributes:
        formats: of its coded pictures, in words, with how many there are.
        message_bytes: of all post-filter messages, with their NAL units, as `nnpf.evaluation` counts them.
        sizes: messages by name: how many, and their bytes without NAL units.
        messages: NNPFC, NNPFA and SEI processing order, the first MAX_MESSAGES; `more_messages` others.
        lanes: the first MAX_LANES filters; `more_lanes` others.
        pictures: those that are output, in output order.
    """

    codec: str
    bytes: int
    nal_units: int
    coded_pictures: int
    clvss: int
    random_access: int
    formats: Mapping[str, int]
    colour: Colour
    message_bytes: int
    sizes: Mapping[str, tuple[int, int]]
    messages: tuple[MessageRow, ...]
    more_messages: int
    lanes: tuple[Lane, ...]
    more_lanes: int
    pictures: tuple[StreamPicture, ...]


def read_stream(open_stream: Callable[[], Iterable[NalUnit]], codec: Codec, *, layer_id: int = 0) -> StreamFacts:
    """Read a stream; nothing is decoded. `open_stream` gives its NAL units from the start; it is called four times.

    Raises:
        VseiError: its headers are broken.
        NnpfError: it has no picture.
    """
    counts, size = Counts(), 0
    formats: Counter[str] = Counter()
    sizes: dict[str, tuple[int, int]] = {}
    rows: list[MessageRow] = []
    more = 0
    marks: dict[int, list[Mark]] = {}
    unseen: Counter[int] = Counter()
    purpose: dict[int, str] = {}

    def counted() -> Iterable[NalUnit]:
        nonlocal size
        for unit in open_stream():
            size += len(unit.prefix) + len(unit.data) + unit.zeros
            yield unit

    for unit in nal_units_of(counted(), codec):
        counts.take(unit)
        if unit.first_of_picture and unit.picture is not None:
            formats[str(picture_format(unit.picture.format))] += 1
        for found in unit.messages:
            number, total = sizes.get(found.name, (0, 0))
            sizes[found.name] = number + 1, total + found.coded.size
            for item in _with_nested(found):
                if not isinstance(item.message, NnpfCharacteristics | NnpfActivation | SeiProcessingOrder):
                    continue
                if len(rows) < MAX_MESSAGES:
                    rows.append(_row(item))
                else:
                    more += 1
                _mark(item, marks, unseen, purpose)
    lanes, pictures = _lanes(open_stream(), codec, layer_id, marks, unseen, purpose)
    return StreamFacts(
        codec.standard,
        size,
        counts.nal_units,
        counts.pictures,
        sum(counts.clvss.values()),
        counts.random_access,
        dict(formats),
        colour(open_stream(), codec),
        survey(open_stream(), codec).size.messages,
        sizes,
        tuple(rows),
        more,
        tuple(lanes[:MAX_LANES]),
        max(0, len(lanes) - MAX_LANES),
        tuple(pictures),
    )


def _with_nested(found: Found) -> Iterable[Found]:
    yield found
    for inner in found.inside:
        yield from _with_nested(inner)


# --- the timeline ----------------------------------------------------------------------------------------------------


def _mark(found: Found, marks: dict[int, list[Mark]], unseen: Counter[int], purpose: dict[int, str]) -> None:
    message = found.message
    kind: MarkKind
    if isinstance(message, NnpfCharacteristics):
        number = message.nnpfc_id
        kind = "base" if message.nnpfc_base_flag else "update"
        if message.nnpfc_base_flag and out_of_range(message) is None:
            purpose.setdefault(number, purposes(message.nnpfc_purpose))
    elif isinstance(message, NnpfActivation):
        number = message.nnpfa_target_id
        kind = "cancel" if message.nnpfa_cancel_flag else "activation"
    else:
        return
    if found.output_index is None:
        unseen[number] += 1
    elif len(marks.setdefault(number, [])) < MAX_MARKS:
        marks[number].append(Mark(found.output_index, kind, _what(message)))


def _lanes(
    nal_units: Iterable[NalUnit],
    codec: Codec,
    layer_id: int,
    marks: Mapping[int, Sequence[Mark]],
    unseen: Mapping[int, int],
    purpose: Mapping[int, str],
) -> tuple[list[Lane], list[StreamPicture]]:
    pictures: list[StreamPicture] = []
    spans: dict[int, list[Span]] = {}
    updates: dict[int, dict[NnpfCharacteristics, int]] = {}
    for item in announced_pictures(nal_units, codec, layer_id=layer_id):
        picture, index = item.picture, item.output_index
        pictures.append(
            StreamPicture(
                index,
                picture.poc,
                picture.clvs,
                picture.random_access,
                picture.slice_type,
                picture.slice_qp_y,
                item.reasons,
            )
        )
        for active in item.active:
            number = 0
            if active.update is not None:
                known = updates.setdefault(active.nnpfc_id, {})
                number = known.setdefault(active.update, len(known) + 1)
            of = spans.setdefault(active.nnpfc_id, [])
            if of and of[-1].last == index - 1 and of[-1].update == number:
                of[-1] = Span(of[-1].first, index, number)
            else:
                of.append(Span(index, index, number))
    lanes = [
        Lane(
            number,
            purpose.get(number, ""),
            tuple(spans.get(number, ())),
            tuple(sorted(marks.get(number, ()), key=lambda mark: mark.output_index)),
            unseen.get(number, 0),
        )
        for number in sorted({*marks, *spans, *unseen})
    ]
    return lanes, pictures


# --- the table of messages -------------------------------------------------------------------------------------------


def _row(found: Found) -> MessageRow:
    message, picture = found.message, found.picture
    assert message is not None
    problems = list(found.problems)
    if isinstance(message, NnpfCharacteristics | NnpfActivation) and (reserved := reserved_value(message)) is not None:
        problems.append(f"{reserved[0]} {reserved[1]} is reserved: decoders ignore this message")
    elements = tuple((key, _value(value), meaning(key, value)) for key, value in message.fields().items())
    return MessageRow(
        found.nal_index,
        found.offset,
        found.name,
        len(found.coded.payload),
        found.output_index,
        None if picture is None else picture.poc,
        None if picture is None else picture.clvs,
        _what(message),
        elements,
        tuple(problems),
    )


def _what(message: Message) -> str:
    if isinstance(message, NnpfCharacteristics):
        kind = "base" if message.nnpfc_base_flag else "update"
        payload = message.nnpfc_payload
        carried = f"{len(payload)} bytes" if payload is not None else f"by URI {_short(message.nnpfc_uri or '')}"
        return f"filter {message.nnpfc_id}: {kind}, {carried}"
    if isinstance(message, NnpfActivation):
        if message.nnpfa_cancel_flag:
            return f"filter {message.nnpfa_target_id}: off"
        target = "base" if message.nnpfa_target_base_flag else "update"
        lasting = "from here on" if message.nnpfa_persistence_flag else "this picture only"
        return f"filter {message.nnpfa_target_id}: {target} on, {lasting}"
    return "order in which SEI messages are processed"


def _short(text: str) -> str:
    return text if len(text) <= _SHOWN_TEXT else f"{text[:_SHOWN_TEXT]} ... ({len(text)} characters)"


def _value(value: Any) -> str:
    if isinstance(value, bytes):
        if len(value) > 16:
            return f"{len(value)} bytes, SHA-256 {hashlib.sha256(value).hexdigest()}"
        return value.hex(" ")
    if isinstance(value, tuple):
        return _short("[" + ", ".join(_value(v) for v in value) + "]")
    return _short(str(value))
