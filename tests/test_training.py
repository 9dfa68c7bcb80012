"""The tools that make the filters of samples/filters: what is drawn, what is learned, what is written."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("onnxruntime")

TOOLS = Path(__file__).resolve().parent.parent / "tools" / "training"
CONFIG: dict[str, Any] = {
    "seed": 3,
    "integer": False,
    "network": {"channels": 4, "hidden": 1, "slope": 0.1},
    "data": {"train": ["noise"], "often": {"no*": 2}, "watch": ["noise"], "qps": [22, 37], "watch_every": 2},
    "training": {
        "steps": 4,
        "batch": 2,
        "patch": 16,
        "spread": [0.1, 0.1, 0.1],
        "mirror": 0.5,
        "optimiser": "muon",
        "rate": 1e-3,
        "warmup": 2,
        "average": 0.9,
        "half_until": 0.0,
        "plane_weights": [0.6, 0.2, 0.2],
        "watch_steps": 2,
    },
}


@pytest.fixture
def tools(monkeypatch: pytest.MonkeyPatch):
    """The modules of tools/training, which are scripts and no package."""
    monkeypatch.syspath_prepend(str(TOOLS))
    known = set(sys.modules)
    import evaluate
    import integer
    import muon
    import network
    import pairs
    import scenes
    import train

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield SimpleNamespace(
        evaluate=evaluate, integer=integer, muon=muon, network=network, pairs=pairs, scenes=scenes, train=train
    )
    torch.set_num_threads(threads)
    for name in {p.stem for p in TOOLS.glob("*.py")} - known:
        sys.modules.pop(name, None)


def clip(tools, qp: int, seed: int = 5):
    """Four pictures of 64x48: smooth originals, coded with an error that is larger on the left."""
    rng = np.random.default_rng(seed)

    def planes(unit: int):
        high, wide = 48 // unit, 64 // unit
        original = (80 + rng.integers(0, 40, (4, 1, 1)) + np.arange(wide) * np.ones((high, 1)) * unit / 2).astype(
            np.uint8
        )
        error = rng.normal(0, qp / 4, original.shape) * np.where(np.arange(wide) < wide // 2, 2, 0.5)
        return original, (4.0 * original + error).round().clip(0, 1023).astype(np.uint16)

    both = [planes(unit) for unit in (1, 2, 2)]
    original, coded = (tuple(pair[k] for pair in both) for k in (0, 1))
    return tools.pairs.Pairs("noise", qp, coded, original, np.array([qp, qp + 3, qp + 2, qp + 3]))


@pytest.fixture
def cache(tools, tmp_path: Path) -> Path:
    """A folder for checkpoints, beside a cache that holds the clip `noise`: no file needs decoding."""
    folder = tmp_path / "cache"
    folder.mkdir()
    for qp in (22, 37):
        pairs = clip(tools, qp)
        for plane, coded, original in zip(["y", "cb", "cr"], pairs.coded, pairs.original, strict=True):
            np.save(folder / f"noise_q{qp}.{plane}.npy", coded)
            np.save(folder / f"noise.{plane}.npy", original)
        np.save(folder / f"noise_q{qp}.slice_qp.npy", pairs.slice_qp)
    return tmp_path / "work"


def run(tools, work: Path, config: dict[str, Any] = CONFIG, **options: Any) -> dict[str, Any]:
    work.mkdir(exist_ok=True)
    return tools.train.train(config, [], work, torch.device("cpu"), lambda state: None, **options)


def test_patches_are_drawn_where_the_error_is_and_weighed_for_it(tools) -> None:
    """The weighted mean over what is drawn is the mean over all places: nothing counts more for being drawn often."""
    loaded = tools.train.load_clip(clip(tools, 37), 16)
    chances = loaded.chances
    assert chances.shape == (4, 2, 3)
    np.testing.assert_allclose(chances.sum((1, 2)), 1)
    assert (chances[:, :, 0] > 1.5 * chances[:, :, -1]).all()
    assert chances.min() >= tools.train.EVEN_SHARE / 6
    batch = tools.train.draw([loaded], 1, 0, batch=4000, patch=16, overlap=1, spread=[0, 0, 0], mirror=0)
    assert batch.weights.mean() == pytest.approx(1, abs=0.05)


def test_clips_are_drawn_as_often_as_asked_for(tools) -> None:
    rare, often = (tools.train.load_clip(clip(tools, qp), 16) for qp in (22, 37))
    shares = np.array([0.2, 0.8])
    options = {"batch": 1000, "patch": 16, "overlap": 1, "spread": [0, 0, 0], "mirror": 0}
    batch = tools.train.draw([rare, often], 1, 0, shares=shares, **options)
    assert np.isin(batch.strengths, np.float32(rare.strengths)).mean() == pytest.approx(0.2, abs=0.05)


def test_beyond_the_border_a_plane_goes_on_by_replication(tools) -> None:
    plane = np.arange(30, dtype=np.uint16).reshape(5, 6)
    padded = np.pad(plane, 2, mode="edge")
    for top, left in ((-2, -2), (1, 1), (0, 3), (2, -1)):
        np.testing.assert_array_equal(tools.train.cut(plane, top, left, 4), padded[top + 2 :, left + 2 :][:4, :4])


def test_coded_and_original_patches_belong_together(tools) -> None:
    """Whatever the turn, the shift and the mirror, only the coder's error is between them."""
    pairs = clip(tools, 22)
    exact = tools.pairs.Pairs(
        "same", 22, tuple(4 * p.astype(np.uint16) for p in pairs.original), pairs.original, pairs.slice_qp
    )
    loaded = tools.train.load_clip(exact, 16)
    batch = tools.train.draw([loaded], 1, 0, batch=20, patch=16, overlap=2, spread=[0.1, 0.1, 0.1], mirror=0.5)
    for coded, original, unit in zip(batch.coded, batch.original, (2, 1, 1), strict=True):
        r = 2 * unit
        np.testing.assert_allclose(coded[:, r:-r, r:-r], 4 * original, atol=1e-3)


def test_a_run_that_was_stopped_goes_on_as_if_it_had_not_been(
    tools, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = run(tools, cache)
    watch, calls = tools.train.watch, []

    def stopped(*arguments: Any):
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return watch(*arguments)

    monkeypatch.setattr(tools.train, "watch", stopped)
    other = cache.with_name("other")
    with pytest.raises(KeyboardInterrupt):
        run(tools, other)
    resumed = run(tools, other)
    assert [entry["step"] for entry in resumed["log"]] == [2, 4]
    for name, weight in whole["network"].items():
        torch.testing.assert_close(resumed["network"][name], weight, rtol=0, atol=0)


def test_a_step_is_the_same_whether_its_patches_go_together_or_one_by_one(tools, cache: Path) -> None:
    together = run(tools, cache)
    training = CONFIG["training"] | {"at_once": 1}
    apart = run(tools, cache.with_name("other"), CONFIG | {"training": training})
    assert apart["log"][-1]["loss"] == pytest.approx(together["log"][-1]["loss"], rel=1e-4)
    for name, weight in together["network"].items():
        torch.testing.assert_close(apart["network"][name], weight, rtol=0, atol=1e-4)


def test_what_was_learned_is_kept_when_the_filter_cannot_be_written(tools, cache: Path) -> None:
    def full(state: Any) -> None:
        raise OSError("no space left")

    cache.mkdir()
    with pytest.raises(OSError):
        tools.train.train(CONFIG, [], cache, torch.device("cpu"), full)
    assert torch.load(cache / "checkpoint.pt", weights_only=True)["step"] == 2


def test_the_rate_rises_and_falls_and_can_begin_anew(tools) -> None:
    once = [tools.train.rate_at(step, 100, 1e-3, 10) for step in range(100)]
    again = [tools.train.rate_at(step, 150, 1e-3, 10, begin=50) for step in range(50, 150)]
    assert again == once
    assert once.index(max(once)) in (9, 10) and max(once) == pytest.approx(1e-3)
    assert once[-1] == pytest.approx(1e-5, rel=0.1)


def test_a_network_learns(tools, cache: Path) -> None:
    """The clip's error is noise, which a filter lessens by averaging."""
    training = CONFIG["training"] | {"steps": 60, "watch_steps": 60, "rate": 5e-3, "average": 0.5}
    state = run(tools, cache, CONFIG | {"training": training})
    assert state["log"][-1]["gains"]["noise"][37][0] > 0.02


def test_the_integer_network_starts_from_the_weights_of_the_real_one(tools, cache: Path) -> None:
    real = run(tools, cache)
    slow = CONFIG["training"] | {"steps": 2, "rate": 1e-9}
    other = cache.with_name("other")
    start = cache / "checkpoint.pt"
    state = run(tools, other, CONFIG | {"integer": True, "training": slow}, start_from=start)
    for name, weight in real["best"]["weights"].items():
        torch.testing.assert_close(state["best"]["weights"][name], weight, rtol=0, atol=1e-5)
    assert (state["best"]["weights"]["ranges"][:, 1] > 0).all()


def test_a_step_of_muon_has_the_same_size_in_all_directions(tools) -> None:
    gradient = torch.randn(8, 3, 3, 3, generator=torch.Generator().manual_seed(1))
    gradient[0] *= 20
    singular = torch.linalg.svdvals(tools.muon.orthogonal(gradient.flatten(1)))
    assert singular.min() > 0.4 and singular.max() < 1.4


def test_the_file_does_what_was_trained(tools, tmp_path: Path) -> None:
    import onnx

    network = tools.network.Filter(tools.network.Shape(8, 2, 0.1))
    torch.nn.init.normal_(network.convs[-1].weight, std=0.1)
    onnx.save(tools.network.to_onnx(network, purpose="test", training="none"), tmp_path / "net.onnx")
    found = tools.evaluate.session(tmp_path / "net.onnx", threads=1)
    x = torch.rand(1, 7, 24, 30)
    (result,) = found.session.run(None, {"input": x.numpy()})
    np.testing.assert_allclose(result, network(x).detach().numpy(), atol=1e-6)
    assert found.overlap == network.shape.overlap


def test_the_integer_file_does_what_was_trained(tools, tmp_path: Path) -> None:
    """On the engine that computes with integers, and the same bits whatever the patch."""
    import onnx

    from nnpf import model
    from nnpf.engines import select_engine

    network = tools.integer.IntegerFilter(tools.network.Shape(8, 2, 0.1))
    torch.nn.init.normal_(network.convs[-1].weight, std=0.1)
    x = torch.randint(0, 1024, (1, 7, 40, 44)).float() / 1023
    network(x)  # learns the ranges of the activations
    network.eval()
    trained = network(x).detach().numpy()
    onnx.save(tools.integer.to_onnx(network, purpose="test", training="none"), tmp_path / "net.onnx")
    compiled = select_engine("torch", "cpu").compile(model.load(tmp_path / "net.onnx"))
    result = compiled.run({"input": x.numpy()})
    assert compiled.precision == "integer"
    # Where a sum lies between two integers, real numbers may round it the other way.
    assert np.mean(np.abs(result - trained) > 1e-4) < 0.02
    r = network.shape.overlap
    part = compiled.run({"input": x[:, :, 5 : 25 + 2 * r, 3 : 33 + 2 * r].contiguous().numpy()})
    np.testing.assert_array_equal(part, result[:, :, 5:25, 3:33])


def test_a_scene_is_the_same_each_time_and_moves(tools, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from PIL import Image

    rng = np.random.default_rng(2)
    Image.fromarray(rng.integers(0, 256, (30, 50, 3)).astype(np.uint8)).resize((500, 300)).save(tmp_path / "back.png")
    Image.fromarray(rng.integers(0, 256, (20, 20, 4)).astype(np.uint8)).resize((200, 200)).save(tmp_path / "front.png")
    monkeypatch.setattr(tools.scenes, "PICTURES", 3)
    first, again = (tools.scenes.scene("name", tmp_path / "back.png", [tmp_path / "front.png"]) for _ in range(2))
    assert [plane.shape for plane in first[0]] == [(240, 416), (120, 208), (120, 208)]
    for one, other in zip(first, again, strict=True):
        for a, b in zip(one, other, strict=True):
            np.testing.assert_array_equal(a, b)
    assert np.mean(first[0][0] != first[-1][0]) > 0.05


def test_an_excerpt_shows_the_region_of_the_video(tools, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import av

    picture = np.zeros((160, 320, 3), np.uint8)
    picture[16:136, 100:308] = 255  # between black bars
    with av.open(str(tmp_path / "film.mkv"), "w") as out:
        stream = out.add_stream("ffv1", rate=25)
        stream.width, stream.height, stream.pix_fmt = 320, 160, "bgr0"
        for _ in range(4):
            out.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        out.mux(stream.encode(None))
    monkeypatch.setattr(tools.scenes, "PICTURES", 2)
    whole = tools.scenes.excerpt(tmp_path / "film.mkv", 1, 2)
    region = tools.scenes.excerpt(tmp_path / "film.mkv", 1, 2, [100, 16, 208, 120])
    assert len(region) == 2 and [plane.shape for plane in region[0]] == [(240, 416), (120, 208), (120, 208)]
    assert (region[1][0] == 235).all() and whole[1][0].min() == 16
    with pytest.raises(ValueError, match="only 1 pictures"):
        tools.scenes.excerpt(tmp_path / "film.mkv", 2, 2)


def test_a_blend_is_no_worse_than_either_end(
    tools, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import json

    import blend
    import yaml

    training = CONFIG["training"] | {"steps": 60, "watch_steps": 30, "rate": 5e-3, "average": 0.5}
    config = CONFIG | {"training": training, "threads": 1, "data": CONFIG["data"] | {"watch_every": 1}}
    ends = [tmp_path / name for name in ("earlier", "later")]
    for end, steps in zip(ends, (30, 60), strict=True):
        run(tools, end, config | {"training": training | {"steps": steps}})
    (tmp_path / "c.yaml").write_text(yaml.safe_dump(config))
    monkeypatch.setattr(tools.train, "data_version", lambda folders, names, qps: {})
    words = ["blend.py", tmp_path / "c.yaml", *(end / "checkpoint.pt" for end in ends), "--clips", tmp_path]
    words += ["--work", tmp_path / "blended", "--output", tmp_path / "f.onnx"]
    monkeypatch.setattr(sys, "argv", [str(word) for word in words])
    blend.main()
    record = json.loads((tmp_path / "f.json").read_text())
    chosen = torch.load(tmp_path / "blended" / "checkpoint.pt", weights_only=True)["best"]
    scores = [torch.load(end / "checkpoint.pt", weights_only=True)["best"]["score"] for end in ends]
    assert chosen["score"] >= max(scores) - 1e-6
    assert (tmp_path / "f.onnx").exists() and 0 <= record["blend"]["share_of_later"] <= 1


def test_bd_rate_of_more_quality_at_the_same_size_is_a_saving(tools) -> None:
    pytest.importorskip("bjontegaard")
    qps, sizes = tools.evaluate.QPS, {22: 100_000, 27: 50_000, 32: 25_000, 37: 12_000, 42: 6_000}
    means = {q: np.array([[50 - q / 2] * 3, [50 - q / 2 + 0.1, 50 - q / 2, 50 - q / 2 - 0.1]]) for q in qps}
    for luma, cb, cr in tools.evaluate.bd_rates(sizes, means).values():
        assert -4 < luma < -1
        assert cb == pytest.approx(0, abs=1e-6)
        assert 1 < cr < 4
