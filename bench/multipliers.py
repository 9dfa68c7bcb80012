"""What an update of all multipliers of a filter costs: in one tensor (`nnpf prepare`), and in one for each layer.

    python bench/multipliers.py ../shared/peer/nokia/model3.onnx

Both forms hold the same differences (normal, of several standard deviations; seed 0), quantised with the same step, and
are decoded again: the root of the mean squared error of both is printed beside the bytes. The goal is a share of at
most 45 % for a standard deviation of 0.02 (exit code 3 if it is missed). Headers are what is saved: the smaller the
differences, the larger their part.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from nnpf.model import Model, load
from nnpf.nnc import Encoder, Settings, decode
from nnpf.prepare import prepare, update_tensor

GOAL, OF_SIGMA = 0.45, 0.02
SIGMAS = (0.005, 0.02, 0.05)
QP = -32

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Coded:
    """An update: its bytes, tensors, and root mean squared error."""

    size: int
    tensors: int
    error: float


def coded(differences: Mapping[str, Floats]) -> Coded:
    payload = Encoder(Settings(qp=QP)).encode_update(differences)
    received = decode(payload)
    errors = [np.ravel(received.get(name, 0) - value) for name, value in differences.items()]
    return Coded(len(payload), len(differences), float(np.sqrt(np.mean(np.concatenate(errors) ** 2))))


def both_forms(model: Model, sigma: float, seed: int = 0) -> tuple[Coded, Coded]:
    """One tensor for each layer, and one tensor."""
    separate = prepare(model, ())  # short names and unshared tensors for both, so that only the form differs
    layers = {n: v for n, v in separate.parameters.items() if v.ndim in (3, 4) and v.size > 1 and (v == 1).all()}
    together = prepare(model)
    place = update_tensor(together)
    assert place is not None
    rng = np.random.default_rng(seed)
    differences = {n: rng.normal(0, sigma, v.shape).astype(np.float32) for n, v in layers.items()}
    one = np.concatenate([value.ravel() for value in differences.values()])
    assert one.shape == together.parameters[place.name].shape
    return coded(differences), coded({place.name: one})


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help="a filter with a multiplier of ones after each convolution (.onnx)")
    args = parser.parse_args()
    model, missed = load(args.model), False
    print("| sigma | tensors | bytes | error | one tensor, bytes | error | share |")
    print("|---:|---:|---:|---:|---:|---:|---:|")
    for sigma in SIGMAS:
        many, one = both_forms(model, sigma)
        share = one.size / many.size
        missed |= sigma == OF_SIGMA and share > GOAL
        cells = (sigma, many.tensors, many.size, f"{many.error:.2e}", one.size, f"{one.error:.2e}", f"{share:.1%}")
        print(f"| {' | '.join(map(str, cells))} |")
    print(f"goal: at most {GOAL:.0%} for {OF_SIGMA}")
    return 3 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
