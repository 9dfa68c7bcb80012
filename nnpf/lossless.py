"""Filtered pictures as a video file that people can play: FFV1, without loss, in Matroska; with the sound of the input.

with LosslessWriter(file, "out.mkv", rate=Fraction(25)) as writer:
    writer.write(frame, Fraction(0))
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import ExitStack
from fractions import Fraction
from typing import TYPE_CHECKING, Any, BinaryIO, cast

import av
import numpy as np

from nnpf.container_formats import MATROSKA
from nnpf.errors import NnpfError
from nnpf.muxing import ContainerFile, Others, ratio
from vsei.colour import Colour

if TYPE_CHECKING:
    from nnpf.containers import Track
    from nnpf.frames import Format, Frame

_LAYOUTS = ("gray", "yuv420p", "yuv422p", "yuv444p")  # by chroma_format_idc
# Milliseconds are what FFmpeg writes into Matroska.
_TIME_BASE = Fraction(1, 1000)
# Level 3 is coded in slices, in parallel, with checksums; each picture is for itself.
_OPTIONS = {"level": "3", "coder": "1", "context": "0", "g": "1", "slices": "4", "slicecrc": "1"}


_UNSPECIFIED = Colour()


class LosslessWriter:
    """Writes pictures.

    Args:
        file: opened for writing.
        name: of the file, for errors.
        rate: pictures per second, as the file says of itself; None where they vary.
        colour: what the samples mean.
        display_matrix: how pictures are turned to be shown (`nnpf.containers.Track.display_matrix`).
        track: of a container whose other streams are copied: the video that the pictures are made of.
        note: told what is not written, such as streams that Matroska does not take.

    Attributes:
        aspect: width of a sample by its height, to be set before the first picture; None where nobody knows.

    Raises:
        NnpfError: no such pixel format; a picture of another format than the first one.
    """

    def __init__(
        self,
        file: BinaryIO,
        name: str,
        *,
        rate: Fraction | None,
        colour: Colour = _UNSPECIFIED,
        display_matrix: list[int] | None = None,
        track: Track | None = None,
        note: Callable[[str], object] = lambda text: None,
    ) -> None:
        self._output = ContainerFile(MATROSKA, file, name)
        self._name, self._rate, self._colour = name, rate, colour
        self._display_matrix = display_matrix
        self.aspect: Fraction | None = None
        self._track, self._note = track, note
        self._stream: Any = None
        self._format: Format | None = None
        self._others: Others | None = None
        self._stack = ExitStack()

    def __enter__(self) -> LosslessWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        with self._stack:
            if kind is None and self._stream is not None:
                self._mux(self._stream.encode(None))
                if self._others is not None:
                    self._others.mux_until(None)
                self._output.close()

    def write(self, frame: Frame, seconds: Fraction) -> None:
        """The next picture.

        Args:
            seconds: when it is shown. Later than the one before.
        """
        if self._format is None:
            self._begin(frame.format)
        elif frame.format != self._format:
            raise NnpfError(
                f"pictures change from {self._format} to {frame.format}, which one video track cannot; write .yuv",
                subject=self._name,
            )
        picture = _video_frame(frame, self._stream.codec_context.pix_fmt)
        picture.pts, picture.time_base = round(seconds / _TIME_BASE), _TIME_BASE
        self._mux(self._stream.encode(picture))
        if self._others is not None:
            self._others.mux_until(seconds)

    def _begin(self, form: Format) -> None:
        self._format = form
        stream: Any = self._output.container.add_stream("ffv1", rate=self._rate or 25, options=_OPTIONS)
        stream.width, stream.height, stream.pix_fmt = form.width, form.height, _pixel_format(form, self._name)
        context = stream.codec_context
        context.time_base = stream.time_base = _TIME_BASE
        context.thread_type = "SLICE"
        context.color_primaries, context.color_trc = self._colour.primaries, self._colour.transfer
        context.colorspace, context.color_range = self._colour.matrix, 2 if self._colour.full_range else 1
        stream.set_display_matrix(self._display_matrix)
        if self.aspect not in (None, 1):
            # FFmpeg takes it from where PyAV does not let anybody write.
            self._note(f"not written into {self._name}: the sample aspect ratio, {ratio(self.aspect)}")
        self._stream = stream
        if self._track is not None:
            self._others = self._stack.enter_context(Others(self._track, self._output))
            if self._others.left_out:
                self._note(f"not copied: {', '.join(self._others.left_out)}")

    def _mux(self, packets: Iterable[Any]) -> None:
        for packet in packets:
            self._output.mux(packet)


def _pixel_format(form: Format, name: str) -> str:
    """What FFmpeg calls the format. NnpfError: FFV1 has none."""
    depth = form.bit_depth_luma
    wanted = _LAYOUTS[form.chroma_format_idc] + (f"{depth}le" if depth > 8 else "")
    known = {form.name for form in av.codec.Codec("ffv1", "w").video_formats or ()}
    if wanted not in known or (form.chroma_format_idc and form.bit_depth_chroma != depth):
        raise NnpfError(f"FFV1 has no format for {form}; write .yuv", subject=name)
    return wanted


def _video_frame(frame: Frame, pixel_format: str) -> Any:
    made = av.VideoFrame(frame.format.width, frame.format.height, pixel_format)
    for theirs, samples in zip(made.planes, frame.planes, strict=True):
        # (PyAV's stubs do not say that a plane has the buffer protocol.)
        room = np.frombuffer(cast(Any, theirs), samples.dtype).reshape(-1, theirs.line_size // samples.itemsize)
        room[: samples.shape[0], : samples.shape[1]] = samples
    return made
