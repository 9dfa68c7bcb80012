"""What this process is doing and must not leave behind, noted where another process can read it when this one is dead.

Decoders and engines are machine code of others. A fault in it ends the process at once, or a call never returns; either
way this process can say nothing about it. `nnpf_tools.watched` therefore shares memory with the process that works, and
that one notes its steps there. Where no memory is shared nothing is noted.
"""

from __future__ import annotations

import itertools
import mmap
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

# Steps and files at the same time: threads that filter, decode and write. Who finds no place is not noted.
_PLACES = 64
# A path at its longest, and a sentence.
_PLACE_BYTES = 4608
# Number of the note (0: none), kind, seconds that it may take (0: any), bytes of text.
_HEAD = struct.Struct("<QcIH")
MEMORY_BYTES = _PLACES * _PLACE_BYTES
_SUBJECT, _STEP, _REST, _FILE, _ENDED = b"i", b"s", b"r", b"f", b"e"

_memory: mmap.mmap | None = None
_free: list[int] = []
_numbers = itertools.count(1)


class Noted(NamedTuple):
    """A step that had not ended. `number` tells it from others; `limit`: the name of the limit on its `seconds`.

    `resting`: it had, and what goes on are threads of machine code.
    """

    resting: bool
    number: int
    text: str
    seconds: int
    limit: str


class Left(NamedTuple):
    """What a process was about. `subject`: its input. `files`: those that are not finished.

    `ended`: Python came to its end there; no library called `exit` before.
    """

    subject: str
    steps: list[Noted]
    files: list[Path]
    ended: bool = False


def shared_memory() -> mmap.mmap:
    """To be made before the process that calls `share` is forked."""
    return mmap.mmap(-1, MEMORY_BYTES)


def share(memory: mmap.mmap) -> None:
    """Note everything there from now on."""
    global _memory, _subject, _end
    _memory, _subject = memory, None
    _free[:] = range(_PLACES)
    _end = _Place()


def read(memory: mmap.mmap) -> Left:
    """What is noted there now."""
    left = Left("", [], [])
    for number, kind, seconds, text in _entries(memory):
        if kind == _SUBJECT:
            left = left._replace(subject=text)
        elif kind == _FILE:
            left.files.append(Path(text))
        elif kind == _ENDED:
            left = left._replace(ended=True)
        else:
            limit, _, what = text.partition("\0")
            left.steps.append(Noted(kind == _REST, number, what, seconds, limit))
    left.steps.sort()
    return left


def _entries(memory: mmap.mmap) -> Iterator[tuple[int, bytes, int, str]]:
    for place in range(0, MEMORY_BYTES, _PLACE_BYTES):
        number, kind, seconds, length = _HEAD.unpack_from(memory, place)
        if number:
            text = memory[place + _HEAD.size : place + _HEAD.size + length]
            yield number, kind, seconds, text.decode("utf-8", "surrogateescape")


class _Place:
    """Room for one note. Without shared memory, or when all places are taken, nothing is noted."""

    def __init__(self) -> None:
        self._at = _free.pop() if _free else None

    def write(self, kind: bytes, text: str, seconds: int = 0) -> None:
        if self._at is None or _memory is None:
            return
        start = self._at * _PLACE_BYTES
        coded = text.encode("utf-8", "surrogateescape")[: _PLACE_BYTES - _HEAD.size]
        self.clear()
        _memory[start + _HEAD.size : start + _HEAD.size + len(coded)] = coded
        _HEAD.pack_into(_memory, start, next(_numbers), kind, seconds, len(coded))

    def clear(self) -> None:
        if self._at is not None and _memory is not None:
            _HEAD.pack_into(_memory, self._at * _PLACE_BYTES, 0, b"\0", 0, 0)

    def give_back(self) -> None:
        if self._at is not None:
            self.clear()
            _free.append(self._at)


class Steps:
    """Something that takes one step after the other in machine code, such as a decoder."""

    def __init__(self, place: _Place) -> None:
        self._place = place

    def begin(self, text: str, limit: str = "") -> None:
        """A step begins. `limit`: the name of the limit on the seconds that it may take."""
        if _memory is not None:
            from nnpf import limits

            self._place.write(_STEP, f"{limit}\0{text}", getattr(limits.current(), limit) if limit else 0)

    def rest(self, text: str) -> None:
        """It has ended. `text`: what goes on by itself in threads of machine code."""
        self._place.write(_REST, f"\0{text}")


_subject: _Place | None = None
_end: _Place | None = None


@contextmanager
def steps() -> Iterator[Steps]:
    """For what takes many steps."""
    place = _Place()
    try:
        yield Steps(place)
    finally:
        place.give_back()


@contextmanager
def step(text: str, limit: str = "") -> Iterator[None]:
    """For one: `with step("compiling f.onnx", "model_seconds"):`."""
    with steps() as taken:
        taken.begin(text, limit)
        yield


@contextmanager
def unfinished(path: Path) -> Iterator[None]:
    """For a file or folder under a temporary name, which must not stay when this process dies."""
    place = _Place()
    try:
        place.write(_FILE, str(path.absolute()))
        yield
    finally:
        place.give_back()


def about(subject: str) -> None:
    """From now on this process works on this input."""
    global _subject
    _subject = _subject or _Place()
    _subject.write(_SUBJECT, subject)


def ended() -> None:
    """This process ends by itself."""
    if _end is not None:
        _end.write(_ENDED, "")
