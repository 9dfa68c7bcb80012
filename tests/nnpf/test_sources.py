"""Models come out of one folder, or from where the user says, and from nowhere else."""

from pathlib import Path

import numpy as np
import pytest

from nnpf.errors import NnpfError
from nnpf.sources import ModelSources, apply_update, load_base
from tests.nnpf.onnx_graphs import identity_filter
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
    assert load_base(message, sources).name == str(tmp_path / "outside.onnx")
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
    model = apply_update(load_base(base, sources), base, update, sources)
    assert model.parameters["bias"].tolist() == [0.25] * 6
    assert np.array_equal(model.parameters["weight"], load_base(base, sources).parameters["weight"])


def test_a_payload_that_is_damaged_is_one_clear_error(root: Path) -> None:
    base = characteristics(uri="inner/f.onnx")
    update = characteristics(base_flag=0, mode_idc=0, tag_uri=None, uri=None, payload=b"\xff\x00 no bitstream")
    sources = ModelSources(root)
    with pytest.raises(NnpfError, match="update of NNPFC 1"):
        apply_update(load_base(base, sources), base, update, sources)
