"""What filters and updates gain: luma, Cb and Cr BD-rate against the unfiltered streams, all bits counted.

    python bench/gain.py                                  everything
    python bench/gain.py --quick                          two clips, three QPs, short fits: too few QPs for a BD-rate
    python bench/gain.py --clips bbb --filters small      a part; what was measured before is kept in --cache

Each cell (clip, QP, filter) is a real stream: messages are put in as by `nnpf inject`, and decoded, found and applied
as by `nnpf eval`. Updates are those of `nnpf adapt`, fitted to this clip at this QP, at the price that the clip's own
rate-distortion curve sets.

How bits are counted: one set of messages (base by URI, its update if there is one, activation) once in 10 seconds or
once in 1 second of video. Clips are shorter than 10 seconds and count as repeated to that length, so their set of
messages counts with the share (length of the clip) / (10 s); once in 1 second likewise, where a clip of two random
access segments has a set, and an update, in each. The update of a clip is so fitted to pictures that come again: what
this shows is what an update of a shot is worth that lasts so long, or is shown again.

Clips that no filter of samples/ was trained on are the default. `kimono` and `racehorses` chose checkpoints; see
samples/filters/README.md. Of `nnpf adapt`, the second scope of `auto`, the weight of luma and the step
of 0.7 were chosen after a fit on `bbb` that did not pay; the rest on none of the four.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from nnpf import api
from nnpf.adapt.clip import MAX_UNSERVED, segments
from nnpf.adapt.price import slope_of
from nnpf.evaluation import evaluate
from nnpf.frames import Format, Frame
from nnpf.metrics import combined
from nnpf.model import load
from nnpf.opening import open_stream
from nnpf.prepare import KINDS, prepare, update_tensor
from nnpf.rate_distortion import Delta, RatePoint, bjontegaard_delta
from nnpf.runner import ApplyOptions
from nnpf.sources import ModelSources
from nnpf.video import read_video

ROOT = Path(__file__).resolve().parent.parent
CLIPS = ("bbb", "bqmall", "kimono", "racehorses")
QPS = (22, 27, 32, 37, 42)
WINDOWS = ((22, 27, 32, 37), (27, 32, 37, 42))
EVERY = (10, 1)  # seconds
# Pictures per second: of the sequence, or of Big Buck Bunny's release that the clip is cut from.
FPS = {"bbb": 25}
OTHER_FPS = 30
COMPONENTS = ("Y", "Cb", "Cr")
# Of a result in the cache: a change makes old ones void.
VERSION = 1

# The goals of the issue that this measures.
PEER_SHARE = {"small": 1.0, "tiny": 2 / 3}
ADAPTED_POINTS = 1.5


@dataclass(frozen=True, slots=True)
class Cell:
    """One stream to measure. `filter`: None for the unfiltered one. `every`: seconds that one set of messages serves.
    `steps`: of the fit of an update; None: the filter is not adapted."""

    clip: str
    qp: int
    filter: str | None = None
    every: int = 0
    steps: int | None = None

    @property
    def name(self) -> str:
        if self.filter is None:
            return "unfiltered"
        return f"{self.filter}{'' if self.steps is None else ' adapted'}, {self.every} s"


@dataclass(frozen=True, slots=True)
class Result:
    """Of a cell.

    Attributes:
        psnr: Y, Cb, Cr, of filtered pictures; mean over pictures, dB.
        anchor: bytes of the stream without messages.
        messages: bytes of the messages in the stream that was measured, and `sets`: in how many places they stand.
        updates: bytes of each update (NNC); None where none pays.
        cpu: seconds, of fitting and measuring.
    """

    psnr: tuple[float, ...]
    pictures: int
    anchor: int
    messages: int
    sets: int
    updates: tuple[int | None, ...]
    cpu: float

    def rate(self, cell: Cell) -> float:
        """kbit/s, messages included."""
        seconds = self.pictures / fps(cell.clip)
        share = seconds / cell.every / self.sets if cell.filter is not None else 0.0
        return (self.anchor + self.messages * share) * 8 / 1000 / seconds


@dataclass(frozen=True, slots=True)
class Setup:
    """Where things are."""

    clips: Path
    models: Mapping[str, Path]
    cache: Path

    def stream(self, cell: Cell) -> Path:
        return self.clips / f"{cell.clip}_q{cell.qp}.266"

    def original(self, cell: Cell) -> Path:
        return self.clips / f"{cell.clip}.mkv"


def fps(clip: str) -> int:
    return FPS.get(clip, OTHER_FPS)


# --- one cell ---


def measured(cell: Cell, setup: Setup, slope: float | None) -> Result:
    """Measure a cell, or take it from the cache. `slope`: see `nnpf.adapt.price`; for cells with an update."""
    if cell.steps is None:
        cell = replace(cell, every=0)  # the same stream, however its messages are counted
    files = [setup.stream(cell), setup.original(cell), *([setup.models[cell.filter]] if cell.filter else [])]
    digest = hashlib.sha256(json.dumps([VERSION, asdict(cell), slope and round(slope, 6)]).encode())
    for file in files:
        digest.update(hashlib.sha256(file.read_bytes()).digest())
    kept = (
        setup.cache
        / f"{cell.clip}_q{cell.qp}_{cell.name.replace(', ', '_').replace(' ', '_')}_{digest.hexdigest()[:12]}.json"
    )
    if kept.exists():
        data = json.loads(kept.read_text())
        return Result(**{**data, "psnr": tuple(data["psnr"]), "updates": tuple(data["updates"])})
    started = time.process_time()
    with tempfile.TemporaryDirectory(dir=setup.cache) as folder:
        result = _measured(cell, setup, slope, Path(folder))
    result = replace(result, cpu=time.process_time() - started)
    part = kept.with_suffix(".part")
    part.write_text(json.dumps(asdict(result)))
    part.replace(kept)
    return result


def _measured(cell: Cell, setup: Setup, slope: float | None, folder: Path) -> Result:
    stream, sets = setup.stream(cell), 1
    updates: tuple[int | None, ...] = ()
    if cell.filter is not None:
        with open_stream(stream) as source:
            parts = segments(source.nal_units(), source.codec, "ras")
            (whole,) = segments(source.nal_units(), source.codec, "clip")
        # Segments of the clip that are sent messages of their own.
        seconds = Fraction(whole.num_pictures, fps(cell.clip))
        own = [part for part in parts if part.num_pictures > MAX_UNSERVED]
        several = cell.steps is not None and cell.every < seconds and len(own) > 1
        sets = len(own) if several else 1
        specification = folder / "update.yaml"
        if cell.steps is None:
            at = "decode:" + ",".join(map(str, whole.random_access))
            data: dict[str, Any] = {"filters": [{"id": 1}], "activations": [{"target": 1, "at": at}]}
        else:
            updates = _adapted(
                cell, setup, slope, "ras" if several else "clip", float(cell.every / seconds), specification
            )
            data = yaml.safe_load(specification.read_text())
        data["filters"][0] |= {"base": str(setup.models[cell.filter]), "uri": setup.models[cell.filter].name}
        data["filters"][0]["repeat"] = "random_access" if several else "first"
        specification.write_text(yaml.safe_dump(data))
        out = folder / "out.266"
        api.inject(stream, out, specification)
        stream = out

    def original(form: Format) -> Iterator[Frame]:
        return read_video(setup.original(cell), form)

    sources = ModelSources(by_uri={path.name: path for path in setup.models.values()})
    with open_stream(stream) as source:
        source.keep()
        found = evaluate(
            source.nal_units, source.codec, original, ApplyOptions(sources=sources, threads=1), with_similarity=False
        )
    assert found.size is not None
    psnr, size = found.filtered.average.psnr, found.size
    return Result(psnr, len(found.pictures), size.anchor, size.messages, sets, updates, 0.0)


def _adapted(
    cell: Cell, setup: Setup, slope: float | None, division: str, repeated: float, specification: Path
) -> tuple[int | None, ...]:
    """Fit the updates; what `nnpf inject` needs is written beside `specification`. Returns their bytes."""
    from nnpf.adapt.adaptation import AdaptOptions
    from nnpf.adapt.fitted import fit, load_base_filter

    assert cell.filter is not None and cell.steps is not None
    stream = setup.stream(cell)
    options = AdaptOptions(steps=cell.steps, slope=slope, serves=repeated * stream.stat().st_size, device="cpu")
    with open_stream(stream) as source:
        base = load_base_filter(setup.models[cell.filter])
        fitted = fit(source.nal_units, source.codec, setup.original(cell), base, options, division=division)
    fitted.save(specification.with_suffix(".nnc"))
    return tuple(None if r.payload is None else len(r.payload) for r in fitted.results)


# --- all cells ---


Results = dict[Cell, Result]


def measure_all(cells: Sequence[Cell], setup: Setup, jobs: int) -> Results:
    """The unfiltered streams first: the slopes of their curves price the updates."""
    plain = sorted({Cell(cell.clip, cell.qp) for cell in cells}, key=lambda c: (c.clip, c.qp))
    results: Results = {}
    with ProcessPoolExecutor(jobs) as pool:
        results |= dict(
            zip(plain, pool.map(measured, plain, *zip(*[(setup, None)] * len(plain), strict=True)), strict=True)
        )
        waiting = {
            cell: pool.submit(measured, cell, setup, _slope(cell, results, setup) if cell.steps is not None else None)
            for cell in cells
        }
        for cell, future in waiting.items():
            result = results[cell] = future.result()
            before = results[Cell(cell.clip, cell.qp)]
            gains = " ".join(f"{c} {a - b:+.3f}" for c, a, b in zip(COMPONENTS, result.psnr, before.psnr, strict=True))
            sent = (
                ""
                if cell.steps is None
                else f", updates {', '.join('none' if u is None else f'{u} B' for u in result.updates)}"
            )
            print(
                f"{cell.clip} QP {cell.qp} {cell.name}: {gains} dB{sent}, {result.cpu:.0f} s",
                file=sys.stderr,
                flush=True,
            )
    return results


def _slope(cell: Cell, results: Results, setup: Setup) -> float:
    points = [
        (float(setup.stream(other).stat().st_size), combined(result.psnr) or 0.0)
        for other, result in results.items()
        if other.clip == cell.clip and other.filter is None
    ]
    return slope_of(points, setup.stream(cell).stat().st_size)


def delta(results: Results, test: Cell, qps: Sequence[int], component: int) -> Delta:
    """Against the unfiltered streams. `test`: any cell of the curve."""

    def curve(cells: Sequence[Cell]) -> list[RatePoint]:
        return [RatePoint(str(c.qp), results[c].rate(c), results[c].psnr[component]) for c in cells]

    return bjontegaard_delta(curve([Cell(test.clip, qp) for qp in qps]), curve([replace(test, qp=qp) for qp in qps]))


def above_curve(results: Results, cell: Cell, reference: Cell, component: int) -> float:
    """dB by which a cell lies above the curve of the reference, drawn through its points in dB over log rate."""
    qps = sorted({c.qp for c in results if replace(c, qp=cell.qp) == replace(reference, qp=cell.qp)}, reverse=True)
    points = [replace(reference, qp=qp) for qp in qps]
    x, y = [math.log(results[p].rate(p)) for p in points], [results[p].psnr[component] for p in points]
    at = math.log(results[cell].rate(cell))
    # Beyond the highest rate the curve is as steep as up to there.
    beyond = max(0.0, at - x[-1]) * (y[-1] - y[-2]) / (x[-1] - x[-2])
    return results[cell].psnr[component] - float(np.interp(at, x, y)) - beyond


# --- the report ---


@dataclass(frozen=True, slots=True)
class Report:
    """Rows of the table, and lines on the goals."""

    rows: list[dict[str, Any]]
    goals: list[str]

    def text(self) -> str:
        return "\n".join([*self._table(), "", *self.goals])

    def _table(self) -> Iterator[str]:
        heads = ["filter", "clip", *(f"{c} {w[0]}-{w[-1]}" for w in WINDOWS for c in COMPONENTS)]
        yield "| " + " | ".join(heads) + " |"
        yield "|---|---|" + "---:|" * (len(heads) - 2)
        for row in self.rows:
            cells = [row["filter"], row["clip"]]
            for window in row["windows"]:
                cells += ["-" if v is None else f"{v:+.2f}" for v in window["rate_percent"]]
            yield "| " + " | ".join(cells) + " |"


def report(results: Results, clips: Sequence[str], qps: Sequence[int], setup: Setup) -> Report:
    kinds = list(dict.fromkeys(replace(c, clip="", qp=0) for c in results if c.filter is not None))
    windows = [w for w in WINDOWS if set(w) <= set(qps)]
    rows: list[dict[str, Any]] = []
    means: dict[str, list[list[float | None]]] = {}
    for kind in kinds:
        of: list[list[list[float | None]]] = []
        for clip in clips:
            found = [[delta(results, replace(kind, clip=clip), w, c).rate_percent for c in range(3)] for w in windows]
            of.append(found)
            rows.append(_row(kind.name, clip, windows, found))
        mean = [
            [None if any(one[w][c] is None for one in of) else sum(one[w][c] for one in of) / len(of) for c in range(3)]  # type: ignore[misc]
            for w in range(len(windows))
        ]
        means[kind.name] = mean
        rows.append(_row(kind.name, "mean", windows, mean))
    return Report(rows, list(_goals(results, kinds, means, windows, clips, qps)))


def _row(
    name: str, clip: str, windows: Sequence[Sequence[int]], found: Sequence[Sequence[float | None]]
) -> dict[str, Any]:
    return {
        "filter": name,
        "clip": clip,
        "windows": [{"qps": list(w), "rate_percent": list(v)} for w, v in zip(windows, found, strict=True)],
    }


def _goals(
    results: Results,
    kinds: Sequence[Cell],
    means: Mapping[str, list[list[float | None]]],
    windows: Sequence[Sequence[int]],
    clips: Sequence[str],
    qps: Sequence[int],
) -> Iterator[str]:
    for at, window in enumerate(windows):
        label = f"QP {window[0]}-{window[-1]}"
        peer = means.get("nokia, 10 s", [[None] * 3] * len(windows))[at]
        for name, share in PEER_SHARE.items():
            own = means.get(f"{name}, 10 s")
            if own and all(v is not None for v in (*own[at], *peer)):
                for c, component in enumerate(COMPONENTS):
                    yield f"{label}: {name} / nokia, {component}: {own[at][c] / peer[c]:.2f} (goal {share:.2f})"  # type: ignore[operator]
        for kind in kinds:
            base = replace(kind, steps=None).name
            before, after = means.get(base, [[None]] * len(windows))[at][0], means[kind.name][at][0]
            if kind.steps is not None and before is not None and after is not None:
                goal = f" (goal {-ADAPTED_POINTS:+.1f})" if kind.every == 10 else ""
                yield f"{label}: {kind.name} against {base}: {after - before:+.2f} points of luma{goal}"
    for kind in kinds:
        cells = [replace(kind, clip=clip, qp=qp) for clip in clips for qp in qps]
        worse = [
            f"{c.clip} QP {c.qp} {COMPONENTS[k]} {results[c].psnr[k] - results[Cell(c.clip, c.qp)].psnr[k]:+.3f}"
            for c in cells
            for k in range(3)
            if results[c].psnr[k] < results[Cell(c.clip, c.qp)].psnr[k]
        ]
        yield f"{kind.name}: lower PSNR than unfiltered: {'; '.join(worse) or 'nowhere'}"
        if kind.steps is not None and all(replace(c, steps=None) in results for c in cells) and len(qps) > 1:
            above = {c: above_curve(results, c, replace(c, steps=None), 0) for c in cells}
            least = min(above, key=lambda c: above[c])
            sent = sum(u is not None for c in cells for u in results[c].updates)
            yield (
                f"{kind.name}: luma against the curve unadapted: least {above[least]:+.3f} dB "
                f"({least.clip} QP {least.qp}), mean {sum(above.values()) / len(above):+.3f} dB; "
                f"{sent} updates sent (goal: never below 0)"
            )


def _prepared(file: Path, folder: Path) -> Path:
    """The filter as `nnpf prepare --params multipliers biases` makes it, with the same output bit by bit."""
    model = load(file)
    if update_tensor(model) is not None:
        return file.resolve()
    out = (folder / file.name).resolve()
    out.write_bytes(prepare(model, KINDS).to_bytes())
    return out


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips-folder", type=Path, default=ROOT.parent / "shared/clips", metavar="DIR")
    parser.add_argument("--peer", type=Path, default=ROOT.parent / "shared/peer/nokia/model3.onnx", metavar="MODEL")
    parser.add_argument("--clips", nargs="+", default=CLIPS, metavar="NAME")
    parser.add_argument("--qps", nargs="+", type=int, default=QPS, metavar="QP")
    parser.add_argument(
        "--filters", nargs="*", default=("nokia", "small", "tiny"), help="nokia, or names in samples/filters"
    )
    parser.add_argument("--adapted", nargs="*", default=("small",), help="filters to adapt, too")
    parser.add_argument("--every", nargs="+", type=int, default=EVERY, metavar="SECONDS", help="that messages serve")
    parser.add_argument("--steps", type=int, help="of each fit (default: that of nnpf adapt)")
    parser.add_argument("--cache", type=Path, default=Path("gain-cache"), help="folder of what was measured")
    parser.add_argument("--jobs", type=int, default=1, help="processes, one core each")
    parser.add_argument("--quick", action="store_true", help="bbb and bqmall, QP 27, 32, 37, fits of 200 steps")
    parser.add_argument("--json", type=Path, metavar="FILE")
    parser.add_argument("--markdown", type=Path, metavar="FILE")
    args = parser.parse_args()
    from nnpf.adapt import DEFAULT_STEPS

    if args.quick:
        args.clips, args.qps, args.steps = ("bbb", "bqmall"), (27, 32, 37), args.steps or 200
    if not args.clips_folder.is_dir():
        parser.error(f"{args.clips_folder} is not there: --clips-folder names a folder of NAME.mkv and NAME_qQP.266")
    args.cache.mkdir(parents=True, exist_ok=True)
    names = dict.fromkeys([*args.filters, *args.adapted])
    files = {name: args.peer if name == "nokia" else ROOT / f"samples/filters/{name}.onnx" for name in names}
    for name in [n for n in names if not files[n].is_file()]:
        parser.error(f"{name}: {files[name]} is not there")
    models = {name: _prepared(file, args.cache) if name in args.adapted else file for name, file in files.items()}
    setup = Setup(args.clips_folder, models, args.cache.resolve())
    kinds = [Cell("", 0, name, every) for every in args.every for name in names]
    kinds += [Cell("", 0, name, every, args.steps or DEFAULT_STEPS) for every in args.every for name in args.adapted]
    cells = [replace(kind, clip=clip, qp=qp) for kind in kinds for clip in args.clips for qp in args.qps]
    results = measure_all(cells, setup, args.jobs)
    found = report(results, args.clips, args.qps, setup)
    print(found.text())
    if args.markdown:
        args.markdown.write_text(found.text() + "\n")
    if args.json:
        cells_data = [
            {"cell": asdict(cell), "name": cell.name, **asdict(result), "kbit_s": result.rate(cell)}
            for cell, result in results.items()
        ]
        args.json.write_text(
            json.dumps({"rows": found.rows, "goals": found.goals, "cells": cells_data}, indent=1) + "\n"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
