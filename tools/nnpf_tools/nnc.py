"""Encode, decode and inspect NNC payloads (ISO/IEC 15938-17).

A model is an ONNX file (the payload then carries its graph too), or tensors by name in a .npz or .safetensors file.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nnpf_tools.files import PIPE, UsageError, check_output, open_input, open_output

EPILOG = """examples:
  nnpf nnc info filter.nnc                                what is in there, and how it was coded
  nnpf nnc decode filter.nnc -o filter.onnx               graph and weights
  nnpf nnc decode update.nnc --base filter.nnc -o new.onnx
  nnpf nnc encode filter.onnx -o filter.nnc --psnr 50     as small as 50 dB allow
  nnpf nnc encode tuned.onnx --base filter.nnc -o update.nnc
"""

SUFFIXES = (".onnx", ".npz", ".safetensors", ".nnc")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)

    info = actions.add_parser("info", help="units, tensors, steps, bits for each weight")
    info.add_argument("payload", help="NNC payload, or - for standard input")
    info.add_argument(
        "--base", metavar="B.nnc", action="append", default=[], help="payloads to decode before; in order"
    )
    info.add_argument("--trace", action="store_true", help="position, length, name and value of each header element")
    info.add_argument("--json", action="store_true", help="one JSON document on standard output")

    decode = actions.add_parser("decode", help="a payload to a model or to tensors")
    decode.add_argument("payload", help="NNC payload, or - for standard input")
    decode.add_argument("-o", "--output", required=True, metavar="OUT", help=".onnx, .npz or .safetensors")
    decode.add_argument("--base", metavar="B", help="the model that an update is for: .nnc, .onnx, .npz, .safetensors")
    decode.add_argument(
        "--update-semantics",
        choices=("difference", "replace"),
        help="what an update does to its base, where the payload does not say",
    )
    decode.add_argument("--force", action="store_true", help="replace an output file that exists")

    encode = actions.add_parser("encode", help="a model or tensors to a payload")
    encode.add_argument("model", help=".onnx, .npz or .safetensors")
    encode.add_argument("-o", "--output", required=True, metavar="OUT.nnc", help="payload, or - for standard output")
    encode.add_argument("--base", metavar="B.nnc", help="code the difference to this payload's model")
    target = encode.add_mutually_exclusive_group()
    target.add_argument("--qp", type=int, help="quantisation parameter: the step doubles every 4 (default: -38)")
    target.add_argument("--step", type=float, help="step size; the nearest one that can be coded")
    target.add_argument("--psnr", type=float, metavar="DB", help="at least this, against the largest weight")
    target.add_argument("--max-error", type=float, metavar="E", help="at most this error of a weight")
    target.add_argument("--bytes", type=int, metavar="N", help="at most this many bytes")
    target.add_argument("--lossless", action="store_true", help="every bit of every float")
    encode.add_argument("--uniform", action="store_true", help="uniform instead of dependent quantisation")
    encode.add_argument("--rate-distortion", type=float, metavar="W", help="weight of the rate (default: 0.8; 0: none)")
    encode.add_argument("--like-nncodec", action="store_true", help="the tools that NNCodec uses by default")
    encode.add_argument("--force", action="store_true", help="replace an output file that exists")
    encode.add_argument("-q", "--quiet", action="store_true", help="no summary")


def run(args: argparse.Namespace) -> int:
    return {"info": _info, "decode": _decode, "encode": _encode}[args.action](args)


# --- files -----------------------------------------------------------------------------------------------------------


def _read(path: str) -> bytes:
    with open_input(path) as file:
        return file.read()


def _suffix(path: str, wanted: tuple[str, ...]) -> str:
    suffix = Path(path).suffix.lower()
    if suffix not in wanted:
        raise UsageError(f"{path}: the name should end in {', '.join(wanted)}")
    return suffix


def _load_tensors(path: str) -> dict[str, Any]:
    """Tensors by name of a .npz, .safetensors or .onnx file (of the latter those that are coded), or of a payload."""
    suffix = _suffix(path, SUFFIXES)
    if suffix == ".npz":
        import numpy as np

        with np.load(path, allow_pickle=False) as file:
            return {name: file[name] for name in file.files}
    if suffix == ".safetensors":
        from nnpf.nnc.safetensors import read_safetensors

        return read_safetensors(_read(path))
    if suffix == ".nnc":
        from nnpf import limits, nnc

        return dict(nnc.decode(_read(path), limits=limits.for_nnc()))
    from nnpf.nnc.model import split_model

    return dict(split_model(_load_onnx(path)).tensors)


def _load_onnx(path: str) -> Any:
    import onnx

    # Weights beside the model file are read, from its own folder only: onnx checks that.
    try:
        return onnx.load(path)
    except (OSError, MemoryError):
        raise
    except Exception as error:
        raise ValueError(f"{path}: no ONNX model: {' '.join(str(error).split())}") from None


def _save(args: argparse.Namespace, suffix: str, tensors: Mapping[str, Any], topology: Any) -> None:
    with open_output(args.output, force=args.force, inputs=(args.payload,)) as out:
        if suffix == ".npz":
            import numpy as np

            np.savez(out, **tensors)
        elif suffix == ".safetensors":
            from nnpf.nnc.safetensors import write_safetensors

            out.write(write_safetensors(tensors))
        else:
            from nnpf.nnc.model import join_model

            out.write(join_model(topology, tensors).SerializeToString(deterministic=True))


# --- decode ----------------------------------------------------------------------------------------------------------


def _decode(args: argparse.Namespace) -> int:
    from nnpf import limits, nnc
    from nnpf.nnc.updates import decode_update

    args.stream = args.payload  # what errors name
    suffix = _suffix(args.output, SUFFIXES[:3])
    check_output(args.output, force=args.force, inputs=(args.payload,))
    data = _read(args.payload)
    decoder = nnc.Decoder(limits=limits.for_nnc())
    if args.base is None:
        if args.update_semantics:
            raise UsageError("--update-semantics needs --base")
        tensors: Mapping[str, Any] = decoder.decode(data)
        topology = decoder.last.topology if decoder.last else None
    else:
        base, topology = _base(decoder, args.base)
        tensors = decode_update(decoder, base, data, args.update_semantics)
    _save(args, suffix, tensors, topology)
    for note in decoder.last.notes if decoder.last else []:
        print(f"nnpf: {args.payload}: {note}", file=sys.stderr)
    return 0


def _base(decoder: Any, path: str) -> tuple[dict[str, Any], Any]:
    """Tensors of a base model and its graph; a payload also primes the decoder."""
    suffix = _suffix(path, SUFFIXES)
    if suffix == ".nnc":
        tensors = decoder.decode(_read(path))
        return dict(tensors), decoder.last.topology
    if suffix == ".onnx":
        from nnpf.nnc.model import split_model

        parts = split_model(_load_onnx(path))
        return dict(parts.tensors), parts.topology
    return _load_tensors(path), None


# --- encode ----------------------------------------------------------------------------------------------------------


def _settings(args: argparse.Namespace) -> Any:
    from dataclasses import replace

    from nnpf.nnc.quantization import quantization_parameter
    from nnpf.nnc.settings import NNCODEC, Settings

    settings = NNCODEC if args.like_nncodec else Settings()
    if args.qp is not None:
        settings = replace(settings, qp=args.qp)
    if args.step is not None:
        if not (args.step > 0 and math.isfinite(args.step)):
            raise UsageError("--step must be positive")
        settings = replace(settings, qp=round(quantization_parameter(args.step, settings.qp_density)))
    if args.uniform:
        settings = replace(settings, dependent=False)
    if args.rate_distortion is not None:
        settings = replace(settings, rate_distortion=args.rate_distortion)
    return replace(settings, lossless=args.lossless)


def _encode(args: argparse.Namespace) -> int:
    from dataclasses import replace

    from nnpf import limits, nnc
    from nnpf.nnc.targets import distortion, encode_to_target
    from nnpf.nnc.updates import base_model_id, difference

    args.stream = args.model
    suffix = _suffix(args.model, SUFFIXES[:3])
    check_output(args.output, force=args.force, inputs=(args.model,))
    settings = _settings(args)
    topology = None
    if suffix == ".onnx":
        from nnpf.nnc.model import split_model

        parts = split_model(_load_onnx(args.model))
        tensors, topology = dict(parts.tensors), parts.topology
        settings = replace(settings, raw=parts.exact)
    else:
        tensors = _load_tensors(args.model)
    primed = nnc.Encoder(settings)
    decoder = nnc.Decoder(limits=limits.for_nnc())
    identity = None
    if args.base is not None:
        _suffix(args.base, (".nnc",))
        base = decoder.decode(_read(args.base))
        tensors = dict(difference(base, tensors))
        identity = base_model_id(base)
        primed.follow(decoder)

    def make(chosen: Any) -> bytes:
        encoder = primed.copy()
        encoder.settings = chosen
        if args.base is not None:
            return encoder.encode_update(tensors, base_model_id=identity)
        return encoder.encode(tensors, topology=topology)

    if args.psnr is None and args.max_error is None and args.bytes is None:
        payload = make(settings)
    else:
        payload, settings = encode_to_target(
            tensors,
            make,
            settings,
            psnr=args.psnr,
            max_error=args.max_error,
            size=args.bytes,
            decode=lambda data: decoder.copy().decode(data),
        )
    with open_output(args.output, force=args.force, inputs=(args.model,)) as out:
        out.write(payload)
    if not args.quiet and args.output != PIPE:
        found = distortion(tensors, decoder.copy().decode(payload))
        weights = sum(v.size for v in tensors.values())
        shown = "no error" if found.mse == 0 else f"{found.psnr:.1f} dB, largest error {found.max_error:.3g}"
        quantiser = "lossless" if settings.lossless else f"qp {settings.qp}"
        print(
            f"{args.output}: {len(payload)} bytes, {weights} weights, "
            f"{8 * len(payload) / max(weights, 1):.2f} bits each, {quantiser}, {shown}"
        )
    return 0


# --- info ------------------------------------------------------------------------------------------------------------


def _info(args: argparse.Namespace) -> int:
    from nnpf import limits, nnc
    from nnpf.nnc.report import describe

    args.stream = args.payload
    decoder = nnc.Decoder(limits=limits.for_nnc())
    for base in args.base:
        decoder.decode(_read(base))
    data = _read(args.payload)
    if args.trace:
        from nnpf.nnc.report import trace_lines

        for line in trace_lines(data, decoder):
            print(line)
        return 0
    report = describe(data, decoder)
    if args.json:
        print(json.dumps(report, indent=2))
        return 0
    print(f"{args.payload}: {report['bytes']} bytes, edition {report['edition']}, {report['units']} units")
    topology = report["topology"]
    print(f"graph: {topology['format']}" + (f", {topology['bytes']} bytes" if topology["bytes"] else ""))
    if report["update"]:
        print("an update: differences to a base" + (f" {report['base_model_id']}" if report["base_model_id"] else ""))
    rows = [("tensor", "shape", "type", "quantiser", "step", "bytes", "bits/weight", "tools")]
    rows += [
        (
            t["name"],
            "x".join(map(str, t["shape"])),
            t["payload_type"],
            t["quantiser"],
            "" if t["step"] is None else f"{t['step']:.6g}",
            "with the above" if t["unit_bytes"] is None else str(t["unit_bytes"]),
            "" if t["bits_per_weight"] is None else f"{t['bits_per_weight']:.2f}",
            ", ".join(t["tools"]),
        )
        for t in report["tensors"]
    ]
    widths = [max(len(r[c]) for r in rows) for c in range(len(rows[0]))]
    for r in rows:
        print("  ".join(cell.ljust(w) for cell, w in zip(r, widths, strict=True)).rstrip())
    for note in report["notes"]:
        print(f"! {note}")
    return 0
