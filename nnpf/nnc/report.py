"""What is in a payload, as plain data for tables and JSON."""

from __future__ import annotations

from collections.abc import Iterator
from math import prod
from typing import Any

from nnpf.nnc.decoder import CodedTensor, Decoder
from nnpf.nnc.errors import NncError
from nnpf.nnc.syntax import StreamParameters, TopologyFormat
from nnpf.nnc.topology import format_name, graph_bytes
from nnpf.nnc.units import read_units


def _tools(c: CodedTensor) -> list[str]:
    tools = []
    if c.unary_length:
        tools.append(f"unary {c.unary_length}")
    if c.scan_order:
        tools.append(f"blocks of {4 << c.scan_order}")
    for name, used in (("row skip", c.row_skip), ("temporal", c.temporal), ("history", c.history)):
        if used:
            tools.append(name)
    return tools


def _quantiser(c: CodedTensor) -> str:
    if c.step is None:
        return "none"
    if c.codebook_size:
        return f"codebook of {c.codebook_size}"
    return "dependent" if c.dependent else "uniform"


def describe(data: bytes, decoder: Decoder) -> dict[str, Any]:
    """Decode a payload and say how it was coded. `decoder` knows what it refers to, if anything.

    Bytes and bits of a unit with several tensors stand at its first one.
    """
    decoder.decode(data)
    last = decoder.last
    assert last is not None
    tensors = []
    weights_in: dict[int, int] = {}
    for c in last.coded:
        weights_in[c.unit] = weights_in.get(c.unit, 0) + prod(c.shape)
    seen: set[int] = set()
    for c in last.coded:
        first = c.unit not in seen
        seen.add(c.unit)
        tensors.append(
            {
                "name": c.name,
                "shape": list(c.shape),
                "payload_type": c.payload_type.name.removeprefix("NNR_PT_"),
                "quantiser": _quantiser(c),
                "qp": c.qp,
                "step": c.step,
                "largest_level": c.largest,
                "codebook_size": c.codebook_size or None,
                "unit": c.unit,
                "unit_bytes": c.unit_bytes if first else None,
                "bits_per_weight": 8 * c.unit_bytes / weights_in[c.unit] if first else None,
                "unary_length": c.unary_length or None,
                "scan_order": c.scan_order,
                "row_skip": c.row_skip,
                "temporal": c.temporal,
                "history": c.history,
                "update": c.update,
                "device_id": c.device_id,
                "parameter_id": c.parameter_id,
                "put_node_depth": c.put_node_depth,
                "tools": _tools(c),
            }
        )
    topology: dict[str, Any] = {"format": "none", "bytes": 0, "coded_bytes": 0}
    if last.topology is not None:
        topology = {"format": format_name(last.topology), "bytes": 0, "coded_bytes": len(last.topology.topology_data)}
        if last.topology.topology_storage_format != TopologyFormat.NNR_TPL_REFLIST:
            try:
                topology["bytes"] = len(graph_bytes(last.topology, decoder.limits))
            except NncError as error:
                topology["problem"] = str(error)
    weights = sum(prod(c.shape) for c in last.coded)
    return {
        "bytes": len(data),
        "edition": last.profile + 1,
        "units": len(last.units),
        "weights": weights,
        "bits_per_weight": 8 * len(data) / weights if weights else None,
        "qp_density": last.mps.mps_qp_density if last.mps else None,
        "update": last.is_difference,
        "base_model_id": last.mps.base_model_id or None if last.mps else None,
        "topology": topology,
        "tensors": tensors,
        "unit_list": [
            {"type": u.type_name, "offset": u.offset, "bytes": u.size, "tensors": list(u.names)} for u in last.units
        ],
        "notes": [str(note) for note in last.notes],
    }


def trace_lines(data: bytes, decoder: Decoder) -> Iterator[str]:
    """Every header element: bit position in the payload, bits, name, value."""
    p = StreamParameters(shapes=decoder.shapes)
    for index, unit in enumerate(read_units(data, p, limits=decoder.limits, trace=True)):
        yield f"{unit.describe(index)}: {unit.size} bytes at {unit.offset}"
        for entry in unit.trace:
            value = entry.value
            shown = f"{len(value)} bytes" if isinstance(value, bytes) and len(value) > 64 else repr(value)
            yield f"  {entry.position:>9} {entry.length:>4}  {entry.element} = {shown}"
        if unit.problem is not None:
            yield f"  ! {unit.problem}"
        if unit.payload:
            yield f"  {8 * unit.payload_offset:>9} {8 * len(unit.payload):>4}  payload"
