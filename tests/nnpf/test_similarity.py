"""SSIM and MS-SSIM against other implementations, and at the edges."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nnpf.errors import NnpfError
from nnpf.frames import Format, Frame
from nnpf.similarity import MIN_MS_SSIM_SIDE, Similarity, ms_ssim, similarity, ssim
from tests.nnpf.test_metrics import flat


def pair(rows: int, columns: int, depth: int):
    """Two planes by formula: slopes, edges and texture, and the same with an error."""
    i, j = np.mgrid[0:rows, 0:columns]
    a = (2 * i + 3 * j + (i * j) // 7 + 40 * ((i // 9 + j // 13) % 3)) % 256
    b = np.clip(a + (7 * i * i + 13 * j) % 23 - 9, 0, 255)
    dtype = np.uint8 if depth == 8 else np.uint16
    low = (i + j) % (1 << (depth - 8))
    return (a << (depth - 8)).astype(dtype), ((b << (depth - 8)) + low).astype(dtype)


@pytest.mark.parametrize(
    ("rows", "columns", "depth", "expected"),
    [
        # skimage 0.26: structural_similarity(gaussian_weights=True, sigma=1.5, use_sample_covariance=False)
        (40, 64, 8, 0.9635781320447572),
        (33, 47, 10, 0.9581232856948949),
        (11, 11, 8, 0.8299083830924705),  # one position of the window
    ],
)
def test_ssim_is_that_of_scikit_image(rows, columns, depth, expected):
    a, b = pair(rows, columns, depth)
    assert ssim(a, b, (1 << depth) - 1) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize(
    ("rows", "columns", "depth", "expected", "expected_ssim"),
    [
        # pytorch-msssim 1.0.0 on float64; it makes its window in float32
        (176, 192, 8, 0.9990796338379667, 0.9887904684114877),
        (240, 272, 10, 0.9990396249389153, 0.9917715826328619),
    ],
)
def test_ms_ssim_is_that_of_pytorch_msssim(rows, columns, depth, expected, expected_ssim):
    a, b = pair(rows, columns, depth)
    assert ms_ssim(a, b, (1 << depth) - 1) == pytest.approx(expected, abs=1e-7)
    assert ssim(a, b, (1 << depth) - 1) == pytest.approx(expected_ssim, abs=1e-7)


def test_odd_sides_are_halved_upwards():
    """A picture with its last row and column twice has the same coarser scales as one without."""
    a, b = pair(175, 191, 8)
    even = [np.pad(plane, ((0, 1), (0, 1)), mode="edge") for plane in (a, b)]
    assert ms_ssim(a, b, 255) == pytest.approx(ms_ssim(*even, 255), abs=2e-5)  # all but the finest scale is the same


def test_planes_of_opposites_have_no_ms_ssim_below_0():
    a, _ = pair(176, 176, 8)
    assert ssim(a, 255 - a, 255) < 0
    assert ms_ssim(a, 255 - a, 255) == 0


@settings(deadline=None, max_examples=20)
@given(st.integers(11, 40), st.integers(11, 40), st.integers(0, 2**32 - 1))
def test_ssim_is_symmetric_and_1_for_the_same_only(rows, columns, seed):
    a, b = np.random.default_rng(seed).integers(0, 256, (2, rows, columns), np.uint8)
    assert ssim(a, a, 255) == pytest.approx(1, abs=1e-12)
    assert ssim(a, b, 255) == pytest.approx(ssim(b, a, 255), abs=1e-12)
    assert -1 <= ssim(a, b, 255) < 1


def test_a_small_component_has_no_ms_ssim_and_a_tiny_one_none_at_all():
    form = Format(MIN_MS_SSIM_SIDE + 1, 240)
    result = similarity(flat(100, form), flat(100, form))
    assert result.ssim == pytest.approx((1, 1, 1))
    assert result.ms_ssim[0] == pytest.approx(1)
    assert result.ms_ssim[1:] == (None, None)
    tiny = Format(20, 12)
    assert similarity(flat(100, tiny), flat(100, tiny)) == Similarity((1.0, None, None), (None, None, None))


def test_eight_bits_against_ten_are_times_four():
    a, b = pair(48, 64, 8)
    eight, ten = Format(64, 48, 0), Format(64, 48, 0, 10, 10)
    deep = Frame((b.astype(np.uint16) << 2,), ten)
    # L is 1023 then, not 4 * 255: the constants differ a little.
    assert similarity(Frame((a,), eight), deep).ssim[0] == pytest.approx(
        ssim(a.astype(np.uint16) << 2, b.astype(np.uint16) << 2, 1023), abs=1e-12
    )


def test_what_cannot_be_compared_is_an_error():
    with pytest.raises(NnpfError, match="too small for SSIM"):
        ssim(np.zeros((10, 50), np.uint8), np.zeros((10, 50), np.uint8), 255)
    with pytest.raises(NnpfError, match="needs 161 a side"):
        ms_ssim(np.zeros((160, 200), np.uint8), np.zeros((160, 200), np.uint8), 255)
    with pytest.raises(NnpfError, match="cannot be compared"):
        ssim(np.zeros((20, 20), np.uint8), np.zeros((20, 21), np.uint8), 255)
    with pytest.raises(NnpfError, match="cannot be compared"):
        similarity(flat(0, Format(16, 16)), flat(0, Format(16, 16, 3)))
