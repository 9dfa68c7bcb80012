"""Patch sizes: the one that a receiver takes, and those that a message leaves free."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from nnpf.errors import NnpfError
from nnpf.frames import Format
from nnpf.patch_sizes import choose_deltas, choose_patch, smallest_delta
from nnpf.tensors import PatchProcess


def formats(width: int = 16, height: int = 8) -> dict[str, Any]:
    return {"inp": Format(width, height), "out": Format(width, height)}


def computed(process: PatchProcess, deltas: tuple[int, int]) -> int:
    """Positions that a network sees, of a picture in the best patches that these deltas leave free."""
    free = replace(process, patch_height=deltas[0], patch_width=deltas[1])
    patch = choose_patch(free, max_positions=1 << 40)
    count, margin = 1, 2 * process.overlap
    for length, unit, size in zip((process.inp.height, process.inp.width), process.inp_unit, patch, strict=True):
        units = -(-length // unit)
        count *= -(-units // size) * (size + margin)
    return count


@given(
    st.integers(1, 40),
    st.integers(1, 40),
    st.integers(0, 3),
    st.integers(0, 6),
    st.integers(1, 9),
    st.integers(1, 2000),
    st.none() | st.integers(1, 2000),
)
def test_a_free_patch_size_is_legal_and_covers(
    w: int, h: int, order: int, overlap: int, delta: int, room: int, cache: int | None
) -> None:
    form = Format(2 * w, 2 * h, 1)
    process = PatchProcess(
        inp=form,
        out=form,
        inp_order_idc=order,
        out_order_idc=order,
        overlap=overlap,
        patch_width=delta,
        patch_height=delta,
    )
    try:
        rows, columns = choose_patch(process, max_positions=room, cache_positions=cache)
    except NnpfError:
        assume(False)
    for size, length in ((rows, form.height), (columns, form.width)):
        assert 1 <= size <= length
        assert (size + 2 * overlap) % (delta + 2 * overlap) == 0
    assert (rows + 2 * overlap) * (columns + 2 * overlap) <= room


def test_a_free_patch_size_follows_memory_and_the_network() -> None:
    process = PatchProcess(**formats(416, 240), overlap=4)
    # Sizes are 9 k - 8. Neither 416 nor 240 is one; two patches of 208 and two of 127 compute least.
    assert choose_patch(process, max_positions=10**6) == (127, 208)
    rows, columns = choose_patch(process, max_positions=5000)
    assert (rows + 8) * (columns + 8) <= 5000
    assert choose_patch(process, max_positions=10**6, fixed=(72, 72)) == (64, 64)
    with pytest.raises(NnpfError, match="no patch height is legal"):
        choose_patch(process, max_positions=10**6, fixed=(71, 72))
    with pytest.raises(NnpfError, match="larger than memory allows"):
        choose_patch(process, max_positions=80)


def test_a_free_patch_size_weighs_the_cache_against_what_overlaps_cost() -> None:
    def chosen(overlap: int, cache: int | None) -> tuple[int, int]:
        process = PatchProcess(**formats(1920, 1080), overlap=overlap)
        return choose_patch(process, max_positions=10**7, cache_positions=cache)

    assert chosen(0, None) == chosen(0, 10**7) == (1080, 1920)
    # Where nothing is computed twice, patches fit the cache, and are wide.
    assert chosen(0, 64 * 1920) == (60, 1920)
    rows, columns = chosen(8, 100_000)
    assert (rows + 16) * (columns + 16) < 150_000
    # With large overlaps small patches would compute much twice.
    rows, columns = chosen(60, 100_000)
    assert (rows + 120) * (columns + 120) > 200_000


def test_a_constant_patch_must_suit_the_network() -> None:
    process = PatchProcess(**formats(), overlap=4, constant_patch_size=True, patch_width=64, patch_height=64)
    assert choose_patch(process, max_positions=1, fixed=(72, 72)) == (64, 64)
    with pytest.raises(NnpfError, match="takes 64 rows or columns, patch and overlap make 72"):
        choose_patch(process, max_positions=1, fixed=(64, 64))


def test_deltas_let_a_picture_be_one_patch() -> None:
    """With a delta of 1 and an overlap of 8, sizes are 17 k - 16: 222 for 208 columns, 18 for the 14 of a tiny one."""
    quads = {"inp_order_idc": 3, "out_order_idc": 3}
    process = PatchProcess(**formats(416, 240), **quads, overlap=8)
    assert choose_deltas(process, (1, 1)) == (1, 9)  # 25 k - 16: 209, and 59 and 109 for those who want smaller ones
    assert computed(process, (1, 1)) == (120 + 16) * (222 + 16)
    assert computed(process, (1, 9)) == (120 + 16) * (209 + 16)
    # Luma and chroma together: no patch is as large as the picture, and two are far too large.
    process = PatchProcess(**formats(416, 240), overlap=12)
    assert computed(process, (1, 1)) == 150_000
    assert computed(process, choose_deltas(process, (1, 1))) == (240 + 24) * (416 + 24)
    # Without an overlap all sizes are free.
    assert choose_deltas(PatchProcess(**formats(1920, 1080)), (1, 1)) == (1, 1)


def test_deltas_follow_the_network_and_the_ratio_of_sizes() -> None:
    process = PatchProcess(**formats(1920, 1080))
    assert choose_deltas(process, (16, 8)) == (16, 8)
    process = PatchProcess(inp=Format(1920, 1080), out=Format(2880, 1620), overlap=5)
    for delta, stride in zip(choose_deltas(process, (4, 1)), (4, 1), strict=True):
        assert (delta + 10) % stride == 0
    # No multiple of 64 is a patch of these: what the network takes is said, and a rule says what is wrong.
    assert choose_deltas(PatchProcess(**formats(40, 40)), (64, 64)) == (64, 64)


@given(
    width=st.integers(8, 500),
    height=st.integers(8, 300),
    order=st.sampled_from([0, 1, 2, 3]),
    overlap=st.integers(0, 20),
    strides=st.tuples(st.integers(1, 8), st.integers(1, 8)),
)
@example(width=416, height=240, order=3, overlap=8, strides=(1, 1))
def test_deltas_are_legal_and_no_worse_than_the_least(
    width: int, height: int, order: int, overlap: int, strides: tuple[int, int]
) -> None:
    form = Format(2 * width, 2 * height, 1)
    process = PatchProcess(inp=form, out=form, inp_order_idc=order, out_order_idc=order, overlap=overlap)
    deltas = choose_deltas(process, strides)
    for delta, stride, length in zip(deltas, strides, (form.height, form.width), strict=True):
        assert 1 <= delta <= length
        assert (delta + 2 * overlap) % stride == 0
    first = (smallest_delta(overlap, strides[0]), smallest_delta(overlap, strides[1]))
    assert computed(process, deltas) <= 1.5 * computed(process, first)
