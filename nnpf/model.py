"""A filter as a graph (ONNX, in memory) and its named parameters.

Models come from strangers: a file is checked before any engine sees it. What an engine would read from elsewhere or
run without bound (external data, custom operators, control flow) is refused.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
from onnx import numpy_helper

from nnpf import limits, steps
from nnpf.errors import NnpfError
from nnpf.shapes import Graph, ShapeError, Tensor

# The newest version of the standard operators that the onnx package knows.
MAX_OPSET = onnx.defs.onnx_opset_version()

Array = npt.NDArray[Any]
Shape = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """An input of a model. A dimension that is None is chosen at run time."""

    name: str
    dtype: np.dtype[Any]
    shape: tuple[int | None, ...]

    @property
    def rank(self) -> int:
        return len(self.shape)

    def __str__(self) -> str:
        return f"{self.name} {self.dtype}[{','.join('?' if d is None else str(d) for d in self.shape)}]"


@dataclass(frozen=True, slots=True)
class Cost:
    """What one run of a model takes, for given input shapes.

    Attributes:
        macs: multiply-accumulate operations of convolutions and matrix products (nnpfc_num_kmac_operations_idc counts
            these); element-wise operations are not counted.
        peak_bytes: the largest sum of tensors that live at the same time, in the order of the graph. An engine that
            merges operators needs less, one that pads or reorders data needs up to twice that.
        output_shape: of the first output.
    """

    macs: int
    peak_bytes: int
    output_shape: Shape


class Model:
    """An ONNX graph in memory. Never changed after loading: `with_parameters` gives a new one.

    Attributes:
        proto: the graph; checked.
        name: what a report calls it (a path, a URI).
        inputs: in the graph's order; initialisers are not inputs.
        output_names: in the graph's order; the first is the output tensor.
    """

    def __init__(self, proto: onnx.ModelProto, name: str) -> None:
        self.proto = proto
        self.name = name
        constants = {tensor.name for tensor in proto.graph.initializer}
        self.inputs = tuple(self._spec(value) for value in proto.graph.input if value.name not in constants)
        self.output_names = tuple(value.name for value in proto.graph.output)
        if not self.inputs or not self.output_names:
            raise NnpfError("the graph has no input or no output", subject=name)

    def _spec(self, value: onnx.ValueInfoProto) -> TensorSpec:
        kind = value.type.tensor_type
        if not value.type.HasField("tensor_type") or not kind.HasField("shape"):
            raise NnpfError(f"{value.name!r} is not a tensor of known rank", subject=self.name)
        try:
            dtype = onnx.helper.tensor_dtype_to_np_dtype(kind.elem_type)
        except (KeyError, TypeError, ValueError):
            raise NnpfError(f"{value.name!r} has an element type that is not known", subject=self.name) from None
        if dtype.hasobject:
            raise NnpfError(f"{value.name!r} is a tensor of strings", subject=self.name)
        if dtype.isbuiltin != 1:  # numpy does not have it, and engines are given what numpy has
            raise NnpfError(f"{value.name!r} is a tensor of {dtype}, which is not supported", subject=self.name)
        # A dimension of 0 or less is what some exporters write for "any".
        return TensorSpec(value.name, dtype, tuple(d.dim_value if d.dim_value > 0 else None for d in kind.shape.dim))

    @cached_property
    def graph(self) -> Graph:
        """What shapes are computed with."""
        return Graph(self.proto, self.name)

    @cached_property
    def sha256(self) -> str:
        """Of the graph with its parameters: what caches of compiled models go by."""
        return hashlib.sha256(self.to_bytes()).hexdigest()

    @cached_property
    def parameters(self) -> dict[str, Array]:
        """The initialisers by name, without the integer vectors that only describe shapes. Read-only views."""
        return {tensor.name: _to_array(tensor, self.name) for tensor in self._parameter_tensors()}

    @property
    def num_parameters(self) -> int:
        return sum(math.prod(tensor.dims) for tensor in self._parameter_tensors())

    def _parameter_tensors(self) -> Iterator[onnx.TensorProto]:
        for tensor in self.proto.graph.initializer:
            if not (tensor.data_type == onnx.TensorProto.INT64 and len(tensor.dims) <= 1):
                yield tensor

    @cached_property
    def operators(self) -> frozenset[str]:
        return frozenset(node.op_type for node in self.proto.graph.node)

    @property
    def opset(self) -> int:
        return next(int(entry.version) for entry in self.proto.opset_import if entry.domain in _STANDARD_DOMAINS)

    @property
    def tensor_input(self) -> TensorSpec:
        """The input that takes the patches: the only one of rank 4 or 5.

        Raises:
            NnpfError: there is none, or more than one.
        """
        candidates = [spec for spec in self.inputs if spec.rank in (4, 5)]
        if len(candidates) != 1:
            listed = ", ".join(map(str, self.inputs))
            raise NnpfError(f"one input of rank 4 or 5 is wanted, the model has {listed}", subject=self.name)
        return candidates[0]

    def with_parameters(self, parameters: Mapping[str, Array], name: str | None = None) -> Model:
        """The same graph with some parameters replaced.

        Args:
            parameters: by initialiser name; shapes must match, values are converted to the initialiser's type.

        Raises:
            NnpfError: a name that the graph does not have, or another shape.
        """
        proto = onnx.ModelProto()
        proto.CopyFrom(self.proto)
        tensors = {tensor.name: tensor for tensor in proto.graph.initializer}
        for key, value in parameters.items():
            tensor = tensors.get(key)
            if tensor is None:
                raise NnpfError(f"has no parameter {key!r}", subject=self.name)
            if tuple(tensor.dims) != value.shape:
                raise NnpfError(
                    f"parameter {key!r} is {list(tensor.dims)}, given {list(value.shape)}", subject=self.name
                )
            dtype = onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type)
            tensor.CopyFrom(numpy_helper.from_array(np.ascontiguousarray(value, dtype), key))
        return Model(proto, name or self.name)

    def to_bytes(self) -> bytes:
        """The model as an ONNX file."""
        return bytes(self.proto.SerializeToString(deterministic=True))

    def cost(self, shapes: Mapping[str, Shape]) -> Cost:
        """What one run takes with inputs of these shapes.

        Raises:
            NnpfError: the shapes do not suit the graph, or tensors are larger than `nnpf.limits` allow.
        """
        return _cost(self, shapes)


_STANDARD_DOMAINS = ("", "ai.onnx")


def load(source: str | Path | bytes, name: str | None = None) -> Model:
    """Read a model from a file or from bytes: ONNX, or what torch.export.save wrote (`nnpf.torch_export`).

    Raises:
        NnpfError: it is neither, is too large, or holds what is not allowed here.
    """
    if isinstance(source, bytes):
        data, label = source, name or "model"
    else:
        path, label = Path(source), name or str(source)
        try:
            size = path.stat().st_size
            _check_size(size, label)
            data = path.read_bytes()
        except OSError as error:
            raise NnpfError(f"cannot be read: {error.strerror}", subject=label) from None
    _check_size(len(data), label)
    return checked(_parsed(data, label), label)


def checked(proto: onnx.ModelProto, name: str) -> Model:
    """A graph of a stranger as a model. NnpfError says what an engine must not be given."""
    with steps.step(f"reading the model {name}", "model_seconds"):
        _check(proto, name)
        model = Model(proto, name)
        _check_constants(model)
    return model


def _parsed(data: bytes, label: str) -> onnx.ModelProto:
    from nnpf import torch_export

    if torch_export.is_archive(data):
        proto = torch_export.convert(data, label)
    else:
        try:
            proto = onnx.load_model_from_string(data)
        except (DecodeError, ValueError, RuntimeError):
            raise NnpfError("is not an ONNX model", subject=label) from None
    return proto


def _check_size(size: int, name: str) -> None:
    if size > (allowed := limits.current().model_bytes):
        raise limits.exceeded("model_bytes", f"{size} bytes; a model has at most {allowed}", subject=name)


def _check(proto: onnx.ModelProto, name: str) -> None:
    graph = proto.graph
    if not graph.node or not graph.output:
        raise NnpfError("is not an ONNX model: it has no graph", subject=name)
    if len(graph.node) > (allowed := limits.current()).model_nodes:
        problem = f"{len(graph.node)} nodes; at most {allowed.model_nodes} are taken"
        raise limits.exceeded("model_nodes", problem, subject=name)
    versions = [entry.version for entry in proto.opset_import if entry.domain in _STANDARD_DOMAINS]
    if len(versions) != 1 or not 0 < versions[0] <= MAX_OPSET:
        # OpenVINO would look for a version that it knows one by one, from 2^63 on downwards.
        raise NnpfError(
            f"operator set {', '.join(map(str, versions)) or 'none'}; 1..{MAX_OPSET} is known", subject=name
        )
    if proto.functions:
        raise NnpfError(
            "holds local functions, which are not supported: export it with functions inlined", subject=name
        )
    if graph.sparse_initializer:
        raise NnpfError("holds sparse initialisers, which are not supported", subject=name)
    for node in graph.node:
        if node.domain not in _STANDARD_DOMAINS:
            raise NnpfError(
                f"operator {node.domain}.{node.op_type} is not a standard ONNX operator{_instead(node)}", subject=name
            )
        for attribute in node.attribute:
            if attribute.HasField("g") or attribute.graphs:
                raise NnpfError(f"operator {node.op_type} with a subgraph: control flow is not supported", subject=name)
    for tensor in _tensors(graph):
        if tensor.data_location == onnx.TensorProto.EXTERNAL or tensor.external_data:
            raise NnpfError(f"tensor {tensor.name!r} lies outside the file, which is not allowed", subject=name)
        # Where one of them is 0 the others count all the same: no array has a side of 2 ** 63 - 1.
        if math.prod(d or 1 for d in tensor.dims) > allowed.tensor_elements or min(tensor.dims, default=0) < 0:
            raise NnpfError(f"tensor {tensor.name!r} is {list(tensor.dims)}", subject=name)
        if tensor.data_type != onnx.TensorProto.STRING:
            _to_array(tensor, name)  # as many values as its shape says, of a type that is known
    _check_types(graph, name)
    for value in (*graph.input, *graph.output, *graph.value_info):
        for dimension in value.type.tensor_type.shape.dim:
            # "Any", as some exporters write it.
            if dimension.HasField("dim_value") and dimension.dim_value < 0:
                dimension.ClearField("dim_value")
    try:
        onnx.checker.check_model(proto)
    except (onnx.checker.ValidationError, ValueError, RuntimeError) as error:
        raise NnpfError(f"is not a valid ONNX model: {_first_line(error)}", subject=name) from None


def _instead(node: onnx.NodeProto) -> str:
    """How to get a graph without this operator, where that is known."""
    # (What is no UTF-8 comes as bytes.)
    if node.domain == "com.microsoft" and str(node.op_type).startswith("QLinear"):
        return "; quantise with QuantFormat.QDQ, which has standard ones only"
    return ""


# Numbers of less than 16 bits but 8-bit integers, as this version of onnx knows them.
_NARROW = frozenset(
    number
    for kind, number in onnx.TensorProto.DataType.items()
    if kind.startswith(("FLOAT8", "FLOAT6", "FLOAT4", "INT4", "UINT4", "INT2")) or kind == "UINT2"
)
_TEXT = onnx.TensorProto.STRING
# Attributes that say of which type the result of an operator is.
_OF_TYPE = frozenset(("to", "dtype", "output_dtype"))


def _check_types(graph: onnx.GraphProto, name: str) -> None:
    """Refuse text, and narrow numbers that are no parameters for DequantizeLinear: no filter computes with them, and
    OpenVINO ends the process where some operators, such as Clip, meet them."""

    def refuse(kind: int, where: str) -> None:
        if kind == _TEXT or kind in _NARROW:
            raise NnpfError(f"{where} of type {onnx.TensorProto.DataType.Name(kind)} is not supported", subject=name)

    for value in (*graph.input, *graph.output, *graph.value_info):
        refuse(value.type.tensor_type.elem_type, f"tensor {value.name!r}")
    narrow = {tensor.name: tensor.data_type for tensor in graph.initializer if tensor.data_type in _NARROW}
    for tensor in _tensors(graph):
        if tensor.data_type == _TEXT:
            refuse(_TEXT, f"tensor {tensor.name!r}")
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.name in _OF_TYPE:
                refuse(attribute.i, f"what {node.op_type} gives,")
            if node.op_type == "Constant" and attribute.name in ("value_string", "value_strings"):
                refuse(_TEXT, "a constant")
            if attribute.HasField("t") and attribute.t.data_type in _NARROW:
                narrow.update(dict.fromkeys(node.output, attribute.t.data_type))
    for node in graph.node:
        if node.op_type != "DequantizeLinear":
            for used in node.input:
                refuse(narrow.get(used, 0), f"tensor {used!r}, which {node.op_type} takes,")


def _check_constants(model: Model) -> None:
    """Refuse graphs that make gigabytes out of constants: engines compute such parts while they read a model."""
    given = {tensor.name for tensor in model.proto.graph.initializer}
    try:
        constants = model.graph.constants([spec.name for spec in model.inputs])
    except ShapeError as error:
        raise NnpfError(f"is not a valid ONNX model: {error.problem}", subject=model.name) from None
    size = sum(tensor.nbytes for name, tensor in constants.items() if name not in given)
    if size > limits.current().patch_bytes:
        raise limits.exceeded("patch_bytes", f"its constants would take {size >> 20} MiB", subject=model.name)


def _tensors(graph: onnx.GraphProto) -> Iterator[onnx.TensorProto]:
    yield from graph.initializer
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField("t"):
                yield attribute.t
            yield from attribute.tensors


def _to_array(tensor: onnx.TensorProto, name: str) -> Array:
    try:
        array: Array = numpy_helper.to_array(tensor)
    except (TypeError, ValueError, KeyError) as error:
        raise NnpfError(f"parameter {tensor.name!r}: {_first_line(error)}", subject=name) from None
    view = array.view()
    view.flags.writeable = False
    return view


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]


# --- cost ------------------------------------------------------------------------------------------------------------

# Where an operator has its data and its weight among its inputs.
_CONVOLUTIONS = {"Conv": (0, 1), "DeformConv": (0, 1), "ConvInteger": (0, 1), "QLinearConv": (0, 3)}
_PRODUCTS = {"MatMul": 0, "MatMulInteger": 0, "QLinearMatMul": 0, "Gemm": 0}


def _cost(model: Model, shapes: Mapping[str, Shape]) -> Cost:
    inputs = {}
    for spec in model.inputs:
        shape = shapes.get(spec.name, spec.shape)
        if len(shape) != spec.rank:
            raise NnpfError(f"input {spec.name!r} has rank {spec.rank}, given {list(shape)}", subject=model.name)
        if None in shape:
            raise NnpfError(f"the shape of its input {spec} is not given", subject=model.name)
        inputs[spec.name] = (spec.dtype, tuple(size or 0 for size in shape))
    try:
        known = model.graph.shapes(inputs)
    except ShapeError as error:
        if error.data:
            raise
        listed = ", ".join(f"{key} {list(shape)}" for key, (_, shape) in inputs.items())
        raise NnpfError(f"does not fit an input of {listed}: {error.problem}", subject=model.name) from None

    def shape_of(name: str) -> Shape:
        return known[name].shape

    macs = 0
    for node in model.proto.graph.node:
        if node.op_type in _CONVOLUTIONS:
            _, weight = _CONVOLUTIONS[node.op_type]
            macs += math.prod(shape_of(node.output[0])) * math.prod(shape_of(node.input[weight])[1:])
        elif node.op_type == "ConvTranspose":
            macs += math.prod(shape_of(node.input[0])) * math.prod(shape_of(node.input[1])[1:])
        elif node.op_type in _PRODUCTS:
            data = shape_of(node.input[0])
            transposed = any(a.name == "transA" and a.i for a in node.attribute)
            macs += math.prod(shape_of(node.output[0])) * data[-2 if transposed else -1]
    peak = _peak_bytes(model.proto.graph, known, list(inputs))
    if peak > limits.current().patch_bytes:
        raise limits.exceeded("patch_bytes", f"one run would take {peak >> 20} MiB", subject=model.name)
    return Cost(macs, peak, shape_of(model.output_names[0]))


def _peak_bytes(graph: onnx.GraphProto, known: Mapping[str, Tensor], inputs: Iterable[str]) -> int:
    constants = {tensor.name for tensor in graph.initializer}
    last_use = {name: at for at, node in enumerate(graph.node) for name in node.input}

    def size(name: str) -> int:
        return 0 if name in constants or name not in known else known[name].nbytes

    live = sum(size(name) for name in inputs)
    peak = live
    for at, node in enumerate(graph.node):
        live += sum(size(name) for name in node.output)
        peak = max(peak, live)
        live -= sum(size(name) for name in {*node.input} if last_use[name] == at)
    return peak
