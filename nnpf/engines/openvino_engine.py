"""OpenVINO: the default on CPUs. It reads ONNX as it is."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

import openvino as ov  # type: ignore[import-untyped]
import openvino.properties as properties  # type: ignore[import-untyped]
import openvino.properties.hint as hints  # type: ignore[import-untyped]

from nnpf.engines import Array, checked_inputs
from nnpf.errors import NnpfError
from nnpf.model import Model, Shape

# A network compiled for one shape is faster than one for any shape. A stream has one size, or a few (whole batches
# and the last one; reference picture resampling); each costs about the model's size in memory.
MAX_COMPILED_SHAPES = 4


class OpenVinoEngine:
    name = "openvino"

    def __init__(self, device: str = "auto", threads: int = 0) -> None:
        self._core = ov.Core()
        self._device = "CPU" if device in ("auto", "cpu") else device.upper()
        available = self._core.available_devices
        if self._device.partition(".")[0] not in {found.partition(".")[0] for found in available}:
            raise NnpfError(f"OpenVINO has no device {device!r} here: it has {', '.join(available)}")
        self._config: dict[str, Any] = {
            hints.performance_mode(): hints.PerformanceMode.LATENCY,
            # Newer CPUs would compute in bfloat16 by default: results must not depend on the machine.
            hints.inference_precision(): ov.Type.f32,
            hints.execution_mode(): hints.ExecutionMode.ACCURACY,
        }
        if threads and self._device == "CPU":
            self._config[properties.inference_num_threads()] = threads

    @property
    def device(self) -> str:
        full = str(self._core.get_property(self._device, "FULL_DEVICE_NAME")).strip()
        return f"{self._device} ({full})"

    def compile(self, model: Model) -> OpenVinoNetwork:
        try:
            graph = self._core.read_model(model.to_bytes())
        except RuntimeError as error:
            raise NnpfError(f"OpenVINO cannot read it: {_reason(error)}", subject=model.name) from None
        return OpenVinoNetwork(self._core, self._device, self._config, model, graph)


class OpenVinoNetwork:
    exact = False  # layers between quantised tensors may be rounded as the device likes

    def __init__(self, core: ov.Core, device: str, config: dict[str, Any], model: Model, graph: ov.Model) -> None:
        self._core, self._device, self._config = core, device, config
        self._model, self._graph = model, graph
        self._requests: OrderedDict[tuple[Shape, ...], ov.InferRequest] = OrderedDict()

    def run(self, inputs: Mapping[str, Array]) -> Array:
        arrays = checked_inputs(self._model, inputs)
        request = self._request(tuple(array.shape for array in arrays.values()))
        try:
            for index, array in enumerate(arrays.values()):
                request.set_input_tensor(index, ov.Tensor(array, shared_memory=True))
            request.infer()
        except RuntimeError as error:
            raise NnpfError(f"OpenVINO failed: {_reason(error)}", subject=self._model.name) from None
        result: Array = request.get_output_tensor(0).data
        return result

    def _request(self, shapes: tuple[Shape, ...]) -> ov.InferRequest:
        request = self._requests.get(shapes)
        if request is not None:
            self._requests.move_to_end(shapes)
            return request
        try:
            self._graph.reshape({index: ov.PartialShape(list(shape)) for index, shape in enumerate(shapes)})
            request = self._core.compile_model(self._graph, self._device, self._config).create_infer_request()
        except RuntimeError as error:
            listed = ", ".join(str(list(shape)) for shape in shapes)
            raise NnpfError(f"OpenVINO cannot run it on {listed}: {_reason(error)}", subject=self._model.name) from None
        self._requests[shapes] = request
        if len(self._requests) > MAX_COMPILED_SHAPES:
            self._requests.popitem(last=False)
        return request


def _reason(error: RuntimeError) -> str:
    """The last line that says something: OpenVINO puts its source files in front."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else "no reason given"
