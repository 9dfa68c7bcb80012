"""What the values of NNPFC and NNPFA elements stand for, in a few words: for people who read dumps."""

from __future__ import annotations

from vsei.messages import nnpf

PURPOSES = {
    nnpf.VISUAL_QUALITY: "visual quality improvement",
    nnpf.CHROMA_UPSAMPLING: "chroma upsampling",
    nnpf.RESOLUTION_RESAMPLING: "resolution resampling",
    nnpf.PICTURE_RATE_UPSAMPLING: "picture rate upsampling",
    nnpf.BIT_DEPTH_UPSAMPLING: "bit depth upsampling",
    nnpf.COLOURIZATION: "colourization",
    nnpf.TEMPORAL_EXTRAPOLATION: "temporal extrapolation",
    nnpf.SPATIAL_EXTRAPOLATION: "spatial extrapolation",
}
_ORDERS = {0: "luma", 1: "Cb, Cr", 2: "Y, Cb, Cr", 3: "four luma phases, Cb, Cr"}
_FORMATS = {0: "real numbers 0..1", 1: "unsigned integers"}
_VALUES = {
    "nnpfc_base_flag": {0: "update, relative to the base", 1: "base filter"},
    "nnpfc_mode_idc": {0: "payload: ISO/IEC 15938-17 (NNC)", 1: "URI"},
    "nnpfc_inp_format_idc": _FORMATS,
    "nnpfc_out_format_idc": _FORMATS,
    "nnpfc_inp_order_idc": _ORDERS,
    "nnpfc_out_order_idc": _ORDERS,
    "nnpfc_out_colour_format_idc": {1: "4:2:0", 2: "4:2:2", 3: "4:4:4"},
    "nnpfc_padding_type": {0: "zero", 1: "replication", 2: "reflection", 3: "wrap-around", 4: "fixed values"},
    "nnpfc_parameter_type_idc": {0: "integer", 1: "floating point or integer", 2: "binary"},
    "nnpfa_cancel_flag": {1: "persistence ends"},
    "nnpfa_persistence_flag": {0: "this picture only", 1: "this picture and those that follow in output order"},
    "nnpfa_target_base_flag": {0: "the update in force", 1: "the base filter"},
}
_AUXILIARY = {nnpf.STRENGTH_INPUT: "strength", nnpf.PROMPT_INPUT: "prompt", nnpf.SEED_INPUT: "seed"}


def purposes(purpose: int) -> str:
    """nnpfc_purpose in words."""
    if purpose == 0:
        return "as the application determines"
    named = [text for bit, text in PURPOSES.items() if purpose & bit]
    return ", ".join([*named, "reserved bits"] if purpose & ~nnpf.ALL_PURPOSES else named)


def meaning(element: str, value: object) -> str:
    """What a value stands for; empty where there is nothing to say."""
    if not isinstance(value, int):
        return ""
    if element == "nnpfc_purpose":
        return purposes(value)
    if element == "nnpfc_auxiliary_inp_idc":
        return ", ".join(text for bit, text in _AUXILIARY.items() if value & bit)
    if element == "nnpfc_log2_parameter_bit_length_minus3":
        return f"at most {1 << (value + 3)} bits each"
    if element == "nnpfc_num_parameters_idc" and 0 < value <= 52:
        return f"at most {(2048 << value) - 1}"
    if element == "nnpfc_num_kmac_operations_idc" and value:
        return f"at most {value * 1000} multiply-accumulate operations for each sample"
    if element in ("nnpfc_id", "nnpfa_target_id") and (256 <= value <= 511 or value >= 1 << 31):
        return "reserved"
    table = _VALUES.get(element)
    return table.get(value, "reserved" if element.endswith("_idc") else "") if table else ""
