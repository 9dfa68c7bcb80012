"""Streams as users give them: a byte stream, or a container with a video track in it; files that are written, likewise.

with open_stream("in.mp4") as stream, open_output("out.mp4") as file, writing("out.mp4", file, stream) as out:
    out.take(edit.strip(out.nal_units(None), stream.codec, unwanted))
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from fractions import Fraction
from os import PathLike, fspath
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from nnpf.container_formats import SIGNATURE_BYTES, container_of, container_to_write
from nnpf.errors import NnpfError
from vsei.annexb import read_chunks, split
from vsei.frame_rate import frame_rate
from vsei.nal import Codec
from vsei.reading import identify
from vsei.source import Identify, Output, Source, byte_stream

if TYPE_CHECKING:
    from nnpf.containers import Track


@contextmanager
def open_stream(
    path: str | PathLike[str], codec: Codec | None = None, index: int | None = None
) -> Iterator[Source | Track]:
    """A file to read or to edit.

    Args:
        path: byte stream (Annex B), or a container, which its first bytes tell.
        codec: of a byte stream; None for that of the name's extension, else of the first NAL units.
        index: of the stream in a container, as ffprobe counts; None for the first one of a codec that is known.

    Raises:
        NnpfError: a container without such a stream, or a file of another kind.
        VseiError: no NAL units of a codec that is known.
    """
    with Path(path).open("rb") as file, stream_of(file, fspath(path), codec, index) as stream:
        yield stream


@contextmanager
def stream_of(
    file: BinaryIO,
    path: str | None,
    codec: Codec | None = None,
    index: int | None = None,
    identify_units: Identify | None = None,
) -> Iterator[Source | Track]:
    """As `open_stream`, of a file that is open. `path`: its name; None of a pipe, which, if it holds a container, is
    put into a temporary file first."""
    with ExitStack() as stack:
        try:
            form = container_of(_first_bytes(file))
        except NnpfError as error:
            error.subject = path
            raise
        if form is None:
            if index is not None:
                raise NnpfError("is a byte stream, in which there are no streams to choose from", subject=path)
            yield Source(file, stack, identify_units or (lambda units: identify(units, path, codec)))
            return
        from nnpf.containers import Track

        # Named pipes have a path, too: FIFOs, /dev/stdin, what a shell makes of <(...).
        kept = path if path is not None and file.seekable() else _spooled(file, stack)
        track = Track(kept, form, index, path)
        if codec is not None and codec is not track.codec:
            raise NnpfError(f"holds {track.codec.standard}, and {codec.standard} was asked for", subject=path)
        yield track


def holds_track(path: str | PathLike[str]) -> bool:
    """Whether a file is a container with a track that `open_stream` takes."""
    try:
        with Path(path).open("rb") as file:
            if container_of(_first_bytes(file)) is None:
                return False
        with open_stream(path):
            return True
    except NnpfError:
        return False


def _first_bytes(file: BinaryIO) -> bytes:
    """What a file begins with; it can still be read from there."""
    if file.seekable():
        here = file.tell()
        head = file.read(SIGNATURE_BYTES)
        file.seek(here)
        return head
    peek: Callable[[int], bytes] = getattr(file, "peek", lambda size: b"")
    return peek(SIGNATURE_BYTES)


def _spooled(file: BinaryIO, stack: ExitStack) -> str:
    """The path of a temporary file with what a pipe holds."""
    path = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="nnpf-"))) / "stream"
    with path.open("wb") as spool:
        for chunk in read_chunks(file):
            spool.write(chunk)
    return str(path)


@contextmanager
def writing(
    path: str | None,
    file: BinaryIO,
    stream: Source | Track,
    *,
    rate: Fraction | None = None,
    video_only: bool = False,
) -> Iterator[Output]:
    """A file for an edited stream, in the format that its name asks for.

    Args:
        path: its name; None of a pipe, which gets a byte stream.
        file: opened for writing.
        stream: that is edited. If it is a track of a container, everything else of that is copied into a container.
        rate: pictures per second, for a container made of a byte stream; None: as the stream says.
        video_only: copy nothing else.

    Raises:
        NnpfError: the format is not written, takes no such streams, or wants a rate.
    """
    form = None if path is None else container_to_write(path)
    if form is None or path is None:
        yield byte_stream(stream, file)
        return
    from nnpf.muxing import Mux, Remux

    if isinstance(stream, Source):
        rate = rate or frame_rate(split([stream.head]), stream.codec)
        if rate is None:
            raise NnpfError("the stream does not say how many pictures it has per second: --fps", subject=path)
        with Mux(stream.codec, stream.head, rate, form, file, path) as mux:
            yield Output(stream.nal_units, mux.take)
        return
    with Remux(stream, form, file, path, video_only=video_only) as remux:
        yield Output(remux.nal_units, remux.take, left_out=tuple(remux.left_out))
