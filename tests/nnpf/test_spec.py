"""Specification files: what they say goes into messages; what is wrong in them is named by line and key."""

import json
import shutil
import time
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from nnpf import elements, extraction, spec
from tests.vsei.drawn import Drawn
from vsei import messages
from vsei.errors import VseiError
from vsei.messages import NnpfActivation, NnpfCharacteristics
from vsei.nal import Codec
from vsei.pictures import PictureFormat
from vsei.rules import NOKIA, VTM
from vsei.sei import SeiMessage

ROOT = Path(__file__).resolve().parents[2]


def loaded(text: str, folder: Path = ROOT / "samples") -> spec.Spec:
    return spec.load(text, "spec.yaml", folder)


def placed(text: str, folder: Path = ROOT / "samples", **target):
    """(pictures, message element by element) of each placement."""
    found = spec.placements(loaded(text, folder), target=spec.Target(**target))
    return [(str(p.pictures), messages.decode(p.message).message) for p in found]


def problem(text: str, **target) -> str:
    with pytest.raises(spec.SpecError) as raised:
        placed(text, **target)
    assert raised.value.path == "spec.yaml"
    return str(raised.value)


def test_base_update_and_activation(tmp_path):
    (tmp_path / "update.nnc").write_bytes(b"an update")
    (tmp_path / "filters").symlink_to(ROOT / "samples/filters")
    text = """
filters:
  - id: 3
    base: filters/tint_red.onnx
    nnpfc: {nnpfc_purpose: 1, nnpfc_padding_type: 2}
    updates:
      - {payload: update.nnc, at: "poc:8,16"}
activations:
  - target: 3
  - target: 3
    at: output:4
    nnpfa: {nnpfa_cancel_flag: 1}
"""
    base, update, activation, cancel = placed(text, tmp_path)
    assert base[0] == "random_access"
    assert isinstance(base[1], NnpfCharacteristics)
    assert (base[1].nnpfc_id, base[1].nnpfc_uri, base[1].nnpfc_padding_type) == (3, "file:tint_red.onnx", 2)
    assert update[0] == "poc:8,16"
    assert (update[1].nnpfc_base_flag, update[1].nnpfc_payload, update[1].nnpfc_purpose) == (0, b"an update", 1)
    assert activation == ("segments", NnpfActivation(
        nnpfa_target_id=3, nnpfa_cancel_flag=0, nnpfa_persistence_flag=1, nnpfa_target_base_flag=1,
        nnpfa_no_prev_clvs_flag=0, nnpfa_no_foll_clvs_flag=0, nnpfa_num_output_entries=0,
    ))  # fmt: skip
    assert cancel == ("output:4", NnpfActivation(nnpfa_target_id=3, nnpfa_cancel_flag=1))


def test_every_element_of_an_activation():
    text = """
activations:
  - target: 3
    at: first
    nnpfa:
      nnpfa_target_base_flag: 0
      nnpfa_no_prev_clvs_flag: 1
      nnpfa_no_foll_clvs_flag: 1
      nnpfa_num_output_entries: 2
      nnpfa_output_flag: [0, 1]
      nnpfa_prompt: paint it blue
      nnpfa_seed: 7
      nnpfa_num_input_pic_shift: 1
"""
    ((_, m),) = placed(text)
    assert (m.nnpfa_output_flag, m.nnpfa_prompt, m.nnpfa_seed, m.nnpfa_num_input_pic_shift) == (
        (0, 1), "paint it blue", 7, 1,
    )  # fmt: skip
    assert (m.nnpfa_prompt_update_flag, m.nnpfa_seed_update_flag, m.nnpfa_selected_input_flag) == (1, 1, 1)


def test_a_bitstream_as_base_goes_into_the_message(tmp_path):
    """Properties come from the graph in it; without one they are the defaults, and a note says so."""
    from nnpf.nnc.model import encode_model
    from tests.nnpf.onnx_graphs import identity_filter

    (tmp_path / "filter.nnc").write_bytes(encode_model(identity_filter(7, 6, 2).proto))
    (tmp_path / "no_graph.bin").write_bytes(b"bytes of another kind")
    text = "filters: [{id: 1, base: filter.nnc}, {id: 2, base: no_graph.bin}]"
    notes = []
    (_, first), (_, second) = placed(text, tmp_path, note=lambda text, _: notes.append(text))
    assert (first.nnpfc_mode_idc, first.nnpfc_overlap, first.nnpfc_inp_order_idc) == (0, 2, 3)
    assert (second.nnpfc_payload, second.nnpfc_property_present_flag) == (b"bytes of another kind", 1)
    assert [n for n in notes if n.startswith("no_graph.bin: ") and n.endswith("take their default")]


def test_a_base_given_by_elements_alone():
    text = """
filters:
  - id: 1
    nnpfc: {nnpfc_payload: {hex: "0001ff"}, nnpfc_inp_order_idc: 2, nnpfc_out_order_idc: 2}
  - id: 2
    uri: https://example.org/a.nnc
"""
    (_, first), (_, second) = placed(text)
    assert (first.nnpfc_mode_idc, first.nnpfc_payload) == (0, b"\\0\\1\\xff".decode("unicode_escape").encode("latin-1"))
    assert (second.nnpfc_mode_idc, second.nnpfc_tag_uri) == (1, "tag:iso.org,2023:15938-17")


def test_other_messages_by_elements_bytes_and_files(tmp_path):
    (tmp_path / "note.bin").write_bytes(bytes(16) + b"note")
    text = """
messages:
  - type: content_light_level_info
    at: first
    elements: {clli_max_content_light_level: 1000}
  - {type: 5, at: all, payload: note.bin, suffix: true}
  - {type: 1000, at: decode:3, hex: "00ff"}
"""
    light, note, raw = spec.placements(loaded(text, tmp_path))
    assert messages.decode(light.message).message.fields() == {
        "clli_max_content_light_level": 1000,
        "clli_max_pic_average_light_level": 0,
    }
    assert (note.message, note.suffix) == (SeiMessage(5, bytes(16) + b"note"), True)
    assert raw.message == SeiMessage(1000, bytes([0, 255]))


def test_a_nesting_message_of_h265_holds_as_many_as_are_given():
    text = """
messages:
  - type: scalable_nesting
    at: first
    elements:
      nesting_no_op_max_temporal_id_plus1: 7
      nesting_layer_id: [0]
      payload_type: [211, 5]
      payload_size: [1, 16]
      payload: [{hex: "70"}, {hex: "000102030405060708090a0b0c0d0e0f"}]
"""
    (nesting,) = spec.placements(loaded(text), Codec.HEVC)
    inside = messages.decode(nesting.message, Codec.HEVC).message.messages
    assert inside == (SeiMessage(211, b"\x70"), SeiMessage(5, bytes(range(16))))


def test_a_base_that_is_sent_once_is_activated_in_its_sequence_only():
    text = "filters: [{id: 1, uri: a.onnx, repeat: first}]\nactivations: [{target: 1}, {target: 1, at: all}]"
    _, usual, given_place = spec.placements(loaded(text))
    assert (usual.clvs, given_place.clvs) == (0, None)


# --- errors ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("filters: [", "line 2: did not find expected node content"),
        ("filters:\n- id: 1\n  base: a.onnx\n  bass: 2", "line 2: filters[0]: Additional properties are not allowed"),
        ("filters:\n- id: -1", "line 2: filters[0].id: -1 is less than the minimum of 0"),
        ("filters:\n- id: 1\n  repeat: often", "line 3: filters[0].repeat: 'often' is not one of"),
        ("filters:\n- id: 1.0", "line 2: filters[0].id: 1.0 is not of type 'integer'"),
        ("filters:\n- id: 1\n  updates:\n  - at: first", "line 4: filters[0].updates[0]: exactly one of payload, uri"),
        ("filters:\n- id: 1\n  id: 2", "line 3: id: twice"),
        ("filters:\n- id: 1\n  repeat: first", "line 2: filters[0]: neither base, uri nor updates"),
        ("activations:\n- target: 1\n  at: poc:x", "line 3: activations[0].at: 'poc:x' does not name pictures"),
        (
            "activations:\n- target: 1\n  nnpfa:\n    nnpfa_persistence: 1",
            "line 4: activations[0].nnpfa.nnpfa_persistence: nnpfa has no such element",
        ),
        (
            "activations:\n- target: 1\n  nnpfa: {nnpfa_persistence_flag: 2}",
            "line 3: activations[0].nnpfa.nnpfa_persistence_flag: 2, must be 0..1",
        ),
        (
            "activations:\n- target: 1\n  nnpfa: {nnpfa_num_output_entries: 4000000000}",
            "line 3: activations[0].nnpfa.nnpfa_output_flag: more than",
        ),
        ("filters:\n- id: 1\n  base: none.onnx", "line 3: filters[0].base: none.onnx: cannot be read"),
        ("filters:\n- id: 1\n  base: none.nnc", "line 3: filters[0].base: none.nnc: No such file"),
        ("filters:\n- id: 1\n  base: model.pt", "line 3: filters[0].base: 'model.pt' is none of .onnx, .pt2, .nnc"),
        ("filters:\n- id: 1\n  base: README.md.onnx", "line 3: filters[0].base: README.md.onnx: cannot be read"),
        (
            "filters:\n- id: 1\n  uri: a\n  nnpfc: {nnpfc_payload: text}",
            "line 4: filters[0].nnpfc.nnpfc_payload: 'text', bytes are wanted",
        ),
        (
            "messages:\n- {type: nothing, at: all, hex: ''}",
            "line 2: messages[0].type: 'nothing' is no SEI payload type",
        ),
        ("messages:\n- {type: 999999, at: all, hex: ''}", "line 2: messages[0].type: 999999, must be at most"),
        ("messages:\n- {type: 3, at: all, elements: {}}", "line 2: messages[0].elements: this payload type is only"),
        ("messages:\n- {type: 3, at: all, hex: 'abc'}", "line 2: messages[0].hex: 'abc' does not match"),
        (
            "nal_units:\n- before: 1\n  in: 2\n  messages: []",
            "line 2: nal_units[0]: exactly one of before, in is wanted",
        ),
        ("nal_units:\n- before: 1", "line 2: nal_units[0]: at least one of messages, raw is wanted"),
        ("- a list", "line 1: ['a list'] is not of type 'object'"),
        ("1: {}", "line 1: a key that is no text"),
    ],
)
def test_errors_name_line_and_key(text, expected):
    assert problem(text).startswith(expected)


def test_messages_that_break_the_standard_are_refused_unless_asked_for():
    text = "filters:\n- id: 1\n  uri: a.onnx\n  nnpfc:\n    nnpfc_inp_order_idc: 3\n    nnpfc_out_order_idc: 3\n"
    yuv444 = PictureFormat(416, 240, 0, 0, 0, 0, 3, 10, 10)
    assert problem(text, picture=yuv444).startswith("line 5: filters[0].nnpfc.nnpfc_inp_order_idc: ")
    assert placed(text, picture=yuv444, checked=False)
    assert placed(text, picture=PictureFormat(416, 240, 0, 0, 0, 0, 1, 10, 10))


def test_empty_files_say_nothing():
    assert placed("") == placed("{}") == placed("# only a comment") == []


@pytest.mark.parametrize(
    "text",
    [
        "a: &a [*a]",  # holds itself
        "\n".join(f"x{i}: &x{i} [{', '.join([f'*x{i - 1}'] * 10) if i else '1'}]" for i in range(40)),
        "filters: " + "[" * 500 + "]" * 500,
        "filters: " + "{a: " * 100 + "1" + "}" * 100,
        "\0",
        "filters: !!python/object/apply:os.system ['true']",
        "filters:\n- {id: 1, uri: 2001-01-01}",
        "? [a, b]\n: c",
    ],
)
def test_hostile_files_end_in_one_clear_error(text):
    start = time.perf_counter()
    with pytest.raises(spec.SpecError):
        loaded(text)
    assert time.perf_counter() - start < 5


KEYS = ["filters", "activations", "messages", "nal_units", "id", "target", "at"]
KEYS += ["nnpfa", "elements", "type", "hex", "before", "raw"]
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(KEYS), inner),
    max_leaves=12,
)


@given(ANYTHING)
def test_any_data_gives_placements_or_an_error(data):
    try:
        found = loaded(yaml.safe_dump(data, allow_unicode=True))
        spec.placements(found)
        spec.taken(found, Codec.VVC)
    except spec.SpecError:
        pass


# --- for a decoder ---------------------------------------------------------------------------------------------------


def test_for_nokia_the_base_is_named_by_its_place_on_this_machine(tmp_path):
    shutil.copy(ROOT / "samples/filters/tint_red.onnx", tmp_path)
    ((_, base),) = placed("filters: [{id: 1, base: tint_red.onnx}]", tmp_path, decoder=NOKIA)
    assert base.nnpfc_uri == f"file://{tmp_path}/tint_red.onnx"


def test_for_nokia_a_path_that_a_uri_spells_otherwise_is_refused(tmp_path):
    folder = tmp_path / "my models"
    folder.mkdir()
    shutil.copy(ROOT / "samples/filters/tint_red.onnx", folder)
    with pytest.raises(spec.SpecError, match=r"filters\[0\].base: nokia-vvdec opens the path .* with %XX: move"):
        placed("filters: [{id: 1, base: tint_red.onnx}]", folder, decoder=NOKIA)


def test_for_nokia_what_it_does_not_take_is_refused():
    text = "filters:\n- id: 1\n  base: filters/tint_red.onnx\n  uri: tint_red.onnx\n"
    assert "filters[0].nnpfc.nnpfc_uri: 'tint_red.onnx', must begin with file://" in problem(text, decoder=NOKIA)
    text = "activations:\n- target: 1\n  nnpfa: {nnpfa_persistence_flag: 0}"
    assert problem(text, decoder=NOKIA).startswith("line 3: activations[0].nnpfa.nnpfa_persistence_flag: 0, must be 1")


def test_for_vtm_activations_are_suffix_sei_in_the_form_of_v4():
    (activation,) = spec.placements(loaded("activations: [{target: 1}]"), target=spec.Target(decoder=VTM))
    assert activation.suffix
    assert messages.decode(activation.message).message.nnpfa_prompt_update_flag == 0
    (cancel,) = spec.placements(
        loaded("activations: [{target: 1, nnpfa: {nnpfa_cancel_flag: 1}}]"), target=spec.Target(decoder=VTM)
    )
    assert messages.decode(cancel.message).message.fields() == {"nnpfa_target_id": 1, "nnpfa_cancel_flag": 1}


# --- messages as people read them ------------------------------------------------------------------------------------


@pytest.mark.parametrize("codec", Codec)
@given(data=st.data())
def test_any_message_is_given_back_from_what_is_readable(codec, data):
    kinds = [kind for t in range(300) if (kind := messages.kind(t, codec)) is not None]
    kind = data.draw(st.sampled_from(kinds))
    drawn = Drawn(data)
    kind.description(drawn)
    try:
        message = messages.encode(messages.form.from_values(kind.message, drawn.values, None), codec)
    except VseiError:
        return
    if data.draw(st.booleans()):
        message = SeiMessage(message.payload_type, message.payload + data.draw(st.binary(max_size=3)))
    files = {}

    def store(stem: str, content: bytes) -> str:
        files[name := f"{len(files)}_{stem}"] = content
        return name

    entry = json.loads(json.dumps(elements.readable(message, codec, store, most_inline=8)))
    found = {"messages": [{**entry, "at": 0}], "in": 0}
    again = yaml.safe_load(extraction.to_yaml({"nal_units": [found]}))
    assert spec_message(again, codec, files) == message


def spec_message(data, codec, files) -> SeiMessage:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        for name, content in files.items():
            (Path(folder) / name).write_bytes(content)
        checked = spec.check(spec.Spec(data, None, Path(folder)))
        (taken,) = spec.taken(checked, codec)
    return taken.messages[0].message


def test_files_by_hash(tmp_path):
    """A file that is not the one that the specification was written for is not sent."""
    import hashlib

    (tmp_path / "filter.nnc").write_bytes(b"a base without a graph")
    (tmp_path / "update.nnc").write_bytes(b"an update")
    base = hashlib.sha256(b"a base without a graph").hexdigest()
    update = hashlib.sha256(b"an update").hexdigest()
    text = """
filters:
  - id: 1
    base: filter.nnc
    sha256: {base}
    updates: [{{payload: update.nnc, sha256: {update}, at: "poc:8"}}]
"""
    assert len(placed(text.format(base=base, update=update.upper()), tmp_path)) == 2
    for wrong, line in (({"base": update, "update": update}, 5), ({"base": base, "update": base}, 6)):
        with pytest.raises(spec.SpecError, match=rf"line {line}.*sha256: .* has [0-9a-f]{{64}}"):
            placed(text.format(**wrong), tmp_path)
