"""Recovery point SEI messages: where decoding of an H.264 stream can start, besides IDR pictures (D.1.8, D.2.8)."""

from __future__ import annotations

from vsei.annexb import rbsp
from vsei.bits import BitReader
from vsei.errors import VseiError

RECOVERY_POINT = 6  # payloadType


def recovery_frame_cnt(nal_unit: bytes | memoryview) -> int | None:
    """recovery_frame_cnt of the recovery point message in an SEI NAL unit; None where it holds none, or a broken one.

    0 says that all pictures from this one on, in output order, are right when decoding starts here. Many streams have
    SEI at every picture, so messages are only skipped here, not made.
    """
    data = rbsp(nal_unit)
    if RECOVERY_POINT not in data[1:]:
        return None
    at = 1
    try:
        while at + 1 < len(data):
            payload_type, at = _number(data, at)
            size, at = _number(data, at)
            if payload_type == RECOVERY_POINT:
                return BitReader(data[at : at + size]).ue()
            at += size
    except (VseiError, IndexError):
        pass
    return None


def _number(data: bytes, at: int) -> tuple[int, int]:
    """payloadType or payloadSize, and where it ends."""
    value = 0
    while data[at] == 0xFF:
        value += 0xFF
        at += 1
    return value + data[at], at + 1
