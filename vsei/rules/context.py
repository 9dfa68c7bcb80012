"""What rules look at besides single messages: NAL units in their picture unit, messages in their sequence."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any, NamedTuple, cast

from vsei.errors import VseiError
from vsei.grouping import PictureStart
from vsei.listing import Found, Listed
from vsei.messages import Message, NnpfActivation, NnpfCharacteristics
from vsei.messages.processing_order import SeiProcessingOrderNesting
from vsei.pictures import Picture, PictureFormat
from vsei.sei import SeiMessage
from vsei.syntax import OutOfRange, TraceEntry

# A hostile stream could name a new nnpfc_id in every message. `nnpf.activation` follows as many filters.
MAX_FILTERS = 1024
# Formats of pictures that a filter is checked against once each. Resampling of reference pictures uses a handful.
MAX_FORMATS = 64
# Payloads of bases are kept while checks of updates may want them; those beyond this much are let go.
MAX_KEPT_PAYLOAD_BYTES = 64 << 20


@dataclass(frozen=True, slots=True)
class Payload:
    """The payload of a message of a known type, as it was read.

    Attributes:
        message: None where it could not be read.
        error: why it could not.
        trace: the elements of an NNPFC message with their bit positions.
    """

    coded: SeiMessage
    message: Message | None
    error: VseiError | None
    out_of_range: tuple[OutOfRange, ...]
    trace: tuple[TraceEntry, ...]
    too_deep: bool = False


class Reserved(NamedTuple):
    """A value that makes decoders ignore the message."""

    element: str
    value: int


class PayloadReport(NamedTuple):
    """What a decoder of ISO/IEC 15938-17 says of a payload.

    Attributes:
        problem: why it is no such bitstream; None where it is one.
        unsupported: parts that the decoder at hand does not know.
        num_parameters: of the tensors that the payload holds; None where not all were decoded.
    """

    problem: str | None = None
    unsupported: tuple[str, ...] = ()
    num_parameters: int | None = None


# From a payload, and for an update the payload of its base where that is in the stream, to what is wrong with it.
PayloadCheck = Callable[[bytes, bytes | None], PayloadReport]


@dataclass(slots=True)
class UnitSeen:
    """A picture unit: all its NAL units, and what its messages held so far.

    Attributes:
        start: what NAL unit types say of its picture; None where there is none.
        picture: what headers say of it; None where they are not read, or broken.
        format: of its picture, where known.
        slices: where in `listed` the VCL NAL units stand.
        nnpf: the NNPFC and NNPFA messages that are for its picture, those to come too.
        activations: payload of the first NNPFA for each nnpfa_target_id, so far.
        repeats: how often each payload came, so far.
        first: of each payload type, the payload that came first.
    """

    listed: Sequence[Listed]
    start: PictureStart | None
    picture: Picture | None
    format: PictureFormat | None
    output_index: int | None
    slices: Sequence[int]
    nnpf: NnpfOfUnit
    activations: dict[int, bytes] = field(default_factory=dict)
    repeats: Counter[SeiMessage] = field(default_factory=Counter)
    first: dict[int, SeiMessage] = field(default_factory=dict)


class NnpfOfUnit:
    """Which NNPF messages a picture unit has, in order. A hostile one has very many, so each question is a look-up."""

    def __init__(self, found: Iterable[Found]) -> None:
        self._place: dict[int, int] = {}  # id() of a Found -> its place in the order
        self._last_update: dict[int, int] = {}  # nnpfc_id -> place
        self._last_activation: dict[int, int] = {}
        self.nnpfc_ids: set[int] = set()
        for place, item in enumerate(found):
            self._place[id(item)] = place
            if isinstance(item.message, NnpfCharacteristics):
                self.nnpfc_ids.add(item.message.nnpfc_id)
                if not item.message.nnpfc_base_flag:
                    self._last_update[item.message.nnpfc_id] = place
            elif isinstance(item.message, NnpfActivation):
                self._last_activation[item.message.nnpfa_target_id] = place

    def update_follows(self, found: Found, nnpfc_id: int) -> bool:
        """Whether an update of that id comes after a message."""
        return self._last_update.get(nnpfc_id, -1) > self._place[id(found)]

    def activation_follows(self, found: Found, nnpfc_id: int) -> bool:
        """Whether an activation of that id comes after a message."""
        return self._last_activation.get(nnpfc_id, -1) > self._place[id(found)]


@dataclass(frozen=True, slots=True)
class NalUnitSeen:
    """A NAL unit and its picture unit."""

    listed: Listed
    position: int  # in unit.listed
    unit: UnitSeen


@dataclass(frozen=True, slots=True)
class MessageSeen:
    """A message of any type that stands in an SEI NAL unit itself, not in another message."""

    found: Found
    unit: UnitSeen
    repeats: int  # how often its payload has come in this picture unit, this time included


@dataclass(slots=True)
class FilterSeen:
    """What a CLVS holds of one nnpfc_id, so far.

    Attributes:
        base: the first base filter, without its payload and texts; None where an update came first.
        base_digest: of the whole payload of the message with the base.
        properties: of the base, by element; long values as digests.
        updated: an update came.
        first_update_poc: the smallest POC of the pictures with one.
        updated_since_base: an update came after the last base.
        active: the last NNPFA for it persists, and no base came since.
        in_force: POC and payload of the last NNPFA for it, where that persists.
        formats: of the pictures that the properties were checked against.
        payload: nnpfc_payload of the base, where it is kept.
    """

    purpose: int
    base: NnpfCharacteristics | None = None
    base_digest: bytes = b""
    properties: Mapping[str, object] = field(default_factory=dict)
    updated: bool = False
    first_update_poc: int | None = None
    updated_since_base: bool = False
    active: bool = False
    in_force: tuple[int, bytes] | None = None
    formats: set[PictureFormat] = field(default_factory=set)
    payload: bytes | None = None


@dataclass(slots=True)
class Clvs:
    """A CLVS of one layer, so far.

    Attributes:
        index: Picture.clvs.
        filters: by nnpfc_id.
        elsewhere: ids of filters that are ignored (reserved values), or nested for this layer: nothing is known of
            them, so nothing is said of their updates and activations.
        updated_ever: ids that an update came for, in this CLVS or before it in the stream.
        full: there are more filters than are followed.
        first_output_index: no picture before it is of this CLVS; the largest index of the CLVS before, plus 1.
        next_output_index: the largest index so far, plus 1.
        starts_with: NAL unit type of its first picture.
        listed_types: payload types that SEI processing order messages name.
        po_ids: po_sei_id of these.
    """

    index: int | None = None
    filters: dict[int, FilterSeen] = field(default_factory=dict)
    elsewhere: set[int] = field(default_factory=set)
    updated_ever: set[int] = field(default_factory=set)
    full: bool = False
    first_output_index: int = 0
    next_output_index: int = 0
    starts_with: int | None = None
    listed_types: set[int] = field(default_factory=set)
    po_ids: set[int] = field(default_factory=set)

    @property
    def kept_bytes(self) -> int:
        return sum(len(f.payload) for f in self.filters.values() if f.payload is not None)


@dataclass(frozen=True, slots=True)
class CharacteristicsSeen:
    """An NNPFC message, and what came before it.

    Attributes:
        filter: what the CLVS holds of its nnpfc_id; None where it is the first.
        report: on its payload, where it has one and somebody checks payloads.
    """

    found: Found
    m: NnpfCharacteristics
    unit: UnitSeen
    clvs: Clvs
    filter: FilterSeen | None
    report: PayloadReport | None = None


@dataclass(frozen=True, slots=True)
class ActivationSeen:
    """An NNPFA message, and what came before it; `filter` is None where its target is unknown."""

    found: Found
    m: NnpfActivation
    unit: UnitSeen
    clvs: Clvs
    filter: FilterSeen | None


@dataclass(frozen=True, slots=True)
class NestingSeen:
    """An SEI processing order nesting message, and what came before it."""

    m: SeiProcessingOrderNesting
    clvs: Clvs


def digest(data: bytes) -> bytes:
    return hashlib.blake2b(data, digest_size=16).digest()


_IDENTITY = frozenset(
    (
        "closing",
        "nnpfc_purpose",
        "nnpfc_id",
        "nnpfc_base_flag",
        "nnpfc_mode_idc",
        "nnpfc_tag_uri",
        "nnpfc_uri",
        "nnpfc_property_present_flag",
        "nnpfc_payload",
    )
)
# An update may have another complexity than its base (H.274 8.28.1.2).
_COMPLEXITY = frozenset(
    (
        "nnpfc_complexity_info_present_flag",
        "nnpfc_parameter_type_idc",
        "nnpfc_log2_parameter_bit_length_minus3",
        "nnpfc_num_parameters_idc",
        "nnpfc_num_kmac_operations_idc",
        "nnpfc_total_kilobyte_size",
    )
)
_TEXTS = ("nnpfc_tag_uri", "nnpfc_uri", "nnpfc_prompt", "nnpfc_application_purpose_tag_uri")


def properties(m: NnpfCharacteristics) -> Iterator[tuple[str, object]]:
    """The elements that an update has in common with its base; texts as digests, so that they can be kept."""
    for f in fields(m):
        if f.name in _IDENTITY or f.name in _COMPLEXITY:
            continue
        value = getattr(m, f.name)
        yield f.name, digest(value.encode()) if isinstance(value, str) else value


def without_bulk(m: NnpfCharacteristics) -> NnpfCharacteristics:
    """The message without what may be large. An empty prompt stays one, for the rule on prompts."""
    short = {name: "..." for name in _TEXTS if getattr(m, name)}
    bulk = {"nnpfc_payload": None, "nnpfc_reserved_metadata_extension": None, "closing": None}
    return replace(m, **cast("dict[str, Any]", {**bulk, **short}))
