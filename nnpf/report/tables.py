"""Tables and lists of a page."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from nnpf.report.markup import Child, Markup, element


def table(caption: str, header: Sequence[Child], rows: Iterable[Sequence[Child]], *, left: int = 1) -> Markup:
    """A table that scrolls on its own where the page is narrow. `left`: columns that are not numbers."""
    head = [element("th", cell, scope="col", class_=None if i < left else "n") for i, cell in enumerate(header)]
    body = [
        element("tr", [element("td", cell, class_=None if i < left else "n") for i, cell in enumerate(row)])
        for row in rows
    ]
    return element(
        "div",
        element(
            "table",
            element("caption", caption),
            element("thead", element("tr", head)),
            element("tbody", body),
        ),
        class_="scroll",
        tabindex=0,
        role="region",
        aria_label=caption,
    )


def facts(pairs: Iterable[tuple[str, Child]]) -> Markup:
    """Names and what they stand for."""
    return element("dl", [element("div", element("dt", key), element("dd", value)) for key, value in pairs])


def bullets(items: Iterable[Child], style: str | None = None) -> Markup:
    return element("ul", [element("li", item) for item in items], class_=style)
