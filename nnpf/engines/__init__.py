"""Engines run a graph. Only the one that is chosen is imported: importing torch takes seconds."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np

from nnpf.arrays import Array, Arrays
from nnpf.cores import available_cores
from nnpf.errors import NnpfError
from nnpf.model import Model

ENGINES = ("openvino", "torch", "onnxruntime")
# What float networks compute in. "auto": what the device does best, which may be bfloat16, with 8 bits of mantissa.
Precision = Literal["f32", "bf16", "auto"]
PRECISIONS: tuple[Precision, ...] = ("f32", "bf16", "auto")
# Networks that run at the same time on a CPU, for pictures that follow one another. Each has its share of the cores:
# fewer wait for one another, and those of the decoder disturb one network only. More take memory and gain little.
MAX_LANES = 4
# Operators of integer networks: their results must be the same bit by bit on every machine, and the torch engine says
# how it guarantees that. The others are free to round as they like between quantised layers.
INTEGER_OPERATORS = frozenset(
    {"QuantizeLinear", "DequantizeLinear", "QLinearConv", "ConvInteger", "MatMulInteger", "QLinearMatMul"}
)


class OutOfMemory(NnpfError):
    """A batch is too large for the device; a smaller one may do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """How an engine is to compute.

    Attributes:
        threads: of the CPU; 0 = all cores.
        lanes: networks that are to run at the same time, see `Network.another`.
        callers: threads that are to call `Network.run`, see there.
        precision: of float networks.
        deterministic: the same bits in every run on the same machine, for every number of threads.
    """

    threads: int = 0
    lanes: int = 1
    precision: Precision = "f32"
    deterministic: bool = False

    @property
    def cores(self) -> int:
        return self.threads or available_cores()

    @property
    def callers(self) -> int:
        return self.lanes + 1  # more of them gain next to nothing, and each takes tensors of a picture


class Network(Protocol):
    """A model, ready to run on an engine, in one thread at a time."""

    @property
    def exact(self) -> bool:
        """Whether results are the same bit by bit on every device, for every batch and number of threads."""

    @property
    def precision(self) -> str:
        """What it computes in: "f32", "bf16", "f16", or "integer" where it is exact. Known when it has run once."""

    def another(self) -> Network:
        """One with the same parameters that may run at the same time, in another thread."""

    def run(self, inputs: Mapping[str, Array]) -> Array:
        """The first output for these inputs, by input name. C-contiguous arrays of the inputs' types: of numpy, or the
        tensor input of the engine's `arrays`, and then the result is one, too.

        No more than `Settings.lanes` networks run on a CPU at a time; a call beyond waits until one ends. Where one
        waits, no core does for the tensors of the next picture.

        The result may lie in the engine's own memory: it is valid until the next call of `run`.

        Raises:
            OutOfMemory: the device has too little memory for this batch.
            NnpfError: the inputs do not suit the model, or the engine fails.
        """


class Engine(Protocol):
    """What runs models: a library on a device."""

    @property
    def name(self) -> str:
        """As in ENGINES."""

    @property
    def device(self) -> str:
        """What it runs on, for the report."""

    @property
    def arrays(self) -> Arrays:
        """What tensors are to be of: its networks take them, and give them."""

    @property
    def max_batch(self) -> int:
        """Patches in one run beyond which nothing is gained."""

    @property
    def room(self) -> int:
        """Bytes for the tensors inside one network with more than one patch, as the graph's shapes give them."""

    def compile(self, model: Model) -> Network:
        """Prepare a model. The shapes of its inputs are those of the arrays that `run` is given later; shapes that the
        model declares do not bind.

        Raises:
            NnpfError: the engine does not cover the model; says which operator.
        """


# Patches in one run on a CPU. More gain nothing: one fills the caches of a core.
CPU_MAX_BATCH = 4
# Bytes of the tensors inside one network up to which a CPU gains by more patches in one run: what stays in its caches.
# Measured on a Xeon with 2 MiB for each core and a large cache for all of them, in float32.
CPU_ROOM = 8 << 20


def installed(name: str) -> bool:
    """Whether an engine's library is there; it is not imported."""
    return importlib.util.find_spec(name) is not None


def default_engine(device: str = "auto", model: Model | None = None) -> str:
    """The engine for a device and a model: torch on a GPU and for integers, else OpenVINO."""
    integer = model is not None and bool(model.operators & INTEGER_OPERATORS)
    return "torch" if integer or device.partition(":")[0] in ("cuda", "mps") else "openvino"


def select_engine(
    name: str = "auto", device: str = "auto", *, model: Model | None = None, settings: Settings | None = None
) -> Engine:
    """The engine to use.

    Args:
        name: one of ENGINES, or "auto": torch where the device is a GPU or the model computes with integers, else
            OpenVINO.
        device: "cpu", "cuda", "cuda:1", "mps", for OpenVINO also its own names ("GPU", "NPU"); "auto" is the CPU for
            every engine but torch, which takes CUDA or MPS where there is one.
        model: the model that decides under "auto", if known.
        settings: default: float32, all cores, one network at a time.

    Raises:
        NnpfError: no such engine, it is not installed, or it cannot do what is asked for.
    """
    settings = settings or Settings()
    if name == "auto":
        name = default_engine(device, model)
    if name not in ENGINES:
        raise NnpfError(f"no engine {name!r}: there are {', '.join(ENGINES)}")
    if not installed(name):
        extra = {"torch": "torch", "onnxruntime": "ort"}.get(name)
        how = f"pip install 'nnpf[{extra}]'" if extra else f"pip install {name}"
        raise NnpfError(f"engine {name} is not installed: {how}")
    if name == "openvino":
        from nnpf.engines.openvino_engine import OpenVinoEngine

        return OpenVinoEngine(device, settings)
    if name == "torch":
        from nnpf.engines.torch_engine import TorchEngine

        return TorchEngine(device, settings)
    from nnpf.engines.ort_engine import OrtEngine

    return OrtEngine(device, settings)


def checked_inputs(model: Model, inputs: Mapping[str, Array]) -> dict[str, Array]:
    """The inputs in the model's order, contiguous, of the right types. NnpfError when one is missing or unknown."""
    result: dict[str, Array] = {}
    for spec in model.inputs:
        if spec.name not in inputs:
            raise NnpfError(f"input {spec.name!r} is missing", subject=model.name)
        array = inputs[spec.name]
        own = not isinstance(array, np.ndarray)  # of the engine's library, made for this input
        if array.ndim != spec.rank or (array.dtype != spec.dtype and not own):
            raise NnpfError(f"input {spec} is given {array.dtype}{list(array.shape)}", subject=model.name)
        result[spec.name] = array if own else np.ascontiguousarray(array)
    if unknown := set(inputs) - set(result):
        raise NnpfError(f"has no input {sorted(unknown)[0]!r}", subject=model.name)
    return result
