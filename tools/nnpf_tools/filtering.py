"""The arguments of commands that filter: where models come from, what runs them."""

from __future__ import annotations

import argparse
import re
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

from nnpf_tools.files import PIPE, UsageError

if TYPE_CHECKING:
    from nnpf.runner import ApplyOptions


def add_filter_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--model-root", metavar="DIR", help="folder of the models (default: that of the stream)")
    parser.add_argument(
        "--model-map", metavar="URI=FILE", action="append", default=[], help="the file to take for a URI"
    )
    parser.add_argument("--allow-fetch", action="store_true", help="fetch models from https URIs of the stream")
    parser.add_argument(
        "--model-sha256", metavar="URI=HASH", action="append", default=[], help="the SHA-256 that the file must have"
    )
    parser.add_argument(
        "--update-semantics",
        choices=("difference", "replace"),
        default="difference",
        help="what an update does to its base, where its payload does not say (default: difference)",
    )
    parser.add_argument(
        "--engine",
        choices=("auto", "openvino", "torch", "onnxruntime"),
        default="auto",
        help="what runs networks (default: the fastest here that can; nnpf doctor lists them)",
    )
    parser.add_argument("--device", default="auto", help="cpu, cuda, cuda:1, mps, or a device of OpenVINO")
    parser.add_argument("--threads", type=int, default=0, help="of the CPU (default: all cores)")
    parser.add_argument(
        "--precision",
        choices=("f32", "bf16", "auto"),
        default="f32",
        help="of float networks (default f32); bf16 is faster on some machines, and less exact; auto: the device's own",
    )
    parser.add_argument(
        "--deterministic",
        action="store_true",
        help="the same samples in every run on this machine, for any --threads; slower on many cores",
    )
    parser.add_argument("--patch", metavar="WxH", default="auto", help="patch size where the message leaves it free")
    parser.add_argument(
        "--out-bit-depth", type=int, metavar="BITS", help="bit depth of the output, where messages leave it"
    )
    parser.add_argument("--layer", type=int, default=0, metavar="ID", help="nuh_layer_id of the pictures (default 0)")
    parser.add_argument("--no-hash-check", action="store_true", help="do not check decoded picture hash SEI messages")
    parser.add_argument(
        "--skip-failures", action="store_true", help="show pictures as decoded where a filter cannot be had or run"
    )


def apply_options(args: argparse.Namespace, stream: str) -> ApplyOptions:
    """What the arguments say, for one stream. UsageError where they say nothing that makes sense."""
    from nnpf.runner import ApplyOptions
    from nnpf.sources import ModelSources

    if args.threads < 0:
        raise UsageError(f"--threads {args.threads}: at least 1, or 0 for all cores")
    root = args.model_root or (Path() if stream == PIPE else Path(stream).parent)
    by_uri = {}
    for entry in args.model_map:
        uri, equals, path = entry.rpartition("=")
        if not equals:
            raise UsageError(f"--model-map {entry}: give URI=FILE")
        by_uri[uri] = Path(path)
    sha256 = {}
    for entry in args.model_sha256:
        uri, _, digest = entry.rpartition("=")
        if not uri or not re.fullmatch("[0-9a-fA-F]{64}", digest):
            raise UsageError(f"--model-sha256 {entry}: give URI=HASH, 64 hexadecimal digits")
        sha256[uri] = digest
    fetcher = None
    if args.allow_fetch:
        from nnpf.fetch import Fetcher

        fetcher = Fetcher()
    patch = None
    if args.patch != "auto":
        width, x, height = args.patch.partition("x")
        if not (x and width.isdigit() and height.isdigit()):
            raise UsageError(f"--patch {args.patch}: give WxH, as in 128x128, or auto")
        patch = int(width), int(height)
    return ApplyOptions(
        sources=ModelSources(Path(root), by_uri, sha256, fetcher, args.update_semantics),
        engine=args.engine,
        device=args.device,
        threads=args.threads,
        precision=args.precision,
        deterministic=args.deterministic,
        patch=patch,
        out_bit_depth=args.out_bit_depth,
        layer_id=args.layer,
        check_hashes=not args.no_hash_check,
        skip_failures=args.skip_failures,
    )


def picture_rate(text: str | None) -> Fraction | None:
    """--fps: pictures per second, or None where it is not given."""
    try:
        rate = Fraction(text) if text else None
    except (ValueError, ZeroDivisionError):
        rate = Fraction(0)
    if rate is not None and rate <= 0:
        raise UsageError(f"--fps {text}: give pictures per second, as in 25 or 30000/1001")
    return rate
