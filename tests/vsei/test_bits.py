"""Bits in and out, with bitstring as the oracle."""

import pytest
from bitstring import BitArray
from hypothesis import given
from hypothesis import strategies as st

from vsei.bits import BitReader, BitWriter
from vsei.errors import VseiError

CODES = st.one_of(
    st.tuples(st.just("u"), st.integers(1, 70)).flatmap(
        lambda c: st.tuples(st.just("u"), st.just(c[1]), st.integers(0, 2 ** c[1] - 1))
    ),
    st.tuples(st.just("ue"), st.just(0), st.integers(0, 2**32 - 2)),
    st.tuples(st.just("se"), st.just(0), st.integers(-(2**31) + 1, 2**31 - 1)),
)


@given(st.lists(CODES, max_size=60))
def test_writing_agrees_with_bitstring_and_reads_back(codes):
    writer, oracle = BitWriter(), BitArray()
    for kind, n, value in codes:
        if kind == "u":
            writer.u(n, value)
            oracle += BitArray(uint=value, length=n)
        else:
            getattr(writer, kind)(value)
            oracle += BitArray(**{kind: value})
    assert writer.pos == len(oracle)
    padding = -writer.pos % 8
    writer.u(padding, 0)
    data = writer.bytes()
    assert data == oracle.tobytes()

    reader = BitReader(data)
    for kind, n, value in codes:
        assert (reader.u(n) if kind == "u" else getattr(reader, kind)()) == value
    assert reader.remaining == padding


@given(st.binary(max_size=12), st.integers(0, 20))
def test_any_bits_end_in_a_value_or_a_clear_error(data, skip):
    reader = BitReader(data)
    try:
        reader.u(skip)
        while True:
            before = reader.pos
            reader.ue()
            assert before < reader.pos <= reader.end
    except VseiError as error:
        assert error.bit is not None
        assert "\n" not in str(error)


def test_ue_with_too_many_leading_zeros_is_refused_at_its_position():
    reader = BitReader(b"\x80" + bytes(100) + b"\xff", pos=1)
    with pytest.raises(VseiError, match=r"bit 1: ue\(v\) with more than 32 leading zero bits"):
        reader.ue()


@pytest.mark.parametrize(("n", "value"), [(3, 8), (1, -1), (0, 1)])
def test_values_that_do_not_fit_are_refused(n, value):
    with pytest.raises(VseiError, match="does not fit"):
        BitWriter().u(n, value)


@given(st.binary(max_size=20))
def test_last_one_bit(data):
    bits = BitArray.from_bytes(data).bin
    assert BitReader(data).last_one_bit() == bits.rfind("1")
