"""Elementary streams of the command line: which codec, NAL units with a progress bar, once or again."""

from __future__ import annotations

import argparse
import io
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from itertools import chain
from typing import BinaryIO, cast

from nnpf_tools.files import PIPE, Progress, open_input
from vsei.annexb import NalUnit, read_chunks, split
from vsei.errors import VseiError
from vsei.nal import Codec
from vsei.reading import identify

# The start of a stream that is looked at: codec, frame rate, format of the pictures.
HEAD_BYTES = 256 << 10


def nal_units(args: argparse.Namespace, file: BinaryIO, bar: Progress | None = None) -> tuple[Codec, Iterator[NalUnit]]:
    """The codec of `args.stream` and its NAL units.

    The codec is the one given (--codec), else that of the file's extension, else that of the first NAL units.
    """
    return _identified(args, split(_counted(read_chunks(file), bar)))


def _identified(args: argparse.Namespace, units: Iterable[NalUnit]) -> tuple[Codec, Iterator[NalUnit]]:
    name = None if args.stream == PIPE else args.stream
    try:
        return identify(units, name, Codec(args.codec) if args.codec else None)
    except VseiError as error:
        raise VseiError(f"{error.problem} (--codec)", offset=error.offset) from None


def _counted(chunks: Iterable[bytes], bar: Progress | None) -> Iterator[bytes]:
    for chunk in chunks:
        yield chunk
        if bar is not None:
            bar.advance(len(chunk))


class Source:
    """A stream to be edited. A pipe is read once, unless `keep` is called before.

    Attributes:
        codec: as `nal_units` has it.
        head: the first bytes.
    """

    def __init__(self, args: argparse.Namespace, file: BinaryIO, stack: ExitStack) -> None:
        self._file, self._stack = cast(io.BufferedReader, file), stack
        self._again = file.seekable()
        self._origin = file.tell() if self._again else 0
        self.head = _read(self._file, HEAD_BYTES)
        self.codec, _ = _identified(args, split([self.head]))

    @property
    def size(self) -> int | None:
        """Bytes of the stream; None of a pipe."""
        if not self._again:
            return None
        here = self._file.tell()
        size = self._file.seek(0, io.SEEK_END) - self._origin
        self._file.seek(here)
        return size

    def keep(self) -> None:
        """Make it readable more than once: a pipe goes into a temporary file."""
        if self._again:
            return
        spool = self._stack.enter_context(tempfile.TemporaryFile())  # noqa: SIM115 (the stack closes it)
        spool.write(self.head)
        for chunk in read_chunks(self._file):
            spool.write(chunk)
        self._file, self._again, self._origin = cast(io.BufferedReader, spool), True, 0

    def rest(self) -> io.BufferedReader:
        """The file behind the head."""
        if self._again:
            self._file.seek(self._origin + len(self.head))
        return self._file

    def nal_units(self, bar: Progress | None = None) -> Iterator[NalUnit]:
        """All NAL units, from the start."""
        return split(_counted(chain([self.head], read_chunks(self.rest())), bar))


@contextmanager
def open_source(args: argparse.Namespace) -> Iterator[Source]:
    """`args.stream`, a file or `-`."""
    with ExitStack() as stack:
        yield Source(args, stack.enter_context(open_input(args.stream)), stack)


def _read(file: io.BufferedReader, size: int) -> bytes:
    parts = []
    while size > 0 and (part := file.read1(size)):
        parts.append(part)
        size -= len(part)
    return b"".join(parts)


def write_units(file: BinaryIO, units: Iterable[NalUnit]) -> int:
    """Write NAL units as they are; returns the number of bytes."""
    written = 0
    for prefix, data, zeros in ((u.prefix, u.data, u.zeros) for u in units):
        file.write(prefix)
        file.write(data)
        if zeros:
            file.write(bytes(zeros))
        written += len(prefix) + len(data) + zeros
    return written
