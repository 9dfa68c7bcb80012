"""`nnpf nnc`: what goes in, what comes out, exit codes."""

import json
from pathlib import Path

import numpy as np
import pytest

from nnpf import nnc
from nnpf_tools.main import main
from tests.nnc.make_vectors import model
from tests.nnc.vectors import OWN, arrays, assert_same


@pytest.fixture
def tensors(tmp_path: Path) -> Path:
    """A model as tensors by name."""
    path = tmp_path / "model.npz"
    np.savez(path, **model())
    return path


def test_info_as_table(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["nnc", "info", str(OWN / "default.nnc")]) == 0
    rows = {cells[0]: cells[1:] for line in capsys.readouterr().out.splitlines() if (cells := line.split())}
    assert rows["conv.weight"][:4] == ["8x4x3x3", "FLOAT", "dependent", "0.00146484"]
    assert rows["table"][:3] == ["5x6", "INT", "none"]


def test_info_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["nnc", "info", str(OWN / "batch_norm.nnc"), "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["bytes"] == (OWN / "batch_norm.nnc").stat().st_size
    assert [t["name"] for t in report["tensors"]] == ["c.bias", "bn.beta", "bn.gamma", "bn.mean", "bn.var", "c.weight"]
    first = report["tensors"][0]
    assert first["payload_type"] == "BLOCK"
    assert first["qp"] == -38
    assert first["step"] == pytest.approx(0.00146484375)


def test_info_of_an_update_needs_what_it_refers_to(capsys: pytest.CaptureFixture[str]) -> None:
    update = str(OWN / "update_1.nnc")
    assert main(["nnc", "info", update]) == 1
    assert capsys.readouterr().err.startswith(f"nnpf: {update}: offset ")
    assert main(["nnc", "info", update, "--base", str(OWN / "update_0.nnc"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["update"] is True


def test_trace(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["nnc", "info", str(OWN / "default.nnc"), "--trace"]) == 0
    assert "general_profile_idc = 1" in capsys.readouterr().out


@pytest.mark.parametrize("suffix", [".npz", ".safetensors"])
def test_decode(tmp_path: Path, suffix: str) -> None:
    out = tmp_path / f"out{suffix}"
    assert main(["nnc", "decode", str(OWN / "default.nnc"), "-o", str(out)]) == 0
    if suffix == ".npz":
        assert_same(arrays(out), arrays(OWN / "default.npz"))
    else:
        from nnpf.nnc.safetensors import read_safetensors

        assert_same(read_safetensors(out.read_bytes()), arrays(OWN / "default.npz"))


def test_an_existing_file_is_kept(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out.npz"
    out.write_bytes(b"precious")
    assert main(["nnc", "decode", str(OWN / "default.nnc"), "-o", str(out)]) == 1
    assert "--force" in capsys.readouterr().err
    assert out.read_bytes() == b"precious"
    assert main(["nnc", "decode", str(OWN / "default.nnc"), "-o", str(out), "--force"]) == 0


def test_encode_and_decode(tmp_path: Path, tensors: Path, capsys: pytest.CaptureFixture[str]) -> None:
    payload, out = tmp_path / "model.nnc", tmp_path / "out.safetensors"
    assert main(["nnc", "encode", str(tensors), "-o", str(payload), "--step", "0.01"]) == 0
    assert "qp -27" in capsys.readouterr().out
    assert main(["nnc", "decode", str(payload), "-o", str(out)]) == 0


@pytest.mark.parametrize(
    ("target", "met"),
    [
        (["--psnr", "45"], lambda payload, error: error < 10 ** (-45 / 20) * 0.75),
        (["--max-error", "0.01"], lambda payload, error: error <= 0.01),
        (["--bytes", "700"], lambda payload, error: len(payload) <= 700),
        (["--lossless"], lambda payload, error: error == 0),
    ],
)
def test_targets(tmp_path: Path, tensors: Path, target: list[str], met) -> None:  # type: ignore[no-untyped-def]
    out = tmp_path / "model.nnc"
    assert main(["nnc", "encode", str(tensors), "-o", str(out), "-q", *target]) == 0
    decoded = nnc.decode(out.read_bytes())
    errors = [np.abs(decoded[n] - np.atleast_1d(v)) for n, v in model().items() if n != "table"]
    error = float(np.sqrt(np.mean(np.concatenate([e.ravel() for e in errors]) ** 2)))
    if target[0] == "--max-error":
        error = max(float(e.max()) for e in errors)
    assert met(out.read_bytes(), error)


def test_a_target_that_cannot_be_met(tmp_path: Path, tensors: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "model.nnc"
    assert main(["nnc", "encode", str(tensors), "-o", str(out), "--bytes", "20"]) == 1
    assert "no quantisation parameter meets the target" in capsys.readouterr().err
    assert not out.exists()


def test_updates(tmp_path: Path, tensors: Path) -> None:
    base, update, tuned = tmp_path / "base.nnc", tmp_path / "update.nnc", tmp_path / "tuned.npz"
    assert main(["nnc", "encode", str(tensors), "-o", str(base), "-q"]) == 0
    changed = {**nnc.decode(base.read_bytes())}
    changed["conv.bias"] = changed["conv.bias"] + np.float32(0.5)
    np.savez(tuned, **changed)
    assert main(["nnc", "encode", str(tuned), "--base", str(base), "-o", str(update), "-q"]) == 0
    assert update.stat().st_size < 160
    out = tmp_path / "out.npz"
    assert main(["nnc", "decode", str(update), "--base", str(base), "-o", str(out)]) == 0
    assert np.abs(arrays(out)["conv.bias"] - changed["conv.bias"]).max() < 0.01
    wrong = tmp_path / "wrong.npz"
    np.savez(wrong, **{**changed, "scale": np.ones(1, np.float32)})
    assert main(["nnc", "decode", str(update), "--base", str(wrong), "-o", str(out), "--force"]) == 1


def test_update_semantics_decide_where_the_payload_does_not_say(tmp_path: Path, tensors: Path) -> None:
    plain, out = tmp_path / "plain.nnc", tmp_path / "out.npz"
    plain.write_bytes(nnc.encode({"conv.bias": np.full(8, 0.5, np.float32)}))
    base = tmp_path / "base.npz"
    np.savez(base, **{k: np.atleast_1d(v) for k, v in model().items()})
    arguments = ["nnc", "decode", str(plain), "--base", str(base), "-o", str(out)]
    assert main(arguments) == 1
    assert main([*arguments, "--update-semantics", "difference"]) == 0
    added = arrays(out)["conv.bias"]
    assert main([*arguments, "--update-semantics", "replace", "--force"]) == 0
    assert np.allclose(added - model()["conv.bias"], arrays(out)["conv.bias"], atol=1e-6)


def test_a_sample_filter_goes_through(tmp_path: Path, samples: Path) -> None:
    onnx = pytest.importorskip("onnx")
    source, payload, out = samples / "filters" / "tint_red.onnx", tmp_path / "t.nnc", tmp_path / "t.onnx"
    assert main(["nnc", "encode", str(source), "-o", str(payload), "-q"]) == 0
    assert main(["nnc", "decode", str(payload), "-o", str(out)]) == 0
    onnx.checker.check_model(onnx.load(out))


def test_wrong_usage(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["nnc", "decode", str(OWN / "default.nnc"), "-o", str(tmp_path / "out.txt")]) == 2
    assert (
        main(
            ["nnc", "decode", str(OWN / "default.nnc"), "-o", str(tmp_path / "o.npz"), "--update-semantics", "replace"]
        )
        == 2
    )
    damaged = tmp_path / "damaged.nnc"
    damaged.write_bytes((OWN / "default.nnc").read_bytes()[:100])
    capsys.readouterr()
    assert main(["nnc", "decode", str(damaged), "-o", str(tmp_path / "o.npz")]) == 1
    error = capsys.readouterr().err
    assert error.startswith(f"nnpf: {damaged}: offset ")
    assert error.count("\n") == 1


def test_base_and_graph_are_inputs(tmp_path: Path, samples: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model, payload = tmp_path / "t.onnx", tmp_path / "t.nnc"
    model.write_bytes((samples / "filters/tint_red.onnx").read_bytes())
    assert main(["nnc", "encode", str(model), "-o", str(payload), "-q"]) == 0
    before = model.read_bytes(), payload.read_bytes()
    for arguments in (
        ["encode", str(model), "--base", str(payload), "-o", str(payload)],
        ["decode", str(payload), "--graph", str(model), "-o", str(model)],
    ):
        assert main(["nnc", *arguments, "--force"]) == 1
        assert "is also the input" in capsys.readouterr().err
    assert (model.read_bytes(), payload.read_bytes()) == before


def test_pipes(tmp_path: Path, tensors: Path, monkeypatch: pytest.MonkeyPatch, capfdbinary) -> None:  # type: ignore[no-untyped-def]
    """Any kind of model goes in through a pipe, and payloads and models come out of one."""
    import io
    import sys

    def through(arguments: list[str], data: bytes) -> bytes:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))
        monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(out := io.BytesIO()))
        assert main(arguments) == 0
        sys.stdout.flush()
        return out.getvalue()

    payload = through(["nnc", "encode", "-", "-o", "-"], tensors.read_bytes())
    for kind, suffix in (("npz", ".npz"), ("safetensors", ".safetensors")):
        data = through(["nnc", "decode", "-", "-o", "-", "--format", kind], payload)
        again = tmp_path / f"again{suffix}"
        again.write_bytes(data)
        assert through(["nnc", "encode", "-", "-o", "-", "--lossless"], data) == nnc.Encoder(
            nnc.Settings(lossless=True)
        ).encode(nnc.decode(payload))
    assert b"conv.weight" in through(["nnc", "info", "-"], payload)
    monkeypatch.undo()
    assert main(["nnc", "decode", str(OWN / "default.nnc"), "-o", "-"]) == 2
    assert b"--format" in capfdbinary.readouterr().err


def test_what_was_decoded_as_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    base, update, out = str(OWN / "update_0.nnc"), str(OWN / "update_1.nnc"), str(tmp_path / "out.npz")
    assert main(["nnc", "decode", base, "-o", out, "--json", "-q"]) == 0
    report = json.loads(capsys.readouterr().out)
    with np.load(out) as arrays:
        assert report["tensors"] == len(arrays.files)
        assert report["weights"] == sum(arrays[name].size for name in arrays.files)
    assert report["output"] == out
    assert report["update_semantics"] is None
    options = ["--update-semantics", "difference", "--force", "--json"]
    assert main(["nnc", "decode", update, "--base", base, "-o", out, *options]) == 0
    assert json.loads(capsys.readouterr().out)["update_semantics"] == "difference"
    assert main(["nnc", "decode", base, "-o", "-", "--format", "npz", "--json"]) == 2
    assert "both want standard output" in capsys.readouterr().err


@pytest.mark.parametrize("action", [["info"], ["decode", "-o", "out.npz"]])
def test_a_model_is_no_payload(action: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["nnc", *action, "filter.onnx"]) == 2
    assert "a model, no NNC payload; nnpf nnc encode makes one" in capsys.readouterr().err


def test_what_was_encoded_as_json(tmp_path: Path, tensors: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "model.nnc"
    assert main(["nnc", "encode", str(tensors), "-o", str(out), "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["bytes"] == out.stat().st_size
    assert (report["qp"], report["update"]) == (-54, False)
    assert main(["nnc", "encode", str(tensors), "-o", str(out), "--json", "--like-nncodec", "--force"]) == 0
    assert json.loads(capsys.readouterr().out)["qp"] == -38


def test_graphs(tmp_path: Path, samples: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A payload without its graph needs one; as text it passes NNCodec's decoder."""
    onnx = pytest.importorskip("onnx")
    source, out = samples / "filters" / "tint_red.onnx", tmp_path / "out.onnx"
    for form, shown in (("onnx", "graph: ONNX,"), ("text", "graph: ONNX as text,"), ("none", "graph: none")):
        payload = tmp_path / f"{form}.nnc"
        assert main(["nnc", "encode", str(source), "-o", str(payload), "-q", "--graph", form]) == 0
        assert main(["nnc", "info", str(payload)]) == 0
        assert shown in capsys.readouterr().out
        graph = ["--graph", str(source)] if form == "none" else []
        assert main(["nnc", "decode", str(payload), "-o", str(out), "--force", *graph]) == 0
        onnx.checker.check_model(onnx.load(out))
    out.unlink()
    capsys.readouterr()
    assert main(["nnc", "decode", str(tmp_path / "none.nnc"), "-o", str(out)]) == 1
    assert "--graph MODEL.onnx" in capsys.readouterr().err
    assert not out.exists()


def test_an_update_of_a_model_file(tmp_path: Path, samples: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A base that is sent by URI is no payload; its update names it by hash, and can name the result."""
    onnx = pytest.importorskip("onnx")
    source, tuned, update = samples / "filters" / "tiny.onnx", tmp_path / "tuned.onnx", tmp_path / "update.nnc"
    model = onnx.load(source)
    tensor = next(t for t in model.graph.initializer if t.data_type == onnx.TensorProto.FLOAT and len(t.dims) == 1)
    value = onnx.numpy_helper.to_array(tensor) + np.float32(0.25)
    tensor.CopyFrom(onnx.numpy_helper.from_array(value, tensor.name))
    onnx.save(model, tuned)
    arguments = ["nnc", "encode", str(tuned), "--base", str(source), "-o", str(update), "--force", "--hash"]
    sizes = []
    for hashes in ("none", "base", "result"):
        assert main([*arguments, hashes]) == 0
        sizes.append(update.stat().st_size)
    assert sizes[1] - sizes[0] == 72
    assert sizes[2] - sizes[1] == 72
    out = tmp_path / "out.onnx"
    capsys.readouterr()
    assert main(["nnc", "decode", str(update), "--base", str(source), "-o", str(out)]) == 0
    assert "update applied as difference" in capsys.readouterr().out
    found = {t.name: onnx.numpy_helper.to_array(t) for t in onnx.load(out).graph.initializer}
    assert np.abs(found[tensor.name] - value).max() < 0.01
    assert main(["nnc", "decode", str(update), "--base", str(tuned), "-o", str(out), "--force"]) == 1
    assert "an update of the base sha256:" in capsys.readouterr().err
    assert main(["nnc", "encode", str(source), "--base", str(source), "-o", str(update), "--force"]) == 1
    assert "nothing to send" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("broken.npz", b"PK\x03\x04 no archive", "no .npz file"),
        ("empty.npz", b"", "no .npz file"),
        ("broken.safetensors", b"\xff" * 20, "no safetensors file"),
        ("broken.onnx", b"\xff" * 20, "no ONNX model"),
        ("missing.npz", None, "No such file"),
    ],
)
def test_models_that_cannot_be_read(
    tmp_path: Path, name: str, content: bytes | None, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    assert main(["nnc", "encode", str(path), "-o", str(tmp_path / "out.nnc")]) == 1
    error = capsys.readouterr().err
    assert error.startswith(f"nnpf: {path}: ")
    assert message in error
    assert error.count("\n") == 1
    assert not (tmp_path / "out.nnc").exists()


@pytest.mark.parametrize(
    "wrong",
    [
        ["--step", "0"],
        ["--max-error", "-1"],
        ["--bytes", "0"],
        ["--psnr", "nan"],
        ["--rate-distortion", "-1"],
        ["--lossless", "--base", "b.nnc"],
    ],
)
def test_targets_that_make_no_sense(tmp_path: Path, tensors: Path, wrong: list[str]) -> None:
    assert main(["nnc", "encode", str(tensors), "-o", str(tmp_path / "out.nnc"), *wrong]) == 2


def test_verbose_names_each_tensor(tensors: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    payload = tmp_path / "model.nnc"
    for arguments in (
        ["encode", str(tensors), "-o", str(payload)],
        ["decode", str(payload), "-o", str(tmp_path / "o.npz")],
    ):
        assert main(["nnc", *arguments, "--verbose"]) == 0
        assert "nnpf: note: conv.weight 8x4x3x3 float32\n" in capsys.readouterr().err
