"""Train a post-filter and write it as ONNX with its record.

    python tools/training/train.py tools/training/first.yaml --clips ../shared/clips MORE --work WORK \\
        --output samples/filters/first.onnx

MORE is the folder that more_clips.py wrote.

The loss is per sample: the squared error of each sample, divided by the mean squared error of the same plane of the
same coded picture. So each picture counts by the share of its error that is removed, that is by its PSNR gain, and a
QP 22 picture counts as much as a QP 42 one. A run that was stopped goes on from its last checkpoint in --work; every
step draws its patches from a generator seeded by (seed, step), so the data are the same whether it was stopped or not.
"""

import argparse
import json
import platform
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import torch
import yaml
from network import Filter, Shape, to_onnx
from pairs import CODED_MAX, ORIGINAL_TO_CODED, PLANES, Pairs, cached_pairs, data_version, strength
from torch import Tensor

# Errors are divided by this at least (10-bit levels squared). A plane that was coded almost without error, such as the
# chroma of a grey picture, would outweigh all others.
LEAST_MSE = 4.0

Gains = dict[str, dict[int, list[float]]]  # clip -> QP -> dPSNR of luma, Cb, Cr


@dataclass(frozen=True, slots=True)
class Clip:
    """A coded clip ready to draw patches from: coded planes padded by replication, as at the picture borders."""

    coded: list[npt.NDArray[np.generic]]
    original: tuple[npt.NDArray[np.generic], ...]
    strengths: list[float]
    mse: npt.NDArray[np.float64]  # (T, 3), of samples in 0..1


def plane_mse(pairs: Pairs) -> npt.NDArray[np.float64]:
    errors = [
        ((coded.astype(np.float32) - np.float32(ORIGINAL_TO_CODED) * original) ** 2).mean((1, 2), dtype=np.float64)
        for coded, original in zip(pairs.coded, pairs.original, strict=True)
    ]
    return np.maximum(np.stack(errors, 1), LEAST_MSE) / CODED_MAX**2


def load_clip(pairs: Pairs, overlap: int) -> Clip:
    pads = [2 * overlap, overlap, overlap]
    coded = [np.pad(c, ((0, 0), (p, p), (p, p)), mode="edge") for c, p in zip(pairs.coded, pads, strict=True)]
    return Clip(coded, pairs.original, [strength(int(q)) for q in pairs.slice_qp], plane_mse(pairs))


def tensors(luma: Tensor, cb: Tensor, cr: Tensor) -> Tensor:
    """Planes (N, 2H, 2W), (N, H, W), (N, H, W) -> (N, 6, H, W), order 3."""
    phases = [luma[:, i::2, j::2] for i in (0, 1) for j in (0, 1)]
    return torch.stack([*phases, cb, cr], 1)


def turned(plane: npt.NDArray[np.generic], turn: int) -> npt.NDArray[np.generic]:
    """One of the eight ways to turn and mirror a square plane."""
    if turn & 1:
        plane = plane[::-1]
    if turn & 2:
        plane = plane[:, ::-1]
    return plane.T if turn & 4 else plane


def recolour(
    coded: list[npt.NDArray[np.float32]],
    original: list[npt.NDArray[np.float32]],
    spread: list[float],
    mirror: bool,
    rng: np.random.Generator,
) -> None:
    """Shift each plane of each patch at random, alike in coded and original; `mirror` half of the chroma about grey.

    What the coder did to a patch hardly depends on its brightness and colour, but eight clips have few of them: without
    this a network learns which ones drifted there. With it, the luma gain on other clips doubles.
    """
    for plane, (c, o, reach) in enumerate(zip(coded, original, spread, strict=True)):
        shift = rng.uniform(-reach, reach, (len(c), 1, 1)).astype(np.float32) * CODED_MAX
        if mirror and plane > 0:
            turned_over = rng.random((len(c), 1, 1)) < 0.5
            c *= np.where(turned_over, np.float32(-1), np.float32(1))
            o *= np.where(turned_over, np.float32(-1), np.float32(1))
            shift += np.where(turned_over, np.float32(CODED_MAX + 1), np.float32(0))
        c += shift
        o += shift / ORIGINAL_TO_CODED


@dataclass(frozen=True, slots=True)
class Batch:
    coded: list[npt.NDArray[np.float32]]
    original: list[npt.NDArray[np.float32]]
    strengths: npt.NDArray[np.float32]
    mse: npt.NDArray[np.float32]


def draw(
    clips: list[Clip],
    seed: int,
    step: int,
    *,
    batch: int,
    patch: int,
    overlap: int,
    spread: list[float],
    mirror_from: int,
) -> Batch:
    """The patches of one step. Every clip and QP is as likely as any other."""
    rng = np.random.default_rng((seed, step))
    size = patch + 2 * overlap
    coded = [np.empty((batch, s, s), np.float32) for s in (2 * size, size, size)]
    original = [np.empty((batch, s, s), np.float32) for s in (2 * patch, patch, patch)]
    strengths = np.empty(batch, np.float32)
    mse = np.empty((batch, len(PLANES)), np.float32)
    for n in range(batch):
        clip = clips[rng.integers(len(clips))]
        t = rng.integers(len(clip.strengths))
        height, width = clip.original[1].shape[1:]
        y, x = rng.integers(height - patch + 1), rng.integers(width - patch + 1)
        turn = int(rng.integers(8))
        for p, unit in enumerate((2, 1, 1)):
            a, b, s, o = unit * y, unit * x, unit * size, unit * patch
            coded[p][n] = turned(clip.coded[p][t, a : a + s, b : b + s], turn)
            original[p][n] = turned(clip.original[p][t, a : a + o, b : b + o], turn)
        strengths[n] = clip.strengths[t]
        mse[n] = clip.mse[t]
    recolour(coded, original, spread, step >= mirror_from, rng)
    return Batch(coded, original, strengths, mse)


def to_tensors(batch: Batch, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    """Network input (N, 7, h, w), target (N, 6, H, W), both 0..1, and the coded planes' errors (N, 3)."""
    coded = tensors(*(torch.from_numpy(plane).to(device) for plane in batch.coded)) / CODED_MAX
    target = tensors(*(torch.from_numpy(plane).to(device) for plane in batch.original)) * (
        ORIGINAL_TO_CODED / CODED_MAX
    )
    levels = torch.from_numpy(batch.strengths).to(device).view(-1, 1, 1, 1).expand(-1, 1, *coded.shape[2:])
    return torch.cat((coded, levels), 1), target, torch.from_numpy(batch.mse).to(device)


def loss_per_sample(output: Tensor, target: Tensor, mse: Tensor, plane_weights: list[float]) -> Tensor:
    """1.0 = the error of the coded pictures, on the average over pictures; planes weighted."""
    error = (output - target).square().mean((2, 3))
    planes = torch.stack((error[:, :4].mean(1), error[:, 4], error[:, 5]), 1)
    return (planes / mse * planes.new_tensor(plane_weights)).sum(1).mean()


@torch.no_grad()
def watch(network: Filter, clips: list[tuple[int, Pairs]], every: int, device: torch.device) -> Gains:
    """dPSNR of whole pictures, rounded to 10 bit as `nnpf apply` does, averaged over pictures."""
    overlap = network.shape.overlap
    gains: Gains = {}
    for qp, pairs in clips:
        rows = []
        clip = load_clip(
            Pairs(
                pairs.clip,
                qp,
                tuple(p[::every] for p in pairs.coded),  # type: ignore[arg-type]
                tuple(p[::every] for p in pairs.original),  # type: ignore[arg-type]
                pairs.slice_qp[::every],
            ),
            overlap,
        )
        for t, level in enumerate(clip.strengths):
            one = Batch(
                [p[t : t + 1].astype(np.float32) for p in clip.coded],
                [p[t : t + 1].astype(np.float32) for p in clip.original],
                np.array([level], np.float32),
                clip.mse[t : t + 1].astype(np.float32),
            )
            x, target, _ = to_tensors(one, device)
            x = x.contiguous(memory_format=torch.channels_last)
            output = (network(x) * CODED_MAX).round().clamp(0, CODED_MAX) / CODED_MAX
            error = (output - target).double().square().mean((0, 2, 3)).cpu().numpy()
            after = np.array([error[:4].mean(), error[4], error[5]])
            rows.append(10 * np.log10(clip.mse[t] / after))
        gains.setdefault(pairs.clip, {})[qp] = [float(v) for v in np.mean(rows, 0)]
    return gains


def score(gains: Gains) -> float:
    """What the best checkpoint is chosen by: the luma gain of the worst clip and QP, the mean one, some chroma."""
    rows = [row for by_qp in gains.values() for row in by_qp.values()]
    luma = [row[0] for row in rows]
    chroma = [(row[1] + row[2]) / 2 for row in rows]
    return min(luma) + sum(luma) / len(luma) + 0.1 * sum(chroma) / len(chroma)


def rate_at(step: int, steps: int, rate: float, warmup: int) -> float:
    """Linear warm-up, then a half cosine down to 1 % of `rate`."""
    if step < warmup:
        return rate * (step + 1) / warmup
    progress = (step - warmup) / max(1, steps - warmup)
    return rate * (0.01 + 0.99 * 0.5 * (1 + float(np.cos(np.pi * progress))))


def batches(clips: list[Clip], first: int, last: int, seed: int, **size: Any) -> Iterator[Batch]:
    """The patches of steps first..last-1, each drawn by a second thread while the step before it runs."""
    with ThreadPoolExecutor(1) as pool:
        coming = pool.submit(draw, clips, seed, first, **size)
        for step in range(first + 1, last + 1):
            ready = coming.result()
            coming = pool.submit(draw, clips, seed, step, **size)
            yield ready


def line(gains: Gains) -> str:
    """Per clip: the luma gain at each QP, and the mean gains of Cb and Cr."""
    parts = []
    for clip, by_qp in gains.items():
        luma = " ".join(f"{row[0]:+.3f}" for row in by_qp.values())
        _, cb, cr = np.mean(list(by_qp.values()), 0)
        parts.append(f"{clip} {luma} ({cb:+.3f} {cr:+.3f})")
    return "  ".join(parts)


def train(config: dict[str, Any], folders: list[Path], work: Path, device: torch.device) -> dict[str, Any]:
    """Run all steps; returns the best checkpoint: {step, weights, gains, score, log}."""
    data, training, seed = config["data"], config["training"], config["seed"]
    shape = Shape(**config["network"])
    torch.manual_seed(seed)
    network = Filter(shape).to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    average = Filter(shape).to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    average.load_state_dict(network.state_dict())
    optimiser = torch.optim.Adam(network.parameters(), lr=training["rate"])
    cache = work.parent / "cache"
    clips = [
        load_clip(cached_pairs(folders, cache, clip=clip, qp=qp), shape.overlap)
        for clip in data["train"]
        for qp in data["qps"]
    ]
    watched = [(qp, cached_pairs(folders, cache, clip=c, qp=qp)) for c in data["watch"] for qp in data["qps"]]
    best: dict[str, Any] = {"score": float("-inf")}
    log: list[dict[str, Any]] = []
    start, steps = 0, training["steps"]
    checkpoint = work / "checkpoint.pt"
    if checkpoint.exists():
        state = torch.load(checkpoint, weights_only=True, map_location=device)
        network.load_state_dict(state["network"])
        average.load_state_dict(state["average"])
        optimiser.load_state_dict(state["optimiser"])
        start, best, log = state["step"], state["best"], state["log"]
        print(f"goes on from step {start}", flush=True)
    running, began = 0.0, time.monotonic()
    size = {key: training[key] for key in ("batch", "patch", "spread", "mirror_from")} | {"overlap": shape.overlap}
    drawn = batches(clips, start, steps, seed, **size)
    for step, batch in enumerate(drawn, start):
        for group in optimiser.param_groups:
            group["lr"] = rate_at(step, steps, training["rate"], training["warmup"])
        x, target, mse = to_tensors(batch, device)
        x = x.contiguous(memory_format=torch.channels_last)
        output = network(x, half=step < training["half_until"] * steps)
        loss = loss_per_sample(output, target, mse, training["plane_weights"])
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimiser.step()
        decay = min(training["average"], (step + 1) / (step + 10))
        with torch.no_grad():
            torch._foreach_lerp_(list(average.parameters()), list(network.parameters()), 1 - decay)
        running += float(loss.detach())
        done = step + 1
        if done % training["watch_steps"] == 0 or done == steps:
            gains = watch(average, watched, data["watch_every"], device)
            value = score(gains)
            since = done - start if not log else done - max(start, log[-1]["step"])
            log.append({"step": done, "loss": running / since, "gains": gains})
            if value > best["score"]:
                weights = {k: v.clone() for k, v in average.state_dict().items()}
                best = {"score": value, "step": done, "weights": weights}
            seconds = time.monotonic() - began
            print(
                f"{done:6d}  {seconds:6.0f} s  loss {running / since:.4f}  score {value:.3f}  {line(gains)}",
                flush=True,
            )
            running = 0.0
            state = {
                "step": done,
                "network": network.state_dict(),
                "average": average.state_dict(),
                "best": best,
                "log": log,
            }
            torch.save(state | {"optimiser": optimiser.state_dict()}, checkpoint.with_suffix(".new"))
            checkpoint.with_suffix(".new").replace(checkpoint)
    return best | {"log": log}


def environment(device: torch.device) -> dict[str, str]:
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.machine()
    return {"python": platform.python_version(), "torch": torch.__version__, "numpy": np.__version__, "device": name}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config", type=Path, help="YAML file: network, data, training")
    parser.add_argument("--clips", type=Path, nargs="+", required=True, help="folders of NAME.mkv and NAME_qQP.266")
    parser.add_argument(
        "--work", type=Path, required=True, help="folder for checkpoints; ../cache beside it holds decoded clips"
    )
    parser.add_argument("--output", type=Path, required=True, help="ONNX file to write; its record goes to OUTPUT.json")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    args = parser.parse_args()
    config = yaml.safe_load(args.config.read_text())
    torch.set_num_threads(config["threads"])
    args.work.mkdir(parents=True, exist_ok=True)
    device = torch.device(args.device)
    best = train(config, args.clips, args.work, device)
    shape = Shape(**config["network"])
    network = Filter(shape)
    network.load_state_dict(best["weights"])
    command = f"python tools/training/train.py {args.config} --clips CLIPS MORE --work WORK --output {args.output.name}"
    files = data_version(args.clips, config["data"]["train"] + config["data"]["watch"], config["data"]["qps"])
    purpose = "less coding artefacts: H.266 | VVC, 10 bit, 4:2:0 (nnpfc_purpose bit 0, visual quality)"
    onnx.save(to_onnx(network, purpose=purpose, training=command), str(args.output))
    record = {
        "config": config,
        "command": command,
        "environment": environment(device),
        "data_sha256": files,
        "chosen_step": best["step"],
        "log_columns": "step, loss, score; gains: clip, QP -> dB of luma, Cb, Cr on watched pictures",
        "log": [
            entry
            | {"loss": round(entry["loss"], 4)}
            | {"gains": {c: {q: [round(v, 3) for v in r] for q, r in g.items()} for c, g in entry["gains"].items()}}
            for entry in best["log"]
        ],
    }
    args.output.with_suffix(".json").write_text(json.dumps(record, indent=1) + "\n")
    print(f"{args.output}: step {best['step']}, {shape.macs_per_luma_sample:g} MAC per luma sample", file=sys.stderr)


if __name__ == "__main__":
    main()
