"""Messages put into streams and taken out: nothing else changes, whatever the stream."""

import io

import pytest

from vsei import edit, messages, sei, selection
from vsei.annexb import read_chunks, split
from vsei.edit import Placement
from vsei.errors import VseiError
from vsei.grouping import groups
from vsei.messages import NnpfActivation
from vsei.nal import Codec, Vvc
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
