"""Neural-network post-filters in video bitstreams: messages in, filters applied, updates fitted (H.274 | VSEI).

    import nnpf

    nnpf.inject("in.266", "out.266", base="filter.onnx")
    for found in nnpf.read_messages("out.266"):
        print(found.picture.poc, found.message)
    for picture in nnpf.apply("out.266"):
        print(picture.record.poc, picture.frame.planes[0].mean())

What stands here is imported when it is first asked for: `import nnpf` takes no time, and needs none of the libraries
that only filtering needs.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nnpf.api import apply, fit_update, inject, read_messages, to_torch
    from nnpf.errors import NnpfError
    from nnpf.frames import Format, Frame
    from nnpf.runner import PictureRecord, Shown
    from nnpf.show import to_rgb

__all__ = [
    "Format",
    "Frame",
    "NnpfError",
    "PictureRecord",
    "Shown",
    "apply",
    "fit_update",
    "inject",
    "read_messages",
    "to_rgb",
    "to_torch",
]

_MODULES = {
    "Format": "nnpf.frames",
    "Frame": "nnpf.frames",
    "NnpfError": "nnpf.errors",
    "PictureRecord": "nnpf.runner",
    "Shown": "nnpf.runner",
    "apply": "nnpf.api",
    "fit_update": "nnpf.api",
    "inject": "nnpf.api",
    "read_messages": "nnpf.api",
    "to_rgb": "nnpf.show",
    "to_torch": "nnpf.api",
}


def __getattr__(name: str) -> Any:
    if name == "nnc":
        return importlib.import_module("nnpf.nnc")
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(_MODULES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *_MODULES, "nnc"])
