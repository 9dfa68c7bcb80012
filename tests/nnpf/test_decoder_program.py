"""Other decoders: any program that takes -b STREAM -o OUTPUT."""

import sys
from pathlib import Path

import pytest

from nnpf.decoder_program import decoded_by
from nnpf.decoding import decode_file
from nnpf.errors import NnpfError
from nnpf.frames import write_frame
from nnpf.runner import ApplyOptions, apply
from tests.nnpf.streams import md5, nal_units
from vsei.nal import Codec


def script(folder: Path, body: str) -> str:
    """A program of this body, with `stream` and `output` from its options."""
    path = folder / "decoder"
    head = "import sys, time\nstream, output = sys.argv[2], sys.argv[4]\nprint('Frame 0')\n"
    path.write_text(f"#!{sys.executable}\n{head}{body}\n")
    path.chmod(0o755)
    return str(path)


def run(program: str, stream: Path) -> list[str]:
    with (
        decoded_by(program, nal_units(stream), Codec.VVC) as source,
        apply(nal_units(stream), Codec.VVC, ApplyOptions(), decoded=source) as pictures,
    ):
        return [md5([shown.frame]) for shown in pictures]


def test_the_pictures_of_another_decoder(samples: Path, tmp_path: Path) -> None:
    stream = samples / "bbb_q37.266"
    frames = [decoded.frame for decoded in decode_file(stream)]
    with (tmp_path / "decoded.yuv").open("wb") as file:
        for frame in frames:
            write_frame(file, frame)
    program = script(
        tmp_path, f"time.sleep(0.3); open(output, 'wb').write(open({str(tmp_path / 'decoded.yuv')!r}, 'rb').read())"
    )
    assert run(program, stream) == [md5([frame]) for frame in frames]


def test_a_program_that_fails_says_why(samples: Path, tmp_path: Path) -> None:
    program = script(tmp_path, "sys.exit('bit depth 16 is not supported')")
    with pytest.raises(NnpfError, match=r"failed with 1: .*bit depth 16 is not supported"):
        run(program, samples / "bbb_q37.266")


def test_a_program_that_stops_in_the_middle_is_noticed(samples: Path, tmp_path: Path) -> None:
    program = script(tmp_path, "open(output, 'wb').write(bytes(300000 * 3)); sys.exit('crashed')")
    with pytest.raises(NnpfError, match=r"failed with 1|ends inside"):
        run(program, samples / "bbb_q37.266")


def test_a_program_that_is_not_there(samples: Path) -> None:
    with pytest.raises(NnpfError, match="no-such-decoder: is no program on this machine"):
        run("no-such-decoder", samples / "bbb_q37.266")
