"""Run an experiment matrix: sequences x rate points x filters, every cell decoded, filtered and measured.

The matrix file (YAML) says what there is; `--print-schema` prints its JSON Schema. Each command of a cell (your own, as
an encoder; adapt, inject, eval) runs once, on Dask: worker processes on this machine, or the workers of any scheduler.
What it finds is kept in the output folder under a hash of all that it depends on: files, options, this program. So a
batch that was stopped, or whose matrix has grown, goes on where it was. What fails is listed, and stops nothing else.

Writes results.csv (a row for each cell), results.md and results.json (with BD-rates for each sequence and class).
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nnpf.cores import available_cores
from nnpf_tools.files import UsageError, open_output, progress

if TYPE_CHECKING:
    from collections.abc import Callable

    from nnpf.batch.job import Outcome
    from nnpf.batch.plan import Plan, Program

EPILOG = """examples:
  nnpf batch matrix.yaml -o results                       as many workers as cores
  nnpf batch matrix.yaml -o results --dry-run             what would run, and what is kept
  nnpf batch matrix.yaml -o results --scheduler tcp://10.0.0.1:8786
  nnpf batch --print-schema > matrix.schema.json

a matrix:
  sequences:
    - {name: bbb, class: animation, original: bbb.mkv, stream: "bbb_q{point}.266", fps: 30}
  points: [22, 27, 32, 37, 42]
  filters:
    - {name: small, base: small.onnx}
    - {name: fitted, base: small.onnx, adapt: {steps: 400}}
  evaluate: {messages_every: 10}          # options of nnpf eval
"""

_HASHES = "hashes.json"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("matrix", nargs="?", metavar="MATRIX", help="matrix file (YAML)")
    parser.add_argument("-o", "--output", metavar="DIR", help="folder of the results, made or continued")
    parser.add_argument(
        "--workers", type=int, metavar="N", help="worker processes on this machine (default: one a core)"
    )
    parser.add_argument(
        "--scheduler",
        metavar="ADDRESS",
        help="a running Dask scheduler, or its file; its workers must see the same files",
    )
    parser.add_argument("--timeout", type=float, metavar="SECONDS", help="for each command (default: none)")
    parser.add_argument("-n", "--dry-run", action="store_true", help="print what would run, run nothing")
    parser.add_argument("--print-schema", action="store_true", help="print the JSON Schema of the matrix file")
    parser.add_argument("--json", action="store_true", help="results.json on standard output too, instead of tables")
    parser.add_argument("-q", "--quiet", action="store_true", help="no progress, no notes")


def run(args: argparse.Namespace) -> int:
    if args.print_schema:
        from nnpf.batch.matrix import SCHEMA

        print(json.dumps(SCHEMA, indent=2))
        return 0
    _check_usage(args)
    from nnpf.batch import cluster, matrix, plan, results
    from nnpf_tools import batch_report

    given = matrix.read(Path(args.matrix))
    root = Path(args.output).resolve()
    hashes = plan.FileHashes(_known_hashes(root))
    planned = plan.plan(given, root, hashes, {"nnpf": _own_program()})
    if args.dry_run:
        _show_plan(planned, root)
        return 0
    with cluster.locked(root):
        _write(root / _HASHES, json.dumps(hashes.known))
        with progress(args, len(planned.jobs), "jobs") as bar:
            outcomes = cluster.run(
                planned.jobs, root, _client(args), timeout=args.timeout, tell=_teller(args, bar.advance)
            )
        rows = results.rows(planned, outcomes, root)
        report = batch_report.Report(args.matrix, rows, results.deltas(given, rows), given.anchor)
        for name, text in (("csv", report.csv()), ("md", report.markdown()), ("json", report.json())):
            _write(root / f"results.{name}", text)
    print(report.json() if args.json else report.text(), end="")
    return _ended(args, report.failures, outcomes)


def _check_usage(args: argparse.Namespace) -> None:
    if args.matrix is None or args.output is None:
        raise UsageError("give a matrix and a folder: nnpf batch MATRIX.yaml -o DIR")
    if args.workers is not None and args.scheduler is not None:
        raise UsageError("--workers are of this machine; the workers of --scheduler are there already")
    if args.workers is not None and args.workers < 1:
        raise UsageError(f"--workers {args.workers}: at least 1")
    if args.timeout is not None and args.timeout <= 0:
        raise UsageError(f"--timeout {args.timeout:g}: give seconds")


def _own_program() -> Program:
    """`nnpf` in commands: this code, run by this Python."""
    import hashlib

    import nnpf
    import nnpf_tools
    import vsei
    from nnpf.batch.plan import Program

    digest = hashlib.sha256()
    for package in (vsei, nnpf, nnpf_tools):
        folder = Path(package.__path__[0])
        for path in sorted(folder.rglob("*.py")):
            digest.update(path.relative_to(folder).as_posix().encode() + b"\0" + path.read_bytes())
    return Program((sys.executable, "-m", "nnpf_tools.main"), f"nnpf {digest.hexdigest()}")


def _known_hashes(root: Path) -> dict[str, list[str | int]]:
    try:
        known: dict[str, list[str | int]] = json.loads((root / _HASHES).read_text())
    except (OSError, ValueError):
        return {}  # they are found out again
    return known


def _client(args: argparse.Namespace) -> Callable[[], Any]:
    from nnpf.batch import cluster

    if args.scheduler is not None:
        return lambda: cluster.remote_client(args.scheduler)
    return lambda: cluster.local_client(args.workers or available_cores())


def _teller(args: argparse.Namespace, advance: Callable[[], None]) -> Callable[[Outcome], None]:
    def tell(outcome: Outcome) -> None:
        advance()
        if outcome.state == "failed" and not args.quiet:
            print(f"nnpf: {outcome.step} failed: {outcome.reason}", file=sys.stderr)

    return tell


def _show_plan(planned: Plan, root: Path) -> None:
    from nnpf.batch.job import OWN_FOLDER, kept

    for job in planned.jobs.values():
        state = "kept" if kept(job, root) else "run "
        print(f"{state}  {' '.join(word.replace(OWN_FOLDER, str(job.folder(root))) for word in job.argv)}")
    for cell in planned.cells:
        if cell.problem:
            print(f"can't  {cell.cell.sequence} {cell.cell.point} {cell.cell.filter}: {cell.problem}")


def _write(path: Path, text: str) -> None:
    with open_output(str(path), force=True) as file:
        file.write(text.encode())


def _ended(args: argparse.Namespace, failures: int, outcomes: dict[str, Outcome]) -> int:
    if not args.quiet:
        counts = Counter(outcome.state.value for outcome in outcomes.values())
        states = ", ".join(f"{count} {state}" for state, count in counts.items())
        print(f"nnpf: jobs: {states or 'none'}; results in {args.output}", file=sys.stderr)
    return 1 if failures else 0
