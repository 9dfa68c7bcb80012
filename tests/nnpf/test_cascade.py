"""Which pictures go into each inference, and what is shown where: the stages against loops over whole sequences."""

from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nnpf.activation import Active, Known
from nnpf.cascade import Cascade
from nnpf.characteristics import furthest_output, num_input_pics
from nnpf.errors import NnpfError
from nnpf.frames import Format, Frame
from nnpf.inference import Inference, Picture
from nnpf.intake import InputPicture, announced_pictures
from nnpf.sequence import Item
from tests.nnpf.reference import Sent, Step, shown_pictures
from tests.nnpf.streams import activation, characteristics, nal_units, with_messages
from vsei.messages import Message
from vsei.nal import Codec

# Of pictures so large none is kept that no filter wants.
SMALL, LARGE = Format(4096, 2176, 1, 10, 10), Format(8192, 4320, 1, 10, 10)


@dataclass(frozen=True)
class Recipe:
    """In place of a picture: how it was made."""

    made: tuple[Any, ...]
    format: Format


def form_after(active: Active, form: Format) -> Format:
    if not active.base.nnpfc_purpose & 4:
        return form
    return Format(form.width // 2, form.height // 2, 1, 10, 10)


def infer(
    active: Active, current: Item, inputs: Sequence[tuple[Picture, Any]], fails: Callable[[], bool] = lambda: False
) -> tuple[Inference, Format]:
    frames = [cast(Any, picture.frame()) for picture, _ in inputs]
    made = tuple(frame.made if isinstance(frame, Recipe) else ("zero",) for frame in frames)
    form = form_after(active, frames[0].format)
    result: Future[Any] = Future()
    if fails():
        result.set_exception(NnpfError("out of luck"))
    else:
        outputs = [Recipe(("made", active.nnpfc_id, made, at), form) for at in range(64)]
        result.set_result((outputs, active.nnpfc_id))
    return Inference(f"NNPFC {active.nnpfc_id}", "here", result), form


def filter_of(number: int, rank: int, nnpfc: dict[str, Any], nnpfa: dict[str, Any]) -> Active:
    return Active(number, characteristics(number, **nnpfc), None, activation(number, **nnpfa), rank=(256, rank))


def source(number: int, sent: Sent, known: Sequence[Known] = ()) -> InputPicture:
    frame = cast(Frame, Recipe(("decoded", number), sent.form))
    picture = cast(Any, SimpleNamespace(poc=number, clvs=sent.clvs, decode_index=number))
    return InputPicture(picture, number, frame, tuple(sent.active), (), sent.frame0, tuple(known))


def known_of(active: Active) -> Known:
    return Known(active.rank, num_input_pics(active.base), furthest_output(active.base))


def announced(pictures: Sequence[Sent]) -> list[list[Known]]:
    """For each picture the filters of several pictures of its CLVS and those after."""
    found = []
    for now in pictures:
        active = [one for sent in pictures if sent.clvs >= now.clvs for one in sent.active]
        known = {known_of(one) for one in active if num_input_pics(one.base) > 1}
        found.append(sorted(known, key=lambda one: (one.rank, one.inputs, one.reach)))
    return found


def through(pictures: Sequence[Sent], known: Sequence[Sequence[Known]]) -> list[Item]:
    cascade = Cascade(infer)
    sources = [source(number, sent, now) for number, (sent, now) in enumerate(zip(pictures, known, strict=True))]
    items = [
        item
        for one, following in zip(sources, [*sources[1:], None], strict=True)
        for item in cascade.take(one, following)
    ]
    return [*items, *cascade.finish()]


def made(item: Item) -> Any:
    return cast(Any, item.picture.frame()).made


def assert_as_the_reference(pictures: Sequence[Sent]) -> list[Step]:
    expected = shown_pictures(pictures, form_after)
    items = through(pictures, announced(pictures))
    assert [(item.kind, item.source.output_index, item.position, made(item)) for item in items] == [
        (step.kind, step.number, step.position, step.made) for step in expected
    ]
    return expected


@st.composite
def filters(draw: st.DrawFn, rate: bool = True, extrapolation: bool = True) -> dict[str, Any]:
    count = draw(st.integers(1, 4))
    purposes = [1, 1, 4, *([8, 8, 9] if count > 1 and rate else []), *([64, 65] if extrapolation else [])]
    purpose = draw(st.sampled_from(purposes))
    elements: dict[str, Any] = {"purpose": purpose, "num_input_pics_minus1": count - 1}
    if purpose & 4:
        elements |= {
            f"pic_{side}_{what}_minus1": int(what == "denom")
            for side in ("width", "height")
            for what in ("num", "denom")
        }
    if count > 1:
        flags = draw(
            st.lists(st.integers(0, 1), min_size=count, max_size=count).filter(any if not purpose & 0x48 else bool)
        )
        elements |= {"input_pic_filtering_flag": flags, "absent_input_pic_zero_flag": draw(st.integers(0, 1))}
    if purpose & 8:
        elements["interpolated_pics"] = draw(
            st.lists(st.integers(0, 2), min_size=count - 1, max_size=count - 1).filter(any)
        )
    if purpose & 64:
        elements["extrapolated_pics_minus1"] = draw(st.integers(0, 1))
    return elements


@st.composite
def activations(draw: st.DrawFn, count: int) -> dict[str, Any]:
    persists = draw(st.integers(0, 1))
    elements: dict[str, Any] = {"persistence_flag": persists, "no_prev_clvs_flag": draw(st.integers(0, 1))}
    if persists:
        elements["no_foll_clvs_flag"] = draw(st.integers(0, 1))
    flags = draw(st.lists(st.integers(0, 1), max_size=2))
    elements |= {"num_output_entries": len(flags), "output_flag": flags}
    if draw(st.booleans()):
        shift = draw(st.integers(0, count - 1))
        elements |= {
            "prompt_update_flag": 0,
            "seed_update_flag": 0,
            "selected_input_flag": 1,
            "num_input_pic_shift": shift,
        }
    return elements


@st.composite
def sequences(draw: st.DrawFn) -> list[Sent]:
    views = draw(st.booleans()) and draw(st.booleans())

    def filter_at(at: int) -> st.SearchStrategy[dict[str, Any]]:
        # Interleaved views stay in step where one filter at most adds pictures between them.
        return filters(rate=not views or at == 0, extrapolation=not views)

    pictures: list[Sent] = []
    clvs, form = 0, SMALL
    bases = [draw(filter_at(at)) for at in range(draw(st.integers(1, 3)))]
    for number in range(draw(st.integers(1, 9))):
        if pictures and draw(st.integers(0, 3)) == 0:
            clvs += 1
            if draw(st.booleans()):
                at = draw(st.integers(0, len(bases) - 1))
                bases[at] = draw(filter_at(at))
        form = draw(st.sampled_from([form, form, SMALL, LARGE]))
        active = [
            filter_of(at, at, base, draw(activations(base["num_input_pics_minus1"] + 1)))
            for at, base in enumerate(bases)
            if draw(st.integers(0, 3))
        ]
        pictures.append(Sent(clvs, form, active, bool(number % 2) if views else None))
    return pictures


@settings(max_examples=150)
@given(sequences())
def test_any_filters_in_any_order(pictures: list[Sent]) -> None:
    assert_as_the_reference(pictures)


MEAN = {
    "purpose": 1,
    "num_input_pics_minus1": 2,
    "input_pic_filtering_flag": [0, 1, 0],
    "absent_input_pic_zero_flag": 0,
}
BETWEEN = {
    "purpose": 8,
    "num_input_pics_minus1": 1,
    "input_pic_filtering_flag": [0, 0],
    "absent_input_pic_zero_flag": 0,
    "interpolated_pics": [1],
}
ONE = {"purpose": 1}


def decoded(*numbers: int) -> tuple[Any, ...]:
    return tuple(("decoded", number) for number in numbers)


def test_a_filter_of_several_pictures_takes_added_ones_too() -> None:
    mean = filter_of(2, 1, MEAN, {"persistence_flag": 1})
    shown = assert_as_the_reference([Sent(0, SMALL, [filter_of(1, 0, BETWEEN, {}), mean])] * 4)
    assert [step.position for step in shown] == [0, 0.5, 1, 1.5, 2, 2.5, 3]
    halves = [("made", 1, decoded(n + 1, n), 0) for n in range(3)]
    inputs = [halves[0], ("decoded", 0), halves[0], ("decoded", 1), halves[1], ("decoded", 2), halves[2]]
    inputs = [inputs[1], *inputs[2:], ("decoded", 3)]
    ends = [inputs[0], *inputs, inputs[-1]]  # an absent picture is a copy of the one next to it
    assert [step.made for step in shown] == [
        ("made", 2, (after, now, before), 0) for before, now, after in zip(ends, ends[1:], ends[2:], strict=False)
    ]


def test_filters_that_give_earlier_pictures_follow_each_other() -> None:
    pictures = [Sent(0, SMALL, [filter_of(1, 0, MEAN, {}), filter_of(2, 1, ONE, {})])] * 3
    assert [step.made for step in assert_as_the_reference(pictures)] == [
        ("made", 2, (("made", 1, decoded(*inputs), 0),), 0) for inputs in ((1, 0, 0), (2, 1, 0), (2, 2, 1))
    ]


def test_a_filter_that_gives_the_picture_that_follows() -> None:
    """As in the vector s23: the next picture, from itself, the current one and the one before."""
    nnpfc = MEAN | {"input_pic_filtering_flag": [1, 0, 1], "absent_input_pic_zero_flag": 1}
    nnpfa = {"persistence_flag": 0, "num_output_entries": 2, "output_flag": [1, 0]}
    nnpfa |= {"prompt_update_flag": 0, "seed_update_flag": 0, "selected_input_flag": 1, "num_input_pic_shift": 1}
    shown = assert_as_the_reference([Sent(0, SMALL, [filter_of(35, 0, nnpfc, nnpfa)])] * 4)
    inputs = [(*decoded(1, 0), ("zero",)), decoded(2, 1, 0), decoded(3, 2, 1)]
    assert [step.made for step in shown] == [("decoded", 0), *(("made", 35, three, 1) for three in inputs)]


def test_extrapolated_pictures_are_shown_before_the_picture_that_follows() -> None:
    more = filter_of(1, 0, {"purpose": 64, "extrapolated_pics_minus1": 1}, {})
    shown = assert_as_the_reference([Sent(0, SMALL, [more])] * 3)
    assert [step.position for step in shown] == [
        0,
        Fraction(1, 3),
        Fraction(2, 3),
        1,
        Fraction(4, 3),
        Fraction(5, 3),
        2,
        3,
        4,
    ]
    assert [step.made[0] for step in shown] == ["decoded", "made", "made"] * 3


def test_a_picture_of_another_size_is_no_input_picture() -> None:
    sizes = [SMALL, SMALL, LARGE, LARGE]
    pictures = [Sent(0, form, [filter_of(1, 0, BETWEEN, {})]) for form in sizes]
    assert [step.position for step in assert_as_the_reference(pictures)] == [0, 0.5, 1, 2, 2.5, 3]
    third = next(item for item in through(pictures, announced(pictures)) if item.position == 2)
    sizes = "it is 4096x2176 4:2:0 10 bit, not 8192x4320 4:2:0 10 bit"
    assert third.notes.reasons[0] == f"the picture with POC 1 is no input picture of NNPFC 1: {sizes}"


def one_of(count: int, shown: int) -> dict[str, Any]:
    """A filter of several pictures that gives one of them."""
    flags = [int(at == shown) for at in range(count)]
    return {**MEAN, "num_input_pics_minus1": count - 1, "input_pic_filtering_flag": flags}


@pytest.mark.parametrize(
    ("form", "nnpfc", "reason"),
    [
        # Announced with its activation, and gives the picture that was decoded two before.
        (Format(64, 48, 1, 8, 8), one_of(5, 2), "the picture with POC 3 was shown before it was filtered"),
        # Takes pictures of which nothing says that they are wanted when they are decoded.
        (SMALL, one_of(4, 0), "4 input pictures were not kept: the filter was not known when they were decoded"),
    ],
)
def test_what_cannot_be_known_in_time_is_said(form: Format, nnpfc: dict[str, Any], reason: str) -> None:
    late = filter_of(1, 0, nnpfc, {"persistence_flag": 0})
    pictures = [Sent(0, form, [late] if number == 5 else []) for number in range(8)]
    with pytest.raises(NnpfError, match=f"NNPFC 1 at POC 5: {reason}"):
        through(pictures, [[]] * 8)
    assert [len(item.made_by) for item in through(pictures, announced(pictures))].count(1) == 1
    cascade = Cascade(infer, skip_failures=True)
    items = [item for number, sent in enumerate(pictures) for item in cascade.take(source(number, sent))]
    items += cascade.finish()
    assert not any(item.made_by for item in items)
    assert [note for item in items for note in item.notes.reasons] == [f"NNPFC 1 is not applied: {reason}"]


def test_the_picture_before_is_always_in_time() -> None:
    near = filter_of(1, 0, MEAN, {"persistence_flag": 0})
    pictures = [Sent(0, SMALL, [near] if number == 5 else []) for number in range(8)]
    items = through(pictures, [[]] * 5 + [[known_of(near)]] * 3)
    assert [item.source.output_index for item in items if item.made_by] == [4]


def test_a_shift_beyond_the_input_pictures_is_an_error() -> None:
    shifted = {"prompt_update_flag": 0, "seed_update_flag": 0, "selected_input_flag": 1, "num_input_pic_shift": 3}
    with pytest.raises(NnpfError, match="num_input_pic_shift 3 leaves the current picture out of 3"):
        through([Sent(0, SMALL, [filter_of(1, 0, MEAN, shifted)])], [[]])


@settings(max_examples=40)
@given(sequences(), st.lists(st.booleans(), min_size=1, max_size=8))
def test_what_fails_leaves_the_picture_as_it_was(pictures: list[Sent], luck: list[bool]) -> None:
    """With skip_failures: every coded picture is shown, whatever fails; where nothing fails, as without."""
    calls = iter(range(1 << 30))

    def failing(active: Active, current: Item, inputs: Sequence[tuple[Picture, Any]]) -> tuple[Inference, Format]:
        if not luck[next(calls) % len(luck)]:
            raise NnpfError("the model is not there")
        return infer(active, current, inputs)

    cascade = Cascade(failing, skip_failures=True)
    sources = [source(*one) for one in zip(range(len(pictures)), pictures, announced(pictures), strict=True)]
    items = [item for one in sources for item in cascade.take(one)] + list(cascade.finish())
    own = [item.source.output_index for item in items if item.kind == "filtered"]
    assert sorted(own) == list(range(len(pictures)))
    reasons = [reason for item in items for reason in item.notes.reasons]
    failed = next(calls)
    assert any("the model is not there" in reason for reason in reasons) == (
        failed > 0 and not all(luck[at % len(luck)] for at in range(failed))
    )


def test_memory_does_not_grow_with_the_stream() -> None:
    mean, between = filter_of(1, 0, MEAN, {}), filter_of(2, 1, BETWEEN, {})
    known = [known_of(mean), known_of(between)]
    alive: set[int] = set()
    most = []

    class Counted(Recipe):
        def __post_init__(self) -> None:
            alive.add(id(self))

        def __del__(self) -> None:
            alive.discard(id(self))

    cascade = Cascade(infer)
    for number in range(200):
        one = source(number, Sent(number // 50, SMALL, [mean, between] if number % 50 < 30 else []), known)
        object.__setattr__(one, "frame", Counted(("decoded", number), SMALL))
        for item in cascade.take(one):
            item.notes.started.clear()
        most.append(len(alive))
    assert max(most[150:]) <= max(most[:50]) <= 8
    assert len(cascade._stages) == 3
    for number in range(200, 264):
        list(cascade.take(source(number, Sent(4, SMALL, []))))
    assert len(cascade._stages) == 1


# --- with messages in a stream ---------------------------------------------------------------------------------------


@st.composite
def schedules(draw: st.DrawFn, clvss: Sequence[int]) -> tuple[list[list[dict[str, Any]]], dict[int, dict[int, Any]]]:
    """Filters of each CLVS, and at some pictures, by output index, an activation of some of them; None cancels.

    Args:
        clvss: of the pictures in output order.
    """
    bases = [[draw(filters()) for _ in range(draw(st.integers(1, 3)))] for _ in sorted(set(clvss))]
    if draw(st.booleans()):
        bases = [bases[0]] * len(bases)
    at: dict[int, dict[int, Any]] = {}
    for index in draw(st.lists(st.integers(0, len(clvss) - 1), max_size=8, unique=True)):
        own = bases[clvss[index]]
        which = draw(st.lists(st.integers(0, len(own) - 1), min_size=1, unique=True))
        at[index] = {n: draw(st.none() | activations(own[n]["num_input_pics_minus1"] + 1)) for n in sorted(which)}
    return bases, at


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(st.data())
def test_filters_that_a_stream_announces_are_in_time(shared: Path, data: st.DataObject) -> None:
    """65 pictures in 2 CLVSs, of which 50 are shown; filters at the first picture of each CLVS in decoding order. No
    picture goes out too early, and each is what the reference says."""
    path = shared / "vectors/streams/eos_before_cra.266"
    plain = list(announced_pictures(nal_units(path), Codec.VVC))
    clvss = [one.picture.clvs for one in plain]
    bases, at = data.draw(schedules(clvss))
    placed: list[tuple[str, Message]] = []
    for clvs, own in enumerate(bases):
        placed += [(f"clvs:{clvs}", characteristics(n, **base)) for n, base in enumerate(own)]
    sent: list[Sent] = []
    in_force: dict[int, Active] = {}
    for index, one in enumerate(plain):
        clvs = one.picture.clvs
        if index and clvs != clvss[index - 1]:
            in_force = {}
        for n, elements in at.get(index, {}).items():
            message = activation(n, cancel_flag=1) if elements is None else activation(n, **elements)
            placed.append((f"output:{index}", message))
            in_force.pop(n, None)
            if elements is not None:
                in_force[n] = Active(n, characteristics(n, **bases[clvs][n]), None, message, rank=(256, n))
        sent.append(Sent(clvs, SMALL, list(in_force.values())))
        in_force = {n: active for n, active in in_force.items() if active.activation.nnpfa_persistence_flag}
    pictures = [
        replace(one, frame=cast(Frame, Recipe(("decoded", one.output_index), SMALL)))
        for one in announced_pictures(with_messages(path, placed), Codec.VVC)
    ]
    assert [[a.nnpfc_id for a in one.active] for one in pictures] == [
        sorted(a.nnpfc_id for a in s.active) for s in sent
    ]
    cascade = Cascade(infer)
    following = [*pictures[1:], None]
    items = [item for one, next_one in zip(pictures, following, strict=True) for item in cascade.take(one, next_one)]
    items += cascade.finish()
    assert [(item.kind, item.source.output_index, item.position, made(item)) for item in items] == [
        (step.kind, step.number, step.position, step.made) for step in shown_pictures(sent, form_after)
    ]
