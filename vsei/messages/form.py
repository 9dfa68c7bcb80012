"""How a message is made of bits: a frozen dataclass for the values, a syntax description for the order.

The dataclass has one field for each element, named as in the standard; None is "not in the message". Elements with
subscripts are (nested) tuples. `closing` holds the bits after the last known element where they are not just the
closing ones of sei_payload() (H.266 7.3.6, D.2.1): extension data of a later edition, or a broken fill.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from functools import cache
from typing import Any, ClassVar, TypeVar, cast, get_args, get_origin, get_type_hints

from vsei.errors import VseiError
from vsei.syntax import Completer, Key, OutOfRange, Reader, Syntax, TraceEntry, Value, Values, Writer, subscripted


@dataclass(frozen=True, kw_only=True, slots=True)
class Message:
    """Base of all messages that are understood element by element."""

    PAYLOAD_TYPE: ClassVar[int]
    NAME: ClassVar[str]
    # Elements that carry no meaning yet: kept and written back, but no part of the fields that are shown.
    UNSHOWN: ClassVar[frozenset[str]] = frozenset({"closing"})

    closing: str | None = None

    def fields(self) -> dict[str, Any]:
        """The elements that are present, in the order of the dataclass, as plain data."""
        return {
            f.name: value
            for f in fields(self)
            if f.name not in self.UNSHOWN and (value := getattr(self, f.name)) is not None
        }


M = TypeVar("M", bound=Message)
Description = Callable[[Syntax], None]


@dataclass(frozen=True, slots=True)
class Decoded:
    """A message with what was noticed on the way.

    Attributes:
        out_of_range: elements outside the standard's range (kept as they are).
        exact: whether writing the message gives the payload's bytes again.
    """

    message: Message
    out_of_range: tuple[OutOfRange, ...]
    exact: bool


def _store(values: Values, name: str, value: Any, index: tuple[int, ...] = ()) -> None:
    if isinstance(value, tuple):
        for i, item in enumerate(value):
            _store(values, name, item, (*index, i))
    elif value is not None:
        values.present[cast(Key, (name, *index)) if index else name] = value


def to_values(message: Message) -> Values:
    """The elements of a message as the engine wants them."""
    values = Values()
    for f in fields(message):
        if f.name != "closing":
            _store(values, f.name, getattr(message, f.name))
    return values


def _tuples(plain: object) -> object:
    return tuple(_tuples(item) for item in plain) if isinstance(plain, list) else plain


def from_values(cls: type[M], values: Values, closing: str | None) -> M:
    """The message that these elements make."""
    known = {f.name for f in fields(cls)}
    plain = {name: _tuples(value) for name, value in values.nested_lists().items()}
    unknown = plain.keys() - known
    if unknown:
        raise TypeError(f"{cls.__name__} has no field for {', '.join(sorted(unknown))}")
    return cast(M, cast(Any, cls)(**plain, closing=closing))


def read_closing(reader: Reader) -> str | None:
    """What follows the last element: None when it is what sei_payload() closes with, else its bits."""
    source = reader.source
    left = source.remaining
    if left == 0 or (left < 8 and source.peek(left) == 1 << (left - 1)):
        return None
    return format(source.u(left), f"0{left}b")


def decode(cls: type[M], description: Description, payload: bytes, trace: list[TraceEntry] | None = None) -> Decoded:
    """Read a payload. VseiError when it ends too early or makes no sense."""
    reader = Reader(payload, trace=trace)
    description(reader)
    message = from_values(cls, reader.values, read_closing(reader))
    return Decoded(message, tuple(reader.out_of_range), exact=_writes_as(message, description, payload))


def _writes_as(message: Message, description: Description, payload: bytes) -> bool:
    try:
        return encode(message, description) == payload
    except VseiError:
        return False


def encode(message: Message, description: Description) -> bytes:
    """The payload of a message. VseiError when elements are missing, superfluous or do not fit."""
    writer = Writer(to_values(message))
    description(writer)
    writer.check_all_used()
    target = writer.target
    if message.closing is not None:
        if message.closing:
            target.u(len(message.closing), int(message.closing, 2))
        if not target.aligned:
            raise VseiError(f"{target.pos} bits, no whole number of bytes", element="closing")
    elif not target.aligned:
        target.u(1, 1)
        while not target.aligned:
            target.u(1, 0)
    return target.bytes()


@cache
def _subscripted(cls: type[Message]) -> frozenset[str]:
    """The elements that have subscripts."""
    hints = get_type_hints(cls).items()
    return frozenset(n for n, hint in hints if any(get_origin(part) is tuple for part in (hint, *get_args(hint))))


def complete(
    cls: type[M],
    description: Description,
    elements: Mapping[str, Any],
    defaults: Mapping[str, Value],
    *,
    superfluous: bool = False,
) -> M:
    """A message from some of its elements; the others take their default, or 0.

    Args:
        elements: by name, lists or tuples for subscripts, as a specification file or JSON gives them.
        superfluous: there may be elements that the message has with other values of others only; they are left out.

    Raises:
        VseiError: an element that the message does not have, or not with these values of the others.
    """
    known, subscripts = {f.name for f in fields(cls)}, _subscripted(cast(Any, cls))
    given = Values()
    for name, value in elements.items():
        if name not in known or name == "closing":
            raise VseiError(f"{cls.NAME} has no such element", element=name)
        listed = isinstance(value, (list, tuple))
        if value is not None and listed != (name in subscripts):
            raise VseiError("one value is wanted, no list" if listed else "a list is wanted", element=name)
        _store(given, name, _tuples(value))
    completer = Completer(given, defaults)
    description(completer)
    depths = {str(key[0]): len(key) for key in completer.values.present if not isinstance(key, str)}
    for key in given.present:
        if key not in completer.values.present:
            name = key if isinstance(key, str) else subscripted(str(key[0]), cast("tuple[int, ...]", key[1:]))
            problem = "is not part of the message with these values of the other elements"
            if not isinstance(key, str) and depths.get(str(key[0]), len(key)) != len(key):
                name, deep = str(key[0]), depths[str(key[0])] - 1
                problem = "one list is wanted" if deep == 1 else f"lists are wanted, {deep} in each other"
            elif superfluous:
                continue
            raise VseiError(problem, element=name)
    return from_values(cls, completer.values, None)
