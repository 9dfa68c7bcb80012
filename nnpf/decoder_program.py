"""Decoder programs other than FFmpeg: vvdecapp of VVdeC, DecoderApp of VTM.

Their pictures come through a named pipe, because what they print goes to standard output.
"""

from __future__ import annotations

import os
import select
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, cast

from nnpf import limits
from nnpf.errors import NnpfError
from nnpf.frames import Format, Frame, read_frame
from nnpf.intake import DecodedSource

# How often a program that writes nothing is asked whether it still runs.
_POLL_S = 0.2
_SHOWN_LINES = 3
_LOG_BYTES = 4096  # the end of what it printed, in which these are looked for


def find(program: str) -> str:
    """The path of a decoder program, by name or path. NnpfError when there is none."""
    found = shutil.which(program)
    if found is None:
        raise NnpfError("is no program on this machine", subject=program)
    return found


def _command(program: str, stream: Path, output: Path) -> list[str]:
    command = [program, "-b", str(stream), "-o", str(output)]
    if "decoderapp" in Path(program).name.lower():
        return [*command, "-d", "0"]  # VTM: at the bit depth of the stream
    return command


class _Pipe:
    """The reading end of a named pipe whose writer may take its time, or die before it opens it."""

    def __init__(self, descriptor: int, process: subprocess.Popen[bytes], name: str) -> None:
        self._descriptor, self._process, self._name = descriptor, process, name

    def read(self, size: int) -> bytes:
        allowed = limits.current().decoder_seconds
        end = time.monotonic() + allowed
        while True:
            ended = self._process.poll() is not None
            readable, _, _ = select.select([self._descriptor], [], [], 0 if ended else _POLL_S)
            if readable:
                try:
                    data = os.read(self._descriptor, size)
                except BlockingIOError:
                    data = b""
                if data:
                    return data
            if ended:
                return b""
            if time.monotonic() > end:
                raise limits.exceeded("decoder_seconds", f"wrote nothing for {allowed} seconds", subject=self._name)
            if readable:  # nobody has opened the other end yet, or it was just closed
                self._process_wait()

    def _process_wait(self) -> None:
        try:
            self._process.wait(_POLL_S / 10)
        except subprocess.TimeoutExpired:
            return


@contextmanager
def decoded_by(program: str, stream: Path) -> Iterator[DecodedSource]:
    """Pictures of a stream as another decoder gives them, for `nnpf.runner.apply`.

    Args:
        program: name or path of vvdecapp, DecoderApp, or anything that takes `-b STREAM -o OUTPUT` and writes cropped
            planar pictures in output order, 8 bit as bytes and more as 16-bit little-endian words.
        stream: a file; these programs read no pipes.

    Raises, when pictures are taken:
        NnpfError: the program fails, or is silent for too long.
    """
    path = find(program)
    if not hasattr(os, "mkfifo"):
        raise NnpfError("decoder programs need named pipes, which this system does not have", subject=program)
    with tempfile.TemporaryDirectory(prefix="nnpf-") as folder, tempfile.TemporaryFile() as log:
        pipe = Path(folder) / "decoded.yuv"
        os.mkfifo(pipe)
        descriptor = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
        process = subprocess.Popen(_command(path, stream, pipe), stdout=log, stderr=log, stdin=subprocess.DEVNULL)
        source = cast(BinaryIO, _Pipe(descriptor, process, program))

        def take(form: Format) -> Frame | None:
            try:
                frame = read_frame(source, form)
            except NnpfError:  # the end of its output inside a picture: a crash says more about it
                if process.poll():
                    raise failed(process.returncode) from None
                raise
            if frame is None and (code := process.wait()) != 0:
                raise failed(code)
            return frame

        def failed(code: int) -> NnpfError:
            log.seek(max(0, log.seek(0, os.SEEK_END) - _LOG_BYTES))
            lines = log.read().decode("utf-8", "replace").strip().splitlines()[-_SHOWN_LINES:]
            return NnpfError(f"failed with {code}: {' / '.join(lines) or 'it printed nothing'}", subject=program)

        try:
            yield take
        finally:
            process.kill()
            process.wait()
            os.close(descriptor)
