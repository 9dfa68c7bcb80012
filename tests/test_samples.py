"""The files in samples/: they fit together, every filter runs everywhere alike, and the trained ones do their work."""

import json
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
import pytest

ROOT = Path(__file__).resolve().parent.parent
TINTS = ["tint_red", "tint_green", "tint_blue"]
# Trained filter -> multiplications per luma sample that it may take; 17,000 is the low operating point of the field.
TRAINED = {"small": 17_000, "tiny": 5_000, "tiny_int8": 5_000}
REAL = ["small", "tiny"]  # of these the multipliers and offsets are in one tensor
FILTERS = [*TINTS, *TRAINED]
MAX_STREAM, MAX_ORIGINAL = 100_000, 2_500_000  # bytes; a clone stays small

onnxruntime = pytest.importorskip("onnxruntime")


def overlap_of(model: onnx.ModelProto) -> int:
    return int({entry.key: entry.value for entry in model.metadata_props}["overlap"])


def macs_per_luma_sample(model: onnx.ModelProto) -> float:
    """Multiplications of all convolutions. They run on the half-resolution tensor: four luma samples per position."""
    weights = {tensor.name: tensor.dims for tensor in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type == "DequantizeLinear" and node.input[0] in weights:
            weights[node.output[0]] = weights[node.input[0]]
    return sum(float(np.prod(weights[node.input[1]])) for node in model.graph.node if node.op_type == "Conv") / 4


def run_onnxruntime(path: Path, x: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return np.asarray(session.run(["output"], {"input": x})[0])


def run_openvino(path: Path, x: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    from nnpf.engines.silent_openvino import openvino

    model = openvino.Core().compile_model(str(path), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    return np.asarray(model([x])[0])


@pytest.fixture
def pairs(samples: Path, monkeypatch: pytest.MonkeyPatch):
    """The sample stream decoded, beside its original, with each picture's SliceQpY."""
    monkeypatch.syspath_prepend(str(ROOT / "tools" / "training"))
    from pairs import read_pairs

    return read_pairs(samples / "bbb.mkv", samples / "bbb_q37.266", clip="bbb", qp=37)


def test_every_picture_of_the_stream_has_its_original(samples: Path, pairs) -> None:
    assert [plane.shape for plane in pairs.coded] == [(65, 240, 416), (65, 120, 208), (65, 120, 208)]
    assert [plane.shape for plane in pairs.original] == [plane.shape for plane in pairs.coded]
    assert (samples / "bbb_q37.266").stat().st_size < MAX_STREAM
    assert (samples / "bbb.mkv").stat().st_size <= MAX_ORIGINAL


def test_the_original_is_that_of_each_picture(pairs) -> None:
    """The originals fit better than they do one picture early or late, and every picture is a fair copy of its own."""
    coded = pairs.coded[0].astype(np.float32)
    original = 4 * pairs.original[0].astype(np.float32)
    own = ((coded - original) ** 2).mean((1, 2))
    assert own.mean() < 0.9 * ((coded[1:] - original[:-1]) ** 2).mean()
    assert own.mean() < 0.9 * ((coded[:-1] - original[1:]) ** 2).mean()
    assert (10 * np.log10(1023**2 / own)).min() > 28


def test_slice_qp_differs_from_picture_to_picture(pairs) -> None:
    """Random access: the coder gives each level of the hierarchy its own QP, and the filter sees it."""
    assert len(set(pairs.slice_qp.tolist())) > 3
    assert 25 < pairs.slice_qp.min() < 37 < pairs.slice_qp.max() < 51


@pytest.mark.parametrize("name", [*TINTS, *REAL])
def test_both_engines_agree(samples: Path, name: str) -> None:
    path = samples / "filters" / f"{name}.onnx"
    overlap = overlap_of(onnx.load(path))
    x = np.random.default_rng(1).random((2, 7, 32 + 2 * overlap, 48 + 2 * overlap), np.float32)
    here, there = run_onnxruntime(path, x), run_openvino(path, x)
    assert here.shape == there.shape == (2, 6, 32, 48)
    np.testing.assert_allclose(here, there, atol=1e-5)


def run_torch(path: Path, x: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    from nnpf import model
    from nnpf.engines import select_engine

    return select_engine("torch", "cpu").compile(model.load(path)).run({"input": x})


@pytest.mark.parametrize("name", TRAINED)
def test_result_does_not_depend_on_the_patch_size(samples: Path, name: str) -> None:
    """No convolution pads: a part of the picture with its overlap gives the same samples as the whole."""
    path = samples / "filters" / f"{name}.onnx"
    r = overlap_of(onnx.load(path))
    x = np.random.default_rng(2).random((1, 7, 40 + 2 * r, 56 + 2 * r), np.float32)
    part = np.ascontiguousarray(x[:, :, 16 : 32 + 2 * r, 8 : 40 + 2 * r])
    if name in REAL:
        whole, result = run_onnxruntime(path, x), run_onnxruntime(path, part)
        np.testing.assert_allclose(result, whole[:, :, 16:32, 8:40], atol=1e-5)
    else:  # integers: not a bit differs
        pytest.importorskip("torch")
        np.testing.assert_array_equal(run_torch(path, part), run_torch(path, x)[:, :, 16:32, 8:40])


@pytest.mark.parametrize("name", FILTERS)
def test_metadata_says_what_the_filter_is(samples: Path, name: str) -> None:
    model = onnx.load(samples / "filters" / f"{name}.onnx")
    metadata = {entry.key: entry.value for entry in model.metadata_props}
    assert {"licence", "purpose", "overlap", "macs_per_luma_sample", "channels", "training"} <= metadata.keys()
    assert float(metadata["macs_per_luma_sample"]) == pytest.approx(macs_per_luma_sample(model))
    assert max(entry.version for entry in model.opset_import) <= 17


@pytest.mark.parametrize("name", TRAINED)
def test_trained_filter_is_small(samples: Path, name: str) -> None:
    assert 0 < macs_per_luma_sample(onnx.load(samples / "filters" / f"{name}.onnx")) <= TRAINED[name]


@pytest.mark.parametrize("name", REAL)
def test_parameters_are_not_shared_and_multipliers_are_in_one_tensor(samples: Path, name: str) -> None:
    """Each layer has its own arrays, so that an update may change one and leave the others; `nnpf adapt` can begin."""
    from nnpf import model, prepare

    proto = onnx.load(samples / "filters" / f"{name}.onnx")
    names = [tensor.name for tensor in proto.graph.initializer if tensor.data_type == onnx.TensorProto.FLOAT]
    used = [name for node in proto.graph.node for name in node.input if name in names]
    assert sorted(used) == sorted(names)
    assert max(map(len, names)) == 1
    tensor = prepare.update_tensor(model.load(samples / "filters" / f"{name}.onnx"))
    assert tensor is not None and set(tensor.spans) == {"multipliers", "biases"}


def test_integer_filter_computes_with_integers(samples: Path) -> None:
    pytest.importorskip("torch")
    from nnpf import model
    from nnpf.engines import select_engine

    path = samples / "filters" / "tiny_int8.onnx"
    compiled = select_engine("torch", "cpu").compile(model.load(path))
    r = overlap_of(onnx.load(path))
    compiled.run({"input": np.zeros((1, 7, 8 + 2 * r, 8 + 2 * r), np.float32)})
    assert compiled.precision == "integer"


@pytest.mark.parametrize("name", TRAINED)
def test_payload_is_the_filter(samples: Path, name: str) -> None:
    """The .nnc holds graph and weights: those of the integer filter bit by bit, others rounded a little."""
    from nnpf import nnc

    folder = samples / "filters"
    models = (nnc.decode_model((folder / f"{name}.nnc").read_bytes()), onnx.load(folder / f"{name}.onnx"))
    payload, plain = ({t.name: onnx.numpy_helper.to_array(t) for t in m.graph.initializer} for m in models)
    assert payload.keys() == plain.keys()
    for key, value in plain.items():
        if name in REAL:
            np.testing.assert_allclose(payload[key], value, atol=3e-4)
        else:
            np.testing.assert_array_equal(payload[key], value)


@pytest.mark.parametrize("name", TRAINED)
def test_trained_filter_gains_on_the_sample_stream(
    samples: Path, pairs, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """About what its record says, in luma and chroma."""
    monkeypatch.syspath_prepend(str(ROOT / "tools" / "training"))
    from evaluate import gains, session

    run = session(samples / "filters" / f"{name}.onnx", threads=1)
    found = gains(run, pairs, every=16).mean(0)
    record = json.loads((samples / "filters" / f"{name}.json").read_text())["measured"]["bbb"]["37"]
    assert (found > 0.5 * np.array(record)).all() and min(record) > 0


@pytest.mark.parametrize("name", TRAINED)
def test_record_says_that_nothing_gets_worse(samples: Path, name: str) -> None:
    """At every rate point of every clip that it was measured on, none of which is in its training data."""
    record = json.loads((samples / "filters" / f"{name}.json").read_text())
    trained = {clip for part in record["parts"] for clip in part["clips"]}
    assert set(record["measured"]) == {"bbb", "bqmall", "kimono", "racehorses"}
    assert not any(clip in other for clip in record["measured"] for other in trained)
    assert min(gain for by_qp in record["measured"].values() for row in by_qp.values() for gain in row) > 0


@pytest.mark.parametrize("name", TRAINED)
def test_trained_filter_heeds_the_strength(samples: Path, pairs, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """At a low QP it takes its hand off: the correction is smaller than at a high one."""
    monkeypatch.syspath_prepend(str(ROOT / "tools" / "training"))
    from evaluate import input_tensor

    path = samples / "filters" / f"{name}.onnx"
    r = overlap_of(onnx.load(path))
    planes = [plane[0] for plane in pairs.coded]

    def correction(level: float) -> float:
        x = input_tensor(planes, level, r)
        return float(np.abs(run_onnxruntime(path, x) - x[:, :6, r:-r, r:-r]).mean())

    assert correction(0.45) < correction(0.8)
