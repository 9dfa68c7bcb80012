"""The code blocks of a page, and how they are run.

    <!-- test: skip, needs the network -->     in front of a block: not run
    <!-- test: slow -->                        run by `make test-slow` only
    <!-- test: ffmpeg -->                      run where there is an ffmpeg program that knows H.266
    <!-- file: spec.yaml -->                   the block is the content of this file

A `console` block has commands after `$ ` and what they print; `...` stands for anything. `# exit code 3` behind a
command says that it ends with it. A `python` block may have a `text` block behind it, with what it prints. The blocks
of a page run in its order, in one folder; Python blocks share their names.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import shlex
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nnpf_tools.main import main

_BLOCK = re.compile(
    r"(?:^<!-- (?P<mark>[^\n]*) -->\n)?^```(?P<kind>[^`\n]*)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL
)
_EXIT_CODE = re.compile(r"\s+# exit code (\d+)$")
_SHELL = re.compile(r"[|<>;&*$`]")
# Languages that nothing is done with, unless a mark says which file they are.
_DATA = frozenset(("yaml", "json", "toml"))


@dataclass(frozen=True)
class Block:
    kind: str
    text: str
    mark: str
    line: int

    @property
    def skipped(self) -> bool:
        return self.mark.startswith("test: skip")

    @property
    def slow(self) -> bool:
        return self.mark.startswith("test: slow")

    @property
    def needs_ffmpeg(self) -> bool:
        return self.mark == "test: ffmpeg"

    @property
    def file(self) -> str | None:
        return self.mark.removeprefix("file: ") if self.mark.startswith("file: ") else None


def blocks_of(page: str) -> list[Block]:
    return [
        Block(m["kind"], m["text"], m["mark"] or "", page.count("\n", 0, m.start()) + 1) for m in _BLOCK.finditer(page)
    ]


def problems_of(blocks: list[Block]) -> list[str]:
    """What would be left out in silence."""
    problems = []
    for i, block in enumerate(blocks):
        known = block.kind in ("console", "python") or (block.kind in _DATA and block.file)
        known = known or block.kind.startswith("{")  # Sphinx does something with it
        output = block.kind == "text" and i > 0 and blocks[i - 1].kind == "python"
        if not (known or output or block.skipped):
            problems.append(f"line {block.line}: a block of {block.kind or 'no kind'} that nothing is done with")
        if block.skipped and "," not in block.mark:
            problems.append(f"line {block.line}: skipped, and no reason given")
        if block.mark and not (block.skipped or block.slow or block.needs_ffmpeg or block.file):
            problems.append(f"line {block.line}: an unknown mark")
    return problems


def run(blocks: list[Block], folder: Path, *, slow: bool, ffmpeg: str | None = None) -> None:
    """Run the blocks of a page in a folder; AssertionError names the line.

    Args:
        slow: the slow ones too.
        ffmpeg: the program, for those that need it.
    """
    programs = folder.parent / "bin"
    programs.mkdir(exist_ok=True)
    if ffmpeg is not None:
        (programs / "ffmpeg").symlink_to(ffmpeg)
    names: dict[str, Any] = {"__name__": "__main__"}
    printed: str | None = None
    for block in blocks:
        if block.skipped or (block.slow and not slow) or (block.needs_ffmpeg and ffmpeg is None):
            printed = None
            continue
        where = f"line {block.line}"
        if block.file:
            (folder / block.file).write_text(block.text, "utf-8")
        elif block.kind == "console":
            for command, code, expected in _commands(block.text):
                found, output = _run(command, folder, programs)
                assert found == code, f"{where}: {command}: exit code {found}\n{output}"
                if expected:
                    _compare(f"{where}: {command}", expected, output)
        elif block.kind == "python":
            out = io.StringIO()
            with contextlib.redirect_stdout(out), contextlib.chdir(folder):
                exec(compile(block.text, f"<{where}>", "exec"), names)
            printed = out.getvalue()
        elif block.kind == "text" and printed is not None:
            _compare(where, block.text, printed)


def _commands(text: str) -> list[tuple[str, int, str]]:
    """Command, exit code, what is printed."""
    found: list[tuple[str, int, list[str]]] = []
    for line in text.replace("\\\n", " ").splitlines():
        if line.startswith("$ "):
            match = _EXIT_CODE.search(line)
            found.append((_EXIT_CODE.sub("", line[2:]), int(match[1]) if match else 0, []))
        else:
            found[-1][2].append(line)
    return [(command, code, "\n".join(lines)) for command, code, lines in found]


def _run(command: str, folder: Path, programs: Path) -> tuple[int, str]:
    """Commands of ours run in this process, which saves their start; all else in a shell that finds ours."""
    words = shlex.split(command, comments=True)
    if words[0] == "nnpf" and not _SHELL.search(command):
        out = io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(out), contextlib.chdir(folder):
            try:
                code = main(words[1:])
            except SystemExit as stopped:
                code = int(stopped.code or 0)
        return code, out.getvalue()
    environment = {**os.environ, "PATH": f"{programs}:{Path(sys.executable).parent}:{os.environ['PATH']}"}
    done = subprocess.run(
        ["bash", "-o", "pipefail", "-c", command],
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=600,
    )
    return done.returncode, done.stdout


def _compare(where: str, expected: str, output: str) -> None:
    wanted, found = ("\n".join(line.rstrip() for line in text.strip().splitlines()) for text in (expected, output))
    pattern = ".*?".join(re.escape(part) for part in wanted.split("..."))
    assert re.fullmatch(pattern, found, re.DOTALL), f"{where}: prints\n{found}\nand not\n{wanted}"
