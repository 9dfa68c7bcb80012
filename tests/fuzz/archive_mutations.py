"""ZIP archives changed entry by entry: a changed byte is mostly a wrong checksum, and tests zipfile."""

from __future__ import annotations

import io
import json
import random
import zipfile
from typing import Any

VALUES = (0, 1, -1, 7, 1 << 20, 1 << 31, 1 << 40, -(1 << 63), None, True, "", "x", "../x", [], {}, 1.5, [[[]]])


def mutated_archive(data: bytes, max_size: int, seed: int) -> bytes:
    """The archive with an entry or a few changed; other bytes where it is none."""
    rng = random.Random(seed)
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as file:
            entries = {name: file.read(name) for name in file.namelist()}
    except Exception:
        return data[:max_size]
    for _ in range(rng.choice((1, 1, 2, 4))):
        if not entries:
            break
        name = rng.choice([*entries, *(name for name in entries if name.endswith(".json"))])
        entries[name] = _changed(rng, entries[name])
        if rng.random() < 0.03:
            del entries[name]
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", rng.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED))) as file:
        for name, content in entries.items():
            file.writestr(name, content)
    packed = out.getvalue()
    return packed if len(packed) <= max_size else data[:max_size]


def _changed(rng: random.Random, content: bytes) -> bytes:
    try:
        document = json.loads(content)
    except ValueError:
        changed = bytearray(content)
        if changed:
            changed[rng.randrange(len(changed))] ^= 1 << rng.randrange(8)
        return bytes(changed[: rng.choice((len(changed), len(changed), len(changed) // 2))])
    places: list[tuple[Any, Any]] = []

    def walk(value: Any) -> None:
        for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
            places.append((value, key))
            if isinstance(inner, (dict, list)):
                walk(inner)

    if isinstance(document, (dict, list)):
        walk(document)
    if not places:
        return json.dumps(rng.choice(VALUES)).encode()
    for _ in range(rng.choice((1, 1, 3))):
        holder, key = rng.choice(places)
        change = rng.random()
        if change < 0.6:
            holder[key] = rng.choice(VALUES)
        elif change < 0.8:
            other, at = rng.choice(places)
            if not isinstance(other[at], (dict, list)) if _has(other, at) else False:
                holder[key] = other[at]
        elif isinstance(holder, dict):
            holder.pop(key, None)
    return json.dumps(document).encode()


def _has(holder: Any, key: Any) -> bool:
    return key in holder if isinstance(holder, dict) else key < len(holder)
