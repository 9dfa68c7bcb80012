"""`nnpf apply`, and the demo: the receiver's side as a user runs it."""

import argparse
import hashlib
import json
import re

import numpy as np
import pytest

from nnpf_tools.apply_results import _grouped
from nnpf_tools.main import main
from tests.nnpf.onnx_graphs import halving_filter


@pytest.fixture(scope="module")
def tinted(samples, tmp_path_factory):
    """The sample stream with a tint filter, and the filter beside it."""
    folder = tmp_path_factory.mktemp("tinted")
    (folder / "tint.onnx").write_bytes((samples / "filters/tint_red.onnx").read_bytes())
    stream = folder / "tinted.266"
    assert main(["inject", str(samples / "bbb_q37.266"), "--base", str(folder / "tint.onnx"), "-o", str(stream)]) == 0
    return stream


@pytest.fixture(scope="module")
def samples_of(tinted):
    """MD5 of what `apply` writes, by options."""

    def digest(*options: str) -> str:
        out = tinted.parent / "out.yuv"
        assert main(["apply", str(tinted), "-o", str(out), "--force", "-q", *options]) == 0
        return hashlib.md5(out.read_bytes()).hexdigest()

    return digest


def test_every_picture_is_filtered_and_none_but_them(tinted, samples, tmp_path, capsys):
    report = tmp_path / "report.json"
    assert main(["apply", str(tinted), "--md5", "--report", str(report), "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert json.loads(report.read_text()) == document
    assert document["summary"]["filters"] == {"1 tint.onnx": 65}
    assert [p["output_index"] for p in document["pictures"]] == list(range(65))
    assert sorted(p["decode_index"] for p in document["pictures"]) == list(range(65))
    assert all(p["reasons"] == [] for p in document["pictures"])
    assert main(["apply", str(samples / "bbb_q37.266"), "--md5", "--json"]) == 0
    plain = json.loads(capsys.readouterr().out)
    assert plain["summary"]["filters"] == {"none": 65}
    assert all(a["md5"] != b["md5"] for a, b in zip(document["pictures"], plain["pictures"], strict=True))


def test_without_a_filter_pictures_are_those_of_the_decoder(samples, shared, tmp_path):
    """The stream without messages gives the MD5 that the reference decoder gives for the clip it was cut from."""
    out = tmp_path / "out.yuv"
    assert main(["apply", str(shared / "vectors/vtm/s01_vq_uri_ra.266"), "-o", str(out), "--skip-failures", "-q"]) == 0
    expected = (shared / "vectors/vtm/s01_vq_uri_ra.md5").read_text().split()[0]
    assert hashlib.md5(out.read_bytes()).hexdigest() == expected


def test_y4m_and_yuv_hold_the_same_samples(tinted, tmp_path, samples_of):
    out = tmp_path / "out.y4m"
    assert main(["apply", str(tinted), "-o", str(out), "--fps", "30000/1001", "-q"]) == 0
    header, _, rest = out.read_bytes().partition(b"\n")
    assert header.split()[:4] == [b"YUV4MPEG2", b"W416", b"H240", b"F30000:1001"]
    assert hashlib.md5(rest.replace(b"FRAME\n", b"")).hexdigest() == samples_of()


def test_the_first_pictures_alone(tinted, tmp_path, samples_of, capsys):
    out = tmp_path / "first.yuv"
    samples_of()
    whole = tinted.parent / "out.yuv"
    assert main(["apply", str(tinted), "-o", str(out), "--frames", "3", "--compare", str(whole)]) == 0
    assert "against" in (told := capsys.readouterr()).out
    assert "more pictures" not in told.out
    assert "3 pictures: 3 by 1 tint.onnx" in told.err
    assert out.read_bytes() == whole.read_bytes()[: 3 * 416 * 240 * 3]
    assert main(["apply", str(tinted), "-o", str(out), "--force", "-q", "--frames", "1000"]) == 0
    assert out.stat().st_size == whole.stat().st_size


def test_decoded_pictures_may_come_from_elsewhere(tinted, samples, tmp_path, samples_of):
    decoded = tmp_path / "decoded.yuv"
    assert main(["apply", str(samples / "bbb_q37.266"), "-o", str(decoded), "-q"]) == 0
    assert samples_of("--yuv", str(decoded)) == samples_of()


@pytest.mark.parametrize("suffix", [".yuv", ".y4m"])
def test_decoded_pictures_may_come_through_a_pipe(tinted, samples, tmp_path, samples_of, monkeypatch, suffix):
    """Which of both it is, the first bytes tell."""
    decoded = tmp_path / f"decoded{suffix}"
    assert main(["apply", str(samples / "bbb_q37.266"), "-o", str(decoded), "-q"]) == 0
    with decoded.open("rb") as file:
        monkeypatch.setattr("sys.stdin", argparse.Namespace(buffer=file))
        assert samples_of("--yuv", "-") == samples_of()


def test_decoded_pictures_too_few_are_an_error(tinted, samples, tmp_path, capsys):
    decoded = tmp_path / "decoded.yuv"
    decoded.write_bytes(bytes(416 * 240 * 3 * 10))
    assert main(["apply", str(tinted), "--yuv", str(decoded), "-o", str(tmp_path / "out.yuv")]) == 1
    assert "the decoded pictures end after 10" in capsys.readouterr().err
    assert not (tmp_path / "out.yuv").exists()


@pytest.mark.parametrize("engine", ["torch", "onnxruntime"])
def test_engines_agree(tinted, tmp_path, engine):
    import numpy as np

    outs = {}
    for name in ("openvino", engine):
        out = tmp_path / f"{name}.yuv"
        assert main(["apply", str(tinted), "-o", str(out), "--engine", name, "-q"]) == 0
        outs[name] = np.fromfile(out, "<u2").astype(int)
    assert np.abs(outs["openvino"] - outs[engine]).max() <= 1  # at most a rounding


def test_psnr_is_printed_for_every_picture_and_on_average(tinted, samples, capsys):
    assert main(["apply", str(tinted), "--original", str(samples / "bbb.mkv"), "-q"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split()[:3] == ["picture", "POC", "filter"]
    assert len(lines) == 1 + 65 + 1
    values = [float(v) for v in re.findall(r"[-+]?\d+\.\d+", lines[-1])]
    assert lines[-1].startswith("average")
    for before, after, gain in zip(values[0::3], values[1::3], values[2::3], strict=True):
        assert after - before == pytest.approx(gain, abs=2e-3)
        assert gain < -1  # a tint is no improvement


def test_a_model_that_is_not_there_is_named(tinted, tmp_path, capsys):
    assert main(["apply", str(tinted), "--model-root", str(tmp_path), "-o", str(tmp_path / "out.yuv")]) == 1
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "tint.onnx" in error
    assert "--model-root" in error
    assert not (tmp_path / "out.yuv").exists()


def test_a_uri_can_be_mapped_to_a_file(tinted, samples, tmp_path, samples_of):
    mapped = f"file:tint.onnx={samples / 'filters/tint_red.onnx'}"
    assert samples_of("--model-root", str(tmp_path), "--model-map", mapped) == samples_of()


def test_a_mapped_file_is_an_input(tinted, samples, tmp_path, capsys):
    model = tmp_path / "model.onnx"
    model.write_bytes((samples / "filters/tint_red.onnx").read_bytes())
    mapped = f"file:tint.onnx={model}"
    assert main(["apply", str(tinted), "--model-map", mapped, "--md5", "--report", str(model), "--force"]) == 1
    assert capsys.readouterr().err == f"nnpf: {model}: is also the input; choose another output\n"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ([], "give an output"),
        (["-o", "-", "--json"], "cannot both go to standard output"),
        (["--md5", "--patch", "big"], "give WxH"),
        (["--md5", "--model-map", "x"], "give URI=FILE"),
        (["-o", "x.y4m", "--fps", "many"], "give pictures per second"),
        (["-o", "x.y4m", "--frames", "0"], "--frames is at least 1"),
        (["--md5", "--threads", "-1"], "--threads -1: at least 1"),
    ],
)
def test_wrong_usage_is_exit_code_2(tinted, capsys, monkeypatch, tmp_path, options, message):
    monkeypatch.chdir(tmp_path)
    assert main(["apply", str(tinted), *options]) == 2
    assert message in capsys.readouterr().err


def test_the_demo_runs_and_draws(samples, tmp_path, monkeypatch, capsys):
    import runpy

    from PIL import Image

    monkeypatch.chdir(samples.parent)
    monkeypatch.setattr("sys.argv", ["demo.py", "--tint", "green", "--out", str(tmp_path / "demo")])
    runpy.run_path("tools/demo.py", run_name="__main__")
    text = capsys.readouterr().out
    assert "$ nnpf inject" in text
    assert "nnpfc 1: base, visual quality improvement" in text
    assert re.search(r"^average", text, re.MULTILINE)
    sheet = Image.open(tmp_path / "demo/tint_green.png").convert("RGB")
    assert sheet.size == (4 * 422 + 6, 22 + 240 + 6 + 240 + 6)
    # The filtered panel is greener than the decoded one.
    decoded, filtered = (
        sheet.crop((6 + i * 422, 22, 6 + i * 422 + 416, 262)).resize((1, 1)).getpixel((0, 0)) for i in (0, 1)
    )
    assert filtered[1] - filtered[0] > decoded[1] - decoded[0] + 20


def test_the_output_is_compared_with_another_one(tinted, samples, tmp_path, capsys):
    plain = tmp_path / "plain.yuv"
    assert main(["apply", str(samples / "bbb_q37.266"), "-o", str(plain), "-q"]) == 0
    capsys.readouterr()
    same = ["apply", str(samples / "bbb_q37.266"), "--compare", str(plain), "-q", "--max-difference", "0"]
    assert main(same) == 0
    assert "65 pictures, largest (mean) difference Y 0 (0), Cb 0 (0), Cr 0 (0)" in capsys.readouterr().out
    report = tmp_path / "report.json"
    other = ["apply", str(tinted), "--compare", str(plain), "-q", "--report", str(report)]
    assert main(other) == 0
    assert main([*other, "--force", "--max-difference", "100"]) == 3
    document = json.loads(report.read_text())
    compared = document["summary"]["compared"]
    assert compared["pictures"] == 65
    assert compared["missing"] == 0
    assert compared["largest"] == [max(p["difference"]["largest"][c] for p in document["pictures"]) for c in range(3)]
    mean = sum(p["difference"]["mean"][0] for p in document["pictures"]) / 65
    assert compared["mean"][0] == pytest.approx(mean)
    assert max(compared["largest"]) > 100
    plain.write_bytes(plain.read_bytes()[: 40 * 416 * 240 * 3])
    assert main(same) == 3
    assert "it lacks 25 pictures" in capsys.readouterr().out


def test_the_report_says_what_ran_and_on_what(tinted, tmp_path):
    report = tmp_path / "report.json"
    assert main(["apply", str(tinted), "--report", str(report), "-q", "--deterministic"]) == 0
    document = json.loads(report.read_text())
    summary = document["summary"]
    stream, model = summary["inputs"]["stream"], summary["models"][0]
    assert stream["sha256"] == hashlib.sha256(tinted.read_bytes()).hexdigest()
    file = summary["inputs"][f"model {model['model']}"]
    assert file["sha256"] == hashlib.sha256((tinted.parent / "tint.onnx").read_bytes()).hexdigest()
    assert (model["engine"], model["precision"], model["runs"], model["instead_of"]) == ("openvino", "f32", 65, None)
    assert len(model["sha256"]) == 64
    assert all(seconds > 0 for seconds in model["seconds"])
    assert summary["options"]["deterministic"] is True
    assert {"cpu", "system", "python", "openvino", "numpy", "av"} <= summary["environment"].keys()
    assert summary["faults"] == []
    assert all(p["applied"][0]["precision"] == "f32" for p in document["pictures"])


def test_deterministic_is_the_same_for_any_number_of_threads(tinted, samples_of):
    assert samples_of("--deterministic", "--threads", "1") == samples_of("--deterministic", "--threads", "3")


def test_a_damaged_stream_is_exit_code_3_with_keep_going(tinted, tmp_path, capsys):
    data = bytearray(tinted.read_bytes())
    starts = [m.start() for m in re.finditer(b"\0\0\1", bytes(data))]
    slices = [at for at in starts if data[at + 4] >> 3 < 12]
    del data[slices[4] : slices[5]]
    broken = tinted.parent / "broken.266"
    broken.write_bytes(data)
    assert main(["apply", str(broken), "--md5", "-q"]) == 1
    assert "--keep-going" in capsys.readouterr().err
    assert main(["apply", str(broken), "--md5", "-q", "--keep-going"]) == 3
    assert "nnpf: fault: the decoder left out 2 pictures: POC 0, 2" in capsys.readouterr().err


def test_like_notes_are_one_line_and_the_report_has_each(tinted, tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    report = tmp_path / "report.json"
    command = [
        "apply",
        str(tinted),
        "--report",
        str(report),
        "--skip-failures",
        "--model-root",
        str(tmp_path / "empty"),
    ]
    assert main(command) == 0
    notes = [line for line in capsys.readouterr().err.splitlines() if line.startswith("nnpf: note: ")]
    assert len(notes) == 1
    assert notes[0].startswith("nnpf: note: 65 pictures, POC 0 to 64: NNPFC 1 is not applied: ")
    pictures = json.loads(report.read_text())["pictures"]
    assert [len(picture["reasons"]) for picture in pictures] == [1] * 65


def test_like_faults_are_one_line():
    faults = [f"picture with POC {poc}: Y as decoded does not have the hash" for poc in (0, 8, -4)]
    faults += ["the decoder stopped at picture 4 in decoding order: no", "the decoder left out 2 pictures: POC 0, 2"]
    assert list(_grouped(faults)) == [
        "picture with POC -4 to 8: Y as decoded does not have the hash (3 times)",
        "the decoder stopped at picture 4 in decoding order: no",
        "the decoder left out 2 pictures: POC 0, 2",
    ]


@pytest.mark.parametrize("at", ["segments", "output:1", "all"])  # nothing is interpolated before the first picture
def test_a_filter_that_adds_pictures_raises_the_rate_of_a_y4m_file(samples, tmp_path, capsys, at):
    from onnx import TensorProto, helper

    from tests.nnpf.onnx_graphs import graph
    from tests.nnpf.streams import activation, characteristics, save, with_messages

    node = helper.make_node("ReduceMean", ["input"], ["output"], axes=[1], keepdims=1)
    inputs = {"input": ((1, 2, None, None), TensorProto.FLOAT)}
    save(tmp_path, graph([node], inputs, "output", output_rank=4, opset=17))
    settings = {"num_input_pics_minus1": 1, "input_pic_filtering_flag": [0, 0], "interpolated_pics": [1]}
    message = characteristics(purpose=8, inp_order_idc=0, out_order_idc=0, **settings)
    units = with_messages(samples / "bbb_q37.266", [("random_access", message), (at, activation())])
    stream, out = tmp_path / "in.266", tmp_path / "out.y4m"
    stream.write_bytes(b"".join(b"\0\0\0\1" + bytes(unit.data) for unit in units))
    assert main(["apply", str(stream), "-o", str(out), "-q", "--fps", "30000/1001"]) == 0
    data = out.read_bytes()
    assert b" F60000:1001 " in data[:100]
    assert data.count(b"FRAME\n") == 2 * 65 - 1
    assert main(["apply", str(stream), "-o", str(out), "--force", "--report", str(tmp_path / "report.json")]) == 0
    assert "129 pictures (64 interpolated): 65 as decoded, 64 by 1 filter.onnx; " in capsys.readouterr().err
    assert json.loads((tmp_path / "report.json").read_text())["summary"]["kinds"] == {"decoded": 65, "interpolated": 64}


def test_what_is_written_has_the_format_that_the_messages_say(samples, tmp_path, capsys):
    from onnx import TensorProto, helper

    from tests.nnpf.onnx_graphs import graph
    from tests.nnpf.streams import activation, characteristics, save, with_messages

    node = helper.make_node("Resize", ["input", "", "scales"], ["output"], mode="nearest")
    constants = {"scales": np.array([1, 1, 2, 2], np.float32)}
    save(
        tmp_path,
        graph([node], {"input": ((None, 3, None, None), TensorProto.FLOAT)}, "output", constants, output_rank=4),
    )
    twice = {
        f"pic_{side}_{part}_minus1": int(part == "num") for side in ("width", "height") for part in ("num", "denom")
    }
    settings = {"inp_order_idc": 2, "out_order_idc": 2, "out_format_idc": 0, "out_sub_c_flag": 1}
    message = characteristics(purpose=2 | 4 | 16, **twice, **settings)
    units = with_messages(samples / "bbb_q37.266", [("random_access", message), ("segments", activation())])
    stream, out, report = tmp_path / "in.266", tmp_path / "out.y4m", tmp_path / "report.json"
    stream.write_bytes(b"".join(b"\0\0\0\1" + bytes(unit.data) for unit in units))
    options = ["--frames", "2", "--out-bit-depth", "12", "--report", str(report)]
    assert main(["apply", str(stream), "-o", str(out), *options]) == 0
    assert out.read_bytes().startswith(b"YUV4MPEG2 W832 H480 ")
    assert b" C444p12\n" in out.read_bytes()[:100]
    assert "2 pictures: 2 by 1 filter.onnx; 832x480 4:4:4 12 bit; " in capsys.readouterr().err
    assert json.loads(report.read_text())["summary"]["formats"] == {"832x480 4:4:4 12 bit": 2}


@pytest.mark.parametrize("delta", [None, 1])
def test_a_network_that_halves_inside_gets_patches_that_it_takes(samples, tmp_path, delta):
    """120 rows of quads are no multiple of 16. What `inject` leaves free is; other programs leave all sizes free."""
    model, stream, out = (tmp_path / name for name in ("halving.onnx", "in.266", "out.yuv"))
    model.write_bytes(halving_filter(16).to_bytes())
    elements = [
        f"--set=nnpfc_extended_patch_{side}_cd_delta_minus1={delta - 1}" for side in ("width", "height") if delta
    ]
    assert main(["inject", str(samples / "bbb_q37.266"), "--base", str(model), "-o", str(stream), *elements]) == 0
    assert main(["apply", str(stream), "-o", str(out), "--frames", "1", "-q"]) == 0
    luma = np.fromfile(out, "<u2")[: 416 * 240].reshape(240, 416)
    assert (luma[0:32:2, 0:32:2] == luma[0, 0]).all()  # the mean of 16 x 16 quads
    assert luma[0, 0] != luma[0, 32]
