"""Measure an ONNX filter on whole pictures: the PSNR that it gains, per clip and QP, and the BD-rate per clip.

    python tools/training/evaluate.py samples/filters/small.onnx --clips ../shared/clips --clip bbb \\
        --record samples/filters/small.json

Runs on onnxruntime, apart from the product's own engines. Pictures are extended by replication at their borders
(padding type 1), the strength channel holds each picture's own StrengthControlVal, results are rounded to 10 bit.
A gain is the mean over pictures of PSNR after minus PSNR before. BD-rates (QP 22 to 37 and 27 to 42) are those of the
mean PSNR at the size of the coded stream, without messages. The filter of the peer was trained with other borders and
another strength: --overlap 4 --padding reflect --strength qp.
"""

import argparse
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
from pairs import CODED_MAX, ORIGINAL_TO_CODED, PLANES, Pairs, clip_file, read_pairs, strength

from nnpf.rate_distortion import RatePoint, bjontegaard_delta

QPS = [22, 27, 32, 37, 42]
RANGES = {"22-37": QPS[:4], "27-42": QPS[1:]}

# What the strength channel holds for a SliceQpY.
STRENGTHS = {"h274": strength, "qp": lambda slice_qp: slice_qp / 63}


@dataclass(frozen=True, slots=True)
class Run:
    """A filter in onnxruntime, and how its input is made: overlap in tensor samples, padding as of numpy.pad."""

    session: onnxruntime.InferenceSession
    overlap: int
    padding: str = "edge"
    strength: str = "h274"


def session(
    model: Path, threads: int, overlap: int | None = None, padding: str = "edge", strength: str = "h274"
) -> Run:
    """The filter, for pictures of any size even if its file names one. Without `overlap` its metadata state it."""
    proto = onnx.load(model)
    for value, letter in ((proto.graph.input[0], "i"), (proto.graph.output[0], "o")):
        for at in (0, 2, 3):
            value.type.tensor_type.shape.dim[at].dim_param = f"{letter}{at}"
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3  # no word on sizes other than the file names
    run = onnxruntime.InferenceSession(proto.SerializeToString(), options, providers=["CPUExecutionProvider"])
    if overlap is None:
        overlap = int(run.get_modelmeta().custom_metadata_map["overlap"])
    return Run(run, overlap, padding, strength)


def input_tensor(
    planes: list[npt.NDArray[np.generic]], level: float, overlap: int, padding: str = "edge"
) -> npt.NDArray[np.float32]:
    """One picture (luma, Cb, Cr; 10 bit) -> (1, 7, H/2 + 2r, W/2 + 2r), samples 0..1."""
    pads = [2 * overlap, overlap, overlap]
    luma, cb, cr = (
        np.pad(plane, pad, mode=padding) / np.float32(CODED_MAX)  # type: ignore[call-overload]
        for plane, pad in zip(planes, pads, strict=True)
    )
    phases = [luma[i::2, j::2] for i in (0, 1) for j in (0, 1)]
    return np.stack([*phases, cb, cr, np.full_like(cb, level)])[None].astype(np.float32)


def output_planes(tensor: npt.NDArray[np.float32]) -> list[npt.NDArray[np.uint16]]:
    """(1, 6, H/2, W/2) -> luma, Cb, Cr; 10 bit."""
    samples = np.clip(np.rint(tensor[0] * CODED_MAX), 0, CODED_MAX).astype(np.uint16)
    luma = np.empty((2 * samples.shape[1], 2 * samples.shape[2]), np.uint16)
    for n, (i, j) in enumerate((i, j) for i in (0, 1) for j in (0, 1)):
        luma[i::2, j::2] = samples[n]
    return [luma, samples[4], samples[5]]


def psnr(a: npt.NDArray[np.generic], b: npt.NDArray[np.generic]) -> float:
    error = np.mean((a.astype(np.float64) - b.astype(np.float64)) ** 2)
    return float(10 * np.log10(CODED_MAX**2 / error))


def psnrs(run: Run, pairs: Pairs, every: int = 1) -> npt.NDArray[np.float64]:
    """(pictures, 2, 3) PSNR before and after of luma, Cb, Cr."""
    rows = []
    name = run.session.get_inputs()[0].name
    for t in range(0, len(pairs.slice_qp), every):
        before = [plane[t] for plane in pairs.coded]
        target = [ORIGINAL_TO_CODED * plane[t].astype(np.uint16) for plane in pairs.original]
        level = STRENGTHS[run.strength](int(pairs.slice_qp[t]))
        x = input_tensor(before, level, run.overlap, run.padding)
        after = output_planes(run.session.run(None, {name: x})[0])
        rows.append([[psnr(a, o) for a, o in zip(planes, target, strict=True)] for planes in (before, after)])
    return np.array(rows)


def gains(run: Run, pairs: Pairs, every: int = 1) -> npt.NDArray[np.float64]:
    """(pictures, 3) dPSNR of luma, Cb, Cr."""
    table = psnrs(run, pairs, every)
    difference: npt.NDArray[np.float64] = table[:, 1] - table[:, 0]
    return difference


def bd_rates(sizes: dict[int, int], means: dict[int, npt.NDArray[np.float64]]) -> dict[str, list[float | None]]:
    """BD-rate in percent of luma, Cb and Cr for each range of QPs. `means`: QP -> (2, 3) PSNR before and after."""
    table = {}
    for name, qps in RANGES.items():
        curves = [[[RatePoint(str(q), sizes[q], float(means[q][k][p])) for q in qps] for k in (0, 1)] for p in range(3)]
        table[name] = [bjontegaard_delta(before, after).rate_percent for before, after in curves]
    return table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("--clips", type=Path, nargs="+", required=True, help="folders of NAME.mkv and NAME_qQP.266")
    parser.add_argument("--clip", action="append", required=True, help="a clip to measure; may be given more than once")
    parser.add_argument("--every", type=int, default=1, help="take every n-th picture")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--overlap", type=int, help="tensor samples (default: what the model's metadata state)")
    parser.add_argument("--padding", choices=("edge", "reflect"), default="edge", help="beyond the picture")
    parser.add_argument("--strength", choices=tuple(STRENGTHS), default="h274", help="StrengthControlVal, or QP / 63")
    parser.add_argument(
        "--record", type=Path, help="JSON file that takes the tables `measured` and `bd_rate`, beside what it has"
    )
    args = parser.parse_args()
    run = session(args.model, args.threads, args.overlap, args.padding, args.strength)
    measured: dict[str, dict[str, list[float]]] = {}
    rates: dict[str, dict[str, list[float | None]]] = {}
    print(f"{'clip':16s} QP   luma     Cb      Cr     luma, worst picture")
    for clip in args.clip:
        original = clip_file(args.clips, f"{clip}.mkv")
        means: dict[int, npt.NDArray[np.float64]] = {}
        sizes: dict[int, int] = {}
        for qp in QPS:
            coded = clip_file(args.clips, f"{clip}_q{qp}.266")
            table = psnrs(run, read_pairs(original, coded, clip=clip, qp=qp), args.every)
            means[qp], sizes[qp] = table.mean(0), coded.stat().st_size
            gain = means[qp][1] - means[qp][0]
            worst = (table[:, 1, 0] - table[:, 0, 0]).min()
            measured.setdefault(clip, {})[str(qp)] = [round(float(v), 4) for v in gain]
            print(f"{clip:16s} {qp}  {gain[0]:+.3f}  {gain[1]:+.3f}  {gain[2]:+.3f}  {worst:+.3f}", flush=True)
        mean = np.mean(list(measured[clip].values()), 0)
        print(f"{clip:16s} all {mean[0]:+.3f}  {mean[1]:+.3f}  {mean[2]:+.3f}")
        rates[clip] = {
            name: [v if v is None else round(v, 2) for v in row] for name, row in bd_rates(sizes, means).items()
        }
        for name, row in rates[clip].items():
            print(f"{clip:16s} BD-rate {name}: ", *(f"{p} {v} %" for p, v in zip(PLANES, row, strict=True)), flush=True)
    if args.record:
        record = json.loads(args.record.read_text()) if args.record.exists() else {}
        record["measured"] = record.get("measured", {}) | measured
        record["bd_rate"] = record.get("bd_rate", {}) | rates
        args.record.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
