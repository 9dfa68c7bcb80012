"""Decoder configuration records: every byte kept, damage named."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vsei import configuration
from vsei.configuration import Array, Configuration
from vsei.errors import VseiError
from vsei.nal import Codec, Hevc, Vvc

NAL_UNIT = st.binary(min_size=2, max_size=40)
# profile, compatibility, level; lengths of 4 bytes
AVC_HEAD = bytes([1, 100, 0, 10, 0xFF])
HEVC_HEAD = bytes([1]) + bytes(20) + bytes([0xFF])


@st.composite
def vvc_heads(draw: st.DrawFn) -> bytes:
    """With and without profile, tier and level; sublayers, constraints, sub-profiles."""
    if not draw(st.booleans()):
        return b"\xfe"
    sublayers, constraints, profiles = (draw(st.integers(low, 7)) for low in (1, 1, 0))
    head = bytes([0xFF]) + (sublayers << 4 | 5).to_bytes(2, "big") + b"\x5f" + bytes([constraints])
    head += bytes([0x22, 0x80]) + bytes(constraints)
    if sublayers > 1:
        present = draw(st.integers(0, (1 << (sublayers - 1)) - 1))
        head += bytes([present << (9 - sublayers)]) + bytes(present.bit_count())
    return head + bytes([profiles]) + bytes(4 * profiles) + bytes(6)


@st.composite
def records(draw: st.DrawFn) -> Configuration:
    codec = draw(st.sampled_from(Codec))
    units = st.lists(NAL_UNIT, max_size=3).map(tuple)
    if codec is Codec.AVC:
        arrays = (Array(7, b"", draw(units)), Array(8, b"", draw(units)))
        return Configuration(codec, 4, AVC_HEAD, arrays, draw(st.binary(max_size=5)))
    kinds = (Hevc.VPS, Hevc.SPS, Hevc.PREFIX_SEI) if codec is Codec.HEVC else (Vvc.SPS, Vvc.PREFIX_SEI, Vvc.DCI)
    arrays = tuple(
        Array(kind, bytes([0x80 | kind]), (draw(NAL_UNIT),) if codec is Codec.VVC and kind == Vvc.DCI else draw(units))
        for kind in draw(st.lists(st.sampled_from(kinds), max_size=4))
    )
    head = HEVC_HEAD if codec is Codec.HEVC else draw(vvc_heads())
    return Configuration(codec, 4, head, arrays)


@given(records())
def test_read_is_the_reverse_of_to_bytes(record: Configuration) -> None:
    assert configuration.read(record.codec, record.to_bytes()) == record


@given(records(), st.data())
def test_what_ends_early_is_said(record: Configuration, data: st.DataObject) -> None:
    whole = record.to_bytes()
    end = data.draw(st.integers(0, len(whole) - len(record.tail) - 1))
    with pytest.raises(VseiError, match=r"decoder configuration record \((avcC|hvcC|vvcC)\): .*ends after"):
        configuration.read(record.codec, whole[:end])


def test_other_versions_are_refused() -> None:
    with pytest.raises(VseiError, match="configurationVersion 0, must be 1"):
        configuration.read(Codec.HEVC, bytes([0]) + HEVC_HEAD[1:] + b"\0")
    with pytest.raises(VseiError, match="lengthSizeMinusOne 2"):
        configuration.read(Codec.AVC, AVC_HEAD[:-1] + b"\xfe\xe0\0")


@given(records(), st.data())
def test_nal_units_go_and_change(record: Configuration, data: st.DataObject) -> None:
    units = list(enumerate(record.nal_units))
    kept = [(index, unit + b"\1") for index, unit in units if data.draw(st.booleans())]
    new = configuration.read(record.codec, configuration.changed(record, kept).to_bytes())
    assert list(new.nal_units) == [unit for _, unit in kept]
    assert new.head == record.head
    if record.codec is not Codec.AVC:
        assert all(array.nal_units for array in new.arrays)


@given(st.lists(st.binary(max_size=200)), st.sampled_from((1, 2, 4)))
def test_lengths(units: list[bytes], size: int) -> None:
    joined = configuration.join_lengths(units, size)
    assert [bytes(unit) for unit in configuration.split_lengths(joined, size)] == units
    if joined and units[-1]:
        with pytest.raises(VseiError, match="left in the sample"):
            list(configuration.split_lengths(joined[:-1], size))


def test_a_nal_unit_that_is_too_long_for_its_length() -> None:
    with pytest.raises(VseiError, match="256 bytes; the file has room for lengths of 1 bytes"):
        configuration.join_lengths([bytes(256)], 1)


def test_start_codes_are_no_record() -> None:
    assert not configuration.is_record(None)
    assert not configuration.is_record(b"\0\0\0\1\x67")
    assert configuration.is_record(AVC_HEAD)
