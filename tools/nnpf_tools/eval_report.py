"""What `nnpf eval` says: tables, JSON, CSV, figures, all from the same measurements."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, BinaryIO, Literal

from nnpf.complexity import Complexity
from nnpf.errors import NnpfError
from nnpf.evaluation import Evaluation, FilterFacts, Means, Measured, Quality
from nnpf.gain import MEASURES, Curves, Gain, Point, Rating, curves, gains, value
from nnpf.provenance import environment, facts_of
from nnpf_tools.tables import Table

COMPONENTS = ("Y", "Cb", "Cr")
NOTHING = "-"


@dataclass(frozen=True, slots=True)
class Report:
    """All that is shown.

    Attributes:
        curves, gains: empty where there are none; `no_gains` says why.
        findings: what was checked and does not hold.
    """

    original: str
    streams: Sequence[str]
    points: Sequence[Point]
    rating: Rating
    curves: tuple[Curves, ...]
    gains: tuple[Gain, ...]
    no_gains: str | None
    findings: tuple[str, ...]

    @staticmethod
    def of(
        original: str, streams: Sequence[str], points: Sequence[Point], rating: Rating, min_gain: float | None
    ) -> Report:
        try:
            found, problem = curves(points, rating), None
        except NnpfError as error:
            found, problem = (), str(error)
        deltas = gains(found)
        findings = [*_false_claims(points), *_gains_below(deltas, min_gain, problem)]
        return Report(original, streams, points, rating, found, deltas, problem, tuple(findings))

    def tables(self, *, pictures: bool) -> Iterator[Table]:
        yield self._psnr()
        if any(p.evaluation.filtered.ssim[0] is not None for p in self.points):
            yield self._similarity()
        if any(p.evaluation.size is not None for p in self.points):
            yield self._deltas()
            yield self._filters()
        if pictures:
            for point in self.points:
                yield _pictures(point)

    def text(self, *, pictures: bool) -> str:
        return "\n".join(table.text() for table in self.tables(pictures=pictures))

    def markdown(self) -> str:
        return "\n".join(table.markdown() for table in self.tables(pictures=False))

    def _psnr(self) -> Table:
        unit = self.rating.unit
        names = [*COMPONENTS, "6:1:1"]
        header = ["point", unit, "messages", "pictures"] + [c for name in names for c in (name, "gain")]
        rows = []
        for point in self.points:
            evaluation = point.evaluation
            cells = [point.label, *self._rate(evaluation), str(len(evaluation.pictures))]
            rows.append(cells + _pairs(evaluation, names, "{:.3f}"))
        return Table(f"PSNR (dB), filtered pictures against {self.original}", header, rows, self._notes())

    def _rate(self, evaluation: Evaluation) -> tuple[str, str]:
        if evaluation.size is None:
            return NOTHING, NOTHING
        try:
            anchor, test = self.rating.rates(evaluation)
        except NnpfError:
            return NOTHING, f"{evaluation.size.messages} B"
        return f"{test:.2f}", f"{test - anchor:.2f} ({100 * (test / anchor - 1):.2f} %)"

    def _notes(self) -> list[str]:
        """Notes, each with the points that it is about."""
        about: dict[str, list[str]] = {}
        for point in self.points:
            for note in (*point.evaluation.notes, *_losses(point)):
                about.setdefault(note, []).append(point.label)
        everyone = len(self.points)
        return [
            f"note: {note}" if len(labels) == everyone else f"note: {', '.join(labels)}: {note}"
            for note, labels in about.items()
        ]

    def _similarity(self) -> Table:
        names = [f"{kind} {c}" for kind in ("SSIM", "MS-SSIM") for c in COMPONENTS]
        shown = [n for n in names if any(_measure(p.evaluation.filtered, n) is not None for p in self.points)]
        rows = [[p.label, *_pairs(p.evaluation, shown, "{:.5f}")] for p in self.points]
        lines = []
        missing = [n for n in names[3:] if n not in shown]
        if missing:
            from nnpf.similarity import MIN_MS_SSIM_SIDE, SCALE_WEIGHTS

            lines = [
                f"note: {', '.join(missing)}: no figure; {len(SCALE_WEIGHTS)} scales need {MIN_MS_SSIM_SIDE} samples "
                "a side"
            ]
        return Table("SSIM, MS-SSIM", ["point", *(c for n in shown for c in (n, "gain"))], rows, lines)

    def _deltas(self) -> Table:
        title = "BD-rate and BD-PSNR (pchip) of filtered against decoded pictures"
        if self.no_gains is not None:
            return Table(title, (), (), [f"not computed: {self.no_gains}"])
        measures = [one.measure for one in self.curves]
        rows: list[list[str]] = []
        remarks: dict[str, list[str]] = {}
        for labels in dict.fromkeys(gain.points for gain in self.gains):
            of = {gain.measure: gain.delta for gain in self.gains if gain.points == labels}
            name = _window(labels)
            if any(delta.rate_percent is not None or delta.quality is not None for delta in of.values()):
                rows.append([name, "rate, %", *(_signed(of[m].rate_percent, 2) for m in measures)])
                rows.append([name, "quality", *(_signed(of[m].quality, 3 if MEASURES[m] == "dB" else 5) for m in of)])
            for measure, delta in of.items():
                for text in (*(f"not computed: {p}" for p in delta.problems), *(f"note: {n}" for n in delta.notes)):
                    remarks.setdefault(f"{name}: {text}", []).append(measure)
        lines = [
            text if len(about) == len(measures) else f"{text} ({', '.join(about)})" for text, about in remarks.items()
        ]
        if self.rating.messages_every is not None:
            lines.append(f"messages counted once in {float(self.rating.messages_every):g} s")
        return Table(title, ["points", "delta", *measures], rows, lines)

    def _filters(self) -> Table:
        header = ["filter", "points", "parameters", "kB", "in the messages, B", "kMAC/luma sample", "with overlap"]
        header += ["on this picture", "patch", "overlap"]
        used: dict[tuple[str, tuple[str, ...]], list[str]] = {}
        lines: dict[str, None] = {}
        for point in self.points:
            for facts in point.evaluation.filters:
                used.setdefault((_name(facts), _cost_cells(facts)), []).append(point.label)
                lines |= dict.fromkeys(_remarks(facts))
        rows = [[name, ",".join(labels), *cells] for (name, cells), labels in used.items()]
        engines = dict.fromkeys(engine for point in self.points for engine in point.evaluation.engines)
        if engines:
            lines[f"run by {', '.join(engines)}"] = None
        if not rows:
            lines["no filter was in force"] = None
        return Table("Filters", header, rows, list(lines))

    def document(self) -> dict[str, Any]:
        """For --json. Numbers that are not finite (PSNR of pictures without difference) are null."""
        finite: dict[str, Any] = _finite(
            {
                "original": self.original,
                "rate_unit": self.rating.unit,
                "points": [self._point(s, p) for s, p in zip(self.streams, self.points, strict=True)],
                "bd": [
                    {"points": gain.points, "measure": gain.measure, "unit": MEASURES[gain.measure]}
                    | asdict(gain.delta)
                    for gain in self.gains
                ],
                "bd_problem": self.no_gains,
                "findings": self.findings,
                "inputs": facts_of({"original": self.original}),
                "environment": environment(),
            }
        )
        return finite

    def _point(self, stream: str, point: Point) -> dict[str, Any]:
        evaluation = point.evaluation
        try:
            rates: tuple[float, float] | tuple[None, None] = self.rating.rates(evaluation)
        except NnpfError:
            rates = None, None
        size = evaluation.size
        return {
            "label": point.label,
            "stream": stream,
            "inputs": facts_of({"stream": stream}),
            "bytes": None if size is None else size.total,
            "message_bytes": None if size is None else size.messages,
            "rate_anchor": rates[0],
            "rate_test": rates[1],
            "formats": dict(zip(("original", "decoded", "filtered"), map(str, evaluation.formats), strict=True)),
            "decoded": None if evaluation.decoded is None else _means(evaluation.decoded),
            "filtered": _means(evaluation.filtered),
            "filters": [_facts(facts) for facts in evaluation.filters],
            "engines": evaluation.engines,
            "notes": evaluation.notes,
            "pictures": [_picture(picture) for picture in evaluation.pictures],
        }

    def csv(self) -> str:
        """One row for each picture."""
        out = io.StringIO()
        writer = csv.writer(out, lineterminator="\n")
        columns = [f"{kind}_{c}" for kind in ("psnr", "ssim", "ms_ssim") for c in ("y", "cb", "cr")] + ["psnr_611"]
        heads = [f"{state}_{column}" for state in ("decoded", "filtered") for column in columns]
        writer.writerow(["point", "output_index", "poc", "filters", *heads])
        for point in self.points:
            for p in point.evaluation.pictures:
                numbers = [*_flat(p.decoded), *_flat(p.filtered)]
                cells = ["" if n is None else f"{n:.6f}" for n in numbers]
                writer.writerow([point.label, p.output_index, p.poc, " + ".join(p.filters), *cells])
        return out.getvalue()


def plot(report: Report, file: BinaryIO, kind: Literal["png", "svg", "pdf"]) -> None:
    """Curves of the PSNR measures, and the luma gain of each picture."""
    from nnpf.plots import CurvePair, GainLine, draw

    pairs = [CurvePair(f"PSNR {c.measure}, dB", c.anchor, c.test) for c in report.curves if MEASURES[c.measure] == "dB"]
    lines = []
    for point in report.points:
        of = [_luma_gain(p) for p in point.evaluation.pictures]
        if all(gain is not None for gain in of):
            lines.append(GainLine(point.label, [math.nan if gain is None else gain for gain in of]))
    draw(file, kind, pairs, lines, report.rating.unit)


# --- checks ----------------------------------------------------------------------------------------------------------


def _false_claims(points: Sequence[Point]) -> list[str]:
    found: dict[str, None] = {}
    for point in points:
        for facts in point.evaluation.filters:
            for claim in facts.complexity.claims if facts.complexity is not None else ():
                if not claim.holds:
                    found[
                        f"{_name(facts)}: {claim.element} {claim.stated} allows {claim.bound:g}, "
                        f"the model takes {claim.measured:g}"
                    ] = None
    return list(found)


def _gains_below(found: Sequence[Gain], least: float | None, problem: str | None) -> Iterator[str]:
    if least is None:
        return
    luma = [gain for gain in found if gain.measure == "Y"]
    if not luma:
        yield f"--min-gain {least:g}: no BD-rate: {problem or 'no rate points'}"
    for gain in luma:
        if gain.delta.rate_percent is None:
            yield f"--min-gain {least:g}: no BD-rate of {_window(gain.points)}: {'; '.join(gain.delta.problems)}"
        elif gain.delta.rate_percent > -least:
            yield f"--min-gain {least:g}: luma BD-rate of {_window(gain.points)} is {gain.delta.rate_percent:+.2f} %"


def _losses(point: Point) -> Iterator[str]:
    evaluation = point.evaluation
    if evaluation.decoded is None:
        return
    for measure in (*COMPONENTS, "6:1:1"):
        before, after = value(evaluation.decoded, measure), value(evaluation.filtered, measure)
        if before is not None and after is not None and after < before:
            yield f"PSNR {measure} is lower with the filter"


# --- cells -----------------------------------------------------------------------------------------------------------


def _measure(means: Means, name: str) -> float | None:
    """A measure by the name of its column."""
    kind, _, component = name.partition(" ")
    if kind in ("SSIM", "MS-SSIM"):
        values, at = (means.ssim if kind == "SSIM" else means.ms_ssim), COMPONENTS.index(component)
        return values[at] if at < len(values) else None
    return value(means, name)


def _pairs(evaluation: Evaluation, names: Sequence[str], form: str) -> list[str]:
    """For each measure the value of the filtered pictures, and what they gain."""
    cells = []
    decoded, filtered = evaluation.decoded, evaluation.filtered
    for name in names:
        after = _measure(filtered, name)
        before = None if decoded is None else _measure(decoded, name)
        cells.append(NOTHING if after is None else form.format(after))
        known = before is not None and after is not None and math.isfinite(before) and math.isfinite(after)
        cells.append(form.replace(":", ":+").format(after - before) if known else NOTHING)  # type: ignore[operator]
    return cells


def _signed(number: float | None, digits: int) -> str:
    return NOTHING if number is None else f"{number:+.{digits}f}"


def _window(labels: Sequence[str]) -> str:
    return labels[0] if len(labels) == 1 else f"{labels[0]} to {labels[-1]}"


def _name(facts: FilterFacts) -> str:
    return f"{facts.nnpfc_id}{' update' if facts.update else ''} {Path(facts.model).name}"


def _cost_cells(facts: FilterFacts) -> tuple[str, ...]:
    cost = facts.complexity
    if cost is None:
        return NOTHING, NOTHING, str(facts.carried_bytes), *[NOTHING] * 5
    return (
        str(cost.parameters),
        f"{cost.parameter_bytes / 1000:.1f}",
        str(facts.carried_bytes),
        f"{cost.macs / 1000:.3f}",
        f"{cost.macs_with_overlap / 1000:.3f}",
        f"{cost.macs_of_picture / 1000:.3f}",
        f"{cost.patch[0]}x{cost.patch[1]}",
        str(cost.overlap),
    )


def _remarks(facts: FilterFacts) -> Iterator[str]:
    if facts.uri is not None:
        yield f"{_name(facts)}: named by URI, its bytes are not in the rate"
    if facts.complexity is None:
        return
    claims = facts.complexity.claims
    if not claims:
        yield f"{_name(facts)}: the message says nothing of its complexity"
    else:
        false = sum(not claim.holds for claim in claims)
        yield f"{_name(facts)}: complexity elements checked: {len(claims) - false} hold, {false} do not"


def _luma_gain(picture: Measured) -> float | None:
    if picture.decoded is None:
        return None
    before, after = picture.decoded.difference.psnr[0], picture.filtered.difference.psnr[0]
    return after - before if math.isfinite(before) and math.isfinite(after) else math.nan


def _pictures(point: Point) -> Table:
    count = len(point.evaluation.pictures[0].filtered.difference.mse)
    names = COMPONENTS[:count]
    rows = []
    for picture in point.evaluation.pictures:
        cells = []
        before, after = picture.decoded, picture.filtered
        for at in range(count):
            cells.append(f"{after.difference.psnr[at]:.3f}")
            cells.append(
                NOTHING if before is None else f"{after.difference.psnr[at] - before.difference.psnr[at]:+.3f}"
            )
        ssim = None if after.similarity is None else after.similarity.ssim[0]
        cells.append(NOTHING if ssim is None else f"{ssim:.5f}")
        poc = NOTHING if picture.poc is None else str(picture.poc)
        rows.append([str(picture.output_index), poc, *cells])
    header = ["picture", "POC", *(c for name in names for c in (name, "gain")), "SSIM Y"]
    return Table(f"{point.label}: pictures, PSNR in dB", header, rows)


# --- plain data ------------------------------------------------------------------------------------------------------


def _means(means: Means) -> dict[str, Any]:
    return {
        "psnr": means.average.psnr,
        "psnr_611": means.combined,
        "psnr_of_mean_mse": means.average.mse_psnr,
        "ssim": means.ssim,
        "ms_ssim": means.ms_ssim,
    }


def _quality(quality: Quality | None) -> dict[str, Any] | None:
    if quality is None:
        return None
    found = quality.similarity
    return {
        "psnr": quality.difference.psnr,
        "psnr_611": quality.combined,
        "ssim": None if found is None else found.ssim,
        "ms_ssim": None if found is None else found.ms_ssim,
        "bit_depths": quality.difference.bit_depths,
    }


def _picture(picture: Measured) -> dict[str, Any]:
    return {
        "output_index": picture.output_index,
        "poc": picture.poc,
        "filters": picture.filters,
        "decoded": _quality(picture.decoded),
        "filtered": _quality(picture.filtered),
    }


def _facts(facts: FilterFacts) -> dict[str, Any]:
    cost: Complexity | None = facts.complexity
    document = asdict(facts)
    if cost is not None:
        document["complexity"]["claims"] = [asdict(c) | {"holds": c.holds} for c in cost.claims]
    return document


def _flat(quality: Quality | None) -> list[float | None]:
    """The columns of a CSV row."""
    if quality is None:
        return [None] * 10
    found = quality.similarity
    values = [quality.difference.psnr, found.ssim if found else (), found.ms_ssim if found else ()]
    return [v[at] if at < len(v) else None for v in values for at in range(3)] + [quality.combined]


def _finite(item: Any) -> Any:
    if isinstance(item, float):
        return item if math.isfinite(item) else None
    if isinstance(item, dict):
        return {key: _finite(entry) for key, entry in item.items()}
    if isinstance(item, list | tuple):
        return [_finite(entry) for entry in item]
    return item
