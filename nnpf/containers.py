"""Video tracks of MP4, Matroska and MPEG-TS files as byte streams (Annex B), through PyAV.

    track = Track("in.mp4", MP4)
    for unit in track.nal_units():
        ...

What stands in the decoder configuration record comes first (behind an access unit delimiter if there is one), then the
pictures as they are in the file, each NAL unit with a start code in place of its length. Offsets count the bytes of
this byte stream. Packets come one by one: memory does not grow with the file.
"""

from __future__ import annotations

import struct
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from fractions import Fraction
from itertools import islice
from pathlib import Path
from typing import Any

import av

from nnpf import steps
from nnpf.container_formats import (
    MATROSKA,
    MP4,
    MPEG_TS,
    QUICKTIME,
    SIGNATURE_BYTES,
    ContainerFormat,
    matroska_bytes,
    what_is_missing,
)
from nnpf.errors import NnpfError
from vsei import configuration
from vsei.annexb import NalUnit, split
from vsei.configuration import Configuration
from vsei.errors import VseiError
from vsei.nal import Avc, Codec, Hevc, Vvc, read_header
from vsei.source import HEAD_BYTES, Progress

CODECS = {"h264": Codec.AVC, "hevc": Codec.HEVC, "vvc": Codec.VVC}
_START_CODE = b"\0\0\0\1"
# Packets that a decoder takes before it gives a picture. One that has taken more cannot decode them.
_MAX_UNDECODED = 256
_READING = "the container reader (FFmpeg)"
_AUD = {Codec.VVC: Vvc.AUD, Codec.HEVC: Hevc.AUD, Codec.AVC: Avc.AUD}


@dataclass(frozen=True, slots=True)
class Piece:
    """NAL units that stand together in a container.

    Attributes:
        offset: where they begin in the byte stream.
        units: their offsets count from there.
        packet: the PyAV packet that they come out of.
        record: where they come out of a decoder configuration record instead; it stands in front of `packet`.
    """

    offset: int
    units: tuple[NalUnit, ...]
    packet: Any
    record: Configuration | None = None

    @property
    def size(self) -> int:
        """Bytes in the byte stream."""
        return sum(len(unit.prefix) + len(unit.data) + unit.zeros for unit in self.units)

    @property
    def seconds(self) -> Fraction | None:
        """When the picture is shown (pts)."""
        pts = self.packet.pts
        return None if pts is None else Fraction(pts) * self.packet.time_base

    def nal_units(self) -> Iterator[NalUnit]:
        """The NAL units, with their offsets in the byte stream."""
        for unit in self.units:
            yield unit._replace(offset=self.offset + unit.offset)


@dataclass(frozen=True, slots=True)
class Origin:
    """Where in a container a NAL unit comes from.

    Attributes:
        seconds: when its picture is shown (pts); None where the container does not say.
        in_record: it stands in the decoder configuration record.
        cut_off: its picture is decoded but not shown: an edit list begins later.
    """

    seconds: Fraction | None
    in_record: bool
    cut_off: bool


class Origins:
    """Where the NAL units of a track come from, by their offsets in the byte stream. Filled while they are read."""

    def __init__(self) -> None:
        self._known: deque[tuple[int, Origin]] = deque()

    def put(self, piece: Piece) -> None:
        """What comes next."""
        origin = Origin(piece.seconds, piece.record is not None, bool(piece.packet.is_discard))
        self._known.append((piece.offset, origin))

    def at(self, offset: int) -> Origin:
        """Where a NAL unit comes from. What lies before is forgotten, so offsets must not fall."""
        while len(self._known) > 1 and self._known[1][0] <= offset:
            self._known.popleft()
        return self._known[0][1] if self._known else Origin(None, False, False)


class Track:
    """A video track of a container, to be read once or again. It can be edited like `vsei.source.Source`.

    Args:
        path: of the file.
        form: its format (`nnpf.container_formats.container_of`).
        index: of the stream, as ffprobe counts; None for the first one of a codec that is known.
        name: of the file, for errors; None where a user knows of none.

    Attributes:
        codec: of the track.
        index: 0-based, over all streams of the container.
        others: indices of the other tracks that could have been taken.
        rate: pictures per second, where the container says or implies it.
        time_base: unit of its timestamps, in seconds.
        aspect: width of a sample by its height, where the container says it.
        configuration: the decoder configuration record; None where NAL units have start codes (MPEG-TS).
        head: the first bytes of the byte stream.

    Raises:
        NnpfError: it cannot be opened, has no such track, or one of another codec, or its video is encrypted.
        VseiError: the decoder configuration record or the first packets are damaged.
    """

    def __init__(self, path: str, form: ContainerFormat, index: int | None = None, name: str | None = None) -> None:
        self._path, self.format, self.name = path, form, name
        with self.opened() as container:
            stream, self.others = _chosen(container, index, self.name)
            self.index: int = stream.index
            self.codec = CODECS[codec_name(stream)]
            self.rate: Fraction | None = stream.average_rate or stream.guessed_rate
            self.time_base: Fraction = stream.time_base
            self.aspect: Fraction | None = stream.sample_aspect_ratio or None
            self.configuration = self._record(stream.codec_context.extradata)
            self._size = int(container.size)
            self._check_whole(stream)
        self.head = self._head()
        if not self.head:
            raise NnpfError(f"holds no pictures: stream {self.index} is empty", subject=self.name)

    def _check_whole(self, stream: Any) -> None:
        """NnpfError where the file ends early. FFmpeg takes that for its end."""
        end = None
        if self.format is MATROSKA:
            with Path(self._path).open("rb") as file:
                end = matroska_bytes(file.read(SIGNATURE_BYTES))
        elif self.format in (MP4, QUICKTIME) and len(stream.index_entries):
            last = stream.index_entries[-1]
            end = last.pos + last.size
        if end is not None and end > self._size:
            raise NnpfError(
                f"is cut off: {self._size} bytes of {end} or more; what is left: ffmpeg -i IN -c copy OUT",
                subject=self.name,
            )

    @contextmanager
    def opened(self) -> Iterator[Any]:
        """The container, open for reading from its start."""
        try:
            with steps.step(_READING, "decoder_seconds"), plainly(f"cannot be opened as {self.format.name}", self.name):
                container = av.open(
                    f"file:{self._path}",  # without "file:", a name with a colon is taken for a protocol
                    format=self.format.demuxer,
                    options={"protocol_whitelist": "file"},  # what the file names may be a file only
                    metadata_errors="replace",
                )
        except NnpfError:
            if self.format in (MP4, QUICKTIME) and (problem := what_is_missing(self._path)):
                raise NnpfError(problem, subject=self.name) from None
            raise
        with container:
            yield container

    def display_matrix(self) -> list[int] | None:
        """How pictures are turned to be shown (ISO/IEC 14496-12 8.5.2.3), where container or stream say it. FFmpeg
        tells it with a decoded picture."""
        if self.format is MPEG_TS:
            return None
        with suppress(av.FFmpegError, NnpfError), self.opened() as container:
            with steps.step("the decoder (FFmpeg) at the first picture", "decoder_seconds"):
                demuxed = islice(container.demux(container.streams[self.index]), _MAX_UNDECODED)
                frame = next((frame for packet in demuxed for frame in packet.decode()), None)
            for data in () if frame is None else frame.side_data:
                if data.type.name == "DISPLAYMATRIX":
                    return list(struct.unpack("=9i", bytes(data)))
        return None

    def _record(self, extradata: bytes | None) -> Configuration | None:
        if extradata is None or not configuration.is_record(extradata):
            return None
        return configuration.read(self.codec, extradata)

    def _head(self) -> bytes:
        parts: list[bytes] = []
        size = 0
        for unit in self.nal_units():
            parts.append(unit.to_bytes())
            size += len(parts[-1])
            if size > HEAD_BYTES:
                break
        return b"".join(parts)

    @property
    def size(self) -> int | None:
        """Bytes of the file. (Those of the byte stream are not known before it has been read.)"""
        return self._size if self._size > 0 else None

    def keep(self) -> None:
        """Nothing to do: it can be read again as it is."""

    def rest(self) -> _Bytes:
        """The byte stream behind the head, as a file."""
        return _Bytes(self.nal_units(), len(self.head))

    def nal_units(self, progress: Progress | None = None, origins: Origins | None = None) -> Iterator[NalUnit]:
        """All NAL units, from the start.

        Args:
            progress: told of the bytes read.
            origins: told where they come from.

        Raises:
            NnpfError: the file is damaged.
            VseiError: a decoder configuration record is.
        """
        with self.opened() as container:
            for piece in self.pieces(packets(container, [container.streams[self.index]], self.name)):
                if origins is not None:
                    origins.put(piece)
                yield from piece.nal_units()
                if progress is not None:
                    progress.advance(piece.size)

    def pieces(self, of_track: Iterable[Any]) -> Iterator[Piece]:
        """The packets of the track as NAL units, each packet one piece; three where a record comes in between."""
        offset = 0
        record = self.configuration
        for number, packet in enumerate(of_track):
            if packet.has_sidedata("new_extradata"):
                record = self._record(bytes(packet.get_sidedata("new_extradata")))
            try:
                units = self._units(packet)
            except VseiError as error:
                at = "" if packet.pts is None else f" ({float(packet.pts * packet.time_base):.3f} s)"
                raise NnpfError(f"packet {number}{at}: {error.problem}", subject=self.name) from None
            parts: list[tuple[tuple[NalUnit, ...], Configuration | None]] = [(units, None)]
            if record is not None and record.nal_units:
                # An access unit delimiter is the first NAL unit of an access unit (H.266 7.4.2.4.3 and its like).
                first = int(bool(units) and self._is_delimiter(units[0]))
                parts = [(units[:first], None), (_placed(record.nal_units), record), (_moved(units[first:]), None)]
            record = None
            for some, of_record in parts:
                if some:
                    piece = Piece(offset, some, packet, of_record)
                    yield piece
                    offset += piece.size

    def _units(self, packet: Any) -> tuple[NalUnit, ...]:
        data = bytes(packet)
        if self.configuration is not None:
            return _placed(configuration.split_lengths(data, self.configuration.length_size))
        return tuple(split([data]))

    def _is_delimiter(self, unit: NalUnit) -> bool:
        try:
            return read_header(self.codec, unit.data).nal_unit_type == _AUD[self.codec]
        except VseiError:
            return False


def _placed(nal_units: Iterable[bytes | memoryview]) -> tuple[NalUnit, ...]:
    """NAL units with start codes in front, one after the other."""
    units: list[NalUnit] = []
    offset = 0
    for whole in nal_units:
        data = memoryview(whole)
        size = len(data)
        while size and not data[size - 1]:
            size -= 1  # no NAL unit ends in a zero byte; what does has trailing zeros
        units.append(NalUnit(offset, _START_CODE, data[:size], len(data) - size))
        offset += len(_START_CODE) + len(data)
    return tuple(units)


def _moved(units: tuple[NalUnit, ...]) -> tuple[NalUnit, ...]:
    """The same NAL units, their offsets counted from the first of them."""
    return tuple(unit._replace(offset=unit.offset - units[0].offset) for unit in units)


class _Bytes:
    """NAL units as a file to read from (`vsei.splicing.Source`)."""

    def __init__(self, units: Iterator[NalUnit], skipped: int) -> None:
        self._units, self._skipped = units, skipped
        self._held = memoryview(b"")

    def readinto1(self, buffer: memoryview, /) -> int:
        """Fill some of `buffer`; 0 is the end."""
        while not self._held:
            unit = next(self._units, None)
            if unit is None:
                return 0
            data = unit.to_bytes()
            self._held = memoryview(data)[self._skipped :]
            self._skipped = max(0, self._skipped - len(data))
        count = min(len(buffer), len(self._held))
        buffer[:count] = self._held[:count]
        self._held = self._held[count:]
        return count


def packets(container: Any, streams: list[Any], name: str | None) -> Iterator[Any]:
    """The packets of some streams, in the order of the file.

    Raises:
        NnpfError: the file is damaged, or video in it is encrypted.
    """
    demuxed = container.demux(streams)
    while True:
        try:
            with steps.step(_READING, "decoder_seconds"), plainly("is damaged", name):
                packet = next(demuxed, None)
        except IndexError:
            # PyAV has no object for a stream that begins later than the file (MPEG-TS). Begun anew, it passes over it.
            demuxed = container.demux(streams)
            continue
        if packet is None:
            return
        if packet.size == 0:
            continue  # PyAV's sign that a stream has ended
        if packet.has_sidedata("encryption_info"):
            raise NnpfError("is encrypted; decrypt it first", subject=name)
        if packet.is_corrupt and container.format.name != MPEG_TS.demuxer:
            raise NnpfError(f"is damaged or cut off at byte {packet.pos}", subject=name)
        yield packet


@contextmanager
def plainly(what: str, name: str | None) -> Iterator[None]:
    """Errors of FFmpeg as one clear line."""
    try:
        yield
    except (av.FFmpegError, OSError, ValueError) as error:
        if isinstance(error, NnpfError | VseiError):
            raise
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise NnpfError(f"{what}: {reason}", subject=name) from None


def codec_name(stream: Any) -> str:
    """As FFmpeg calls it."""
    return stream.codec_context.codec.canonical_name if stream.codec_context is not None else "unknown"


def describe(stream: Any) -> str:
    """`stream 1 (audio, aac)`"""
    return f"stream {stream.index} ({stream.type}, {codec_name(stream)})"


def _chosen(container: Any, index: int | None, name: str | None) -> tuple[Any, tuple[int, ...]]:
    """The video stream to take, and the others that could have been."""
    listed = ", ".join(map(describe, container.streams)) or "no streams"
    if index is not None:
        stream = next((s for s in container.streams if s.index == index), None)
        if stream is None:
            raise NnpfError(f"has no stream {index}; it holds {listed}", subject=name)
        if stream.type != "video" or codec_name(stream) not in CODECS:
            raise NnpfError(f"{describe(stream)} is none of H.266, H.265, H.264; it holds {listed}", subject=name)
        return stream, ()
    usable = [
        s
        for s in container.streams.video
        if codec_name(s) in CODECS and not s.disposition & av.stream.Disposition.attached_pic
    ]
    if not usable:
        raise NnpfError(f"holds no video of H.266, H.265 or H.264, which carry these messages: {listed}", subject=name)
    return usable[0], tuple(s.index for s in usable[1:])
