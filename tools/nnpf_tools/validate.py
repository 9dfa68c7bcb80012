"""Check the NNPF and SEI processing order messages of a stream against the standard.

One line for each rule that is broken, with the clause, the picture and the element. Violations make the exit code 3;
warnings alone do not. docs/rules.md lists all rules.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any

from nnpf_tools.files import PIPE, UsageError, add_common, progress
from nnpf_tools.streams import STREAM_HELP, open_source
from vsei.listing import Counts, Listed, nal_units_of
from vsei.nal import Codec
from vsei.rules import DECODERS, Finding, Level, PayloadReport, check
from vsei.rules.table import every_rule, sections

EPILOG = """examples:
  nnpf validate in.266                     what breaks the standard?
  nnpf validate in.266 --for vtm           and what would stop or mislead the reference decoder?
  nnpf validate in.266 --json | jq '.violations[].rule'
  nnpf validate --list-rules
"""

FINDINGS = 3  # exit code


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("stream", nargs="?", help=STREAM_HELP)
    parser.add_argument(
        "--for",
        dest="decoder",
        choices=tuple(DECODERS),
        help="check what this decoder needs beyond the standard too",
    )
    parser.add_argument("--ignore", metavar="RULE,...", help="rules that are not looked at")
    parser.add_argument("--limit", type=int, metavar="N", help="print N findings at most (all are counted)")
    parser.add_argument("--list-rules", action="store_true", help="print all rules and stop")
    add_common(parser, json=True)


def run(args: argparse.Namespace) -> int:
    if args.list_rules:
        _list_rules(as_json=args.json)
        return 0
    if args.stream is None:
        raise UsageError("give a stream: nnpf validate STREAM")
    ignored = _ignored(args.ignore)
    with open_source(args) as source, progress(args, source.size, "B", scale=True) as bar:
        codec, units = source.codec, source.nal_units(bar)
        decoder = DECODERS[args.decoder] if args.decoder else None
        if decoder is not None and codec is not Codec.VVC:
            raise UsageError(f"{decoder.version} decodes {Codec.VVC.standard}, the stream is {codec.standard}")
        counts = Counts()
        findings = (
            finding
            for finding in check(
                _counted(nal_units_of(units, codec), counts), codec, decoder=decoder, check_payload=_check_payload
            )
            if finding.rule.name not in ignored
        )
        found = _json(findings, args) if args.json else _text(findings, args, codec, counts)
    return FINDINGS if found else 0


def _ignored(text: str | None) -> frozenset[str]:
    names = frozenset(name.strip() for name in text.split(",")) if text else frozenset()
    unknown = names - {rule.name for rule in every_rule()}
    if unknown:
        raise UsageError(f"--ignore: no rule {', '.join(sorted(unknown))}; --list-rules lists them")
    return names


def _counted(listed: Iterable[Listed], counts: Counts) -> Iterator[Listed]:
    for unit in listed:
        counts.take(unit)
        yield unit


def _check_payload(payload: bytes, base: bytes | None) -> PayloadReport:
    """What the decoder of ISO/IEC 15938-17 says. Imported where the first payload comes: most streams need it not."""
    try:
        from nnpf import limits
        from nnpf.nnc import Decoder, NncError, UnsupportedError
    except ImportError as error:
        return PayloadReport(unsupported=(f"not decoded: {error}",))
    decoder = Decoder(limits=limits.for_nnc())
    if base is not None:
        try:
            decoder.decode(base)
        except NncError:
            base = None  # a finding of its own, where the base stands
    try:
        tensors = decoder.decode(payload)
    except UnsupportedError as error:
        return PayloadReport(unsupported=(f"not decoded: {error}",))
    except NncError as error:
        if base is None and error.field == "temporal_context_modeling_flag":
            return PayloadReport(unsupported=(f"not decoded, its base is not in the stream: {error}",))
        return PayloadReport(problem=str(error))
    notes = tuple(str(note) for note in decoder.last.notes) if decoder.last is not None else ()
    return PayloadReport(None, notes, None if notes else sum(tensor.size for tensor in tensors.values()))


# --- text ------------------------------------------------------------------------------------------------------------


def _text(findings: Iterable[Finding], args: argparse.Namespace, codec: Codec, counts: Counts) -> int:
    """Print findings as they come; returns how many are violations."""
    levels: Counter[Level] = Counter()
    rules: Counter[str] = Counter()
    for number, finding in enumerate(findings):
        levels[finding.rule.level] += 1
        rules[finding.rule.name] += 1
        if args.limit is None or number < args.limit:
            print(_line(finding))
    if not args.quiet:
        title = "standard input" if args.stream == PIPE else args.stream
        each = ", ".join(f"{name} {count}" for name, count in rules.most_common())
        counted = (f"{levels[level]} {level.name.lower()}{'s' * (levels[level] != 1)}" for level in Level)
        verdict = f"{', '.join(counted)}: {each}" if rules else "clean"
        print(f"{title}: {codec.standard}, {counts.pictures} pictures: {verdict}", file=sys.stderr)
    return levels[Level.VIOLATION]


def _line(finding: Finding) -> str:
    """`violation rule (clause): place: message: element: what is wrong`"""
    place = [f"NAL unit {finding.nal_index} at {finding.offset}"]
    if finding.picture is not None:
        place.append(f"picture {finding.picture.decode_index} POC {finding.picture.poc}")
    parts = [f"{finding.rule.level} {finding.rule.name} ({finding.rule.clause})", ", ".join(place)]
    parts += [part for part in (finding.name, finding.element) if part]
    return ": ".join([*parts, finding.message])


def _list_rules(*, as_json: bool) -> None:
    if as_json:
        listed = [
            {"rule": rule.name, "clause": rule.clause, "level": str(rule.level), "statement": rule.statement}
            for rule in every_rule()
        ]
        print(json.dumps({"rules": listed}))
        return
    for heading, rules in sections():
        print(heading)
        for rule in rules:
            print(f"  {rule.name}  ({rule.level}, {rule.clause})\n      {rule.statement}")


# --- JSON ------------------------------------------------------------------------------------------------------------


def _json(findings: Iterable[Finding], args: argparse.Namespace) -> int:
    """One document, written as it comes; returns how many findings are violations. Warnings wait in a file, since
    they come in between."""
    write = sys.stdout.write
    counts: Counter[Level] = Counter()
    with tempfile.SpooledTemporaryFile(max_size=1 << 20, mode="w+", encoding="utf-8") as warnings:
        write('{"violations": [')
        for number, finding in enumerate(findings):
            level = finding.rule.level
            if args.limit is None or number < args.limit:
                target = write if level is Level.VIOLATION else warnings.write
                target((",\n" if counts[level] else "\n") + json.dumps(_as_json(finding), ensure_ascii=False))
            counts[level] += 1
        write('],\n"warnings": [')
        warnings.seek(0)
        shutil.copyfileobj(warnings, sys.stdout)
        write("]}\n")
    return counts[Level.VIOLATION]


def _as_json(finding: Finding) -> dict[str, Any]:
    picture = finding.picture
    return {
        "rule": finding.rule.name,
        "clause": finding.rule.clause,
        "nal_index": finding.nal_index,
        "offset": finding.offset,
        "picture": None
        if picture is None
        else {
            "decode_index": picture.decode_index,
            "output_index": finding.output_index,
            "poc": picture.poc,
            "clvs": picture.clvs,
        },
        "name": finding.name,
        "element": finding.element,
        "message": finding.message,
    }
