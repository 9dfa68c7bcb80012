"""A matrix becomes jobs, jobs become results: each command once, kept by what it depends on, failures listed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from nnpf.batch import cluster, matrix, results
from nnpf.batch.job import Job, Outcome, State, run_job
from nnpf.batch.plan import FileHashes, Plan, Program, plan
from nnpf.errors import NnpfError
from nnpf_tools import batch_report

FAKE = Program((sys.executable, str(Path(__file__).with_name("fake_nnpf.py"))), "fake 1")
POINTS = (22, 27, 32, 37)

MATRIX = """
sequences:
  - {name: one, class: A, original: one.yuv, stream: "one_q{point}.266"}
  - {name: two, class: B, original: two.yuv, stream: "two_q{point}.266"}
points: [22, 27, 32, 37]
filters:
  - {name: unfiltered}
  - {name: small, base: small.onnx}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The files that MATRIX names."""
    where = tmp_path / "given"
    where.mkdir()
    (where / "small.onnx").write_bytes(b"weights")
    for name in ("one", "two"):
        (where / f"{name}.yuv").write_bytes(name.encode())
        for point in POINTS:
            (where / f"{name}_q{point}.266").write_bytes(f"{name} q={point}".encode())
    return where


def planned(folder: Path, text: str = MATRIX, root: Path | None = None) -> tuple[matrix.Matrix, Plan]:
    (folder / "matrix.yaml").write_text(text)
    given = matrix.read(folder / "matrix.yaml")
    return given, plan(given, root or folder.parent / "results", FileHashes(), {"nnpf": FAKE})


def run_here(made: Plan, root: Path) -> dict[str, Outcome]:
    """Each job in turn, as workers run them."""
    outcomes: dict[str, Outcome] = {}
    with cluster.locked(root):
        for job in made.jobs.values():
            outcomes[job.key] = run_job(job, str(root), None, *(outcomes[key] for key in job.needs))
    return outcomes


# --- the file --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (("points: [22, 27, 32, 37]", "points: []"), "line 5: points"),
        (("{name: unfiltered}", "{name: small}"), "line 8: filters[1].name: small: twice"),
        (("small.onnx}", "small.onnx, spec: x.yaml}"), "filters[1]"),
        (('stream: "one_q{point}.266"', 'stream: "one_q{qp}.266"'), "{qp}: no such variable; there are class"),
        ((', stream: "one_q{point}.266"', ""), "line 3: sequences[0]: has no stream"),
        (("filters:", "anchor: best\nfilters:"), "anchor: best: no filter has this name"),
        (("filters:", "evaluate: {'--x': 1}\nfilters:"), "evaluate"),
        (("filters:", "steps: [{name: e, run: a, output: s, gives: stream}]\nfilters:"), "does not say where {output}"),
    ],
)
def test_what_is_wrong_in_a_matrix_is_named_with_its_line(folder: Path, change: tuple[str, str], said: str) -> None:
    with pytest.raises(NnpfError) as raised:
        planned(folder, MATRIX.replace(*change))
    assert said in str(raised.value)


def test_options_are_written_as_the_command_line_wants_them() -> None:
    given = {"messages_every": 10, "no_ssim": True, "quiet": False, "slope": 0.5, "rate_points": ["a", "b"]}
    assert list(matrix.options(given)) == [
        "--messages-every", "10", "--no-ssim", "--slope", "0.5", "--rate-points", "a", "--rate-points", "b",
    ]  # fmt: skip


# --- jobs ------------------------------------------------------------------------------------------------------------


def test_a_command_that_several_cells_need_is_one_job(folder: Path) -> None:
    step = (
        "steps:\n- {name: encode, run: 'cp {original} {output}', output: coded.266, gives: stream}\n"
        "filters: [{name: a}, {name: b, base: small.onnx}, {name: c, base: small.onnx}]\n"
    )
    text = MATRIX[: MATRIX.index("filters:")] + step
    _, made = planned(folder, text)
    steps = [job.step for job in made.jobs.values()]
    # Two originals; the rate point is not in the command, and b and c are the same filter.
    assert (steps.count("encode"), steps.count("inject"), steps.count("evaluate")) == (2, 2, 4)
    assert {cell.job.key for cell in made.cells if cell.job and cell.cell.filter == "b"} == {
        cell.job.key for cell in made.cells if cell.job and cell.cell.filter == "c"
    }


def test_keys_follow_contents_not_places(folder: Path, tmp_path: Path) -> None:
    before = set(planned(folder)[1].jobs)
    moved = folder.rename(tmp_path / "elsewhere")
    assert set(planned(moved, root=tmp_path / "other")[1].jobs) == before

    (moved / "one_q22.266").write_bytes(b"one q=23")
    after = set(planned(moved)[1].jobs)
    assert len(after - before) == 3  # unfiltered: eval; small: inject, eval

    (moved / "small.onnx").write_bytes(b"other weights")
    assert len(set(planned(moved)[1].jobs) - after) == 2 * 8


def test_a_specification_counts_with_the_files_that_it_names(folder: Path) -> None:
    text = MATRIX.replace("base: small.onnx", "spec: send.yaml")
    (folder / "update.nnc").write_bytes(b"1")
    (folder / "send.yaml").write_text(
        "filters: [{id: 1, base: small.onnx, updates: [{payload: update.nnc, at: 'poc:0'}]}]\n"
    )
    made = planned(folder, text)[1]
    evaluations = [job for job in made.jobs.values() if job.step == "evaluate" and job.needs]
    assert all(f"file:small.onnx={folder / 'small.onnx'}" in job.argv for job in evaluations)
    (folder / "update.nnc").write_bytes(b"2")
    assert len(set(planned(folder, text)[1].jobs) - set(made.jobs)) == 16


def test_hashes_are_kept_and_taken_again_when_a_file_changes(tmp_path: Path) -> None:
    path = tmp_path / "f"
    path.write_bytes(b"a")
    hashes = FileHashes()
    first = hashes.of(path)
    assert FileHashes(hashes.known).of(path) == first
    path.write_bytes(b"bb")
    assert FileHashes(hashes.known).of(path) != first


# --- results ---------------------------------------------------------------------------------------------------------


def test_results_are_one_table_with_deltas_of_sequences_classes_and_all(folder: Path) -> None:
    root = folder.parent / "results"
    given, made = planned(folder)
    rows = results.rows(made, run_here(made, root), root)
    assert [row.measured is not None for row in rows] == [True] * 16
    found = results.deltas(given, rows)
    names = [(row.filter, row.group, row.sequence) for row in found]
    expected = [("A", "one"), ("B", "two"), ("A", None), ("B", None), ("all", None)]
    assert names[5:] == [("small", *row) for row in expected]
    small = found[5].deltas[0]
    # 0.1 dB for next to nothing; the slope is 7.5 dB for a rate of 37 / 22.
    assert small.quality == pytest.approx(0.1, abs=0.01)
    assert small.rate_percent == pytest.approx(-0.7, abs=0.1)
    mean = found[9].deltas[0].rate_percent
    assert mean == pytest.approx(((small.rate_percent or 0) + (found[6].deltas[0].rate_percent or 0)) / 2)
    assert found[0].deltas[0].rate_percent == pytest.approx(0)  # unfiltered

    report = batch_report.Report("matrix.yaml", rows, found, None)
    assert report.failures == 0
    assert report.csv().count("\n") == 17
    assert "| one | A | 22 | small | 45.46 | 1 | 49.100 | +0.100 |" in report.markdown()
    assert '"anchor": null' in report.json()


def test_an_anchor_is_another_filter(folder: Path) -> None:
    root = folder.parent / "results"
    given, made = planned(folder, MATRIX + "anchor: small\n")
    found = results.deltas(given, results.rows(made, run_here(made, root), root))
    assert {row.filter for row in found} == {"unfiltered"}
    assert (found[0].deltas[0].quality or 0) == pytest.approx(-0.1, abs=0.01)


def test_a_failure_is_listed_and_stops_nothing_else(folder: Path) -> None:
    root = folder.parent / "results"
    (folder / "one_q27.266").write_bytes(b"broken")
    (folder / "two_q37.266").unlink()
    given, made = planned(folder)
    outcomes = run_here(made, root)
    rows = results.rows(made, outcomes, root)
    problems = {(row.sequence, row.point, row.filter): row.problem for row in rows if row.problem}
    assert problems == {
        ("one", "27", "unfiltered"): "evaluate: nnpf: one_q27.266: offset 0: is broken",
        ("one", "27", "small"): "inject: nnpf: one_q27.266: offset 0: is broken",
        ("two", "37", "unfiltered"): f"{folder / 'two_q37.266'}: No such file or directory",
        ("two", "37", "small"): f"{folder / 'two_q37.266'}: No such file or directory",
    }
    found = results.deltas(given, rows)
    assert found[0].deltas[0].problems == ("unfiltered at 27: evaluate: nnpf: one_q27.266: offset 0: is broken",)
    report = batch_report.Report("matrix.yaml", rows, found, None)
    assert report.failures == 4
    assert "one, 27, small: inject: nnpf: one_q27.266: offset 0: is broken" in report.text()


def test_what_is_done_is_kept_and_what_failed_is_tried_again(folder: Path) -> None:
    root = folder.parent / "results"
    (folder / "one_q27.266").write_bytes(b"broken")
    run_here(planned(folder)[1], root)
    (folder / "one_q27.266").write_bytes(b"one q=27")
    states = [outcome.state for outcome in run_here(planned(folder)[1], root).values()]
    assert (states.count(State.KEPT), states.count(State.DONE)) == (21, 3)


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("import sys; sys.exit('no such option')", "no such option"),
        ("import os; os.kill(os.getpid(), 9)", "killed by SIGKILL"),
        ("import sys; sys.exit(4)", "exit code 4, and not a word"),
        ("pass", "has not written out.txt"),
        ("import time; time.sleep(60)", "not done after 1 s"),
    ],
)
def test_why_a_command_failed_is_said_in_a_line(tmp_path: Path, code: str, said: str) -> None:
    with cluster.locked(tmp_path):
        job = Job("k" * 64, "step", (sys.executable, "-c", code), "out.txt", ())
        outcome = run_job(job, str(tmp_path), 1.0)
    assert (outcome.state, outcome.reason) == (State.FAILED, said)
    assert not list((tmp_path / "steps").iterdir())
    assert (tmp_path / "failed" / job.key / "stderr.txt").is_file()


def test_a_folder_is_for_one_batch_at_a_time_and_leftovers_go(tmp_path: Path) -> None:
    (tmp_path / "steps" / ".half.done").mkdir(parents=True)
    with cluster.locked(tmp_path):
        assert not list((tmp_path / "steps").iterdir())
        with pytest.raises(NnpfError, match="another batch is at work"), cluster.locked(tmp_path):
            pass


# --- Dask ------------------------------------------------------------------------------------------------------------


@contextmanager
def scheduler_and_workers(folder: Path, count: int) -> Iterator[tuple[Path, list[subprocess.Popen[bytes]]]]:
    """As a site has them: processes that know of each other by a file."""
    file = folder / "scheduler.json"
    command = [sys.executable, "-m"]
    quiet: dict[str, Any] = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "cwd": folder}
    with ExitStack() as stack:

        def started(*arguments: str) -> subprocess.Popen[bytes]:
            process = stack.enter_context(subprocess.Popen([*command, *arguments], **quiet))
            stack.callback(process.kill)
            return process

        where = ("--scheduler-file", str(file), "--host", "127.0.0.1", "--no-dashboard")
        started("distributed.cli.dask_scheduler", "--port", "0", *where)
        worker = ("distributed.cli.dask_worker", "--nthreads", "1", "--no-nanny", *where)
        workers = [started(*worker) for _ in range(count)]
        deadline = time.monotonic() + 60
        while not file.is_file() and time.monotonic() < deadline:
            time.sleep(0.1)
        yield file, workers


def test_a_worker_that_is_killed_costs_no_cell(folder: Path) -> None:
    """The job that it was at goes to the other worker."""
    root = folder.parent / "results"
    # The first job to start says which worker runs it, and waits to be killed; when it is run again it does its work.
    slow = folder / "slow.py"
    slow.write_text(
        "import os, shutil, sys, time\n"
        "try:\n"
        "    handle = os.open(sys.argv[1], os.O_CREAT | os.O_EXCL | os.O_WRONLY)\n"
        "except FileExistsError:\n"
        "    shutil.copy(sys.argv[2], sys.argv[3])\n"
        "else:\n"
        "    os.write(handle, str(os.getppid()).encode())\n"
        "    os.close(handle)\n"
        "    time.sleep(120)\n"
    )
    mark = folder / "pid"
    run = f"'{sys.executable}' slow.py '{mark}' '{{folder}}/../../../given/{{sequence}}_q{{point}}.266' {{output}}"
    text = MATRIX.replace(
        "filters:", f'steps:\n- {{name: encode, run: "{run}", output: s.266, gives: coded}}\nfilters:'
    )
    text = text.replace('"one_q{point}.266"', "one.yuv").replace('"two_q{point}.266"', "two.yuv")
    text = text.replace("gives: coded", "gives: stream")
    given, made = planned(folder, text)
    killed: list[int] = []

    with scheduler_and_workers(folder, 2) as (file, workers), cluster.locked(root):

        def tell(outcome: Outcome) -> None:
            if not killed:
                pid = int(mark.read_text())
                assert pid in [worker.pid for worker in workers]
                os.kill(pid, signal.SIGKILL)
                killed.append(pid)

        outcomes = cluster.run(made.jobs, root, lambda: cluster.remote_client(str(file)), tell=tell)
    rows = results.rows(made, outcomes, root)
    assert killed
    assert [row.problem for row in rows] == [""] * 16
    assert {outcome.state for outcome in outcomes.values()} == {State.DONE}
    # And nothing is left to do, so nobody is asked.
    again = cluster.run(made.jobs, root, lambda: pytest.fail("connected for nothing"))
    assert {outcome.state for outcome in again.values()} == {State.KEPT}
    assert results.deltas(given, rows)[0].deltas[0].rate_percent is not None


def test_no_scheduler_is_said_in_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster, "CONNECT_TIMEOUT", 1)
    with pytest.raises(NnpfError, match="no Dask scheduler answers"), cluster.remote_client("tcp://127.0.0.1:9"):
        pass
