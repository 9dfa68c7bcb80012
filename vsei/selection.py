"""Which pictures of a stream something is for, as users write it: `poc:8,16-24`, `output:0`, `random_access` ..."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

from vsei.errors import VseiError
from vsei.grouping import PictureStart

Kind = Literal["all", "first", "random_access", "clvs_start", "segments", "decode", "clvs", "poc", "output", "time"]
_WORDS: tuple[Kind, ...] = ("all", "first", "random_access", "clvs_start", "segments")
_NUMBERED: tuple[Kind, ...] = ("decode", "clvs", "poc", "output")

FORMS = (
    "all, first, random_access, clvs_start, segments (random access pictures, and of the pictures that lead each the "
    "one that is output first), or numbers: poc:8,16-24, output:0-9 (0-based, output order), "
    "decode:5 (0-based, decoding order), clvs:1 (first picture of that CLVS), "
    "time:1.5 or time:1.5-3 (seconds: what is on screen then)"
)


@dataclass(frozen=True, slots=True)
class Selection:
    """Pictures by one of their properties. `ranges` are inclusive; empty for the kinds that need no numbers. `spans`
    are the same in seconds. `layer_id`: only pictures with that nuh_layer_id; None: of all layers. `after`: no segments
    that begin before so many pictures were output, but the picture that is output then.

    Kinds: all; first (of the stream, or of the layer); random_access (IRAP and GDR pictures); clvs_start; segments
    (random access pictures, and of the pictures that lead each in output order the first: what persists in output order
    from there on holds for all pictures, wherever decoding starts); decode (index in decoding order); clvs (first
    picture of those CLVSs); poc (PicOrderCntVal, in every CLVS); output (index in output order of its layer); time
    (what is on screen then; a bitstream has no times, so `at_times` has to make another selection of it first).
    """

    kind: Kind
    ranges: tuple[tuple[int, int], ...] = ()
    spans: tuple[tuple[Fraction, Fraction], ...] = ()
    layer_id: int | None = None
    after: int = 0

    @property
    def needs_headers(self) -> bool:
        """Whether picture headers must be read: POC and output order are not known from NAL unit types."""
        return self.kind in ("poc", "output", "segments", "time")

    def _holds(self, number: int) -> bool:
        return any(low <= number <= high for low, high in self.ranges)

    def picks(
        self, start: PictureStart, poc: int | None = None, output_index: int | None = None, *, leads: bool = False
    ) -> bool:
        """Whether a picture is among them. What comes after `start` matters only where `needs_headers`.

        Args:
            leads: it is, of the pictures that lead a random access picture, the one that is output first.
        """
        if self.layer_id is not None and start.layer_id != self.layer_id:
            return False
        match self.kind:
            case "all":
                return True
            case "first":
                return start.decode_index == 0 if self.layer_id is None else start.clvs_start and start.clvs == 0
            case "random_access":
                return start.random_access
            case "clvs_start":
                return start.clvs_start
            case "segments":
                if self.after and (output_index is None or output_index <= self.after):
                    return output_index == self.after
                return start.random_access or leads
            case "decode":
                return self._holds(start.decode_index)
            case "clvs":
                return start.clvs_start and self._holds(start.clvs)
            case "poc":
                return poc is not None and self._holds(poc)
            case "output":
                return output_index is not None and self._holds(output_index)
            case "time":
                raise ValueError(f"{self}: at_times has to come first")

    def __str__(self) -> str:
        return self._written() if self.layer_id is None else f"{self._written()} of layer {self.layer_id}"

    def _written(self) -> str:
        if self.spans:
            return "time:" + ",".join(
                f"{float(a):g}" if a == b else f"{float(a):g}-{float(b):g}" for a, b in self.spans
            )
        if not self.ranges:
            return self.kind
        return f"{self.kind}:" + ",".join(str(a) if a == b else f"{a}-{b}" for a, b in self.ranges)


_RANGE = re.compile(r"(-?\d+)(?:-(-?\d+))?")


def parse(text: str) -> Selection:
    """A selection from its written form (FORMS). Bare numbers are output indices. VseiError says what is wrong."""
    kind, colon, numbers = text.strip().partition(":")
    if not colon:
        for word in _WORDS:
            if kind == word:
                return Selection(word)
        kind, numbers = "output", kind
    for numbered in _NUMBERED:
        if kind == numbered:
            return Selection(numbered, _ranges(numbers, text))
    if kind == "time":
        return Selection("time", spans=_spans(numbers, text))
    raise VseiError(f"{text!r} does not name pictures; give {FORMS}")


def _ranges(numbers: str, text: str) -> tuple[tuple[int, int], ...]:
    ranges = []
    for part in numbers.split(","):
        match = _RANGE.fullmatch(part.strip())
        if match is None:
            raise VseiError(f"{text!r} does not name pictures; give {FORMS}")
        low = int(match[1])
        high = low if match[2] is None else int(match[2])
        if high < low:
            raise VseiError(f"{part.strip()!r} in {text!r} is no range")
        ranges.append((low, high))
    return tuple(ranges)


_SPAN = re.compile(r"(-?\d+(?:\.\d+)?)(?:-(\d+(?:\.\d+)?))?")


def _spans(numbers: str, text: str) -> tuple[tuple[Fraction, Fraction], ...]:
    spans = []
    for part in numbers.split(","):
        match = _SPAN.fullmatch(part.strip())
        if match is None:
            raise VseiError(f"{text!r} does not name pictures; give {FORMS}")
        begin = Fraction(match[1])
        end = begin if match[2] is None else Fraction(match[2])
        if end < begin:
            raise VseiError(f"{part.strip()!r} in {text!r} is no time span")
        spans.append((begin, end))
    return tuple(spans)


def at_times(selection: Selection, shown: Sequence[tuple[Fraction, int]]) -> Selection:
    """The same pictures, by their indices in decoding order.

    Args:
        selection: of the kind "time".
        shown: when each picture is shown, in seconds, and its index in decoding order; sorted. Each is on screen until
            the next one is.

    Raises:
        VseiError: none is on screen then: the times lie before the first picture.
    """
    times = [seconds for seconds, _ in shown]
    indices: set[int] = set()
    for begin, end in selection.spans:
        first = max(0, bisect_right(times, begin) - 1)  # on screen since before
        indices.update(index for _, index in shown[first : bisect_right(times, end)])
    if not indices:
        raise VseiError(f"the stream has no picture {selection}")
    return Selection("decode", tuple((index, index) for index in sorted(indices)))
