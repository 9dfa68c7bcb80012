"""What models, payloads, pictures and URIs may ask for. One table, which a user may change.

    nnpf apply in.266 -o out.y4m --set-limit picture_samples=134217728
    NNPF_LIMITS=picture_samples=134217728,model_nodes=200000 nnpf apply in.266 -o out.y4m

Each limit is far above what post-filters need, and its reason stands with it. Those of bitstreams are in `vsei.limits`;
`python -m nnpf.limits` prints them all. The engines behind see nothing that was not held against these.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, BinaryIO, NamedTuple

from nnpf.errors import NnpfError
from vsei import limits as of_streams
from vsei.limits import limit

if TYPE_CHECKING:
    from nnpf.nnc.limits import Limits as NncLimits

# Where a user may set limits for all commands: NAME=VALUE, separated by commas.
VARIABLE = "NNPF_LIMITS"


@dataclass(frozen=True, slots=True)
class Limits:
    """For everything but bitstreams."""

    payload_bytes: int = limit(128 << 20, "one message is one NAL unit, and less than that may have")
    spec_bytes: int = limit(
        64 << 20, "a specification that extract writes has 300 bytes for each message, in memory ten times as many"
    )
    spec_values: int = limit(1 << 22, "aliases in YAML can make a small file stand for endlessly much")
    spec_depth: int = limit(32, "lists in lists of a YAML file; a specification has 6")
    nnc_elements: int = limit(
        1 << 27, "of all tensors of an NNC bitstream: 512 MiB as float32, 25 times the largest published filter"
    )
    nnc_elements_per_byte: int = limit(
        1 << 18, "of a tensor, for each byte of its unit; only rows skipped whole come near: one bin for a row"
    )
    nnc_dimensions: int = limit(32, "of a tensor of an NNC bitstream; ONNX files use at most 8")
    nnc_units: int = limit(1 << 16, "units, and so tensors, of an NNC bitstream: two seconds of the worst one")
    nnc_topology_bytes: int = limit(
        1 << 26, "of a graph after deflate: 64 MiB; deflate alone would allow 1000 times the payload"
    )
    model_bytes: int = limit(512 << 20, "the largest published post-filters stay below 100 MB; protobuf ends at 2 GB")
    model_nodes: int = limit(100_000, "operators of a graph; checking them takes time for each")
    tensor_elements: int = limit(
        1 << 31, "of one tensor inside a network: 8 GiB as float32; a graph that asks for more is broken or hostile"
    )
    patch_bytes: int = limit(4 << 30, "tensors inside a network for one patch; patches whose size is free are smaller")
    picture_samples: int = limit(
        35_651_584,
        "luma samples of a picture: level 6.2 of H.266, which 8192x4320 is; each picture takes 3 bytes for one",
    )
    picture_side: int = limit(32768, "columns or rows of a picture; no level of H.266 has so many")
    input_bytes: int = limit(
        2 << 30,
        "pictures that are kept for filters of several input pictures, or that one inference gives; 64 input pictures, "
        "the most, at 3840x2160",
    )
    process_bytes: int = limit(
        256 << 30, "of what a command keeps in memory, libraries included; set it to what the machine can spare"
    )
    model_seconds: int = limit(300, "for reading a model, and for compiling it")
    decoder_seconds: int = limit(
        300, "for which a decoder may give nothing; slow ones take their time for a large picture"
    )
    uri_bytes: int = limit(512 << 20, "of all files that are fetched for a stream: as large as one model may be")
    uri_count: int = limit(
        16, "files that are fetched for a stream; a stream must not make this machine knock at doors"
    )
    uri_seconds: int = limit(60, "for fetching one file, redirects included")
    uri_redirects: int = limit(3, "of one fetch")
    uri_characters: int = limit(2048, "of a URI; a stream must not make requests of any size")


_current = Limits()


def current() -> Limits:
    """The limits that hold."""
    return _current


def for_nnc() -> NncLimits:
    """Those that hold for an NNC bitstream, as its decoder wants them."""
    from nnpf.nnc.limits import Limits as NncLimits

    return NncLimits(
        elements=_current.nnc_elements,
        elements_per_byte=_current.nnc_elements_per_byte,
        dimensions=_current.nnc_dimensions,
        units=_current.nnc_units,
        topology_bytes=_current.nnc_topology_bytes,
    )


def override(**values: int) -> None:
    """Change limits for this process, from now on; those of `vsei.limits` too.

    Raises:
        NnpfError: there is no such limit, or its value is no positive number.
    """
    global _current
    known = {entry.name for entry in listed()}
    for name, value in values.items():
        if name not in known:
            raise NnpfError(f"no limit {name!r}: there are {', '.join(sorted(known))}")
        if value < 1:
            raise NnpfError(f"limit {name} is {value}, must be positive")
    own = {item.name for item in fields(Limits)}
    of_streams.override(**{name: value for name, value in values.items() if name not in own})
    _current = replace(_current, **{name: value for name, value in values.items() if name in own})


def take(assignments: Iterable[str], environment: Mapping[str, str] = os.environ) -> None:
    """Limits as a user gives them, `NAME=VALUE`; the environment's come first.

    Raises:
        NnpfError: as `override`, or for what is no assignment.
    """
    values: dict[str, int] = {}
    for text in (*filter(None, environment.get(VARIABLE, "").split(",")), *assignments):
        name, equals, value = text.strip().partition("=")
        if not equals or not value.strip().isdigit():
            raise NnpfError(f"limit {text!r}: give NAME=VALUE, the value a whole number")
        values[name.strip()] = int(value)
    override(**values)


# What is asked of a file at once: Python takes as much memory before it reads.
_PIECE_BYTES = 1 << 20


def read(file: BinaryIO, name: str) -> bytes:
    """What a file holds, whatever it says of its size, up to one byte more than the limit of this name allows."""
    left, pieces = getattr(_current, name) + 1, []
    while left and (piece := file.read(min(left, _PIECE_BYTES))):
        pieces.append(piece)
        left -= len(piece)
    return b"".join(pieces)


def exceeded(name: str, problem: str, *, subject: str | None = None) -> NnpfError:
    """The error of a limit: what was asked for, and the way out."""
    return NnpfError(f"{problem} (--set-limit {name}=N)", subject=subject)


class Entry(NamedTuple):
    """A limit, for people."""

    name: str
    value: int
    reason: str


def listed() -> Iterator[Entry]:
    """All limits, those of bitstreams first, with the values that hold."""
    for table in (of_streams.current(), _current):
        for item in fields(table):
            yield Entry(item.name, getattr(table, item.name), item.metadata["reason"])


if __name__ == "__main__":
    print("| limit | default | why |\n|---|---|---|")
    for entry in listed():
        print(f"| `{entry.name}` | {entry.value:,} | {entry.reason} |")
