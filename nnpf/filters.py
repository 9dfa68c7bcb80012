"""A filter that can run: a model on an engine, with the patches that suit it and the pictures."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from fractions import Fraction
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from nnpf import steps
from nnpf.activation import Active
from nnpf.arrays import NUMPY, Array, Arrays
from nnpf.characteristics import patch_process
from nnpf.cores import available_cores
from nnpf.describe import strides
from nnpf.engines import CPU_MAX_BATCH, CPU_ROOM, MAX_LANES, OutOfMemory, Precision, Settings
from nnpf.errors import NnpfError
from nnpf.frames import Format, Frame
from nnpf.patch_sizes import choose_patch
from nnpf.sources import Base, ModelSources, apply_update, load_base
from nnpf.tensors import PatchPlan, PatchProcess
from vsei.messages import NnpfCharacteristics

if TYPE_CHECKING:
    from nnpf.engines import Engine, Network
    from nnpf.model import Model, Shape

# Networks that stay compiled: a stream alternates between a base and a few updates.
MAX_NETWORKS = 4
# Picture formats that stay prepared: one for the stream, more with reference picture resampling.
MAX_FORMATS = 4
# Bytes of the tensors inside one network for one patch, where the size of patches is free: at most, as the graph's
# shapes give them in float32; and as many as stay in a processor's caches. 1080p pictures in patches of twice that size
# took a third to two thirds of the time of whole ones in float32 on a Xeon with 2 MiB for each core. On an EPYC with
# 1 MiB a filter of 72 channels takes 91 % of that in this one (416x240; 1080p: 90 %), one of 24 channels 103 % (1080p).
PATCH_ROOM = 1 << 30
PATCH_CACHE = 8 << 20
# Filters that could not be made, remembered so that they are not tried for every picture.
MAX_FAILURES = 256
Key = tuple[NnpfCharacteristics, NnpfCharacteristics | None]


@dataclass(frozen=True, slots=True)
class Applied:
    """A filter that ran for a picture.

    Attributes:
        model: its name, and that of its update.
        model_sha256: of graph and parameters as they ran, base and update together, written as ONNX.
        update: whether an update was in force.
        engine, device: what ran it.
        precision: what it computed in: "f32", "bf16", "f16", "integer".
        patch: columns and rows of a patch, in units (see `nnpf.tensors`), without overlap.
        patches: how many made up the picture.
        strength: StrengthControlVal of the current picture, where the filter takes it.
        seconds: for tensors in, network, tensors out.
        exact: the network computes with integers, and its result is the same bit by bit on every machine.
        instead_of: why it was not the engine that comes first; None where it was.
    """

    nnpfc_id: int
    model: str
    model_sha256: str
    update: bool
    engine: str
    device: str
    precision: str
    patch: tuple[int, int]
    patches: int
    strength: float | None
    seconds: tuple[float, float, float]
    exact: bool
    instead_of: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineChoice:
    """See `nnpf.engines.select_engine` and `nnpf.engines.Settings`."""

    engine: str = "auto"
    device: str = "auto"
    threads: int = 0
    lanes: int = 1
    precision: Precision = "f32"
    deterministic: bool = False

    @property
    def settings(self) -> Settings:
        return Settings(
            threads=self.threads, lanes=self.lanes, precision=self.precision, deterministic=self.deterministic
        )


def lanes_for(threads: int) -> int:
    """How many pictures to filter at the same time on some threads (0: all cores)."""
    return min(MAX_LANES, threads or available_cores())


class Patching(NamedTuple):
    """The patches to use with a model, and how many of them in one run: at most, or exactly."""

    plan: PatchPlan
    max_batch: int
    fixed_batch: bool = False


@dataclass(slots=True, eq=False)
class _Lane:
    """What one thread needs to run a filter: a network, and memory that is used again and again.

    `into`: of the input tensor, for each picture format.
    """

    engine: Engine
    network: Network
    into: OrderedDict[Format, Array] = field(default_factory=OrderedDict)


class Filter:
    """One base filter, with or without an update, compiled. May run in several threads at a time."""

    def __init__(self, model: Model, base: NnpfCharacteristics, engines: Engines) -> None:
        self.model, self.base = model, base
        self._precision = engines.precision
        self._candidates = iter(engines.candidates(model))
        self._refusals: list[str] = []
        self._proved = False  # whether the network has run: engines find out late what they do not cover
        self._proving = threading.RLock()  # held by a run until that is known
        self._lock = threading.Lock()
        self._patchings: OrderedDict[Format, Patching] = OrderedDict()
        self._idle: list[_Lane] = []
        self._next_engine(None)

    def _next_engine(self, error: NnpfError | None) -> None:
        """Take the first engine, or after an error the next one; the error again where there is none left."""
        first = error
        for make in self._candidates:
            try:
                engine = make()
                with steps.step(f"{engine.name} compiles {self.model.name}", "model_seconds"):
                    network = engine.compile(self.model)
            except NnpfError as caught:
                first = first or caught
                self._refusals.append(str(caught))
            else:
                self._engine, self._network, self._device = engine, network, engine.device
                self._idle = [_Lane(engine, network)]
                self._patchings.clear()
                return
        raise first or NnpfError("no engine is installed")

    def run(
        self,
        active: Active,
        frames: Sequence[Frame],
        strengths: Sequence[Fraction],
        taken_over: Callable[[int], Frame | None],
        *,
        patch: tuple[int, int] | None = None,
        out_bit_depth: int | None = None,
    ) -> tuple[list[Frame], Applied]:
        """The pictures of the output tensor for inputPic[ ] = `frames`.

        Args:
            taken_over: for each picture of the output tensor the one whose planes it takes where the filter makes none.
            patch, out_bit_depth: see `nnpf.runner.ApplyOptions`.
        """
        form = frames[0].format
        others = _other_inputs(self.model, active)
        while True:
            with self._proving if not self._proved else nullcontext():
                lane = self._take_lane()
                patching = self.patching(form, patch, out_bit_depth)
                plan, arrays = patching.plan, patching.plan.arrays
                start = time.perf_counter()
                try:
                    with arrays.at_work():
                        tensor = plan.pack(frames, strengths, _memory(lane, form, plan))
                        arrays.wait()
                        packed = time.perf_counter()
                        output = self._inferred(lane, patching, tensor, others)
                        arrays.wait()
                        inferred = time.perf_counter()
                except NnpfError as error:
                    if self._proved:
                        raise
                    self._refusals.append(f"{lane.engine.name}: {error}")
                    self._next_engine(error)
                    continue
                self._proved = True
            # The output may lie in the network's memory: the lane is free when it is stored.
            with arrays.at_work():
                results = plan.store(output, [taken_over(at) for at in range(plan.process.num_output_pics)])
            stored = time.perf_counter()
            self._idle.append(lane)
            break
        return results, Applied(
            nnpfc_id=active.nnpfc_id,
            model=self.model.name,
            model_sha256=self.model.sha256,
            update=active.update is not None,
            engine=lane.engine.name,
            device=self._device,
            precision=lane.network.precision,
            patch=(plan.patch[1], plan.patch[0]),
            patches=plan.num_patches,
            strength=float(strengths[0]) if plan.process.strength else None,
            seconds=(packed - start, inferred - packed, stored - inferred),
            exact=lane.network.exact,
            instead_of="; ".join(self._refusals) or None,
        )

    def _take_lane(self) -> _Lane:
        with self._lock:
            return self._idle.pop() if self._idle else _Lane(self._engine, self._network.another())

    def _inferred(self, lane: _Lane, patching: Patching, tensor: Array, others: Mapping[str, Array]) -> Array:
        name = self.model.tensor_input.name

        def network(batch: Array) -> Array:
            with steps.step(f"{lane.engine.name} runs {self.model.name}"):
                return lane.network.run({name: batch, **others})

        while True:
            plan, max_batch, fixed_batch = patching
            try:
                return plan.run(network, tensor, max_batch=max_batch, fixed_batch=fixed_batch)
            except OutOfMemory as error:
                if fixed_batch or max_batch == 1:
                    raise NnpfError(
                        f"{self._device} has too little memory for {max_batch} patch(es) of {plan.patch[1]}x"
                        f"{plan.patch[0]}: {error}; choose smaller patches (--patch) or another device"
                    ) from None
                patching = self._halved(patching)

    def _halved(self, patching: Patching) -> Patching:
        """Fewer patches at a time from now on, never smaller ones: their size is the bitstream's or the user's."""
        smaller = patching._replace(max_batch=patching.max_batch // 2)
        with self._lock:
            for form, known in self._patchings.items():
                if known.plan is patching.plan and known.max_batch > smaller.max_batch:
                    self._patchings[form] = smaller
        return smaller

    def patching(self, form: Format, patch: tuple[int, int] | None, out_bit_depth: int | None) -> Patching:
        """How pictures of a format are cut into patches. NnpfError when the filter does not suit them."""
        with self._lock:
            found = self._patchings.get(form)
            if found is None:
                process = patch_process(self.base, form, out_bit_depth)
                engine = self._engine
                found = plan_patches(
                    self.model,
                    process,
                    patch,
                    max_batch=engine.max_batch,
                    room=engine.room,
                    arrays=engine.arrays,
                    precision=self._precision,
                )
                self._patchings[form] = found
                if len(self._patchings) > MAX_FORMATS:
                    self._patchings.popitem(last=False)
            self._patchings.move_to_end(form)
            return found


def _memory(lane: _Lane, form: Format, plan: PatchPlan) -> Array:
    found = lane.into.get(form)
    if found is None:
        found = lane.into[form] = plan.new_input()
        if len(lane.into) > MAX_FORMATS:
            lane.into.popitem(last=False)
    lane.into.move_to_end(form)
    return found


class Engines:
    """The engines of a choice: the one that was asked for, or by "auto" all that are installed, the best one first."""

    def __init__(self, choice: EngineChoice) -> None:
        self._choice = choice
        self._made: dict[str, Engine] = {}

    @property
    def precision(self) -> Precision:
        return self._choice.precision

    def candidates(self, model: Model) -> list[Callable[[], Engine]]:
        """In order; each is made, and so imported, when it is called."""
        from nnpf.engines import ENGINES, default_engine, installed

        if self._choice.engine != "auto":
            names = [self._choice.engine]
        else:
            best = default_engine(self._choice.device, model)
            names = [name for name in (best, *ENGINES) if installed(name)]
            names = list(dict.fromkeys(names)) or [best]
        return [partial(self._engine, name) for name in names]

    def _engine(self, name: str) -> Engine:
        from nnpf.engines import select_engine

        if name not in self._made:
            self._made[name] = select_engine(name, self._choice.device, settings=self._choice.settings)
        return self._made[name]


class Filters:
    """The filters of a stream, made when first asked for and kept while in use."""

    def __init__(self, sources: ModelSources, choice: EngineChoice) -> None:
        self._sources = sources
        self._engines = Engines(choice)
        self._bases: OrderedDict[NnpfCharacteristics, Base] = OrderedDict()
        self._filters: OrderedDict[Key, Filter] = OrderedDict()
        self._failed: OrderedDict[Key, NnpfError] = OrderedDict()

    def get(self, active: Active) -> Filter:
        """The filter that is in force.

        Raises:
            NnpfError: the model cannot be had, or no engine takes it. The same again for the same filter.
        """
        key = (active.base, active.update)
        found = self._filters.get(key)
        if found is not None:
            self._filters.move_to_end(key)
            return found
        if key in self._failed:
            raise NnpfError(self._failed[key].problem, subject=self._failed[key].subject)
        try:
            base = self._base(active.base)
            model = base.model if active.update is None else apply_update(base, active.update, self._sources)
            found = Filter(model, active.base, self._engines)
        except NnpfError as error:
            self._failed[key] = error
            if len(self._failed) > MAX_FAILURES:
                self._failed.popitem(last=False)
            raise
        self._filters[key] = found
        if len(self._filters) > MAX_NETWORKS:
            self._filters.popitem(last=False)
        return found

    def _base(self, message: NnpfCharacteristics) -> Base:
        base = self._bases.get(message)
        if base is None:
            base = self._bases[message] = load_base(message, self._sources)
            if len(self._bases) > MAX_NETWORKS:
                self._bases.popitem(last=False)
        return base


# --- which patches ---------------------------------------------------------------------------------------------------


def plan_patches(
    model: Model,
    process: PatchProcess,
    patch: tuple[int, int] | None = None,
    *,
    max_batch: int = CPU_MAX_BATCH,
    room: int = CPU_ROOM,
    arrays: Arrays = NUMPY,
    precision: Precision = "f32",
) -> Patching:
    """The patches to use with a model.

    Args:
        patch: columns and rows that the caller asks for; None: what takes the least time, see `choose_patch`. The
            choice is the same for all engines and devices: the result of a network that pads depends on it.
        max_batch, room: see `nnpf.engines.Engine`; they decide how many patches go in one run.
        arrays: what the tensors are to be of, also by the engine.
        precision: as it was asked for: in bfloat16 a patch takes half the memory.

    Raises:
        NnpfError: the model does not suit the process.
    """
    spec = model.tensor_input
    margin = 2 * process.overlap

    def plan_for(size: tuple[int, int]) -> PatchPlan:
        return PatchPlan(process, size, rank=spec.rank, dtype=spec.dtype, arrays=arrays)

    def batched(size: tuple[int, int]) -> Patching:
        return _batched(model, max_batch, room, plan_for(size))

    if process.constant_patch_size:
        if patch not in (None, (process.patch_width, process.patch_height)):
            raise NnpfError(
                f"patches of {process.patch_width}x{process.patch_height} are signalled; no other size is allowed"
            )
        return batched(choose_patch(process, max_positions=1))
    if patch is not None:
        fixed = (patch[1] + margin, patch[0] + margin)
        return batched(choose_patch(process, max_positions=1 << 62, fixed=fixed))

    def chosen(strides: tuple[int, int]) -> Patching:
        per_position = _bytes_per_position(model, process, plan_for)
        return batched(
            choose_patch(
                process,
                max_positions=max(1, int(PATCH_ROOM / per_position)),
                cache_positions=max(1, int(PATCH_CACHE * (2 if precision == "bf16" else 1) / per_position)),
                strides=strides,
            )
        )

    try:
        return chosen((1, 1))
    except NnpfError:
        # The graph may be made for one size only, or for multiples of some number, whatever the message leaves free.
        rows, columns = spec.shape[-3:-1] if process.component_last else spec.shape[-2:]
        if rows is not None and columns is not None:
            return batched(choose_patch(process, max_positions=1 << 62, fixed=(rows, columns)))
        steps = strides(model, process.component_last, process.overlap)
        if steps == (1, 1):
            raise
        return chosen(steps)


def _batched(model: Model, max_batch: int, room: int, plan: PatchPlan) -> Patching:
    """The plan with the number of patches in one run. NnpfError when the model does not take such patches."""
    problem = _misfit(model, plan, 1)
    declared = model.tensor_input.shape[0]
    if problem is not None:
        # A graph may be made for a certain batch.
        if declared is None or declared == 1 or _misfit(model, plan, declared) is not None:
            raise problem
        return Patching(plan, declared, True)
    if plan.num_patches == 1:
        return Patching(plan, 1)
    peak = model.cost(input_shapes(model, plan, 1)).peak_bytes
    batch = max(1, min(max_batch, plan.num_patches, room // max(1, peak)))
    # A graph that was exported for a batch of 1 mostly takes more; its shapes tell.
    return Patching(plan, batch if batch == 1 or _misfit(model, plan, batch) is None else 1)


def _bytes_per_position(
    model: Model, process: PatchProcess, plan_for: Callable[[tuple[int, int]], PatchPlan]
) -> Fraction:
    """What the tensors inside take for each position of a patch, as a small one has it; as good as nothing where no
    patch tells."""
    margin = 2 * process.overlap
    for exponent in range(12, 31, 3):
        try:
            rows, columns = choose_patch(process, max_positions=1 << exponent)
            cost = model.cost(input_shapes(model, plan_for((rows, columns)), 1))
        except NnpfError:
            continue  # nothing so small is legal, or the graph takes one size only, which is tried later
        return Fraction(max(1, cost.peak_bytes), (rows + margin) * (columns + margin))
    return Fraction(1, 1 << 32)


def input_shapes(model: Model, plan: PatchPlan, batch: int) -> dict[str, Shape]:
    """Shapes of all inputs; those beside the patches are small vectors."""
    shapes: dict[str, Shape] = {
        spec.name: tuple(1 if size is None else size for size in spec.shape) for spec in model.inputs
    }
    shapes[model.tensor_input.name] = (batch, *plan.patch_shape)
    return shapes


def _misfit(model: Model, plan: PatchPlan, batch: int) -> NnpfError | None:
    """What is wrong with running the model on patches of this plan."""
    spec = model.tensor_input
    axis = spec.rank - 1 if plan.process.component_last else spec.rank - 3
    channels = plan.patch_shape[axis - 1]
    if spec.shape[axis] not in (None, channels):
        return NnpfError(f"the model takes {spec}, the message says {channels} channels", subject=model.name)
    try:
        cost = model.cost(input_shapes(model, plan, batch))
    except NnpfError as error:
        return error
    expected = plan.output_shape(batch, len(cost.output_shape))
    if len(cost.output_shape) not in (4, 5) or cost.output_shape != expected:
        shape = [batch, *plan.patch_shape]
        return NnpfError(
            f"gives {list(cost.output_shape)} for {shape}, the message says {list(expected)}", subject=model.name
        )
    return None


def _other_inputs(model: Model, active: Active) -> Mapping[str, Any]:
    """Prompt and seed, for the inputs that bear these names (nnpfc_auxiliary_inp_idc bits 1 and 2).

    The seed goes in as a number, the prompt as its UTF-8 bytes, with zeros behind where the input has a length of its
    own. NnpfError for any other input, and for a prompt that is too long.
    """
    found: dict[str, Any] = {}
    for spec in model.inputs:
        name = spec.name.lower()
        if spec.name == model.tensor_input.name:
            continue
        if "seed" in name and active.seed is not None:
            shape = tuple(1 if size is None else size for size in spec.shape)
            found[spec.name] = np.full(shape, active.seed, spec.dtype)
        elif "prompt" in name and active.prompt and spec.dtype.kind in "iu" and spec.rank in (1, 2):
            text = np.frombuffer(active.prompt.encode(), np.uint8).astype(spec.dtype)
            length = spec.shape[-1] or len(text)
            if len(text) > length:
                raise NnpfError(f"the prompt has {len(text)} bytes, the model's input {spec}", subject=model.name)
            text = np.pad(text, (0, length - len(text)))
            found[spec.name] = text if spec.rank == 1 else text[np.newaxis]
        else:
            raise NnpfError(f"nothing in the messages is for the model's input {spec}", subject=model.name)
    return found
