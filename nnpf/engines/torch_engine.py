"""torch: the engine on CUDA and MPS, and for networks that compute with integers."""

from __future__ import annotations

import warnings
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor

from nnpf.engines import INTEGER_OPERATORS, Array, checked_inputs
from nnpf.engines.onnx_torch import TorchGraph
from nnpf.errors import NnpfError
from nnpf.model import Model, Shape

# Traced graphs hold for one shape each; see openvino_engine.MAX_COMPILED_SHAPES.
MAX_TRACED_SHAPES = 4


class TorchEngine:
    name = "torch"

    def __init__(self, device: str = "auto", threads: int = 0) -> None:
        if device == "auto":
            device = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
        kind = device.partition(":")[0]
        if (
            kind not in ("cpu", "cuda", "mps")
            or (kind == "cuda" and not torch.cuda.is_available())
            or (kind == "mps" and not torch.backends.mps.is_available())
        ):
            raise NnpfError(f"torch has no device {device!r} here")
        self._device = torch.device(device)
        if threads:
            torch.set_num_threads(threads)  # of the whole process; torch knows no narrower setting

    @property
    def device(self) -> str:
        if self._device.type == "cuda":
            return f"{self._device} ({torch.cuda.get_device_name(self._device)})"
        return str(self._device).upper()

    def compile(self, model: Model) -> TorchNetwork:
        return TorchNetwork(model, self._device)


class TorchNetwork:
    """A graph on a device.

    On the CPU, float graphs are traced per shape, frozen and optimised (2 to 20 times faster).
    """

    def __init__(self, model: Model, device: torch.device) -> None:
        self._model, self._device = model, device
        self._graph = TorchGraph(model).eval().to(device)
        integer = bool(model.operators & INTEGER_OPERATORS)
        self.exact = integer and self._graph.exact
        self._traced = device.type == "cpu" and not integer
        self._functions: OrderedDict[tuple[Shape, ...], Callable[..., Tensor]] = OrderedDict()

    def run(self, inputs: Mapping[str, Array]) -> Array:
        arrays = checked_inputs(self._model, inputs)
        with torch.no_grad(), _exact_float32():
            tensors = [self._to_device(array) for array in arrays.values()]
            function = self._function(tuple(array.shape for array in arrays.values()), tensors)
            try:
                output = function(*tensors)
            except torch.OutOfMemoryError:
                raise  # the caller makes the batch smaller
            except RuntimeError as error:
                raise NnpfError(f"torch failed: {_reason(error)}", subject=self._model.name) from None
            result: Array = output.cpu().contiguous().numpy()
        return result

    def _to_device(self, array: Array) -> Tensor:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that the array is read-only: nothing writes into it
            tensor = torch.from_numpy(np.asarray(array)).to(self._device)
        # Convolutions on the CPU and on tensor cores want channels last.
        return tensor.contiguous(memory_format=torch.channels_last) if tensor.ndim == 4 else tensor

    def _function(self, shapes: tuple[Shape, ...], tensors: list[Tensor]) -> Callable[..., Tensor]:
        if not self._traced:
            return self._graph
        function = self._functions.get(shapes)
        if function is not None:
            self._functions.move_to_end(shapes)
            return function
        with warnings.catch_warnings():
            # That sizes become constants: they are, for this shape. That torch.jit is deprecated: it is still the
            # fastest form on CPUs that needs no compiler on the user's machine.
            warnings.simplefilter("ignore")
            try:
                traced = torch.jit.trace(self._graph, tuple(tensors), check_trace=False)  # type: ignore[no-untyped-call]
                function = torch.jit.optimize_for_inference(torch.jit.freeze(traced))
            except RuntimeError as error:
                raise NnpfError(f"torch cannot trace it: {_reason(error)}", subject=self._model.name) from None
        self._functions[shapes] = function
        if len(self._functions) > MAX_TRACED_SHAPES:
            self._functions.popitem(last=False)
        return function


@contextmanager
def _exact_float32() -> Iterator[None]:
    """No TF32 (10-bit mantissa) and no choice of algorithms by timing: the same result each time."""
    before = torch.backends.cuda.matmul.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = False
    try:
        with torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True, allow_tf32=False):
            yield
    finally:
        torch.backends.cuda.matmul.allow_tf32 = before


def _reason(error: RuntimeError) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__
