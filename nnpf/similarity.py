"""SSIM (Wang et al., IEEE TIP 2004) and MS-SSIM (Wang et al., Asilomar 2003) of pictures, component by component.

Settings as published: a Gaussian window of 11x11 samples with sigma 1.5, at the positions where it lies inside the
picture; K1 0.01, K2 0.03; L the largest sample value, 2^bit_depth - 1. MS-SSIM takes five scales, each half the one
before by the mean of 2x2 samples (the last row or column of an odd side counts twice).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from nnpf.errors import NnpfError
from nnpf.frames import Frame, Plane

WINDOW = 11
_SIGMA = 1.5
_K1, _K2 = 0.01, 0.03
# Of the five scales, the finest first.
SCALE_WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
# Sides are halved upwards, and the coarsest scale must hold the window.
MIN_MS_SSIM_SIDE = (WINDOW - 1) * 2 ** (len(SCALE_WEIGHTS) - 1) + 1

# Samples of one block of rows; with some ten such blocks at work they stay in the cache.
_BLOCK_SAMPLES = 1 << 14

Samples = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Similarity:
    """Two pictures compared, component by component (Y, or Y, Cb, Cr). 1: the same.

    Attributes:
        ssim: mean over the picture; None where a side is below WINDOW.
        ms_ssim: None where a side is below MIN_MS_SSIM_SIDE: fewer scales would be another measure.
    """

    ssim: tuple[float | None, ...]
    ms_ssim: tuple[float | None, ...]


def similarity(one: Frame, other: Frame) -> Similarity:
    """Compare two pictures of the same size and chroma format.

    Where bit depths differ, the samples of the lower one are shifted up, as in `nnpf.metrics.compare`.

    Raises:
        NnpfError: sizes or chroma formats differ.
    """
    if [p.shape for p in one.planes] != [p.shape for p in other.planes]:
        raise NnpfError(f"pictures of {one.format} and {other.format} cannot be compared")
    ssims: list[float | None] = []
    ms_ssims: list[float | None] = []
    depths = zip(one.format.bit_depths, other.format.bit_depths, strict=True)
    for a, b, (depth_a, depth_b) in zip(one.planes, other.planes, depths, strict=True):
        depth = max(depth_a, depth_b)
        x, y = _shifted(a, depth - depth_a), _shifted(b, depth - depth_b)
        peak = (1 << depth) - 1
        finest = _means(x, y, peak) if min(a.shape) >= WINDOW else None
        ssims.append(None if finest is None else finest[0])
        large = min(a.shape) >= MIN_MS_SSIM_SIDE
        ms_ssims.append(_over_scales(x, y, peak, finest) if finest is not None and large else None)
    return Similarity(tuple(ssims), tuple(ms_ssims))


def ssim(a: Plane, b: Plane, peak: int) -> float:
    """Mean SSIM of two planes of equal shape (rows, columns); `peak` is the largest sample value.

    Raises:
        NnpfError: shapes differ, or a side is below WINDOW.
    """
    _check_sides(a, b, WINDOW, "SSIM")
    return _means(a, b, peak)[0]


def ms_ssim(a: Plane, b: Plane, peak: int) -> float:
    """MS-SSIM of two planes of equal shape (rows, columns); `peak` is the largest sample value.

    A mean of a scale below 0 (the planes are opposites there) counts as 0, since powers of it are not defined.

    Raises:
        NnpfError: shapes differ, or a side is below MIN_MS_SSIM_SIDE.
    """
    _check_sides(a, b, MIN_MS_SSIM_SIDE, "MS-SSIM")
    return _over_scales(a, b, peak, _means(a, b, peak))


def _check_sides(a: Plane, b: Plane, least: int, name: str) -> None:
    if a.shape != b.shape:
        raise NnpfError(f"planes of {a.shape[1]}x{a.shape[0]} and {b.shape[1]}x{b.shape[0]} cannot be compared")
    if min(a.shape) < least:
        raise NnpfError(f"a plane of {a.shape[1]}x{a.shape[0]} is too small for {name}, which needs {least} a side")


def _shifted(plane: Plane, bits: int) -> Plane:
    return plane if bits == 0 else plane.astype(np.uint16) << bits


def _over_scales(a: Plane, b: Plane, peak: int, finest: tuple[float, float]) -> float:
    """Contrast and structure of each scale, and luminance of the coarsest one, each to the power of its weight."""
    means = [finest]
    x, y = a, b
    for _ in SCALE_WEIGHTS[1:]:
        x, y = _halved(x), _halved(y)
        means.append(_means(x, y, peak))
    factors = [structure for _, structure in means[:-1]] + [means[-1][0]]
    return (
        math.exp(sum(w * math.log(f) for f, w in zip(factors, SCALE_WEIGHTS, strict=True))) if min(factors) > 0 else 0.0
    )


def _halved(plane: Plane) -> Samples:
    rows, columns = plane.shape
    x = np.pad(plane.astype(np.float64), ((0, rows % 2), (0, columns % 2)), mode="edge")
    mean: Samples = (x[0::2, 0::2] + x[0::2, 1::2] + x[1::2, 0::2] + x[1::2, 1::2]) / 4
    return mean


def _means(a: Plane, b: Plane, peak: int) -> tuple[float, float]:
    """Means of SSIM, and of its contrast and structure part alone, over all positions of the window."""
    c1, c2 = (_K1 * peak) ** 2, (_K2 * peak) ** 2
    rows, columns = a.shape[0] - WINDOW + 1, a.shape[1] - WINDOW + 1
    step = max(WINDOW, _BLOCK_SAMPLES // a.shape[1])
    whole = part = 0.0
    for top in range(0, rows, step):
        at = slice(top, min(top + step, rows) + WINDOW - 1)
        x, y = a[at].astype(np.float64), b[at].astype(np.float64)
        mean_x, mean_y = _blurred(x), _blurred(y)
        squares, product = mean_x * mean_x + mean_y * mean_y, mean_x * mean_y
        # var(x) + var(y) is all that is needed of the variances.
        variances = _blurred(x * x + y * y) - squares
        covariance = _blurred(x * y) - product
        structure = (2 * covariance + c2) / (variances + c2)
        part += float(structure.sum())
        whole += float((structure * (2 * product + c1) / (squares + c1)).sum())
    return whole / (rows * columns), part / (rows * columns)


def _gaussian() -> tuple[float, ...]:
    half = [math.exp(-0.5 * (k / _SIGMA) ** 2) for k in range(WINDOW // 2 + 1)]
    total = half[0] + 2 * sum(half[1:])
    return tuple(value / total for value in half)


_TAPS = _gaussian()  # from the middle outwards


def _blurred(x: Samples) -> Samples:
    """The Gaussian mean at every position where the window lies inside."""
    reach = WINDOW // 2
    rows, columns = x.shape[0] - 2 * reach, x.shape[1] - 2 * reach
    down = _TAPS[0] * x[reach : reach + rows]
    for k in range(1, reach + 1):
        down += _TAPS[k] * (x[reach - k : reach - k + rows] + x[reach + k : reach + k + rows])
    out: Samples = _TAPS[0] * down[:, reach : reach + columns]
    for k in range(1, reach + 1):
        out += _TAPS[k] * (down[:, reach - k : reach - k + columns] + down[:, reach + k : reach + k + columns])
    return out
