"""What a byte is worth: decibels, by the slope of the clip's rate-distortion curve."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from nnpf.errors import NnpfError

# dB of 6:1:1 PSNR for each factor e of rate, by the mean SliceQpY of the pictures: mean over eight clips of 416x240
# coded by VVenC at five QPs (random access). `slope_of` measures it for a clip that is there at several rates.
_DEFAULT_SLOPES: Final = ((28.0, 5.0), (34.4, 4.7), (39.7, 4.0), (44.8, 3.5), (49.8, 3.3))
# By how much the curve of luma PSNR alone was steeper, there.
_LUMA_STEEPER: Final = 0.36


@dataclass(frozen=True, slots=True)
class Price:
    """The price of an update's bytes.

    Attributes:
        slope: dB of 6:1:1 PSNR for each factor e of rate.
        stream_bytes: of the coded pictures that the update serves.
        copies: how many times it is sent for them.
    """

    slope: float
    stream_bytes: float
    copies: int

    def cost(self, message_bytes: float) -> float:
        """dB that the stream would gain, were it given these bytes instead."""
        return self.slope * math.log1p(self.copies * message_bytes / self.stream_bytes)

    def luma_cost(self, message_bytes: float) -> float:
        """The same for the PSNR of luma alone."""
        return (1 + _LUMA_STEEPER / self.slope) * self.cost(message_bytes)

    @property
    def per_byte(self) -> float:
        """dB for the first byte."""
        return self.slope * self.copies / self.stream_bytes


def default_slope(mean_slice_qp: float) -> float:
    """dB for each factor e of rate, where the clip is known at one rate only."""
    qps, slopes = zip(*_DEFAULT_SLOPES, strict=True)
    return float(np.interp(mean_slice_qp, qps, slopes))


def slope_of(points: Sequence[tuple[float, float]], stream_bytes: float) -> float:
    """The slope at a rate, from several (bytes, 6:1:1 PSNR) of the same clip.

    Raises:
        NnpfError: fewer than two rates, or the quality does not rise with the rate.
    """
    ordered = sorted(set(points))
    if len(ordered) < 2:
        raise NnpfError("a slope takes at least two rate points")
    pairs = list(itertools.pairwise(ordered))
    if any(a[0] == b[0] or b[1] <= a[1] for a, b in pairs):
        raise NnpfError("the rate points do not rise: more bytes must mean a higher PSNR")
    centres = [math.log(a[0] * b[0]) / 2 for a, b in pairs]
    slopes = [(b[1] - a[1]) / math.log(b[0] / a[0]) for a, b in pairs]
    return float(np.interp(math.log(stream_bytes), centres, slopes))
