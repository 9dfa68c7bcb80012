"""What a topology unit carries: the graph, as bytes of some format, perhaps deflated.

The standard's form of an ONNX graph is storage format NNR_TPL_ONNX, deflated. NNCodec's decoder gives up at that, but
it reads past topologies of the unspecified format NNR_TPL_UNREC if their data are text. So there is a second form for
payloads that it is to decode: a data: URI (RFC 2397) with the deflated graph, a third larger.
"""

from __future__ import annotations

import base64
import binascii
import zlib
from typing import Final, Literal, TypeAlias

from nnpf.nnc.errors import NncError, UnsupportedError
from nnpf.nnc.limits import DEFAULT_LIMITS, Limits
from nnpf.nnc.syntax import CompressionFormat, Topology, TopologyFormat

GraphForm: TypeAlias = Literal["onnx", "text"]
"""How a graph is carried: in the standard's form for ONNX, or as text that NNCodec's decoder reads past."""

TEXT_PREFIX: Final = b"data:application/zlib;base64,"

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
    if is_text(topology):
        return "ONNX as text"
    number = topology.topology_storage_format
    return _NAMES.get(TopologyFormat(number), str(number)) if number in list(TopologyFormat) else f"reserved {number}"


def deflated(graph: bytes, storage_format: TopologyFormat) -> Topology:
    """A topology unit with this graph: zlib data (RFC 1950), which end by themselves and carry a checksum."""
    return Topology(storage_format, CompressionFormat.NNR_DFL, zlib.compress(graph, 9))


def as_text(graph: bytes) -> Topology:
    """A topology unit with an ONNX graph that decoders without ONNX and deflate read past."""
    text = TEXT_PREFIX + base64.b64encode(zlib.compress(graph, 9))
    return Topology(TopologyFormat.NNR_TPL_UNREC, CompressionFormat.NNR_PT_RAW, text + b"\0")


def is_text(topology: Topology) -> bool:
    """Whether the unit was made by `as_text`."""
    return (
        topology.topology_storage_format == TopologyFormat.NNR_TPL_UNREC
        and topology.topology_compression_format == CompressionFormat.NNR_PT_RAW
        and topology.topology_data.startswith(TEXT_PREFIX)
    )


def holds_onnx(topology: Topology) -> bool:
    """Whether the graph is an ONNX model."""
    return topology.topology_storage_format == TopologyFormat.NNR_TPL_ONNX or is_text(topology)


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
    if is_text(topology):
        try:
            data = base64.b64decode(data[len(TEXT_PREFIX) :].removesuffix(b"\0"), validate=True)
        except binascii.Error:
            raise NncError("a graph as text that is not base64", field="topology_data") from None
    elif topology.topology_compression_format == CompressionFormat.NNR_PT_RAW:
        return data.removesuffix(b"\0") if topology.topology_storage_format != TopologyFormat.NNR_TPL_ONNX else data
    elif topology.topology_compression_format != CompressionFormat.NNR_DFL:
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
