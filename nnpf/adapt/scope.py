"""Which parameters of a base filter an update may change."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from nnpf.errors import NnpfError
from nnpf.model import Model
from nnpf.prepare import UpdateTensor, update_tensor

NAMES: Final = ("multipliers", "biases", "last", "all")
_CONVOLUTIONS: Final = frozenset({"Conv", "ConvTranspose"})


@dataclass(frozen=True, slots=True, eq=False)
class Scope:
    """Free parameters.

    Attributes:
        label: as the user wrote it.
        masks: for each tensor that may change which of its elements; None: all.
    """

    label: str
    masks: Mapping[str, npt.NDArray[np.bool_] | None]

    def num_free(self, parameters: Mapping[str, npt.NDArray[Any]]) -> int:
        return sum(parameters[name].size if mask is None else int(mask.sum()) for name, mask in self.masks.items())


def scope_of(model: Model, wanted: str) -> Scope:
    """The parameters that a name stands for.

    Args:
        wanted: one or more of NAMES, joined by "+"; "last:2" for the last two convolutions.

    Raises:
        NnpfError: no such name, or the model has no such parameters.
    """
    masks: dict[str, npt.NDArray[np.bool_] | None] = {}
    for part in wanted.split("+"):
        for name, mask in _part(model, part).items():
            before = masks.get(name, False)
            if before is None or mask is None:
                masks[name] = None
            else:
                masks[name] = mask if before is False else np.logical_or(before, mask)
    return Scope(wanted, masks)


def _part(model: Model, wanted: str) -> Mapping[str, npt.NDArray[np.bool_] | None]:
    prepared = update_tensor(model)
    name, _, number = wanted.partition(":")
    if name not in NAMES or (number and (name != "last" or not number.isdigit() or int(number) == 0)):
        raise NnpfError(f"parameters {wanted!r}: {', '.join(NAMES)} or last:2 is wanted, or several joined by +")
    if name in ("multipliers", "biases") and prepared is not None and name in prepared.spans:
        return {prepared.name: _span(model, prepared, name)}
    if name == "multipliers":
        raise NnpfError("has no tensor of multipliers: put it in with `nnpf prepare`", subject=model.name)
    convolutions = [node for node in model.proto.graph.node if node.op_type in _CONVOLUTIONS]
    floats = {key for key, value in model.parameters.items() if value.dtype == np.float32}
    if name == "biases":
        names = {node.input[2] for node in convolutions if len(node.input) > 2}
    elif name == "last":
        names = {key for node in convolutions[-int(number or 1) :] for key in node.input[1:]}
    else:
        # A scalar is a setting of the graph rather than something that was learned.
        names = {key for key in floats if model.parameters[key].size > 1}
    names &= floats
    if not names:
        raise NnpfError(f"has no float32 parameters of the kind {wanted!r}", subject=model.name)
    return {key: None for key in model.parameters if key in names}


def _span(model: Model, prepared: UpdateTensor, kind: str) -> npt.NDArray[np.bool_]:
    mask = np.zeros(model.parameters[prepared.name].size, np.bool_)
    first, end = next(span for key, span in prepared.spans.items() if key == kind)
    mask[first:end] = True
    return mask
