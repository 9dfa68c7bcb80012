"""The decoder side: a stream in, the pictures out that a receiver shows, filtered where a filter is in force.

    with apply(nal_units, Codec.VVC, ApplyOptions(sources=ModelSources(folder))) as run:
        for shown in run:
            write_frame(file, shown.frame)

Decoding, filtering and the caller's loop run at the same time, a few pictures apart; memory does not grow with the
length of the stream. What was applied to each picture, with what and how long it took, comes with the picture. What
cannot be done is an error or a reason in the record; nothing is left out in silence.
"""

from __future__ import annotations

import time
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import numpy as np

from nnpf.activation import ActivationState, Active
from nnpf.characteristics import (
    changes_picture_rate,
    filtered_inputs,
    num_input_pics,
    patch_process,
    strength_control,
)
from nnpf.errors import NnpfError
from nnpf.frames import Format, Frame
from nnpf.pipeline import running_ahead
from nnpf.sources import ModelSources, apply_update, load_base
from nnpf.tensors import PatchPlan, PatchProcess, choose_patch
from vsei import messages, sei
from vsei.annexb import NalUnit
from vsei.errors import VseiError
from vsei.messages import Message, NnpfActivation, NnpfCharacteristics
from vsei.nal import Codec, is_sei
from vsei.pictures import OutputOrder, Picture, PictureFormat, PictureUnit, picture_units
from vsei.pictures import Shown as InOrder

if TYPE_CHECKING:
    from nnpf.engines import Engine, Network
    from nnpf.model import Model, Shape

# Pictures that wait between two stages: enough to keep both busy, little enough for 8K (50 MB each).
QUEUE_DEPTH = 3
# Networks that stay compiled: a stream alternates between a base and a few updates.
MAX_NETWORKS = 4
# Tensors inside the network, at most, in bytes as the graph's shapes give them. A constant, so that the choice of
# patches does not depend on the machine.
NETWORK_BYTES = 2 << 30
# Patches in one run of the network. More gain nothing on a CPU: each one fills its caches.
MAX_BATCH = 8
# Decoded pictures that are kept for filters of several input pictures before any such filter is known.
_KEPT_BYTES = 256 << 20
_MAX_INPUT_PICS = 64

_DECODERS: Mapping[Codec, Any] = {Codec.VVC: "vvc", Codec.HEVC: "hevc", Codec.AVC: "h264"}


@dataclass(frozen=True, slots=True, kw_only=True)
class ApplyOptions:
    """How to apply.

    Attributes:
        sources: where models may come from.
        engine, device, threads: see `nnpf.engines.select_engine`.
        patch: columns and rows of the patches, in the units of the message, where it leaves the size free.
        out_bit_depth: see `nnpf.characteristics.output_format`.
        layer_id: nuh_layer_id of the pictures to take.
        skip_failures: a filter that cannot be had or run is a reason in the record, and the picture is shown as
            decoded. Else it is an error, for the result would not be what the stream asks for.
    """

    sources: ModelSources = field(default_factory=ModelSources)
    engine: str = "auto"
    device: str = "auto"
    threads: int = 0
    patch: tuple[int, int] | None = None
    out_bit_depth: int | None = None
    layer_id: int = 0
    skip_failures: bool = False


@dataclass(frozen=True, slots=True)
class Applied:
    """A filter that ran on a picture.

    Attributes:
        model: its name, and that of its update.
        update: whether an update was in force.
        engine, device: what ran it.
        patch: columns and rows of a patch, in units (see `nnpf.tensors`), without overlap.
        patches: how many made up the picture.
        strength: StrengthControlVal of the current picture, where the filter takes it.
        seconds: for tensors in, network, tensors out.
    """

    nnpfc_id: int
    model: str
    update: bool
    engine: str
    device: str
    patch: tuple[int, int]
    patches: int
    strength: float | None
    seconds: tuple[float, float, float]


@dataclass(frozen=True, slots=True)
class PictureRecord:
    """What happened to a picture.

    Attributes:
        reasons: why a filter or a message had no effect; empty where nothing was left undone.
    """

    decode_index: int
    output_index: int
    poc: int
    clvs: int
    applied: tuple[Applied, ...]
    reasons: tuple[str, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Shown:
    """A picture to show, the decoded one it was made of, and the record."""

    frame: Frame
    decoded: Frame
    record: PictureRecord


@contextmanager
def apply(
    nal_units: Iterable[NalUnit],
    codec: Codec,
    options: ApplyOptions,
    *,
    decoded: Callable[[Format], Frame | None] | None = None,
) -> Iterator[Iterator[Shown]]:
    """Pictures of a stream in output order, filtered.

    Args:
        nal_units: of the stream, from `vsei.annexb.split`; read in a thread.
        decoded: instead of decoding: gives the next decoded picture in output order, for the format that the stream
            says it has, or None at the end.

    Raises, while pictures are taken:
        VseiError: the headers of the stream are broken.
        NnpfError: the decoder fails, its pictures are not those of the stream, or a filter cannot be had or run.
    """
    with ExitStack() as stack:
        source = _decode(nal_units, codec, options) if decoded is None else _take(nal_units, codec, options, decoded)
        pictures = stack.enter_context(running_ahead(source, QUEUE_DEPTH, "nnpf decode"))
        filtered = _Runner(codec, options).run(pictures)
        yield stack.enter_context(running_ahead(filtered, QUEUE_DEPTH, "nnpf filter"))


# --- pictures in -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, eq=False)
class _Ready:
    """A decoded picture in output order, with the filters in force."""

    picture: Picture
    output_index: int
    frame: Frame
    active: tuple[Active, ...]
    reasons: tuple[str, ...]
    inputs_wanted: int  # how many input pictures a filter that is known so far takes at most


class _Stream:
    """What the bitstream says of its pictures, taken in decoding order and asked for in output order."""

    def __init__(self, nal_units: Iterable[NalUnit], codec: Codec, options: ApplyOptions, *, ordered: bool) -> None:
        self._units = picture_units(nal_units, codec)
        self._ordered = ordered
        self._codec, self._layer = codec, options.layer_id
        self._state = ActivationState()
        self._order: OutputOrder[Picture] = OutputOrder()
        self._notes: dict[int, list[str]] = {}
        self.expected: deque[Picture] = deque()  # with `ordered`: in output order, as far as it is known
        self.pictures: dict[int, Picture] = {}  # that are to be output and were not asked for yet
        self.inputs_wanted = 1
        self._output_index = 0

    def units(self) -> Iterator[tuple[PictureUnit, Picture]]:
        """Picture units of the layer, in decoding order, their messages taken in."""
        for unit in self._units:
            picture = unit.picture
            if picture is None:
                if unit.problem is not None and any(h is not None for h in unit.headers):
                    raise unit.problem
                continue
            if picture.layer_id != self._layer:
                continue
            found = list(self._messages(unit, picture))
            for message in found:
                if isinstance(message, NnpfCharacteristics) and message.nnpfc_base_flag:
                    self.inputs_wanted = max(self.inputs_wanted, min(num_input_pics(message), _MAX_INPUT_PICS))
            self._state.take(decode_index=picture.decode_index, clvs=picture.clvs, poc=picture.poc, messages=found)
            if picture.output:
                self.pictures[picture.decode_index] = picture
            self._sort(self._order.push(picture, picture))
            yield unit, picture
        self._sort(self._order.flush())

    def _sort(self, shown: Iterable[InOrder[Picture]]) -> None:
        for output_index, picture in shown:
            if output_index is None:
                self.pictures.pop(picture.decode_index, None)  # dropped by a later picture, or never to be output
            elif self._ordered:
                self.expected.append(picture)

    def _messages(self, unit: PictureUnit, picture: Picture) -> Iterator[Message]:
        for nal, header in zip(unit.units, unit.headers, strict=True):
            if header is None or not is_sei(self._codec, header.nal_unit_type) or header.layer_id != self._layer:
                continue
            for coded in sei.parse(header, nal.data).messages:
                if coded.payload_type not in (NnpfCharacteristics.PAYLOAD_TYPE, NnpfActivation.PAYLOAD_TYPE):
                    continue
                try:
                    read = messages.decode(coded, self._codec)
                except VseiError as error:
                    name = messages.payload_name(coded.payload_type, self._codec)
                    self._notes.setdefault(picture.decode_index, []).append(f"{name} is broken: {error}")
                else:
                    if read is not None:
                        yield read.message

    def ready(self, picture: Picture, frame: Frame) -> _Ready:
        """A picture whose samples are there; to be called in output order."""
        del self.pictures[picture.decode_index]
        decision = self._state.decide(decode_index=picture.decode_index, clvs=picture.clvs, poc=picture.poc)
        reasons = (*self._notes.pop(picture.decode_index, ()), *decision.reasons)
        index = self._output_index
        self._output_index += 1
        return _Ready(picture, index, frame, decision.active, reasons, self.inputs_wanted)


def _format(form: PictureFormat) -> Format:
    return Format(form.width, form.height, form.chroma_format_idc, form.bit_depth_luma, form.bit_depth_chroma)


def _decode(nal_units: Iterable[NalUnit], codec: Codec, options: ApplyOptions) -> Iterator[_Ready]:
    from nnpf.decoding import CodedPicture, decode

    stream = _Stream(nal_units, codec, options, ordered=False)
    # The VVC decoder must know before its start whether any picture has 8 bits; the first one tells, and a later
    # change is refused below.
    units = stream.units()
    first = next(units, None)
    if first is None:
        raise NnpfError("the stream has no picture")
    eight_bit = first[1].format.bit_depth_luma == 8

    def coded() -> Iterator[CodedPicture]:
        after_eos = False
        for unit, picture in _chain(first, units):
            if (picture.format.bit_depth_luma == 8) != eight_bit:
                raise NnpfError("the bit depth changes between 8 and more inside the stream; decode it in parts")
            data = b"".join(
                part
                for nal, header in zip(unit.units, unit.headers, strict=True)
                if header is not None and header.layer_id == picture.layer_id
                for part in (b"\0\0\0\1", nal.data)
            )
            yield CodedPicture(data, picture.decode_index, after_eos)
            after_eos = any(header is not None and header.name in ("EOS", "EOB") for header in unit.headers)

    last: tuple[int, int] | None = None
    for frame in decode(coded(), _DECODERS[codec], eight_bit=eight_bit):
        picture = stream.pictures.get(frame.decode_index)
        if picture is None:
            # A decoder may give pictures that are not to be output; the bitstream decides.
            continue
        _check_format(picture, frame.frame)
        if last is not None and (picture.clvs, picture.poc) <= last:
            raise NnpfError(f"the decoder gives POC {picture.poc} after POC {last[1]}; give decoded pictures as YUV")
        last = picture.clvs, picture.poc
        yield stream.ready(picture, frame.frame)
    if stream.pictures:
        missing = min(stream.pictures.values(), key=lambda p: p.decode_index)
        raise NnpfError(
            f"the decoder left out {len(stream.pictures)} pictures, the first one in decoding order POC {missing.poc} "
            f"(picture {missing.decode_index}); give decoded pictures as YUV"
        )


def _chain(
    first: tuple[PictureUnit, Picture], rest: Iterator[tuple[PictureUnit, Picture]]
) -> Iterator[tuple[PictureUnit, Picture]]:
    yield first
    yield from rest


def _check_format(picture: Picture, frame: Frame) -> None:
    wanted = _format(picture.format)
    # A decoder knows one bit depth only where there is no chroma.
    if frame.format != wanted and not (
        wanted.chroma_format_idc == 0
        and frame.format.shapes == wanted.shapes
        and frame.format.bit_depths == wanted.bit_depths
    ):
        raise NnpfError(f"picture with POC {picture.poc} is {wanted} in the stream, and {frame.format} decoded")


def _take(
    nal_units: Iterable[NalUnit], codec: Codec, options: ApplyOptions, decoded: Callable[[Format], Frame | None]
) -> Iterator[_Ready]:
    """Pictures that were decoded elsewhere."""
    stream = _Stream(nal_units, codec, options, ordered=True)
    count, form = 0, Format(1, 1)

    def taken() -> Iterator[_Ready]:
        nonlocal count, form
        while stream.expected:
            picture = stream.expected.popleft()
            form = _format(picture.format)
            frame = decoded(form)
            if frame is None:
                raise NnpfError(f"the decoded pictures end after {count}; the stream goes on with POC {picture.poc}")
            _check_format(picture, frame)
            count += 1
            yield stream.ready(picture, frame)

    for _ in stream.units():
        yield from taken()
    yield from taken()
    if count == 0:
        raise NnpfError("the stream has no picture")
    if decoded(form) is not None:
        raise NnpfError(f"there are more decoded pictures than the {count} that the stream outputs")


# --- filtering -------------------------------------------------------------------------------------------------------


@dataclass(slots=True, eq=False)
class _Prepared:
    """A network with the plan for one picture format."""

    plan: PatchPlan
    into: Any  # the input tensor, used again and again
    max_batch: int


class _Filter:
    """One base filter, with or without an update, compiled."""

    def __init__(self, model: Model, engine: Engine) -> None:
        self.model, self.engine = model, engine
        self.network: Network = engine.compile(model)
        self.prepared: OrderedDict[Format, _Prepared] = OrderedDict()


class _Runner:
    def __init__(self, codec: Codec, options: ApplyOptions) -> None:
        self._codec, self._options = codec, options
        self._engines: dict[bool, Engine] = {}
        self._bases: OrderedDict[NnpfCharacteristics, Model] = OrderedDict()
        self._filters: OrderedDict[tuple[NnpfCharacteristics, NnpfCharacteristics | None], _Filter] = OrderedDict()
        self._failed: dict[tuple[NnpfCharacteristics, NnpfCharacteristics | None], NnpfError] = {}
        self._history: deque[_Ready] = deque()  # decoded pictures before the current one, the latest first
        self._complete = True  # whether the history goes back as far as any filter may ask

    def run(self, pictures: Iterator[_Ready]) -> Iterator[Shown]:
        for ready in pictures:
            yield self._shown(ready)
            self._remember(ready)

    def _remember(self, ready: _Ready) -> None:
        self._history.appendleft(ready)
        size = sum(plane.nbytes for plane in ready.frame.planes)
        keep = max(ready.inputs_wanted - 1, min(_MAX_INPUT_PICS - 1, _KEPT_BYTES // max(1, size)))
        while len(self._history) > keep:
            self._history.pop()
            self._complete = False

    def _shown(self, ready: _Ready) -> Shown:
        frame = ready.frame
        applied: list[Applied] = []
        reasons = list(ready.reasons)
        for active in ready.active:
            try:
                result = self._apply(active, ready, frame)
            except NnpfError as error:
                where = f"NNPFC {active.nnpfc_id} at POC {ready.picture.poc}"
                if not self._options.skip_failures:
                    raise NnpfError(f"{where}: {error}") from None
                reasons.append(f"{where} is not applied: {error}")
            else:
                if isinstance(result, str):
                    reasons.append(result)
                else:
                    frame = result[0]
                    applied.append(result[1])
        record = PictureRecord(
            ready.picture.decode_index,
            ready.output_index,
            ready.picture.poc,
            ready.picture.clvs,
            tuple(applied),
            tuple(reasons),
        )
        return Shown(frame, ready.frame, record)

    def _apply(self, active: Active, ready: _Ready, current: Frame) -> tuple[Frame, Applied] | str:
        """The filtered picture, or why the message asks for none."""
        base = active.base
        filtered = filtered_inputs(base)
        if changes_picture_rate(base) or filtered != (0,):
            raise NnpfError("filters that make other pictures than the current one are not supported yet")
        if active.activation.nnpfa_output_flag and not active.activation.nnpfa_output_flag[0]:
            return f"NNPFA {active.nnpfc_id} has no effect: nnpfa_output_flag[ 0 ] is 0"
        compiled = self._filter(active)
        prepared = self._prepare(compiled, base, current.format)
        plan = prepared.plan
        start = time.perf_counter()
        frames, strengths = self._inputs(active, ready, current)
        tensor = plan.pack(frames, strengths, prepared.into)
        packed = time.perf_counter()
        others = _other_inputs(compiled.model, active)
        name = compiled.model.tensor_input.name
        output = plan.run(
            lambda batch: compiled.network.run({name: batch, **others}), tensor, max_batch=prepared.max_batch
        )
        done = time.perf_counter()
        (frame,) = plan.store(output, [current])
        applied = Applied(
            active.nnpfc_id,
            compiled.model.name,
            active.update is not None,
            compiled.engine.name,
            compiled.engine.device,
            (plan.patch[1], plan.patch[0]),
            plan.num_patches,
            float(strengths[0]) if plan.process.strength else None,
            (packed - start, done - packed, time.perf_counter() - done),
        )
        return frame, applied

    def _inputs(self, active: Active, ready: _Ready, current: Frame) -> tuple[list[Frame], list[Fraction]]:
        """inputPic[ ] and the strength of each (H.274 8.28.2.2)."""
        frames, strengths = [current], [self._strength(ready.picture)]
        base, activation = active.base, active.activation
        for at in range(1, num_input_pics(base)):
            before = self._history[at - 1] if at <= len(self._history) else None
            if before is None and not self._complete:
                raise NnpfError(f"input picture {at} was not kept: the filter was not known when it was decoded")
            if before is not None and activation.nnpfa_no_prev_clvs_flag and before.picture.clvs != ready.picture.clvs:
                before = None
            if before is not None:
                frames.append(before.frame)
                strengths.append(self._strength(before.picture))
            elif base.nnpfc_absent_input_pic_zero_flag:
                frames.append(_zeros(current.format))
                strengths.append(strengths[-1])
            else:
                frames.append(frames[-1])
                strengths.append(strengths[-1])
        return frames, strengths

    def _strength(self, picture: Picture) -> Fraction:
        return strength_control(picture.slice_qp_y, picture.format.bit_depth_luma, h266=self._codec is Codec.VVC)

    def _filter(self, active: Active) -> _Filter:
        key = (active.base, active.update)
        found = self._filters.get(key)
        if found is not None:
            self._filters.move_to_end(key)
            return found
        if key in self._failed:  # not to be tried again for every picture
            raise self._failed[key]
        try:
            model = self._base(active.base)
            if active.update is not None:
                model = apply_update(model, active.base, active.update, self._options.sources)
            found = _Filter(model, self._engine(model))
        except NnpfError as error:
            self._failed[key] = error
            raise
        self._filters[key] = found
        if len(self._filters) > MAX_NETWORKS:
            self._filters.popitem(last=False)
        return found

    def _base(self, message: NnpfCharacteristics) -> Model:
        model = self._bases.get(message)
        if model is None:
            model = self._bases[message] = load_base(message, self._options.sources)
            if len(self._bases) > MAX_NETWORKS:
                self._bases.popitem(last=False)
        return model

    def _engine(self, model: Model) -> Engine:
        from nnpf.engines import INTEGER_OPERATORS, select_engine

        integer = bool(model.operators & INTEGER_OPERATORS)
        if integer not in self._engines:
            options = self._options
            self._engines[integer] = select_engine(options.engine, options.device, model=model, threads=options.threads)
        return self._engines[integer]

    def _prepare(self, compiled: _Filter, base: NnpfCharacteristics, form: Format) -> _Prepared:
        prepared = compiled.prepared.get(form)
        if prepared is None:
            process = patch_process(base, form, self._options.out_bit_depth)
            plan, max_batch = plan_patches(compiled.model, process, self._options.patch)
            prepared = compiled.prepared[form] = _Prepared(plan, plan.new_input(), max_batch)
            if len(compiled.prepared) > MAX_NETWORKS:
                compiled.prepared.popitem(last=False)
        compiled.prepared.move_to_end(form)
        return prepared


def plan_patches(model: Model, process: PatchProcess, patch: tuple[int, int] | None = None) -> tuple[PatchPlan, int]:
    """The patches to use with a model, and how many of them in one run.

    Args:
        patch: columns and rows that the caller asks for; None: what computes least within NETWORK_BYTES.

    Raises:
        NnpfError: the model does not suit the process.
    """
    spec = model.tensor_input

    def plan_for(rows: int, columns: int) -> PatchPlan:
        return PatchPlan(process, (rows, columns), rank=spec.rank, dtype=spec.dtype)

    if patch is not None and not process.constant_patch_size:
        columns, rows = patch
        margin = 2 * process.overlap
        plan = plan_for(*choose_patch(process, max_positions=1 << 62, fixed=(rows + margin, columns + margin)))
        problem = _misfit(model, plan, 1)
    else:
        if patch is not None and (process.patch_width, process.patch_height) != patch:
            raise NnpfError(
                f"patches of {process.patch_width}x{process.patch_height} are signalled; no other size is allowed"
            )
        plan = plan_for(*choose_patch(process, max_positions=_max_positions(model, process, plan_for)))
        problem = _misfit(model, plan, 1)
        if problem is not None and not process.constant_patch_size:
            # The graph may be made for one size only, whatever the message leaves free.
            axes = (-3, -2) if process.component_last else (-2, -1)
            fixed = (spec.shape[axes[0]], spec.shape[axes[1]])
            if None not in fixed:
                plan = plan_for(*choose_patch(process, max_positions=1 << 62, fixed=fixed))
                problem = _misfit(model, plan, 1)
    if problem is not None:
        raise problem
    return plan, _max_batch(model, plan)


def _max_positions(model: Model, process: PatchProcess, plan_for: Callable[[int, int], PatchPlan]) -> int:
    """How large a patch may be, from what a small one takes."""
    if process.constant_patch_size:
        return 1 << 62
    margin = 2 * process.overlap
    for exponent in range(12, 31, 3):
        try:
            rows, columns = choose_patch(process, max_positions=1 << exponent)
            cost = model.cost(_shapes(model, plan_for(rows, columns), 1))
        except NnpfError:
            continue  # nothing so small is legal, or the graph takes one size only, which is tried later
        return max(1, NETWORK_BYTES * (rows + margin) * (columns + margin) // max(1, cost.peak_bytes))
    return 1 << 62


def _shapes(model: Model, plan: PatchPlan, batch: int) -> dict[str, Shape]:
    """Shapes of all inputs; those beside the patches are small vectors."""
    shapes: dict[str, Shape] = {}
    for spec in model.inputs:
        shapes[spec.name] = tuple(1 if size is None else size for size in spec.shape)
    shapes[model.tensor_input.name] = (batch, *plan.patch_shape)
    return shapes


def _misfit(model: Model, plan: PatchPlan, batch: int) -> NnpfError | None:
    """What is wrong with running the model on patches of this plan."""
    spec = model.tensor_input
    axis = -1 if plan.process.component_last else 1 if spec.rank == 4 else 2
    channels = plan.patch_shape[axis if axis < 0 else axis - 1]
    if spec.shape[axis] not in (None, channels):
        return NnpfError(f"the model takes {spec}, the message says {channels} channels", subject=model.name)
    try:
        cost = model.cost(_shapes(model, plan, batch))
    except NnpfError as error:
        return error
    expected = plan.output_shape(batch, len(cost.output_shape))
    if len(cost.output_shape) not in (4, 5) or cost.output_shape != expected:
        shape = [batch, *plan.patch_shape]
        return NnpfError(
            f"gives {list(cost.output_shape)} for {shape}, the message says {list(expected)}", subject=model.name
        )
    return None


def _max_batch(model: Model, plan: PatchPlan) -> int:
    if plan.num_patches == 1:
        return 1
    peak = model.cost(_shapes(model, plan, 1)).peak_bytes
    batch = max(1, min(MAX_BATCH, plan.num_patches, NETWORK_BYTES // max(1, peak)))
    # A graph that was exported for a batch of 1 mostly takes more; its shapes tell.
    return batch if batch == 1 or _misfit(model, plan, batch) is None else 1


def _other_inputs(model: Model, active: Active) -> dict[str, Any]:
    """Prompt and seed, for the inputs that bear these names (nnpfc_auxiliary_inp_idc bits 1 and 2).

    The seed goes in as a number, the prompt as its UTF-8 bytes. Raises NnpfError for any other input.
    """
    found: dict[str, Any] = {}
    for spec in model.inputs:
        if spec is model.tensor_input or spec.name == model.tensor_input.name:
            continue
        name = spec.name.lower()
        if "seed" in name and active.seed is not None:
            shape = tuple(1 if size is None else size for size in spec.shape)
            found[spec.name] = np.full(shape, active.seed, spec.dtype)
        elif "prompt" in name and active.prompt is not None and spec.dtype.kind in "iu" and spec.rank in (1, 2):
            text = np.frombuffer(active.prompt.encode(), np.uint8).astype(spec.dtype)
            found[spec.name] = text if spec.rank == 1 else text[np.newaxis]
        else:
            raise NnpfError(f"nothing in the messages is for the model's input {spec}", subject=model.name)
    return found


def _zeros(form: Format) -> Frame:
    planes: Sequence[Any] = [
        np.zeros(shape, np.uint8 if depth == 8 else np.uint16)
        for shape, depth in zip(form.shapes, form.bit_depths, strict=True)
    ]
    return Frame(tuple(planes), form)
