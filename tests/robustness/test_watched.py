"""A fault in machine code, or a call that never returns, ends in one line that names the step."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from nnpf import steps
from nnpf_tools import watched
from tests.robustness.commands import SAMPLES, SIGNALLED, STREAM, run, start, stop, unfinished, wait_for_unfinished

# Takes the place of a function of the library, and does what a fault in machine code does.
PROGRAM = """
import os, signal, sys, time
import {module}
def faulty(*arguments, **more):
    {body}
original = {module}.{name}
{module}.{name} = faulty
sys.argv = ["nnpf", *sys.argv[1:]]
from nnpf_tools.main import main
sys.exit(main())
"""
CRASH = "signal.raise_signal(signal.SIGSEGV)"
HANG = "time.sleep(1000)"


def run_with(module: str, name: str, body: str, arguments: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    program = PROGRAM.format(module=module, name=name, body=body)
    command = [sys.executable, "-c", program, *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120, check=False)


@pytest.fixture
def filtered(tmp_path: Path) -> Path:
    stream = tmp_path / "filtered.266"
    shutil.copy(SAMPLES / "filters/tint_red.onnx", tmp_path)
    assert run(["inject", str(STREAM), "--base", "tint_red.onnx", "-o", str(stream)], tmp_path).returncode == 0
    return stream


def one_line(done: subprocess.CompletedProcess[str], line: str) -> None:
    assert done.returncode == 1, done.stderr
    assert done.stderr == f"nnpf: {line}\n"


def test_a_decoder_that_crashes(filtered: Path, tmp_path: Path) -> None:
    """In its threads, after picture 3 was given to it. The old output stays, and nothing lies beside it."""
    (tmp_path / "out.yuv").write_text("the old file")
    body = f"if arguments[2] == 4: {CRASH}\n    return original(*arguments)"
    done = run_with("nnpf.decoding", "_frames", body, ["apply", str(filtered), "-o", "out.yuv", "--force"], tmp_path)
    step = "the decoder (FFmpeg, vvc) at picture 3 in decoding order"
    assert done.returncode == 1
    line = done.stderr.splitlines()[-1]
    assert line.startswith(f"nnpf: {filtered}: a library failed and ended the process (SIGSEGV), at: ")
    assert step in line
    assert (tmp_path / "out.yuv").read_text() == "the old file"
    assert not unfinished(tmp_path)


@pytest.mark.parametrize(
    ("module", "name", "step"),
    [
        ("nnpf.model", "_check", "reading the model {folder}/tint_red.onnx"),
        ("nnpf.engines.openvino_engine", "OpenVinoNetwork", "openvino compiles {folder}/tint_red.onnx"),
    ],
)
def test_a_model_that_crashes_a_library(module: str, name: str, step: str, filtered: Path, tmp_path: Path) -> None:
    done = run_with(module, name, CRASH, ["apply", str(filtered), "-o", "out.yuv", "-q"], tmp_path)
    assert done.returncode == 1
    what, _, doing = done.stderr.partition(", at: ")
    assert what == f"nnpf: {filtered}: a library failed and ended the process (SIGSEGV)"
    # The decoder runs ahead: nobody can say which of the two it was.
    steps = sorted(doing.strip().split("; meanwhile "))
    assert len(steps) == 2
    assert steps[0] == step.format(folder=tmp_path)
    assert steps[1].startswith("the decoder (FFmpeg, vvc) at ")
    assert len(done.stderr.splitlines()) == 1
    assert not (tmp_path / "out.yuv").exists()
    assert not unfinished(tmp_path)


def test_a_step_that_never_ends(filtered: Path, tmp_path: Path) -> None:
    arguments = ["apply", str(filtered), "-o", "out.yuv", "-q", "--set-limit", "model_seconds=2"]
    done = run_with("nnpf.model", "_check", HANG, arguments, tmp_path)
    step = f"reading the model {tmp_path}/tint_red.onnx"
    one_line(done, f"{filtered}: {step}: not done after 2 seconds (--set-limit model_seconds=N)")
    assert not unfinished(tmp_path)


def test_a_library_that_ends_the_process(filtered: Path, tmp_path: Path) -> None:
    """As OpenBLAS does where it gets no memory; Python's own end does not come then."""
    arguments = ["inject", str(STREAM), "--base", "tint_red.onnx", "-o", "out.266"]
    done = run_with("nnpf.model", "_check", "os._exit(1)", arguments, tmp_path)
    what = "a library failed and ended the process (exit code 1)"
    one_line(done, f"{STREAM}: {what}, at: reading the model tint_red.onnx")


def test_a_file_that_ffmpeg_does_not_survive(tmp_path: Path) -> None:
    """Found by fuzzing: video that turns from H.265 into H.264 before FFmpeg 8.1 knows its timestamps is an assertion.

    (has_decode_delay_been_guessed in libavformat/demux.c.) A release that survives it says something else in one line.
    """
    file = Path(__file__).parent / "two_codecs.ts"
    done = run(["dump", str(file)], tmp_path)
    assert done.returncode in (0, 1)
    assert len(done.stderr.splitlines()) == 1
    if done.returncode == 1:
        assert done.stderr.startswith(f"nnpf: {file}: ")


def test_a_process_that_the_system_kills(filtered: Path, tmp_path: Path) -> None:
    body = CRASH.replace("SIGSEGV", "SIGKILL")
    done = run_with("nnpf.model", "_check", body, ["apply", str(filtered), "-o", "out.yuv", "-q"], tmp_path)
    assert done.returncode == 1
    assert "killed (SIGKILL), as it happens where memory runs out, at: " in done.stderr
    assert not unfinished(tmp_path)


def test_names_are_printed_without_control_characters(tmp_path: Path) -> None:
    bell = tmp_path / "rings\a.onnx"
    shutil.copy(SAMPLES / "filters/tint_red.onnx", bell)
    done = run_with("nnpf.model", "_check", CRASH, ["inject", str(STREAM), "--base", str(bell), "-o", "o"], tmp_path)
    assert done.stderr.endswith(r"rings\x07.onnx" + "\n")


def test_killed_the_command_takes_its_worker_along(filtered: Path, tmp_path: Path) -> None:
    """And that one removes what is not finished."""
    process = start(["apply", str(filtered), "-o", "out.yuv", "--threads", "1"], tmp_path)
    assert wait_for_unfinished(tmp_path, process)
    stop(process, 9)
    process.communicate(timeout=30)  # the worker has the other end of standard error
    assert not unfinished(tmp_path)
    assert not (tmp_path / "out.yuv").exists()


def test_ctrl_c_in_machine_code_that_keeps_python_from_running(tmp_path: Path) -> None:
    """Not even the thread that ends a stuck process runs then; the process that waits does."""
    held = "print('here', flush=True); __import__('re').match('(a+)+$', 'a' * 40 + 'b')"
    program = PROGRAM.format(module="vsei.annexb", name="split", body=held)
    command = [sys.executable, "-c", program, "dump", str(STREAM)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **SIGNALLED)
    assert process.stdout is not None
    assert process.stdout.readline() == b"here\n"
    stop(process, 2)
    _, stderr = process.communicate(timeout=30)
    assert (process.returncode, stderr) == (130, b"nnpf: stopped\n")


def test_where_there_can_be_no_second_process_one_must_do(tmp_path: Path) -> None:
    done = run_with("os", "fork", "raise BlockingIOError(11, 'no more processes')", ["dump", str(STREAM)], tmp_path)
    assert (done.returncode, done.stderr) == (0, "65 pictures, 71 NAL units, 0 messages shown\n")


def test_debug_stays_in_one_process(tmp_path: Path) -> None:
    done = run_with("nnpf_tools.watched", "divide", "raise AssertionError", ["dump", str(STREAM), "--debug"], tmp_path)
    assert done.returncode == 0


def test_notes_of_many_commands_in_one_process() -> None:
    """As a fuzzer runs them: the name of the input takes one place, however often it changes."""
    steps.share(memory := steps.shared_memory())
    try:
        for number in range(200):
            steps.about(f"in{number}")
        with steps.step("reading"), steps.unfinished(Path("/o.part")):
            left = steps.read(memory)
        assert (left.subject, [step.text for step in left.steps], left.files) == (
            "in199",
            ["reading"],
            [Path("/o.part")],
        )
        assert steps.read(memory) == steps.Left("in199", [], [])
    finally:
        steps.share(steps.shared_memory())


@pytest.mark.parametrize("terminal", [True, False])
def test_the_line_stands_in_place_of_a_progress_bar(terminal: bool, monkeypatch, capsys) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: terminal)
    watched._tell("nnpf: stopped")
    assert capsys.readouterr().err == ("\r\x1b[Knnpf: stopped\n" if terminal else "nnpf: stopped\n")
