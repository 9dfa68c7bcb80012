"""Streams by file name or file object: which codec they are of, their NAL units, their SEI messages."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from os import PathLike
from pathlib import Path

from vsei.annexb import NalUnit, read_chunks, split
from vsei.errors import VseiError
from vsei.listing import Found, sei_messages
from vsei.nal import Codec, codec_of_name, guess_codec

# Parameter sets come first in a stream; this many NAL units show the codec.
_LOOKED_AT = 32


def identify(
    nal_units: Iterable[NalUnit], name: str | None = None, codec: Codec | None = None
) -> tuple[Codec, Iterator[NalUnit]]:
    """The codec of a stream: the one given, else that of the file name's extension, else that of the first NAL units.

    Returns:
        The codec, and all NAL units (the first ones were read to look at).

    Raises:
        VseiError: the first NAL units make sense in no codec.
    """
    units = iter(nal_units)
    codec = codec or (codec_of_name(name) if name else None)
    if codec is None:
        first = [u._replace(data=memoryview(bytes(u.data))) for u in itertools.islice(units, _LOOKED_AT)]
        codec = guess_codec([u.data for u in first])
        if codec is None and first:
            raise VseiError("neither H.266 nor H.265 nor H.264 shows in its first NAL units; say which it is")
        units = itertools.chain(first, units)
    return codec or Codec.VVC, units


def read_nal_units(path: str | PathLike[str]) -> Iterator[NalUnit]:
    """The NAL units of a byte stream file (Annex B)."""
    with Path(path).open("rb") as file:
        yield from split(read_chunks(file))


def read_messages(path: str | PathLike[str], codec: Codec | None = None) -> Iterator[Found]:
    """The SEI messages of a byte stream file, in order, each with its picture.

    Example:
        >>> for found in read_messages("samples/bbb_q37.266"):
        ...     print(found.picture.poc, found.name, found.message)
    """
    found_codec, units = identify(read_nal_units(path), str(path), codec)
    yield from sei_messages(units, found_codec)
