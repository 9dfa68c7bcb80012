"""Random structures from their own descriptions: a `Syntax` that draws each element with hypothesis."""

from collections.abc import Iterator
from contextlib import contextmanager

from hypothesis import strategies as st

from vsei.errors import VseiError
from vsei.syntax import Key, Values, key_of

TEXT = st.text(st.characters(exclude_characters="\0", exclude_categories=("Cs",)), max_size=20)


class Drawn:
    """Interprets a description by drawing values; `values` then holds a structure that can be written.

    `fixed` gives elements a value; counts (names with `num`, `size` ...) stay small.
    """

    COUNTS = ("num", "size", "len", "order_idc")

    def __init__(self, data: st.DataObject, **fixed: int) -> None:
        self.data = data
        self.fixed_values = fixed
        self.values = Values()

    def __getitem__(self, key: Key) -> int:
        return self.values[key]

    @property
    def position(self) -> int:
        return 0

    def _int(self, name: str, index: tuple[int, ...], low: int, high: int) -> int:
        if name in self.fixed_values:
            value = self.fixed_values[name]
        elif any(part in name for part in self.COUNTS):
            value = self.data.draw(st.integers(low, min(high, low + 5)))
        else:
            value = self.data.draw(st.integers(low, min(high, low + 9)) | st.integers(low, high))
        self.values.present[key_of(name, index)] = value
        return value

    def u(self, n, name, *index, min=0, max=None):
        return self._int(name, index, min, (1 << n) - 1 if max is None else max)

    def flag(self, name, *index):
        return self._int(name, index, 0, 1)

    def i(self, n, name, *index):
        return self._int(name, index, -(1 << (n - 1)), (1 << (n - 1)) - 1)

    def ue(self, name, *index, min=0, max=2**32 - 2):
        return self._int(name, index, min, max)

    def se(self, name, *index, min=-(2**31) + 1, max=2**31 - 1):
        return self._int(name, index, min, max)

    def ff(self, name, *index):
        return self._int(name, index, 0, 600)

    def _keep(self, name, index, value):
        self.values.present[key_of(name, index)] = value
        return value

    def st(self, name, *index):
        return self._keep(name, index, self.data.draw(TEXT))

    def b(self, n, name, *index):
        return self._keep(name, index, self.data.draw(st.binary(min_size=n, max_size=n)))

    def bits(self, n, name, *index):
        return self._keep(name, index, "".join(self.data.draw(st.sampled_from("01")) for _ in range(n)))

    def rest(self, name):
        return self._keep(name, (), self.data.draw(st.binary(max_size=40)))

    def fixed(self, n, name, value):
        pass

    def align(self, name, bit=0):
        pass

    def infer(self, name, value, *index):
        self.values.inferred[key_of(name, index)] = value
        return value

    @contextmanager
    def structure(self, name, *index) -> Iterator[None]:
        outer, inner = self.values, Values()
        outer.present[key_of(name, index)] = inner
        self.values = inner
        try:
            yield
        finally:
            self.values = outer

    def more_data(self, key):
        return self.data.draw(st.booleans())

    def upcoming(self, key):
        return None

    def extension(self, name, end=None):
        return self.bits(self.data.draw(st.integers(1, 9)), name) if self.data.draw(st.booleans()) else ""

    def fail(self, name, problem):
        return VseiError(problem, element=name)
