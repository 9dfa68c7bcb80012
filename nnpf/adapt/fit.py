"""Gradient descent on the free parameters, with torch: distortion plus rate, quantisation in the loop.

What is learned are differences to the base. Each is counted in units in which it matters about as much as any other:
one over the root of its curvature, the diagonal of the Gauss-Newton matrix of the loss.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from nnpf.adapt.folding import folded
from nnpf.adapt.measure import TrainingPicture
from nnpf.adapt.scope import Scope
from nnpf.engines.onnx_torch import TorchGraph
from nnpf.errors import NnpfError
from nnpf.model import Model

Floats = npt.NDArray[np.float32]

# Side of the squares that are cut out of pictures, in tensor samples, without overlap; and how many make a batch. At
# the same number of samples, many small batches found more than few large ones.
CROP: Final = 64
BATCH: Final = 2
# Batches that the curvature is estimated from.
CURVATURE_BATCHES: Final = 16
# An element that hardly matters is still not moved more than this much further than the mean one.
_LARGEST_SCALE: Final = 5.0
# Adam (Kingma and Ba, 2015), with one second moment for each tensor: with one for each element all of them would move
# alike, and an update in which everything changes a little costs many times more than one in which little changes much.
_BETA1, _BETA2, _EPSILON = 0.9, 0.999, 1e-8
# Loss per dB.
DB: Final = 10 / math.log(10)


@dataclass(frozen=True, slots=True, eq=False)
class FitData:
    """What is fitted to.

    Attributes:
        pictures: their tensors.
        weights: for each picture and output channel, see `nnpf.adapt.measure.channel_weights`.
    """

    pictures: Sequence[TrainingPicture]
    weights: Sequence[Floats]


@dataclass(slots=True, eq=False)
class State:
    """How far a fit has come: all that goes on from here. Plain arrays by parameter name."""

    step: int
    values: dict[str, Floats]
    first: dict[str, Floats]
    second: dict[str, Floats]


class Fit:
    """The fit of one scope of a base filter to some pictures."""

    def __init__(self, model: Model, scope: Scope, data: FitData, *, device: str, seed: int, threads: int = 1) -> None:
        self._model, self._scope, self._data, self._seed = model, scope, data, seed
        self._device = _device(device)
        self._threads = threads
        self._graph = TorchGraph(folded(model)).to(self._device)
        self._graph.requires_grad_(False)
        self._own = {name: self._graph.parameter_names[name] for name in scope.masks}
        self._base = {name: getattr(self._graph, own).detach() for name, own in self._own.items()}
        self._masks = {
            name: None if mask is None else torch.from_numpy(mask).to(self._device)
            for name, mask in scope.masks.items()
        }
        declared = model.tensor_input.shape
        picture = data.pictures[0]
        self._margin = picture.input.shape[1] - picture.target.shape[1]
        self._fixed = tuple(d - self._margin if d else None for d in declared[2:])
        self._reduced = _has_bfloat16(self._device)
        with _torch_threads(threads):
            self.curvature = self._curvature()
        self._scales = {name: self._scale(name) for name in self._own}

    @property
    def label(self) -> str:
        return self._scope.label

    # --- batches ---

    def _batch(self, step: int, salt: int) -> tuple[Tensor, Tensor, Tensor]:
        """Inputs, targets and weights of channels. The same step gives the same batch, whatever came before."""
        rng = np.random.default_rng([self._seed, salt, step])
        inputs, targets, weights = [], [], []
        rows, columns = (
            fixed or min(CROP, size)
            for fixed, size in zip(self._fixed, self._data.pictures[0].target.shape[1:], strict=True)
        )
        for _ in range(BATCH):
            at = int(rng.integers(len(self._data.pictures)))
            picture = self._data.pictures[at]
            top = int(rng.integers(picture.target.shape[1] - rows + 1))
            left = int(rng.integers(picture.target.shape[2] - columns + 1))
            inputs.append(picture.input[:, top : top + rows + self._margin, left : left + columns + self._margin])
            targets.append(picture.target[:, top : top + rows, left : left + columns])
            weights.append(self._data.weights[at])
        x = torch.from_numpy(np.stack(inputs)).to(self._device)
        return (
            x.contiguous(memory_format=torch.channels_last),
            torch.from_numpy(np.stack(targets)).to(self._device),
            torch.from_numpy(np.stack(weights)).to(self._device)[:, :, None, None],
        )

    def _run(self, deltas: Mapping[str, Tensor], x: Tensor, *, reduced: bool) -> Tensor:
        changed = {self._own[name]: self._base[name] + delta for name, delta in deltas.items()}
        with torch.autocast(self._device.type, torch.bfloat16, enabled=reduced):
            output: Tensor = torch.func.functional_call(self._graph, changed, (x,))
        return output.float()

    # --- curvature ---

    def _curvature(self) -> dict[str, Floats]:
        """For each element h, so that a small change e of it, from the optimum, adds h * e * e to the loss.

        Hutchinson's estimator: with random signs v of the outputs, the squared gradient of <v, output> has the diagonal
        of J^T J as its mean.
        """
        sums = {name: torch.zeros_like(base) for name, base in self._base.items()}
        deltas = {name: torch.zeros_like(base).requires_grad_() for name, base in self._base.items()}
        for number in range(CURVATURE_BATCHES):
            x, target, weights = self._batch(number, 1)
            generator = torch.Generator().manual_seed(
                int(np.random.default_rng([self._seed, 2, number]).integers(2**62))
            )
            signs = (torch.randint(0, 2, target.shape, generator=generator) * 2 - 1).to(self._device)
            count = target.shape[0] * target.shape[2] * target.shape[3]
            output = self._run(deltas, x, reduced=self._reduced)
            if output.shape != target.shape:
                raise NnpfError(f"gives {list(output.shape)}, {list(target.shape)} is wanted", subject=self._model.name)
            gradients = torch.autograd.grad((output * signs * (weights / count).sqrt()).sum(), list(deltas.values()))
            for name, gradient in zip(deltas, gradients, strict=True):
                sums[name] += gradient * gradient / CURVATURE_BATCHES
        return {name: value.cpu().numpy() for name, value in sums.items()}

    def _scale(self, name: str) -> Tensor:
        h = torch.from_numpy(self.curvature[name]).to(self._device)
        mask = self._masks[name]
        free = h if mask is None else h[mask]
        mean = float(free.mean())
        if mean <= 0:
            return torch.zeros_like(h)
        scale = 1 / (h.clamp(min=mean / _LARGEST_SCALE**2) * free.numel()).sqrt()
        return scale if mask is None else scale * mask

    # --- descent ---

    def start(self) -> State:
        zeros = {name: np.zeros(base.shape, np.float32) for name, base in self._base.items()}
        return State(0, zeros, {k: v.copy() for k, v in zeros.items()}, {k: np.zeros((), np.float32) for k in zeros})

    def deltas(self, state: State) -> dict[str, Floats]:
        """The differences to the base."""
        return {name: value * self._scales[name].cpu().numpy() for name, value in state.values.items()}

    def run(
        self,
        state: State,
        until: int,
        total: int,
        *,
        rate: float,
        learning_rate: float,
        steps: Mapping[str, float],
    ) -> State:
        """Go on until a step number.

        Args:
            total: the number of steps that the learning rate falls over.
            rate: dB that a byte of the update costs.
            steps: quantisation step of each tensor. In the forward pass the differences are multiples of it, from the
                first step on, with the gradient straight through: so only what is pushed one way again and again comes
                to differ from the base at all.
        """
        with _torch_threads(self._threads):
            return self._descended(state, until, total, rate, learning_rate, steps)

    def _descended(
        self, state: State, until: int, total: int, rate: float, learning_rate: float, steps: Mapping[str, float]
    ) -> State:
        values = {
            name: torch.from_numpy(v.copy()).to(self._device).requires_grad_() for name, v in state.values.items()
        }
        first = {name: torch.from_numpy(v.copy()).to(self._device) for name, v in state.first.items()}
        second = {name: torch.from_numpy(v.copy()).to(self._device) for name, v in state.second.items()}
        for step in range(state.step, until):
            deltas = {name: value * self._scales[name] for name, value in values.items()}
            used = {name: _straight_through(delta, steps[name]) for name, delta in deltas.items()}
            x, target, weights = self._batch(step, 0)
            output = self._run(used, x, reduced=self._reduced)
            error = output - target
            loss = DB * (error * error * weights).mean(dim=(0, 2, 3)).sum()
            loss = loss + rate * sum(self._bytes(name, delta, steps[name]) for name, delta in deltas.items())
            gradients = torch.autograd.grad(loss, list(values.values()))
            size = learning_rate * (0.05 + 0.95 * 0.5 * (1 + math.cos(math.pi * min(1.0, step / total))))
            with torch.no_grad():
                for (name, value), gradient in zip(values.items(), gradients, strict=True):
                    first[name].lerp_(gradient, 1 - _BETA1)
                    second[name].lerp_((gradient * gradient).mean(), 1 - _BETA2)
                    mean = first[name] / (1 - _BETA1 ** (step + 1))
                    spread = (second[name] / (1 - _BETA2 ** (step + 1))).sqrt()
                    value -= size * mean / (spread + _EPSILON)

        def arrays(tensors: Mapping[str, Tensor]) -> dict[str, Floats]:
            return {name: tensor.detach().cpu().numpy().copy() for name, tensor in tensors.items()}

        return State(max(until, state.step), arrays(values), arrays(first), arrays(second))

    def _bytes(self, name: str, delta: Tensor, step: float) -> Tensor:
        """About what a tensor costs, smooth: the entropy of a Laplacian of its mean magnitude."""
        mask = self._masks[name]
        free = delta if mask is None else delta[mask]
        return free.numel() / 8 * torch.log2(1 + math.e * free.abs().mean() / step)


@contextmanager
def _torch_threads(count: int) -> Iterator[None]:
    """torch with so many threads of the CPU. Its threads wait for each other by spinning: where other programs run too,
    two threads were fifteen times slower than one, with batches as small as these."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _straight_through(delta: Tensor, step: float) -> Tensor:
    return delta + (torch.round(delta / step) * step - delta).detach()


def _device(name: str) -> torch.device:
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        device = torch.device(name)
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError):
        raise NnpfError(f"torch has no device {name!r} here") from None
    return device


def _has_bfloat16(device: torch.device) -> bool:
    """Whether the processor multiplies bfloat16 itself; elsewhere it is slower than float32."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported())
    if device.type != "cpu":
        return False
    checks: Any = torch.cpu
    return any(getattr(checks, name, bool)() for name in ("_is_amx_tile_supported", "_is_avx512_bf16_supported"))
