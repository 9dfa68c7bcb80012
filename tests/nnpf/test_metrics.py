"""PSNR by the JVET conventions."""

import math

import numpy as np
import pytest

from nnpf.errors import NnpfError
from nnpf.frames import Format, Frame
from nnpf.metrics import average, compare, psnr


def flat(value: int, form: Format) -> Frame:
    return Frame(
        tuple(
            np.full(shape, value, np.uint8 if depth == 8 else np.uint16)
            for shape, depth in zip(form.shapes, form.bit_depths, strict=True)
        ),
        form,
    )


def test_psnr_of_a_constant_error() -> None:
    form = Format(8, 6)
    difference = compare(flat(100, form), flat(103, form))
    assert difference.mse == (9.0, 9.0, 9.0)
    assert difference.largest == (3, 3, 3)
    assert difference.psnr[0] == pytest.approx(10 * math.log10(255**2 / 9))


def test_eight_bits_against_ten_are_times_four() -> None:
    one, other = flat(100, Format(8, 6)), flat(402, Format(8, 6, 1, 10, 10))
    difference = compare(one, other)
    assert difference.mse == (4.0, 4.0, 4.0)
    assert difference.bit_depths == (10, 10, 10)
    # The peak is 1020, so that the same relative error has the same PSNR at any depth.
    assert difference.psnr[0] == pytest.approx(psnr(4 / 16, 8))


def test_the_mean_is_that_of_the_pictures() -> None:
    form = Format(4, 4, 0)
    items = [compare(flat(100, form), flat(100 + error, form)) for error in (1, 2, 0)]
    result = average(items)
    assert result.pictures == 3
    assert result.psnr[0] == pytest.approx((psnr(1, 8) + psnr(4, 8)) / 2)
    assert result.mse_psnr[0] == pytest.approx(psnr(5 / 3, 8))
    assert result.largest == (2,)
    assert average(items[2:]).psnr == (math.inf,)


def test_large_pictures_of_extreme_difference_do_not_overflow() -> None:
    form = Format(600, 700, 0, 16, 16)
    assert compare(flat(0, form), flat(65535, form)).mse == (65535.0**2,)


def test_pictures_of_other_sizes_are_not_compared() -> None:
    with pytest.raises(NnpfError, match="cannot be compared"):
        compare(flat(0, Format(4, 4)), flat(0, Format(4, 4, 3)))
    with pytest.raises(NnpfError, match="no picture"):
        average([])
