"""How a filter uses its engine: batches that do not fit are halved, patches never; several threads at a time."""

import threading
from collections.abc import Mapping
from fractions import Fraction
from typing import Any

import numpy as np
import pytest

from nnpf.activation import Active
from nnpf.arrays import NUMPY, Array
from nnpf.engines import OutOfMemory, Settings, select_engine
from nnpf.errors import NnpfError
from nnpf.filters import EngineChoice, Engines, Filter
from nnpf.frames import Format
from nnpf.model import Model
from tests.nnpf.onnx_graphs import identity_filter
from tests.nnpf.streams import activation, characteristics
from tests.nnpf.test_frames import picture

FORM = Format(416, 240, 1, 10, 10)
PATCHES = {"constant_patch_size_flag": 1, "patch_width_minus1": 31, "patch_height_minus1": 31}


class SmallMemory:
    """onnxruntime, on a device that has room for a few patches at a time; or for none."""

    name = "small"
    device = "SMALL"
    max_batch = 16
    room = 1 << 30
    arrays = NUMPY

    def __init__(self, fits: int) -> None:
        self.fits = fits
        self.batches: list[tuple[int, ...]] = []
        self._engine = select_engine("onnxruntime", "cpu", settings=Settings())

    def compile(self, model: Model) -> "SmallNetwork":
        return SmallNetwork(self, self._engine.compile(model))


class SmallNetwork:
    exact = False
    precision = "f32"

    def __init__(self, engine: SmallMemory, network: Any) -> None:
        self._engine, self._network = engine, network

    def another(self) -> "SmallNetwork":
        return SmallNetwork(self._engine, self._network.another())

    def run(self, inputs: Mapping[str, Array]) -> Array:
        shape = inputs["input"].shape
        self._engine.batches.append(shape)
        if shape[0] > self._engine.fits:
            raise OutOfMemory("CUDA out of memory")
        result: Array = self._network.run(inputs)
        return result


class OneEngine(Engines):
    def __init__(self, engine: SmallMemory) -> None:
        super().__init__(EngineChoice())
        self._only = engine

    def candidates(self, model: Model) -> list[Any]:
        return [lambda: self._only]


def filter_on(engine: SmallMemory) -> tuple[Filter, Active]:
    base = characteristics(overlap=1, **PATCHES)
    return Filter(identity_filter(6, 6, 1), base, OneEngine(engine)), Active(1, base, None, activation())


def run(one: Filter, active: Active) -> Any:
    frame = picture(FORM)
    (result,), applied = one.run(active, [frame], [Fraction(1, 2)], lambda at: frame)
    assert all(map(np.array_equal, result.planes, frame.planes))
    return applied


@pytest.mark.parametrize("fits", [1, 3, 8, 16])
def test_a_batch_that_does_not_fit_is_halved_for_good(fits: int) -> None:
    engine = SmallMemory(fits)
    one, active = filter_on(engine)
    applied = run(one, active)
    assert (applied.patches, applied.patch, applied.engine) == (28, (32, 32), "small")
    # At most 16, 8, 4, 2 patches, and whole rows of 7 where these are fewer.
    assert [shape[0] for shape in engine.batches if shape[0] > fits] == [n for n in (14, 7, 4, 2) if n > fits]
    assert {shape[2:] for shape in engine.batches} == {(34, 34)}  # patches stay as they are
    engine.batches.clear()
    run(one, active)
    assert max(shape[0] for shape in engine.batches) <= fits


def test_one_patch_that_does_not_fit_is_an_error_with_a_way_out() -> None:
    one, active = filter_on(SmallMemory(0))
    with pytest.raises(NnpfError, match=r"SMALL has too little memory for 1 patch\(es\) of 32x32.*--patch"):
        run(one, active)


def test_a_filter_runs_in_several_threads() -> None:
    one, active = filter_on(SmallMemory(2))
    problems: list[BaseException] = []

    def work() -> None:
        try:
            for _ in range(5):
                run(one, active)
        except BaseException as error:
            problems.append(error)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert problems == []


def test_on_a_device_pictures_go_there_and_not_tensors(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a GPU, on torch's CPU: the same samples, and the network meets and gives nothing but torch's tensors."""
    torch = pytest.importorskip("torch")
    from nnpf.engines.torch_arrays import TorchArrays
    from nnpf.engines.torch_engine import TorchEngine, TorchNetwork

    met: list[type] = []
    plain = TorchNetwork.run

    def watched(network: TorchNetwork, inputs: Mapping[str, Any]) -> Any:
        result = plain(network, inputs)
        met.extend((*map(type, inputs.values()), type(result)))
        return result

    monkeypatch.setattr(TorchNetwork, "run", watched)
    engine: Any = TorchEngine("cpu", Settings(threads=1))
    for arrays, kind in ((NUMPY, np.ndarray), (TorchArrays(torch.device("cpu")), torch.Tensor)):
        engine.arrays = arrays
        one, active = filter_on(engine)
        applied = run(one, active)
        assert (applied.patches, applied.engine) == (28, "torch")
        assert set(met) == {kind}
        met.clear()


def test_what_goes_wrong_on_a_device_is_one_line() -> None:
    torch = pytest.importorskip("torch")
    from nnpf.engines.torch_arrays import TorchArrays

    arrays = TorchArrays(torch.device("cpu"))
    with pytest.raises(OutOfMemory, match=r"^torch: CUDA out of memory"), arrays.at_work():
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")
    with pytest.raises(NnpfError, match=r"^torch failed: .*shape"), arrays.at_work():
        torch.zeros(2).reshape(3)
