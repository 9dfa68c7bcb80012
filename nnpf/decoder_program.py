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
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO, cast

from nnpf import limits
from nnpf.errors import NnpfError
from nnpf.frames import Format, Frame, read_frame
from nnpf.intake import DecodedSource
from vsei.annexb import NalUnit, read_chunks, split
from vsei.errors import VseiError
from vsei.nal import Codec, Vvc, is_sei, is_vcl, read_header
from vsei.source import write_units
from vsei.vvc.nal_units import HeaderState

# How often a program that writes nothing is asked whether it still runs.
_POLL_S = 0.2
_SHOWN_LINES = 3
_SHOWN_CHARACTERS = 160  # of each
_MAX_LAYERS = 64  # nuh_layer_id has 6 bits
_LOG_BYTES = 4096  # the end of what it printed, in which these are looked for


def find(program: str) -> str:
    """The path of a decoder program, by name or path. NnpfError when there is none."""
    found = shutil.which(program)
    if found is None:
        raise NnpfError("is no program on this machine", subject=program)
    return found


def _command(program: str, stream: Path, output: Path, layer_id: int) -> list[str]:
    command = [program, "-b", str(stream), "-o", str(output)]
    if not _is_vtm(program):
        return command
    command += ["-d", "0"]  # at the bit depth of the stream
    wanted = _output_layer_set(stream, layer_id)
    return command if wanted is None else [*command, "-p", str(wanted)]


def _is_vtm(program: str) -> bool:
    return "decoderapp" in Path(program).name.lower()


def _without_sei(nal_units: Iterable[NalUnit]) -> Iterator[NalUnit]:
    for nal in nal_units:
        try:
            header = read_header(Codec.VVC, nal.data)
        except VseiError:
            header = None  # broken: the decoder may have an opinion of it
        if header is None or not is_sei(Codec.VVC, header.nal_unit_type):
            yield nal


def _output_layer_set(stream: Path, layer_id: int) -> int | None:
    """The first output layer set that outputs a layer (TargetOlsIdx); None where the stream has one layer only."""
    state = HeaderState()
    with stream.open("rb") as file, suppress(VseiError):  # what is broken is the decoder's to say
        for nal in split(read_chunks(file)):
            header = read_header(Codec.VVC, nal.data)
            if is_vcl(Codec.VVC, header.nal_unit_type):
                break
            if header.nal_unit_type == Vvc.VPS:
                state.take(header, nal.data)
    for vps in state.sets.vps.values():
        for index, layers in enumerate(vps.output_layers):
            if layer_id in layers:
                return index
        raise NnpfError(f"no output layer set of the stream outputs layer {layer_id}")
    return None


def _pipe_for(folder: Path, program: str, layer_id: int) -> Path:
    """A new named pipe for pictures of one layer. VTM puts the layer into the name where a stream has several, and
    writes all layers of an output layer set."""
    pipe = folder / "decoded.yuv"
    os.mkfifo(pipe)
    if _is_vtm(program):
        for layer in range(_MAX_LAYERS):
            pipe.with_suffix(f".layer{layer}.yuv").symlink_to(pipe if layer == layer_id else os.devnull)
    return pipe


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
def decoded_by(
    program: str, nal_units: Iterable[NalUnit], codec: Codec, *, layer_id: int = 0
) -> Iterator[DecodedSource]:
    """Pictures of a stream as another decoder gives them, for `nnpf.runner.apply`.

    Args:
        program: name or path of vvdecapp, DecoderApp, or anything that takes `-b STREAM -o OUTPUT` and writes cropped
            planar pictures in output order, 8 bit as bytes and more as 16-bit little-endian words.
        nal_units: of the stream. They are written to a temporary file, for these programs read no pipes; of H.266
            without SEI, which decoding does not need: NNPF messages stop VTM (docs/differences.md), nested ones VVdeC.
        layer_id: nuh_layer_id of the pictures.

    Raises:
        NnpfError: there is no such program, no room for the copy, or no output layer set with the layer; and when
            pictures are taken: the program fails, or is silent for too long.
    """
    path = find(program)
    if not hasattr(os, "mkfifo"):
        raise NnpfError("decoder programs need named pipes, which this system does not have", subject=program)
    with tempfile.TemporaryDirectory(prefix="nnpf-") as folder, tempfile.TemporaryFile() as log:
        stream = Path(folder) / "stream"
        try:
            with stream.open("wb") as file:
                write_units(file, _without_sei(nal_units) if codec is Codec.VVC else nal_units)
        except OSError as error:
            problem = f"the stream cannot be copied there for {program}: {error.strerror}; TMPDIR names another folder"
            raise NnpfError(problem, subject=folder) from None
        pipe = _pipe_for(Path(folder), path, layer_id)
        command = _command(path, stream, pipe, layer_id)
        descriptor = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
        process = subprocess.Popen(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL)
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
            lines = [line.strip() for line in log.read().decode("utf-8", "replace").splitlines() if line.strip()]
            told = [line for line in lines if "error" in line.lower()] or lines
            said = " / ".join(line[:_SHOWN_CHARACTERS] for line in told[-_SHOWN_LINES:]) or "it printed nothing"
            return NnpfError(f"failed with {code}: {said}", subject=program)

        try:
            yield take
        finally:
            process.kill()
            process.wait()
            os.close(descriptor)
