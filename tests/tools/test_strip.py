"""`nnpf strip` as its users see it."""

import json
from pathlib import Path

import pytest

from nnpf_tools.main import main
from vsei.annexb import split
from vsei.edit import sei_units
from vsei.nal import Codec


def run(*arguments: object) -> int:
    return main([str(a) for a in arguments])


def kinds(path: Path) -> list[int]:
    """Payload types, in order."""
    return [m.payload_type for _, _, s in sei_units(split([path.read_bytes()]), Codec.VVC) for m in s.messages]


@pytest.fixture
def schedule(shared) -> Path:
    """Two filters; activations and cancellations of them."""
    return shared / "vectors/vtm/sp01_schedule_mix.266"


@pytest.mark.parametrize(
    ("options", "gone"),
    [
        ([], {210, 211}),
        (["--type", "210"], {210}),
        (["--type", "nnpfa"], {211}),
        (["--type", "decoded_picture_hash,211"], {132, 211}),
        (["--type", "all"], {132, 210, 211}),
    ],
)
def test_types(schedule, tmp_path, options, gone):
    out = tmp_path / "out.266"
    assert run("strip", schedule, "-o", out, "-q", *options) == 0
    before = kinds(schedule)
    assert gone <= set(before)
    assert kinds(out) == [kind for kind in before if kind not in gone]


def test_by_filter(schedule, tmp_path, capsys):
    def ids(path):
        assert run("dump", path, "--json") == 0
        found = [m["fields"] for m in json.loads(capsys.readouterr().out)["messages"]]
        return [f.get("nnpfc_id", f.get("nnpfa_target_id")) for f in found]

    out = tmp_path / "out.266"
    assert run("strip", schedule, "-o", out, "-q", "--id", 3) == 0
    assert set(ids(schedule)) == {3, 9}
    assert ids(out) == [i for i in ids(schedule) if i != 3]


@pytest.mark.parametrize("pictures", ["poc:8", "decode:0-2", "first", "output:1-3"])
def test_by_pictures(schedule, tmp_path, capsys, pictures):
    def found(path, *options):
        assert run("dump", path, "--json", "--type", 132, *options) == 0
        return [m["picture"] for m in json.loads(capsys.readouterr().out)["messages"]]

    out = tmp_path / "out.266"
    assert run("strip", schedule, "-o", out, "-q", "--type", 132, "--picture", pictures) == 0
    chosen = found(schedule, "--picture", pictures)
    assert chosen
    assert found(out) == [picture for picture in found(schedule) if picture not in chosen]


def test_the_report(schedule, tmp_path, capsys):
    out = tmp_path / "out.266"
    assert run("strip", schedule, "-o", out, "--json") == 0
    report = json.loads(capsys.readouterr().out)
    before = kinds(schedule)
    assert report["messages"] == {"nnpfa": before.count(211), "nnpfc": before.count(210)}
    assert report["nal_units_removed"] == before.count(210) + before.count(211)
    assert report["nal_units_changed"] == 0
    assert (report["bytes_in"], report["bytes_out"]) == (schedule.stat().st_size, out.stat().st_size)
    assert run("strip", out, "-o", tmp_path / "again.266") == 0
    assert capsys.readouterr().err == "took out nothing: 0 bytes\n"
    assert (tmp_path / "again.266").read_bytes() == out.read_bytes()


@pytest.mark.parametrize("options", [["--type", "nothing"], ["--picture", "poc:"], ["--type", ""]])
def test_wrong_usage(samples, tmp_path, capsys, options):
    assert run("strip", samples / "bbb_q37.266", "-o", tmp_path / "out.266", *options) == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_an_output_is_wanted(samples):
    with pytest.raises(SystemExit) as stopped:
        run("strip", samples / "bbb_q37.266")
    assert stopped.value.code == 2
