"""Drawings as SVG inside the page. Colours are those of the style sheet; shape, dash or sign say the same again.

What runs over pictures is as wide as the page allows: positions are in percent, paths lie in a stretched SVG inside,
and texts keep their size. Picture i of n stands at (i + 0.5) / n.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from nnpf.report.markup import Child, Markup, element
from nnpf.report.stream import Lane, Mark, Span

# Beyond so many pictures a path joins the smallest and the largest value of each run of pictures: a line looks the
# same, and no peak is lost.
MAX_POINTS = 1600
AXIS_WIDTH = 56
_PLOT_ROWS = 1000  # of a stretched SVG; any number
MINUS = "\u2212"


def number(value: float, digits: int, *, signed: bool = False) -> str:
    """As a person reads it: with a real minus sign, and without a sign where it rounds to 0."""
    if not math.isfinite(value):
        return "\u221e" if value > 0 else "not a number"
    text = f"{abs(value):,.{digits}f}".replace(",", "\u202f")
    if not any(c in "123456789" for c in text):
        return text
    return (MINUS if value < 0 else "+" if signed else "") + text


def ticks(low: float, high: float, most: int = 5) -> list[float]:
    """Round numbers from low to high."""
    if not high > low:
        return [low]
    rough = (high - low) / max(1, most)
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(s * power for s in (1, 2, 2.5, 5, 10) if s * power >= rough * (1 - 1e-9))
    first = math.ceil(low / step - 1e-9)
    return [index * step for index in range(first, math.floor(high / step + 1e-9) + 1)]


def _digits(values: Sequence[float]) -> int:
    """Decimals that tell ticks apart."""
    return next((d for d in range(9) if all(abs(round(v, d) - v) < 1e-9 * max(1, abs(v)) for v in values)), 9)


@dataclass(frozen=True, slots=True)
class Line:
    """Values over pictures; None where there is none. `style`: a class of the style sheet."""

    style: str
    values: Sequence[float | None]


@dataclass(frozen=True, slots=True)
class Scale:
    """The vertical axis of a plot."""

    low: float
    high: float

    @staticmethod
    def around(lines: Iterable[Sequence[float | None]], *, zero: bool = False) -> Scale:
        """All finite values, with some air; with `zero` that too."""
        values = [v for line in lines for v in line if v is not None and math.isfinite(v)]
        values += [0.0] if zero or not values else []
        low, high = min(values), max(values)
        air = (high - low) * 0.06 or abs(high) * 0.01 or 1.0
        return Scale(low - air * (not zero or low < 0), high + air * (not zero or high > 0 or low == high))

    def place(self, value: float) -> float:
        """0 at the top, 1 at the bottom."""
        return (self.high - value) / (self.high - self.low)


def _percent(part: float) -> str:
    return f"{100 * part:.4f}".rstrip("0").rstrip(".") + "%"


def plot(
    label: str,
    text: str,
    scale: Scale,
    height: int,
    content: Sequence[Child],
    *,
    remark: str = "",
    boundaries: Sequence[float] = (),
    signed: bool = False,
) -> Markup:
    """One plot over pictures: axis at the left, drawing at the right.

    Args:
        label: what it shows, with the unit; stands above.
        text: what it says, for those who do not see it.
        remark: stands beside the label.
        boundaries: where a CLVS starts, 0..1.
    """
    marks = ticks(scale.low, scale.high, height // 22)
    digits = _digits(marks)
    axis: list[Child] = []
    grid: list[Child] = []
    for value in marks:
        y = _percent(scale.place(value))
        axis.append(
            element("text", number(value, digits, signed=signed), x=AXIS_WIDTH - 6, y=y, dy="0.32em", text_anchor="end")
        )
        grid.append(
            element("line", x1="0", x2="100%", y1=y, y2=y, class_="zero" if signed and abs(value) < 1e-12 else "grid")
        )
    return element(
        "div",
        element("p", label, element("span", remark) if remark else None, class_="plot-label"),
        element(
            "div",
            element("svg", axis, class_="axis", width=AXIS_WIDTH, height=height, aria_hidden="true"),
            element(
                "div",
                element(
                    "svg",
                    grid,
                    _boundaries(boundaries),
                    content,
                    class_="area",
                    width="100%",
                    height=height,
                    role="img",
                    aria_label=f"{label}: {text}",
                ),
                class_="stage",
            ),
            class_="plot-row",
        ),
        class_="plot",
    )


def _boundaries(places: Sequence[float]) -> list[Child]:
    return [
        element("line", x1=_percent(x), x2=_percent(x), y1="0", y2="100%", class_="boundary") for x in places if x > 0
    ]


def _stretched(columns: int, children: Sequence[Child]) -> Markup:
    return element(
        "svg",
        children,
        viewBox=f"0 0 {columns} {_PLOT_ROWS}",
        preserveAspectRatio="none",
        width="100%",
        height="100%",
        overflow="visible",
    )


def lines(of: Sequence[Line], scale: Scale) -> Markup:
    """Lines over pictures."""
    count = max((len(line.values) for line in of), default=1)
    paths = [element("path", d=_line_path(line.values, scale), class_=f"line {line.style}") for line in of]
    return _stretched(count, paths)


def _line_path(values: Sequence[float | None], scale: Scale) -> str:
    parts: list[str] = []
    pen = "M"
    for at, value in _thinned(values):
        if value is None or not math.isfinite(value):
            pen = "M"
            continue
        x, y = f"{at + 0.5:g}", f"{scale.place(value) * _PLOT_ROWS:.1f}"
        # A value that stands alone is a stroke of one picture's width, or nobody would see it.
        alone = pen == "M" and not _finite(values, at + 1) and len(values) <= MAX_POINTS
        parts.append(f"M{at} {y}h1" if alone else f"{pen}{x} {y}")
        pen = "L"
    return "".join(parts)


def _finite(values: Sequence[float | None], at: int) -> bool:
    value = values[at] if at < len(values) else None
    return value is not None and math.isfinite(value)


def _thinned(values: Sequence[float | None]) -> list[tuple[int, float | None]]:
    """Of long sequences the extremes of each run, in their order."""
    if len(values) <= MAX_POINTS:
        return list(enumerate(values))
    run = -(-len(values) * 2 // MAX_POINTS)
    kept: list[tuple[int, float | None]] = []
    for start in range(0, len(values), run):
        part = list(enumerate(values[start : start + run], start))
        known = [(at, v) for at, v in part if v is not None and math.isfinite(v)]
        if len(known) < len(part):
            kept.append((part[0][0], None))
        if known:
            ends = {min(known, key=lambda p: p[1]), max(known, key=lambda p: p[1])}
            kept.extend(sorted(ends))
    return kept


def bars(values: Sequence[float | None], scale: Scale) -> Markup:
    """Bars from 0, one for each picture; of long sequences one for the extremes of each run."""
    up: list[str] = []
    down: list[str] = []
    zero = scale.place(0) * _PLOT_ROWS
    run = -(-len(values) * 2 // MAX_POINTS) if len(values) > MAX_POINTS else 1
    margin = 0.12 if len(values) <= 400 else 0.0
    for start in range(0, len(values), run):
        part = [v for v in values[start : start + run] if v is not None and math.isfinite(v)]
        for value, paths in ((max(part, default=0.0), up), (min(part, default=0.0), down)):
            if value > 0 if paths is up else value < 0:
                y = scale.place(value) * _PLOT_ROWS
                paths.append(f"M{start + margin:g} {zero:.1f}V{y:.1f}h{run - 2 * margin:g}V{zero:.1f}z")
    return _stretched(
        max(1, len(values)),
        [element("path", d="".join(up), class_="bar up"), element("path", d="".join(down), class_="bar down")],
    )


def picture_axis(count: int, pocs: Sequence[int | None], shown: Iterable[int] = ()) -> Markup:
    """Numbers of pictures below plots, and their POC where that is another one. `shown`: pictures to mark."""
    same = all(poc is None or poc == at for at, poc in enumerate(pocs))
    most = 10
    marks = sorted({round(t) for t in ticks(0, max(0, count - 1), most)} & set(range(count)))
    labels: list[Child] = []
    for k, at in enumerate(marks):
        x, style = _percent((at + 0.5) / max(1, count)), "minor" if k % 2 else None
        labels.append(element("text", number(at, 0), x=x, y="14", text_anchor="middle", class_=style))
        if not same and at < len(pocs) and pocs[at] is not None:
            labels.append(element("text", str(pocs[at]), x=x, y="28", text_anchor="middle", class_=style))
    for at in shown:
        title = element("title", f"picture {at} can be looked at below")
        place = _percent((at + 0.5) / max(1, count))
        triangle = element("path", title, d="M0-1L4 5H-4z", class_="shown")
        labels.append(element("svg", triangle, x=place, overflow="visible", width="1", height="1"))
    height = 20 if same else 34
    names: list[Child] = [element("text", "picture", x=AXIS_WIDTH - 6, y="14", text_anchor="end")]
    if not same:
        names.append(element("text", "POC", x=AXIS_WIDTH - 6, y="28", text_anchor="end"))
    return element(
        "div",
        element("svg", names, class_="axis", width=AXIS_WIDTH, height=height, aria_hidden="true"),
        element(
            "div",
            element("svg", labels, class_="axis", width="100%", height=height, aria_hidden="true"),
            class_="stage",
        ),
        class_="plot-row",
    )


# --- the timeline ----------------------------------------------------------------------------------------------------

_LANE_HEIGHT = 38
# Glyphs of messages, around 0, 0.
GLYPHS = {
    "base": "M0-5.5L5.5 0L0 5.5L-5.5 0z",  # diamond
    "update": "M0-5L5.5 4.5H-5.5z",  # triangle
    "activation": "M-1-6h2v12h-2z",  # bar
    "cancel": "M-5-3.5L-3.5-5L0-1.5L3.5-5L5-3.5L1.5 0L5 3.5L3.5 5L0 1.5L-3.5 5L-5 3.5L-1.5 0z",  # cross
}


def lane(of: Lane, count: int, boundaries: Sequence[float], ran: str | None = None) -> Markup:
    """One filter over the pictures: bars where it is in force, above them the messages.

    Args:
        ran: name of a model, where no messages are known but for which pictures it ran.
    """
    covered = of.pictures
    text = (
        (f"{ran} ran" if ran is not None else f"filter {of.nnpfc_id} is in force")
        + f" for {covered} of {count} pictures"
        + (f"; {_spans_in_words(of.spans)}" if of.spans else "")
        + f"; messages: {_marks_in_words(of.marks)}"
    )
    spans = [_span(span, count) for span in of.spans]
    return element(
        "div",
        element(
            "div",
            element(
                "svg",
                element(
                    "text",
                    f"filter {of.nnpfc_id}" if ran is None else "ran",
                    x=AXIS_WIDTH - 6,
                    y="29",
                    text_anchor="end",
                ),
                class_="axis",
                width=AXIS_WIDTH,
                height=_LANE_HEIGHT,
                aria_hidden="true",
            ),
            element(
                "div",
                element(
                    "svg",
                    element("line", x1="0", x2="100%", y1="25", y2="25", class_="grid"),
                    _boundaries(boundaries),
                    spans,
                    _marks(of.marks, count),
                    class_="area",
                    width="100%",
                    height=_LANE_HEIGHT,
                    role="img",
                    aria_label=text,
                ),
                class_="stage",
            ),
            class_="plot-row",
        ),
        class_="plot lane",
    )


def _span(span: Span, count: int) -> Markup:
    x, width = span.first / count, (span.last - span.first + 1) / count
    what = f"update {span.update}" if span.update else "base"
    title = f"{what} in force: {_range(span)}"
    style = "span base" if span.update == 0 else f"span update odd-{span.update % 2}"
    box = {"x": _percent(x), "width": _percent(width), "y": "17", "height": "16"}
    shapes: list[Child] = [element("rect", element("title", title), class_=style, **box)]
    if span.update and width > 0.03:
        shapes.append(
            element("text", str(span.update), x=_percent(x + width / 2), y="29", text_anchor="middle", class_="on-span")
        )
    return element("g", shapes)


def _range(span: Span) -> str:
    return f"picture {span.first}" if span.first == span.last else f"pictures {span.first} to {span.last}"


def _marks(marks: Sequence[Mark], count: int) -> list[Child]:
    """A glyph for each kind of message at a picture, side by side; where pictures are narrower than glyphs, one for
    each kind in such a space."""
    found: dict[tuple[int, str], list[Mark]] = {}
    slot = max(1, -(-count // 400))
    for mark in marks:
        found.setdefault((mark.output_index // slot, mark.kind), []).append(mark)
    drawn: list[Child] = []
    for (place, kind), of in found.items():
        beside = [k for k in GLYPHS if (place, k) in found]
        offset = (beside.index(kind) - (len(beside) - 1) / 2) * 9
        first, last = of[0].output_index, of[-1].output_index
        title = "; ".join(dict.fromkeys(f"picture {m.output_index}: {m.text}" for m in of[:6]))
        x = _percent(((first + last) / 2 + 0.5) / count)
        path = element(
            "path", element("title", title), d=GLYPHS[kind], transform=f"translate({offset:g} 8)", class_=f"mark {kind}"
        )
        drawn.append(element("svg", path, x=x, overflow="visible", width="1", height="1"))
    return drawn


def _spans_in_words(spans: Sequence[Span]) -> str:
    shown = [f"{f'update {s.update}' if s.update else 'base'} for {_range(s)}" for s in spans[:8]]
    return ", ".join(shown) + (f" and {len(spans) - 8} spans more" if len(spans) > 8 else "")


def _marks_in_words(marks: Sequence[Mark]) -> str:
    counts: dict[str, int] = {}
    for mark in marks:
        counts[mark.kind] = counts.get(mark.kind, 0) + 1
    return ", ".join(f"{n} {kind}" for kind, n in counts.items()) or "none"


def glyph(kind: str) -> Markup:
    """For a legend."""
    path = element("path", d=GLYPHS[kind], transform="translate(8 8)", class_=f"mark {kind}")
    return element("svg", path, class_="key", width="16", height="16", aria_hidden="true")


def legend(*entries: tuple[Markup, str]) -> Markup:
    """Keys (`glyph`, `swatch`) with what they mean."""
    return element("p", [element("span", key, text) for key, text in entries], class_="legend")


def swatch(style: str) -> Markup:
    """A piece of line or bar, for a legend."""
    shape = (
        element("path", d="M0 8H24", class_=f"line {style}")
        if not style.startswith(("span", "bar"))
        else element("rect", x="1", y="2", width="22", height="12", class_=style)
    )
    return element("svg", shape, class_="key", width="24", height="16", aria_hidden="true")


# --- rate and distortion ---------------------------------------------------------------------------------------------

_RD_WIDTH, _RD_HEIGHT = 460, 300
_RD_LEFT, _RD_RIGHT, _RD_TOP, _RD_BOTTOM = 54, 14, 12, 40


@dataclass(frozen=True, slots=True)
class Curve:
    """Points (label, rate, quality). `marker`: "circle" or "square"."""

    style: str
    marker: str
    points: Sequence[tuple[str, float, float]]


def rate_plot(
    label: str, text: str, curves: Sequence[Curve], rate_unit: str, quality_unit: str, *, zero: bool = False
) -> Markup:
    """Quality over rate, on a logarithmic axis."""
    points = [p for curve in curves for p in curve.points]
    scale = Scale.around([[p[2] for p in points]], zero=zero)
    rates = [p[1] for p in points]
    low, high = math.log10(min(rates)), math.log10(max(rates))
    air = (high - low) * 0.06 or 0.1
    low, high = low - air, high + air
    inner_width, inner_height = _RD_WIDTH - _RD_LEFT - _RD_RIGHT, _RD_HEIGHT - _RD_TOP - _RD_BOTTOM

    def x(rate: float) -> float:
        return _RD_LEFT + (math.log10(rate) - low) / (high - low) * inner_width

    def y(quality: float) -> float:
        return _RD_TOP + scale.place(quality) * inner_height

    drawn = [*_rate_grid(low, high, x), *_quality_grid(scale, y, signed=zero)]
    for curve in curves:
        path = "L".join(f"{x(r):.1f} {y(q):.1f}" for _, r, q in curve.points)
        drawn.append(element("path", d=f"M{path}", class_=f"line {curve.style}"))
        for name, rate, quality in curve.points:
            title = element(
                "title",
                f"{name}: {number(rate, 2)} {rate_unit}, {number(quality, 4, signed=zero)} {quality_unit}",
            )
            drawn.append(_marker(curve, x(rate), y(quality), title))
    drawn.append(
        element(
            "text", rate_unit, x=_RD_LEFT + inner_width / 2, y=_RD_HEIGHT - 6, text_anchor="middle", class_="axis-name"
        )
    )
    return element(
        "figure",
        element("figcaption", label, class_="plot-label"),
        element(
            "svg",
            drawn,
            class_="rate",
            viewBox=f"0 0 {_RD_WIDTH} {_RD_HEIGHT}",
            role="img",
            aria_label=f"{label}: {text}",
        ),
    )


def _rate_grid(low: float, high: float, x: Callable[[float], float]) -> list[Child]:
    bottom = _RD_HEIGHT - _RD_BOTTOM
    candidates = [m * 10.0**e for e in range(math.floor(low), math.ceil(high) + 1) for m in (1, 2, 5)]
    inside = [rate for rate in candidates if low <= math.log10(rate) <= high]
    if len(inside) < 2:
        inside = [rate for rate in ticks(10**low, 10**high, 5) if rate > 0]
    digits = _digits(inside)
    drawn: list[Child] = []
    for rate in inside:
        place = f"{x(rate):.1f}"
        drawn.append(element("line", x1=place, x2=place, y1=_RD_TOP, y2=bottom, class_="grid"))
        drawn.append(element("text", number(rate, digits), x=place, y=bottom + 15, text_anchor="middle"))
    return drawn


def _quality_grid(scale: Scale, y: Callable[[float], float], *, signed: bool) -> list[Child]:
    marks = ticks(scale.low, scale.high, 6)
    digits = _digits(marks)
    drawn: list[Child] = []
    for value in marks:
        place = f"{y(value):.1f}"
        style = "zero" if signed and abs(value) < 1e-12 else "grid"
        drawn.append(element("line", x1=_RD_LEFT, x2=_RD_WIDTH - _RD_RIGHT, y1=place, y2=place, class_=style))
        text = number(value, digits, signed=signed)
        drawn.append(element("text", text, x=_RD_LEFT - 6, y=place, dy="0.32em", text_anchor="end"))
    return drawn


def _marker(curve: Curve, x: float, y: float, title: Markup) -> Markup:
    style = f"point {curve.style}"
    if curve.marker == "circle":
        return element("circle", title, cx=f"{x:.1f}", cy=f"{y:.1f}", r="4", class_=style)
    if curve.marker == "square":
        return element("rect", title, x=f"{x - 3.5:.1f}", y=f"{y - 3.5:.1f}", width="7", height="7", class_=style)
    return element("path", title, d=f"M{x:.1f} {y - 5:.1f}l4.5 8h-9z", class_=style)
