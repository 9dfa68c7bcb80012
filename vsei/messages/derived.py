"""Variables that the semantics of NNPFC derive from its elements and the picture (H.274 8.28.1.2)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from vsei.messages.nnpf import (
    CHROMA_UPSAMPLING,
    COLOURIZATION,
    RESOLUTION_RESAMPLING,
    SPATIAL_EXTRAPOLATION,
    TEMPORAL_EXTRAPOLATION,
    NnpfCharacteristics,
)

MONOCHROME, YUV420, YUV422, YUV444 = range(4)  # chroma_format_idc


class PictureSize(Protocol):
    """What matters of a picture here: CroppedWidth, CroppedHeight and the chroma format."""

    @property
    def width(self) -> int: ...
    @property
    def height(self) -> int: ...
    @property
    def chroma_format_idc(self) -> int: ...


P = TypeVar("P", bound=PictureSize, covariant=True)


@dataclass(frozen=True, slots=True)
class FilterOnPicture(Generic[P]):
    """A filter with properties, and the format of a picture that it is for."""

    m: NnpfCharacteristics
    picture: P

    @property
    def out_chroma_format_idc(self) -> int:
        """Of the pictures that the filter makes. Chroma upsampling and colourization change it."""
        if self.m.nnpfc_purpose & CHROMA_UPSAMPLING:
            return YUV444 if self.m.nnpfc_out_sub_c_flag else YUV422
        if self.m.nnpfc_purpose & COLOURIZATION:
            return self.m.nnpfc_out_colour_format_idc or MONOCHROME
        return self.picture.chroma_format_idc

    @property
    def out_sub_width_c(self) -> int:
        """outSubWidthC"""
        return 2 if self.out_chroma_format_idc in (YUV420, YUV422) else 1

    @property
    def out_sub_height_c(self) -> int:
        """outSubHeightC"""
        return 2 if self.out_chroma_format_idc == YUV420 else 1

    @property
    def resampled_size(self) -> tuple[int, int]:
        """Width and height after resolution resampling: Ceil( size * num / denom ). The size itself where there is
        none."""
        m, width, height = self.m, self.picture.width, self.picture.height
        if not m.nnpfc_purpose & RESOLUTION_RESAMPLING:
            return width, height
        return (
            -(-width * plus1(m.nnpfc_pic_width_num_minus1) // plus1(m.nnpfc_pic_width_denom_minus1)),
            -(-height * plus1(m.nnpfc_pic_height_num_minus1) // plus1(m.nnpfc_pic_height_denom_minus1)),
        )

    @property
    def output_size(self) -> tuple[int, int]:
        """nnpfcOutputPicWidth, nnpfcOutputPicHeight: resampled, then extrapolated. May be negative in a broken
        message."""
        m, (width, height) = self.m, self.resampled_size
        if m.nnpfc_purpose & SPATIAL_EXTRAPOLATION:
            left, right = m.nnpfc_spatial_extrapolation_left_offset, m.nnpfc_spatial_extrapolation_right_offset
            top, bottom = m.nnpfc_spatial_extrapolation_top_offset, m.nnpfc_spatial_extrapolation_bottom_offset
            width += self.out_sub_width_c * ((left or 0) + (right or 0))
            height += self.out_sub_height_c * ((top or 0) + (bottom or 0))
        return width, height


def plus1(minus1: int | None) -> int:
    """The value that an element named ..._minus1 stands for; absent elements are inferred to be 0."""
    return (minus1 or 0) + 1


def num_inp_pics_in_output_tensor(m: NnpfCharacteristics) -> int:
    """NumInpPicsInOutputTensor: how many input pictures have a filtered picture in the output tensor. The flag of a
    single input picture is not coded: 1, but 0 where all that the filter does is extrapolate in time."""
    if m.nnpfc_input_pic_filtering_flag is not None:
        return sum(m.nnpfc_input_pic_filtering_flag)
    return 0 if m.nnpfc_purpose == TEMPORAL_EXTRAPOLATION else 1
