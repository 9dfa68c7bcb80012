"""How the inner loops are compiled: numba, without the GIL, machine code kept on disk.

numba keeps the code in `__pycache__` beside the source, in the user's cache folder where the package is read-only, or
in NUMBA_CACHE_DIR. Where none of them can be written, the code is compiled anew in every process (seconds), with a
warning. Processes may come to an empty cache at the same time: each writes files of its own and renames them.
"""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, TypeAlias, TypeVar, cast

import numba  # type: ignore[import-untyped,unused-ignore]

_njit: Any = numba.njit

# A number in a register: Python's or numpy's, whatever numba makes of it.
Number: TypeAlias = Any

F = TypeVar("F", bound=Callable[..., Any])

# Files whose functions are compiled into each other, and the constants that they take in.
SOURCES = ("compiled.py", "tables.py", "level_*.py")


@cache
def _options() -> dict[str, Any]:
    options: dict[str, Any] = {"nogil": True, "error_model": "numpy", "boundscheck": False}
    # Without numba's reference counts: they are atomic operations, several for each bin, and took two thirds of the
    # time. The price: a compiled function cannot allocate; it is given its work space. The option is numba's own
    # (0.61 to 0.68 have it); where it is gone, the code is slower and does the same.
    try:
        from numba.core.options import DefaultOptions  # type: ignore[import-untyped,unused-ignore]
    except ImportError:
        return options
    return {**options, "_nrt": False} if hasattr(DefaultOptions, "_nrt") else options


@cache
def _digest() -> bytes:
    """Of all sources of compiled code."""
    digest = hashlib.sha256()
    for pattern in SOURCES:
        for path in sorted(Path(__file__).parent.glob(pattern)):
            digest.update(path.read_bytes())
    return digest.digest()


def _follow_all_sources(dispatcher: Any) -> None:
    """numba looks whether the file that a function stands in has changed, not at the files of what it calls. Cached
    code must not outlive a change there either."""
    file: Any = getattr(getattr(dispatcher, "_cache", None), "_cache_file", None)
    if hasattr(file, "_source_stamp"):
        file._source_stamp = (file._source_stamp, _digest())


def compiled(function: F) -> F:
    """A loop that Python calls: machine code, kept on disk."""
    try:
        dispatcher = _njit(cache=True, **_options())(function)
    except RuntimeError:  # numba found no folder that it can write
        warnings.warn("no folder for compiled code: set NUMBA_CACHE_DIR to a writable one", stacklevel=2)
        return cast(F, _njit(**_options())(function))
    _follow_all_sources(dispatcher)
    return cast(F, dispatcher)


def inlined(function: F) -> F:
    """A few lines that compiled loops contain; never called from Python."""
    return cast(F, _njit(inline="always", **_options())(function))
