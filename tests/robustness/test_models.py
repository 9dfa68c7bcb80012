"""Hostile models: one clear error in every engine's path, and no memory or code for them."""

import resource
from collections.abc import Callable
from pathlib import Path

import onnx
import pytest
from onnx import TensorProto, helper

from nnpf import model as models
from nnpf.errors import NnpfError
from nnpf.nnc import NncError
from nnpf.sources import ModelSources, apply_update, load_base
from tests.fuzz import seeds
from tests.fuzz.targets import engine
from tests.nnpf.streams import characteristics

ENGINES = ("openvino", "onnxruntime", "torch")


def made(nodes: list[onnx.NodeProto], constants: dict[str, list[int]] | None = None) -> onnx.ModelProto:
    """A graph from x, six channels, to y."""
    graph = helper.make_graph(
        nodes,
        "hostile",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [None, 6, None, None])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [None] * 4)],
        [helper.make_tensor(k, TensorProto.INT64, [len(v)], v) for k, v in (constants or {}).items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def node(op: str, inputs: str, outputs: str, **attributes: object) -> onnx.NodeProto:
    return helper.make_node(op, inputs.split(), outputs.split(), **attributes)


def cycle() -> onnx.ModelProto:
    return made([node("Add", "x b", "a"), node("Add", "a x", "b"), node("Relu", "b", "y")])


def missing_tensor() -> onnx.ModelProto:
    return made([node("Add", "x nothing", "y")])


def missing_output() -> onnx.ModelProto:
    return made([node("Relu", "x", "z")])


def wrong_types() -> onnx.ModelProto:
    return made([node("Add", "x i", "y")], {"i": [1, 2]})


def wrong_rank() -> onnx.ModelProto:
    return made([node("Reshape", "x s", "f"), node("Conv", "x f", "y")], {"s": [6, -1]})


def unknown_operator() -> onnx.ModelProto:
    return made([node("RunProgram", "x", "y")])


def custom_operator() -> onnx.ModelProto:
    model = made([node("Run", "x", "y", domain="evil.example")])
    model.opset_import.append(helper.make_opsetid("evil.example", 1))
    return model


def contributed_operator() -> onnx.ModelProto:
    """One that onnxruntime knows, and the standard does not."""
    model = made([node("Gelu", "x", "y", domain="com.microsoft")])
    model.opset_import.append(helper.make_opsetid("com.microsoft", 1))
    return model


def control_flow() -> onnx.ModelProto:
    body = helper.make_graph([node("Relu", "x", "z")], "b", [], [helper.make_tensor_value_info("z", 1, None)])
    return made([node("Shape", "x", "s"), node("If", "s", "y", then_branch=body, else_branch=body)])


def local_function() -> onnx.ModelProto:
    model = made([node("Relu", "x", "y")])
    model.functions.append(
        helper.make_function("f.example", "F", ["a"], ["b"], [node("Relu", "a", "b")], [helper.make_opsetid("", 17)])
    )
    return model


def external(location: str) -> Callable[[], onnx.ModelProto]:
    def make() -> onnx.ModelProto:
        model = made([node("Mul", "x w", "y")])
        tensor = model.graph.initializer.add(name="w", data_type=TensorProto.FLOAT, dims=[1])
        tensor.data_location = TensorProto.EXTERNAL
        tensor.external_data.add(key="location", value=location)
        return model

    return make


def huge_parameter() -> onnx.ModelProto:
    model = made([node("Mul", "x w", "y")])
    model.graph.initializer.add(name="w", data_type=TensorProto.FLOAT, dims=[1 << 20, 1 << 20])
    return model


def lying_parameter() -> onnx.ModelProto:
    model = made([node("Mul", "x w", "y")])
    model.graph.initializer.add(name="w", data_type=TensorProto.FLOAT, dims=[1 << 28], raw_data=b"1234")
    return model


def negative_parameter() -> onnx.ModelProto:
    model = made([node("Mul", "x w", "y")])
    model.graph.initializer.add(name="w", data_type=TensorProto.FLOAT, dims=[-4], raw_data=b"1234")
    return model


def huge_constant() -> onnx.ModelProto:
    nodes = [node("ConstantOfShape", "s", "c"), node("ReduceSum", "c", "r", keepdims=0), node("Add", "x r", "y")]
    return made(nodes, {"s": [1 << 16, 1 << 16]})


def tiled_constant() -> onnx.ModelProto:
    """A size that only whoever computes it knows."""
    nodes = [
        node("Mul", "s s", "t"),
        node("Mul", "t t", "u"),
        node("ConstantOfShape", "u", "c"),
        node("ReduceSum", "c", "r", keepdims=0),
        node("Add", "x r", "y"),
    ]
    return made(nodes, {"s": [200, 200]})


def expanded() -> onnx.ModelProto:
    return made([node("Expand", "x s", "e"), node("ReduceMax", "e", "y", axes=[0])], {"s": [1 << 22, 6, 1, 1]})


def opset_of_the_future() -> onnx.ModelProto:
    model = made([node("Relu", "x", "y")])
    model.opset_import[0].version = (1 << 63) - 1
    return model


def no_standard_opset() -> onnx.ModelProto:
    model = made([node("Relu", "x", "y")])
    model.opset_import[0].domain = "other.example"
    return model


def strings() -> onnx.ModelProto:
    model = made([node("Relu", "x", "y")])
    model.graph.input[0].type.tensor_type.elem_type = TensorProto.STRING
    return model


HOSTILE = (
    cycle, missing_tensor, missing_output, wrong_types, wrong_rank, unknown_operator, custom_operator,
    contributed_operator, control_flow, local_function,
    external("w.bin"), external("../w.bin"), external("/etc/passwd"),
    huge_parameter, lying_parameter, negative_parameter, huge_constant, tiled_constant, expanded, opset_of_the_future,
    no_standard_opset, strings,
)  # fmt: skip


@pytest.mark.parametrize("name", ENGINES)
@pytest.mark.parametrize("make", HOSTILE, ids=lambda make: make.__name__)
def test_a_hostile_model_is_one_clear_error(make: Callable[[], onnx.ModelProto], name: str) -> None:
    pytest.importorskip(name)
    engine(name)(seeds.small_filter())  # what is loaded once is not charged to the model
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(NnpfError) as caught:
        engine(name)(make().SerializeToString())
    assert str(caught.value).startswith("fuzzed: ")
    assert len(str(caught.value)) < 500
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200 << 10  # kilobytes


@pytest.mark.parametrize("data", [b"", b"\x80\x04\x95 a pickle", b"PK\x03\x04 a zip", b"\xff" * 100, b"\x08" * 1000])
def test_what_is_no_model(data: bytes) -> None:
    with pytest.raises(NnpfError, match=r"is not an ONNX model|is no archive"):
        models.load(data, "f.onnx")


def test_no_file_of_the_external_kind_is_opened(tmp_path: Path) -> None:
    """Not even one beside the model, which onnx itself would read."""
    (tmp_path / "w.bin").write_bytes(b"\0\0\x80?")
    (tmp_path / "filter.onnx").write_bytes(external("w.bin")().SerializeToString())
    with pytest.raises(NnpfError, match="tensor 'w' lies outside the file"):
        load_base(characteristics(uri="filter.onnx"), ModelSources(tmp_path))


def test_a_graph_that_grows_when_it_is_inflated() -> None:
    """64 kB of deflated zeros that claim to be 64 MiB of graph."""
    import zlib

    from nnpf.nnc.limits import Limits
    from nnpf.nnc.syntax import CompressionFormat, Topology, TopologyFormat
    from nnpf.nnc.topology import graph_bytes

    bomb = Topology(TopologyFormat.NNR_TPL_ONNX, CompressionFormat.NNR_DFL, zlib.compress(bytes((64 << 20) + 1), 9))
    assert len(bomb.topology_data) < 100_000
    with pytest.raises(NncError, match="a topology of more than 67108864 bytes"):
        graph_bytes(bomb)
    with pytest.raises(NncError, match="a topology of more than 1000 bytes"):
        graph_bytes(bomb, Limits(topology_bytes=1000))


def test_an_update_that_is_a_hostile_model(tmp_path: Path) -> None:
    (tmp_path / "filter.onnx").write_bytes(seeds.small_filter())
    (tmp_path / "update.onnx").write_bytes(external("/etc/passwd")().SerializeToString())
    sources = ModelSources(tmp_path)
    base = load_base(characteristics(), sources)
    with pytest.raises(NnpfError, match="lies outside the file"):
        apply_update(base, characteristics(uri="update.onnx", base_flag=0), sources)


def test_nothing_is_unpickled() -> None:
    """No loader that runs code: neither pickle nor torch.load without weights_only."""
    for folder in ("vsei", "nnpf", "tools"):
        for path in (seeds.ROOT / folder).rglob("*.py"):
            text = path.read_text("utf-8")
            assert "import pickle" not in text, path
            for line in text.splitlines():
                assert "torch.load(" not in line or "weights_only=True" in line, (path, line)
                assert "allow_pickle=True" not in line, (path, line)


def test_a_dimension_below_zero_is_any() -> None:
    """onnx's shape inference ends the process where Slice meets one."""
    model = made([node("Slice", "x s e a", "y")], {"s": [0], "e": [3], "a": [2]})
    model.graph.input[0].type.tensor_type.shape.dim[2].dim_value = -5
    loaded = models.load(model.SerializeToString(), "f.onnx")
    assert loaded.tensor_input.shape == (None, 6, None, None)
    assert loaded.cost({"x": (1, 6, 8, 8)}).output_shape == (1, 6, 3, 8)
