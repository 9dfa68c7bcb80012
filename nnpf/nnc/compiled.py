"""How the inner loops are compiled: numba, without the GIL, machine code kept on disk.

numba keeps the code in `__pycache__` beside the source, in the user's cache folder where the package is read-only, or
in NUMBA_CACHE_DIR. Where none of them can be written, the code is compiled anew in every process (seconds), with a
warning. One trap for whoever edits: numba looks only at the date of the file that a function stands in. After a change
in a function that other files call, remove their cached code (`find nnpf -name '*.nb[ic]' -delete`).
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any, TypeAlias, TypeVar, cast

import numba  # type: ignore[import-untyped,unused-ignore]

_njit: Any = numba.njit

# A number in a register: Python's or numpy's, whatever numba makes of it.
Number: TypeAlias = Any

F = TypeVar("F", bound=Callable[..., Any])

# Without numba's reference counts: they are atomic operations, several for each bin, and took two thirds of the time.
# The price: a compiled function cannot allocate; it is given its work space.
_OPTIONS: dict[str, Any] = {"nogil": True, "error_model": "numpy", "boundscheck": False, "_nrt": False}


def compiled(function: F) -> F:
    """A loop that Python calls: machine code, kept on disk."""
    try:
        return cast(F, _njit(cache=True, **_OPTIONS)(function))
    except RuntimeError:  # numba found no folder that it can write
        warnings.warn("no folder for compiled code: set NUMBA_CACHE_DIR to a writable one", stacklevel=2)
        return cast(F, _njit(**_OPTIONS)(function))


def inlined(function: F) -> F:
    """A few lines that compiled loops contain; never called from Python."""
    return cast(F, _njit(inline="always", **_OPTIONS)(function))
