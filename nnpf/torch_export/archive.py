"""The archive of torch.export.save: a ZIP file with a graph in JSON and weights as bytes. No pickle is opened."""

from __future__ import annotations

import io
import json
import math
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from nnpf.errors import NnpfError

Array = npt.NDArray[Any]

# The most that an archive may unpack to: entries are stored, so hostile ones are those that say otherwise.
MAX_UNPACKED = 1 << 30
# What weights may take beyond the bytes of their entries: values that are repeated (strides of 0), shared weights.
MAX_REPEATED = 64 << 20
# torch stores; others may have packed it again. LZMA takes as much memory as a few bytes ask for.
_PACKED = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_ZIP_MAGIC = b"PK\x03\x04"
# ScalarType of torch's schema.
DTYPES: Mapping[int, np.dtype[Any]] = {
    1: np.dtype(np.uint8),
    2: np.dtype(np.int8),
    3: np.dtype(np.int16),
    4: np.dtype(np.int32),
    5: np.dtype(np.int64),
    6: np.dtype(np.float16),
    7: np.dtype(np.float32),
    8: np.dtype(np.float64),
    12: np.dtype(np.bool_),
    28: np.dtype(np.uint16),
}


@dataclass(frozen=True, slots=True, eq=False)
class Archive:
    """What is in it.

    Attributes:
        program: the exported program, as torch's schema has it.
        weights: parameters, buffers and constants by their names in the module.
    """

    program: dict[str, Any]
    weights: dict[str, Array]


def is_archive(data: bytes) -> bool:
    """Whether it is a ZIP file, which no other model format here is."""
    return data.startswith(_ZIP_MAGIC)


def read(data: bytes, name: str) -> Archive:
    """The parts of an archive that are needed.

    Raises:
        NnpfError: it is broken, too large, of an older version, or its weights are pickled.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as file:
            unpacked = sum(entry.file_size for entry in file.infolist())
            if unpacked > MAX_UNPACKED:
                raise NnpfError(f"unpacks to more than {MAX_UNPACKED} bytes", subject=name)
            if any(entry.compress_type not in _PACKED for entry in file.infolist()):
                raise NnpfError("is packed as torch.export.save packs nothing", subject=name)
            entries = {entry.partition("/")[2]: entry for entry in file.namelist()}
            if "models/model.json" not in entries:
                raise NnpfError(
                    "is no archive of torch.export.save with one model; save it with torch 2.9 or later", subject=name
                )
            if "byteorder" in entries and file.read(entries["byteorder"]) != b"little":
                raise NnpfError("is not little-endian", subject=name)
            program = json.loads(file.read(entries["models/model.json"]))
            weights: dict[str, Array] = {}
            room = unpacked + MAX_REPEATED
            for kind in ("weights", "constants"):
                config = entries.get(f"data/{kind}/model_{kind}_config.json")
                listed = json.loads(file.read(config))["config"] if config is not None else {}
                for own, entry in listed.items():
                    if entry["use_pickle"]:
                        raise NnpfError(f"{own!r} is pickled, which is not read; make it contiguous", subject=name)
                    data_of = file.read(entries[f"data/{kind}/{entry['path_name']}"])
                    weights[own] = _array(data_of, entry["tensor_meta"], room)
                    room -= weights[own].nbytes
    except (
        # The last ones: of zipfile, for entries that are damaged, encrypted or packed in unknown ways.
        *(AttributeError, LookupError, OverflowError, RecursionError, TypeError, ValueError),
        *(zipfile.BadZipFile, zlib.error, EOFError, RuntimeError),
    ) as error:
        if isinstance(error, NnpfError):
            raise
        raise NnpfError(f"is no archive of torch.export.save: {error or type(error).__name__}", subject=name) from None
    return Archive(program, weights)


def _array(data: bytes, meta: Mapping[str, Any], room: int) -> Array:
    dtype = DTYPES.get(meta["dtype"])
    if dtype is None:
        raise NnpfError(f"a weight is of type {meta['dtype']} of torch, which is not known here")
    shape, strides = ([int(item["as_int"]) for item in meta[key]] for key in ("sizes", "strides"))
    offset = int(meta["storage_offset"]["as_int"])
    if min([0, offset, *shape, *strides]) < 0 or len(shape) != len(strides):
        raise ValueError("a weight has a size below 0")
    # Strides of 0 make any size out of one value.
    if math.prod(shape) * dtype.itemsize > room:
        raise ValueError(f"a weight of {shape} would take more than the {room} bytes that are left for it")
    stored = np.frombuffer(data, dtype.newbyteorder("<"))
    last = offset + sum((size - 1) * stride for size, stride in zip(shape, strides, strict=True))
    if math.prod(shape) and last >= stored.size:
        raise ValueError("a weight reaches beyond its bytes")
    view = np.lib.stride_tricks.as_strided(stored[offset:], shape, [stride * dtype.itemsize for stride in strides])
    return np.array(view, dtype)
