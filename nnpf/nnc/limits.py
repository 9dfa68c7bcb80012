"""What a payload may ask for. Each limit has its reason; all of them are far above what filters need."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds on memory and time for one payload. Give your own to `decode` to go beyond the defaults."""

    elements: int = 1 << 27
    """Elements of all tensors together: 512 MiB as float32, 25 times the largest filter that is published."""

    elements_per_byte: int = 1 << 18
    """Elements of a tensor for each byte of its unit. Only rows skipped whole come near: 1 bin for a row."""

    elements_free: int = 1 << 20
    """Elements that a tensor may have whatever its unit's size: all-zero tensors code to a few bytes."""

    dimensions: int = 32
    """Dimensions of a tensor; numpy 1 has the same bound, ONNX files use at most 8."""

    units: int = 1 << 16
    """Units of a payload. A unit costs some 30 microseconds, so this is two seconds of the worst stream."""

    topology_bytes: int = 1 << 26
    """Bytes of a topology after deflate: 64 MiB; deflate alone would allow 1000 times the payload."""


DEFAULT_LIMITS = Limits()
