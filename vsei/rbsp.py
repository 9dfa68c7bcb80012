"""What the RBSP structures of all three codecs share."""

from __future__ import annotations

from vsei.syntax import Syntax


def limited(s: Syntax, name: str, value: int, limit: int) -> int:
    """`value` where a loop over it is bearable. VseiError beyond `limit`."""
    if value > limit:
        raise s.fail(name, f"{value}, which is beyond the limit of {limit}")
    return value


def rbsp_trailing_bits(s: Syntax) -> None:
    """H.266 7.3.2.17, H.265 7.3.2.11, H.264 7.3.2.11"""
    s.fixed(1, "rbsp_stop_one_bit", 1)
    s.align("rbsp_alignment_zero_bit")
