"""`nnpf batch` as a user types it, on the sample stream."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from nnpf_tools import batch
from nnpf_tools.main import main


@pytest.fixture
def matrix(tmp_path: Path, samples: Path) -> Path:
    path = tmp_path / "matrix.yaml"
    path.write_text(
        "sequences:\n"
        f"  - {{name: bbb, original: '{samples}/bbb.mkv', stream: '{samples}/bbb_q{{point}}.266', fps: 30}}\n"
        "points: [37, 42]\n"
        f"filters: [{{name: tint, base: '{samples}/filters/tint_red.onnx'}}]\n"
        "evaluate: {no_ssim: true}\n"
    )
    return path


def test_a_batch_runs_lists_its_failures_and_goes_on(
    matrix: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """There is no stream at QP 42; that at QP 37 is measured all the same."""
    # Whatever is edited while the tests run: the same program in both runs.
    program = batch._own_program()
    monkeypatch.setattr(batch, "_own_program", lambda: program)
    out = tmp_path / "results"
    assert main(["batch", str(matrix), "-o", str(out), "--workers", "1"]) == 1
    text, notes = capsys.readouterr()
    assert "1 of 2 cells failed" in text
    assert "bbb_q42.266: No such file or directory" in text
    assert "jobs: 2 done" in notes
    document = json.loads((out / "results.json").read_text())
    measured = document["cells"][0]["measured"]
    assert measured["pictures"] == 65 and measured["message_bytes"] > 0
    assert measured["filtered"][0] < measured["decoded"][0] - 1  # a tint does not look like the original
    assert (out / "results.csv").read_text().count("\n") == 3
    assert "| bbb |" in (out / "results.md").read_text()

    assert main(["batch", str(matrix), "-o", str(out), "--json"]) == 1
    text, notes = capsys.readouterr()
    assert json.loads(text) == document
    assert "jobs: 2 kept" in notes


def test_a_dry_run_prints_the_commands(matrix: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["batch", str(matrix), "-o", str(tmp_path / "results"), "-n"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == ["run", "run", "can't"]
    assert " inject " in lines[0] and " eval " in lines[1]
    assert not (tmp_path / "results").exists()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "give a matrix and a folder"),
        (["-o", "results", "--workers", "0"], "--workers 0"),
        (["-o", "results", "--workers", "2", "--scheduler", "tcp://x:1"], "--workers are of this machine"),
        (["-o", "results", "--timeout", "0"], "--timeout 0"),
    ],
)
def test_wrong_usage(matrix: Path, arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["batch", str(matrix), *arguments]) == 2
    assert said in capsys.readouterr().err


def test_an_error_in_the_matrix_is_one_line(matrix: Path, capsys: pytest.CaptureFixture[str]) -> None:
    matrix.write_text(matrix.read_text().replace("points:", "point:"))
    assert main(["batch", str(matrix), "-o", "results"]) == 1
    assert capsys.readouterr().err.startswith(f"nnpf: {matrix}: ")
