"""A base filter made ready for small updates: all that an update changes lies in one tensor.

A tensor costs about 20 bytes of header in an NNC payload, whatever it holds. A multiplier and an offset for each output
channel of each convolution (Santamaria et al., EUVIP 2022; Lam et al., ACM MM 2020) therefore go into one initialiser,
which the graph splits and multiplies with, or adds to, the outputs of the convolutions. At its starting values, 1 and 0
(or the multipliers that the graph had already), it changes nothing; engines fold it into the weights when they compile.

Names are a part of the coded tensor, so they become short. Initialisers that an exporter has merged because they were
equal become initialisers of their own: training would move them together, or an update could not say which it means.
"""

from __future__ import annotations

import itertools
import json
import math
import string
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal, cast

import numpy as np
import numpy.typing as npt
import onnx
from onnx import helper, numpy_helper

from nnpf import model as models
from nnpf.errors import NnpfError
from nnpf.model import Model

Kind = Literal["multipliers", "biases"]
KINDS: Final[tuple[Kind, ...]] = ("multipliers", "biases")

# The entry of the model's metadata that says where the tensor is and what it holds, as JSON.
METADATA_KEY: Final = "nnpf.update_tensor"
# Its name, if the graph does not use it already: one letter, for it is sent with every update.
TENSOR_NAME: Final = "u"
# Initialisers may stand outside the list of inputs from this version of the format on (ONNX 1.4).
_IR_VERSION_OF_CONSTANTS: Final = 4
_OPSET_OF_SPLIT_INPUT: Final = 13

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class UpdateTensor:
    """What a prepared model says of itself.

    Attributes:
        name: of the initialiser, of one dimension.
        spans: for each kind the elements that belong to it, (first, one behind the last).
    """

    name: str
    spans: Mapping[Kind, tuple[int, int]]


@dataclass(frozen=True, slots=True)
class _Convolution:
    """A convolution with constant weights, and the multiplication by a constant of each channel that follows it."""

    node: onnx.NodeProto
    channels: int
    multiplication: onnx.NodeProto | None
    multipliers: Floats
    scale: float  # root of the mean square of an output for inputs of variance 1, which is what its filters tell


def update_tensor(model: Model) -> UpdateTensor | None:
    """Where the update of a prepared model lies; None where the model is not prepared.

    Raises:
        NnpfError: the model's metadata does not suit its graph.
    """
    entry = next((e.value for e in model.proto.metadata_props if e.key == METADATA_KEY), None)
    if entry is None:
        return None
    try:
        data = json.loads(entry)
        name = str(data["tensor"])
        spans = {kind: (int(data[kind][0]), int(data[kind][1])) for kind in KINDS if kind in data}
    except (ValueError, KeyError, IndexError, TypeError):
        raise NnpfError(f"metadata {METADATA_KEY} cannot be read", subject=model.name) from None
    value = model.parameters.get(name)
    if value is None or value.ndim != 1 or any(not 0 <= a < b <= value.size for a, b in spans.values()):
        raise NnpfError(f"metadata {METADATA_KEY} names {name!r}, which the graph does not have so", subject=model.name)
    return UpdateTensor(name, spans)


def prepare(model: Model, kinds: Sequence[Kind] = ("multipliers",), *, short_names: bool = True) -> Model:
    """The model with an update tensor, unshared initialisers and short names. Its output is the same.

    Args:
        kinds: what the update tensor holds; none of them only tells initialisers apart and shortens names.
        short_names: give float initialisers names of one or two letters.

    Raises:
        NnpfError: the model is prepared already, or has no convolution that could be prepared.
    """
    if update_tensor(model) is not None:
        raise NnpfError("is prepared already", subject=model.name)
    proto = onnx.ModelProto()
    proto.CopyFrom(model.proto)
    graph = proto.graph
    _constants_to_initialisers(graph)
    _drop_initialisers_from_inputs(proto)
    _tell_apart(graph)
    tensor_name = _Names(graph).unused([TENSOR_NAME])
    spans = _insert(graph, model, kinds, tensor_name) if kinds else {}
    if short_names:
        _shorten(graph, keep={tensor_name})
    # What an exporter noted about tensors inside still holds, but for those that have other names now.
    del graph.value_info[:]
    if spans:
        value = json.dumps({"tensor": tensor_name, **{kind: list(span) for kind, span in spans.items()}})
        proto.metadata_props.append(onnx.StringStringEntryProto(key=METADATA_KEY, value=value))
    return models.checked(proto, model.name)


class _Names:
    """Every name that a graph uses for a value."""

    def __init__(self, graph: onnx.GraphProto) -> None:
        self.used = {name for node in graph.node for name in (*node.input, *node.output)}
        self.used |= {tensor.name for tensor in graph.initializer}
        self.used |= {value.name for value in (*graph.input, *graph.output)}

    def unused(self, wanted: Sequence[str]) -> str:
        """The first of these that is free, or the last with a number; it is taken from then on."""
        numbered = (f"{wanted[-1]}{n}" for n in itertools.count(2))
        name = next(name for name in itertools.chain(wanted, numbered) if name not in self.used)
        self.used.add(name)
        return name


def _constants_to_initialisers(graph: onnx.GraphProto) -> None:
    """Float tensors of Constant nodes are parameters as good as any."""
    kept = []
    for node in graph.node:
        value = next((a.t for a in node.attribute if a.name == "value" and a.HasField("t")), None)
        if node.op_type == "Constant" and value is not None and value.data_type == onnx.TensorProto.FLOAT:
            tensor = graph.initializer.add()
            tensor.CopyFrom(value)
            tensor.name = node.output[0]
        else:
            kept.append(node)
    del graph.node[:]
    graph.node.extend(kept)


def _drop_initialisers_from_inputs(proto: onnx.ModelProto) -> None:
    """An initialiser that is an input too could be changed from outside, so engines would not fold it."""
    graph = proto.graph
    constants = {tensor.name for tensor in graph.initializer}
    kept = [value for value in graph.input if value.name not in constants]
    if len(kept) != len(graph.input):
        proto.ir_version = max(proto.ir_version, _IR_VERSION_OF_CONSTANTS)
        del graph.input[:]
        graph.input.extend(kept)


def _tell_apart(graph: onnx.GraphProto) -> None:
    """A float initialiser of its own for every place that uses one."""
    names = _Names(graph)
    tensors = {t.name: t for t in graph.initializer if t.data_type == onnx.TensorProto.FLOAT}
    seen: set[str] = set()
    for node in graph.node:
        for at, name in enumerate(node.input):
            if name not in tensors:
                continue
            if name in seen:
                copy = graph.initializer.add()
                copy.CopyFrom(tensors[name])
                copy.name = names.unused([name])
                node.input[at] = copy.name
            seen.add(name)


def _insert(graph: onnx.GraphProto, model: Model, kinds: Sequence[Kind], tensor: str) -> dict[Kind, tuple[int, int]]:
    """Put the update tensor in. Returns the span of each kind."""
    found = list(_convolutions(graph))
    if not found:
        raise NnpfError("has no convolution in two dimensions with constant float32 weights", subject=model.name)
    names = _Names(graph)
    starts: list[Floats] = []
    spans: dict[Kind, tuple[int, int]] = {}
    pieces: dict[Kind, list[str]] = {}
    for kind in KINDS:
        if kind not in kinds:
            continue
        values = [c.multipliers if kind == "multipliers" else np.zeros(c.channels, np.float32) for c in found]
        first = sum(part.size for part in starts)
        spans[kind] = (first, first + sum(part.size for part in values))
        pieces[kind] = [names.unused([f"{tensor}.{kind[0]}{at}"]) for at in range(len(found))]
        starts += values
    graph.initializer.append(numpy_helper.from_array(np.concatenate(starts), tensor))
    head = _split(graph, model.opset, tensor, [p for k in spans for p in pieces[k]], [part.size for part in starts])
    after: dict[str, list[onnx.NodeProto]] = {}  # what follows a node, by its output
    for at, convolution in enumerate(found):
        node = convolution.node
        if "multipliers" in spans and convolution.multiplication is not None:
            other = convolution.multiplication
            other.input[1 - list(other.input).index(node.output[0])] = pieces["multipliers"][at]
            node = other
        last = node.output[0]
        steps = [("Mul", pieces["multipliers"][at])] if "multipliers" in spans and node is convolution.node else []
        if "biases" in spans:
            # In units of the layer's own outputs, so that one step size suits all offsets: a correction at the end of
            # a network is hundreds of times smaller than the features inside.
            scale, offset = f"{pieces['biases'][at]}.scale", names.unused([f"{pieces['biases'][at]}.offset"])
            graph.initializer.append(numpy_helper.from_array(np.asarray(convolution.scale, np.float32), scale))
            after[pieces["biases"][at]] = [helper.make_node("Mul", [pieces["biases"][at], scale], [offset])]
            steps.append(("Add", offset))
        if not steps:
            continue
        # The last new node gives what the node gave before, under the same name, so that nothing else changes.
        source = node.output[0] = names.unused([f"{last}.raw"])
        added = []
        for number, (operator, piece) in enumerate(steps):
            result = last if number == len(steps) - 1 else names.unused([f"{last}.scaled"])
            added.append(helper.make_node(operator, [source, piece], [result]))
            source = result
        after[node.output[0]] = added
    scales = [node for kind in spans for piece in pieces[kind] for node in after.get(piece, [])]
    ordered = [*head, *scales]
    for existing in list(graph.node):
        ordered += [existing, *after.get(existing.output[0], [])]
    copies = [onnx.NodeProto.FromString(n.SerializeToString()) for n in ordered]
    del graph.node[:]
    graph.node.extend(copies)
    return spans


def _split(
    graph: onnx.GraphProto, opset: int, tensor: str, pieces: Sequence[str], sizes: Sequence[int]
) -> list[onnx.NodeProto]:
    """Nodes that give the parts of the tensor as [channels, 1, 1], which broadcasts over rows and columns."""
    column = pieces[0] if len(pieces) == 1 else f"{tensor}.column"
    _constant(graph, f"{tensor}.shape", [-1, 1, 1])
    nodes = [helper.make_node("Reshape", [tensor, f"{tensor}.shape"], [column])]
    if len(pieces) == 1:
        return nodes
    if opset >= _OPSET_OF_SPLIT_INPUT:
        _constant(graph, f"{tensor}.sizes", list(sizes))
        nodes.append(helper.make_node("Split", [column, f"{tensor}.sizes"], list(pieces), axis=0))
    else:
        nodes.append(helper.make_node("Split", [column], list(pieces), axis=0, split=list(sizes)))
    return nodes


def _constant(graph: onnx.GraphProto, name: str, values: Sequence[int]) -> None:
    graph.initializer.append(numpy_helper.from_array(np.asarray(values, np.int64), name))


def _convolutions(graph: onnx.GraphProto) -> Iterator[_Convolution]:
    constants = {t.name: t for t in graph.initializer if t.data_type == onnx.TensorProto.FLOAT}
    uses: dict[str, list[onnx.NodeProto]] = {}
    for node in graph.node:
        for name in node.input:
            uses.setdefault(name, []).append(node)
    outputs = {value.name for value in graph.output}
    for node in graph.node:
        if node.op_type not in ("Conv", "ConvTranspose") or node.input[1] not in constants:
            continue
        dims = constants[node.input[1]].dims
        if len(dims) != 4:
            continue
        group = next((int(a.i) for a in node.attribute if a.name == "group"), 1)
        channels = int(dims[0]) if node.op_type == "Conv" else int(dims[1]) * group
        multiplication, multipliers = None, np.ones(channels, np.float32)
        following = uses.get(node.output[0], [])
        if len(following) == 1 and following[0].op_type == "Mul" and node.output[0] not in outputs:
            other = next((name for name in following[0].input if name != node.output[0]), "")
            values = _per_channel(constants.get(other), channels)
            if values is not None:
                multiplication, multipliers = following[0], values
        weights = numpy_helper.to_array(constants[node.input[1]]).astype(np.float64)
        scale = float(np.sqrt((weights * weights).sum() / channels)) or 1.0
        yield _Convolution(node, channels, multiplication, multipliers, scale)


def _per_channel(tensor: onnx.TensorProto | None, channels: int) -> Floats | None:
    """The values of a constant of shape [channels, 1, 1] or [1, channels, 1, 1]; None for any other."""
    if tensor is None or tuple(tensor.dims) not in ((channels, 1, 1), (1, channels, 1, 1)):
        return None
    return cast(Floats, numpy_helper.to_array(tensor).reshape(channels).astype(np.float32))


def _shorten(graph: onnx.GraphProto, keep: set[str]) -> None:
    """Names of one or two letters for float initialisers, in the order in which the graph uses them."""
    used = {name for node in graph.node for name in node.input}
    floats = {t.name: t for t in graph.initializer if t.data_type == onnx.TensorProto.FLOAT and t.name not in keep}
    unused = [name for name in floats if name not in used]
    for name in unused:  # what _insert took the place of
        graph.initializer.remove(floats.pop(name))
    taken = _Names(graph).used - set(floats)
    letters = string.ascii_letters
    candidates = itertools.chain(letters, map("".join, itertools.product(letters, repeat=2)))
    if math.prod((len(letters), len(letters) + 1)) < len(floats) + len(taken):
        return  # a graph with thousands of tensors gains nothing
    free = (name for name in candidates if name not in taken)
    renamed: dict[str, str] = {}
    for node in graph.node:
        for at, name in enumerate(node.input):
            if name in floats:
                if name not in renamed:
                    renamed[name] = next(free)
                    floats[name].name = renamed[name]
                node.input[at] = renamed[name]
