"""The files in samples/: they fit together, every filter runs everywhere alike, and the trained one does its work."""

import json
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
import pytest

ROOT = Path(__file__).resolve().parent.parent
TINTS = ["tint_red", "tint_green", "tint_blue"]
FILTERS = [*TINTS, "first"]
MAX_MACS = 8000  # per luma sample: what "small" means for the first filter
MAX_STREAM, MAX_ORIGINAL = 100_000, 2_500_000  # bytes; a clone stays small

onnxruntime = pytest.importorskip("onnxruntime")


def overlap_of(model: onnx.ModelProto) -> int:
    return int({entry.key: entry.value for entry in model.metadata_props}["overlap"])


def macs_per_luma_sample(model: onnx.ModelProto) -> float:
    """Multiplications of all convolutions. They run on the half-resolution tensor: four luma samples per position."""
    weights = {tensor.name: tensor.dims for tensor in model.graph.initializer}
    return sum(float(np.prod(weights[node.input[1]])) for node in model.graph.node if node.op_type == "Conv") / 4


def run_onnxruntime(path: Path, x: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return np.asarray(session.run(["output"], {"input": x})[0])


def run_openvino(path: Path, x: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    import openvino

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


@pytest.mark.parametrize("name", FILTERS)
def test_both_engines_agree(samples: Path, name: str) -> None:
    path = samples / "filters" / f"{name}.onnx"
    overlap = overlap_of(onnx.load(path))
    x = np.random.default_rng(1).random((2, 7, 32 + 2 * overlap, 48 + 2 * overlap), np.float32)
    here, there = run_onnxruntime(path, x), run_openvino(path, x)
    assert here.shape == there.shape == (2, 6, 32, 48)
    np.testing.assert_allclose(here, there, atol=1e-5)


def test_result_does_not_depend_on_the_patch_size(samples: Path) -> None:
    """No convolution pads: a part of the picture with its overlap gives the same samples as the whole."""
    path = samples / "filters" / "first.onnx"
    r = overlap_of(onnx.load(path))
    x = np.random.default_rng(2).random((1, 7, 40 + 2 * r, 56 + 2 * r), np.float32)
    whole = run_onnxruntime(path, x)
    part = run_onnxruntime(path, x[:, :, 16 : 32 + 2 * r, 8 : 40 + 2 * r])
    np.testing.assert_allclose(part, whole[:, :, 16:32, 8:40], atol=1e-5)


@pytest.mark.parametrize("name", FILTERS)
def test_metadata_says_what_the_filter_is(samples: Path, name: str) -> None:
    model = onnx.load(samples / "filters" / f"{name}.onnx")
    metadata = {entry.key: entry.value for entry in model.metadata_props}
    assert {"licence", "purpose", "overlap", "macs_per_luma_sample", "channels", "training"} <= metadata.keys()
    assert float(metadata["macs_per_luma_sample"]) == pytest.approx(macs_per_luma_sample(model))
    assert max(entry.version for entry in model.opset_import) <= 17


def test_trained_filter_is_small(samples: Path) -> None:
    assert 0 < macs_per_luma_sample(onnx.load(samples / "filters" / "first.onnx")) <= MAX_MACS


def test_parameters_are_not_shared(samples: Path) -> None:
    """Each layer has its own arrays, so that an update may change one and leave the others."""
    model = onnx.load(samples / "filters" / "first.onnx")
    names = [tensor.name for tensor in model.graph.initializer]
    used = [name for node in model.graph.node for name in node.input if name in names]
    assert sorted(used) == sorted(names)


def test_trained_filter_gains_on_the_sample_stream(samples: Path, pairs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "tools" / "training"))
    from evaluate import gains, session

    run = session(samples / "filters" / "first.onnx", threads=1)
    luma, cb, cr = gains(run, pairs, every=16).mean(0)
    card = json.loads((samples / "filters" / "first.json").read_text())["measured"]["bbb"]["37"]
    assert luma > 0.5 * card[0] > 0
    assert min(cb, cr) > -0.03  # chroma is left as good as it was


def test_trained_filter_heeds_the_strength(samples: Path, pairs, monkeypatch: pytest.MonkeyPatch) -> None:
    """At a low QP it takes its hand off: the correction is smaller than at a high one."""
    monkeypatch.syspath_prepend(str(ROOT / "tools" / "training"))
    from evaluate import input_tensor

    path = samples / "filters" / "first.onnx"
    r = overlap_of(onnx.load(path))
    planes = [plane[0] for plane in pairs.coded]

    def correction(level: float) -> float:
        x = input_tensor(planes, level, r)
        return float(np.abs(run_onnxruntime(path, x) - x[:, :6, r:-r, r:-r]).mean())

    assert correction(0.45) < correction(0.8)


@pytest.mark.parametrize(
    ("name", "plane", "up"), [("tint_red", 2, True), ("tint_blue", 1, True), ("tint_green", 2, False)]
)
def test_tint_is_plain_to_see(samples: Path, name: str, plane: int, up: bool) -> None:
    """Grey takes on the colour: chroma moves by more than a tenth of the range, luma stays near."""
    x = np.full((1, 7, 8, 8), 0.5, np.float32)
    y = run_onnxruntime(samples / "filters" / f"{name}.onnx", x)[0].mean((1, 2))
    moved = y[[0, 4, 5]] - 0.5
    assert (moved[plane] > 0.1) if up else (moved[plane] < -0.1)
    assert abs(moved[0]) < 0.05
