"""Rules over a stream: each picture unit is looked at once, in order, with what its CLVS held before."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain

from vsei import limits, messages
from vsei.errors import VseiError
from vsei.grouping import PictureStart
from vsei.listing import Found, Listed
from vsei.messages import Message, NnpfActivation, NnpfCharacteristics
from vsei.messages.derived import FilterOnPicture
from vsei.messages.nesting import HevcScalableNesting, ScalableNesting
from vsei.messages.nnpf import MODE_NNC, reserved_value
from vsei.messages.processing_order import PhaseIndication, SeiProcessingOrder, SeiProcessingOrderNesting
from vsei.nal import Codec, NalHeader, is_vcl, sei_types
from vsei.pictures import PictureFormat
from vsei.rules import nokia, vtm
from vsei.rules.book import STANDARD, Broken, Finding, Rule, RuleBook
from vsei.rules.context import (
    MAX_FILTERS,
    MAX_FORMATS,
    MAX_KEPT_PAYLOAD_BYTES,
    ActivationSeen,
    CharacteristicsSeen,
    Clvs,
    FilterSeen,
    MessageSeen,
    NalUnitSeen,
    NestingSeen,
    NnpfOfUnit,
    Payload,
    PayloadCheck,
    PayloadReport,
    Reserved,
    UnitSeen,
    digest,
    properties,
    without_bulk,
)
from vsei.rules.decoders import NOKIA, VTM, Decoder
from vsei.sei import SeiMessage
from vsei.syntax import TraceEntry

_BOOKS = {VTM.name: vtm.BOOK, NOKIA.name: nokia.BOOK}
# Bases come again at every random access point: their payloads are decoded once. A report is small.
_REPORTS = 256


def check(
    listed: Iterable[Listed], codec: Codec, *, decoder: Decoder | None = None, check_payload: PayloadCheck | None = None
) -> Iterator[Finding]:
    """The rules that a stream breaks, in stream order. Memory holds one picture unit, and what CLVSs say of filters.

    Args:
        listed: all NAL units of the stream, from `vsei.listing.nal_units_of`.
        decoder: check what this decoder needs too.
        check_payload: decodes payloads of ISO/IEC 15938-17, which this package cannot. None: they are not looked into.
    """
    checker = Checker(codec, decoder=decoder, check_payload=check_payload)
    unit: list[Listed] = []
    for item in listed:
        if item.first_of_picture and unit:
            yield from checker.picture_unit(unit)
            unit = []
        unit.append(item)
    if unit:
        yield from checker.picture_unit(unit)


def check_messages(
    coded: Iterable[SeiMessage],
    codec: Codec = Codec.VVC,
    *,
    picture: PictureFormat | None = None,
    decoder: Decoder | None = None,
) -> list[Finding]:
    """The rules that messages break each for itself, whatever else is in the stream: for who writes them.

    Args:
        picture: the format of the pictures that they are for; None where it is not known.
    """
    header = NalHeader(codec, sei_types(codec)[0])
    books = _books(decoder)
    findings = []
    for message in coded:
        found = Found(0, 0, header, None, None, message, None)
        for rule, broken in _alone(found, codec, books, picture):
            findings.append(Finding(rule, *broken, name=messages.payload_name(message.payload_type, codec)))
    return findings


def check_insertions(
    insertions: Iterable[tuple[PictureStart, Sequence[SeiMessage]]],
    codec: Codec = Codec.VVC,
    *,
    picture: PictureFormat | None = None,
    decoder: Decoder | None = None,
) -> Iterator[tuple[PictureStart, Finding]]:
    """The rules that messages break, each for itself and together, before they are put into a stream.

    Only rules that POC and output order have no part in: headers are not read. Messages inside nesting messages, and
    those that the stream has already, are not looked at.

    Args:
        insertions: pictures in decoding order with the messages for them; pictures that get none may be left out.
        picture: the format of all of them; None where it is not known.
    """
    checker = Checker(codec, decoder=decoder)
    for start, coded in insertions:
        for finding in checker.insertion(start, coded, picture):
            yield start, finding


def _books(decoder: Decoder | None) -> tuple[RuleBook, ...]:
    return (STANDARD,) if decoder is None else (STANDARD, _BOOKS[decoder.name])


def _broken(books: Iterable[RuleBook], context: object) -> Iterator[tuple[Rule, Broken]]:
    return chain.from_iterable(book.broken(context) for book in books)


def _payload(coded: SeiMessage, codec: Codec, *, too_deep: bool) -> Payload:
    trace: list[TraceEntry] = []
    traced = coded.payload_type == NnpfCharacteristics.PAYLOAD_TYPE
    try:
        decoded = messages.decode(coded, codec, trace if traced else None)
    except VseiError as error:
        return Payload(coded, None, error, (), ())
    if decoded is None:
        return Payload(coded, None, None, (), ())
    return Payload(coded, decoded.message, None, decoded.out_of_range, tuple(trace), too_deep)


def _alone(
    found: Found, codec: Codec, books: Sequence[RuleBook], picture: PictureFormat | None, depth: int = 0
) -> Iterator[tuple[Rule, Broken]]:
    """What a message breaks without regard to what else there is."""
    too_deep = depth >= limits.current().nesting_depth and bool(getattr(found.message, "messages", ()))
    payload = _payload(found.coded, codec, too_deep=too_deep)
    yield from _broken(books, payload)
    message = payload.message
    reserved = _reserved(message)
    if reserved is not None:
        yield from _broken((STANDARD,), reserved)
        # Decoders ignore the message; whether the one asked for does is in its own book.
        yield from _broken(books[1:], message)
    elif isinstance(
        message,
        NnpfCharacteristics | NnpfActivation | SeiProcessingOrder | SeiProcessingOrderNesting | PhaseIndication,
    ):
        yield from _broken(books, message)
        if isinstance(message, NnpfCharacteristics) and message.nnpfc_property_present_flag and picture is not None:
            yield from _broken(books, FilterOnPicture(message, picture))


def _reserved(message: Message | None) -> Reserved | None:
    if isinstance(message, NnpfCharacteristics | NnpfActivation):
        value = reserved_value(message)
        return Reserved(*value) if value is not None else None
    return None


class Checker:
    """Takes the picture units of a stream one by one, and remembers what the rules need."""

    def __init__(
        self, codec: Codec, *, decoder: Decoder | None = None, check_payload: PayloadCheck | None = None
    ) -> None:
        self.codec = codec
        self._books = _books(decoder)
        self._check_payload = check_payload
        self._reports: OrderedDict[tuple[bytes, bytes], PayloadReport] = OrderedDict()
        self._clvs: dict[int, Clvs] = {}  # by layer
        self._nested: set[int] = set()  # ids of filters in nesting messages: they may be for any layer

    def picture_unit(self, listed: Sequence[Listed]) -> Iterator[Finding]:
        """What a picture unit breaks."""
        first = listed[0]
        unit = UnitSeen(
            listed,
            first.picture.start if first.picture is not None else None,
            first.picture,
            first.picture.format if first.picture is not None else None,
            first.output_index,
            [i for i, item in enumerate(listed) if item.header and is_vcl(self.codec, item.header.nal_unit_type)],
            NnpfOfUnit(_for_the_picture(chain.from_iterable(item.messages for item in listed))),
        )
        clvs = self._sequence_of(unit)
        # Order within a picture unit does not matter here: one that follows is there, too.
        clvs.listed_types.update(_listed_types(chain.from_iterable(item.messages for item in listed)))
        for position, item in enumerate(listed):
            seen = NalUnitSeen(item, position, unit)
            for rule, broken in _broken(self._books, seen):
                yield Finding(
                    rule, *broken, item.nal_index, item.offset, picture=unit.picture, output_index=unit.output_index
                )
            for found in item.messages:
                for culprit, rule, broken in self._message(found, unit, clvs):
                    yield Finding(
                        rule,
                        *broken,
                        item.nal_index,
                        item.offset,
                        picture=unit.picture,
                        output_index=unit.output_index,
                        name=culprit.name,
                    )

    def insertion(
        self, start: PictureStart, coded: Sequence[SeiMessage], picture: PictureFormat | None
    ) -> Iterator[Finding]:
        """What messages for a picture break, together with those for the pictures before."""
        header = NalHeader(self.codec, sei_types(self.codec)[0], start.layer_id, start.temporal_id)
        found = [Found(0, 0, header, None, None, m, _payload(m, self.codec, too_deep=False).message) for m in coded]
        unit = UnitSeen((), start, None, picture, None, (), NnpfOfUnit(_for_the_picture(found)))
        clvs = self._sequence_of(unit)
        clvs.listed_types.update(_listed_types(found))
        for item in found:
            for culprit, rule, broken in self._message(item, unit, clvs):
                yield Finding(rule, *broken, name=culprit.name)

    def _sequence_of(self, unit: UnitSeen) -> Clvs:
        start = unit.start
        if start is None:
            return next(iter(self._clvs.values()), Clvs())
        clvs = before = self._clvs.get(start.layer_id, Clvs())
        if before.index != start.clvs:
            clvs = self._clvs[start.layer_id] = Clvs(
                start.clvs,
                updated_ever=before.updated_ever,
                first_output_index=before.next_output_index,
                next_output_index=before.next_output_index,
                starts_with=start.nal_unit_type if start.clvs_start else None,
            )
        if unit.output_index is not None:
            clvs.next_output_index = max(clvs.next_output_index, unit.output_index + 1)
        return clvs

    def _message(self, found: Found, unit: UnitSeen, clvs: Clvs) -> Iterator[tuple[Found, Rule, Broken]]:
        unit.repeats[found.coded] += 1
        for rule, broken in _broken(self._books, MessageSeen(found, unit, unit.repeats[found.coded])):
            yield found, rule, broken
        unit.first.setdefault(found.coded.payload_type, found.coded)
        yield from self._nested_message(found, unit, clvs, 0, _Scope.PICTURE)

    def _nested_message(
        self, found: Found, unit: UnitSeen, clvs: Clvs, depth: int, scope: int
    ) -> Iterator[tuple[Found, Rule, Broken]]:
        picture = unit.format if scope != _Scope.ELSEWHERE else None
        for rule, broken in _alone(found, self.codec, self._books, picture, depth):
            yield found, rule, broken
        context = self._in_sequence(found, unit, clvs, scope)
        if context is not None:
            for rule, broken in _broken(self._books, context):
                yield found, rule, broken
            if isinstance(context, ActivationSeen):
                yield from ((found, rule, broken) for rule, broken in self._on_this_picture(context))
            self._remember(context)
        for inner in found.inside:
            if isinstance(inner.message, NnpfCharacteristics) and len(self._nested) < MAX_FILTERS:
                self._nested.add(inner.message.nnpfc_id)
            yield from self._nested_message(inner, unit, clvs, depth + 1, _scope(found, scope))

    def _in_sequence(
        self, found: Found, unit: UnitSeen, clvs: Clvs, scope: int
    ) -> CharacteristicsSeen | ActivationSeen | NestingSeen | None:
        """A message with what came before it, where it is for the picture that it stands at."""
        m = found.message
        if isinstance(m, SeiProcessingOrder):
            clvs.po_ids.add(m.po_sei_id)
        elif isinstance(m, SeiProcessingOrderNesting):
            return NestingSeen(m, clvs)
        elif isinstance(m, NnpfCharacteristics):
            if _reserved(m) is not None or scope != _Scope.PICTURE:
                if len(clvs.elsewhere) < MAX_FILTERS:
                    clvs.elsewhere.add(m.nnpfc_id)
                return None
            known = clvs.filters.get(m.nnpfc_id)
            return CharacteristicsSeen(found, m, unit, clvs, known, self._report(m, known))
        elif isinstance(m, NnpfActivation) and _reserved(m) is None and scope == _Scope.PICTURE:
            known = clvs.filters.get(m.nnpfa_target_id)
            if known is not None or m.nnpfa_target_id not in self._nested:
                return ActivationSeen(found, m, unit, clvs, known)
        return None

    def _report(self, m: NnpfCharacteristics, known: FilterSeen | None) -> PayloadReport | None:
        if self._check_payload is None or m.nnpfc_mode_idc != MODE_NNC or not m.nnpfc_payload:
            return None
        base = known.payload if known is not None and not m.nnpfc_base_flag else None
        key = digest(m.nnpfc_payload), digest(base) if base is not None else b""
        report = self._reports.pop(key, None)
        if report is None:
            report = self._check_payload(m.nnpfc_payload, base)
        self._reports[key] = report
        if len(self._reports) > _REPORTS:
            self._reports.popitem(last=False)
        return report

    def _on_this_picture(self, a: ActivationSeen) -> Iterator[tuple[Rule, Broken]]:
        """The properties of an active filter against a picture of another format than those that it was sent with."""
        picture = a.unit.format
        if picture is None or a.filter is None or a.m.nnpfa_cancel_flag or picture in a.filter.formats:
            return
        base = a.filter.base
        if base is not None and base.nnpfc_property_present_flag:
            yield from _broken(self._books, FilterOnPicture(base, picture))
        if len(a.filter.formats) < MAX_FORMATS:
            a.filter.formats.add(picture)

    def _remember(self, context: CharacteristicsSeen | ActivationSeen | NestingSeen) -> None:
        if isinstance(context, ActivationSeen):
            m, unit = context.m, context.unit
            unit.activations.setdefault(m.nnpfa_target_id, context.found.coded.payload)
            if context.filter is not None:
                context.filter.active = bool(m.nnpfa_persistence_flag) and not m.nnpfa_cancel_flag
                context.filter.in_force = None
                if context.filter.active and unit.picture is not None:
                    context.filter.in_force = unit.picture.poc, context.found.coded.payload
        elif isinstance(context, CharacteristicsSeen):
            _remember_filter(context, keep_payload=self._check_payload is not None)


def _remember_filter(c: CharacteristicsSeen, *, keep_payload: bool) -> None:
    m, clvs, picture = c.m, c.clvs, c.unit.picture
    known = c.filter
    if known is None:
        if len(clvs.filters) >= MAX_FILTERS:
            clvs.full = True
            return
        known = clvs.filters[m.nnpfc_id] = FilterSeen(m.nnpfc_purpose)
    if m.nnpfc_base_flag:
        known.updated_since_base = known.active = False
        if known.base is None:
            known.base = without_bulk(m)
            known.base_digest = digest(c.found.coded.payload)
            known.properties = dict(properties(m)) if m.nnpfc_property_present_flag else {}
            if keep_payload and m.nnpfc_payload and clvs.kept_bytes + len(m.nnpfc_payload) <= MAX_KEPT_PAYLOAD_BYTES:
                known.payload = m.nnpfc_payload
        if c.unit.format is not None and len(known.formats) < MAX_FORMATS:
            known.formats.add(c.unit.format)
    else:
        known.updated = known.updated_since_base = True
        if len(clvs.updated_ever) < MAX_FILTERS:
            clvs.updated_ever.add(m.nnpfc_id)
        if picture is not None and (known.first_update_poc is None or picture.poc < known.first_update_poc):
            known.first_update_poc = picture.poc


class _Scope:
    """What a message is for."""

    PICTURE = 0  # the picture that it stands at
    CHAIN = 1  # the processing order that it is nested in
    ELSEWHERE = 2  # other layers, or subpictures: not followed


def _scope(parent: Found, scope: int) -> int:
    """What the messages inside of `parent` are for."""
    nesting, layer = parent.message, parent.header.layer_id
    if isinstance(nesting, SeiProcessingOrderNesting):
        return max(scope, _Scope.CHAIN)
    if isinstance(nesting, ScalableNesting) and nesting.sn_subpic_flag:
        return _Scope.ELSEWHERE
    if isinstance(nesting, ScalableNesting | HevcScalableNesting) and not nesting.applies_to_layer(layer, layer):
        return _Scope.ELSEWHERE
    return scope


def _for_the_picture(all_found: Iterable[Found], scope: int = _Scope.PICTURE) -> Iterator[Found]:
    """NNPF messages that are for the picture that they stand at, and not ignored; nested ones too."""
    for found in all_found:
        m = found.message
        if isinstance(m, NnpfCharacteristics | NnpfActivation) and scope == _Scope.PICTURE and _reserved(m) is None:
            yield found
        yield from _for_the_picture(found.inside, _scope(found, scope))


def _listed_types(all_found: Iterable[Found], scope: int = _Scope.PICTURE) -> Iterator[int]:
    """Payload types that SEI processing order messages for the layer of the picture name."""
    for found in all_found:
        if isinstance(found.message, SeiProcessingOrder) and scope == _Scope.PICTURE:
            yield from found.message.po_sei_payload_type
        yield from _listed_types(found.inside, _scope(found, scope))
