"""Decoding is exact: the MD5 of every sample, on streams that show the decoder's known faults."""

import hashlib
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from nnpf.decoding import CodecName, CodedPicture, decode, decode_file
from nnpf.errors import NnpfError
from nnpf.frames import Frame
from tests.vsei.encoded import encode


def md5(frames: list[Frame]) -> str:
    digest = hashlib.md5()
    for frame in frames:
        for plane in frame.file_planes():
            digest.update(plane.data)
    return digest.hexdigest()


def expected(path: Path) -> str:
    return path.with_suffix(".md5").read_text().split()[0]


def test_the_sample_decodes(samples: Path) -> None:
    decoded = list(decode_file(samples / "bbb_q37.266"))
    assert len(decoded) == 65
    assert sorted(d.decode_index for d in decoded) == list(range(65))
    assert decoded[0].frame.format.bit_depth_luma == 10
    assert not any(d.damaged for d in decoded)
    assert decoded[7].frame.planes[0].std() > 10


@pytest.mark.parametrize(
    "name",
    ["ldb_vtm_mix_q37_33f", "cat_res_change_idr", "cra_start_open_gop"],
)
def test_eight_bit_streams_with_alf_are_exact(shared: Path, name: str) -> None:
    path = shared / "vectors/streams" / f"{name}.266"
    assert md5([d.frame for d in decode_file(path)]) == expected(path)


@pytest.mark.parametrize(
    "name",
    ["8b400_A_Bytedance_2", "8b444_A_Kwai_2", "10b422_B_Sony_5", "12b420Ivvc1_A_InterDigital_2", "RPR_A_Alibaba_4"],
)
def test_conformance_streams_are_exact(shared: Path, name: str) -> None:
    lines = (line.split() for line in (shared / "conformance/md5.txt").read_text().splitlines() if line.strip())
    sums = {file: digest for digest, file in lines}
    assert md5([d.frame for d in decode_file(shared / f"conformance/{name}.bit")]) == sums[f"{name}.bit"]


def test_the_originals_decode_without_a_change_of_format(samples: Path) -> None:
    first = next(iter(decode_file(samples / "bbb.mkv")))
    assert str(first.frame.format) == "416x240 4:2:0 8 bit"


def test_the_planes_outlive_the_decoder(samples: Path) -> None:
    first = next(iter(decode_file(samples / "bbb_q37.266"))).frame
    before = first.planes[0].copy()
    list(decode_file(samples / "bbb_q37.266"))
    assert np.array_equal(first.planes[0], before)
    with pytest.raises(ValueError, match="read-only"):
        first.planes[0][0, 0] = 1


def test_what_is_no_video_is_one_clear_error(tmp_path: Path) -> None:
    (tmp_path / "a.266").write_bytes(b"no video at all" * 9)
    with pytest.raises(NnpfError, match="holds no coded picture"):
        list(decode_file(tmp_path / "a.266"))
    with pytest.raises(NnpfError, match="cannot be opened"):
        list(decode_file(tmp_path / "absent.266"))


def test_a_broken_picture_is_one_clear_error() -> None:
    # An IDR slice without any parameter sets.
    with pytest.raises(NnpfError, match="picture 3 in decoding order"):
        list(decode([CodedPicture(b"\0\0\0\1\0\x39\x80\x12\x34", 3)], "vvc"))


@pytest.mark.parametrize(
    ("codec", "encoder", "options"),
    [
        ("hevc", "libx265", {"x265-params": "bframes=3:b-adapt=0:scenecut=0:keyint=8:log-level=none"}),
        ("h264", "libx264", {"x264-params": "bframes=3:b-adapt=0:scenecut=0:keyint=8"}),
    ],
)
def test_other_codecs_give_each_picture_with_its_place_in_decoding_order(
    codec: CodecName, encoder: str, options: dict[str, str]
) -> None:
    context = av.CodecContext.create(encoder, "w")
    context.width, context.height, context.pix_fmt, context.time_base = 64, 64, "yuv420p", Fraction(1, 25)
    context.options = options
    packets = []
    for at in range(13):
        frame = None
        if at < 12:  # each picture is brighter than the one before
            frame = av.VideoFrame.from_ndarray(np.full((96, 64), 20 + 15 * at, np.uint8), format="yuv420p")
            frame.pts = at
        packets += [(packet.pts, bytes(packet)) for packet in context.encode(frame)]
    order = [pts for pts, _ in packets]
    assert order != sorted(order)
    decoded = list(decode([CodedPicture(data, at, eight_bit=True) for at, (_, data) in enumerate(packets)], codec))
    assert [order[item.decode_index] for item in decoded] == list(range(12))
    for at, item in enumerate(decoded):
        assert abs(float(item.frame.planes[0].mean()) - (20 + 15 * at)) < 5


# In a process of its own, for what is tested is that it ends.
LEFT_EARLY = """
import sys
from nnpf.decoding import CodedPicture, decode
from vsei.annexb import read_chunks, split
from vsei.nal import Codec
from vsei.pictures import picture_units

with open(sys.argv[1], "rb") as file:
    units = picture_units(split(read_chunks(file)), Codec.AVC)
    coded = [CodedPicture(b"".join(n.to_bytes() for n in u.units), k, False) for k, u in enumerate(units)]
for number in range(1000):
    frames = decode(iter(coded), "h264", threads=4)
    for _ in zip(range(number % 7 + 1), frames):
        pass
    frames.close()
"""


def test_a_decoder_with_threads_can_be_left_at_any_picture(tmp_path: Path) -> None:
    stream = tmp_path / "in.264"
    stream.write_bytes(encode("libx264", "keyint=10:bframes=3:repeat-headers=1"))
    subprocess.run([sys.executable, "-c", LEFT_EARLY, str(stream)], check=True, timeout=120)
