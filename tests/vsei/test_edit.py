"""Messages put into streams and taken out: nothing else changes, whatever the stream."""

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vsei import edit, messages, sei, selection
from vsei.annexb import read_chunks, split
from vsei.edit import Placement
from vsei.errors import VseiError
from vsei.grouping import groups
from vsei.messages import NnpfActivation
from vsei.messages.nesting import ScalableNesting
from vsei.messages.processing_order import SeiProcessingOrderNesting
from vsei.nal import Codec, Hevc, NalHeader, Vvc, sei_types
from vsei.restoring import TakenMessage, TakenPart, TakenUnit, restore
from vsei.sei import SeiMessage

ACTIVATION = messages.encode(
    NnpfActivation(
        nnpfa_target_id=1,
        nnpfa_cancel_flag=0,
        nnpfa_persistence_flag=0,
        nnpfa_target_base_flag=1,
        nnpfa_no_prev_clvs_flag=0,
        nnpfa_num_output_entries=0,
    )
)
NOTE = SeiMessage(5, bytes(16) + b"a note")


def stream_bytes(units) -> bytes:
    return b"".join(u.to_bytes() for u in units)


def streams(shared):
    return [*sorted(shared.glob("vectors/*/*.266")), *sorted(shared.glob("conformance/*.bit"))]


def placed(at: str, message: SeiMessage = ACTIVATION) -> Placement:
    return Placement(selection.parse(at), message)


@pytest.mark.parametrize("at", ["all", "random_access", "clvs_start", "first", "decode:0,2-3"])
def test_strip_after_inject_gives_every_byte_back(shared, at):
    for path in streams(shared):
        data = path.read_bytes()
        units = list(split([data]))
        with_note = list(edit.inject(iter(units), Codec.VVC, [placed(at, NOTE)], on_existing="keep"))
        assert len(with_note) > len(units), path.name
        again = split(read_chunks(io.BytesIO(stream_bytes(with_note)), 4096))
        back = edit.strip(again, Codec.VVC, lambda _, message: message == NOTE)
        assert stream_bytes(back) == data, path.name


def test_inserted_messages_stand_before_the_slices_with_layer_and_temporal_id_of_the_picture(samples):
    data = (samples / "bbb_q37.266").read_bytes()
    injected = edit.inject(split([data]), Codec.VVC, [placed("all")])
    temporal_ids = set()
    for group in groups(split([stream_bytes(injected)]), Codec.VVC):
        found = [u for u in group.units if u.header and u.header.nal_unit_type == Vvc.PREFIX_SEI]
        mine = [u for u in found if sei.parse(u.header, u.nal.data).messages == (ACTIVATION,)]
        assert len(mine) == 1
        assert group.units.index(mine[0]) < group.first_vcl
        assert mine[0].header.temporal_id == group.start.temporal_id
        assert mine[0].header.layer_id == group.start.layer_id
        temporal_ids.add(mine[0].header.temporal_id)
    assert len(temporal_ids) > 2


def test_messages_of_one_picture_stand_in_the_order_given(samples):
    data = (samples / "bbb_q37.266").read_bytes()
    order = [SeiMessage(5, bytes(16) + bytes([i])) for i in range(5)]
    injected = edit.inject(split([data]), Codec.VVC, [placed("first", m) for m in order])
    found = [m for _, _, s in edit.sei_units(injected, Codec.VVC) for m in s.messages if m in order]
    assert found == order


def test_existing_messages_are_an_error_unless_said_otherwise(samples):
    data = (samples / "bbb_q37.266").read_bytes()
    once = stream_bytes(edit.inject(split([data]), Codec.VVC, [placed("random_access")]))
    with pytest.raises(VseiError, match=r"offset \d+: the stream has NNPF messages already"):
        stream_bytes(edit.inject(split([once]), Codec.VVC, [placed("random_access")]))
    replaced = stream_bytes(edit.inject(split([once]), Codec.VVC, [placed("random_access")], on_existing="replace"))
    assert replaced == once
    kept = stream_bytes(edit.inject(split([once]), Codec.VVC, [placed("random_access")], on_existing="keep"))
    assert len(kept) - len(once) == len(once) - len(data)


def test_stripping_one_message_leaves_the_others_of_its_nal_unit(shared):
    """sp04 has several messages in one NAL unit."""
    data = (shared / "vectors/vtm/sp04_many_in_one_nal.266").read_bytes()

    def kinds(stream):
        return [[m.payload_type for m in s.messages] for _, _, s in edit.sei_units(split([stream]), Codec.VVC)]

    before = kinds(data)
    assert any(len(k) > 1 and 210 in k for k in before)
    after = kinds(stream_bytes(edit.strip(split([data]), Codec.VVC, lambda _, m: m.payload_type == 210)))
    assert after == [kept for k in before if (kept := [t for t in k if t != 210])]


def test_a_picture_is_found_by_its_place_in_the_stream(samples):
    starts = [g.start for g in groups(split([(samples / "bbb_q37.266").read_bytes()]), Codec.VVC)]
    picked = [s.decode_index for s in starts if selection.parse("decode:3,7-9").picks(s)]
    assert picked == [3, 7, 8, 9]
    random_access = [s.decode_index for s in starts if selection.parse("random_access").picks(s)]
    assert random_access[0] == 0
    assert len(random_access) > 1


@pytest.mark.parametrize("text", ["poc:", "poc:1-", "frames:3", "8-4", "", "poc:a"])
def test_selections_that_mean_nothing_are_refused(text):
    with pytest.raises(VseiError, match=r"does not name pictures|is no range"):
        selection.parse(text)


@pytest.mark.parametrize("text", ["poc:8,16-24", "output:0-9", "all", "clvs:1", "poc:-4"])
def test_selections_print_as_they_are_written(text):
    assert str(selection.parse(text)) == text


# --- nesting ---------------------------------------------------------------------------------------------------------


def nesting(*inside: SeiMessage) -> SeiMessage:
    message = ScalableNesting(
        sn_ols_flag=0,
        sn_subpic_flag=0,
        sn_all_layers_flag=1,
        sn_num_seis_minus1=len(inside) - 1,
        payload_type=tuple(m.payload_type for m in inside),
        payload_size=tuple(len(m.payload) for m in inside),
        payload=tuple(m.payload for m in inside),
    )
    return messages.encode(message)


def in_order(*inside: SeiMessage) -> SeiMessage:
    message = SeiProcessingOrderNesting(
        pon_num_po_ids_minus1=0,
        pon_target_po_id=(3,),
        pon_num_seis_minus1=len(inside) - 1,
        pon_processing_order=tuple(range(len(inside))),
        payload_type=tuple(m.payload_type for m in inside),
        payload_size=tuple(len(m.payload) for m in inside),
        payload=tuple(m.payload for m in inside),
    )
    return messages.encode(message)


def with_sei(data: bytes, *inside: SeiMessage) -> bytes:
    """A stream with one more SEI NAL unit in front."""
    return b"\0\0\0\1" + sei.build(NalHeader(Codec.VVC, Vvc.PREFIX_SEI), inside) + data


def stripped(data: bytes) -> bytes:
    return stream_bytes(edit.strip(split([data]), Codec.VVC, lambda _, m: m.payload_type in edit.NNPF_TYPES))


def messages_of(data: bytes) -> list[SeiMessage]:
    return [m for _, _, parsed in edit.sei_units(split([data]), Codec.VVC) for m in parsed.messages]


@pytest.mark.parametrize("nest", [nesting, in_order])
def test_messages_inside_others_are_stripped_too(samples, nest):
    data = (samples / "bbb_q37.266").read_bytes()
    assert messages_of(stripped(with_sei(data, nest(NOTE, ACTIVATION, NOTE))))[0].payload.endswith(NOTE.payload)
    left = messages.decode(messages_of(stripped(with_sei(data, nest(NOTE, ACTIVATION, NOTE))))[0])
    assert left.message.messages == (NOTE, NOTE)
    assert left.exact


def test_nesting_messages_without_any_unwanted_stay_as_they_are(samples):
    """Also where they are not written as they would be here: sn_zero_bit is 1."""
    payload = nesting(NOTE).payload
    odd = SeiMessage(133, bytes([payload[0] | 0x0F]) + payload[1:])
    data = with_sei((samples / "bbb_q37.266").read_bytes(), nesting(NOTE), odd)
    assert taken_out(data, Codec.VVC, lambda _, m: m.payload_type in edit.NNPF_TYPES) == (data, [])


@pytest.mark.parametrize("nest", [nesting, in_order])
def test_a_nesting_message_that_is_left_without_any_goes(samples, nest):
    data = (samples / "bbb_q37.266").read_bytes()
    assert stripped(with_sei(data, nest(ACTIVATION))) == data
    assert stripped(with_sei(data, nest(nest(ACTIVATION), ACTIVATION))) == data
    assert messages_of(stripped(with_sei(data, NOTE, nest(ACTIVATION))))[0] == NOTE


def test_wrapped_messages_of_a_real_stream_go(shared):
    data = (shared / "vectors/vtm/s23_po_pon_fix.266").read_bytes()
    (before,) = (m for m in messages_of(data) if m.payload_type == 214)
    (after,) = (m for m in messages_of(stripped(data)) if m.payload_type == 214)
    assert [m.payload_type for m in messages.decode(before).message.messages] == [144, 210, 211]
    assert [m.payload_type for m in messages.decode(after).message.messages] == [144]


# --- what cannot be read ---------------------------------------------------------------------------------------------


def test_what_cannot_be_read_stays(samples):
    """A NAL unit whose second message is cut off: the first one goes, the rest is not touched."""
    data = (samples / "bbb_q37.266").read_bytes()
    header = NalHeader(Codec.VVC, Vvc.PREFIX_SEI).to_bytes()
    good = bytes([211, len(ACTIVATION.payload)]) + ACTIVATION.payload
    cut = bytes([5, 200]) + b"only a part"
    assert stripped(b"\0\0\0\1" + header + good + cut + b"\0\0\0\1" + data[4:]) == (
        b"\0\0\0\1" + header + cut + b"\0\0\0\1" + data[4:]
    )


def test_bits_without_a_meaning_stay(samples):
    """nuh_reserved_zero_bit is not zero: it is that of the NAL unit, whatever goes out of it."""
    data = (samples / "bbb_q37.266").read_bytes()
    odd = bytearray(with_sei(data, NOTE, ACTIVATION))
    odd[4] |= 0x40
    assert stripped(bytes(odd))[4] == odd[4]


# --- start codes -----------------------------------------------------------------------------------------------------

SLICE = bytes([0, Vvc.IDR_N_LP << 3 | 1, 0xC4, 0x80])


def test_the_first_nal_unit_of_a_picture_keeps_a_long_start_code():
    """B.2.2: it has a zero_byte; the one that comes first when SEI is gone takes it over."""
    note = sei.build(NalHeader(Codec.VVC, Vvc.PREFIX_SEI), [ACTIVATION])
    assert stripped(b"\0\0\0\1" + note + b"\0\0\1" + SLICE) == b"\0\0\0\1" + SLICE
    suffix = sei.build(NalHeader(Codec.VVC, Vvc.SUFFIX_SEI), [ACTIVATION])
    assert stripped(b"\0\0\0\1" + SLICE + b"\0\0\0\1" + suffix + b"\0\0\1" + SLICE) == (
        b"\0\0\0\1" + SLICE + b"\0\0\1" + SLICE
    )


@pytest.mark.parametrize("lead", [b"", b"\0\0\0", b"junk"])
@pytest.mark.parametrize("start_code", [b"\0\0\1", b"\0\0\0\1"])
def test_an_inserted_message_has_the_start_code_of_what_it_stands_before(lead, start_code):
    data = lead + start_code + SLICE
    first_code = b"\0\0\0\1" if lead.endswith(b"\0") else start_code
    units = list(edit.inject(split([data]), Codec.VVC, [placed("first")]))
    assert units[0].prefix.endswith(first_code)
    assert stream_bytes(units).startswith(lead)
    assert stripped(stream_bytes(units)) == data


def test_suffix_messages_stand_behind_the_last_slice(samples):
    data = (samples / "bbb_q37.266").read_bytes()
    placement = Placement(selection.parse("all"), ACTIVATION, suffix=True)
    injected = stream_bytes(edit.inject(split([data]), Codec.VVC, [placement]))
    for group in groups(split([injected]), Codec.VVC):
        kinds = [u.header.nal_unit_type for u in group.units]
        assert kinds.index(Vvc.SUFFIX_SEI) == len(kinds) - 1
        assert kinds[-2] <= Vvc.GDR
    assert stripped(injected) == data


def test_a_placement_can_be_for_one_clvs_only(shared):
    data = (shared / "vectors/vtm/s25_multiclvs_idr.266").read_bytes()
    placement = Placement(selection.parse("random_access"), NOTE, clvs=1)
    told = []
    list(edit.inject(split([data]), Codec.VVC, [placement], on_existing="keep", tell=told.append))
    assert [t.start.clvs for t in told] == [1]


# --- putting back ----------------------------------------------------------------------------------------------------


def taken_out(data: bytes, codec: Codec, unwanted) -> tuple[bytes, list]:
    taken = []
    units = edit.strip(split([data]), codec, unwanted, lambda _, t: taken.append(t))
    return stream_bytes(units), taken


@pytest.mark.parametrize("which", ["nnpf", "all", "first of each NAL unit"])
def test_what_was_stripped_can_be_put_back_into_all_streams(shared, which):
    choose = {
        "nnpf": lambda _, m: m.payload_type in edit.NNPF_TYPES,
        "all": lambda _, m: True,
        "first of each NAL unit": lambda place, m: place.message_index == 0,
    }[which]
    for path in streams(shared):
        data = path.read_bytes()
        rest, taken = taken_out(data, Codec.VVC, choose)
        again = split(read_chunks(io.BytesIO(rest), 5000))
        assert stream_bytes(restore(again, Codec.VVC, taken)) == data, path.name


MESSAGES = st.lists(
    st.one_of(
        st.sampled_from([NOTE, ACTIVATION, nesting(NOTE, ACTIVATION), nesting(ACTIVATION), in_order(NOTE, ACTIVATION)]),
        st.builds(SeiMessage, st.sampled_from([5, 211, 300]), st.binary(max_size=6)),
    ),
    min_size=1,
    max_size=4,
)


@st.composite
def sei_nal_units(draw: st.DrawFn, codec: Codec) -> bytes:
    kind = draw(st.sampled_from(sei_types(codec)))
    layer = 0 if codec is Codec.AVC else draw(st.integers(0, 2))
    data = sei.build(
        NalHeader(codec, kind, layer), draw(MESSAGES), draw(st.sampled_from([b"\x80", b"\x80\0\0\3", b"\5\1"]))
    )
    if draw(st.booleans()):
        return data
    # What another encoder could write: reserved bits, emulation prevention where none is needed or none where it is.
    odd = bytearray(data)
    at = draw(st.integers(0, len(odd) - 1))
    odd[at] ^= 1 << draw(st.integers(0, 6))
    return bytes(odd.replace(b"\0\0\1", b"\0\0\3\1")) + draw(st.sampled_from([b"", b"\0\0\3\x80"]))


@st.composite
def any_stream(draw: st.DrawFn, codec: Codec) -> bytes:
    slices = {
        Codec.VVC: [SLICE, bytes([0, 1, 0x80]), bytes([0, 1, 0x40, 1]), bytes([1, 9, 0x80])],
        Codec.HEVC: [bytes([Hevc.CRA << 1, 1, 0x80]), bytes([2, 1, 0x80]), bytes([2, 1, 0x40]), bytes([2, 9, 0x80])],
        Codec.AVC: [bytes([0x65, 0x80]), bytes([0x41, 0x80]), bytes([0x41, 0x40])],
    }[codec]
    out = [draw(st.sampled_from([b"", b"\0\0", b"junk\0"]))]
    for unit in draw(st.lists(st.one_of(sei_nal_units(codec), st.sampled_from(slices)), max_size=12)):
        out += [draw(st.sampled_from([b"\0\0\1", b"\0\0\0\1", b"\0\0\0\0\0\1"])), unit]
    # Where nothing is left, the stream is no byte stream any more, and bytes that led it are gone.
    return b"".join([*out, b"\0\0\1", slices[0], draw(st.sampled_from([b"", b"\0\0"]))])


@pytest.mark.parametrize("codec", Codec)
@given(data=st.data())
def test_what_was_stripped_can_be_put_back_into_any_stream(codec, data):
    stream = data.draw(any_stream(codec))
    chosen = data.draw(st.sets(st.tuples(st.integers(0, 12), st.integers(0, 3))))
    types = data.draw(st.sampled_from([set(), {211}, {5, 300}, {133, 214, 5, 211, 300}]))

    def unwanted(place, message):
        return message.payload_type in types or (place.unit.nal_index, place.message_index) in chosen

    rest, taken = taken_out(stream, codec, unwanted)
    assert stream_bytes(restore(split([rest]), codec, taken)) == stream


def test_a_stream_of_messages_alone_can_be_emptied_and_filled_again():
    data = b"\0" + with_sei(b"", NOTE) + b"\0\0"
    rest, taken = taken_out(data, Codec.VVC, lambda _, m: True)
    assert rest == b""
    assert stream_bytes(restore(split([rest]), Codec.VVC, taken)) == data


NOTE_HEADER = NalHeader(Codec.VVC, Vvc.PREFIX_SEI)


@pytest.mark.parametrize(
    ("taken", "problem"),
    [
        (TakenUnit(72, NOTE_HEADER, (NOTE,)), "nothing to put back at NAL unit 72: there are 71"),
        (TakenUnit(3, NOTE_HEADER, (NOTE,), gap=2), "not the stream that it was taken from: before NAL unit 3"),
        (TakenPart(0, (TakenMessage(0, NOTE),)), "NAL unit 0 is SPS, no SEI NAL unit"),
        (TakenPart(100, (TakenMessage(0, NOTE),)), "nothing to put back at NAL unit 100: there are 71"),
    ],
)
def test_another_stream_is_refused(samples, taken, problem):
    data = (samples / "bbb_q37.266").read_bytes()
    with pytest.raises(VseiError, match=problem):
        list(restore(split([data]), Codec.VVC, [taken]))


def test_a_nal_unit_with_other_messages_is_refused(samples):
    data = with_sei((samples / "bbb_q37.266").read_bytes(), NOTE)
    with pytest.raises(VseiError, match="NAL unit 0 has other messages than those that were left"):
        list(restore(split([data]), Codec.VVC, [TakenPart(0, (TakenMessage(2, NOTE),))]))
