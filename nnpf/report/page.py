"""The page: one HTML file that needs nothing else, and asks nobody for anything."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from importlib import resources

from nnpf.report import chapters, summary
from nnpf.report.markup import Child, Markup, element, json_script, name
from nnpf.report.model import Report
from nnpf.report.tables import table

STYLE, SCRIPT = "page.css", "page.js"


def render(report: Report) -> str:
    """The HTML file."""
    style, script = _resource(STYLE), _resource(SCRIPT)
    # Only this style sheet and this script run, whatever stands in the page; nothing can be loaded or sent.
    policy = "; ".join(
        (
            "default-src 'none'",
            "img-src data:",
            f"style-src {_hash(style)}",
            f"script-src {_hash(script)}",
            "base-uri 'none'",
            "form-action 'none'",
        )
    )
    alone = len(report.chapters) == 1
    data = {"chapters": [chapters.chapter_data(c, i) for i, c in enumerate(report.chapters)]}
    main: list[Child] = [
        summary.head(report),
        _navigation(report, alone=alone),
        summary.notes(report),
        summary.rate_distortion(report),
        element("div", class_="tabs scripted", role="tablist", aria_label="Streams") if not alone else None,
        [chapters.chapter(c, i, alone=alone) for i, c in enumerate(report.chapters)],
        [chapters.adaptation(a, i) for i, a in enumerate(report.adaptations)],
        _made(report),
    ]
    document = element(
        "html",
        element(
            "head",
            element("meta", charset="utf-8"),
            element("meta", http_equiv="Content-Security-Policy", content=policy),
            element("meta", name="viewport", content="width=device-width, initial-scale=1"),
            element("meta", name="color-scheme", content="light dark"),
            element("meta", name="generator", content=f"nnpf {report.version}"),
            element("title", f"{report.title} \u2013 nnpf report"),
            element("style", Markup(style)),
        ),
        element(
            "body",
            element("main", main),
            element(
                "noscript",
                element("p", "Scripts are off: plots and tables are complete, pictures are shown as grey planes."),
            ),
            json_script("report-data", data),
            element("script", Markup(script)),
        ),
        lang="en",
    )
    return f"<!DOCTYPE html>\n{document}\n"


def _navigation(report: Report, *, alone: bool) -> Markup:
    """Links to the parts that are there."""
    places: list[tuple[str, str]] = []
    if summary.rate_distortion(report):
        places.append(("rate-title", "Rate and distortion"))
    if alone:
        places += chapters.sections(report.chapters[0], 0)
    else:
        places += [(f"chapter-{i}-title", f"Stream {c.run.label}") for i, c in enumerate(report.chapters)]
    places += [(f"adapt-{i}-title", f"Updates fitted to {a.run.label}") for i, a in enumerate(report.adaptations)]
    places.append(("made-title", "How this was made"))
    return element("nav", [element("a", text, href=f"#{place}") for place, text in places], aria_label="Parts")


def _made(report: Report) -> Markup:
    parts: list[Child] = [element("h2", "How this was made", id="made-title")]
    if report.command:
        parts.append(element("p", element("code", name(report.command))))
    parts.append(element("p", f"nnpf {report.version}, {report.made}", class_="small"))
    if report.environments:
        parts.append(_environments(report.environments))
    return element("section", parts, id="made", aria_labelledby="made-title")


def _environments(of: Mapping[str, Mapping[str, str]]) -> Markup:
    """One column for all commands that ran in the same environment."""
    groups: dict[tuple[tuple[str, str], ...], list[str]] = {}
    for command, found in of.items():
        groups.setdefault(tuple(found.items()), []).append(command)
    keys = dict.fromkeys(key for group in groups for key, _ in group)
    columns = [dict(group) for group in groups]
    header = ["", *(", ".join(commands) for commands in groups.values())]
    rows = [[key, *(name(column.get(key, summary.NOTHING)) for column in columns)] for key in keys]
    return table("Environment", header, rows, left=len(header))


def _resource(file: str) -> str:
    return resources.files("nnpf.report").joinpath(file).read_text("utf-8")


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
