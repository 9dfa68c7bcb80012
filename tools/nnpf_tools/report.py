"""One HTML file that shows what filters did: where they act, what each picture gains, and the pictures themselves.

INPUT is what `nnpf apply --report`, `nnpf eval --json` and `nnpf adapt --report` wrote, or a stream: that is filtered,
and compared with the original where one is given. Files that a report names are looked for where it says and beside it,
and are used if they are what they were (SHA-256). What is missing is said on the page. The page needs no other file.
By default it shows the pictures with the smallest, the median and the largest luma gain.
"""

from __future__ import annotations

import argparse
import contextlib
import datetime
import io
import json
import os
import shlex
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from nnpf_tools.files import PIPE, UsageError, add_common, check_output, open_output
from nnpf_tools.filtering import add_filter_arguments, apply_options
from nnpf_tools.streams import open_source

if TYPE_CHECKING:
    from nnpf.report.documents import Document
    from nnpf.report.gathering import Stream
    from nnpf.report.model import Chapter, Report
    from nnpf.report.views import Window

EPILOG = """examples:
  nnpf report in.266 --original source.y4m -o report.html          filter, compare, show
  nnpf report q*.266 --original source.y4m --fps 60 -o report.html   rate-distortion plot, a chapter for each stream
  nnpf report apply.json eval.json adapt.json -o report.html       from what commands have written
  nnpf report apply.json --filtered filtered.y4m -o report.html    do not filter again
  nnpf report in.266 --original source.y4m --pictures 0,16,32 --crop 640x360+100+50 -o report.html
"""

# What eval and apply get too; the others are this command's own.
_PASSED = ("model_root", "engine", "device", "threads", "patch", "out_bit_depth", "layer", "codec")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("inputs", nargs="+", metavar="INPUT", help="reports (.json), streams")
    parser.add_argument("-o", "--output", metavar="OUT", required=True, help="page to write (.html), or - for a pipe")
    parser.add_argument("--original", metavar="FILE", help=".yuv, .y4m, or any video file")
    parser.add_argument("--original-depth", type=int, metavar="BITS", help="bit depth of a raw .yuv original")
    parser.add_argument(
        "--filtered", metavar="FILE", help="what nnpf apply wrote (.yuv, .y4m), so as not to filter again"
    )
    parser.add_argument(
        "--pictures",
        metavar="N,...",
        help="pictures to show, by number in output order; gain:5 is five from the smallest gain to the largest "
        "(default: gain:3); or none",
    )
    parser.add_argument(
        "--crop",
        metavar="WxH+X+Y",
        default="auto",
        help="what to show of each picture; auto (large ones cut), or whole",
    )
    parser.add_argument("--fps", metavar="RATE", help="pictures per second, as in 25 or 30000/1001: rates in kbit/s")
    parser.add_argument("--no-ssim", action="store_true", help="PSNR only: faster")
    parser.add_argument("--title", help="of the page (default: the name of the stream)")
    add_filter_arguments(parser)
    add_common(parser, output=True)


def run(args: argparse.Namespace) -> int:
    wanted, window = _pictures(args.pictures), _window(args.crop)
    _check_usage(args)
    from nnpf.report import gathering
    from nnpf.report.documents import merged, read_document
    from nnpf.report.page import render

    documents = [read_document(path) for path in args.inputs if path.endswith(".json")]
    streams = [Path(path) for path in args.inputs if not path.endswith(".json")]
    known = [run for document in documents for run in document.runs]
    new = [str(path) for path in streams if not any(gathering.is_of(path, run) for run in known)]
    if new:
        documents.append(_measured(args, new))
    runs = merged([run for document in documents for run in document.runs])
    if args.filtered is not None and len(runs) != 1:
        raise UsageError(f"--filtered is the video of one stream; there are {len(runs)}")
    request = gathering.Request(
        open_stream=lambda path: _opened(args, path),
        options=lambda path: apply_options(args, str(path)),
        streams=streams,
        original=_path(args.original),
        original_depth=args.original_depth,
        filtered=_path(args.filtered),
        pictures=wanted,
        default_pictures=3 if len(runs) == 1 else 1,
        window=window,
        whole=args.crop == "whole",
        layer_id=args.layer,
    )
    chapters: list[Chapter] = []
    for one in runs:
        chapters.append(gathering.chapter(one, request))
        # Streams of one video show the same part.
        request = replace(request, window=request.window or chapters[-1].window)
    page = render(_report(args, documents, chapters))
    with open_output(args.output, force=args.force, inputs=tuple(args.inputs)) as out:
        out.write(page.encode())
    if not args.quiet:
        _tell(args, page, chapters)
    return 0


def _path(text: str | None) -> Path | None:
    return None if text is None else Path(text)


@contextlib.contextmanager
def _opened(args: argparse.Namespace, path: Path) -> Iterator[Stream]:
    with open_source(args, str(path)) as source:
        yield source


def _check_usage(args: argparse.Namespace) -> None:
    if PIPE in args.inputs:
        raise UsageError("inputs are files: they are read more than once")
    inputs = (*args.inputs, args.original or PIPE, args.filtered or PIPE)
    check_output(args.output, force=args.force, inputs=inputs)
    for path in inputs:
        if path != PIPE and not Path(path).is_file():
            raise FileNotFoundError(2, "no such file", path)


def _pictures(text: str | None) -> tuple[int, ...] | int | None:
    """--pictures: their numbers, how many, or None for the default."""
    from nnpf.report.views import MAX_PICTURES

    if text is None:
        return None
    if text == "none":
        return 0
    count = text.removeprefix("gain:")
    numbers = [count] if count != text else text.split(",")
    if not all(n.strip().isascii() and n.strip().isdigit() and len(n.strip()) < 10 for n in numbers):
        raise UsageError(f"--pictures {text}: give numbers, as in 0,16,32, or gain:5, or none")
    found = tuple(sorted({int(n) for n in numbers}))
    if (found[0] if count != text else len(found)) > MAX_PICTURES:
        raise UsageError(f"--pictures {text}: at most {MAX_PICTURES}; a page is to be sent")
    return found[0] if count != text else found


def _window(text: str) -> Window | None:
    from nnpf.report.views import Window

    if text in ("auto", "whole"):
        return None
    try:
        size, left, top = text.split("+")
        width, height = size.split("x")
        window = Window(int(left), int(top), int(width), int(height))
    except ValueError:
        raise UsageError(f"--crop {text}: give WxH+X+Y, as in 640x360+100+50, or auto, or whole") from None
    if min(window.width, window.height) < 1:
        raise UsageError(f"--crop {text}: the window is empty")
    return window


# --- running eval and apply ------------------------------------------------------------------------------------------


def _measured(args: argparse.Namespace, streams: Sequence[str]) -> Document:
    """What `nnpf eval` says of streams, or without an original what `nnpf apply` says of one."""
    from nnpf.report.documents import parse

    passed: list[str] = []
    for option in _PASSED:
        value = getattr(args, option)
        if value not in (None, "auto", 0):
            passed += [f"--{option.replace('_', '-')}", str(value)]
    for entry in args.model_map:
        passed += ["--model-map", entry]
    passed += [f"--{flag.replace('_', '-')}" for flag in ("no_hash_check", "skip_failures") if getattr(args, flag)]
    if args.original is not None:
        command = ["eval", "--original", args.original, "--json"]
        command += ["--no-ssim"] * args.no_ssim + (["--fps", args.fps] if args.fps is not None else [])
        command += [] if args.original_depth is None else ["--original-depth", str(args.original_depth)]
        text = _run([*command, *passed, *streams])
        return parse(json.loads(text), Path())
    if len(streams) > 1:
        raise UsageError("several streams need --original: they are compared by their rate and distortion")
    with tempfile.TemporaryDirectory(prefix="nnpf-report-") as folder:
        target = str(Path(folder) / "apply.json")
        with contextlib.redirect_stderr(io.StringIO()):  # its notes are on the page
            _run(["apply", streams[0], "--report", target, "-q", *passed])
        return parse(json.loads(Path(target).read_bytes()), Path())


def _run(command: list[str]) -> str:
    """A command of this program; returns what it prints. Its errors are this command's."""
    from nnpf_tools import apply
    from nnpf_tools import eval as evaluation
    from nnpf_tools.main import build_parser

    args = build_parser(command[0]).parse_args(command)
    with contextlib.redirect_stdout(io.StringIO()) as out:
        (evaluation if command[0] == "eval" else apply).run(args)
    return out.getvalue()


# --- the page --------------------------------------------------------------------------------------------------------


def _report(args: argparse.Namespace, documents: Sequence[Document], chapters: Sequence[Chapter]) -> Report:
    from importlib.metadata import version

    from nnpf.report.model import Report

    environments: dict[str, Mapping[str, str]] = {}
    for document in documents:
        if document.environment:
            environments.setdefault(f"nnpf {document.command}", document.environment)
    evaluated = [document for document in documents if document.command == "eval"]
    problems = [document.bd_problem for document in evaluated if document.bd_problem is not None]
    return Report(
        title=args.title or _title(documents, chapters),
        chapters=chapters,
        rate_unit=evaluated[0].rate_unit if evaluated else None,
        deltas=tuple(delta for document in evaluated for delta in document.deltas),
        bd_problem=problems[0] if problems else None,
        findings=tuple(finding for document in documents for finding in document.findings),
        adaptations=tuple(d.adaptation for d in documents if d.adaptation is not None),
        environments=environments,
        command=shlex.join(["nnpf", "report", *args.inputs, *_options_given(args)]),
        made=_now().strftime("%Y-%m-%d %H:%M UTC"),
        version=version("nnpf"),
    )


def _title(documents: Sequence[Document], chapters: Sequence[Chapter]) -> str:
    names = [Path(c.run.stream).name if c.run.stream else c.run.label for c in chapters]
    names = names or [Path(d.adaptation.run.stream or "").name for d in documents if d.adaptation is not None]
    return names[0] if len(names) == 1 else f"{names[0]} to {names[-1]}"


def _options_given(args: argparse.Namespace) -> list[str]:
    """The options that change what the page shows."""
    given = [f"--{flag}" for flag in ("no-ssim", "skip-failures") if getattr(args, flag.replace("-", "_"))]
    for option in ("original", "filtered", "pictures", "fps", "engine", "model_root"):
        value = getattr(args, option)
        if value not in (None, "auto"):
            given += [f"--{option.replace('_', '-')}", value]
    if args.crop != "auto":
        given += ["--crop", args.crop]
    return [*given, "-o", args.output]


def _now() -> datetime.datetime:
    """SOURCE_DATE_EPOCH stands for the time where it is set: the same input gives the same page."""
    epoch = os.environ.get("SOURCE_DATE_EPOCH", "")
    if epoch.isascii() and epoch.isdigit():
        return datetime.datetime.fromtimestamp(int(epoch), datetime.UTC)
    return datetime.datetime.now(datetime.UTC)


def _tell(args: argparse.Namespace, page: str, chapters: Sequence[Chapter]) -> None:
    count = sum(len(chapter.views) for chapter in chapters)
    where = "page" if args.output == PIPE else args.output
    print(f"{where}: {len(page) / 1e6:.1f} MB, {count} pictures to look at", file=sys.stderr)
    for note in dict.fromkeys(note for chapter in chapters for note in chapter.missing):
        print(f"nnpf: note: {note}", file=sys.stderr)
