"""One filter over a sequence of pictures: it takes each picture in turn as the current one, and gives pictures on when
no later inference can change them.

Nothing here knows of samples or networks: pictures are handed on before they are there.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from fractions import Fraction
from itertools import islice

from nnpf.activation import Active
from nnpf.characteristics import OutputPicture, furthest_output, num_input_pics, output_pictures
from nnpf.errors import NnpfError
from nnpf.frames import Format
from nnpf.inference import Inference, Made
from nnpf.input_pictures import Samples, input_pictures, input_samples, num_following, num_post_roll, output_flags
from nnpf.sequence import Item, Place, Turns

Rank = tuple[int, int]

_MAX_INPUT_PICS = 64  # nnpfc_num_input_pics_minus1 is at most 63

# Begins an inference of a filter at a current picture. Gives it and the format of its pictures.
Infer = Callable[[Active, Item, Sequence[Samples]], tuple[Inference, Format]]


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
        self._places: deque[Place] = deque()
        self._complete = True  # whether they go back to the first picture of the stream
        if before is not None:
            self._places.extend(Place(place.item, place.item, gone=True) for place in before._places)
            self._complete = before._complete
        self._current = len(self._places)  # the first one that was not the current picture yet
        self._out = len(self._places)  # the first one that did not go out
        self._turns = Turns()
        self._views = 1  # 2 where pictures are temporally interleaved

    @property
    def idle(self) -> bool:
        """Whether the sequence that goes in is the one that goes out, as far as it is remembered."""
        return not self.waiting and not any(place.changed for place in self._places)

    @property
    def waiting(self) -> list[Item]:
        """Pictures that did not go out yet, as they went in."""
        held = self._turns.first_view
        return [place.item for place in (*((held,) if held else ()), *islice(self._places, self._out, None))]

    def take(self, item: Item) -> list[Item]:
        """The next picture in. Returns those that nothing can change any more."""
        if item.source.frame0 is not None:
            self._views = 2
        self._places.append(Place(item, item))
        return list(self._proceed(ended=False))

    def finish(self) -> list[Item]:
        """There are no more pictures in. Returns the rest."""
        return list(self._proceed(ended=True))

    def _proceed(self, ended: bool) -> Iterator[Item]:
        while self._current < len(self._places):
            current = self._places[self._current]
            active = next((one for one in current.item.source.active if one.rank == self.rank), None)
            if active is not None:
                following = list(islice(self._places, self._current + 1, None))
                if not ended and len(following) < num_following(active, current, following, self._views):
                    break
                self._filter(active, current, following[0] if following else None)
            self._current += 1
        reach = 0 if ended else self.reach * self._views
        while self._out < self._current - reach:
            place = self._places[self._out]
            next_one = self._places[self._out + 1] if self._out + 1 < len(self._places) else None
            if place.extrapolates and next_one is None and not ended:
                break  # their times depend on it
            self._out += 1
            yield from self._turns.take(place, next_one)
            # For later inferences what went in is enough.
            place.shown, place.added, place.gone = place.item, [], True
        if ended:
            yield from self._turns.finish()
        self._forget()

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

    def _filter(self, active: Active, current: Place, following: Place | None) -> None:
        """All inferences of a filter for the current picture."""
        self.inputs = max(self.inputs, num_input_pics(active.base))
        self.reach = max(self.reach, furthest_output(active.base))
        try:
            inputs = input_pictures(active, self._places, self._current, complete=self._complete, views=self._views)
            for absent in range(num_post_roll(active, current, following) + 1):
                self._run(active, current, [*([None] * absent), *inputs][: len(inputs)])
        except NnpfError as error:
            if not self._skip_failures:
                raise NnpfError(f"{label(active)} {where(current.item)}: {error}") from None
            current.item.notes.reasons.append(f"{label(active)} is not applied: {error}")

    def _run(self, active: Active, current: Place, inputs: Sequence[Place | None]) -> None:
        """One inference, its pictures put where they belong."""
        base, notes = active.base, current.item.notes
        outputs = output_pictures(base)
        flags = output_flags(active)
        # What goes nowhere need not be computed at all.
        wanted = [self._target(picture, inputs, flags) for picture in outputs]
        for target in wanted:
            if target is not None and target.gone:
                shown = target.item.source.picture
                raise NnpfError(f"the picture with POC {shown.poc} was shown before it was filtered")
        if not any(wanted):
            notes.reasons.append(f"NNPFA {active.nnpfc_id} has no effect: no picture of its output is shown")
            return
        inference, form = self._infer(active, current.item, input_samples(active, inputs, current))
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
    def _target(picture: OutputPicture, inputs: Sequence[Place | None], flags: dict[int, int]) -> Place | None:
        """The picture that a picture of the output tensor is shown for or beside; None where it is not shown."""
        if picture.kind == "filtered" and not flags[picture.index]:
            return None
        if picture.kind == "interpolated" and inputs[picture.index + 1] is None:
            return None  # between a picture and an absent one nothing is made
        return inputs[picture.index]

    def _offset(self, picture: OutputPicture, inputs: Sequence[Place | None]) -> Fraction:
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


def label(active: Active) -> str:
    return f"NNPFC {active.nnpfc_id}"


def where(item: Item) -> str:
    return f"at POC {item.source.picture.poc}"
