"""The syntax engine: one function describes a structure; reading, writing and tracing interpret it.

A description is a function that takes a `Syntax` and names the elements in the standard's order, with their conditions:

    def nnpfa(s: Syntax) -> None:                       # H.274 8.28.2.1
        s.ue("nnpfa_target_id", max=2**32 - 2)
        if not s.flag("nnpfa_cancel_flag"):
            persistence = s.flag("nnpfa_persistence_flag")
            ...

Each call returns the element's value, whether it has just been read or is being written. `Reader` fills a `Values`
from bits (and, asked to, a trace); `Writer` makes bits from a `Values`. Values are stored under the element's name, or
(name, i, j, ...) where it has subscripts; a nested structure is a `Values` of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol, TypeAlias, Union, cast

from vsei.bits import BitReader, BitWriter
from vsei.errors import VseiError

Key: TypeAlias = str | tuple[str | int, ...]
Value: TypeAlias = Union[int, str, bytes, "Values"]


def key_of(name: str, index: tuple[int, ...]) -> Key:
    return (name, *index) if index else name


def subscripted(name: str, index: tuple[int, ...]) -> str:
    """`name[0][2]`, as the standard and every trace print it."""
    return name + "".join(f"[{i}]" for i in index)


class TraceEntry(NamedTuple):
    """One element as it stands in the bits."""

    element: str  # with subscripts
    position: int  # bits from the start of what is read
    length: int  # bits
    value: int | str | bytes


class OutOfRange(NamedTuple):
    """An element that was read and lies outside the range that the standard gives it."""

    element: str
    position: int
    value: int
    allowed: str


@dataclass(slots=True)
class Values:
    """The elements of one structure: `present` as coded, `inferred` as the standard says when absent."""

    present: dict[Key, Value] = field(default_factory=dict)
    inferred: dict[Key, Value] = field(default_factory=dict, compare=False)

    def __getitem__(self, key: Key) -> int:
        """The integer value of an element, coded or inferred. KeyError when it is neither."""
        value: Any = self.present.get(key)
        if value is None:
            value = self.inferred[key]
        return value  # type: ignore[no-any-return]  # cast() is a call, and this is the engine's busiest line

    def __contains__(self, key: object) -> bool:
        return key in self.present or key in self.inferred

    def get(self, key: Key, default: int = 0) -> int:
        """The integer value of an element, or the default when it is neither coded nor inferred."""
        value: Any = self.present.get(key)
        if value is None:
            value = self.inferred.get(key, default)
        return value  # type: ignore[no-any-return]

    def structure(self, name: str, *index: int) -> Values | None:
        """A nested structure, where it is present."""
        value = self.present.get(key_of(name, index))
        return value if isinstance(value, Values) else None

    def nested_lists(self) -> dict[str, object]:
        """Plain data for JSON: subscripts become nested lists (holes are None), structures become dictionaries."""
        out: dict[str, object] = {}
        for key, value in self.present.items():
            plain = value.nested_lists() if isinstance(value, Values) else value
            if isinstance(key, str):
                out[key] = plain
                continue
            here = cast("list[object]", out.setdefault(cast(str, key[0]), []))
            for depth, i in enumerate(cast("tuple[int, ...]", key[1:])):
                here.extend([None] * (i + 1 - len(here)))
                if depth == len(key) - 2:
                    here[i] = plain
                else:
                    if here[i] is None:
                        here[i] = []
                    here = cast("list[object]", here[i])
        return out


class Syntax(Protocol):
    """What a description may say. `min` and `max` are the range that the standard gives the element."""

    values: Values

    def __getitem__(self, key: Key) -> int:
        """The value of an element that came earlier in this structure, coded or inferred."""

    def u(self, n: int, name: str, *index: int, min: int = 0, max: int | None = None) -> int:
        """u(n)"""

    def flag(self, name: str, *index: int) -> int:
        """u(1)"""

    def i(self, n: int, name: str, *index: int) -> int:
        """i(n): signed, two's complement"""

    def ue(self, name: str, *index: int, min: int = 0, max: int = 2**32 - 2) -> int:
        """ue(v)"""

    def se(self, name: str, *index: int, min: int = -(2**31) + 1, max: int = 2**31 - 1) -> int:
        """se(v)"""

    def st(self, name: str, *index: int) -> str:
        """st(v): UTF-8, ended by a zero byte; starts byte-aligned"""

    def b(self, n: int, name: str, *index: int) -> bytes:
        """n times b(8)"""

    def ff(self, name: str, *index: int) -> int:
        """ff_byte times 255 and a last byte, as payloadType and payloadSize are coded (H.266 7.3.6)"""

    def bits(self, n: int, name: str, *index: int) -> str:
        """n bits that mean nothing (yet), as a string of 0 and 1"""

    def rest(self, name: str) -> bytes:
        """b(8) for all that remains; starts byte-aligned"""

    def fixed(self, n: int, name: str, value: int) -> None:
        """f(n): bits whose value the standard fixes; not stored"""

    def align(self, name: str, bit: int = 0) -> None:
        """f(1) `bit`s until byte-aligned; not stored"""

    def infer(self, name: str, value: int, *index: int) -> int:
        """The value of an element that is absent here"""

    @contextmanager
    def structure(self, name: str, *index: int) -> Iterator[None]:
        """A nested structure: names inside do not clash with names outside"""
        yield

    def more_data(self, key: str) -> bool:
        """Whether the element `key` and what follows is coded: reading, there are bits beyond the closing ones;
        writing, the element has a value."""

    def more_rbsp_data(self, key: str) -> bool:
        """The same in an RBSP, which closing bits end in any case: a one, and zeros up to the byte boundary."""

    def upcoming(self, key: Key) -> Value | None:
        """Writing: the value of an element that comes later, or None where it is not to be written. Reading: None."""

    def extension(self, name: str, end: int | None = None) -> str:
        """All bits up to the last one that is 1, which closes the structure: data of a later edition of the standard,
        as a string of 0 and 1, stored only where there are any. `end`: bit position where the structure ends."""

    @property
    def position(self) -> int:
        """Bits read or written so far."""

    def fail(self, name: str, problem: str) -> VseiError:
        """The error to raise where a value makes it impossible to go on."""


class Reader:
    """Bits to values. Ranges are noted in `out_of_range`, not enforced: a broken stream must be showable."""

    def __init__(self, data: bytes, pos: int = 0, end: int | None = None, trace: list[TraceEntry] | None = None):
        self.source = BitReader(data, pos, end)
        self.values = Values()
        self.trace = trace
        self.out_of_range: list[OutOfRange] = []

    def __getitem__(self, key: Key) -> int:
        return self.values[key]

    @property
    def position(self) -> int:
        return self.source.pos

    def _number(self, name: str, index: tuple[int, ...], start: int, value: int, low: int, high: int | None) -> int:
        self.values.present[(name, *index) if index else name] = value
        if self.trace is not None:
            self.trace.append(TraceEntry(subscripted(name, index), start, self.source.pos - start, value))
        if value < low or (high is not None and value > high):
            allowed = f"{low}..{high}" if high is not None else f"at least {low}"
            self.out_of_range.append(OutOfRange(subscripted(name, index), start, value, allowed))
        return value

    def _named(self, error: VseiError, name: str, index: tuple[int, ...]) -> VseiError:
        error.element = subscripted(name, index)
        return error

    def u(self, n: int, name: str, *index: int, min: int = 0, max: int | None = None) -> int:
        start = self.source.pos
        try:
            value = self.source.u(n)
        except VseiError as error:
            raise self._named(error, name, index) from None
        return self._number(name, index, start, value, min, max)

    def flag(self, name: str, *index: int) -> int:
        # Half of all elements are flags: they take no detour over BitReader.u.
        source = self.source
        start = source.pos
        if start >= source.end:
            raise self._named(VseiError("1 bits wanted, 0 left", bit=start), name, index)
        value = source.data[start >> 3] >> (7 - (start & 7)) & 1
        source.pos = start + 1
        self.values.present[(name, *index) if index else name] = value
        if self.trace is not None:
            self.trace.append(TraceEntry(subscripted(name, index), start, 1, value))
        return value

    def i(self, n: int, name: str, *index: int) -> int:
        start = self.source.pos
        try:
            value = self.source.u(n)
        except VseiError as error:
            raise self._named(error, name, index) from None
        return self._number(name, index, start, value - ((value >> (n - 1)) << n), -(1 << (n - 1)), None)

    def ue(self, name: str, *index: int, min: int = 0, max: int = 2**32 - 2) -> int:
        start = self.source.pos
        try:
            value = self.source.ue()
        except VseiError as error:
            raise self._named(error, name, index) from None
        return self._number(name, index, start, value, min, max)

    def se(self, name: str, *index: int, min: int = -(2**31) + 1, max: int = 2**31 - 1) -> int:
        start = self.source.pos
        try:
            value = self.source.se()
        except VseiError as error:
            raise self._named(error, name, index) from None
        return self._number(name, index, start, value, min, max)

    def _keep(self, name: str, index: tuple[int, ...], start: int, value: str | bytes) -> None:
        self.values.present[key_of(name, index)] = value
        if self.trace is not None:
            self.trace.append(TraceEntry(subscripted(name, index), start, self.source.pos - start, value))

    def st(self, name: str, *index: int) -> str:
        start = self.source.pos
        if not self.source.aligned:
            raise self.fail(subscripted(name, index), "st(v) that is not byte-aligned")
        first = start >> 3
        stop = self.source.data.find(b"\0", first, self.source.end >> 3)
        if stop < 0:
            raise self.fail(subscripted(name, index), "st(v) without its closing zero byte")
        try:
            value = self.source.data[first:stop].decode("utf-8")
        except UnicodeDecodeError:
            raise self.fail(subscripted(name, index), "st(v) that is not UTF-8") from None
        self.source.pos = (stop + 1) << 3
        self._keep(name, index, start, value)
        return value

    def b(self, n: int, name: str, *index: int) -> bytes:
        start = self.source.pos
        try:
            value = self.source.b(n)
        except VseiError as error:
            raise self._named(error, name, index) from None
        self._keep(name, index, start, value)
        return value

    def ff(self, name: str, *index: int) -> int:
        start = self.source.pos
        value = 0
        try:
            while (byte := self.source.u(8)) == 255:
                value += 255
        except VseiError as error:
            raise self._named(error, name, index) from None
        return self._number(name, index, start, value + byte, 0, None)

    def bits(self, n: int, name: str, *index: int) -> str:
        start = self.source.pos
        try:
            value = format(self.source.u(n), f"0{n}b") if n else ""
        except VseiError as error:
            raise self._named(error, name, index) from None
        self._keep(name, index, start, value)
        return value

    def rest(self, name: str) -> bytes:
        start = self.source.pos
        if start & 7 or self.source.end & 7:
            raise self.fail(name, "bytes that are not byte-aligned")
        value = bytes(self.source.data[start >> 3 : self.source.end >> 3])
        self.source.pos = self.source.end
        self._keep(name, (), start, value)
        return value

    def fixed(self, n: int, name: str, value: int) -> None:
        start = self.source.pos
        try:
            found = self.source.u(n)
        except VseiError as error:
            raise self._named(error, name, ()) from None
        if self.trace is not None:
            self.trace.append(TraceEntry(name, start, n, found))
        if found != value:
            self.out_of_range.append(OutOfRange(name, start, found, f"{value}"))

    def align(self, name: str, bit: int = 0) -> None:
        while self.source.pos & 7:
            self.fixed(1, name, bit)

    def infer(self, name: str, value: int, *index: int) -> int:
        self.values.inferred[key_of(name, index)] = value
        return value

    @contextmanager
    def structure(self, name: str, *index: int) -> Iterator[None]:
        outer = self.values
        inner = Values()
        outer.present[key_of(name, index)] = inner
        self.values = inner
        try:
            yield
        finally:
            self.values = outer

    def more_data(self, key: str) -> bool:
        source = self.source
        if source.remaining <= 0:
            return False
        # Closing bits are a one and zeros to the byte boundary, so fewer than eight bits in all.
        return source.remaining >= 8 or source.peek(source.remaining) != 1 << (source.remaining - 1)

    def more_rbsp_data(self, key: str) -> bool:
        return self.source.pos < self.source.last_one_bit()

    def upcoming(self, key: Key) -> Value | None:
        return None

    def extension(self, name: str, end: int | None = None) -> str:
        source = self.source
        last = BitReader(source.data, source.pos, end).last_one_bit() if end is not None else source.last_one_bit()
        if last < source.pos:
            raise self.fail(name, "no bit that is 1 closes the structure")
        return self.bits(last - source.pos, name) if last > source.pos else ""

    def fail(self, name: str, problem: str) -> VseiError:
        return VseiError(problem, element=name, bit=self.source.pos)


class Writer:
    """Values to bits. A missing value, one that does not fit and one that no element asks for are errors."""

    def __init__(self, values: Values) -> None:
        self.target = BitWriter()
        self.values = values
        self._used = 0
        self._expected = 0

    def __getitem__(self, key: Key) -> int:
        return self.values[key]

    @property
    def position(self) -> int:
        return self.target.pos

    def _value(self, name: str, index: tuple[int, ...]) -> Value:
        try:
            value = self.values.present[(name, *index) if index else name]
        except KeyError:
            raise VseiError("no value is given", element=subscripted(name, index), bit=self.target.pos) from None
        self._used += 1
        return value

    def _int(self, name: str, index: tuple[int, ...]) -> int:
        value = self._value(name, index)
        if not isinstance(value, int):
            raise VseiError(f"{value!r} is not an integer", element=subscripted(name, index))
        return int(value)

    def _put(self, put: Callable[..., None], name: str, index: tuple[int, ...], *args: object) -> None:
        try:
            put(*args)
        except VseiError as error:
            error.element = subscripted(name, index)
            raise

    def u(self, n: int, name: str, *index: int, min: int = 0, max: int | None = None) -> int:
        value = self._int(name, index)
        self._put(self.target.u, name, index, n, value)
        return value

    def flag(self, name: str, *index: int) -> int:
        return self.u(1, name, *index)

    def i(self, n: int, name: str, *index: int) -> int:
        value = self._int(name, index)
        if not -(1 << (n - 1)) <= value < 1 << (n - 1):
            raise VseiError(f"{value} does not fit in {n} signed bits", element=subscripted(name, index))
        self.target.u(n, value & ((1 << n) - 1))
        return value

    def ue(self, name: str, *index: int, min: int = 0, max: int = 2**32 - 2) -> int:
        value = self._int(name, index)
        self._put(self.target.ue, name, index, value)
        return value

    def se(self, name: str, *index: int, min: int = -(2**31) + 1, max: int = 2**31 - 1) -> int:
        value = self._int(name, index)
        self._put(self.target.se, name, index, value)
        return value

    def st(self, name: str, *index: int) -> str:
        value = self._value(name, index)
        if not isinstance(value, str) or "\0" in value:
            raise VseiError(f"{value!r} is not a string without zero bytes", element=subscripted(name, index))
        self.target.raw(value.encode("utf-8") + b"\0")
        return value

    def b(self, n: int, name: str, *index: int) -> bytes:
        value = self._value(name, index)
        if not isinstance(value, bytes) or len(value) != n:
            raise VseiError(f"{n} bytes are wanted", element=subscripted(name, index))
        self.target.raw(value)
        return value

    def ff(self, name: str, *index: int) -> int:
        value = self._int(name, index)
        self.target.raw(b"\xff" * (value // 255) + bytes([value % 255]))
        return value

    def bits(self, n: int, name: str, *index: int) -> str:
        value = self._value(name, index)
        if not isinstance(value, str) or len(value) != n or set(value) - {"0", "1"}:
            raise VseiError(f"{value!r} is not {n} bits", element=subscripted(name, index))
        self.target.u(n, int(value or "0", 2))
        return value

    def rest(self, name: str) -> bytes:
        value = self._value(name, ())
        if not isinstance(value, bytes):
            raise VseiError("bytes are wanted", element=name)
        self.target.raw(value)
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
        inner = self._value(name, index)
        if not isinstance(inner, Values):
            raise VseiError("a structure is wanted", element=subscripted(name, index))
        outer = self.values
        self.values = inner
        self._expected += len(inner.present)
        try:
            yield
        finally:
            self.values = outer

    def more_data(self, key: str) -> bool:
        return key in self.values.present

    def more_rbsp_data(self, key: str) -> bool:
        return key in self.values.present

    def upcoming(self, key: Key) -> Value | None:
        return self.values.present.get(key)

    def extension(self, name: str, end: int | None = None) -> str:
        value = self.values.present.get(name, "")
        return self.bits(len(value), name) if isinstance(value, str) and value else ""

    def fail(self, name: str, problem: str) -> VseiError:
        return VseiError(problem, element=name, bit=self.target.pos)

    def check_all_used(self) -> None:
        """VseiError when a value was given for an element that the conditions leave out."""
        if self._used != self._expected + len(self.values.present):
            raise VseiError("a value is given for an element that is not part of the structure")


class Completer:
    """Values for a whole structure from some of them: what is not given takes its default, 0 where it has none.

    The description itself decides which elements there are, so nothing about a structure is known twice.
    """

    def __init__(self, given: Values, defaults: Mapping[str, Value]) -> None:
        self.given = given
        self.defaults = defaults
        self.values = Values()

    def __getitem__(self, key: Key) -> int:
        return self.values[key]

    @property
    def position(self) -> int:
        return 0

    def _take(self, name: str, index: tuple[int, ...], empty: Value) -> Value:
        key = key_of(name, index)
        value = self.given.present.get(key, self.defaults.get(name, empty))
        self.values.present[key] = value
        return value

    def _int(self, name: str, index: tuple[int, ...]) -> int:
        value = self._take(name, index, 0)
        if not isinstance(value, int):
            raise VseiError(f"{value!r} is not an integer", element=subscripted(name, index))
        return int(value)

    def u(self, n: int, name: str, *index: int, min: int = 0, max: int | None = None) -> int:
        return self._int(name, index)

    def flag(self, name: str, *index: int) -> int:
        return self._int(name, index)

    def i(self, n: int, name: str, *index: int) -> int:
        return self._int(name, index)

    def ue(self, name: str, *index: int, min: int = 0, max: int = 2**32 - 2) -> int:
        return self._int(name, index)

    def se(self, name: str, *index: int, min: int = -(2**31) + 1, max: int = 2**31 - 1) -> int:
        return self._int(name, index)

    def ff(self, name: str, *index: int) -> int:
        return self._int(name, index)

    def st(self, name: str, *index: int) -> str:
        return str(self._take(name, index, ""))

    def b(self, n: int, name: str, *index: int) -> bytes:
        value = self._take(name, index, bytes(n))
        return value if isinstance(value, bytes) else b""

    def bits(self, n: int, name: str, *index: int) -> str:
        return str(self._take(name, index, "0" * n))

    def rest(self, name: str) -> bytes:
        value = self._take(name, (), b"")
        return value if isinstance(value, bytes) else b""

    def fixed(self, n: int, name: str, value: int) -> None:
        pass

    def align(self, name: str, bit: int = 0) -> None:
        pass

    def infer(self, name: str, value: int, *index: int) -> int:
        self.values.inferred[key_of(name, index)] = value
        return value

    @contextmanager
    def structure(self, name: str, *index: int) -> Iterator[None]:
        outer, given = self.values, self.given
        self.given = given.structure(name, *index) or Values()
        self.values = outer.present[key_of(name, index)] = Values()
        try:
            yield
        finally:
            self.values, self.given = outer, given

    def more_data(self, key: str) -> bool:
        return key in self.given.present

    def more_rbsp_data(self, key: str) -> bool:
        return key in self.given.present

    def upcoming(self, key: Key) -> Value | None:
        return self.given.present.get(key)

    def extension(self, name: str, end: int | None = None) -> str:
        return str(self._take(name, (), "")) if name in self.given.present else ""

    def fail(self, name: str, problem: str) -> VseiError:
        return VseiError(problem, element=name)


def read(
    description: Callable[[Syntax], object], data: bytes, trace: list[TraceEntry] | None = None
) -> tuple[Values, Reader]:
    """Read one structure from the start of `data`. Returns its values, and the reader as it stands after it."""
    reader = Reader(data, trace=trace)
    description(reader)
    return reader.values, reader


def write(description: Callable[[Syntax], object], values: Values) -> Writer:
    """Write one structure. The caller closes it (trailing bits) and takes the bytes from `.target`."""
    writer = Writer(values)
    description(writer)
    writer.check_all_used()
    return writer
