"""nnpf.nnc beside NNCodec, on the filters of ../shared/vectors/nnc/models, in one run on this machine.

    python bench/nnc.py --nncodec PYTHON                      speeds, start-up, memory: each goal with PASS or FAIL
    python bench/nnc.py --nncodec PYTHON --rates              bytes at equal error (slow)
    python bench/nnc.py --nncodec PYTHON --interop            does NNCodec decode what we write?
    python bench/nnc.py --nncodec PYTHON --speeds --rates --interop    all of it
    python bench/nnc.py                                       our figures alone

PYTHON is the interpreter of NNCodec's own environment. Without it, this prints how to make one.

Both sides run in processes of their own and take turns; what is compared are medians over all turns, so that other work
on the machine hits both alike. Goals count wall seconds and want an idle machine; CPU seconds are shown because they
change less where it is not. Ends with exit code 3 if a goal is missed.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
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


def seconds(work: Callable[[], Any], rounds: int) -> tuple[Any, list[float], list[float]]:
    """The result, and the wall and CPU seconds of each round."""
    wall, cpu = [], []
    result = None
    for _ in range(rounds):
        before, start = resource.getrusage(resource.RUSAGE_SELF), time.perf_counter()
        result = work()
        wall.append(time.perf_counter() - start)
        after = resource.getrusage(resource.RUSAGE_SELF)
        cpu.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    return result, wall, cpu


def peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def worker(task: dict[str, Any]) -> dict[str, Any]:
    """One row: encode, or decode; how far off, how long, how much memory."""
    import numpy as np

    rate = math.nan if task["rate"] is None else task["rate"]
    encode, decode = codec(task["side"], task["threads"])
    small = {"w": np.ones((4, 8), np.float32)}
    decode(encode(small, -20, task["dependent"], rate))  # imports, machine code
    found: dict[str, Any] = {}
    if task["encode"]:
        with np.load(MODELS / f"{task['model']}.npz") as file:
            tensors = {name: file[name] for name in file.files}
        before = peak_mb()
        payload, found["encode"], found["encode_cpu"] = seconds(
            lambda: encode(tensors, task["qp"], task["dependent"], rate), task["rounds"]
        )
        Path(task["payload"]).write_bytes(payload)
        found["bytes"] = len(payload)
        found["growth"] = peak_mb() - before
        if task["error"]:
            decoded = decode(payload)
            squares = sum(((np.asarray(decoded[n], np.float64) - v) ** 2).sum() for n, v in tensors.items())
            found["mse"] = float(squares) / sum(v.size for v in tensors.values())
    else:
        payload = Path(task["payload"]).read_bytes()
        before = peak_mb()
        decoded, found["decode"], found["decode_cpu"] = seconds(lambda: decode(payload), task["rounds"])
        found["growth"] = peak_mb() - before
        found["weights"] = sum(v.size for v in decoded.values())
    found["peak"] = peak_mb()
    return found


# --- the side that compares -------------------------------------------------------------------------------------------


def ask(python: str, **task: Any) -> dict[str, Any]:
    """Run one row in a fresh process."""
    given = {"rounds": 1, "rate": 0.0, "threads": 1, "payload": os.devnull, "encode": True, "error": False, **task}
    run = subprocess.run([python, __file__, "--worker", json.dumps(given)], capture_output=True, text=True, check=False)
    if run.returncode:
        sys.exit(run.stderr.strip() or f"{python} failed")
    found: dict[str, Any] = json.loads(run.stdout.strip().splitlines()[-1])
    return found


class Goals:
    """What was to be reached, and what was."""

    def __init__(self) -> None:
        self._lines: list[str] = []
        self.missed = False

    def at_least(self, title: str, found: float, wanted: float, unit: str = "x") -> None:
        self._add(title, found, wanted, unit, found >= wanted, "at least")

    def at_most(self, title: str, found: float, wanted: float, unit: str) -> None:
        self._add(title, found, wanted, unit, found <= wanted, "at most")

    def holds(self, title: str, met: bool) -> None:
        self._lines.append(f"{'PASS' if met else 'FAIL'}  {title}")
        self.missed |= not met

    def _add(self, title: str, found: float, wanted: float, unit: str, met: bool, word: str) -> None:
        self._lines.append(f"{'PASS' if met else 'FAIL'}  {title}: {found:.4g} {unit} ({word} {wanted:g})")
        self.missed |= not met

    def show(self) -> None:
        print("\ngoals")
        print("\n".join(self._lines), flush=True)


FILTERS = ("filter200k", "filter5m")

# Quantisation parameter, dependent, weight of the rate: NNCodec's levels byte for byte, and levels optimised by both.
MODES = ((-26, True, 0.0), (-38, False, 0.0), (-38, True, 0.0), (-38, True, 0.5))
TURNS = 3
ROUNDS = 3


@dataclass
class Row:
    """One side, in all turns."""

    python: str
    side: str
    threads: int
    payload: str
    encode: list[float] = field(default_factory=list)
    encode_cpu: list[float] = field(default_factory=list)
    decode: list[float] = field(default_factory=list)
    decode_cpu: list[float] = field(default_factory=list)
    growth: float = 0.0
    peak: float = 0.0
    bytes: int = 0
    weights: int = 0

    def turn(self, payload: str, **task: Any) -> None:
        """Encode, and decode the given payload."""
        common = {"side": self.side, "threads": self.threads, "rounds": ROUNDS, **task}
        found = ask(self.python, payload=self.payload, **common)
        self.bytes = found["bytes"]
        self.encode += found["encode"]
        self.encode_cpu += found["encode_cpu"]
        found = ask(self.python, encode=False, payload=payload or self.payload, **common)
        self.decode += found["decode"]
        self.decode_cpu += found["decode_cpu"]
        self.growth = max(self.growth, found["growth"])
        self.peak = max(self.peak, found["peak"])
        self.weights = found["weights"]


def speeds(nncodec: str | None, goals: Goals, turns: int) -> None:
    """Same tools; without optimisation the same bytes. Both sides decode the same payload."""
    median = statistics.median
    for model in FILTERS:
        for qp, dependent, rate in MODES:
            title = f"{model} qp {qp} {'dependent' if dependent else 'uniform'}" + (f" lambda {rate}" if rate else "")
            with tempfile.TemporaryDirectory() as folder:
                rows = {
                    "nnpf, 1 thread": Row(sys.executable, "nnpf", 1, f"{folder}/1"),
                    "nnpf, 2 threads": Row(sys.executable, "nnpf", 2, f"{folder}/2"),
                }
                if nncodec:
                    rows = {"NNCodec": Row(nncodec, "nncodec", 1, f"{folder}/theirs"), **rows}
                shared = next(iter(rows.values())).payload
                for _ in range(turns):
                    for row in rows.values():
                        row.turn(shared, model=model, qp=qp, dependent=dependent, rate=rate)
                if nncodec and not rate:
                    written = {Path(row.payload).read_bytes() for row in rows.values()}
                    goals.holds(f"{title}: the same bytes as NNCodec", len(written) == 1)
            print(f"\n{title}; medians of {turns} x {ROUNDS}")
            print(
                f"{'':16} {'bytes':>9} {'encode s':>9} {'CPU':>7} {'decode s':>9} {'CPU':>7} {'M weights/s':>12}",
                end="",
            )
            print(f" {'growth MB':>10} {'peak MB':>8}")
            for name, row in rows.items():
                print(
                    f"{name:16} {row.bytes:9} {median(row.encode):9.3f} {median(row.encode_cpu):7.3f}"
                    f" {median(row.decode):9.3f} {median(row.decode_cpu):7.3f}"
                    f" {row.weights / median(row.decode) / 1e6:12.1f} {row.growth:10.0f} {row.peak:8.0f}",
                    flush=True,
                )
            one, two = rows["nnpf, 1 thread"], rows["nnpf, 2 threads"]
            if nncodec:
                theirs = rows["NNCodec"]
                for ours, encode, decode in ((one, 1.1, 1.0), (two, 2.0, 1.5)):
                    cores = f"{title}, {ours.threads} core{'s' if ours.threads > 1 else ''}"
                    goals.at_least(f"{cores}: encode", median(theirs.encode) / median(ours.encode), encode)
                    if model == "filter5m":
                        goals.at_least(f"{cores}: decode", median(theirs.decode) / median(ours.decode), decode)
            if model == "filter200k":
                goals.at_most(f"{title}: decode, 1 core", 1000 * median(one.decode), 40, "ms")
            floats = 4 * two.weights / 2**20
            growth = max(one.growth, two.growth)
            goals.at_most(f"{title}: memory of decoding beyond what is loaded", growth, 1.5 * floats + 100, "MB")


def rates(nncodec: str, goals: Goals) -> None:
    """Bytes at equal error: our defaults against NNCodec's, with and without its rate-distortion optimisation."""
    import numpy as np

    for model in FILTERS:
        common = {"model": model, "dependent": True, "error": True}
        print(f"\n{model}: our bytes as a share of NNCodec's at the same squared error, by its weight of the rate")
        weights = (0.0, 0.25, 0.5, 1.0)
        print(f"{'qp':>4} {'bytes':>9} {'MSE':>10} " + " ".join(f"{w:>7}" for w in weights) + f" {'encode s':>9}")
        default = []
        for qp in (-38, -32, -26):
            ours = ask(sys.executable, side="nnpf", qp=qp, rate=None, threads=2, **common)
            shares = []
            for weight in weights:
                # Its points next to ours: between neighbours bytes follow the logarithm of the error.
                points = []
                for near in range(qp - 2, qp + 4):
                    found = ask(nncodec, side="nncodec", qp=near, rate=weight, **common)
                    points.append((math.log(found["mse"]), found["bytes"]))
                points.sort()
                shares.append(
                    ours["bytes"] / np.interp(math.log(ours["mse"]), [e for e, _ in points], [b for _, b in points])
                )
            default.append(shares[0])
            print(
                f"{qp:4} {ours['bytes']:9} {ours['mse']:10.3e} "
                + " ".join(f"{share:7.4f}" for share in shares)
                + f" {ours['encode'][0]:9.2f}",
                flush=True,
            )
            goals.at_most(f"{model} qp {qp}: bytes at equal error", shares[0], 0.98, "of NNCodec's")
            goals.at_most(f"{model} qp {qp}: the same with its optimisation", max(shares), 1.0, "of NNCodec's")
        mean = math.exp(statistics.fmean(map(math.log, default)))
        goals.at_most(f"{model}, mean: bytes at equal error", mean, 0.98, "of NNCodec's")


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


def interop(nncodec: str, goals: Goals) -> None:
    """Our streams through NNCodec, which stops at an ONNX graph in the standard's form: of that payload it is given all
    but the topology unit; with the graph as text it is given the whole. Raw floats it reads in the last unit only."""
    import numpy as np

    sys.path.insert(0, str(ROOT))
    import onnx

    from nnpf import nnc
    from nnpf.nnc.model import encode_model
    from nnpf.nnc.units import UnitType, read_units

    payloads = {f.stem: f.read_bytes() for f in VECTORS.glob("*.nnc") if not f.stem.startswith("update_")}
    sample = onnx.load(ROOT / "samples" / "filters" / "tiny.onnx")
    whole = encode_model(sample)
    payloads["self-contained, without its topology unit"] = b"".join(
        whole[u.offset : u.offset + u.size] for u in read_units(whole) if u.unit_type != UnitType.NNR_TPL
    )
    payloads["self-contained, graph as text"] = encode_model(sample, graph_form="text")
    expected = {"lossless": "raw floats before other units are more than NNCodec can read"}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for title, payload in payloads.items():
            (folder / f"{title}.nnc").write_bytes(payload)
        subprocess.run([nncodec, __file__, "--worker", json.dumps({"interop": name})], check=True, capture_output=True)
        for title, payload in sorted(payloads.items()):
            error = folder / f"{title}.error"
            if error.exists() and title in expected:
                print(f"not compared: {title!r}: {expected[title]}")
                continue
            if error.exists():
                goals.holds(f"NNCodec decodes {title!r}: {error.read_text()}", False)
                continue
            ours = nnc.decode(payload)
            with np.load(folder / f"{title}.npz") as theirs:
                same = set(ours) == set(theirs.files) and all(
                    np.array_equal(ours[n], theirs[n].astype(ours[n].dtype)) for n in ours
                )
            goals.holds(f"NNCodec decodes {title!r} to the same tensors", same)


def start_up(goals: Goals) -> None:
    """Importing and decoding a base and a small update, compiled code cached, as a whole process."""
    update = VECTORS / "update_1.nnc"
    program = (
        "import sys; sys.path.insert(0, sys.argv[1]); from nnpf import nnc; d = nnc.Decoder();"
        "[d.decode(open(p, 'rb').read()) for p in sys.argv[2:]]"
    )
    bare = "import sys; sys.path.insert(0, sys.argv[1]); import nnpf.nnc"
    command = [sys.executable, "-c", program, str(ROOT), str(VECTORS / "update_0.nnc"), str(update)]
    subprocess.run(command, check=True)  # fills the cache
    print()
    walls: list[float] = []
    for title, what in (
        (
            "import nnpf.nnc",
            [sys.executable, "-c", bare, str(ROOT)],
        ),
        ("import numba", [sys.executable, "-c", "import numba"]),
        ("import, decode a base and an update", command),
    ):
        walls = []
        for _ in range(9):
            start = time.perf_counter()
            subprocess.run(what, check=True)
            walls.append(time.perf_counter() - start)
        print(f"{title:36} {statistics.median(walls):.2f} s")
    goals.at_most("a whole process: import, decode a base and a small update", statistics.median(walls), 1.2, "s")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nncodec", metavar="PYTHON", help="interpreter of NNCodec's environment")
    parser.add_argument("--speeds", action="store_true", help="speeds, start-up and memory (default)")
    parser.add_argument("--rates", action="store_true", help="bytes at equal error")
    parser.add_argument("--interop", action="store_true", help="whether NNCodec decodes our streams")
    parser.add_argument("--turns", type=int, default=TURNS, help=f"of both sides (default: {TURNS})")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.worker:
        task = json.loads(args.worker)
        if "interop" in task:
            decode_with_nncodec(Path(task["interop"]))
        else:
            print(json.dumps(worker(task)))
        return 0
    if not MODELS.is_dir():
        sys.exit(f"the models are not in {MODELS}")
    if not args.nncodec:
        print(RECIPE)
        if args.rates or args.interop:
            return 2
    goals = Goals()
    if args.speeds or not (args.rates or args.interop):
        start_up(goals)
        speeds(args.nncodec, goals, args.turns)
    if args.rates:
        rates(args.nncodec, goals)
    if args.interop:
        interop(args.nncodec, goals)
    goals.show()
    return 3 if goals.missed else 0


if __name__ == "__main__":
    sys.exit(main())
