"""Tables for people: plain text on a terminal, Markdown in a report."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Table:
    """Cells as they are shown. The first column is a name, the others are numbers. `lines` follow it."""

    title: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    lines: Sequence[str] = ()

    def text(self) -> str:
        cells = [self.header, *self.rows]
        widths = [max(len(row[at]) for row in cells) for at in range(len(self.header))]
        shown = [
            "  ".join(
                cell.rjust(width) if at else cell.ljust(width)
                for at, (cell, width) in enumerate(zip(row, widths, strict=True))
            ).rstrip()
            for row in cells
        ]
        return "\n".join([self.title, *(shown if self.rows else []), *self.lines]) + "\n"

    def markdown(self) -> str:
        marks = ["---"] + ["---:"] * (len(self.header) - 1)
        rows = [self.header, marks, *self.rows] if self.rows else []
        table = ["| " + " | ".join(_escaped(cell) for cell in row) + " |" for row in rows]
        lines = [f"- {_escaped(line)}" for line in self.lines]
        blocks = [[f"### {self.title}"], table, lines]
        return "\n\n".join("\n".join(block) for block in blocks if block) + "\n"


def _escaped(text: str) -> str:
    """Names come from files and streams: they must not end a cell or start an element."""
    return text.replace("\\", "\\\\").replace("|", "\\|").replace("<", "&lt;").replace("\n", " ")
