"""Put post-filter SEI messages into a stream, without re-encoding: not a bit of the video changes.

What goes where is in a specification file (YAML), or for the common case in options: one base filter, updates for
chosen pictures, active everywhere. PICTURES are written as random_access, clvs_start, first, all, poc:8,16-24,
output:0-9 (0-based, output order; plain numbers mean this), decode:5 (0-based, decoding order), clvs:1, or segments:
random access pictures, and of the pictures that lead each the one that is output first.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from nnpf_tools.files import PIPE, UsageError, add_common, check_output, open_output, progress, seekable_input
from nnpf_tools.streams import nal_units, write_units
from vsei import edit
from vsei.errors import VseiError
from vsei.messages import payload_name

if TYPE_CHECKING:
    from nnpf.spec import Spec

EPILOG = """examples:
  nnpf inject in.266 --base filter.onnx -o out.266
  nnpf inject in.266 --base filter.nnc --update fitted.nnc@poc:0 --activate update -o out.266
  nnpf inject in.266 spec.yaml -o out.266 --on-existing replace
  cat in.266 | nnpf inject - spec.yaml -o - | nnpf dump -
  nnpf inject --print-schema > inject.schema.json
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("stream", nargs="?", help="byte stream (Annex B), or - for standard input")
    parser.add_argument("spec", nargs="?", help="specification file (YAML)")
    parser.add_argument("-o", "--output", metavar="OUT", help="stream to write, or - for standard output")
    common = parser.add_argument_group("the common case, instead of a specification file")
    common.add_argument(
        "--base", metavar="MODEL", help="base filter: .onnx (sent by URI) or .nnc (sent in the message)"
    )
    common.add_argument("--uri", help="nnpfc_uri of the base; default: its path seen from the output's folder")
    common.add_argument("--update", metavar="MODEL@PICTURES", action="append", default=[], help="an update (.nnc)")
    common.add_argument("--id", type=int, default=1, help="nnpfc_id (default 1)")
    common.add_argument(
        "--repeat",
        choices=("random_access", "clvs_start", "first"),
        default="random_access",
        help="where the base stands",
    )
    common.add_argument(
        "--activate",
        choices=("base", "update", "none"),
        help="what to activate (default: the update where there is one, else the base)",
    )
    common.add_argument(
        "--activate-at",
        metavar="PICTURES",
        default="segments",
        help="where the activation stands (default: segments, so that it holds for every picture)",
    )
    common.add_argument(
        "--set", metavar="ELEMENT=VALUE", action="append", default=[], help="an element of the NNPFC or NNPFA message"
    )
    parser.add_argument(
        "--on-existing",
        choices=("error", "replace", "keep"),
        default="error",
        help="NNPFC and NNPFA messages that the stream has already (default: error)",
    )
    parser.add_argument("-n", "--dry-run", action="store_true", help="print what would be done, write nothing")
    parser.add_argument("--print-schema", action="store_true", help="print the JSON Schema of the specification file")
    add_common(parser, output=True, json=True)


def run(args: argparse.Namespace) -> int:
    from nnpf import spec

    if args.print_schema:
        print(json.dumps(spec.SCHEMA, indent=2))
        return 0
    _check_usage(args)
    if args.output is not None:
        check_output(args.output, force=args.force, inputs=(args.stream, args.spec or PIPE))
    given = (
        spec.load(Path(args.spec).read_text("utf-8"), args.spec, Path(args.spec).parent) if args.spec else _own(args)
    )

    with seekable_input(args.stream) as file, progress(args, _size(file), "B", scale=True) as bar:
        codec, units = nal_units(args, file, bar)
        placements = spec.placements(given, codec)
        decided = _decided(args, file, placements) if any(p.pictures.needs_headers for p in placements) else None
        if decided is not None:
            file.seek(0)
            codec, units = nal_units(args, file, bar)
        report = _Report()
        edited = edit.inject(units, codec, placements, decided, args.on_existing, report.inserted.append)
        if args.dry_run:
            report.bytes_out = sum(len(u.prefix) + len(u.data) + u.zeros for u in edited)
        else:
            with open_output(args.output, force=args.force, inputs=(args.stream,)) as out:
                report.bytes_out = write_units(out, edited)
        file.seek(0, 2)
        report.bytes_in = file.tell()
    report.show(args)
    return 0


def _check_usage(args: argparse.Namespace) -> None:
    if args.stream is None:
        raise UsageError("give a stream: nnpf inject STREAM SPEC.yaml -o OUT")
    if (args.spec is None) == (args.base is None and not args.update):
        raise UsageError("give either a specification file or --base (and --update)")
    if args.output is None and not args.dry_run:
        raise UsageError("give an output: -o OUT, or -o - for standard output")


def _size(file: BinaryIO) -> int:
    size = file.seek(0, 2)
    file.seek(0)
    return size


def _own(args: argparse.Namespace) -> Spec:
    """The specification that the options stand for."""
    from nnpf import spec

    nnpfc, nnpfa = _elements(args.set)
    entry: dict[str, object] = {"id": args.id, "repeat": args.repeat, "updates": []}
    if args.base:
        entry |= {"base": args.base, "nnpfc": nnpfc}
        if args.uri or args.base.endswith(".onnx"):
            entry["uri"] = args.uri or _uri_from(args.base, args.output)
    updates = []
    for update in args.update:
        payload, at, pictures = update.rpartition("@")
        if not at:
            raise UsageError(f"--update {update}: give MODEL@PICTURES, as in fitted.nnc@poc:8")
        updates.append({"payload": payload, "at": pictures})
    entry["updates"] = updates
    activate = args.activate or ("update" if updates else "base")
    data: dict[str, object] = {"filters": [entry]}
    if activate != "none":
        target = {"nnpfa_target_base_flag": int(activate == "base"), **nnpfa}
        data["activations"] = [{"target": args.id, "at": args.activate_at, "nnpfa": target}]
    return spec.check(spec.Spec(data, "options", Path(), {}))


def _elements(settings: Sequence[str]) -> tuple[dict[str, object], dict[str, object]]:
    """--set ELEMENT=VALUE, sorted by message."""
    nnpfc: dict[str, object] = {}
    nnpfa: dict[str, object] = {}
    for setting in settings:
        name, equals, value = setting.partition("=")
        if not equals or not name.startswith(("nnpfc_", "nnpfa_")):
            raise UsageError(
                f"--set {setting}: give ELEMENT=VALUE with the standard's name, as in nnpfc_padding_type=1"
            )
        plain: object = [int(v) for v in value.split(",")] if _numbers(value) and "," in value else value
        (nnpfc if name.startswith("nnpfc_") else nnpfa)[name] = (
            int(value) if _numbers(value) and "," not in value else plain
        )
    return nnpfc, nnpfa


def _numbers(text: str) -> bool:
    return all(part.strip().lstrip("-").isdigit() for part in text.split(","))


def _uri_from(model: str, output: str | None) -> str:
    """How the stream names the model: by its path from the folder of the stream, which is where `apply` looks."""
    folder = Path(output).parent if output not in (None, PIPE) else Path()
    try:
        return Path(model).resolve().relative_to(folder.resolve()).as_posix()
    except ValueError:
        # The model lies elsewhere: only its name is sent; `apply` is told where with --model-root or --model-map.
        return Path(model).name


def _decided(args: argparse.Namespace, file: BinaryIO, placements: Sequence[edit.Placement]) -> list[frozenset[int]]:
    """For each placement the decode indices of its pictures, from a first pass over the picture headers."""
    codec, units = nal_units(args, file)
    decided = edit.decide(units, codec, placements)
    for placement, indices in zip(placements, decided, strict=True):
        if not indices:
            raise VseiError(f"the stream has no picture {placement.pictures}")
    return decided


class _Report:
    """What was put in where."""

    def __init__(self) -> None:
        self.inserted: list[edit.Inserted] = []
        self.bytes_in = self.bytes_out = 0

    def show(self, args: argparse.Namespace) -> None:
        messages = [
            {
                "decode_index": i.start.decode_index,
                "clvs": i.start.clvs,
                "payload_type": i.message.payload_type,
                "name": payload_name(i.message.payload_type),
                "size": len(i.message.payload),
            }
            for i in self.inserted
        ]
        added = self.bytes_out - self.bytes_in
        share = f" (+{100 * added / self.bytes_in:.2f} %)" if self.bytes_in else ""
        # Where the stream itself goes to standard output, the report can't.
        where = sys.stderr if args.output == PIPE and not args.dry_run else sys.stdout
        if args.json:
            print(
                json.dumps({"bytes_in": self.bytes_in, "bytes_out": self.bytes_out, "messages": messages}), file=where
            )
            return
        if args.dry_run or args.verbose:
            for m in messages:
                print(f"picture {m['decode_index']} (CLVS {m['clvs']}): {m['name']}, {m['size']} bytes", file=where)
        if args.dry_run or not args.quiet:
            verb = "would add" if args.dry_run else "added"
            text = f"{verb} {len(messages)} messages, {added} bytes{share}"
            print(text, file=where if args.dry_run else sys.stderr)
