"""What `nnpf apply` did, picture by picture: counted, compared, printed, and written as a report."""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import re
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nnpf_tools.files import PIPE

if TYPE_CHECKING:
    from nnpf.filters import Applied
    from nnpf.frames import Frame
    from nnpf.metrics import Difference
    from nnpf.runner import PictureRecord, Shown

# What the result depends on beside the files.
_OPTIONS = (
    "engine",
    "device",
    "threads",
    "precision",
    "deterministic",
    "patch",
    "out_bit_depth",
    "layer",
    "frames",
    "skip_failures",
    "keep_going",
)
_SHOWN_POCS = 5


class Results:
    """Takes each picture as it is shown."""

    def __init__(self, args: argparse.Namespace) -> None:
        self._args = args
        self._detailed = bool(args.report or args.json or args.md5 or args.original)
        self._pictures: list[dict[str, Any]] = []
        self._pairs: list[tuple[Difference, Difference]] = []
        self._whole = hashlib.md5(usedforsecurity=False)
        self._original: Iterator[Frame] | None = None
        self._comparison = _Comparison(args.compare) if args.compare else None
        self._seconds = 0.0
        self._count = 0
        self._filters: Counter[str] = Counter()
        self._kinds: Counter[str] = Counter()
        self._formats: Counter[str] = Counter()
        self._converts = False  # whether a filter gives pictures of another format
        self._models: dict[tuple[Any, ...], dict[str, Any]] = {}
        self._hash_checks: Counter[str] = Counter()
        self._reasons: dict[str, list[int]] = {}
        self._faults: list[str] = []

    def take(self, shown: Shown) -> None:
        record = shown.record
        entry = _entry(record)
        if self._args.md5:
            digest = hashlib.md5(usedforsecurity=False)
            for plane in shown.frame.file_planes():
                digest.update(plane.data)
                self._whole.update(plane.data)
            entry["md5"] = digest.hexdigest()
        if self._args.original and record.kind in ("decoded", "filtered"):
            entry |= self._against_original(shown)
        if self._comparison is not None:
            entry["difference"] = self._comparison.take(shown.frame)
        self._count += 1
        self._filters[_filter_names(record.applied) or "none"] += 1
        self._kinds[record.kind] += 1
        self._formats[str(shown.frame.format)] += 1
        self._converts |= shown.frame.format != shown.decoded.format
        self._hash_checks[record.hash_check] += record.kind in ("decoded", "filtered")
        self._faults += record.faults
        for applied in record.applied:
            self._add(applied)
        fallbacks = (f"run by {a.engine}: {a.instead_of}" for a in record.applied if a.instead_of)
        for reason in (*record.reasons, *fallbacks):
            self._reasons.setdefault(reason, []).append(record.poc)
        if self._detailed:
            self._pictures.append(entry)

    def _add(self, applied: Applied) -> None:
        """To what is said of its model."""
        key = (applied.nnpfc_id, applied.model_sha256, applied.engine, applied.device, applied.precision)
        known = self._models.get(key)
        if known is None:
            known = self._models[key] = {
                "nnpfc_id": applied.nnpfc_id,
                "model": applied.model,
                "update": applied.update,
                "sha256": applied.model_sha256,
                "engine": applied.engine,
                "device": applied.device,
                "precision": applied.precision,
                "exact": applied.exact,
                "instead_of": applied.instead_of,
                "runs": 0,
                "seconds": [0.0, 0.0, 0.0],
            }
        known["runs"] += 1
        known["seconds"] = [total + own for total, own in zip(known["seconds"], applied.seconds, strict=True)]

    def _against_original(self, shown: Shown) -> dict[str, Any]:
        from nnpf.errors import NnpfError
        from nnpf.metrics import compare
        from nnpf.video import read_video

        if self._original is None:
            self._original = read_video(self._args.original, shown.decoded.format, self._args.original_depth)
        original = next(self._original, None)
        if original is None:
            raise NnpfError(f"ends after {len(self._pairs)} pictures", subject=self._args.original)
        before, after = compare(shown.decoded, original), compare(shown.frame, original)
        self._pairs.append((before, after))
        return {"psnr_decoded": _finite(before.psnr), "psnr_filtered": _finite(after.psnr)}

    def finish(self, seconds: float) -> None:
        """The last picture has been taken; `seconds` for all of it."""
        self._seconds = seconds
        if self._comparison is not None and self._count != self._args.frames:
            self._comparison.finish()

    @property
    def has_findings(self) -> bool:
        """Whether what was checked is not as it should be: exit code 3."""
        return bool(self._faults) or (
            self._comparison is not None and self._comparison.differs(self._args.max_difference)
        )

    def document(self) -> dict[str, Any]:
        """For --json and --report."""
        from nnpf.provenance import environment, facts_of

        args = self._args
        files = {"stream": args.stream, "yuv": args.yuv, "original": args.original, "compare": args.compare}
        models = {model["model"].split(" + ")[0] for model in self._models.values()}
        files |= {f"model {name}": name for name in sorted(models)}
        summary: dict[str, Any] = {
            "stream": None if args.stream == PIPE else args.stream,
            "pictures": self._count,
            "filters": dict(self._filters),
            "kinds": dict(self._kinds),
            "formats": dict(self._formats),
            "seconds": round(self._seconds, 3),
            "output": None if args.output == PIPE else args.output,
            "inputs": facts_of(files),
            "models": list(self._models.values()),
            "options": {name: getattr(args, name) for name in _OPTIONS},
            "decoder": "given pictures" if args.yuv else args.decoder or "FFmpeg",
            "hash_checks": {kind: count for kind, count in self._hash_checks.items() if count},
            "reasons": {reason: len(pocs) for reason, pocs in self._reasons.items()},
            "faults": self._faults,
            "environment": environment(),
        }
        if args.md5:
            summary["md5"] = self._whole.hexdigest()
        if self._pairs:
            from nnpf.metrics import average

            before, after = (average(pair[i] for pair in self._pairs) for i in (0, 1))
            summary["psnr_decoded"], summary["psnr_filtered"] = _finite(before.psnr), _finite(after.psnr)
        if self._comparison is not None:
            summary["compared"] = self._comparison.document()
        return {"summary": summary, "pictures": self._pictures}

    def show(self) -> None:
        """For people; with --json the document."""
        args = self._args
        where = sys.stderr if args.output == PIPE else sys.stdout
        if args.json:
            print(json.dumps(self.document()))
            return
        if self._pairs:
            self._table(where)
        elif args.md5:
            for entry in self._pictures:
                print(f"{entry['md5']}  picture {entry['output_index']} POC {entry['poc']}", file=where)
        if args.md5:
            print(f"{self._whole.hexdigest()}  all", file=where)
        if self._comparison is not None:
            print(self._comparison, file=where)
        if not args.quiet:
            named = ", ".join(
                f"{n} by {name}" if name != "none" else f"{n} as decoded" for name, n in self._filters.items()
            )
            speed = f"{self._count / self._seconds:.1f} pictures per second" if self._seconds else ""
            kinds = ("interpolated", "extrapolated")
            added = ", ".join(f"{self._kinds[kind]} {kind}" for kind in kinds if self._kinds[kind])
            formats = [f"{n} of {form}" if len(self._formats) > 1 else form for form, n in self._formats.items()]
            if self._converts:
                named += f"; {', '.join(formats)}"
            print(f"{self._count} pictures{f' ({added})' if added else ''}: {named}; {speed}", file=sys.stderr)
            for model in self._models.values() if args.verbose else ():
                print(f"  {_told(model)}", file=sys.stderr)
        for reason, pocs in self._reasons.items():
            print(f"nnpf: note: {_places(pocs)}: {reason}", file=sys.stderr)
        for fault in _grouped(self._faults):
            print(f"nnpf: fault: {fault}", file=sys.stderr)

    def _table(self, where: Any) -> None:
        from nnpf.metrics import average

        names = ("Y", "Cb", "Cr")[: len(self._pairs[0][0].psnr)]
        width = max([6, *(len(_filter_names(e["applied"]) or "-") for e in self._pictures)])
        columns = "   ".join(f"{name + ' before':>9} {'after':>7} {'gain':>7}" for name in names)
        print(f"{'picture':>7} {'POC':>5}  {'filter':<{width}}  {columns}   (PSNR in dB)", file=where)
        compared = (entry for entry in self._pictures if "psnr_decoded" in entry)
        for entry, (before, after) in zip(compared, self._pairs, strict=True):
            label = _filter_names(entry["applied"]) or "-"
            print(
                f"{entry['output_index']:>7} {entry['poc']:>5}  {label:<{width}}  {_gains(before.psnr, after.psnr)}",
                file=where,
            )
        all_before, all_after = (average(pair[i] for pair in self._pairs) for i in (0, 1))
        print(f"{'average':>7} {'':>5}  {'':<{width}}  {_gains(all_before.psnr, all_after.psnr)}", file=where)


def _places(pocs: Sequence[int]) -> str:
    """Where something holds: the pictures, or how many of them and where."""
    if len(pocs) <= _SHOWN_POCS:
        return f"POC {', '.join(map(str, pocs))}"
    return f"{len(pocs)} pictures, POC {min(pocs)} to {max(pocs)}"


_number = re.compile(r"(?<=POC )-?\d+|(?<=at picture )\d+").search


def _grouped(faults: Iterable[str]) -> Iterator[str]:
    """Faults, in the order in which they come; what is said of several pictures, once."""
    numbers: dict[tuple[str, str], list[int]] = {}
    for fault in faults:
        found = _number(fault)
        if found is None:
            numbers[fault, ""] = []
        else:
            numbers.setdefault((fault[: found.start()], fault[found.end() :]), []).append(int(found[0]))
    for (before, after), of in numbers.items():
        if len(of) > 1:
            yield f"{before}{min(of)} to {max(of)}{after} ({len(of)} times)"
        else:
            yield f"{before}{of[0] if of else ''}{after}"


class _Comparison:
    """The output against another one, such as that of another decoder, engine or precision."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._others: Iterator[Frame] | None = None
        self._compared, self._absent = 0, 0
        self._more = False
        self._largest: list[int] = []
        self._means: list[float] = []

    def take(self, frame: Frame) -> dict[str, Any] | None:
        """The largest and the mean absolute difference of each component; None where the other output has ended."""
        from nnpf.metrics import compare
        from nnpf.video import read_video

        if self._others is None:
            self._others = read_video(self._path, frame.format)
        other = next(self._others, None)
        if other is None:
            self._absent += 1
            return None
        found = compare(frame, other)
        if not self._largest:
            self._largest, self._means = [0] * len(found.largest), [0.0] * len(found.mean)
        self._compared += 1
        self._largest = [max(pair) for pair in zip(self._largest, found.largest, strict=True)]
        self._means = [total + mean for total, mean in zip(self._means, found.mean, strict=True)]
        return {"largest": found.largest, "mean": found.mean}

    def finish(self) -> None:
        """The output is at its end; where only its beginning was wanted, the other one may have more."""
        self._more = self._others is not None and next(self._others, None) is not None

    def differs(self, limit: int | None) -> bool:
        """Whether the number of pictures differs, or a sample by more than `limit`."""
        return bool(self._absent) or self._more or (limit is not None and any(v > limit for v in self._largest))

    def document(self) -> dict[str, Any]:
        means = [total / max(1, self._compared) for total in self._means]
        return {
            "with": self._path,
            "pictures": self._compared,
            "missing": self._absent,
            "more": self._more,
            "largest": self._largest,
            "mean": means,
        }

    def __str__(self) -> str:
        facts = self.document()
        values = ", ".join(
            f"{name} {largest} ({mean:.4g})"
            for name, largest, mean in zip(("Y", "Cb", "Cr"), facts["largest"], facts["mean"], strict=False)
        )
        text = f"against {self._path}: {self._compared} pictures, largest (mean) difference {values or '-'}"
        if self._absent:
            text += f"; it lacks {self._absent} pictures"
        return text + ("; it has more pictures" if self._more else "")


def _entry(record: PictureRecord) -> dict[str, Any]:
    """A record for the report. What is the same for every picture stands in the summary."""
    entry: dict[str, Any] = asdict(record)
    for applied in entry["applied"]:
        del applied["model_sha256"]
    return entry


def _finite(values: Sequence[float]) -> list[float | None]:
    """JSON has no infinity: null is the PSNR of pictures without any difference."""
    return [value if math.isfinite(value) else None for value in values]


def _told(model: dict[str, Any]) -> str:
    pack, network, store = (seconds * 1e3 / model["runs"] for seconds in model["seconds"])
    text = (
        f"{model['nnpfc_id']} {Path(model['model']).name}: {model['engine']} on {model['device']}, "
        f"{model['precision']}{', exact' if model['exact'] else ''}; {model['runs']} runs, "
        f"{pack:.1f} + {network:.1f} + {store:.1f} ms for tensors in, network, tensors out"
    )
    return f"{text}; {model['instead_of']}" if model["instead_of"] else text


def _gains(before: Iterable[float], after: Iterable[float]) -> str:
    return "   ".join(f"{b:>9.3f} {a:>7.3f} {a - b:>+7.3f}" for b, a in zip(before, after, strict=True))


def _filter_names(applied: Any) -> str:
    """`1 tiny.onnx` for what ran on a picture; records and their dictionaries alike."""
    names = []
    for item in applied:
        fields = item if isinstance(item, dict) else asdict(item)
        names.append(f"{fields['nnpfc_id']} {Path(fields['model']).name}")
    return " + ".join(names)
