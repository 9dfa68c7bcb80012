"""Opening elementary streams: which codec, and NAL units with a progress bar."""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Iterable, Iterator
from typing import BinaryIO

from nnpf_tools.files import PIPE, Progress
from vsei.annexb import NalUnit, read_chunks, split
from vsei.errors import VseiError
from vsei.nal import Codec, codec_of_name, guess_codec

# Parameter sets come first in a stream; this many NAL units show the codec.
_LOOKED_AT = 32


def nal_units(args: argparse.Namespace, file: BinaryIO, bar: Progress | None = None) -> tuple[Codec, Iterator[NalUnit]]:
    """The codec of `args.stream` and its NAL units.

    The codec is the one given (--codec), else that of the file's extension, else that of the first NAL units.
    """
    units = split(_counted(file, bar) if bar else read_chunks(file))
    codec = Codec(args.codec) if args.codec else None
    if codec is None and args.stream != PIPE:
        codec = codec_of_name(args.stream)
    if codec is None:
        first = [u._replace(data=memoryview(bytes(u.data))) for u in itertools.islice(units, _LOOKED_AT)]
        codec = guess_codec([u.data for u in first])
        if codec is None and first:
            raise VseiError("neither H.266 nor H.265 nor H.264 shows in its first NAL units; say which with --codec")
        units = itertools.chain(first, units)
    return codec or Codec.VVC, units


def _counted(file: BinaryIO, bar: Progress) -> Iterator[bytes]:
    for chunk in read_chunks(file):
        yield chunk
        bar.advance(len(chunk))


def write_units(file: BinaryIO, units: Iterable[NalUnit]) -> int:
    """Write NAL units as they are; returns the number of bytes."""
    written = 0
    for prefix, data, zeros in ((u.prefix, u.data, u.zeros) for u in units):
        file.write(prefix)
        file.write(data)
        if zeros:
            file.write(bytes(zeros))
        written += len(prefix) + len(data) + zeros
    return written
