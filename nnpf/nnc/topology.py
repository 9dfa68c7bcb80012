"""What a topology unit carries: the graph, as bytes of some format, perhaps deflated."""

from __future__ import annotations

import zlib

from nnpf.nnc.errors import NncError, UnsupportedError
from nnpf.nnc.limits import DEFAULT_LIMITS, Limits
from nnpf.nnc.syntax import CompressionFormat, Topology, TopologyFormat

_NAMES = {
    TopologyFormat.NNR_TPL_UNREC: "none",
    TopologyFormat.NNR_TPL_NNEF: "NNEF",
    TopologyFormat.NNR_TPL_ONNX: "ONNX",
    TopologyFormat.NNR_TPL_PYT: "PyTorch",
    TopologyFormat.NNR_TPL_TEF: "TensorFlow",
    TopologyFormat.NNR_TPL_PRUN: "pruning",
    TopologyFormat.NNR_TPL_REFLIST: "list of element ids",
}


def format_name(topology: Topology) -> str:
    """The storage format, for people."""
    number = topology.topology_storage_format
    return _NAMES.get(TopologyFormat(number), str(number)) if number in list(TopologyFormat) else f"reserved {number}"


def deflated(graph: bytes, storage_format: TopologyFormat) -> Topology:
    """A topology unit with this graph: zlib data (RFC 1950), which end by themselves and carry a checksum."""
    return Topology(storage_format, CompressionFormat.NNR_DFL, zlib.compress(graph, 9))


def _inflate(data: bytes, window: int, limit: int) -> bytes | None:
    stream = zlib.decompressobj(window)
    try:
        out = stream.decompress(data, limit + 1)
    except zlib.error:
        return None
    if len(out) > limit:
        raise NncError(f"a topology of more than {limit} bytes", field="topology_data")
    # NNCodec reads topologies as strings, so that a writer may have put a zero byte at the end.
    return out if stream.eof and stream.unused_data in (b"", b"\0") else None


def graph_bytes(topology: Topology, limits: Limits = DEFAULT_LIMITS) -> bytes:
    """The graph as its storage format has it. NncError where the data are damaged or too large."""
    data = topology.topology_data
    if topology.topology_compression_format == CompressionFormat.NNR_PT_RAW:
        return data.removesuffix(b"\0") if topology.topology_storage_format != TopologyFormat.NNR_TPL_ONNX else data
    if topology.topology_compression_format != CompressionFormat.NNR_DFL:
        raise UnsupportedError(
            f"compression format {topology.topology_compression_format}", field="topology_compression_format"
        )
    # Deflate with the header of RFC 1950, or without it.
    graph = _inflate(data, zlib.MAX_WBITS, limits.topology_bytes)
    if graph is None:
        graph = _inflate(data, -zlib.MAX_WBITS, limits.topology_bytes)
    if graph is None:
        raise NncError("deflated data that cannot be inflated", field="topology_data")
    return graph
