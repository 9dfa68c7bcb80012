"""Try what is installed: decoders, engines, devices, extras; what does not work is named with the fix.

Each decoder decodes one picture whose samples are known, each engine runs one convolution on each device, so `works`
means that it works. What is needed and does not work makes the exit code 3; what is only absent does not.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from nnpf.diagnosis import Check

EPILOG = """examples:
  nnpf doctor                                       what works here, and how fast it starts
  nnpf doctor --json | jq '.checks[] | select(.state == "fails")'
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="one JSON document on standard output")
    parser.add_argument("-q", "--quiet", action="store_true", help="print only what does not work")


def run(args: argparse.Namespace) -> int:
    from nnpf.diagnosis import checks
    from nnpf.provenance import environment, release

    about = environment()
    if not (args.json or args.quiet):
        print(f"nnpf {release()}, Python {about['python']}, {about['system']}, {about['cpu']}")
    done = []
    for check in checks():
        done.append(check)
        if not args.json and (check.state == "fails" or not args.quiet):
            _show(check)
    broken = [check for check in done if check.needed and check.state != "works"]
    if args.json:
        document = {
            "nnpf": release(),
            "environment": about,
            "works": not broken,
            "checks": [asdict(check) for check in done],
        }
        print(json.dumps(document))
    elif broken:
        print(f"nnpf: needed, and does not work: {', '.join(check.name for check in broken)}", file=sys.stderr)
    elif not args.quiet:
        print("everything that is needed works")
    return 3 if broken else 0


def _show(check: Check) -> None:
    took = "" if check.seconds is None else f"{check.seconds:.2f} s"
    print(f"{check.area:8} {check.name:20} {check.state:7} {took:>7}  {check.detail}", flush=True)
    if check.fix:
        print(f"{'':46}  fix: {check.fix}")
