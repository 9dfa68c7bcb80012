"""The head of a page: what came out, in a sentence and a few large numbers, and what to know before using them."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from nnpf.report import charts
from nnpf.report.charts import Curve, number, rate_plot, swatch
from nnpf.report.documents import Delta, Quality, Run, at, difference
from nnpf.report.markup import Child, Markup, element, join, name
from nnpf.report.model import Chapter, Report
from nnpf.report.tables import bullets, table

COMPONENTS = ("Y", "Cb", "Cr")
_LONG = {"Y": "Luma", "Cb": "Cb", "Cr": "Cr", "6:1:1": "6:1:1"}
NOTHING = "\u2013"


def gains(run: Run) -> dict[str, float]:
    """Mean PSNR gain by component, dB."""
    if run.before is None or run.after is None:
        return {}
    found = {
        c: difference(at(run.before.psnr, i), at(run.after.psnr, i))
        for i, c in enumerate(COMPONENTS[: len(run.after.psnr)])
    }
    return {c: gain for c, gain in found.items() if gain is not None}


def head(report: Report) -> Markup:
    return element(
        "header",
        element("p", "Neural-network post-filter report", class_="kicker"),
        element("h1", name(report.title)),
        element("p", _sentence(report), class_="lead"),
        _tiles(report),
    )


# --- in words --------------------------------------------------------------------------------------------------------


def _sentence(report: Report) -> list[Child]:
    parts: list[Child] = []
    if len(report.chapters) == 1:
        parts += _of_one(report.chapters[0])
    elif report.chapters:
        parts += _of_several(report)
    for adaptation in report.adaptations:
        updates = sum(s.decision == "update" for s in adaptation.segments)
        parts.append(
            f" nnpf adapt decided for an update in {updates} of "
            f"{len(adaptation.segments)} {'segment' if len(adaptation.segments) == 1 else 'segments'}."
        )
    return parts


def _of_one(chapter: Chapter) -> Iterator[Child]:
    run = chapter.run
    found = gains(run)
    count = len(run.pictures)
    filtered = filtered_pictures(run)
    if filtered == 0:
        yield f"No filter ran for any of the {count} pictures. "
    if found:
        better = [f"{_LONG[c].lower() if c == 'Y' else c} {number(g, 3, signed=True)} dB" for c, g in found.items()]
        yield f"PSNR of the filtered against the decoded pictures, mean of {count}: {', '.join(better)}. "
        worse = [p for p in run.pictures if (gain := p.gain()) is not None and gain < 0]
        if worse:
            yield f"Luma gets worse in {len(worse)} of {count} pictures. "
        else:
            yield "Luma gets worse in no picture. "
    elif run.before is None and run.after is None:
        yield "There is no original to compare with: the page shows what was filtered, not what it gained. "


def _of_several(report: Report) -> Iterator[Child]:
    counts = {len(c.run.pictures) for c in report.chapters}
    of = f", {counts.pop()} pictures each" if len(counts) == 1 else ""
    yield f"{len(report.chapters)} streams{of}. "
    luma = [d for d in report.deltas if d.measure == "Y" and d.rate_percent is not None]
    if luma:
        delta = max(luma, key=lambda d: len(d.points))
        assert delta.rate_percent is not None
        yield (
            f"Luma BD-rate of the filtered pictures, all message bits counted, against the decoded ones: "
            f"{number(delta.rate_percent, 2, signed=True)} % over {window(delta.points)}. "
        )


def window(labels: Sequence[str]) -> str:
    return labels[0] if len(labels) == 1 else f"{labels[0]} to {labels[-1]}"


def filtered_pictures(run: Run) -> int | None:
    """For how many pictures a filter ran; None where no report says it."""
    known = [p.filters for p in run.pictures if p.filters is not None]
    return sum(bool(filters) for filters in known) if known else None


# --- large numbers ---------------------------------------------------------------------------------------------------


def _tiles(report: Report) -> Markup:
    tiles = list(_delta_tiles(report.deltas)) if len(report.chapters) > 1 else []
    if len(report.chapters) == 1:
        tiles += list(_run_tiles(report.chapters[0]))
    return element("ul", tiles, class_="tiles") if tiles else Markup()


def _tile(label: str, value: str, unit: str, small: Child, *, bad: bool = False) -> Markup:
    return element(
        "li",
        element("span", label, class_="tile-label"),
        element("span", value, element("small", f"\u00a0{unit}" if unit else None), class_="tile-value"),
        element("span", small, class_="tile-small"),
        class_="bad" if bad else None,
    )


def _delta_tiles(deltas: Sequence[Delta]) -> Iterator[Markup]:
    widest = max((len(d.points) for d in deltas), default=0)
    for delta in deltas:
        if len(delta.points) != widest or delta.measure not in _LONG:
            continue
        label = f"BD-rate {_LONG[delta.measure]}"
        if delta.rate_percent is None:
            yield _tile(label, NOTHING, "", "; ".join(delta.problems))
            continue
        quality = "" if delta.quality is None else f"BD-PSNR {number(delta.quality, 3, signed=True)} dB"
        yield _tile(label, number(delta.rate_percent, 2, signed=True), "%", quality, bad=delta.rate_percent > 0)


def _run_tiles(chapter: Chapter) -> Iterator[Markup]:
    run = chapter.run
    for component, gain in gains(run).items():
        i = COMPONENTS.index(component)
        before, after = (at(q.psnr, i) for q in (run.before, run.after) if q is not None)
        small = f"{_psnr(before)} \u2192 {_psnr(after)} dB"
        yield _tile(f"{_LONG[component]} PSNR", number(gain, 3, signed=True), "dB", small, bad=gain < 0)
    filtered = filtered_pictures(run)
    if filtered is not None:
        extra = f", {run.extra_pictures} added" if run.extra_pictures else ""
        yield _tile("Filtered", f"{filtered}", "", f"of {len(run.pictures)} pictures{extra}")
    messages, total = message_bytes(chapter)
    if messages is not None and total:
        small = f"{number(100 * messages / total, 2)} % of {number(total, 0)} bytes"
        yield _tile("Messages", number(messages, 0), "bytes", small)
    macs = [c.numbers["macs"] for c in run.costs if "macs" in c.numbers]
    if macs:
        small = "for each luma sample" + (f", largest of {len(macs)} filters" if len(macs) > 1 else "")
        yield _tile("Multiply-adds", number(max(macs) / 1000, 2), "kMAC", small)
    times = [p.seconds for p in run.pictures if p.seconds is not None]
    if times:
        small = f"to filter a picture, mean of {len(times)}"
        yield _tile("Time", number(1000 * sum(times) / len(times), 0), "ms", small)


def message_bytes(chapter: Chapter) -> tuple[int | None, int | None]:
    """Bytes of the messages, with their NAL units, and of the stream."""
    if chapter.run.size is not None:
        return chapter.run.size.messages, chapter.run.size.total
    if chapter.facts is not None:
        return chapter.facts.message_bytes, chapter.facts.bytes
    return None, None


def _psnr(value: float | None) -> str:
    return NOTHING if value is None else number(value, 3)


# --- what to know ----------------------------------------------------------------------------------------------------


def notes(report: Report) -> Markup:
    """What was found wrong, what is missing, what the commands noted; each with the streams that it is about."""
    about: dict[str, list[str]] = {}
    for chapter in report.chapters:
        for note in (*chapter.run.notes, *_reasons(chapter), *chapter.missing):
            about.setdefault(note, []).append(chapter.run.label)
    everyone = len(report.chapters)
    items: list[Child] = [element("strong", finding) for finding in dict.fromkeys(report.findings)]
    items += _losses([chapter.run for chapter in report.chapters])
    for note, labels in about.items():
        items.append(note if len(labels) == everyone else [", ".join(labels), ": ", note])
    if report.bd_problem is not None and len(report.chapters) > 1:
        items.append(f"no BD-rate: {report.bd_problem}")
    if not items:
        return Markup()
    return element(
        "section",
        element("h2", "To know", id="to-know-title"),
        bullets(items, "notes"),
        id="to-know",
        aria_labelledby="to-know-title",
    )


def _losses(runs: Sequence[Run]) -> Iterator[str]:
    for component in COMPONENTS:
        worse = {run.label: gain for run in runs if (gain := gains(run).get(component)) is not None and gain < 0}
        if worse:
            shown = [
                (f"{label} " if len(runs) > 1 else "") + f"{number(gain, 3, signed=True)} dB"
                for label, gain in worse.items()
            ]
            yield f"mean PSNR of {component} is lower with the filter: {', '.join(shown)}"


def _reasons(chapter: Chapter) -> Iterator[str]:
    """Why filters or messages had no effect, with the pictures."""
    found: dict[str, list[int]] = {}
    announced = chapter.facts.pictures if chapter.facts is not None else ()
    said = [(p.output_index, p.poc, p.reasons) for p in chapter.run.pictures]
    said += [(p.output_index, p.poc, p.reasons) for p in announced]
    for output_index, poc, reasons in said:
        for reason in reasons:
            # Said of each picture with its own POC: the same for all of them.
            found.setdefault(reason.replace(f" at POC {poc} ", " "), []).append(output_index)
    noted = " ".join(chapter.run.notes)
    for reason, pictures in found.items():
        if reason in noted:
            continue
        places = sorted(set(pictures))
        shown = ", ".join(map(str, places[:6])) + (f" and {len(places) - 6} more" if len(places) > 6 else "")
        yield f"{'picture' if len(places) == 1 else 'pictures'} {shown}: {reason}"


# --- rate and distortion ---------------------------------------------------------------------------------------------

_RATE_MEASURES = ("Y", "Cb", "Cr", "6:1:1", "SSIM Y", "MS-SSIM Y")


def rate_distortion(report: Report) -> Markup:
    """Curves and deltas of several streams of one video."""
    runs = [c.run for c in report.chapters if c.run.size is not None and c.run.size.rate_anchor]
    if len(runs) < 2:
        return Markup()
    unit = report.rate_unit or "bits"
    curves = [plot for measure in ("Y", "6:1:1", "SSIM Y") if (plot := _curves(runs, measure, unit))]
    gain = _gain_by_rate(runs, unit)
    legend = charts.legend(
        (swatch("before"), "decoded, without the messages"), (swatch("after"), "filtered, message bits counted")
    )
    return element(
        "section",
        element("h2", "Rate and distortion", id="rate-title"),
        legend,
        element("div", curves, gain, class_="plots"),
        _points(runs, unit),
        _deltas(report.deltas),
        id="rate",
        aria_labelledby="rate-title",
    )


def measure_of(quality: Quality | None, measure: str) -> float | None:
    if quality is None:
        return None
    if measure == "6:1:1":
        return quality.psnr_611
    if measure in COMPONENTS:
        return at(quality.psnr, COMPONENTS.index(measure))
    return at(quality.ssim if measure == "SSIM Y" else quality.ms_ssim, 0)


def _curves(runs: Sequence[Run], measure: str, unit: str) -> Markup | None:
    before, after = [], []
    for run in sorted(runs, key=lambda r: (r.size and r.size.rate_anchor) or 0.0):
        assert run.size is not None
        low, high = measure_of(run.before, measure), measure_of(run.after, measure)
        if low is None or high is None or run.size.rate_anchor is None or run.size.rate_test is None:
            return None
        if not (math.isfinite(low) and math.isfinite(high)):
            return None
        before.append((run.label, run.size.rate_anchor, low))
        after.append((run.label, run.size.rate_test, high))
    dimension = "" if "SSIM" in measure else "dB"
    label = f"{'' if 'SSIM' in measure else 'PSNR '}{measure}{f', {dimension}' if dimension else ''}"
    text = "; ".join(
        f"{a[0]}: decoded {number(a[1], 1)} {unit} {number(a[2], 3)}, filtered {number(b[1], 1)} {unit} "
        f"{number(b[2], 3)}"
        for a, b in zip(before, after, strict=True)
    )
    of = [Curve("before", "circle", before), Curve("after", "square", after)]
    return rate_plot(label, text, of, unit, dimension)


def _gain_by_rate(runs: Sequence[Run], unit: str) -> Markup | None:
    """The gain at each stream: curves of a whole range of rates hide it."""
    curves = []
    for component, marker in zip(COMPONENTS, ("circle", "square", "triangle"), strict=True):
        points = [
            (run.label, run.size.rate_test, gain)
            for run in sorted(runs, key=lambda r: (r.size and r.size.rate_anchor) or 0.0)
            if run.size is not None and run.size.rate_test and (gain := gains(run).get(component)) is not None
        ]
        if points:
            curves.append(Curve(f"comp-{component.lower()}", marker, points))
    if not curves:
        return None
    text = "; ".join(
        f"{component} {', '.join(f'{label} {number(g, 3, signed=True)}' for label, _, g in curve.points)}"
        for component, curve in zip(COMPONENTS, curves, strict=False)
    )
    keys = [(swatch(curve.style), component) for component, curve in zip(COMPONENTS, curves, strict=False)]
    drawn = rate_plot("PSNR gain of each stream, dB", text, curves, unit, "dB", zero=True)
    return element("div", drawn, charts.legend(*keys))


def _points(runs: Sequence[Run], unit: str) -> Markup:
    header: list[Child] = ["stream", unit, "messages"]
    for measure in ("Y", "Cb", "Cr", "6:1:1"):
        header += [f"{measure}, dB", "gain"]
    rows = []
    for run in runs:
        assert run.size is not None
        anchor, test = run.size.rate_anchor, run.size.rate_test
        share = f"{run.size.messages} B" + (
            f" (+{number(100 * (test / anchor - 1), 2)} %)" if anchor and test is not None else ""
        )
        cells: list[Child] = [name(run.label), NOTHING if test is None else number(test, 2), share]
        for measure in ("Y", "Cb", "Cr", "6:1:1"):
            before, after = measure_of(run.before, measure), measure_of(run.after, measure)
            cells += [_psnr(after), signed_cell(difference(before, after), 3)]
        rows.append(cells)
    return table("Streams: rate and mean PSNR of the filtered pictures", header, rows)


def signed_cell(value: float | None, digits: int, *, good_below: bool = False) -> Markup:
    """A difference; one that is for the worse is marked, by more than its colour."""
    if value is None:
        return element("span", NOTHING)
    bad = value > 0 if good_below else value < 0
    text = number(value, digits, signed=True)
    return (
        element("span", text, class_="loss") if bad and any(c in "123456789" for c in text) else element("span", text)
    )


def _deltas(deltas: Sequence[Delta]) -> Markup:
    measures = [m for m in _RATE_MEASURES if any(d.measure == m for d in deltas)]
    rows: list[list[Child]] = []
    remarks: dict[str, None] = {}
    for labels in dict.fromkeys(d.points for d in deltas):
        of = {d.measure: d for d in deltas if d.points == labels}
        for what, digits in (("BD-rate, %", 2), ("BD-quality", 3)):
            cells: list[Child] = [window(labels) if digits == 2 else "", what]
            for measure in measures:
                delta = of.get(measure)
                if delta is None:
                    cells.append(NOTHING)
                elif digits == 2:
                    cells.append(signed_cell(delta.rate_percent, 2, good_below=True))
                else:
                    cells.append(signed_cell(delta.quality, 3 if delta.unit == "dB" else 5))
            rows.append(cells)
        for delta in of.values():
            for text in (*(f"not computed: {p}" for p in delta.problems), *delta.notes):
                remarks[f"{window(labels)}, {delta.measure}: {text}"] = None
    if not rows:
        return Markup()
    caption = "Bjøntegaard delta (pchip) of filtered against decoded: rate below 0 and quality above 0 are gains"
    return join(
        [
            table(caption, ["streams", "", *measures], rows, left=2),
            bullets(remarks, "notes") if remarks else None,
        ]
    )
