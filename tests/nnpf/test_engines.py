"""All engines give the same within 1e-5, whatever the shape, and say what they cannot do."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from nnpf.engines import ENGINES, Settings, select_engine
from nnpf.errors import NnpfError
from nnpf.model import Model, load
from tests.nnpf.onnx_graphs import blur_filter, graph, identity_filter


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("batch", [None, 1])
def test_shapes_and_batches_may_change_from_run_to_run(engine: str, batch: int | None) -> None:
    model = blur_filter(3, 2, 1, batch=batch)
    network = select_engine(engine, "cpu").compile(model)
    rng = np.random.default_rng(0)
    weight = model.parameters["weight"]
    for shape in [(1, 3, 5, 6), (4, 3, 8, 3), (1, 3, 5, 6), (1, 3, 9, 9), (2, 3, 4, 4), (1, 3, 4, 5), (4, 3, 8, 3)]:
        x = rng.standard_normal(shape).astype(np.float32)
        windows = np.lib.stride_tricks.sliding_window_view(x, (3, 3), (2, 3))
        expected = np.einsum("nchwyx,ocyx->nohw", windows, weight)
        expected = np.where(expected < 0, 0.1 * expected, expected)
        np.testing.assert_allclose(network.run({"input": x}), expected, atol=1e-5)


@pytest.mark.parametrize("engine", ["openvino", "torch"])
@pytest.mark.parametrize("name", ["model3", "red", "green", "blue"])
def test_the_peers_filters_run_as_in_onnxruntime(shared: Path, engine: str, name: str) -> None:
    model = load(shared / f"peer/nokia/{name}.onnx")
    x = np.random.default_rng(5).random((3, 7, 72, 72), dtype=np.float32)
    expected = select_engine("onnxruntime").compile(model)
    found = select_engine(engine, "cpu").compile(model)
    for patch in (x[:1], x):
        difference = np.abs(found.run({"input": patch}) - expected.run({"input": patch})).max()
        assert difference <= 1e-5


def test_constants_in_the_graph() -> None:
    nodes = [
        helper.make_node("Constant", [], ["half"], value_float=0.5),
        helper.make_node("Constant", [], ["axes"], value_ints=[0]),
        helper.make_node("Mul", ["x", "half"], ["halved"]),
        helper.make_node("Unsqueeze", ["halved", "axes"], ["y"]),
    ]
    model = graph(nodes, {"x": ((2, 3), TensorProto.FLOAT)})
    for engine in ENGINES:
        result = select_engine(engine, "cpu").compile(model).run({"x": np.ones((2, 3), np.float32)})
        assert result.tolist() == [[[0.5] * 3] * 2]


@pytest.mark.parametrize("engine", ENGINES)
def test_wrong_inputs_are_named(engine: str) -> None:
    network = select_engine(engine, "cpu").compile(identity_filter(2, 1, 1))
    with pytest.raises(NnpfError, match="input 'input' is missing"):
        network.run({})
    with pytest.raises(NnpfError, match="is given float64"):
        network.run({"input": np.zeros((1, 2, 4, 4))})
    with pytest.raises(NnpfError, match="has no input 'seed'"):
        network.run({"input": np.zeros((1, 2, 4, 4), np.float32), "seed": np.zeros(1)})
    with pytest.raises(NnpfError):
        network.run({"input": np.zeros((1, 5, 4, 4), np.float32)})


def test_the_default_is_openvino_and_torch_for_integers() -> None:
    assert select_engine().name == "openvino"
    node = helper.make_node("ConvInteger", ["x", "w"], ["y"])
    weight = {"w": np.ones((1, 1, 3, 3), np.int8)}
    model = graph([node], {"x": ((1, 1, 5, 5), TensorProto.UINT8)}, "y", weight, TensorProto.INT32)
    assert select_engine(model=model).name == "torch"


def test_engines_and_devices_that_are_not_there() -> None:
    with pytest.raises(NnpfError, match="no engine 'tensorflow'"):
        select_engine("tensorflow")
    with pytest.raises(NnpfError, match="no device"):
        select_engine("openvino", "tpu")
    with pytest.raises(NnpfError, match="no device"):
        select_engine("torch", "tpu")
    with pytest.raises(NnpfError, match="no device"):
        select_engine("onnxruntime", "mps")


def test_only_the_engine_in_use_is_imported() -> None:
    program = (
        "import sys; from nnpf.engines import select_engine; select_engine('openvino'); "
        "sys.exit(int(any(name in sys.modules for name in ('torch', 'onnxruntime', 'numba', 'av'))))"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


@pytest.mark.parametrize("engine", ["openvino", "torch"])
def test_bfloat16_is_a_choice_and_is_said(engine: str) -> None:
    model = blur_filter(3, 2, 1)
    x = np.random.default_rng(1).random((1, 3, 24, 24), dtype=np.float32)
    exact = select_engine(engine, "cpu").compile(model)
    expected = exact.run({"input": x}).copy()
    assert exact.precision == "f32"
    try:
        rough = select_engine(engine, "cpu", settings=Settings(precision="bf16")).compile(model)
    except NnpfError as error:
        assert "does not compute in bfloat16" in str(error)
        return
    found = rough.run({"input": x})
    assert rough.precision == "bf16"
    np.testing.assert_allclose(found, expected, atol=0.05)  # 8 bits of mantissa
    assert not np.array_equal(found, expected)


def test_onnxruntime_has_no_bfloat16_and_says_so() -> None:
    with pytest.raises(NnpfError, match="computes in float32"):
        select_engine("onnxruntime", "cpu", settings=Settings(precision="bf16"))


@pytest.mark.parametrize("engine", ENGINES)
def test_deterministic_results_do_not_depend_on_threads(engine: str) -> None:
    model = blur_filter(3, 2, 1)
    x = np.random.default_rng(1).random((2, 3, 40, 60), dtype=np.float32)
    results = []
    for threads, lanes in ((1, 1), (2, 1), (2, 2)):
        settings = Settings(threads=threads, lanes=lanes, deterministic=True)
        network = select_engine(engine, "cpu", settings=settings).compile(model)
        results += [network.run({"input": x}).copy(), network.another().run({"input": x}).copy()]
    assert all(np.array_equal(result, results[0]) for result in results)


CLIPS = [[], ["low"], ["low", "high"], ["", "high"], ["low", ""]]


def clip(source: str, bounds: list[str], before: onnx.NodeProto) -> Model:
    constants = {"low": np.float32(-0.25), "high": np.float32(0.5)}
    used = {name: np.asarray(constants[name]) for name in bounds if name}
    nodes = [before, helper.make_node("Clip", [source, *bounds], ["y"])]
    return graph(nodes, {"x": ((3, 4, 4), TensorProto.FLOAT)}, constants=used, output_rank=3)


@pytest.mark.parametrize("bounds", CLIPS)
@pytest.mark.parametrize("engine", ENGINES)
def test_a_clip_with_any_of_its_bounds(engine: str, bounds: list[str]) -> None:
    x = np.linspace(-1, 1, 48, dtype=np.float32).reshape(3, 4, 4)
    low = -0.25 if "low" in bounds else -np.inf
    high = 0.5 if "high" in bounds else np.inf
    model = clip("negative", bounds, helper.make_node("Neg", ["x"], ["negative"]))
    result = select_engine(engine, "cpu").compile(model).run({"x": x})
    np.testing.assert_array_equal(result, np.clip(-x, low, high))


@pytest.mark.parametrize("bounds", CLIPS)
def test_openvino_says_what_it_cannot_convert_before_a_clip(bounds: list[str]) -> None:
    model = clip("found", bounds, helper.make_node("Det", ["x"], ["found"]))
    with pytest.raises(NnpfError, match="OpenVINO cannot read it"):
        select_engine("openvino", "cpu").compile(model)


def test_openvino_tells_nobody_that_it_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where it does, it first gives this user a number, in ~/intel."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    for name in ("CI", "TF_BUILD", "JENKINS_URL"):  # in a CI job it keeps silent of itself
        monkeypatch.delenv(name, raising=False)
    program = (
        "import sys; from nnpf.engines import select_engine; print(select_engine('openvino').device);"
        "print([name for name in sys.modules if 'telemetry' in name and not name.startswith('openvino.tools')])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.endswith("\n[]\n")
    assert not (tmp_path / "intel").exists()
