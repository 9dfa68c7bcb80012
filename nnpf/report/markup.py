"""HTML out of Python calls. Whatever is not markup already is escaped: names in streams may hold anything."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Iterable
from typing import Any

_VOID = frozenset(("br", "hr", "img", "input", "link", "meta"))
# Characters that HTML does not allow in text.
_control = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")


class Markup(str):
    """Text that is HTML already."""

    __slots__ = ()


Child = str | int | None | Iterable["Child"]


def escape(text: str) -> Markup:
    """Text as HTML, in elements and in quoted attributes alike."""
    return text if isinstance(text, Markup) else Markup(html.escape(_control.sub("\ufffd", text)))


def join(children: Child) -> Markup:
    """Children one after the other; None is nothing."""
    if children is None:
        return Markup()
    if isinstance(children, str):
        return escape(children)
    if isinstance(children, int):
        return Markup(children)
    return Markup("".join(join(child) for child in children))


def element(tag: str, /, *children: Child, **attributes: str | int | float | bool | None) -> Markup:
    """`<name attribute="value">children</name>`.

    Args:
        attributes: `class_` for class, `aria_label` for aria-label; None and False leave the attribute out, True gives
            it without a value.
    """
    parts = [f"<{tag}"]
    for key, value in attributes.items():
        if value is None or value is False:
            continue
        key = key.rstrip("_").replace("_", "-")
        parts.append(f" {key}" if value is True else f' {key}="{escape(str(value))}"')
    parts.append(">")
    if tag not in _VOID:
        parts += [join(children), f"</{tag}>"]
    return Markup("".join(parts))


def name(text: str, shown: str | None = None) -> Markup:
    """A name from outside (file, URI, label): its direction of writing does not spread to what stands beside it."""
    return element("bdi", text if shown is None else shown, title=None if shown is None else text)


def json_script(identity: str, data: Any) -> Markup:
    """Data for scripts, in an element that is not run. No character in it can end the element."""
    text = json.dumps(data, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    for character in "<>&":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return element("script", Markup(text), type="application/json", id=identity)
