"""What runs on a GPU: nothing mixes devices, and results are those of the CPU. On a real one where there is one."""

import threading
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper
from torch import Tensor

import nnpf
from nnpf.arrays import NUMPY
from nnpf.engines import OutOfMemory, arithmetic, select_engine
from nnpf.engines.onnx_torch import TorchGraph
from nnpf.engines.torch_arrays import TorchArrays
from nnpf.model import Model, load
from nnpf.tensors import PatchPlan, PatchProcess
from tests.nnpf import test_integer_networks, test_operators
from tests.nnpf.onnx_graphs import graph, one_node, outputs_of
from tests.nnpf.pretend_gpu import GPU, PretendGpu, There, sent
from tests.nnpf.test_frames import picture
from tests.nnpf.test_tensors import canonical, mixing_filter, network_layout, processes

Array = np.ndarray[Any, Any]
F32 = TensorProto.FLOAT


def there_and_here(model: Model, inputs: dict[str, Array]) -> tuple[Tensor, Tensor, int]:
    """What a graph gives on the GPU, what on the CPU, and how often, in a second run, the CPU looked at
    something on the GPU."""
    tensors = [torch.from_numpy(value.copy()) for value in inputs.values()]
    with torch.no_grad():
        expected = TorchGraph(model)(*tensors)
        with PretendGpu() as gpu:
            on_gpu = TorchGraph(model).to(GPU)
            on_gpu.freeze()
            given = [sent(tensor) for tensor in tensors]
            on_gpu(*given)
            before = gpu.reads
            found = on_gpu(*given)
            reads = gpu.reads - before
            return (found.cpu() if isinstance(found, There) else found), expected, reads


def cases() -> list[Any]:
    integer = [(*case[:4], 19, case[4]) for case in test_integer_networks.CASES]
    return [pytest.param(case, id=f"{at}-{case[0]}") for at, case in enumerate([*test_operators.CASES, *integer])]


def same(one: Tensor, other: Tensor) -> bool:
    return one.dtype == other.dtype and bool(torch.isclose(one, other, rtol=0, atol=0, equal_nan=True).all())


@pytest.mark.parametrize("case", cases())
def test_an_operator_stays_on_its_device(case: Any) -> None:
    op, x, constants, attributes, *rest = case
    opset, kind = (*rest, None, None)[:2]
    model, inputs = one_node(op, x, constants, opset or (20 if op == "Gelu" else 18), attributes, outputs_of(op), kind)
    found, expected, _ = there_and_here(model, inputs)
    assert same(found, expected)


def chain(nodes: list[Any], constants: dict[str, Array] | None = None) -> Model:
    """Nodes from x, of four dimensions, to y; each is (operator, inputs, output, attributes)."""
    made = [helper.make_node(op, inputs, [output], **attributes) for op, inputs, output, attributes in nodes]
    return graph(made, {"x": ((None, 3, None, None), F32)}, "y", constants, output_rank=4)


def test_what_the_cpu_makes_of_sizes_meets_what_lies_on_the_gpu() -> None:
    """As exported models have it: planes of ones, ramps of coordinates, vectors in Constant nodes, masks."""
    vector = helper.make_tensor("v", F32, [1, 3, 1, 1], [1.0, 2.0, 3.0])
    nodes = [
        ("Shape", ["x"], "shape", {}),
        ("ConstantOfShape", ["shape"], "ones", {"value": helper.make_tensor("v", F32, [1], [1.0])}),
        ("Add", ["x", "ones"], "a", {}),
        ("Constant", [], "vector", {"value": vector}),
        ("Mul", ["vector", "a"], "b", {}),
        ("Gather", ["shape", "three"], "width", {}),
        ("Range", ["zero", "width", "one"], "ramp", {}),
        ("Cast", ["ramp"], "coordinates", {"to": F32}),
        ("Sub", ["b", "coordinates"], "c", {}),
        ("Greater", ["coordinates", "half"], "mask", {}),
        ("Where", ["mask", "c", "x"], "d", {}),
        ("Concat", ["d", "ones"], "e", {"axis": 1}),
        ("Pow", ["e", "two"], "y", {}),
    ]
    constants: dict[str, Array] = {
        "three": np.array(3, np.int64),
        "zero": np.array(0, np.int64),
        "one": np.array(1, np.int64),
        "half": np.array(2.5, np.float32),
        "two": np.array([2.0], np.float32),
    }
    model = chain(nodes, constants)
    found, expected, reads = there_and_here(model, {"x": np.random.default_rng(0).random((1, 3, 4, 6), np.float32)})
    assert same(found, expected)
    assert reads == 0


def test_frames_are_warped_on_the_gpu() -> None:
    """A grid of whole numbers plus a flow, as interpolation networks have it."""
    nodes = [
        ("Shape", ["x"], "shape", {}),
        ("Expand", ["base", "size"], "grid", {}),
        ("Slice", ["x", "zero", "two", "axis"], "flow", {}),
        ("Transpose", ["flow"], "moved", {"perm": [0, 2, 3, 1]}),
        ("Add", ["grid", "moved"], "where", {}),
        ("GridSample", ["x", "where"], "y", {}),
    ]
    constants: dict[str, Array] = {
        "base": np.zeros((1, 1, 1, 2), np.float32),
        "size": np.array([1, 4, 6, 2], np.int64),
        "zero": np.array([0], np.int64),
        "two": np.array([2], np.int64),
        "axis": np.array([1], np.int64),
    }
    made = [helper.make_node(op, inputs, [output], **attributes) for op, inputs, output, attributes in nodes]
    model = graph(made, {"x": ((None, 3, None, None), F32)}, "y", constants, output_rank=4, opset=20)
    found, expected, reads = there_and_here(model, {"x": np.random.default_rng(0).random((1, 3, 4, 6), np.float32)})
    assert same(found, expected)
    assert reads == 0


@pytest.mark.parametrize("name", ["small", "tiny", "tiny_int8", "tint_red"])
def test_nothing_is_read_back_while_a_network_runs(samples: Path, name: str) -> None:
    """A GPU that is looked at waits until it has caught up."""
    model = load(samples / f"filters/{name}.onnx")
    (spec,) = model.inputs
    tensor = np.random.default_rng(0).random((1, spec.shape[1], 40, 40), np.float32)
    found, expected, reads = there_and_here(model, {spec.name: tensor})
    assert same(found, expected)
    assert reads == 0


def test_sizes_are_changed_without_reading_factors_back() -> None:
    nodes = [
        ("Resize", ["x", "", "scales"], "large", {"mode": "linear"}),
        ("Clip", ["large", "low", "high"], "clipped", {}),
        ("Pad", ["clipped", "pads", "low"], "y", {}),
    ]
    constants: dict[str, Array] = {
        "scales": np.array([1, 1, 2, 2], np.float32),
        "low": np.array(0.25, np.float32),
        "high": np.array(0.75, np.float32),
        "pads": np.array([0, 0, 1, 1, 0, 0, 1, 1], np.int64),
    }
    model = chain(nodes, constants)
    found, expected, reads = there_and_here(model, {"x": np.random.default_rng(0).random((1, 3, 4, 6), np.float32)})
    assert same(found, expected)
    assert reads == 0


def test_the_pretended_gpu_refuses_what_a_real_one_does() -> None:
    with PretendGpu(), pytest.raises(RuntimeError, match="same device"):
        _ = sent(torch.ones(3)) + torch.ones(3)
    with PretendGpu() as gpu:
        total = (sent(torch.ones(3)) * 2).sum()
        assert gpu.reads == 0
        assert total.item() == 6
        assert gpu.reads == 1


@given(processes(), st.sampled_from([4, 5]), st.integers(1, 9), st.integers(0, 9))
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.filter_too_much, HealthCheck.too_slow])
def test_the_patch_process_stays_on_its_device(
    case: tuple[PatchProcess, tuple[int, int]], rank: int, max_batch: int, seed: int
) -> None:
    """Pictures go there and come back; between, nothing is read but whether there is a NaN."""
    process, patch = case
    pictures = [picture(process.inp, seed + at) for at in range(process.num_input_pics)]
    strengths = [Fraction(seed + at, 12) for at in range(process.num_input_pics)]
    run = mixing_filter(process, patch)
    dtype = np.float32 if process.inp_format_idc == 0 else np.int32

    def network(batch: Any) -> Any:
        given = batch if isinstance(batch, np.ndarray) else batch.cpu().numpy()
        outputs = [run(tensor) for tensor in canonical(process, given, rank, process.num_input_pics)]
        result = network_layout(process, outputs, rank)
        return result if isinstance(batch, np.ndarray) else sent(torch.from_numpy(result))

    stored = []
    with PretendGpu() as gpu:
        for arrays in (NUMPY, TorchArrays(GPU)):
            plan = PatchPlan(process, patch, rank=rank, dtype=dtype, arrays=arrays)
            with arrays.at_work():
                tensor = plan.pack(pictures, strengths, plan.new_input())
                assert gpu.reads == 0
                output = plan.run(network, tensor, max_batch=max_batch)
                before = gpu.reads
                stored.append(plan.store(output, [pictures[0]] * process.num_output_pics))
                planes = process.num_output_pics * {0: 1, 1: 2}.get(process.out_order_idc, 3)
                assert gpu.reads - before <= 1 + planes
                gpu.reads = 0
    for one, other in zip(*stored, strict=True):
        assert all(np.array_equal(a, b) for a, b in zip(one.planes, other.planes, strict=True))


def test_settings_of_the_process_are_put_back_by_the_last_thread() -> None:
    """Two networks of integers at a time: the second one must not find the first one's setting and keep it."""
    before = torch.backends.cudnn.enabled
    first_inside, second_left = threading.Event(), threading.Event()
    found = []

    def first() -> None:
        with arithmetic.exact_kernels.held():
            first_inside.set()
            second_left.wait()
            found.append(torch.backends.cudnn.enabled)

    thread = threading.Thread(target=first)
    thread.start()
    first_inside.wait()
    with arithmetic.exact_kernels.held():
        found.append(torch.backends.cudnn.enabled)
    found.append(torch.backends.cudnn.enabled)
    second_left.set()
    thread.join()
    assert found == [False, False, False]
    assert torch.backends.cudnn.enabled == before


# --- on a real one ---------------------------------------------------------------------------------------------------

real = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device here")


@real
@pytest.mark.parametrize("name", ["small", "tiny", "tint_red"])
def test_cuda_gives_what_the_cpu_gives(samples: Path, name: str) -> None:
    model = load(samples / f"filters/{name}.onnx")
    (spec,) = model.inputs
    tensor = np.random.default_rng(0).random((2, spec.shape[1] or 7, 60, 80), np.float32)
    expected = select_engine("onnxruntime").compile(model).run({spec.name: tensor})
    found = select_engine("torch", "cuda").compile(model).run({spec.name: tensor})
    assert np.abs(found - expected).max() < 1e-5


@real
def test_cuda_gives_the_bits_of_the_cpu_for_integers(samples: Path) -> None:
    model = load(samples / "filters/tiny_int8.onnx")
    (spec,) = model.inputs
    tensor = np.random.default_rng(0).random((2, spec.shape[1] or 7, 60, 80), np.float32)
    results = [select_engine("torch", device).compile(model).run({spec.name: tensor}) for device in ("cpu", "cuda")]
    assert np.array_equal(*results)


@real
def test_a_stream_is_filtered_on_cuda_as_on_the_cpu(samples: Path, tmp_path: Path) -> None:
    stream = tmp_path / "small.266"
    nnpf.inject(samples / "bbb_q37.266", stream, base=samples / "filters/small.onnx", force=True)
    for one, other in zip(
        nnpf.apply(stream, models=samples / "filters", engine="torch", device="cuda"),
        nnpf.apply(stream, models=samples / "filters"),
        strict=True,
    ):
        for a, b in zip(one.frame.planes, other.frame.planes, strict=True):
            assert np.abs(a.astype(int) - b).max() <= 1  # a value near a half may be rounded either way


@real
def test_cuda_out_of_memory_is_said_as_such(samples: Path) -> None:
    network = select_engine("torch", "cuda").compile(load(samples / "filters/small.onnx"))
    free, _ = torch.cuda.mem_get_info()
    held = torch.empty(max(0, free - (256 << 20)), dtype=torch.uint8, device="cuda")
    with pytest.raises(OutOfMemory):
        network.run({"input": np.zeros((64, 7, 512, 512), np.float32)})
    del held
