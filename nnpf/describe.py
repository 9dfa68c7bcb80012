"""From a model to the NNPFC message that describes it: what can be derived is derived, what is given holds.

In order: what the caller gives; `nnpfc_...` entries of the model's metadata (metadata_props of ONNX); what the tensor
shapes, the parameters and the operations of the graph say; the default, which is 0 (replicate padding excepted).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from contextlib import suppress
from fractions import Fraction
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from nnpf import elements
from nnpf.errors import NnpfError
from nnpf.implied import with_implied
from vsei.messages import NnpfCharacteristics, nnpf

if TYPE_CHECKING:
    from nnpf.frames import Format
    from nnpf.model import Model, Shape

# What tells the receiver that an ONNX file is at the URI. The same tag as the one other decoder of such messages takes.
ONNX_TAG = "tag:onnx.ai,2017:onnx"
# Neither PyTorch nor the standard has a tag for the format of torch.export; this one is of this program's making.
PT2_TAG = "tag:pytorch.org,2025:torch.export"
NNC_TAG = "tag:iso.org,2023:15938-17"  # H.274 8.28.1.2

CHANNELS_OF_ORDER = {0: 1, 1: 2, 2: 3, 3: 6}
_ORDER_OF_CHANNELS = {channels: order for order, channels in CHANNELS_OF_ORDER.items()}

# Elements that are no properties.
_ALWAYS = frozenset(("nnpfc_purpose", "nnpfc_id", "nnpfc_base_flag", "nnpfc_mode_idc"))

# Patch that a model of free size is probed with, in tensor samples; a multiple of every common stride.
_PROBE = 192
# What networks want sizes to be multiples of; few, for each is tried on the graph, which may be a stranger's.
_STRIDES = (1, 2, 3, 4, 5, 6, 7, 8, 10, 12, 14, 16, 20, 24, 28, 32, 48, 56, 64)

Elements = Mapping[str, Any]


def characteristics(
    identity: Elements,
    model: Model | None,
    given: Elements,
    defaults: Elements = MappingProxyType({}),
    picture: Format | None = None,
) -> NnpfCharacteristics:
    """The NNPFC message for a filter.

    Args:
        identity: nnpfc_id, nnpfc_base_flag, nnpfc_mode_idc, and the URI or the payload.
        model: the filter, to derive properties from; None where all are given, or take their default.
        given: property elements that hold as they are. An update without any has nnpfc_property_present_flag 0; a base
            filter has to have its properties (H.274 8.28.1.2).
        defaults: for elements that are neither given nor derived.
        picture: what it will be applied to, where known; free patch sizes are made to suit it.

    Raises:
        VseiError: an element that the message does not have.
        NnpfError: a property can neither be derived nor was it given.
    """
    given = {name: value for name, value in given.items() if value is not None}
    present = given.get("nnpfc_property_present_flag", int(bool(identity["nnpfc_base_flag"] or given.keys() - _ALWAYS)))
    values = {**identity, "nnpfc_property_present_flag": present, **given}
    usual = {"nnpfc_purpose": nnpf.VISUAL_QUALITY, "nnpfc_padding_type": 1, "nnpfc_input_pic_filtering_flag": 1}
    usual |= defaults

    if present and model is not None:
        # Of what is given a wrong kind or size is told before anything is worked out with it. (What belongs to elements
        # that are derived is no part of the message yet.)
        told = {**_metadata(model), **values}
        elements.complete(NnpfCharacteristics, nnpf.nnpfc, told, usual, superfluous=True)
        values = {**_derived(model, given), **values}

    def made(values: Elements) -> NnpfCharacteristics:
        return elements.complete(NnpfCharacteristics, nnpf.nnpfc, with_implied(values, usual), usual)

    message = made(values)
    if present and model is not None and message.nnpfc_constant_patch_size_flag == 0:
        # Made anew: a count of bits may be another one behind them.
        message = made({**_deltas(model, message, picture), **values})
    return message


def _derived(model: Model, given: Elements) -> dict[str, Any]:
    own = {**_metadata(model), **given}
    found: dict[str, Any] = {**_metadata(model)}
    last = bool(own.get("nnpfc_component_last_flag", 0))
    channel_axis = -1 if last else -3
    inp, out = _probed(model, last)
    c_in, c_out = model.tensor_input.shape[channel_axis], out[channel_axis]
    # Tensors of rank 5 have an axis for pictures; of rank 4 they are folded into the channels.
    pictures = own.get("nnpfc_num_input_pics_minus1", 0) + 1 if model.tensor_input.rank == 4 else 1
    outputs = _num_output_pictures(own) if len(out) == 4 else 1
    if "nnpfc_out_order_idc" not in own:
        if c_out not in [channels * outputs for channels in _ORDER_OF_CHANNELS]:
            raise _undecided(model, "nnpfc_out_order_idc", f"the output has {c_out} channels{_for(outputs)}")
        found["nnpfc_out_order_idc"] = _ORDER_OF_CHANNELS[c_out // outputs]
    if c_in is not None and c_in % pictures == 0:
        found |= _input_channels(
            model, c_in // pictures, own, own.get("nnpfc_out_order_idc", found.get("nnpfc_out_order_idc"))
        )
    elif not {"nnpfc_inp_order_idc", "nnpfc_auxiliary_inp_idc"} <= own.keys():
        why = f"the input has {c_in} channels{_for(pictures)}"
        if c_in is None:
            why = "the input has any number of channels" + (
                "" if last else " (nnpfc_component_last_flag=1: the last axis)"
            )
        raise _undecided(model, "nnpfc_inp_order_idc", why)
    found |= _patch(model, own, last, inp, out)
    found |= _complexity(model, own, {**found, **own})
    return found


def _for(pictures: int) -> str:
    return f" for {pictures} pictures" if pictures > 1 else ""


def _num_output_pictures(own: Elements) -> int:
    """How many pictures the output tensor has (`nnpf.characteristics.output_pictures`), from elements that may be a
    part of them."""
    purpose = own.get("nnpfc_purpose", nnpf.VISUAL_QUALITY)
    inputs = own.get("nnpfc_num_input_pics_minus1", 0) + 1
    count = 1
    if inputs > 1:
        flags = _listed(own.get("nnpfc_input_pic_filtering_flag", ()))
        count = sum(flags) + max(0, inputs - len(flags))
    elif purpose == nnpf.TEMPORAL_EXTRAPOLATION:
        count = 0
    if purpose & nnpf.PICTURE_RATE_UPSAMPLING:
        count += sum(_listed(own.get("nnpfc_interpolated_pics", ())))
    if purpose & nnpf.TEMPORAL_EXTRAPOLATION:
        count += own.get("nnpfc_extrapolated_pics_minus1", 0) + 1
    return max(1, count)


def _listed(value: Any) -> list[int]:
    return list(value) if isinstance(value, (list, tuple)) else [value]


def _metadata(model: Model) -> dict[str, Any]:
    """`nnpfc_...` entries that the model file carries itself."""
    found: dict[str, Any] = {}
    for entry in model.proto.metadata_props:
        if entry.key.startswith("nnpfc_"):
            found[entry.key] = elements.element_value(entry.key, entry.value)
    return found


def _input_channels(model: Model, channels: int, own: Elements, out_order: int | None) -> dict[str, Any]:
    """Order and strength channel from the number of channels of one input picture."""
    fits = [
        (order, strength)
        for order, count in CHANNELS_OF_ORDER.items()
        for strength in (0, 1)
        if count + strength == channels
        and own.get("nnpfc_inp_order_idc", order) == order
        and own.get("nnpfc_auxiliary_inp_idc", strength) & nnpf.STRENGTH_INPUT == strength
    ]
    same = [fit for fit in fits if fit[0] == out_order]
    if len(same or fits) != 1:
        raise _undecided(model, "nnpfc_inp_order_idc", f"the input has {channels} channels for each picture")
    order, strength = (same or fits)[0]
    return {"nnpfc_inp_order_idc": order, "nnpfc_auxiliary_inp_idc": own.get("nnpfc_auxiliary_inp_idc", strength)}


def _patch(model: Model, own: Elements, last: bool, inp: Shape, out: Shape) -> dict[str, Any]:
    """Overlap and patch size, from the shapes of input and output."""
    height, width = (-3, -2) if last else (-2, -1)
    found: dict[str, Any] = {}
    static = model.tensor_input.shape[height] is not None and model.tensor_input.shape[width] is not None
    purpose = own.get("nnpfc_purpose", nnpf.VISUAL_QUALITY)
    if purpose & nnpf.SPATIAL_EXTRAPOLATION:
        overlap = 0
    elif "nnpfc_overlap" in own:
        overlap = own["nnpfc_overlap"]
    else:
        if purpose & (nnpf.RESOLUTION_RESAMPLING | nnpf.CHROMA_UPSAMPLING):
            raise _undecided(model, "nnpfc_overlap", "input and output differ in size by more than the overlap")
        overlap, odd = divmod(inp[height] - out[height], 2)
        if odd or overlap < 0:
            raise _undecided(model, "nnpfc_overlap", f"an input of {inp[height]} rows gives {out[height]}")
        found["nnpfc_overlap"] = overlap
    if purpose & nnpf.SPATIAL_EXTRAPOLATION or own.get("nnpfc_constant_patch_size_flag", int(static)):
        if static:
            found["nnpfc_patch_width_minus1"] = inp[width] - 2 * overlap - 1
            found["nnpfc_patch_height_minus1"] = inp[height] - 2 * overlap - 1
        if not purpose & nnpf.SPATIAL_EXTRAPOLATION:
            found["nnpfc_constant_patch_size_flag"] = 1
    else:
        found["nnpfc_constant_patch_size_flag"] = 0
    return found


def _deltas(model: Model, message: NnpfCharacteristics, picture: Format | None) -> dict[str, Any]:
    """Which patch sizes are left free: the network takes all of them, and the picture needs hardly larger ones."""
    from nnpf.characteristics import patch_process
    from nnpf.patch_sizes import choose_deltas, smallest_delta

    overlap = message.nnpfc_overlap or 0
    steps = strides(model, bool(message.nnpfc_component_last_flag), overlap)
    height, width = (smallest_delta(overlap, step) for step in steps)
    if picture is not None:
        with suppress(NnpfError):  # the filter does not suit such pictures; a rule says so
            height, width = choose_deltas(patch_process(message, picture), steps)
    return {
        "nnpfc_extended_patch_width_cd_delta_minus1": width - 1,
        "nnpfc_extended_patch_height_cd_delta_minus1": height - 1,
    }


def strides(model: Model, last: bool, overlap: int) -> tuple[int, int]:
    """What rows and columns of the input have to be multiples of, so that the output has the size it should: more than
    1 where the network halves sizes inside, or works in windows. 1 where none of _STRIDES will do."""
    inp, out = _probed(model, last)
    found = [1, 1]
    for at, axis in enumerate((-3, -2) if last else (-2, -1)):
        if model.tensor_input.shape[axis] is not None or inp[axis] <= 2 * overlap or -axis > len(out):
            continue
        scale = Fraction(out[axis], inp[axis] - 2 * overlap)

        def fits(size: int, at: int = at, axis: int = axis, scale: Fraction = scale) -> bool:
            wanted = (size - 2 * overlap) * scale
            sizes = [_PROBE, _PROBE]
            sizes[at] = size
            try:
                return wanted.denominator != 1 or model.cost(_shapes(model, last, *sizes)).output_shape[axis] == wanted
            except NnpfError:
                return False

        first = max(_PROBE, 2 * overlap + 1)
        for stride in _STRIDES:
            start = -(-first // stride)
            if all(fits(stride * n) for n in range(start, start + 4)):
                found[at] = stride
                break
    return found[0], found[1]


def _complexity(model: Model, own: Elements, known: Elements) -> dict[str, Any]:
    """The complexity elements, H.274 8.28.1.2: upper bounds, rounded up."""
    if "nnpfc_complexity_info_present_flag" in own:
        return {}
    floating = any(array.dtype.kind == "f" for array in model.parameters.values())
    bits = max((array.dtype.itemsize * 8 for array in model.parameters.values()), default=8)
    size = sum(array.size * array.dtype.itemsize for array in model.parameters.values())
    macs = math.ceil(macs_per_luma_sample(model, known))
    return {
        "nnpfc_complexity_info_present_flag": 1,
        "nnpfc_parameter_type_idc": int(floating),
        "nnpfc_log2_parameter_bit_length_minus3": max(0, min(3, math.ceil(math.log2(bits)) - 3)),
        # parameters <= (2048 << idc) - 1
        "nnpfc_num_parameters_idc": max(1, math.ceil(math.log2((model.num_parameters + 1) / 2048))),
        "nnpfc_num_kmac_operations_idc": max(1, math.ceil(macs / 1000)),
        "nnpfc_total_kilobyte_size": max(1, math.ceil(size / 1000)),
    }


def macs_per_luma_sample(model: Model, known: Elements) -> float:
    """Multiply-accumulate operations for each luma sample of a large input picture, so without what overlap costs.

    A tensor sample stands for four luma samples in order 3, for one elsewhere. A model of constant size is counted as
    it is, overlap included, over its input samples.
    """
    last = bool(known.get("nnpfc_component_last_flag", 0))
    height, width = (-3, -2) if last else (-2, -1)
    inp = model.tensor_input.shape
    luma_samples = 4 if known.get("nnpfc_inp_order_idc") == 3 else 1
    if inp[height] is not None or inp[width] is not None:
        h, w = inp[height] or _PROBE, inp[width] or _PROBE
        return model.cost(_shapes(model, last, h, w)).macs / (h * w * luma_samples)
    # Of a * size^2 + b * size + c, what counts is a: valid convolutions lose some operations at the border.
    one, two, three = (model.cost(_shapes(model, last, n * _PROBE, n * _PROBE)).macs for n in (1, 2, 3))
    return (three - 2 * two + one) / (2 * _PROBE * _PROBE * luma_samples)


def _probed(model: Model, last: bool) -> tuple[Shape, Shape]:
    """Shapes of the input and the output for one patch: of the model's own size, or of _PROBE samples a side."""
    height, width = (-3, -2) if last else (-2, -1)
    inp = model.tensor_input.shape
    shapes = _shapes(model, last, inp[height] or _PROBE, inp[width] or _PROBE)
    return shapes[model.tensor_input.name], model.cost(shapes).output_shape


def _shapes(model: Model, last: bool, height: int, width: int) -> dict[str, tuple[int, ...]]:
    """Shapes for one patch of this size for all inputs."""
    spec = model.tensor_input
    at = (-3, -2) if last else (-2, -1)
    shape = [1 if d is None else d for d in spec.shape]
    shape[at[0]], shape[at[1]] = height, width
    others = {s.name: tuple(1 if d is None else d for d in s.shape) for s in model.inputs if s.name != spec.name}
    return {spec.name: tuple(shape), **others}


def _undecided(model: Model, element: str, why: str) -> NnpfError:
    return NnpfError(f"{element} cannot be derived: {why}; give it", subject=model.name)
