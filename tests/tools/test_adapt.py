"""`nnpf prepare` and `nnpf adapt`, to the pictures that a receiver gets."""

import itertools
import json
import shutil
import subprocess
import sys

import pytest

from nnpf_tools.main import main

pytest.importorskip("torch")


@pytest.fixture(scope="module")
def base(samples, tmp_path_factory):
    """A filter that is prepared, in a folder of its own."""
    return shutil.copy(samples / "filters/tiny.onnx", tmp_path_factory.mktemp("adapt") / "base.onnx")


def adapt(samples, base, *options: str) -> int:
    common = ["adapt", str(samples / "bbb_q37.266"), "--original", str(samples / "bbb.mkv"), "--base", str(base)]
    return main([*common, "-q", "--device", "cpu", *options])


@pytest.mark.parametrize(("division", "params"), [("clip", "multipliers"), ("ras", "last")])
def test_adapt_inject_apply_gives_what_was_reported(samples, base, capsys, division: str, params: str) -> None:
    """Every picture has exactly the PSNR that the report says, so the receiver runs the update that was measured."""
    folder = base.parent
    update, report, stream = folder / f"{division}.nnc", folder / f"{division}.json", folder / f"{division}.266"
    options = ["--params", params, "--steps", "30", "--segment", division, "--serves", "5000000"]
    assert adapt(samples, base, *options, "-o", str(update), "--report", str(report)) == 0
    document = json.loads(report.read_text())
    segments = document["segments"]
    assert len(segments) == {"clip": 1, "ras": 2}[division]
    for segment in segments:
        assert segment["decision"] == "update"
        assert segment["gain_update_db"]["combined"] > 0
        assert segment["psnr_result"][0] > segment["psnr_base"][0]
    assert sorted(p.name for p in folder.glob(f"{division}*.nnc")) == document["files"]
    assert not list(folder.glob("*.checkpoints"))
    capsys.readouterr()
    specification = str(update.with_suffix(".yaml"))
    assert main(["inject", str(samples / "bbb_q37.266"), specification, "-o", str(stream), "--json"]) == 0
    messages = json.loads(capsys.readouterr().out)["messages"]
    assert main(["apply", str(stream), "--original", str(samples / "bbb.mkv"), "--json"]) == 0
    applied = json.loads(capsys.readouterr().out)["pictures"]
    reported = [picture for segment in segments for picture in segment["pictures"]]
    assert len(applied) == len(reported) == 65
    for mine, theirs in zip(reported, applied, strict=True):
        assert mine["output_index"] == theirs["output_index"]
        assert theirs["applied"][0]["update"]
        assert theirs["psnr_filtered"] == pytest.approx(mine["psnr_result"], abs=1e-3)
    # The bytes that were paid for are those that are sent: the payload of the SEI message and its NAL unit around it.
    sizes = {
        m["decode_index"]: m["size"] for m in messages if m["name"] == "nnpfc" and m["decode_index"] not in (0, 32)
    }
    paid = {at: s["message_bytes"] for s in segments for at in s["segment"]["copies"]}
    assert sizes.keys() == paid.keys()
    assert all(8 <= paid[at] - sizes[at] <= 8 + sizes[at] // 100 for at in paid)


def test_an_update_that_does_not_pay_is_not_written(samples, base, tmp_path, capsys) -> None:
    update = tmp_path / "u.nnc"
    assert adapt(samples, base, "--params", "last", "--steps", "5", "--serves", "200", "-o", str(update), "--json") == 0
    (segment,) = json.loads(capsys.readouterr().out)["segments"]
    assert segment["payload_bytes"] is None
    assert "cost" in segment["reason"] or "no update" in segment["reason"]
    assert not update.exists()
    assert update.with_suffix(".yaml").exists()


@pytest.mark.parametrize(
    "options",
    [
        ["-o", "u.bin"],
        ["-o", "u.nnc", "--steps", "0"],
        ["-o", "u.nnc", "--slope", "3", "--rate-points", "x.266"],
        ["-o", "u.nnc", "--serves", "-1"],
        ["-o", "u.nnc", "--set", "padding=1"],
    ],
)
def test_wrong_usage(samples, base, tmp_path, options, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert adapt(samples, base, *options) == 2


def test_what_is_there_is_not_overwritten(samples, base, tmp_path, capsys) -> None:
    (tmp_path / "u.nnc").write_bytes(b"old")
    assert adapt(samples, base, "--steps", "1", "-o", str(tmp_path / "u.nnc")) == 1
    assert "--force" in capsys.readouterr().err
    assert (tmp_path / "u.nnc").read_bytes() == b"old"


def test_prepare_says_what_it_put_in(samples, tmp_path, capsys) -> None:
    out = tmp_path / "b.onnx"
    options = ["--params", "multipliers", "biases"]
    assert main(["prepare", str(samples / "filters/tint_red.onnx"), "-o", str(out), *options]) == 0
    assert "6 multipliers, 6 biases" in capsys.readouterr().err
    assert main(["prepare", str(out), "-o", str(tmp_path / "c.onnx")]) == 1
    assert "prepared already" in capsys.readouterr().err


@pytest.mark.slow
def test_the_slope_comes_from_the_clip_at_other_rates(samples, base, shared, tmp_path, capsys) -> None:
    others = [str(shared / f"clips/bbb_q{qp}.266") for qp in (32, 42)]
    options = ["--params", "biases", "--steps", "1", "--segment", "ras", "-o", str(tmp_path / "u.nnc"), "--json"]
    assert adapt(samples, base, *options, "--rate-points", *others) == 0
    measured = {segment["slope"] for segment in json.loads(capsys.readouterr().out)["segments"]}
    assert len(measured) == 1
    assert 3 < measured.pop() < 6


@pytest.mark.slow
def test_a_run_that_was_killed_goes_on(samples, base, tmp_path) -> None:
    """Segments of some pictures; killed after the first look, and gone on with to the same updates."""
    options = ["--segment", "40", "--params", "all", "--steps", "16", "--serves", "5000000", "--device", "cpu"]
    stream = [str(samples / "bbb_q37.266"), "--original", str(samples / "bbb.mkv"), "--base", str(base)]
    command = [sys.executable, "-m", "nnpf_tools.main", "adapt", *stream, *options, "-o", str(tmp_path / "u.nnc")]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        assert "step 4" in "".join(itertools.islice(process.stderr, 2))
        process.kill()
    assert not list(tmp_path.glob("*.nnc"))
    resumed = subprocess.run([*command, "--resume"], capture_output=True, text=True, check=True)
    assert "step 2 of" not in resumed.stderr.splitlines()[0]
    whole = tmp_path / "whole"
    whole.mkdir()
    assert main(["adapt", *stream, *options, "-q", "-o", str(whole / "u.nnc")]) == 0
    for name in ("u_0.nnc", "u_1.nnc"):
        assert (tmp_path / name).read_bytes() == (whole / name).read_bytes()


def test_the_sample_update_is_one_of_the_sample_filter(samples, capsys, tmp_path) -> None:
    """samples/updates was fitted to this clip, and luma gains more than with the base alone."""
    out = tmp_path / "out.266"
    specification = str(samples / "updates/small_bbb_q37.yaml")
    assert main(["inject", str(samples / "bbb_q37.266"), specification, "-o", str(out), "-q"]) == 0
    pictures = ["--original", str(samples / "bbb.mkv"), "--model-root", str(samples / "filters"), "--json"]
    assert main(["apply", str(out), *pictures]) == 0
    shown = json.loads(capsys.readouterr().out)["pictures"]
    assert all(picture["applied"][0]["update"] for picture in shown)
    gains = [p["psnr_filtered"][0] - p["psnr_decoded"][0] for p in shown]
    assert sum(gains) / len(gains) > 0.098  # the base alone: 0.091
