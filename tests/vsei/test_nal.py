"""NAL unit headers, names, and telling the codecs apart."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.vsei.encoded import encode
from vsei import annexb, nal
from vsei.errors import VseiError
from vsei.nal import Codec, NalHeader


@pytest.mark.parametrize("codec", [Codec.VVC, Codec.HEVC])
@given(kind=st.integers(0, 31), layer=st.integers(0, 55), temporal=st.integers(0, 6))
def test_two_byte_headers_read_back(codec, kind, layer, temporal):
    header = NalHeader(codec, kind, layer, temporal)
    assert nal.read_header(codec, header.to_bytes() + b"rest") == header


@given(kind=st.integers(0, 31), ref_idc=st.integers(0, 3))
def test_avc_headers_read_back(kind, ref_idc):
    header = NalHeader(Codec.AVC, kind, ref_idc=ref_idc)
    assert nal.read_header(Codec.AVC, header.to_bytes()) == header


def test_broken_headers_name_the_element():
    with pytest.raises(VseiError, match="forbidden_zero_bit"):
        nal.read_header(Codec.VVC, b"\x80\x79")
    with pytest.raises(VseiError, match="nuh_temporal_id_plus1"):
        nal.read_header(Codec.VVC, b"\x00\x78")
    with pytest.raises(VseiError, match="NAL unit of 1 bytes"):
        nal.read_header(Codec.HEVC, b"\x40")


def test_names_are_the_standards():
    assert nal.type_name(Codec.VVC, 23) == "PREFIX_SEI"
    assert nal.type_name(Codec.HEVC, 21) == "CRA"
    assert nal.type_name(Codec.AVC, 6) == "SEI"
    assert nal.type_name(Codec.VVC, 26) == "RESERVED_26"


@pytest.mark.parametrize(
    ("first_units", "codec"),
    [
        ([b"\x00\x79\x00", b"\x00\x81\x00", b"\x00\x41\x80"], Codec.VVC),
        ([b"\x40\x01\x0c", b"\x42\x01\x01", b"\x44\x01\xc0"], Codec.HEVC),
        ([b"\x67\x64\x00", b"\x68\xee\x3c", b"\x65\x88\x84"], Codec.AVC),
        ([b"\x00\x79\x00", b"\xff\xff\x00", b"\x00\x41\x80"], Codec.VVC),  # one of them is broken
        ([b"\xff\xff", b"\xff"], None),
        ([], None),
    ],
)
def test_the_codec_shows_in_the_first_parameter_sets(first_units, codec):
    assert nal.guess_codec(first_units) is codec


def test_every_conformance_stream_looks_like_vvc(shared):
    for path in [*shared.glob("conformance/*.bit"), *shared.glob("vectors/*/*.266")]:
        units = [bytes(u.data) for u in annexb.split([path.read_bytes()])]
        assert nal.guess_codec(units[:8]) is Codec.VVC, path.name


@pytest.mark.parametrize(
    ("encoder", "codec"),
    [("libx264", Codec.AVC), ("libx265", Codec.HEVC)],
)
@pytest.mark.parametrize("parameters", ["", "keyint=1", "keyint=10:bframes=3"])
def test_slices_that_look_like_parameter_sets_of_another_codec(encoder, codec, parameters):
    """Slices of H.264 with nal_ref_idc 2 begin like a VPS of H.265; there are more of them than parameter sets."""
    units = [bytes(u.data) for u in annexb.split([encode(encoder, parameters)])]
    for count in (4, 8, 32):
        assert nal.guess_codec(units[:count]) is codec


def test_a_stream_that_starts_with_slices():
    """Broadcasts are tuned into anywhere: the parameter sets come later."""
    units = [bytes(u.data) for u in annexb.split([encode("libx264", "keyint=10:bframes=3:repeat-headers=1")])]
    assert nal.guess_codec(units[4:32]) is Codec.AVC
