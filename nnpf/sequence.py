"""Sequences of pictures in output order, between the filters: what is known of a picture on its way, and in which order
and at what times pictures go out that were added beside others."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from fractions import Fraction
from itertools import zip_longest
from typing import Literal

from nnpf.inference import Inference, Picture
from nnpf.intake import InputPicture

Kind = Literal["decoded", "filtered", "interpolated", "extrapolated"]


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


@dataclass(slots=True, eq=False)
class Place:
    """A picture of the sequence that goes in, and what comes out for it.

    Attributes:
        item: as it went in; what later inferences take.
        shown: as it goes out.
        added: pictures that go out beside it.
        changed: whether an inference made any of these.
        gone: whether these went out.
    """

    item: Item
    shown: Item
    added: list[Item] = field(default_factory=list)
    changed: bool = False
    gone: bool = False

    @property
    def extrapolates(self) -> bool:
        return any(item.kind == "extrapolated" for item in self.added)

    def items(self) -> list[Item]:
        return sorted((*self.added, self.shown), key=lambda item: item.position)


class Turns:
    """Says what goes out for each picture of a sequence, in order. Of temporally interleaved pictures that is for those
    of both views in turn: with added pictures, too, the views must alternate."""

    def __init__(self) -> None:
        self.first_view: Place | None = None  # of two pictures, until the other one comes

    def take(self, place: Place, following: Place | None) -> Iterator[Item]:
        """What goes out now. `following`: the picture that was sent after it, where there is one."""
        yield from self._in_turn(_timed(place, following))

    def finish(self) -> Iterator[Item]:
        yield from self._in_turn(None)

    def _in_turn(self, place: Place | None) -> Iterator[Item]:
        first, self.first_view = self.first_view, None
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
            self.first_view = Place(place.item, place.shown, place.added)
        elif place is not None:
            yield from place.items()


def _timed(place: Place, following: Place | None) -> Place:
    """With the times of extrapolated pictures, which the standard does not give: they share the interval to the picture
    that follows evenly. Where none follows they are in intervals of the pictures before."""
    extrapolated = [item for item in place.added if item.kind == "extrapolated"]
    if not extrapolated or following is None:
        return place
    step = (following.item.position - place.item.position) / (len(extrapolated) + 1)
    timed = [replace(item, position=place.item.position + at * step) for at, item in enumerate(extrapolated, 1)]
    return replace(place, added=[*(item for item in place.added if item.kind != "extrapolated"), *timed])
