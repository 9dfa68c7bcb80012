"""Pictures out of any file, by its name: raw YUV, Y4M, or whatever FFmpeg opens."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from nnpf.frames import Format, Frame, read_y4m, read_yuv


def read_video(path: str | Path, form: Format, bit_depth: int | None = None) -> Iterator[Frame]:
    """The pictures of a file, in output order, one at a time.

    Args:
        path: `.yuv` is raw planar samples, `.y4m` says itself what it holds, all else is opened by FFmpeg.
        form: what a raw file holds; of no meaning for the others.
        bit_depth: of a raw file, where it is not that of `form` (8-bit originals of 10-bit video).

    Raises:
        NnpfError: it cannot be read, or ends inside a picture.
    """
    path = Path(path)
    if path.suffix == ".yuv":
        if bit_depth is not None:
            form = replace(form, bit_depth_luma=bit_depth, bit_depth_chroma=bit_depth)
        with path.open("rb") as file:
            yield from read_yuv(file, form)
    elif path.suffix == ".y4m":
        with path.open("rb") as file:
            yield from read_y4m(file)[1]
    else:
        from nnpf.decoding import decode_file

        for decoded in decode_file(path):
            yield decoded.frame
