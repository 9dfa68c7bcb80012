"""From a model to the message that describes it: derived where it can be, given where it is, else the default."""

import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper

from nnpf import describe
from nnpf.elements import element_value
from nnpf.errors import NnpfError
from nnpf.frames import Format
from nnpf.model import load
from tests.nnpf.onnx_graphs import graph, halving_filter, identity_filter
from vsei.errors import VseiError
from vsei.messages import decode, encode

BASE = {"nnpfc_id": 1, "nnpfc_base_flag": 1, "nnpfc_mode_idc": 1, "nnpfc_tag_uri": describe.ONNX_TAG, "nnpfc_uri": "m"}
UPDATE = {"nnpfc_id": 1, "nnpfc_base_flag": 0, "nnpfc_mode_idc": 0, "nnpfc_payload": b"update"}


def fields(model, given=None, identity=BASE, picture=None, **defaults):
    return describe.characteristics(identity, model, given or {}, defaults, picture).fields()


def static_filter(channels_in: int, channels_out: int, size: int, overlap: int):
    weight = np.zeros((channels_out, channels_in, 2 * overlap + 1, 2 * overlap + 1), np.float32)
    node = helper.make_node("Conv", ["input", "weight"], ["output"])
    return graph([node], {"input": ([1, channels_in, size, size], TensorProto.FLOAT)}, "output", {"weight": weight})


@pytest.mark.parametrize(
    ("channels_in", "channels_out", "expected"),
    [
        (1, 1, {"nnpfc_inp_order_idc": 0, "nnpfc_out_order_idc": 0, "nnpfc_auxiliary_inp_idc": 0}),
        (2, 1, {"nnpfc_inp_order_idc": 0, "nnpfc_out_order_idc": 0, "nnpfc_auxiliary_inp_idc": 1}),
        (2, 2, {"nnpfc_inp_order_idc": 1, "nnpfc_out_order_idc": 1, "nnpfc_auxiliary_inp_idc": 0}),
        (3, 3, {"nnpfc_inp_order_idc": 2, "nnpfc_out_order_idc": 2, "nnpfc_auxiliary_inp_idc": 0}),
        (4, 3, {"nnpfc_inp_order_idc": 2, "nnpfc_out_order_idc": 2, "nnpfc_auxiliary_inp_idc": 1}),
        (7, 6, {"nnpfc_inp_order_idc": 3, "nnpfc_out_order_idc": 3, "nnpfc_auxiliary_inp_idc": 1}),
    ],
)
def test_orders_and_strength_from_channels(channels_in, channels_out, expected):
    found = fields(identity_filter(channels_in, channels_out, 1))
    assert {k: found[k] for k in expected} == expected


RATE = {"nnpfc_purpose": 8, "nnpfc_num_input_pics_minus1": 1}


@pytest.mark.parametrize(
    ("channels_in", "channels_out", "given", "expected"),
    [
        (9, 3, {"nnpfc_num_input_pics_minus1": 2, "nnpfc_input_pic_filtering_flag": [1, 0, 0]}, (2, 2, 0)),
        (9, 9, {"nnpfc_num_input_pics_minus1": 2}, (2, 2, 0)),
        (8, 6, {**RATE, "nnpfc_interpolated_pics": [1], "nnpfc_input_pic_filtering_flag": [1, 0]}, (2, 2, 1)),
        (6, 3, {**RATE, "nnpfc_interpolated_pics": [1], "nnpfc_input_pic_filtering_flag": [0, 0]}, (2, 2, 0)),
        (14, 12, {**RATE, "nnpfc_interpolated_pics": [2], "nnpfc_input_pic_filtering_flag": [0, 0]}, (3, 3, 1)),
        (3, 3, {"nnpfc_purpose": 64}, (2, 2, 0)),
        (2, 2, {"nnpfc_purpose": 65}, (0, 0, 1)),
    ],
)
def test_pictures_that_are_folded_into_channels(channels_in, channels_out, given, expected):
    found = fields(identity_filter(channels_in, channels_out, 0), given)
    names = ("nnpfc_inp_order_idc", "nnpfc_out_order_idc", "nnpfc_auxiliary_inp_idc")
    assert tuple(found[name] for name in names) == expected


def test_pictures_that_have_an_axis_of_their_own():
    node = helper.make_node("ReduceMean", ["input", "axes"], ["output"], keepdims=1)
    shape = ([None, 2, 4, None, None], TensorProto.FLOAT)
    model = graph([node], {"input": shape}, "output", {"axes": np.array([1], np.int64)}, output_rank=5)
    given = {"nnpfc_num_input_pics_minus1": 1, "nnpfc_inp_order_idc": 2, "nnpfc_out_order_idc": 2}
    found = fields(model, {**given, "nnpfc_input_pic_filtering_flag": [1, 0]})
    assert found["nnpfc_auxiliary_inp_idc"] == 1


def test_overlap_and_free_patch_size_from_shapes():
    found = fields(identity_filter(7, 6, 3))
    assert found["nnpfc_overlap"] == 3
    assert found["nnpfc_constant_patch_size_flag"] == 0
    assert "nnpfc_patch_width_minus1" not in found


def deltas(message):
    """Of rows and columns."""
    return tuple(message[f"nnpfc_extended_patch_{side}_cd_delta_minus1"] + 1 for side in ("height", "width"))


def test_free_patch_sizes_suit_the_picture_unless_they_are_given():
    model, picture = identity_filter(7, 6, 8), Format(416, 240)
    assert deltas(fields(model)) == (1, 1)
    assert deltas(fields(model, picture=picture)) == (1, 9)
    given = {"nnpfc_extended_patch_width_cd_delta_minus1": 3}
    assert deltas(fields(model, given, picture=picture)) == (1, 4)
    # Quads of 4:2:2 there are not; the rules say so, and say it better.
    assert deltas(fields(model, picture=Format(416, 240, 2))) == (1, 1)


def test_free_patch_sizes_are_multiples_of_what_the_network_halves():
    assert deltas(fields(halving_filter(16))) == (16, 16)
    assert deltas(fields(halving_filter(6), picture=Format(416, 240))) == (6, 6)
    # With an overlap it is patch and overlap together.
    given = {"nnpfc_overlap": 3}
    nodes = [
        helper.make_node("AveragePool", ["input"], ["small"], kernel_shape=[4, 4], strides=[4, 4]),
        helper.make_node("Resize", ["small", "", "scales"], ["large"], mode="nearest"),
        helper.make_node("Slice", ["large", "starts", "ends", "axes"], ["output"]),
    ]
    constants = {
        "scales": np.array([1, 1, 4, 4], np.float32),
        "starts": np.array([3, 3], np.int64),
        "ends": np.array([-3, -3], np.int64),
        "axes": np.array([2, 3], np.int64),
    }
    model = graph(nodes, {"input": ((None, 1, None, None), TensorProto.FLOAT)}, "output", constants, output_rank=4)
    found = fields(model, given)
    assert deltas(found) == (2, 2)
    assert all((delta + 6) % 4 == 0 for delta in deltas(fields(model, given, picture=Format(1920, 1080))))


def test_constant_patch_size_from_static_shapes():
    found = fields(static_filter(7, 6, 24, 2))
    assert (found["nnpfc_overlap"], found["nnpfc_constant_patch_size_flag"]) == (2, 1)
    assert found["nnpfc_patch_width_minus1"] == found["nnpfc_patch_height_minus1"] == 19


def test_complexity_bounds_the_model():
    model = identity_filter(7, 6, 2)
    found = fields(model)
    assert found["nnpfc_parameter_type_idc"] == 1
    assert 1 << (found["nnpfc_log2_parameter_bit_length_minus3"] + 3) == 32
    assert model.num_parameters <= (2048 << found["nnpfc_num_parameters_idc"]) - 1
    assert 7 * 6 * 25 / 4 <= 1000 * found["nnpfc_num_kmac_operations_idc"] < 7 * 6 * 25 / 4 + 1000
    assert found["nnpfc_total_kilobyte_size"] == -(-model.num_parameters * 4 // 1000)


def test_the_peers_filter(shared):
    found = fields(load(shared / "peer/nokia/model3.onnx"))
    assert found["nnpfc_overlap"] == 4
    assert found["nnpfc_patch_width_minus1"] == 63
    assert found["nnpfc_auxiliary_inp_idc"] == 1
    assert found["nnpfc_num_parameters_idc"] == 6  # 105,726 weights and biases and the merged multipliers


def test_what_is_given_holds():
    given = {"nnpfc_padding_type": 2, "nnpfc_overlap": 9, "nnpfc_complexity_info_present_flag": 0}
    found = fields(identity_filter(7, 6, 3), given)
    assert {k: found[k] for k in given} == given
    assert "nnpfc_num_parameters_idc" not in found


def test_what_the_model_says_of_itself_holds_against_what_is_derived():
    model = identity_filter(7, 6, 3)
    for key, value in (("nnpfc_padding_type", "3"), ("nnpfc_overlap", "4"), ("nnpfc_id", "77")):
        entry = model.proto.metadata_props.add()
        entry.key, entry.value = key, value
    found = fields(model)
    assert (found["nnpfc_padding_type"], found["nnpfc_overlap"]) == (3, 4)
    assert found["nnpfc_id"] == 1  # who sends it says which filter it is


def test_defaults_go_last():
    model = identity_filter(6, 6, 1)
    found = fields(model, nnpfc_auxiliary_inp_idc=1, nnpfc_padding_type=0)
    assert found["nnpfc_auxiliary_inp_idc"] == 0  # derived
    assert found["nnpfc_padding_type"] == 0
    assert fields(model)["nnpfc_padding_type"] == 1


def test_a_base_has_its_properties_and_an_update_only_if_given():
    assert fields(None)["nnpfc_property_present_flag"] == 1
    assert fields(None, {"nnpfc_property_present_flag": 0})["nnpfc_property_present_flag"] == 0
    assert fields(None, identity=UPDATE)["nnpfc_property_present_flag"] == 0
    assert fields(None, {"nnpfc_purpose": 16}, UPDATE)["nnpfc_property_present_flag"] == 0
    assert fields(None, {"nnpfc_overlap": 3}, UPDATE)["nnpfc_overlap"] == 3


@pytest.mark.parametrize(
    ("model", "given", "problem"),
    [
        (identity_filter(5, 5, 1), {}, "nnpfc_out_order_idc cannot be derived: the output has 5 channels"),
        (identity_filter(5, 1, 1), {}, "nnpfc_inp_order_idc cannot be derived: the input has 5 channels"),
        (
            identity_filter(10, 5, 1),
            {"nnpfc_num_input_pics_minus1": 1},
            "nnpfc_out_order_idc cannot be derived: the output has 5 channels for 2 pictures",
        ),
        (identity_filter(7, 6, 1), {"nnpfc_purpose": 4}, "nnpfc_overlap cannot be derived: input and output differ"),
    ],
)
def test_what_cannot_be_derived_is_asked_for(model, given, problem):
    with pytest.raises(NnpfError, match=problem):
        fields(model, given)


# --- what follows from other elements ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "flag"),
    [
        ({"nnpfc_auxiliary_inp_idc": 2, "nnpfc_prompt": "sharp"}, "nnpfc_inband_prompt_flag"),
        ({"nnpfc_auxiliary_inp_idc": 4, "nnpfc_seed": 9}, "nnpfc_inband_seed_flag"),
        ({"nnpfc_colour_primaries": 9}, "nnpfc_separate_colour_description_present_flag"),
        ({"nnpfc_total_kilobyte_size": 5}, "nnpfc_complexity_info_present_flag"),
    ],
)
def test_an_element_behind_a_flag_sets_it(given, flag):
    assert fields(None, given)[flag] == 1


@pytest.mark.parametrize(
    ("given", "bits"),
    [
        ({"nnpfc_for_human_viewing_idc": 1}, 4),
        ({"nnpfc_for_machine_analysis_idc": 0}, 4),
        ({"nnpfc_purpose": 4, "nnpfc_scan_type_idc": 1}, 6),
        ({"nnpfc_purpose": 0, "nnpfc_for_human_viewing_idc": 1, "nnpfc_reserved_metadata_extension": "01"}, 7),
        ({"nnpfc_for_human_viewing_idc": 1, "nnpfc_num_metadata_extension_bits": 9}, 9),
    ],
)
def test_bits_of_the_metadata_extension_are_counted(given, bits):
    assert fields(None, given)["nnpfc_num_metadata_extension_bits"] == bits


def test_a_count_of_every_bit_costs_no_byte_of_the_payload():
    """Bits behind the tag are no reserved ones, where the count could be that of the reference software with some."""
    sent = {"nnpfc_id": 1, "nnpfc_base_flag": 1, "nnpfc_mode_idc": 0, "nnpfc_payload": bytes(3) + b"rest"}
    for length in range(48):
        given = {"nnpfc_purpose": 0, "nnpfc_application_purpose_tag_uri": "tag:a.org,2024:" + "x" * length}
        for overlap in range(20):
            message = describe.characteristics(sent, None, {**given, "nnpfc_overlap": overlap})
            assert decode(encode(message)).message == message


@pytest.mark.parametrize("model", [None, identity_filter(7, 6, 1)])  # that leaves patch sizes free
@pytest.mark.parametrize("overlap", [0, 1, 8])
def test_alignment_before_the_application_tag_is_counted_too(overlap, model):
    for length in range(48 if model is None else 8):
        tag = "tag:example.com,2024:" + "é" * length
        given = {"nnpfc_purpose": 0, "nnpfc_application_purpose_tag_uri": tag, "nnpfc_overlap": overlap}
        message = describe.characteristics(BASE, model, given)
        payload = encode(message)
        trace = []
        assert decode(payload, trace=trace).message == message
        names = [entry.element for entry in trace]
        first = names.index("nnpfc_application_purpose_tag_uri_present_flag")
        behind = trace[first : names.index("nnpfc_for_machine_analysis_idc") + 1]
        assert message.nnpfc_num_metadata_extension_bits == sum(entry.length for entry in behind)


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ({"nnpfc_purpose": "0", "nnpfc_scan_type_idc": 0}, "nnpfc_purpose: '0' is not an integer"),
        ({"nnpfc_scan_type_idc": 0}, "nnpfc_scan_type_idc: is not part of the message"),
        ({"nnpfc_for_human_viewing_idc": 0, "nnpfc_reserved_metadata_extension": 1}, "extension: 1, bits are wanted"),
        ({"nnpfc_padding": 1}, "nnpfc_padding: nnpfc has no such element"),
        ({"nnpfc_luma_padding_val": 1}, "nnpfc_luma_padding_val: is not part of the message"),
        ({"nnpfc_overlap": "3"}, "nnpfc_overlap: '3' is not an integer"),
        ({"nnpfc_padding_type": 2**40}, r"nnpfc_padding_type: 1099511627776, must be 0\.\."),
        ({"nnpfc_num_input_pics_minus1": 2**31}, r"nnpfc_num_input_pics_minus1: 2147483648, must be 0\.\.63"),
    ],
)
def test_elements_that_cannot_be_are_named(given, problem):
    with pytest.raises(VseiError, match=problem.replace("\\\\\\\\", "\\\\")):
        fields(None, given)


_VALUES = st.recursive(
    st.integers(-3, 70) | st.integers() | st.text(max_size=4) | st.none() | st.binary(max_size=3),
    lambda values: st.lists(values, max_size=3),
    max_leaves=5,
)
_OF_THE_MODEL = re.findall(
    r"[a-z_0-9]+",
    "purpose,overlap,num_input_pics_minus1,input_pic_filtering_flag,interpolated_pics,extrapolated_pics_minus1,"
    "component_last_flag,inp_order_idc,out_order_idc,auxiliary_inp_idc,constant_patch_size_flag,patch_width_minus1,"
    "complexity_info_present_flag,property_present_flag,padding_type,reserved_metadata_extension,scan_type_idc,"
    "application_purpose_tag_uri,out_colour_format_idc,pic_width_num_minus1",
)


@given(st.dictionaries(st.sampled_from([f"nnpfc_{name}" for name in _OF_THE_MODEL]), _VALUES, max_size=5))
@settings(max_examples=300, deadline=None)
def test_whatever_is_given_makes_a_message_or_one_clear_error(values):
    try:
        message = describe.characteristics(BASE, identity_filter(7, 6, 1), values)
    except (VseiError, NnpfError):
        return
    assert decode(encode(message)).message == message


@pytest.mark.parametrize(
    ("values", "problem"),
    [
        ({"nnpfc_purpose": "abc"}, "nnpfc_purpose: 'abc' is not an integer"),
        ({"nnpfc_num_input_pics_minus1": -1}, "nnpfc_num_input_pics_minus1: -1, must be 0..63"),
        ({**RATE, "nnpfc_interpolated_pics": "1"}, "nnpfc_interpolated_pics: a list is wanted"),
        ({**RATE, "nnpfc_interpolated_pics": [[1]]}, "nnpfc_interpolated_pics: one list is wanted"),
        ({"nnpfc_overlap": [1, 2]}, "nnpfc_overlap: one value is wanted, no list"),
    ],
)
def test_a_value_of_the_wrong_kind_is_told_before_the_model_is_asked(values, problem):
    with pytest.raises(VseiError, match=re.escape(problem)):
        fields(identity_filter(7, 6, 1), values)


def test_a_wrong_value_in_the_metadata_of_a_model_is_told_likewise():
    model = identity_filter(7, 6, 1)
    helper.set_model_props(model.proto, {"nnpfc_purpose": "abc"})
    with pytest.raises(VseiError, match="nnpfc_purpose: 'abc' is not an integer"):
        fields(model)


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("nnpfc_purpose", "8", 8),
        ("nnpfc_interpolated_pics", "1", [1]),
        ("nnpfc_input_pic_filtering_flag", "0,1", [0, 1]),
        ("nnpfc_input_pic_filtering_flag", "[0, 1]", [0, 1]),
        ("nnpfc_uri", "17", "17"),
        ("nnpfc_uri", "[1]", "[1]"),
        ("nnpfc_purpose", "two", "two"),
    ],
)
def test_elements_as_text(name, text, value):
    assert element_value(name, text) == value
