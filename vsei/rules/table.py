"""The rules as a document."""

from __future__ import annotations

from collections.abc import Iterator

from vsei.messages import NnpfActivation, NnpfCharacteristics
from vsei.messages.derived import FilterOnPicture
from vsei.messages.processing_order import PhaseIndication, SeiProcessingOrder, SeiProcessingOrderNesting
from vsei.rules import nokia, vtm
from vsei.rules.book import STANDARD, Rule
from vsei.rules.context import (
    ActivationSeen,
    CharacteristicsSeen,
    MessageSeen,
    NalUnitSeen,
    NestingSeen,
    Payload,
    Reserved,
)

_HEADINGS: dict[type, str] = {
    NalUnitSeen: "NAL units",
    MessageSeen: "NAL units",
    Payload: "Payloads",
    Reserved: "Payloads",
    NnpfCharacteristics: "NNPFC: a message for itself",
    FilterOnPicture: "NNPFC: with the picture",
    CharacteristicsSeen: "NNPFC: in its CLVS",
    NnpfActivation: "NNPFA",
    ActivationSeen: "NNPFA",
    SeiProcessingOrder: "SEI processing order, phase indication",
    SeiProcessingOrderNesting: "SEI processing order, phase indication",
    NestingSeen: "SEI processing order, phase indication",
    PhaseIndication: "SEI processing order, phase indication",
}

_INTRODUCTION = """# Rules

What `nnpf validate` checks. To break a rule of level *violation* makes its exit code 3; what breaks a rule of level
*warning* is allowed, or decoders skip it, or the standard's text leaves doubt.

The clauses are those of H.274 V4 (01/2026) and of H.266 (the same holds in H.265 and H.264, under other numbers), or
name the decoder that asks for more than the standard. The ranges behind `element-range` stand in the syntax
descriptions (`vsei/messages/`).

This file is written by `python -m vsei.rules > docs/rules.md`; a test says when it is out of date.
"""


def sections() -> Iterator[tuple[str, list[Rule]]]:
    """All rules, under their headings."""
    by_heading: dict[str, list[Rule]] = {heading: [] for heading in _HEADINGS.values()}
    for context, rule in STANDARD.rules():
        by_heading[_HEADINGS[context]].append(rule)
    yield from by_heading.items()
    for book in (vtm.BOOK, nokia.BOOK):
        yield book.title, [rule for _, rule in book.rules()]


def every_rule() -> list[Rule]:
    return [rule for _, rules in sections() for rule in rules]


def markdown() -> str:
    """docs/rules.md"""
    lines = [_INTRODUCTION]
    for heading, rules in sections():
        lines += [f"## {heading}", "", "| rule | clause | level | what holds |", "|---|---|---|---|"]
        lines += [f"| `{r.name}` | {r.clause} | {r.level} | {_escaped(r.statement)} |" for r in rules]
        lines.append("")
    return "\n".join(lines)


def _escaped(text: str) -> str:
    return text.replace("|", "\\|")
