"""Which pictures of a stream something is for, as users write it: `poc:8,16-24`, `output:0`, `random_access` ..."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from vsei.errors import VseiError
from vsei.grouping import PictureStart

Kind = Literal["all", "first", "random_access", "clvs_start", "segments", "decode", "clvs", "poc", "output"]
_WORDS: tuple[Kind, ...] = ("all", "first", "random_access", "clvs_start", "segments")
_NUMBERED: tuple[Kind, ...] = ("decode", "clvs", "poc", "output")

FORMS = (
    "all, first, random_access, clvs_start, segments (random access pictures, and of the pictures that lead each the "
    "one that is output first), or numbers: poc:8,16-24, output:0-9 (0-based, output order), "
    "decode:5 (0-based, decoding order), clvs:1 (first picture of that CLVS)"
)


@dataclass(frozen=True, slots=True)
class Selection:
    """Pictures by one of their properties. `ranges` are inclusive; empty for the kinds that need no numbers.

    Kinds: all; first (of the stream); random_access (IRAP and GDR pictures); clvs_start; segments (random access
    pictures, and of the pictures that lead each in output order the first: what persists in output order from there on
    holds for all pictures, wherever decoding starts); decode (index in decoding order); clvs (first picture of those
    CLVSs); poc (PicOrderCntVal, in every CLVS); output (index in output order).
    """

    kind: Kind
    ranges: tuple[tuple[int, int], ...] = ()

    @property
    def needs_headers(self) -> bool:
        """Whether picture headers must be read: POC and output order are not known from NAL unit types."""
        return self.kind in ("poc", "output", "segments")

    def _holds(self, number: int) -> bool:
        return any(low <= number <= high for low, high in self.ranges)

    def picks(
        self, start: PictureStart, poc: int | None = None, output_index: int | None = None, *, leads: bool = False
    ) -> bool:
        """Whether a picture is among them. What comes after `start` matters only where `needs_headers`.

        Args:
            leads: it is, of the pictures that lead a random access picture, the one that is output first.
        """
        match self.kind:
            case "all":
                return True
            case "first":
                return start.decode_index == 0
            case "random_access":
                return start.random_access
            case "clvs_start":
                return start.clvs_start
            case "segments":
                return start.random_access or leads
            case "decode":
                return self._holds(start.decode_index)
            case "clvs":
                return start.clvs_start and self._holds(start.clvs)
            case "poc":
                return poc is not None and self._holds(poc)
            case "output":
                return output_index is not None and self._holds(output_index)

    def __str__(self) -> str:
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
