"""Messages that hold messages: scalable nesting and SEI processing order nesting. Looked into, and thinned out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, TypeAlias

from vsei import limits, messages
from vsei.errors import VseiError
from vsei.messages.nesting import HevcScalableNesting, ScalableNesting
from vsei.messages.processing_order import SeiProcessingOrderNesting
from vsei.nal import Codec
from vsei.sei import SeiMessage

Nesting: TypeAlias = ScalableNesting | HevcScalableNesting | SeiProcessingOrderNesting

NESTING_TYPES = frozenset((ScalableNesting.PAYLOAD_TYPE, SeiProcessingOrderNesting.PAYLOAD_TYPE))


def any_message(message: SeiMessage, codec: Codec, test: Callable[[SeiMessage], bool], depth: int = 0) -> bool:
    """Whether `test` holds for a message or for one inside it."""
    if test(message):
        return True
    nesting = _nesting(message, codec, depth)
    return nesting is not None and any(any_message(m, codec, test, depth + 1) for m in nesting.messages)


def without(
    message: SeiMessage, codec: Codec, unwanted: Callable[[SeiMessage], bool], depth: int = 0
) -> SeiMessage | None:
    """A message without the unwanted ones inside it; None where that leaves nothing, or where it is unwanted itself.

    What is kept is kept byte by byte. Messages that cannot be read are kept as they are.
    """
    if unwanted(message):
        return None
    nesting = _nesting(message, codec, depth)
    if nesting is None:
        return message
    before = nesting.messages  # each call makes new ones
    inside = [without(m, codec, unwanted, depth + 1) for m in before]
    if all(new is old for new, old in zip(inside, before, strict=True)):
        return message
    if not any(inside):
        return None
    return messages.encode(_with_inside(nesting, inside), codec)


def _nesting(message: SeiMessage, codec: Codec, depth: int) -> Nesting | None:
    if message.payload_type not in NESTING_TYPES or depth >= limits.current().nesting_depth:
        return None
    try:
        decoded = messages.decode(message, codec)
    except VseiError:
        return None
    return decoded.message if decoded is not None and isinstance(decoded.message, Nesting) else None


def _with_inside(nesting: Nesting, inside: Sequence[SeiMessage | None]) -> Nesting:
    kept = [m for m in inside if m is not None]
    parts: dict[str, Any] = {
        "payload_type": tuple(m.payload_type for m in kept),
        "payload_size": tuple(len(m.payload) for m in kept),
        "payload": tuple(m.payload for m in kept),
    }
    if isinstance(nesting, ScalableNesting):
        return replace(nesting, sn_num_seis_minus1=len(kept) - 1, **parts)
    if isinstance(nesting, SeiProcessingOrderNesting):
        order = tuple(o for o, m in zip(nesting.pon_processing_order, inside, strict=True) if m is not None)
        return replace(nesting, pon_num_seis_minus1=len(kept) - 1, pon_processing_order=order, **parts)
    return replace(nesting, **parts)
