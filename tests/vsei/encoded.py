"""Small H.265 and H.264 streams, made by x265 and x264 through PyAV."""

import io
from fractions import Fraction
from functools import lru_cache

import av
import numpy as np

from tests.vsei.ffmpeg_trace import Element, trace_of_packets


@lru_cache(maxsize=32)
def encode(encoder: str, parameters: str = "", pix_fmt: str = "yuv420p", width: int = 96, height: int = 80) -> bytes:
    """A byte stream of 24 pictures of a moving texture.

    Args:
        parameters: of the encoder, as x264 and x265 write them: `keyint=8:bframes=3`.
    """
    codec = av.codec.CodecContext.create(encoder, "w")
    codec.width, codec.height, codec.pix_fmt = width, height, pix_fmt
    codec.framerate, codec.time_base = Fraction(25), Fraction(1, 25)
    quiet = "log-level=none" if encoder == "libx265" else "log=-1"
    codec.options = {encoder.removeprefix("lib") + "-params": f"{quiet}:{parameters}".rstrip(":")}
    pictures = 24
    texture = np.random.default_rng(1).integers(0, 256, (height + pictures, width + pictures, 3), dtype=np.uint8)
    out = []
    for i in range(pictures):
        rgb = np.ascontiguousarray(texture[i : i + height, i : i + width])
        frame = av.VideoFrame.from_ndarray(rgb, format="rgb24").reformat(format=pix_fmt)
        frame.pts = i
        out += codec.encode(frame)
    out += codec.encode(None)
    return b"".join(bytes(packet) for packet in out)


def decoded(stream: bytes, demuxer: str) -> list[tuple[int, int, int, str]]:
    """(decode index, width, height, format) of FFmpeg's output pictures; its packets hold one picture each here."""
    frames = []
    with av.open(io.BytesIO(stream), format=demuxer) as container:
        video = container.streams.video[0]
        video.codec_context.flags |= av.codec.context.Flags.unaligned  # or cropping is rounded
        for number, packet in enumerate(container.demux(video)):
            packet.pts = packet.dts = number
            frames += [(frame.pts, frame.width, frame.height, frame.format.name) for frame in packet.decode()]
    return frames


def trace_of_bytes(stream: bytes, demuxer: str) -> list[tuple[str, list[Element]]]:
    """FFmpeg's trace of the NAL units that are no SEI."""
    with av.open(io.BytesIO(stream), format=demuxer) as container:
        video = container.streams.video[0]
        structures = trace_of_packets((p for p in container.demux(video) if p.size), video)
    return [
        (title, elements)
        for title, elements in structures
        if elements[0].name == "forbidden_zero_bit" and "Supplemental Enhancement" not in title
    ]
