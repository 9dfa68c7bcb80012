"""`nnpf extract`: what it takes out goes back in exactly, whoever made the stream."""

import json
from pathlib import Path

import pytest
import yaml

from nnpf_tools.main import main
from vsei.annexb import split
from vsei.edit import sei_units
from vsei.messages import decode
from vsei.nal import Codec


def run(*arguments: object) -> int:
    return main([str(a) for a in arguments])


def streams(shared: Path) -> list[Path]:
    return [*sorted(shared.glob("vectors/*/*.266")), *sorted(shared.glob("conformance/*.bit"))]


@pytest.mark.parametrize("options", [[], ["--type", "all"], ["--type", "211,132", "--picture", "decode:0-4"]])
def test_extract_strip_and_inject_give_every_stream_back(shared, tmp_path, options):
    rest, again = tmp_path / "rest.266", tmp_path / "again.266"
    for path in streams(shared):
        folder = tmp_path / path.stem
        assert run("extract", path, "-o", folder, "-q", "--codec", "vvc", *options) == 0
        assert run("strip", path, "-o", rest, "-q", "--force", "--codec", "vvc", *options) == 0
        assert run("inject", rest, folder / "spec.yaml", "-o", again, "-q", "--force") == 0
        assert again.read_bytes() == path.read_bytes(), path.name


def test_payloads_are_files_and_what_is_repeated_is_one(shared, tmp_path, capsys):
    stream = shared / "vectors/vtm/sp05_updates_mid_clvs.266"
    assert run("extract", stream, "-o", tmp_path / "x", "--json") == 0
    report = json.loads(capsys.readouterr().out)
    assert report["files"] == sorted(p.name for p in (tmp_path / "x").iterdir() if p.name != "spec.yaml")
    payloads = {
        decode(m).message.nnpfc_payload
        for _, _, s in sei_units(split([stream.read_bytes()]), Codec.VVC)
        for m in s.messages
        if m.payload_type == 210
    }
    assert {(tmp_path / "x" / name).read_bytes() for name in report["files"]} == payloads
    assert any(name.startswith("nnpfc_") and name.endswith("_update.nnc") for name in report["files"])


def test_the_specification_is_in_the_standards_words(shared, tmp_path):
    assert run("extract", shared / "vectors/vtm/sp01_schedule_mix.266", "-o", tmp_path / "x", "-q") == 0
    text = (tmp_path / "x/spec.yaml").read_text()
    spec = yaml.safe_load(text)
    first = spec["nal_units"][0]
    assert (first["before"], first["nal_unit_type"], first["start_code"]) == (2, "PREFIX_SEI", 3)
    assert first["messages"][0]["type"] == "nnpfc"
    assert first["messages"][0]["elements"]["nnpfc_id"] == 3
    assert "picture 1 in decoding order, CLVS 0" in text


def test_an_extracted_message_can_be_changed_and_put_back(shared, tmp_path, capsys):
    stream = shared / "vectors/vtm/sp01_schedule_mix.266"
    assert run("extract", stream, "-o", tmp_path / "x", "-q") == 0
    assert run("strip", stream, "-o", tmp_path / "rest.266", "-q") == 0
    spec = yaml.safe_load((tmp_path / "x/spec.yaml").read_text())
    spec["nal_units"][0]["messages"][0]["elements"]["nnpfc_overlap"] = 7
    (tmp_path / "x/spec.yaml").write_text(yaml.safe_dump(spec))
    assert run("inject", tmp_path / "rest.266", tmp_path / "x/spec.yaml", "-o", tmp_path / "new.266", "-q") == 0
    assert run("dump", tmp_path / "new.266", "--json", "--limit", 1) == 0
    assert json.loads(capsys.readouterr().out)["messages"][0]["fields"]["nnpfc_overlap"] == 7


def test_messages_can_move_to_another_stream_of_the_same_structure(shared, samples, tmp_path):
    """The same clip at another QP, where it has as many NAL units."""
    one, other = shared / "clips/cactus_q37.266", shared / "clips/cactus_q42.266"
    filter_ = samples / "filters/tint_red.onnx"
    assert run("inject", one, "--base", filter_, "-o", tmp_path / "a.266", "-q") == 0
    assert run("extract", tmp_path / "a.266", "-o", tmp_path / "x", "-q") == 0
    assert run("inject", other, tmp_path / "x/spec.yaml", "-o", tmp_path / "b.266", "-q") == 0
    assert run("inject", other, "--base", filter_, "-o", tmp_path / "c.266", "-q") == 0
    assert (tmp_path / "b.266").read_bytes() == (tmp_path / "c.266").read_bytes()


def test_another_stream_is_refused(shared, samples, tmp_path, capsys):
    assert run("extract", shared / "vectors/vtm/s01_vq_uri_ra.266", "-o", tmp_path / "x", "-q") == 0
    out = tmp_path / "out.266"
    assert run("inject", samples / "bbb_q37.266", tmp_path / "x/spec.yaml", "-o", out, "-q") == 1
    assert "71 NAL units; the stream that the messages were taken out of has" in capsys.readouterr().err
    assert not out.exists()


def test_the_codec_has_to_be_the_same(shared, tmp_path, capsys):
    stream = shared / "vectors/vtm/s01_vq_uri_ra.266"
    assert run("extract", stream, "-o", tmp_path / "x", "-q") == 0
    assert run("inject", stream, tmp_path / "x/spec.yaml", "-o", tmp_path / "o", "--codec", "hevc") == 1
    assert capsys.readouterr().err.endswith("spec.yaml: line 4: codec: vvc, the stream is hevc\n")


def test_a_stream_without_messages_gives_a_specification_without(samples, tmp_path):
    stream = samples / "bbb_q37.266"
    assert run("extract", stream, "-o", tmp_path / "x", "-q") == 0
    assert run("inject", stream, tmp_path / "x/spec.yaml", "-o", tmp_path / "out.266", "-q") == 0
    assert (tmp_path / "out.266").read_bytes() == stream.read_bytes()


def test_files_are_not_replaced(samples, tmp_path, capsys):
    stream, folder = samples / "bbb_q37.266", tmp_path / "x"
    folder.mkdir()
    (folder / "mine").write_text("mine")
    assert run("extract", stream, "-o", folder) == 1
    assert capsys.readouterr().err == f"nnpf: {folder}: is not empty; --force writes into it\n"
    assert run("extract", stream, "-o", folder / "mine") == 1
    assert capsys.readouterr().err == f"nnpf: {folder / 'mine'}: is no folder\n"
    assert run("extract", stream, "-o", "-") == 2


def test_a_failure_leaves_nothing(tmp_path):
    (tmp_path / "in.266").write_bytes(b"no byte stream")
    assert run("extract", tmp_path / "in.266", "-o", tmp_path / "x", "-q") == 1
    assert not (tmp_path / "x").exists()
