"""All engines give the same within 1e-5, whatever the shape, and say what they cannot do."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from nnpf.engines import ENGINES, Settings, select_engine
from nnpf.errors import NnpfError
from nnpf.model import Model, load
from tests.nnpf.onnx_graphs import blur_filter, graph, identity_filter, one_node


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


ACTIVATIONS = {
    "Relu": {}, "Sigmoid": {}, "Tanh": {}, "LeakyRelu": {}, "Elu": {}, "Selu": {}, "HardSigmoid": {}, "HardSwish": {},
    "Softplus": {}, "Softsign": {}, "Mish": {}, "Gelu": {}, "Exp": {}, "Abs": {}, "Sqrt": {}, "Round": {},
}  # fmt: skip


@pytest.mark.parametrize(
    ("op", "attributes"), [*ACTIVATIONS.items(), ("Gelu", {"approximate": "tanh"}), ("Clip", {"min": 0.0, "max": 1.0})]
)
def test_an_activation_behind_a_convolution(op: str, attributes: dict[str, Any]) -> None:
    """torch.jit fuses the two, and does not take every form of them."""
    nodes = [
        helper.make_node("Conv", ["x", "weight"], ["z"]),
        helper.make_node(op, ["z"], ["y"], **attributes),
    ]
    opset = 10 if op == "Clip" else 22
    weight = np.random.default_rng(0).standard_normal((8, 4, 3, 3)).astype(np.float32)
    model = graph(nodes, {"x": ((1, 4, None, None), TensorProto.FLOAT)}, constants={"weight": weight}, opset=opset)
    x = np.random.default_rng(1).standard_normal((1, 4, 24, 40)).astype(np.float32)
    expected = select_engine("onnxruntime").compile(model).run({"x": x})
    network = select_engine("torch", "cpu").compile(model)
    for _ in range(2):  # the second run is the one that torch.jit has optimised
        np.testing.assert_allclose(network.run({"x": x}), expected, atol=1e-5, rtol=1e-4)


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


REDUCTIONS = ("ReduceL1", "ReduceL2", "ReduceLogSum", "ReduceLogSumExp", "ReduceMax", "ReduceMean", "ReduceMin")


@pytest.mark.parametrize("op", [*REDUCTIONS, "ReduceProd", "ReduceSum", "ReduceSumSquare"])
@pytest.mark.parametrize("opset", [12, 17, 18])
def test_openvino_reduces_the_axes_that_are_named_or_refuses(op: str, opset: int) -> None:
    as_input = opset >= (13 if op == "ReduceSum" else 18)
    node = helper.make_node(op, ["x", "axes"] if as_input else ["x"], ["y"], **({} if as_input else {"axes": [1]}))
    constants = {"axes": np.array([1], np.int64)} if as_input else {}
    model = graph([node], {"x": ((1, 4, None, None), TensorProto.FLOAT)}, constants=constants, opset=opset)
    x = np.random.default_rng(0).random((1, 4, 6, 8), dtype=np.float32)
    expected = select_engine("onnxruntime").compile(model).run({"x": x})
    try:
        network = select_engine("openvino", "cpu").compile(model)
    except NnpfError as error:
        assert opset == 17 and f"OpenVINO reads {op} of operator set 17 wrongly: export with opset 18" in str(error)
        return
    np.testing.assert_allclose(network.run({"x": x}), expected, rtol=1e-5)


HALF = (None, np.array([1, 1, 0.5, 0.5], np.float32))
WINDOWS = {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1, 1, 1, 1], "count_include_pad": 1}


@pytest.mark.parametrize(
    ("op", "constants", "attributes", "problem"),
    [
        ("Resize", HALF, {"mode": "linear"}, None),
        ("Resize", HALF, {"mode": "linear", "antialias": 1}, "OpenVINO reads Resize without its antialias"),
        ("Resize", HALF, {"mode": "cubic", "exclude_outside": 1}, "OpenVINO reads Resize without its exclude_outside"),
        (
            "Resize",
            (None, None, np.array([9, 5], np.int64)),
            {"axes": [2, 3], "keep_aspect_ratio_policy": "not_larger"},
            "OpenVINO reads Resize without its keep_aspect_ratio_policy",
        ),
        (
            "Resize",
            (None, None, np.array([9, 5], np.int64)),
            {"axes": [2, 3], "keep_aspect_ratio_policy": "stretch", "mode": "linear"},
            None,
        ),
        ("AveragePool", (), WINDOWS, None),
        ("AveragePool", (), {**WINDOWS, "count_include_pad": 0, "ceil_mode": 1}, None),
        ("AveragePool", (), {**WINDOWS, "ceil_mode": 1}, "OpenVINO reads AveragePool with ceil_mode and"),
    ],
)
def test_openvino_gives_what_onnxruntime_gives_or_refuses(
    op: str, constants: Any, attributes: dict[str, Any], problem: str | None
) -> None:
    x = np.random.default_rng(0).random((1, 4, 6, 8), dtype=np.float32)
    model, inputs = one_node(op, x, constants, 19, attributes)
    if problem is not None:
        with pytest.raises(NnpfError, match=problem):
            select_engine("openvino", "cpu").compile(model)
        return
    expected = select_engine("onnxruntime").compile(model).run(inputs)
    np.testing.assert_allclose(select_engine("openvino", "cpu").compile(model).run(inputs), expected, atol=1e-5)


CLIPS = [[], ["low"], ["low", "high"], ["", "high"], ["low", ""]]


def clip(source: str, bounds: list[str], before: onnx.NodeProto) -> Model:
    constants = {"low": np.float32(-0.25), "high": np.float32(0.5)}
    used = {name: np.asarray(constants[name]) for name in bounds if name}
    nodes = [before, helper.make_node("Clip", [source, *bounds], ["y"])]
    return graph(nodes, {"x": ((3, 4, 4), TensorProto.FLOAT)}, constants=used, output_rank=3)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("kind", [TensorProto.INT64, TensorProto.FLOAT])
def test_distances_that_are_made_from_sizes(engine: str, kind: int) -> None:
    """|column - 2|, as reflected coordinates and weights by distance are: no engine sees it in a picture."""
    node = helper.make_node
    model = graph(
        [
            node("Shape", ["x"], ["size"], start=3),
            node("Squeeze", ["size"], ["columns"]),
            node("Range", ["zero", "columns", "one"], ["at"]),
            node("Sub", ["at", "two"], ["from"]),
            node("Cast", ["from"], ["distance"], to=kind),
            node("Abs", ["distance"], ["absolute"]),
            node("Cast", ["absolute"], ["added"], to=TensorProto.FLOAT),
            node("Add", ["x", "added"], ["y"]),
        ],
        {"x": ((1, 1, None, None), TensorProto.FLOAT)},
        constants={name: np.array(at, np.int64) for at, name in enumerate(("zero", "one", "two"))},
        output_rank=4,
    )
    result = select_engine(engine, "cpu").compile(model).run({"x": np.zeros((1, 1, 1, 6), np.float32)})
    assert result.reshape(-1).tolist() == [2, 1, 0, 1, 2, 3]


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


@pytest.mark.parametrize("axis", [None, 1, 2, -1])
def test_softmax_of_old_operator_sets_is_over_all_later_axes(axis: int | None) -> None:
    x = np.random.default_rng(5).standard_normal((2, 3, 4, 5)).astype(np.float32)
    model, inputs = one_node("Softmax", x, (), 11, {} if axis is None else {"axis": axis})
    expected = select_engine("onnxruntime").compile(model).run(inputs)
    for engine in ("openvino", "torch"):
        np.testing.assert_allclose(select_engine(engine, "cpu").compile(model).run(inputs), expected, atol=1e-6)
