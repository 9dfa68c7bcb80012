"""Elements of NNPFC messages that follow from others, so that nobody has to count bits: flags for what stands behind
them, and nnpfc_num_metadata_extension_bits."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from nnpf import elements
from vsei.messages import NnpfCharacteristics, form, nnpf
from vsei.syntax import Syntax, Writer

# An element behind a flag says that the flag is set.
_FLAGS = {
    "nnpfc_prompt": "nnpfc_inband_prompt_flag",
    "nnpfc_seed": "nnpfc_inband_seed_flag",
    "nnpfc_colour_primaries": "nnpfc_separate_colour_description_present_flag",
    "nnpfc_transfer_characteristics": "nnpfc_separate_colour_description_present_flag",
    "nnpfc_matrix_coeffs": "nnpfc_separate_colour_description_present_flag",
    "nnpfc_full_range_flag": "nnpfc_separate_colour_description_present_flag",
    "nnpfc_chroma_sample_loc_type_frame": "nnpfc_chroma_loc_info_present_flag",
    "nnpfc_parameter_type_idc": "nnpfc_complexity_info_present_flag",
    "nnpfc_log2_parameter_bit_length_minus3": "nnpfc_complexity_info_present_flag",
    "nnpfc_num_parameters_idc": "nnpfc_complexity_info_present_flag",
    "nnpfc_num_kmac_operations_idc": "nnpfc_complexity_info_present_flag",
    "nnpfc_total_kilobyte_size": "nnpfc_complexity_info_present_flag",
    "nnpfc_application_purpose_tag_uri": "nnpfc_application_purpose_tag_uri_present_flag",
}
_COUNT = "nnpfc_num_metadata_extension_bits"
_TAG = "nnpfc_application_purpose_tag_uri"
_METADATA = (
    "nnpfc_application_purpose_tag_uri_present_flag",
    "nnpfc_scan_type_idc",
    "nnpfc_for_human_viewing_idc",
    "nnpfc_for_machine_analysis_idc",
)


def with_implied(values: Mapping[str, Any], defaults: Mapping[str, Any]) -> dict[str, Any]:
    """Elements of an NNPFC message, with those that follow from them. What is given holds.

    Args:
        defaults: of elements that are not given.

    Raises:
        VseiError: an element that the message does not have, or a value that the standard does not allow.
    """
    values = dict(values)
    for element, flag in _FLAGS.items():
        if element in values:
            values.setdefault(flag, 1)
    if values.keys() & set(_METADATA):
        values.setdefault("nnpfc_for_machine_analysis_idc", 0)  # the elements of V4, not bits that nobody knows
        if _COUNT not in values:
            values[_COUNT] = _counted(values, defaults)
    return values


def _counted(values: Mapping[str, Any], defaults: Mapping[str, Any]) -> int:
    """nnpfc_num_metadata_extension_bits: every bit behind it, the alignment before the application tag URI too."""
    purpose = values.get("nnpfc_purpose", defaults.get("nnpfc_purpose", 0))
    if not isinstance(purpose, int):
        return 0  # the mistake is told where the message is made
    bits = 4 + len(str(values.get("nnpfc_reserved_metadata_extension", "")))
    if purpose & (nnpf.SPATIAL_EXTRAPOLATION | nnpf.RESOLUTION_RESAMPLING):
        bits += 2
    if purpose == 0:
        bits += 1
    if purpose != 0 or not isinstance(values.get(_TAG), str):
        return bits
    bits += 8 * len(values[_TAG].encode() + b"\0")
    # The alignment depends on the length of the count itself.
    count = bits
    for _ in range(3):
        message = elements.complete(NnpfCharacteristics, nnpf.nnpfc, {**values, _COUNT: count}, defaults)
        writer = _Aligned(Writer(form.to_values(message)))
        nnpf.nnpfc(cast(Syntax, writer))
        if count == bits + writer.alignment:
            return count
        count = bits + writer.alignment
    return bits  # there is no such count; without the alignment, as the reference software counts


class _Aligned:
    """A Writer that notes the alignment before the application tag URI."""

    def __init__(self, writer: Writer) -> None:
        self._writer = writer
        self.alignment = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._writer, name)

    def __getitem__(self, key: Any) -> int:
        return self._writer[key]

    def align(self, name: str, bit: int = 0) -> None:
        before = self._writer.position
        self._writer.align(name, bit)
        if name == "nnpfc_metadata_alignment_zero_bit":
            self.alignment = self._writer.position - before
