"""Syntax elements as people give them (YAML, options), made into messages; and messages as people can read and change.

Bytes are {hex: "00ff"}, or {file: NAME} where there are many.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import fields
from functools import lru_cache
from typing import Any, cast

from vsei import messages
from vsei.errors import VseiError
from vsei.messages import Message, NnpfActivation, NnpfCharacteristics, form
from vsei.messages.form import Description
from vsei.nal import Codec
from vsei.sei import SeiMessage
from vsei.syntax import Completer, Syntax, Value, key_of, subscripted

# A message of this many elements would be larger than any that is known. (Counts may ask for billions.)
MAX_ELEMENTS = 1 << 18
# payload_type is coded in any number of bytes; names are known below this.
_NAMED_TYPES = 1024
_NUMBER = re.compile(r"-?[0-9]{1,20}")
# Of each element the type that its message has it in.
_TYPES = {f.name: str(f.type) for message in (NnpfCharacteristics, NnpfActivation) for f in fields(message)}
_BYTES_WANTED = 'bytes are wanted, as {hex: "00ff"} or {file: NAME}'


class _Checked:
    """A Completer that lets only values pass that the standard allows, and that are of the right kind."""

    def __init__(self, syntax: Completer) -> None:
        self._syntax = syntax
        self._count = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._syntax, name)

    def __getitem__(self, key: Any) -> int:
        return self._syntax[key]

    def _check(self, name: str, index: tuple[int, ...], value: int, low: int, high: int) -> int:
        self._count += 1
        if not low <= value <= high:
            raise VseiError(f"{value}, must be {low}..{high}", element=subscripted(name, index))
        if self._count > MAX_ELEMENTS:
            raise VseiError(f"more than {MAX_ELEMENTS} elements", element=subscripted(name, index))
        return value

    def u(self, n: int, name: str, *index: int, min: int = 0, max: int | None = None) -> int:
        value = self._syntax.u(n, name, *index, min=min, max=max)
        return self._check(name, index, value, min, (1 << n) - 1 if max is None else max)

    def flag(self, name: str, *index: int) -> int:
        return self._check(name, index, self._syntax.flag(name, *index), 0, 1)

    def i(self, n: int, name: str, *index: int) -> int:
        return self._check(name, index, self._syntax.i(n, name, *index), -(1 << (n - 1)), (1 << (n - 1)) - 1)

    def ue(self, name: str, *index: int, min: int = 0, max: int = 2**32 - 2) -> int:
        return self._check(name, index, self._syntax.ue(name, *index, min=min, max=max), min, max)

    def se(self, name: str, *index: int, min: int = -(2**31) + 1, max: int = 2**31 - 1) -> int:
        return self._check(name, index, self._syntax.se(name, *index, min=min, max=max), min, max)

    def _given(self, name: str, index: tuple[int, ...], kind: type, wanted: str) -> None:
        value = self._syntax.given.present.get(key_of(name, index))
        if value is not None and not isinstance(value, kind):
            raise VseiError(f"{value!r}, {wanted}", element=subscripted(name, index))

    def st(self, name: str, *index: int) -> str:
        self._given(name, index, str, "text is wanted")
        return self._syntax.st(name, *index)

    def bits(self, n: int, name: str, *index: int) -> str:
        self._given(name, index, str, 'bits are wanted, as "0110"')
        return self._syntax.bits(n, name, *index)

    def b(self, n: int, name: str, *index: int) -> bytes:
        self._given(name, index, bytes, _BYTES_WANTED)
        return self._syntax.b(n, name, *index)

    def rest(self, name: str) -> bytes:
        self._given(name, (), bytes, _BYTES_WANTED)
        return self._syntax.rest(name)


def complete(
    cls: type[form.M],
    description: Description,
    elements: Mapping[str, Any],
    defaults: Mapping[str, Value],
    *,
    superfluous: bool = False,
) -> form.M:
    """A message from some of its elements; the others take their default, or 0.

    Args:
        elements: by name; lists for subscripts; bytes as bytes.
        superfluous: see `vsei.messages.form.complete`.

    Raises:
        VseiError: an element that the message does not have, or not with these values of the others; a value of the
            wrong kind, or that the standard does not allow.
    """

    def checked(syntax: Syntax) -> None:
        description(cast(Syntax, _Checked(cast(Completer, syntax))))

    return form.complete(cls, checked, elements, defaults, superfluous=superfluous)


def element_value(name: str, text: str) -> object:
    """A value of an element of NNPFC or NNPFA as it is written on a command line or in a model's metadata: an integer,
    a list of them with commas between (in brackets or not; or one alone, where the element has subscripts), or text."""
    of_type = _TYPES.get(name, "")
    inside = text.strip()
    if inside.startswith("[") and inside.endswith("]"):
        inside = inside[1:-1]
    parts = [part.strip() for part in inside.split(",")]
    if of_type.startswith("str") or not all(map(_NUMBER.fullmatch, parts)):
        return text
    numbers = [int(part) for part in parts]
    return numbers if len(numbers) > 1 or of_type.startswith("tuple") else numbers[0]


def with_bytes(value: Any, read: Callable[[str], bytes]) -> Any:
    """A value as given, with {hex: ...} and {file: ...} in it made bytes. `read`: the content of a file."""
    if isinstance(value, Mapping):
        return bytes.fromhex(value["hex"]) if "hex" in value else read(value["file"])
    return [with_bytes(item, read) for item in value] if isinstance(value, list) else value


@lru_cache(maxsize=len(Codec))
def _types(codec: Codec) -> dict[str, int]:
    by_name: dict[str, int] = {}
    for payload_type in range(_NAMED_TYPES):
        by_name.setdefault(messages.payload_name(payload_type, codec), payload_type)
    return by_name


def payload_type(name: str, codec: Codec) -> int | None:
    """The payloadType of a name; None where there is none."""
    return _types(codec).get(name)


def readable(
    message: SeiMessage, codec: Codec, store: Callable[[str, bytes], str], *, most_inline: int = 64
) -> dict[str, Any]:
    """An SEI message as a specification file gives it: {type, elements}, or {type, hex or payload} where the elements
    do not say all of it.

    Args:
        store: puts bytes into a file, and returns its name; the first argument is a name to begin with.
        most_inline: bytes that are not worth a file.
    """
    name = messages.payload_name(message.payload_type, codec)
    known = payload_type(name, codec) == message.payload_type
    entry: dict[str, Any] = {"type": name if known else message.payload_type}

    def written(stem: str, data: bytes) -> dict[str, str]:
        return {"hex": data.hex()} if len(data) <= most_inline else {"file": store(stem, data)}

    fields = _exact_elements(message, codec)
    if fields is not None:
        entry["elements"] = {k: _plain(v, lambda data: written(_stem(name, fields), data)) for k, v in fields.items()}
    elif len(message.payload) <= most_inline:
        entry["hex"] = message.payload.hex()
    else:
        entry["payload"] = store(f"{name}.bin", message.payload)
    return entry


def _exact_elements(message: SeiMessage, codec: Codec) -> dict[str, Any] | None:
    """The elements of a message, where they give the same bytes again."""
    kind = messages.kind(message.payload_type, codec)
    if kind is None:
        return None
    try:
        decoded = messages.decode(message, codec)
        assert decoded is not None
        fields = decoded.message.fields()
        again: Message = complete(kind.message, kind.description, fields, {})
        return fields if messages.encode(again, codec) == message else None
    except VseiError:
        return None


def _stem(name: str, fields: Mapping[str, Any]) -> str:
    if "nnpfc_payload" in fields:
        return f"nnpfc_{fields['nnpfc_id']}_{'base' if fields['nnpfc_base_flag'] else 'update'}.nnc"
    return f"{name}.bin"


def _plain(value: Any, written: Callable[[bytes], dict[str, str]]) -> Any:
    if isinstance(value, bytes):
        return written(value)
    return [_plain(item, written) for item in value] if isinstance(value, tuple) else value
