"""Streams of the command line: byte streams and containers, files and pipes."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from fractions import Fraction
from typing import TYPE_CHECKING, BinaryIO

from nnpf.container_formats import container_to_write
from nnpf.errors import NnpfError
from nnpf.opening import stream_of, writing
from nnpf_tools.files import PIPE, UsageError, open_input
from vsei.annexb import NalUnit
from vsei.errors import VseiError
from vsei.nal import Codec
from vsei.reading import identify
from vsei.source import Output, Source

if TYPE_CHECKING:
    from nnpf.containers import Track

STREAM_HELP = "byte stream (Annex B), MP4, MOV, Matroska or MPEG-TS file, or - for standard input"
OUTPUT_HELP = "file to write: .mp4 .mov .mkv .ts, else a byte stream (.266 .265 .264); - for standard output"


@contextmanager
def open_source(args: argparse.Namespace, path: str | None = None) -> Iterator[Source | Track]:
    """`args.stream` (or another), a file or `-`: a byte stream, or the video track of a container.

    The codec of a byte stream is the one given (--codec), else that of the file's extension, else that of the first NAL
    units.
    """
    path = path or args.stream
    name = None if path == PIPE else path
    codec = Codec(args.codec) if args.codec else None

    def identified(units: Iterable[NalUnit]) -> tuple[Codec, Iterator[NalUnit]]:
        try:
            return identify(units, name, codec)
        except VseiError as error:
            # What is no byte stream at all, --codec does not help.
            way_out = ", nor MP4, MOV, Matroska or MPEG-TS" if "no start code" in error.problem else " (--codec)"
            raise VseiError(error.problem + way_out, offset=error.offset) from None

    index = args.stream_index
    with open_input(path) as file, stream_of(file, name, codec, index, identified) as stream:
        if not isinstance(stream, Source) and stream.others and not args.quiet:
            others = " and ".join(map(str, stream.others))
            print(f"nnpf: note: {path}: taking stream {stream.index}; --stream picks {others}", file=sys.stderr)
        yield stream


@contextmanager
def open_edited(
    args: argparse.Namespace, stream: Source | Track, file: BinaryIO, rate: Fraction | None = None
) -> Iterator[Output]:
    """`args.output`, opened as `file`, for the edited stream: a container where its name asks for one."""
    name = None if args.output == PIPE else args.output
    with writing(name, file, stream, rate=rate, video_only=args.video_only) as output:
        if output.left_out and not (args.quiet or args.video_only):
            print(f"nnpf: note: not copied: {', '.join(output.left_out)}", file=sys.stderr)
        yield output


def check_written(output: str) -> None:
    """UsageError: the name asks for a container that is not written."""
    try:
        if output != PIPE:
            container_to_write(output)
    except NnpfError as error:
        raise UsageError(f"-o {error}") from None


def add_container_arguments(parser: argparse.ArgumentParser) -> None:
    """For commands that write streams."""
    parser.add_argument(
        "--video-only", action="store_true", help="from container to container: copy no other streams (audio ...)"
    )
