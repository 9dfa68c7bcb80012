"""A stream that is to be edited: its codec, its first bytes, and its NAL units, once or again."""

from __future__ import annotations

import io
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING, BinaryIO, Protocol, cast

from vsei.annexb import NalUnit, read_chunks, split
from vsei.errors import VseiError
from vsei.nal import Codec
from vsei.reading import identify

if TYPE_CHECKING:
    from vsei import splicing

# The start of a stream that is looked at: codec, frame rate, format of the pictures.
HEAD_BYTES = 256 << 10

Identify = Callable[[Iterable[NalUnit]], tuple[Codec, Iterator[NalUnit]]]


class Progress(Protocol):
    """Whoever wants to know how far the reading is."""

    def advance(self, n: int = 1, /) -> object:
        """`n` more bytes were read."""


class Stream(Protocol):
    """A stream to be read or edited, wherever it comes from: `Source`, or a track of a container."""

    codec: Codec
    head: bytes

    @property
    def size(self) -> int | None:
        """About as many bytes as there are to be read; None where that is not known."""

    def keep(self) -> None:
        """Make it readable more than once."""

    def rest(self) -> splicing.Source:
        """The bytes behind the head."""

    def nal_units(self, progress: Progress | None = None) -> Iterator[NalUnit]:
        """All NAL units, from the start."""


class Source:
    """A byte stream (Annex B). A pipe is read once, unless `keep` is called before.

    Args:
        file: opened for reading.
        stack: closes what `keep` opens.
        identify: the codec of NAL units, as `vsei.reading.identify` has it.

    Attributes:
        codec: as `identify` finds it.
        head: the first bytes.

    Raises:
        VseiError: it is empty, or its codec does not show.
    """

    def __init__(self, file: BinaryIO, stack: ExitStack, identify: Identify = identify) -> None:
        self._file, self._stack = cast(io.BufferedReader, file), stack
        self._again = file.seekable()
        self._origin = file.tell() if self._again else 0
        self.head = _read(self._file, HEAD_BYTES)
        if not self.head:
            raise VseiError("the stream is empty")  # a mistake, mostly; nobody should read "clean" of it
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


@dataclass(frozen=True, slots=True)
class Output:
    """Where an edited stream goes.

    Attributes:
        nal_units: the stream to be edited. (A container is copied while it is read from here.)
        take: writes NAL units; returns how many bytes they are as a byte stream.
        file: of a byte stream, opened for writing; None of a container.
        left_out: streams of a container that are not copied, in words.
    """

    nal_units: Callable[[Progress | None], Iterator[NalUnit]]
    take: Callable[[Iterable[NalUnit]], int]
    file: BinaryIO | None = None
    left_out: tuple[str, ...] = ()


def byte_stream(stream: Stream, file: BinaryIO) -> Output:
    """A file for an edited byte stream."""
    return Output(stream.nal_units, lambda units: write_units(file, units), file)


def _read(file: io.BufferedReader, size: int) -> bytes:
    parts = []
    while size > 0 and (part := file.read1(size)):
        parts.append(part)
        size -= len(part)
    return b"".join(parts)
