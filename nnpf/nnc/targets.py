"""Coding to a target: the quantisation parameter at which a model is just good, or just small, enough."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nnpf.nnc.decoder import decode
from nnpf.nnc.errors import NncError
from nnpf.nnc.quantization import coded_range
from nnpf.nnc.settings import Settings


@dataclass(frozen=True, slots=True)
class Distortion:
    """How far decoded float tensors are from the original ones."""

    mse: float
    max_error: float
    psnr: float  # dB, against the largest magnitude of all tensors; infinite without error


def distortion(original: Mapping[str, NDArray[Any]], decoded: Mapping[str, NDArray[Any]]) -> Distortion:
    """Of all float tensors together. Tensors that were not sent count as zero (updates)."""
    squares, largest, peak, count = 0.0, 0.0, 0.0, 0
    for name, value in original.items():
        value = np.asarray(value)
        if value.dtype.kind != "f":
            continue
        there = decoded[name].reshape(value.shape) if name in decoded else np.zeros_like(value)
        error = np.abs(value.astype(np.float64) - there)
        squares += float((error * error).sum())
        largest = max(largest, float(error.max(initial=0.0)))
        peak = max(peak, float(np.abs(value).max(initial=0.0)))
        count += value.size
    mse = squares / count if count else 0.0
    return Distortion(mse, largest, 10 * math.log10(peak * peak / mse) if mse > 0 and peak > 0 else math.inf)


def encode_to_target(
    tensors: Mapping[str, NDArray[Any]],
    encode: Callable[[Settings], bytes],
    settings: Settings,
    *,
    psnr: float | None = None,
    max_error: float | None = None,
    size: int | None = None,
    decode: Callable[[bytes], Mapping[str, NDArray[Any]]] = decode,
) -> tuple[bytes, Settings]:
    """Search for the quantisation parameter that meets one of psnr (dB, at least), max_error, size (bytes; at most).

    encode: makes a payload of the tensors with given settings. decode: gives its tensors back.
    Returns the payload and its settings.
    Raises: NncError where no parameter meets the target.
    """
    if sum(target is not None for target in (psnr, max_error, size)) != 1:
        raise NncError("one target at a time: psnr, max_error or size")

    def good(payload: bytes) -> bool:
        if size is not None:
            return len(payload) <= size
        found = distortion(tensors, decode(payload))
        return found.psnr >= psnr if psnr is not None else found.max_error <= (max_error or 0.0)

    # Quality wants the coarsest step that is still good, a size the finest.
    low, high = coded_range(settings.qp_density)
    best: tuple[bytes, Settings] | None = None
    while low <= high:
        middle = (low + high) // 2
        chosen = replace(settings, qp=middle)
        payload = encode(chosen)
        met = good(payload)
        if met:
            best = payload, chosen
        if met == (size is None):
            low = middle + 1
        else:
            high = middle - 1
    if best is None:
        raise NncError("no quantisation parameter meets the target")
    return best
