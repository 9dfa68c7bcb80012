"""`nnpf doctor` finds what works by trying it, and what does not, with the fix."""

import json
import re
import stat
import sys

import pytest

from nnpf import diagnosis, engines, runner
from nnpf.diagnosis import Check
from nnpf.probe_streams import STREAMS
from nnpf_tools.main import main
from tests.conftest import ROOT
from vsei.annexb import split
from vsei.listing import sei_messages
from vsei.nal import Codec

SAMPLES = 64 * 64 * 3 // 2


@pytest.fixture(autouse=True)
def no_programs(monkeypatch):
    """Programs on the machine's path are not what is tested."""
    monkeypatch.setattr("shutil.which", lambda name: None)


def program(folder, text, monkeypatch):
    """A decoder program, on the path."""
    path = folder / "vvdecapp"
    path.write_text(f"#!{sys.executable}\n{text}")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setattr("shutil.which", lambda name: str(path) if name in ("vvdecapp", str(path)) else None)


def test_what_is_installed_here_works(capsys):
    assert main(["doctor", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["works"]
    found = {check["name"]: check for check in document["checks"]}
    for name in ("FFmpeg H.266, 8 bit", "FFmpeg H.264, 8 bit", "NNC", "openvino on CPU"):
        assert found[name]["state"] == "works", found[name]
        assert found[name]["seconds"] > 0
    for engine in engines.ENGINES:
        tried = [check for name, check in found.items() if name.startswith(f"{engine} on ")]
        assert bool(tried) == engines.installed(engine)
    assert found["VVdeC"]["state"] == "absent"
    assert "github.com" in found["VVdeC"]["fix"]


def test_the_streams_carry_the_hash_of_their_picture():
    for stream in STREAMS:
        names = [found.name for found in sei_messages(split([stream.data]), stream.codec)]
        assert names == ["decoded_picture_hash"] * (stream.codec is not Codec.AVC)  # H.264 has no such message


def test_a_decoder_that_gives_other_samples_is_a_finding(monkeypatch, capsys):
    wrong = (STREAMS[0], *(type(s)(s.name, s.codec, s.data, "0" * 32) for s in STREAMS[1:2]))
    monkeypatch.setattr(diagnosis, "STREAMS", wrong)
    monkeypatch.setattr(diagnosis, "_engines", lambda: iter(()))
    assert main(["doctor"]) == 3
    output = capsys.readouterr()
    assert re.search(r"FFmpeg H.266, 10 bit +works", output.out)
    assert re.search(r"FFmpeg H.266, 8 bit +fails .* decodes to other samples", output.out)
    assert "fix: " in output.out
    assert output.err == "nnpf: needed, and does not work: FFmpeg H.266, 8 bit\n"


def test_an_engine_that_is_not_there_is_named_with_its_extra(monkeypatch):
    monkeypatch.setattr(engines, "installed", lambda name: False)
    found = {name: diagnosis._engine(name, device) for name, device in diagnosis._engines()}
    assert [check.state for check in found.values()] == ["absent"] * 3
    assert [check.needed for check in found.values()] == [True, False, False]
    assert found["onnxruntime"].fix == "pip install 'nnpf[ort]'"


def test_an_engine_that_computes_wrong_is_a_finding(monkeypatch):
    class Wrong:
        device = "CPU"

        def compile(self, model):
            return self

        def run(self, inputs):
            return inputs["x"][:, :, 1:-1, 1:-1].repeat(2, axis=1)

    monkeypatch.setattr(engines, "select_engine", lambda name, device: Wrong())
    check = diagnosis._engine("openvino", "CPU")
    assert (check.state, check.detail) == ("fails", "a convolution gives wrong results")
    assert check.needed
    assert check.fix


@pytest.mark.parametrize(
    ("text", "state", "detail"),
    [
        ("print('no such option'); raise SystemExit(4)", "fails", "failed with 4"),
        ("", "fails", "pictures"),
        (f"import sys; open(sys.argv[4], 'wb').write(bytes({2 * SAMPLES}))", "fails", "does not have the hash"),
    ],
)
def test_decoder_programs_are_tried(tmp_path, monkeypatch, text, state, detail):
    program(tmp_path, text, monkeypatch)
    check = diagnosis._program("VVdeC", ("vvdecapp",), "there")
    assert (check.state, check.needed) == (state, False)
    assert detail in check.detail
    assert check.fix == "build it again, or take it off the path: there"


def test_a_decoder_program_that_decodes_works(tmp_path, monkeypatch):
    stream = STREAMS[0]
    with runner.apply(split([stream.data]), stream.codec, runner.ApplyOptions()) as pictures:
        planes = b"".join(plane.tobytes() for shown in pictures for plane in shown.frame.file_planes())
    (tmp_path / "right.yuv").write_bytes(planes)
    copy = f"import sys; open(sys.argv[4], 'wb').write(open({str(tmp_path / 'right.yuv')!r}, 'rb').read())"
    program(tmp_path, copy, monkeypatch)
    check = diagnosis._program("VVdeC", ("vvdecapp",), "there")
    assert check == Check("decoder", "VVdeC", "works", detail=str(tmp_path / "vvdecapp"), seconds=check.seconds)


def test_extras_are_those_of_the_package():
    import tomllib

    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert set(project["optional-dependencies"]) - set(diagnosis.EXTRAS) <= {"dev", "docs", "fuzz"}


def test_extras_that_bring_others_need_what_those_need(monkeypatch):
    required = ["a-package>=1; extra == 'eval'", "nnpf[eval]; extra == 'report'", "numpy; extra == 'report'"]
    monkeypatch.setattr("importlib.metadata.requires", lambda name: required)
    check = diagnosis._extra("report")
    assert (check.state, check.fix) == ("absent", "pip install 'nnpf[report]'")
    assert check.detail.endswith("without a-package")
