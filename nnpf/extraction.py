"""What `vsei.edit.strip` takes out of a stream, as files and a specification that puts it back; and the way back.

The specification is written as the stream is read: memory does not grow with it.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import PurePath
from typing import Any, TextIO

import yaml

from nnpf import elements
from vsei.edit import Place
from vsei.messages import payload_name
from vsei.nal import Codec, NalHeader, sei_types, type_name
from vsei.restoring import Taken, TakenMessage, TakenPart, TakenUnit
from vsei.sei import TRAILING_BITS, SeiMessage

SPEC_NAME = "spec.yaml"


class Writer:
    """Writes a specification entry by entry, and the files that it names.

    Args:
        text: the specification file.
        save: puts bytes into a new file of a given name, beside the specification.
    """

    def __init__(self, text: TextIO, codec: Codec, save: Callable[[str, bytes], None]) -> None:
        self._text, self._codec, self._save = text, codec, save
        self._names: dict[bytes, str] = {}  # by SHA-256 of the content: what is repeated is stored once
        self._used: dict[str, int] = {}
        self.entries = self.messages = 0
        text.write("# Made by `nnpf extract`. `nnpf strip` takes the same messages out, and then\n")
        text.write("#     nnpf inject STRIPPED spec.yaml -o OUT\n")
        text.write(
            "# puts them back as they were, byte for byte. Indices count the NAL units of the stripped stream.\n"
        )
        text.write(f"codec: {codec.value}\non_existing: keep\nnal_units:\n")

    @property
    def files(self) -> Sequence[str]:
        """The files saved so far."""
        return tuple(self._names.values())

    def add(self, place: Place, taken: Taken) -> None:
        """What was taken out of one NAL unit."""
        names = [payload_name(payload_type, self._codec) for payload_type in taken.payload_types]
        start = place.start
        picture = f"picture {start.decode_index} in decoding order, CLVS {start.clvs}" if start else "no picture"
        self._text.write(f"# {', '.join(names)} at {place.unit.nal.offset}, {picture}\n")
        entry = self._whole(taken) if isinstance(taken, TakenUnit) else self._part(taken)
        self._text.write(to_yaml([entry]))
        self.entries += 1
        self.messages += len(names)

    def finish(self, stripped_nal_units: int) -> None:
        """To be called at the end. `stripped_nal_units`: how many the stripped stream has."""
        if not self.entries:
            self._text.write("  []\n")
        self._text.write(f"stripped_stream: {{nal_units: {stripped_nal_units}}}\n")

    def _store(self, stem: str, data: bytes) -> str:
        key = hashlib.sha256(data).digest()
        if key not in self._names:
            number = self._used[stem] = self._used.get(stem, 0) + 1
            path = PurePath(stem)
            name = stem if number == 1 else f"{path.stem}_{number}{path.suffix}"
            self._save(name, data)
            self._names[key] = name
        return self._names[key]

    def _bytes(self, stem: str, data: bytes) -> dict[str, str]:
        return {"hex": data.hex()} if len(data) <= 64 else {"file": self._store(stem, data)}

    def _message(self, message: SeiMessage) -> dict[str, Any]:
        return elements.readable(message, self._codec, self._store)

    def _whole(self, taken: TakenUnit) -> dict[str, Any]:
        header = taken.header
        entry: dict[str, Any] = {"before": taken.before, "nal_unit_type": type_name(self._codec, header.nal_unit_type)}
        entry |= _unless("start_code", taken.start_code, 4)
        entry |= _unless("gap", taken.gap, 0)
        entry |= _unless("zero_byte_stays", taken.zero_byte_stays, False)
        entry |= _unless("trailing_zeros", taken.zeros, 0)
        if taken.raw is not None:
            return entry | {"raw": self._bytes("nal_unit.bin", taken.raw)}
        entry |= _unless("layer_id", header.layer_id, 0)
        entry |= _unless("temporal_id", header.temporal_id, 0)
        entry |= _unless("ref_idc", header.ref_idc, 0)
        entry["messages"] = [self._message(m) for m in taken.messages]
        return entry | _unless("tail", taken.tail.hex(), TRAILING_BITS.hex())

    def _part(self, taken: TakenPart) -> dict[str, Any]:
        if taken.raw is not None:
            return {"in": taken.index, "raw": self._bytes("nal_unit.bin", taken.raw)}
        messages = [
            {"at": m.at, **_unless("replaces", m.replaces, False), **self._message(m.message)} for m in taken.messages
        ]
        return {"in": taken.index, "messages": messages}


def _unless(key: str, value: object, usual: object) -> dict[str, object]:
    return {} if value == usual else {key: value}


def to_yaml(data: object) -> str:
    """Plain data as YAML, for people: lists of numbers in one line, everything else in lines of its own."""
    return str(yaml.dump(data, Dumper=_Dumper, sort_keys=False, width=118, allow_unicode=True))


# What YAML takes for line breaks, and so for a space inside of text; escapes keep it.
_BREAKS = re.compile("[\n\r\x85\u2028\u2029]")


class _Dumper(yaml.CSafeDumper):
    def represent_sequence(self, tag: str, sequence: Any, flow_style: bool | None = None) -> Any:
        items = list(sequence)
        flow = all(item is None or isinstance(item, int | float) for item in items)
        return super().represent_sequence(tag, items, flow_style=flow)

    def represent_mapping(self, tag: str, mapping: Any, flow_style: bool | None = None) -> Any:
        return super().represent_mapping(tag, mapping, flow_style=False)

    def represent_str(self, data: str) -> Any:
        return self.represent_scalar("tag:yaml.org,2002:str", data, style='"' if _BREAKS.search(data) else None)

    def ignore_aliases(self, data: object) -> bool:
        return True


_Dumper.add_representer(str, _Dumper.represent_str)


Entry = Mapping[str, Any]


def taken_of(
    entry: Entry, codec: Codec, message_of: Callable[[int, Entry], SeiMessage], read: Callable[[str], bytes]
) -> Taken:
    """The reverse of Writer: one entry of a specification.

    Args:
        message_of: the message of the entry's n-th element of `messages`.
        read: the content of a file.
    """
    raw = elements.with_bytes(entry["raw"], read) if "raw" in entry else None
    messages = [(m, message_of(i, m)) for i, m in enumerate(entry.get("messages", []))]
    if "in" in entry:
        parts = tuple(TakenMessage(m["at"], message, bool(m.get("replaces"))) for m, message in messages)
        return TakenPart(entry["in"], parts, raw)
    types = {type_name(codec, kind): kind for kind in sei_types(codec)}
    header = NalHeader(
        codec,
        types.get(entry.get("nal_unit_type", ""), sei_types(codec)[0]),
        entry.get("layer_id", 0),
        entry.get("temporal_id", 0),
        entry.get("ref_idc", 0),
    )
    return TakenUnit(
        entry["before"],
        header,
        tuple(message for _, message in messages),
        bytes.fromhex(entry.get("tail", TRAILING_BITS.hex())),
        entry.get("start_code", 4),
        entry.get("trailing_zeros", 0),
        entry.get("gap", 0),
        bool(entry.get("zero_byte_stays")),
        raw,
    )
