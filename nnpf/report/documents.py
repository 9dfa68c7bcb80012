"""What `nnpf apply --report`, `nnpf eval --json` and `nnpf adapt --report` have written, as plain data of one form."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from nnpf.errors import NnpfError
from nnpf.provenance import FileFacts

Command = Literal["apply", "eval", "adapt"]
Numbers = tuple[float | None, ...]

# Reports are read whole. One of 100,000 pictures has some 100 MB.
MAX_DOCUMENT_BYTES = 1 << 30


@dataclass(frozen=True, slots=True)
class Quality:
    """Against the original, by component (Y, or Y, Cb, Cr). None: not measured; infinite PSNR: no difference."""

    psnr: Numbers
    ssim: Numbers = ()
    ms_ssim: Numbers = ()
    psnr_611: float | None = None


@dataclass(frozen=True, slots=True)
class PictureResult:
    """One coded picture that is output.

    Attributes:
        kind: as in `nnpf.runner.PictureRecord`; None where the report does not say.
        filters: names of the models that ran; None where the report does not say.
        before, after: decoded and filtered picture; None where it was not compared.
        reasons: why a filter or a message had no effect.
        seconds: for all filters that ran.
    """

    output_index: int
    poc: int | None
    clvs: int | None = None
    kind: str | None = None
    filters: tuple[str, ...] | None = None
    before: Quality | None = None
    after: Quality | None = None
    reasons: tuple[str, ...] = ()
    seconds: float | None = None

    def gain(self, component: int = 0) -> float | None:
        """PSNR after minus before, dB; None where it is not known or not finite."""
        if self.before is None or self.after is None:
            return None
        return difference(at(self.before.psnr, component), at(self.after.psnr, component))


@dataclass(frozen=True, slots=True)
class Cost:
    """A filter and what it costs; see `nnpf.evaluation.FilterFacts` and `nnpf.complexity.Complexity`.

    Attributes:
        numbers: the counts of Complexity by name; empty where they could not be found out.
        claims: element, value, what it allows, what was counted, whether it holds.
    """

    nnpfc_id: int
    update: bool
    model: str
    uri: str | None
    carried_bytes: int
    numbers: Mapping[str, float]
    patch: tuple[int, int] | None
    claims: tuple[tuple[str, int, float, float, bool], ...]


@dataclass(frozen=True, slots=True)
class Size:
    """Of a stream: bytes with its messages, bytes of the messages, and rates without and with them."""

    total: int
    messages: int
    rate_anchor: float | None
    rate_test: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """What is known of one stream.

    Attributes:
        label: short name.
        stream: path of the bitstream as the report has it; None for a pipe.
        found_in: the folder of the report.
        original, output: paths as the report has them.
        inputs: the files of the run, by role.
        pictures: in output order.
        extra_pictures: that filters added (interpolated, extrapolated); they have no original.
        before, after: means over the pictures.
        formats: of original, decoded and filtered pictures, in words.
        engines: what ran the filters.
        notes: what the command said of the run.
    """

    label: str
    stream: str | None
    commands: tuple[Command, ...]
    found_in: Path
    original: str | None = None
    output: str | None = None
    inputs: Mapping[str, FileFacts] = field(default_factory=dict)
    pictures: tuple[PictureResult, ...] = ()
    extra_pictures: int = 0
    before: Quality | None = None
    after: Quality | None = None
    size: Size | None = None
    formats: Mapping[str, str] = field(default_factory=dict)
    costs: tuple[Cost, ...] = ()
    engines: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    seconds: float | None = None


@dataclass(frozen=True, slots=True)
class Delta:
    """BD-rate (%) and BD-PSNR or the like of one measure over some points; see `nnpf.rate_distortion.Delta`."""

    points: tuple[str, ...]
    measure: str
    unit: str
    rate_percent: float | None
    quality: float | None
    problems: tuple[str, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Segment:
    """A part of the clip that `nnpf adapt` has decided about.

    Attributes:
        first, pictures: which pictures, in output order.
        decision: "update", "base" or "off".
        tensors: names and steps of quantisation of what the update changes.
    """

    first: int
    pictures: int
    decision: str
    reason: str
    params: str
    tensors: Mapping[str, str]
    payload_bytes: int | None
    message_bytes: int
    cost_db: float
    decoded: Numbers
    base: Numbers
    result: Numbers


@dataclass(frozen=True, slots=True)
class Adaptation:
    """What `nnpf adapt` did. `settings`: what it was told."""

    run: Run
    base: str
    settings: Mapping[str, str]
    segments: tuple[Segment, ...]


@dataclass(frozen=True, slots=True)
class Document:
    """One JSON file. `bd_problem`: why there is no BD-rate."""

    command: Command
    runs: tuple[Run, ...]
    rate_unit: str | None = None
    deltas: tuple[Delta, ...] = ()
    bd_problem: str | None = None
    findings: tuple[str, ...] = ()
    adaptation: Adaptation | None = None
    environment: Mapping[str, str] = field(default_factory=dict)


def at(values: Sequence[float | None], index: int) -> float | None:
    """None beyond the end."""
    return values[index] if index < len(values) else None


def difference(before: float | None, after: float | None) -> float | None:
    """After minus before, where both are finite."""
    if before is None or after is None or not (math.isfinite(before) and math.isfinite(after)):
        return None
    return after - before


def read_document(path: str | Path) -> Document:
    """A report of `apply`, `eval` or `adapt`, told by what it holds.

    Raises:
        NnpfError: it is none of them.
    """
    path = Path(path)
    if path.stat().st_size > MAX_DOCUMENT_BYTES:
        raise NnpfError(f"more than {MAX_DOCUMENT_BYTES} bytes", subject=str(path))
    try:
        data = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise NnpfError(f"is no JSON: {error}", subject=str(path)) from None
    try:
        return parse(data, path.parent)
    except NnpfError as error:
        raise NnpfError(error.problem, subject=str(path)) from None


def parse(data: Any, folder: Path) -> Document:
    """As `read_document`, for a document in memory. `folder`: where the files may be that it names."""
    if not isinstance(data, dict):
        raise NnpfError(_NO_REPORT)
    try:
        if "points" in data and "original" in data:
            return _eval(data, folder)
        if "segments" in data and "base" in data:
            return _adapt(data, folder)
        if "summary" in data and "pictures" in data:
            return _apply(data, folder)
    except KeyError as error:
        raise NnpfError(f"{_NO_REPORT}: {error} is missing") from None
    except (TypeError, ValueError, AttributeError, IndexError, OverflowError) as error:
        raise NnpfError(f"{_NO_REPORT}: {error}") from None
    raise NnpfError(_NO_REPORT)


_NO_REPORT = "is no report that nnpf apply --report, nnpf eval --json or nnpf adapt --report writes"


# --- nnpf apply ------------------------------------------------------------------------------------------------------


def _apply(data: dict[str, Any], folder: Path) -> Document:
    summary = data["summary"]
    shown = [p for p in data["pictures"] if p["kind"] in ("decoded", "filtered")]
    stream = _text(summary.get("stream"))
    inputs = _inputs(summary)
    engines = {f"{a['engine']} on {a['device']}": None for p in shown for a in p["applied"]}
    before, after = (_quality(summary, key) for key in ("psnr_decoded", "psnr_filtered"))
    run = Run(
        label=Path(stream).stem if stream else "standard input",
        stream=stream,
        commands=("apply",),
        found_in=folder,
        original=inputs["original"].path if "original" in inputs else None,
        output=_text(summary.get("output")),
        inputs=inputs,
        pictures=tuple(_applied(p) for p in shown),
        extra_pictures=len(data["pictures"]) - len(shown),
        before=before,
        after=after,
        engines=tuple(map(str, engines)),
        seconds=_number(summary.get("seconds")),
    )
    return Document("apply", (run,), environment=_environment(summary))


def _applied(p: dict[str, Any]) -> PictureResult:
    applied = p["applied"]
    names = tuple(f"{a['nnpfc_id']} {Path(str(a['model'])).name}" for a in applied)
    instead = (f"run by {a['engine']}: {a['instead_of']}" for a in applied if a.get("instead_of"))
    return PictureResult(
        output_index=int(p["output_index"]),
        poc=int(p["poc"]),
        clvs=int(p["clvs"]),
        kind=str(p["kind"]),
        filters=names,
        before=_quality(p, "psnr_decoded"),
        after=_quality(p, "psnr_filtered"),
        reasons=(*map(str, p["reasons"]), *instead),
        seconds=sum(float(s) for a in applied for s in a["seconds"]) if applied else None,
    )


def _quality(entry: Mapping[str, Any], key: str) -> Quality | None:
    values = entry.get(key)
    return None if values is None else Quality(_numbers(values))


# --- nnpf eval -------------------------------------------------------------------------------------------------------


def _eval(data: dict[str, Any], folder: Path) -> Document:
    original = _inputs(data)
    runs = tuple(_point(point, str(data["original"]), original, folder) for point in data["points"])
    deltas = tuple(
        Delta(
            tuple(map(str, d["points"])),
            str(d["measure"]),
            str(d["unit"]),
            _number(d["rate_percent"]),
            _number(d["quality"]),
            tuple(map(str, d["problems"])),
            tuple(map(str, d["notes"])),
        )
        for d in data["bd"]
    )
    return Document(
        "eval",
        runs,
        rate_unit=str(data["rate_unit"]),
        deltas=deltas,
        bd_problem=_text(data["bd_problem"]),
        findings=tuple(map(str, data["findings"])),
        environment=_environment(data),
    )


def _point(point: dict[str, Any], original: str, inputs: Mapping[str, FileFacts], folder: Path) -> Run:
    size = None
    if point["bytes"] is not None:
        rates = _number(point["rate_anchor"]), _number(point["rate_test"])
        size = Size(int(point["bytes"]), int(point["message_bytes"]), *rates)
    return Run(
        label=str(point["label"]),
        stream=_text(point["stream"]),
        commands=("eval",),
        found_in=folder,
        original=original,
        inputs={**inputs, **_inputs(point)},
        pictures=tuple(
            PictureResult(
                output_index=int(p["output_index"]),
                poc=None if p["poc"] is None else int(p["poc"]),
                filters=tuple(Path(str(f)).name for f in p["filters"]),
                before=_measures(p["decoded"]),
                after=_measures(p["filtered"]),
            )
            for p in point["pictures"]
        ),
        before=_measures(point["decoded"]),
        after=_measures(point["filtered"]),
        size=size,
        formats={str(k): str(v) for k, v in point["formats"].items()},
        costs=tuple(_cost(f) for f in point["filters"]),
        engines=tuple(map(str, point["engines"])),
        notes=tuple(map(str, point["notes"])),
    )


def _measures(entry: dict[str, Any] | None) -> Quality | None:
    if entry is None:
        return None
    # eval writes null for what is not finite: PSNR of pictures without any difference.
    psnr = tuple(math.inf if value is None else value for value in _numbers(entry["psnr"]))
    ssim, ms_ssim = (_numbers(entry.get(key) or ()) for key in ("ssim", "ms_ssim"))
    return Quality(psnr, ssim, ms_ssim, _number(entry["psnr_611"]))


def _cost(entry: dict[str, Any]) -> Cost:
    found = entry["complexity"] or {}
    numbers = {k: float(v) for k, v in found.items() if isinstance(v, int | float)}
    claims = tuple(
        (str(c["element"]), int(c["stated"]), float(c["bound"]), float(c["measured"]), bool(c["holds"]))
        for c in found.get("claims", ())
    )
    patch = (int(found["patch"][0]), int(found["patch"][1])) if "patch" in found else None
    return Cost(
        int(entry["nnpfc_id"]),
        bool(entry["update"]),
        str(entry["model"]),
        _text(entry["uri"]),
        int(entry["carried_bytes"]),
        numbers,
        patch,
        claims,
    )


# --- nnpf adapt ------------------------------------------------------------------------------------------------------


def _adapt(data: dict[str, Any], folder: Path) -> Document:
    inputs = _inputs(data)
    stream = str(data["stream"])
    segments = [_segment(s) for s in data["segments"]]
    pictures = tuple(
        PictureResult(
            output_index=int(p["output_index"]),
            poc=None,
            before=_quality(p, "psnr_decoded"),
            after=_quality(p, "psnr_result"),
        )
        for s in data["segments"]
        for p in s["pictures"]
    )
    run = Run(
        label=Path(stream).stem,
        stream=stream,
        commands=("adapt",),
        found_in=folder,
        original=inputs["original"].path if "original" in inputs else None,
        inputs=inputs,
        pictures=pictures,
        before=_mean([p.before for p in pictures]),
        after=_mean([p.after for p in pictures]),
    )
    settings: dict[str, str] = {key: str(data[key]) for key in ("params", "steps", "seed") if key in data}
    settings["updates"] = ", ".join(str(name) for name in data["files"] if name is not None) or "none"
    adaptation = Adaptation(run, str(data["base"]), settings, tuple(segments))
    return Document("adapt", (), adaptation=adaptation, environment=_environment(data))


def _segment(s: dict[str, Any]) -> Segment:
    payload = s["payload_bytes"]
    return Segment(
        int(s["segment"]["first"]),
        len(s["pictures"]),
        str(s["decision"]),
        str(s["reason"] or ""),
        str(s["params"]),
        {str(k): str(v) for k, v in s["tensors"].items()},
        None if payload is None else int(payload),
        int(s["message_bytes"]),
        float(s["cost_db"]),
        _numbers(s["psnr_decoded"]),
        _numbers(s["psnr_base"]),
        _numbers(s["psnr_result"]),
    )


def _mean(qualities: Sequence[Quality | None]) -> Quality | None:
    """Mean PSNR of the pictures; pictures without any difference are left out, as `nnpf.metrics.average` does."""
    known = [q for q in qualities if q is not None]
    if not known or len(known) < len(qualities):
        return None
    means: list[float | None] = []
    for component in range(min(len(q.psnr) for q in known)):
        finite = [v for q in known if (v := q.psnr[component]) is not None and math.isfinite(v)]
        means.append(sum(finite) / len(finite) if finite else math.inf)
    return Quality(tuple(means))


# --- one stream, several reports -------------------------------------------------------------------------------------


def merged(runs: Sequence[Run]) -> tuple[Run, ...]:
    """Runs of one stream as one, in the order of the first ones: what `eval` measured, and what only `apply` knows."""
    found: dict[str, Run] = {}
    for run in runs:
        key = _identity(run)
        found[key] = _both(found[key], run) if key in found else run
    return tuple(found.values())


def _identity(run: Run) -> str:
    if "stream" in run.inputs:
        return run.inputs["stream"].sha256
    return str((run.found_in / run.stream).resolve()) if run.stream else f"{id(run)}"


def _both(one: Run, other: Run) -> Run:
    # What eval measured comes first: it has SSIM and the bits.
    one, other = (other, one) if "eval" in other.commands and "eval" not in one.commands else (one, other)
    details = {p.output_index: p for p in other.pictures}
    pictures = []
    for p in one.pictures:
        more = details.get(p.output_index)
        if more is not None:
            p = replace(
                p,
                clvs=p.clvs if p.clvs is not None else more.clvs,
                kind=p.kind or more.kind,
                filters=more.filters or p.filters,
                before=p.before or more.before,
                after=p.after or more.after,
                reasons=tuple(dict.fromkeys((*p.reasons, *more.reasons))),
                seconds=p.seconds if p.seconds is not None else more.seconds,
            )
        pictures.append(p)
    return replace(
        one,
        commands=tuple(dict.fromkeys((*one.commands, *other.commands))),
        output=one.output or other.output,
        original=one.original or other.original,
        inputs={**other.inputs, **one.inputs},
        pictures=tuple(pictures) or other.pictures,
        extra_pictures=max(one.extra_pictures, other.extra_pictures),
        before=one.before or other.before,
        after=one.after or other.after,
        engines=tuple(dict.fromkeys((*one.engines, *other.engines))),
        seconds=one.seconds if one.seconds is not None else other.seconds,
    )


# --- plain values ----------------------------------------------------------------------------------------------------


def _text(value: Any) -> str | None:
    return None if value is None else str(value)


def _number(value: Any) -> float | None:
    return None if value is None else float(value)


def _numbers(values: Any) -> Numbers:
    return tuple(_number(value) for value in values)


def _inputs(entry: Mapping[str, Any]) -> dict[str, FileFacts]:
    return {
        str(role): FileFacts(str(f["path"]), int(f["bytes"]), str(f["sha256"]))
        for role, f in entry.get("inputs", {}).items()
    }


def _environment(entry: Mapping[str, Any]) -> dict[str, str]:
    return {str(k): str(v) for k, v in entry.get("environment", {}).items()}
