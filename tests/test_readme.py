"""What the README shows works: its commands, its Python and its specification file are run as they stand there."""

import contextlib
import io
import re
import shlex
import shutil

import pytest

from nnpf_tools.main import main

from .conftest import ROOT

README = (ROOT / "README.md").read_text("utf-8")
BLOCKS = re.findall(r"```(\w*)\n(.*?)```", README, re.DOTALL)
(SPECIFICATION,) = (block for kind, block in BLOCKS if kind == "yaml")


@pytest.fixture
def workplace(samples, tmp_path, monkeypatch):
    """A folder with the files that the README's commands name."""
    shutil.copy(samples / "bbb_q37.266", tmp_path / "in.266")
    shutil.copy(samples / "filters/tint_red.onnx", tmp_path / "filter.onnx")
    (tmp_path / "fitted.nnc").write_bytes(b"payload")
    (tmp_path / "spec.yaml").write_text(SPECIFICATION)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_commands_run_in_their_order(workplace):
    lines = [line for kind, block in BLOCKS if kind == "" for line in block.splitlines()]
    commands = [
        shlex.split(line, comments=True) for line in lines if line.startswith("nnpf ") and "COMMAND" not in line
    ]
    assert [c[1] for c in commands][:3] == ["inject", "dump", "apply"]
    for command in commands:
        with contextlib.redirect_stdout(io.StringIO()):
            assert main(command[1:]) == 0, command
    assert (workplace / "filtered.y4m").stat().st_size > 65 * 416 * 240 * 3


def test_the_python_runs(workplace):
    blocks = [block for kind, block in BLOCKS if kind == "python"]
    assert blocks
    for block in blocks:
        exec(compile(block, "README.md", "exec"), {})


def test_the_specification_is_accepted(workplace):
    assert main(["inject", "in.266", "spec.yaml", "-o", "out.266", "-q"]) == 0
    with contextlib.redirect_stdout(io.StringIO()) as text:
        assert main(["dump", "out.266"]) == 0
    assert "nnpfc 1: update" in text.getvalue()
    assert "nnpfa of 1: base, persistent" in text.getvalue()
    assert "nnpfa of 1: update, persistent" in text.getvalue()


def test_the_two_commands_are_in_the_makefile():
    makefile = (ROOT / "Makefile").read_text()
    for target in re.findall(r"^make (\w+)", README, re.MULTILINE):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE)


def test_every_file_that_is_linked_is_there():
    for link in re.findall(r"\]\(([^)#]+)\)", README):
        assert link.startswith("http") or (ROOT / link).exists(), link
