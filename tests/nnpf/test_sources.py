"""Models come out of one folder, or from where the user says, and from nowhere else."""

from pathlib import Path

import numpy as np
import pytest

from nnpf.errors import NnpfError
from nnpf.nnc import Encoder, Settings, encode
from nnpf.nnc.model import encode_model, split_model
from nnpf.nnc.updates import base_model_id
from nnpf.sources import ModelSources, apply_update, load_base
from tests.nnpf.onnx_graphs import blur_filter, identity_filter
from tests.nnpf.streams import characteristics, save


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "models with space"
    (folder / "inner").mkdir(parents=True)
    save(folder, identity_filter(6, 6, 0), "inner/f.onnx")
    save(tmp_path, identity_filter(6, 6, 0), "outside.onnx")
    (folder / "link.onnx").symlink_to(tmp_path / "outside.onnx")
    return folder


def test_relative_and_file_uris(root: Path) -> None:
    sources = ModelSources(root)
    expected = (root / "inner/f.onnx").resolve()
    assert sources.path_of("inner/f.onnx") == expected
    assert sources.path_of("inner/../inner/f.onnx") == expected
    assert sources.path_of(expected.as_uri()) == expected
    assert sources.path_of("file://localhost" + expected.as_uri()[7:]) == expected


@pytest.mark.parametrize(
    ("uri", "reason"),
    [
        ("../outside.onnx", "lies outside"),
        ("inner/../../outside.onnx", "lies outside"),
        ("%2e%2e/outside.onnx", "lies outside"),
        ("link.onnx", "lies outside"),
        ("/etc/passwd", "lies outside"),
        ("file:///etc/passwd", "lies outside"),
        ("file://server/share/f.onnx", "is not fetched"),
        ("https://example.com/f.onnx", "is not fetched"),
        ("//example.com/f.onnx", "is not fetched"),
        ("inner", "is not in the model folder"),
        ("absent.onnx", "is not in the model folder"),
        ("", "names no file"),
        ("f\0.onnx", "names no file"),
        ("http://[::1", "is no URI"),
    ],
)
def test_what_is_refused(root: Path, uri: str, reason: str) -> None:
    with pytest.raises(NnpfError, match=reason):
        ModelSources(root).path_of(uri)


def test_the_users_map_goes_first(root: Path, tmp_path: Path) -> None:
    sources = ModelSources(None, {"https://example.com/f.onnx": tmp_path / "outside.onnx"})
    message = characteristics(uri="https://example.com/f.onnx", tag_uri="tag:example.com,2023:nnpf")
    assert load_base(message, sources).model.name == str(tmp_path / "outside.onnx")
    with pytest.raises(NnpfError, match="no folder to look for it"):
        sources.path_of("f.onnx")


def test_a_format_that_is_not_known(root: Path) -> None:
    with pytest.raises(NnpfError, match=r"model format 'tag:example.com,2023:nnpf' is not known"):
        load_base(characteristics(uri="inner/f.onnx", tag_uri="tag:example.com,2023:nnpf"), ModelSources(root))


def test_an_update_by_uri_replaces_parameters(root: Path) -> None:
    base = characteristics(uri="inner/f.onnx")
    save(root, identity_filter(6, 6, 0, offset=0.25), "new.onnx")
    update = characteristics(uri="new.onnx", base_flag=0)
    sources = ModelSources(root)
    model = apply_update(load_base(base, sources), update, sources)
    assert model.parameters["bias"].tolist() == [0.25] * 6
    assert np.array_equal(model.parameters["weight"], load_base(base, sources).model.parameters["weight"])


def test_a_payload_that_is_damaged_is_one_clear_error(root: Path) -> None:
    base = characteristics(uri="inner/f.onnx")
    update = characteristics(base_flag=0, mode_idc=0, tag_uri=None, uri=None, payload=b"\xff\x00 no bitstream")
    sources = ModelSources(root)
    with pytest.raises(NnpfError, match="update of NNPFC 1"):
        apply_update(load_base(base, sources), update, sources)
    with pytest.raises(NnpfError, match="payload of NNPFC 1"):
        load_base(characteristics(mode_idc=0, tag_uri=None, uri=None, payload=b"\xff\x00 no bitstream"), sources)


def test_a_filter_in_the_stream_itself_and_its_updates(root: Path) -> None:
    model = blur_filter(6, 6, 1)
    encoder = Encoder(Settings(qp=-38))
    base_message = characteristics(
        mode_idc=0, tag_uri=None, uri=None, payload=encode_model(model.proto, encoder=encoder)
    )
    base = load_base(base_message, ModelSources(None))
    weight = base.model.parameters["weight"]
    assert 0 < np.abs(weight - model.parameters["weight"]).max() < 0.01
    step = np.linspace(-0.1, 0.1, weight.size, dtype=np.float32).reshape(weight.shape)
    results = []
    for factor in (1, 2):  # each is relative to the base, whatever came before
        coded = encode({"weight": factor * step}, Settings(qp=-38))
        update = characteristics(base_flag=0, mode_idc=0, tag_uri=None, uri=None, payload=coded)
        results.append(apply_update(base, update, ModelSources(None)).parameters["weight"])
    for factor, result in zip((1, 2), results, strict=True):
        np.testing.assert_allclose(result, weight + factor * step, atol=4e-3)  # quantised in steps of 1.4e-3, by rate


def test_what_an_update_does_where_its_payload_does_not_say(root: Path) -> None:
    """The option decides, and the model's name, which reports show, says so."""
    base = load_base(characteristics(uri="inner/f.onnx"), ModelSources(root))
    weight = base.model.parameters["weight"]
    plain = encode({"weight": np.full_like(weight, 0.5)}, Settings(qp=-38, rate_distortion=0))
    update = characteristics(base_flag=0, mode_idc=0, tag_uri=None, uri=None, payload=plain)
    added = apply_update(base, update, ModelSources(root))
    np.testing.assert_allclose(added.parameters["weight"], weight + 0.5, atol=2e-3)
    assert added.name.endswith("+ update of NNPFC 1 (difference, as the payload does not say)")
    replaced = apply_update(base, update, ModelSources(root, update_semantics="replace"))
    np.testing.assert_allclose(replaced.parameters["weight"], 0.5, atol=2e-3)
    assert replaced.name.endswith("(replace, as the payload does not say)")
    coded = Encoder(Settings(qp=-38)).encode_update({"weight": np.full_like(weight, 0.5)})
    says = characteristics(base_flag=0, mode_idc=0, tag_uri=None, uri=None, payload=coded)
    same = apply_update(base, says, ModelSources(root, update_semantics="replace"))
    np.testing.assert_allclose(same.parameters["weight"], weight + 0.5, atol=2e-3)
    assert same.name.endswith("(difference)")


def test_an_update_of_another_base_is_refused(root: Path) -> None:
    """By hash, of the tensors that a bitstream of the base carries; the graph's own constants do not count."""
    base = load_base(characteristics(uri="inner/f.onnx"), ModelSources(root))
    coded = split_model(base.model.proto).tensors
    weight = base.model.parameters["weight"]
    change = {"weight": np.full_like(weight, 0.5)}
    for identity, right in ((base_model_id(coded), True), (base_model_id({"weight": weight + 1}), False)):
        payload = Encoder(Settings(qp=-38)).encode_update(change, base_model_id=identity)
        update = characteristics(base_flag=0, mode_idc=0, tag_uri=None, uri=None, payload=payload)
        if right:
            np.testing.assert_allclose(
                apply_update(base, update, ModelSources(root)).parameters["weight"], weight + 0.5, atol=2e-3
            )
        else:
            with pytest.raises(NnpfError, match="update of NNPFC 1: base_model_id: an update of the base sha256:"):
                apply_update(base, update, ModelSources(root))


def test_an_update_that_does_not_fit_names_the_tensors(root: Path) -> None:
    base = load_base(characteristics(uri="inner/f.onnx"), ModelSources(root))
    for change, message in (
        ({"other": np.ones(3, np.float32)}, "'other'"),
        ({"weight": np.ones(3, np.float32)}, r"'weight' \(3,\) float32, not"),
    ):
        payload = encode(change, Settings(qp=-38))
        update = characteristics(base_flag=0, mode_idc=0, tag_uri=None, uri=None, payload=payload)
        with pytest.raises(NnpfError, match=message):
            apply_update(base, update, ModelSources(root))
