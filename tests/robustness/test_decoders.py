"""Decoders that crash, hang, drop or add pictures or change their size are noticed, and the picture is named."""

import errno
import itertools
import os
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from nnpf import decoding, limits
from nnpf.decoder_program import decoded_by
from nnpf.decoding import DecodedFrame
from nnpf.errors import NnpfError
from nnpf.frames import Format, Frame
from nnpf.runner import ApplyOptions, apply
from tests.nnpf.test_decoder_program import script
from tests.robustness.commands import run
from tests.vsei.encoded import encode
from vsei.annexb import split
from vsei.nal import Codec

# 24 pictures of 96x80, 8 bit.
PICTURE = 96 * 80 * 3 // 2
COUNT = 24


@pytest.fixture(scope="module")
def stream(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("decoders") / "in.264"
    path.write_bytes(encode("libx264", "bframes=2:keyint=8"))
    return path


def applied(stream: Path, program: str) -> int:
    data = stream.read_bytes()
    with (
        decoded_by(program, split([data]), Codec.AVC) as source,
        apply(split([data]), Codec.AVC, ApplyOptions(), decoded=source) as pictures,
    ):
        return sum(1 for _ in pictures)


def writing(folder: Path, size: int, end: str = "") -> str:
    return script(folder, f"out = open(output, 'wb'); out.write(bytes({size})); out.flush(); {end or 'pass'}")


def test_as_it_should_be(stream: Path, tmp_path: Path) -> None:
    assert applied(stream, writing(tmp_path, COUNT * PICTURE)) == COUNT


@pytest.mark.parametrize(
    ("pictures", "end", "reason"),
    [
        (0, "", "the decoded pictures end after 0; the stream goes on with POC 0"),
        (COUNT - 1, "", r"the decoded pictures end after 23; the stream goes on with POC \d+"),
        (COUNT + 1, "", "there are more decoded pictures than the 24"),
        (5, "sys.exit(3)", r"picture with POC \d+ \(number 5 of those decoded\): .*failed with 3: Frame 0"),
        (5.5, "sys.exit(3)", r"picture with POC \d+ \(number 5 of those decoded\): .*failed with 3: Frame 0"),
        (5.5, "import os; os.kill(os.getpid(), 11)", "failed with -11: "),
        (5.5, "", r"picture with POC \d+ \(number 5 of those decoded\): ends inside a picture: 5760 bytes of 11520"),
        (5, "print('x' * 10_000_000); sys.exit(1)", r"failed with 1: x+$"),
    ],
)
def test_programs_that_drop_add_or_crash(stream: Path, tmp_path: Path, pictures: float, end: str, reason: str) -> None:
    with pytest.raises(NnpfError, match=reason) as caught:
        applied(stream, writing(tmp_path, int(pictures * PICTURE), end))
    assert len(str(caught.value)) < 6000


def test_a_program_that_hangs(stream: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "_current", replace(limits.current(), decoder_seconds=1))
    with pytest.raises(NnpfError, match=r"number 5 of those decoded.*wrote nothing for 1 seconds .*decoder_seconds=N"):
        applied(stream, writing(tmp_path, 5 * PICTURE, "time.sleep(600)"))
    assert not subprocess.run(["pgrep", "-f", str(tmp_path)], capture_output=True, check=False).stdout


def test_no_room_for_the_copy_of_the_stream(stream: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(file: object, units: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("nnpf.decoder_program.write_units", full)
    with pytest.raises(NnpfError, match=r"cannot be copied there for .*No space left on device; TMPDIR names another"):
        applied(stream, writing(tmp_path, COUNT * PICTURE))


def test_a_program_of_another_size(stream: Path, tmp_path: Path) -> None:
    """Raw pictures have no size of their own: their number is wrong in the end."""
    with pytest.raises(NnpfError, match=r"more decoded pictures than the 24|ends inside a picture"):
        applied(stream, writing(tmp_path, COUNT * (96 * 88 * 3 // 2)))


# --- FFmpeg ----------------------------------------------------------------------------------------------------------

Change = Callable[[Iterator[DecodedFrame]], Iterator[DecodedFrame]]


def small(frame: DecodedFrame) -> DecodedFrame:
    form = Format(48, 40)
    planes = tuple(np.zeros(shape, np.uint8) for shape in form.shapes)
    return replace(frame, frame=Frame(planes, form))


def deep(frame: DecodedFrame) -> DecodedFrame:
    form = Format(96, 80, 1, 10, 10)
    return replace(frame, frame=Frame(tuple(np.zeros(shape, np.uint16) for shape in form.shapes), form))


def at(number: int, change: Callable[[DecodedFrame], DecodedFrame]) -> Change:
    return lambda frames: (change(frame) if n == number else frame for n, frame in enumerate(frames))


def swapped(frames: Iterator[DecodedFrame]) -> Iterator[DecodedFrame]:
    found = list(frames)
    found[5], found[6] = found[6], found[5]
    return iter(found)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (
            lambda frames: (f for n, f in enumerate(frames) if n != 7),
            r"left out 1 pictures: POC \d+; give decoded pictures as YUV, or --keep-going",
        ),
        (lambda frames: itertools.islice(frames, 20), r"left out 4 pictures: POC \d+, \d+, \d+, \d+"),
        (swapped, r"the decoder gives POC \d+ after POC \d+"),
        (at(9, small), r"picture with POC \d+ is 96x80 4:2:0 8 bit in the stream, and 48x40 4:2:0 8 bit decoded"),
        (at(9, deep), r"picture with POC \d+ is 96x80 4:2:0 8 bit in the stream, and 96x80 4:2:0 10 bit decoded"),
    ],
)
def test_ffmpeg_that_drops_swaps_or_changes(
    stream: Path, monkeypatch: pytest.MonkeyPatch, change: Change, reason: str
) -> None:
    decode = decoding.decode
    monkeypatch.setattr(decoding, "decode", lambda *args, **more: change(decode(*args, **more)))
    units = split([stream.read_bytes()])
    with pytest.raises(NnpfError, match=reason), apply(units, Codec.AVC, ApplyOptions()) as pictures:
        list(pictures)


def test_a_picture_that_is_given_twice_is_shown_once(stream: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What has been shown is no picture of the stream any more."""
    decode = decoding.decode
    monkeypatch.setattr(decoding, "decode", lambda *a, **m: (f for frame in decode(*a, **m) for f in (frame, frame)))
    with apply(split([stream.read_bytes()]), Codec.AVC, ApplyOptions()) as pictures:
        assert len(list(pictures)) == COUNT


def test_damage_that_ffmpeg_sees_is_said_with_the_picture(stream: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    decode = decoding.decode
    change = at(3, lambda frame: replace(frame, damaged=True))
    monkeypatch.setattr(decoding, "decode", lambda *args, **more: change(decode(*args, **more)))
    units = split([stream.read_bytes()])
    with (
        pytest.raises(NnpfError, match=r"picture with POC \d+: the decoder says .* missing; --keep-going"),
        apply(units, Codec.AVC, ApplyOptions()) as pictures,
    ):
        list(pictures)


# --- decoded pictures in a file --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("short.yuv", bytes(10 * PICTURE), "the decoded pictures end after 10"),
        ("cut.yuv", bytes(10 * PICTURE + 7), "ends inside picture 10: 7 bytes of 11520"),
        ("long.yuv", bytes((COUNT + 1) * PICTURE), "there are more decoded pictures than the 24"),
        ("deep.yuv", bytes(2 * COUNT * PICTURE), "there are more decoded pictures than the 24"),
        ("empty.yuv", b"", "the decoded pictures end after 0"),
        ("small.y4m", b"YUV4MPEG2 W48 H40 F25:1\nFRAME\n" + bytes(2880), "POC 0 is 96x80 .* and 48x40"),
        ("deep.y4m", b"YUV4MPEG2 W96 H80 F25:1 C420p10\nFRAME\n" + bytes(2 * PICTURE), "8 bit in .* 10 bit decoded"),
        ("none.y4m", b"this is no picture", "does not start with a YUV4MPEG2 line"),
    ],
)
def test_decoded_pictures_of_the_wrong_size_number_or_depth(
    stream: Path, tmp_path: Path, name: str, content: bytes, reason: str, capsys: pytest.CaptureFixture[str]
) -> None:
    import re

    from nnpf_tools.main import main

    (tmp_path / name).write_bytes(content)
    out = tmp_path / "out.yuv"
    assert main(["apply", str(stream), "--yuv", str(tmp_path / name), "-o", str(out)]) == 1
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert re.search(reason, lines[0])
    assert not out.exists()


def test_an_eight_bit_file_for_a_ten_bit_stream(tmp_path: Path) -> None:
    """Two bytes of an 8-bit file make a sample that 10 bits do not hold."""
    stream = tmp_path / "in.265"
    stream.write_bytes(encode("libx265", "", "yuv420p10le"))
    (tmp_path / "eight.yuv").write_bytes(b"\x80" * (COUNT * PICTURE))
    done = run(["apply", str(stream), "--yuv", "eight.yuv", "-o", "out.yuv"], tmp_path)
    assert done.returncode == 1
    assert "picture with POC 0 (number 0 of those decoded): sample 32896 does not fit in 10 bits" in done.stderr
