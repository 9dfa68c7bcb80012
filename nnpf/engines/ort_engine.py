"""onnxruntime: an extra, and the referee in tests."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any

import onnx
import onnxruntime as ort  # type: ignore[import-untyped]

from nnpf.arrays import NUMPY, Array
from nnpf.engines import CPU_MAX_BATCH, CPU_ROOM, Settings, checked_inputs
from nnpf.errors import NnpfError
from nnpf.model import Model


class OrtEngine:
    name = "onnxruntime"
    max_batch = CPU_MAX_BATCH
    room = CPU_ROOM
    arrays = NUMPY

    def __init__(self, device: str = "auto", settings: Settings | None = None) -> None:
        settings = settings or Settings()
        if settings.precision == "bf16":
            raise NnpfError("onnxruntime computes in float32; take --precision f32, or another engine")
        kind, _, index = device.partition(":")
        self._providers: list[Any] = ["CPUExecutionProvider"]
        if kind == "cuda":
            # TF32 would round inputs to 10 bits.
            options = {"device_id": index or "0", "use_tf32": "0"}
            if "CUDAExecutionProvider" not in ort.get_available_providers():
                raise NnpfError("this onnxruntime has no CUDA")
            self._providers = [("CUDAExecutionProvider", options)]
        elif kind not in ("auto", "cpu"):
            raise NnpfError(f"onnxruntime has no device {device!r} here: it has cpu, cuda")
        self.device = "CPU" if kind != "cuda" else f"CUDA {index or '0'}"
        # Networks that run at the same time share the cores.
        self._threads = 1 if settings.deterministic else max(1, settings.cores // settings.lanes)
        self._turns = threading.Semaphore(settings.lanes)
        self._deterministic = settings.deterministic

    def compile(self, model: Model) -> OrtNetwork:
        options = ort.SessionOptions()
        options.intra_op_num_threads = self._threads
        options.use_deterministic_compute = self._deterministic
        options.log_severity_level = 4
        try:
            session = ort.InferenceSession(_any_shape(model).SerializeToString(), options, providers=self._providers)
        except Exception as error:  # its exceptions share no base class
            raise NnpfError(f"onnxruntime cannot read it: {_reason(error)}", subject=model.name) from None
        return OrtNetwork(model, session, self._turns)


class OrtNetwork:
    exact = False  # layers between quantised tensors may be rounded as the device likes
    precision = "f32"

    def __init__(self, model: Model, session: ort.InferenceSession, turns: threading.Semaphore) -> None:
        self._model, self._session, self._turns = model, session, turns

    def another(self) -> OrtNetwork:
        return OrtNetwork(self._model, self._session, self._turns)  # sessions may run in several threads

    def run(self, inputs: Mapping[str, Array]) -> Array:
        arrays = checked_inputs(self._model, inputs)
        try:
            with self._turns:
                result: Array = self._session.run([self._model.output_names[0]], arrays)[0]
        except Exception as error:
            raise NnpfError(f"onnxruntime failed: {_reason(error)}", subject=self._model.name) from None
        return result


def _any_shape(model: Model) -> onnx.ModelProto:
    """The graph with the shapes that it declares opened: a static batch of 1 becomes any batch."""
    proto = onnx.ModelProto()
    proto.CopyFrom(model.proto)
    del proto.graph.value_info[:]
    for value in (*proto.graph.input, *proto.graph.output):
        for at, dimension in enumerate(value.type.tensor_type.shape.dim):
            dimension.Clear()
            dimension.dim_param = f"{value.name}_{at}"
    return proto


def _reason(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
