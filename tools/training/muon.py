"""An optimiser for convolutions: momentum whose direction is made orthogonal (Muon, Jordan et al. 2024).

The gradient of a weight, as a matrix of output channels by everything else, is led by a few directions; here the step
has the same size in all directions, and a small network learns faster (small.yaml has figures). Biases and everything
else that is no matrix go by Adam.
"""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

# Coefficients of the quintic iteration: slope at zero as large as may be, singular values end up within 0.7..1.2.
QUINTIC = (3.4445, -4.7750, 2.0315)
ITERATIONS = 5
LIKE_ADAM = 0.2  # root mean square of Adam's steps, so that both parts share one rate


def orthogonal(matrix: Tensor) -> Tensor:
    """About the nearest matrix (R, C) whose singular values are all 1."""
    a, b, c = QUINTIC
    wide = matrix.shape[0] <= matrix.shape[1]
    x = matrix if wide else matrix.T
    x = x / (x.norm() + 1e-12)
    for _ in range(ITERATIONS):
        square = x @ x.T
        x = a * x + (b * square + c * square @ square) @ x
    return x if wide else x.T


class Muon(torch.optim.Optimizer):
    """Muon for parameters of two dimensions and more, Adam for others."""

    def __init__(self, parameters: Iterable[nn.Parameter], lr: float, momentum: float = 0.95) -> None:
        super().__init__(parameters, {"lr": lr, "momentum": momentum, "betas": (0.9, 0.99), "eps": 1e-12})

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            for parameter in group["params"]:
                state = self.state[parameter]
                if parameter.ndim < 2:
                    self._adam(parameter, state, group)
                    continue
                if not state:
                    state["momentum"] = torch.zeros_like(parameter)
                state["momentum"].lerp_(parameter.grad, 1 - group["momentum"])
                ahead = parameter.grad.lerp(state["momentum"], group["momentum"])
                step = orthogonal(ahead.flatten(1))
                scale = LIKE_ADAM * max(step.shape) ** 0.5
                parameter.add_(step.view(parameter.shape), alpha=-group["lr"] * scale)

    def _adam(self, parameter: nn.Parameter, state: dict[str, Any], group: dict[str, Any]) -> None:
        if not state:
            state |= {"step": 0, "mean": torch.zeros_like(parameter), "square": torch.zeros_like(parameter)}
        one, two = group["betas"]
        state["step"] += 1
        state["mean"].lerp_(parameter.grad, 1 - one)
        state["square"].lerp_(parameter.grad.square(), 1 - two)
        size = (state["square"] / (1 - two ** state["step"])).sqrt_().add_(group["eps"])
        parameter.addcdiv_(state["mean"] / (1 - one ** state["step"]), size, value=-group["lr"])
