"""Damaged and hostile payloads: a result or one clear error, in bounded time and memory."""

import time
import tracemalloc

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nnpf import nnc
from nnpf.nnc.syntax import CompressedDataUnit, ModelParameterSet, StreamParameters, Topology, UnitType
from nnpf.nnc.units import Start, Unit, read_units, write_unit
from tests.nnc.vectors import own_payloads

PAYLOADS = own_payloads()
SINGLE = sorted(p for name, p in PAYLOADS.items() if not name.startswith("update_"))


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """One of our streams with bits flipped, bytes cut out, put in or replaced."""
    data = bytearray(draw(st.sampled_from(SINGLE)))
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(data)))
        kind = draw(st.sampled_from(["flip", "cut", "insert", "end"]))
        if kind == "flip" and at < len(data):
            data[at] ^= 1 << draw(st.integers(0, 7))
        elif kind == "cut":
            del data[at : at + draw(st.integers(1, 30))]
        elif kind == "insert":
            data[at:at] = draw(st.binary(min_size=1, max_size=8))
        elif kind == "end":
            del data[at:]
    return bytes(data)


def attempt(data: bytes) -> None:
    try:
        tensors = nnc.decode(data, threads=1)
    except nnc.NncError as error:
        assert str(error)
        assert error.problem
    else:
        for value in tensors.values():
            assert np.isfinite(value).all()


@settings(max_examples=600, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(damaged())
def test_damage_ends_in_a_result_or_one_error(data: bytes) -> None:
    attempt(data)


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=200))
def test_any_bytes_end_in_a_result_or_one_error(data: bytes) -> None:
    attempt(data)
    attempt(SINGLE[0][:12] + data)


def test_most_flipped_bits_of_a_payload_are_seen() -> None:
    """No checksum, but a codeword has a terminate bin, a stop bit and a length."""
    data = PAYLOADS["default"]
    unit = max(read_units(data), key=lambda u: len(u.payload))
    seen = 0
    bits = range(8 * unit.payload_offset, 8 * (unit.payload_offset + len(unit.payload)))
    for bit in bits:
        changed = bytearray(data)
        changed[bit >> 3] ^= 128 >> (bit & 7)
        try:
            nnc.decode(bytes(changed), threads=1)
        except nnc.NncError:
            seen += 1
    assert seen > 0.95 * len(bits)


def test_an_error_says_where() -> None:
    data = bytearray(PAYLOADS["default"])
    units = list(read_units(bytes(data)))
    last = units[-2]
    data[last.payload_offset + len(last.payload) // 2] ^= 0x55
    with pytest.raises(nnc.NncError) as error:
        nnc.decode(bytes(data))
    assert error.value.offset == last.offset
    assert error.value.unit == f"unit {len(units) - 2} NNR_NDU {last.names[0]!r}"
    assert str(error.value).startswith(f"offset {last.offset}: unit {len(units) - 2} NNR_NDU")


def claiming(shape: tuple[int, ...], payload: bytes, **more: int) -> bytes:
    """A payload whose one tensor says that it has this shape."""
    header = CompressedDataUnit(topology_elem_ids=("w",), tensor_dimensions=shape, **more)  # type: ignore[arg-type]
    units = [
        Unit(UnitType.NNR_STR, header=Start()),
        Unit(UnitType.NNR_MPS, header=ModelParameterSet()),
        Unit(UnitType.NNR_TPL, header=Topology()),
        Unit(UnitType.NNR_NDU, header=header, payload=payload),
    ]
    return b"".join(write_unit(u, StreamParameters()) for u in units)


@pytest.mark.parametrize(
    "shape", [(1 << 40,), (1 << 20, 1 << 20), (1 << 62, 1 << 62), (0, 5), (), (1,) * 33, (3000, 3000)]
)
def test_claimed_sizes_are_checked_before_memory_is_taken(shape: tuple[int, ...]) -> None:
    data = claiming(shape, b"\xff\xff\xff\xff")
    tracemalloc.start()
    try:
        attempt(data)
        assert tracemalloc.get_traced_memory()[1] < 64 << 20
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("payload", [b"", b"\x00" * 64, b"\xff" * 64])
def test_time_is_bounded_by_the_payload(payload: bytes) -> None:
    """Behind its end a codeword goes on with zeros, and cheap bins could go on for ever."""
    attempt(claiming((1000,), b"\x00" * 8))  # machine code is loaded
    start = time.monotonic()
    attempt(claiming((4, 1 << 22), payload))
    attempt(claiming((1 << 22, 4), payload))
    assert time.monotonic() - start < 2


def test_a_repeated_name_is_an_error() -> None:
    units = [write_unit(u, StreamParameters()) for u in read_units(PAYLOADS["default"])]
    with pytest.raises(nnc.NncError, match="a second tensor"):
        nnc.decode(b"".join([*units, units[-1]]))


def test_a_second_model_is_an_error() -> None:
    with pytest.raises(nnc.NncError, match="a second model"):
        nnc.decode(PAYLOADS["default"] * 2)


@pytest.mark.parametrize("data", [b"", b"\x00", b"\x00\x04", b"\x00\x00\x00\x00"])
def test_short_payloads(data: bytes) -> None:
    with pytest.raises(nnc.NncError):
        nnc.decode(data)


def test_a_payload_that_begins_with_something_else_is_an_error() -> None:
    with pytest.raises(nnc.NncError, match="first unit must be NNR_STR"):
        nnc.decode(PAYLOADS["default"][4:])
