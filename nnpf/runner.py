"""The decoder side: a stream in, the pictures out that a receiver shows, filtered where a filter is in force.

    with apply(nal_units, Codec.VVC, ApplyOptions(sources=ModelSources(folder))) as pictures:
        for shown in pictures:
            write_frame(file, shown.frame)

Decoding, the filtering of a few pictures at a time, and the caller's loop run at the same time; memory does not grow
with the length of the stream. What was applied to each picture, with what and how long it took, comes with the picture.
What cannot be done is an error, or a reason in the record; nothing is left out in silence.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from fractions import Fraction
from functools import partial
from itertools import zip_longest
from typing import Literal

import numpy as np

from nnpf.activation import Active
from nnpf.characteristics import (
    OutputPicture,
    closing_inferences,
    filtered_inputs,
    num_input_pics,
    output_pictures,
    rate_factor,
    strength_control,
)
from nnpf.engines import Precision
from nnpf.errors import NnpfError
from nnpf.filters import Applied, EngineChoice, Filters, lanes_for
from nnpf.frames import Format, Frame, Plane
from nnpf.inference import Given, Inference, Inferences, Made, Result
from nnpf.inference import Picture as Samples
from nnpf.intake import DecodedSource, HashCheck, InputPicture, decoded_pictures, given_pictures
from nnpf.pipeline import running_ahead
from nnpf.sources import ModelSources
from vsei.annexb import NalUnit
from vsei.messages.nnpf import PICTURE_RATE_UPSAMPLING
from vsei.nal import Codec
from vsei.pictures import Picture

# Decoded pictures that wait for their filter: enough to keep both busy, little enough for 8K (50 MB each).
QUEUE_DEPTH = 3
# Pictures for each network that runs: one in it, one that waits.
AHEAD = 2
# Pictures that are kept for filters of several input pictures before any such filter is known.
_KEPT_BYTES = 24 << 20
_MAX_INPUT_PICS = 64  # nnpfc_num_input_pics_minus1 is at most 63
# Following pictures that an activation may ask to be waited for (nnpfa_num_input_pic_shift).
_MAX_SHIFT = _MAX_INPUT_PICS - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class ApplyOptions:
    """How to apply.

    Attributes:
        sources: where models may come from.
        engine, device: see `nnpf.engines.select_engine`.
        threads, precision, deterministic: see `nnpf.engines.Settings`.
        patch: columns and rows of the patches, in the units of the message, where it leaves the size free.
        out_bit_depth: see `nnpf.characteristics.output_format`.
        layer_id: nuh_layer_id of the pictures to take.
        check_hashes: compare decoded pictures with the decoded picture hash SEI where the stream has it.
        keep_going: what is wrong with the stream or its decoding is noted in the records instead of being an error.
        skip_failures: a filter that cannot be had or run is a reason in the record, and the picture is shown as
            decoded. Else it is an error, for the result would not be what the stream asks for.
    """

    sources: ModelSources = field(default_factory=ModelSources)
    engine: str = "auto"
    device: str = "auto"
    threads: int = 0
    precision: Precision = "f32"
    deterministic: bool = False
    patch: tuple[int, int] | None = None
    out_bit_depth: int | None = None
    layer_id: int = 0
    check_hashes: bool = True
    keep_going: bool = False
    skip_failures: bool = False


@dataclass(frozen=True, slots=True)
class PictureRecord:
    """What happened to a picture.

    Attributes:
        decode_index, output_index, poc, clvs: of the coded picture; of an interpolated one, the coded picture after it,
            of an extrapolated one, the coded picture before it.
        kind: "decoded" where no filter made it.
        position: when it is shown, in intervals of the coded pictures: output_index for those themselves, between two
            for interpolated ones.
        applied: the filters that ran for it, in order.
        reasons: why a filter or a message had no effect; empty where nothing was left undone.
        hash_check: what the decoded picture hash SEI says of the coded picture as decoded.
        faults: with ApplyOptions.keep_going, what was wrong with the stream or its decoding.
    """

    decode_index: int
    output_index: int
    poc: int
    clvs: int
    kind: Literal["decoded", "filtered", "interpolated", "extrapolated"]
    position: float
    applied: tuple[Applied, ...]
    reasons: tuple[str, ...]
    hash_check: HashCheck = "unchecked"
    faults: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class Shown:
    """A picture to show, the decoded one that it stands for (see PictureRecord), and the record.

    `rate_factor`: how many pictures are shown for each interval between two coded ones, by the filters in force.
    """

    frame: Frame
    decoded: Frame
    record: PictureRecord
    rate_factor: int = 1


@contextmanager
def apply(
    nal_units: Iterable[NalUnit], codec: Codec, options: ApplyOptions, *, decoded: DecodedSource | None = None
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
    take = decoded_pictures if decoded is None else partial(given_pictures, source=decoded)
    source = take(
        nal_units,
        codec,
        layer_id=options.layer_id,
        check_hashes=options.check_hashes,
        keep_going=options.keep_going,
    )
    with running_ahead(source, QUEUE_DEPTH, "nnpf decode") as pictures, _runner(codec, options) as runner:
        yield runner.run(pictures)


Kind = Literal["decoded", "filtered", "interpolated", "extrapolated"]
# Gives a picture when it is called for; waits for its filters. None: it could not be made, and need not be.
Showing = Callable[[], Shown | None]


@dataclass(slots=True, eq=False)
class _Extra:
    """An interpolated or extrapolated picture. `offset`: when it is shown, from the picture that it belongs to.
    `inferences`: what makes it, the first one first."""

    kind: Kind
    offset: Fraction
    picture: Samples
    inferences: list[Inference]


@dataclass(slots=True, eq=False)
class _Slot:
    """A coded picture on its way: what is shown for it, as far as it is known.

    Attributes:
        picture: what is shown for it.
        stages: the picture as each filter in the order of application took it, for later inferences of the same filter.
        made_by: the inferences that make `picture`, in order.
        started: the inferences with it as the current picture.
    """

    source: InputPicture
    picture: Samples
    stages: list[Samples]
    made_by: list[Inference] = field(default_factory=list)
    started: list[Inference] = field(default_factory=list)
    reasons: list[str] = field(default_factory=list)
    extras: list[_Extra] = field(default_factory=list)
    shown: bool = False

    @property
    def nbytes(self) -> int:
        pictures = {id(picture): picture for picture in (self.picture, *self.stages)}
        return sum(picture.format.file_bytes for picture in pictures.values())

    def items(self) -> list[_Extra]:
        """What is shown for it, in order; complete when nothing can change it any more."""
        own = _Extra("filtered", Fraction(0), self.picture, self.made_by)
        return sorted((*self.extras, own), key=lambda item: item.offset)

    def show(self, item: _Extra, position: Fraction, skip_failures: bool) -> Showing:
        """An item, when it is called for; None for an additional picture that could not be made."""
        return partial(self._shown, item, position, skip_failures)

    def _shown(self, item: _Extra, position: Fraction, skip_failures: bool) -> Shown | None:
        own = item.kind == "filtered"
        if skip_failures and not own and item.inferences[0].problem() is not None:
            return None
        frame = item.picture.frame()
        applied = [i.result()[1] for i in item.inferences if not skip_failures or i.problem() is None]
        reasons = list(self.reasons) if own else []
        for inference in self.started if own else ():
            if not skip_failures:
                inference.result()  # raises what went wrong
            elif (problem := inference.problem()) is not None:
                reasons.append(f"{inference.label} is not applied: {problem}")
        picture = self.source.picture
        record = PictureRecord(
            picture.decode_index,
            self.source.output_index,
            picture.poc,
            picture.clvs,
            "decoded" if own and not applied else item.kind,
            float(position),
            tuple(applied),
            tuple(dict.fromkeys(reasons)),
            self.source.hash_check,
            self.source.faults if own else (),
        )
        factor = math.prod(rate_factor(active.base) for active in self.source.active)
        return Shown(frame, self.source.frame, record, factor)


@contextmanager
def _runner(codec: Codec, options: ApplyOptions) -> Iterator[_Runner]:
    runner = _Runner(codec, options)
    try:
        yield runner
    finally:
        runner.close()


class _Runner:
    """Goes through the pictures in output order. The latest ones stay at hand: as inputs of filters, and until it is
    clear in which form they are shown."""

    def __init__(self, codec: Codec, options: ApplyOptions) -> None:
        self._codec, self._options = codec, options
        self._lanes = lanes_for(options.threads)
        choice = EngineChoice(
            engine=options.engine,
            device=options.device,
            threads=options.threads,
            lanes=self._lanes,
            precision=options.precision,
            deterministic=options.deterministic,
        )
        self._filters = Filters(options.sources, choice)
        self._inferences = Inferences(self._lanes)
        self._slots: deque[_Slot] = deque()  # the current picture last
        self._first_view: _Slot | None = None  # of a pair of temporally interleaved pictures, until the other one comes
        self._complete = True  # whether the slots go back as far as any filter may ask

    def close(self) -> None:
        self._inferences.close()

    def run(self, pictures: Iterator[InputPicture]) -> Iterator[Shown]:
        """The pictures to show. Filters run some pictures ahead of the one that is taken."""
        waiting: deque[Showing] = deque()
        for item in self._decided(pictures):
            waiting.append(item)
            if len(waiting) > AHEAD * self._lanes and (shown := waiting.popleft()()) is not None:
                yield shown
        while waiting:
            if (shown := waiting.popleft()()) is not None:
                yield shown

    def _decided(self, pictures: Iterator[InputPicture]) -> Iterator[Showing]:
        """Goes through the pictures, starts inferences, and gives what is shown when nothing can change it."""
        ahead: deque[InputPicture] = deque()

        def look(count: int) -> None:
            while len(ahead) < count and (picture := next(pictures, None)) is not None:
                ahead.append(picture)

        look(1)
        while ahead:
            current = ahead.popleft()
            # One picture ahead tells whether this is the last one; filters may ask for more.
            look(max(1, *(_shift(active) for active in current.active), 1))
            following = ahead[0] if ahead else None
            given = Given(current.frame)
            self._slots.append(_Slot(current, given, [given], reasons=list(current.reasons)))
            self._filter(current, list(ahead), following)
            yield from self._settled(current.delay)
            self._forget(current)
        yield from self._settled(-1)

    def _settled(self, delay: int) -> Iterator[Showing]:
        """Show what no later inference can change."""
        for at, slot in enumerate(self._slots):
            if not slot.shown and len(self._slots) - 1 - at >= delay:
                slot.shown = True
                yield from self._in_turn(slot)
        if delay < 0:
            yield from self._in_turn(None)

    def _in_turn(self, slot: _Slot | None) -> Iterator[Showing]:
        """The items of a slot. Of temporally interleaved pictures those of two slots, one for each view, in turn: with
        added pictures, too, the views must alternate."""
        first, self._first_view = self._first_view, None
        skip = self._options.skip_failures
        if first is not None:
            pair = [first]
            if slot is not None and slot.source.frame0 == (not first.source.frame0):
                pair.append(slot)
                slot = None
            items = _alternating(pair)
            for at, (owner, item) in enumerate(items):
                # They share the intervals of their coded pictures evenly, and the last one stays where it is.
                before = Fraction(len(pair) * (len(items) - 1 - at), len(items))
                yield owner.show(item, pair[-1].source.output_index - before, skip)
        if slot is not None and slot.source.frame0 is not None and slot.extras:
            self._first_view = slot
        elif slot is not None:
            for item in slot.items():
                yield slot.show(item, slot.source.output_index + item.offset, skip)

    def _forget(self, current: InputPicture) -> None:
        affordable = _KEPT_BYTES // self._slots[-1].nbytes
        keep = max(current.inputs_wanted, min(_MAX_INPUT_PICS, affordable), 1)
        while len(self._slots) > keep and self._slots[0].shown:
            self._slots.popleft()
            self._complete = False

    def _filter(self, current: InputPicture, ahead: Sequence[InputPicture], following: InputPicture | None) -> None:
        slot = self._slots[-1]
        made: list[_Extra] = []  # by the filters so far: the filters after them take these too
        for stage, active in enumerate(current.active):
            try:
                for extra in made:
                    self._filter_extra(active, extra, current)
                made += self._run_filter(active, stage, current, ahead, following)
            except NnpfError as error:
                if not self._options.skip_failures:
                    raise NnpfError(f"{_label(active)} {_where(slot)}: {error}") from None
                slot.reasons.append(f"{_label(active)} is not applied: {error}")
            slot.stages.append(slot.picture)

    def _run_filter(
        self,
        active: Active,
        stage: int,
        current: InputPicture,
        ahead: Sequence[InputPicture],
        following: InputPicture | None,
    ) -> list[_Extra]:
        """All inferences of a filter for the current picture. Returns the additional pictures that they make."""
        base, activation = active.base, active.activation
        flags = _output_flags(active)
        shift = _shift(active)
        inputs = self._inputs(active, stage, current, ahead[:shift])
        made = self._infer(active, stage, inputs, flags)
        last_of_clvs = following is None or following.picture.clvs != current.picture.clvs
        if activation.nnpfa_persistence_flag and (
            following is None or (last_of_clvs and activation.nnpfa_no_foll_clvs_flag)
        ):
            for absent in range(1, closing_inferences(base, flags) + 1):
                made += self._infer(active, stage, [*([None] * absent), *inputs][: len(inputs)], flags)
        return made

    def _filter_extra(self, active: Active, extra: _Extra, current: InputPicture) -> None:
        """A filter on a picture that an earlier one made."""
        base = active.base
        if num_input_pics(base) > 1 or output_pictures(base) != (OutputPicture("filtered", 0),):
            raise NnpfError("a filter of several pictures after one that adds pictures is not supported")
        inference, form = self._start(active, [extra.picture], [self._strength(current.picture)])
        extra.picture = self._made(inference, form, 0, extra.picture)
        extra.inferences.append(inference)

    def _start(self, active: Active, pictures: list[Samples], strengths: list[Fraction]) -> tuple[Inference, Format]:
        """Begin an inference. Returns it and the format of its pictures."""
        slot, options = self._slots[-1], self._options
        outputs = output_pictures(active.base)
        network = self._filters.get(active)
        plan = network.patching(pictures[0].format, options.patch, options.out_bit_depth).plan

        def work() -> Result:
            frames = [picture.frame() for picture in pictures]
            return network.run(
                active,
                frames,
                strengths,
                lambda at: frames[outputs[at].index],
                patch=options.patch,
                out_bit_depth=options.out_bit_depth,
            )

        inference = self._inferences.start(_label(active), _where(slot), work)
        slot.started.append(inference)
        return inference, plan.process.out

    def _made(self, inference: Inference, form: Format, index: int, before: Samples) -> Made:
        return Made(form, inference, index, before if self._options.skip_failures else None)

    def _inputs(
        self, active: Active, stage: int, current: InputPicture, ahead: Sequence[InputPicture]
    ) -> list[_Slot | None]:
        """inputPic[ ], None where there is none (H.274 8.28.2.2)."""
        base, activation = active.base, active.activation
        count = num_input_pics(base)
        shift = len(ahead)
        interleaved = bool(base.nnpfc_purpose & PICTURE_RATE_UPSAMPLING) and current.frame0 is not None

        def usable(other: InputPicture, excluded: int | None) -> bool:
            if excluded and other.picture.clvs != current.picture.clvs:
                return False
            return not interleaved or other.frame0 == current.frame0

        later: list[_Slot | None] = [None for _ in range(_shift(active) - shift)]
        for picture in reversed(ahead):
            allowed = usable(picture, activation.nnpfa_no_foll_clvs_flag)
            given = Given(picture.frame)
            later.append(_Slot(picture, given, [given]) if allowed else None)
        earlier: list[_Slot | None] = []
        for slot in list(self._slots)[-2::-1]:
            if len(later) + 1 + len(earlier) >= count:
                break
            if usable(slot.source, activation.nnpfa_no_prev_clvs_flag):
                earlier.append(slot)
        inputs = [*later, self._slots[-1], *earlier][:count]
        if len(inputs) < count and not self._complete and not activation.nnpfa_no_prev_clvs_flag:
            raise NnpfError(f"{count} input pictures were not kept: the filter was not known when they were decoded")
        return [*inputs, *([None] * (count - len(inputs)))]

    def _infer(
        self, active: Active, stage: int, inputs: Sequence[_Slot | None], flags: tuple[int, ...]
    ) -> list[_Extra]:
        """One inference, its pictures put where they belong. Returns those that it adds."""
        base = active.base
        outputs = output_pictures(base)
        shown_flags = dict(zip(filtered_inputs(base), flags, strict=True))
        # What goes nowhere need not be computed at all.
        wanted = [self._target(picture, inputs, shown_flags) for picture in outputs]
        slot = self._slots[-1]
        if not any(wanted):
            slot.reasons.append(f"NNPFA {active.nnpfc_id} has no effect: no picture of its output is shown")
            return []
        for target in wanted:
            if target is not None and target not in self._slots:
                raise NnpfError("a filter that gives following pictures is not supported (nnpfa_num_input_pic_shift)")
            if target is not None and target.shown:
                raise NnpfError(f"the picture with POC {target.source.picture.poc} was shown before it was filtered")
        inference, form = self._start(active, *self._samples(active, stage, inputs))
        made: list[_Extra] = []
        for at, (picture, target) in enumerate(zip(outputs, wanted, strict=True)):
            if target is None:
                continue
            if picture.kind == "filtered":
                target.picture = self._made(inference, form, at, target.picture)
                target.made_by.append(inference)
            else:
                offset = picture.position
                if picture.kind == "interpolated":
                    before = inputs[picture.index + 1]
                    assert before is not None  # else there is no target
                    offset = (picture.position - 1) * (target.source.output_index - before.source.output_index)
                result = Made(form, inference, at, None)
                made.append(_Extra(picture.kind, offset, result, [inference]))
                target.extras.append(made[-1])
        return made

    @staticmethod
    def _target(picture: OutputPicture, inputs: Sequence[_Slot | None], flags: dict[int, int]) -> _Slot | None:
        """The picture that a picture of the output tensor is shown for or beside; None where it is not shown."""
        if picture.kind == "filtered" and not flags[picture.index]:
            return None
        if picture.kind == "interpolated" and inputs[picture.index + 1] is None:
            return None  # between a picture and an absent one nothing is made
        return inputs[picture.index]

    def _samples(
        self, active: Active, stage: int, inputs: Sequence[_Slot | None]
    ) -> tuple[list[Samples], list[Fraction]]:
        """Samples and strength of inputPic[ ]. Those of an absent picture are zero, or those of the picture next to it
        that is nearer to the current one."""
        current = next(index for index, slot in enumerate(inputs) if slot is self._slots[-1])
        frames: dict[int, Samples] = {}
        strengths: dict[int, Fraction] = {}
        form = self._slots[-1].stages[-1].format
        for index in (*range(current, len(inputs)), *reversed(range(current))):
            slot = inputs[index]
            if slot is not None:
                # The picture as this filter met it, after the filters that come before it.
                frames[index] = slot.stages[min(stage, len(slot.stages) - 1)]
                strengths[index] = self._strength(slot.source.picture)
                if frames[index].format != form:
                    raise NnpfError(f"input pictures of {form} and {frames[index].format}")
            else:
                near = index - 1 if index > current else index + 1
                frames[index] = Given(_zeros(form)) if active.base.nnpfc_absent_input_pic_zero_flag else frames[near]
                strengths[index] = strengths[near]
        indices = range(len(inputs))
        return [frames[index] for index in indices], [strengths[index] for index in indices]

    def _strength(self, picture: Picture) -> Fraction:
        return strength_control(picture.slice_qp_y, picture.format.bit_depth_luma, h266=self._codec is Codec.VVC)


def _alternating(slots: Sequence[_Slot]) -> list[tuple[_Slot, _Extra]]:
    """The items of slots in turn; those that one has more of at the end."""
    lists = ([(slot, item) for item in slot.items()] for slot in slots)
    return [entry for turn in zip_longest(*lists) for entry in turn if entry is not None]


def _label(active: Active) -> str:
    return f"NNPFC {active.nnpfc_id}"


def _where(slot: _Slot) -> str:
    return f"at POC {slot.source.picture.poc}"


def _shift(active: Active) -> int:
    """How many following pictures come before the current one in inputPic[ ]."""
    activation = active.activation
    shift = activation.nnpfa_num_input_pic_shift if activation.nnpfa_selected_input_flag else 0
    return min(shift or 0, num_input_pics(active.base) - 1, _MAX_SHIFT)


def _output_flags(active: Active) -> tuple[int, ...]:
    """nnpfa_output_flag[ ], completed: entries that are absent are inferred to be 1."""
    count = len(filtered_inputs(active.base))
    flags = (active.activation.nnpfa_output_flag or ())[:count]
    return (*flags, *([1] * (count - len(flags))))


def _zeros(form: Format) -> Frame:
    planes: list[Plane] = [
        np.zeros(shape, np.uint8 if depth == 8 else np.uint16)
        for shape, depth in zip(form.shapes, form.bit_depths, strict=True)
    ]
    return Frame(tuple(planes), form)
