"""What tests ask of a page: that it is well formed, needs nothing from outside, and runs nothing but its own script."""

from __future__ import annotations

import base64
import hashlib
import re
from dataclasses import dataclass, field
from html.parser import HTMLParser

VOID = {"meta", "br", "img", "input", "link", "hr"}
# Attributes whose values are followed or loaded.
_LOADED = {"src", "href", "srcset", "xlink:href", "action", "formaction", "data", "poster", "background", "ping"}


@dataclass
class Element:
    tag: str
    attributes: dict[str, str | None]
    parent: Element | None
    children: list[Element] = field(default_factory=list)
    parts: list[str] = field(default_factory=list)

    @property
    def text(self) -> str:
        return "".join(self.parts)

    def all(self, tag: str | None = None, **attributes: str) -> list[Element]:
        found = []
        for child in self.children:
            fits = all(child.attributes.get(k.rstrip("_").replace("_", "-")) == v for k, v in attributes.items())
            if tag in (None, child.tag) and fits:
                found.append(child)
            found += child.all(tag, **attributes)
        return found

    def one(self, tag: str | None = None, **attributes: str) -> Element:
        (found,) = self.all(tag, **attributes)
        return found


class _Parser(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.root = Element("", {}, None)
        self.place = self.root

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert len(dict(attrs)) == len(attrs), f"<{tag}> has an attribute twice"
        made = Element(tag, dict(attrs), self.place)
        self.place.children.append(made)
        if tag not in VOID:
            self.place = made

    def handle_endtag(self, tag: str) -> None:
        assert self.place.tag == tag, f"</{tag}> closes <{self.place.tag}>"
        assert self.place.parent is not None
        self.place = self.place.parent

    def handle_data(self, data: str) -> None:
        place: Element | None = self.place
        while place is not None:
            place.parts.append(data)
            place = place.parent

    def handle_comment(self, data: str) -> None:
        raise AssertionError(f"a comment: {data[:40]}")


def read(text: str) -> Element:
    parser = _Parser()
    parser.feed(text)
    parser.close()
    assert parser.place is parser.root, f"<{parser.place.tag}> is not closed"
    return parser.root


def check(text: str) -> Element:
    """The tree of a page that stands on its own."""
    root = read(text)
    ids = [e.attributes["id"] for e in root.all() if "id" in e.attributes]
    assert len(ids) == len(set(ids)), "ids are not unique"
    for element in root.all():
        assert element.tag not in ("iframe", "object", "embed", "link", "base", "form", "foreignobject", "use", "image")
        for key, value in element.attributes.items():
            assert not key.startswith("on"), f"{element.tag} {key}"
            assert key != "style", "an inline style, which the policy forbids"
            if key in _LOADED:
                allowed = (
                    (value or "").startswith("data:image/png;base64,")
                    if element.tag == "img"
                    else (value or "")[:1] == "#"
                )
                assert allowed, f"<{element.tag} {key}={value!r}>"
                if value is not None and value.startswith("#"):
                    assert value[1:] in ids, f"{value} leads nowhere"
            if key in ("for", "aria-labelledby", "aria-controls"):
                assert value in ids, f"{key}={value} names nothing"
    for image in root.all("svg", role="img"):
        assert image.attributes.get("aria-label"), "a drawing without words"
    for image in root.all("img"):
        assert image.attributes.get("alt")
    for control in (*root.all("input"), *root.all("select")):
        assert root.all("label", for_=control.attributes["id"] or ""), "a control without a label"
    policy = root.one("meta", http_equiv="Content-Security-Policy").attributes["content"] or ""
    assert "default-src 'none'" in policy and "unsafe" not in policy
    for tag, directive in (("style", "style-src"), ("script", "script-src")):
        (source,) = (e for e in root.all(tag) if e.attributes.get("type") != "application/json")
        digest = base64.b64encode(hashlib.sha256(source.text.encode()).digest()).decode()
        assert f"{directive} 'sha256-{digest}'" in policy
        assert not re.search(r"https?:|//\w|@import|url\(|\bfetch\(|XMLHttp|WebSocket|innerHTML|\beval\(", source.text)
    return root
