"""How much of the time of `nnpf apply` is the network's? Ratios, measured in one run, and whether they meet the goals.

    python bench/runner.py                              the sample stream and filter
    python bench/runner.py --shared                     also the trained filter of ../shared/peer, and a 1080p stream
    python bench/runner.py --memory                     peak memory at 1080p and 2160p, for 10, 60 and 300 pictures
    python bench/runner.py --nokia PATH [--nokia-f32 PATH]   against Nokia's vvdecapp, as built, and built for float32
    python bench/runner.py --device cuda                on a GPU: the whole job against the bare network, to 2160p
    python bench/runner.py --all --nokia PATH --nokia-f32 PATH   everything; more than half an hour on two idle cores
    python bench/runner.py --all --quick                a few pictures each: tries the bench, its figures say nothing

"whole job" is decoding, filtering and writing YUV to /dev/null, through nnpf.runner.apply, between two pictures far
from both ends of the stream: starting and compiling are not in it. "bare network" is nothing but the network on the
same tensors, packed beforehand, in the same patches, in the faster of two forms: one picture at a time on all cores, or
as many at a time as the job filters. Job and network take short turns, the job waiting meanwhile, and each
ratio is that of medians. CPU seconds are given too: they change less where the machine is busy.

Exit code 3 when a goal is missed.
"""

from __future__ import annotations

import argparse
import itertools
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Generator, Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import cached_property
from pathlib import Path
from typing import Any

import av
import numpy as np
import onnx
from onnx import numpy_helper

from nnpf.characteristics import patch_process
from nnpf.describe import ONNX_TAG, characteristics
from nnpf.engines import Precision, Settings, select_engine
from nnpf.errors import NnpfError
from nnpf.filters import lanes_for, plan_patches
from nnpf.frames import Format, Frame, write_frame
from nnpf.intake import InputPicture, decoded_pictures
from nnpf.metrics import compare
from nnpf.model import Model, load
from nnpf.runner import AHEAD, QUEUE_DEPTH, ApplyOptions, Shown, apply
from nnpf.sources import ModelSources
from vsei import edit, messages, selection
from vsei.annexb import NalUnit, split
from vsei.messages import NnpfActivation, NnpfCharacteristics
from vsei.nal import Codec

ROOT = Path(__file__).resolve().parent.parent
SHARED = ROOT.parent / "shared"
SAMPLE, FILTER = ROOT / "samples/bbb_q37.266", ROOT / "samples/filters/small.onnx"
ROUNDS = 3
# As many pictures as are under way at a time.
EDGE = QUEUE_DEPTH + AHEAD * lanes_for(0)
CONSTANT = {"constant_patch_size_flag": 1, "patch_width_minus1": 63, "patch_height_minus1": 63}


@dataclass(frozen=True)
class Goal:
    """What was measured, and the bound: at least, or with `most` at most."""

    name: str
    value: float
    bound: float
    most: bool = False

    @property
    def met(self) -> bool:
        return self.value <= self.bound if self.most else self.value >= self.bound

    def __str__(self) -> str:
        relation = "at most" if self.most else "at least"
        return f"{'PASS' if self.met else 'FAIL'}  {self.value:8.3f}  {relation} {self.bound:.2f}  {self.name}"


GOALS: list[Goal] = []


# --- streams and models ----------------------------------------------------------------------------------------------


def free_size(model: Model) -> Model:
    """The peer's model with slices that follow its input instead of 4:68."""
    proto = onnx.ModelProto()
    proto.CopyFrom(model.proto)
    for tensor in proto.graph.initializer:
        value = numpy_helper.to_array(tensor)
        if value.dtype == np.int64 and value.tolist() == [68]:
            tensor.CopyFrom(numpy_helper.from_array(np.array([-4], np.int64), tensor.name))
    del proto.graph.value_info[:]
    for value_info in (*proto.graph.input, *proto.graph.output):
        dims = value_info.type.tensor_type.shape.dim
        for at in (0, 2, 3):
            dims[at].dim_param = f"{value_info.name}_{at}"
    return Model(proto, model.name)


def trivial_filter() -> Model:
    """A filter that costs next to nothing: what is left is the job around the network."""
    weight = numpy_helper.from_array(np.eye(6, dtype=np.float32).reshape(6, 6, 1, 1), "weight")
    node = onnx.helper.make_node("Conv", ["input", "weight"], ["output"])
    shape = ["n", 6, "h", "w"]
    values = [onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape) for name in ("input", "output")]
    graph = onnx.helper.make_graph([node], "trivial", values[:1], values[1:], [weight])
    opset = [onnx.helper.make_opsetid("", 17)]
    return Model(onnx.helper.make_model(graph, opset_imports=opset, ir_version=8), "trivial")


def stream_with(units: list[NalUnit], message: NnpfCharacteristics, codec: Codec = Codec.VVC) -> list[NalUnit]:
    """The stream with the filter, active for all pictures."""
    activation = NnpfActivation(
        nnpfa_target_id=1,
        nnpfa_cancel_flag=0,
        nnpfa_persistence_flag=1,
        nnpfa_target_base_flag=1,
        nnpfa_no_prev_clvs_flag=0,
        nnpfa_no_foll_clvs_flag=0,
        nnpfa_num_output_entries=0,
    )
    placements = [
        edit.Placement(selection.parse("random_access"), messages.encode(message)),
        edit.Placement(selection.parse("all"), messages.encode(activation)),
    ]
    return list(edit.inject(units, codec, placements, on_existing="replace"))


def nal_units(path: Path) -> list[NalUnit]:
    return list(split([path.read_bytes()]))


def message_for(model: Model, path: Path, picture: Format | None = None, **elements: int) -> NnpfCharacteristics:
    identity = {
        "nnpfc_id": 1,
        "nnpfc_base_flag": 1,
        "nnpfc_mode_idc": 1,
        "nnpfc_tag_uri": ONNX_TAG,
        "nnpfc_uri": path.name,
    }
    given = {f"nnpfc_{key}": value for key, value in elements.items()}
    return characteristics(identity, model, given, picture=picture)


def noise(width: int, height: int, pictures: int, folder: Path) -> Path:
    """An H.264 stream of one random picture after another, shifted; x264 comes with PyAV."""
    path = folder / f"noise_{width}x{height}.264"
    rng = np.random.default_rng(0)
    field = rng.integers(16, 236, (height // 8 + pictures, width // 8), dtype=np.uint8)
    with av.open(str(path), "w", format="h264") as container:
        stream = container.add_stream("libx264", rate=25, options={"preset": "ultrafast", "qp": "30", "bf": "0"})
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for at in range(pictures):
            luma = np.kron(field[at : at + height // 8], np.ones((8, 8), np.uint8))
            planes = np.concatenate([luma.ravel(), np.full(width * height // 2, 128, np.uint8)])
            frame = av.VideoFrame.from_ndarray(planes.reshape(height * 3 // 2, width), format="yuv420p")
            for packet in stream.encode(frame):
                container.mux(packet)
        for packet in stream.encode(None):
            container.mux(packet)
    return path


# --- what is timed ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Case:
    """One filter on one stream."""

    label: str
    stream: Path
    model_path: Path
    model: Model
    pictures: int  # in a turn: many times what is under way, which may be done or not when the time begins and ends
    turns: int
    elements: dict[str, int]
    codec: Codec = Codec.VVC

    @cached_property
    def message(self) -> NnpfCharacteristics:
        """As `nnpf inject` makes it for this stream."""
        return message_for(self.model, self.model_path, self.first_picture.format, **self.elements)

    def units(self, times: int = 1) -> list[NalUnit]:
        return stream_with(nal_units(self.stream) * times, self.message, self.codec)

    def decoded(self) -> Iterator[InputPicture]:
        return decoded_pictures(nal_units(self.stream), self.codec, check_hashes=False)

    @cached_property
    def first_picture(self) -> Frame:
        return next(self.decoded()).frame


def job(units: list[NalUnit], root: Path, codec: Codec = Codec.VVC, **options: Any) -> Generator[Shown, None, None]:
    chosen = ApplyOptions(sources=ModelSources(root), check_hashes=False, **options)
    with apply(units, codec, chosen) as pictures, Path(os.devnull).open("wb") as sink:
        for shown in pictures:
            write_frame(sink, shown.frame)
            yield shown


def timed_turns(case: Case, units: list[NalUnit], **options: Any) -> Generator[tuple[float, float], None, None]:
    """Turn after turn of one job, seconds and CPU seconds of one picture when all stages are full."""
    pictures = job(units, case.model_path.parent, case.codec, **options)
    for turn in itertools.count():
        # First come pictures that were made before the job waited, then those in whose time all stages fill again. The
        # lanes start together, so pictures come in pairs: every other turn begins between the two of a pair.
        for _ in itertools.islice(pictures, max(2 * EDGE, 0 if turn else case.pictures // 2) + turn % lanes_for(0)):
            pass
        start, busy = time.perf_counter(), time.process_time()
        count = sum(1 for _ in itertools.islice(pictures, case.pictures))
        seconds, cpu = (time.perf_counter() - start) / count, (time.process_time() - busy) / count
        time.sleep(EDGE * seconds)  # until nothing is under way that would disturb others
        yield seconds, cpu


class Bare:
    """The network on the tensors of one picture, again and again, and nothing else."""

    def __init__(self, case: Case, frame: Frame, settings: Settings, engine: str, device: str) -> None:
        made = select_engine(engine, device, settings=settings)
        plan, batch, _ = plan_patches(
            case.model,
            patch_process(case.message, frame.format),
            max_batch=made.max_batch,
            room=made.room,
            arrays=made.arrays,
            precision=settings.precision,
        )
        with plan.arrays.at_work():
            tensor = plan.pack([frame], [Fraction(1, 2)], plan.new_input())
            self._patches = [plan.extract(tensor, block) for block in plan.blocks(batch)]
            plan.arrays.wait()
        first = made.compile(case.model)
        self._networks = [first, *(first.another() for _ in range(settings.lanes - 1))]
        self._name = case.model.tensor_input.name
        self.precision = ""
        self.plan = plan
        self.run(len(self._networks))
        self.precision = first.precision

    def run(self, pictures: int) -> tuple[float, float]:
        """Seconds and CPU seconds of one picture."""
        rest = iter(range(pictures))
        lock = threading.Lock()

        def work(network: Any) -> None:
            with self.plan.arrays.at_work():
                while True:
                    with lock:
                        if next(rest, None) is None:
                            return
                    for patch in self._patches:
                        network.run({self._name: patch})
                    self.plan.arrays.wait()

        threads = [threading.Thread(target=work, args=(network,)) for network in self._networks]
        start, busy = time.perf_counter(), time.process_time()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return (time.perf_counter() - start) / pictures, (time.process_time() - busy) / pictures


def tensors_alone(case: Case, frame: Frame, count: int) -> float:
    """CPU seconds of preparing and storing the tensors of one picture."""
    plan, _, _ = plan_patches(case.model, patch_process(case.message, frame.format))
    into = plan.new_input()
    shape = (
        plan.process.num_output_pics,
        plan.process.out_channels,
        *(g * p for g, p in zip(plan.grid, plan.out_patch, strict=True)),
    )
    output = np.random.default_rng(0).random(shape, dtype=np.float32)
    busy = time.process_time()
    for _ in range(count):
        plan.pack([frame], [Fraction(1, 2)], into)
        plan.store(output, [frame])
    return (time.process_time() - busy) / count


def one_at_a_time(case: Case, frame: Frame, settings: Settings, count: int) -> float:
    """Seconds of one picture in the loop that most scripts have: cut a patch, run it, put it back."""
    plan, _, _ = plan_patches(case.model, patch_process(case.message, frame.format))
    network = select_engine("openvino", settings=settings).compile(case.model)
    name, into = case.model.tensor_input.name, plan.new_input()

    def call(batch: Any) -> Any:
        return network.run({name: batch})

    def run() -> None:
        plan.store(plan.run(call, plan.pack([frame], [Fraction(1, 2)], into), max_batch=1), [frame])

    run()
    start = time.perf_counter()
    for _ in range(count):
        run()
    return (time.perf_counter() - start) / count


# --- speed -----------------------------------------------------------------------------------------------------------


def measure(case: Case, precision: Precision, *, engine: str = "openvino", device: str = "auto") -> None:
    lanes = lanes_for(0)
    frame = case.first_picture
    forms = [
        Bare(case, frame, Settings(lanes=count, precision=precision), engine, device) for count in sorted({1, lanes})
    ]
    total = case.pictures + case.turns * (case.pictures + 2 * EDGE + lanes)
    count = sum(1 for _ in case.decoded())
    units = case.units(-(-total // count))
    options = {"engine": engine, "device": device, "precision": precision}
    jobs, loops = [], []
    bares: list[list[tuple[float, float]]] = [[] for _ in forms]
    for whole_job in itertools.islice(timed_turns(case, units, **options), case.turns):
        jobs.append(whole_job)
        for form, results in zip(forms, bares, strict=True):
            results.append(form.run(max(2 * lanes, case.pictures)))
        if engine == "openvino":
            loops.append(one_at_a_time(case, frame, Settings(precision=precision), max(1, case.pictures // 16)))
    whole, whole_cpu = (statistics.median(values) for values in zip(*jobs, strict=True))
    nets = [tuple(statistics.median(values) for values in zip(*results, strict=True)) for results in bares]
    net, net_cpu = min(nets)
    busy = time.process_time()
    start = time.perf_counter()
    decoded = sum(1 for _ in case.decoded())
    decode_cpu, decode = (time.process_time() - busy) / decoded, (time.perf_counter() - start) / decoded
    around = tensors_alone(case, frame, max(2, case.pictures // 8))
    plan = forms[0].plan
    size = "x".join(map(str, frame.planes[0].shape[::-1]))
    name = f"{case.label}, {size}, {forms[0].precision}"
    print(f"{name}: {frame.format}, {plan.num_patches} patch(es) of {plan.patch[1]}x{plan.patch[0]}")
    print(
        f"  pictures per second: whole job {1 / whole:8.2f}   bare network {1 / net:8.2f}   decoding {1 / decode:8.2f}"
    )
    print(
        f"  CPU ms per picture:  whole job {whole_cpu * 1e3:8.2f}   bare network {net_cpu * 1e3:8.2f}"
        f"   decoding {decode_cpu * 1e3:8.2f}   tensors {around * 1e3:8.2f}"
    )
    goal(f"bare network / whole job: {name}", net / whole, 0.90)
    goal(f"tensors / network, CPU time: {name}", around / net_cpu, 0.06, most=True)
    if loops:
        loop = decode + statistics.median(loops)
        print(f"  {loop / whole:.2f} times as fast as decoding first, then one patch at a time")
    print(flush=True)


def goal(name: str, value: float, bound: float, *, most: bool = False) -> None:
    GOALS.append(Goal(name, value, bound, most))
    print(f"  {GOALS[-1]}")


def cases(*, shared: bool, scratch: Path, quick: bool = False) -> list[Case]:
    first = load(FILTER)
    found = [
        Case("sample filter, free patch size", SAMPLE, FILTER, first, 64, 16, {}),
        Case("sample filter, constant patches", SAMPLE, FILTER, first, 48, 12, CONSTANT),
    ]
    if shared:
        peer_path, free_path = SHARED / "peer/nokia/model3.onnx", scratch / "model3_free.onnx"
        peer, free = load(peer_path), load(free_path)
        large = SHARED / "conformance/SLICES_A_HUAWEI_3.bit"
        found += [
            Case("peer filter, free patch size", SAMPLE, free_path, free, 32, 8, {}),
            Case("peer filter, constant patches", SAMPLE, peer_path, peer, 24, 8, CONSTANT),
            Case("sample filter, free patch size", large, FILTER, first, 32, 2, {}),
            Case("peer filter, free patch size", large, free_path, free, 32, 2, {}),
            Case("peer filter, constant patches", large, peer_path, peer, 32, 2, CONSTANT),
        ]
    return [replace(case, pictures=4, turns=1) for case in found] if quick else found


def precision_difference(case: Case) -> None:
    """What bfloat16 changes, in sample values."""
    units = case.units()
    exact, fast = (
        [shown.frame for shown in itertools.islice(job(units, case.model_path.parent, precision=precision), 17)]
        for precision in ("f32", "bf16")
    )
    largest = [0] * len(exact[0].planes)
    means = [0.0] * len(largest)
    for one, other in zip(exact, fast, strict=True):
        for at, (a, b) in enumerate(zip(one.planes, other.planes, strict=True)):
            difference = np.abs(a.astype(np.int32) - b)
            largest[at] = max(largest[at], int(difference.max()))
            means[at] += float(difference.mean()) / len(exact)
    psnr = min(min(compare(a, b).psnr) for a, b in zip(exact, fast, strict=True))
    print(f"bf16 against f32, {case.label}, 17 pictures of {exact[0].format}:")
    print(
        f"  largest difference {largest}, mean {[round(m, 4) for m in means]}, lowest PSNR {psnr:.1f} dB\n", flush=True
    )


# --- memory ----------------------------------------------------------------------------------------------------------


def peak_memory(stream: Path, codec: Codec, times: int, model_path: Path, pictures: int) -> float:
    """Peak resident memory of a process that filters `pictures` pictures of a stream, in MiB."""
    program = (
        f"import sys; sys.path[:0] = [{str(ROOT)!r}, {str(ROOT / 'bench')!r}]\n"
        f"import runner\nrunner.some({str(stream)!r}, {codec.value!r}, {times}, {str(model_path)!r}, {pictures})\n"
        "print(runner.own_peak())"
    )
    done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    return float(done.stdout.split()[-1])


def own_peak() -> float:
    """MiB. Of this program alone: `ru_maxrss` begins, on Linux, with what the process had that started it."""
    status = Path("/proc/self/status")
    if not status.exists():
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)
    line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1]) / 1024


def some(stream: str, codec: str, times: int, model_path: str, pictures: int) -> None:
    """The whole job on the first pictures of a stream that is `times` the given one."""
    model = load(model_path)
    units = stream_with(nal_units(Path(stream)) * times, message_for(model, Path(model_path)), Codec(codec))
    count = sum(1 for _ in itertools.islice(job(units, Path(model_path).parent, Codec(codec)), pictures))
    if count != pictures:
        raise SystemExit(f"{count} pictures, {pictures} were wanted")


def memory(scratch: Path, *, quick: bool) -> None:
    """Up to some 40 pictures fill what is bounded (see nnpf.runner); from then on nothing may grow."""
    trivial = scratch / "trivial.onnx"
    trivial.write_bytes(trivial_filter().to_bytes())
    counts = (10, 20, 30) if quick else (10, 60, 300)
    for width, height in ((1920, 1088), (3840, 2160)):
        stream = noise(width, height, 10, scratch)
        peaks = [peak_memory(stream, Codec.AVC, count // 10, trivial, count) for count in counts]
        _memory_goal(f"{width}x{height} H.264, trivial filter", counts, peaks)
        peak = peak_memory(stream, Codec.AVC, 1, FILTER, 10)
        print(f"peak memory, {width}x{height} H.264, sample filter: {peak:.0f} MiB for 10 pictures")
    peaks = [peak_memory(SAMPLE, Codec.VVC, 5, FILTER, count) for count in counts]
    _memory_goal("416x240 H.266, sample filter", counts, peaks)
    print(flush=True)


def _memory_goal(name: str, counts: tuple[int, ...], peaks: list[float]) -> None:
    told = ", ".join(f"{peak:.0f} MiB for {count}" for peak, count in zip(peaks, counts, strict=True))
    print(f"peak memory, {name}: {told} pictures")
    goal(f"memory for {counts[-1]} pictures / for {counts[-2]}: {name}", peaks[-1] / peaks[-2], 1.05, most=True)


# --- the peer --------------------------------------------------------------------------------------------------------


def seconds_of(command: list[str], environment: dict[str, str] | None = None) -> float:
    start = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True, env={**os.environ, **(environment or {})})
    return time.perf_counter() - start


def against_nokia(program: Path, precision: str, scratch: Path, *, quick: bool) -> None:
    """Whole processes on the same stream and model, in the same precision; and what a picture costs in a long stream,
    from the difference of two lengths."""
    from nnpf.engines.silent_openvino import openvino

    libraries = {"LD_LIBRARY_PATH": str(Path(openvino.__file__).parent / "libs")}
    nnpf = [sys.executable, "-m", "nnpf_tools.main"]
    peer_path = scratch / "model3.onnx"
    shutil.copyfile(SHARED / "peer/nokia/model3.onnx", peer_path)
    whole = {"nnpfc_constant_patch_size_flag": 1, "nnpfc_patch_width_minus1": 63, "nnpfc_patch_height_minus1": 63}
    lengths = (1, 2) if quick else (1, 3) if precision == "f32" else (1, 7)
    streams = {}
    for times in lengths:
        plain = scratch / f"plain{times}.266"
        plain.write_bytes(SAMPLE.read_bytes() * times)
        for form, model, extra in (
            (
                "constant",
                peer_path,
                [f"--set={key}={value}" for key, value in whole.items()] + ["--for", "nokia-vvdec"],
            ),
            ("free", scratch / "model3_free.onnx", []),
        ):
            streams[form, times] = scratch / f"{form}{times}.266"
            subprocess.run(
                [*nnpf, "inject", str(plain), "--base", str(model), "-o", str(streams[form, times]), "--force", *extra],
                check=True,
                capture_output=True,
            )
    output = scratch / "out.yuv"
    apply_command = [*nnpf, "apply", "--no-hash-check", "-q", "--force", "--precision", precision, "-o", str(output)]

    def theirs(stream: Path) -> list[str]:
        return [str(program), "-v", "0", "-b", str(stream), "-o", str(output)]

    def ours(stream: Path) -> list[str]:
        return [*apply_command, str(stream)]

    # Compiled modules are kept, as they are for users.
    own = {"PYTHONDONTWRITEBYTECODE": "", "PYTHONPYCACHEPREFIX": str(scratch / "compiled")}
    runs = (("Nokia", theirs, "constant", libraries), ("constant", ours, "constant", own), ("free", ours, "free", own))
    taken: dict[tuple[str, int], list[float]] = {}
    try:
        seconds_of(ours(streams["free", 1]), own)
        for _ in range(1 if quick else ROUNDS):
            for name, command, form, environment in runs:
                for times in lengths:
                    seconds = seconds_of(command(streams[form, times]), environment)
                    taken.setdefault((name, times), []).append(seconds)
    except subprocess.CalledProcessError as error:
        raise SystemExit(f"{error.cmd}: {error.stderr.decode()[-400:]}") from None

    def rates(name: str) -> tuple[float, float]:
        """Pictures per second of the short stream, all included, and in a long stream."""
        short, long = (statistics.median(taken[name, times]) for times in lengths)
        return 65 / short, 65 * (lengths[1] - lengths[0]) / (long - short)

    them, constant, free = (rates(name) for name, *_ in runs)
    print(f"against Nokia's decoder, model3.onnx, 416x240, {precision}; pictures per second in a long stream")
    print(f"  (and of 65 pictures, start included): Nokia {them[1]:.1f} ({them[0]:.1f}),")
    print(f"  constant patches {constant[1]:.1f} ({constant[0]:.1f}), free patch size {free[1]:.1f} ({free[0]:.1f})")
    goal(f"constant patches / Nokia: {precision}", constant[1] / them[1], 1.0)
    goal(f"free patch size / Nokia: {precision}", free[1] / them[1], 1.4)
    print(flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shared", action="store_true", help="also what lies in ../shared")
    parser.add_argument("--memory", action="store_true", help="only memory")
    parser.add_argument("--all", action="store_true", help="speed with ../shared, and memory")
    parser.add_argument("--nokia", type=Path, help="vvdecapp of Nokia's branch, as it is built")
    parser.add_argument("--nokia-f32", type=Path, help="the same, built with ov::hint::inference_precision f32")
    parser.add_argument("--nokia-precision", default="bf16", help="what OpenVINO makes of --nokia on this machine")
    parser.add_argument("--no-speed", action="store_true", help="only what other options ask for")
    parser.add_argument("--device", help="of the torch engine: cuda, mps, cpu; only that")
    parser.add_argument("--quick", action="store_true", help="a few pictures each: tries the bench itself")
    parser.add_argument("--only", default="", help="cases whose name contains this")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="nnpf-bench-") as folder:
        scratch = Path(folder)
        shared = args.shared or args.all or args.nokia is not None or args.nokia_f32 is not None
        if shared:
            peer = load(SHARED / "peer/nokia/model3.onnx")
            (scratch / "model3_free.onnx").write_bytes(free_size(peer).to_bytes())
        if args.device:
            found = cases(shared=shared, scratch=scratch, quick=args.quick)
            for width, height in ((1920, 1080), (3840, 2160)):
                stream = noise(width, height, 10, scratch)
                at = f"sample filter, free patch size, {height}p H.264"
                pictures, turns = (4, 1) if args.quick else (64, 4)
                found.append(Case(at, stream, FILTER, load(FILTER), pictures, turns, {}, Codec.AVC))
            for case in found:
                for precision in ("f32", "bf16"):
                    measure(case, precision, engine="torch", device=args.device)
        elif not (args.no_speed or (args.memory and not args.all)):
            found = cases(shared=shared, scratch=scratch, quick=args.quick)
            chosen = [case for case in found if args.only in case.label]
            for case in chosen:
                measure(case, "f32")
            try:
                select_engine("openvino", settings=Settings(precision="bf16"))
            except NnpfError as error:
                print(f"no figures in bf16: {error}")
            else:
                for case in chosen:
                    measure(case, "bf16")
                for case in chosen[: 3 if shared else 1 : 2]:
                    precision_difference(case)
        for program, precision in ((args.nokia, args.nokia_precision), (args.nokia_f32, "f32")):
            if program is not None:
                against_nokia(program, precision, scratch, quick=args.quick)
        if args.memory or args.all:
            memory(scratch, quick=args.quick)
    print("all goals:")
    for met in GOALS:
        print(met)
    return 0 if all(met.met for met in GOALS) else 3


if __name__ == "__main__":
    sys.exit(main())
