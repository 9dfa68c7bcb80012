"""Byte streams: every byte kept, whatever the cut, and emulation prevention as the standard's loop has it."""

import io
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vsei import annexb, limits
from vsei.errors import VseiError

# Bytes around start codes and emulation prevention are what matters.
HARD = st.lists(st.sampled_from([0, 0, 0, 1, 2, 3, 4, 0x80, 0xFF]), max_size=80).map(bytes)


def cut(data: bytes, sizes: list[int]) -> list[bytes]:
    chunks, at = [], 0
    for size in sizes:
        chunks.append(data[at : at + size])
        at += size
    return [c for c in [*chunks, data[at:]] if c]


def collected(chunks: list[bytes]) -> list[tuple[int, bytes, bytes, int]]:
    return [(u.offset, u.prefix, bytes(u.data), u.zeros) for u in annexb.split(chunks)]


@given(HARD, st.lists(st.integers(0, 9), max_size=40))
def test_every_byte_is_kept_for_any_cut(data, sizes):
    stream = data + b"\0\0\1\x42"
    whole = collected([stream])
    assert b"".join(p + d + bytes(z) for _, p, d, z in whole) == stream
    assert collected(cut(stream, sizes)) == whole


@given(HARD)
def test_offsets_are_those_of_the_start_codes(data):
    stream = data + b"\0\0\1\x42"
    for offset, prefix, _, _ in collected([stream]):
        code = b"\0\0\0\1" if prefix.endswith(b"\0\0\0\1") else b"\0\0\1"
        assert stream[offset : offset + len(code)] == code


def unescaped_by_the_standards_loop(nal: bytes) -> bytes:
    out, i = bytearray(), 0
    while i < len(nal):
        if nal[i : i + 3] == b"\0\0\3":
            out += nal[i : i + 2]
            i += 3
        else:
            out.append(nal[i])
            i += 1
    return bytes(out)


@given(HARD)
def test_rbsp_is_what_the_standards_loop_gives(data):
    assert annexb.rbsp(data) == unescaped_by_the_standards_loop(data)


@given(HARD)
def test_escaping_prevents_start_codes_and_is_undone_by_rbsp(data):
    escaped = annexb.escape(data)
    assert not any(code in escaped for code in (b"\0\0\0", b"\0\0\1", b"\0\0\2"))
    assert not escaped.endswith(b"\0")
    # Real RBSPs end in a one bit or in cabac_zero_words, which are two zero bytes each.
    if (len(data) - len(data.rstrip(b"\0"))) % 2 == 0:
        assert annexb.rbsp(escaped) == data


def test_an_empty_input_has_no_units():
    assert collected([]) == []


def test_input_without_a_start_code_is_refused():
    with pytest.raises(VseiError, match="offset 0: no start code"):
        collected([b"\0\0\2 this is no byte stream"])


def test_a_unit_beyond_the_limit_is_refused_at_its_offset(monkeypatch):
    monkeypatch.setattr(limits, "_current", limits.Limits(nal_unit_bytes=1000))
    with pytest.raises(VseiError, match=r"offset 5: NAL unit of more than 1000 bytes"):
        collected([b"\0\0\1\x41\x42\0\0\1", *[b"\x55" * 300] * 9])


def test_a_long_unit_in_many_pieces_takes_no_longer_than_in_one():
    """2^14 pieces: joined again for each piece they would be copied 2^13 times, which takes a minute."""
    piece = b"\x55" * 4096
    start = time.perf_counter()
    (unit,) = annexb.split([b"\0\0\1\x41", *[piece] * (1 << 14)])
    assert time.perf_counter() - start < 10
    assert len(unit.data) == (4096 << 14) + 1


def test_read_chunks_reads_files_to_the_end():
    assert b"".join(annexb.read_chunks(io.BytesIO(b"abcdefg"), 3)) == b"abcdefg"


def test_real_streams_pass_through_byte_identical(shared):
    streams = [*shared.glob("vectors/*/*.266"), *shared.glob("conformance/*.bit")]
    assert len(streams) > 80
    for path in streams:
        data = path.read_bytes()
        units = list(annexb.split(annexb.read_chunks(io.BytesIO(data), 1000)))
        assert b"".join(u.to_bytes() for u in units) == data, path.name
        for unit in units:
            assert annexb.escape(annexb.rbsp(unit.data)) == bytes(unit.data), (path.name, unit.offset)
