"""`nnpf apply`, and the demo: the receiver's side as a user runs it."""

import hashlib
import json
import re

import pytest

from nnpf_tools.main import main


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


def test_decoded_pictures_may_come_from_elsewhere(tinted, samples, tmp_path, samples_of):
    decoded = tmp_path / "decoded.yuv"
    assert main(["apply", str(samples / "bbb_q37.266"), "-o", str(decoded), "-q"]) == 0
    assert samples_of("--yuv", str(decoded)) == samples_of()


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


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ([], "give an output"),
        (["-o", "-", "--json"], "cannot both go to standard output"),
        (["--md5", "--patch", "big"], "give WxH"),
        (["--md5", "--model-map", "x"], "give URI=FILE"),
        (["-o", "x.y4m", "--fps", "many"], "give pictures per second"),
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
