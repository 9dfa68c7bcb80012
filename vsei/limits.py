"""What a stream may ask for. One table, which a user may change: `override(nal_unit_bytes=1 << 30)`.

Input comes from strangers, and a few bytes can claim gigabytes. Each limit is far above what real streams need, and its
reason stands with it. Whoever checks one reads `current` at that moment and names the limit in the error.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace
from typing import Any

from vsei.errors import VseiError


def limit(default: int, reason: str) -> Any:
    """A field of a table of limits."""
    return field(default=default, metadata={"reason": reason})


@dataclass(frozen=True, slots=True)
class Limits:
    """For bitstreams. The limits of filters and models are in `nnpf.limits`."""

    nal_unit_bytes: int = limit(
        256 << 20, "one NAL unit is held in memory; intra pictures of 8K video at the highest levels stay below 100 MB"
    )
    leading_bytes: int = limit(
        64 << 20, "bytes before the first start code (leading_zero_8bits); more say that the input is no byte stream"
    )
    nesting_depth: int = limit(
        4, "SEI messages inside nesting messages; the standards allow one level (H.266 D.6.2), hostile streams try more"
    )


_current = Limits()


def current() -> Limits:
    """The limits that hold."""
    return _current


def override(**values: int) -> None:
    """Change limits for this process, from now on.

    Raises:
        VseiError: there is no such limit, or its value is no positive number.
    """
    global _current
    known = {item.name for item in fields(Limits)}
    for name, value in values.items():
        if name not in known:
            raise VseiError(f"no limit {name!r}: there are {', '.join(sorted(known))}")
        if value < 1:
            raise VseiError(f"limit {name} is {value}, must be positive")
    _current = replace(_current, **values)
