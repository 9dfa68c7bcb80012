"""The way into a container: an edited byte stream in the place of a track, or a byte stream with times of its own.

    with Remux(track, MP4, file, "out.mp4") as copy:
        copy.take(edit.strip(copy.nal_units(), track.codec, unwanted))

Each NAL unit goes into the packet that it came out of, or that its neighbour came out of, and the packet keeps its
timestamps. What came out of the decoder configuration record goes back there. Everything else is copied.
"""

from __future__ import annotations

import heapq
import io
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any, BinaryIO, NamedTuple

import av

from nnpf.container_formats import MATROSKA, MP4, MPEG_TS, QUICKTIME, ContainerFormat
from nnpf.containers import CODECS, Piece, Track, codec_name, describe, packets, plainly
from nnpf.errors import NnpfError
from vsei import configuration
from vsei.annexb import NalUnit, split
from vsei.avc.nal_units import HeaderState
from vsei.colour import sample_aspect_ratio
from vsei.configuration import Configuration
from vsei.errors import VseiError
from vsei.nal import Avc, Codec, read_header
from vsei.pictures import Picture, PictureUnit, picture_units, with_output_index
from vsei.source import Progress

BUFFER_BYTES = 1 << 20
# Kinds of streams that are copied. Data streams (time codes, telemetry) mean something to one container only.
_COPIED = ("video", "audio", "subtitle", "attachment")
_ISO = (MP4, QUICKTIME)
# What MPEG-TS has a way to announce. FFmpeg writes all else too, as private data of which nobody knows what it is.
_IN_MPEG_TS = frozenset(
    (
        *("h264", "hevc", "vvc", "mpeg1video", "mpeg2video", "mpeg4"),
        *("mp1", "mp2", "mp3", "aac", "aac_latm", "ac3", "eac3", "dts", "truehd", "opus", "s302m"),
        *("dvb_subtitle", "dvb_teletext"),
    )
)
_LONGEST_PRIMING = Fraction(1, 10)  # seconds
# Packets among which the picture that is shown first is looked for: no GOP of an encoder has so many leading pictures.
_MAX_LEADING = 256
_MAX_HELD = 4096  # packets of all streams, until that is known


class ContainerFile:
    """A container that is being written."""

    def __init__(self, form: ContainerFormat, file: BinaryIO, name: str) -> None:
        if form.muxer is None:
            raise ValueError(f"{form.name} is not written")
        if form in _ISO and not file.seekable():
            raise NnpfError(f"{form.name} goes back in its file, which a pipe cannot; write .mkv or .ts", subject=name)
        self.form, self.name = form, name
        with plainly("cannot be written", name):
            self.container: Any = av.open(file, "w", format=form.muxer, buffer_size=BUFFER_BYTES)

    def stream_like(self, template: Any, way_out: str) -> Any:
        """A new stream, of the parameters of another one. NnpfError: the format has no room for it."""
        if self._has_room(template):
            with suppress(ValueError, av.FFmpegError):
                return self.container.add_stream_from_template(template, opaque=True)
        raise NnpfError(f"{self.form.name} takes no {describe(template)}; {way_out}", subject=self.name)

    def _has_room(self, template: Any) -> bool:
        """False where FFmpeg takes a stream that it then makes nothing of."""
        if template.type == "attachment":  # MP4 fails at the first packet of another stream
            return self.form is MATROSKA
        return self.form is not MPEG_TS or codec_name(template) in _IN_MPEG_TS

    def mux(self, packet: Any) -> None:
        with plainly(f"{self.form.name} refuses {_described(packet)}", self.name):
            self.container.mux(packet)

    def close(self) -> None:
        with plainly(f"{self.form.name} cannot be written", self.name):
            self.container.close()


def _described(packet: Any) -> str:
    def seconds(time: int | None) -> str:
        return "no time" if time is None else f"{float(time * packet.time_base):.3f} s"

    return (
        f"the packet of stream {packet.stream_index} to show at {seconds(packet.pts)}, decode at {seconds(packet.dts)}"
    )


@dataclass(slots=True)
class _Waiting:
    """A piece of the track that the edit has not come to yet, and the packets of other streams that come after it."""

    piece: Piece
    others: list[Any] = field(default_factory=list)


class Remux:
    """Copies a container, one track of it edited on the way.

    Args:
        track: its NAL units are taken anew, from its start.
        form: the format to write.
        file: opened for writing; MP4 has to seek in it.
        name: of the file, for errors.
        video_only: leave out everything but the track.

    Attributes:
        left_out: streams, and what else is not copied, in words.

    Raises:
        NnpfError: the format refuses a stream or a packet.
    """

    def __init__(
        self, track: Track, form: ContainerFormat, file: BinaryIO, name: str, *, video_only: bool = False
    ) -> None:
        self.track = track
        self.left_out: list[str] = []
        self._output = ContainerFile(form, file, name)
        self._video_only = video_only
        self._waiting: deque[_Waiting] = deque()
        self._early: list[Any] = []  # packets of other streams from before the first piece
        self._packet: Any = None  # the one that is being put together
        self._kept: list[NalUnit] = []  # of it
        self._untouched = True
        self._may_have_fields = _may_have_fields(track)
        self._decoding_times = _DecodingTimes(track) if track.format is MATROSKA else None
        self._beginning = _Beginning() if form in _ISO else None
        self._last_dts: dict[int, int] = {}  # of other streams
        self._stack = ExitStack()

    def __enter__(self) -> Remux:
        self._input: Any = self._stack.enter_context(self.track.opened())
        self._streams = self._added()
        self._output.container.metadata.update(self._input.metadata)
        if chapters := self._input.chapters():
            self._output.container.set_chapters(chapters)
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        with self._stack:
            if kind is None:
                self._output.close()

    def _added(self) -> dict[int, Any]:
        """The streams of the output, by those of the input."""
        added = {}
        for stream in self._input.streams:
            is_track = stream.index == self.track.index
            if not is_track and (self._video_only or stream.type not in _COPIED):
                self.left_out.append(describe(stream))
                continue
            try:
                new = self._output.stream_like(stream, self._way_out(is_track))
            except NnpfError:
                if not _is_ornament(stream):
                    raise
                self.left_out.append(describe(stream))
                continue
            added[stream.index] = new
            new.metadata.update(stream.metadata)
            new.disposition = stream.disposition
            if stream.type == "video" and stream.average_rate and stream.average_rate == stream.base_rate:
                # Matroska says it to readers who cannot find it out. Where times vary it would mislead them.
                new.codec_context.framerate = stream.average_rate
            if is_track:
                self._keep_aspect(new)
            if is_track and self._keeps_tag(stream):
                new.codec_context.codec_tag = stream.codec_context.codec_tag
        return added

    def _way_out(self, is_track: bool) -> str:
        """What to do about a stream that the format does not take."""
        if is_track:
            return "write .mkv, which takes most"
        # The format that it is in takes it.
        suffix = (self.track.format.suffixes or (".mkv",))[0]
        return f"write {suffix}, turn it into another format first (ffmpeg), or leave all but the video: --video-only"

    def _keep_aspect(self, new: Any) -> None:
        """Of the samples, where the container says something else than the stream."""
        track = self.track
        if track.aspect is None or track.aspect == sample_aspect_ratio(split([track.head]), track.codec):
            return
        if self._output.form in _ISO:
            new.codec_context.sample_aspect_ratio = track.aspect
        else:  # for Matroska, FFmpeg takes it from where PyAV does not let anybody write
            self.left_out.append(f"the sample aspect ratio, {ratio(track.aspect)}")

    def _keeps_tag(self, stream: Any) -> bool:
        """FFmpeg writes "hev1" if not told otherwise; some players take "hvc1" only."""
        both = self.track.format in _ISO and self._output.form in _ISO
        return both and stream.codec_context.codec_tag == "hvc1"

    def nal_units(self, progress: Progress | None = None) -> Iterator[NalUnit]:
        """The NAL units of the track, to be edited and given to `take`. Once."""
        for piece in self.track.pieces(self._of_track()):
            self._waiting.append(_Waiting(piece))
            yield from piece.nal_units()
            if progress is not None:
                progress.advance(piece.size)

    def _of_track(self) -> Iterator[Any]:
        wanted = [stream for stream in self._input.streams if stream.index in self._streams]
        for packet in packets(self._input, wanted, self.track.name):
            if packet.stream_index == self.track.index:
                yield packet
            elif self._waiting:
                self._waiting[-1].others.append(packet)
            else:
                self._early.append(packet)

    def take(self, units: Iterable[NalUnit]) -> int:
        """Write the edited byte stream. Returns how many bytes it has.

        Args:
            units: what came out of `nal_units`, with what was added; what was added has the offset of its neighbour.
        """
        size = 0
        kept: list[NalUnit] = []  # of the piece that is first in line
        for unit in units:
            while len(self._waiting) > 1 and self._waiting[1].piece.offset <= unit.offset:
                self._finish_piece(kept)
                kept = []
            kept.append(unit)
            size += len(unit.prefix) + len(unit.data) + unit.zeros
        while self._waiting:
            self._finish_piece(kept)
            kept = []
        self._mux_others(self._early)
        if self._decoding_times is not None:
            for packet in self._decoding_times.rest():
                self._mux(packet, of_track=True)
        if self._beginning is not None:
            for packet in self._beginning.rest():
                self._output.mux(packet)
        return size

    def _finish_piece(self, kept: list[NalUnit]) -> None:
        waiting = self._waiting.popleft()
        piece = waiting.piece
        untouched = len(kept) == len(piece.units) and all(
            a.data is b.data for a, b in zip(kept, piece.units, strict=True)
        )
        if piece.record is not None:
            if not untouched:
                self._change_record(piece, piece.record, kept)
        else:
            self._kept += kept
            self._untouched &= untouched
        if self._packet is None:
            self._packet = piece.packet
        following = self._waiting[0].piece.packet if self._waiting else None
        if following is not None and following is not piece.packet and self._is_second_field(following):
            self._untouched = False
        elif following is not piece.packet:
            if self._kept:
                self._mux_track(self._packet if self._untouched else self._rebuilt(self._packet))
            self._packet, self._kept, self._untouched = None, [], True
        self._mux_others(waiting.others)

    def _is_second_field(self, packet: Any) -> bool:
        """Where MPEG-TS has one PES packet for both fields of a frame, FFmpeg makes two packets of it, and the second
        one has no times."""
        return self._may_have_fields and packet.pts is None and packet.dts is None

    def _mux_track(self, packet: Any) -> None:
        packet.stream = self._streams[self.track.index]
        self._mux_others(self._early)
        self._early = []
        for timed in (packet,) if self._decoding_times is None else self._decoding_times.put(packet):
            self._mux(timed, of_track=True)

    def _mux_others(self, others: list[Any]) -> None:
        for packet in others:
            index = packet.stream_index
            packet.stream = self._streams[index]
            if packet.dts is not None:
                # FFmpeg gives packets of fragments of one frame the same time, and takes none that do not go up.
                last = self._last_dts.get(index)
                if last is not None and packet.dts <= last:
                    packet.dts = last + 1
                    packet.pts = None if packet.pts is None else max(packet.pts, packet.dts)
                self._last_dts[index] = packet.dts
            self._mux(packet, of_track=False)

    def _mux(self, packet: Any, *, of_track: bool) -> None:
        for ready in (packet,) if self._beginning is None else self._beginning.put(packet, of_track=of_track):
            self._output.mux(ready)

    def _rebuilt(self, packet: Any) -> Any:
        record = self.track.configuration
        new: Any = av.Packet(
            b"".join(unit.to_bytes() for unit in self._kept)
            if record is None
            else configuration.join_lengths((bytes(u.data) + bytes(u.zeros) for u in self._kept), record.length_size)
        )
        new.pts, new.dts, new.duration, new.time_base = packet.pts, packet.dts, packet.duration, packet.time_base
        new.is_keyframe = packet.is_keyframe
        for data in packet.iter_sidedata():
            new.set_sidedata(data)
        return new

    def _change_record(self, piece: Piece, record: Configuration, kept: list[NalUnit]) -> None:
        if record is not self.track.configuration:
            raise NnpfError(
                "the decoder configuration changes inside the file, and messages stand in it; write a byte stream",
                subject=self.track.name,
            )
        at = {piece.offset + unit.offset: index for index, unit in enumerate(piece.units)}
        new = configuration.changed(record, [(at[u.offset], bytes(u.data) + bytes(u.zeros)) for u in kept])
        self._streams[self.track.index].codec_context.extradata = new.to_bytes()


def ratio(value: Fraction) -> str:
    """`4:3`"""
    return f"{value.numerator}:{value.denominator}"


def _is_ornament(stream: Any) -> bool:
    """Whether it is no part of what is shown and heard: a cover picture, an attached file."""
    return stream.type == "attachment" or bool(stream.disposition & av.stream.Disposition.attached_pic)


def _may_have_fields(track: Track) -> bool:
    """Whether frames of the track may be coded as two fields: of H.264, as the first SPS says."""
    if track.codec is not Codec.AVC:
        return False
    state = HeaderState()
    with suppress(VseiError):
        for unit in split([track.head]):
            header = read_header(Codec.AVC, unit.data)
            if header.nal_unit_type == Avc.SPS:
                state.take(header, unit.data)
    return any(not sps.values["frame_mbs_only_flag"] for sps in state.sets.sps.values())


class _Beginning:
    """The first packets of an MP4 or QuickTime file, timed so that no picture is hidden.

    FFmpeg lets such a file begin with the picture that is decoded first, unless times of decoding begin below 0. An
    edit list cuts off what is shown before that picture, as at the start of VVenC's streams out of MPEG-TS. So there
    all streams begin earlier: what is shown first is shown at 0.
    """

    def __init__(self) -> None:
        self._held: list[Any] = []
        self._track: list[Any] = []
        self._shift: Fraction | None = None

    def put(self, packet: Any, *, of_track: bool) -> list[Any]:
        """The next packet; returns those that are ready."""
        if self._shift is not None:
            return [self._shifted(packet)]
        self._held.append(packet)
        if not of_track:
            return self.rest() if len(self._held) > _MAX_HELD else []
        self._track.append(packet)
        first = self._track[0].pts
        decided = first is None or packet.pts is None or packet.pts > first or len(self._track) > _MAX_LEADING
        return self.rest() if decided else []

    def rest(self) -> list[Any]:
        """What is still held."""
        shown = [packet for packet in self._track if packet.pts is not None]
        first = min(shown, key=lambda packet: packet.pts, default=None)
        self._shift = Fraction(0)
        hidden = any(packet.is_discard for packet in shown)  # by an edit list of the input already
        if first is not None and first is not self._track[0] and not hidden and (first.dts or 0) > 0:
            self._shift = first.pts * first.time_base
        held, self._held, self._track = self._held, [], []
        return [self._shifted(packet) for packet in held]

    def _shifted(self, packet: Any) -> Any:
        if self._shift:
            units = round(self._shift / packet.time_base)
            packet.pts, packet.dts = (None if time is None else time - units for time in (packet.pts, packet.dts))
        return packet


class _DecodingTimes:
    """Decoding timestamps for packets that come without, as in Matroska: the presentation timestamps in order, as much
    earlier as the stream reorders pictures."""

    def __init__(self, track: Track) -> None:
        first = next(
            (u.picture for u in picture_units(split([track.head]), track.codec) if u.picture is not None), None
        )
        self._delay = first.max_num_reorder if first is not None else 0
        self._name = track.name
        self._shown: list[int] = []  # a heap
        self._held: list[Any] = []  # the first packets
        self._count = 0

    def put(self, packet: Any) -> list[Any]:
        """The next packet; returns those that are ready."""
        if packet.pts is None:
            raise NnpfError(f"packet {self._count} does not say when it is shown", subject=self._name)
        heapq.heappush(self._shown, packet.pts)
        self._count += 1
        if self._count <= self._delay:
            self._held.append(packet)
            return []
        ready = self.rest()
        packet.dts = heapq.heappop(self._shown)
        return [*ready, packet]

    def rest(self) -> list[Any]:
        """The first packets, whose decoding times lie before all presentation times."""
        held, self._held = self._held, []
        for i, packet in enumerate(held):
            packet.dts = self._shown[0] - (len(held) - i) * max(1, packet.duration or 1)
        return held


class Others:
    """The other streams of a container, copied beside pictures that are made anew.

    Args:
        track: that the pictures are made of.
        output: that the streams are added to; nothing may have been written into it.

    Attributes:
        left_out: streams that are not copied, in words.
    """

    def __init__(self, track: Track, output: ContainerFile) -> None:
        self._track, self._output = track, output
        self.left_out: list[str] = []
        self._stack = ExitStack()

    def __enter__(self) -> Others:
        container = self._stack.enter_context(self._track.opened())
        self._streams: dict[int, Any] = {}
        for stream in container.streams:
            if stream.index == self._track.index:
                continue
            if stream.type not in _COPIED or stream.type == "video":
                self.left_out.append(describe(stream))
                continue
            try:
                new = self._output.stream_like(stream, "leave all but the video: --video-only")
            except NnpfError:
                if stream.type == "audio":
                    raise
                self.left_out.append(describe(stream))
                continue
            self._streams[stream.index] = new
            new.metadata.update(stream.metadata)
            new.disposition = stream.disposition
        self._output.container.metadata.update(container.metadata)
        if chapters := container.chapters():
            self._output.container.set_chapters(chapters)
        wanted = [stream for stream in container.streams if stream.index in self._streams]
        self._packets = packets(container, wanted, self._track.name) if wanted else iter(())
        self._next = next(self._packets, None)
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def mux_until(self, seconds: Fraction | None) -> None:
        """Copy what is shown or heard until then; None: all that is left."""
        while self._next is not None and (seconds is None or _begin_of(self._next) <= seconds):
            packet, self._next = self._next, next(self._packets, None)
            # What an edit list cuts off stays away, but for what decoders of sound begin with (AAC: 2112 samples).
            if not packet.is_discard or _begin_of(packet) >= -_LONGEST_PRIMING:
                packet.stream = self._streams[packet.stream_index]
                self._output.mux(packet)


def _begin_of(packet: Any) -> Fraction:
    time = packet.dts if packet.pts is None else packet.pts
    return Fraction(0) if time is None else Fraction(time * packet.time_base)


class Mux:
    """Puts a byte stream into a container of its own.

    Args:
        head: the first bytes of the stream.
        rate: pictures per second.
        form, file, name: as for Remux.

    Raises:
        NnpfError: the format does not take it.
    """

    def __init__(
        self, codec: Codec, head: bytes, rate: Fraction, form: ContainerFormat, file: BinaryIO, name: str
    ) -> None:
        self._codec, self._rate = codec, rate
        self._output = ContainerFile(form, file, name)
        demuxer = next(key for key, value in CODECS.items() if value is codec)
        with plainly("cannot be read by FFmpeg", None), av.open(io.BytesIO(head), format=demuxer) as raw:
            self._stream = self._output.stream_like(raw.streams.video[0], "write .mkv or .mp4")
        self._stream.time_base = 1 / rate
        self._frames = 0
        self._delay: int | None = None

    def __enter__(self) -> Mux:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            self._output.close()

    def take(self, units: Iterable[NalUnit]) -> int:
        """Write the byte stream. Returns how many bytes it has.

        Raises:
            VseiError: its headers are broken.
            NnpfError: it has several layers, or pictures that cannot be decoded.
        """
        size = 0
        frame: tuple[bytes, Picture, int | None] | None = None  # that waits for its second field
        coded = (_Coded.of(unit) for unit in picture_units(units, self._codec))
        for output_index, item in with_output_index(coded, lambda item: item.picture):
            size += len(item.data)
            if item.other_layers:
                raise _only_ffmpeg("several layers")
            if item.picture is None:
                if item.problem is not None:
                    raise item.problem
                continue  # an end of sequence or zeros after the last picture
            if frame is not None and item.picture.second_field:
                self._mux(frame[0] + item.data, *frame[1:])
                frame = None
                continue
            if frame is not None:
                self._mux(*frame)
            frame = item.data, item.picture, output_index
        if frame is not None:
            self._mux(*frame)
        return size

    def _mux(self, data: bytes, picture: Picture, output_index: int | None) -> None:
        if output_index is None and self._codec is Codec.AVC:
            raise _only_ffmpeg("pictures that cannot be decoded")
        if self._delay is None:
            self._delay = picture.max_num_reorder
        packet: Any = av.Packet(data)
        packet.stream, packet.time_base, packet.duration = self._stream, 1 / self._rate, 1
        # As many pictures as a stream reorders are decoded before the first one is shown.
        packet.dts = self._frames - self._delay
        packet.pts = packet.dts if output_index is None else output_index
        packet.is_keyframe = picture.random_access
        self._frames += 1
        self._output.mux(packet)


def _only_ffmpeg(what: str) -> NnpfError:
    return NnpfError(f"the stream has {what}, which only FFmpeg puts into containers: ffmpeg -i IN -c copy OUT")


class _Coded(NamedTuple):
    """A picture unit, as far as it is kept until its place in output order is known."""

    data: bytes
    picture: Picture | None
    problem: VseiError | None
    other_layers: bool  # than the base layer

    @classmethod
    def of(cls, unit: PictureUnit) -> _Coded:
        problem = unit.problem if any(header is not None for header in unit.headers) else None
        layers = {header.layer_id for header in unit.headers if header is not None}
        return cls(b"".join(nal.to_bytes() for nal in unit.units), unit.picture, problem, layers - {0} != set())
