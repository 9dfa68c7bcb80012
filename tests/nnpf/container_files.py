"""Small MP4, Matroska and MPEG-TS files, made by PyAV's encoders and muxers."""

from fractions import Fraction
from functools import lru_cache
from pathlib import Path

import av
import numpy as np

from vsei.annexb import read_chunks, split
from vsei.nal import Codec
from vsei.pictures import picture_units, with_output_index

PICTURES = 24
RATE = 25


@lru_cache(maxsize=1)
def _texture() -> np.ndarray:
    return np.random.default_rng(1).integers(0, 256, (80 + PICTURES, 96 + PICTURES, 3), dtype=np.uint8)


def encoded(
    path: Path,
    encoder: str,
    *,
    audio: bool = True,
    videos: int = 1,
    options: dict | None = None,
    size: tuple[int, int] = (96, 80),
) -> Path:
    """A file of a moving texture, B pictures and three random access points; with a tone, if wanted.

    Args:
        path: its suffix says the container.
        encoder: libx264, libx265, mpeg4 ...
        videos: so many video streams; those behind the first show the picture upside down, to be told from it.
        options: of the muxer.
        size: columns and rows of the pictures.
    """
    width, height = size
    if path.exists():
        return path
    quiet = {"libx264": "log=-1", "libx265": "log-level=none"}
    with av.open(str(path), "w", options=options) as container:
        streams = []
        for _ in range(videos):
            stream = container.add_stream(encoder, rate=RATE, width=width, height=height, pix_fmt="yuv420p")
            if encoder in quiet:
                parameters = f"keyint=10:bframes=3:{quiet[encoder]}"
                stream.codec_context.options = {f"{encoder.removeprefix('lib')}-params": parameters}
            streams.append(stream)
        tone = container.add_stream("aac", rate=48000) if audio else None
        for i in range(PICTURES):
            picture = _texture()[i : i + height, i : i + width]
            for number, stream in enumerate(streams):
                shown = np.ascontiguousarray(picture[::-1] if number else picture)
                frame = av.VideoFrame.from_ndarray(shown, format="rgb24").reformat(format="yuv420p")
                frame.pts, frame.time_base = i, Fraction(1, RATE)
                container.mux(stream.encode(frame))
            if tone is not None:
                container.mux(tone.encode(_tone(i)))
        for stream in (*streams, *([tone] if tone is not None else [])):
            container.mux(stream.encode(None))
    return path


def _tone(number: int) -> av.AudioFrame:
    count = 48000 // RATE
    samples = 0.1 * np.sin((np.arange(count) + number * count) / 10, dtype=np.float32)[None]
    frame = av.AudioFrame.from_ndarray(samples.astype(np.float32), format="fltp", layout="mono")
    frame.sample_rate, frame.pts, frame.time_base = 48000, number * count, Fraction(1, 48000)
    return frame


def vvc(path: Path, stream: Path) -> Path:
    """A VVC byte stream in a container, one picture unit in each packet."""
    if path.exists():
        return path
    with stream.open("rb") as file:
        kept = [u._replace(data=memoryview(bytes(u.data))) for u in split(read_chunks(file))]
    with av.open(str(stream), format="vvc") as raw, av.open(str(path), "w") as container:
        track = container.add_stream_from_template(raw.streams.video[0], opaque=True)
        units = picture_units(kept, Codec.VVC)
        for number, (output_index, unit) in enumerate(with_output_index(units, lambda u: u.picture)):
            packet = av.Packet(b"".join(nal.to_bytes() for nal in unit.units))
            packet.stream, packet.time_base, packet.duration = track, Fraction(1, RATE), 1
            packet.pts, packet.dts = output_index, number - unit.picture.max_num_reorder
            packet.is_keyframe = unit.picture.is_irap
            container.mux(packet)
    return path


def packets(path: Path) -> dict[int, list[tuple[Fraction, int, bytes]]]:
    """By stream: when shown, size, bytes of each packet."""
    found: dict[int, list[tuple[Fraction, int, bytes]]] = {}
    with av.open(str(path)) as container:
        for packet in container.demux():
            if packet.size:
                entry = (packet.pts * packet.time_base, packet.size, bytes(packet))
                found.setdefault(packet.stream_index, []).append(entry)
    return found


def pictures(path: Path) -> list[bytes]:
    """The pictures as FFmpeg decodes them."""
    with av.open(str(path)) as container:
        return [frame.to_ndarray().tobytes() for frame in container.decode(video=0)]
