"""The Bjontegaard delta: figures that follow from the definition, and points that allow none."""

import math
import re
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nnpf.rate_distortion import RatePoint, bjontegaard_delta, windows

ANCHOR = [(900.0, 40.1), (470.0, 37.0), (260.0, 34.0), (139.0, 31.0), (70.0, 28.2)]


def points(pairs):
    return [RatePoint(f"q{at}", rate, quality) for at, (rate, quality) in enumerate(pairs)]


def test_ten_percent_fewer_bits_at_the_same_quality():
    delta = bjontegaard_delta(points(ANCHOR), points([(0.9 * r, q) for r, q in ANCHOR]))
    assert delta.rate_percent == pytest.approx(-10)
    assert delta.problems == delta.notes == ()


def test_one_decibel_more_at_the_same_rate():
    delta = bjontegaard_delta(points(ANCHOR), points([(r, q + 1) for r, q in ANCHOR]))
    assert delta.quality == pytest.approx(1)


def test_curves_of_another_shape_as_by_integration():
    """The mean distance of two pchip curves over the range that they share, by plain summation."""
    from scipy.interpolate import PchipInterpolator

    test = [(905.0, 40.3), (474.0, 37.4), (263.0, 34.2), (141.0, 31.1), (71.5, 28.1)]
    delta = bjontegaard_delta(points(ANCHOR), points(test))
    (r0, q0), (r1, q1) = (np.array(sorted(curve)).T for curve in (ANCHOR, test))
    q = np.linspace(28.2, 40.1, 200_001)
    mean = np.mean(PchipInterpolator(q1, np.log(r1))(q) - PchipInterpolator(q0, np.log(r0))(q))
    assert delta.rate_percent == pytest.approx(100 * math.expm1(mean), abs=1e-4)
    r = np.linspace(math.log(71.5), math.log(900), 200_001)
    gain = np.mean(PchipInterpolator(np.log(r1), q1)(r) - PchipInterpolator(np.log(r0), q0)(r))
    assert delta.quality == pytest.approx(gain, abs=1e-5)


@settings(deadline=None, max_examples=30)
@given(
    st.lists(st.floats(0.05, 3), min_size=4, max_size=8),
    st.lists(st.floats(0.05, 5), min_size=8, max_size=8),
    st.floats(0.2, 3),
    st.randoms(use_true_random=False),
)
def test_a_common_factor_is_the_delta_for_any_curve_in_any_order(rate_steps, quality_steps, factor, random):
    rates = np.exp(np.cumsum(rate_steps))
    qualities = 25 + np.cumsum(quality_steps[: len(rates)])
    curve = list(zip(rates.tolist(), qualities.tolist(), strict=True))
    anchor, test = points(curve), points([(factor * r, q) for r, q in curve])
    random.shuffle(anchor)
    random.shuffle(test)
    assert bjontegaard_delta(anchor, test).rate_percent == pytest.approx(100 * (factor - 1), abs=1e-6)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda test: test[:4], "5 rate points against 4"),
        (lambda test: [*test[:4], (test[4][0], math.inf)], "test: no finite value at q4"),
        (lambda test: [*test[:4], (0.0, 20.0)], "test: no finite value at q4"),
        (lambda test: [*test[:4], (test[3][0], 20.0)], "test: .* have the same rate"),
        (lambda test: [(r, q - 5 * (r > 800)) for r, q in test], "not monotonic: q0 has more bits than q1"),
        (lambda test: [(r, q + 100) for r, q in test], "share no range of dB"),
    ],
)
def test_what_would_mean_nothing_is_not_computed(change, problem):
    delta = bjontegaard_delta(points(ANCHOR), points(change(ANCHOR)))
    assert delta.rate_percent is None
    assert len(delta.problems) == 1
    assert re.search(problem, delta.problems[0])


def test_three_points_are_too_few():
    delta = bjontegaard_delta(points(ANCHOR[:3]), points(ANCHOR[:3]))
    assert (delta.rate_percent, delta.quality, delta.problems) == (None, None, ("3 rate points; 4 are needed",))


def test_little_overlap_is_said():
    delta = bjontegaard_delta(points(ANCHOR), points([(r, q + 6) for r, q in ANCHOR]))
    assert delta.rate_percent is not None
    assert delta.notes == ("the curves share only 33 % of their range of dB",)


def test_no_library_no_figure(monkeypatch):
    monkeypatch.setitem(sys.modules, "bjontegaard", None)
    delta = bjontegaard_delta(points(ANCHOR), points(ANCHOR))
    assert delta.rate_percent is None
    assert delta.problems == ("needs bjontegaard: pip install 'nnpf[eval]'",)


def test_windows_of_four():
    assert windows(4) == [slice(0, 4)]
    assert windows(5) == [slice(0, 4), slice(1, 5), slice(0, 5)]
    assert windows(2) == [slice(0, 2)]
