"""Self-contained payloads: an ONNX graph without its weights in the topology unit, the weights as coded tensors."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

import numpy as np

from nnpf.nnc.decoder import Decoder, Tensor
from nnpf.nnc.encoder import Encoder
from nnpf.nnc.errors import NncError, UnsupportedError
from nnpf.nnc.limits import DEFAULT_LIMITS, Limits
from nnpf.nnc.preparation import Importance
from nnpf.nnc.settings import Settings
from nnpf.nnc.syntax import Topology, TopologyFormat
from nnpf.nnc.topology import GraphForm, as_text, deflated, format_name, graph_bytes, holds_onnx

if TYPE_CHECKING:
    import onnx

# Operators whose constant inputs after the first are weights: an error in them is an error of the output, no more.
# Constants of all others (sizes, scales of a resize, bounds) must be exact.
WEIGHT_OPERATORS: Final = frozenset(
    {
        "BatchNormalization",
        "Conv",
        "ConvTranspose",
        "Gemm",
        "GroupNormalization",
        "InstanceNormalization",
        "LayerNormalization",
        "MatMul",
        "PRelu",
    }
)

# Operators that take the biases of integer networks, which are coded without loss.
_QUANTISED: Final = frozenset({"DequantizeLinear (first)", "QLinearConv"})

# Constants of other operators stay in the graph up to this many elements; beyond, they are coded, floats without loss.
GRAPH_ELEMENTS: Final = 64


@dataclass(frozen=True, slots=True)
class ModelParts:
    """A model taken apart."""

    topology: Topology
    tensors: dict[str, Tensor]
    exact: frozenset[str]  # float tensors that must not change


def split_model(model: onnx.ModelProto, graph_form: GraphForm = "onnx") -> ModelParts:
    """Take the weights out of an ONNX model. They become graph inputs, so that the graph stays valid by itself.

    graph_form: "text" for payloads that NNCodec's decoder is to read, see `nnpf.nnc.topology`.

    Raises: NncError where weights are not inside the model's file.
    """
    import onnx
    from onnx import numpy_helper

    graph_model = onnx.ModelProto()
    graph_model.CopyFrom(model)
    graph = graph_model.graph
    uses: dict[str, set[str]] = {}
    for node in graph.node:
        for position, name in enumerate(node.input):
            uses.setdefault(name, set()).add(node.op_type if position else f"{node.op_type} (first)")
        # What exporters leave for people: stack traces and the like outweigh the graph itself.
        node.doc_string = ""
        del node.metadata_props[:]
    del graph.value_info[:]
    graph.doc_string = ""
    graph_model.doc_string = ""
    inputs = {i.name for i in graph.input}
    tensors: dict[str, Tensor] = {}
    exact: set[str] = set()
    staying = []
    for initializer in graph.initializer:
        name = initializer.name
        if initializer.data_location == onnx.TensorProto.EXTERNAL:
            raise NncError(f"{name!r} is in another file: load the model with its external data")
        operators = uses.get(name, set())
        is_weight = bool(operators) and operators <= WEIGHT_OPERATORS | {"Gemm (first)", "MatMul (first)"}
        is_float = initializer.data_type == onnx.TensorProto.FLOAT
        is_bias = initializer.data_type == onnx.TensorProto.INT32 and bool(operators) and operators <= _QUANTISED
        size = int(np.prod(initializer.dims)) if initializer.dims else 1
        # A weight without dimensions cannot be coded as such.
        coded = initializer.dims and size and ((is_float and is_weight) or is_bias or size > GRAPH_ELEMENTS)
        if not coded or not (is_float or initializer.data_type == onnx.TensorProto.INT32):
            staying.append(initializer)
            continue
        value = numpy_helper.to_array(initializer)
        tensors[name] = value.astype(np.float32) if is_float else value.astype(np.int32)
        if is_float and not is_weight:
            exact.add(name)
        if name not in inputs:
            graph.input.append(onnx.helper.make_tensor_value_info(name, initializer.data_type, initializer.dims))
    del graph.initializer[:]
    graph.initializer.extend(staying)
    if not tensors:
        kinds = sorted({onnx.TensorProto.DataType.Name(tensor.data_type) for tensor in staying})
        raise NncError(f"the model has no weights in FLOAT to code, but {', '.join(kinds) or 'none'}: send it by URI")
    data = graph_model.SerializeToString(deterministic=True)
    topology = as_text(data) if graph_form == "text" else deflated(data, TopologyFormat.NNR_TPL_ONNX)
    return ModelParts(topology, tensors, frozenset(exact))


def join_model(
    topology: Topology | None, tensors: Mapping[str, Tensor], *, limits: Limits = DEFAULT_LIMITS
) -> onnx.ModelProto:
    """Put weights into the graph of a topology unit.

    Raises: NncError where there is no ONNX graph, it is damaged, or a weight is missing, unknown or of another shape.
    """
    import onnx
    from google.protobuf.message import DecodeError  # type: ignore[import-untyped,unused-ignore]
    from onnx import numpy_helper

    if topology is None or not topology.topology_data.strip(b"\0"):
        raise NncError("the payload carries no graph", field="topology_data")
    if not holds_onnx(topology):
        raise UnsupportedError(f"a graph in the format {format_name(topology)}", field="topology_storage_format")
    model = onnx.ModelProto()
    try:
        model.ParseFromString(graph_bytes(topology, limits))
    except DecodeError:
        raise NncError("a graph that is no ONNX model", field="topology_data") from None
    graph = model.graph
    inputs = {i.name: i for i in graph.input}
    weights = {
        name for node in graph.node if node.op_type in WEIGHT_OPERATORS for name in list(node.input)[1:] if name
    } - {name for node in graph.node for name in node.output}
    for name, value in tensors.items():
        wanted = inputs.get(name)
        if wanted is None:
            raise NncError(f"the graph knows no {name!r}", field="topology_data")
        shape = tuple(d.dim_value for d in wanted.type.tensor_type.shape.dim)
        if shape != value.shape:
            raise NncError(f"{name!r} has shape {value.shape}, in the graph {shape}", field="topology_data")
        graph.initializer.append(numpy_helper.from_array(np.ascontiguousarray(value), name))
        graph.input.remove(wanted)
    # What is left should be pictures. A weight that was lost would be an input that nobody can give.
    lacking = [i.name for i in graph.input if i.name in weights]
    if lacking:
        raise NncError(f"the payload lacks {', '.join(map(repr, lacking))}", field="topology_data")
    return model


def encode_model(
    model: onnx.ModelProto,
    settings: Settings | None = None,
    *,
    importance: Importance | None = None,
    encoder: Encoder | None = None,
    graph_form: GraphForm = "onnx",
) -> bytes:
    """A payload that holds an ONNX model whole: graph and weights.

    encoder: one that will code updates of the model later; its settings then count.
    """
    parts = split_model(model, graph_form)
    chosen = encoder.settings if encoder is not None else settings or Settings()
    chosen = replace(chosen, raw=frozenset(chosen.raw) | parts.exact)
    if encoder is None:
        from nnpf.nnc.encoder import encode

        return encode(parts.tensors, chosen, topology=parts.topology, importance=importance)
    encoder.settings = chosen
    return encoder.encode(parts.tensors, topology=parts.topology, importance=importance)


def decode_model(data: bytes, *, decoder: Decoder | None = None) -> onnx.ModelProto:
    """The ONNX model of a self-contained payload, with its weights as initialisers.

    decoder: one that will decode updates of the model later.
    """
    decoder = decoder or Decoder()
    tensors = decoder.decode(data)
    assert decoder.last is not None
    return join_model(decoder.last.topology, tensors, limits=decoder.limits)
