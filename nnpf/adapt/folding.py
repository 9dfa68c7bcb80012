"""A graph for training: multipliers and offsets of channels act on weights, not on the outputs of convolutions.

The function is the same but for rounding. A product with each sample of a feature map, forward and backward, takes more
time than the convolutions of a small filter; a product with its weights takes none. What a receiver gets is measured
with the graph as it is (`nnpf.adapt.measure`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import onnx
from onnx import helper, numpy_helper

from nnpf.model import Model


@dataclass(frozen=True, slots=True)
class _Chain:
    """A convolution and what follows it: values of [channels, 1, 1] that multiply and are added, in this order."""

    node: onnx.NodeProto
    multiplier: str | None
    offset: str | None
    result: str
    followers: tuple[onnx.NodeProto, ...]


def folded(model: Model) -> Model:
    """The model with each Conv -> Mul -> Add (or one of them) of constants of one number per channel as one Conv.

    Initialisers keep their names and values.
    """
    proto = onnx.ModelProto()
    proto.CopyFrom(model.proto)
    graph = proto.graph
    # Values that do not depend on the model's input, with their shapes.
    known = model.graph.constants([spec.name for spec in model.inputs])
    constant = {name: tensor.shape for name, tensor in known.items()}
    chains = list(_chains(graph, constant))
    if not chains:
        return model
    taken = {name for node in graph.node for name in (*node.input, *node.output)}
    by_node = {id(chain.node): chain for chain in chains}
    gone = {id(node) for chain in chains for node in chain.followers}
    # What depends on constants alone comes first, for weights depend on it now.
    ordered = [node for node in graph.node if all(name in constant for name in node.output)]
    first = {id(node) for node in ordered}
    shapes = _Constants(graph, taken)
    for node in graph.node:
        if id(node) in first or id(node) in gone:
            continue
        chain = by_node.get(id(node))
        if chain is not None:
            ordered += _with_weights_changed(chain, shapes)
        else:
            ordered.append(node)
    copies = [onnx.NodeProto.FromString(node.SerializeToString()) for node in ordered]
    del graph.node[:]
    graph.node.extend(copies)
    del graph.value_info[:]
    return Model(proto, model.name)


class _Constants:
    """Shapes for Reshape, one initialiser each, and names that are free."""

    def __init__(self, graph: onnx.GraphProto, taken: set[str]) -> None:
        self._graph, self._taken = graph, taken | {tensor.name for tensor in graph.initializer}
        self._known: dict[tuple[int, ...], str] = {}

    def name(self, wanted: str) -> str:
        while wanted in self._taken:
            wanted += "_"
        self._taken.add(wanted)
        return wanted

    def shape(self, *dims: int) -> str:
        if dims not in self._known:
            self._known[dims] = self.name("shape." + "x".join(map(str, dims)))
            self._graph.initializer.append(numpy_helper.from_array(np.asarray(dims, np.int64), self._known[dims]))
        return self._known[dims]


def _chains(graph: onnx.GraphProto, constant: Mapping[str, tuple[int, ...]]) -> Iterator[_Chain]:
    users: dict[str, list[onnx.NodeProto]] = {value.name: [onnx.NodeProto()] for value in graph.output}
    for node in graph.node:
        for name in node.input:
            users.setdefault(name, []).append(node)

    def follower(value: str, operator: str, channels: int) -> tuple[onnx.NodeProto, str] | None:
        """The only user of a value, if it is this operator with numbers of channels; and those numbers."""
        if len(users.get(value, [])) != 1 or users[value][0].op_type != operator:
            return None
        node = users[value][0]
        other = next((name for name in node.input if name != value), "")
        suits = constant.get(other) in ((channels, 1, 1), (1, channels, 1, 1))
        return (node, other) if suits else None

    for node in graph.node:
        dims = constant.get(node.input[1], ()) if node.op_type == "Conv" else ()
        if len(dims) != 4:
            continue
        followers = []
        result = node.output[0]
        found: dict[str, str] = {}
        for operator in ("Mul", "Add"):
            step = follower(result, operator, dims[0])
            if step is not None:
                followers.append(step[0])
                found[operator], result = step[1], step[0].output[0]
        if followers:
            yield _Chain(node, found.get("Mul"), found.get("Add"), result, tuple(followers))


def _with_weights_changed(chain: _Chain, constants: _Constants) -> Iterator[onnx.NodeProto]:
    node = chain.node
    weight, bias = node.input[1], node.input[2] if len(node.input) > 2 else ""

    def made(operator: str, *inputs: str) -> onnx.NodeProto:
        return helper.make_node(operator, inputs, [constants.name(f"{chain.result}.{operator}")])

    if chain.multiplier is not None:
        of_weight = made("Reshape", chain.multiplier, constants.shape(-1, 1, 1, 1))
        product = made("Mul", weight, of_weight.output[0])
        yield from (of_weight, product)
        weight = product.output[0]
        if bias:
            of_bias = made("Reshape", chain.multiplier, constants.shape(-1))
            product = made("Mul", bias, of_bias.output[0])
            yield from (of_bias, product)
            bias = product.output[0]
    if chain.offset is not None:
        offset = made("Reshape", chain.offset, constants.shape(-1))
        yield offset
        total = made("Add", bias, offset.output[0]) if bias else None
        if total is not None:
            yield total
        bias = (total or offset).output[0]
    changed = onnx.NodeProto()
    changed.CopyFrom(node)
    del changed.input[1:]
    changed.input.extend([weight, bias] if bias else [weight])
    changed.output[0] = chain.result
    yield changed
