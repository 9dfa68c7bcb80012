"""Measure an ONNX filter on whole pictures: the PSNR that it gains, per clip and QP.

    python tools/training/evaluate.py samples/filters/first.onnx --clips ../shared/clips --clip bbb \\
        --record samples/filters/first.json

Runs on onnxruntime, apart from the product's own engines. Pictures are extended by replication at their borders
(padding type 1), the strength channel holds each picture's own StrengthControlVal, results are rounded to 10 bit.
A gain is the mean over pictures of PSNR after minus PSNR before.
"""

import argparse
import json
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnxruntime
from pairs import CODED_MAX, ORIGINAL_TO_CODED, Pairs, clip_file, read_pairs, strength

QPS = [22, 27, 32, 37, 42]


def session(model: Path, threads: int) -> tuple[onnxruntime.InferenceSession, int]:
    """The filter in onnxruntime, and the overlap that its metadata states."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    run = onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
    return run, int(run.get_modelmeta().custom_metadata_map["overlap"])


def input_tensor(planes: list[npt.NDArray[np.generic]], level: float, overlap: int) -> npt.NDArray[np.float32]:
    """One picture (luma, Cb, Cr; 10 bit) -> (1, 7, H/2 + 2r, W/2 + 2r), samples 0..1."""
    pads = [2 * overlap, overlap, overlap]
    luma, cb, cr = (
        np.pad(plane, pad, mode="edge") / np.float32(CODED_MAX) for plane, pad in zip(planes, pads, strict=True)
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


def gains(run: onnxruntime.InferenceSession, overlap: int, pairs: Pairs, every: int = 1) -> npt.NDArray[np.float64]:
    """(pictures, 3) dPSNR of luma, Cb, Cr."""
    rows = []
    for t in range(0, len(pairs.slice_qp), every):
        before = [plane[t] for plane in pairs.coded]
        target = [ORIGINAL_TO_CODED * plane[t].astype(np.uint16) for plane in pairs.original]
        x = input_tensor(before, strength(int(pairs.slice_qp[t])), overlap)
        after = output_planes(run.run(None, {run.get_inputs()[0].name: x})[0])
        rows.append([psnr(a, o) - psnr(b, o) for a, b, o in zip(after, before, target, strict=True)])
    return np.array(rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("--clips", type=Path, nargs="+", required=True, help="folders of NAME.mkv and NAME_qQP.266")
    parser.add_argument("--clip", action="append", required=True, help="a clip to measure; may be given more than once")
    parser.add_argument("--every", type=int, default=1, help="take every n-th picture")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument(
        "--record", type=Path, help="JSON file that takes the table under `measured`, beside what it has"
    )
    args = parser.parse_args()
    run, overlap = session(args.model, args.threads)
    table: dict[str, dict[str, list[float]]] = {}
    print(f"{'clip':16s} QP   luma     Cb      Cr     luma, worst picture")
    for clip in args.clip:
        original = clip_file(args.clips, f"{clip}.mkv")
        for qp in QPS:
            pairs = read_pairs(original, clip_file(args.clips, f"{clip}_q{qp}.266"), clip=clip, qp=qp)
            rows = gains(run, overlap, pairs, args.every)
            mean = rows.mean(0)
            table.setdefault(clip, {})[str(qp)] = [round(float(v), 4) for v in mean]
            print(
                f"{clip:16s} {qp}  {mean[0]:+.3f}  {mean[1]:+.3f}  {mean[2]:+.3f}  {rows[:, 0].min():+.3f}", flush=True
            )
        mean = np.mean(list(table[clip].values()), 0)
        print(f"{clip:16s} all {mean[0]:+.3f}  {mean[1]:+.3f}  {mean[2]:+.3f}", flush=True)
    if args.record:
        record = json.loads(args.record.read_text()) if args.record.exists() else {}
        record["measured"] = record.get("measured", {}) | table
        args.record.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
