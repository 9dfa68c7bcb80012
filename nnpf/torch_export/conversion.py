"""A graph of ATen operators as a graph of ONNX operators."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from nnpf import limits
from nnpf.errors import NnpfError
from nnpf.torch_export import archive
from nnpf.torch_export.archive import DTYPES, Array
from nnpf.torch_export.operators import OPERATORS, WRITES, Unsupported
from nnpf.torch_export.views import MAY_COPY, SAME, VIEWS, View, Views

# The first one with allowzero, mode and antialias where torch has them; every engine reads it.
OPSET = 18
# What torch checks while it runs, without a result.
_CHECKS = frozenset(
    f"aten.{name}.default" for name in ("_assert_tensor_metadata", "_assert_scalar", "sym_constrain_range_for_size")
)


class Builder:
    """Collects the nodes of an ONNX graph. Values are ONNX names; `meta` says what torch noted about its own."""

    def __init__(self, metas: Mapping[str, Any]) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: list[onnx.TensorProto] = []
        self._metas = metas
        self._made: dict[str, tuple[int, np.dtype[Any]]] = {}  # rank and type of values made here
        self._sides: dict[str, list[int | None]] = {}
        self._most_nodes = limits.current().model_nodes
        self._constants: dict[tuple[str, bytes, tuple[int, ...]], str] = {}

    def note(self, value: str, torch_name: str) -> None:
        """A value is what torch calls `torch_name`."""
        meta = self._metas[torch_name]
        dtype = DTYPES.get(meta["dtype"])
        if dtype is None:
            raise Unsupported(f"a tensor of type {meta['dtype']} of torch")
        self._made[value] = len(meta["sizes"]), dtype
        self._sides[value] = self.sizes(torch_name)

    def size(self, value: str) -> str:
        """A value is a size of a tensor: what is computed with tensors may take it, too."""
        self._made[value] = 0, np.dtype(np.int64)
        return value

    def side(self, value: str, axis: int) -> int:
        """The size of a tensor that torch knows, where it does not depend on the input."""
        found = self._sides[value][axis]
        if found is None:
            raise Unsupported(f"axis {axis} of a size that depends on the input")
        return found

    def rank(self, value: str) -> int:
        return self._made[value][0]

    def dtype(self, value: str) -> np.dtype[Any]:
        return self._made[value][1]

    def sizes(self, torch_name: str) -> list[int | None]:
        return [item.get("as_int") for item in self._metas[torch_name]["sizes"]]

    def initializer(self, name: str, array: Array) -> str:
        self.initializers.append(numpy_helper.from_array(np.array(array, order="C"), name))
        self._made[name] = array.ndim, array.dtype
        return name

    def constant(self, value: Any, dtype: np.dtype[Any] | type | str = np.int64) -> str:
        """A small constant; the same one once."""
        array = np.asarray(value, dtype)
        key = (array.dtype.str, array.tobytes(), array.shape)
        if key not in self._constants:
            self._constants[key] = self.initializer(f"constant_{len(self._constants)}", array)
        return self._constants[key]

    def node(self, op: str, inputs: list[str], *, outputs: int = 1, **attributes: Any) -> Any:
        """Adds a node. Returns the name of its output, or their names where there are several."""
        if len(self.nodes) == self._most_nodes:
            raise limits.exceeded("model_nodes", f"it takes more than {self._most_nodes} nodes of ONNX")
        names = [f"v{len(self.nodes)}_{at}" for at in range(outputs)]
        given = {key: value for key, value in attributes.items() if value is not None}
        self.nodes.append(helper.make_node(op, inputs, names, **given))
        return names[0] if outputs == 1 else names


def convert(data: bytes, name: str) -> onnx.ModelProto:
    """The ONNX model of an archive; initialisers bear the names that parameters have in the torch module.

    Raises:
        NnpfError: the archive cannot be read, or an operator is not covered.
    """
    found = archive.read(data, name)
    try:
        return _converted(found, name)
    except NnpfError:
        raise
    except Unsupported as error:
        raise NnpfError(f"is not supported: {error}", subject=name) from None
    except (AttributeError, LookupError, OverflowError, RecursionError, TypeError, ValueError) as error:
        raise NnpfError(f"has a graph that is not understood: {error!r}", subject=name) from None


def _converted(found: archive.Archive, name: str) -> onnx.ModelProto:
    graph = found.program["graph_module"]["graph"]
    builder = Builder(graph["tensor_values"])
    values: dict[str, Any] = {}
    inputs = []
    for spec in found.program["graph_module"]["signature"]["input_specs"]:
        ((kind, entry),) = spec.items()
        if kind == "user_input":
            own = entry["arg"]["as_tensor"]["name"]
            builder.note(own, own)
            dims = [size if size is not None else f"{own}_{at}" for at, size in enumerate(builder.sizes(own))]
            element = helper.np_dtype_to_tensor_dtype(builder.dtype(own))
            inputs.append(helper.make_tensor_value_info(own, element, dims))
            values[own] = own
            continue
        keys = {"parameter": "parameter_name", "buffer": "buffer_name", "tensor_constant": "tensor_constant_name"}
        if kind not in keys:
            raise NnpfError(f"has an input of kind {kind!r}, which is not supported", subject=name)
        values[entry["arg"]["name"]] = builder.initializer(entry[keys[kind]], found.weights[entry[keys[kind]]])
    views = Views()
    for node in graph["nodes"]:
        _convert_node(builder, values, node, views, name)
    specs = found.program["graph_module"]["signature"]["output_specs"]
    results = [spec["user_output"]["arg"]["as_tensor"]["name"] for spec in specs if "user_output" in spec]
    outputs = []
    for at, result in enumerate(results):
        # An output of its own name, also where it is an input handed through.
        out = f"output_{at}" if len(results) > 1 else "output"
        builder.nodes.append(helper.make_node("Identity", [values[result]], [out]))
        element = helper.np_dtype_to_tensor_dtype(builder.dtype(values[result]))
        dims = [size if size is not None else f"{out}_{k}" for k, size in enumerate(builder.sizes(result))]
        outputs.append(helper.make_tensor_value_info(out, element, dims))
    nodes = _needed(builder.nodes, [output.name for output in outputs])
    used = {used for node in nodes for used in node.input}
    kept = [tensor for tensor in builder.initializers if tensor.name in used]
    proto = helper.make_graph(nodes, "exported", inputs, outputs, kept)
    return helper.make_model(
        proto, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=9, producer_name="torch.export"
    )


def _needed(nodes: Sequence[onnx.NodeProto], outputs: Iterable[str]) -> list[onnx.NodeProto]:
    """The nodes that outputs depend on."""
    wanted = set(outputs)
    found = []
    for node in reversed(nodes):
        if wanted.intersection(node.output):
            wanted.update(node.input)
            found.append(node)
    return found[::-1]


def _convert_node(builder: Builder, values: dict[str, Any], node: Mapping[str, Any], views: Views, name: str) -> None:
    """`views`: tensors that share their memory with others; they grow."""
    short = _short(node)
    if short in _CHECKS:
        return
    # aten.relu_ writes into its input: for the nodes that follow, the result stands in its place.
    in_place = False
    if short not in OPERATORS and short.startswith("aten."):
        base, _, overload = short.removeprefix("aten.").partition(".")
        in_place = base.endswith("_")
        short = f"aten.{base.removesuffix('_')}.{overload}" if in_place else short
    if short not in OPERATORS:
        short = _short(node)
        raise NnpfError(f"operator {short} is not covered; torch.onnx.export may have a form of it", subject=name)
    try:
        made = _made(OPERATORS[short], builder, values, node)
        first: str = node["inputs"][0]["arg"].get("as_tensor", {}).get("name", "") if node["inputs"] else ""
        pieces = [item["name"] for output in node["outputs"] for item in output.get("as_tensors", ())]
        results = pieces or [output["as_tensor"]["name"] for output in node["outputs"] if "as_tensor" in output]
        if twice := values.keys() & set(results):
            raise NnpfError(f"has two tensors of the name {min(twice)!r}", subject=name)
        if in_place:
            if first not in values:
                raise Unsupported("it writes into what is no tensor")
            values[first] = made
            _name(builder, values, results[0], made)
            _written(builder, values, views, first)
            views.add(results[0], View(first, None))
            return
    except Unsupported as error:
        raise NnpfError(f"operator {_short(node)}: {error}", subject=name) from None
    except TypeError as error:
        raise NnpfError(f"operator {_short(node)}: an argument that is not covered ({error})", subject=name) from None
    if isinstance(made, list):
        for result, value in zip(results, made, strict=False):
            _name(builder, values, result, value)
    elif results:
        # Operators such as native_layer_norm have more results, which filters do not use.
        _name(builder, values, results[0], made)
    else:
        values[node["outputs"][0]["as_sym_int"]["as_name"]] = builder.size(made)
    if short in VIEWS:
        for at, result in enumerate(results):
            views.add(result, View(first, node, at if pieces else None))
    elif short in SAME and results and builder.dtype(values[first]) == builder.dtype(values[results[0]]):
        views.add(results[0], View(first, None))


def _short(node: Mapping[str, Any]) -> str:
    return str(node["target"].removeprefix("torch.ops."))


def _made(
    function: Callable[..., Any], builder: Builder, values: Mapping[str, Any], node: Mapping[str, Any], **more: Any
) -> Any:
    """What a function gives for the arguments of a node."""
    arguments = {item["name"]: _argument(values, item["arg"]) for item in node["inputs"]}
    tensors = [item["name"] for output in node["outputs"] for item in output.get("as_tensors", ())]
    if tensors:
        arguments["pieces"] = [builder.sizes(item) for item in tensors]
    return function(builder, **arguments, **more)


def _written(builder: Builder, values: dict[str, Any], views: Views, into: str) -> None:
    """Something was written into a tensor: what it is a part of changes, and with that all that see the same memory."""
    path = [into]
    while (view := views.get(path[-1])) is not None:
        written = values[path[-1]]
        if view.node is not None:
            write = WRITES.get(_short(view.node)) if view.piece is None else None
            if write is None:
                raise Unsupported(f"it writes into what {_short(view.node)} gives")
            written = _made(write, builder, values, view.node, src=written)
        _name(builder, values, view.of, written)
        path.append(view.of)
    for name, view in views.below(path[-1]):
        if name in path:
            continue
        if view.node is None:
            _name(builder, values, name, values[view.of])
            continue
        if _short(view.node) in MAY_COPY:
            raise Unsupported(f"it writes into what {_short(view.node)} sees, or has a copy of")
        made = _made(OPERATORS[_short(view.node)], builder, values, view.node)
        _name(builder, values, name, made if view.piece is None else made[view.piece])


def _name(builder: Builder, values: dict[str, Any], torch_name: str, value: str) -> None:
    values[torch_name] = value
    builder.note(value, torch_name)


def _argument(values: Mapping[str, Any], arg: Mapping[str, Any]) -> Any:
    """What is handed to the function of an operator: names of values for tensors and sizes, else plain Python."""
    ((kind, value),) = arg.items()
    if kind == "as_none":
        return None
    if kind in ("as_tensor", "as_optional_tensor"):
        if kind == "as_optional_tensor" and "as_tensor" not in value:
            return None
        return values[(value.get("as_tensor") or value)["name"]]
    if kind in ("as_tensors", "as_optional_tensors"):
        return [
            _argument(values, {"as_tensor": item} if kind == "as_tensors" else {"as_optional_tensor": item})
            for item in value
        ]
    if kind == "as_sym_int":
        return value["as_int"] if "as_int" in value else values[value["as_name"]]
    if kind == "as_sym_ints":
        return [_argument(values, {"as_sym_int": item}) for item in value]
    if kind == "as_float":
        return float(value)  # "-Infinity" is a string
    return value
