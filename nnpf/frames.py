"""Planar pictures of 8 to 16 bits, and the raw YUV and Y4M files that hold them.

Samples are never converted on the way: no scaling, no dither, no change of bit depth.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from nnpf import limits
from nnpf.errors import NnpfError

Plane = npt.NDArray[Any]  # uint8 or uint16, (rows, columns)

# (SubWidthC, SubHeightC) by chroma_format_idc (H.266 Table 2); 4:0:0 counts as 1, 1.
SUBSAMPLING = {0: (1, 1), 1: (2, 2), 2: (2, 1), 3: (1, 1)}
CHROMA_NAMES = {0: "4:0:0", 1: "4:2:0", 2: "4:2:2", 3: "4:4:4"}
MAX_BIT_DEPTH = 16
# A Y4M header is one line; real ones stay below 200 bytes.
MAX_Y4M_LINE = 4096


@dataclass(frozen=True, slots=True)
class Format:
    """Size and sample format of a picture: cropped, in luma samples."""

    width: int
    height: int
    chroma_format_idc: int = 1
    bit_depth_luma: int = 8
    bit_depth_chroma: int = 8

    def __post_init__(self) -> None:
        if self.width <= 0 or self.height <= 0:
            raise NnpfError(f"picture of {self.width}x{self.height} samples")
        allowed = limits.current()
        if max(self.width, self.height) > allowed.picture_side:
            problem = f"picture of {self.width}x{self.height} samples; sides are 1..{allowed.picture_side}"
            raise limits.exceeded("picture_side", problem)
        if self.width * self.height > allowed.picture_samples:
            problem = f"picture of {self.width}x{self.height} samples, more than {allowed.picture_samples}"
            raise limits.exceeded("picture_samples", problem)
        if self.chroma_format_idc not in SUBSAMPLING:
            raise NnpfError(f"chroma_format_idc {self.chroma_format_idc}, must be 0..3")
        for depth in (self.bit_depth_luma, self.bit_depth_chroma):
            if not 8 <= depth <= MAX_BIT_DEPTH:
                raise NnpfError(f"bit depth {depth}, must be 8..{MAX_BIT_DEPTH}")

    @property
    def SubWidthC(self) -> int:
        return SUBSAMPLING[self.chroma_format_idc][0]

    @property
    def SubHeightC(self) -> int:
        return SUBSAMPLING[self.chroma_format_idc][1]

    @property
    def shapes(self) -> tuple[tuple[int, int], ...]:
        """(rows, columns) of each plane. Odd sizes give chroma one column or row more than half (files have it so)."""
        luma = (self.height, self.width)
        if self.chroma_format_idc == 0:
            return (luma,)
        chroma = (-(-self.height // self.SubHeightC), -(-self.width // self.SubWidthC))
        return (luma, chroma, chroma)

    @property
    def bit_depths(self) -> tuple[int, ...]:
        """The bit depth of each plane."""
        if self.chroma_format_idc == 0:
            return (self.bit_depth_luma,)
        return (self.bit_depth_luma, self.bit_depth_chroma, self.bit_depth_chroma)

    @property
    def file_dtype(self) -> np.dtype[Any]:
        """Samples in a file: one byte when all planes have 8 bits, else two, little-endian, in the low bits."""
        return np.dtype(np.uint8) if max(self.bit_depths) == 8 else np.dtype("<u2")

    @property
    def file_bytes(self) -> int:
        """Bytes of one picture in a raw YUV file."""
        return sum(rows * columns for rows, columns in self.shapes) * self.file_dtype.itemsize

    def __str__(self) -> str:
        depths = f"{self.bit_depth_luma}"
        if self.chroma_format_idc and self.bit_depth_chroma != self.bit_depth_luma:
            depths += f"/{self.bit_depth_chroma}"
        return f"{self.width}x{self.height} {CHROMA_NAMES[self.chroma_format_idc]} {depths} bit"


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """A picture: one plane (4:0:0) or three, each (rows, columns), uint8 at 8 bits and uint16 above.

    Planes may be views into a decoder's buffer, with gaps between rows. Nobody writes into them.
    """

    planes: tuple[Plane, ...]
    format: Format

    def __post_init__(self) -> None:
        found = tuple(plane.shape for plane in self.planes)
        if found != self.format.shapes:
            raise NnpfError(f"planes of {found} for a picture of {self.format.shapes}")
        for plane, depth in zip(self.planes, self.format.bit_depths, strict=True):
            if plane.dtype != (np.uint8 if depth == 8 else np.uint16):
                raise NnpfError(f"plane of {plane.dtype} for {depth} bit samples")

    def file_planes(self) -> Iterator[npt.NDArray[Any]]:
        """The planes as they stand in a raw YUV file."""
        dtype = self.format.file_dtype
        for plane in self.planes:
            yield np.ascontiguousarray(plane, dtype)


def write_frame(file: BinaryIO, frame: Frame) -> None:
    """Append one picture to a raw YUV file or pipe."""
    for plane in frame.file_planes():
        file.write(plane.data)


def _read_exactly(file: BinaryIO, size: int) -> bytearray:
    """`size` bytes, or fewer at the end of the file: a pipe gives less than was asked for at a time."""
    data = bytearray(size)
    view = memoryview(data)
    filled = 0
    while filled < size:
        chunk = file.read(min(size - filled, 1 << 24))
        if not chunk:
            break
        view[filled : filled + len(chunk)] = chunk
        filled += len(chunk)
    view.release()
    del data[filled:]
    return data


def _frame_from_bytes(data: bytearray, form: Format) -> Frame:
    samples = np.frombuffer(data, form.file_dtype)
    planes: list[Plane] = []
    at = 0
    for (rows, columns), depth in zip(form.shapes, form.bit_depths, strict=True):
        plane = samples[at : at + rows * columns].reshape(rows, columns)
        at += rows * columns
        if plane.dtype.itemsize == 2 and int(plane.max()) >> depth:
            raise NnpfError(f"sample {int(plane.max())} does not fit in {depth} bits: is the bit depth right?")
        planes.append(plane.astype(np.uint8 if depth == 8 else np.uint16, copy=False))
    return Frame(tuple(planes), form)


def read_yuv(file: BinaryIO, form: Format) -> Iterator[Frame]:
    """Pictures of a raw planar YUV file or pipe, one at a time.

    Raises:
        NnpfError: the file ends inside a picture, or a sample does not fit in the bit depth.
    """
    count = 0
    while (frame := read_frame(file, form, count)) is not None:
        yield frame
        count += 1


def read_frame(file: BinaryIO, form: Format, number: int | None = None) -> Frame | None:
    """The next picture of a raw planar YUV file or pipe, None at its end. `number` is for the message of an error."""
    size = form.file_bytes
    data = _read_exactly(file, size)
    if not data:
        return None
    if len(data) < size:
        which = "a picture" if number is None else f"picture {number}"
        raise NnpfError(f"ends inside {which}: {len(data)} bytes of {size} ({form})")
    return _frame_from_bytes(data, form)


# --- Y4M -------------------------------------------------------------------------------------------------------------

Y4M_MAGIC = b"YUV4MPEG2"
_Y4M_CHROMA = {"mono": 0, "420": 1, "422": 2, "444": 3}
# What the first letters mean, and then p10, p12 ... for more than 8 bits ("mono10" without the p).
_y4m_colour = re.compile(r"(mono|420|422|444)(?:(?:p)?(9|10|12|14|16))?(jpeg|mpeg2|paldv)?$").match


@dataclass(frozen=True, slots=True)
class Y4mHeader:
    """What the first line of a Y4M file says.

    Attributes:
        rate: pictures per second, None when unknown (0:0).
        aspect: width of a sample by its height, None when unknown (0:0). Written; not looked at in files.
        full_range: of the samples, as FFmpeg marks it. Likewise.
    """

    format: Format
    rate: Fraction | None
    aspect: Fraction | None = None
    full_range: bool = False

    def to_bytes(self) -> bytes:
        form = self.format
        if form.chroma_format_idc and form.bit_depth_luma != form.bit_depth_chroma:
            raise NnpfError(f"Y4M has no format for {form}; write raw YUV")
        colour = {value: name for name, value in _Y4M_CHROMA.items()}[form.chroma_format_idc]
        depth = form.bit_depth_luma
        if depth > 8:
            colour += f"{depth}" if form.chroma_format_idc == 0 else f"p{depth}"
        elif form.chroma_format_idc == 1:
            # Plain "420" means centred chroma to some readers; mpeg2 is the left-aligned siting that video has.
            colour += "mpeg2"
        rate, aspect = (
            "0:0" if ratio is None else f"{ratio.numerator}:{ratio.denominator}" for ratio in (self.rate, self.aspect)
        )
        full = " XCOLORRANGE=FULL" if self.full_range else ""
        return f"YUV4MPEG2 W{form.width} H{form.height} F{rate} Ip A{aspect} C{colour}{full}\n".encode("ascii")


def _read_line(file: BinaryIO, what: str) -> bytes:
    line = bytearray()
    while not line.endswith(b"\n"):
        if len(line) > MAX_Y4M_LINE:
            raise NnpfError(f"{what} of more than {MAX_Y4M_LINE} bytes")
        byte = file.read(1)
        if not byte:
            break
        line += byte
    return bytes(line)


def parse_y4m_header(line: bytes) -> Y4mHeader:
    """The first line of a Y4M file. NnpfError when it is none, or says what this program does not read."""
    if not line.startswith(Y4M_MAGIC) or not line.endswith(b"\n"):
        raise NnpfError("no Y4M file: it does not start with a YUV4MPEG2 line")
    width = height = 0
    colour = "420"
    rate: Fraction | None = None
    try:
        for word in line.decode("ascii").split()[1:]:
            tag, value = word[0], word[1:]
            if tag == "W":
                width = int(value)
            elif tag == "H":
                height = int(value)
            elif tag == "F":
                numerator, denominator = (int(part) for part in value.split(":"))
                rate = Fraction(numerator, denominator) if numerator and denominator else None
            elif tag == "C":
                colour = value
            elif tag == "I" and value not in ("p", "?"):
                raise NnpfError(f"Y4M interlacing {value!r}: only progressive pictures are read")
    except (UnicodeDecodeError, ValueError) as error:
        if isinstance(error, NnpfError):
            raise
        raise NnpfError("Y4M header that cannot be read") from None
    match = _y4m_colour(colour)
    if match is None:
        raise NnpfError(f"Y4M colour format {colour!r} is not known")
    depth = int(match[2] or 8)
    return Y4mHeader(Format(width, height, _Y4M_CHROMA[match[1]], depth, depth), rate)


def read_y4m(file: BinaryIO) -> tuple[Y4mHeader, Iterator[Frame]]:
    """The header of a Y4M file or pipe, and its pictures, one at a time.

    Raises:
        NnpfError: the header or a frame line is broken, or the file ends inside a picture.
    """
    header = parse_y4m_header(_read_line(file, "Y4M header"))

    def frames() -> Iterator[Frame]:
        count = 0
        size = header.format.file_bytes
        while line := _read_line(file, "Y4M frame line"):
            if not (line.startswith((b"FRAME\n", b"FRAME "))):
                raise NnpfError(f"picture {count} does not start with a FRAME line")
            data = _read_exactly(file, size)
            if len(data) < size:
                raise NnpfError(f"ends inside picture {count}: {len(data)} bytes of {size} ({header.format})")
            yield _frame_from_bytes(data, header.format)
            count += 1

    return header, frames()


def write_y4m_frame(file: BinaryIO, frame: Frame) -> None:
    """Append one picture to a Y4M file whose header (Y4mHeader.to_bytes) is written already."""
    file.write(b"FRAME\n")
    write_frame(file, frame)
