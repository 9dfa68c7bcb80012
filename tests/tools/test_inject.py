"""`nnpf inject` as its users see it: messages in, and nothing else changed."""

import hashlib
import json
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import jsonschema
import pytest
import yaml

from nnpf.decoding import CodedPicture, decode
from nnpf_tools.main import main
from tests.nnpf.streams import luma_model
from tests.vsei.encoded import encode
from vsei.annexb import split
from vsei.edit import NNPF_TYPES, sei_units
from vsei.listing import sei_messages
from vsei.nal import Codec
from vsei.pictures import picture_units

ROOT = Path(__file__).resolve().parents[2]
SAMPLE = ROOT / "samples/bbb_q37.266"
TINT = ROOT / "samples/filters/tint_red.onnx"
COMMAND = [sys.executable, "-m", "nnpf_tools.main"]

SPEC = """
filters:
  - id: 77
    uri: file:tint.onnx
    nnpfc: {nnpfc_inp_order_idc: 0, nnpfc_out_order_idc: 0}
activations:
  - target: 77
messages:
  - {type: 300, at: first, hex: "000001000003ff"}
"""


def run(*arguments: object) -> int:
    return main([str(a) for a in arguments])


def streams(shared: Path) -> list[Path]:
    return [*sorted(shared.glob("vectors/*/*.266")), *sorted(shared.glob("conformance/*.bit"))]


def messages(path: Path, codec: Codec = Codec.VVC) -> list[tuple[int, int | None, int]]:
    """(decode index, output index, payload type)"""
    found = sei_messages(split([path.read_bytes()]), codec)
    return [(f.picture.decode_index, f.output_index, f.coded.payload_type) for f in found if f.picture]


def error(capsys: pytest.CaptureFixture[str]) -> str:
    """The one line on standard error."""
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("nnpf: ")
    assert err.count("\n") == 1
    return err[6:-1]


@pytest.fixture
def spec(tmp_path: Path) -> Path:
    path = tmp_path / "spec.yaml"
    path.write_text(SPEC)
    return path


# --- in and out ------------------------------------------------------------------------------------------------------


def test_strip_after_inject_gives_every_stream_back(shared, tmp_path, spec):
    injected, stripped = tmp_path / "in.266", tmp_path / "out.266"
    for path in streams(shared):
        assert (
            run("inject", path, spec, "-o", injected, "--on-existing", "keep", "-q", "--force", "--codec", "vvc") == 0
        )
        assert len(injected.read_bytes()) > len(path.read_bytes())
        assert run("strip", injected, "-o", tmp_path / "half.266", "--id", 77, "-q", "--force") == 0
        assert run("strip", tmp_path / "half.266", "-o", stripped, "--type", 300, "-q", "--force") == 0
        assert stripped.read_bytes() == path.read_bytes(), path.name


@pytest.mark.parametrize(
    "name",
    [
        "vectors/streams/cra_start_open_gop.266",
        "vectors/vtm/sp04_many_in_one_nal.266",
        "conformance/10b422_B_Sony_5.bit",
    ],
)
def test_the_pictures_stay_the_same(shared, tmp_path, spec, name):
    injected = tmp_path / "in.266"
    assert run("inject", shared / name, spec, "-o", injected, "--on-existing", "keep", "-q", "--codec", "vvc") == 0
    assert decoded(injected) == decoded(shared / name) != []


def decoded(path: Path) -> list[str]:
    units = [u for u in picture_units(split([path.read_bytes()]), Codec.VVC) if u.picture is not None]
    pictures = [
        CodedPicture(
            b"".join(n.to_bytes() for n in u.units),
            u.picture.decode_index,
            eight_bit=u.picture.format.bit_depth_luma == 8,
        )
        for u in units
    ]
    frames = decode(pictures, "vvc")
    return [hashlib.md5(b"".join(bytes(p.data) for p in f.frame.file_planes())).hexdigest() for f in frames]


@pytest.mark.parametrize(("encoder", "codec"), [("libx265", "hevc"), ("libx264", "avc")])
def test_other_codecs(tmp_path, spec, encoder, codec):
    original = tmp_path / f"in.{codec}"
    original.write_bytes(encode(encoder, "keyint=8:bframes=2"))
    assert run("inject", original, spec, "-o", tmp_path / f"out.{codec}", "-q") == 0
    kinds = [kind for *_, kind in messages(tmp_path / f"out.{codec}", Codec(codec))]
    assert kinds.count(210) == 3
    assert kinds.count(211) >= 3
    assert run("strip", tmp_path / f"out.{codec}", "-o", tmp_path / f"half.{codec}", "-q") == 0
    half, again = tmp_path / f"half.{codec}", tmp_path / f"again.{codec}"
    assert run("strip", half, "-o", again, "-q", "--type", 300) == 0
    assert again.read_bytes() == original.read_bytes()


# --- what goes where -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "characteristics", "activations"),
    [
        ([], [0, 32], [0, 5, 32, 37]),
        (["--repeat", "first"], [0], [0, 5, 32, 37]),
        (["--repeat", "clvs_start"], [0], [0, 5, 32, 37]),
        (["--activate", "none"], [0, 32], []),
        (["--activate-at", "poc:0"], [0, 32], [5]),
        (["--activate-at", "all"], [0, 32], list(range(65))),
    ],
)
def test_the_common_case_by_options(tmp_path, options, characteristics, activations):
    out = tmp_path / "out.266"
    assert run("inject", SAMPLE, "--base", TINT, "-o", out, "-q", *options) == 0
    found = messages(out)
    assert [index for index, _, kind in found if kind == 210] == characteristics
    assert [index for index, _, kind in found if kind == 211] == activations


def test_every_picture_is_filtered_by_default_wherever_decoding_starts(tmp_path):
    """The activation stands at the first picture in output order of each segment."""
    out = tmp_path / "out.266"
    assert run("inject", SAMPLE, "--base", TINT, "-o", out, "-q") == 0
    outputs = [output for _, output, kind in messages(out) if kind == 211]
    assert min(outputs) == 0


@pytest.mark.parametrize(
    ("pictures", "expected"),
    [
        ("poc:8,16-18", {8, 16, 17, 18}),
        ("output:0-2", {0, 1, 2}),
        ("3", {3}),
        ("first", None),
        ("decode:4", None),
        ("clvs:0", None),
    ],
)
def test_updates_at_chosen_pictures(tmp_path, pictures, expected):
    (tmp_path / "update.nnc").write_bytes(b"an update")
    out = tmp_path / "out.266"
    update = f"{tmp_path / 'update.nnc'}@{pictures}"
    assert run("inject", SAMPLE, "--base", TINT, "--update", update, "-o", out, "-q") == 0
    found = [
        f for f in sei_messages(split([out.read_bytes()]), Codec.VVC)
        if f.coded.payload_type == 210 and not f.message.nnpfc_base_flag
    ]  # fmt: skip
    if expected is not None:
        assert {f.output_index for f in found} == expected  # POC and output order are the same in this stream
    else:
        assert len(found) == 1
    assert all(f.message.nnpfc_payload == b"an update" for f in found)


def test_the_base_is_active_until_an_update_comes(tmp_path):
    """Persistence is in output order. The picture with POC 31 is decoded first and cannot know of the update."""
    (tmp_path / "update.nnc").write_bytes(b"an update")
    out = tmp_path / "out.266"
    update = f"{tmp_path / 'update.nnc'}@poc:8"
    assert run("inject", SAMPLE, "--base", TINT, "--update", update, "-o", out, "-q") == 0
    found = sei_messages(split([out.read_bytes()]), Codec.VVC)
    activations = sorted((f.picture.poc, f.message.nnpfa_target_base_flag) for f in found if f.name == "nnpfa")
    assert activations == [(0, 1), (8, 0), (31, 1), (32, 0), (63, 0)]


def test_an_update_that_is_active_everywhere(tmp_path):
    """As the example in the help has it. At POC 0 it would come too late for the picture that is decoded first."""
    (tmp_path / "update.nnc").write_bytes(b"an update")
    out = tmp_path / "out.266"
    update = f"{tmp_path / 'update.nnc'}@segments"
    assert run("inject", SAMPLE, "--base", TINT, "--update", update, "--activate", "update", "-o", out, "-q") == 0
    found = [f for f in sei_messages(split([out.read_bytes()]), Codec.VVC) if f.name == "nnpfa"]
    assert [(f.picture.poc, f.message.nnpfa_target_base_flag) for f in found] == [(31, 0), (0, 0), (63, 0), (32, 0)]


def test_a_base_that_is_sent_once_is_active_in_its_sequence(shared, tmp_path):
    out = tmp_path / "out.266"
    stream = shared / "vectors/streams/cat_res_change_idr.266"
    assert run("inject", stream, "--base", TINT, "--repeat", "first", "-o", out, "-q", "--codec", "vvc") == 0
    found = list(sei_messages(split([out.read_bytes()]), Codec.VVC))
    assert {f.picture.clvs for f in found if f.coded.payload_type in NNPF_TYPES} == {0}


@pytest.mark.parametrize(("on_existing", "count"), [("replace", 1), ("keep", 2)])
def test_messages_that_are_there_already(tmp_path, capsys, on_existing, count):
    once, twice = tmp_path / "once.266", tmp_path / "twice.266"
    assert run("inject", SAMPLE, "--base", TINT, "-o", once, "-q") == 0
    assert run("inject", once, "--base", TINT, "-o", twice, "-q") == 1
    first = next(u.nal.offset for _, u, s in sei_units(split([once.read_bytes()]), Codec.VVC))
    problem = "the stream has NNPF messages already (--on-existing replace, or keep)"
    assert error(capsys) == f"{once}: offset {first}: {problem}"
    options = ["--id", count, "--on-existing", on_existing]
    assert run("inject", once, "--base", TINT, "-o", twice, "-q", *options) == 0
    assert len(messages(twice)) == count * len(messages(once))


def test_what_makes_kept_messages_wrong_is_refused(tmp_path, capsys):
    """The base that is there would be another one than the first of its CLVS."""
    both, late, out = tmp_path / "both.266", tmp_path / "late.266", tmp_path / "out.266"
    assert run("inject", SAMPLE, "--base", TINT, "-o", both, "-q") == 0
    assert run("strip", both, "--picture", "decode:0-31", "-o", late, "-q") == 0
    options = ["--repeat", "first", "--activate-at", "first", "--on-existing", "keep", "-o", out, "-q"]
    assert run("inject", late, "--base", TINT, *options) == 0
    out.unlink()
    assert run("inject", late, "--base", TINT.with_name("tint_blue.onnx"), *options) == 1
    assert ": with what goes in, nnpfc that is there at picture 32: nnpfc_uri: another base of nnpfc_id 1" in error(
        capsys
    )
    # What was wrong before is no reason.
    assert run("inject", late, "--base", TINT.with_name("tint_blue.onnx"), *options, "--no-check") == 0
    assert run("inject", out, "--base", TINT, "--id", "2", "-o", tmp_path / "two.266", "--on-existing", "keep") == 0


# --- reports ---------------------------------------------------------------------------------------------------------


def test_a_dry_run_writes_nothing_and_says_what_it_costs(tmp_path, capsys):
    assert run("inject", SAMPLE, "--base", TINT, "-n", "-o", tmp_path / "out.266") == 0
    lines = capsys.readouterr().out.splitlines()
    assert not list(tmp_path.iterdir())
    assert lines[0].startswith("picture 0 (CLVS 0): nnpfc, ")
    assert len(lines) == 7
    assert lines[-1].startswith("would add 6 messages, ")
    assert lines[-1].endswith("kbit/s at 25 pictures per second")


def test_the_report_as_json(tmp_path, capsys):
    out = tmp_path / "out.266"
    assert run("inject", SAMPLE, "--base", TINT, "-o", out, "--json", "--fps", "50") == 0
    report = json.loads(capsys.readouterr().out)
    assert report["bytes_in"] == SAMPLE.stat().st_size
    assert report["bytes_out"] == out.stat().st_size
    assert report["bytes_added"] == report["bytes_out"] - report["bytes_in"]
    assert (report["pictures"], report["frame_rate"]) == (65, "50")
    assert report["bit_rate_in"] == pytest.approx(8 * report["bytes_in"] * 50 / 65)
    assert [(m["decode_index"], m["name"]) for m in report["messages"]] == [
        (0, "nnpfc"), (0, "nnpfa"), (5, "nnpfa"), (32, "nnpfc"), (32, "nnpfa"), (37, "nnpfa"),
    ]  # fmt: skip


def test_messages_have_the_names_of_the_streams_codec(tmp_path, capsys):
    (tmp_path / "in.265").write_bytes(encode("libx265", "keyint=8:bframes=2"))
    (tmp_path / "spec.yaml").write_text('messages: [{type: recovery_point, at: first, hex: "80"}]')
    assert run("inject", tmp_path / "in.265", tmp_path / "spec.yaml", "-n") == 0
    assert "recovery_point, 1 bytes" in capsys.readouterr().out


def test_h264_has_no_suffix_sei(tmp_path, capsys):
    """Behind the slices of a picture an SEI NAL unit begins the next access unit (H.264 7.4.1.2.3)."""
    (tmp_path / "in.264").write_bytes(encode("libx264", "keyint=8:bframes=2"))
    path = tmp_path / "spec.yaml"
    path.write_text('messages: [{type: 4, at: first, hex: "80", suffix: true}]')
    assert run("inject", tmp_path / "in.264", path, "-n") == 1
    assert error(capsys).startswith(f"{path}: line 1: messages[0].suffix: H.264 has no suffix SEI")


def test_a_filter_that_decoders_ignore_is_not_put_in_silently(capsys):
    assert run("inject", SAMPLE, "--base", TINT, "--id", "300", "-n") == 0
    assert "nnpfc_id: 300 is reserved: decoders ignore this message (nnpf-reserved-value)" in capsys.readouterr().err


def test_without_a_frame_rate_the_cost_is_per_picture(shared, spec, capsys):
    assert run("inject", shared / "vectors/streams/ra_vtm_bbb_q42_33f.266", spec, "-n") == 0
    assert "bytes per picture (--fps gives bit rates)" in capsys.readouterr().out


# --- pipes -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("at", ["random_access", "segments"])
def test_pipes_give_what_files_give(tmp_path, at):
    text = SPEC.replace("- target: 77", f"- {{target: 77, at: {at}}}")
    (tmp_path / "spec.yaml").write_text(text)
    assert run("inject", SAMPLE, tmp_path / "spec.yaml", "-o", tmp_path / "out.266", "-q") == 0
    data = SAMPLE.read_bytes()
    done = subprocess.run(
        [*COMMAND, "inject", "-", str(tmp_path / "spec.yaml"), "-o", "-", "--json"],
        input=data, capture_output=True, check=True, cwd=ROOT,
    )  # fmt: skip
    assert done.stdout == (tmp_path / "out.266").read_bytes()
    report = json.loads(done.stderr)
    assert (report["bytes_in"], report["bytes_out"]) == (len(data), len(done.stdout))


def test_commands_join_in_a_pipe(tmp_path, spec):
    stream, specification = shlex.quote(str(SAMPLE)), shlex.quote(str(spec))
    line = (
        f"cat {stream} | {sys.executable} -m nnpf_tools.main inject - {specification} -o - -q"
        f" | {sys.executable} -m nnpf_tools.main strip - -o - -q --type all"
    )
    whole = subprocess.run(line, shell=True, capture_output=True, check=True, cwd=ROOT)
    alone = subprocess.run(
        [*COMMAND, "strip", str(SAMPLE), "-o", "-", "-q", "--type", "all"], capture_output=True, check=True, cwd=ROOT
    )
    assert whole.stdout == alone.stdout


def test_a_filter_that_interpolates_is_told_where_it_can_begin(tmp_path, capsys):
    path = tmp_path / "spec.yaml"
    nnpfc = "{nnpfc_purpose: 8, nnpfc_num_input_pics_minus1: 2, nnpfc_interpolated_pics: [1, 1]}"
    filters = f"filters: [{{id: 1, uri: 'file:a.onnx', nnpfc: {nnpfc}}}]\n"
    path.write_text(f"{filters}activations: [{{target: 1, at: segments}}]\n")
    assert run("inject", SAMPLE, path, "-n") == 1
    assert "; output:2 is the first picture with all (nnpfa-absent-input," in error(capsys)
    path.write_text(f"{filters}activations: [{{target: 1, at: 'output:2'}}]\n")
    assert run("inject", SAMPLE, path, "-n") == 0


# --- elements --------------------------------------------------------------------------------------------------------


def test_elements_are_lists_of_one_and_texts_of_digits_where_the_standard_has_them(tmp_path):
    out = tmp_path / "out.266"
    settings = ["nnpfa_num_output_entries=1", "nnpfa_output_flag=1", "nnpfc_tag_uri=tag:a.org,2024:1", "nnpfa_prompt=7"]
    options = [part for setting in settings for part in ("--set", setting)]
    assert run("inject", SAMPLE, "--base", TINT, "-o", out, "-q", *options) == 0
    base, activation = [f.message for f in sei_messages(split([out.read_bytes()]), Codec.VVC)][:2]
    assert base.nnpfc_tag_uri == "tag:a.org,2024:1"
    assert activation.nnpfa_output_flag == (1,)
    assert activation.nnpfa_prompt == "7"


@pytest.mark.parametrize(
    ("elements", "problem"),
    [
        ("{nnpfa_num_output_entries: 1, nnpfa_output_flag: 1}", "nnpfa_output_flag: a list is wanted"),
        ("{nnpfa_persistence_flag: [1]}", "nnpfa_persistence_flag: one value is wanted, no list"),
    ],
)
def test_a_list_in_the_wrong_place_is_called_so(tmp_path, capsys, elements, problem):
    path = tmp_path / "spec.yaml"
    path.write_text(f"activations:\n- target: 1\n  nnpfa: {elements}\n")
    assert run("inject", SAMPLE, path, "-n") == 1
    assert error(capsys) == f"{path}: line 3: activations[0].nnpfa.{problem}"


# --- for a decoder ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("decoder", ["vtm", "nokia-vvdec"])
def test_what_is_written_for_a_decoder_breaks_none_of_its_rules(tmp_path, capsys, decoder):
    out = tmp_path / "out.266"
    (tmp_path / "update.nnc").write_bytes(b"an update")
    filter_ = tmp_path / "model3.onnx"
    filter_.write_bytes(TINT.read_bytes())
    update = f"{tmp_path / 'update.nnc'}@decode:3"
    options = ["--update", update, "--activate-at", "decode:3"]
    assert run("inject", SAMPLE, "--base", filter_, "-o", out, "-q", "--for", decoder, *options) == 0
    capsys.readouterr()
    run("validate", out, "--for", decoder, "--json")
    findings = json.loads(capsys.readouterr().out)["violations"]
    # (The update's bytes are no bitstream of ISO/IEC 15938-17, which inject does not look into.)
    assert [f for f in findings if f["rule"].startswith(("vtm-", "nokia-", "nnpfa-", "sei-"))] == []


def test_for_vtm_the_second_message_waits_for_the_next_picture(tmp_path):
    (tmp_path / "update.nnc").write_bytes(b"an update")
    out = tmp_path / "out.266"
    update = f"{tmp_path / 'update.nnc'}@random_access"
    options = ["--update", update, "--activate-at", "decode:1", "--for", "vtm"]
    assert run("inject", SAMPLE, "--base", TINT, "-o", out, "-q", *options) == 0
    assert [index for index, _, kind in messages(out) if kind == 210] == [0, 1, 32, 33]
    units = [(u.header.name, s.messages[0].payload_type) for _, u, s in sei_units(split([out.read_bytes()]), Codec.VVC)]
    assert ("SUFFIX_SEI", 211) in units
    assert ("PREFIX_SEI", 211) not in units


def test_for_nokia_a_filter_of_another_kind_is_refused(tmp_path, capsys):
    options = ["--set", "nnpfc_purpose=16", "--for", "nokia-vvdec", "-q"]
    base = shutil.copy(TINT, tmp_path)  # its path goes into the message, and the folder of the tests may have a space
    assert run("inject", SAMPLE, "--base", base, "-o", tmp_path / "out.266", *options) == 1
    assert "--set nnpfc_purpose: 16, must be 1 or 0 (nokia-base, VVdeC" in error(capsys)
    assert not (tmp_path / "out.266").exists()


# --- errors ----------------------------------------------------------------------------------------------------------


def test_a_mistake_in_the_specification_is_named_by_line_and_key(tmp_path, capsys):
    path = tmp_path / "spec.yaml"
    path.write_text("filters:\n- id: 1\n  uri: a\n  nnpfc:\n    nnpfc_padding_type: 99\n")
    assert run("inject", SAMPLE, path, "-o", tmp_path / "out.266") == 1
    assert error(capsys) == f"{path}: line 5: filters[0].nnpfc.nnpfc_padding_type: 99, must be 0..15"
    assert list(tmp_path.iterdir()) == [path]


def test_what_breaks_the_standard_in_the_stream_is_refused(tmp_path, capsys):
    path = tmp_path / "spec.yaml"
    path.write_text("filters:\n- id: 1\n  updates: [{uri: 'file:a.nnc', at: first}]\n")
    assert run("inject", SAMPLE, path, "-o", tmp_path / "out.266") == 1
    text = error(capsys)
    assert text.startswith(f"{SAMPLE}: nnpfc at picture 0: nnpfc_base_flag: 0, and no base of nnpfc_id 1 came before")
    assert text.endswith("--no-check writes it all the same)")
    assert run("inject", SAMPLE, path, "-o", tmp_path / "out.266", "--no-check", "-q") == 0


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        [SAMPLE],
        [SAMPLE, "--base", TINT],
        [SAMPLE, "spec.yaml", "--base", TINT, "-o", "out.266"],
        [SAMPLE, "--base", TINT, "-o", "out.266", "--update", "a.nnc"],
        [SAMPLE, "--base", TINT, "-o", "out.266", "--update", "a.nnc@sometimes"],
        [SAMPLE, "--base", TINT, "-o", "out.266", "--activate-at", "poc:"],
        [SAMPLE, "--base", TINT, "-o", "out.266", "--activate", "update"],
        [SAMPLE, "--base", TINT, "-o", "out.266", "--set", "padding=1"],
        [SAMPLE, "--update", "a.nnc@first", "-o", "out.266", "--uri", "file:a.onnx"],
        [SAMPLE, "--update", "a.nnc@first", "-o", "out.266", "--repeat", "first"],
        [SAMPLE, "--update", "a.nnc@first", "-o", "out.266", "--set", "nnpfc_padding_type=1"],
    ],
)
def test_wrong_usage(capsys, arguments):
    assert run("inject", *arguments) == 2
    error(capsys)


@pytest.mark.parametrize("fps", ["0", "-25", "fast", "1/0"])
def test_frame_rates_are_numbers(capsys, fps):
    with pytest.raises(SystemExit) as stopped:
        run("inject", SAMPLE, "--base", TINT, "-n", "--fps", fps)
    assert stopped.value.code == 2
    assert "is no number of pictures per second" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["none.266", "--base", TINT], "none.266: No such file or directory"),
        ([SAMPLE, "none.yaml"], "none.yaml: No such file or directory"),
        ([SAMPLE, "--base", "none.onnx"], f"{SAMPLE}: --base: none.onnx: cannot be read: No such file or directory"),
        ([SAMPLE, "--base", TINT, "--set", "nnpfc_x=1"], f"{SAMPLE}: --set nnpfc_x: nnpfc has no such element"),
        ([SAMPLE, "--base", TINT, "--activate-at", "poc:999"], f"{SAMPLE}: the stream has no picture poc:999"),
        ([SAMPLE, "--base", TINT, "--activate-at", "decode:65"], f"{SAMPLE}: the stream has no picture decode:65"),
        ([TINT, "--base", TINT, "--codec", "vvc"], f"{TINT}: offset 0: no start code; not an Annex B byte stream"),
    ],
)
def test_what_is_at_fault_is_named(tmp_path, capsys, arguments, expected):
    assert run("inject", *arguments, "-o", tmp_path / "out.266", "-q") == 1
    assert error(capsys) == expected
    assert not list(tmp_path.iterdir())


def test_outputs_are_not_replaced(tmp_path, capsys):
    out = tmp_path / "out.266"
    out.write_bytes(b"mine")
    assert run("inject", SAMPLE, "--base", TINT, "-o", out, "-q") == 1
    assert error(capsys) == f"{out}: exists; --force replaces it"
    assert run("inject", SAMPLE, "--base", TINT, "-o", SAMPLE, "--force", "-q") == 1
    assert error(capsys) == f"{SAMPLE}: is also the input; choose another output"


@pytest.mark.parametrize("by", ["options", "update", "specification"])
def test_a_filter_is_an_input_too(tmp_path, capsys, by):
    base, payload, spec = tmp_path / "filter.onnx", tmp_path / "update.nnc", tmp_path / "spec.yaml"
    base.write_bytes(TINT.read_bytes())
    payload.write_bytes(b"payload")
    spec.write_text("filters: [{id: 1, base: filter.onnx}]\n")
    given = {
        "options": ("--base", base),
        "update": ("--base", base, "--update", f"{payload}@first"),
        "specification": (spec,),
    }
    out = payload if by == "update" else base
    assert run("inject", SAMPLE, *given[by], "-o", out, "--force", "-q") == 1
    assert error(capsys) == f"{out}: is also the input; choose another output"
    assert (base.read_bytes(), payload.read_bytes()) == (TINT.read_bytes(), b"payload")


# --- the schema ------------------------------------------------------------------------------------------------------


def test_the_published_schema_is_current(capsys):
    assert run("inject", "--print-schema") == 0
    assert capsys.readouterr().out == (ROOT / "docs/inject.schema.json").read_text(), (
        "run: nnpf inject --print-schema > docs/inject.schema.json"
    )


def test_the_schema_is_one_and_takes_the_example():
    schema = json.loads((ROOT / "docs/inject.schema.json").read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.validate(yaml.safe_load(SPEC), schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({"filters": [{"base": "a.onnx"}]}, schema)


@pytest.mark.parametrize(("name", "encoder"), [("in.266", None), ("in.265", "libx265"), ("in.264", "libx264")])
@pytest.mark.parametrize(
    "counts", [[1], [0, 1]]
)  # between the current picture and the one before, or those before that
def test_a_filter_that_interpolates_is_active_where_there_are_pictures_to_do_it_between(
    tmp_path, capsys, name, encoder, counts
):
    stream, out, report = tmp_path / name, tmp_path / f"out_{name}", tmp_path / "report.json"
    data = encode(encoder, "keyint=8:bframes=2:open-gop=1") if encoder else SAMPLE.read_bytes()
    stream.write_bytes(data)
    inputs = len(counts) + 1
    luma_model(tmp_path, [[1 / inputs] * inputs])
    elements = {
        "purpose": 8,
        "num_input_pics_minus1": inputs - 1,
        "interpolated_pics": ",".join(map(str, counts)),
        "input_pic_filtering_flag": ",".join("0" * inputs),
    }
    settings = [f"--set=nnpfc_{element}={value}" for element, value in elements.items()]
    assert run("inject", stream, "--base", tmp_path / "filter.onnx", *settings, "-o", out) == 0
    codec = {".265": Codec.HEVC, ".264": Codec.AVC}.get(stream.suffix, Codec.VVC)
    active_from = {index for _, index, payload_type in messages(out, codec) if payload_type == 211}
    assert min(active_from) == len(counts)
    assert len(active_from) > 1  # decoding may start later, too
    assert run("validate", out) == 0
    assert run("apply", out, "-q", "--report", report) == 0
    pictures = 24 if encoder else 65
    kinds = json.loads(report.read_text())["summary"]["kinds"]
    assert kinds == {"decoded": pictures, "interpolated": pictures - 1}
