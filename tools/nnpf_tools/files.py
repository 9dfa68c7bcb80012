"""Files of the command line: `-` for pipes, outputs that appear whole or not at all, progress on a terminal."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import IO, Any, BinaryIO

from nnpf import outputs
from nnpf.outputs import OutputError as OutputError  # commands have it from here

PIPE = "-"
# What errors call it.
STDOUT = "standard output"


class UsageError(Exception):
    """The arguments make no sense together; exit code 2."""


@contextmanager
def open_input(path: str) -> Iterator[BinaryIO]:
    """A file or `-` for standard input, for reading bytes."""
    if path == PIPE:
        yield sys.stdin.buffer
    else:
        with Path(path).open("rb") as file:
            yield file


@contextmanager
def open_output(path: str, *, force: bool = False, inputs: tuple[str, ...] = ()) -> Iterator[BinaryIO]:
    """A file for writing bytes (see `nnpf.outputs.open_output`), or `-` for standard output."""
    if path == PIPE:
        with outputs.named_errors(STDOUT):
            yield sys.stdout.buffer
            sys.stdout.buffer.flush()
        return
    check_output(path, force=force, inputs=inputs)
    with outputs.open_output(path, force=force, inputs=[name for name in inputs if name != PIPE]) as file:
        yield file


def check_output(path: str, *, force: bool = False, inputs: tuple[str, ...] = ()) -> None:
    """Refuse, before any work, an output that would replace an input or, without `force`, any file."""
    if path == PIPE:
        return
    try:
        outputs.check_output(path, force=force, inputs=[name for name in inputs if name != PIPE])
    except OutputError as error:
        raise OutputError(path, "exists; --force replaces it") if error.exists else error from None


@contextmanager
def progress(args: argparse.Namespace, total: int | None, unit: str, *, scale: bool = False) -> Iterator[Progress]:
    """A progress bar on standard error, where that is a terminal and -q is not given. What is printed meanwhile stands
    on lines of its own."""
    if getattr(args, "quiet", False) or not sys.stderr.isatty():
        yield Progress(None)
        return
    from tqdm import tqdm

    unit = unit if scale else f" {unit}"  # "65 pictures", "18.7kB"
    with tqdm(total=total, unit=unit, unit_scale=scale, leave=False, dynamic_ncols=True) as bar:
        shown = Progress(bar)
        output = redirect_stdout(_Beside(sys.stdout, shown)) if sys.stdout.isatty() else nullcontext()
        with output, redirect_stderr(_Beside(sys.stderr, shown)):
            yield shown


class Progress:
    """Counts up a bar, if there is one."""

    def __init__(self, bar: Any) -> None:
        self._bar = bar
        self._hidden_at: float | None = None
        self.count = 0

    def advance(self, n: int = 1) -> None:
        self.count += n
        if self._bar is not None:
            self._bar.update(n)

    def hide(self) -> None:
        """Take the bar off the terminal; it comes back when it goes on."""
        if self._bar is not None and self._hidden_at != self._bar.last_print_t:
            self._bar.clear()
            self._hidden_at = self._bar.last_print_t


class _Beside:
    """A text stream on the terminal that has a bar."""

    def __init__(self, stream: IO[str], bar: Progress) -> None:
        self._stream, self._bar = stream, bar
        self._line_begins = True

    def write(self, text: str) -> int:
        if text and self._line_begins:
            self._bar.hide()
        self._line_begins = text.endswith("\n") or (self._line_begins and not text)
        return self._stream.write(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def add_common(parser: argparse.ArgumentParser, *, json: bool = False, output: bool = False) -> None:
    """The arguments that commands share."""
    if output:
        parser.add_argument("--force", action="store_true", help="replace an output file that exists")
    if json:
        parser.add_argument("--json", action="store_true", help="one JSON document on standard output")
    parser.add_argument("-q", "--quiet", action="store_true", help="no progress, no notes")
    parser.add_argument("-v", "--verbose", action="store_true", help="more notes on standard error")
    parser.add_argument(
        "--codec",
        choices=("vvc", "hevc", "avc"),
        help="of a byte stream (default: from the file's name, else from its first NAL units)",
    )
    parser.add_argument(
        "--stream",
        dest="stream_index",
        type=int,
        metavar="N",
        help="of a container: the stream to take, as ffprobe counts (default: the first of H.266, H.265 or H.264)",
    )
