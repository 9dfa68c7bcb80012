"""What an NNPFC message says about pictures and tensors."""

from fractions import Fraction
from typing import Any

import pytest

from nnpf.characteristics import (
    OutputPicture,
    filtered_inputs,
    output_format,
    output_pictures,
    patch_process,
    rate_factor,
    strength_control,
)
from nnpf.errors import NnpfError
from nnpf.frames import Format
from tests.nnpf.streams import characteristics

INPUT = Format(416, 240, 1, 8, 8)


@pytest.mark.parametrize(
    ("elements", "inp", "out"),
    [
        ({}, INPUT, INPUT),
        ({"purpose": 2, "out_sub_c_flag": 1, "out_order_idc": 2}, INPUT, Format(416, 240, 3)),
        ({"purpose": 2, "out_sub_c_flag": 0, "out_order_idc": 1}, INPUT, Format(416, 240, 2)),
        (
            {"purpose": 0x20, "out_colour_format_idc": 1, "inp_order_idc": 0, "out_order_idc": 2},
            Format(416, 240, 0, 10, 10),
            Format(416, 240, 1, 10, 10),
        ),
        (
            {"purpose": 4, "pic_width_num_minus1": 2, "pic_width_denom_minus1": 1, "pic_height_num_minus1": 4}
            | {"pic_height_denom_minus1": 3, "out_order_idc": 2},
            INPUT,
            Format(624, 300),
        ),
        # Luma of another size: the decoded chroma does not suit it.
        (
            {"purpose": 4, "pic_width_num_minus1": 1, "pic_width_denom_minus1": 0, "pic_height_num_minus1": 1}
            | {"pic_height_denom_minus1": 0, "inp_order_idc": 0, "out_order_idc": 0},
            INPUT,
            Format(832, 480, 0),
        ),
        (
            {"purpose": 0x80, "spatial_extrapolation_left_offset": 4, "spatial_extrapolation_right_offset": 2}
            | {"spatial_extrapolation_top_offset": -1, "spatial_extrapolation_bottom_offset": 3},
            INPUT,
            Format(428, 244),
        ),
        (
            {"purpose": 0x10, "out_format_idc": 1, "out_tensor_luma_bitdepth_minus8": 4}
            | {"out_tensor_chroma_bitdepth_minus8": 2},
            INPUT,
            Format(416, 240, 1, 12, 10),
        ),
        ({"purpose": 0x10}, INPUT, Format(416, 240, 1, 10, 10)),
    ],
)
def test_the_format_of_the_output(elements: dict[str, Any], inp: Format, out: Format) -> None:
    assert output_format(characteristics(**elements), inp) == out


@pytest.mark.parametrize(
    ("elements", "inp", "reason"),
    [
        ({"purpose": 2, "out_sub_c_flag": 0}, Format(16, 16, 2), "chroma upsampling"),
        ({"purpose": 0x20, "out_colour_format_idc": 1}, INPUT, "colourization"),
        ({"purpose": 0x80, "spatial_extrapolation_left_offset": -500}, INPUT, "picture of"),
    ],
)
def test_messages_that_contradict_the_pictures(elements: dict[str, Any], inp: Format, reason: str) -> None:
    with pytest.raises(NnpfError, match=reason):
        output_format(characteristics(**elements), inp)


def test_settings_of_the_process() -> None:
    message = characteristics(
        inp_order_idc=2,
        out_order_idc=2,
        inp_format_idc=1,
        inp_tensor_luma_bitdepth_minus8=2,
        auxiliary_inp_idc=1,
        overlap=5,
        constant_patch_size_flag=1,
        patch_width_minus1=63,
        patch_height_minus1=31,
        padding_type=4,
        luma_padding_val=16,
        cb_padding_val=128,
        cr_padding_val=129,
        component_last_flag=1,
    )
    process = patch_process(message, INPUT)
    assert (process.patch_width, process.patch_height, process.constant_patch_size) == (64, 32, True)
    assert process.padding_values == (16, 128, 129)
    assert (process.inp_tensor_bit_depths, process.strength, process.component_last) == ((10, 8), True, True)
    free = patch_process(characteristics(overlap=4, extended_patch_width_cd_delta_minus1=7), INPUT)
    assert (free.patch_width, free.patch_height, free.constant_patch_size) == (8, 1, False)


def test_pictures_of_the_output_tensor() -> None:
    assert output_pictures(characteristics()) == (OutputPicture("filtered", 0),)
    both = characteristics(
        purpose=9, num_input_pics_minus1=2, input_pic_filtering_flag=[1, 0, 1], interpolated_pics=[1, 2]
    )
    third = Fraction(1, 3)
    assert output_pictures(both) == (
        OutputPicture("filtered", 2),
        OutputPicture("interpolated", 1, third),
        OutputPicture("interpolated", 1, 2 * third),
        OutputPicture("interpolated", 0, Fraction(1, 2)),
        OutputPicture("filtered", 0),
    )
    assert filtered_inputs(both) == (0, 2)
    assert rate_factor(both) == 3
    extrapolated = characteristics(purpose=0x40, extrapolated_pics_minus1=1)
    assert rate_factor(extrapolated) == 3
    assert [p.kind for p in output_pictures(extrapolated)] == ["extrapolated", "extrapolated"]


def test_strength() -> None:
    assert strength_control(37, 10) == Fraction(49, 75)
    assert strength_control(-12, 10) == 0
    assert strength_control(51, 8, h266=False) == 1
    assert strength_control(90, 8) == 1
