"""What a batch found: a row for each cell, BD-rates for each sequence, class and all."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nnpf.batch.job import Outcome
from nnpf.batch.matrix import Matrix
from nnpf.batch.plan import EVALUATION, Plan
from nnpf.rate_distortion import Delta, RatePoint, bjontegaard_delta, windows

MEASURES = ("Y", "Cb", "Cr", "6:1:1")
ALL = "all"


@dataclass(frozen=True, slots=True)
class Measurement:
    """Of a cell.

    Attributes:
        rate_anchor, rate: without and with post-filter messages, in `unit`; None for what is no bitstream.
        decoded, filtered: PSNR in dB by MEASURES; None where it is not known or not finite.
        message_bytes: of post-filter messages.
    """

    unit: str
    pictures: int
    bytes: int | None
    message_bytes: int | None
    rate_anchor: float | None
    rate: float | None
    decoded: tuple[float | None, ...]
    filtered: tuple[float | None, ...]


@dataclass(frozen=True, slots=True)
class Row:
    """A cell, with what was measured or why nothing was."""

    sequence: str
    group: str
    point: str
    filter: str
    measured: Measurement | None
    problem: str
    key: str | None


@dataclass(frozen=True, slots=True)
class DeltaRow:
    """BD-rate of a sequence, or the mean of a class (`sequence` is None), or of all (`group` is ALL).

    Attributes:
        points: the rate points it is taken over.
        deltas: by MEASURES.
    """

    filter: str
    group: str
    sequence: str | None
    points: tuple[str, ...]
    deltas: tuple[Delta, ...]


def rows(plan: Plan, outcomes: dict[str, Outcome], root: Path) -> tuple[Row, ...]:
    found = []
    for planned in plan.cells:
        cell, job = planned.cell, planned.job
        measured, problem = None, planned.problem or ""
        if job is not None:
            outcome = outcomes.get(job.key)
            if outcome is None:
                problem = "not run"
            elif outcome.good:
                measured = _measurement(json.loads((job.folder(root) / EVALUATION).read_text()))
            else:
                problem = outcome.reason if outcome.state == "skipped" else f"{outcome.step}: {outcome.reason}"
        key = None if job is None else job.key
        found.append(Row(cell.sequence, cell.group, cell.point, cell.filter, measured, problem, key))
    return tuple(found)


def _measurement(document: dict[str, Any]) -> Measurement:
    point = document["points"][0]

    def psnr(of: dict[str, Any] | None) -> tuple[float | None, ...]:
        if of is None:
            return (None,) * len(MEASURES)
        components = [*of["psnr"], None, None][:3]
        return (*components, of["psnr_611"])

    return Measurement(
        document["rate_unit"],
        len(point["pictures"]),
        point["bytes"],
        point["message_bytes"],
        point["rate_anchor"],
        point["rate_test"],
        psnr(point["decoded"]),
        psnr(point["filtered"]),
    )


def deltas(matrix: Matrix, found: Sequence[Row]) -> tuple[DeltaRow, ...]:
    """BD-rates of every filter but the anchor: over all points, and over every four neighbours where there are more."""
    result = []
    by_cell = {(row.sequence, row.filter, row.point): row for row in found}
    groups = dict.fromkeys(row.group for row in found)
    group_of = {row.sequence: row.group for row in found}
    for name in matrix.filters:
        if name == matrix.anchor:
            continue
        for window in windows(len(matrix.points)):
            points = matrix.points[window]
            of_sequences = [
                DeltaRow(name, group_of[sequence], sequence, points, _deltas(matrix, by_cell, sequence, name, points))
                for sequence in matrix.sequences
            ]
            result += of_sequences
            if len(groups) > 1:
                result += [
                    _mean(name, group, points, [row for row in of_sequences if row.group == group])
                    for group in groups
                    if group
                ]
            if len(of_sequences) > 1:
                result.append(_mean(name, ALL, points, of_sequences))
    return tuple(result)


def _deltas(
    matrix: Matrix, by_cell: dict[tuple[str, str, str], Row], sequence: str, name: str, points: Sequence[str]
) -> tuple[Delta, ...]:
    anchor, test = [], []
    for point in points:
        row = by_cell[sequence, name, point]
        other = row if matrix.anchor is None else by_cell[sequence, matrix.anchor, point]
        for one in (row, other):
            if one.measured is None or one.measured.rate is None:
                problem = f"{one.filter} at {point}: {one.problem or 'has no rate'}"
                return (Delta(None, None, (problem,)),) * len(MEASURES)
        of, base = row.measured, other.measured
        assert of is not None and base is not None
        test.append((point, of.rate, of.filtered))
        anchor.append(
            (point, of.rate_anchor, of.decoded) if matrix.anchor is None else (point, base.rate, base.filtered)
        )
    return tuple(bjontegaard_delta(list(_curve(anchor, at)), list(_curve(test, at))) for at in range(len(MEASURES)))


def _curve(points: Sequence[tuple[str, float | None, tuple[float | None, ...]]], at: int) -> Iterator[RatePoint]:
    for label, rate, qualities in points:
        quality = qualities[at]
        # A value that is not there is not finite, which the delta names.
        yield RatePoint(label, float("nan") if rate is None else rate, float("nan") if quality is None else quality)


def _mean(name: str, group: str, points: tuple[str, ...], of: Sequence[DeltaRow]) -> DeltaRow:
    means = []
    for at in range(len(MEASURES)):
        missing = [str(row.sequence) for row in of if row.deltas[at].rate_percent is None]
        if missing:
            means.append(Delta(None, None, (f"no BD-rate of {', '.join(missing)}",)))
            continue
        rates = [row.deltas[at].rate_percent or 0.0 for row in of]
        qualities = [row.deltas[at].quality or 0.0 for row in of]
        means.append(Delta(sum(rates) / len(rates), sum(qualities) / len(qualities)))
    return DeltaRow(name, group, None, points, tuple(means))
