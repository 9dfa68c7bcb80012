"""What Nokia's decoder (a VVdeC that filters) does not use or misreads. Seen, or read in its public source."""

from __future__ import annotations

from collections.abc import Iterator

from vsei.messages import Message, NnpfActivation, NnpfCharacteristics
from vsei.messages.derived import YUV420, FilterOnPicture
from vsei.pictures import PictureFormat
from vsei.rules.book import Broken, Level, RuleBook
from vsei.rules.characteristics import quoted
from vsei.rules.context import ActivationSeen, CharacteristicsSeen
from vsei.rules.decoders import NOKIA, Accepted

BOOK = RuleBook("Nokia's decoder: `--for nokia-vvdec`")
WHERE = NOKIA.version

_OVERLAP = 4  # quads that it takes around each patch, whatever nnpfc_overlap says
_BIT_DEPTH = 10  # that it takes for granted


def _refused(m: Message, accepted: Accepted) -> Iterator[Broken]:
    for element, values in accepted.items():
        value = getattr(m, element)
        if value is not None and value not in values:
            wanted = " or ".join(quoted(v) if isinstance(v, str) else str(v) for v in values)
            yield Broken(element, f"{quoted(value) if isinstance(value, str) else value}, must be {wanted}")


@BOOK.rule(
    NnpfCharacteristics,
    "nokia-base",
    WHERE,
    "A base is an ONNX file by URI, for quality, one picture in and out as quads of real numbers, strength as input.",
)
def base_is_as_it_takes_it(m: NnpfCharacteristics) -> Iterator[Broken]:
    if m.nnpfc_base_flag:
        yield from _refused(m, NOKIA.base)
        if m.nnpfc_uri is not None and not m.nnpfc_uri.startswith(NOKIA.uri_prefix):
            yield Broken("nnpfc_uri", f"{quoted(m.nnpfc_uri)}, must begin with {NOKIA.uri_prefix}")


@BOOK.rule(NnpfCharacteristics, "nokia-update", WHERE, "An update is in the message (mode 0), without properties.")
def update_is_as_it_takes_it(m: NnpfCharacteristics) -> Iterator[Broken]:
    if not m.nnpfc_base_flag:
        yield from _refused(m, NOKIA.update)


@BOOK.rule(NnpfCharacteristics, "nokia-id", WHERE, f"nnpfc_id is at most {NOKIA.max_id}, the end of a table.")
def id_is_in_the_table(m: NnpfCharacteristics) -> Iterator[Broken]:
    if m.nnpfc_id > NOKIA.max_id:
        yield Broken("nnpfc_id", f"{m.nnpfc_id}: written beyond the end of a table")


@BOOK.rule(
    NnpfCharacteristics,
    "nokia-update-base",
    WHERE,
    f"The base of an update is the file {NOKIA.update_base} in the folder that the decoder runs in, whatever its URI.",
    Level.WARNING,
)
def update_has_another_base(m: NnpfCharacteristics) -> Iterator[Broken]:
    if not m.nnpfc_base_flag:
        yield Broken("nnpfc_base_flag", f"0: applied to {NOKIA.update_base} in the working folder")


@BOOK.rule(FilterOnPicture, "nokia-picture", WHERE, "Pictures are 4:2:0 with 10 bits, even in width and height.")
def picture_is_as_it_takes_it(f: FilterOnPicture[PictureFormat]) -> Iterator[Broken]:
    p = f.picture
    if p.chroma_format_idc != YUV420:
        yield Broken(None, f"chroma_format_idc {p.chroma_format_idc}, must be {YUV420}")
    if p.bit_depth_luma != _BIT_DEPTH:
        yield Broken(None, f"{p.bit_depth_luma} bit, samples are taken as {_BIT_DEPTH} bit")
    if p.coded_width % 2 or p.coded_height % 2:
        yield Broken(None, f"{p.coded_width}x{p.coded_height} is not even")


@BOOK.rule(
    NnpfCharacteristics,
    "nokia-overlap",
    WHERE,
    f"nnpfc_overlap is {_OVERLAP}, as the decoder takes for granted.",
    Level.WARNING,
)
def overlap_is_its_own(m: NnpfCharacteristics) -> Iterator[Broken]:
    if m.nnpfc_overlap not in (None, _OVERLAP):
        yield Broken("nnpfc_overlap", f"{m.nnpfc_overlap}, taken as {_OVERLAP}")


@BOOK.rule(
    NnpfActivation,
    "nokia-activation",
    WHERE,
    "Activations persist, for filters of the table: others are lost while pictures wait for output.",
)
def activation_persists(m: NnpfActivation) -> Iterator[Broken]:
    if m.nnpfa_target_id > NOKIA.max_id:
        yield Broken("nnpfa_target_id", f"{m.nnpfa_target_id}: read beyond the end of a table")
    yield from _refused(m, NOKIA.activation)


@BOOK.rule(
    ActivationSeen,
    "nokia-update-wins",
    WHERE,
    "After an update the base is not activated: the update would be used all the same.",
)
def base_is_not_asked_for(a: ActivationSeen) -> Iterator[Broken]:
    if NOKIA.update_wins and a.m.nnpfa_target_base_flag and a.filter is not None and a.filter.updated_since_base:
        yield Broken("nnpfa_target_base_flag", "1 after an update: the update is used")


@BOOK.rule(
    CharacteristicsSeen,
    "nokia-base-resets",
    WHERE,
    "A base that comes again is followed, in the same picture, by the update in force and by an activation.",
)
def base_is_followed_by_what_it_drops(c: CharacteristicsSeen) -> Iterator[Broken]:
    nnpfc_id = c.m.nnpfc_id
    if not c.m.nnpfc_base_flag or c.filter is None:
        return
    if c.filter.updated_since_base and not c.unit.nnpf.update_follows(c.found, nnpfc_id):
        yield Broken("nnpfc_base_flag", f"1: the update of {nnpfc_id} from before is dropped")
    if c.filter.active and not c.unit.nnpf.activation_follows(c.found, nnpfc_id):
        yield Broken("nnpfc_base_flag", f"1: the activation of {nnpfc_id} from before is dropped")
