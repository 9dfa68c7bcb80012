"""Pictures and tensors on a device of torch: see `nnpf.arrays`.

Planes go up and come back through pinned memory on CUDA, on the stream that is current, and nothing else crosses.
16-bit samples travel as int16 with the same bits: torch knows little of uint16 (copies, no indexing on CUDA).
"""

from __future__ import annotations

import threading
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor

from nnpf.arrays import HostArray
from nnpf.engines import OutOfMemory
from nnpf.errors import NnpfError
from nnpf.frames import Plane


def as_nnpf_error(error: RuntimeError, subject: str | None = None) -> NnpfError:
    """What torch says, in one line; OutOfMemory where that is it. Only CUDA has a class for it, others have words."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    reason = lines[-1] if lines else type(error).__name__
    if isinstance(error, torch.OutOfMemoryError) or any(words in str(error) for words in _OUT_OF_MEMORY):
        return OutOfMemory(f"torch: {reason}", subject=subject)
    return NnpfError(f"torch failed: {reason}", subject=subject)


_OUT_OF_MEMORY = ("out of memory", "can't allocate memory")


class TorchArrays:
    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._pinned = device.type == "cuda"
        self._own = threading.local()

    @contextmanager
    def at_work(self) -> Iterator[None]:
        """On CUDA each thread has a stream of its own: transfers of one go on while another computes."""
        if self._pinned and not hasattr(self._own, "stream"):
            self._own.stream = torch.cuda.Stream(self._device)  # type: ignore[no-untyped-call]
        try:
            with torch.no_grad(), torch.cuda.stream(getattr(self._own, "stream", None)):
                yield
        except RuntimeError as error:
            raise as_nnpf_error(error) from None

    def wait(self) -> None:
        if self._device.type == "cuda":
            torch.cuda.current_stream(self._device).synchronize()
        elif self._device.type == "mps":
            torch.mps.synchronize()

    def empty(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Tensor:
        return torch.empty(shape, dtype=torch.from_numpy(np.empty(0, dtype)).dtype, device=self._device)

    def like(self, array: Tensor, shape: tuple[int, ...]) -> Tensor:
        return torch.empty(shape, dtype=array.dtype, device=self._device)

    def constant(self, values: HostArray) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(values)).to(self._device)

    def plane(self, samples: Plane) -> Tensor:
        deep = samples.dtype == np.uint16
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that the samples are read-only: nothing writes into them
            # (Of a view with gaps between rows this makes a copy.)
            tensor = torch.from_numpy(np.ascontiguousarray(samples.view(np.int16) if deep else samples))
        if self._pinned:
            tensor = tensor.pin_memory()
        tensor = tensor.to(self._device, non_blocking=self._pinned).to(torch.int32)
        return tensor & 0xFFFF if deep else tensor

    def wide(self, samples: Tensor) -> Tensor:
        return samples.to(torch.int64)

    def new_plane(self, shape: tuple[int, int], bit_depth: int) -> Tensor:
        return torch.empty(shape, dtype=torch.int32, device=self._device)

    def planes(self, planes: Sequence[Tensor], bit_depths: Sequence[int]) -> list[Plane]:
        held = []
        for plane, depth in zip(planes, bit_depths, strict=True):
            # What does not fit in int16 has the same bits below zero.
            small = plane.to(torch.uint8) if depth == 8 else (((plane + 0x8000) & 0xFFFF) - 0x8000).to(torch.int16)
            if self._pinned:
                there = torch.empty(small.shape, dtype=small.dtype, pin_memory=True)
                there.copy_(small, non_blocking=True)
                held.append(there)
            else:
                held.append(small.cpu())
        if self._pinned:
            torch.cuda.current_stream(self._device).synchronize()
        return [
            plane.numpy() if depth == 8 else plane.numpy().view(np.uint16)
            for plane, depth in zip(held, bit_depths, strict=True)
        ]

    def permuted(self, array: Tensor, axes: tuple[int, ...]) -> Tensor:
        return array.permute(axes)

    def windows(self, array: Tensor, size: tuple[int, int], step: tuple[int, int]) -> Tensor:
        return array.unfold(2, size[0], step[0]).unfold(3, size[1], step[1])

    def joined(self, arrays: Sequence[Tensor]) -> Tensor:
        return torch.cat(list(arrays))

    def is_real(self, array: Tensor) -> bool:
        return array.is_floating_point()

    def has_nan(self, array: Tensor) -> bool:
        return bool(torch.isnan(array).any())

    def real_input(self, samples: Tensor, peak: int, into: Tensor) -> None:
        # Not by a number of Python: on CUDA torch would multiply by its reciprocal, which rounds otherwise.
        # In float32 at least, as `nnpf.arrays` does.
        wide = torch.promote_types(into.dtype, torch.float32)
        divisor = torch.full((1,), peak, dtype=wide, device=self._device)
        torch.div(samples.to(wide), divisor, out=into)

    def real_output(self, values: Tensor, peak: int, into: Tensor) -> None:
        into.copy_(values.to(torch.float32).mul(peak).add_(0.5).clamp_(0, peak))  # the cast drops the fraction

    def integers(self, values: Tensor) -> Tensor:
        return (values.round() if values.is_floating_point() else values).to(torch.int64)

    def clipped(self, values: Tensor, highest: int) -> Tensor:
        return values.clamp(0, highest)
