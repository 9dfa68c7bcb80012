"""Decoded picture hash SEI: are the decoder's pictures those that the encoder saw? (H.274 8.19, H.265 D.3.19)"""

from __future__ import annotations

import binascii
import hashlib

import numpy as np

from nnpf.frames import Frame, Plane
from vsei.messages import Message
from vsei.messages.hashes import DecodedPictureHash, HevcDecodedPictureHash

_NAMES = ("Y", "Cb", "Cr")
# The standards run the CRC register, at 0xFFFF first, over the bits and 16 zeros; binascii leaves the zeros to the
# start value, which is 0xFFFF after 16 zero bits.
_CRC_START = 0x1D0F


def differing(message: Message, frame: Frame) -> tuple[str, ...]:
    """The components whose samples do not have the hash that the message gives; none where it is no hash message or of
    a kind that is not known.

    Args:
        frame: the whole decoded picture, before the conformance window crops it.
    """
    if isinstance(message, DecodedPictureHash):
        hashes: tuple[tuple[bytes | int, ...] | None, ...] = (
            message.dph_sei_picture_md5,
            message.dph_sei_picture_crc,
            message.dph_sei_picture_checksum,
        )
    elif isinstance(message, HevcDecodedPictureHash):
        hashes = (message.picture_md5, message.picture_crc, message.picture_checksum)
    else:
        return ()
    return tuple(
        _NAMES[at]
        for values, function in zip(hashes, (_md5, _crc, _checksum), strict=True)
        for at, (value, plane) in enumerate(zip(values or (), frame.planes, strict=False))
        if function(plane) != value
    )


def _bytes(plane: Plane) -> bytes:
    """One byte for each sample at 8 bits, else two, the lower one first."""
    return np.ascontiguousarray(plane, "<u2" if plane.dtype.itemsize == 2 else np.uint8).tobytes()


def _md5(plane: Plane) -> bytes:
    return hashlib.md5(_bytes(plane), usedforsecurity=False).digest()


def _crc(plane: Plane) -> int:
    return binascii.crc_hqx(_bytes(plane), _CRC_START)


def _checksum(plane: Plane) -> int:
    rows, columns = (np.arange(size, dtype=np.uint32) for size in plane.shape)
    mask = ((rows & 0xFF) ^ (rows >> 8))[:, np.newaxis] ^ ((columns & 0xFF) ^ (columns >> 8))
    wide = plane.astype(np.uint32)
    total = int(((wide & 0xFF) ^ mask).sum(dtype=np.uint64))
    if plane.dtype.itemsize == 2:
        total += int(((wide >> 8) ^ mask).sum(dtype=np.uint64))
    return total & 0xFFFFFFFF
