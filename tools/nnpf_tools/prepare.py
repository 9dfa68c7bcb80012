"""Make a base filter ready for small updates.

A multiplier (and an offset) for each channel of each convolution goes into one tensor, which the graph splits; all of
an update is then that tensor. The filter's output stays the same, bit by bit. Initialisers that an exporter has merged
become separate, and names short, for they are sent with every update.
"""

from __future__ import annotations

import argparse

from nnpf_tools.files import check_output, open_output

EPILOG = """examples:
  nnpf prepare filter.onnx -o base.onnx                           multipliers
  nnpf prepare filter.onnx -o base.onnx --params multipliers biases
  nnpf prepare filter.onnx -o base.onnx --params none             short names and separate tensors only
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("stream", metavar="MODEL", help="base filter (.onnx)")
    parser.add_argument("-o", "--output", metavar="OUT", required=True, help="ONNX file to write, or - for a pipe")
    parser.add_argument(
        "--params",
        nargs="+",
        choices=("multipliers", "biases", "none"),
        default=["multipliers"],
        help="what the update tensor holds (default: multipliers)",
    )
    parser.add_argument("--keep-names", action="store_true", help="leave the names of tensors as they are")
    parser.add_argument("--force", action="store_true", help="replace an output file that exists")
    parser.add_argument("-q", "--quiet", action="store_true", help="no notes")


def run(args: argparse.Namespace) -> int:
    import sys

    check_output(args.output, force=args.force, inputs=(args.stream,))
    from nnpf.model import load
    from nnpf.prepare import KINDS, prepare, update_tensor

    kinds = [kind for kind in KINDS if kind in args.params]
    prepared = prepare(load(args.stream), kinds, short_names=not args.keep_names)
    with open_output(args.output, force=args.force, inputs=(args.stream,)) as file:
        file.write(prepared.to_bytes())
    if not args.quiet:
        found = update_tensor(prepared)
        text = "no update tensor"
        if found is not None:
            parts = ", ".join(f"{end - first} {kind}" for kind, (first, end) in found.spans.items())
            text = f"update tensor {found.name!r} with {parts}"
        print(f"{args.output}: {text}; {prepared.num_parameters} parameters", file=sys.stderr)
    return 0
