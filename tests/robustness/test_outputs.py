"""Outputs appear whole or not at all, whatever happens to the process, the disk or the reader."""

import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from nnpf import outputs
from tests.robustness.commands import (
    HEAVY,
    QUICK,
    SAMPLES,
    SIGNALLED,
    SIGNALS,
    STREAM,
    WRITING,
    Writing,
    command,
    run,
    start,
    stop,
    unfinished,
    wait_for_unfinished,
)

EVERY = [pytest.param(name, marks=() if name in QUICK else pytest.mark.slow) for name in WRITING]


def ready(name: str) -> Writing:
    if name.startswith("adapt"):
        pytest.importorskip("torch")
    return WRITING[name]


@pytest.fixture
def filtered(tmp_path: Path) -> Path:
    """A stream with a filter: `apply` takes a few seconds for it."""
    stream = tmp_path / "filtered.266"
    shutil.copy(SAMPLES / "filters/tiny.onnx", tmp_path)
    assert run(["inject", str(STREAM), "--base", "tiny.onnx", "-o", str(stream)], tmp_path).returncode == 0
    return stream


# --- killed ----------------------------------------------------------------------------------------------------------


def killed_at_random(writing: Writing, folder: Path, times: int, seed: int) -> None:
    """SIGKILL at random moments: the file is the old one or the new one."""
    source, out = folder / f"in{writing.source.suffix}", folder / writing.out
    shutil.copy(writing.source, source)
    shutil.copy(SAMPLES / "filters/tiny.onnx", folder)
    arguments = [*writing.filled(source, out), "--force"]
    began = time.monotonic()
    assert run(arguments, folder).returncode == 0
    took = time.monotonic() - began
    new, old = out.read_bytes(), b"the old file"
    # Reports name times: another whole one is no other, but begins and ends alike.
    varies = writing.out.endswith((".html", ".json", ".csv"))
    rng = random.Random(seed)
    for _ in range(times):
        out.write_bytes(old)
        process = start(arguments, folder)
        if rng.random() < 0.5:
            wait_for_unfinished(folder, process)
            time.sleep(rng.random() * 0.02)
        else:
            time.sleep(rng.random() * took)
        stop(process, signal.SIGKILL)
        process.communicate()
        found = out.read_bytes()
        alike = (found[:10], found[-3:]) == (new[:10], new[-3:]) and len(found) > len(new) / 2
        assert found in (old, new) or (varies and alike)
        for left in unfinished(folder):  # what a killed process cannot remove has no name that anybody takes for whole
            left.unlink()


def test_killed_at_any_moment(tmp_path: Path) -> None:
    killed_at_random(ready("inject"), tmp_path, 3, 1)


@pytest.mark.slow
@pytest.mark.parametrize("name", WRITING)
def test_killed_at_many_moments(name: str, tmp_path: Path) -> None:
    killed_at_random(ready(name), tmp_path, 5 if name in HEAVY else 20, 2)


def test_extract_that_is_killed_leaves_the_old_folder(filtered: Path, tmp_path: Path) -> None:
    folder = tmp_path / "messages"
    arguments = ["extract", str(filtered), "-o", str(folder), "--force"]
    assert run(arguments, tmp_path).returncode == 0
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    process = start(arguments, tmp_path)
    wait_for_unfinished(tmp_path, process)
    stop(process, signal.SIGKILL)
    process.communicate()
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


# --- stopped ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", SIGNALS)
def test_a_command_that_is_stopped_ends_soon_and_cleans_up(number: int, filtered: Path, tmp_path: Path) -> None:
    process = start(["apply", str(filtered), "-o", "out.yuv", "--threads", "1"], tmp_path)
    assert wait_for_unfinished(tmp_path, process)
    time.sleep(0.2)  # in the middle of it
    began = time.monotonic()
    stop(process, number)
    _, stderr = process.communicate(timeout=30)
    assert process.returncode == 128 + number
    assert stderr.decode().splitlines()[-1] == "nnpf: stopped"
    assert b"Traceback" not in stderr
    assert time.monotonic() - began < 10  # one second on a machine that does nothing else
    assert not unfinished(tmp_path)
    assert not (tmp_path / "out.yuv").exists()


STUCK = """
import hashlib, sys
from nnpf_tools import stopping
from nnpf.outputs import open_output
stopping.watch()
with open_output("out.bin") as file:
    print("go", flush=True)
    hashlib.pbkdf2_hmac("sha256", b"", b"", 1 << 30)  # minutes inside one call of machine code
"""


def test_a_step_that_cannot_be_interrupted_is_ended_all_the_same(tmp_path: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", STUCK], cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **SIGNALLED
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"go\n"
    assert unfinished(tmp_path)
    time.sleep(1)  # it has said that it goes, and has yet to go
    began = time.monotonic()
    stop(process, signal.SIGINT)
    _, stderr = process.communicate(timeout=30)
    assert (process.returncode, stderr) == (130, b"nnpf: stopped\n")
    assert time.monotonic() - began < 10
    assert not list(tmp_path.iterdir())


# --- full disks, closed pipes ----------------------------------------------------------------------------------------


def one_line(done: subprocess.CompletedProcess[str], *words: str) -> None:
    assert done.returncode == 1, done.stderr
    # Beside notes, and how far it got.
    lines = [line for line in done.stderr.splitlines() if line.startswith("nnpf: ") and "nnpf: note:" not in line]
    assert len(lines) == 1, done.stderr
    assert lines[0].startswith("nnpf: ")
    for word in words:
        assert word in lines[0]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
@pytest.mark.parametrize("name", EVERY)
def test_a_device_that_is_full(name: str, tmp_path: Path) -> None:
    writing = ready(name)
    out = tmp_path / writing.out
    out.symlink_to("/dev/full")
    one_line(run(writing.filled(writing.source, out), tmp_path), writing.out, "No space left on device")


@pytest.mark.parametrize("name", EVERY)
def test_a_disk_that_becomes_full(name: str, tmp_path: Path) -> None:
    """A limit on the size of files stands for it: the write fails in the middle."""
    writing = ready(name)
    out = tmp_path / writing.out
    out.write_bytes(b"the old file")

    def few_bytes() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))

    done = run([*writing.filled(writing.source, out), "--force"], tmp_path, preexec_fn=few_bytes)
    one_line(done, "File too large")
    assert out.read_bytes() == b"the old file"
    assert not unfinished(tmp_path)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=16k", "none", str(folder)]
    if shutil.which("mount") is None or subprocess.run(mount, capture_output=True, check=False).returncode != 0:
        pytest.skip("needs the right to mount a small file system")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_small_disk(small_disk: Path, tmp_path: Path) -> None:
    out = small_disk / "o.266"
    out.write_bytes(b"the old file")
    writing = WRITING["inject"]
    one_line(run([*writing.filled(STREAM, out), "--force"], tmp_path), str(out), "No space left on device")
    assert [(path, path.read_bytes()) for path in small_disk.iterdir()] == [(out, b"the old file")]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
@pytest.mark.parametrize(
    "arguments", [["dump", str(STREAM), "--all"], ["strip", str(STREAM), "-o", "-", "--type", "all"]]
)
def test_standard_output_that_is_full(arguments: list[str], tmp_path: Path) -> None:
    with Path("/dev/full").open("wb") as full:
        done = run(arguments, tmp_path, stdout=full, stderr=subprocess.PIPE)
    one_line(done, "standard output: No space left on device")


@pytest.mark.parametrize(
    "arguments", [["dump", str(STREAM), "--all", "--trace"], ["apply", str(STREAM), "-o", "-", "-q"]]
)
def test_a_reader_that_goes_away(arguments: list[str], tmp_path: Path) -> None:
    process = start(arguments, tmp_path, stdout=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.read(100)
    process.stdout.close()
    assert process.stderr is not None
    assert process.stderr.read() == b"nnpf: standard output: closed by its reader\n"
    assert process.wait(60) == 1


# --- inputs ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", EVERY)
def test_the_input_as_the_output_is_refused(name: str, tmp_path: Path) -> None:
    """By the same name, and by another name of the same file."""
    writing = ready(name)
    source = tmp_path / f"in{Path(writing.out).suffix if name.startswith('nnc') else writing.source.suffix}"
    shutil.copy(writing.source, source)
    link = tmp_path / f"other{source.suffix}"
    os.link(source, link)
    content = source.read_bytes()
    for out in (source, link):
        done = run([*writing.filled(source, out), "--force"], tmp_path)
        assert done.returncode in (1, 2), done.stderr
        assert len(done.stderr.splitlines()) == 1
        assert source.read_bytes() == link.read_bytes() == content
        assert link.samefile(source)


@pytest.mark.parametrize("name", EVERY)
def test_an_output_that_exists_is_refused_without_force(name: str, tmp_path: Path) -> None:
    writing = ready(name)
    out = tmp_path / writing.out
    out.write_bytes(b"the old file")
    one_line(run(writing.filled(writing.source, out), tmp_path), writing.out, "exists; --force replaces it")
    assert out.read_bytes() == b"the old file"


# --- folders ---------------------------------------------------------------------------------------------------------


def test_a_folder_appears_whole(tmp_path: Path) -> None:
    with outputs.open_folder(tmp_path / "new", last="z") as folder:
        (folder / "z").write_text("all")
        assert not (tmp_path / "new").exists()
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["z"]


def test_files_of_a_folder_are_replaced_and_the_last_one_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / "old"
    target.mkdir()
    (target / "a").write_text("old a")
    (target / "other").write_text("stays")
    moved = []
    replace = Path.replace
    monkeypatch.setattr(Path, "replace", lambda self, to: moved.append(self.name) or replace(self, to))
    with outputs.open_folder(target, last="a") as folder:
        for name in ("a", "b", "c"):
            (folder / name).write_text("new")
    assert moved[-1] == "a"
    assert {path.name: path.read_text() for path in target.iterdir()} == {
        "a": "new", "b": "new", "c": "new", "other": "stays",
    }  # fmt: skip
    assert [path.name for path in tmp_path.iterdir()] == ["old"]


def test_a_folder_of_which_a_file_fails_stays_as_it_was(tmp_path: Path) -> None:
    target = tmp_path / "old"
    target.mkdir()
    (target / "a").write_text("old a")
    with pytest.raises(RuntimeError), outputs.open_folder(target, last="a") as folder:
        (folder / "a").write_text("new")
        raise RuntimeError
    assert (target / "a").read_text() == "old a"
    assert [path.name for path in tmp_path.iterdir()] == ["old"]


def test_commands_run_as_modules() -> None:
    """The tests above start the same program as the installed `nnpf`."""
    assert command([])[1:] == ["-m", "nnpf_tools.main"]
