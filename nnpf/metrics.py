"""PSNR as JVET computes it: MSE per picture and component, peak 255 << (bit depth - 8)."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from nnpf.errors import NnpfError
from nnpf.frames import Frame, Plane

# Rows are compared in blocks that stay in the cache.
_BLOCK_SAMPLES = 1 << 16


@dataclass(frozen=True, slots=True)
class Difference:
    """Two pictures compared, component by component (Y, or Y, Cb, Cr), at the larger of the two bit depths.

    Attributes:
        mse: mean squared error.
        largest: largest absolute difference.
        mean: mean absolute difference.
        bit_depths: at which samples were compared.
    """

    mse: tuple[float, ...]
    largest: tuple[int, ...]
    mean: tuple[float, ...]
    bit_depths: tuple[int, ...]

    @property
    def psnr(self) -> tuple[float, ...]:
        """dB per component; infinite where all samples are the same."""
        return tuple(psnr(mse, depth) for mse, depth in zip(self.mse, self.bit_depths, strict=True))


def psnr(mse: float, bit_depth: int) -> float:
    """dB; the peak is 255 << (bit_depth - 8) as in the JVET common test conditions, not 2^bit_depth - 1."""
    peak = 255 << (bit_depth - 8)
    return math.inf if mse == 0 else 10 * math.log10(peak * peak / mse)


def combined(values: Sequence[float]) -> float | None:
    """6:1:1: (6 Y + Cb + Cr) / 8 of PSNR values, as in JVET-T2010; None without chroma."""
    if len(values) != 3:
        return None
    return (6 * values[0] + values[1] + values[2]) / 8


def compare(one: Frame, other: Frame) -> Difference:
    """Compare two pictures of the same size and chroma format.

    Where bit depths differ, the samples of the lower one are shifted up (8 against 10 bit: times 4).

    Raises:
        NnpfError: sizes or chroma formats differ.
    """
    if [p.shape for p in one.planes] != [p.shape for p in other.planes]:
        raise NnpfError(f"pictures of {one.format} and {other.format} cannot be compared")
    results = [
        _compare_planes(a, depth_a, b, depth_b)
        for a, depth_a, b, depth_b in zip(
            one.planes, one.format.bit_depths, other.planes, other.format.bit_depths, strict=True
        )
    ]
    return Difference(
        tuple(mse for mse, _, _ in results),
        tuple(largest for _, largest, _ in results),
        tuple(mean for _, _, mean in results),
        tuple(max(pair) for pair in zip(one.format.bit_depths, other.format.bit_depths, strict=True)),
    )


def _compare_planes(a: Plane, depth_a: int, b: Plane, depth_b: int) -> tuple[float, int, float]:
    depth = max(depth_a, depth_b)
    total, largest, magnitudes = 0, 0, 0
    rows = max(1, _BLOCK_SAMPLES // a.shape[1])
    for top in range(0, a.shape[0], rows):
        difference = a[top : top + rows].astype(np.int32) << (depth - depth_a)
        difference -= b[top : top + rows].astype(np.int32) << (depth - depth_b)
        magnitude = np.abs(difference)
        largest = max(largest, int(magnitude.max()))
        magnitudes += int(magnitude.sum(dtype=np.int64))
        # 2^16 squares of 2^16 stay below 2^63.
        flat = difference.reshape(-1).astype(np.int64)
        total += int(np.dot(flat, flat))
    return total / a.size, largest, magnitudes / a.size


@dataclass(frozen=True, slots=True)
class Average:
    """Over some pictures, by component.

    Attributes:
        psnr: mean of the pictures' PSNR values (what JVET tables report); pictures without any difference are left
            out, and it is infinite where there is none but those.
        mse_psnr: PSNR of the mean MSE.
        largest: largest absolute difference.
    """

    pictures: int
    psnr: tuple[float, ...]
    mse_psnr: tuple[float, ...]
    largest: tuple[int, ...]


def average(differences: Iterable[Difference]) -> Average:
    """Means over pictures. NnpfError when there is no picture, or components or bit depths change between them."""
    items = list(differences)
    if not items:
        raise NnpfError("no picture was compared")
    depths = items[0].bit_depths
    if any(item.bit_depths != depths for item in items):
        raise NnpfError("pictures of different formats have no common average")
    components = range(len(depths))
    return Average(
        len(items),
        tuple(_finite_mean([item.psnr[c] for item in items]) for c in components),
        tuple(psnr(sum(item.mse[c] for item in items) / len(items), depths[c]) for c in components),
        tuple(max(item.largest[c] for item in items) for c in components),
    )


def _finite_mean(values: Sequence[float]) -> float:
    finite = [value for value in values if math.isfinite(value)]
    return sum(finite) / len(finite) if finite else math.inf
