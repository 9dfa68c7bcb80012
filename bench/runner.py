"""How much of the time of `nnpf apply` is the network's? Prints ratios, all measured in one run on this machine.

    python bench/runner.py                 the sample stream and filter
    python bench/runner.py --shared        also the trained filter of ../shared/peer and a 1080p stream
    python bench/runner.py --memory        peak memory at 1080p and 2160p, and from 65 to 325 pictures

"whole job" is decoding, filtering and writing YUV to /dev/null, through nnpf.runner.apply. "bare network" is nothing
but the network on the same tensors, packed beforehand, in the fastest engine and form on this machine (OpenVINO, whole
pictures, static shape). Job and network take turns, and each ratio is that of medians, so that other work on the
machine hits both alike. CPU seconds are given too: they change less where the machine is busy.
"""

from __future__ import annotations

import argparse
import itertools
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper

from nnpf.characteristics import patch_process
from nnpf.describe import ONNX_TAG, characteristics
from nnpf.engines import select_engine
from nnpf.filters import plan_patches
from nnpf.frames import Format, Frame, write_frame
from nnpf.model import Model, load
from nnpf.runner import ApplyOptions, Shown, apply
from nnpf.sources import ModelSources
from vsei import edit, messages, selection
from vsei.annexb import NalUnit, split
from vsei.messages import NnpfActivation, NnpfCharacteristics
from vsei.nal import Codec

ROOT = Path(__file__).resolve().parent.parent
SHARED = ROOT.parent / "shared"
ROUNDS = 3


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


def stream_with(units: list[NalUnit], message: NnpfCharacteristics) -> list[NalUnit]:
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
    return list(edit.inject(units, Codec.VVC, placements, on_existing="replace"))


def nal_units(path: Path) -> list[NalUnit]:
    return list(split([path.read_bytes()]))


def message_for(model: Model, path: Path, **elements: int) -> NnpfCharacteristics:
    identity = {
        "nnpfc_id": 1,
        "nnpfc_base_flag": 1,
        "nnpfc_mode_idc": 1,
        "nnpfc_tag_uri": ONNX_TAG,
        "nnpfc_uri": path.name,
    }
    return characteristics(identity, model, {f"nnpfc_{key}": value for key, value in elements.items()})


def job(units: list[NalUnit], root: Path, limit: int | None = None) -> Iterator[Shown]:
    options = ApplyOptions(sources=ModelSources(root), check_hashes=False)
    with apply(units, Codec.VVC, options) as pictures, Path("/dev/null").open("wb") as sink:
        for shown in itertools.islice(pictures, limit):
            write_frame(sink, shown.frame)
            yield shown


def bare(model: Model, message: NnpfCharacteristics, frame: Frame) -> Callable[[], None]:
    """One run of the network on a picture, nothing else: tensors stand ready."""
    plan, batch, _ = plan_patches(model, patch_process(message, frame.format))
    tensor = plan.pack([frame], [Fraction(1, 2)], plan.new_input()).copy()
    patches = [np.ascontiguousarray(plan.extract(tensor, block)) for block in plan.blocks(batch)]
    network = select_engine("openvino").compile(model)
    name = model.tensor_input.name

    def run() -> None:
        for patch in patches:
            network.run({name: patch})

    run()
    return run


def one_at_a_time(model: Model, message: NnpfCharacteristics, frame: Frame) -> Callable[[], None]:
    """The loop that most scripts have: cut a patch, run it, put it back."""
    plan, _, _ = plan_patches(model, patch_process(message, frame.format))
    network = select_engine("openvino").compile(model)
    name = model.tensor_input.name
    into = plan.new_input()

    def call(batch: Any) -> Any:
        return network.run({name: batch})

    def run() -> None:
        plan.store(plan.run(call, plan.pack([frame], [Fraction(1, 2)], into), max_batch=1), [frame])

    run()
    return run


def measure(label: str, path: Path, model_path: Path, model: Model, pictures: int, **elements: int) -> None:
    message = message_for(model, model_path, **elements)
    units = stream_with(nal_units(path), message)
    shown = next(job(units, model_path.parent, 1))
    network, loop = bare(model, message, shown.decoded), one_at_a_time(model, message, shown.decoded)
    jobs, networks, loops, around, work = [], [], [], [], []
    for _ in range(ROUNDS):
        first: float | None = None
        records = []
        for item in job(units, model_path.parent, pictures):
            if first is None:  # what the first picture costs beyond the others is compilation
                first, busy = time.perf_counter(), time.process_time()
            records.append(item.record)
        count = len(records) - 1
        assert first is not None
        jobs.append((time.perf_counter() - first) / count)
        job_busy = (time.process_time() - busy) / count
        seconds = [record.applied[0].seconds for record in records[1:]]
        around.append(sum(s[0] + s[2] for s in seconds) / max(1e-9, sum(s[1] for s in seconds)))
        busy = time.process_time()
        networks.append(timed(network, count))
        work.append((time.process_time() - busy) / count / job_busy)
        loops.append(timed(loop, max(1, count // 4)))
    whole, net = statistics.median(jobs), statistics.median(networks)
    patch = records[0].applied[0]
    kmac = model.cost({model.tensor_input.name: (1, 7, 72, 72)}).macs / 4 / 64 / 64 / 1000
    print(
        f"{label}: {shown.decoded.format}, {patch.patches} patch(es) of {patch.patch[0]}x{patch.patch[1]}, "
        f"{kmac:.1f} kMAC in 64x64 patches"
    )
    print(f"  whole job {1 / whole:8.2f} pictures/s   bare network {1 / net:8.2f}   ratio {net / whole:.3f}")
    print(f"  CPU time of the network / whole job     {statistics.median(work):.3f}")
    print(f"  tensors in and out / network            {statistics.median(around):.3f}")
    print(f"  whole job / one patch at a time         {statistics.median(loops) / whole:.2f}", flush=True)


def timed(function: Callable[[], None], count: int) -> float:
    start = time.perf_counter()
    for _ in range(count):
        function()
    return (time.perf_counter() - start) / count


def peak_memory(code: str) -> float:
    """Peak resident memory of a Python process that runs `code`, in MiB."""
    program = f"import sys; sys.path.insert(0, {str(ROOT)!r}); sys.path.insert(0, {str(ROOT / 'bench')!r})\n{code}"
    program += "\nimport resource; print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)"
    done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    return float(done.stdout.split()[-1])


def synthetic(width: int, height: int, pictures: int, model_path: str) -> None:
    """Filter made-up pictures: what a stream of this size takes, decoder aside."""
    from nnpf.activation import Active
    from nnpf.filters import EngineChoice, Filters

    model = load(model_path)
    message = message_for(model, Path(model_path))
    active = Active(1, message, None, NnpfActivation(nnpfa_target_id=1, nnpfa_cancel_flag=0))
    filters = Filters(ModelSources(Path(model_path).parent), EngineChoice())
    form = Format(width, height, 1, 10, 10)
    rng = np.random.default_rng(0)
    planes = tuple(rng.integers(0, 1024, shape).astype(np.uint16) for shape in form.shapes)
    frame = Frame(planes, form)
    for _ in range(pictures):
        filters.get(active).run(active, [frame], [Fraction(1, 2)], lambda at: frame)


def repeated(times: int, stream: str, model_path: str) -> None:
    """The whole job on a stream that is `times` the given one."""
    model = load(model_path)
    units = stream_with(nal_units(Path(stream)) * times, message_for(model, Path(model_path)))
    count = sum(1 for _ in job(units, Path(model_path).parent))
    print(count)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shared", action="store_true")
    parser.add_argument("--memory", action="store_true")
    parser.add_argument("--pictures", type=int, default=33)
    args = parser.parse_args()
    sample, filter_path = ROOT / "samples/bbb_q37.266", ROOT / "samples/filters/first.onnx"
    first = load(filter_path)
    if args.memory:
        at = str(filter_path)
        for width, height in ((1920, 1080), (3840, 2160)):
            few, many = (
                peak_memory(f"from runner import synthetic\nsynthetic({width}, {height}, {n}, {at!r})") for n in (3, 12)
            )
            print(f"peak memory at {width}x{height}: {few:.0f} MiB for 3 pictures, {many:.0f} for 12")
        few, many = (
            peak_memory(f"from runner import repeated\nrepeated({n}, {str(sample)!r}, {at!r})") for n in (1, 5)
        )
        print(f"peak memory at 416x240, whole job: {few:.0f} MiB for 65 pictures, {many:.0f} for 325")
        return
    measure("sample filter, whole pictures", sample, filter_path, first, args.pictures)
    constant = {"constant_patch_size_flag": 1, "patch_width_minus1": 63, "patch_height_minus1": 63}
    measure("sample filter, constant patches", sample, filter_path, first, args.pictures, **constant)
    if args.shared:
        scratch = Path("/tmp/nnpf-bench")
        scratch.mkdir(exist_ok=True)
        peer_path, free_path = SHARED / "peer/nokia/model3.onnx", scratch / "model3_free.onnx"
        peer = load(peer_path)
        free = free_size(peer)
        free_path.write_bytes(free.to_bytes())
        free = load(free_path)
        large = SHARED / "conformance/SLICES_A_HUAWEI_3.bit"
        measure("peer filter, constant patches", sample, peer_path, peer, args.pictures)
        measure("peer filter, whole pictures", sample, free_path, free, args.pictures)
        measure("sample filter, whole pictures", large, filter_path, first, 9)
        measure("peer filter, whole pictures", large, free_path, free, 5)
        measure("peer filter, constant patches", large, peer_path, peer, 5)
    print(f"peak memory of this process: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MiB")


if __name__ == "__main__":
    main()
