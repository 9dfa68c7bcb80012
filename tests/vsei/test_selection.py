"""Pictures by time."""

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vsei import selection
from vsei.errors import VseiError
from vsei.selection import Selection, at_times

# In output order: shown at 0, 0.04, 0.08 and 0.2 s; the middle ones are decoded last.
SHOWN = [(Fraction(0), 0), (Fraction(4, 100), 2), (Fraction(8, 100), 3), (Fraction(20, 100), 1)]


@pytest.mark.parametrize(
    ("text", "indices"),
    [
        ("time:0", {0}),
        ("time:0.039", {0}),
        ("time:0.04", {2}),
        ("time:0.1", {3}),  # on screen until the next one comes
        ("time:99", {1}),
        ("time:0.05-0.08", {2, 3}),
        ("time:0.05-0.07", {2}),
        ("time:0,0.2", {0, 1}),
        ("time:-1-0.01", {0}),
    ],
)
def test_what_is_on_screen(text, indices):
    chosen = at_times(selection.parse(text), SHOWN)
    assert chosen.kind == "decode"
    assert {low for low, _ in chosen.ranges} == indices


def test_before_the_first_picture_there_is_none():
    for text in ("time:-0.1", "time:-2-1"):
        later = [(seconds + 5, index) for seconds, index in SHOWN]
        with pytest.raises(VseiError, match=f"the stream has no picture {text}"):
            at_times(selection.parse(text), later)


@pytest.mark.parametrize("text", ["time:", "time:soon", "time:1..2", "time:1-", "time:1e3"])
def test_what_is_no_time(text):
    with pytest.raises(VseiError, match="does not name pictures"):
        selection.parse(text)


def test_a_span_that_ends_before_it_begins():
    with pytest.raises(VseiError, match="'3-1' in 'time:0,3-1' is no time span"):
        selection.parse("time:0,3-1")


@given(st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 10**6)), min_size=1, max_size=4))
def test_text_and_back(spans):
    times = tuple((Fraction(a, 1000), Fraction(a + b, 1000)) for a, b in spans)
    text = str(Selection("time", spans=times))
    assert [float(v) for s in selection.parse(text).spans for v in s] == pytest.approx(
        [float(v) for s in times for v in s], rel=1e-5
    )
