"""A GPU for machines without one: tensors of the CPU that claim to lie elsewhere.

Torch refuses to mix devices only where there are two of them. Inside `PretendGpu` the device "meta" is a second one:
what is made on it or sent to it holds real samples, and an operator that meets tensors of both devices fails as it does
on CUDA. `reads` counts how often something there was looked at from here, which makes a GPU wait.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

GPU = torch.device("meta")
# These take tensors of both devices, on CUDA too: copies, and indices.
_MIXED = frozenset({"aten::_to_copy", "aten::copy_", "aten::index", "aten::index_put_", "aten::_index_put_impl_"})


class There(Tensor):
    """A tensor on the GPU. `held`: its samples, here."""

    held: Tensor

    @staticmethod
    def __new__(cls, held: Tensor) -> "There":
        made: There = torch.Tensor._make_wrapper_subclass(
            cls, held.shape, held.stride(), held.storage_offset(), dtype=held.dtype, device=GPU
        )
        made.held = held
        return made

    @classmethod
    def __torch_dispatch__(cls, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        raise AssertionError("used outside of PretendGpu")

    def tolist(self) -> Any:
        return self.cpu().tolist()


class PretendGpu(TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()
        self.reads = 0

    def __torch_dispatch__(
        self, function: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        name = function._schema.name
        tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        there = any(isinstance(tensor, There) for tensor in tensors)
        here = any(not isinstance(tensor, There) and tensor.ndim > 0 for tensor in tensors)
        if there and here and name not in _MIXED:
            raise RuntimeError(f"{name}: Expected all tensors to be on the same device, but found at least two devices")
        device = kwargs.get("device")
        gives = there if device is None else torch.device(device) == GPU
        if name == "aten::copy_":
            gives = isinstance(args[0], There)
        self.reads += there and (name == "aten::_local_scalar_dense" or not gives)
        if device is not None:
            kwargs = {**kwargs, "device": torch.device("cpu")}
        result = function(*tree_map(_held, args), **tree_map(_held, kwargs))
        if not gives:
            return result
        # An operator that works in place gives what it was given.
        known = {id(_held(tensor)): tensor for tensor in tensors}

        def there_now(leaf: Any) -> Any:
            if not isinstance(leaf, Tensor):
                return leaf
            return known[id(leaf)] if id(leaf) in known else There(leaf)

        return tree_map(there_now, result)


def _held(leaf: Any) -> Any:
    return leaf.held if isinstance(leaf, There) else leaf


def sent(tensor: Tensor) -> Tensor:
    """On the GPU; for use inside `PretendGpu`."""
    return tensor.to(GPU)
