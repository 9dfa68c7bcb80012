"""Operating point and decoding capability information, access unit delimiter: H.266 7.3.2.1, 7.3.2.2, 7.3.2.10."""

from __future__ import annotations

from vsei.syntax import Syntax
from vsei.vvc.common import extension_data, profile_tier_level


def operating_point_information_rbsp(s: Syntax) -> None:
    """7.3.2.2, without rbsp_trailing_bits()."""
    ols = s.flag("opi_ols_info_present_flag")
    htid = s.flag("opi_htid_info_present_flag")
    if ols:
        s.ue("opi_ols_idx", max=256)
    if htid:
        s.u(3, "opi_htid_plus1")
    extension_data(s, "opi")


def decoding_capability_information_rbsp(s: Syntax) -> None:
    """7.3.2.1, without rbsp_trailing_bits()."""
    s.u(4, "dci_reserved_zero_4bits")
    for i in range(s.u(4, "dci_num_ptls_minus1") + 1):
        with s.structure("profile_tier_level", i):
            profile_tier_level(s, 1, 0)
    extension_data(s, "dci")


def access_unit_delimiter_rbsp(s: Syntax) -> None:
    """7.3.2.10, without rbsp_trailing_bits()."""
    s.flag("aud_irap_or_gdr_flag")
    s.u(3, "aud_pic_type", max=2)
