"""Figures of an evaluation: rate-distortion curves, and the gain of each picture. matplotlib is the extra [plot]."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import BinaryIO, Literal

from nnpf.errors import NnpfError
from nnpf.rate_distortion import RatePoint

Kind = Literal["png", "svg", "pdf"]

# Of a pair of curves; they stay apart in grey and for the colour-blind.
_ANCHOR, _TEST = "tab:gray", "tab:blue"
_PANEL_INCHES = 4.2
# Ratio of rates from which a logarithmic axis has room for its marks.
_LOG_FROM = 4


@dataclass(frozen=True, slots=True)
class CurvePair:
    """One panel: the streams with and without the filter. `title`: what the quality is, with its unit."""

    title: str
    anchor: Sequence[RatePoint]
    test: Sequence[RatePoint]


@dataclass(frozen=True, slots=True)
class GainLine:
    """Luma PSNR gain of each picture of one stream, in output order; dB."""

    label: str
    values: Sequence[float]


def draw(file: BinaryIO, kind: Kind, curves: Sequence[CurvePair], gains: Sequence[GainLine], rate_unit: str) -> None:
    """Write the figure: a row of curves, and below it the gains; a row without content is left out.

    Raises:
        ImportError: matplotlib is not installed.
        NnpfError: there is nothing to draw.
    """
    if not curves and not gains:
        raise NnpfError("nothing to draw: neither rates nor decoded pictures to compare with")
    from matplotlib.figure import Figure

    rows = bool(curves) + bool(gains)
    columns = max(1, len(curves))
    width = _PANEL_INCHES * max(2, columns)
    figure = Figure(figsize=(width, 3.6 * rows), layout="constrained")
    grid = figure.add_gridspec(rows, columns)
    for at, pair in enumerate(curves):
        axes = figure.add_subplot(grid[0, at])
        for name, points, colour, marker in (
            ("decoded", pair.anchor, _ANCHOR, "o"),
            ("filtered, messages counted", pair.test, _TEST, "s"),
        ):
            ordered = sorted(points, key=lambda p: p.rate)
            axes.plot([p.rate for p in ordered], [p.quality for p in ordered], color=colour, marker=marker, label=name)
        rates = [point.rate for point in (*pair.anchor, *pair.test)]
        if max(rates) >= _LOG_FROM * min(rates):
            axes.set_xscale("log")
        axes.set_xlabel(rate_unit)
        axes.set_title(pair.title)
        axes.grid(True, which="both", alpha=0.3)
        if at == 0:
            axes.legend()
    if gains:
        axes = figure.add_subplot(grid[rows - 1, :])
        for line in gains:
            axes.plot(range(len(line.values)), line.values, marker=".", label=line.label)
        axes.axhline(0, color="black", linewidth=0.8)
        axes.set_xlabel("picture, in output order")
        axes.set_title("gain of luma PSNR, dB")
        axes.grid(True, alpha=0.3)
        axes.legend(loc="center left", bbox_to_anchor=(1, 0.5))  # beside the lines, not on them
    figure.savefig(file, format=kind, dpi=120)
