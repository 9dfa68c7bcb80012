"""`nnpf dump`: what users and their scripts see."""

import io
import json
import subprocess
import sys

import pytest

from nnpf_tools.main import main
from vsei import edit, messages, selection
from vsei.annexb import split
from vsei.messages import NnpfActivation
from vsei.messages.nesting import ScalableNesting
from vsei.nal import Codec
from vsei.sei import SeiMessage


def dumped(capsys, *args: str) -> dict:
    assert main(["dump", "--json", *map(str, args)]) == 0
    return json.loads(capsys.readouterr().out)


def test_json_gives_the_expected_messages_of_every_vector(shared, capsys):
    for path in sorted(shared.glob("vectors/vtm/*.266")):
        document = dumped(capsys, path)
        expected = json.loads(path.with_suffix(".expected.json").read_text())
        # The expected messages are those that are in no other one.
        found = [{k: m[k] for k in expected[0]} for m in document["messages"] if m["name"] in ("nnpfc", "nnpfa")]
        assert found == expected, path.name
        pocs = [line.split()[0] for line in path.with_suffix(".poc.txt").read_text().splitlines() if line[0] != "#"]
        assert document["stream"] == {
            "path": str(path),
            "codec": "vvc",
            "bytes": path.stat().st_size,
            "pictures": len(pocs),
        }
        for message in document["messages"]:
            assert message["picture"]["poc"] == int(pocs[message["picture"]["decode_index"]])
            assert path.read_bytes()[message["offset"] :].startswith((b"\0\0\1", b"\0\0\0\1"))


def test_nested_messages_stand_under_their_parent(shared, capsys):
    document = dumped(capsys, shared / "vectors/vtm/s23_po_pon_fix.266", "--type", "sei_processing_order_nesting")
    (nesting,) = document["messages"]
    assert [m["name"] for m in nesting["messages"]] == ["content_light_level_info", "nnpfc", "nnpfa"]


@pytest.fixture
def nested(samples, tmp_path):
    """A stream whose only NNPF message is nested twice."""
    inner = messages.encode(NnpfActivation(nnpfa_target_id=7, nnpfa_cancel_flag=1))
    for _ in range(2):
        nesting = ScalableNesting(
            sn_ols_flag=0,
            sn_subpic_flag=0,
            sn_all_layers_flag=1,
            sn_num_seis_minus1=0,
            payload_type=(inner.payload_type,),
            payload_size=(len(inner.payload),),
            payload=(inner.payload,),
        )
        inner = messages.encode(nesting)
    stream = split([(samples / "bbb_q37.266").read_bytes()])
    path = tmp_path / "nested.266"
    path.write_bytes(
        b"".join(
            u.to_bytes() for u in edit.inject(stream, Codec.VVC, [edit.Placement(selection.parse("first"), inner)])
        )
    )
    return path


@pytest.mark.parametrize(
    "options", [[], ["--all"], ["--all", "--type", "211"], ["--trace"], ["--trace", "--type", "nnpfa"], ["--summary"]]
)
def test_messages_are_found_inside_others(nested, capsys, options):
    assert main(["dump", str(nested), *options]) == 0
    text = capsys.readouterr().out
    assert "scalable_nesting" in text
    assert "nnpfa" in text
    assert "PPS" not in text or "--type" not in options


def test_nested_messages_are_in_json_and_in_the_summary(nested, capsys):
    (outer,) = dumped(capsys, nested)["messages"]
    assert outer["messages"][0]["messages"][0]["fields"] == {"nnpfa_target_id": 7, "nnpfa_cancel_flag": 1}
    summary = dumped(capsys, nested, "--summary")
    assert summary["filters"] == {"7": {"cancel": 1}}
    assert summary["nnpf_bytes"] == 3


@pytest.mark.parametrize(
    ("options", "error"),
    [
        (["--type", "foo"], "--type foo: no SEI payload type of H.266 has that name"),
        (["--type", "²"], "--type ²: no SEI payload type of H.266 has that name"),
        (["--summary", "--type", "211"], "--summary is of the whole stream: not together with --type"),
    ],
)
def test_wrong_options_are_wrong_usage(samples, capsys, options, error):
    assert main(["dump", str(samples / "bbb_q37.266"), *options]) == 2
    assert capsys.readouterr().err == f"nnpf: {error}\n"


def test_the_tree_reads_in_the_standards_words(shared, capsys):
    assert main(["dump", str(shared / "vectors/vtm/sp01_schedule_mix.266")]) == 0
    text = capsys.readouterr().out
    assert "nnpfc 3: base, visual quality improvement" in text
    assert "nnpfa of 3: cancel" in text
    assert "picture 1  POC 16  output 16  CLVS 0  STSA T1" in text
    assert "nnpfc_padding_type:" in text


def test_reserved_values_are_shown_and_marked(shared, capsys):
    assert main(["dump", str(shared / "vectors/vtm/sp03_reserved_values.266")]) == 0
    text = capsys.readouterr().out
    assert "! nnpfc_id 300 is reserved: decoders ignore this message" in text
    assert "! nnpfc_padding_type 7 is reserved: decoders ignore this message" in text


def test_broken_messages_are_marked_and_the_rest_is_shown(samples, tmp_path, capsys):
    def placed(message):
        return edit.Placement(selection.parse("first"), message)

    good = messages.encode(NnpfActivation(nnpfa_target_id=7, nnpfa_cancel_flag=1))
    stream = split([(samples / "bbb_q37.266").read_bytes()])
    injected = edit.inject(stream, Codec.VVC, [placed(SeiMessage(210, b"\0\1")), placed(good)])
    path = tmp_path / "broken.266"
    path.write_bytes(b"".join(u.to_bytes() for u in injected))
    assert main(["dump", str(path)]) == 0
    text = capsys.readouterr().out
    assert "! bit 16: nnpfc_id: data ends inside ue(v), 0 bits left" in text
    assert "nnpfa of 7: cancel" in text
    broken, whole = dumped(capsys, path)["messages"]
    assert broken["fields"] == {}
    assert broken["problems"] == ["bit 16: nnpfc_id: data ends inside ue(v), 0 bits left"]
    assert whole["fields"] == {"nnpfa_target_id": 7, "nnpfa_cancel_flag": 1}


@pytest.mark.parametrize("options", [[], ["--trace"]])
def test_strings_of_a_stream_do_not_reach_the_terminal_as_commands(samples, tmp_path, capsys, options):
    message = NnpfActivation(
        nnpfa_target_id=7,
        nnpfa_cancel_flag=0,
        nnpfa_persistence_flag=0,
        nnpfa_target_base_flag=1,
        nnpfa_no_prev_clvs_flag=0,
        nnpfa_num_output_entries=0,
        nnpfa_prompt_update_flag=1,
        nnpfa_prompt="süß\x9b31m\u202e\x1b[2J",
        nnpfa_seed_update_flag=0,
        nnpfa_selected_input_flag=0,
    )
    stream = split([(samples / "bbb_q37.266").read_bytes()])
    placement = edit.Placement(selection.parse("first"), messages.encode(message))
    path = tmp_path / "prompt.266"
    path.write_bytes(b"".join(u.to_bytes() for u in edit.inject(stream, Codec.VVC, [placement])))
    assert main(["dump", str(path), *options]) == 0
    text = capsys.readouterr().out
    assert r'"süß\x9b31m\u202e\u001b[2J"' in text
    assert all(c.isprintable() for c in text if c != "\n")


def test_trace_gives_bit_positions(shared, capsys):
    path = shared / "vectors/vtm/s01_vq_uri_ra.266"
    assert main(["dump", str(path), "--trace", "--type", "nnpfa", "--limit", "1"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[3].split()[:3] == ["NAL", "unit", "3"]
    assert [line.split() for line in lines[4:7]] == [
        ["0", "3", "nnpfa_target_id", "1"],
        ["3", "1", "nnpfa_cancel_flag", "0"],
        ["4", "1", "nnpfa_persistence_flag", "1"],
    ]


def test_all_shows_every_nal_unit_and_message_once(shared, capsys):
    for name in ("s24_phase_pfh", "sp04_many_in_one_nal", "s26_opengop_cra"):
        path = shared / f"vectors/vtm/{name}.266"
        assert main(["dump", str(path), "--all"]) == 0
        lines = capsys.readouterr().out.splitlines()
        shown = [line for line in lines if line.startswith("  ") and line[2:8].strip().isdigit() and " T" in line]
        assert len(shown) == len(list(split([path.read_bytes()])))


@pytest.mark.parametrize("option", ["--all", "--trace"])
def test_headers_of_chosen_pictures_have_their_parameter_sets(samples, capsys, option):
    assert main(["dump", str(samples / "bbb_q37.266"), option, "--picture", "poc:8"]) == 0
    text = capsys.readouterr().out
    assert "ph_pic_order_cnt_lsb" in text
    assert "!" not in text
    assert text.count("picture ") == 1


def test_a_limit_does_not_change_what_the_stream_is_said_to_be(shared, capsys):
    path = shared / "vectors/vtm/s01_vq_uri_ra.266"
    first = dumped(capsys, path, "--limit", "1")
    assert len(first["messages"]) == 1
    assert first["stream"] == dumped(capsys, path)["stream"]


def test_summary_counts(samples, capsys):
    assert main(["dump", "--summary", "--json", str(samples / "bbb_q37.266")]) == 0
    summary = json.loads(capsys.readouterr().out)
    assert summary["pictures"] == summary["output_pictures"] == 65
    assert summary["formats"] == {"416x240 4:2:0 10 bit": 65}
    assert summary["clvss"] == 1
    assert summary["random_access_points"] == 2
    assert summary["nnpf_bytes"] == 0


@pytest.mark.parametrize(
    ("pictures", "count"), [("poc:0", 1), ("output:0-3", 4), ("random_access", 2), ("segments", 4), ("all", 65)]
)
def test_pictures_are_chosen_as_for_inject(samples, tmp_path, capsys, pictures, count):
    message = messages.encode(NnpfActivation(nnpfa_target_id=7, nnpfa_cancel_flag=1))
    stream = split([(samples / "bbb_q37.266").read_bytes()])
    injected = edit.inject(stream, Codec.VVC, [edit.Placement(selection.parse("all"), message)])
    path = tmp_path / "all.266"
    path.write_bytes(b"".join(u.to_bytes() for u in injected))
    assert len(dumped(capsys, path, "--picture", pictures)["messages"]) == count


def test_a_pipe_is_read(samples, capsys, monkeypatch):
    data = (samples / "bbb_q37.266").read_bytes()
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(data)))
    document = dumped(capsys, "-")
    assert document["stream"] == {"path": None, "codec": "vvc", "bytes": len(data), "pictures": 65}


@pytest.mark.parametrize(
    ("content", "error"),
    [
        (b"this is text", "offset 0: no start code; not an Annex B byte stream"),
        (b"\0\0\1\xff\xff\xff", "neither H.266 nor H.265 nor H.264 shows in its first NAL units"),
    ],
)
def test_what_is_no_stream_ends_in_one_line(tmp_path, capsys, content, error):
    path = tmp_path / "x.bin"
    path.write_bytes(content)
    assert main(["dump", str(path)]) == 1
    captured = capsys.readouterr()
    assert captured.err.count("\n") == 1
    assert captured.err.startswith(f"nnpf: {path}: {error}")


def test_a_missing_file_ends_in_one_line(tmp_path, capsys):
    assert main(["dump", str(tmp_path / "none.266")]) == 1
    assert capsys.readouterr().err == f"nnpf: {tmp_path / 'none.266'}: No such file or directory\n"


HEAVY = ("torch", "onnx", "numba", "av", "openvino", "onnxruntime", "numpy")


@pytest.mark.parametrize("args", [["--help"], ["dump", "samples/bbb_q37.266"], ["dump", "--help"]])
def test_start_up_imports_nothing_heavy(samples, args):
    program = f"""
import sys
from nnpf_tools.main import main
try:
    main({args!r})
except SystemExit:
    pass
print("HEAVY:", [m for m in {HEAVY!r} if m in sys.modules])
"""
    result = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, cwd=samples.parent, check=True
    )
    assert result.stdout.endswith("HEAVY: []\n")


def test_importing_the_libraries_imports_nothing_heavy():
    program = f"import sys, vsei, nnpf; assert not [m for m in {HEAVY!r} if m in sys.modules]"
    subprocess.run([sys.executable, "-c", program], check=True)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--type", "none_such"], "no SEI payload type of H.266 has that name"),
        (["--limit", "-1"], "--limit -1: at least 0"),
    ],
)
def test_wrong_usage(samples, capsys, options, said):
    assert main(["dump", str(samples / "bbb_q37.266"), *options]) == 2
    assert said in capsys.readouterr().err
