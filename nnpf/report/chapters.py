"""The part of a page that is about one stream: pictures over time, pictures to look at, filters, messages, files."""

from __future__ import annotations

import base64
import math
from collections.abc import Iterator, Sequence
from typing import Any

from nnpf.report import charts
from nnpf.report.charts import Line, Scale, glyph, number, swatch
from nnpf.report.documents import Adaptation, Cost, PictureResult, Quality, Run, at
from nnpf.report.markup import Child, Markup, element, join, name
from nnpf.report.model import Chapter
from nnpf.report.stream import MessageRow, StreamFacts
from nnpf.report.summary import COMPONENTS, NOTHING, message_bytes, signed_cell
from nnpf.report.tables import bullets, facts, table
from nnpf.report.views import View
from vsei.colour import UNSPECIFIED, Colour

# matrix_coeffs of H.273 that the page can turn into colours; others are shown as the first one.
MATRICES = {1: "BT.709", 4: "FCC", 5: "BT.601", 6: "BT.601", 7: "SMPTE 240M", 9: "BT.2020"}
_TRANSFER = {16: "PQ", 18: "HLG"}
_DIGEST_SHOWN = 12


def chapter(of: Chapter, index: int, *, alone: bool) -> Markup:
    """A stream. `index`: makes the ids of the page different."""
    run = of.run
    title = f"chapter-{index}"
    return element(
        "section",
        element("h2", "Stream ", name(run.label), id=f"{title}-title") if not alone else None,
        _over_pictures(of, index),
        _viewer(of, index),
        _filters(run, index),
        _stream(of, index),
        _messages(of.facts, index) if of.facts is not None else None,
        class_="chapter",
        id=title,
        aria_labelledby=f"{title}-title" if not alone else None,
        aria_label="The stream" if alone else None,
    )


def sections(of: Chapter, index: int) -> list[tuple[str, str]]:
    """The parts of a chapter that are there: id and name."""
    found = [
        (of.run.pictures or of.facts, "pictures", "Over the pictures"),
        (of.views, "viewer", "Look at the pictures"),
        (of.run.costs or of.run.engines, "filters", "Filters"),
        (of.run.stream or of.facts, "stream", "Stream and files"),
        (of.facts is not None and of.facts.messages, "messages", "Messages"),
    ]
    return [(f"{place}-{index}-title", text) for there, place, text in found if there]


# --- over pictures ---------------------------------------------------------------------------------------------------


def _over_pictures(of: Chapter, index: int) -> Markup:
    """Where filters act and what they gain, one below the other on the same axis."""
    pictures, info = of.run.pictures, of.facts
    count = max(len(pictures), len(info.pictures) if info is not None else 0)
    if count == 0:
        return Markup()
    boundaries = _boundaries(of, count)
    lanes = list(_lanes(info, count, boundaries)) if info is not None else list(_lanes_of(pictures, count, boundaries))
    gain_plots = list(_gain_plots(pictures, boundaries))
    quality_plots = list(_quality_plots(pictures, boundaries))
    axis = charts.picture_axis(count, _pocs(of, count), [view.output_index for view in of.views])
    blocks: list[Child] = []
    if lanes:
        legend = _lane_legend(boundaries) if info is not None else None
        blocks.append(_block("Where filters act", legend, lanes, axis))
    if gain_plots:
        legend = charts.legend((swatch("bar up"), "nearer to the original"), (swatch("bar down"), "further away"))
        blocks.append(_block("Gain of each picture", legend, gain_plots, axis))
    if quality_plots:
        legend = charts.legend((swatch("before"), "decoded"), (swatch("after"), "filtered"))
        blocks.append(_block("Quality of each picture", legend, quality_plots, axis))
    title = f"pictures-{index}-title"
    return element(
        "section",
        element("h3", "Over the pictures", id=title),
        _cursor(of, index, count),
        blocks,
        _values(index),
        class_="over-pictures",
        data_chapter=index,
        data_count=count,
        aria_labelledby=title,
    )


def _block(title: str, legend: Child, plots: Sequence[Child], axis: Child) -> Markup:
    return element("div", element("h4", title), legend, plots, axis, class_="block")


def _cursor(of: Chapter, index: int, count: int) -> Markup:
    """The picture that is pointed at; the script fills it."""
    return element(
        "div",
        element("label", "Picture", for_=f"cursor-{index}"),
        element("input", type="range", id=f"cursor-{index}", min=0, max=count - 1, value=0, step=1),
        element("output", "Point at a plot, or move this slider.", for_=f"cursor-{index}", class_="readout"),
        element("button", "Look at it", type="button", class_="look", hidden=True) if of.views else None,
        class_="cursor-bar scripted",
    )


def _values(index: int) -> Markup:
    return element(
        "details",
        element("summary", "All values as a table"),
        element("div", class_="values-table"),
        class_="scripted values",
        id=f"values-{index}",
    )


def _boundaries(of: Chapter, count: int) -> list[float]:
    """Where each CLVS starts, 0..1."""
    if of.facts is not None:
        clvss: list[int | None] = [p.clvs for p in of.facts.pictures]
    else:
        clvss = [p.clvs for p in of.run.pictures]
    return [i / count for i in range(1, len(clvss)) if clvss[i] != clvss[i - 1]]


def _pocs(of: Chapter, count: int) -> list[int | None]:
    if of.facts is not None:
        return [p.poc for p in of.facts.pictures]
    return [p.poc for p in of.run.pictures]


def _lanes(info: StreamFacts, count: int, boundaries: Sequence[float]) -> Iterator[Child]:
    for lane in info.lanes:
        yield charts.lane(lane, count, boundaries)
        if lane.unseen:
            yield element("p", f"{lane.unseen} messages of it stand at pictures that are not output", class_="small")
    if info.more_lanes:
        yield element("p", f"{info.more_lanes} more filters are not drawn", class_="small")
    if not info.lanes:
        yield element("p", "The stream has no NNPFC and no NNPFA message.")


def _lanes_of(pictures: Sequence[PictureResult], count: int, boundaries: Sequence[float]) -> Iterator[Child]:
    """Without the bitstream: for which pictures which model ran."""
    from nnpf.report.stream import Lane, Span

    names = list(dict.fromkeys(f for p in pictures for f in p.filters or ()))
    for number_, filter_name in enumerate(names[:8], 1):
        spans: list[Span] = []
        for i, picture in enumerate(pictures):
            if filter_name in (picture.filters or ()):
                if spans and spans[-1].last == i - 1:
                    spans[-1] = Span(spans[-1].first, i, 0)
                else:
                    spans.append(Span(i, i, 0))
        yield element("p", name(filter_name), class_="plot-label")
        yield charts.lane(Lane(number_, "", tuple(spans), (), 0), count, boundaries, filter_name)


def _lane_legend(boundaries: Sequence[float]) -> Markup:
    entries = [
        (swatch("span base"), "base in force"),
        (swatch("span update odd-1"), "update in force"),
        (glyph("base"), "NNPFC, base"),
        (glyph("update"), "NNPFC, update"),
        (glyph("activation"), "NNPFA"),
        (glyph("cancel"), "NNPFA, off"),
    ]
    return charts.legend(*entries, *([(swatch("boundary"), "start of a CLVS")] if boundaries else []))


def _gain_plots(pictures: Sequence[PictureResult], boundaries: Sequence[float]) -> Iterator[Child]:
    components = [c for c in range(3) if any(p.gain(c) is not None for p in pictures)]
    series = {c: [p.gain(c) for p in pictures] for c in components}
    if not series:
        return
    scale = Scale.around(series.values(), zero=True)
    for c, values in series.items():
        known = [v for v in values if v is not None]
        worse = sum(v < 0 for v in known)
        mean = f"mean {number(sum(known) / len(known), 3, signed=True)}"
        text = f"{_range_in_words(known, 3, signed=True)} dB, {mean} dB; {worse} of {len(known)} pictures get worse"
        remark = f"{mean}, {_range_in_words(known, 3, signed=True)}; worse in {worse} of {len(known)}"
        label = f"{COMPONENTS[c]} PSNR gain, dB"
        drawn = [charts.bars(values, scale)]
        yield charts.plot(label, text, scale, 92, drawn, remark=remark, boundaries=boundaries, signed=True)


def _quality_plots(pictures: Sequence[PictureResult], boundaries: Sequence[float]) -> Iterator[Child]:
    def values(side: str, kind: str, c: int) -> list[float | None]:
        found: list[float | None] = []
        for picture in pictures:
            quality: Quality | None = getattr(picture, side)
            value = at(getattr(quality, kind), c) if quality is not None else None
            found.append(value if value is not None and math.isfinite(value) else None)
        return found

    wanted = [("psnr", c, f"{COMPONENTS[c]} PSNR, dB", 2) for c in range(3)]
    wanted += [("ssim", 0, "Y SSIM", 4), ("ms_ssim", 0, "Y MS-SSIM", 4)]
    for kind, c, label, digits in wanted:
        before, after = values("before", kind, c), values("after", kind, c)
        sides = [("decoded", before), ("filtered", after)]
        if not any(v is not None for _, side in sides for v in side):
            continue
        scale = Scale.around([before, after])
        text = "; ".join(
            f"{side} {_range_in_words([v for v in of if v is not None], digits)}"
            for side, of in sides
            if any(v is not None for v in of)
        )
        drawn = charts.lines([Line("before", before), Line("after", after)], scale)
        yield charts.plot(label, text, scale, 110, [drawn], boundaries=boundaries)


def _range_in_words(values: Sequence[float], digits: int, *, signed: bool = False) -> str:
    low, high = number(min(values), digits, signed=signed), number(max(values), digits, signed=signed)
    return f"from {low} to {high}"


# --- pictures to look at ---------------------------------------------------------------------------------------------


def _viewer(of: Chapter, index: int) -> Markup:
    if not of.views:
        return Markup()
    title = f"viewer-{index}-title"
    return element(
        "section",
        element("h3", "Look at the pictures", id=title),
        element("p", _how_shown(of), class_="small"),
        _controls(of, index),
        element(
            "div",
            class_="panes scripted",
            tabindex=0,
            role="group",
            aria_label="Pictures. Arrow keys move, plus and minus zoom, 0 fits, F flips.",
        ),
        element("output", "", class_="readout samples scripted", aria_label="Samples at the pointer"),
        element(
            "p",
            "Drag to move, double-click or + and \u2212 to zoom, Ctrl and wheel too; 0 fits, F flips left and right, "
            "the slider or the handle moves the divider.",
            class_="small scripted",
        ),
        element("div", [_stored(view, index, i) for i, view in enumerate(of.views)], class_="store"),
        class_="viewer",
        data_chapter=index,
        aria_labelledby=title,
    )


def _how_shown(of: Chapter) -> list[Child]:
    size = sum(view.nbytes for view in of.views)
    text: list[Child] = [f"{len(of.views)} pictures, {number(size / 1e6, 2)} MB, every sample as it is. "]
    for planes in {view.sources["filtered"].whole: view.sources["filtered"] for view in of.views}.values():
        part, form = planes.window, planes.whole
        if (part.width, part.height) != (form.width, form.height):
            text.append(
                f"Cut to {part.width}\u00d7{part.height} at {part.left}, {part.top} "
                f"of {form.width}\u00d7{form.height}. "
            )
    colour = of.facts.colour if of.facts is not None else Colour()
    matrix, spread = matrix_of(colour), "full" if colour.full_range else "narrow"
    if colour.matrix == UNSPECIFIED:
        text.append(f"The stream does not say which colours these are; shown as {matrix}, {spread} range.")
    else:
        text.append(f"Shown as {matrix}, {spread} range")
        text.append(
            " (the stream says so)." if colour.matrix in MATRICES else " (the stream's own are not known here)."
        )
    if colour.transfer in _TRANSFER:
        text.append(f" {_TRANSFER[colour.transfer]} samples are shown as they are, without tone mapping.")
    return text


def matrix_of(colour: Colour) -> str:
    return MATRICES.get(colour.matrix, MATRICES[1])


def _controls(of: Chapter, index: int) -> Markup:
    def identity(what: str) -> str:
        return f"{what}-{index}"

    def select(what: str, label: str, options: Sequence[tuple[str, str]]) -> Markup:
        return element(
            "span",
            element("label", label, for_=identity(what)),
            element(
                "select",
                [element("option", text, value=value) for value, text in options],
                id=identity(what),
                data_control=what,
            ),
            class_="control",
        )

    def slider(what: str, label: str, low: int, high: int, value: int) -> Markup:
        return element(
            "span",
            element("label", label, for_=identity(what)),
            element("input", type="range", id=identity(what), data_control=what, min=low, max=high, value=value),
            element("output", "", for_=identity(what), class_="setting"),
            class_="control",
        )

    choices = [(str(i), f"{view.output_index} (POC {view.poc}), {view.why}") for i, view in enumerate(of.views)]
    layouts = [("wipe", "divided"), ("grid", "side by side"), ("one", "one")]
    return element(
        "div",
        select("view", "Picture", choices),
        select("layout", "Layout", layouts),
        select("left", "Left", ()),
        select("right", "Right", ()),
        slider("divider", "Divider", 0, 1000, 500),
        select("component", "Samples", [("all", "colour"), ("0", "Y"), ("1", "Cb"), ("2", "Cr")]),
        slider("amplify", "Differences", 0, 7, 3),
        element(
            "span",
            element("span", "Zoom", id=identity("zoom-label")),
            [
                element("button", text, type="button", data_zoom=what, aria_label=label)
                for what, text, label in (("out", "\u2212", "Zoom out"), ("in", "+", "Zoom in"), ("fit", "Fit", "Fit"))
            ],
            element("output", "", class_="setting zoom"),
            class_="control",
            role="group",
            aria_labelledby=identity("zoom-label"),
        ),
        class_="controls scripted",
    )


def _stored(view: View, index: int, number_: int) -> Markup:
    """The samples. Without scripts these grey pictures are what there is."""
    figures = []
    for source, planes in view.sources.items():
        data = base64.b64encode(planes.png).decode()
        figures.append(
            element(
                "figure",
                element(
                    "img",
                    src=f"data:image/png;base64,{data}",
                    id=f"samples-{index}-{number_}-{source}",
                    alt=f"Samples of picture {view.output_index}, {source}: Y, Cb and Cr one below the other",
                    loading="lazy",
                ),
                element("figcaption", f"picture {view.output_index}, {source}, Y, Cb, Cr"),
            )
        )
    return join(figures)


def view_data(of: Chapter, index: int) -> list[dict[str, Any]]:
    """What the viewer's script needs to know of each picture."""
    return [
        {
            "output": view.output_index,
            "poc": view.poc,
            "sources": {
                source: {
                    "image": f"samples-{index}-{i}-{source}",
                    "left": planes.window.left,
                    "top": planes.window.top,
                    "width": planes.window.width,
                    "height": planes.window.height,
                    "chroma": planes.whole.chroma_format_idc,
                    "sub": [planes.whole.SubWidthC, planes.whole.SubHeightC],
                    "depths": planes.whole.bit_depths,
                }
                for source, planes in view.sources.items()
            },
            "psnr": {source: [_json_number(v) for v in values] for source, values in view.psnr.items()},
        }
        for i, view in enumerate(of.views)
    ]


def chapter_data(of: Chapter, index: int) -> dict[str, Any]:
    """Of one stream, for the scripts."""
    pictures = of.run.pictures
    colour = of.facts.colour if of.facts is not None else Colour()
    info = of.facts.pictures if of.facts is not None else ()
    count = max(len(pictures), len(info))
    rows = []
    for i in range(count):
        result = pictures[i] if i < len(pictures) else None
        announced = info[i] if i < len(info) else None
        poc = announced.poc if announced is not None else result.poc if result is not None else None
        clvs = announced.clvs if announced is not None else result.clvs if result is not None else None
        rows.append(
            {
                "output": i,
                "poc": poc,
                "clvs": clvs,
                "type": None if announced is None else announced.slice_type,
                "qp": None if announced is None else announced.qp,
                "filters": None if result is None or result.filters is None else list(result.filters),
                "before": _quality_data(result.before if result is not None else None),
                "after": _quality_data(result.after if result is not None else None),
                "ms": None if result is None or result.seconds is None else round(1000 * result.seconds, 1),
            }
        )
    return {
        "label": of.run.label,
        "pictures": rows,
        "views": view_data(of, index),
        # The one that says most about the others is shown first.
        "first": next((i for i, view in enumerate(of.views) if view.why.startswith("median")), 0),
        "matrix": colour.matrix if colour.matrix in MATRICES else 1,
        "full": colour.full_range,
    }


def _quality_data(quality: Quality | None) -> list[float | None] | None:
    """PSNR Y, Cb, Cr, SSIM Y, MS-SSIM Y; infinite PSNR is "inf"."""
    if quality is None:
        return None
    values = [*(at(quality.psnr, c) for c in range(3)), at(quality.ssim, 0), at(quality.ms_ssim, 0)]
    return [_json_number(value) for value in values]


def _json_number(value: float | None) -> Any:
    if value is None:
        return None
    return round(value, 6) if math.isfinite(value) else "inf"


# --- filters ---------------------------------------------------------------------------------------------------------


def _filters(run: Run, index: int) -> Markup:
    if not run.costs and not run.engines:
        return Markup()
    title = f"filters-{index}-title"
    parts: list[Child] = [element("h3", "Filters", id=title)]
    if run.costs:
        header = ["filter", "parameters", "kB", "in the messages", "kMAC per luma sample", "with overlap", "patch"]
        parts.append(
            table("What the filters cost", [*header, "overlap", "claims of the message"], [_cost(c) for c in run.costs])
        )
        broken = [
            f"{_cost_name(c)}: {element_} {stated} allows {bound:g}, the model takes {measured:g}"
            for c in run.costs
            for element_, stated, bound, measured, holds in c.claims
            if not holds
        ]
        if broken:
            parts.append(bullets(broken, "notes"))
    if run.engines:
        times = [p.seconds for p in run.pictures if p.seconds is not None]
        speed = ""
        if times:
            speed = (
                f"; {number(1000 * sum(times) / len(times), 1)} ms for a picture in the mean, "
                f"{number(1000 * max(times), 1)} ms at most"
            )
        parts.append(element("p", f"Run by {', '.join(run.engines)}{speed}."))
    return element("section", parts, aria_labelledby=title)


def _cost_name(cost: Cost) -> str:
    model = cost.model.replace("\\", "/").rpartition("/")[2]
    return f"{cost.nnpfc_id} {'update ' if cost.update else ''}{model}"


def _cost(cost: Cost) -> list[Child]:
    def of(key: str, digits: int, scale: float = 1) -> str:
        value = cost.numbers.get(key)
        return NOTHING if value is None else number(value / scale, digits)

    carried = "named by URI, not in the rate" if cost.uri is not None else f"{number(cost.carried_bytes, 0)} B"
    holds = sum(claim[-1] for claim in cost.claims)
    claims = f"{holds} of {len(cost.claims)} hold" if cost.claims else "none made"
    return [
        name(_cost_name(cost)),
        of("parameters", 0),
        of("parameter_bytes", 1, 1000),
        carried,
        of("macs", 3, 1000),
        of("macs_with_overlap", 3, 1000),
        NOTHING if cost.patch is None else f"{cost.patch[0]}\u00d7{cost.patch[1]}",
        of("overlap", 0),
        claims,
    ]


# --- the stream ------------------------------------------------------------------------------------------------------


def _stream(of: Chapter, index: int) -> Markup:
    title = f"stream-{index}-title"
    pairs: list[tuple[str, Child]] = []
    info = of.facts
    if of.run.stream is not None:
        pairs.append(("stream", name(of.run.stream)))
    if info is not None:
        shown = len(info.pictures)
        pictures = f"{info.coded_pictures}" + ("" if shown == info.coded_pictures else f", {shown} of them output")
        pairs += [
            ("codec", info.codec),
            ("bytes", number(info.bytes, 0)),
            ("NAL units", number(info.nal_units, 0)),
            ("coded pictures", pictures),
            ("format", "; ".join(info.formats)),
            ("CLVS", f"{info.clvss}, {info.random_access} random access points"),
            ("SEI messages", _sei(info)),
            ("colour", _colour(info.colour)),
        ]
    messages, total = message_bytes(of)
    if messages is not None and total:
        pairs.append(("NNPF messages", f"{messages} bytes, {number(100 * messages / total, 2)} % of the stream"))
    pairs += [(f"format, {key}", value) for key, value in of.run.formats.items()]
    if not pairs:
        return Markup()
    files = [
        [f.role, name(f.path), NOTHING if f.bytes is None else number(f.bytes, 0), _digest(f.sha256), f.state]
        for f in of.files
    ]
    return element(
        "section",
        element("h3", "Stream and files", id=title),
        facts(pairs),
        table("Files", ["", "path", "bytes", "SHA-256", "now"], files, left=2) if files else None,
        aria_labelledby=title,
    )


def _sei(info: StreamFacts) -> str:
    return "; ".join(f"{count} {key} ({size} bytes)" for key, (count, size) in info.sizes.items()) or "none"


def _colour(colour: Colour) -> str:
    if (colour.primaries, colour.transfer, colour.matrix) == (UNSPECIFIED,) * 3:
        return "not said"
    spread = "full" if colour.full_range else "narrow"
    return (
        f"colour_primaries {colour.primaries}, transfer_characteristics {colour.transfer}, "
        f"matrix_coeffs {colour.matrix}, {spread} range"
    )


def _digest(text: str | None) -> Child:
    if text is None:
        return NOTHING
    return element("code", f"{text[:_DIGEST_SHOWN]}\u2026", title=text)


# --- messages --------------------------------------------------------------------------------------------------------


def _messages(info: StreamFacts, index: int) -> Markup:
    title = f"messages-{index}-title"
    if not info.messages:
        return Markup()
    known: dict[tuple[tuple[str, str, str], ...], int] = {}
    rows = []
    for i, row in enumerate(info.messages):
        first = known.setdefault(row.elements, i)
        rows.append(_message(row, None if first == i else info.messages[first]))
    more = (
        element("p", f"{info.more_messages} more messages are not listed; nnpf dump shows them.", class_="small")
        if info.more_messages
        else None
    )
    header = ["picture", "POC", "CLVS", "message", "what it says", "bytes", "NAL unit", "at byte"]
    return element(
        "section",
        element("h3", "Messages", id=title),
        table("Messages of the stream, in its order", header, rows, left=5),
        more,
        class_="messages",
        aria_labelledby=title,
    )


def _message(row: MessageRow, same: MessageRow | None) -> list[Child]:
    def shown(value: int | None) -> str:
        return NOTHING if value is None else str(value)

    problems = [element("p", problem, class_="loss") for problem in row.problems]
    if same is not None:
        detail: Child = element("span", f" \u2013 the same as at NAL unit {same.nal_index}", class_="small")
    else:
        entries = [
            element("div", element("dt", key), element("dd", name(value), f" ({meaning})" if meaning else None))
            for key, value, meaning in row.elements
        ]
        detail = element("details", element("summary", f"{len(row.elements)} elements"), element("dl", entries))
    place = "not output" if row.output_index is None and row.poc is not None else shown(row.output_index)
    return [
        place,
        shown(row.poc),
        shown(row.clvs),
        row.name,
        [name(row.what), problems, detail],
        str(row.size),
        str(row.nal_index),
        number(row.offset, 0),
    ]


# --- nnpf adapt ------------------------------------------------------------------------------------------------------


def adaptation(of: Adaptation, index: int) -> Markup:
    """What `nnpf adapt` found for each segment."""
    title = f"adapt-{index}-title"
    rows = []
    for segment in of.segments:
        gains = [
            signed_cell(None if None in (a, b) else (b or 0.0) - (a or 0.0), 3)
            for a, b in zip(segment.decoded, segment.result, strict=True)
        ]
        over_base = [
            None if None in (a, b) else (b or 0.0) - (a or 0.0)
            for a, b in zip(segment.base, segment.result, strict=True)
        ]
        rows.append(
            [
                f"{segment.first} to {segment.first + segment.pictures - 1}",
                segment.decision if not segment.reason else f"{segment.decision}: {segment.reason}",
                segment.params,
                NOTHING if segment.payload_bytes is None else number(segment.payload_bytes, 0),
                number(segment.message_bytes, 0),
                number(segment.cost_db, 4),
                *gains,
                *([NOTHING] * (3 - len(gains))),
                signed_cell(over_base[0] if over_base else None, 3),
            ]
        )
    header = ["pictures", "decision", "parameters", "payload, B", "message, B", "its cost, dB"]
    header += ["Y gain, dB", "Cb", "Cr", "Y over base"]
    tensors = dict.fromkeys(tensor for s in of.segments for tensor in s.tensors)
    pictures = of.run.pictures
    plots = list(_gain_plots(pictures, ()))
    count = len(pictures)
    return element(
        "section",
        element("h2", "Updates fitted to ", name(of.run.label), id=title),
        facts(
            [
                ("base", name(of.base)),
                *((key, name(value)) for key, value in of.settings.items()),
                ("tensors changed", ", ".join(tensors) or "none"),
            ]
        ),
        table("Segments", header, rows, left=3),
        _block("Gain of each picture, as fitted", None, plots, charts.picture_axis(count, [None] * count))
        if plots
        else None,
        id=f"adapt-{index}",
        aria_labelledby=title,
    )
