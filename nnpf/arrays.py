"""What `nnpf.tensors` asks of a library of arrays: numpy here, torch on a device in `nnpf.engines.torch_arrays`.

The patch-wise process is written once, with slices, `shape` and operators, which all such libraries share. What they do
not share stands here.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from nnpf.frames import Plane

# An array of a library: of numpy, or a tensor of torch.
Array = Any
HostArray = npt.NDArray[Any]

# Rows are converted in blocks that stay in the processor's second-level cache.
_BLOCK_BYTES = 256 << 10


class Arrays(Protocol):
    """A library, and a place for its arrays."""

    def at_work(self) -> AbstractContextManager[None]:
        """To be held by a thread while it uses the other functions. What it starts there runs in order, beside what
        other threads start. OutOfMemory, NnpfError: what goes wrong there."""

    def wait(self) -> None:
        """Until all is done that this thread has started."""

    def empty(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array: ...

    def like(self, array: Array, shape: tuple[int, ...]) -> Array:
        """One of the same type, not filled."""

    def constant(self, values: HostArray) -> Array:
        """What arrays are indexed with: integers or truth values."""

    def plane(self, samples: Plane) -> Array:
        """The samples of a picture, there; integers of any type that holds them."""

    def wide(self, samples: Array) -> Array:
        """As integers that take any shift."""

    def new_plane(self, shape: tuple[int, int], bit_depth: int) -> Array:
        """For samples that are stored; for `planes`."""

    def planes(self, planes: Sequence[Array], bit_depths: Sequence[int]) -> list[Plane]:
        """Planes as pictures have them: uint8 at 8 bits, uint16 above."""

    def permuted(self, array: Array, axes: tuple[int, ...]) -> Array:
        """A view with the axes in another order."""

    def windows(self, array: Array, size: tuple[int, int], step: tuple[int, int]) -> Array:
        """Of (a, b, rows, columns) all (a, b, window row, window column, row, column); a view."""

    def joined(self, arrays: Sequence[Array]) -> Array:
        """One after the other along the first axis."""

    def is_real(self, array: Array) -> bool: ...

    def has_nan(self, array: Array) -> bool: ...

    def real_input(self, samples: Array, peak: int, into: Array) -> None:
        """into = samples / peak, rounded to the type of `into`: InpY and InpC for nnpfc_inp_format_idc 0."""

    def real_output(self, values: Array, peak: int, into: Array) -> None:
        """into = values * peak in float32, to the nearest integer, halves up, within 0..peak: OutY and OutC."""

    def integers(self, values: Array) -> Array:
        """Values that a network gives as integers, or carries as real numbers, as wide integers."""

    def clipped(self, values: Array, highest: int) -> Array:
        """Within 0..highest."""


class NumpyArrays:
    """On the processor."""

    def at_work(self) -> AbstractContextManager[None]:
        return nullcontext()

    def wait(self) -> None:
        pass

    def empty(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> HostArray:
        return np.empty(shape, dtype)

    def like(self, array: HostArray, shape: tuple[int, ...]) -> HostArray:
        return np.empty(shape, array.dtype)

    def constant(self, values: HostArray) -> HostArray:
        return values

    def plane(self, samples: Plane) -> HostArray:
        return samples

    def wide(self, samples: HostArray) -> HostArray:
        return samples.astype(np.uint32)

    def new_plane(self, shape: tuple[int, int], bit_depth: int) -> HostArray:
        return np.empty(shape, np.uint8 if bit_depth == 8 else np.uint16)

    def planes(self, planes: Sequence[HostArray], bit_depths: Sequence[int]) -> list[Plane]:
        return list(planes)

    def permuted(self, array: HostArray, axes: tuple[int, ...]) -> HostArray:
        return array.transpose(axes)

    def windows(self, array: HostArray, size: tuple[int, int], step: tuple[int, int]) -> HostArray:
        return np.lib.stride_tricks.sliding_window_view(array, size, (2, 3))[:, :, :: step[0], :: step[1]]

    def joined(self, arrays: Sequence[HostArray]) -> HostArray:
        return np.concatenate(arrays)

    def is_real(self, array: HostArray) -> bool:
        return array.dtype.kind == "f"

    def has_nan(self, array: HostArray) -> bool:
        # (The largest of all is NaN where one is.)
        return bool(np.isnan(array.max()))

    def real_input(self, samples: HostArray, peak: int, into: HostArray) -> None:
        # In float16 samples of more than 11 bits would be rounded before, and those of 16 bits infinite.
        wide = np.promote_types(into.dtype, np.float32)
        np.divide(samples, wide.type(peak), out=into, dtype=wide, casting="unsafe")

    def real_output(self, values: HostArray, peak: int, into: HostArray) -> None:
        rows = max(1, _BLOCK_BYTES // max(1, values.shape[1] * 4))
        for top in range(0, values.shape[0], rows):
            block = np.multiply(values[top : top + rows], np.float32(peak), dtype=np.float32)
            block += np.float32(0.5)
            np.clip(block, np.float32(0), np.float32(peak), out=block)
            into[top : top + rows] = block  # the cast drops the fraction

    def integers(self, values: HostArray) -> HostArray:
        return (np.rint(values) if values.dtype.kind == "f" else values).astype(np.int64)

    def clipped(self, values: HostArray, highest: int) -> HostArray:
        return np.clip(values, 0, highest)


NUMPY = NumpyArrays()
