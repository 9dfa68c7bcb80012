"""Reports of apply, eval and adapt as one kind of data."""

import json
import math
from pathlib import Path

import pytest

from nnpf.errors import NnpfError
from nnpf.provenance import file_facts
from nnpf.report.documents import merged, parse, read_document
from nnpf.report.files import locate
from tests.report.example import eval_document


def apply_document(pictures: int = 7, stream: str | None = "clip0.266") -> dict[str, object]:
    applied = {"nnpfc_id": 1, "model": "/models/f.onnx", "update": False, "engine": "torch", "device": "CPU"}
    applied |= {"seconds": [0.001, 0.01, 0.002], "instead_of": None}
    return {
        "summary": {"stream": stream, "seconds": 1.5, "psnr_decoded": [30.0], "psnr_filtered": [30.5]},
        "pictures": [
            {
                "decode_index": p,
                "output_index": p,
                "poc": 2 * p,
                "clvs": p // 4,
                "kind": "filtered" if p else "decoded",
                "applied": [applied] if p else [],
                "reasons": [] if p else ["no filter"],
                "psnr_decoded": [30.0 + p],
                "psnr_filtered": [math.inf if p == 1 else 30.5 + p],
            }
            for p in range(pictures)
        ]
        + [{"kind": "interpolated", "output_index": 3}],
    }


def test_apply():
    document = parse(apply_document(), Path())
    (run,) = document.runs
    assert (run.label, run.commands, run.extra_pictures) == ("clip0", ("apply",), 1)
    assert run.engines == ("torch on CPU",)
    assert [p.gain() for p in run.pictures[:3]] == [0.5, None, 0.5]
    assert run.pictures[1].filters == ("1 f.onnx",) and run.pictures[0].filters == ()
    assert run.pictures[1].seconds == pytest.approx(0.013)
    assert run.pictures[0].reasons == ("no filter",)


def test_eval():
    document = parse(eval_document(points=4), Path())
    assert [run.label for run in document.runs] == ["clip0", "clip1", "clip2", "clip3"]
    run = document.runs[0]
    assert run.size is not None and (run.size.total, run.size.messages) == (10000, 100)
    assert run.pictures[4].gain() == pytest.approx(0.02) and run.pictures[0].gain() == pytest.approx(-0.02)
    assert run.costs[0].numbers["macs"] == 7848 and not run.costs[0].claims[0][-1]
    assert [d.rate_percent for d in document.deltas] == [-3.25, -3.25]


def test_what_only_one_of_them_knows_is_kept():
    """eval knows SSIM and bits, apply the CLVSs and how long it took."""
    documents = [parse(apply_document(), Path("/a")), parse(eval_document(), Path("/a"))]
    (run,) = merged([run for document in documents for run in document.runs])
    assert run.commands == ("eval", "apply")
    assert run.size is not None and run.seconds == 1.5
    picture = run.pictures[5]
    assert picture.clvs == 1 and picture.seconds is not None
    assert picture.after is not None and picture.after.ssim[0] == 0.9
    other = parse(apply_document(stream="other.266"), Path("/a"))
    assert len(merged([*documents[1].runs, *other.runs])) == 2


@pytest.mark.parametrize(
    "damage",
    [
        lambda d: d["points"][0].pop("pictures"),
        lambda d: d["points"][0]["pictures"].append(None),
        lambda d: d["points"][0].update(bytes="many"),
        lambda d: d.update(points=3),
        lambda d: d.pop("points"),
        lambda d: d["points"][0]["pictures"][0]["filtered"].update(psnr="x"),
        lambda d: d["bd"].append([]),
    ],
)
def test_what_is_no_report_is_one_clear_error(tmp_path, damage):
    document = eval_document()
    damage(document)
    path = tmp_path / "eval.json"
    path.write_text(json.dumps(document))
    with pytest.raises(NnpfError, match=r"eval\.json: is no report that nnpf apply --report, nnpf eval --json"):
        read_document(path)


@pytest.mark.parametrize("text", ["", "[1", "[" * 100000, "3", "null", '"x"'])
def test_other_files(tmp_path, text):
    path = tmp_path / "a.json"
    path.write_text(text)
    with pytest.raises(NnpfError, match="is no"):
        read_document(path)


def test_files_are_found_and_held_against_their_hash(tmp_path):
    (tmp_path / "sub").mkdir()
    file = tmp_path / "sub/in.266"
    file.write_bytes(b"stream")
    facts = file_facts(file)
    # Where the command ran it was elsewhere; now it is beside the report.
    found = locate("stream", "/gone/in.266", facts, tmp_path / "sub")
    assert (found.path, found.note.state, found.problem) == (file, "unchanged", None)
    file.write_bytes(b"Stream")
    found = locate("stream", "/gone/in.266", facts, tmp_path / "sub")
    assert found.path is None and found.note.state == "changed" and "has changed" in str(found.problem)
    # A file that the user names is used, and the page says what is wrong with it.
    found = locate("stream", "/gone/in.266", facts, tmp_path, [file])
    assert found.path == file and "is not the stream that the report was made from" in str(found.problem)
    file.unlink()
    found = locate("stream", "in.266", facts, tmp_path / "sub")
    assert found.path is None and found.note.state == "not found"
