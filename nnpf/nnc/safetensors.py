"""The safetensors file format: a JSON header, then the tensors' bytes. Small enough to need no library."""

from __future__ import annotations

import json
from collections.abc import Mapping
from math import prod
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from nnpf.nnc.errors import NncError

# The format's own bound on the header.
MAX_HEADER: Final = 100_000_000

_TYPES: Final = {
    "F64": "<f8",
    "F32": "<f4",
    "F16": "<f2",
    "I64": "<i8",
    "I32": "<i4",
    "I16": "<i2",
    "I8": "|i1",
    "U8": "|u1",
    "BOOL": "|b1",
}


def read_safetensors(data: bytes) -> dict[str, NDArray[Any]]:
    """Tensors by name. NncError where the file is damaged or has elements of a type that is not known here."""
    size = int.from_bytes(data[:8], "little") if len(data) >= 8 else MAX_HEADER
    if not 2 <= size <= min(MAX_HEADER, len(data) - 8):
        raise NncError("no safetensors file: its header has no sensible size", offset=0)
    try:
        header = json.loads(data[8 : 8 + size])
        entries = {name: entry for name, entry in header.items() if name != "__metadata__"}
        described = [
            (
                str(name),
                str(e["dtype"]),
                tuple(map(int, e["shape"])),
                int(e["data_offsets"][0]),
                int(e["data_offsets"][1]),
            )
            for name, e in entries.items()
        ]
    except (ValueError, TypeError, KeyError, IndexError, AttributeError, RecursionError):
        raise NncError("no safetensors file: its header cannot be read", offset=8) from None
    body = data[8 + size :]
    tensors: dict[str, NDArray[Any]] = {}
    for name, kind, shape, start, end in described:
        if kind not in _TYPES:
            raise NncError(f"{name!r} has elements of type {kind}")
        dtype = np.dtype(_TYPES[kind])
        if not (
            0 <= start <= end <= len(body)
            and min(shape, default=0) >= 0
            and prod(shape) * dtype.itemsize == end - start
        ):
            raise NncError(f"{name!r} does not fill its place in the file", offset=8 + size + max(start, 0))
        tensors[name] = np.frombuffer(body, dtype=dtype, count=prod(shape), offset=start).reshape(shape)
    return tensors


def write_safetensors(tensors: Mapping[str, NDArray[Any]]) -> bytes:
    """A file with these tensors, in their order."""
    names = {np.dtype(v): k for k, v in _TYPES.items()}
    header: dict[str, object] = {}
    body = bytearray()
    for name, value in tensors.items():
        little = np.ascontiguousarray(value).astype(value.dtype.newbyteorder("<"), copy=False)
        if little.dtype not in names:
            raise NncError(f"{name!r} has elements of type {value.dtype}")
        start = len(body)
        body += little.tobytes()
        header[name] = {"dtype": names[little.dtype], "shape": list(value.shape), "data_offsets": [start, len(body)]}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text + bytes(body)
