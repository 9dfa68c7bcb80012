"""Weights between those of two checkpoints of one run, where neither is best: writes the filter and its record.

    python tools/training/blend.py tools/training/tiny.yaml EARLIER/checkpoint.pt LATER/checkpoint.pt \\
        --clips ../shared/clips MORE --work WORK --output samples/filters/tiny.onnx

A run that goes on with other clips gains on most content and may lose on some. Both ends lie in one valley of the loss,
so that networks between them gain what is between, or more. The share of the later one is chosen by the score on all
pictures of the watched clips, among those that make none of them worse in any plane, if there are such. WORK gets a
checkpoint with the blend, from which another run can start.
"""

import argparse
import json
from pathlib import Path

import onnx
import torch
import yaml
from pairs import cached_pairs
from train import exported, line, make_network, rounded, score, watch, written_record

SHARES = [n / 10 for n in range(11)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config", type=Path, help="YAML file of the run")
    parser.add_argument("earlier", type=Path, help="checkpoint.pt")
    parser.add_argument("later", type=Path, help="checkpoint.pt of the same run, when it had gone on")
    parser.add_argument("--clips", type=Path, nargs="+", required=True, help="folders of NAME.mkv and NAME_qQP.266")
    parser.add_argument(
        "--work", type=Path, required=True, help="folder for the checkpoint; ../cache has decoded clips"
    )
    parser.add_argument("--output", type=Path, required=True, help="ONNX file to write; its record goes to OUTPUT.json")
    args = parser.parse_args()
    config = {"integer": False} | yaml.safe_load(args.config.read_text())
    torch.set_num_threads(config["threads"])
    args.work.mkdir(parents=True, exist_ok=True)
    device, data = torch.device("cpu"), config["data"]
    earlier, later = (torch.load(path, weights_only=True, map_location=device) for path in (args.earlier, args.later))
    before, after = (state["best"]["weights"] for state in (earlier, later))
    cache = args.work.parent / "cache"
    watched = [cached_pairs(args.clips, cache, clip=c, qp=q) for c in data["watch"] for q in data["qps"]]
    network = make_network(config)
    tried = []
    for share in SHARES:
        network.load_state_dict({key: before[key].lerp(after[key], share) for key in after})
        gains = watch(network, watched, 1, device)
        print(f"{share:.1f}  score {score(gains):.3f}  {line(gains)}", flush=True)
        nowhere_worse = min(v for by_qp in gains.values() for row in by_qp.values() for v in row) > 0
        tried.append((nowhere_worse, score(gains), share, gains))
    _, value, share, gains = max(tried, key=lambda row: row[:2])
    weights = {key: before[key].lerp(after[key], share) for key in after}
    network.load_state_dict(weights)
    state = later | {"best": {"score": value, "step": later["best"]["step"], "weights": weights}}
    torch.save(state, args.work / "checkpoint.pt")
    command = f"python tools/training/blend.py {args.config} EARLIER LATER --clips CLIPS MORE --work WORK"
    command += f" --output {args.output.name}"
    onnx.save(exported(network, command), str(args.output))
    steps = {"earlier": earlier["best"]["step"], "later": later["best"]["step"]}
    blend = {"blend": steps | {"share_of_later": share, "gains": rounded(gains)}}
    record = written_record(config, command, device, state, args.clips) | blend
    args.output.with_suffix(".json").write_text(json.dumps(record, indent=1) + "\n")
    print(f"{args.output}: {share} of step {steps['later']}, the rest of step {steps['earlier']}")


if __name__ == "__main__":
    main()
