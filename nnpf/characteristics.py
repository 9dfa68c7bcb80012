"""What an NNPFC message says about pictures and tensors: from syntax elements to the settings of the patch process."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

from nnpf.errors import NnpfError
from nnpf.frames import Format
from nnpf.tensors import CHROMA, LUMA, REAL, PatchProcess
from vsei.messages import NnpfCharacteristics
from vsei.messages.derived import MONOCHROME, FilterOnPicture
from vsei.messages.nnpf import (
    BIT_DEPTH_UPSAMPLING,
    CHROMA_UPSAMPLING,
    COLOURIZATION,
    PICTURE_RATE_UPSAMPLING,
    SPATIAL_EXTRAPOLATION,
    STRENGTH_INPUT,
    TEMPORAL_EXTRAPOLATION,
)


def _value(element: int | None) -> int:
    """An element that is absent is inferred to be 0."""
    return element or 0


# The largest values that H.274 8.28.1.2 allows: they bound what a message can make a receiver do. Out of range, the
# message is ignored.
_LARGEST = {
    "nnpfc_num_input_pics_minus1": 63,
    "nnpfc_interpolated_pics": 63,
    "nnpfc_extrapolated_pics_minus1": 62,
    "nnpfc_pic_width_num_minus1": 65535,
    "nnpfc_pic_width_denom_minus1": 65535,
    "nnpfc_pic_height_num_minus1": 65535,
    "nnpfc_pic_height_denom_minus1": 65535,
    "nnpfc_inp_tensor_luma_bitdepth_minus8": 24,
    "nnpfc_inp_tensor_chroma_bitdepth_minus8": 24,
    "nnpfc_out_tensor_luma_bitdepth_minus8": 24,
    "nnpfc_out_tensor_chroma_bitdepth_minus8": 24,
    "nnpfc_overlap": 16383,
    "nnpfc_patch_width_minus1": 32766,
    "nnpfc_patch_height_minus1": 32766,
    "nnpfc_luma_padding_val": 65535,
    "nnpfc_cb_padding_val": 65535,
    "nnpfc_cr_padding_val": 65535,
}


def out_of_range(c: NnpfCharacteristics) -> tuple[str, int] | None:
    """The first element that is larger than the standard allows and that a receiver acts on, with its value."""
    for element, largest in _LARGEST.items():
        value = getattr(c, element)
        for item in value if isinstance(value, tuple) else (value,):
            if item is not None and item > largest:
                return element, item
    return None


def num_input_pics(c: NnpfCharacteristics) -> int:
    return _value(c.nnpfc_num_input_pics_minus1) + 1


@dataclass(frozen=True, slots=True)
class OutputPicture:
    """One picture of the output tensor.

    Attributes:
        kind: "filtered": inputPic[index]; "interpolated": between inputPic[index + 1] and inputPic[index];
            "extrapolated": after inputPic[0].
        position: from 0 (inputPic[index + 1]) to 1 (inputPic[index]) for interpolated pictures, 1, 2, ... picture
            intervals after inputPic[0] for extrapolated ones, 0 for filtered ones.
    """

    kind: Literal["filtered", "interpolated", "extrapolated"]
    index: int
    position: Fraction = Fraction(0)


def filtered_inputs(c: NnpfCharacteristics) -> tuple[int, ...]:
    """Indices of the input pictures that have a filtered picture in the output tensor, in index order: what
    nnpfa_output_flag[ ] refers to (H.274 8.28.1.2, nnpfc_input_pic_filtering_flag)."""
    if c.nnpfc_input_pic_filtering_flag is not None:
        return tuple(at for at, flag in enumerate(c.nnpfc_input_pic_filtering_flag) if flag)
    return () if c.nnpfc_purpose == TEMPORAL_EXTRAPOLATION else (0,)


def output_pictures(c: NnpfCharacteristics) -> tuple[OutputPicture, ...]:
    """The pictures of the output tensor, in the order in which they stand there: output order, so the oldest input
    first. (The notes on the standard mark this order as open to doubt; nothing else here depends on it.)"""
    filtered = filtered_inputs(c)
    between = c.nnpfc_interpolated_pics or ()
    pictures: list[OutputPicture] = []
    for index in reversed(range(num_input_pics(c))):
        if index in filtered:
            pictures.append(OutputPicture("filtered", index))
        count = between[index - 1] if 0 < index <= len(between) else 0
        pictures += [OutputPicture("interpolated", index - 1, Fraction(k + 1, count + 1)) for k in range(count)]
    if c.nnpfc_purpose & TEMPORAL_EXTRAPOLATION:
        extra = _value(c.nnpfc_extrapolated_pics_minus1) + 1
        pictures += [OutputPicture("extrapolated", 0, Fraction(k + 1)) for k in range(extra)]
    return tuple(pictures)


def rate_factor(c: NnpfCharacteristics) -> int:
    """How many pictures a filter shows for each interval between two input pictures."""
    kinds = [picture.kind for picture in output_pictures(c)]
    return 1 + max(c.nnpfc_interpolated_pics or (0,)) + kinds.count("extrapolated")


def furthest_output(c: NnpfCharacteristics) -> int:
    """The largest index of an input picture that an output picture stands for, or follows: how many pictures later than
    itself a picture may be shown."""
    return max((picture.index for picture in output_pictures(c)), default=0)


def closing_inferences(c: NnpfCharacteristics, output_flags: tuple[int, ...]) -> int:
    """numPostRoll: how many times a filter runs again after the last picture, so that the last pictures are served too
    (H.274 8.28.2.2). `output_flags`: of the filtered input pictures, in index order."""
    if c.nnpfc_purpose & PICTURE_RATE_UPSAMPLING:
        intervals = [at for at, count in enumerate(c.nnpfc_interpolated_pics or ()) if count]
        pure = c.nnpfc_purpose == PICTURE_RATE_UPSAMPLING
        return intervals[0] if pure and len(intervals) == 1 and intervals[0] > 0 else 0
    shown = [index for index, flag in zip(filtered_inputs(c), output_flags, strict=True) if flag]
    return shown[0] if num_input_pics(c) > 1 and len(shown) == 1 else 0


def output_format(c: NnpfCharacteristics, inp: Format, out_bit_depth: int | None = None) -> Format:
    """The format of the pictures that a filter makes of pictures of format `inp` (H.274 8.28.1.2).

    Args:
        out_bit_depth: for bit depth upsampling with real output tensors, where the message leaves it open.
            Default: two bits more than the input.

    Raises:
        NnpfError: the message contradicts the pictures.
    """
    sizes = FilterOnPicture(c, inp)
    (width, height), chroma = sizes.output_size, sizes.out_chroma_format_idc
    if c.nnpfc_purpose & CHROMA_UPSAMPLING and (inp.chroma_format_idc == MONOCHROME or chroma <= inp.chroma_format_idc):
        raise NnpfError(f"chroma upsampling of {inp} to chroma_format_idc {chroma}")
    if c.nnpfc_purpose & COLOURIZATION and (inp.chroma_format_idc != MONOCHROME or chroma == MONOCHROME):
        raise NnpfError(f"colourization of {inp} to chroma_format_idc {chroma}")
    luma, chroma_depth = inp.bit_depth_luma, inp.bit_depth_chroma
    order = _value(c.nnpfc_out_order_idc)
    if inp.chroma_format_idc == MONOCHROME:
        chroma_depth = luma
    if c.nnpfc_purpose & BIT_DEPTH_UPSAMPLING:
        if _value(c.nnpfc_out_format_idc) == REAL:
            new_luma = out_bit_depth or min(16, luma + 2)
            new_chroma = out_bit_depth or min(16, chroma_depth + 2)
        else:
            new_luma = _value(c.nnpfc_out_tensor_luma_bitdepth_minus8) + 8
            new_chroma = _value(c.nnpfc_out_tensor_chroma_bitdepth_minus8) + 8
        luma = luma if order == CHROMA else new_luma
        chroma_depth = chroma_depth if order == LUMA else new_chroma
    if order == LUMA and (width, height) != (inp.width, inp.height):
        chroma = MONOCHROME  # the decoded chroma has the old size, and the filter makes none
    if chroma == MONOCHROME:
        chroma_depth = luma
    return Format(width, height, chroma, luma, chroma_depth)


def patch_process(c: NnpfCharacteristics, inp: Format, out_bit_depth: int | None = None) -> PatchProcess:
    """The settings of the patch process for pictures of format `inp`.

    Args:
        c: a message with properties (the base's, for an update).

    Raises:
        NnpfError: the message contradicts the pictures or itself.
    """
    constant = bool(c.nnpfc_constant_patch_size_flag) or bool(c.nnpfc_purpose & SPATIAL_EXTRAPOLATION)
    if constant:
        width, height = _value(c.nnpfc_patch_width_minus1) + 1, _value(c.nnpfc_patch_height_minus1) + 1
    else:
        width = _value(c.nnpfc_extended_patch_width_cd_delta_minus1) + 1
        height = _value(c.nnpfc_extended_patch_height_cd_delta_minus1) + 1
    return PatchProcess(
        inp=inp,
        out=output_format(c, inp, out_bit_depth),
        inp_order_idc=_value(c.nnpfc_inp_order_idc),
        out_order_idc=_value(c.nnpfc_out_order_idc),
        inp_format_idc=_value(c.nnpfc_inp_format_idc),
        out_format_idc=_value(c.nnpfc_out_format_idc),
        inp_tensor_bit_depths=(
            _value(c.nnpfc_inp_tensor_luma_bitdepth_minus8) + 8,
            _value(c.nnpfc_inp_tensor_chroma_bitdepth_minus8) + 8,
        ),
        out_tensor_bit_depths=(
            _value(c.nnpfc_out_tensor_luma_bitdepth_minus8) + 8,
            _value(c.nnpfc_out_tensor_chroma_bitdepth_minus8) + 8,
        ),
        component_last=bool(c.nnpfc_component_last_flag),
        strength=bool(_value(c.nnpfc_auxiliary_inp_idc) & STRENGTH_INPUT),
        num_input_pics=num_input_pics(c),
        num_output_pics=len(output_pictures(c)),
        overlap=_value(c.nnpfc_overlap),
        constant_patch_size=constant,
        patch_width=width,
        patch_height=height,
        padding_type=_value(c.nnpfc_padding_type),
        padding_values=(
            _value(c.nnpfc_luma_padding_val),
            _value(c.nnpfc_cb_padding_val),
            _value(c.nnpfc_cr_padding_val),
        ),
    )


def strength_control(slice_qp_y: int, bit_depth_luma: int, *, h266: bool = True) -> Fraction:
    """StrengthControlVal, 0..1, from SliceQpY of the first slice (H.274 8.28.1.3).

    SliceQpY is at least -QpBdOffset; a broken stream may say otherwise, so the value is clipped.
    """
    qp_bd_offset = 6 * (bit_depth_luma - 8)
    value = Fraction(slice_qp_y + qp_bd_offset, (63 if h266 else 51) + qp_bd_offset)
    return min(max(value, Fraction(0)), Fraction(1))
