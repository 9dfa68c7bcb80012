"""Bitstreams and SEI messages: bytes to messages and back (H.274, H.266, H.265, H.264)."""

from vsei.errors import VseiError
from vsei.listing import Found
from vsei.messages import NnpfActivation, NnpfCharacteristics
from vsei.nal import Codec
from vsei.reading import identify, read_messages, read_nal_units
from vsei.sei import SeiMessage

__all__ = [
    "Codec",
    "Found",
    "NnpfActivation",
    "NnpfCharacteristics",
    "SeiMessage",
    "VseiError",
    "identify",
    "read_messages",
    "read_nal_units",
]
