"""One filter over a sequence of pictures: what goes into each inference, and where that which it makes goes.

H.274 8.28.2.2 in terms of a sequence in output order. Nothing here knows of samples or networks: pictures are handed on
before they are there.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from itertools import islice, zip_longest
from typing import Literal

import numpy as np

from nnpf.activation import Active
from nnpf.characteristics import (
    OutputPicture,
    closing_inferences,
    filtered_inputs,
    furthest_output,
    num_input_pics,
    output_pictures,
)
from nnpf.errors import NnpfError
from nnpf.frames import Format, Frame, Plane
from nnpf.inference import Given, Inference, Made, Picture
from nnpf.intake import InputPicture
from vsei.messages.nnpf import PICTURE_RATE_UPSAMPLING
from vsei.pictures import Picture as CodedPicture

Kind = Literal["decoded", "filtered", "interpolated", "extrapolated"]
Rank = tuple[int, int]

_MAX_INPUT_PICS = 64  # nnpfc_num_input_pics_minus1 is at most 63


@dataclass(slots=True, eq=False)
class Notes:
    """What is found out about a picture on its way. `started`: the inferences with it as the current picture."""

    reasons: list[str] = field(default_factory=list)
    started: list[Inference] = field(default_factory=list)


@dataclass(frozen=True, slots=True, eq=False)
class Item:
    """A picture on its way through the filters.

    Attributes:
        source: the coded picture that it is; the one after an interpolated picture, the one before an extrapolated one.
        kind: "filtered" for all coded pictures.
        position: when it is shown, in intervals of the coded pictures.
        picture: as the filters so far made it.
        made_by: the inferences that made it, in order.
        notes: the same for all forms of it.
    """

    source: InputPicture
    kind: Kind
    position: Fraction
    picture: Picture
    made_by: tuple[Inference, ...] = ()
    notes: Notes = field(default_factory=Notes)

    @property
    def clvs(self) -> int:
        return self.source.picture.clvs


# Begins an inference of a filter at a current picture, with the samples of inputPic[ ] and the coded picture that each
# stands for, whose QP is its strength. Gives it and the format of its pictures.
Infer = Callable[[Active, Item, Sequence[tuple[Picture, CodedPicture]]], tuple[Inference, Format]]


@dataclass(slots=True, eq=False)
class _Place:
    """A picture of the sequence that goes in, and what comes out for it.

    Attributes:
        item: as it went in; what later inferences take.
        shown: as it goes out.
        added: pictures that go out beside it.
        changed: whether an inference made any of these.
    """

    item: Item
    shown: Item
    added: list[Item] = field(default_factory=list)
    changed: bool = False

    @property
    def extrapolates(self) -> bool:
        return any(item.kind == "extrapolated" for item in self.added)

    def items(self) -> list[Item]:
        return sorted((*self.added, self.shown), key=lambda item: item.position)


class Stage:
    """A filter, or what stands in its place where it is not in force: nothing.

    Where filters follow each other, the standard says that one takes what the other gives, and not what that means for
    several input pictures and for added ones. Here each filter has the whole output of the one before as its sequence:
    added pictures are input pictures like coded ones, and in turn current pictures of the filters that are in force
    for the coded picture that they belong to.

    Args:
        rank: of the filter; see `nnpf.activation.Active`.
        infer: begins an inference.
        skip_failures: what goes wrong is a reason, not an error.
        before: the stage whose input this one is to take, for it goes in front of that. None: it is the first one.

    Attributes:
        inputs: how many input pictures the filter may take.
        reach: how many pictures later it may give the filtered form of a picture, or one before it.
        room: bytes of pictures to keep in any case, for filters that are not known yet.
    """

    def __init__(self, rank: Rank, infer: Infer, *, skip_failures: bool, before: Stage | None = None) -> None:
        self.rank = rank
        self.inputs, self.reach, self.room = 1, 0, 0
        self._infer, self._skip_failures = infer, skip_failures
        self._places: deque[_Place] = deque()
        self._complete = True  # whether they go back to the first picture of the stream
        if before is not None:
            self._places.extend(_Place(place.item, place.item) for place in before._places)
            self._complete = before._complete
        self._current = len(self._places)  # the first one that was not the current picture yet
        self._out = len(self._places)  # the first one that did not go out
        self._first_view: _Place | None = None  # of two temporally interleaved pictures, until the other one comes
        self._views = 1

    @property
    def idle(self) -> bool:
        """Whether the sequence that goes in is the one that goes out, as far as it is remembered."""
        return not self.waiting and not any(place.changed for place in self._places)

    @property
    def waiting(self) -> list[Item]:
        """Pictures that did not go out yet, as they went in."""
        places = [*([self._first_view] if self._first_view is not None else ()), *islice(self._places, self._out, None)]
        return [place.item for place in places]

    def take(self, item: Item) -> list[Item]:
        """The next picture in. Returns those that nothing can change any more."""
        if item.source.frame0 is not None:
            self._views = 2
        self._places.append(_Place(item, item))
        return list(self._proceed(ended=False))

    def finish(self) -> list[Item]:
        """There are no more pictures in. Returns the rest."""
        return list(self._proceed(ended=True))

    def _proceed(self, ended: bool) -> Iterator[Item]:
        while self._current < len(self._places):
            current = self._places[self._current]
            active = next((one for one in current.item.source.active if one.rank == self.rank), None)
            if active is not None:
                if not ended and self._waits(active, current):
                    break
                self._filter(active, current)
            self._current += 1
        reach = 0 if ended else self.reach * self._views
        while self._out < self._current - reach:
            place = self._places[self._out]
            following = self._places[self._out + 1] if self._out + 1 < len(self._places) else None
            if place.extrapolates and following is None and not ended:
                break
            self._out += 1
            yield from self._in_turn(_timed(place, following))
            # For later inferences what went in is enough.
            place.shown, place.added = place.item, []
        if ended:
            yield from self._in_turn(None)
        self._forget()

    def _waits(self, active: Active, current: _Place) -> bool:
        """Whether the current picture needs to know more of what follows."""
        following = list(islice(self._places, self._current + 1, None))
        if active.activation.nnpfa_no_foll_clvs_flag and any(p.item.clvs != current.item.clvs for p in following):
            return False
        wanted = min(_shift(active), num_input_pics(active.base) - 1) * self._views
        if active.activation.nnpfa_persistence_flag and closing_inferences(active.base, _output_flags(active)):
            wanted = max(wanted, 1)  # whether it is the last one
        return len(following) < wanted

    def _in_turn(self, place: _Place | None) -> Iterator[Item]:
        """What goes out for a picture. Of temporally interleaved pictures for those of both views in turn: with added
        pictures, too, the views must alternate."""
        first, self._first_view = self._first_view, None
        if first is not None:
            pair = [first]
            if place is not None and place.item.source.frame0 == (not first.item.source.frame0):
                pair.append(place)
                place = None
            turns = zip_longest(*(one.items() for one in pair))
            items = [item for turn in turns for item in turn if item is not None]
            for at, item in enumerate(items):
                # They share the intervals of the two evenly, and the last one stays where it is.
                before = Fraction(len(pair) * (len(items) - 1 - at), len(items))
                yield replace(item, position=pair[-1].item.position - before)
        if place is not None and place.item.source.frame0 is not None and place.added:
            self._first_view = _Place(place.item, place.shown, place.added)
        elif place is not None:
            yield from place.items()

    def _forget(self) -> None:
        if not self._places:
            return
        affordable = min(self.room // self._places[-1].item.picture.format.file_bytes, _MAX_INPUT_PICS)
        keep = max((self.inputs - 1) * self._views, affordable, 1)
        while self._out > 0 and self._current > keep:
            self._places.popleft()
            self._complete = False
            self._current -= 1
            self._out -= 1

    def _filter(self, active: Active, current: _Place) -> None:
        """All inferences of a filter for the current picture."""
        notes = current.item.notes
        try:
            self.inputs = max(self.inputs, num_input_pics(active.base))
            self.reach = max(self.reach, furthest_output(active.base))
            inputs = self._inputs(active, current)
            self._run(active, current, inputs)
            for absent in range(1, self._closing(active, current) + 1):
                self._run(active, current, [*([None] * absent), *inputs][: len(inputs)])
        except NnpfError as error:
            if not self._skip_failures:
                raise NnpfError(f"{label(active)} {where(current.item)}: {error}") from None
            notes.reasons.append(f"{label(active)} is not applied: {error}")

    def _closing(self, active: Active, current: _Place) -> int:
        """numPostRoll: inferences after that of the last picture, with ever more absent pictures in front. The current
        picture stands at nnpfa_num_input_pic_shift already, so as many fewer serve the last pictures."""
        activation = active.activation
        following = self._places[self._current + 1] if self._current + 1 < len(self._places) else None
        last_of_clvs = following is None or following.item.clvs != current.item.clvs
        if not activation.nnpfa_persistence_flag:
            return 0
        if following is not None and not (last_of_clvs and activation.nnpfa_no_foll_clvs_flag):
            return 0
        return closing_inferences(active.base, _output_flags(active)) - _shift(active)

    def _inputs(self, active: Active, current: _Place) -> list[_Place | None]:
        """inputPic[ ], None where there is none (H.274 8.28.2.2).

        nnpfa_num_input_pic_shift puts the current picture at that index, and pictures that follow it in output order
        before it. (The notes on the standard mark this as open to doubt; only this function, `_closing` and `_waits`
        depend on it.)

        Pictures that are not output have no place in output order, and are no input pictures. (The reference software
        goes by POC, and takes them.)

        The process has one CroppedWidth, one bit depth and so on for all input pictures, and the standard does not say
        what happens where pictures differ (reference picture resampling, a new CLVS). Here those that are not like the
        current one are absent.
        """
        base, activation = active.base, active.activation
        count, shift = num_input_pics(base), _shift(active)
        if shift >= count:
            raise NnpfError(f"nnpfa_num_input_pic_shift {shift} leaves the current picture out of {count}")
        interleaved = bool(base.nnpfc_purpose & PICTURE_RATE_UPSAMPLING) and current.item.source.frame0 is not None

        def usable(other: _Place) -> bool:
            return not interleaved or other.item.source.frame0 == current.item.source.frame0

        later: list[_Place | None] = []
        for place in islice(self._places, self._current + 1, self._current + 1 + shift * self._views):
            if activation.nnpfa_no_foll_clvs_flag and place.item.clvs != current.item.clvs:
                break
            if len(later) < shift and usable(place):
                later.append(place)
        earlier: list[_Place | None] = []
        known = self._complete
        for at in range(self._current - 1, -1, -1):
            place = self._places[at]
            if len(earlier) + 1 + shift == count:
                break
            if not usable(place):
                continue
            if activation.nnpfa_no_prev_clvs_flag and place.item.clvs != current.item.clvs:
                known = True
                break
            earlier.append(place)
        absent = count - shift - 1 - len(earlier)
        if absent and not known:
            raise NnpfError(f"{count} input pictures were not kept: the filter was not known when they were decoded")
        inputs = [*([None] * (shift - len(later))), *reversed(later), current, *earlier, *([None] * absent)]
        form = current.item.picture.format
        for entry in inputs:
            if entry is not None and (other := entry.item.picture.format) != form:
                poc = entry.item.source.picture.poc
                reason = f"the picture with POC {poc} is no input picture of {label(active)}: it is {other}, not {form}"
                current.item.notes.reasons.append(reason)
        return [entry if entry is not None and entry.item.picture.format == form else None for entry in inputs]

    def _run(self, active: Active, current: _Place, inputs: Sequence[_Place | None]) -> None:
        """One inference, its pictures put where they belong."""
        base, notes = active.base, current.item.notes
        outputs = output_pictures(base)
        flags = dict(zip(filtered_inputs(base), _output_flags(active), strict=True))
        # What goes nowhere need not be computed at all.
        wanted = [self._target(picture, inputs, flags) for picture in outputs]
        for gone in islice(self._places, self._out):
            if any(target is gone for target in wanted):
                raise NnpfError(f"the picture with POC {gone.item.source.picture.poc} was shown before it was filtered")
        if not any(wanted):
            notes.reasons.append(f"NNPFA {active.nnpfc_id} has no effect: no picture of its output is shown")
            return
        inference, form = self._infer(active, current.item, self._samples(active, inputs))
        notes.started.append(inference)
        for at, (picture, target) in enumerate(zip(outputs, wanted, strict=True)):
            if target is None:
                continue
            target.changed = True
            item = target.item
            # What a later inference makes again stands instead of the first one: no time has two pictures.
            if picture.kind == "filtered":
                made = Made(form, inference, at, item.picture if self._skip_failures else None)
                target.shown = replace(item, picture=made, made_by=(*item.made_by, inference))
            else:
                target.added = [one for one in target.added if one.kind != picture.kind or one.made_by == (inference,)]
                position = item.position + self._offset(picture, inputs)
                made = Made(form, inference, at, None)
                target.added.append(Item(item.source, picture.kind, position, made, (inference,)))

    @staticmethod
    def _target(picture: OutputPicture, inputs: Sequence[_Place | None], flags: dict[int, int]) -> _Place | None:
        """The picture that a picture of the output tensor is shown for or beside; None where it is not shown."""
        if picture.kind == "filtered" and not flags[picture.index]:
            return None
        if picture.kind == "interpolated" and inputs[picture.index + 1] is None:
            return None  # between a picture and an absent one nothing is made
        return inputs[picture.index]

    def _offset(self, picture: OutputPicture, inputs: Sequence[_Place | None]) -> Fraction:
        """When an added picture is shown, from the one that it is shown beside."""
        target = inputs[picture.index]
        if picture.kind == "interpolated":
            before = inputs[picture.index + 1]
            assert before is not None  # else there is no target
            assert target is not None
            return (picture.position - 1) * (target.item.position - before.item.position)
        at = next(at for at, place in enumerate(self._places) if place is target)
        interval = self._places[at].item.position - self._places[at - 1].item.position if at else Fraction(1)
        return picture.position * interval

    def _samples(self, active: Active, inputs: Sequence[_Place | None]) -> list[tuple[Picture, CodedPicture]]:
        """Samples of inputPic[ ]. Those of an absent picture are zero, or those of the picture next to it that is
        nearer to the current one."""
        current = next(at for at, place in enumerate(inputs) if place is self._places[self._current])
        found: dict[int, tuple[Picture, CodedPicture]] = {}
        for at in (*range(current, len(inputs)), *reversed(range(current))):
            place = inputs[at]
            if place is not None:
                found[at] = place.item.picture, place.item.source.picture
                continue
            picture, coded = found[at - 1 if at > current else at + 1]
            if active.base.nnpfc_absent_input_pic_zero_flag:
                picture = Given(_zeros(picture.format))
            found[at] = picture, coded
        return [found[at] for at in range(len(inputs))]


def _timed(place: _Place, following: _Place | None) -> _Place:
    """With the times of extrapolated pictures, which the standard does not give: they share the interval to the picture
    that follows evenly. Where none follows they are in intervals of the pictures before."""
    extrapolated = [item for item in place.added if item.kind == "extrapolated"]
    if not extrapolated or following is None:
        return place
    step = (following.item.position - place.item.position) / (len(extrapolated) + 1)
    timed = [replace(item, position=place.item.position + at * step) for at, item in enumerate(extrapolated, 1)]
    return replace(place, added=[*(item for item in place.added if item.kind != "extrapolated"), *timed])


def label(active: Active) -> str:
    return f"NNPFC {active.nnpfc_id}"


def where(item: Item) -> str:
    return f"at POC {item.source.picture.poc}"


def _shift(active: Active) -> int:
    """nnpfa_num_input_pic_shift; 0 where it is absent."""
    activation = active.activation
    return activation.nnpfa_num_input_pic_shift or 0 if activation.nnpfa_selected_input_flag else 0


def _output_flags(active: Active) -> tuple[int, ...]:
    """nnpfa_output_flag[ ], completed: entries that are absent are inferred to be 1."""
    count = len(filtered_inputs(active.base))
    flags = (active.activation.nnpfa_output_flag or ())[:count]
    return (*flags, *([1] * (count - len(flags))))


def _zeros(form: Format) -> Frame:
    planes: list[Plane] = [
        np.zeros(shape, np.uint8 if depth == 8 else np.uint16)
        for shape, depth in zip(form.shapes, form.bit_depths, strict=True)
    ]
    return Frame(tuple(planes), form)
