"""Take SEI messages out of a stream, without re-encoding: not a bit of the video changes.

By default NNPFC and NNPFA messages, also those inside nesting messages. Other messages of the same NAL unit stay as
they are; a NAL unit or nesting message that is left without any goes.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter

from nnpf_tools import chosen
from nnpf_tools.files import PIPE, add_common, check_output, open_output, progress
from nnpf_tools.streams import (
    OUTPUT_HELP,
    STREAM_HELP,
    add_container_arguments,
    check_written,
    open_edited,
    open_source,
)
from vsei import edit
from vsei.edit import Place
from vsei.messages import payload_name
from vsei.restoring import Taken, TakenUnit

EPILOG = """examples:
  nnpf strip in.266 -o out.266                               all post-filter messages
  nnpf strip in.mp4 -o out.mp4                               sound, times and all the rest are copied
  nnpf strip in.266 -o out.266 --type all                    all SEI
  nnpf strip in.266 -o out.266 --type 132,user_data_unregistered
  nnpf strip in.266 -o out.266 --id 3 --picture poc:8-16     one filter, some pictures
  cat in.266 | nnpf strip - -o - | nnpf dump - --summary
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("stream", help=STREAM_HELP)
    parser.add_argument("-o", "--output", metavar="OUT", required=True, help=OUTPUT_HELP)
    chosen.add_arguments(parser)
    add_container_arguments(parser)
    add_common(parser, output=True, json=True)


def run(args: argparse.Namespace) -> int:
    check_written(args.output)
    check_output(args.output, force=args.force, inputs=(args.stream,))
    nal_units: Counter[bool] = Counter()  # gone as a whole, or not
    names: Counter[str] = Counter()

    with open_source(args) as source:

        def tell(_: Place, taken: Taken) -> None:
            nal_units[isinstance(taken, TakenUnit)] += 1
            names.update(payload_name(payload_type, source.codec) for payload_type in taken.payload_types)

        unwanted = chosen.chosen(args, source)
        with (
            progress(args, source.size, "B", scale=True) as bar,
            open_output(args.output, force=args.force, inputs=(args.stream,)) as file,
            open_edited(args, source, file) as out,
        ):
            bytes_out = out.take(edit.strip(out.nal_units(bar), source.codec, unwanted, tell))
        bytes_in = bar.count
    report = {
        "bytes_in": bytes_in,
        "bytes_out": bytes_out,
        "nal_units_removed": nal_units[True],
        "nal_units_changed": nal_units[False],
        "messages": dict(names.most_common()),
    }
    if args.json:
        # Where the stream itself goes to standard output, the report can't.
        print(json.dumps(report), file=sys.stderr if args.output == PIPE else sys.stdout)
    elif not args.quiet:
        each = ", ".join(f"{name} {count}" for name, count in names.most_common()) or "nothing"
        print(f"took out {each}: {bytes_in - bytes_out} bytes", file=sys.stderr)
    return 0
