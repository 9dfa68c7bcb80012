"""Which messages go where: the specification for `nnpf inject` that puts base, updates and activations in."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from nnpf.adapt.adaptation import SegmentResult


def specification(
    results: Sequence[SegmentResult],
    payload_names: Sequence[str | None],
    *,
    nnpfc_id: int,
    base: str,
    elements: dict[str, Any],
) -> dict[str, Any]:
    """The data of a specification file (`nnpf.spec`).

    Args:
        payload_names: for each segment the file of its update, relative to the specification file.
        base: the file of the base filter, likewise.
        elements: of the base's NNPFC message, beside those that follow from the model.
    """
    entry: dict[str, Any] = {"id": nnpfc_id, "base": base}
    if elements:
        entry["nnpfc"] = elements
    updates = [
        {"payload": name, "at": _at(result.segment.copies)}
        for result, name in zip(results, payload_names, strict=True)
        if result.decision == "update" and name is not None
    ]
    if updates:
        entry["updates"] = updates
    activations = []
    running = False  # whether an activation persists from the segment before
    sent = [copy for result in results if result.decision == "update" for copy in result.segment.copies]
    for result in results:
        if result.decision == "off":
            if running:
                cancel = {"nnpfa_cancel_flag": 1}
                activations.append({"target": nnpfc_id, "at": _at(result.segment.random_access), "nnpfa": cancel})
            running = False
            continue
        running = True
        chosen = {"nnpfa_target_base_flag": int(result.decision == "base")}
        places = result.segment.random_access
        if result.decision == "update":
            # An activation may ask for an update only after one has come (H.274 8.28.2.2), in decoding order.
            places = tuple(at for at in places if at >= min(sent))
        activations.append({"target": nnpfc_id, "at": _at(places), "nnpfa": chosen})
    return {"filters": [entry], **({"activations": activations} if activations else {})}


def _at(decode_indices: Sequence[int]) -> str:
    return "decode:" + ",".join(map(str, decode_indices))
