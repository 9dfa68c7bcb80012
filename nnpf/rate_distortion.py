"""Rate-distortion curves and the Bjontegaard delta between them, as JVET-T2010 asks for (piecewise cubic, pchip).

The delta is that of the library `bjontegaard` (the extra [eval]). Before it is asked, the points are checked: what it
would compute all the same, but would mean nothing, is not computed, and the reason is given instead.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

# JVET-T2010 defines the delta for four points and more.
MIN_POINTS = 4
# Of the range that both curves span, the part that they share. Below this the delta says little of the whole range; it
# is also where the library starts to warn.
MIN_OVERLAP = 0.75


@dataclass(frozen=True, slots=True)
class RatePoint:
    """One stream of a curve.

    Attributes:
        label: what a report calls it.
        rate: in any unit, the same for all points.
        quality: PSNR in dB, or any other measure that grows with the quality.
    """

    label: str
    rate: float
    quality: float


@dataclass(frozen=True, slots=True)
class Delta:
    """What the test saves against the anchor.

    Attributes:
        rate_percent: BD-rate; below 0 the test needs fewer bits for the same quality. None: see `problems`.
        quality: BD-PSNR, or the like in the unit of the quality; above 0 the test is better at the same rate.
        problems: why a figure is not there.
        notes: what to know of figures that are there.
    """

    rate_percent: float | None
    quality: float | None
    problems: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def bjontegaard_delta(anchor: Sequence[RatePoint], test: Sequence[RatePoint], *, unit: str = "dB") -> Delta:
    """BD-rate and BD-PSNR of two curves.

    Args:
        unit: of the quality, for the messages.
    """
    problems = _point_problems(anchor, test, unit)
    if problems:
        return Delta(None, None, tuple(problems))
    try:
        # The library imports matplotlib and scipy: seconds.
        from bjontegaard import bd_psnr, bd_rate  # type: ignore[import-untyped,import-not-found,unused-ignore]
    except ImportError as error:
        return Delta(None, None, (f"needs {error.name or 'bjontegaard'}: pip install 'nnpf[eval]'",))
    one, other = (sorted(points, key=lambda p: p.rate) for points in (anchor, test))
    rates = [[p.rate for p in points] for points in (one, other)]
    qualities = [[p.quality for p in points] for points in (one, other)]
    notes: list[str] = []
    deltas: list[float | None] = []
    for compute, name, base in (
        (bd_rate, unit, qualities),
        (bd_psnr, "rate", [[math.log10(rate) for rate in curve] for curve in rates]),
    ):
        shared = _overlap(base[0], base[1])
        if shared == 0:
            problems.append(f"the curves share no range of {name}")
            deltas.append(None)
            continue
        if shared < MIN_OVERLAP:
            notes.append(f"the curves share only {100 * shared:.0f} % of their range of {name}")
        # min_overlap 0: the overlap was looked at above.
        value = compute(rates[0], qualities[0], rates[1], qualities[1], method="pchip", min_overlap=0)
        deltas.append(float(value))
    return Delta(deltas[0], deltas[1], tuple(problems), tuple(notes))


def _point_problems(anchor: Sequence[RatePoint], test: Sequence[RatePoint], unit: str) -> list[str]:
    if len(anchor) != len(test):
        return [f"{len(anchor)} rate points against {len(test)}"]
    if len(anchor) < MIN_POINTS:
        return [f"{len(anchor)} rate points; {MIN_POINTS} are needed"]
    problems = []
    for name, points in (("anchor", anchor), ("test", test)):
        wrong = [p.label for p in points if not (math.isfinite(p.quality) and math.isfinite(p.rate) and p.rate > 0)]
        if wrong:
            problems.append(f"{name}: no finite value at {', '.join(wrong)}")
            continue
        ordered = sorted(points, key=lambda p: p.rate)
        for low, high in itertools.pairwise(ordered):
            if low.rate == high.rate:
                problems.append(f"{name}: {low.label} and {high.label} have the same rate")
            elif low.quality >= high.quality:
                problems.append(
                    f"{name} is not monotonic: {high.label} has more bits than {low.label} and not more {unit}"
                )
    return problems


def _overlap(one: Sequence[float], other: Sequence[float]) -> float:
    """The range that both cover, as a part of the range that either covers."""
    shared = min(max(one), max(other)) - max(min(one), min(other))
    return max(0.0, shared) / (max(*one, *other) - min(*one, *other))


def windows(count: int) -> list[slice]:
    """Which points a delta is given for: all, and where there are more than MIN_POINTS, every run of MIN_POINTS (with
    QP 22, 27, 32, 37, 42: 22 to 37 and 27 to 42)."""
    runs = [slice(at, at + MIN_POINTS) for at in range(count - MIN_POINTS + 1)] if count > MIN_POINTS else []
    return [*runs, slice(0, count)]
