"""Raw YUV and Y4M: what is written is read back, and broken files are refused with one clear error."""

import io
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nnpf.errors import NnpfError
from nnpf.frames import (
    Format,
    Frame,
    Y4mHeader,
    parse_y4m_header,
    read_y4m,
    read_yuv,
    write_frame,
    write_y4m_frame,
)


def picture(form: Format, seed: int = 0) -> Frame:
    rng = np.random.default_rng(seed)
    return Frame(
        tuple(
            rng.integers(0, 1 << depth, shape).astype(np.uint8 if depth == 8 else np.uint16)
            for shape, depth in zip(form.shapes, form.bit_depths, strict=True)
        ),
        form,
    )


def same(one: Frame, other: Frame) -> bool:
    return one.format == other.format and all(
        np.array_equal(a, b) for a, b in zip(one.planes, other.planes, strict=True)
    )


formats = st.builds(
    Format, st.integers(1, 19), st.integers(1, 13), st.integers(0, 3), st.integers(8, 16), st.integers(8, 16)
)


class Drip(io.BytesIO):
    """A pipe: it gives fewer bytes than it is asked for."""

    def read(self, size: int | None = -1) -> bytes:
        return super().read(min(size, 7) if size and size > 0 else size)


@given(formats, st.integers(1, 3))
def test_raw_yuv_is_read_back(form: Format, count: int) -> None:
    file = io.BytesIO()
    frames = [picture(form, seed) for seed in range(count)]
    for frame in frames:
        write_frame(file, frame)
    assert len(file.getvalue()) == count * form.file_bytes
    back = list(read_yuv(Drip(file.getvalue()), form))
    assert len(back) == count
    assert all(same(a, b) for a, b in zip(frames, back, strict=True))


def test_ten_bit_samples_are_little_endian_in_the_low_bits() -> None:
    form = Format(2, 1, 0, 10, 10)
    file = io.BytesIO()
    write_frame(file, Frame((np.array([[1, 0x3FF]], np.uint16),), form))
    assert file.getvalue() == bytes([1, 0, 0xFF, 3])


def test_a_view_with_gaps_between_rows_is_written_without_them() -> None:
    wide = np.arange(32, dtype=np.uint8).reshape(4, 8)
    file = io.BytesIO()
    write_frame(file, Frame((wide[:, :5],), Format(5, 4, 0)))
    assert file.getvalue() == wide[:, :5].tobytes()


@given(st.sampled_from([8, 10, 12, 16]), st.integers(0, 3), st.integers(1, 9), st.integers(1, 9))
def test_y4m_is_read_back(depth: int, chroma: int, width: int, height: int) -> None:
    form = Format(width, height, chroma, depth, depth)
    frames = [picture(form, seed) for seed in range(2)]
    file = io.BytesIO(Y4mHeader(form, Fraction(30000, 1001)).to_bytes())
    file.seek(0, io.SEEK_END)
    for frame in frames:
        write_y4m_frame(file, frame)
    header, back = read_y4m(Drip(file.getvalue()))
    assert header == Y4mHeader(form, Fraction(30000, 1001))
    assert all(same(a, b) for a, b in zip(frames, back, strict=True))


def test_y4m_says_what_samples_are() -> None:
    """As FFmpeg writes and reads it."""
    header = Y4mHeader(Format(4, 2), Fraction(25), aspect=Fraction(4, 3), full_range=True)
    assert header.to_bytes() == b"YUV4MPEG2 W4 H2 F25:1 Ip A4:3 C420mpeg2 XCOLORRANGE=FULL\n"


@pytest.mark.parametrize(
    ("line", "form"),
    [
        (b"YUV4MPEG2 W4 H2 F25:1\n", Format(4, 2)),
        (b"YUV4MPEG2 W4 H2 F25:1 Ip A1:1 C420jpeg XYSCSS=420JPEG\n", Format(4, 2)),
        (b"YUV4MPEG2 H2 W4 C420p10\n", Format(4, 2, 1, 10, 10)),
        (b"YUV4MPEG2 W4 H2 Cmono12\n", Format(4, 2, 0, 12, 12)),
        (b"YUV4MPEG2 W4 H2 C444p16\n", Format(4, 2, 3, 16, 16)),
    ],
)
def test_headers_that_other_programs_write(line: bytes, form: Format) -> None:
    assert parse_y4m_header(line).format == form


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"RIFF",
        b"YUV4MPEG2 W4\n",
        b"YUV4MPEG2 W4 H2 C411\n",
        b"YUV4MPEG2 W4 Hx\n",
        b"YUV4MPEG2 " + b"X" * 9000,
        b"YUV4MPEG2 W4 H2 It\n",
        b"YUV4MPEG2 W99999999 H2\n",
        b"YUV4MPEG2 W\xff H2\n",
        b"YUV4MPEG2 W4 H2 F1:2:3\n",
    ],
)
def test_broken_headers_are_refused(data: bytes) -> None:
    with pytest.raises(NnpfError):
        read_y4m(io.BytesIO(data))


@given(st.binary(max_size=200))
def test_no_bytes_get_more_than_a_clear_error(data: bytes) -> None:
    try:
        _, frames = read_y4m(io.BytesIO(b"YUV4MPEG2 W4 H2" + data))
        list(frames)
    except NnpfError:
        pass


def test_a_file_that_ends_inside_a_picture_says_which() -> None:
    form = Format(4, 4)
    with pytest.raises(NnpfError, match="picture 1: 5 bytes of 24"):
        list(read_yuv(io.BytesIO(bytes(29)), form))


def test_the_wrong_bit_depth_is_noticed() -> None:
    with pytest.raises(NnpfError, match="does not fit in 10 bits"):
        list(read_yuv(io.BytesIO(b"\xff\x7f" * 24), Format(4, 4, 1, 10, 10)))


def test_planes_must_be_those_of_the_format() -> None:
    with pytest.raises(NnpfError, match="planes"):
        Frame((np.zeros((4, 4), np.uint8),), Format(4, 4, 1))
    with pytest.raises(NnpfError, match="plane of"):
        Frame((np.zeros((4, 4), np.uint8),), Format(4, 4, 0, 10, 10))


def test_chroma_formats() -> None:
    assert Format(5, 3, 1).shapes == ((3, 5), (2, 3), (2, 3))
    assert Format(5, 3, 2).shapes == ((3, 5), (3, 3), (3, 3))
    assert Format(5, 3, 3).shapes == ((3, 5),) * 3
    assert Format(5, 3, 0).shapes == ((3, 5),)
    assert str(Format(5, 3, 1, 8, 10)) == "5x3 4:2:0 8/10 bit"
