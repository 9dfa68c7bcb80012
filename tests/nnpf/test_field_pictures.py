"""H.264 frames that are coded as two fields: two pictures of the stream, one packet, one picture of the output."""

from fractions import Fraction
from pathlib import Path

import av
import pytest

import nnpf
from nnpf.container_formats import MATROSKA, MP4, MPEG_TS, ContainerFormat
from nnpf.frames import Frame
from nnpf.muxing import Mux
from nnpf.runner import ApplyOptions, apply
from nnpf.sources import ModelSources
from tests.nnpf.streams import md5, nal_units
from vsei.nal import Codec
from vsei.pictures import picture_units, with_output_index

STREAM = Path(__file__).parent / "vectors/fields_and_frames.264"
MD5 = "13421736c837c82a390420f1f2485142"  # of the encoder's reconstruction
FRAMES, PICTURES = 13, 18
SUFFIXES = (".mp4", ".mkv", ".ts")


def decoded(path: Path) -> list[Frame]:
    return [shown.frame for shown in nnpf.apply(path)]


def test_second_fields_are_told() -> None:
    pictures = [unit.picture for unit in picture_units(nal_units(STREAM), Codec.AVC) if unit.picture is not None]
    assert len(pictures) == PICTURES
    seconds = [at for at, picture in enumerate(pictures) if picture.second_field]
    assert len(seconds) == PICTURES - FRAMES
    for at in seconds:
        assert not pictures[at].output
        assert pictures[at].poc == pictures[at - 1].poc + 1


def test_fields_are_decoded_as_the_encoder_has_them() -> None:
    frames = decoded(STREAM)
    assert len(frames) == FRAMES
    assert md5(frames) == MD5


def test_frames_of_fields_are_filtered(samples: Path, tmp_path: Path) -> None:
    nnpf.inject(STREAM, tmp_path / "in.264", base=samples / "filters/tint_red.onnx")
    options = ApplyOptions(sources=ModelSources(samples / "filters"))
    with apply(nal_units(tmp_path / "in.264"), Codec.AVC, options) as pictures:
        found = list(pictures)
    assert [len(shown.record.applied) for shown in found] == [1] * FRAMES
    assert md5(shown.decoded for shown in found) == MD5


def times(path: Path) -> list[Fraction]:
    """When each frame of a container is shown, in intervals of 25 in a second, from the first one on."""
    with av.open(str(path)) as container:
        found = [Fraction((frame.pts or 0) * (frame.time_base or 0)) for frame in container.decode(video=0)]
    return [round((time - found[0]) * 25, 2) for time in found]


@pytest.mark.parametrize("form", [MP4, MATROSKA, MPEG_TS], ids=lambda form: form.name)
def test_a_byte_stream_of_fields_into_a_container(tmp_path: Path, form: ContainerFormat) -> None:
    out = tmp_path / "out"
    with out.open("wb") as file, Mux(Codec.AVC, STREAM.read_bytes(), Fraction(25), form, file, "out") as mux:
        mux.take(nal_units(STREAM))
    assert times(out) == list(range(FRAMES))
    assert md5(decoded(out)) == MD5


def in_a_container(path: Path, *, together: bool) -> Path:
    """The stream with a packet for each frame, or for each field, at 25 frames per second."""
    units = (unit for unit in picture_units(nal_units(STREAM), Codec.AVC) if unit.picture is not None)
    made: list[tuple[bytes, int, bool]] = []  # data, when it is shown in fields, key frame
    for index, unit in with_output_index(units, lambda unit: unit.picture):
        picture = unit.picture
        assert picture is not None
        data = b"".join(nal.to_bytes() for nal in unit.units)
        if index is not None:
            made.append((data, 2 * index, picture.is_irap))
        elif together:
            made[-1] = made[-1][0] + data, *made[-1][1:]
        else:
            made.append((data, made[-1][1] + 1, False))
    with av.open(str(STREAM)) as template, av.open(str(path), "w") as container:
        stream = container.add_stream_from_template(template.streams.video[0])
        stream.time_base = Fraction(1, 50)
        for number, (data, shown, key) in enumerate(made):
            packet = av.Packet(data)
            packet.stream, packet.time_base = stream, Fraction(1, 50)
            packet.pts, packet.dts, packet.is_keyframe = shown + 4, number * (1 + together), key
            container.mux(packet)
    return path


@pytest.mark.parametrize("together", [True, False], ids=["frames", "fields"])
@pytest.mark.parametrize("suffix", SUFFIXES)
def test_messages_into_a_container_of_fields(samples: Path, tmp_path: Path, suffix: str, together: bool) -> None:
    """FFmpeg makes two packets, one without times, of a packet of MPEG-TS with two fields."""
    path = in_a_container(tmp_path / f"in{suffix}", together=together)
    out = tmp_path / f"out{suffix}"
    injected = nnpf.inject(path, out, base=samples / "filters/tint_red.onnx")
    assert injected.messages == 2
    assert times(out) == list(range(FRAMES))
    found = list(nnpf.apply(out, models=samples / "filters"))
    assert [len(shown.record.applied) for shown in found] == [1] * FRAMES
    assert md5(shown.decoded for shown in found) == MD5
