"""A short run of the fuzzer without the fuzzer: inputs changed at random, always the same, and all that was found once.

The long run, guided by coverage: `make fuzz MINUTES=10`; its figures are in docs/security.md.
"""

import random
from pathlib import Path

import pytest

from tests.fuzz.budget import attempt
from tests.fuzz.mutations import mutated
from tests.fuzz.targets import TARGETS, Target

# Inputs that once crashed, hung or took too much: `found/TARGET-WHAT`.
FOUND = sorted((Path(__file__).parent / "found").glob("*-*"))
# Fewer where an input costs more.
INPUTS = {"commands": 40, "containers": 60, "apply": 8, "engine_openvino": 60, "engine_torch": 5, "headers_vvc": 100}
NEEDED = {"engine_torch": "torch", "torch_export": "torch", "engine_onnxruntime": "onnxruntime"}


def ready(name: str) -> Target:
    if name in NEEDED:
        pytest.importorskip(NEEDED[name])
    target = TARGETS[name]
    target.prepare()
    return target


@pytest.mark.parametrize("name", TARGETS)
def test_changed_inputs_end_in_a_result_or_one_error(name: str) -> None:
    target = ready(name)
    seeds = list(target.seeds())
    rng = random.Random(name)
    for number in range(INPUTS.get(name, 250)):
        data = rng.choice(seeds)
        if target.mutate is not None and number % 3:
            data = target.mutate(data, 1 << 16, rng.randrange(1 << 30))
        else:
            data = mutated(rng, data, seeds)
        finding, _ = attempt(target, data)
        assert finding is None or finding.where == "large", finding  # other tests ran in this process


@pytest.mark.parametrize("path", FOUND, ids=lambda path: path.name)
def test_what_was_found_once(path: Path) -> None:
    finding, _ = attempt(ready(path.name.partition("-")[0]), path.read_bytes())
    assert finding is None or finding.where == "large", finding
