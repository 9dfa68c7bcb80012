"""A glance at the picture headers finds the same leading pictures as reading all of them does."""

import pytest

from vsei import edit, leading, selection
from vsei.annexb import split
from vsei.nal import Codec

SELECTIONS = [selection.parse(text) for text in ("segments", "random_access", "clvs_start", "decode:1-4")]


def test_all_streams_agree(shared):
    simple = 0
    for path in [*sorted(shared.glob("vectors/*/*.266")), *sorted(shared.glob("conformance/*.bit"))]:
        data = path.read_bytes()
        expected = edit.pictures_of(split([data]), Codec.VVC, SELECTIONS)
        assert edit.pictures_of_stream(lambda data=data: split([data]), Codec.VVC, SELECTIONS) == expected, path.name
        try:
            found = leading.first_leading(split([data]), lambda _: None)
        except leading.NotSimple:
            continue
        simple += 1
        assert found | expected[1] == expected[0], path.name
    assert simple > 60


def test_some_pictures_lead_and_some_leading_pictures_are_not_output(shared):
    """Of a stream that starts at a CRA picture the RASL pictures are skipped."""
    stream = (shared / "vectors/streams/cra_start_open_gop.266").read_bytes()
    whole = (shared / "vectors/streams/opengop16_vvenc_mix_q42.266").read_bytes()
    assert leading.first_leading(split([whole]), lambda _: None)
    (indices,) = edit.pictures_of(split([stream]), Codec.VVC, SELECTIONS[:1])
    assert leading.first_leading(split([stream]), lambda _: None) < indices


@pytest.mark.parametrize("name", ["GDR_A_ERICSSON_2", "GDR_C_NOKIA_2"])
def test_gradual_refresh_takes_more_than_a_glance(shared, name):
    data = (shared / f"conformance/{name}.bit").read_bytes()
    with pytest.raises(leading.NotSimple):
        leading.first_leading(split([data]), lambda _: None)


def test_a_broken_stream_takes_more_than_a_glance(samples):
    data = bytearray((samples / "bbb_q37.266").read_bytes())
    whole = list(split([bytes(data)]))
    without_sps = b"".join(u.to_bytes() for u in whole if u.data[1] >> 3 != 15)
    with pytest.raises(leading.NotSimple):
        leading.first_leading(split([without_sps]), lambda _: None)
