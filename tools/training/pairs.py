"""Pairs of coded and original pictures, with the SliceQpY of each picture, for training and for measuring.

The planes are read as the decoder leaves them. swscale is never asked for another format: it dithers on the way from
10 to 8 bit, and a network that is trained on such pairs learns the dither and nothing else.
"""

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path

import av
import av.logging
import numpy as np
import numpy.typing as npt
from av.bitstream import BitStreamFilterContext

CODED_BITS = 10
CODED_MAX = 1023
ORIGINAL_TO_CODED = 4  # 8-bit originals compare with 10 bit times 4, not times 1023/255
UNALIGNED = 1  # AV_CODEC_FLAG_UNALIGNED: without it left and top conformance window offsets are rounded
PLANES = ("y", "cb", "cr")

Planes = tuple[npt.NDArray[np.generic], npt.NDArray[np.generic], npt.NDArray[np.generic]]


@dataclass(frozen=True, slots=True)
class Pairs:
    """The pictures of one coded clip, in output order.

    Attributes:
        coded: luma (T, H, W) and two chroma (T, H/2, W/2) arrays, uint16, 10 bit.
        original: the same shapes, uint8; 4 times a value compares with the coded one.
        slice_qp: (T,) SliceQpY of each picture's first slice.
    """

    clip: str
    qp: int
    coded: Planes
    original: Planes
    slice_qp: npt.NDArray[np.int64]


def strength(slice_qp: float, bits: int = CODED_BITS) -> float:
    """StrengthControlVal of H.266 pictures, 0..1 (H.274 8.28.2.2)."""
    offset = 6 * (bits - 8)
    return (slice_qp + offset) / (63 + offset)


def slice_qps(path: Path) -> list[int]:
    """SliceQpY of the first slice of each picture of a VVC stream, in decoding order.

    Reads FFmpeg's trace of the headers, for the time until `vsei.vvc` can be asked.
    """
    element = re.compile(r"^\d+\s+(\S+)\s+[01]+ = (-?\d+)")
    init_qp: dict[int, int] = {}
    qps: list[int] = []
    level = av.logging.get_level()
    av.logging.set_level(av.logging.VERBOSE)
    try:
        with av.open(str(path)) as container:
            stream = container.streams.video[0]
            trace = BitStreamFilterContext("trace_headers", stream)
            for packet in container.demux(stream):
                if packet.size == 0:
                    continue
                with av.logging.Capture() as lines:
                    trace.filter(packet)
                fields: dict[str, int] = {}
                pps = 0
                for _, _, line in lines:
                    if not (match := element.match(line)):
                        continue
                    name, value = match[1], int(match[2])
                    if name == "pps_pic_parameter_set_id":
                        pps = value
                    elif name == "pps_init_qp_minus26":
                        init_qp[pps] = 26 + value
                    elif name in ("ph_pic_parameter_set_id", "ph_qp_delta", "sh_qp_delta"):
                        fields.setdefault(name, value)
                delta = fields.get("sh_qp_delta", fields.get("ph_qp_delta"))
                if delta is None:
                    raise ValueError(f"{path}: picture {len(qps)}: no slice QP in its headers")
                qps.append(init_qp[fields["ph_pic_parameter_set_id"]] + delta)
    finally:
        av.logging.set_level(level)
    return qps


def decode(path: Path) -> tuple[Planes, list[int]]:
    """The planes of every picture in output order, and each picture's index in decoding order."""
    lists: tuple[list[npt.NDArray[np.generic]], ...] = ([], [], [])
    order: list[int] = []
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        stream.codec_context.flags |= UNALIGNED
        fed = 0
        for packet in container.demux(stream):
            if packet.size:
                packet.pts = packet.dts = fed
                fed += 1
            for frame in stream.codec_context.decode(packet if packet.size else None):
                deep = frame.format.name.endswith("10le")
                if frame.format.name not in ("yuv420p", "yuv420p10le"):
                    raise ValueError(f"{path}: {frame.format.name}: only 4:2:0 of 8 or 10 bit serve here")
                order.append(frame.pts)
                for plane, pictures in zip(frame.planes, lists, strict=True):
                    rows = np.frombuffer(plane, np.uint16 if deep else np.uint8)
                    rows = rows.reshape(-1, plane.line_size // rows.itemsize)
                    pictures.append(rows[: plane.height, : plane.width].copy())
    y, cb, cr = (np.stack(pictures) for pictures in lists)
    return (y, cb, cr), order


def read_pairs(original: Path, coded: Path, *, clip: str, qp: int) -> Pairs:
    """Decode one coded clip and its original."""
    before, _ = decode(original)
    after, order = decode(coded)
    qps = slice_qps(coded)
    if sorted(order) != list(range(len(qps))) or before[0].shape != after[0].shape:
        raise ValueError(f"{coded}: its pictures are not those of {original}")
    return Pairs(clip, qp, after, before, np.array([qps[i] for i in order]))


def clip_file(folders: list[Path], name: str) -> Path:
    """The file `name` in the first folder that has it."""
    for folder in folders:
        if (folder / name).exists():
            return folder / name
    raise FileNotFoundError(f"{name}: in none of {', '.join(map(str, folders))}")


def cached_pairs(folders: list[Path], cache: Path, *, clip: str, qp: int) -> Pairs:
    """As read_pairs, with decoded arrays kept in `cache` and mapped from there."""
    cache.mkdir(parents=True, exist_ok=True)
    kinds = [f"{clip}_q{qp}.{plane}" for plane in PLANES] + [f"{clip}.{plane}" for plane in PLANES]
    kinds.append(f"{clip}_q{qp}.slice_qp")
    files = [cache / f"{kind}.npy" for kind in kinds]
    if not all(file.exists() for file in files):
        original, coded = clip_file(folders, f"{clip}.mkv"), clip_file(folders, f"{clip}_q{qp}.266")
        pairs = read_pairs(original, coded, clip=clip, qp=qp)
        for file, array in zip(files, (*pairs.coded, *pairs.original, pairs.slice_qp), strict=True):
            np.save(file, array)
    arrays = [np.load(file, mmap_mode="r") for file in files]
    return Pairs(clip, qp, tuple(arrays[:3]), tuple(arrays[3:6]), np.array(arrays[6]))  # type: ignore[arg-type]


def data_version(folders: list[Path], names: list[str], qps: list[int]) -> dict[str, str]:
    """SHA-256 of every file that the pairs are made from, by file name."""
    files = [f"{name}.mkv" for name in names] + [f"{name}_q{qp}.266" for name in names for qp in qps]
    return {file: hashlib.sha256(clip_file(folders, file).read_bytes()).hexdigest() for file in sorted(files)}
