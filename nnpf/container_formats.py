"""Which container a file is, by its first bytes; which one it is to be, by its name. Nothing is opened here."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path, PurePath

from nnpf.errors import NnpfError

TS_PACKET_BYTES = 188
# In MPEG-TS a sync byte begins each packet; so many in a row tell. A recording may begin inside a packet.
_SYNC, _SYNCS = 0x47, 4
# As many bytes as it takes to tell.
SIGNATURE_BYTES = (_SYNCS + 1) * (TS_PACKET_BYTES + 4)


@dataclass(frozen=True, slots=True)
class ContainerFormat:
    """A container format.

    Attributes:
        name: what people call it.
        demuxer, muxer: what FFmpeg calls it; `muxer` is None where it is only read.
        suffixes: of file names, to write it by. The first is the usual one.
    """

    name: str
    demuxer: str
    muxer: str | None = None
    suffixes: tuple[str, ...] = ()


MP4 = ContainerFormat("MP4", "mov", "mp4", (".mp4", ".m4v"))
QUICKTIME = ContainerFormat("QuickTime", "mov", "mov", (".mov",))
MATROSKA = ContainerFormat("Matroska", "matroska", "matroska", (".mkv",))
MPEG_TS = ContainerFormat("MPEG-TS", "mpegts", "mpegts", (".ts",))
FLV = ContainerFormat("FLV", "flv")
WRITTEN = (MP4, QUICKTIME, MATROSKA, MPEG_TS)

# Boxes that a file of the ISO base media format may start with, or a QuickTime file before there was `ftyp`.
_BOXES = (b"ftyp", b"styp", b"moov", b"moof", b"sidx", b"mdat", b"free", b"skip", b"wide", b"pnot", b"emsg", b"prft")
# So many boxes of a file are looked at.
_MAX_BOXES = 4096
_EBML = b"\x1aE\xdf\xa3"
_SEGMENT = b"\x18S\x80g"
_NOT_WRITTEN = (
    ".m2ts", ".mts", ".webm", ".avi", ".flv", ".mpg", ".mpeg", ".ps", ".wmv", ".asf", ".ogg", ".3gp", ".mxf", ".mka",
)  # fmt: skip
_REMUX = "remux it: ffmpeg -i IN -c copy OUT.mkv"
_FOREIGN = {
    b"YUV4MPEG2": "uncompressed pictures (Y4M)",
    b"RIFF": f"an AVI file; AVI cannot say when pictures are shown, {_REMUX}",
    b"\0\0\1\xba": "an MPEG program stream; remux it: ffmpeg -i IN -c copy OUT.ts",
    b"\x06\x0e+4\2\5\1\1": f"an MXF file; {_REMUX}",
    b"0&\xb2u\x8ef\xcf\x11": f"an ASF file; {_REMUX}",
    b"nut/multimedia container": f"a NUT file; {_REMUX}",
    b"\xb7\xd8\0 7I\xda\x11": f"a WTV file; {_REMUX}",
    b".RMF": f"a RealMedia file; {_REMUX}",
    b"DKIF": "an IVF file, which holds VP8, VP9 or AV1",
    b"#EXTM3U": "a playlist (M3U8); give the files that it names",
    b"filters:": "a specification file; the stream comes first: nnpf inject STREAM SPEC.yaml",
    b"OggS": "an Ogg file, which holds none of H.266, H.265, H.264",
    b"\x89PNG": "a PNG picture",
    b"\xff\xd8\xff": "a JPEG picture",
    b"PK\x03\x04": "a ZIP archive",
    b"\x1f\x8b": "a gzip file; unpack it first",
}


def container_of(head: bytes) -> ContainerFormat | None:
    """The container format that a file with these first bytes (SIGNATURE_BYTES of them) is in; None for a byte stream.

    Raises:
        NnpfError: it is something else that is known and cannot be used.
    """
    if head[4:8] in _BOXES:
        return QUICKTIME if head[8:10] == b"qt" or head[4:8] != b"ftyp" else MP4
    if head.startswith(_EBML):
        return MATROSKA
    if head.startswith(b"FLV\1"):
        return FLV
    if not head.startswith((b"\0\0\1", b"\0\0\0\1")) and _is_ts(head):
        return MPEG_TS
    for signature, what in _FOREIGN.items():
        if head.startswith(signature):
            raise NnpfError(f"is {what}")
    return None


def _is_ts(head: bytes) -> bool:
    for step in (TS_PACKET_BYTES, TS_PACKET_BYTES + 4):  # the latter with a time stamp (M2TS)
        for first in range(step):
            syncs = head[first : first + _SYNCS * step : step]
            if len(syncs) == _SYNCS and all(byte == _SYNC for byte in syncs):
                return True
    return False


def matroska_bytes(head: bytes) -> int | None:
    """How long a Matroska file is, by its Segment element; None where it does not say (live recordings)."""
    try:
        size, at = _ebml_size(head, len(_EBML))
        at += size
        if not head.startswith(_SEGMENT, at):
            return None
        size, at = _ebml_size(head, at + len(_SEGMENT))
        return None if size < 0 else at + size
    except IndexError:
        return None


def _ebml_size(data: bytes, at: int) -> tuple[int, int]:
    """A size as EBML codes it (RFC 8794 4), -1 for unknown; and where it ends."""
    length = 9 - data[at].bit_length()
    value = int.from_bytes(data[at : at + length], "big") & ((1 << 7 * length) - 1)
    return (-1 if value == (1 << 7 * length) - 1 else value), at + length


def what_is_missing(path: str) -> str | None:
    """What a file of the ISO base media format lacks to be opened, in words; None where nothing is known to be."""
    boxes = set()
    with Path(path).open("rb") as file:
        for _ in range(_MAX_BOXES):
            head = file.read(16)
            if len(head) < 8:
                break
            boxes.add(head[4:8])
            short = int.from_bytes(head[:4])
            size = int.from_bytes(head[8:]) if short == 1 else short
            if size < 8:  # 0: up to the end
                break
            file.seek(size - len(head), os.SEEK_CUR)
    if b"moov" in boxes:
        return None
    if boxes & {b"moof", b"styp"}:
        return "is a media segment, which is nothing without its initialisation segment: cat init.mp4 segment.m4s"
    return "has no index (moov box): it is cut off, or still being written"


def container_to_write(path: str) -> ContainerFormat | None:
    """The container format that a file name asks for; None for a byte stream.

    Raises:
        NnpfError: the name asks for one that is not written.
    """
    suffix = PurePath(path).suffix.lower()
    for form in WRITTEN:
        if suffix in form.suffixes:
            return form
    if suffix in _NOT_WRITTEN:
        names = " ".join(form.suffixes[0] for form in WRITTEN)
        raise NnpfError(f"{suffix} is not written; write {names}, or .266 .265 .264 for a byte stream", subject=path)
    return None
