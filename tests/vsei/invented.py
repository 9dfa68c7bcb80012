"""Random structures from their own descriptions, at the bit level: a `Syntax` that makes values up and writes them."""

import random
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from vsei.bits import BitWriter
from vsei.errors import VseiError
from vsei.syntax import Key, Values, key_of, subscripted

Choice = int | Callable[["Invented"], int]


class Invented:
    """Interprets a description by inventing values within their ranges; `values` and `target` then hold them.

    `choices` gives elements their value, or a function that finds one. Numbers stay small most of the time: so do the
    structures, and relations between elements hold more often.
    """

    def __init__(self, rng: random.Random, choices: Mapping[str, Choice]) -> None:
        self.rng = rng
        self.choices = choices
        self.values = Values()
        self.target = BitWriter()

    def __getitem__(self, key: Key) -> int:
        return self.values[key]

    @property
    def position(self) -> int:
        return self.target.pos

    def _int(self, name: str, index: tuple[int, ...], low: int, high: int) -> int:
        choice = self.choices.get(name)
        if choice is None:
            near = self.rng.choice((1, 3, 20))
            value = self.rng.randint(max(low, -near), max(low, min(high, near)))
        else:
            value = max(low, min(high, choice(self) if callable(choice) else choice))
        self.values.present[key_of(name, index)] = value
        return value

    def u(self, n: int, name: str, *index: int, min: int = 0, max: int | None = None) -> int:
        value = self._int(name, index, min, (1 << n) - 1 if max is None else max)
        self.target.u(n, value)
        return value

    def flag(self, name: str, *index: int) -> int:
        return self.u(1, name, *index)

    def i(self, n: int, name: str, *index: int) -> int:
        value = self._int(name, index, -(1 << (n - 1)), (1 << (n - 1)) - 1)
        self.target.u(n, value & ((1 << n) - 1))
        return value

    def ue(self, name: str, *index: int, min: int = 0, max: int = 2**32 - 2) -> int:
        value = self._int(name, index, min, max)
        self.target.ue(value)
        return value

    def se(self, name: str, *index: int, min: int = -(2**31) + 1, max: int = 2**31 - 1) -> int:
        value = self._int(name, index, min, max)
        self.target.se(value)
        return value

    def bits(self, n: int, name: str, *index: int) -> str:
        value = "".join(self.rng.choice("01") for _ in range(n))
        self.values.present[key_of(name, index)] = value
        if n:
            self.target.u(n, int(value, 2))
        return value

    def fixed(self, n: int, name: str, value: int) -> None:
        self.target.u(n, value)

    def align(self, name: str, bit: int = 0) -> None:
        while not self.target.aligned:
            self.target.u(1, bit)

    def infer(self, name: str, value: int, *index: int) -> int:
        self.values.inferred[key_of(name, index)] = value
        return value

    @contextmanager
    def structure(self, name: str, *index: int) -> Iterator[None]:
        outer, inner = self.values, Values()
        outer.present[key_of(name, index)] = inner
        self.values = inner
        try:
            yield
        finally:
            self.values = outer

    def extension(self, name: str, end: int | None = None) -> str:
        # Where the end is given, the closing bits (a one, then zeros up to a byte boundary) must reach it.
        room = self.rng.randint(0, 9) if end is None else end - self.position - self.rng.randint(1, 8)
        return self.bits(room, name) if room > 0 else ""

    def fail(self, name: str, problem: str) -> VseiError:
        return VseiError(problem, element=subscripted(name, ()))
