"""Pictures per second, where a stream says so."""

from fractions import Fraction

import pytest

from tests.vsei.encoded import encode
from vsei.annexb import split
from vsei.frame_rate import frame_rate
from vsei.nal import Codec


def test_streams_that_say(samples, shared):
    said = frame_rate(split([(samples / "bbb_q37.266").read_bytes()]), Codec.VVC)
    assert said == 25
    hrd = (shared / "conformance/HRD_A_Fujitsu_3.bit").read_bytes()
    assert frame_rate(split([hrd]), Codec.VVC) == 50


def test_streams_that_do_not_say(shared):
    assert frame_rate(split([(shared / "vectors/vtm/s01_vq_uri_ra.266").read_bytes()]), Codec.VVC) is None
    assert frame_rate(split([]), Codec.VVC) is None


@pytest.mark.parametrize(("codec", "encoder"), [(Codec.HEVC, "libx265"), (Codec.AVC, "libx264")])
def test_other_codecs_say_it_in_their_own_way(codec, encoder):
    assert frame_rate(split([encode(encoder)]), codec) == Fraction(25)
