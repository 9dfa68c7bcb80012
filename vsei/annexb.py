"""Byte stream <-> NAL units (Annex B of H.266, H.265 and H.264), streaming, every byte kept.

`split` yields NAL units from any cut of the input into chunks; `prefix + data + zeros` of all of them, in order, is
the input again, byte for byte. Data are views of the chunks, not copies: whoever keeps a unit for long copies it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import BinaryIO, NamedTuple

from vsei import limits
from vsei.errors import VseiError

CHUNK_BYTES = 1 << 20

START_CODE = b"\0\0\1"
_find_start_code = re.compile(START_CODE).search
_before_escaped = re.compile(rb"\0\0(?=[\0-\3])")


class NalUnit(NamedTuple):
    """One NAL unit as it stands in the byte stream. (A NamedTuple: millions are made, a frozen dataclass costs 3x.)"""

    offset: int  # of the start code in the byte stream
    prefix: bytes  # all that stands before the NAL unit: the start code, and before the first one whatever was there
    data: memoryview  # header and payload, emulation prevention bytes included
    zeros: int  # trailing_zero_8bits

    def to_bytes(self) -> bytes:
        return b"".join((self.prefix, self.data, bytes(self.zeros)))


def rbsp(nal_unit: bytes | memoryview) -> bytes:
    """The bytes of a NAL unit without emulation_prevention_three_byte (H.266 7.3.1.1). The header stays in front."""
    return bytes(nal_unit).replace(b"\0\0\3", b"\0\0")


def escape(data: bytes) -> bytes:
    """The reverse of `rbsp`: emulation prevention bytes put in (H.266 7.4.2.1)."""
    escaped = _before_escaped.sub(b"\0\0\3", data)
    # Where the last byte of the RBSP is zero (cabac_zero_words), a final 3 keeps it apart from trailing zeros.
    return escaped + b"\3" if escaped.endswith(b"\0") else escaped


def read_chunks(file: BinaryIO, size: int = CHUNK_BYTES) -> Iterator[bytes]:
    """The content of a file or pipe, piece by piece."""
    while chunk := file.read(size):
        yield chunk


def split(chunks: Iterable[bytes]) -> Iterator[NalUnit]:
    """NAL units of a byte stream, whatever the chunks it comes in.

    Raises:
        VseiError: there is no start code, or a NAL unit is larger than `vsei.limits` allow.
    """
    base = 0  # offset in the stream of what is held
    # All that came since the open NAL unit's data began (at first: since the stream began), without a start code in it.
    # Joined only when one comes, so that a NAL unit of many chunks costs no more than many of one.
    held: list[bytes] = []
    size = 0  # bytes held
    last = b""  # the last two of them: a start code may lie across the seam
    begun = False  # the first start code has come
    prefix, offset = b"", 0

    for chunk in chunks:
        if _find_start_code(last + chunk[:2]) is None and _find_start_code(chunk) is None:
            held.append(chunk)
            size += len(chunk)
            last = (last + chunk[-2:])[-2:]
            _check_size(size, begun, offset)
            continue
        buffer = b"".join((*held, chunk))
        view = memoryview(buffer)
        begin, at = 0, max(0, size - 2)
        while (match := _find_start_code(buffer, at)) is not None:
            code = match.start()
            at = code + 3
            if not begun:
                begun = True
                zero_byte = 1 if code > 0 and buffer[code - 1] == 0 else 0
                prefix, offset = buffer[:at], base + code - zero_byte
            else:
                _check_size(code - begin, begun, offset)
                end = _end_of_data(buffer, begin, code)
                # One zero before 000001 is this start code's zero_byte; more are trailing zeros of the unit before.
                zero_byte = 1 if end < code else 0
                yield NalUnit(offset, prefix, view[begin:end], code - zero_byte - end)
                prefix, offset = b"\0\0\0\1" if zero_byte else START_CODE, base + code - zero_byte
            begin = at
        base += begin
        held = [buffer[begin:]]
        size = len(held[0])
        last = held[0][-2:]
        _check_size(size, begun, offset)
    buffer = b"".join(held)
    if begun:
        end = _end_of_data(buffer, 0, size)
        yield NalUnit(offset, prefix, memoryview(buffer)[:end], size - end)
    elif buffer:
        raise VseiError("no start code; not an Annex B byte stream", offset=0)


def _check_size(size: int, begun: bool, offset: int) -> None:
    allowed = limits.current()
    if begun and size > allowed.nal_unit_bytes:
        raise VseiError(
            f"NAL unit of more than {allowed.nal_unit_bytes} bytes (--set-limit nal_unit_bytes=N)", offset=offset
        )
    if not begun and size > allowed.leading_bytes:
        raise VseiError(f"no start code in the first {size} bytes; not an Annex B byte stream", offset=0)


def _end_of_data(buffer: bytes | bytearray, begin: int, end: int) -> int:
    """Where the NAL unit's data end: zeros before `end` are not part of it (a NAL unit never ends in a zero byte)."""
    while end > begin and buffer[end - 1] == 0:
        step = min(end - begin, 4096)
        kept = len(bytes(buffer[end - step : end]).rstrip(b"\0"))
        end -= step - kept
        if kept:
            break
    return end
