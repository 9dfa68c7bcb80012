"""Every rule, broken and kept: by one message, by messages in a stream, by the streams of the reference software."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.vsei.drawn import Drawn
from vsei import messages, sei
from vsei.annexb import NalUnit, split
from vsei.grouping import groups
from vsei.listing import nal_units_of
from vsei.messages import NnpfActivation, NnpfCharacteristics, form, nnpf
from vsei.messages.nesting import ScalableNesting
from vsei.messages.processing_order import (
    PhaseIndication,
    SeiProcessingOrder,
    SeiProcessingOrderNesting,
)
from vsei.nal import Codec, NalHeader, Vvc, read_header, starts_picture
from vsei.pictures import PictureFormat
from vsei.rules import NOKIA, STANDARD, VTM, Level, PayloadReport, check, check_insertions, check_messages
from vsei.rules.context import MAX_FILTERS
from vsei.rules.table import every_rule, markdown
from vsei.sei import SeiMessage

ROOT = Path(__file__).resolve().parents[2]


# --- messages --------------------------------------------------------------------------------------------------------

PAYLOAD = b"any bytes; whether they are ISO/IEC 15938-17 is for others to say"


def nnpfc(**elements) -> NnpfCharacteristics:
    """A base by URI with plain properties, in which `elements` are as given; None takes one out."""
    plain = {
        "nnpfc_purpose": nnpf.VISUAL_QUALITY,
        "nnpfc_id": 1,
        "nnpfc_base_flag": 1,
        "nnpfc_mode_idc": nnpf.MODE_URI,
        "nnpfc_property_present_flag": 1,
        "nnpfc_inp_order_idc": 2,
        "nnpfc_out_order_idc": 2,
        "nnpfc_constant_patch_size_flag": 1,
        "nnpfc_patch_width_minus1": 15,
        "nnpfc_patch_height_minus1": 15,
        "nnpfc_padding_type": 1,
    } | elements
    if plain["nnpfc_mode_idc"] == nnpf.MODE_URI:
        plain = {"nnpfc_tag_uri": "tag:example.com,2024:net", "nnpfc_uri": "https://example.com/net"} | plain
    elif plain["nnpfc_mode_idc"] == nnpf.MODE_NNC:
        plain = {"nnpfc_payload": PAYLOAD} | plain
    present = {name: value for name, value in plain.items() if value is not None}
    return form.complete(NnpfCharacteristics, nnpf.nnpfc, present, {"nnpfc_input_pic_filtering_flag": 1})


def update(**elements) -> NnpfCharacteristics:
    """An update in the message, without properties."""
    plain = {
        "nnpfc_purpose": nnpf.VISUAL_QUALITY,
        "nnpfc_id": 1,
        "nnpfc_base_flag": 0,
        "nnpfc_mode_idc": nnpf.MODE_NNC,
        "nnpfc_payload": PAYLOAD,
    }
    return form.complete(NnpfCharacteristics, nnpf.nnpfc, plain | elements, {})


def nnpfa(**elements) -> NnpfActivation:
    """A persistent activation of a base in the form of V4."""
    plain = {
        "nnpfa_target_id": 1,
        "nnpfa_persistence_flag": 1,
        "nnpfa_target_base_flag": 1,
        "nnpfa_num_output_entries": 1,
        "nnpfa_prompt_update_flag": 0,
    } | elements
    present = {name: value for name, value in plain.items() if value is not None}
    return form.complete(NnpfActivation, nnpf.nnpfa, present, {"nnpfa_output_flag": 1})


CANCEL = nnpfa(
    nnpfa_cancel_flag=1,
    nnpfa_persistence_flag=None,
    nnpfa_target_base_flag=None,
    nnpfa_num_output_entries=None,
    nnpfa_prompt_update_flag=None,
)


def order(*entries: tuple[int, int], prefix: dict[int, str] | None = None, **elements) -> SeiProcessingOrder:
    """Entries of (payload type, order); prefix bits by entry."""
    n, prefix = len(entries), prefix or {}
    bits = tuple(prefix.get(i) for i in range(n))
    counts = tuple(None if b is None else len(b) - 1 for b in bits)
    plain = {
        "po_sei_id": 1,
        "po_for_human_viewing_idc": 0,
        "po_for_machine_analysis_idc": 0,
        "po_sei_num_minus1": n - 1,
        "po_breadth_first_flag": 0,
        "po_sei_wrapping_flag": (0,) * n,
        "po_sei_importance_flag": (0,) * n,
        "po_sei_processing_degree_flag": (0,) * n,
        "po_sei_payload_type": tuple(t for t, _ in entries),
        "po_sei_prefix_flag": tuple(int(b is not None) for b in bits),
        "po_sei_processing_order": tuple(o for _, o in entries),
        "po_num_bits_in_prefix_indication_minus1": counts if prefix else None,
        "po_sei_prefix_data_bits": bits if prefix else None,
        "po_complexity_info_present_flag": 0,
    }
    return SeiProcessingOrder(**plain | elements)


def nesting(*inside: messages.Message, orders: tuple[int, ...] | None = None) -> SeiProcessingOrderNesting:
    coded = [messages.encode(m) for m in inside]
    return SeiProcessingOrderNesting(
        pon_num_po_ids_minus1=0,
        pon_target_po_id=(1,),
        pon_num_seis_minus1=len(inside) - 1,
        pon_processing_order=orders or tuple(range(len(inside))),
        payload_type=tuple(m.payload_type for m in coded),
        payload_size=tuple(len(m.payload) for m in coded),
        payload=tuple(m.payload for m in coded),
    )


SUBPICTURE = {"sn_num_subpics_minus1": 0, "sn_subpic_id_len_minus1": 0, "sn_subpic_id": (0,)}


def scalable_nesting(*inside: messages.Message, layers: tuple[int, ...] = ()) -> ScalableNesting:
    """Messages for the layer of the NAL unit and others, or for all layers."""
    coded = [messages.encode(m) for m in inside]
    return ScalableNesting(
        sn_ols_flag=0,
        sn_subpic_flag=0,
        sn_all_layers_flag=int(not layers),
        sn_num_layers_minus1=len(layers) if layers else None,
        sn_layer_id=(None, *layers) if layers else None,
        sn_num_seis_minus1=len(inside) - 1,
        payload_type=tuple(m.payload_type for m in coded),
        payload_size=tuple(len(m.payload) for m in coded),
        payload=tuple(m.payload for m in coded),
    )


PHASE = PhaseIndication(pi_hor_phase_num=1, pi_hor_phase_den_minus1=1, pi_ver_phase_num=0, pi_ver_phase_den_minus1=0)


def picture(width=416, height=240, chroma_format_idc=1, depth=10) -> PictureFormat:
    return PictureFormat(width, height, 0, 0, 0, 0, chroma_format_idc, depth, depth)


YUV400, YUV420, YUV422, YUV444 = (picture(chroma_format_idc=i) for i in range(4))

RATE = {"nnpfc_purpose": nnpf.PICTURE_RATE_UPSAMPLING, "nnpfc_num_input_pics_minus1": 1, "nnpfc_interpolated_pics": [1]}
CHROMA = {"nnpfc_purpose": nnpf.CHROMA_UPSAMPLING, "nnpfc_out_sub_c_flag": 1}
COLOUR = {"nnpfc_purpose": nnpf.COLOURIZATION, "nnpfc_out_colour_format_idc": 1, "nnpfc_inp_order_idc": 0}
RESAMPLING = {"nnpfc_purpose": nnpf.RESOLUTION_RESAMPLING}
EXTRAPOLATION = {"nnpfc_purpose": nnpf.SPATIAL_EXTRAPOLATION, "nnpfc_constant_patch_size_flag": None}
INTEGERS = {"nnpfc_inp_format_idc": 1, "nnpfc_out_format_idc": 1}
COLOURS = {**INTEGERS, "nnpfc_separate_colour_description_present_flag": 1}
ALL_444 = {"nnpfc_out_order_idc": 2, "nnpfc_inp_order_idc": 2}
LUMA_DEEPER = {"nnpfc_inp_tensor_luma_bitdepth_minus8": 1, "nnpfc_out_tensor_luma_bitdepth_minus8": 1}
LOCATED = {"nnpfc_chroma_loc_info_present_flag": 1}
UNFILTERED = {"nnpfc_num_input_pics_minus1": 2, "nnpfc_input_pic_filtering_flag": [0, 0, 0]}
PO_PAIR = ((210, 1), (211, 2))
BINARY = {
    "po_complexity_info_present_flag": 1,
    "po_parameter_type_idc": 2,
    "po_num_parameters_idc": 1,
    "po_num_kmac_operations_idc": 1,
    "po_total_kilobyte_size": 1,
}


def resampled(width: tuple[int, int], height: tuple[int, int], **elements) -> NnpfCharacteristics:
    return nnpfc(
        **RESAMPLING,
        nnpfc_pic_width_num_minus1=width[0] - 1,
        nnpfc_pic_width_denom_minus1=width[1] - 1,
        nnpfc_pic_height_num_minus1=height[0] - 1,
        nnpfc_pic_height_denom_minus1=height[1] - 1,
        **elements,
    )


def left(offset: int) -> dict[str, int]:
    return {"nnpfc_spatial_extrapolation_left_offset": offset}


def free_patch(delta: int, overlap: int, **elements):
    return dict(
        nnpfc_constant_patch_size_flag=0,
        nnpfc_patch_width_minus1=None,
        nnpfc_patch_height_minus1=None,
        nnpfc_extended_patch_width_cd_delta_minus1=delta - 1,
        nnpfc_overlap=overlap,
        **elements,
    )


def half_width(**elements) -> NnpfCharacteristics:
    return resampled((1, 2), (1, 1), **elements)


def with_metadata(m: NnpfCharacteristics, bits: int, **elements) -> NnpfCharacteristics:
    return replace(
        m,
        nnpfc_num_metadata_extension_bits=bits,
        nnpfc_for_human_viewing_idc=1,
        nnpfc_for_machine_analysis_idc=2,
        **elements,
    )


def with_application_tag(*, count_alignment: bool, tag="tag:example.com,2024:denoise") -> NnpfCharacteristics:
    """A message of purpose 0 with a tag, whose length is counted in one or the other way."""
    bits = 1 + 8 * (len(tag) + 1) + 4
    m = with_metadata(
        nnpfc(nnpfc_purpose=0),
        bits,
        nnpfc_application_purpose_tag_uri_present_flag=1,
        nnpfc_application_purpose_tag_uri=tag,
    )
    if not count_alignment:
        return m
    trace = []
    messages.decode(messages.encode(m), trace=trace)
    alignment = sum(e.length for e in trace if e.element == "nnpfc_metadata_alignment_zero_bit")
    assert alignment
    return replace(m, nnpfc_num_metadata_extension_bits=bits + alignment)


RESERVED_METADATA = replace(nnpfc(), nnpfc_num_metadata_extension_bits=3, nnpfc_reserved_metadata_extension="101")

# rule -> a message that breaks it, one that does not, and the picture that both are for
ONE_MESSAGE = {
    "payload-syntax": (SeiMessage(210, b"\0"), nnpfc(), None),
    "element-range": (nnpfc(nnpfc_mode_idc=256), nnpfc(nnpfc_mode_idc=1), None),
    "payload-closing": (SeiMessage(212, bytes(5)), SeiMessage(212, bytes(4)), None),
    "payload-extension": (SeiMessage(212, bytes(4) + b"\x60"), SeiMessage(212, bytes(4)), None),
    "nnpfc-metadata-count": (
        with_metadata(half_width(), 4, nnpfc_scan_type_idc=1),
        with_metadata(half_width(), 6, nnpfc_scan_type_idc=1),
        None,
    ),
    "nnpfc-metadata-alignment": (
        with_application_tag(count_alignment=False),
        with_application_tag(count_alignment=True),
        None,
    ),
    "nnpf-reserved-value": (nnpfc(nnpfc_id=256), nnpfc(nnpfc_id=255), None),
    "nnpfc-base-properties": (
        form.complete(
            NnpfCharacteristics,
            nnpf.nnpfc,
            {
                "nnpfc_purpose": 1,
                "nnpfc_base_flag": 1,
                "nnpfc_mode_idc": 1,
                "nnpfc_tag_uri": "tag:a.b,2024:c",
                "nnpfc_uri": "https://a.b/c",
            },
            {},
        ),
        nnpfc(),
        None,
    ),
    "nnpfc-payload-present": (nnpfc(nnpfc_mode_idc=0, nnpfc_payload=b""), nnpfc(nnpfc_mode_idc=0), None),
    "nnpfc-tag-uri": (nnpfc(nnpfc_tag_uri="onnx"), nnpfc(nnpfc_tag_uri="tag:onnx.ai,2017:onnx"), None),
    "nnpfc-uri": (nnpfc(nnpfc_uri="https://example.com/a net"), nnpfc(nnpfc_uri="https://example.com/a%20net"), None),
    "nnpfc-uri-scheme": (nnpfc(nnpfc_uri="net.onnx"), nnpfc(nnpfc_uri="file:net.onnx"), None),
    "nnpfc-rate-inputs": (
        nnpfc(**RATE | {"nnpfc_num_input_pics_minus1": 0, "nnpfc_interpolated_pics": None}),
        nnpfc(**RATE),
        None,
    ),
    "nnpfc-interpolated-pics": (nnpfc(**RATE | {"nnpfc_interpolated_pics": [0]}), nnpfc(**RATE), None),
    "nnpfc-filtered-inputs": (
        nnpfc(nnpfc_num_input_pics_minus1=1, nnpfc_input_pic_filtering_flag=[0, 0]),
        nnpfc(nnpfc_num_input_pics_minus1=1, nnpfc_input_pic_filtering_flag=[0, 1]),
        None,
    ),
    "nnpfc-one-chroma-purpose": (
        nnpfc(nnpfc_purpose=nnpf.CHROMA_UPSAMPLING | nnpf.COLOURIZATION, nnpfc_out_colour_format_idc=1),
        nnpfc(**CHROMA),
        None,
    ),
    "nnpfc-resampling-ratio": (resampled((1, 17), (1, 1)), resampled((1, 16), (16, 1)), None),
    "nnpfc-chroma-upsampling-order": (nnpfc(**CHROMA, nnpfc_out_order_idc=3), nnpfc(**CHROMA), None),
    "nnpfc-colourization-order": (nnpfc(**COLOUR, nnpfc_out_order_idc=0), nnpfc(**COLOUR), None),
    "nnpfc-tensor-depths": (
        nnpfc(**INTEGERS, nnpfc_out_tensor_luma_bitdepth_minus8=2, nnpfc_inp_tensor_chroma_bitdepth_minus8=2),
        nnpfc(**INTEGERS, nnpfc_out_tensor_luma_bitdepth_minus8=2, nnpfc_out_tensor_chroma_bitdepth_minus8=2),
        None,
    ),
    "nnpfc-chroma-location": (
        nnpfc(nnpfc_chroma_loc_info_present_flag=1),
        nnpfc(**COLOUR, nnpfc_chroma_loc_info_present_flag=1),
        None,
    ),
    "nnpfc-metadata-reserved": (RESERVED_METADATA, with_metadata(nnpfc(), 4), None),
    "nnpfc-chroma-upsampling-format": (nnpfc(**CHROMA), nnpfc(), YUV444),
    "nnpfc-out-sub-c": (nnpfc(**CHROMA | {"nnpfc_out_sub_c_flag": 0}), nnpfc(**CHROMA), YUV422),
    "nnpfc-colourization-format": (nnpfc(**COLOUR), nnpfc(), YUV420),
    "nnpfc-inp-order": (nnpfc(nnpfc_inp_order_idc=3), nnpfc(nnpfc_inp_order_idc=2), YUV444),
    "nnpfc-out-order": (nnpfc(nnpfc_out_order_idc=3), nnpfc(nnpfc_out_order_idc=2), YUV422),
    "nnpfc-out-order-chroma": (
        nnpfc(nnpfc_inp_order_idc=0, nnpfc_out_order_idc=2),
        nnpfc(nnpfc_inp_order_idc=0, nnpfc_out_order_idc=0),
        YUV400,
    ),
    "nnpfc-resampling-size": (resampled((3, 3), (1, 1)), resampled((3, 2), (1, 1)), YUV420),
    "nnpfc-output-size": (resampled((209, 416), (1, 1)), resampled((210, 416), (1, 1)), YUV420),
    "nnpfc-matrix-coeffs": (
        nnpfc(**COLOURS, nnpfc_matrix_coeffs=8, nnpfc_out_tensor_chroma_bitdepth_minus8=2),
        nnpfc(**COLOURS, nnpfc_matrix_coeffs=8, nnpfc_out_tensor_chroma_bitdepth_minus8=1),
        YUV444,
    ),
    "nnpfc-depth-upsampling": (
        nnpfc(nnpfc_purpose=nnpf.BIT_DEPTH_UPSAMPLING, **INTEGERS, nnpfc_out_tensor_luma_bitdepth_minus8=2),
        nnpfc(nnpfc_purpose=nnpf.BIT_DEPTH_UPSAMPLING, **INTEGERS, nnpfc_out_tensor_luma_bitdepth_minus8=4),
        YUV420,
    ),
    "nnpfc-patch-size": (nnpfc(nnpfc_patch_width_minus1=416), nnpfc(nnpfc_patch_width_minus1=415), YUV420),
    "nnpfc-output-patch": (
        half_width(nnpfc_patch_width_minus1=14),
        half_width(nnpfc_patch_width_minus1=15),
        YUV420,
    ),
    "nnpfc-padding-value": (
        nnpfc(nnpfc_padding_type=4, nnpfc_luma_padding_val=1023, nnpfc_cb_padding_val=1024),
        nnpfc(nnpfc_padding_type=4, nnpfc_luma_padding_val=1023, nnpfc_cb_padding_val=1023),
        YUV420,
    ),
    "nnpfa-prompt": (
        nnpfa(nnpfa_prompt_update_flag=1, nnpfa_prompt=""),
        nnpfa(nnpfa_prompt_update_flag=1, nnpfa_prompt="sharper"),
        None,
    ),
    "po-order": (order((210, 2), (211, 1)), order((210, 1), (211, 1)), None),
    "po-nnpf-pair": (order((211, 1), (210, 2)), order(*PO_PAIR), None),
    "po-prefix-flag": (order((4, 1), (137, 2), prefix={1: "1"}), order((4, 1), (137, 2), prefix={0: "1"}), None),
    "po-same-order": (
        order((4, 1), (4, 2), prefix={0: "101", 1: "101"}),
        order((4, 1), (4, 2), prefix={0: "101", 1: "100"}),
        None,
    ),
    "po-sub-chain": (
        order(*PO_PAIR, po_sei_processing_degree_flag=(0, 1)),
        order(*PO_PAIR, po_sei_importance_flag=(1, 0), po_sei_processing_degree_flag=(0, 1)),
        None,
    ),
    "po-complexity": (
        order((4, 1), (5, 2), **BINARY),
        order((4, 1), (5, 2)),
        None,
    ),
    "po-reserved-bits": (order(*PO_PAIR, po_reserved_zero_4bits=1), order(*PO_PAIR), None),
    "pon-order": (nesting(nnpfc(), nnpfa(), orders=(2, 1)), nesting(nnpfc(), nnpfa()), None),
    "phase-range": (replace(PHASE, pi_hor_phase_num=3), replace(PHASE, pi_hor_phase_num=2), None),
    "vtm-reserved-value": (
        nnpfc(**EXTRAPOLATION),
        nnpfc(nnpfc_id=VTM.max_id),
        None,
    ),
    "vtm-chroma-location": (nnpfc(**COLOUR, nnpfc_chroma_loc_info_present_flag=1), nnpfc(**COLOUR), None),
    "vtm-metadata-count": (
        with_application_tag(count_alignment=True),
        with_application_tag(count_alignment=False),
        None,
    ),
    "vtm-nnpfa-form": (nnpfa(nnpfa_prompt_update_flag=None), nnpfa(), None),
    "vtm-po-entries": (order((4, 1)), order((4, 1), (5, 1)), None),
    "vtm-po-misread": (order((4, 1), (5, 2), prefix={0: "1"}), order((4, 1), (5, 2)), None),
}


def nokia_base(**elements) -> NnpfCharacteristics:
    """What the facts on the decoder say, taken as a writer takes them."""
    wanted = {name: values[0] for name, values in NOKIA.base.items()}
    return nnpfc(**wanted | {"nnpfc_uri": NOKIA.uri_prefix + "net.onnx", "nnpfc_overlap": 4} | elements)


ONE_MESSAGE |= {
    "nokia-base": (nokia_base(nnpfc_inp_order_idc=2), nokia_base(), None),
    "nokia-update": (update(nnpfc_mode_idc=1, nnpfc_payload=None), update(), None),
    "nokia-id": (nokia_base(nnpfc_id=512), nokia_base(nnpfc_id=255), None),
    "nokia-update-base": (update(), nokia_base(), None),
    "nokia-overlap": (nokia_base(nnpfc_overlap=8), nokia_base(), None),
    "nokia-activation": (nnpfa(nnpfa_persistence_flag=0), nnpfa(), None),
}


# The other ways to break those rules, and to keep them.
MORE = [
    (
        "nnpfc-tag-uri",
        nnpfc(nnpfc_tag_uri="tag:example.com:net"),
        nnpfc(nnpfc_tag_uri="tag:me@a.b,2024-05:x/%20#f"),
        None,
    ),
    ("nnpfc-tag-uri", with_application_tag(count_alignment=True, tag="denoise"), nnpfc(), None),
    ("nnpfc-uri", nnpfc(nnpfc_uri=""), nnpfc(nnpfc_uri="a"), None),
    ("nnpfc-uri", nnpfc(nnpfc_uri="file:a%2"), nnpfc(nnpfc_uri="file:a%2F"), None),
    ("nnpfc-resampling-ratio", resampled((1, 1), (17, 1)), resampled((1, 1), (160, 10)), None),
    ("nnpfc-chroma-upsampling-order", nnpfc(**CHROMA, nnpfc_inp_order_idc=0), nnpfc(**CHROMA), None),
    ("nnpfc-chroma-location", nnpfc(**COLOUR | {"nnpfc_out_colour_format_idc": 2}, **LOCATED), nnpfc(**COLOUR), None),
    ("nnpfc-filtered-inputs", nnpfc(**UNFILTERED), nnpfc(**RATE, nnpfc_input_pic_filtering_flag=[0, 0]), None),
    ("nnpfc-inp-order", nnpfc(nnpfc_inp_order_idc=1), nnpfc(nnpfc_inp_order_idc=0), YUV400),
    (
        "nnpfc-output-size",
        nnpfc(**EXTRAPOLATION, **left(-209)),
        nnpfc(**EXTRAPOLATION, **left(-207)),
        YUV420,
    ),
    ("nnpfc-output-size", nnpfc(**EXTRAPOLATION, **left(-208)), nnpfc(**EXTRAPOLATION, **left(1)), YUV420),
    ("nnpfc-matrix-coeffs", nnpfc(**COLOURS, nnpfc_matrix_coeffs=0), nnpfc(**COLOURS, nnpfc_matrix_coeffs=1), YUV420),
    ("nnpfc-matrix-coeffs", nnpfc(**COLOURS, nnpfc_matrix_coeffs=16, **LUMA_DEEPER), nnpfc(**COLOURS), YUV444),
    ("nnpfc-depth-upsampling", nnpfc(nnpfc_purpose=nnpf.BIT_DEPTH_UPSAMPLING), nnpfc(), YUV420),
    ("nnpfc-padding-value", nnpfc(nnpfc_padding_type=4, nnpfc_luma_padding_val=256), nnpfc(), picture(depth=8)),
    ("po-nnpf-pair", order((4, 1), (210, 2)), order((4, 1), (5, 2)), None),
    ("po-same-order", order((4, 1), (4, 2)), order((4, 1), (4, 1)), None),
    ("phase-range", replace(PHASE, pi_ver_phase_num=2), replace(PHASE, pi_ver_phase_num=1), None),
    ("vtm-reserved-value", nnpfc(nnpfc_id=VTM.max_id + 1), nnpfc(nnpfc_id=512), None),
    ("vtm-reserved-value", nnpfc(nnpfc_inp_order_idc=4), nnpfc(nnpfc_inp_order_idc=3), None),
    ("vtm-metadata-count", RESERVED_METADATA, with_metadata(nnpfc(), 4), None),
    ("vtm-po-misread", order(*PO_PAIR, **BINARY), order(*PO_PAIR), None),
    ("nokia-base", nokia_base(nnpfc_uri="net.onnx"), nokia_base(nnpfc_purpose=0), None),
    ("nokia-base", nokia_base(nnpfc_tag_uri="tag:onnx.ai,2018:onnx"), nokia_base(), None),
    ("nokia-activation", nnpfa(nnpfa_target_id=256), nnpfa(nnpfa_target_id=255), None),
]


def coded(message: messages.Message | SeiMessage) -> SeiMessage:
    return message if isinstance(message, SeiMessage) else messages.encode(message)


def decoder_of(rule: str):
    return {"vtm": VTM, "nokia": NOKIA}.get(rule.partition("-")[0])


def alone(message, rule="", picture=None) -> set[str]:
    """The rules that a message breaks, with those of the decoder that `rule` is about."""
    return {f.rule.name for f in check_messages([coded(message)], picture=picture, decoder=decoder_of(rule))}


@pytest.mark.parametrize(
    "rule, broken, kept, for_picture", [*((rule, *case) for rule, case in ONE_MESSAGE.items()), *MORE]
)
def test_a_message_for_itself(rule, broken, kept, for_picture):
    assert rule in alone(broken, rule, for_picture)
    assert rule not in alone(kept, rule, for_picture)


def test_plain_messages_break_nothing():
    for message in (nnpfc(), nnpfc(nnpfc_mode_idc=0), update(), nnpfa(), CANCEL, order(*PO_PAIR), PHASE):
        assert alone(message, picture=YUV420) == set()
    for message in (nokia_base(), nnpfa(), CANCEL):
        assert alone(message, "nokia", YUV420) == set()
    for message in (nnpfc(), update(), nnpfa(), CANCEL, order(*PO_PAIR)):
        assert alone(message, "vtm", YUV420) == set()


def test_nokias_decoder_wants_ten_bits_of_420_in_even_sizes():
    assert "nokia-picture" not in alone(nokia_base(), "nokia", picture())
    for other in (picture(depth=8), YUV444, picture(width=415), picture(height=239)):
        assert "nokia-picture" in alone(nokia_base(), "nokia", other)


@pytest.mark.parametrize(
    "message, elements",
    [
        (
            nnpfc(nnpfc_patch_width_minus1=500, nnpfc_patch_height_minus1=240),
            ["nnpfc_patch_width_minus1", "nnpfc_patch_height_minus1"],
        ),
        (nnpfc(nnpfc_patch_height_minus1=240), ["nnpfc_patch_height_minus1"]),
        (nnpfc(**free_patch(417, 4)), ["nnpfc_extended_patch_width_cd_delta_minus1"]),
        (order((4, 2), (5, 1), (5, 0)), ["po_sei_processing_order[1]", "po_sei_processing_order[2]"]),
    ],
)
def test_the_element_at_fault_is_named(message, elements):
    found = [f for f in check_messages([coded(message)], picture=YUV420) if f.rule.name != "po-same-order"]
    assert [f.element for f in found] == elements
    assert all(f.nal_index is None and f.picture is None for f in found)
    assert {f.name for f in found} == {messages.payload_name(message.PAYLOAD_TYPE)}


@given(
    delta=st.integers(1, 40),
    overlap=st.integers(0, 12),
    width=st.integers(8, 200),
    num=st.integers(1, 9),
    den=st.integers(1, 9),
)
@settings(max_examples=300, deadline=None)
def test_free_patches_that_fit_are_found_as_by_trying_all(delta, overlap, width, num, den):
    """nnpfc-output-patch with a free patch size solves a congruence; here all sizes are tried."""
    m = resampled((num, den), (1, 1), **free_patch(delta, overlap))
    out = -(-width * num // den)
    sizes = (n * (delta + 2 * overlap) - 2 * overlap for n in range(1, width + 2 * overlap + 1))
    some = any(out * size % width == 0 for size in sizes if size <= width)
    broken = alone(m, picture=picture(width=width)) & {"nnpfc-output-patch", "nnpfc-patch-size"}
    assert bool(broken) == (not some)
    assert ("nnpfc-patch-size" in broken) == (delta > width)


# --- messages in a stream --------------------------------------------------------------------------------------------
# The sample: an IDR picture (POC 31) with 31 leading pictures in decoding order, then a CRA picture (POC 63). Its first
# pictures have POC 31, 15, 7, 3, 1, 0, 2, 5, 4, 6.

FIRST_OUTPUT = 5  # decoding index of the picture with POC 0


def at(picture: int, *inside: messages.Message | SeiMessage, suffix=False, layer=0, temporal=None, tail=b"\x80"):
    """An SEI NAL unit for the picture with this decoding index."""
    return picture, inside, suffix, layer, temporal, tail


def put_in(units: list[NalUnit], *put) -> list[NalUnit]:
    """A stream with SEI NAL units directly before the first slice of their pictures, or after its only one."""
    out, picture = [], -1
    for unit in units:
        header = read_header(Codec.VVC, unit.data)
        here, behind = [], []
        if starts_picture(header, unit.data):
            picture += 1
            for wanted, inside, suffix, layer, temporal, tail in put:
                if wanted == picture:
                    kind = Vvc.SUFFIX_SEI if suffix else Vvc.PREFIX_SEI
                    own = NalHeader(Codec.VVC, kind, layer, header.temporal_id if temporal is None else temporal)
                    nal = sei.build(own, [coded(m) for m in inside], tail)
                    (behind if suffix else here).append(NalUnit(unit.offset, b"\0\0\1", memoryview(nal), 0))
        out += [*here, unit, *behind]
    return out


@pytest.fixture(scope="module")
def sample(samples):
    return list(split([(samples / "bbb_q37.266").read_bytes()]))


def findings(units, rule="", check_payload=None):
    listed = nal_units_of(iter(units), Codec.VVC)
    return list(check(listed, Codec.VVC, decoder=decoder_of(rule), check_payload=check_payload))


BASE, UPDATE, ON, ON_UPDATE = nnpfc(), update(), nnpfa(), nnpfa(nnpfa_target_base_flag=0)
TWO_INPUTS = nnpfc(**RATE)
THREE_INPUTS = nnpfc(**RATE | {"nnpfc_num_input_pics_minus1": 2, "nnpfc_interpolated_pics": [1, 1]})
ONE_INTERVAL = nnpfc(**RATE | {"nnpfc_num_input_pics_minus1": 2, "nnpfc_interpolated_pics": [1, 0]})
NO_OUTPUT_FLAGS = nnpfa(nnpfa_num_output_entries=0)
EMPTY_PROMPT = nnpfc(
    nnpfc_auxiliary_inp_idc=nnpf.PROMPT_INPUT,
    nnpfc_inband_prompt_flag=1,
    nnpfc_prompt="",
    nnpfc_num_input_pics_minus1=0,
)
SELECTED = nnpfa(nnpfa_selected_input_flag=1, nnpfa_num_input_pic_shift=0)
OTHER_BASE = nnpfc(nnpfc_uri="https://example.com/other")
MANY = [nnpfc(nnpfc_id=i if i < 256 else i + 256) for i in range(MAX_FILTERS + 1)]

# rule -> SEI NAL units that break it, and some that do not
IN_A_STREAM = {
    "sei-rbsp": ([at(0, PHASE, tail=b"")], [at(0, PHASE)]),
    "sei-temporal-id": ([at(4, PHASE, temporal=0)], [at(4, PHASE)]),
    "sei-layer-id": ([at(4, BASE, layer=1)], [at(4, SeiMessage(5, bytes(16)), layer=1)]),
    "nnpf-prefix": ([at(0, BASE, suffix=True)], [at(0, BASE)]),
    "sei-repetition": ([at(0, *[BASE] * 5)], [at(0, *[BASE] * 4), at(1, BASE)]),
    "nesting-depth": (
        [at(0, nesting(nesting(nesting(nesting(nesting(PHASE))))))],
        [at(0, nesting(nesting(nesting(nesting(PHASE)))))],
    ),
    "nnpfc-first-is-base": (
        [at(0, UPDATE), at(1, BASE)],
        # A base with a reserved value is one of a later edition, and ignored; that does not make its update wrong.
        [at(0, BASE), at(1, UPDATE), at(2, nnpfc(nnpfc_id=2, nnpfc_padding_type=5)), at(3, update(nnpfc_id=2))],
    ),
    "nnpfc-base-repeat": ([at(0, BASE), at(9, OTHER_BASE)], [at(0, BASE), at(9, BASE), at(9, nnpfc(nnpfc_id=2))]),
    "nnpfc-same-purpose": ([at(0, BASE), at(1, update(nnpfc_purpose=0))], [at(0, BASE), at(1, UPDATE)]),
    "nnpfc-update-properties": (
        [at(0, BASE), at(1, nnpfc(nnpfc_base_flag=0, nnpfc_overlap=9))],
        [at(0, BASE), at(1, nnpfc(nnpfc_base_flag=0, nnpfc_complexity_info_present_flag=1))],
    ),
    "nnpfc-after-nnpfa": ([at(0, BASE), at(1, ON, BASE)], [at(0, BASE), at(1, BASE, ON)]),
    "nnpfc-filter-count": ([at(0, *MANY)], [at(0, *MANY[:-1])]),
    "nnpfa-target": ([at(0, BASE, nnpfa(nnpfa_target_id=2))], [at(0, BASE), at(3, ON), at(4, CANCEL)]),
    "nnpfa-update": ([at(0, BASE, ON_UPDATE), at(1, UPDATE)], [at(0, BASE, UPDATE, ON_UPDATE)]),
    "nnpfa-update-scope": (
        [at(0, BASE, UPDATE), at(FIRST_OUTPUT, ON_UPDATE)],
        [at(0, BASE), at(FIRST_OUTPUT, UPDATE), at(FIRST_OUTPUT + 1, ON_UPDATE)],
    ),
    "nnpfa-num-output-entries": (
        [at(0, BASE, nnpfa(nnpfa_num_output_entries=2))],
        [at(0, BASE, ON), at(1, nnpfc(nnpfc_id=2, nnpfc_num_input_pics_minus1=1), nnpfa(nnpfa_target_id=2))],
    ),
    "nnpfa-same-content": ([at(0, BASE, ON), at(0, NO_OUTPUT_FLAGS)], [at(0, BASE, ON, ON), at(1, NO_OUTPUT_FLAGS)]),
    "nnpfa-prompt-needed": (
        [at(0, EMPTY_PROMPT, ON)],
        [at(0, EMPTY_PROMPT, nnpfa(nnpfa_prompt_update_flag=1, nnpfa_prompt="less noise"))],
    ),
    "nnpfa-absent-input": ([at(0, TWO_INPUTS), at(FIRST_OUTPUT, ON)], [at(0, TWO_INPUTS, ON)]),
    "nnpfa-interpolated-twice": ([at(0, THREE_INPUTS, ON)], [at(0, ONE_INTERVAL, ON)]),
    "nnpfa-selected-input": (
        [at(0, BASE, SELECTED), at(1, order(*PO_PAIR))],
        [at(0, BASE, SELECTED), at(0, order(*PO_PAIR)), at(1, SELECTED)],
    ),
    "nnpfa-input-pic-shift": (
        [at(0, order(*PO_PAIR), BASE, nnpfa(nnpfa_selected_input_flag=1, nnpfa_num_input_pic_shift=1))],
        [at(0, order(*PO_PAIR), TWO_INPUTS, nnpfa(nnpfa_selected_input_flag=1, nnpfa_num_input_pic_shift=1))],
    ),
    "pon-target": ([at(0, nesting(BASE, ON))], [at(0, order(*PO_PAIR), nesting(BASE, ON))]),
    "vtm-different-messages": ([at(0, BASE, UPDATE)], [at(0, BASE, BASE, ON), at(1, UPDATE)]),
    "vtm-unknown-type": ([at(0, SeiMessage(250, b"?"))], [at(0, SeiMessage(250, b"?"), PHASE)]),
    "vtm-no-output-flags": (
        [at(0, BASE, NO_OUTPUT_FLAGS)],
        [at(0, BASE, ON), at(1, UPDATE), at(2, NO_OUTPUT_FLAGS), at(3, CANCEL)],
    ),
    "vtm-output-flags-by-chance": ([at(0, BASE, ON)], [at(0, BASE), at(0, ON, suffix=True)]),
    # Picture 32 is the next one that is output after picture 0.
    "vtm-activation-repeated": (
        [at(0, BASE, ON), at(32, ON)],
        [at(0, BASE, ON, ON), at(1, ON), at(2, CANCEL), at(32, ON)],
    ),
    "vtm-resampling": ([at(0, half_width(), ON)], [at(0, half_width())]),
    "vtm-properties": (
        [at(0, ONE_MESSAGE["nnpfc-base-properties"][0], nnpfa(nnpfa_target_id=0))],
        [at(0, BASE, ON)],
    ),
    "nokia-update-wins": (
        [at(0, nokia_base(), UPDATE, ON_UPDATE), at(1, ON)],
        [at(0, nokia_base(), ON), at(1, UPDATE, ON_UPDATE), at(2, nokia_base(), ON)],
    ),
    "nokia-base-resets": (
        [at(0, nokia_base(), ON), at(1, nokia_base())],
        [at(0, nokia_base(), UPDATE, ON_UPDATE), at(1, nokia_base(), UPDATE, ON_UPDATE)],
    ),
}


@pytest.mark.parametrize("rule", IN_A_STREAM)
def test_messages_in_a_stream(rule, sample):
    broken, kept = IN_A_STREAM[rule]
    found = [f for f in findings(put_in(sample, *broken), rule) if f.rule.name == rule]
    assert found
    where = {put[0] for put in broken}
    assert {f.picture.decode_index for f in found} <= where
    assert rule not in {f.rule.name for f in findings(put_in(sample, *kept), rule)}


def test_the_place_of_a_finding(sample):
    (found,) = findings(put_in(sample, at(3, BASE), at(7, nnpfa(nnpfa_target_id=8))))
    assert (found.rule.name, found.element, found.name) == ("nnpfa-target", "nnpfa_target_id", "nnpfa")
    assert (found.nal_index, found.picture.decode_index, found.picture.poc, found.output_index) == (11, 7, 5, 5)
    assert found.offset == sample[10].offset  # the message stands before the slice of picture 7


def test_a_base_holds_for_its_clvs_only(sample):
    """The sample twice: its IDR picture starts a CLVS, its CRA picture none."""
    twice = [*sample, *sample]
    assert findings(put_in(twice, at(0, BASE, ON), at(32, ON), at(65, BASE, ON))) == []
    assert {f.rule.name for f in findings(put_in(twice, at(0, BASE, ON), at(65, ON)))} == {"nnpfa-target"}
    assert findings(put_in(twice, at(0, BASE), at(65, OTHER_BASE))) == []
    assert {f.rule.name for f in findings(put_in(twice, at(0, BASE), at(65, UPDATE)))} == {"nnpfc-first-is-base"}


def test_inputs_of_the_clvs_before_count_unless_the_activation_says_not(sample):
    twice = [*sample, *sample]
    second = 65 + FIRST_OUTPUT
    for flag, names in ((0, set()), (1, {"nnpfa-absent-input"})):
        stream = put_in(twice, at(65, TWO_INPUTS), at(second, nnpfa(nnpfa_no_prev_clvs_flag=flag)))
        assert {f.rule.name for f in findings(stream)} == names


def test_messages_that_are_ignored_are_not_judged_beyond_that(sample):
    reserved = nnpfc(nnpfc_inp_format_idc=7, nnpfc_uri="not a uri")
    found = findings(put_in(sample, at(0, reserved, ON), at(1, nnpfa(nnpfa_num_output_entries=9))))
    assert [(f.rule.name, f.rule.level) for f in found] == [("nnpf-reserved-value", Level.WARNING)]


def test_the_properties_are_judged_by_the_picture_of_the_activation_too(sample):
    """Reference picture resampling: pictures of a CLVS differ in size."""
    patch = nnpfc(nnpfc_patch_width_minus1=415, nnpfc_patch_height_minus1=239)
    listed = list(nal_units_of(iter(put_in(sample, at(0, patch), at(3, ON), at(4, ON))), Codec.VVC))
    smaller = [
        replace(item, picture=replace(item.picture, format=picture(208, 120)))
        if item.picture.decode_index > 2
        else item
        for item in listed
    ]
    assert list(check(listed, Codec.VVC)) == []
    found = list(check(smaller, Codec.VVC))
    assert [(f.rule.name, f.name, f.picture.decode_index) for f in found] == [("nnpfc-patch-size", "nnpfa", 3)] * 2


def test_a_picture_with_an_activation_is_output(sample):
    """nnpfa-picture-output. Pictures that only this start of decoding drops do not count."""
    listed = list(nal_units_of(iter(put_in(sample, at(0, BASE), at(3, ON))), Codec.VVC))

    def hidden(**more):
        return [
            replace(item, output_index=None, picture=replace(item.picture, output=False, **more))
            if item.picture.decode_index == 3
            else item
            for item in listed
        ]

    assert [f.rule.name for f in check(hidden(), Codec.VVC)] == ["nnpfa-picture-output"]
    assert list(check(hidden(nal_unit_type=Vvc.RASL), Codec.VVC)) == []


def nal(kind: int, body: bytes = b"\x80") -> NalUnit:
    return NalUnit(0, b"\0\0\1", memoryview(NalHeader(Codec.VVC, kind).to_bytes() + body), 0)


PREFIX_SEI, SUFFIX_SEI = (
    nal(kind, sei.build(NalHeader(Codec.VVC, kind), [coded(PHASE)])[2:]) for kind in (Vvc.PREFIX_SEI, Vvc.SUFFIX_SEI)
)


def test_nal_units_in_the_wrong_place(sample):
    """sei-picture, sei-after-aud"""
    delimiter = nal(Vvc.AUD, b"\x28")
    assert findings([delimiter, PREFIX_SEI, *sample]) == []
    assert [f.rule.name for f in findings([PREFIX_SEI, delimiter, *sample])] == ["sei-after-aud"]
    assert findings([*sample[:4], SUFFIX_SEI]) == []
    assert [f.rule.name for f in findings([SUFFIX_SEI, *sample])] == ["sei-picture"]
    assert [(f.rule.name, f.picture) for f in findings([*sample, PREFIX_SEI])] == [("sei-picture", None)]


def test_broken_headers_are_told_with_their_offset(sample):
    """nal-header, picture-headers"""
    broken = [NalUnit(u.offset, u.prefix, memoryview(b"\x00\x00"), 0) if i == 7 else u for i, u in enumerate(sample)]
    (found,) = findings(broken)
    assert (found.rule.name, found.nal_index, found.offset) == ("nal-header", 7, sample[7].offset)
    cut = [NalUnit(u.offset, u.prefix, u.data[:4], 0) if i == 7 else u for i, u in enumerate(sample)]
    (found,) = findings(cut)
    assert (found.rule.name, found.nal_index, found.offset) == ("picture-headers", 7, sample[7].offset)


# --- payloads --------------------------------------------------------------------------------------------------------


def says(**report):
    return lambda payload, base: PayloadReport(**report)


def test_payloads_are_as_their_decoder_says(sample):
    """nnpfc-payload, nnpfc-payload-unsupported, nnpfc-num-parameters"""
    base = nnpfc(
        nnpfc_mode_idc=0, nnpfc_complexity_info_present_flag=1, nnpfc_num_parameters_idc=1, nnpfc_parameter_type_idc=1
    )
    stream = put_in(sample, at(0, base))
    assert findings(stream, check_payload=says(num_parameters=4095)) == []
    for report, rule in (
        ({"problem": "no first unit"}, "nnpfc-payload"),
        ({"unsupported": ("unit 3",)}, "nnpfc-payload-unsupported"),
        ({"num_parameters": 4096}, "nnpfc-num-parameters"),
    ):
        assert [f.rule.name for f in findings(stream, check_payload=says(**report))] == [rule]


def test_an_update_is_decoded_with_its_base_and_nothing_twice(sample):
    asked = []

    def check_payload(payload, base):
        asked.append((payload, base))
        return PayloadReport()

    base = nnpfc(nnpfc_mode_idc=0, nnpfc_payload=b"base")
    stream = put_in(sample, at(0, base), at(1, update(nnpfc_payload=b"update")), at(9, base), at(32, base))
    assert findings(stream, check_payload=check_payload) == []
    assert asked == [(b"base", None), (b"update", b"base")]


# --- nesting, layers -------------------------------------------------------------------------------------------------


def test_nested_messages_are_judged_for_their_layer(sample):
    bad = nnpfc(nnpfc_patch_width_minus1=416)
    assert {f.rule.name for f in findings(put_in(sample, at(0, scalable_nesting(bad))))} == {"nnpfc-patch-size"}
    assert findings(put_in(sample, at(0, scalable_nesting(BASE)), at(1, ON))) == []
    # For layer 1 alone, or for a processing order: of what size its pictures are is not known here, and its
    # activation may stand anywhere.
    assert findings(put_in(sample, at(0, order(*PO_PAIR), nesting(BASE)), at(1, ON))) == []


def test_messages_for_other_layers_or_subpictures_are_not_judged_by_the_picture(sample):
    bad = nnpfc(nnpfc_patch_width_minus1=416)
    for other in (
        replace(scalable_nesting(bad), sn_subpic_flag=1, **SUBPICTURE),
        replace(scalable_nesting(bad, ON), sn_subpic_flag=1, **SUBPICTURE),
    ):
        assert findings(put_in(sample, at(0, other))) == []


def test_the_messages_at_fault_inside_a_nesting_are_named(sample):
    (found,) = findings(put_in(sample, at(0, order(*PO_PAIR), nesting(nnpfc(nnpfc_uri="a b")))))
    assert (found.rule.name, found.name, found.nal_index) == ("nnpfc-uri", "nnpfc", 3)


# --- before messages are in a stream -------------------------------------------------------------------------------


def test_messages_are_judged_together_before_they_are_put_in(sample):
    starts = [group.start for group in groups(iter([*sample, *sample]), Codec.VVC)]

    def judged(*put, **options):
        insertions = [(starts[i], [coded(m) for m in inside]) for i, *inside in put]
        return [(start.decode_index, f.rule.name, f.name) for start, f in check_insertions(insertions, **options)]

    assert judged((0, BASE, ON), (1, UPDATE, ON_UPDATE), (32, BASE, ON), (65, BASE, ON)) == []
    assert judged((0, BASE, ON), (65, ON)) == [(65, "nnpfa-target", "nnpfa")]
    assert judged((0, BASE, ON_UPDATE), (1, UPDATE)) == [(0, "nnpfa-update", "nnpfa")]
    assert judged((0, nnpfc(nnpfc_patch_width_minus1=416)), picture=YUV420) == [(0, "nnpfc-patch-size", "nnpfc")]
    assert judged((0, BASE, UPDATE), decoder=VTM) == [(0, "vtm-different-messages", "nnpfc")]
    assert judged((0, nokia_base(), ON), (32, nokia_base()), decoder=NOKIA) == [(32, "nokia-base-resets", "nnpfc")]


# --- all rules -------------------------------------------------------------------------------------------------------

ELSEWHERE = {
    "nal-header": test_broken_headers_are_told_with_their_offset,
    "picture-headers": test_broken_headers_are_told_with_their_offset,
    "sei-picture": test_nal_units_in_the_wrong_place,
    "sei-after-aud": test_nal_units_in_the_wrong_place,
    "nnpfc-payload": test_payloads_are_as_their_decoder_says,
    "nnpfc-payload-unsupported": test_payloads_are_as_their_decoder_says,
    "nnpfc-num-parameters": test_payloads_are_as_their_decoder_says,
    "nnpfa-picture-output": test_a_picture_with_an_activation_is_output,
    "nokia-picture": test_nokias_decoder_wants_ten_bits_of_420_in_even_sizes,
}


def test_every_rule_has_a_test_and_a_name_of_its_own():
    names = [rule.name for rule in every_rule()]
    assert len(names) == len(set(names))
    assert set(names) == {*ONE_MESSAGE, *IN_A_STREAM, *ELSEWHERE}
    for rule in every_rule():
        assert rule.clause
        assert rule.statement.endswith(".")
        assert rule.name == rule.name.lower().replace("_", "-")


def test_the_list_of_rules_is_current():
    """If this fails: python -m vsei.rules > docs/rules.md"""
    assert (ROOT / "docs/rules.md").read_text("utf-8") == markdown()


@given(st.data())
@settings(max_examples=150, deadline=None)
def test_no_message_is_too_odd_for_the_rules(data):
    """Whatever a reader can read, rules can judge."""
    description = data.draw(st.sampled_from([(NnpfCharacteristics, nnpf.nnpfc), (NnpfActivation, nnpf.nnpfa)]))
    drawn = Drawn(data)
    description[1](drawn)
    message = coded(form.from_values(description[0], drawn.values, None))
    for decoder in (None, VTM, NOKIA):
        for for_picture in (None, YUV400, YUV420, picture(1, 1), picture(2**32, 2**32)):
            check_messages([message], picture=for_picture, decoder=decoder)


# --- streams of others -----------------------------------------------------------------------------------------------

# What in the vectors of the reference software does break a rule, and why.
NOT_PROPER = {
    "s07_fru_2in_ra17": {"nnpfa-absent-input"},  # README: active on the first picture too, which VTM's check forbids
    "s08_fru_4in": {"nnpfa-absent-input"},  # README: the same
    "s30_noprop_fix": {"nnpfc-base-properties"},  # a base by URI alone
    "s32_quirk_scan_bits": {"nnpfc-metadata-count"},  # README: quirk
    "s33_quirk_noprop_empty": {"nnpfc-base-properties", "nnpfc-tag-uri", "nnpfc-uri"},  # README: quirk
    # One of its activations has five output flags for a filter with one input picture, to end byte-aligned.
    "sp02_nnpfa_v3_and_ext": {"nnpfa-num-output-entries"},
    "sp03_reserved_values": {"nnpfa-target"},  # README: an activation of an unknown id
    # In the second CLVS, POC 18 activates the update before the first one comes, with POC 20.
    "sp05_updates_mid_clvs": {"nnpfa-update"},
}
WITH_WARNINGS = {
    "s14_app_taguri": {"nnpfc-metadata-alignment"},  # VTM does not count alignment bits
    "s17_eight_filters": {"nnpfc-depth-upsampling"},  # real numbers for more bits
    "s27_suffix": {"nnpf-prefix"},  # suffix SEI, as its name says
    "sp02_nnpfa_v3_and_ext": {"payload-extension"},  # README: bits after the newest fields
    "sp03_reserved_values": {"nnpf-reserved-value", "nnpfc-metadata-reserved", "payload-extension"},  # README
}


def names(found, level):
    return {f.rule.name for f in found if f.rule.level is level}


def of_file(path, rule=""):
    return findings(split([path.read_bytes()]), rule)


def test_streams_of_the_reference_software(shared):
    for path in sorted(shared.glob("vectors/vtm/*.266")):
        found = of_file(path)
        assert names(found, Level.VIOLATION) == NOT_PROPER.get(path.stem, set()), path.stem
        assert names(found, Level.WARNING) == WITH_WARNINGS.get(path.stem, set()), path.stem


def test_what_stops_the_reference_decoder_is_foretold(shared):
    """Each vector says whether the unmodified VTM 23.13 decodes it. Where it stops, a rule says so; where it does not,
    no violation is told."""
    by_chance = set()
    for path in sorted(shared.glob("vectors/vtm/*.266")):
        stops = json.loads(path.with_suffix(".cfg.json").read_text())["decoders"]["stock"]["rc"] != 0
        found = of_file(path, "vtm")
        told = names(found, Level.VIOLATION)
        if not told and stops:
            assert "vtm-output-flags-by-chance" in names(found, Level.WARNING), path.stem
            by_chance.add(path.stem.partition("_")[0])
        else:
            assert bool(told) == stops, (path.stem, told)
    assert by_chance == {"s02", "s03", "s09", "s11", "s24", "s25", "s26", "sp06"}


def test_other_streams_break_nothing(shared):
    """The suffix SEI NAL unit in front of RAP_B_HHI_1 is of a picture that was cut off."""
    paths = [*shared.glob("conformance/*.bit"), *shared.glob("vectors/streams/*.266"), *shared.glob("clips/*_q37.266")]
    assert len(paths) > 50
    for path in paths:
        wanted = {"sei-picture", "sei-temporal-id"} if path.stem == "RAP_B_HHI_1" else set()
        assert {f.rule.name for f in of_file(path)} == wanted, path.stem


def test_rules_are_of_one_book_each():
    assert {rule.name.partition("-")[0] for _, rule in STANDARD.rules()}.isdisjoint({"vtm", "nokia"})
