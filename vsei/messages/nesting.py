"""Scalable nesting (payloadType 133): messages for chosen layers, output layer sets or subpictures.

H.266 clause D.6, H.265 clause D.2.24. The payload types of H.264's own nesting messages differ; they stay raw.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from vsei.messages.form import Message
from vsei.sei import SeiMessage, sei_message
from vsei.syntax import Reader, Syntax

_INNER = frozenset({"closing", "payload_type", "payload_size", "payload"})


@dataclass(frozen=True, kw_only=True, slots=True)
class ScalableNesting(Message):
    """scalable_nesting() of H.266. The messages inside are in `messages`."""

    PAYLOAD_TYPE: ClassVar[int] = 133
    NAME: ClassVar[str] = "scalable_nesting"
    UNSHOWN: ClassVar[frozenset[str]] = _INNER

    sn_ols_flag: int
    sn_subpic_flag: int
    sn_num_olss_minus1: int | None = None
    sn_ols_idx_delta_minus1: tuple[int, ...] | None = None
    sn_all_layers_flag: int | None = None
    sn_num_layers_minus1: int | None = None
    sn_layer_id: tuple[int | None, ...] | None = None
    sn_num_subpics_minus1: int | None = None
    sn_subpic_id_len_minus1: int | None = None
    sn_subpic_id: tuple[int, ...] | None = None
    sn_num_seis_minus1: int
    payload_type: tuple[int, ...]
    payload_size: tuple[int, ...]
    payload: tuple[bytes, ...]

    @property
    def messages(self) -> tuple[SeiMessage, ...]:
        return tuple(map(SeiMessage, self.payload_type, self.payload))

    def applies_to_layer(self, layer_id: int, own_layer_id: int) -> bool:
        """Whether the messages are for this layer (`own_layer_id`: nuh_layer_id of the SEI NAL unit). For messages
        nested by output layer set, every layer is taken: which OLS is decoded is not known here."""
        if self.sn_ols_flag:
            return True
        if self.sn_all_layers_flag:
            return layer_id >= own_layer_id
        # sn_layer_id[0] is not coded; it is the layer of the SEI NAL unit itself.
        return layer_id == own_layer_id or layer_id in (self.sn_layer_id or ())


def scalable_nesting(s: Syntax) -> None:
    """scalable_nesting( payloadSize ), H.266 D.6.1"""
    ols_flag = s.flag("sn_ols_flag")
    subpic_flag = s.flag("sn_subpic_flag")
    if ols_flag:
        for i in range(s.ue("sn_num_olss_minus1") + 1):
            s.ue("sn_ols_idx_delta_minus1", i)
    elif not s.flag("sn_all_layers_flag"):
        for i in range(1, s.ue("sn_num_layers_minus1", max=63) + 1):
            s.u(6, "sn_layer_id", i)
    if subpic_flag:
        num_subpics = s.ue("sn_num_subpics_minus1") + 1
        length = s.ue("sn_subpic_id_len_minus1", max=15) + 1
        for i in range(num_subpics):
            s.u(length, "sn_subpic_id", i)
    num_seis = s.ue("sn_num_seis_minus1", max=63) + 1
    s.align("sn_zero_bit")
    for i in range(num_seis):
        sei_message(s, i)


@dataclass(frozen=True, kw_only=True, slots=True)
class HevcScalableNesting(Message):
    """scalable_nesting() of H.265. The messages inside are in `messages`."""

    PAYLOAD_TYPE: ClassVar[int] = 133
    NAME: ClassVar[str] = "scalable_nesting"
    UNSHOWN: ClassVar[frozenset[str]] = _INNER

    bitstream_subset_flag: int
    nesting_op_flag: int
    default_op_flag: int | None = None
    nesting_num_ops_minus1: int | None = None
    nesting_max_temporal_id_plus1: tuple[int | None, ...] | None = None
    nesting_op_idx: tuple[int | None, ...] | None = None
    all_layers_flag: int | None = None
    nesting_no_op_max_temporal_id_plus1: int | None = None
    nesting_num_layers_minus1: int | None = None
    nesting_layer_id: tuple[int, ...] | None = None
    payload_type: tuple[int, ...]
    payload_size: tuple[int, ...]
    payload: tuple[bytes, ...]

    @property
    def messages(self) -> tuple[SeiMessage, ...]:
        return tuple(map(SeiMessage, self.payload_type, self.payload))

    def applies_to_layer(self, layer_id: int, own_layer_id: int) -> bool:
        """Whether the messages are for this layer; see ScalableNesting."""
        if self.nesting_op_flag:
            return True
        if self.all_layers_flag:
            return layer_id >= own_layer_id
        return layer_id in (self.nesting_layer_id or ())


def hevc_scalable_nesting(s: Syntax) -> None:
    """scalable_nesting( payloadSize ), H.265 D.2.24"""
    s.flag("bitstream_subset_flag")
    if s.flag("nesting_op_flag"):
        first = s.flag("default_op_flag")
        for i in range(first, s.ue("nesting_num_ops_minus1", max=1023) + 1):
            s.u(3, "nesting_max_temporal_id_plus1", i)
            s.ue("nesting_op_idx", i, max=1023)
    elif not s.flag("all_layers_flag"):
        s.u(3, "nesting_no_op_max_temporal_id_plus1")
        for i in range(s.ue("nesting_num_layers_minus1", max=63) + 1):
            s.u(6, "nesting_layer_id", i)
    s.align("nesting_zero_bit")
    i = 0
    # do { sei_message( ) } while( more_rbsp_data( ) ): the payload ends with the last message, byte-aligned.
    while i == 0 or (s.source.remaining >= 16 if isinstance(s, Reader) else s.upcoming(("payload", i)) is not None):
        sei_message(s, i)
        i += 1
