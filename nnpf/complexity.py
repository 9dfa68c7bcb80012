"""What a filter costs, counted from its model, and whether the message that announces it says so.

H.274 8.28.1.2 gives the complexity elements as upper bounds; an element that is 0 where 0 means "unspecified" claims
nothing and is not checked.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from nnpf.characteristics import patch_process
from nnpf.describe import macs_per_luma_sample
from nnpf.filters import input_shapes, plan_patches
from nnpf.frames import Format
from nnpf.model import Model
from vsei.messages import NnpfCharacteristics


@dataclass(frozen=True, slots=True)
class Claim:
    """A complexity element against the model.

    Attributes:
        stated: value of the element.
        bound: the most that it allows, in the unit of `measured`.
        measured: parameters, bits of a parameter, MAC per luma sample, bytes; for nnpfc_parameter_type_idc 1 where a
            parameter is a floating-point number, else 0.
    """

    element: str
    stated: int
    bound: float
    measured: float

    @property
    def holds(self) -> bool:
        return self.measured <= self.bound


@dataclass(frozen=True, slots=True)
class Complexity:
    """What one filter costs, for pictures of one format.

    Attributes:
        parameters: numbers in the model.
        parameter_bytes: as the model holds them, uncompressed.
        macs: multiply-accumulate operations for each luma sample of a large picture, without what overlap costs.
        macs_with_overlap: of one patch, for each luma sample that the patch covers without its overlap.
        macs_of_picture: of all patches, for each luma sample of the picture: what hangs over its edges is paid for too.
        patch: columns and rows, in units (see `nnpf.tensors`), without overlap.
        patches: how many make up a picture.
        overlap: nnpfc_overlap.
        claims: what the message says of it; empty where it says nothing.
    """

    parameters: int
    parameter_bytes: int
    macs: float
    macs_with_overlap: float
    macs_of_picture: float
    patch: tuple[int, int]
    patches: int
    overlap: int
    claims: tuple[Claim, ...]


def complexity(
    model: Model,
    base: NnpfCharacteristics,
    message: NnpfCharacteristics,
    form: Format,
    patch: tuple[int, int] | None = None,
    out_bit_depth: int | None = None,
) -> Complexity:
    """Count what a filter costs.

    Args:
        base: the message with the filter's properties.
        message: whose complexity elements are checked: the base, or an update, whose complexity may differ.
        form: of the decoded pictures.
        patch, out_bit_depth: what the user asks for, see `nnpf.runner.ApplyOptions`.

    Raises:
        NnpfError: model, message and pictures do not suit each other, or the cost depends on the data.
    """
    plan = plan_patches(model, patch_process(base, form, out_bit_depth), patch).plan
    one_patch = model.cost(input_shapes(model, plan, 1)).macs
    elements = {
        "nnpfc_inp_order_idc": base.nnpfc_inp_order_idc,
        "nnpfc_component_last_flag": base.nnpfc_component_last_flag,
    }
    macs = macs_per_luma_sample(model, elements)
    size = sum(array.nbytes for array in model.parameters.values())
    return Complexity(
        parameters=model.num_parameters,
        parameter_bytes=size,
        macs=macs,
        macs_with_overlap=one_patch / math.prod(plan.patch + plan.process.inp_unit),
        macs_of_picture=one_patch * plan.num_patches / (form.width * form.height),
        patch=(plan.patch[1], plan.patch[0]),
        patches=plan.num_patches,
        overlap=plan.process.overlap,
        claims=_claims(model, message, macs, size),
    )


def _claims(model: Model, message: NnpfCharacteristics, macs: float, size: int) -> tuple[Claim, ...]:
    if not message.nnpfc_complexity_info_present_flag:
        return ()
    arrays = model.parameters.values()
    kind = message.nnpfc_parameter_type_idc
    bit_length = message.nnpfc_log2_parameter_bit_length_minus3
    parameters = message.nnpfc_num_parameters_idc
    kmac, kilobytes = message.nnpfc_num_kmac_operations_idc, message.nnpfc_total_kilobyte_size
    claims = []
    if kind == 0:  # integers only; 1 allows both
        claims.append(Claim("nnpfc_parameter_type_idc", kind, 0, int(any(a.dtype.kind == "f" for a in arrays))))
    if bit_length is not None:
        bits = max((a.dtype.itemsize * 8 for a in arrays), default=0)
        claims.append(Claim("nnpfc_log2_parameter_bit_length_minus3", bit_length, 1 << (bit_length + 3), bits))
    if parameters:
        claims.append(Claim("nnpfc_num_parameters_idc", parameters, (2048 << parameters) - 1, model.num_parameters))
    if kmac:
        claims.append(Claim("nnpfc_num_kmac_operations_idc", kmac, kmac * 1000, macs))
    if kilobytes:
        claims.append(Claim("nnpfc_total_kilobyte_size", kilobytes, kilobytes * 1000, size))
    return tuple(claims)
