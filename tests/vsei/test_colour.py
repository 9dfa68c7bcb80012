"""The colour description of a stream."""

from fractions import Fraction

import pytest

from tests.nnpf.streams import nal_units
from vsei.annexb import split
from vsei.colour import Colour, colour, sample_aspect_ratio
from vsei.nal import Codec


def test_a_stream_that_says_nothing(samples):
    assert colour(nal_units(samples / "bbb_q37.266"), Codec.VVC) == Colour(2, 2, 2, False)


@pytest.mark.parametrize(
    ("name", "expected"),
    [("PQ_A_Dolby_1", Colour(9, 16, 9, False)), ("FIELD_A_Panasonic_4", Colour(1, 1, 1, False))],
)
def test_streams_with_a_description(shared, name, expected):
    assert colour(nal_units(shared / f"conformance/{name}.bit"), Codec.VVC) == expected


@pytest.mark.parametrize(("codec", "encoder"), [(Codec.HEVC, "libx265"), (Codec.AVC, "libx264")])
@pytest.mark.parametrize("aspect", [Fraction(16, 11), Fraction(2), Fraction(7, 5)])  # by number, and in full
def test_other_codecs(codec, encoder, aspect):
    """What an encoder was told stands in its stream."""
    import av
    import numpy as np

    context = av.CodecContext.create(encoder, "w")
    context.width, context.height, context.pix_fmt, context.time_base = 64, 64, "yuv420p", 1  # type: ignore[assignment]
    context.options = {"x265-params": "log-level=none"}
    context.sample_aspect_ratio = aspect
    context.color_primaries, context.color_trc, context.colorspace, context.color_range = 9, 14, 9, 2
    frame = av.VideoFrame.from_ndarray(np.zeros((96, 64), np.uint8), format="yuv420p")
    data = b"".join(bytes(p) for p in [*context.encode(frame), *context.encode(None)])
    assert colour(split([data]), codec) == Colour(9, 14, 9, True)
    assert sample_aspect_ratio(split([data]), codec) == aspect


def test_streams_that_say_nothing_of_the_shape(samples):
    assert sample_aspect_ratio(nal_units(samples / "bbb_q37.266"), Codec.VVC) is None
    assert sample_aspect_ratio([], Codec.AVC) is None
