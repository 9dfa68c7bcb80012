"""A stream that is to be edited: its codec, its first bytes, and its NAL units, once or again."""

from __future__ import annotations

import io
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from itertools import chain
from os import PathLike
from pathlib import Path
from typing import BinaryIO, Protocol, cast

from vsei.annexb import NalUnit, read_chunks, split
from vsei.nal import Codec
from vsei.reading import identify

# The start of a stream that is looked at: codec, frame rate, format of the pictures.
HEAD_BYTES = 256 << 10

Identify = Callable[[Iterable[NalUnit]], tuple[Codec, Iterator[NalUnit]]]


class Progress(Protocol):
    """Whoever wants to know how far the reading is."""

    def advance(self, n: int = 1, /) -> object:
        """`n` more bytes were read."""


class Source:
    """A stream to be edited. A pipe is read once, unless `keep` is called before.

    Args:
        file: opened for reading.
        stack: closes what `keep` opens.
        identify: the codec of NAL units, as `vsei.reading.identify` has it.

    Attributes:
        codec: as `identify` finds it.
        head: the first bytes.
    """

    def __init__(self, file: BinaryIO, stack: ExitStack, identify: Identify = identify) -> None:
        self._file, self._stack = cast(io.BufferedReader, file), stack
        self._again = file.seekable()
        self._origin = file.tell() if self._again else 0
        self.head = _read(self._file, HEAD_BYTES)
        self.codec, _ = identify(split([self.head]))

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

    def nal_units(self, progress: Progress | None = None) -> Iterator[NalUnit]:
        """All NAL units, from the start."""
        return split(counted(chain([self.head], read_chunks(self.rest())), progress))


@contextmanager
def open_source(path: str | PathLike[str], codec: Codec | None = None) -> Iterator[Source]:
    """A byte stream file (Annex B). `codec`: None for that of the name's extension, else of the first NAL units."""
    with ExitStack() as stack:
        file = stack.enter_context(Path(path).open("rb"))
        yield Source(file, stack, lambda units: identify(units, str(path), codec))


def counted(chunks: Iterable[bytes], progress: Progress | None) -> Iterator[bytes]:
    """The chunks, each told when it has been used."""
    for chunk in chunks:
        yield chunk
        if progress is not None:
            progress.advance(len(chunk))


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


def _read(file: io.BufferedReader, size: int) -> bytes:
    parts = []
    while size > 0 and (part := file.read1(size)):
        parts.append(part)
        size -= len(part)
    return b"".join(parts)
