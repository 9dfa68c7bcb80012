"""The calls that people make from Python: the same as the commands, without start-up and without files between."""

import hashlib
import re
import subprocess
import sys

import numpy as np
import pytest

import nnpf
import vsei
from nnpf.injection import BrokenRule
from nnpf.outputs import OutputError
from nnpf.spec import SpecError
from nnpf_tools.main import main


@pytest.fixture
def tint(samples):
    return samples / "filters/tint_red.onnx"


@pytest.fixture
def stream(samples):
    return samples / "bbb_q37.266"


def md5(frame):
    digest = hashlib.md5(usedforsecurity=False)
    for plane in frame.file_planes():
        digest.update(plane.data)
    return digest.hexdigest()


def test_import_needs_nothing_that_is_large():
    heavy = "{'numpy', 'torch', 'onnx', 'openvino', 'av', 'numba', 'yaml'}"
    code = f"import sys, nnpf, vsei; print(sorted({heavy} & set(sys.modules)), 'apply' in dir(nnpf))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "[] True\n"


def test_every_exported_name_is_there():
    assert nnpf.__all__ == sorted(nnpf._MODULES)
    for name in nnpf.__all__:
        assert getattr(nnpf, name).__doc__, name
    assert nnpf.nnc.encode_model
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        _ = nnpf.nothing
    for name in vsei.__all__:
        assert getattr(vsei, name).__doc__, name


def test_inject_writes_what_the_command_writes(stream, tint, tmp_path):
    done = nnpf.inject(stream, tmp_path / "a.266", base=tint, elements={"nnpfc_padding_type": 1})
    command = ["inject", stream, "--base", tint, "--set", "nnpfc_padding_type=1", "-o", tmp_path / "b.266", "-q"]
    assert main(list(map(str, command))) == 0
    assert (tmp_path / "a.266").read_bytes() == (tmp_path / "b.266").read_bytes()
    assert (done.bytes_in, done.bytes_out) == (stream.stat().st_size, (tmp_path / "a.266").stat().st_size)
    assert done.messages == len(list(vsei.read_messages(tmp_path / "a.266"))) == 6
    assert done.pictures == 65


def test_inject_takes_a_specification_as_data_or_file(stream, tint, tmp_path):
    data = {"filters": [{"id": 7, "base": str(tint)}], "activations": [{"target": 7, "at": "first"}]}
    nnpf.inject(stream, tmp_path / "a.266", data)
    (tmp_path / "spec.yaml").write_text(
        f"filters: [{{id: 7, base: {tint}}}]\nactivations: [{{target: 7, at: first}}]\n"
    )
    nnpf.inject(stream, tmp_path / "b.266", tmp_path / "spec.yaml")
    assert (tmp_path / "a.266").read_bytes() == (tmp_path / "b.266").read_bytes()


@pytest.mark.parametrize(
    ("arguments", "error", "text"),
    [
        ({}, SpecError, "a specification is wanted, or base, or updates"),
        ({"specification": {}, "base": "x.onnx"}, SpecError, "give one or the other"),
        ({"base": "x.onnx", "nnpfc_id": -1}, SpecError, "nnpfc_id -1: must be 0.."),
        ({"base": "none.onnx"}, SpecError, "base: none.onnx: "),
        ({"base": "x.onnx", "activate": "update"}, SpecError, "activate update: needs updates"),
        ({"base": "x.onnx", "elements": {"padding": 1}}, SpecError, "elements padding: give the standard's name"),
        ({"updates": {"poc:": "u.nnc"}}, SpecError, "updates: "),
        ({"base": "x.onnx", "decoder": "other"}, vsei.VseiError, "no decoder 'other': there are "),
    ],
)
def test_what_cannot_be_injected_is_said(stream, tmp_path, arguments, error, text):
    with pytest.raises(error, match=text):
        nnpf.inject(stream, tmp_path / "out.266", **arguments)
    assert not (tmp_path / "out.266").exists()


def test_a_stream_that_breaks_the_standard_is_not_written(stream, tmp_path):
    activation = {"activations": [{"target": 3, "at": "first"}]}
    with pytest.raises(BrokenRule, match=r"H\.274"):
        nnpf.inject(stream, tmp_path / "out.266", activation)
    nnpf.inject(stream, tmp_path / "out.266", activation, checked=False)
    with pytest.raises(OutputError, match="force=True replaces it"):
        nnpf.inject(stream, tmp_path / "out.266", activation, checked=False)


def test_pictures_stay_valid_and_a_loop_may_be_left(stream, tint, tmp_path):
    nnpf.inject(stream, tmp_path / "out.266", base=tint)
    pictures = nnpf.apply(tmp_path / "out.266", models=tint.parent)
    first = [(md5(p.frame), md5(p.decoded)) for p, _ in zip(pictures, range(12), strict=False)]
    pictures.close()
    kept = [p for p, _ in zip(nnpf.apply(tmp_path / "out.266", models=tint.parent), range(12), strict=False)]
    assert [(md5(p.frame), md5(p.decoded)) for p in kept] == first
    assert {p.record.kind for p in kept} == {"filtered"}


def test_apply_says_where_a_model_is_missing(stream, tint, tmp_path):
    nnpf.inject(stream, tmp_path / "out.266", base=tint)
    with pytest.raises(nnpf.NnpfError, match=r"tint_red\.onnx: is not in the model folder"):
        next(nnpf.apply(tmp_path / "out.266"))
    mapped = nnpf.apply(tmp_path / "out.266", model_map={"file:tint_red.onnx": tint})
    assert next(mapped).record.kind == "filtered"


def test_apply_takes_what_the_command_takes(stream, samples, tmp_path):
    nnpf.inject(stream, tmp_path / "out.266", base=samples / "filters/tiny.onnx")

    def first(count, **options):
        pictures = nnpf.apply(tmp_path / "out.266", models=samples / "filters", **options)
        return [picture for picture, _ in zip(pictures, range(count), strict=False)]

    (plain,) = first(1)
    assert plain.record.applied[0].precision == "f32"
    assert plain.record.hash_check == "absent"
    (auto,) = first(1, precision="auto", engine="onnxruntime", check_hashes=False)
    assert (auto.record.applied[0].precision, auto.record.hash_check) == ("f32", "unchecked")
    with pytest.raises(nnpf.NnpfError, match="onnxruntime computes in float32"):
        first(1, precision="bf16", engine="onnxruntime")
    one, other = (first(1, deterministic=True, threads=threads) for threads in (1, 2))
    assert md5(one[0].frame) == md5(other[0].frame)
    with pytest.raises(nnpf.NnpfError, match="the stream has no picture"):
        first(1, layer_id=1)


def test_apply_keeps_going_when_it_is_asked_to(stream, tmp_path):
    data = bytearray(stream.read_bytes())
    slices = [m.start() for m in re.finditer(b"\0\0\1", bytes(data)) if data[m.start() + 4] >> 3 < 12]
    del data[slices[4] : slices[5]]
    (tmp_path / "broken.266").write_bytes(data)
    with pytest.raises(nnpf.NnpfError, match="the decoder"):
        list(nnpf.apply(tmp_path / "broken.266"))
    faults = [fault for p in nnpf.apply(tmp_path / "broken.266", keep_going=True) for fault in p.record.faults]
    assert any("left out 2 pictures" in fault for fault in faults)


def test_tensors_are_normalised_samples(stream):
    torch = pytest.importorskip("torch")
    frame = next(nnpf.apply(stream)).frame
    planes = nnpf.to_torch(frame)
    assert [tuple(p.shape) for p in planes] == [(1, 1, 240, 416), (1, 1, 120, 208), (1, 1, 120, 208)]
    assert planes[0].dtype == torch.float32
    back = np.rint(planes[0][0, 0].numpy() * 1023).astype(np.uint16)
    assert np.array_equal(back, frame.planes[0])


@pytest.mark.slow
def test_an_update_is_fitted_saved_and_injected(stream, samples, tmp_path):
    pytest.importorskip("torch")
    heard = []
    fitted = nnpf.fit_update(
        stream,
        original=samples / "bbb.mkv",
        base=samples / "filters/small.onnx",
        params="multipliers",
        steps=100,
        slope=0.01,
        tell=heard.append,
    )
    (result,) = fitted.results
    assert result.decision == "update"
    assert heard[-1].payload_bytes > 0
    (written,) = fitted.save(tmp_path / "update.nnc")
    assert written.read_bytes() == result.payload
    nnpf.inject(stream, tmp_path / "out.266", tmp_path / "update.yaml")
    names = [found.name for found in vsei.read_messages(tmp_path / "out.266")]
    assert names.count("nnpfc") > names.count("nnpfa") / 2
    shown = next(nnpf.apply(tmp_path / "out.266", models=samples / "filters"))
    assert shown.record.applied[0].update
