"""Which tensors of a graph of ATen operators share their memory: what is written into one changes the others, too."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from nnpf.torch_export.operators import Unsupported

# What gives a part of its input, or another look at it.
VIEWS = frozenset(
    f"aten.{name}"
    for name in (
        "slice.Tensor", "select.int", "view.default", "reshape.default", "transpose.int", "permute.default",
        "t.default", "expand.default", "squeeze.dim", "squeeze.dims", "unsqueeze.default", "flatten.using_ints",
        "split.Tensor", "split_with_sizes.default", "split.sizes", "unsafe_split.Tensor", "chunk.default", "unbind.int",
        "contiguous.default", "expand_as.default", "view_as.default", "reshape_as.default", "unflatten.int",
        "movedim.int", "narrow.default", "swapaxes.default",
    )
)  # fmt: skip
# Of these the ones that copy where torch cannot do without.
MAY_COPY = frozenset(
    f"aten.{name}" for name in ("reshape.default", "reshape_as.default", "flatten.using_ints", "contiguous.default")
)
# What gives its input itself (conversions: where it has the type already).
SAME = frozenset(
    f"aten.{name}"
    for name in (
        "alias.default", "detach.default", "dropout.default", "feature_dropout.default", "dropout2d.default",
        "to.dtype", "to.dtype_layout", "to.device",
    )
)  # fmt: skip
_MOST_UPDATES = 1 << 20


@dataclass(frozen=True, slots=True)
class View:
    """A tensor that sees the memory of another one, by the node that makes it (None: the same again), of which it is
    one of several `pieces`, or the only result."""

    of: str
    node: Mapping[str, Any] | None
    piece: int | None = None


class Views:
    """All views, by name."""

    def __init__(self) -> None:
        self._views: dict[str, View] = {}
        self._seen_by: dict[str, list[str]] = {}
        # A graph may ask for the square of its own size.
        self._left = _MOST_UPDATES

    def add(self, name: str, view: View) -> None:
        self._views[name] = view
        self._seen_by.setdefault(view.of, []).append(name)

    def get(self, name: str) -> View | None:
        return self._views.get(name)

    def below(self, name: str) -> Iterator[tuple[str, View]]:
        """What sees a tensor, and what sees that, and so on; each after what it is a view of."""
        waiting = [name]
        while waiting:
            for found in self._seen_by.get(waiting.pop(), ()):
                self._left -= 1
                if self._left < 0:
                    raise Unsupported(f"more than {_MOST_UPDATES} views of what is written into")
                yield found, self._views[found]
                waiting.append(found)
