"""torch: the engine on CUDA and MPS, and for networks that compute with integers."""

from __future__ import annotations

import os
import threading
import warnings
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext

import numpy as np
import torch
from torch import Tensor

from nnpf.arrays import NUMPY, Array, Arrays
from nnpf.engines import CPU_MAX_BATCH, CPU_ROOM, INTEGER_OPERATORS, Settings, arithmetic, checked_inputs
from nnpf.engines.onnx_torch import TorchGraph
from nnpf.engines.torch_arrays import TorchArrays, as_nnpf_error
from nnpf.errors import NnpfError
from nnpf.model import Model, Shape

# Traced graphs hold for one shape each; see openvino_engine.MAX_COMPILED_SHAPES.
MAX_TRACED_SHAPES = 4
# Patches in one run on a GPU: enough small ones to fill it.
GPU_MAX_BATCH = 64
# The part of a GPU's free memory that tensors inside networks may take: libraries want scratch space beside them.
_GPU_SHARE = 0.5
# MPS does not say what is free.
_MPS_ROOM = 2 << 30


class TorchEngine:
    name = "torch"

    def __init__(self, device: str = "auto", settings: Settings | None = None) -> None:
        self._settings = settings = settings or Settings()
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
        if kind == "cpu" and (settings.threads or settings.lanes > 1 or settings.deterministic):
            # Of the whole process; torch knows no narrower setting.
            torch.set_num_threads(1 if settings.deterministic else max(1, settings.cores // settings.lanes))
        if kind == "cuda" and settings.deterministic:
            os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # without it matrix products are refused
        self._turns = threading.Semaphore(settings.lanes) if kind == "cpu" else nullcontext()
        self._precision = self._chosen_precision()
        # On a device of its own the pictures go there, and not the tensors.
        self.arrays: Arrays = NUMPY if kind == "cpu" else TorchArrays(self._device)

    def _chosen_precision(self) -> str:
        wanted, kind = self._settings.precision, self._device.type
        if wanted == "auto":
            return "bf16" if kind == "cuda" and torch.cuda.is_bf16_supported() else "f32"
        if wanted == "bf16" and kind == "cuda" and not torch.cuda.is_bf16_supported():
            raise NnpfError(f"{self.device} does not compute in bfloat16; take --precision f32 or auto")
        return wanted

    @property
    def device(self) -> str:
        if self._device.type == "cuda":
            return f"{self._device} ({torch.cuda.get_device_name(self._device)})"
        return str(self._device).upper()

    @property
    def max_batch(self) -> int:
        return CPU_MAX_BATCH if self._device.type == "cpu" else GPU_MAX_BATCH

    @property
    def room(self) -> int:
        # How much is free changes from run to run, and with it the batch.
        if self._device.type == "cuda" and not self._settings.deterministic:
            free, _ = torch.cuda.mem_get_info(self._device)
            return int(free * _GPU_SHARE) // self._settings.callers
        return _MPS_ROOM if self._device.type == "mps" else CPU_ROOM

    def compile(self, model: Model) -> TorchNetwork:
        graph = _Graph(model, self._device, self._precision, self._settings.deterministic)
        return TorchNetwork(model, graph, self._turns)


class _Graph:
    """A graph on a device, for all networks of a model.

    On the CPU, float graphs are traced per shape, frozen and optimised (2 to 20 times faster).
    """

    def __init__(self, model: Model, device: torch.device, precision: str, deterministic: bool) -> None:
        self.device, self.deterministic = device, deterministic
        self._name = model.name
        self._graph = TorchGraph(model).eval().to(device)
        with arithmetic.float32.held():
            self._graph.freeze()
        integer = bool(model.operators & INTEGER_OPERATORS)
        self.exact = integer and self._graph.exact
        self.bf16 = precision == "bf16" and not integer
        self.precision = "integer" if self.exact else "bf16" if self.bf16 else "f32"
        self._traced = device.type == "cpu" and not integer
        self._functions: OrderedDict[tuple[Shape, ...], Callable[..., Tensor]] = OrderedDict()
        self._lock = threading.Lock()

    def function(self, tensors: list[Tensor]) -> Callable[..., Tensor]:
        """The graph for tensors of these shapes; to be called where this was: with the same precision."""
        if not self._traced:
            return self._graph
        shapes = tuple(tuple(tensor.shape) for tensor in tensors)
        with self._lock:
            function = self._functions.get(shapes)
            if function is None:
                function = self._functions[shapes] = self._trace(tensors)
                if len(self._functions) > MAX_TRACED_SHAPES:
                    self._functions.popitem(last=False)
            self._functions.move_to_end(shapes)
        return function

    def _trace(self, tensors: list[Tensor]) -> Callable[..., Tensor]:
        with warnings.catch_warnings():
            # That sizes become constants: they are, for this shape. That torch.jit is deprecated: it is still the
            # fastest form on CPUs that needs no compiler on the user's machine.
            warnings.simplefilter("ignore")
            try:
                traced = torch.jit.trace(self._graph, tuple(tensors), check_trace=False)  # type: ignore[no-untyped-call]
                function: Callable[..., Tensor] = torch.jit.optimize_for_inference(torch.jit.freeze(traced))
            except RuntimeError as error:
                raise as_nnpf_error(error, self._name) from None
        return function


class TorchNetwork:
    def __init__(self, model: Model, graph: _Graph, turns: AbstractContextManager[object]) -> None:
        self._model, self._graph, self._turns = model, graph, turns

    @property
    def exact(self) -> bool:
        return self._graph.exact

    @property
    def precision(self) -> str:
        return self._graph.precision

    def another(self) -> TorchNetwork:
        return TorchNetwork(self._model, self._graph, self._turns)

    def run(self, inputs: Mapping[str, Array]) -> Array:
        arrays = checked_inputs(self._model, inputs)
        on_device = any(isinstance(array, Tensor) for array in arrays.values())
        try:
            with self._turns, torch.no_grad(), _arithmetic(self._graph):
                tensors = [self._to_device(array) for array in arrays.values()]
                output = self._graph.function(tensors)(*tensors)
                if output.dtype == torch.bfloat16:  # numpy has no such type
                    output = output.float()
                return output if on_device else output.cpu().contiguous().numpy()
        except RuntimeError as error:
            raise as_nnpf_error(error, self._model.name) from None

    def _to_device(self, array: Array) -> Tensor:
        if isinstance(array, Tensor):
            tensor = array
        else:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # that the array is read-only: nothing writes into it
                tensor = torch.from_numpy(np.asarray(array)).to(self._graph.device)
        # Convolutions on the CPU and on tensor cores want channels last.
        return tensor.contiguous(memory_format=torch.channels_last) if tensor.ndim == 4 else tensor


@contextmanager
def _arithmetic(graph: _Graph) -> Iterator[None]:
    """What the graph is to be computed in: the same result each time."""
    with ExitStack() as stack:
        stack.enter_context(arithmetic.float32.held())
        if graph.deterministic:
            stack.enter_context(arithmetic.deterministic.held())
        if graph.bf16:
            stack.enter_context(torch.autocast(graph.device.type, dtype=torch.bfloat16, cache_enabled=False))
        yield
