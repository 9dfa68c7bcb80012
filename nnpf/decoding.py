"""Pictures out of coded video, through PyAV (FFmpeg's decoders): native bit depth, conformance window applied.

The faults of FFmpeg 8.1's VVC decoder are dealt with here; each has its comment. What cannot be repaired is an error.
"""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal, cast

import av
import numpy as np

from nnpf import steps
from nnpf.cores import available_cores
from nnpf.errors import NnpfError
from nnpf.frames import Format, Frame, Plane

# AV_CODEC_FLAG_UNALIGNED: without it left and top offsets of the conformance window are rounded to 32 bytes.
_UNALIGNED = 1
_AV_CPU_FLAG_AVX2 = 0x8000
_PIXEL_FORMATS = {"gray": 0, "yuv420p": 1, "yuvj420p": 1, "yuv422p": 2, "yuvj422p": 2, "yuv444p": 3, "yuvj444p": 3}

# Luma samples of a picture for each thread. With fewer, one thread more takes a fifth to a half more of the CPU and
# saves a tenth of the time: measured for all three codecs at 416x240, where at 832x480 it halves the time of H.266.
_SAMPLES_PER_THREAD = 200_000

CodecName = Literal["vvc", "hevc", "h264"]


@dataclass(frozen=True, slots=True)
class CodedPicture:
    """The NAL units of one picture unit, as an Annex B byte stream.

    `after_eos`: an end of sequence stands between the picture before and this one. `eight_bit`: of its samples.
    """

    data: bytes
    decode_index: int
    after_eos: bool = False
    eight_bit: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class DecodedFrame:
    """A picture as the decoder gives it. `damaged`: the decoder says that something it needed was missing."""

    frame: Frame
    decode_index: int
    damaged: bool


def threads_for(form: Format) -> int:
    """Threads that serve pictures of a format, of the cores that there are."""
    return max(1, min(available_cores(), round(form.width * form.height / _SAMPLES_PER_THREAD)))


def decode(
    pictures: Iterable[CodedPicture],
    codec: CodecName,
    *,
    threads: int = 0,
    crop: bool = True,
    on_fault: Callable[[str], None] | None = None,
) -> Iterator[DecodedFrame]:
    """Decode picture units; frames come in output order, each with the decoding-order index of its picture.

    The picture units are given to the decoder one by one, as the caller's parser found them: FFmpeg's own splitting
    leaves the SEI NAL units of the next picture at the end of a packet.

    Args:
        pictures: in decoding order, one layer.
        threads: 0 = as many as the machine has cores.
        crop: False gives the whole decoded picture, as the decoded picture hash SEI sees it.
        on_fault: is told what the decoder refuses, and decoding goes on with the next picture.

    Raises:
        NnpfError: the decoder refuses the stream, or without `on_fault` a picture.
    """
    repaired = codec != "vvc"
    with ExitStack() as repair, steps.steps() as doing:
        context = av.CodecContext.create(codec, "r")
        context.thread_count = threads
        context.flags |= _UNALIGNED
        if codec != "vvc":  # the VVC decoder threads on its own; the others want to be asked
            context.thread_type = "AUTO"
        if not crop:
            context.options = {"apply_cropping": "0"}
        for picture in pictures:
            if picture.eight_bit and not repaired:
                # From the first such picture on: with its parameter sets the decoder chooses the code to run.
                repair.enter_context(_without_avx2())
                repaired = True
            if picture.after_eos:
                # FFmpeg ignores an end of sequence that comes before a CRA picture and shows the RASL pictures after
                # it. Emptied and flushed, the decoder treats the CRA as the start of a stream, as it must.
                yield from _frames(context, None, picture.decode_index, doing, on_fault)
                context.flush_buffers()
            # Filled, not made of the bytes: to let go of bytes of Python, FFmpeg's threads need the interpreter, and
            # wait for it for ever when a context is freed that has packets under way.
            packet = av.Packet(len(picture.data))
            packet.update(picture.data)
            packet.pts = packet.dts = picture.decode_index
            yield from _frames(context, packet, picture.decode_index, doing, on_fault)
        yield from _frames(context, None, None, doing, on_fault)


def decode_file(path: str | Path, *, threads: int = 0) -> Iterator[DecodedFrame]:
    """Decode the first video track of any file that FFmpeg opens: elementary streams, MP4, Matroska, TS.

    Frames come in output order; decode_index counts packets. For a VVC stream with SEI messages or an end of sequence
    inside, parse it with `vsei` and use `decode`: FFmpeg's packets are not access units.
    """
    try:
        # Without "file:", a name with a colon is taken for a protocol; and what the file names may be a file only.
        container = av.open(f"file:{path}", options={"protocol_whitelist": "file"})
    except (av.FFmpegError, OSError) as error:
        raise NnpfError(f"cannot be opened as video: {_reason(error)}", subject=str(path)) from None
    with container:
        if not container.streams.video:
            raise NnpfError("holds no video", subject=str(path))
        stream = container.streams.video[0]
        context = stream.codec_context
        # The format is known from probing; where it is not, the slower and right way is taken.
        deep = context.pix_fmt is not None and _depth_of(context.pix_fmt) > 8
        with nullcontext() if context.name != "vvc" or deep else _without_avx2(), steps.steps() as doing:
            context.thread_count = threads
            context.flags |= _UNALIGNED
            if context.name != "vvc":
                context.thread_type = "AUTO"
            index = 0
            try:
                for packet in container.demux(stream):
                    if packet.size == 0:
                        continue
                    packet.pts = packet.dts = index
                    for decoded in _frames(context, packet, index, doing):
                        if context.name == "vvc" and deep and decoded.frame.format.bit_depth_luma == 8:
                            raise NnpfError("changes from more than 8 bits to 8")
                        yield decoded
                    index += 1
                if index == 0:
                    raise NnpfError("holds no coded picture")
                yield from _frames(context, None, None, doing)
            except NnpfError as error:
                error.subject = str(path)
                raise


def _frames(
    context: Any,
    packet: av.Packet[Any] | None,
    index: int | None,
    doing: steps.Steps,
    on_fault: Callable[[str], None] | None = None,
) -> Iterator[DecodedFrame]:
    where = "at its end" if index is None else f"at picture {index} in decoding order"
    step = f"the decoder (FFmpeg, {context.name}) {where}"
    doing.begin(step, "decoder_seconds")
    try:
        frames = context.decode(packet)
    except av.EOFError:
        return  # emptied twice: an end of sequence after an end of sequence
    except (av.FFmpegError, MemoryError, OSError) as error:
        # Bit depths that FFmpeg lacks surface as MemoryError.
        problem = f"the decoder (FFmpeg, {context.name}) stopped {where}: {_reason(error)}"
        if on_fault is None:
            raise NnpfError(f"{problem}; give the decoded pictures of another decoder as YUV") from None
        on_fault(problem)
        return
    finally:
        doing.rest(step)  # its threads go on
    for frame in frames:
        yield DecodedFrame(_planes(frame), int(frame.pts), bool(frame.is_corrupt))


def _reason(error: BaseException) -> str:
    return getattr(error, "strerror", None) or str(error) or type(error).__name__


def _depth_of(pixel_format: str) -> int:
    digits = pixel_format.removesuffix("le").removeprefix("gray").rpartition("p")[2]
    return int(digits) if digits.isdigit() else 8


@lru_cache(maxsize=16)
def _format(name: str, width: int, height: int) -> Format:
    """What a pixel format of FFmpeg means."""
    depth = _depth_of(name)
    base = name.removesuffix("le").removesuffix(str(depth)) if depth > 8 else name
    base = "gray" if base == "gray" else base.rstrip("p") + "p"
    if base not in _PIXEL_FORMATS or depth > 16 or name.endswith("be"):
        raise NnpfError(f"decoded pictures of format {name}, which is not a planar YUV format")
    return Format(width, height, _PIXEL_FORMATS[base], depth, depth)


def _planes(frame: av.VideoFrame) -> Frame:
    """The planes as views into FFmpeg's picture, which lives as long as they do."""
    form = _format(frame.format.name, frame.width, frame.height)
    sample = np.dtype(np.uint8 if form.bit_depth_luma == 8 else "<u2")
    planes: list[Plane] = []
    for plane, shape in zip(frame.planes, form.shapes, strict=True):
        # (PyAV's stubs do not say that a plane has the buffer protocol.)
        samples: Plane = np.ndarray(shape, sample, cast(Any, plane), 0, (plane.line_size, sample.itemsize))
        samples.flags.writeable = False
        planes.append(samples)
    return Frame(tuple(planes), form)


_mask_lock = threading.Lock()
_mask_users = 0
_unmasked_flags = 0


@contextmanager
def _without_avx2() -> Iterator[None]:
    """FFmpeg without its AVX2 code while the context lasts.

    The AVX2 code of the adaptive loop filter gives wrong samples at 8 bits (48 of 63 test streams), without an error.
    The flag is the whole process's: other decoders that are opened meanwhile run without AVX2 too, slower and right.
    Ten bits and more are not affected, and keep AVX2.
    """
    global _mask_users, _unmasked_flags
    library = _libavutil()
    if library is None:
        raise NnpfError(
            "8-bit VVC: this build of PyAV hides FFmpeg's libavutil, so the fault in its AVX2 code cannot be avoided; "
            "give the decoded pictures of another decoder as YUV"
        )
    with _mask_lock:
        if _mask_users == 0:
            _unmasked_flags = library.av_get_cpu_flags()
            library.av_force_cpu_flags(_unmasked_flags & ~_AV_CPU_FLAG_AVX2)
        _mask_users += 1
    try:
        yield
    finally:
        with _mask_lock:
            _mask_users -= 1
            if _mask_users == 0:
                library.av_force_cpu_flags(_unmasked_flags)


def _libavutil() -> Any | None:
    """The libavutil that PyAV has loaded. Its wheels carry it beside or inside the package."""
    package = Path(av.__file__).parent
    for folder in (package.parent / "av.libs", package / ".dylibs", package):
        for pattern in ("libavutil*.so*", "libavutil*.dylib", "avutil*.dll"):
            for path in sorted(folder.glob(pattern)):
                library = ctypes.CDLL(str(path))
                library.av_get_cpu_flags.restype = ctypes.c_int
                return library
    try:  # a PyAV built against the system's FFmpeg: the library is in the process already
        library = ctypes.CDLL(None)
        library.av_get_cpu_flags.restype = ctypes.c_int
    except (AttributeError, OSError, TypeError):
        return None
    return library
