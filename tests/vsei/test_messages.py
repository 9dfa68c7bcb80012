"""Messages element by element: drawn from their own descriptions, broken at random, and as the reference wrote them."""

import hashlib
import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from vsei import messages, sei
from vsei.annexb import split
from vsei.errors import VseiError
from vsei.messages import NnpfActivation, NnpfCharacteristics, form, nnpf
from vsei.nal import Codec, is_sei, read_header
from vsei.sei import SeiMessage
from vsei.syntax import TraceEntry

from .drawn import Drawn

KINDS = [(codec, payload_type) for codec in Codec for payload_type in range(256) if messages.kind(payload_type, codec)]


@pytest.mark.parametrize(("codec", "payload_type"), KINDS)
@settings(max_examples=30, suppress_health_check=list(HealthCheck), deadline=None)
@given(data=st.data())
def test_a_message_that_is_written_reads_back_equal(codec, payload_type, data):
    kind = messages.kind(payload_type, codec)
    drawn = Drawn(data, nnpfc_num_metadata_extension_bits=0)
    kind.description(drawn)
    message = form.from_values(kind.message, drawn.values, None)
    coded = messages.encode(message, codec)
    decoded = messages.decode(coded, codec)
    assert decoded.message == message
    assert decoded.exact
    assert decoded.out_of_range == ()


@pytest.mark.parametrize(("codec", "payload_type"), KINDS)
@settings(max_examples=60, deadline=None)
@given(payload=st.binary(max_size=80))
def test_any_payload_is_read_exactly_or_refused_in_one_line(codec, payload_type, payload):
    try:
        decoded = messages.decode(SeiMessage(payload_type, payload), codec)
    except VseiError as error:
        assert error.element
        assert "\n" not in str(error)
        return
    if decoded.exact:
        assert messages.encode(decoded.message, codec).payload == payload


def shown(message: messages.Message) -> dict:
    fields = message.fields()
    if "nnpfc_payload" in fields:
        payload = fields["nnpfc_payload"]
        fields["nnpfc_payload"] = {"size": len(payload), "sha256": hashlib.sha256(payload).hexdigest()}
    return json.loads(json.dumps(fields))


def test_nnpf_messages_of_the_reference_software(shared):
    """Every stream of the reference software: the expected fields, and the same bytes when written again."""
    vectors = sorted(shared.glob("vectors/vtm/*.266"))
    assert len(vectors) == 41
    for path in vectors:
        found = []
        for index, unit in enumerate(split([path.read_bytes()])):
            header = read_header(Codec.VVC, unit.data)
            if not is_sei(Codec.VVC, header.nal_unit_type):
                continue
            parsed = sei.parse(header, unit.data)
            assert parsed.problem is None
            assert sei.build(header, parsed.messages, parsed.tail) == bytes(unit.data)
            for message in parsed.messages:
                decoded = messages.decode(message)
                if decoded is None:
                    continue
                assert decoded.exact, (path.name, index, message.payload_type)
                if message.payload_type in (210, 211):
                    place = {
                        "payload_type": message.payload_type,
                        "size": len(message.payload),
                        "nal_index": index,
                        "nal_type": header.nal_unit_type,
                        "layer_id": header.layer_id,
                        "temporal_id": header.temporal_id,
                    }
                    found.append({**place, "fields": shown(decoded.message)})
        assert found == json.loads(path.with_suffix(".expected.json").read_text()), path.name


BASE = NnpfCharacteristics(
    nnpfc_purpose=0,
    nnpfc_id=1,
    nnpfc_base_flag=1,
    nnpfc_mode_idc=1,
    nnpfc_tag_uri="tag:example.org,2026:x",
    nnpfc_uri="x.onnx",
    nnpfc_property_present_flag=1,
    nnpfc_num_input_pics_minus1=0,
    nnpfc_component_last_flag=0,
    nnpfc_inp_format_idc=0,
    nnpfc_auxiliary_inp_idc=0,
    nnpfc_inp_order_idc=3,
    nnpfc_out_format_idc=0,
    nnpfc_out_order_idc=3,
    nnpfc_separate_colour_description_present_flag=0,
    nnpfc_chroma_loc_info_present_flag=0,
    nnpfc_overlap=4,
    nnpfc_constant_patch_size_flag=1,
    nnpfc_patch_width_minus1=63,
    nnpfc_patch_height_minus1=63,
    nnpfc_padding_type=1,
    nnpfc_complexity_info_present_flag=0,
    nnpfc_num_metadata_extension_bits=0,
)


def with_metadata(num_bits: int, reserved: str | None = None, **elements) -> NnpfCharacteristics:
    from dataclasses import replace

    return replace(
        BASE,
        nnpfc_num_metadata_extension_bits=num_bits,
        nnpfc_reserved_metadata_extension=reserved,
        nnpfc_for_human_viewing_idc=2,
        nnpfc_for_machine_analysis_idc=1,
        **elements,
    )


TAG = "tag:example.org,2024:denoise"


@pytest.mark.parametrize(
    ("counted", "reserved"),
    [("without alignment", None), ("every bit", None), ("without alignment", "10110"), ("every bit", "0110")],
)
def test_the_metadata_extension_is_understood_however_its_bits_are_counted(counted, reserved):
    tagged = {"nnpfc_application_purpose_tag_uri_present_flag": 1, "nnpfc_application_purpose_tag_uri": TAG}
    first = with_metadata(1, reserved, **tagged)
    trace: list[TraceEntry] = []
    bits_without = 1 + 8 * (len(TAG) + 1) + 4 + len(reserved or "")
    # Where the tag starts depends on the bits before it: write once to see.
    form.decode(
        NnpfCharacteristics, nnpf.nnpfc, messages.encode(with_metadata(bits_without, reserved, **tagged)).payload, trace
    )
    flag = next(t for t in trace if t.element == "nnpfc_application_purpose_tag_uri_present_flag")
    tag = next(t for t in trace if t.element == "nnpfc_application_purpose_tag_uri")
    alignment = tag.position - flag.position - 1
    assert alignment > 0
    num_bits = bits_without + (alignment if counted == "every bit" else 0)
    message = with_metadata(num_bits, reserved, **tagged)
    decoded = messages.decode(messages.encode(message))
    assert decoded.exact
    if reserved is None:
        assert decoded.message == message
    else:
        assert decoded.message.nnpfc_application_purpose_tag_uri == TAG
    assert first.nnpfc_num_metadata_extension_bits == 1


def test_metadata_bits_too_few_for_the_elements_are_kept_raw():
    from dataclasses import replace

    message = replace(BASE, nnpfc_num_metadata_extension_bits=3, nnpfc_reserved_metadata_extension="011")
    decoded = messages.decode(messages.encode(message))
    assert decoded.exact
    assert decoded.message == message
    assert "nnpfc_reserved_metadata_extension" not in decoded.message.fields()


def test_an_activation_keeps_the_form_of_its_edition():
    v3 = NnpfActivation(
        nnpfa_target_id=5,
        nnpfa_cancel_flag=0,
        nnpfa_persistence_flag=0,
        nnpfa_target_base_flag=1,
        nnpfa_no_prev_clvs_flag=0,
        nnpfa_num_output_entries=0,
    )
    from dataclasses import replace

    v4 = replace(v3, nnpfa_prompt_update_flag=0, nnpfa_seed_update_flag=0, nnpfa_selected_input_flag=0)
    for message in (v3, v4):
        assert messages.decode(messages.encode(message)).message == message


def test_missing_and_superfluous_elements_are_named():
    from dataclasses import replace

    with pytest.raises(VseiError, match="nnpfc_overlap: no value is given"):
        messages.encode(replace(BASE, nnpfc_overlap=None))
    with pytest.raises(VseiError, match="a value is given for an element that is not part"):
        messages.encode(replace(BASE, nnpfc_luma_padding_val=3))
    with pytest.raises(VseiError, match="nnpfc_parameter: nnpfc has no such element"):
        form.complete(NnpfCharacteristics, nnpf.nnpfc, {"nnpfc_parameter": 3}, {})


@pytest.mark.parametrize(
    ("element", "value"),
    [
        ("nnpfc_id", 300),
        ("nnpfc_id", 2**31),
        ("nnpfc_purpose", 0x100),
        ("nnpfc_padding_type", 5),
        ("nnpfc_inp_order_idc", 4),
    ],
)
def test_reserved_values_are_named(element, value):
    from dataclasses import replace

    assert nnpf.reserved_value(BASE) is None
    assert nnpf.reserved_value(replace(BASE, **{element: value})) == (element, value)


def test_a_message_is_completed_from_some_elements():
    given = {"nnpfc_id": 3, "nnpfc_mode_idc": 1, "nnpfc_property_present_flag": 1, "nnpfc_inp_order_idc": 3}
    message = form.complete(NnpfCharacteristics, nnpf.nnpfc, given, {"nnpfc_padding_type": 2})
    assert message.nnpfc_padding_type == 2
    assert message.nnpfc_overlap == 0
    assert messages.decode(messages.encode(message)).message == message


def test_a_message_is_completed_with_its_metadata_extension():
    given = {
        "nnpfc_mode_idc": 1,
        "nnpfc_purpose": 4,
        "nnpfc_property_present_flag": 1,
        "nnpfc_num_metadata_extension_bits": 6,
        "nnpfc_scan_type_idc": 1,
        "nnpfc_for_human_viewing_idc": 2,
        "nnpfc_for_machine_analysis_idc": 3,
    }
    message = form.complete(NnpfCharacteristics, nnpf.nnpfc, given, {})
    assert message.nnpfc_scan_type_idc == 1
    assert messages.decode(messages.encode(message)).message == message
