"""Which filter is in force: persistence, cancel, several ids, updates by output order, reserved values."""

import itertools
from pathlib import Path
from typing import Any

import pytest

from nnpf.activation import ActivationState, Decision, Known
from tests.nnpf.streams import activation, characteristics
from tests.vsei.test_rules import order as processing_order
from vsei.messages import Message, NnpfActivation, NnpfCharacteristics


def base(number: int, **elements: Any) -> NnpfCharacteristics:
    values: dict[str, Any] = {"nnpfc_purpose": 1, "nnpfc_base_flag": 1, "nnpfc_mode_idc": 0}
    return NnpfCharacteristics(**{**values, "nnpfc_id": number, "nnpfc_property_present_flag": 1, **elements})


def update(number: int, payload: bytes, **elements: Any) -> NnpfCharacteristics:
    return base(number, nnpfc_base_flag=0, nnpfc_property_present_flag=0, nnpfc_payload=payload, **elements)


def activate(number: int, *, persist: int = 0, target_base: int = 1, **elements: Any) -> NnpfActivation:
    return NnpfActivation(
        nnpfa_target_id=number,
        nnpfa_cancel_flag=0,
        nnpfa_persistence_flag=persist,
        nnpfa_target_base_flag=target_base,
        **elements,
    )


def cancel(number: int) -> NnpfActivation:
    return NnpfActivation(nnpfa_target_id=number, nnpfa_cancel_flag=1)


def decide(*pictures: tuple[int, list[Message]], clvs_starts: tuple[int, ...] = (0,)) -> list[Decision]:
    """Decisions in output order for pictures given in decoding order as (POC, messages); all of a CLVS at once."""
    state = ActivationState()
    results: list[Decision] = []
    bounds = [*clvs_starts, len(pictures)]
    for clvs, (first, end) in enumerate(itertools.pairwise(bounds)):
        for index in range(first, end):
            state.take(decode_index=index, clvs=clvs, poc=pictures[index][0], messages=pictures[index][1])
        for poc, index in sorted((pictures[index][0], index) for index in range(first, end)):
            results.append(state.decide(decode_index=index, clvs=clvs, poc=poc))
    return results


def ids(decisions: list[Decision]) -> list[list[int]]:
    return [[active.nnpfc_id for active in decision.active] for decision in decisions]


def test_one_picture_only_without_persistence() -> None:
    decisions = decide((0, [base(1)]), (2, []), (1, [activate(1)]))
    assert ids(decisions) == [[], [1], []]
    assert decisions[1].active[0].base == base(1)
    assert decisions[1].active[0].update is None


def test_persistence_follows_output_order_not_decoding_order() -> None:
    # POC 4 is decoded before POC 2: the activation at 4 says nothing about 2.
    assert ids(decide((0, [base(1)]), (4, [activate(1, persist=1)]), (2, []), (6, []))) == [[], [], [1], [1]]


def test_cancel_ends_persistence() -> None:
    assert ids(decide((0, [base(1), activate(1, persist=1)]), (1, []), (2, [cancel(1)]), (3, []))) == [[1], [1], [], []]


def test_an_activation_without_persistence_ends_an_earlier_one() -> None:
    pictures = [(0, [base(1), activate(1, persist=1)]), (1, [activate(1)]), (2, [])]
    assert ids(decide(*pictures)) == [[1], [1], []]


def test_several_filters_in_bitstream_order() -> None:
    both: list[Message] = [base(7), base(3), activate(7, persist=1), activate(3, persist=1)]
    assert ids(decide((0, both), (1, [cancel(7)]), (2, []))) == [[7, 3], [3], [3]]


def test_nothing_survives_the_end_of_a_clvs() -> None:
    pictures = [(0, [base(1), activate(1, persist=1)]), (1, []), (0, []), (1, [activate(1)])]
    decisions = decide(*pictures, clvs_starts=(0, 2))
    assert ids(decisions) == [[1], [1], [], []]
    assert decisions[3].reasons == ("NNPFA 1 has no effect: no NNPFC with this id before it in this CLVS",)


def test_updates_are_in_force_by_output_order_and_do_not_accumulate() -> None:
    decisions = decide(
        (0, [base(1), activate(1, persist=1, target_base=0)]),
        (8, [update(1, b"at 8")]),
        (4, [update(1, b"at 4")]),
        (2, []),
        (6, []),
        (10, []),
    )
    payloads = [d.active[0].update.nnpfc_payload if d.active and d.active[0].update else None for d in decisions]
    assert payloads == [None, None, b"at 4", b"at 4", b"at 8", b"at 8"]
    assert decisions[0].reasons == ("NNPFA 1 has no effect: it asks for an update, and none is in force",)


def test_the_base_can_be_asked_for_while_an_update_is_in_force() -> None:
    decisions = decide((0, [base(1), update(1, b"u"), activate(1)]), (1, [activate(1, target_base=0)]))
    assert [d.active[0].update is not None for d in decisions] == [False, True]


def test_a_filter_that_comes_later_in_decoding_order_does_not_count() -> None:
    decisions = decide((0, []), (2, [activate(1, persist=1)]), (1, [base(1)]), (3, []))
    assert ids(decisions) == [[], [], [], []]
    assert "no NNPFC with this id before it" in decisions[2].reasons[0]


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        (base(300), "NNPFC 300 is ignored: nnpfc_id 300 is reserved"),
        (base(1, nnpfc_purpose=0x100), "NNPFC 1 is ignored: nnpfc_purpose 256 is reserved"),
        (base(1, nnpfc_mode_idc=5), "NNPFC 1 is ignored: nnpfc_mode_idc 5 is reserved"),
        (base(1, nnpfc_padding_type=7), "NNPFC 1 is ignored: nnpfc_padding_type 7 is reserved"),
        (activate(2**31), "NNPFA 2147483648 is ignored: nnpfa_target_id 2147483648 is reserved"),
        (update(1, b""), "NNPFC 1 is ignored: an update without a base before it in this CLVS"),
        (base(1, nnpfc_property_present_flag=0), "NNPFC 1 is ignored: a base without properties"),
    ],
)
def test_what_is_ignored_is_reported_where_it_stands(message: Message, reason: str) -> None:
    decisions = decide((0, [message]), (1, []))
    assert [d.reasons for d in decisions] == [(reason,), ()]


def test_a_repeated_base_must_be_the_same() -> None:
    decisions = decide((0, [base(1), base(1)]), (1, [base(1, nnpfc_overlap=3), activate(1)]))
    assert decisions[0].reasons == ()
    assert decisions[1].reasons == ("NNPFC 1 is ignored: a base that differs from the one before it in this CLVS",)
    assert decisions[1].active[0].base == base(1)
    other = decide((0, [base(1), update(1, b"u", nnpfc_purpose=2)]))
    assert other[0].reasons == ("NNPFC 1 is ignored: an update of another purpose than its base",)


def test_prompt_and_seed_hold_from_their_update_on() -> None:
    decisions = decide(
        (0, [base(1, nnpfc_prompt="first", nnpfc_seed=5), activate(1, persist=1)]),
        (1, [activate(1, persist=1, nnpfa_prompt_update_flag=1, nnpfa_prompt="then", nnpfa_seed_update_flag=0)]),
        (2, [activate(1, persist=1, nnpfa_prompt_update_flag=0, nnpfa_seed_update_flag=1, nnpfa_seed=9)]),
    )
    assert [(d.active[0].prompt, d.active[0].seed) for d in decisions] == [("first", 5), ("then", 5), ("then", 9)]


def test_filters_of_several_pictures_are_known_before_they_are_in_force() -> None:
    """Also those of a CLVS that has begun in decoding order, while pictures of the one before are still shown."""
    three = {"num_input_pics_minus1": 2, "input_pic_filtering_flag": [0, 1, 0]}
    bases = {number: characteristics(number, **(three if number != 2 else {})) for number in (1, 2, 4, 7)}
    order = processing_order((210, 0), (211, 1), (210, 2), (211, 3), prefix={1: "00101", 3: "010"})
    state = ActivationState()
    state.take(decode_index=0, clvs=0, poc=0, messages=[*(bases[number] for number in (1, 2, 4)), order])
    state.take(decode_index=1, clvs=0, poc=1, messages=[activation(4)])
    state.take(decode_index=2, clvs=1, poc=0, messages=[bases[7]])
    first, second, third = (
        state.decide(decode_index=0, clvs=0, poc=0),
        state.decide(decode_index=1, clvs=0, poc=1),
        state.decide(decode_index=2, clvs=1, poc=0),
    )
    # Filter 4 has its place by its activation, 1 by its characteristics; filter 7 is in no order.
    known = [Known((0, 0), 3, 1), Known((1, 2), 3, 1), Known((256, 0), 3, 1)]
    assert [first.known, second.known, third.known] == [tuple(known), tuple(known), tuple(known[2:])]
    assert [active.rank for active in second.active] == [(1, 2)]


def test_memory_is_bounded_in_a_long_clvs() -> None:
    state = ActivationState()
    for index in range(3000):
        messages: list[Message] = [base(1)] if index == 0 else []
        messages += [update(1, b"x" * 10), activate(1, target_base=0), base(1)]
        state.take(decode_index=index, clvs=0, poc=index, messages=messages)
        assert len(state.decide(decode_index=index, clvs=0, poc=index).active) == 1
    known = state._clvss[0][1]
    assert len(known.updates._pocs) == len(known.activations._pocs) == 1


def test_the_schedule_of_a_real_stream(shared: Path) -> None:
    """Updates in the middle of CLVSs and alternating targets, as the vectors' makers laid them out."""
    from vsei.annexb import read_chunks, split
    from vsei.listing import sei_messages
    from vsei.nal import Codec
    from vsei.pictures import picture_units

    path = shared / "vectors/vtm/sp08_nnc_updates.266"
    with path.open("rb") as file:
        found = [(m.picture, m.message) for m in sei_messages(split(read_chunks(file)), Codec.VVC)]
    with path.open("rb") as file:
        pictures = [u.picture for u in picture_units(split(read_chunks(file)), Codec.VVC) if u.picture is not None]
    state = ActivationState()
    for picture in pictures:
        own = [message for at, message in found if at is not None and at.decode_index == picture.decode_index]
        messages = [message for message in own if message is not None]
        state.take(decode_index=picture.decode_index, clvs=picture.clvs, poc=picture.poc, messages=messages)
    by_poc = sorted(pictures, key=lambda p: p.poc)
    decisions = {p.poc: state.decide(decode_index=p.decode_index, clvs=p.clvs, poc=p.poc) for p in by_poc}
    sizes = {}
    for poc, decision in decisions.items():
        (active,) = decision.active
        sizes[poc] = None if active.update is None else len(active.update.nnpfc_payload or b"")
    # In decoding order the pictures at POC 8, 4 and 6 carry the updates.
    assert sizes == {**dict.fromkeys(range(4), None), **dict.fromkeys((4, 5), 341), **dict.fromkeys((6, 7), 374)} | (
        dict.fromkeys(range(8, 17), 301)
    )
