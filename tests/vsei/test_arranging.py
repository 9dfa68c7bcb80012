"""Messages arranged for decoders with needs of their own; the rules of these decoders are the judge."""

import pytest

from vsei import edit, messages, selection
from vsei.annexb import split
from vsei.arranging import Order, arrange, follow_updates, orders
from vsei.edit import Placement
from vsei.errors import VseiError
from vsei.grouping import groups
from vsei.listing import nal_units_of
from vsei.messages import NnpfActivation, NnpfCharacteristics
from vsei.nal import Codec
from vsei.rules import NOKIA, VTM, Level, check


def base(nnpfc_id: int):
    return messages.encode(
        NnpfCharacteristics(
            nnpfc_purpose=1,
            nnpfc_id=nnpfc_id,
            nnpfc_base_flag=1,
            nnpfc_mode_idc=1,
            nnpfc_tag_uri="tag:onnx.ai,2017:onnx",
            nnpfc_uri=f"file:///{nnpfc_id}.onnx",
            nnpfc_property_present_flag=0,
        )
    )


def update(nnpfc_id: int, content: bytes = b"update"):
    return messages.encode(
        NnpfCharacteristics(
            nnpfc_purpose=1,
            nnpfc_id=nnpfc_id,
            nnpfc_base_flag=0,
            nnpfc_mode_idc=0,
            nnpfc_property_present_flag=0,
            nnpfc_payload=content,
        )
    )


def activation(nnpfc_id: int, of_base: int):
    return messages.encode(
        NnpfActivation(
            nnpfa_target_id=nnpfc_id,
            nnpfa_cancel_flag=0,
            nnpfa_persistence_flag=1,
            nnpfa_target_base_flag=of_base,
            nnpfa_no_prev_clvs_flag=0,
            nnpfa_no_foll_clvs_flag=0,
            nnpfa_num_output_entries=0,
            nnpfa_prompt_update_flag=0,
            nnpfa_seed_update_flag=0,
            nnpfa_selected_input_flag=0,
        )
    )


@pytest.fixture(scope="module")
def data(samples):
    """65 pictures in one CLVS; random access at pictures 0 and 32 in decoding order."""
    return (samples / "bbb_q37.266").read_bytes()


def arranged(data, decoder, *placements):
    """The decode indices of each placement; and what is wrong with the stream for that decoder."""
    suffixed = [
        Placement(selection.parse(at), message, suffix=message.payload_type == 211 and decoder is VTM)
        for at, message in placements
    ]
    decided = edit.decide(split([data]), Codec.VVC, suffixed)
    starts = [g.start for g in groups(split([data]), Codec.VVC) if g.start]
    found = arrange(suffixed, decided, starts, decoder, orders(split([data]), Codec.VVC))
    injected = edit.inject(split([data]), Codec.VVC, suffixed, found)
    broken = {
        f.rule.name
        for f in check(nal_units_of(injected, Codec.VVC), Codec.VVC, decoder=decoder)
        if f.rule.level is Level.VIOLATION and f.rule.clause == decoder.version
    }
    return [sorted(indices) for indices in found], broken


def test_for_vtm_an_update_waits_for_the_next_picture(data):
    found, broken = arranged(
        data,
        VTM,
        ("random_access", base(1)),
        ("decode:0,7,32", update(1)),
        ("decode:1,33", activation(1, 0)),
    )
    assert found == [[0, 32], [1, 7, 33], [1]]
    assert broken == set()


def test_for_vtm_filters_spread_over_pictures(data):
    found, broken = arranged(
        data,
        VTM,
        *(("random_access", base(i)) for i in range(1, 5)),
        *((f"decode:{i},{i + 32}", activation(i, 1)) for i in range(1, 5)),
    )
    assert found[:4] == [[0, 32], [1, 33], [2, 34], [3, 35]]
    assert broken == set()


def test_for_vtm_an_activation_in_force_does_not_come_again(data):
    """It stops at the end for activations in its picture buffer whose filter came with a picture that is gone."""
    found, _ = arranged(data, VTM, ("random_access", base(1)), ("segments", activation(1, 1)))
    assert found == [[0, 32], [5]]  # picture 5 is shown first
    found, _ = arranged(
        data,
        VTM,
        ("random_access", base(1)),
        ("decode:1", update(1)),
        ("poc:0,20,40", activation(1, 1)),
        ("poc:16", activation(1, 0)),
    )
    order = orders(split([data]), Codec.VVC)
    assert [sorted(order[index].poc for index in indices) for indices in found[2:]] == [[0, 20], [16]]


def test_for_vtm_repeats_of_one_message_stay_together(data):
    found, _ = arranged(data, VTM, ("random_access", base(1)), ("random_access", base(1)))
    assert found == [[0, 32], [0, 32]]


@pytest.mark.parametrize(
    ("placements", "problem"),
    [
        (
            [("random_access", base(1)), ("decode:0", update(1)), ("decode:0", activation(1, 0))],
            "the update of filter 1 for picture 0 has to wait for a later one; picture 0 activates it before",
        ),
        (
            [("random_access", base(1)), ("random_access", base(2)), ("decode:0", activation(2, 1))],
            "the base of filter 2 for picture 0 has to wait for a later one; picture 0 activates it before",
        ),
        (
            [("decode:0", activation(1, 1)), ("decode:0", activation(2, 1))],
            "VTM 23.13 stops at two different NNPFA at one picture, as at picture 0",
        ),
        ([("all", base(1)), ("all", update(1))], "after picture 64 there are too few pictures to spread them over"),
    ],
)
def test_for_vtm_what_cannot_be_arranged_is_refused(data, placements, problem):
    with pytest.raises(VseiError, match=problem):
        arranged(data, VTM, *placements)


def test_for_vtm_nothing_waits_beyond_its_sequence(shared):
    stream = (shared / "vectors/vtm/s25_multiclvs_idr.266").read_bytes()
    stream = b"".join(u.to_bytes() for u in edit.strip(split([stream]), Codec.VVC, lambda *_: True))
    last = max(g.start.decode_index for g in groups(split([stream]), Codec.VVC) if g.start.clvs == 0)
    with pytest.raises(VseiError, match=f"after picture {last} there are too few pictures"):
        arranged(
            stream, VTM, ("decode:0", base(1)), (f"decode:{last}", update(1, b"a")), (f"decode:{last}", update(1, b"b"))
        )


def test_for_nokia_a_base_that_comes_again_brings_what_it_would_drop(data):
    found, broken = arranged(
        data, NOKIA, ("random_access", base(1)), ("decode:3", update(1)), ("decode:3", activation(1, 0))
    )
    assert found == [[0, 32], [3, 32], [3, 32]]
    assert "nokia-base-resets" not in broken


def test_for_nokia_what_has_ended_does_not_come_again(data):
    cancel = messages.encode(NnpfActivation(nnpfa_target_id=1, nnpfa_cancel_flag=1))
    found, _ = arranged(data, NOKIA, ("random_access", base(1)), ("decode:3", activation(1, 1)), ("decode:9", cancel))
    assert found == [[0, 32], [3], [9]]


def test_several_layers_are_refused(data):
    starts = [g.start for g in groups(split([data]), Codec.VVC) if g.start]
    from dataclasses import replace

    with pytest.raises(VseiError, match="streams of one layer only"):
        arrange([], [], [*starts, replace(starts[0], layer_id=1)], VTM, {})


def test_a_base_is_active_until_an_update_comes():
    """Pictures in decoding order with POC 0, 8, 4, 16, 12, and then another CLVS."""
    order = {i: Order(0, poc) for i, poc in enumerate([0, 8, 4, 16, 12])} | {5: Order(1, 0)}
    everywhere = frozenset(order)
    left, (first,) = follow_updates(everywhere, [frozenset({1})], order)
    assert left == {0, 2, 5}
    assert first == {1, 3, 4}
    left, (first, second) = follow_updates(everywhere, [frozenset({1}), frozenset({3})], order)
    assert (left, first, second) == ({0, 2, 5}, {1, 4}, {3})


def test_the_order_of_pictures_is_that_of_their_headers(data):
    found = orders(split([data]), Codec.VVC)
    assert len(found) == 65
    assert sorted(order.poc for order in found.values()) == list(range(65))
