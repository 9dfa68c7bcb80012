"""What `nnpf batch` says: one table as text, Markdown, CSV and JSON."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from nnpf.batch.results import MEASURES, DeltaRow, Row
from nnpf_tools.tables import Table

NOTHING = "-"
SCHEMA_VERSION = 1


@dataclass(frozen=True, slots=True)
class Report:
    """Attributes:
    anchor: the filter that BD-rates are against; None: the decoded pictures.
    """

    matrix: str
    rows: Sequence[Row]
    deltas: Sequence[DeltaRow]
    anchor: str | None

    @property
    def failures(self) -> int:
        return sum(row.measured is None for row in self.rows)

    def tables(self) -> Iterator[Table]:
        yield self._cells()
        yield self._deltas()
        if self.failures:
            failed = [row for row in self.rows if row.measured is None]
            lines = [f"{row.sequence}, {row.point}, {row.filter}: {row.problem}" for row in failed]
            yield Table(f"{len(failed)} of {len(self.rows)} cells failed", (), (), lines)

    def text(self) -> str:
        return "\n".join(table.text() for table in self.tables())

    def markdown(self) -> str:
        return "\n".join(table.markdown() for table in self.tables())

    def _cells(self) -> Table:
        units = dict.fromkeys(row.measured.unit for row in self.rows if row.measured)
        header = ["sequence", "class", "point", "filter", "/".join(units) or "rate", "messages, B"]
        header += [c for name in MEASURES for c in (name, "gain")]
        rows = []
        for row in self.rows:
            found = row.measured
            cells = [row.sequence, row.group or NOTHING, row.point, row.filter]
            if found is None:
                rows.append(cells + [NOTHING] * (2 + 2 * len(MEASURES)))
                continue
            cells += [_number(found.rate, ".2f"), NOTHING if found.message_bytes is None else str(found.message_bytes)]
            for before, after in zip(found.decoded, found.filtered, strict=True):
                gain = None if before is None or after is None else after - before
                cells += [_number(after, ".3f"), _number(gain, "+.3f")]
            rows.append(cells)
        return Table("PSNR (dB) of filtered pictures, and what they gain", header, rows)

    def _deltas(self) -> Table:
        against = "the decoded pictures" if self.anchor is None else self.anchor
        header = ["filter", "class", "sequence", "points", *(f"{name}, %" for name in MEASURES)]
        header += [f"{name}, dB" for name in MEASURES]
        rows, lines = [], dict[str, None]()
        for row in self.deltas:
            cells = [row.filter, row.group or NOTHING, row.sequence or "mean", f"{row.points[0]} to {row.points[-1]}"]
            cells += [_number(delta.rate_percent, "+.2f") for delta in row.deltas]
            cells += [_number(delta.quality, "+.3f") for delta in row.deltas]
            rows.append(cells)
            about: dict[str, list[str]] = {}
            for name, delta in zip(MEASURES, row.deltas, strict=True):
                for problem in (*delta.problems, *delta.notes):
                    about.setdefault(problem, []).append(name)
            for problem, names in about.items():
                measures = "" if len(names) == len(MEASURES) else f", {', '.join(names)}"
                lines[f"{row.filter}, {row.sequence or f'mean of {row.group}'}{measures}: {problem}"] = None
        return Table(f"BD-rate and BD-PSNR (pchip) against {against}, all bits counted", header, rows, list(lines))

    def csv(self) -> str:
        """A row for each cell."""
        names = ("y", "cb", "cr", "611")
        out = io.StringIO()
        writer = csv.writer(out, lineterminator="\n")
        columns = ["sequence", "class", "point", "filter", "pictures", "bytes", "message_bytes", "rate_unit"]
        columns += ["rate_anchor", "rate", *(f"psnr_{n}_{kind}" for kind in ("decoded", "filtered") for n in names)]
        writer.writerow([*columns, "problem", "job"])
        for row in self.rows:
            found = row.measured
            numbers: list[Any] = [None] * 14
            if found is not None:
                numbers = [found.pictures, found.bytes, found.message_bytes, found.unit, found.rate_anchor, found.rate]
                numbers += [*found.decoded, *found.filtered]
            cells = [f"{n:.6f}" if isinstance(n, float) else n for n in numbers]
            writer.writerow([row.sequence, row.group, row.point, row.filter, *cells, row.problem, row.key])
        return out.getvalue()

    def json(self) -> str:
        document = {
            "schema_version": SCHEMA_VERSION,
            "matrix": self.matrix,
            "anchor": self.anchor,
            "measures": MEASURES,
            "cells": [asdict(row) for row in self.rows],
            "bd": [asdict(row) for row in self.deltas],
        }
        return json.dumps(document, indent=1, allow_nan=False) + "\n"


def _number(number: float | None, form: str) -> str:
    return NOTHING if number is None else format(number, form)
