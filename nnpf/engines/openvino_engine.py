"""OpenVINO: the default on CPUs. It reads ONNX as it is."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import onnx

from nnpf.arrays import NUMPY, Array
from nnpf.engines import CPU_MAX_BATCH, CPU_ROOM, Settings, checked_inputs
from nnpf.engines.silent_openvino import openvino as ov
from nnpf.engines.widening import widened
from nnpf.errors import NnpfError
from nnpf.model import Model, Shape

properties = ov.properties
hints = properties.hint

# A network compiled for one shape is faster than one for any shape. A stream has one size, or a few (whole batches
# and the last one; reference picture resampling); each costs about the model's size in memory.
MAX_COMPILED_SHAPES = 4


# INFERENCE_PRECISION_HINT as OpenVINO names it.
_PRECISIONS = {"f32": ov.Type.f32, "bf16": ov.Type.bf16}


# In these operator sets their axes are an attribute, which OpenVINO ignores: it reduces all axes to one value.
_IGNORING = range(13, 18)
_AXES_IGNORED = frozenset({"ReduceL1", "ReduceLogSum", "ReduceLogSumExp"})

_KEPT_RATIO = "keep_aspect_ratio_policy"

# The second where what it says quotes a string of the model that is no UTF-8.
_FAILURES = (RuntimeError, UnicodeDecodeError)


class OpenVinoEngine:
    name = "openvino"
    max_batch = CPU_MAX_BATCH
    arrays = NUMPY

    def __init__(self, device: str = "auto", settings: Settings | None = None) -> None:
        settings = settings or Settings()
        self._core = ov.Core()
        self._device = "CPU" if device in ("auto", "cpu") else device.upper()
        if self._device != "CPU":  # it is always there, and looking for the others takes time
            self._check_device()
        self._config = self._configured(settings)
        bf16 = settings.precision == "bf16" or (settings.precision == "auto" and "BF16" in self._capabilities())
        # Where bfloat16 is computed in tiles, models get channels that fill them.
        self._tiles = self._device == "CPU" and bf16 and _has_amx()
        self.room = CPU_ROOM * 2 if bf16 else CPU_ROOM  # counted in float32

    def _check_device(self) -> None:
        available = self._core.available_devices
        if self._device.partition(".")[0] not in {found.partition(".")[0] for found in available}:
            raise NnpfError(f"OpenVINO has no device {self._device} here: it has {', '.join(available)}")

    def _capabilities(self) -> Any:
        return self._core.get_property(self._device, "OPTIMIZATION_CAPABILITIES")

    def _configured(self, settings: Settings) -> dict[str, Any]:
        config: dict[str, Any] = {}
        if settings.precision == "auto":
            config[hints.execution_mode()] = hints.ExecutionMode.PERFORMANCE
        else:
            # Newer CPUs would compute in bfloat16 by default: results must not depend on the machine unasked.
            config[hints.inference_precision()] = _PRECISIONS[settings.precision]
            if settings.precision == "f32":
                config[hints.execution_mode()] = hints.ExecutionMode.ACCURACY
        if settings.precision == "bf16" and "BF16" not in self._capabilities():
            raise NnpfError(f"{self.device} does not compute in bfloat16; take --precision f32 or auto")
        if self._device != "CPU":
            config[hints.performance_mode()] = hints.PerformanceMode.LATENCY
            return config
        streams = min(settings.lanes, settings.cores)
        mode = hints.PerformanceMode.THROUGHPUT if streams > 1 else hints.PerformanceMode.LATENCY
        config[hints.performance_mode()] = mode
        config[properties.num_streams()] = streams
        # One thread for a network: how a sum is split among threads changes its rounding.
        if settings.deterministic:
            config[properties.inference_num_threads()] = streams
        elif settings.threads:
            config[properties.inference_num_threads()] = settings.threads
        return config

    @property
    def device(self) -> str:
        full = str(self._core.get_property(self._device, "FULL_DEVICE_NAME")).strip()
        return f"{self._device} ({full})"

    def compile(self, model: Model) -> OpenVinoNetwork:
        if (wrong := _misread(model)) is not None:
            raise NnpfError(f"OpenVINO reads {wrong}", subject=model.name)
        try:
            graph = self._core.read_model(_readable(widened(model) if self._tiles else model).to_bytes())
        except _FAILURES as error:
            raise NnpfError(f"OpenVINO cannot read it: {_reason(error)}", subject=model.name) from None
        return OpenVinoNetwork(model, _Compiler(self._core, self._device, self._config, model, graph))


class _Compiler:
    """One graph, compiled for each shape that it meets; for all networks of a model."""

    def __init__(self, core: ov.Core, device: str, config: dict[str, Any], model: Model, graph: ov.Model) -> None:
        self._core, self._device, self._config = core, device, config
        self._name, self._graph = model.name, graph
        self._compiled: OrderedDict[tuple[Shape, ...], ov.CompiledModel] = OrderedDict()
        self._lock = threading.Lock()
        self.precision = ""

    def compiled(self, shapes: tuple[Shape, ...]) -> ov.CompiledModel:
        with self._lock:
            found = self._compiled.get(shapes)
            if found is not None:
                self._compiled.move_to_end(shapes)
                return found
            try:
                self._graph.reshape({index: ov.PartialShape(list(shape)) for index, shape in enumerate(shapes)})
                found = self._core.compile_model(self._graph, self._device, self._config)
            except _FAILURES as error:
                listed = ", ".join(str(list(shape)) for shape in shapes)
                raise NnpfError(f"OpenVINO cannot run it on {listed}: {_reason(error)}", subject=self._name) from None
            self.precision = str(found.get_property(hints.inference_precision()).get_type_name())
            self._compiled[shapes] = found
            if len(self._compiled) > MAX_COMPILED_SHAPES:
                self._compiled.popitem(last=False)
            return found


class OpenVinoNetwork:
    exact = False  # layers between quantised tensors may be rounded as the device likes

    def __init__(self, model: Model, compiler: _Compiler) -> None:
        self._model, self._compiler = model, compiler
        self._requests: OrderedDict[tuple[Shape, ...], ov.InferRequest] = OrderedDict()

    @property
    def precision(self) -> str:
        return self._compiler.precision

    def another(self) -> OpenVinoNetwork:
        return OpenVinoNetwork(self._model, self._compiler)

    def run(self, inputs: Mapping[str, Array]) -> Array:
        arrays = checked_inputs(self._model, inputs)
        request = self._request(tuple(array.shape for array in arrays.values()))
        try:
            for index, array in enumerate(arrays.values()):
                request.set_input_tensor(index, ov.Tensor(array, shared_memory=True))
            request.infer()
        except _FAILURES as error:
            raise NnpfError(f"OpenVINO failed: {_reason(error)}", subject=self._model.name) from None
        result: Array = request.get_output_tensor(0).data
        return result

    def _request(self, shapes: tuple[Shape, ...]) -> ov.InferRequest:
        request = self._requests.get(shapes)
        if request is None:
            request = self._requests[shapes] = self._compiler.compiled(shapes).create_infer_request()
            if len(self._requests) > MAX_COMPILED_SHAPES:
                self._requests.popitem(last=False)
        self._requests.move_to_end(shapes)
        return request


def _misread(model: Model) -> str | None:
    """What OpenVINO (2026.4) gives wrong results for without a word; another engine is to take such models."""
    for node in model.proto.graph.node:
        flags = {attribute.name for attribute in node.attribute if attribute.i == 1}
        if node.op_type in _AXES_IGNORED and model.opset in _IGNORING:
            return f"{node.op_type} of operator set {model.opset} wrongly: export with opset {_IGNORING.stop} or later"
        if node.op_type == "Resize":
            # Its default, "stretch", does not keep the aspect ratio.
            flags.update(a.name for a in node.attribute if a.name == _KEPT_RATIO and a.s not in (b"", b"stretch"))
            if ignored := sorted(flags & {"antialias", "exclude_outside", _KEPT_RATIO}):
                return f"Resize without its {ignored[0]}"
        if node.op_type == "AveragePool" and {"ceil_mode", "count_include_pad"} <= flags:
            # It divides by all of a window that reaches beyond the pads.
            return "AveragePool with ceil_mode and count_include_pad wrongly"
    return None


def _readable(model: Model) -> Model:
    """The model without what OpenVINO reads wrongly: with other operators that say the same.

    `Clip` that lacks a bound: OpenVINO asks for the largest number of the input's type. Behind an operator that it
    cannot convert no type is known, and it ends the process before it could say which operator that is.

    `Abs` of what does not depend on samples, such as coordinates and distances made from sizes: OpenVINO
    (2026.4) computes it when it compiles the model, and leaves negative numbers as they are.

    `Softmax` before operator set 13, which takes all axes from its own on as one: OpenVINO takes one axis.
    """
    fixed = _fixed(model.proto.graph)
    nodes: list[onnx.NodeProto] = []
    for node in model.proto.graph.node:
        if _is_fixed_abs(node, fixed):
            nodes += _larger_of_both_signs(node)
        elif node.op_type == "Clip" and model.opset >= 11:  # before, bounds were attributes, with a default
            nodes.append(_without_missing_bounds(node))
        elif node.op_type == "Softmax" and model.opset < 13:
            nodes += _over_the_last_axis(node)
        else:
            nodes.append(node)
    if nodes == list(model.proto.graph.node):
        return model
    proto = onnx.ModelProto()
    proto.CopyFrom(model.proto)
    del proto.graph.node[:]
    proto.graph.node.extend(nodes)
    return Model(proto, model.name)


def _larger_of_both_signs(node: onnx.NodeProto) -> list[onnx.NodeProto]:
    (x,), (y,) = node.input, node.output
    negative = f"{y} negative"
    return [
        onnx.helper.make_node("Neg", [x], [negative]),
        onnx.helper.make_node("Max", [x, negative], [y], node.name),
    ]


def _without_missing_bounds(node: onnx.NodeProto) -> onnx.NodeProto:
    x, low, high = (*node.input, "", "")[:3]
    if low and high:
        return node
    operator = "Max" if low else "Min" if high else "Identity"
    return onnx.helper.make_node(operator, [x, *filter(None, (low, high))], list(node.output), node.name)


def _over_the_last_axis(node: onnx.NodeProto) -> list[onnx.NodeProto]:
    axis = next((attribute.i for attribute in node.attribute if attribute.name == "axis"), 1)
    if axis == -1:
        return [node]
    (x,), (y,) = node.input, node.output
    shape, flat, made = (f"{y} {part}" for part in ("shape", "flat", "made"))
    return [
        onnx.helper.make_node("Shape", [x], [shape]),
        onnx.helper.make_node("Flatten", [x], [flat], axis=axis),
        onnx.helper.make_node("Softmax", [flat], [made], node.name, axis=-1),
        onnx.helper.make_node("Reshape", [made, shape], [y]),
    ]


def _fixed(graph: onnx.GraphProto) -> set[str]:
    """The tensors whose values follow from the shapes of the inputs, whatever the samples."""
    fixed = {tensor.name for tensor in graph.initializer} - {value.name for value in graph.input} | {""}
    for node in graph.node:
        if node.op_type in ("Shape", "Size") or fixed.issuperset(node.input):
            fixed.update(node.output)
    return fixed


def _is_fixed_abs(node: onnx.NodeProto, fixed: set[str]) -> bool:
    return node.op_type == "Abs" and node.input[0] in fixed


def _has_amx() -> bool:
    """Whether the processor multiplies tiles of bfloat16. Where the system does not say so, models stay as they are."""
    try:
        return " amx_bf16 " in Path("/proc/cpuinfo").read_text()
    except OSError:
        return False


def _reason(error: RuntimeError | UnicodeDecodeError) -> str:
    """The last line that says something: OpenVINO puts its source files in front."""
    text = error.object.decode("utf-8", "replace") if isinstance(error, UnicodeDecodeError) else str(error)
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else "no reason given"
