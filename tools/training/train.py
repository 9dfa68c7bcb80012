"""Train a post-filter and write it as ONNX with its record.

    python tools/training/train.py tools/training/small.yaml --clips ../shared/clips MORE --work WORK \\
        --output samples/filters/small.onnx

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
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import integer
import numpy as np
import numpy.typing as npt
import onnx
import torch
import yaml
from integer import IntegerFilter
from muon import Muon
from network import Filter, Shape, to_onnx
from pairs import CODED_MAX, ORIGINAL_TO_CODED, PLANES, Pairs, cached_pairs, data_version, strength
from torch import Tensor

from nnpf.model import Model
from nnpf.prepare import prepare

OPTIMISERS = {"adam": torch.optim.Adam, "muon": Muon}

# Patches begin at multiples of this many tensor samples, give or take.
GRID = 8
# Most patches are drawn where the error is, since the rest of a picture says little; each counts the less, the likelier
# it was drawn, so the loss is the same on the average, with less noise.
EVEN_SHARE = 0.3

# Errors are divided by this at least (10-bit levels squared). A plane that was coded almost without error, such as the
# chroma of a grey picture, would outweigh all others.
LEAST_MSE = 4.0

PURPOSE = "less coding artefacts: H.266 | VVC, 10 bit, 4:2:0 (nnpfc_purpose bit 0, visual quality)"

# What a checkpoint holds: step, network, average, optimiser, best {score, step, weights}, log, parts.
State = dict[str, Any]
Gains = dict[str, dict[int, list[float]]]  # clip -> QP -> dPSNR of luma, Cb, Cr


@dataclass(frozen=True, slots=True)
class Clip:
    """A coded clip ready to draw patches from. Its planes stay in the files that cached_pairs maps.

    Attributes:
        mse: (T, 3), of samples in 0..1.
        chances: (T, rows, columns) how likely a patch begins at GRID * (row, column); their sum is 1 for each picture.
    """

    pairs: Pairs
    strengths: list[float]
    mse: npt.NDArray[np.float64]
    chances: npt.NDArray[np.float64]


def plane_mse(pairs: Pairs) -> npt.NDArray[np.float64]:
    errors = [
        ((coded.astype(np.float32) - np.float32(ORIGINAL_TO_CODED) * original) ** 2).mean((1, 2), dtype=np.float64)
        for coded, original in zip(pairs.coded, pairs.original, strict=True)
    ]
    return np.maximum(np.stack(errors, 1), LEAST_MSE) / CODED_MAX**2


def patch_chances(pairs: Pairs, patch: int) -> npt.NDArray[np.float64]:
    """Clip.chances: a share EVEN_SHARE alike everywhere, the rest where the coder's luma error is."""
    block = 2 * GRID
    error = pairs.coded[0].astype(np.float32) - np.float32(ORIGINAL_TO_CODED) * pairs.original[0]
    pictures, high, wide = error.shape
    rows, columns = high // block, wide // block
    error = error[:, : rows * block, : columns * block].reshape(pictures, rows, block, columns, block)
    energy = np.square(error).sum((2, 4), dtype=np.float64)
    sides = -(-patch // GRID)
    windows = np.lib.stride_tricks.sliding_window_view(energy, (sides, sides), (1, 2)).sum((3, 4))
    share = windows / np.maximum(windows.sum((1, 2), keepdims=True), 1e-9)
    return EVEN_SHARE / windows[0].size + (1 - EVEN_SHARE) * share


def load_clip(pairs: Pairs, patch: int) -> Clip:
    levels = [strength(int(q)) for q in pairs.slice_qp]
    return Clip(pairs, levels, plane_mse(pairs), patch_chances(pairs, patch))


def cut(plane: npt.NDArray[np.generic], top: int, left: int, size: int) -> npt.NDArray[np.generic]:
    """A square of a plane, which goes on beyond its borders by replication, as padding type 1 has it."""
    high, wide = plane.shape
    if top >= 0 and left >= 0 and top + size <= high and left + size <= wide:
        return plane[top : top + size, left : left + size]
    rows, columns = (np.clip(np.arange(a, a + size), 0, side - 1) for a, side in ((top, high), (left, wide)))
    return plane[rows[:, None], columns]


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
    mirror: float,
    rng: np.random.Generator,
) -> None:
    """Shift each plane of each patch at random, alike in coded and original; mirror a share of the chroma about grey.

    What the coder did to a patch hardly depends on its brightness and colour, but eight clips have few of them: without
    this a network learns which ones drifted there. With it, the luma gain on other clips doubles.
    """
    for plane, (c, o, reach) in enumerate(zip(coded, original, spread, strict=True)):
        shift = rng.uniform(-reach, reach, (len(c), 1, 1)).astype(np.float32) * CODED_MAX
        if plane > 0:
            turned_over = rng.random((len(c), 1, 1)) < mirror
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
    weights: npt.NDArray[np.float32]

    def parts(self, size: int) -> Iterator["Batch"]:
        """The same patches, up to `size` at a time."""
        for first in range(0, len(self.mse), size):
            few = slice(first, first + size)
            coded, original = ([plane[few] for plane in planes] for planes in (self.coded, self.original))
            yield Batch(coded, original, self.strengths[few], self.mse[few], self.weights[few])


def draw(
    clips: list[Clip],
    seed: int,
    step: int,
    *,
    batch: int,
    patch: int,
    overlap: int,
    spread: list[float],
    mirror: float,
    shares: npt.NDArray[np.float64] | None = None,
) -> Batch:
    """The patches of one step. Every clip and QP is as likely as any other, or as `shares` says, whose sum is 1."""
    rng = np.random.default_rng((seed, step))
    size = patch + 2 * overlap
    coded = [np.empty((batch, s, s), np.float32) for s in (2 * size, size, size)]
    original = [np.empty((batch, s, s), np.float32) for s in (2 * patch, patch, patch)]
    strengths = np.empty(batch, np.float32)
    mse = np.empty((batch, len(PLANES)), np.float32)
    weights = np.empty(batch, np.float32)
    chosen = rng.choice(len(clips), batch, p=shares)
    for n in range(batch):
        clip = clips[chosen[n]]
        t = rng.integers(len(clip.strengths))
        height, width = clip.pairs.original[1].shape[1:]
        chances = clip.chances[t]
        at = min(int(np.searchsorted(chances.cumsum(), rng.random())), chances.size - 1)
        weights[n] = 1 / (chances.size * chances.flat[at])
        row, column = divmod(at, chances.shape[1])
        y = min(GRID * row + int(rng.integers(GRID)), height - patch)
        x = min(GRID * column + int(rng.integers(GRID)), width - patch)
        turn = int(rng.integers(8))
        for p, unit in enumerate((2, 1, 1)):
            top, left, r = unit * y, unit * x, unit * overlap
            coded[p][n] = turned(cut(clip.pairs.coded[p][t], top - r, left - r, unit * size), turn)
            original[p][n] = turned(cut(clip.pairs.original[p][t], top, left, unit * patch), turn)
        strengths[n] = clip.strengths[t]
        mse[n] = clip.mse[t]
    recolour(coded, original, spread, mirror, rng)
    return Batch(coded, original, strengths, mse, weights)


def to_tensors(batch: Batch, device: torch.device) -> tuple[Tensor, Tensor]:
    """Network input (N, 7, h, w), target (N, 6, H, W), both 0..1."""
    coded = tensors(*(torch.from_numpy(plane).to(device) for plane in batch.coded)) / CODED_MAX
    target = tensors(*(torch.from_numpy(plane).to(device) for plane in batch.original)) * (
        ORIGINAL_TO_CODED / CODED_MAX
    )
    levels = torch.from_numpy(batch.strengths).to(device).view(-1, 1, 1, 1).expand(-1, 1, *coded.shape[2:])
    return torch.cat((coded, levels), 1).contiguous(memory_format=torch.channels_last), target


def planes_error(output: Tensor, target: Tensor) -> Tensor:
    """(N, 6, H, W) twice -> (N, 3) mean squared errors of luma, Cb, Cr."""
    error = (output - target).square().mean((2, 3))
    return torch.stack((error[:, :4].mean(1), error[:, 4], error[:, 5]), 1)


def loss_of(output: Tensor, target: Tensor, batch: Batch, plane_weights: list[float]) -> Tensor:
    """1.0 = the error of the coded pictures, on the average over pictures; planes weighted."""
    mse, weights = (torch.from_numpy(a).to(output.device) for a in (batch.mse, batch.weights))
    shares = (planes_error(output, target) / mse * mse.new_tensor(plane_weights)).sum(1)
    return (shares * weights).mean()


@torch.no_grad()
def watch(network: Filter, clips: list[Pairs], every: int, device: torch.device) -> Gains:
    """dPSNR of whole pictures, rounded to 10 bit as `nnpf apply` does, averaged over pictures."""
    r = network.shape.overlap
    pads = (2 * r, r, r)
    gains: Gains = {}
    for pairs in clips:
        rows = []
        for t in range(0, len(pairs.slice_qp), every):
            coded = [
                np.pad(c[t], p, mode="edge")[None].astype(np.float32) for c, p in zip(pairs.coded, pads, strict=True)
            ]
            original = [plane[t][None].astype(np.float32) for plane in pairs.original]
            level = np.array([strength(int(pairs.slice_qp[t]))], np.float32)
            nothing = np.empty(0, np.float32)
            x, target = to_tensors(Batch(coded, original, level, nothing, nothing), device)
            output = (network(x) * CODED_MAX).round().clamp(0, CODED_MAX) / CODED_MAX
            after = planes_error(output.double(), target.double())
            before = planes_error(x[:, :6, r:-r, r:-r].double(), target.double())
            rows.append(10 * torch.log10(before / after)[0].cpu().numpy())
        gains.setdefault(pairs.clip, {})[pairs.qp] = [float(v) for v in np.mean(rows, 0)]
    return gains


def score(gains: Gains) -> float:
    """What the best checkpoint is chosen by: the luma gain of the worst clip and QP, the mean one, some chroma.

    A loss in any plane of any clip at any QP counts five times: no filter should make a stream worse.
    """
    rows = np.array([row for by_qp in gains.values() for row in by_qp.values()])
    mean, worst = rows.mean(0), rows.min(0)
    return float(worst[0] + mean[0] + 0.1 * (mean[1] + mean[2]) / 2 + 5 * min(0, worst.min()))


def rate_at(step: int, steps: int, rate: float, warmup: int, begin: int = 0) -> float:
    """Linear warm-up from step `begin` on, then a half cosine down to 1 % of `rate` at `steps`."""
    step, steps = step - begin, steps - begin
    if step < warmup:
        return rate * (step + 1) / warmup
    progress = (step - warmup) / max(1, steps - warmup)
    return rate * (0.01 + 0.99 * 0.5 * (1 + float(np.cos(np.pi * progress))))


def names(patterns: list[str], folders: list[Path], qps: list[int]) -> list[str]:
    """The clips that match, by name. A pattern takes what is there, all QPs of it; a plain name must be there."""
    found: dict[str, None] = {}
    for pattern in patterns:
        if not any(c in pattern for c in "*?["):
            found[pattern] = None
            continue
        for path in sorted(path for folder in folders for path in folder.glob(f"{pattern}.mkv")):
            if all((path.parent / f"{path.stem}_q{qp}.266").exists() for qp in qps):
                found[path.stem] = None
    return list(found)


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


def make_network(config: dict[str, Any]) -> Filter:
    shape = Shape(**config["network"])
    return IntegerFilter(shape) if config["integer"] else Filter(shape)


def exported(network: Filter, training: str) -> onnx.ModelProto:
    """The filter as ONNX; a real one with its multipliers and offsets in one tensor, ready for `nnpf adapt`."""
    if isinstance(network, IntegerFilter):
        return integer.to_onnx(network, purpose=PURPOSE, training=training)
    model = to_onnx(network, purpose=PURPOSE, training=training)
    return prepare(Model(model, "filter"), ("multipliers", "biases")).proto


def train(
    config: dict[str, Any],
    folders: list[Path],
    work: Path,
    device: torch.device,
    found: Callable[[State], None],
    start_from: Path | None = None,
) -> State:
    """Run all steps, from the last checkpoint on if there is one, else from the best weights of `start_from`.

    `found` is called with each checkpoint that is the best so far.
    """
    data, training, seed = config["data"], config["training"], config["seed"]
    torch.manual_seed(seed)
    network, average = (make_network(config).to(device, memory_format=torch.channels_last) for _ in range(2))  # type: ignore[call-overload]
    if start_from:
        network.load_state_dict(torch.load(start_from, weights_only=True)["best"]["weights"], strict=False)
    average.load_state_dict(network.state_dict())
    average.eval()
    overlap = network.shape.overlap
    optimiser = OPTIMISERS[training["optimiser"]](network.parameters(), lr=training["rate"])
    cache = work.parent / "cache"
    trained = names(data["train"], folders, data["qps"])
    clips = [
        load_clip(cached_pairs(folders, cache, clip=clip, qp=qp), training["patch"])
        for clip in trained
        for qp in data["qps"]
    ]
    often = np.array([next((v for k, v in data["often"].items() if fnmatch(c.pairs.clip, k)), 1.0) for c in clips])
    watched = [cached_pairs(folders, cache, clip=c, qp=qp) for c in data["watch"] for qp in data["qps"]]
    state: State = {"step": 0, "best": {"score": float("-inf")}, "log": [], "parts": []}
    checkpoint = work / "checkpoint.pt"
    if checkpoint.exists():
        state = torch.load(checkpoint, weights_only=True, map_location=device)
        network.load_state_dict(state["network"])
        average.load_state_dict(state["average"])
        optimiser.load_state_dict(state["optimiser"])
        best = state["best"]  # as this version counts
        best["score"] = next(score(entry["gains"]) for entry in state["log"] if entry["step"] == best["step"])
        print(f"goes on from step {state['step']}, best score {best['score']:.3f}", flush=True)
    # A run that goes on does so with the configuration and the clips of that time.
    settings = {"clips": trained, "often": data["often"], "training": training}
    if not state["parts"] or {key: state["parts"][-1].get(key) for key in settings} != settings:
        state["parts"].append({"from_step": state["step"]} | settings)
    print(f"{len(trained)} clips", flush=True)
    start, steps = state["step"], training["steps"]
    running, counted, began = 0.0, 0, time.monotonic()
    size = {key: training[key] for key in ("batch", "patch", "spread", "mirror")} | {
        "overlap": overlap,
        "shares": often / often.sum(),
    }
    for step, batch in enumerate(batches(clips, start, steps, seed, **size), start):
        for group in optimiser.param_groups:
            group["lr"] = rate_at(step, steps, training["rate"], training["warmup"], training.get("begin", 0))
        half = step < training["half_until"] * steps
        optimiser.zero_grad()
        # A few patches at a time, so that what goes from layer to layer stays in the cache.
        for part in batch.parts(training.get("at_once", training["batch"])):
            x, target = to_tensors(part, device)
            loss = loss_of(network(x, half=half), target, part, training["plane_weights"])
            loss = loss * (len(part.mse) / len(batch.mse))
            loss.backward()  # type: ignore[no-untyped-call]
            running += float(loss.detach())
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimiser.step()
        decay = min(training["average"], (step + 1) / (step + 10))
        with torch.no_grad():
            torch._foreach_lerp_(list(average.parameters()), list(network.parameters()), 1 - decay)
            for mean, buffer in zip(average.buffers(), network.buffers(), strict=True):
                mean.copy_(buffer)
        counted += 1
        done = step + 1
        if done % training["watch_steps"] and done != steps:
            continue
        gains = watch(average, watched, data["watch_every"], device)
        value = score(gains)
        state["step"] = done
        state["log"].append({"step": done, "loss": running / counted, "gains": gains})
        seconds = time.monotonic() - began
        print(f"{done:6d} {seconds:5.0f} s  loss {running / counted:.4f}  score {value:.3f}  {line(gains)}", flush=True)
        running, counted = 0.0, 0
        if value > state["best"]["score"]:
            weights = {k: v.clone() for k, v in average.state_dict().items()}
            state["best"] = {"score": value, "step": done, "weights": weights}
        state |= {"network": network.state_dict(), "average": average.state_dict(), "optimiser": optimiser.state_dict()}
        torch.save(state, checkpoint.with_suffix(".new"))
        checkpoint.with_suffix(".new").replace(checkpoint)
        if state["best"]["step"] == done:
            found(state)
    return state


def environment(device: torch.device) -> dict[str, str]:
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.machine()
    return {"python": platform.python_version(), "torch": torch.__version__, "numpy": np.__version__, "device": name}


def rounded(gains: Gains) -> Gains:
    return {clip: {qp: [round(v, 3) for v in row] for qp, row in by_qp.items()} for clip, by_qp in gains.items()}


def written_record(
    config: dict[str, Any], command: str, device: torch.device, state: State, folders: list[Path]
) -> dict[str, Any]:
    """What is written beside the filter: how it was made, of what, and how the watched clips fared."""
    qps = config["data"]["qps"]
    used = sorted({name for part in state["parts"] for name in part["clips"]} | set(config["data"]["watch"]))
    return {
        "config": config,
        "command": command,
        "environment": environment(device),
        "parts": state["parts"],
        "data_sha256": data_version(folders, used, qps),
        "chosen_step": state["best"]["step"],
        "log_columns": "step, loss; gains: clip, QP -> dB of luma, Cb, Cr on watched pictures",
        "log": [entry | {"loss": round(entry["loss"], 4), "gains": rounded(entry["gains"])} for entry in state["log"]],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config", type=Path, help="YAML file: network, data, training")
    parser.add_argument("--clips", type=Path, nargs="+", required=True, help="folders of NAME.mkv and NAME_qQP.266")
    parser.add_argument(
        "--work", type=Path, required=True, help="folder for checkpoints; ../cache beside it holds decoded clips"
    )
    parser.add_argument("--output", type=Path, required=True, help="ONNX file to write; its record goes to OUTPUT.json")
    parser.add_argument(
        "--start", type=Path, help="checkpoint.pt of another run, whose best weights this one starts from"
    )
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    args = parser.parse_args()
    config = {"integer": False} | yaml.safe_load(args.config.read_text())
    torch.set_num_threads(config["threads"])
    args.work.mkdir(parents=True, exist_ok=True)
    device = torch.device(args.device)
    command = f"python tools/training/train.py {args.config} --clips CLIPS MORE --work WORK --output {args.output.name}"
    if args.start:
        command += f" --start {args.start.parent.name}/{args.start.name}"

    def write(state: State) -> None:
        network = make_network(config)
        network.load_state_dict(state["best"]["weights"])
        onnx.save(exported(network, command), str(args.output))

    state = train(config, args.clips, args.work, device, write, args.start)
    record = written_record(config, command, device, state, args.clips)
    args.output.with_suffix(".json").write_text(json.dumps(record, indent=1) + "\n")
    print(f"{args.output}: step {record['chosen_step']}", file=sys.stderr)


if __name__ == "__main__":
    main()
