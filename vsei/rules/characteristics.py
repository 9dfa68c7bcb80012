"""Rules on one NNPFC message: between its own elements, and between them and the picture."""

from __future__ import annotations

import re
from collections.abc import Iterator
from math import gcd

from vsei.messages.derived import MONOCHROME, YUV420, YUV422, YUV444, FilterOnPicture, plus1
from vsei.messages.nnpf import (
    BIT_DEPTH_UPSAMPLING,
    CHROMA_UPSAMPLING,
    COLOURIZATION,
    MODE_NNC,
    PICTURE_RATE_UPSAMPLING,
    RESOLUTION_RESAMPLING,
    SPATIAL_EXTRAPOLATION,
    TEMPORAL_EXTRAPOLATION,
    NnpfCharacteristics,
)
from vsei.pictures import PictureFormat
from vsei.rules.book import STANDARD, Broken, Level

NNPFC = "H.274 8.28.1.2"  # semantics
PATCHES = "H.274 8.28.1.3"  # the patch-wise process

# RFC 3986: what a URI or a relative reference is made of, and what only a URI starts with.
_URI_CHARACTERS = re.compile(r"(?:[A-Za-z0-9\-._~:/?#\[\]@!$&'()*+,;=]|%[0-9A-Fa-f]{2})+")
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.\-]*:")
# RFC 4151: tag:authority,date:specific#fragment
_TAG_URI = re.compile(
    r"tag:[A-Za-z0-9._\-]+(?:@[A-Za-z0-9.\-]+)?,\d{4}(?:-\d\d(?:-\d\d)?)?:"
    r"(?:[A-Za-z0-9\-._~!$&'()*+,;=:@/?]|%[0-9A-Fa-f]{2})*(?:#.*)?"
)
_QUOTED = 80  # characters of a string that a message quotes

# nnpfc_matrix_coeffs: GBR and YCgCo-R in its forms (H.273 Table 4)
_SAME_DEPTH_444 = (0, 16, 17)
_YCGCO = 8


def quoted(text: str) -> str:
    return repr(text if len(text) <= _QUOTED else text[:_QUOTED] + "...")


@STANDARD.rule(
    NnpfCharacteristics, "nnpfc-base-properties", NNPFC, "A base filter carries its properties in the message."
)
def base_has_properties(m: NnpfCharacteristics) -> Iterator[Broken]:
    if m.nnpfc_base_flag and not m.nnpfc_property_present_flag:
        yield Broken("nnpfc_property_present_flag", "0 in a base filter")


@STANDARD.rule(
    NnpfCharacteristics, "nnpfc-payload-present", NNPFC, "A filter in the message (mode 0) has at least one byte."
)
def payload_is_not_empty(m: NnpfCharacteristics) -> Iterator[Broken]:
    if m.nnpfc_mode_idc == MODE_NNC and not m.nnpfc_payload:
        yield Broken("nnpfc_payload_byte", "the message ends before the first one")


@STANDARD.rule(NnpfCharacteristics, "nnpfc-tag-uri", NNPFC, "Tag URIs have the form that RFC 4151 gives them.")
def tags_are_tag_uris(m: NnpfCharacteristics) -> Iterator[Broken]:
    for element in ("nnpfc_tag_uri", "nnpfc_application_purpose_tag_uri"):
        tag = getattr(m, element)
        if tag is not None and not _TAG_URI.fullmatch(tag):
            yield Broken(element, f"{quoted(tag)} is no tag URI, as tag:example.com,2024:name is")


@STANDARD.rule(
    NnpfCharacteristics, "nnpfc-uri", NNPFC, "nnpfc_uri is not empty and holds only what RFC 3986 allows in a URI."
)
def uri_is_a_uri(m: NnpfCharacteristics) -> Iterator[Broken]:
    if m.nnpfc_uri == "":
        yield Broken("nnpfc_uri", "is empty")
    elif m.nnpfc_uri is not None and not _URI_CHARACTERS.fullmatch(m.nnpfc_uri):
        yield Broken("nnpfc_uri", f"{quoted(m.nnpfc_uri)} has characters that a URI writes as %XX")


@STANDARD.rule(
    NnpfCharacteristics,
    "nnpfc-uri-scheme",
    NNPFC,
    "nnpfc_uri names its scheme; without one, receivers need a common idea of what it is relative to.",
    Level.WARNING,
)
def uri_has_a_scheme(m: NnpfCharacteristics) -> Iterator[Broken]:
    if m.nnpfc_uri and _URI_CHARACTERS.fullmatch(m.nnpfc_uri) and not _SCHEME.match(m.nnpfc_uri):
        yield Broken("nnpfc_uri", f"{quoted(m.nnpfc_uri)} is a relative reference")


@STANDARD.rule(
    NnpfCharacteristics, "nnpfc-rate-inputs", NNPFC, "Picture rate upsampling takes two input pictures or more."
)
def rate_upsampling_has_inputs(m: NnpfCharacteristics) -> Iterator[Broken]:
    if m.nnpfc_purpose & PICTURE_RATE_UPSAMPLING and m.nnpfc_num_input_pics_minus1 == 0:
        yield Broken("nnpfc_num_input_pics_minus1", "0 with picture rate upsampling")


@STANDARD.rule(
    NnpfCharacteristics,
    "nnpfc-interpolated-pics",
    NNPFC,
    "Picture rate upsampling interpolates at least one picture somewhere.",
)
def something_is_interpolated(m: NnpfCharacteristics) -> Iterator[Broken]:
    if m.nnpfc_interpolated_pics is not None and not any(m.nnpfc_interpolated_pics):
        yield Broken("nnpfc_interpolated_pics", "all 0")


@STANDARD.rule(
    NnpfCharacteristics,
    "nnpfc-filtered-inputs",
    NNPFC,
    "Of several input pictures at least one is filtered, unless pictures are interpolated or extrapolated in time.",
)
def something_is_filtered(m: NnpfCharacteristics) -> Iterator[Broken]:
    flags = m.nnpfc_input_pic_filtering_flag
    if flags and not any(flags) and not m.nnpfc_purpose & (PICTURE_RATE_UPSAMPLING | TEMPORAL_EXTRAPOLATION):
        yield Broken("nnpfc_input_pic_filtering_flag", "all 0")


@STANDARD.rule(
    NnpfCharacteristics, "nnpfc-one-chroma-purpose", NNPFC, "A filter does not both upsample chroma and colourize."
)
def chroma_comes_from_one_purpose(m: NnpfCharacteristics) -> Iterator[Broken]:
    if m.nnpfc_purpose & CHROMA_UPSAMPLING and m.nnpfc_purpose & COLOURIZATION:
        yield Broken("nnpfc_purpose", f"{m.nnpfc_purpose:#06x} has chroma upsampling and colourization")


@STANDARD.rule(NnpfCharacteristics, "nnpfc-resampling-ratio", NNPFC, "Both resampling ratios lie in 1/16 to 16.")
def resampling_ratios(m: NnpfCharacteristics) -> Iterator[Broken]:
    for side in ("width", "height"):
        num, denom = (getattr(m, f"nnpfc_pic_{side}_{part}_minus1") for part in ("num", "denom"))
        if num is None or denom is None:
            continue
        if not plus1(denom) <= 16 * plus1(num) <= 256 * plus1(denom):
            yield Broken(f"nnpfc_pic_{side}_num_minus1", f"the ratio is {plus1(num)}/{plus1(denom)}")


@STANDARD.rule(
    NnpfCharacteristics,
    "nnpfc-chroma-upsampling-order",
    NNPFC,
    "Chroma upsampling takes chroma in (input order not 0) and gives chroma out in planes (output order not 0, not 3).",
)
def chroma_upsampling_orders(m: NnpfCharacteristics) -> Iterator[Broken]:
    if m.nnpfc_purpose & CHROMA_UPSAMPLING:
        if m.nnpfc_inp_order_idc == 0:
            yield Broken("nnpfc_inp_order_idc", "0 with chroma upsampling")
        if m.nnpfc_out_order_idc in (0, 3):
            yield Broken("nnpfc_out_order_idc", f"{m.nnpfc_out_order_idc} with chroma upsampling")


@STANDARD.rule(
    NnpfCharacteristics, "nnpfc-colourization-order", NNPFC, "Colourization gives chroma out (output order not 0)."
)
def colourization_order(m: NnpfCharacteristics) -> Iterator[Broken]:
    if m.nnpfc_purpose & COLOURIZATION and m.nnpfc_out_order_idc == 0:
        yield Broken("nnpfc_out_order_idc", "0 with colourization")


@STANDARD.rule(
    NnpfCharacteristics,
    "nnpfc-tensor-depths",
    NNPFC,
    "Between integer tensors, bit depth does not grow for one of luma and chroma and shrink for the other.",
)
def tensor_depths_go_one_way(m: NnpfCharacteristics) -> Iterator[Broken]:
    luma = m.nnpfc_inp_tensor_luma_bitdepth_minus8, m.nnpfc_out_tensor_luma_bitdepth_minus8
    chroma = m.nnpfc_inp_tensor_chroma_bitdepth_minus8, m.nnpfc_out_tensor_chroma_bitdepth_minus8
    if luma[0] is None or luma[1] is None or chroma[0] is None or chroma[1] is None:
        return
    if (luma[1] - luma[0]) * (chroma[1] - chroma[0]) < 0:
        yield Broken(
            "nnpfc_out_tensor_chroma_bitdepth_minus8",
            f"luma goes from {luma[0] + 8} to {luma[1] + 8} bit, chroma from {chroma[0] + 8} to {chroma[1] + 8}",
        )


@STANDARD.rule(
    NnpfCharacteristics,
    "nnpfc-chroma-location",
    NNPFC,
    "Chroma locations are sent only for colourization to 4:2:0.",
)
def chroma_location_is_for_420(m: NnpfCharacteristics) -> Iterator[Broken]:
    if not m.nnpfc_chroma_loc_info_present_flag:
        return
    if not m.nnpfc_purpose & COLOURIZATION:
        yield Broken("nnpfc_chroma_loc_info_present_flag", "1 without colourization")
    elif m.nnpfc_out_colour_format_idc != YUV420:
        yield Broken(
            "nnpfc_chroma_loc_info_present_flag",
            f"1 with nnpfc_out_colour_format_idc {m.nnpfc_out_colour_format_idc}",
        )


@STANDARD.rule(
    NnpfCharacteristics,
    "nnpfc-metadata-reserved",
    NNPFC,
    "The metadata extension has only elements that this edition knows.",
    Level.WARNING,
)
def metadata_is_understood(m: NnpfCharacteristics) -> Iterator[Broken]:
    if m.nnpfc_reserved_metadata_extension:
        bits = len(m.nnpfc_reserved_metadata_extension)
        yield Broken("nnpfc_reserved_metadata_extension", f"{bits} bits that decoders of this edition skip")


# --- with the picture ------------------------------------------------------------------------------------------------

_CHROMA = ("4:0:0", "4:2:0", "4:2:2", "4:4:4")


@STANDARD.rule(
    FilterOnPicture, "nnpfc-chroma-upsampling-format", NNPFC, "Chroma upsampling is for 4:2:0 and 4:2:2 pictures."
)
def chroma_upsampling_format(f: FilterOnPicture[PictureFormat]) -> Iterator[Broken]:
    chroma = f.picture.chroma_format_idc
    if f.m.nnpfc_purpose & CHROMA_UPSAMPLING and chroma in (MONOCHROME, YUV444):
        yield Broken("nnpfc_purpose", f"chroma upsampling of {_CHROMA[chroma]} pictures")


@STANDARD.rule(FilterOnPicture, "nnpfc-out-sub-c", NNPFC, "Chroma upsampling of 4:2:2 pictures gives 4:4:4.")
def upsampled_422_is_444(f: FilterOnPicture[PictureFormat]) -> Iterator[Broken]:
    if f.picture.chroma_format_idc == YUV422 and f.m.nnpfc_out_sub_c_flag == 0:
        yield Broken("nnpfc_out_sub_c_flag", "0 for 4:2:2 pictures")


@STANDARD.rule(FilterOnPicture, "nnpfc-colourization-format", NNPFC, "Colourization is for 4:0:0 pictures.")
def colourization_format(f: FilterOnPicture[PictureFormat]) -> Iterator[Broken]:
    chroma = f.picture.chroma_format_idc
    if f.m.nnpfc_purpose & COLOURIZATION and chroma != MONOCHROME:
        yield Broken("nnpfc_purpose", f"colourization of {_CHROMA[chroma]} pictures")


@STANDARD.rule(
    FilterOnPicture,
    "nnpfc-inp-order",
    NNPFC,
    "4:0:0 pictures enter as luma (input order 0); quads (input order 3) are for 4:2:0 pictures.",
)
def input_order_fits(f: FilterOnPicture[PictureFormat]) -> Iterator[Broken]:
    order, chroma = f.m.nnpfc_inp_order_idc, f.picture.chroma_format_idc
    if (chroma == MONOCHROME and order != 0) or (order == 3 and chroma != YUV420):
        yield Broken("nnpfc_inp_order_idc", f"{order} for {_CHROMA[chroma]} pictures")


@STANDARD.rule(FilterOnPicture, "nnpfc-out-order", NNPFC, "Quads (output order 3) are for 4:2:0 output.")
def output_order_fits(f: FilterOnPicture[PictureFormat]) -> Iterator[Broken]:
    if f.m.nnpfc_out_order_idc == 3 and f.out_chroma_format_idc != YUV420:
        yield Broken("nnpfc_out_order_idc", f"3 for {_CHROMA[f.out_chroma_format_idc]} output")


@STANDARD.rule(
    FilterOnPicture,
    "nnpfc-out-order-chroma",
    NNPFC,
    "Where the output has no chroma, the output order is 0.",
    Level.WARNING,
)
def output_chroma_exists(f: FilterOnPicture[PictureFormat]) -> Iterator[Broken]:
    order = f.m.nnpfc_out_order_idc
    if order in (1, 2) and f.out_chroma_format_idc == MONOCHROME:
        yield Broken("nnpfc_out_order_idc", f"{order} for 4:0:0 output")


@STANDARD.rule(
    FilterOnPicture, "nnpfc-resampling-size", NNPFC, "Resolution resampling changes width or height (or both)."
)
def resampling_changes_the_size(f: FilterOnPicture[PictureFormat]) -> Iterator[Broken]:
    size = f.picture.width, f.picture.height
    if f.m.nnpfc_purpose & RESOLUTION_RESAMPLING and f.resampled_size == size:
        yield Broken("nnpfc_pic_width_num_minus1", f"pictures stay at {size[0]}x{size[1]}")


@STANDARD.rule(
    FilterOnPicture,
    "nnpfc-output-size",
    NNPFC,
    "Output pictures have a positive size that is a multiple of outSubWidthC and outSubHeightC.",
)
def output_size_is_possible(f: FilterOnPicture[PictureFormat]) -> Iterator[Broken]:
    width, height = f.output_size
    if not f.m.nnpfc_purpose & (RESOLUTION_RESAMPLING | SPATIAL_EXTRAPOLATION):
        return
    extrapolated = f.m.nnpfc_purpose & SPATIAL_EXTRAPOLATION
    elements = (
        ("nnpfc_spatial_extrapolation_left_offset", "nnpfc_spatial_extrapolation_top_offset")
        if extrapolated
        else ("nnpfc_pic_width_num_minus1", "nnpfc_pic_height_num_minus1")
    )
    for element, size, sub, side in zip(
        elements, (width, height), (f.out_sub_width_c, f.out_sub_height_c), ("width", "height"), strict=True
    ):
        if size <= 0:
            yield Broken(element, f"the output {side} is {size}")
        elif size % sub:
            yield Broken(element, f"the output {side} is {size}, no multiple of {sub}")


@STANDARD.rule(
    FilterOnPicture,
    "nnpfc-matrix-coeffs",
    NNPFC,
    "nnpfc_matrix_coeffs 0, 16 and 17 go with 4:4:4 planes of equal tensor bit depths; 8 with equal depths, or with "
    "4:4:4 planes and one bit more for chroma.",
)
def matrix_fits(f: FilterOnPicture[PictureFormat]) -> Iterator[Broken]:
    m = f.m
    planes_444 = m.nnpfc_out_order_idc == 2 and f.out_sub_width_c == 1 and f.out_sub_height_c == 1
    luma = m.nnpfc_out_tensor_luma_bitdepth_minus8 or 0
    chroma = m.nnpfc_out_tensor_chroma_bitdepth_minus8 or 0
    if m.nnpfc_matrix_coeffs in _SAME_DEPTH_444:
        fits = planes_444 and luma == chroma
    elif m.nnpfc_matrix_coeffs == _YCGCO:
        fits = luma == chroma or (planes_444 and chroma == luma + 1)
    else:
        return
    if not fits:
        yield Broken(
            "nnpfc_matrix_coeffs",
            f"{m.nnpfc_matrix_coeffs} with order {m.nnpfc_out_order_idc}, {_CHROMA[f.out_chroma_format_idc]}, "
            f"{luma + 8} bit luma and {chroma + 8} bit chroma",
        )


@STANDARD.rule(
    FilterOnPicture,
    "nnpfc-depth-upsampling",
    NNPFC,
    "Bit depth upsampling gives integers of more bits than the picture has, in luma or in chroma.",
    Level.WARNING,  # the notes on the standard that this is built from do not say so
)
def depth_grows(f: FilterOnPicture[PictureFormat]) -> Iterator[Broken]:
    m = f.m
    if not m.nnpfc_purpose & BIT_DEPTH_UPSAMPLING or m.nnpfc_out_format_idc is None:
        return
    if m.nnpfc_out_format_idc != 1:
        yield Broken("nnpfc_out_format_idc", "real numbers with bit depth upsampling: the new depth is not said")
        return
    luma, chroma = m.nnpfc_out_tensor_luma_bitdepth_minus8, m.nnpfc_out_tensor_chroma_bitdepth_minus8
    grows = (luma is not None and luma + 8 > f.picture.bit_depth_luma) or (
        chroma is not None and chroma + 8 > f.picture.bit_depth_chroma
    )
    if not grows:
        yield Broken(
            "nnpfc_out_tensor_luma_bitdepth_minus8" if luma is not None else "nnpfc_out_tensor_chroma_bitdepth_minus8",
            f"the output has no more bits than the picture ({f.picture.bit_depth_luma})",
        )


@STANDARD.rule(FilterOnPicture, "nnpfc-patch-size", NNPFC, "A patch is not larger than the picture.")
def patch_is_inside_the_picture(f: FilterOnPicture[PictureFormat]) -> Iterator[Broken]:
    for side, size in (("width", f.picture.width), ("height", f.picture.height)):
        for element in (f"nnpfc_patch_{side}_minus1", f"nnpfc_extended_patch_{side}_cd_delta_minus1"):
            value = getattr(f.m, element)
            if value is not None and value >= size:
                yield Broken(element, f"{value}, must be 0..{size - 1} for a {side} of {size}")


@STANDARD.rule(
    FilterOnPicture,
    "nnpfc-output-patch",
    PATCHES,
    "The output of a patch is a whole number of samples wide and high; where the size of patches is free, for at least "
    "one of the sizes allowed.",
)
def output_patch_is_whole(f: FilterOnPicture[PictureFormat]) -> Iterator[Broken]:
    sizes = zip((f.picture.width, f.picture.height), f.output_size, ("width", "height"), strict=True)
    for size, out, side in sizes:
        if out <= 0:
            continue
        step = size // gcd(size, out)  # patch sizes that are multiples of it give whole outputs
        patch = getattr(f.m, f"nnpfc_patch_{side}_minus1")
        delta = getattr(f.m, f"nnpfc_extended_patch_{side}_cd_delta_minus1")
        if patch is not None and plus1(patch) % step:
            yield Broken(
                f"nnpfc_patch_{side}_minus1",
                f"{plus1(patch)} of {size} samples are no whole number of the {out} that come out",
            )
        # A size larger than the picture is for nnpfc-patch-size to tell.
        free = delta is not None and delta < size
        if free and not _some_size_fits(plus1(delta), 2 * (f.m.nnpfc_overlap or 0), step, size):
            yield Broken(
                f"nnpfc_extended_patch_{side}_cd_delta_minus1",
                f"no patch size allowed makes a whole number of the {out} samples that {size} become",
            )


def _some_size_fits(delta: int, margin: int, step: int, size: int) -> bool:
    """Whether some n >= 1 gives a patch of n * (delta + margin) - margin samples, a multiple of step, at most size."""
    period = delta + margin
    common = gcd(period, step)
    if margin % common:
        return False
    modulus = step // common
    n = margin // common * pow(period // common, -1, modulus) % modulus if modulus > 1 else 0
    return (n or modulus) * period - margin <= size


@STANDARD.rule(
    FilterOnPicture, "nnpfc-padding-value", NNPFC, "Padding values are sample values of the picture's bit depth."
)
def padding_values_are_samples(f: FilterOnPicture[PictureFormat]) -> Iterator[Broken]:
    for element, depth in (
        ("nnpfc_luma_padding_val", f.picture.bit_depth_luma),
        ("nnpfc_cb_padding_val", f.picture.bit_depth_chroma),
        ("nnpfc_cr_padding_val", f.picture.bit_depth_chroma),
    ):
        value = getattr(f.m, element)
        if value is not None and value >> depth:
            yield Broken(element, f"{value}, must be 0..{(1 << depth) - 1}")
