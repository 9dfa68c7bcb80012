"""nnpf.nnc beside NNCodec, on the filters of ../shared/vectors/nnc/models, in one run on this machine.

    python bench/nnc.py                           our figures alone
    python bench/nnc.py --nncodec PYTHON          ours and NNCodec's, and their ratios
    python bench/nnc.py --nncodec PYTHON --rates  bytes at equal error instead of speeds (slow)
    python bench/nnc.py --nncodec PYTHON --interop  does NNCodec decode what we write?
    python bench/nnc.py --start-up                a whole process: import, one small update

PYTHON is the interpreter of NNCodec's own environment. Without it, this prints how to make one.
Both sides run in processes of their own and take turns; best of the rounds. CPU seconds change less than wall seconds
where the machine is busy. "growth" is peak memory minus memory before the first call.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
MODELS = ROOT.parent / "shared" / "vectors" / "nnc" / "models"
VECTORS = ROOT / "tests" / "nnc" / "vectors"

RECIPE = """NNCodec needs its own environment (numpy below 2, a C++ compiler); nothing of it belongs in this repository:
  python3 -m venv /tmp/nncodec
  /tmp/nncodec/bin/pip install "numpy<2" pybind11 "setuptools<70" wheel tqdm
  /tmp/nncodec/bin/pip install --no-deps --no-build-isolation nncodec==2.1.3
  python bench/nnc.py --nncodec /tmp/nncodec/bin/python
Its other imports (torch, torchvision, sklearn, pandas, OpenCV ...) are not needed for coding; this script stands empty
modules in for them."""

# What NNCodec imports and coding does not use.
UNUSED = (
    "cv2 datasets flwr h5py matplotlib pandas PIL ptflops requests sentencepiece sklearn tensorflow timm tokenizers "
    "torch torchmetrics torchvision transformers wandb"
)


def stand_in_for_unused() -> None:
    """Modules whose every attribute is a class that accepts anything."""
    import importlib.abc
    import importlib.machinery
    import types

    class AnyMeta(type):
        def __getattr__(cls, name: str) -> Any:
            if name.startswith("__"):
                raise AttributeError(name)
            return Anything

    class Anything(metaclass=AnyMeta):
        def __init__(self, *args: object, **options: object) -> None:
            pass

        def __call__(self, *args: object, **options: object) -> Any:
            return Anything()

        def __getattr__(self, name: str) -> Any:
            if name.startswith("__"):
                raise AttributeError(name)
            return Anything

    class Module(types.ModuleType):
        def __getattr__(self, name: str) -> Any:
            if name.startswith("__"):
                raise AttributeError(name)
            return Anything

    class Finder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
        def find_spec(self, name: str, path: Any = None, target: Any = None) -> Any:
            if name.split(".")[0] in UNUSED.split():
                return importlib.machinery.ModuleSpec(name, self, is_package=True)
            return None

        def create_module(self, spec: Any) -> Any:
            module = Module(spec.name)
            module.__path__ = []
            return module

        def exec_module(self, module: Any) -> None:
            pass

    sys.meta_path.insert(0, Finder())


# --- the side that works; runs under either interpreter ---------------------------------------------------------------


def codec(side: str, threads: int) -> tuple[Callable[..., bytes], Callable[[bytes], Any]]:
    """encode(tensors, qp, dependent, weight of the rate) and decode(payload)."""
    if side == "nncodec":
        stand_in_for_unused()
        from nncodec import nnc as theirs  # type: ignore[import-not-found]

        def encode_theirs(tensors: Any, qp: int, dependent: bool, rate: float) -> bytes:
            return bytes(
                theirs.compress(
                    tensors,
                    bitstream_path=None,
                    return_bitstream=True,
                    qp=qp,
                    use_dq=dependent,
                    lambda_scale=rate,
                )
            )

        return encode_theirs, lambda payload: theirs.decompress(bytearray(payload))

    sys.path.insert(0, str(ROOT))
    from dataclasses import replace

    from nnpf import nnc
    from nnpf.nnc.settings import NNCODEC

    def encode_ours(tensors: Any, qp: int, dependent: bool, rate: float) -> bytes:
        chosen = nnc.Settings(qp=qp) if math.isnan(rate) else replace(NNCODEC, qp=qp, rate_distortion=rate)
        return nnc.encode(tensors, replace(chosen, dependent=dependent, threads=threads))

    return encode_ours, lambda payload: nnc.decode(payload, threads=threads)


def seconds(work: Callable[[], Any], rounds: int) -> tuple[Any, float, float]:
    """The result, and the least wall and CPU seconds."""
    wall = cpu = math.inf
    result = None
    for _ in range(rounds):
        before, start = resource.getrusage(resource.RUSAGE_SELF), time.perf_counter()
        result = work()
        wall = min(wall, time.perf_counter() - start)
        after = resource.getrusage(resource.RUSAGE_SELF)
        cpu = min(cpu, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    return result, wall, cpu


def peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def worker(task: dict[str, Any]) -> dict[str, Any]:
    """One row: encode, decode, how far off, how long, how much memory."""
    import numpy as np

    with np.load(MODELS / f"{task['model']}.npz") as file:
        tensors = {name: file[name] for name in file.files}
    rate = math.nan if task["rate"] is None else task["rate"]
    encode, decode = codec(task["side"], task["threads"])
    small = {"w": np.ones((4, 8), np.float32)}
    decode(encode(small, -20, task["dependent"], rate))  # imports, machine code
    before = peak_mb()
    if task["decode_only"]:
        payload = Path(task["decode_only"]).read_bytes()
        encode_wall = encode_cpu = math.nan
    else:
        payload, encode_wall, encode_cpu = seconds(
            lambda: encode(tensors, task["qp"], task["dependent"], rate), task["rounds"]
        )
        Path(task["payload"]).write_bytes(payload)
    decoded, decode_wall, decode_cpu = seconds(lambda: decode(payload), task["rounds"])
    growth = peak_mb() - before
    squares = sum(((np.asarray(decoded[n], np.float64) - v) ** 2).sum() for n, v in tensors.items())
    return {
        "bytes": len(payload),
        "weights": sum(v.size for v in tensors.values()),
        "mse": float(squares) / sum(v.size for v in tensors.values()),
        "encode": [encode_wall, encode_cpu],
        "decode": [decode_wall, decode_cpu],
        "growth": growth,
    }


# --- the side that compares -------------------------------------------------------------------------------------------


def ask(python: str, **task: Any) -> dict[str, Any]:
    """Run one row in a fresh process."""
    given = {"rounds": 3, "rate": 0.0, "threads": 1, "decode_only": "", "payload": os.devnull, **task}
    run = subprocess.run([python, __file__, "--worker", json.dumps(given)], capture_output=True, text=True, check=False)
    if run.returncode:
        sys.exit(run.stderr.strip() or f"{python} failed")
    found: dict[str, Any] = json.loads(run.stdout.strip().splitlines()[-1])
    return found


def speeds(nncodec: str | None) -> None:
    """Same tools, same payload on both sides."""
    for model in ("filter200k", "filter5m"):
        for qp, dependent in ((-26, True), (-38, False), (-38, True)):
            print(f"\n{model}, qp {qp}, {'dependent' if dependent else 'uniform'}")
            rows: dict[str, dict[str, Any]] = {}
            with tempfile.TemporaryDirectory() as folder:
                common = {"model": model, "qp": qp, "dependent": dependent}
                for threads in (1, 2):
                    rows[f"nnpf, {threads} thread{'s' if threads > 1 else ''}"] = ask(
                        sys.executable, side="nnpf", threads=threads, payload=f"{folder}/{threads}", **common
                    )
                if nncodec:
                    rows["NNCodec"] = ask(nncodec, side="nncodec", payload=f"{folder}/theirs", **common)
                    same = Path(f"{folder}/1").read_bytes() == Path(f"{folder}/theirs").read_bytes()
                    print("the same bytes" if same else "DIFFERENT BYTES")
            columns = f"{'encode wall/CPU s':>18} {'decode wall/CPU s':>18} {'M weights/s':>11} growth MB"
            print(f"{'':16} {'bytes':>9} {columns}")
            theirs = rows.get("NNCodec")
            for name, row in rows.items():
                rate = row["weights"] / row["decode"][0] / 1e6
                line = (
                    f"{name:16} {row['bytes']:9} {row['encode'][0]:9.3f} {row['encode'][1]:8.3f} "
                    f"{row['decode'][0]:9.3f} {row['decode'][1]:8.3f} {rate:11.1f} {row['growth']:9.0f}"
                )
                if theirs and row is not theirs:
                    line += (
                        f"   encode {theirs['encode'][0] / row['encode'][0]:.2f}x,"
                        f" decode {theirs['decode'][0] / row['decode'][0]:.2f}x"
                    )
                print(line, flush=True)


def rates(nncodec: str) -> None:
    """Bytes at equal error: our defaults against NNCodec's, with and without its rate-distortion optimisation."""
    import numpy as np

    for model in ("filter200k", "filter5m"):
        common = {"model": model, "dependent": True, "rounds": 1}
        curves = {}
        for rate in (0.0, 0.5):
            found = [ask(nncodec, side="nncodec", qp=qp, rate=rate, **common) for qp in range(-44, -19, 3)]
            curves[rate] = sorted((math.log(f["mse"]), f["bytes"]) for f in found)
        print(f"\n{model}: our bytes as a share of NNCodec's at the same squared error")
        print(f"{'qp':>4} {'bytes':>9} {'MSE':>10} {'default':>8} {'lambda 0.5':>10} {'encode s':>9}")
        for qp in (-38, -32, -26):
            ours = ask(sys.executable, side="nnpf", qp=qp, rate=None, threads=2, **common)
            shares = [
                ours["bytes"] / np.interp(math.log(ours["mse"]), [e for e, _ in curve], [b for _, b in curve])
                for curve in curves.values()
            ]
            print(
                f"{qp:4} {ours['bytes']:9} {ours['mse']:10.3e} {shares[0]:8.4f} {shares[1]:10.4f}"
                f" {ours['encode'][0]:9.2f}",
                flush=True,
            )


def decode_with_nncodec(folder: Path) -> None:
    """Decode every payload of a folder with NNCodec; runs under its interpreter."""
    import numpy as np

    _, decode = codec("nncodec", 1)
    for path in sorted(folder.glob("*.nnc")):
        try:
            tensors = decode(path.read_bytes())
        except BaseException as error:  # it ends some errors with SystemExit
            path.with_suffix(".error").write_text(f"{type(error).__name__}: {error}")
        else:
            np.savez(path.with_suffix(".npz"), **tensors)


def interop(nncodec: str) -> None:
    """Our streams through NNCodec. Of a self-contained payload it is given all but the topology unit, whose formats it
    refuses; raw floats it reads in the last unit only."""
    import numpy as np

    sys.path.insert(0, str(ROOT))
    import onnx

    from nnpf import nnc
    from nnpf.nnc.model import encode_model
    from nnpf.nnc.units import UnitType, read_units

    payloads = {f.stem: f.read_bytes() for f in VECTORS.glob("*.nnc") if not f.stem.startswith("update_")}
    sample = encode_model(onnx.load(ROOT / "samples" / "filters" / "first.onnx"))
    without = b"".join(
        sample[u.offset : u.offset + u.size] for u in read_units(sample) if u.unit_type != UnitType.NNR_TPL
    )
    payloads["self-contained, its topology ignored"] = without
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for title, payload in payloads.items():
            (folder / f"{title}.nnc").write_bytes(payload)
        subprocess.run([nncodec, __file__, "--worker", json.dumps({"interop": name})], check=True, capture_output=True)
        for title, payload in sorted(payloads.items()):
            error = folder / f"{title}.error"
            if error.exists():
                print(f"{title}: {error.read_text()}")
                continue
            ours = nnc.decode(payload)
            with np.load(folder / f"{title}.npz") as theirs:
                same = set(ours) == set(theirs.files) and all(
                    np.array_equal(ours[n], theirs[n].astype(ours[n].dtype)) for n in ours
                )
            print(f"{title}: {'the same tensors' if same else 'OTHER TENSORS'}")


def start_up() -> None:
    """Importing and decoding a base and a small update, compiled code cached, as a whole process."""
    update = VECTORS / "update_1.nnc"
    program = (
        "import sys; sys.path.insert(0, sys.argv[1]); from nnpf import nnc; d = nnc.Decoder();"
        "[d.decode(open(p, 'rb').read()) for p in sys.argv[2:]]"
    )
    bare = "import sys; sys.path.insert(0, sys.argv[1]); import nnpf.nnc"
    command = [sys.executable, "-c", program, str(ROOT), str(VECTORS / "update_0.nnc"), str(update)]
    subprocess.run(command, check=True)  # fills the cache
    for title, what in (
        (
            "import nnpf.nnc",
            [sys.executable, "-c", bare, str(ROOT)],
        ),
        ("import numba", [sys.executable, "-c", "import numba"]),
        ("import, decode a base and an update", command),
    ):
        walls = []
        for _ in range(5):
            start = time.perf_counter()
            subprocess.run(what, check=True)
            walls.append(time.perf_counter() - start)
        print(f"{title:36} {min(walls):.2f} s")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nncodec", metavar="PYTHON", help="interpreter of NNCodec's environment")
    parser.add_argument("--rates", action="store_true", help="bytes at equal error")
    parser.add_argument("--interop", action="store_true", help="whether NNCodec decodes our streams")
    parser.add_argument("--start-up", action="store_true", help="time of a whole process")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.worker:
        task = json.loads(args.worker)
        if "interop" in task:
            decode_with_nncodec(Path(task["interop"]))
        else:
            print(json.dumps(worker(task)))
    elif args.start_up:
        start_up()
    elif args.interop:
        if not args.nncodec:
            sys.exit(RECIPE)
        interop(args.nncodec)
    elif not MODELS.is_dir():
        sys.exit(f"the models are not in {MODELS}")
    elif args.rates:
        if not args.nncodec:
            sys.exit(RECIPE)
        rates(args.nncodec)
    else:
        if not args.nncodec:
            print(RECIPE)
        speeds(args.nncodec)


if __name__ == "__main__":
    main()
