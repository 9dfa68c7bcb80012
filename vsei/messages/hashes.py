"""Decoded picture hash (payloadType 132, suffix): MD5, CRC or checksum of each decoded colour component.

H.274 V4 clause 8.19.1 (H.266), H.265 clause D.2.19.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from vsei.messages.form import Message
from vsei.syntax import Reader, Syntax

MD5, CRC, CHECKSUM = 0, 1, 2
_BYTES = {MD5: 16, CRC: 2, CHECKSUM: 4}
_ELEMENT = {MD5: "picture_md5", CRC: "picture_crc", CHECKSUM: "picture_checksum"}


@dataclass(frozen=True, kw_only=True, slots=True)
class DecodedPictureHash(Message):
    """decoded_picture_hash() of H.274. One of the three tuples is present: MD5 of 16 bytes, or numbers."""

    PAYLOAD_TYPE: ClassVar[int] = 132
    NAME: ClassVar[str] = "decoded_picture_hash"

    dph_sei_hash_type: int
    dph_sei_single_component_flag: int
    dph_sei_reserved_zero_7bits: int = 0
    dph_sei_picture_md5: tuple[bytes, ...] | None = None
    dph_sei_picture_crc: tuple[int, ...] | None = None
    dph_sei_picture_checksum: tuple[int, ...] | None = None


def decoded_picture_hash(s: Syntax) -> None:
    """decoded_picture_hash( payloadSize ), H.274 8.19.1.1"""
    hash_type = s.u(8, "dph_sei_hash_type", max=2)
    single = s.flag("dph_sei_single_component_flag")
    s.u(7, "dph_sei_reserved_zero_7bits")
    _hashes(s, hash_type, 1 if single else 3, "dph_sei_")


@dataclass(frozen=True, kw_only=True, slots=True)
class HevcDecodedPictureHash(Message):
    """decoded_picture_hash() of H.265."""

    PAYLOAD_TYPE: ClassVar[int] = 132
    NAME: ClassVar[str] = "decoded_picture_hash"

    hash_type: int
    picture_md5: tuple[bytes, ...] | None = None
    picture_crc: tuple[int, ...] | None = None
    picture_checksum: tuple[int, ...] | None = None


def hevc_decoded_picture_hash(s: Syntax) -> None:
    """decoded_picture_hash( payloadSize ), H.265 D.2.19"""
    hash_type = s.u(8, "hash_type", max=2)
    if hash_type not in _BYTES:
        return
    # One component for 4:0:0, else three: the SPS says, and so does the size of the payload.
    if isinstance(s, Reader):
        components = s.source.remaining // (8 * _BYTES[hash_type])
    else:
        components = sum(1 for key in s.values.present if key[0] == _ELEMENT[hash_type])
    _hashes(s, hash_type, min(components, 3), "")


def _hashes(s: Syntax, hash_type: int, components: int, prefix: str) -> None:
    if hash_type not in _BYTES:
        return
    name = prefix + _ELEMENT[hash_type]
    for c in range(components):
        if hash_type == MD5:
            s.b(16, name, c)
        else:
            s.u(8 * _BYTES[hash_type], name, c)
