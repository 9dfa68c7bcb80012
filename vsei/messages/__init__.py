"""SEI payloads by type: those that are understood element by element, and the names of the rest."""

from __future__ import annotations

from dataclasses import dataclass

from vsei.errors import VseiError
from vsei.messages import display, film_grain, form, hashes, nesting, nnpf, processing_order, user_data
from vsei.messages.form import Decoded, Description, Message
from vsei.messages.names import payload_name
from vsei.messages.nnpf import NnpfActivation, NnpfCharacteristics
from vsei.nal import Codec
from vsei.sei import SeiMessage
from vsei.syntax import TraceEntry


@dataclass(frozen=True, slots=True)
class Kind:
    """One payload type: its dataclass and its syntax."""

    message: type[Message]
    description: Description


_VVC = (
    Kind(nnpf.NnpfCharacteristics, nnpf.nnpfc),
    Kind(nnpf.NnpfActivation, nnpf.nnpfa),
    Kind(processing_order.SeiProcessingOrder, processing_order.processing_order),
    Kind(processing_order.SeiProcessingOrderNesting, processing_order.processing_order_nesting),
    Kind(processing_order.PhaseIndication, processing_order.phase_indication),
    Kind(processing_order.SeiManifest, processing_order.sei_manifest),
    Kind(processing_order.SeiPrefixIndication, processing_order.sei_prefix_indication),
    Kind(hashes.DecodedPictureHash, hashes.decoded_picture_hash),
    Kind(nesting.ScalableNesting, nesting.scalable_nesting),
    Kind(user_data.UserDataRegistered, user_data.user_data_registered),
    Kind(user_data.UserDataUnregistered, user_data.user_data_unregistered),
    Kind(display.MasteringDisplayColourVolume, display.mastering_display_colour_volume),
    Kind(display.ContentLightLevelInfo, display.content_light_level_info),
    Kind(display.FramePackingArrangement, display.frame_packing_arrangement),
    Kind(film_grain.FilmGrainCharacteristics, film_grain.film_grain_characteristics),
    Kind(film_grain.PostFilterHint, film_grain.post_filter_hint),
)
# The same payload type, another syntax.
_HEVC = (
    Kind(hashes.HevcDecodedPictureHash, hashes.hevc_decoded_picture_hash),
    Kind(nesting.HevcScalableNesting, nesting.hevc_scalable_nesting),
)
_AVC = (
    Kind(display.FramePackingArrangement, display.avc_frame_packing_arrangement),
    Kind(film_grain.FilmGrainCharacteristics, film_grain.avc_film_grain_characteristics),
)


def _by_type(*kinds: Kind) -> dict[int, Kind]:
    return {kind.message.PAYLOAD_TYPE: kind for kind in kinds}


# post_filter_hint of H.265 and H.264 has no flags in front and depends on the SPS: raw there. Hash and nesting of H.264
# do not exist under these numbers.
_KINDS = {
    Codec.VVC: _by_type(*_VVC),
    Codec.HEVC: {t: k for t, k in _by_type(*_VVC, *_HEVC).items() if t != 22},
    Codec.AVC: {t: k for t, k in _by_type(*_VVC, *_AVC).items() if t not in (22, 132, 133)},
}


def kind(payload_type: int, codec: Codec = Codec.VVC) -> Kind | None:
    """How payloads of this type are made, or None where only name and bytes are known."""
    return _KINDS[codec].get(payload_type)


def decode(message: SeiMessage, codec: Codec = Codec.VVC, trace: list[TraceEntry] | None = None) -> Decoded | None:
    """Read a payload element by element; None when its type is not understood.

    Raises:
        VseiError: the payload ends too early or makes no sense. Keep it as bytes then.
    """
    found = kind(message.payload_type, codec)
    return form.decode(found.message, found.description, message.payload, trace) if found else None


def encode(message: Message, codec: Codec = Codec.VVC) -> SeiMessage:
    """The payload of a message. VseiError when elements are missing, superfluous or do not fit."""
    found = kind(message.PAYLOAD_TYPE, codec)
    if found is None or not isinstance(message, found.message):
        raise VseiError(f"{message.NAME} is not a message of {codec.standard} that can be written")
    return SeiMessage(message.PAYLOAD_TYPE, form.encode(message, found.description))


__all__ = [
    "Decoded",
    "Kind",
    "Message",
    "NnpfActivation",
    "NnpfCharacteristics",
    "decode",
    "encode",
    "kind",
    "payload_name",
]
