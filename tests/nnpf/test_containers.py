"""Containers: their tracks as byte streams, and byte streams in the place of tracks."""

import io
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import pytest

from nnpf.container_formats import (
    MATROSKA,
    MP4,
    MPEG_TS,
    QUICKTIME,
    SIGNATURE_BYTES,
    container_of,
    container_to_write,
    matroska_bytes,
)
from nnpf.containers import Origins, Track
from nnpf.errors import NnpfError
from nnpf.muxing import Mux, Remux, _Beginning
from nnpf.opening import holds_track, open_stream, stream_of
from tests.nnpf import container_files
from tests.nnpf.container_files import PICTURES
from tests.vsei.encoded import encode
from vsei import edit, selection
from vsei.annexb import NalUnit, read_chunks, split
from vsei.edit import Placement
from vsei.listing import sei_messages
from vsei.nal import Avc, Codec, Hevc, Vvc, read_header
from vsei.pictures import picture_units
from vsei.sei import SeiMessage

CODECS = {"libx264": Codec.AVC, "libx265": Codec.HEVC, "vvc": Codec.VVC}
SUFFIXES = (".mp4", ".mov", ".mkv", ".ts")
AUD = {Codec.AVC: Avc.AUD, Codec.HEVC: Hevc.AUD, Codec.VVC: Vvc.AUD}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("containers")


@pytest.fixture(scope="module")
def made(folder: Path, samples: Path):
    """A file of a codec in a container, by name."""

    def make(codec: str, suffix: str) -> Path:
        path = folder / f"{codec}{suffix}"
        if codec == "vvc":
            return container_files.vvc(path, samples / "bbb_q37.266")
        return container_files.encoded(path, codec)

    return make


def track_of(path: Path, index: int | None = None) -> Track:
    form = container_of(path.read_bytes()[:SIGNATURE_BYTES])
    assert form is not None
    return Track(str(path), form, index, str(path))


def units_of(track: Track) -> list[NalUnit]:
    return [unit._replace(data=memoryview(bytes(unit.data))) for unit in track.nal_units()]


# --- what a file is --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("head", "form"),
    [
        (b"\0\0\0\x20ftypisom\0\0\2\0", MP4),
        (b"\0\0\0\x14ftypqt  \0\0\2\0", QUICKTIME),
        (b"\0\0\0\x08wide\0\0\0\0mdat", QUICKTIME),
        (b"\x1aE\xdf\xa3\1\0\0\0", MATROSKA),
        ((b"G" + bytes(187)) * 4, MPEG_TS),
        ((b"G" + bytes(187)) * 3, None),
        ((bytes(4) + b"G" + bytes(187)) * 4, MPEG_TS),
        (bytes(100) + (b"G" + bytes(187)) * 4, MPEG_TS),
        (b"\0\0\1\x47" + bytes(87) + (b"G" + bytes(187)) * 4, None),
        (b"\0\0\0\1\x67\x64\0\x0a", None),
        (b"\0\0\1\x40\1\x0c\1\xff", None),
        (b"", None),
        (b"no stream", None),
    ],
)
def test_the_first_bytes_tell(head: bytes, form) -> None:
    assert container_of(head) is form


@pytest.mark.parametrize(
    ("head", "what"),
    [
        (b"YUV4MPEG2 W96", r"uncompressed pictures \(Y4M\)"),
        (b"RIFF\0\0\0\0AVI ", "ffmpeg -i IN -c copy OUT.mkv"),
        (b"\0\0\1\xba\x44", "ffmpeg -i IN -c copy OUT.ts"),
        (b"\x06\x0e\x2b\x34\x02\x05\x01\x01\x0d\x01", "is an MXF file; remux it: ffmpeg -i IN -c copy OUT.mkv"),
        (b"nut/multimedia container\0", "is a NUT file"),
        (b"filters:\n  - id: 1", "the stream comes first"),
    ],
)
def test_other_files_are_called_by_their_name(head: bytes, what: str) -> None:
    with pytest.raises(NnpfError, match=what):
        container_of(head)


def test_the_name_says_what_is_written() -> None:
    assert container_to_write("a/out.MP4") is MP4
    assert container_to_write("out.mov") is QUICKTIME
    assert container_to_write("out.mkv") is MATROSKA
    assert container_to_write("out.ts") is MPEG_TS
    assert container_to_write("out.266") is container_to_write("out") is container_to_write("mp4") is None
    with pytest.raises(NnpfError, match=r"out.webm: .webm is not written; write .mp4 .mov .mkv .ts, or .266"):
        container_to_write("out.webm")


# --- reading ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("codec", CODECS)
def test_the_byte_stream_decodes_to_the_same_pictures(made, codec: str, suffix: str) -> None:
    path = made(codec, suffix)
    track = track_of(path)
    assert track.codec is CODECS[codec]
    whole = b"".join(unit.to_bytes() for unit in track.nal_units())
    assert track.head == whole
    # FFmpeg's own way from lengths to start codes has the same slices.
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        name = {"libx264": "h264", "libx265": "hevc"}.get(codec, codec)
        bsf = av.bitstream.BitStreamFilterContext(f"{name}_mp4toannexb", stream)
        theirs = b"".join(bytes(out) for packet in container.demux(stream) for out in bsf.filter(packet))
    assert [bytes(u.data) for u in split([whole]) if is_slice(track.codec, u)] == [
        bytes(u.data) for u in split([theirs]) if is_slice(track.codec, u)
    ]


def is_slice(codec: Codec, unit: NalUnit) -> bool:
    kind = read_header(codec, unit.data).nal_unit_type
    return kind in (1, 5) if codec is Codec.AVC else kind <= (31 if codec is Codec.HEVC else 11)


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("codec", CODECS)
def test_offsets_count_the_byte_stream(made, codec: str, suffix: str) -> None:
    track = track_of(made(codec, suffix))
    units = units_of(track)
    again = list(split([b"".join(unit.to_bytes() for unit in units)]))
    assert [(u.offset, bytes(u.data)) for u in units] == [(u.offset, bytes(u.data)) for u in again]


def test_a_delimiter_stays_first_and_the_record_comes_behind_it(folder: Path, made) -> None:
    # MPEG-TS has access unit delimiters; put into MP4, they stay in the packets.
    source, path = made("libx265", ".ts"), folder / "delimiters.mp4"
    copy(source, path)
    kinds = [read_header(Codec.HEVC, unit.data).nal_unit_type for unit in track_of(path).nal_units()]
    assert kinds[:4] == [Hevc.AUD, Hevc.VPS, Hevc.SPS, Hevc.PPS]


def test_where_messages_come_from(made) -> None:
    """x265 describes itself in the decoder configuration record; times are those of the packets."""
    track, origins = track_of(made("libx265", ".mp4")), Origins()
    (found,) = sei_messages(track.nal_units(origins=origins), Codec.HEVC)
    origin = origins.at(found.offset)
    assert found.name == "user_data_unregistered"
    assert origin.in_record
    assert origin.seconds == 0


@pytest.mark.parametrize("suffix", [".mp4", ".ts"])
def test_times_are_those_of_the_packets(made, suffix: str) -> None:
    path = made("libx264", suffix)
    track, origins = track_of(path), Origins()
    groups = edit.groups(track.nal_units(origins=origins), Codec.AVC)
    times = [origins.at(group.units[group.first_vcl].nal.offset).seconds for group in groups]
    assert times == [entry[0] for entry in container_files.packets(path)[0]]


def test_a_pipe_with_a_container_is_kept_in_a_file(made) -> None:
    path = made("libx264", ".mp4")

    class Pipe(io.FileIO):
        def seekable(self) -> bool:
            return False

    with io.BufferedReader(Pipe(path)) as file, stream_of(file, None) as track:
        assert isinstance(track, Track)
        assert track.head == track_of(path).head


# --- what is refused -------------------------------------------------------------------------------------------------


def test_a_codec_that_carries_no_such_messages_is_called_by_its_name(folder: Path) -> None:
    path = container_files.encoded(folder / "mpeg4.mp4", "mpeg4", audio=False)
    with pytest.raises(NnpfError, match=r"mpeg4.mp4: holds no video of H.266, .*: stream 0 \(video, mpeg4\)"):
        track_of(path)
    assert not holds_track(path)


def test_a_stream_is_picked(folder: Path) -> None:
    path = container_files.encoded(folder / "two.mkv", "libx264", audio=True, videos=2)
    first, second = track_of(path), track_of(path, 1)
    assert (first.index, first.others) == (0, (1,))
    assert (second.index, second.others) == (1, ())
    packets = container_files.packets(path)
    for track, other in ((first, second), (second, first)):
        unit = next(bytes(u.data) for u in units_of(track) if is_slice(Codec.AVC, u))
        assert unit in packets[track.index][0][2]
        assert unit not in packets[other.index][0][2]
    with pytest.raises(NnpfError, match=r"stream 2 \(audio, aac\) is none of H.266"):
        track_of(path, 2)
    with pytest.raises(NnpfError, match=r"has no stream 5; it holds stream 0 \(video, h264\), stream 1"):
        track_of(path, 5)


def test_a_byte_stream_has_no_streams_to_pick(samples: Path) -> None:
    with pytest.raises(NnpfError, match="byte stream"), open_stream(samples / "bbb_q37.266", index=1):
        pass


def test_another_codec_than_asked_for(made) -> None:
    with pytest.raises(NnpfError, match=r"holds H.264, and H.265 was asked for"):  # noqa: SIM117
        with open_stream(made("libx264", ".mp4"), Codec.HEVC):
            pass


def test_damaged_files(folder: Path, made) -> None:
    data = made("libx264", ".mp4").read_bytes()
    garbage = folder / "garbage.mp4"
    garbage.write_bytes(data[:64] + bytes(2000))
    with pytest.raises(NnpfError, match=r"garbage.mp4: has no index \(moov box\)"):
        track_of(garbage)
    no_index = folder / "no_index.mp4"  # as a recorder leaves it that was switched off: `moov` would come last
    no_index.write_bytes(data[:20000])
    with pytest.raises(NnpfError, match=r"no_index.mp4: has no index \(moov box\): it is cut off"):
        track_of(no_index)


def test_a_file_that_was_cut_off(folder: Path, made) -> None:
    index_first = container_files.encoded(folder / "index_first.mp4", "libx264", options={"movflags": "faststart"})
    for whole in (index_first, made("libx264", ".mkv")):
        path = folder / f"cut{whole.suffix}"
        path.write_bytes(whole.read_bytes()[:-12000])
        size = path.stat().st_size
        with pytest.raises(NnpfError, match=rf"cut{whole.suffix}: is cut off: {size} bytes of \d+ or more; .*ffmpeg"):
            track_of(path)


def test_parts_of_an_mp4_file(folder: Path, tmp_path: Path) -> None:
    """As packagers write them, and as a recording is before it ends."""
    options = {"movflags": "frag_keyframe+empty_moov+default_base_moof"}
    data = container_files.encoded(folder / "parts.mp4", "libx264", audio=False, options=options).read_bytes()
    first = data.index(b"moof") - 4
    path = tmp_path / "part.mp4"
    for part, problem in (
        (data[:first], "holds no pictures: stream 0 is empty"),
        (data[first:], "is a media segment, which is nothing without its initialisation segment"),
        (data[: data.index(b"moov") - 4] + data[first:].replace(b"moof", b"free"), r"has no index \(moov box\)"),
    ):
        path.write_bytes(part)
        with pytest.raises(NnpfError, match=problem):
            track_of(path)


def test_a_live_recording_in_matroska_does_not_say_how_long_it_is(made, tmp_path: Path) -> None:
    path = tmp_path / "live.mkv"
    path.write_bytes(made("libx264", ".mkv").read_bytes())
    with av.open(str(path)) as source, av.open(str(tmp_path / "out.mkv"), "w", options={"live": "1"}) as container:
        stream = container.add_stream_from_template(source.streams.video[0], opaque=True)
        for packet in source.demux(video=0):
            if packet.size:
                packet.stream = stream
                container.mux(packet)
    assert matroska_bytes((tmp_path / "out.mkv").read_bytes()[:SIGNATURE_BYTES]) is None
    assert matroska_bytes(path.read_bytes()[:SIGNATURE_BYTES]) == path.stat().st_size
    assert track_of(tmp_path / "out.mkv").head == track_of(path).head


def test_a_damaged_length(folder: Path, made) -> None:
    path = folder / "length.mp4"
    data = bytearray(made("libx264", ".mp4").read_bytes())
    sizes = [entry[2] for entry in container_files.packets(made("libx264", ".mp4"))[0]]
    at = data.index(sizes[5])
    data[at : at + 4] = b"\0\xff\xff\xff"
    path.write_bytes(data)
    with pytest.raises(NnpfError, match=r"length.mp4: packet 5 \(0.160 s\): a NAL unit of 16777215 bytes where"):
        list(track_of(path).nal_units())


def test_encrypted_video(folder: Path) -> None:
    keys = {
        "encryption_scheme": "cenc-aes-ctr",
        "encryption_key": "76a6c65c5ea762046bd749a2e632ccbb",
        "encryption_kid": "a7e61c373e219033c21091fa607bf3b8",
    }
    path = container_files.encoded(folder / "encrypted.mp4", "libx264", audio=False, options=keys)
    with pytest.raises(NnpfError, match=r"encrypted.mp4: is encrypted; decrypt it first"):
        track_of(path)


def test_fragmented_mp4(folder: Path) -> None:
    fragmented = container_files.encoded(
        folder / "fragmented.mp4", "libx264", options={"movflags": "frag_keyframe+empty_moov"}
    )
    assert len([u for u in units_of(track_of(fragmented)) if is_slice(Codec.AVC, u)]) == PICTURES


# --- writing ---------------------------------------------------------------------------------------------------------

MESSAGES = (
    Placement(selection.parse("random_access"), SeiMessage(5, bytes(range(40)))),
    Placement(selection.parse("decode:3"), SeiMessage(4, b"y" * 300)),
)


def copy(source: Path, target: Path, edited=lambda units, codec: units, *, video_only: bool = False) -> Remux:
    track = track_of(source)
    form = container_to_write(str(target))
    assert form is not None
    with target.open("wb") as file, Remux(track, form, file, str(target), video_only=video_only) as remux:
        remux.take(edited(remux.nal_units(), track.codec))
    return remux


def with_messages(units, codec: Codec):
    return edit.inject(edit.strip(units, codec, lambda place, message: True), codec, MESSAGES, None, "keep")


def shifted(times: list[Fraction]) -> list[float]:
    """Times from the first one on. Containers count in their own units, Matroska in milliseconds."""
    return [round(float(time - min(times)), 3) for time in times]


@pytest.mark.parametrize("target", SUFFIXES)
@pytest.mark.parametrize("source", [".mp4", ".mkv", ".ts"])
@pytest.mark.parametrize("codec", CODECS)
def test_edited_and_copied(made, tmp_path: Path, codec: str, source: str, target: str) -> None:
    path, out = made(codec, source), tmp_path / f"out{target}"
    copy(path, out, with_messages)
    before, after = track_of(path), track_of(out)
    found = [(m.coded, m.picture.decode_index) for m in sei_messages(after.nal_units(), after.codec)]
    assert [message for message, _ in found] == [
        MESSAGES[0].message,
        MESSAGES[1].message,
        *[MESSAGES[0].message] * (len(found) - 2),
    ]
    assert [index for _, index in found][:2] == [0, 3]
    slices = [[bytes(u.data) for u in units_of(t) if is_slice(t.codec, u)] for t in (before, after)]
    assert slices[0] == slices[1]
    mine, theirs = container_files.packets(path), container_files.packets(out)
    assert shifted([p[0] for p in mine[0]]) == shifted([p[0] for p in theirs[0]])
    if codec != "vvc":
        # The sound; in MPEG-TS it has a header in front (ADTS).
        assert all(a[2].endswith(b[2]) or b[2].endswith(a[2]) for a, b in zip(mine[1], theirs[1], strict=True))
        ahead = [float(streams[1][0][0] - streams[0][0][0]) for streams in (mine, theirs)]
        assert ahead[0] == pytest.approx(ahead[1], abs=0.002)
        assert container_files.pictures(path) == container_files.pictures(out)


@pytest.mark.parametrize("suffix", [".mp4", ".mov"])
@pytest.mark.parametrize("source", [".ts", ".mkv", ".mp4"])
def test_no_picture_is_hidden_at_the_start(made, tmp_path: Path, samples: Path, source: str, suffix: str) -> None:
    """VVenC's first picture is shown after 31 others. FFmpeg's muxer would cut these off, out of MPEG-TS."""
    out = tmp_path / f"out{suffix}"
    copy(made("vvc", source), out)
    with av.open(str(out)) as container:
        found = [packet for packet in container.demux(video=0) if packet.size]
    assert not any(packet.is_discard for packet in found)
    assert min(packet.pts for packet in found) == 0
    assert container_files.pictures(out) == [
        frame.to_ndarray().tobytes() for frame in decoded_alone(samples / "bbb_q37.266")
    ]


def decoded_alone(stream: Path) -> list[av.VideoFrame]:
    """The pictures of a byte stream of H.266, in output order."""
    context = av.CodecContext.create("vvc", "r")
    frames = []
    with stream.open("rb") as file:
        kept = [u._replace(data=memoryview(bytes(u.data))) for u in split(read_chunks(file))]
    for unit in picture_units(kept, Codec.VVC):
        frames += context.decode(av.Packet(b"".join(nal.to_bytes() for nal in unit.units)))
    return [*frames, *context.decode(None)]


@dataclass(eq=False)
class Timed:
    """What `_Beginning` looks at."""

    pts: int
    dts: int
    is_discard: bool = False
    time_base: Fraction = Fraction(1, 100)


def begun(packets: list[tuple[Timed, bool]]) -> list[Timed]:
    beginning = _Beginning()
    ready = [timed for packet, of_track in packets for timed in beginning.put(packet, of_track=of_track)]
    return ready + beginning.rest()


def test_all_streams_begin_earlier_together() -> None:
    sound = [Timed(at, at, time_base=Fraction(1, 1000)) for at in (150, 170, 190)]
    video = [Timed(40, 16), Timed(20, 17), Timed(18, 18), Timed(30, 19), Timed(50, 20)]
    given = [(sound[0], False), *((one, True) for one in video), (sound[1], False), (sound[2], False)]
    assert begun(given) == [one for one, _ in given]
    assert [(one.pts, one.dts) for one in video] == [(22, -2), (2, -1), (0, 0), (12, 1), (32, 2)]
    assert [(one.pts, one.dts) for one in sound] == [(-30, -30), (-10, -10), (10, 10)]


def test_sound_does_not_wait_for_pictures_for_ever() -> None:
    beginning = _Beginning()
    ready = [out for at in range(10_000) for out in beginning.put(Timed(at, at), of_track=False)]
    assert len(ready) == 10_000


@pytest.mark.parametrize(
    "video",
    [
        [Timed(3, 3), Timed(9, 4), Timed(5, 5)],  # the first one is shown first
        [Timed(9, -2), Timed(5, -1), Timed(3, 0), Timed(12, 1)],  # decoding begins early enough
        [Timed(9, 1), Timed(5, 2, is_discard=True), Timed(3, 3, is_discard=True), Timed(12, 4)],  # cut off by the input
        [],
    ],
    ids=["in order", "early", "cut off", "nothing"],
)
def test_what_may_begin_as_it_is(video: list[Timed]) -> None:
    times = [(one.pts, one.dts) for one in video]
    assert [(one.pts, one.dts) for one in begun([(one, True) for one in video])] == times


@pytest.mark.parametrize("codec", CODECS)
def test_what_is_not_edited_stays_byte_by_byte(made, tmp_path: Path, codec: str) -> None:
    for suffix in (".mp4", ".mkv"):
        path, out = made(codec, suffix), tmp_path / f"out{suffix}"
        copy(path, out)
        assert container_files.packets(path) == container_files.packets(out)
        assert track_of(path).configuration == track_of(out).configuration


def test_messages_in_the_configuration_record_go_and_the_record_stays_valid(made, tmp_path: Path) -> None:
    path, out = made("libx265", ".mp4"), tmp_path / "out.mp4"
    assert [a.nal_unit_type for a in track_of(path).configuration.arrays] == [Hevc.VPS, Hevc.SPS, Hevc.PPS, 39]
    copy(path, out, lambda units, codec: edit.strip(units, codec, lambda place, message: True))
    assert [a.nal_unit_type for a in track_of(out).configuration.arrays] == [Hevc.VPS, Hevc.SPS, Hevc.PPS]
    assert container_files.packets(path) == container_files.packets(out)
    assert container_files.pictures(path) == container_files.pictures(out)


def test_hvc1_stays_hvc1(folder: Path, made, tmp_path: Path) -> None:
    path = folder / "hvc1.mp4"
    with av.open(str(made("libx265", ".mp4"))) as source, av.open(str(path), "w") as container:
        stream = container.add_stream_from_template(source.streams.video[0], opaque=True)
        stream.codec_context.codec_tag = "hvc1"
        for packet in source.demux(video=0):
            if packet.size:
                packet.stream = stream
                container.mux(packet)
    copy(path, tmp_path / "out.mp4", with_messages)
    with av.open(str(tmp_path / "out.mp4")) as container:
        assert container.streams.video[0].codec_context.codec_tag == "hvc1"


def test_the_other_streams_can_stay_behind(made, tmp_path: Path) -> None:
    remux = copy(made("libx264", ".mp4"), tmp_path / "out.mp4", video_only=True)
    assert remux.left_out == ["stream 1 (audio, aac)"]
    assert set(container_files.packets(tmp_path / "out.mp4")) == {0}


def test_a_stream_that_the_format_does_not_take(folder: Path, tmp_path: Path) -> None:
    path = folder / "vorbis.mkv"
    with av.open(str(path), "w") as container:
        video, audio = container.add_stream("libx264", rate=25), container.add_stream("ac3", rate=48000)
        video.width, video.height, video.pix_fmt = 96, 80, "yuv420p"
        subtitles = container.add_mux_stream("webvtt")
        frame = av.VideoFrame(96, 80, "yuv420p")
        frame.pts = 0
        container.mux([*video.encode(frame), *video.encode(None)])
        assert audio.index, subtitles.index == (1, 2)
    with pytest.raises(NnpfError, match=r"out.mov: QuickTime takes no stream 2 \(subtitle, webvtt\); .*--video-only"):
        copy(path, tmp_path / "out.mov")
    copy(path, tmp_path / "out.mov", video_only=True)
    with pytest.raises(NnpfError, match=r"MPEG-TS takes no stream 2 \(subtitle, webvtt\); write .mkv, "):
        copy(path, tmp_path / "out.ts")  # FFmpeg would make private data of it


def test_matroska_says_how_many_pictures_there_are_in_a_second(made, tmp_path: Path) -> None:
    """Where decoding order differs much from output order, FFmpeg does not find it out by timestamps."""
    copy(made("vvc", ".mp4"), tmp_path / "out.mkv")
    with av.open(str(tmp_path / "out.mkv")) as container, av.open(str(made("vvc", ".mp4"))) as source:
        assert source.streams.video[0].average_rate == container.streams.video[0].average_rate == 25


def test_the_shape_of_samples_is_that_of_the_container(folder: Path, made, tmp_path: Path) -> None:
    """The stream itself says nothing, or something else."""
    path = folder / "anamorphic.mp4"
    with av.open(str(made("libx264", ".mp4"))) as source, av.open(str(path), "w") as container:
        stream = container.add_stream_from_template(source.streams.video[0], opaque=True)
        stream.codec_context.sample_aspect_ratio = Fraction(3, 4)
        for packet in source.demux(video=0):
            if packet.size:
                packet.stream = stream
                container.mux(packet)
    assert copy(path, tmp_path / "out.mov", with_messages).left_out == []
    assert track_of(tmp_path / "out.mov").aspect == Fraction(3, 4)
    assert copy(path, tmp_path / "out.mkv", with_messages).left_out == ["the sample aspect ratio, 3:4"]


@pytest.mark.parametrize("suffix", [".mp4", ".ts"])
def test_attached_files_stay_in_matroska(folder: Path, made, tmp_path: Path, suffix: str) -> None:
    path, out = folder / "attached.mkv", tmp_path / f"out{suffix}"
    if not path.exists():
        with av.open(str(made("libx264", ".mkv"))) as source, av.open(str(path), "w") as container:
            streams = [container.add_stream_from_template(stream, opaque=True) for stream in source.streams]
            container.add_attachment("font.ttf", "font/ttf", b"letters")
            for packet in source.demux():
                if packet.size:
                    packet.stream = streams[packet.stream_index]
                    container.mux(packet)
    remux = copy(path, out, with_messages)
    assert [text.split(",")[0] for text in remux.left_out] == ["stream 2 (attachment"]
    assert set(container_files.packets(out)) == {0, 1}


def test_metadata_and_chapters_are_kept(folder: Path, made, tmp_path: Path) -> None:
    path = folder / "chapters.mkv"
    with av.open(str(made("libx264", ".mkv"))) as source, av.open(str(path), "w") as container:
        container.metadata["title"] = "moving texture"
        container.set_chapters(
            [{"id": 1, "start": 0, "end": 400, "time_base": Fraction(1, 1000), "metadata": {"title": "first"}}]
        )
        stream = container.add_stream_from_template(source.streams.video[0], opaque=True)
        stream.metadata["language"] = "epo"
        for packet in source.demux(video=0):
            if packet.size:
                packet.stream = stream
                container.mux(packet)
    copy(path, tmp_path / "out.mkv", with_messages)
    with av.open(str(tmp_path / "out.mkv")) as container:
        assert container.metadata["title"] == "moving texture"
        assert container.streams.video[0].metadata["language"] == "epo"
        assert [(c["start"], c["end"], c["metadata"]["title"]) for c in container.chapters()] == [
            (0, 400, "first")
        ] or [(float(c["start"] * c["time_base"]), c["metadata"]["title"]) for c in container.chapters()] == [
            (0.0, "first")
        ]


# --- a byte stream into a container ----------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("codec", CODECS)
def test_a_byte_stream_gets_times_by_output_order(samples: Path, tmp_path: Path, codec: str, suffix: str) -> None:
    data = (samples / "bbb_q37.266").read_bytes() if codec == "vvc" else encode(codec, "keyint=10:bframes=3")
    out = tmp_path / f"out{suffix}"
    form = container_to_write(str(out))
    assert form is not None
    with out.open("wb") as file, Mux(CODECS[codec], data, Fraction(50), form, file, str(out)) as mux:
        assert mux.take(split([data])) == len(data)
    track = track_of(out)
    assert [bytes(u.data) for u in units_of(track) if is_slice(track.codec, u)] == [
        bytes(u.data) for u in split([data]) if is_slice(track.codec, u)
    ]
    with av.open(str(out)) as container:
        times = [frame.time for frame in container.decode(video=0)]
    assert shifted([Fraction(time) for time in times]) == [i / 50 for i in range(len(times))]
    assert len(times) == (65 if codec == "vvc" else PICTURES)


def test_a_byte_stream_of_several_layers_is_refused(samples: Path, tmp_path: Path) -> None:
    """The same pictures again, in layer 1."""
    with open_stream(samples / "bbb_q37.266") as stream:
        units = list(stream.nal_units())
    doubled = []
    for group in edit.groups(units, Codec.VVC):
        own = [unit.nal for unit in group.units]
        doubled += own
        doubled += [u._replace(data=memoryview(bytes([u.data[0] | 1]) + bytes(u.data[1:]))) for u in own]
    out = tmp_path / "out.mp4"
    head = b"".join(unit.to_bytes() for unit in doubled)
    with (
        pytest.raises(NnpfError, match="several layers, which only FFmpeg puts into containers"),
        out.open("wb") as file,
        Mux(Codec.VVC, head, Fraction(25), MP4, file, str(out)) as mux,
    ):
        mux.take(iter(doubled))
