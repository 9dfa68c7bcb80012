"""Pictures to look at: decoded, filtered and original samples as they are, each set as one PNG file.

A PNG holds the planes of a picture one below the other (Y, Cb, Cr), each in as many columns as luma has, samples of
more than 8 bits shifted up to 16. So nothing is lost: the page computes colours and differences from the samples.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from nnpf.errors import NnpfError
from nnpf.frames import Format, Frame
from nnpf.metrics import compare
from nnpf.report.documents import PictureResult
from nnpf.show import busiest

DEFAULT_PICTURES = 3
# A page is sent by mail; more pictures are refused.
MAX_PICTURES = 24
# Larger pictures are cut to a window of about so many luma samples (832x480).
WINDOW_SAMPLES = 832 * 480
# Pictures up to here are shown whole.
WHOLE_SAMPLES = 960 * 540


@dataclass(frozen=True, slots=True)
class Window:
    """A part of a picture, in luma samples."""

    left: int
    top: int
    width: int
    height: int


@dataclass(frozen=True, slots=True)
class Planes:
    """The samples of a window of a picture.

    Attributes:
        png: see above.
        window: in this picture.
        whole: format of the picture.
    """

    png: bytes
    window: Window
    whole: Format


@dataclass(frozen=True, slots=True)
class View:
    """One picture, to be compared with itself.

    Attributes:
        why: for what it was chosen.
        psnr: of the whole pictures against the original, as measured here, by source.
    """

    output_index: int
    poc: int
    why: str
    sources: dict[str, Planes]
    psnr: dict[str, tuple[float, ...]]

    @property
    def nbytes(self) -> int:
        return sum(len(planes.png) for planes in self.sources.values())


@dataclass(frozen=True, slots=True)
class Taken:
    """A picture as it comes out of the filter, with its original where there is one."""

    output_index: int
    poc: int
    decoded: Frame | None
    filtered: Frame
    original: Frame | None


def choose(pictures: Sequence[PictureResult], count: int = DEFAULT_PICTURES) -> dict[int, str]:
    """Which pictures to show, with the reason: those with the smallest, the median and the largest luma gain.

    Where gains are not known: at equal distances. So nobody picks the pictures that look best.
    """
    if not pictures or count < 1:
        return {}
    known = sorted((gain, p.output_index) for p in pictures if (gain := p.gain()) is not None)
    if len(known) < len(pictures):
        places = sorted({(2 * i + 1) * len(pictures) // (2 * count) for i in range(count)})
        return {pictures[place].output_index: "at equal distances" for place in places}
    ranks = [(len(known) - 1) // 2] if count == 1 else [i * (len(known) - 1) // (count - 1) for i in range(count)]
    names = {0: "smallest luma gain", len(known) - 1: "largest luma gain", (len(known) - 1) // 2: "median luma gain"}
    chosen = {known[rank][1]: names.get(rank, f"luma gain, rank {rank + 1} of {len(known)}") for rank in ranks}
    return dict(sorted(chosen.items()))


def with_originals(
    pictures: Iterable[tuple[int, int, Frame | None, Frame]], originals: Iterator[Frame] | None
) -> Iterator[Taken]:
    """Pictures (output_index, POC, decoded, filtered) with their originals.

    Raises:
        NnpfError: the original has fewer pictures.
    """
    for count, (output_index, poc, decoded, filtered) in enumerate(pictures):
        original = next(originals, None) if originals is not None else None
        if originals is not None and original is None:
            raise NnpfError(f"the original ends after {count} pictures")
        yield Taken(output_index, poc, decoded, filtered, original)


def take(
    pictures: Iterable[Taken], wanted: dict[int, str], window: Window | None, *, whole: bool = False
) -> tuple[list[View], Window | None]:
    """Take the wanted pictures; reads no further than the last one.

    Args:
        wanted: reasons by output_index.
        window: of all pictures, in samples of the filtered one; None: pictures that are too large are cut to where
            filtered and decoded differ most in the first one.
        whole: show whole pictures of any size.

    Returns:
        The pictures, and the window of the first one; None where that is whole.

    Raises:
        NnpfError: the window is not inside the picture.
    """
    views: list[View] = []
    left = set(wanted)
    # Where the size of pictures changes on the way, each size has a window of its own.
    automatic: dict[Format, Window | None] = {}
    for picture in pictures if left else ():
        if picture.output_index not in left:
            continue
        left.discard(picture.output_index)
        form = picture.filtered.format
        if window is None and not whole and form not in automatic:
            automatic[form] = _automatic(picture)
        views.append(_view(picture, wanted[picture.output_index], window or automatic.get(form)))
        if not left:
            break
    return views, window or next(iter(automatic.values()), None)


def _automatic(picture: Taken) -> Window | None:
    form = picture.filtered.format
    if form.width * form.height <= WHOLE_SAMPLES:
        return None
    scale = math.sqrt(WINDOW_SAMPLES / (form.width * form.height))
    width, height = (max(16, round(side * scale / 16) * 16) for side in (form.width, form.height))
    before = picture.decoded
    if before is None or before.format.shapes[0] != form.shapes[0]:
        return Window((form.width - width) // 2, (form.height - height) // 2, width, height)
    left, top = busiest(before, picture.filtered, width, height)
    return Window(left, top, min(width, form.width), min(height, form.height))


def _view(picture: Taken, why: str, window: Window | None) -> View:
    frames = {"decoded": picture.decoded, "filtered": picture.filtered, "original": picture.original}
    given = {name: frame for name, frame in frames.items() if frame is not None}
    form = picture.filtered.format
    window = window or Window(0, 0, form.width, form.height)
    if window.left + window.width > form.width or window.top + window.height > form.height:
        raise NnpfError(f"the window {window} is not inside the picture of {form.width}x{form.height} samples")
    window = _aligned(window, [frame.format for frame in given.values()], form)
    sources = {name: _planes(frame, _scaled(window, form, frame.format)) for name, frame in given.items()}
    psnr = {}
    if picture.original is not None:
        for name in ("decoded", "filtered"):
            frame = given.get(name)
            if frame is not None and frame.format.shapes == picture.original.format.shapes:
                psnr[name] = compare(frame, picture.original).psnr
    return View(picture.output_index, picture.poc, why, sources, psnr)


def _aligned(window: Window, formats: Sequence[Format], reference: Format) -> Window:
    """The window moved and cut so that its edges lie between samples of every plane of every picture."""
    edges = []
    for start, size, side, subsampling in (
        (window.left, window.width, "width", "SubWidthC"),
        (window.top, window.height, "height", "SubHeightC"),
    ):
        whole = getattr(reference, side)
        step = 1
        for form in formats:
            # An edge at k in the reference is at k * ratio there, and must be a multiple of the subsampling.
            own, unit = getattr(form, side), getattr(form, subsampling)
            step = math.lcm(step, whole * unit // math.gcd(whole * unit, own))
        if (start, size) == (0, whole) or step > whole:
            edges.append((0, whole))
            continue
        first = start // step * step
        edges.append((first, max(step, size // step * step)))
    return Window(edges[0][0], edges[1][0], edges[0][1], edges[1][1])


def _scaled(window: Window, reference: Format, form: Format) -> Window:
    return Window(
        window.left * form.width // reference.width,
        window.top * form.height // reference.height,
        window.width * form.width // reference.width,
        window.height * form.height // reference.height,
    )


def _planes(frame: Frame, window: Window) -> Planes:
    form = frame.format
    bits = 8 if max(form.bit_depths) == 8 else 16
    rows: list[npt.NDArray[Any]] = []
    for at, (plane, depth) in enumerate(zip(frame.planes, form.bit_depths, strict=True)):
        columns, lines = (1, 1) if at == 0 else (form.SubWidthC, form.SubHeightC)
        # (Rounded up: of an odd picture the last chroma sample belongs to half a unit.)
        right, bottom = -(-(window.left + window.width) // columns), -(-(window.top + window.height) // lines)
        part = plane[window.top // lines : bottom, window.left // columns : right]
        sheet = np.zeros((part.shape[0], window.width), np.uint8 if bits == 8 else np.uint16)
        sheet[:, : part.shape[1]] = part.astype(sheet.dtype) << (bits - depth)
        rows.append(sheet)
    return Planes(encode_png(np.vstack(rows)), window, form)


def encode_png(samples: npt.NDArray[Any]) -> bytes:
    """A grey PNG file of 8 or 16 bits, by FFmpeg. `samples`: uint8 or uint16, (rows, columns)."""
    import av

    context = av.CodecContext.create("png", "w")
    context.height, context.width = samples.shape
    context.pix_fmt = "gray" if samples.dtype == np.uint8 else "gray16be"
    context.time_base = 1  # type: ignore[assignment]
    context.options = {"pred": "paeth", "compression_level": "9"}
    frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(samples), format=context.pix_fmt)
    return b"".join(bytes(packet) for packet in (*context.encode(frame), *context.encode(None)))
