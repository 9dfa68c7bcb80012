"""Commands on MP4, MOV, Matroska and MPEG-TS files."""

import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from nnpf_tools.main import main
from tests.nnpf import container_files
from tests.nnpf.container_files import PICTURES
from tests.vsei.encoded import encode


@pytest.fixture(scope="module", params=["libx265.mp4", "libx264.ts", "vvc.mkv"])
def stream(request, tmp_path_factory, samples) -> Path:
    """A container of each codec, two of them with sound."""
    path = tmp_path_factory.mktemp("streams") / request.param
    if path.stem == "vvc":
        return container_files.vvc(path, samples / "bbb_q37.266")
    return container_files.encoded(path, path.stem)


@pytest.fixture(scope="module")
def mp4(tmp_path_factory) -> Path:
    return container_files.encoded(tmp_path_factory.mktemp("mp4") / "in.mp4", "libx264")


def run(*args) -> int:
    return main([str(arg) for arg in args])


def printed(capsys, *args) -> dict:
    assert run(*args) == 0
    return json.loads(capsys.readouterr().out)


def test_inject_dump_validate_strip(stream, samples, tmp_path, capsys):
    injected, stripped = tmp_path / f"out{stream.suffix}", tmp_path / "stripped.mp4"
    assert run("inject", stream, "--base", samples / "filters/tint_red.onnx", "-o", injected, "-q") == 0
    document = printed(capsys, "dump", injected, "--json")
    container = document["stream"]["container"]
    assert container["stream"] == 0
    assert container["format"] == {".mp4": "MP4", ".mkv": "Matroska", ".ts": "MPEG-TS"}[stream.suffix]
    times = {entry[0]: number for number, entry in enumerate(container_files.packets(injected)[0])}
    assert {m["name"] for m in document["messages"]} == {"nnpfc", "nnpfa"}
    for message in document["messages"]:
        # By the time of its picture, each message is where the packet with that time is.
        at = min(times, key=lambda time: abs(float(time) - message["picture"]["time"]))
        assert float(at) == pytest.approx(message["picture"]["time"], abs=1e-6)
        assert times[at] == message["picture"]["decode_index"]
    assert run("validate", injected, "-q") == 0
    assert run("strip", injected, "-o", stripped, "-q") == 0
    assert printed(capsys, "dump", stripped, "--json")["messages"] == []


def test_extract_and_put_back(stream, samples, tmp_path, capsys):
    injected, stripped, again = (tmp_path / f"{name}{stream.suffix}" for name in ("out", "stripped", "again"))
    assert run("inject", stream, "--base", samples / "filters/tint_red.onnx", "-o", injected, "-q") == 0
    assert run("extract", injected, "-o", tmp_path / "messages", "-q") == 0
    assert run("strip", injected, "-o", stripped, "-q") == 0
    assert run("inject", stripped, tmp_path / "messages/spec.yaml", "-o", again, "-q") == 0
    assert container_files.packets(injected) == container_files.packets(again)


def test_apply(stream, samples, tmp_path, capsys):
    """Y4M at the container's rate; Matroska without loss, at its times, with its sound."""
    injected, y4m, mkv = tmp_path / f"out{stream.suffix}", tmp_path / "out.y4m", tmp_path / "out.mkv"
    base = samples / "filters/tint_red.onnx"
    assert run("inject", stream, "--base", base, "-o", injected, "-q") == 0
    mkv = tmp_path / "filtered.mkv"
    for path in (y4m, mkv):
        assert run("apply", injected, "--model-root", base.parent, "-o", path, "-q") == 0
    with av.open(str(y4m)) as plain, av.open(str(mkv)) as coded, av.open(str(stream)) as source:
        assert plain.streams.video[0].average_rate == 25
        frames = [list(container.decode(video=0)) for container in (plain, coded, source)]
    assert len(frames[0]) == len(frames[1]) == len(frames[2])
    for ours, theirs in zip(frames[0], frames[1], strict=True):
        assert ours.format.name == theirs.format.name
        assert np.array_equal(ours.to_ndarray(), theirs.to_ndarray())
    # Where sound begins before zero, Matroska files begin later, all of them.
    later = frames[1][0].time - frames[2][0].time
    assert [f.time for f in frames[1]] == pytest.approx([f.time + later for f in frames[2]], abs=0.001)
    if "vvc" not in stream.name:
        before, after = container_files.packets(stream)[1], container_files.packets(mkv)[1]
        assert all(a[2].endswith(b[2]) for a, b in zip(before, after, strict=True))
        assert [float(b[0] - a[0]) for a, b in zip(before, after, strict=True)] == pytest.approx(
            [later] * len(after), abs=0.001
        )


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_named_pipes(mp4, tmp_path, capsys):
    """As FIFOs, /dev/stdin and a shell's <(...) are; MP4 cannot be written into one."""
    fifo, byte_stream = tmp_path / "fifo.mp4", tmp_path / "in.264"
    os.mkfifo(fifo)
    assert run("strip", mp4, "-o", byte_stream, "-q") == 0
    for source, bytes_read in ((mp4, None), (byte_stream, byte_stream.stat().st_size)):
        with ThreadPoolExecutor(1) as writer:
            writer.submit(fifo.write_bytes, source.read_bytes())
            summary = printed(capsys, "dump", fifo, "--summary", "--json")
        assert summary["pictures"] == PICTURES
        assert summary["bytes"] == (bytes_read or summary["bytes"]) > 0
    with ThreadPoolExecutor(1) as reader:
        reader.submit(fifo.read_bytes)
        assert run("strip", mp4, "-o", fifo) == 1
    assert "MP4 goes back in its file, which a pipe cannot; write .mkv or .ts" in capsys.readouterr().err


def test_apply_keeps_the_sound_where_subtitles_cannot_be_kept(mp4, tmp_path, capsys):
    """Text of MP4 is not one of the kinds of text that Matroska has."""
    path, out = tmp_path / "in.mp4", tmp_path / "out.mkv"
    with av.open(str(mp4)) as source, av.open(str(path), "w") as container:
        streams = [container.add_stream_from_template(stream, opaque=True) for stream in source.streams]
        container.add_mux_stream("mov_text")
        container.set_chapters(
            [{"id": 1, "start": 0, "end": 400, "time_base": Fraction(1, 1000), "metadata": {"title": "first"}}]
        )
        for packet in source.demux():
            if packet.size:
                packet.stream = streams[packet.stream_index]
                container.mux(packet)
    assert run("apply", path, "-o", out) == 0
    assert "not copied: stream 2 (subtitle, mov_text)" in capsys.readouterr().err
    with av.open(str(out)) as container:
        assert [stream.type for stream in container.streams] == ["video", "audio"]
        assert [chapter["metadata"]["title"] for chapter in container.chapters()] == ["first"]


def test_apply_says_how_pictures_are_shown(mp4, tmp_path, capsys):
    """Turned, as telephones record, and with samples that are wider than high."""
    path = tmp_path / "in.mp4"
    with av.open(str(mp4)) as source, av.open(str(path), "w") as container:
        stream = container.add_stream_from_template(source.streams.video[0], opaque=True)
        stream.codec_context.sample_aspect_ratio = Fraction(4, 3)
        stream.set_display_rotation(90)
        for packet in source.demux(video=0):
            if packet.size:
                packet.stream = stream
                container.mux(packet)
    for name in ("out.mkv", "out.y4m"):
        assert run("apply", path, "-o", tmp_path / name, "--frames", 2) == 0
    with av.open(str(tmp_path / "out.mkv")) as container:
        assert next(container.decode(video=0)).rotation == 90
    with av.open(str(tmp_path / "out.y4m")) as container:
        assert container.streams.video[0].sample_aspect_ratio == Fraction(4, 3)
    assert "not written into" in capsys.readouterr().err  # Matroska could say it, PyAV cannot


def test_pictures_by_time(mp4, samples, tmp_path, capsys):
    """0.5 s lies between the thirteenth picture (0.48 s) and the next; what is on screen then is meant."""
    spec, out = tmp_path / "spec.yaml", tmp_path / "out.mp4"
    base = samples / "filters/tint_red.onnx"
    spec.write_text(
        f"filters: [{{id: 1, base: {base}}}]\n"
        "activations:\n"
        "  - {target: 1, at: 'time:0.5', nnpfa: {nnpfa_persistence_flag: 0}}\n"
        "  - {target: 1, at: 'time:0.8-0.85,0.91', nnpfa: {nnpfa_persistence_flag: 0}}\n"
    )
    assert run("inject", mp4, spec, "-o", out, "-q") == 0
    messages = printed(capsys, "dump", out, "--json", "--type", "nnpfa")["messages"]
    assert sorted(m["picture"]["output_index"] for m in messages) == [12, 20, 21, 22]
    at = printed(capsys, "dump", out, "--json", "--picture", "time:0.5")["messages"]
    assert [(m["name"], m["picture"]["time"]) for m in at] == [("nnpfa", 0.48)]
    assert run("strip", out, "-o", tmp_path / "less.mp4", "--picture", "time:0.8-9", "--type", "nnpfa", "-q") == 0
    left = printed(capsys, "dump", tmp_path / "less.mp4", "--json", "--type", "nnpfa")["messages"]
    assert [m["picture"]["output_index"] for m in left] == [12]


def test_pictures_of_a_byte_stream_by_time(samples, tmp_path, capsys):
    """By output order and rate: that of the stream (25), or the one given."""
    arguments = ["--base", samples / "filters/tint_red.onnx", "--activate-at", "time:1", "--json"]
    for rate, index in (((), 25), (("--fps", "50"), 50)):
        assert run("inject", samples / "bbb_q37.266", *arguments, *rate, "-o", tmp_path / "out.266", "--force") == 0
        capsys.readouterr()
        messages = printed(capsys, "dump", tmp_path / "out.266", "--json", "--type", "nnpfa")["messages"]
        assert [m["picture"]["output_index"] for m in messages] == [index]


def test_from_and_to_byte_streams(mp4, samples, tmp_path, capsys):
    """What comes out of a container is a byte stream by its name; a byte stream goes into one with times of its own."""
    byte_stream, again = tmp_path / "out.264", tmp_path / "again.mp4"
    assert run("inject", mp4, "--base", samples / "filters/tint_red.onnx", "-o", byte_stream, "-q") == 0
    assert byte_stream.read_bytes().startswith(b"\0\0\0\1")
    assert len(printed(capsys, "dump", byte_stream, "--json")["messages"]) == 6
    assert run("strip", byte_stream, "-o", again, "-q") == 0
    assert container_files.pictures(again) == container_files.pictures(mp4)
    with av.open(str(again)) as container:
        assert container.streams.video[0].average_rate == 25  # x264 says so in its VUI


def test_a_byte_stream_without_a_rate_needs_one(samples, tmp_path, capsys):
    path = tmp_path / "in.265"
    path.write_bytes(encode("libx265", "vui-timing-info=0"))
    arguments = ["inject", path, "--base", samples / "filters/tint_red.onnx"]
    assert run(*arguments, "-o", tmp_path / "out.mp4") == 1
    assert "does not say how many pictures it has per second: --fps" in capsys.readouterr().err
    assert not (tmp_path / "out.mp4").exists()
    assert run(*arguments, "-o", tmp_path / "out.mp4", "--fps", "24", "-q") == 0
    with av.open(str(tmp_path / "out.mp4")) as container:
        assert container.streams.video[0].average_rate == 24


def test_a_container_through_a_pipe(mp4, samples):
    """Through pipes go byte streams, whatever comes in."""
    nnpf = [sys.executable, "-m", "nnpf_tools.main"]
    base = str(samples / "filters/tint_red.onnx")
    first = subprocess.Popen([*nnpf, "inject", "-", "--base", base, "-o", "-", "-q"], stdin=mp4.open("rb"), stdout=-1)
    second = subprocess.run([*nnpf, "dump", "-", "--summary", "--json"], stdin=first.stdout, capture_output=True)
    assert first.wait() == 0
    summary = json.loads(second.stdout)
    assert (summary["codec"], summary["pictures"]) == ("avc", PICTURES)
    assert summary["messages"]["nnpfc"]["count"] == 3


@pytest.mark.parametrize("codec", ["h264", "hevc"])
def test_behind_ffmpeg_in_a_pipe(codec, ffmpeg, samples, tmp_path):
    """As in the documentation for H.266."""
    path = container_files.encoded(tmp_path / "in.mp4", {"h264": "libx264", "hevc": "libx265"}[codec])
    bytes_of = [ffmpeg, "-v", "error", "-i", str(path), "-c", "copy", "-an"]
    bytes_of += ["-bsf:v", f"{codec}_mp4toannexb", "-f", codec, "-"]
    nnpf = [sys.executable, "-m", "nnpf_tools.main"]
    base = str(samples / "filters/tint_red.onnx")
    first = subprocess.Popen(bytes_of, stdout=-1)
    second = subprocess.Popen([*nnpf, "inject", "-", "--base", base, "-o", "-", "-q"], stdin=first.stdout, stdout=-1)
    third = subprocess.run([*nnpf, "dump", "-", "--summary", "--json"], stdin=second.stdout, capture_output=True)
    assert first.wait() == second.wait() == 0
    assert json.loads(third.stdout)["messages"]["nnpfc"]["count"] == 3


@pytest.fixture(scope="module")
def decoded(samples, tmp_path_factory) -> bytes:
    """The pictures of the sample stream."""
    out = tmp_path_factory.mktemp("decoded") / "out.yuv"
    assert run("apply", samples / "bbb_q37.266", "-o", out, "-q") == 0
    return out.read_bytes()


@pytest.mark.parametrize("ending", ["mp4", "mov", "mkv", "ts"])
def test_the_ffmpeg_program_shows_what_was_written(ending, ffmpeg, samples, decoded, tmp_path, capsys):
    """All pictures, in order; and copied by it, the messages are there still."""
    tint = samples / "filters/tint_red.onnx"
    out, copied = tmp_path / f"out.{ending}", tmp_path / "copied.266"
    assert run("inject", samples / "bbb_q37.266", "--base", tint, "-o", out, "--fps", "25", "-q") == 0
    # Else FFmpeg counts from the first picture of the file, and drops those that are shown before it.
    decode = [ffmpeg, "-v", "error", "-copyts", "-i", str(out), "-f", "rawvideo", "-"]
    assert subprocess.run(decode, capture_output=True, check=True).stdout == decoded
    subprocess.run([ffmpeg, "-v", "error", "-i", str(out), "-c", "copy", str(copied)], check=True)
    capsys.readouterr()
    assert run("dump", copied, "--summary", "--json") == 0
    messages = json.loads(capsys.readouterr().out)["messages"]
    assert {name: found["count"] for name, found in messages.items()} == {"nnpfc": 2, "nnpfa": 4}


@pytest.fixture(scope="module")
def trimmed(mp4, tmp_path_factory) -> Path:
    """An MP4 file that is to be shown from its seventh picture on: an edit list says so."""
    path = tmp_path_factory.mktemp("trimmed") / "in.mp4"
    with av.open(str(mp4)) as source, av.open(str(path), "w") as container:
        streams = {s.index: container.add_stream_from_template(s, opaque=True) for s in source.streams}
        for packet in source.demux():
            if packet.size:
                start = int(Fraction(6, 25) / packet.time_base)
                packet.pts, packet.dts = packet.pts - start, packet.dts - start
                packet.stream = streams[packet.stream_index]
                container.mux(packet)
    return path


def test_what_an_edit_list_cuts_off_is_not_shown(trimmed, tmp_path, capsys):
    """FFmpeg's decoders do not show it either. It stays in the file, and cut off, when messages are put in."""
    out = tmp_path / "out.yuv"
    assert run("apply", trimmed, "-o", out, "-q") == 0
    shown = container_files.pictures(trimmed)
    assert len(shown) == PICTURES - 6
    assert out.read_bytes() == b"".join(shown)
    assert run("dump", trimmed, "--all") == 0
    assert capsys.readouterr().out.count("s, cut off by the edit list") == 6
    mkv = tmp_path / "out.mkv"
    assert run("apply", trimmed, "-o", mkv, "-q") == 0
    assert container_files.pictures(mkv) == shown
    begins = [packets[0][0] for packets in container_files.packets(mkv).values()]
    assert abs(begins[0] - begins[1]) < Fraction(1, 10)  # the sound begins with the pictures
    again = tmp_path / "out.mp4"
    assert run("strip", trimmed, "-o", again, "--type", "all", "-q") == 0
    assert [p[0] for p in container_files.packets(again)[0]] == [p[0] for p in container_files.packets(trimmed)[0]]
    assert container_files.pictures(again) == shown


# --- common slips ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", ["dump", "validate", "inject", "strip", "extract", "apply"])
def test_a_codec_that_carries_no_such_messages(command, tmp_path, samples, capsys):
    path = container_files.encoded(tmp_path / "in.mp4", "mpeg4", audio=False)
    extra = {
        "inject": ["--base", samples / "filters/tint_red.onnx", "-o", tmp_path / "out.mp4"],
        "strip": ["-o", tmp_path / "out.mp4"],
        "extract": ["-o", tmp_path / "out"],
        "apply": ["-o", tmp_path / "out.y4m"],
    }.get(command, [])
    assert run(command, path, *extra) == 1
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert f"{path}: holds no video of H.266, H.265 or H.264" in error
    assert "stream 0 (video, mpeg4)" in error
    assert sorted(p.name for p in tmp_path.iterdir()) == ["in.mp4"]


@pytest.mark.parametrize(
    ("arguments", "code", "error"),
    [
        (("strip", "MP4", "-o", "out.webm"), 2, "-o out.webm: .webm is not written; write .mp4 .mov .mkv .ts"),
        (("inject", "MP4", "--base", "f.onnx", "-o", "out.avi"), 2, "-o out.avi: .avi is not written"),
        (
            ("inject", "SPEC", "MP4", "-o", "out.mp4"),
            2,
            "is a specification; the stream comes first: nnpf inject STREAM",
        ),
        (("inject", "MP4", "f.onnx", "-o", "out.mp4"), 2, "f.onnx is a filter, no specification: --base f.onnx"),
        (
            ("dump", "NOISE"),
            1,
            "noise.mp4: offset 0: no start code; not an Annex B byte stream, nor MP4, MOV, Matroska",
        ),
        (("apply", "MP4", "-o", "out.mp4"), 2, "ffmpeg -i filtered.mkv out.mp4"),
        (("dump", "MP4", "--stream", "1"), 1, "stream 1 (audio, aac) is none of H.266, H.265, H.264"),
        (
            ("dump", "MP4", "--stream", "7"),
            1,
            "has no stream 7; it holds stream 0 (video, h264), stream 1 (audio, aac)",
        ),
        (("dump", "MP4", "--codec", "vvc"), 1, "holds H.264, and H.266 was asked for"),
        (("dump", "MP4", "--picture", "time:soon"), 2, "--picture: 'time:soon' does not name pictures"),
        (("dump", "MP4", "--picture", "time:-5"), 1, "the stream has no picture time:-5"),
        (("dump", "SPEC"), 1, "is a specification file; the stream comes first"),
        (("strip", "MP4", "-o", "MP4"), 1, "is also the input; choose another output"),
    ],
)
def test_one_line_and_the_way_out(mp4, tmp_path, capsys, monkeypatch, arguments, code, error):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "spec.yaml").write_text("filters:\n  - id: 1\n")
    (tmp_path / "noise.mp4").write_bytes(b"neither one thing nor the other" * 100)
    names = {"MP4": str(mp4), "SPEC": str(tmp_path / "spec.yaml"), "NOISE": str(tmp_path / "noise.mp4")}
    assert run(*(names.get(a, a) for a in arguments)) == code
    text = capsys.readouterr().err
    assert error in text
    assert text.count("\n") == 1


def test_the_stream_that_is_taken_is_said(tmp_path, capsys):
    path = container_files.encoded(tmp_path / "two.mkv", "libx264", audio=False, videos=2)
    assert run("dump", path, "--summary") == 0
    assert "taking stream 0; --stream picks 1" in capsys.readouterr().err
    assert run("dump", path, "--summary", "--stream", "1") == 0
    captured = capsys.readouterr()
    assert "Matroska, stream 1" in captured.out
    assert captured.err == ""
