"""Pictures for people: frames as RGB, side by side with captions, differences amplified. Needs Pillow."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from nnpf.errors import NnpfError
from nnpf.frames import Frame

if TYPE_CHECKING:
    from PIL.Image import Image

Rgb = npt.NDArray[np.uint8]  # (rows, columns, 3)

_KR, _KB = 0.2126, 0.0722  # BT.709, what video of unknown origin is shown as
_CAPTION_ROWS = 22
_GAP = 6


def to_rgb(frame: Frame) -> Rgb:
    """A frame as 8-bit RGB: BT.709 primaries and matrix, narrow range, chroma repeated to the size of luma."""
    luma = _normalised(frame, 0, 16, 219)
    if len(frame.planes) == 1:
        return _bytes(np.stack([luma] * 3, axis=-1))
    rows, columns = luma.shape
    cb, cr = (_enlarged(_normalised(frame, i, 128, 224), rows, columns, frame) for i in (1, 2))
    red = luma + 2 * (1 - _KR) * cr
    blue = luma + 2 * (1 - _KB) * cb
    green = (luma - _KR * red - _KB * blue) / (1 - _KR - _KB)
    return _bytes(np.stack([red, green, blue], axis=-1))


def _normalised(frame: Frame, plane: int, zero: int, span: int) -> npt.NDArray[np.float32]:
    scale = np.float32(1 << (frame.format.bit_depths[plane] - 8))
    return (frame.planes[plane].astype(np.float32) / scale - np.float32(zero)) / np.float32(span)


def _enlarged(plane: npt.NDArray[np.float32], rows: int, columns: int, frame: Frame) -> npt.NDArray[np.float32]:
    return plane.repeat(frame.format.SubHeightC, 0).repeat(frame.format.SubWidthC, 1)[:rows, :columns]


def _bytes(samples: npt.NDArray[np.float32]) -> Rgb:
    return np.clip(np.rint(samples * 255), 0, 255).astype(np.uint8)


def difference(a: Frame, b: Frame, gain: int) -> Rgb:
    """`a - b` as RGB, amplified, on middle grey. Both of the same size."""
    if a.planes[0].shape != b.planes[0].shape:
        raise NnpfError(f"pictures of {a.format} and {b.format} have no difference")
    grey: Rgb = np.clip((to_rgb(a).astype(np.int32) - to_rgb(b)) * gain + 128, 0, 255).astype(np.uint8)
    return grey


@dataclass(frozen=True, slots=True)
class Panel:
    """One picture of a montage with its caption."""

    caption: str
    picture: Rgb


def montage(panels: Sequence[Panel], detail: tuple[int, int, int, int], zoom: int) -> Image:
    """The panels side by side, and below each its detail, enlarged without smoothing.

    Args:
        panels: pictures of the same size.
        detail: left, top, width, height of the detail in samples; its enlarged width is cut to the panel's.
        zoom: how many times it is enlarged.
    """
    from PIL import Image, ImageDraw

    rows, columns, _ = panels[0].picture.shape
    left, top, width, height = detail
    width = min(width, columns // zoom)
    size = (len(panels) * (columns + _GAP) + _GAP, _CAPTION_ROWS + rows + _GAP + height * zoom + _GAP)
    sheet = Image.new("RGB", size, "white")
    draw = ImageDraw.Draw(sheet)
    font = _font()
    for i, panel in enumerate(panels):
        x = _GAP + i * (columns + _GAP)
        draw.text((x + 2, 3), panel.caption, fill="black", font=font)
        marked = Image.fromarray(panel.picture)
        ImageDraw.Draw(marked).rectangle((left, top, left + width - 1, top + height - 1), outline="yellow")
        sheet.paste(marked, (x, _CAPTION_ROWS))
        crop = panel.picture[top : top + height, left : left + width].repeat(zoom, 0).repeat(zoom, 1)
        sheet.paste(Image.fromarray(crop), (x, _CAPTION_ROWS + rows + _GAP))
    return sheet


def _font() -> Any:
    from PIL import ImageFont

    return ImageFont.load_default(size=14)


def busiest(before: Frame, after: Frame, width: int, height: int) -> tuple[int, int]:
    """Left and top of the window of this size in which two frames differ most in luma."""
    delta = np.abs(before.planes[0].astype(np.int64) - after.planes[0].astype(np.int64))
    sums = np.pad(delta.cumsum(0).cumsum(1), ((1, 0), (1, 0)))
    rows, columns = delta.shape
    height, width = min(height, rows), min(width, columns)
    windows = sums[height:, width:] - sums[:-height, width:] - sums[height:, :-width] + sums[:-height, :-width]
    top, left = np.unravel_index(int(windows.argmax()), windows.shape)
    return int(left), int(top)
