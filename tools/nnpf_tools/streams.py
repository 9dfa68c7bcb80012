"""Elementary streams of the command line: which codec, NAL units with a progress bar, once or again."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from typing import BinaryIO

from nnpf_tools.files import PIPE, Progress, open_input
from vsei.annexb import NalUnit, read_chunks, split
from vsei.errors import VseiError
from vsei.nal import Codec
from vsei.reading import identify
from vsei.source import Source, counted


def nal_units(args: argparse.Namespace, file: BinaryIO, bar: Progress | None = None) -> tuple[Codec, Iterator[NalUnit]]:
    """The codec of `args.stream` and its NAL units.

    The codec is the one given (--codec), else that of the file's extension, else that of the first NAL units.
    """
    return _identified(args, split(counted(read_chunks(file), bar)))


def _identified(args: argparse.Namespace, units: Iterable[NalUnit]) -> tuple[Codec, Iterator[NalUnit]]:
    name = None if args.stream == PIPE else args.stream
    try:
        return identify(units, name, Codec(args.codec) if args.codec else None)
    except VseiError as error:
        raise VseiError(f"{error.problem} (--codec)", offset=error.offset) from None


@contextmanager
def open_source(args: argparse.Namespace) -> Iterator[Source]:
    """`args.stream`, a file or `-`."""
    with ExitStack() as stack:
        file = stack.enter_context(open_input(args.stream))
        yield Source(file, stack, lambda units: _identified(args, units))
