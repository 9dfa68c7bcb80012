"""Encode, decode and inspect NNC payloads (ISO/IEC 15938-17).

A model is an ONNX file (the payload then carries its graph too), or tensors by name in a .npz or .safetensors file.
"""

from __future__ import annotations

import argparse
import io
import json
import math
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nnpf_tools.files import PIPE, UsageError, check_output, open_input, open_output

EPILOG = """examples:
  nnpf nnc info filter.nnc                                what is in there, and how it was coded
  nnpf nnc decode filter.nnc -o filter.onnx               graph and weights
  nnpf nnc decode weights.nnc --graph filter.onnx -o new.onnx     weights alone, into a graph that is there
  nnpf nnc decode update.nnc --base filter.nnc -o new.onnx
  nnpf nnc encode filter.onnx -o filter.nnc --psnr 50     as small as 50 dB allow
  nnpf nnc encode tuned.onnx --base filter.nnc -o update.nnc
  cat filter.onnx | nnpf nnc encode - -o - | nnpf nnc info -
"""

MODEL_SUFFIXES = (".onnx", ".npz", ".safetensors")
SUFFIXES = (*MODEL_SUFFIXES, ".nnc")
# NNCodec's QP of -38 is made for classifiers. A post-filter adds small differences to samples: at -38 the sample
# filter `small` loses a third of its gain, at this one less than a hundredth; see samples/filters/README.md.
DEFAULT_QP = -54


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
    decode.add_argument("-o", "--output", required=True, metavar="OUT", help=".onnx, .npz or .safetensors; or -")
    decode.add_argument(
        "--format", choices=[s[1:] for s in MODEL_SUFFIXES], help="of the output (default: by its name)"
    )
    decode.add_argument("--base", metavar="B", help="the model that an update is for: .nnc, .onnx, .npz, .safetensors")
    decode.add_argument("--graph", metavar="G.onnx", help="take the graph from this model, not from the payload")
    decode.add_argument(
        "--update-semantics",
        choices=("difference", "replace"),
        help="what an update does to its base, where the payload does not say",
    )
    decode.add_argument("--force", action="store_true", help="replace an output file that exists")
    decode.add_argument("--json", action="store_true", help="one JSON document on standard output")
    decode.add_argument("-q", "--quiet", action="store_true", help="no summary")
    decode.add_argument("-v", "--verbose", action="store_true", help="name each tensor on standard error")

    encode = actions.add_parser("encode", help="a model or tensors to a payload")
    encode.add_argument("model", help=".onnx, .npz or .safetensors; or - for one of them from standard input")
    encode.add_argument("-o", "--output", required=True, metavar="OUT.nnc", help="payload, or - for standard output")
    encode.add_argument(
        "--base", metavar="B", help="code the difference to this model: .nnc, .onnx, .npz, .safetensors"
    )
    target = encode.add_mutually_exclusive_group()
    target.add_argument(
        "--qp", type=int, help=f"quantisation parameter: the step doubles every 4 (default: {DEFAULT_QP})"
    )
    target.add_argument("--step", type=float, help="step size; the nearest one that can be coded")
    target.add_argument("--psnr", type=float, metavar="DB", help="at least this, against the largest weight")
    target.add_argument("--max-error", type=float, metavar="E", help="at most this error of a weight")
    target.add_argument("--bytes", type=int, metavar="N", help="at most this many bytes")
    target.add_argument("--lossless", action="store_true", help="every bit of every float")
    encode.add_argument("--uniform", action="store_true", help="uniform instead of dependent quantisation")
    encode.add_argument("--rate-distortion", type=float, metavar="W", help="weight of the rate (default: 0.8; 0: none)")
    encode.add_argument("--search-steps", action="store_true", help="try neighbouring steps for each tensor: slower")
    encode.add_argument(
        "--like-nncodec", action="store_true", help="the tools and the step (QP -38) that NNCodec uses by default"
    )
    encode.add_argument(
        "--graph",
        choices=("onnx", "text", "none"),
        default="onnx",
        help="how the graph is carried (default: onnx, the standard's form); text: larger, for NNCodec's decoder",
    )
    encode.add_argument(
        "--hash",
        choices=("base", "result", "none"),
        default="base",
        help="of an update: SHA-256 of its base (default), or of base and result, in the payload; 72 or 144 bytes",
    )
    encode.add_argument("--force", action="store_true", help="replace an output file that exists")
    encode.add_argument("--json", action="store_true", help="one JSON document on standard output")
    encode.add_argument("-q", "--quiet", action="store_true", help="no summary")
    encode.add_argument("-v", "--verbose", action="store_true", help="name each tensor on standard error")


def run(args: argparse.Namespace) -> int:
    return {"info": _info, "decode": _decode, "encode": _encode}[args.action](args)


# --- files -----------------------------------------------------------------------------------------------------------


def _read(path: str) -> bytes:
    with open_input(path) as file:
        return file.read()


def _payload(path: str) -> bytes:
    if Path(path).suffix.lower() in MODEL_SUFFIXES:
        raise UsageError(f"{path}: a model, no NNC payload; nnpf nnc encode makes one of it")
    return _read(path)


def _decoder() -> Any:
    from nnpf import limits, nnc

    return nnc.Decoder(limits=limits.for_nnc())


def _suffix(path: str, wanted: tuple[str, ...]) -> str:
    suffix = Path(path).suffix.lower()
    if suffix not in wanted:
        raise UsageError(f"{path}: the name should end in {', '.join(wanted)}")
    return suffix


@dataclass(frozen=True)
class _Model:
    """What can be coded: tensors by name, and a graph if there is one."""

    tensors: dict[str, Any]
    topology: Any = None
    exact: frozenset[str] = frozenset()  # float tensors that must not change


def _kind(data: bytes) -> str:
    """What a pipe brings."""
    if data.startswith(b"PK"):
        return ".npz"
    return ".safetensors" if data[8:9] == b"{" and data[4:8] == bytes(4) else ".onnx"


def _load(path: str, graph_form: str = "onnx") -> _Model:
    """Tensors of a model file, or of a pipe (of an ONNX model those that are coded), and its graph."""
    data = _read(path) if path == PIPE else None
    suffix = _kind(data) if data is not None else _suffix(path, MODEL_SUFFIXES)
    if suffix == ".npz":
        return _Model(_load_npz(path if data is None else io.BytesIO(data), path))
    if suffix == ".safetensors":
        from nnpf.nnc.safetensors import read_safetensors

        return _Model(read_safetensors(_read(path) if data is None else data))
    from nnpf.nnc.model import split_model

    parts = split_model(_load_onnx(path, data), "text" if graph_form == "text" else "onnx")
    return _Model(dict(parts.tensors), None if graph_form == "none" else parts.topology, parts.exact)


def _load_npz(file: Any, path: str) -> dict[str, Any]:
    import zipfile
    import zlib

    import numpy as np

    try:
        with np.load(file, allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}
    except (zipfile.BadZipFile, zlib.error, EOFError, ValueError, AttributeError, TypeError) as error:
        raise ValueError(f"{path}: no .npz file of plain arrays: {' '.join(str(error).split())}") from None


def _load_onnx(path: str, data: bytes | None = None) -> Any:
    import onnx

    # Weights beside the model file are read, from its own folder only: onnx checks that.
    try:
        return onnx.load(path) if data is None else onnx.load_model_from_string(data)
    except (OSError, MemoryError):
        raise
    except Exception as error:
        raise ValueError(f"{path}: no ONNX model: {' '.join(str(error).split())}") from None


def _save(args: argparse.Namespace, suffix: str, tensors: Mapping[str, Any], topology: Any) -> None:
    if suffix == ".onnx":
        from nnpf.nnc.model import join_model

        if topology is None:
            raise ValueError(
                f"{args.payload}: carries no graph: give one with --graph MODEL.onnx, or write .npz or .safetensors"
            )
        # Before the file is opened: what does not fit the graph leaves nothing behind.
        data = join_model(topology, tensors).SerializeToString(deterministic=True)
    elif suffix == ".safetensors":
        from nnpf.nnc.safetensors import write_safetensors

        data = write_safetensors(tensors)
    else:
        import numpy as np

        archive = io.BytesIO()  # a pipe cannot go back, as zip files want
        np.savez(archive, **tensors)
        data = archive.getvalue()
    with open_output(args.output, force=args.force, inputs=(args.payload,)) as out:
        out.write(data)


def _given(*paths: str | None) -> tuple[str, ...]:
    return tuple(filter(None, paths))


def _name_each(tensors: Mapping[str, Any], args: argparse.Namespace) -> None:
    for name, tensor in tensors.items() if args.verbose else ():
        print(f"nnpf: note: {name} {'x'.join(map(str, tensor.shape)) or 'scalar'} {tensor.dtype}", file=sys.stderr)


# --- decode ----------------------------------------------------------------------------------------------------------


def _decode(args: argparse.Namespace) -> int:
    from nnpf.nnc.updates import decode_update, semantics_of

    args.stream = args.payload  # what errors name
    if args.format:
        suffix = f".{args.format}"
    elif args.output == PIPE:
        raise UsageError("-o - needs --format")
    else:
        suffix = _suffix(args.output, MODEL_SUFFIXES)
    if args.graph:
        _suffix(args.graph, (".onnx",))
    if args.update_semantics and args.base is None:
        raise UsageError("--update-semantics needs --base")
    if args.json and args.output == PIPE:
        raise UsageError("--json and -o - both want standard output")
    check_output(args.output, force=args.force, inputs=_given(args.payload, args.base, args.graph))
    data = _payload(args.payload)
    decoder = _decoder()
    semantics = None
    if args.base is None:
        tensors: Mapping[str, Any] = decoder.decode(data)
        topology = decoder.last.topology
        if decoder.last.is_difference:
            print(f"nnpf: {args.payload}: differences to a base; --base adds them to it", file=sys.stderr)
    else:
        base, topology = _base(decoder, args.base)
        tensors = decode_update(decoder, base, data, args.update_semantics)
        semantics = semantics_of(decoder.last) or args.update_semantics
    if args.graph:
        from nnpf.nnc.model import split_model

        topology = split_model(_load_onnx(args.graph)).topology
    _save(args, suffix, tensors, topology)
    for note in decoder.last.notes:
        print(f"nnpf: {args.payload}: {note}", file=sys.stderr)
    _name_each(tensors, args)
    if args.output == PIPE or (args.quiet and not args.json):
        return 0
    weights = sum(v.size for v in tensors.values())
    if args.json:
        report = {"output": args.output, "tensors": len(tensors), "weights": weights, "update_semantics": semantics}
        print(json.dumps(report, indent=2))
    else:
        done = "decoded" if semantics is None else f"update applied as {semantics}"
        print(f"{args.output}: {done}, {len(tensors)} tensors, {weights} weights")
    return 0


def _base(decoder: Any, path: str) -> tuple[dict[str, Any], Any]:
    """Tensors of a base model and its graph; a payload also primes the decoder."""
    if _suffix(path, SUFFIXES) == ".nnc":
        tensors = decoder.decode(_read(path))
        return dict(tensors), decoder.last.topology
    model = _load(path)
    return model.tensors, model.topology


# --- encode ----------------------------------------------------------------------------------------------------------


def _settings(args: argparse.Namespace) -> Any:
    from dataclasses import replace

    from nnpf.nnc.quantization import quantization_parameter
    from nnpf.nnc.settings import NNCODEC, Settings

    settings = NNCODEC if args.like_nncodec else Settings(qp=DEFAULT_QP)
    if args.qp is not None:
        settings = replace(settings, qp=args.qp)
    if args.step is not None:
        if not (args.step > 0 and math.isfinite(args.step)):
            raise UsageError("--step must be positive")
        settings = replace(settings, qp=round(quantization_parameter(args.step, settings.qp_density)))
    if args.max_error is not None and not args.max_error > 0:
        raise UsageError("--max-error must be positive; without any error: --lossless")
    if args.bytes is not None and args.bytes <= 0:
        raise UsageError("--bytes must be positive")
    if args.psnr is not None and math.isnan(args.psnr):
        raise UsageError("--psnr must be a number")
    if args.uniform:
        settings = replace(settings, dependent=False)
    if args.rate_distortion is not None:
        if not (args.rate_distortion >= 0 and math.isfinite(args.rate_distortion)):
            raise UsageError("--rate-distortion must be 0 or more")
        settings = replace(settings, rate_distortion=args.rate_distortion)
    return replace(settings, lossless=args.lossless, step_search=args.search_steps)


def _encode(args: argparse.Namespace) -> int:
    from dataclasses import replace

    from nnpf import nnc
    from nnpf.nnc.targets import distortion, encode_to_target
    from nnpf.nnc.updates import apply_update, base_model_id, difference

    args.stream = args.model
    if args.model != PIPE:
        _suffix(args.model, MODEL_SUFFIXES)
    if args.base is not None:
        _suffix(args.base, SUFFIXES)
        if args.lossless:
            raise UsageError("--lossless with --base: sums of floats are not exact; encode the model itself")
    if args.json and args.output == PIPE:
        raise UsageError("--json and -o - both want standard output")
    check_output(args.output, force=args.force, inputs=_given(args.model, args.base))
    settings = _settings(args)
    model = _load(args.model, args.graph)
    tensors = model.tensors
    settings = replace(settings, raw=model.exact)
    primed = nnc.Encoder(settings)
    decoder = _decoder()
    base: dict[str, Any] = {}
    if args.base is not None:
        base, _ = _base(decoder, args.base)
        tensors = dict(difference(base, tensors))
        if not tensors:
            raise ValueError(f"{args.model}: does not differ from {args.base}: there is nothing to send")
        primed.follow(decoder)

    def coded(chosen: Any, identity: str | None) -> bytes:
        encoder = primed.copy()
        encoder.settings = chosen
        if args.base is None:
            return encoder.encode(tensors, topology=model.topology)
        return encoder.encode_update(tensors, base_model_id=identity)

    def make(chosen: Any) -> bytes:
        identity = base_model_id(base) if base and args.hash != "none" else None
        payload = coded(chosen, identity)
        if base and args.hash == "result":
            found = apply_update(base, decoder.copy().decode(payload), "difference")
            payload = coded(chosen, base_model_id(base, found))
        return payload

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
    _name_each(tensors, args)
    if args.output == PIPE or (args.quiet and not args.json):
        return 0
    found = distortion(tensors, decoder.copy().decode(payload))
    weights = sum(v.size for v in tensors.values())
    report = {
        "output": args.output,
        "bytes": len(payload),
        "tensors": len(tensors),
        "weights": weights,
        "bits_per_weight": 8 * len(payload) / weights,
        "qp": None if settings.lossless else settings.qp,
        "psnr": None if math.isinf(found.psnr) else found.psnr,
        "max_error": found.max_error,
        "update": bool(base),
    }
    if args.json:
        print(json.dumps(report, indent=2))
        return 0
    shown = "no error" if found.mse == 0 else f"{found.psnr:.1f} dB, largest error {found.max_error:.3g}"
    quantiser = "lossless" if settings.lossless else f"qp {settings.qp}"
    print(
        f"{args.output}: {len(payload)} bytes, {weights} weights, "
        f"{8 * len(payload) / weights:.2f} bits each, {quantiser}, {shown}"
    )
    return 0


# --- info ------------------------------------------------------------------------------------------------------------


def _info(args: argparse.Namespace) -> int:
    from nnpf import limits, nnc
    from nnpf.nnc.report import describe

    args.stream = args.payload
    decoder = nnc.Decoder(limits=limits.for_nnc())
    for base in args.base:
        decoder.decode(_payload(base))
    data = _payload(args.payload)
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
