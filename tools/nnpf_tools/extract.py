"""Take SEI messages out of a stream into files: their payloads, and a specification that puts them back.

    nnpf extract in.266 -o messages
    nnpf strip in.266 -o stripped.266
    nnpf inject stripped.266 messages/spec.yaml -o again.266

gives the stream back, byte for byte, whoever made it: the specification says where each SEI NAL unit stood, how
messages were grouped in it, and what its start code was. The stream itself is not changed.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from nnpf.outputs import open_folder
from nnpf_tools import chosen
from nnpf_tools.files import PIPE, OutputError, UsageError, add_common, progress
from nnpf_tools.streams import STREAM_HELP, open_source
from vsei import edit

EPILOG = """examples:
  nnpf extract in.266 -o messages                 NNPFC and NNPFA: messages/spec.yaml, messages/nnpfc_1_base.nnc ...
  nnpf extract in.266 -o messages --type all      all SEI
  nnpf extract in.266 -o messages --id 3          what belongs to one filter
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("stream", help=STREAM_HELP)
    parser.add_argument("-o", "--output", metavar="DIR", required=True, help="folder to write into")
    chosen.add_arguments(parser)
    add_common(parser, output=True, json=True)


def run(args: argparse.Namespace) -> int:
    from nnpf.extraction import SPEC_NAME, Writer

    if args.output == PIPE:
        raise UsageError("-o names a folder; there are several files")
    folder = Path(args.output)
    if folder.exists() and not folder.is_dir():
        raise OutputError(args.output, "is no folder")
    if folder.is_dir() and any(folder.iterdir()) and not args.force:
        raise OutputError(args.output, "is not empty; --force writes into it")
    with open_source(args) as source:
        unwanted = chosen.chosen(args, source)
        saved: list[str] = []
        with open_folder(folder, last=SPEC_NAME) as made:

            def save(name: str, data: bytes) -> None:
                saved.append(name)
                (made / name).write_bytes(data)

            with (
                (made / SPEC_NAME).open("w", encoding="utf-8") as text,
                progress(args, source.size, "B", scale=True) as bar,
            ):
                writer = Writer(text, source.codec, save)
                count = sum(1 for _ in edit.strip(source.nal_units(bar), source.codec, unwanted, writer.add))
                writer.finish(count)
    report = {
        "directory": args.output,
        "spec": str(folder / SPEC_NAME),
        "files": sorted(saved),
        "nal_units": writer.entries,
        "messages": writer.messages,
    }
    if args.json:
        print(json.dumps(report))
    elif not args.quiet:
        others = f" and {len(saved)} file{'s' * (len(saved) != 1)} beside it" if saved else ""
        messages = f"{writer.messages} message{'s' * (writer.messages != 1)}"
        print(f"{messages} in {report['spec']}{others}", file=sys.stderr)
    return 0
