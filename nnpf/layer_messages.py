"""The messages of a stream that concern one layer and its filters, picture by picture: those of its own SEI NAL units,
and what is nested in messages, also of lower layers."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import lru_cache

from vsei import limits, messages, sei
from vsei.errors import VseiError
from vsei.messages import Decoded, Message, NnpfActivation, NnpfCharacteristics
from vsei.messages.display import FramePackingArrangement
from vsei.messages.hashes import DecodedPictureHash
from vsei.messages.nesting import HevcScalableNesting, ScalableNesting
from vsei.messages.processing_order import SeiProcessingOrder, SeiProcessingOrderNesting
from vsei.nal import Codec, is_sei, is_vcl, sei_types
from vsei.pictures import Picture, PictureUnit
from vsei.sei import SeiMessage

_WANTED = frozenset(
    kind.PAYLOAD_TYPE
    for kind in (
        NnpfCharacteristics,
        NnpfActivation,
        SeiProcessingOrder,
        SeiProcessingOrderNesting,
        FramePackingArrangement,
        DecodedPictureHash,
        ScalableNesting,
    )
)
_NESTING = frozenset((ScalableNesting.PAYLOAD_TYPE,))
_SHOWN_IDS = 8
_SHORT = 256  # bytes of a payload


@dataclass(slots=True)
class Found:
    """The messages of a picture, in bitstream order, and why others have no effect."""

    messages: list[Message] = field(default_factory=list)
    reasons: list[str] = field(default_factory=list)

    def add(self, other: Found) -> None:
        self.messages += other.messages
        self.reasons += other.reasons


class LayerMessages:
    """To be asked for all picture units of a stream in decoding order."""

    def __init__(self, codec: Codec, layer_id: int) -> None:
        self._codec, self._layer = codec, layer_id
        # CLVS and id of the processing order that counts: the first one of a CLVS, as for `ActivationState`.
        self._po_sei_id: tuple[int, int] | None = None
        self._lower: tuple[Picture, Found] | None = None  # nested with lower layers, for this one

    def of(self, unit: PictureUnit, picture: Picture) -> Found:
        """The messages for a picture of the layer; of a picture of another one nothing, but what is nested there is
        kept for the layer's own picture of the same access unit."""
        found = Found()
        if picture.layer_id <= self._layer:
            lower, self._lower = self._lower, None
            if lower is not None and _same_access_unit(lower[0], picture):
                found.add(lower[1])
            self._take(unit, picture, found)
        if picture.layer_id == self._layer:
            return found
        self._lower = picture, found
        return Found()

    def _take(self, unit: PictureUnit, picture: Picture, found: Found) -> None:
        suffix = sei_types(self._codec)[1:]
        begun = False
        for nal, header in zip(unit.units, unit.headers, strict=True):
            if header is None:
                continue
            begun |= is_vcl(self._codec, header.nal_unit_type)
            if header.nal_unit_type in suffix and not begun:
                continue  # of a picture that was cut off: streams that were cut at a random access point have these
            if is_sei(self._codec, header.nal_unit_type):
                parsed = sei.parse(header, nal.data)
                found.messages += self._read(parsed.messages, header.layer_id, picture, found.reasons, 0)
                if parsed.problem is not None and header.layer_id == self._layer:
                    found.reasons.append(f"an SEI NAL unit is broken: {parsed.problem}")

    def _read(
        self, coded: Iterable[SeiMessage], layer_id: int, picture: Picture, reasons: list[str], depth: int
    ) -> Iterator[Message]:
        """The messages that concern the layer, those inside nesting messages in their place."""
        for item in coded:
            if item.payload_type not in (_WANTED if layer_id == self._layer else _NESTING):
                continue
            try:
                short = len(item.payload) <= _SHORT
                read = _decoded(item, self._codec) if short else messages.decode(item, self._codec)
            except VseiError as error:
                name = messages.payload_name(item.payload_type, self._codec)
                reasons.append(f"{name} is ignored: it cannot be read: {error}")
                continue
            if read is None:
                continue
            message = read.message
            if isinstance(message, (ScalableNesting, HevcScalableNesting, SeiProcessingOrderNesting)):
                yield from self._nested(message, layer_id, picture, reasons, depth)
            else:
                if isinstance(message, SeiProcessingOrder) and (self._po_sei_id or (-1,))[0] != picture.clvs:
                    self._po_sei_id = picture.clvs, message.po_sei_id
                yield message

    def _nested(
        self,
        message: ScalableNesting | HevcScalableNesting | SeiProcessingOrderNesting,
        layer_id: int,
        picture: Picture,
        reasons: list[str],
        depth: int,
    ) -> Iterator[Message]:
        if not _WANTED & {inner.payload_type for inner in message.messages}:
            return
        ignored = None
        if isinstance(message, SeiProcessingOrderNesting):
            # For those alone who follow the processing order, as is done here.
            if not any((picture.clvs, po_id) == self._po_sei_id for po_id in message.pon_target_po_id):
                ids = ", ".join(map(str, message.pon_target_po_id[:_SHOWN_IDS]))
                ignored = f"messages nested for the processing order {ids} are ignored: no such order is in use"
        elif not message.applies_to_layer(self._layer, layer_id):
            return
        elif getattr(message, "sn_subpic_flag", 0):
            ignored = "messages for subpictures are ignored: only whole pictures are filtered"
        if depth >= (deepest := limits.current().nesting_depth):
            ignored = f"messages nested more than {deepest} deep are ignored"
        if ignored is not None:
            reasons.append(ignored)
        else:
            yield from self._read(message.messages, self._layer, picture, reasons, depth + 1)


@lru_cache(maxsize=64)
def _decoded(item: SeiMessage, codec: Codec) -> Decoded | None:
    """As `messages.decode`: many streams have the same activation at every picture."""
    return messages.decode(item, codec)


def _same_access_unit(before: Picture, picture: Picture) -> bool:
    """Whether two pictures that follow each other are of one access unit: the layers go up, the POC stays."""
    return before.layer_id < picture.layer_id and before.poc == picture.poc
