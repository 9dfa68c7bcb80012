"""`nnpf validate`: what users and their scripts see."""

import io
import json
import subprocess
import sys

import pytest

from nnpf_tools.main import main
from vsei.rules.table import every_rule


def validated(capsys, *args) -> tuple[int, dict]:
    code = main(["validate", "--json", *map(str, args)])
    return code, json.loads(capsys.readouterr().out)


def vector(shared, name):
    (path,) = shared.glob(f"vectors/vtm/{name}_*.266")
    return path


def test_a_proper_stream_is_clean(samples, capsys):
    assert main(["validate", str(samples / "bbb_q37.266")]) == 0
    out, err = capsys.readouterr()
    assert out == ""
    assert err.endswith("bbb_q37.266: H.266, 65 pictures: clean\n")


def test_violations_make_the_exit_code_three(shared, capsys):
    code, document = validated(capsys, vector(shared, "s32"))
    assert code == 3
    assert document == {
        "violations": [
            {
                "rule": "nnpfc-metadata-count",
                "clause": "H.274 8.28.1.2",
                "nal_index": 2,
                "offset": 277,
                "picture": {"decode_index": 0, "output_index": 0, "poc": 0, "clvs": 0},
                "name": "nnpfc",
                "element": "nnpfc_num_metadata_extension_bits",
                "message": "4, but the elements have 6 bits",
            }
        ],
        "warnings": [],
    }


def test_warnings_alone_do_not(shared, capsys):
    code, document = validated(capsys, vector(shared, "s27"))
    assert code == 0
    assert document["violations"] == []
    assert {w["rule"] for w in document["warnings"]} == {"nnpf-prefix"}
    assert len(document["warnings"]) == 10


def test_a_finding_is_one_line_with_rule_clause_place_and_element(shared, capsys):
    path = vector(shared, "s30")
    assert main(["validate", str(path)]) == 3
    out, err = capsys.readouterr()
    assert out == (
        "violation nnpfc-base-properties (H.274 8.28.1.2): NAL unit 2 at 276, picture 0 POC 0: nnpfc: "
        "nnpfc_property_present_flag: 0 in a base filter\n"
    )
    assert err == f"{path}: H.266, 9 pictures: 1 violation, 0 warnings: nnpfc-base-properties 1\n"


def test_payloads_are_decoded(shared, capsys):
    """A real one, updates of a base that is not in the stream, and bytes that are none."""
    for name in ("s31", "sp08"):
        assert validated(capsys, vector(shared, name)) == (0, {"violations": [], "warnings": []})
    for name in ("s02", "s16"):
        code, document = validated(capsys, vector(shared, name))
        assert code == 3
        assert {v["rule"] for v in document["violations"]} == {"nnpfc-payload"}


def test_what_a_decoder_needs_is_checked_when_asked_for(shared, capsys):
    path = vector(shared, "s10")
    assert validated(capsys, path)[0] == 0
    code, document = validated(capsys, path, "--for", "vtm")
    assert code == 3
    (violation,) = document["violations"]
    assert (violation["rule"], violation["clause"]) == ("vtm-chroma-location", "VTM 23.13")
    code, document = validated(capsys, path, "--for", "nokia-vvdec")
    assert code == 3
    elements = {v["element"] for v in document["violations"] if v["rule"] == "nokia-base"}
    assert {"nnpfc_purpose", "nnpfc_tag_uri", "nnpfc_uri", "nnpfc_inp_order_idc"} <= elements


def test_findings_can_be_ignored_and_limited(shared, capsys):
    path = vector(shared, "s33")
    code, document = validated(capsys, path, "--ignore", "nnpfc-uri,nnpfc-tag-uri")
    assert (code, [v["rule"] for v in document["violations"]]) == (3, ["nnpfc-base-properties"])
    assert validated(capsys, path, "--ignore", "nnpfc-uri,nnpfc-tag-uri,nnpfc-base-properties")[0] == 0
    code, document = validated(capsys, path, "--limit", "2")
    assert (code, len(document["violations"])) == (3, 2)
    assert main(["validate", str(path), "--limit", "0", "-q"]) == 3
    assert capsys.readouterr() == ("", "")


def test_streams_come_through_pipes(shared, capsys, monkeypatch):
    class Stdin:
        buffer = io.BytesIO(vector(shared, "s32").read_bytes())

    monkeypatch.setattr(sys, "stdin", Stdin)
    code, document = validated(capsys, "-")
    assert (code, len(document["violations"])) == (3, 1)


def test_the_rules_are_listed(capsys):
    assert main(["validate", "--list-rules", "--json"]) == 0
    listed = json.loads(capsys.readouterr().out)["rules"]
    assert {"rule", "clause", "level", "statement"} == listed[0].keys()
    assert main(["validate", "--list-rules"]) == 0
    out = capsys.readouterr().out
    for rule in every_rule():
        assert f"  {rule.name}  (" in out
        assert rule.statement in out


@pytest.mark.parametrize(
    "args, problem",
    [
        ([], "give a stream"),
        (["in.266", "--ignore", "nnpfc-uri, nnpfc-everything"], "no rule nnpfc-everything"),
        (["/nowhere/in.266"], "No such file"),
    ],
)
def test_wrong_usage_is_one_line(args, problem, capsys):
    assert main(["validate", *args]) in (1, 2)
    out, err = capsys.readouterr()
    assert out == ""
    assert problem in err
    assert err.count("\n") == 1


def test_streams_without_payloads_load_no_heavy_library(shared):
    program = (
        "import sys; from nnpf_tools.main import main; code = main(['validate', '-q', sys.argv[1]]); "
        "heavy = {'numpy', 'torch', 'onnx', 'numba', 'av', 'openvino'} & set(sys.modules); "
        "sys.exit(str(heavy) if heavy else code)"
    )
    path = vector(shared, "s01")
    done = subprocess.run([sys.executable, "-c", program, path], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
