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
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial

from nnpf import limits
from nnpf.activation import Active
from nnpf.cascade import Cascade
from nnpf.characteristics import output_pictures, rate_factor, strength_control
from nnpf.engines import Precision
from nnpf.filters import Applied, EngineChoice, Filters, lanes_for
from nnpf.frames import Format, Frame
from nnpf.inference import Inference, Inferences, Result
from nnpf.input_pictures import Samples
from nnpf.intake import DecodedSource, HashCheck, InputPicture, decoded_pictures, given_pictures
from nnpf.pipeline import running_ahead
from nnpf.sequence import Item, Kind
from nnpf.sources import ModelSources
from nnpf.stage import label, where
from vsei.annexb import NalUnit
from vsei.nal import Codec

# Decoded pictures that wait for their filter: enough to keep both busy, little enough for 8K (50 MB each).
QUEUE_DEPTH = 3
# Pictures for each network that runs: one in it, one that waits.
AHEAD = 2


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
    kind: Kind
    position: float
    applied: tuple[Applied, ...]
    reasons: tuple[str, ...]
    hash_check: HashCheck = "unchecked"
    faults: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class Shown:
    """A picture to show, the decoded one that it stands for (see PictureRecord), and the record.

    `rate_factor`: how many pictures are shown for the interval between the coded picture before and this one (of the
    first one: to the next), by the filters in force.
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


@contextmanager
def _runner(codec: Codec, options: ApplyOptions) -> Iterator[_Runner]:
    runner = _Runner(codec, options)
    try:
        yield runner
    finally:
        runner.close()


class _Runner:
    """Sends the pictures through the filters, which run some pictures ahead of the one that is taken."""

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
        self._inferences = Inferences(choice.settings.callers)
        self._first_factor = 1

    def close(self) -> None:
        self._inferences.close()

    def run(self, pictures: Iterator[InputPicture]) -> Iterator[Shown]:
        """The pictures to show."""
        waiting: deque[Item] = deque()
        for item in self._filtered(pictures):
            waiting.append(item)
            if len(waiting) > AHEAD * self._lanes and (shown := self._shown(waiting.popleft())) is not None:
                yield shown
        while waiting:
            if (shown := self._shown(waiting.popleft())) is not None:
                yield shown

    def _filtered(self, pictures: Iterator[InputPicture]) -> Iterator[Item]:
        cascade = Cascade(self._infer, skip_failures=self._options.skip_failures)
        current = next(pictures, None)
        while current is not None:
            following = next(pictures, None)
            if current.output_index == 0 and following is not None:
                self._first_factor = _rate_factor(following)
            yield from cascade.take(current, following)
            current = following
        yield from cascade.finish()

    def _infer(self, active: Active, current: Item, inputs: Sequence[Samples]) -> tuple[Inference, Format]:
        """Begin an inference. Returns it and the format of its pictures."""
        options = self._options
        outputs = output_pictures(active.base)
        network = self._filters.get(active)
        pictures = [picture for picture, _ in inputs]
        strengths = [
            strength_control(coded.slice_qp_y, coded.format.bit_depth_luma, h266=self._codec is Codec.VVC)
            for _, coded in inputs
        ]
        plan = network.patching(pictures[0].format, options.patch, options.out_bit_depth).plan
        made = len(outputs) * plan.process.out.file_bytes
        if made > (allowed := limits.current().input_bytes):
            problem = f"an inference that gives {len(outputs)} pictures needs {made} bytes, more than {allowed}"
            raise limits.exceeded("input_bytes", problem)

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

        return self._inferences.start(label(active), where(current), work), plan.process.out

    def _shown(self, item: Item) -> Shown | None:
        """A picture, when its filters are done; waits for them. None for an added picture that could not be made."""
        skip_failures = self._options.skip_failures
        own = item.kind == "filtered"
        if skip_failures and not own and item.made_by[0].problem() is not None:
            return None
        frame = item.picture.frame()
        applied = [one.result()[1] for one in item.made_by if not skip_failures or one.problem() is None]
        reasons = item.notes.reasons
        for inference in item.notes.started:
            if not skip_failures:
                inference.result()  # raises what went wrong
            elif (problem := inference.problem()) is not None:
                reasons.append(f"{inference.label} is not applied: {problem}")
        item.notes.started.clear()  # with them go pictures that nobody needs any more
        source = item.source
        picture = source.picture
        record = PictureRecord(
            picture.decode_index,
            source.output_index,
            picture.poc,
            picture.clvs,
            "decoded" if own and not applied else item.kind,
            float(item.position),
            tuple(applied),
            tuple(dict.fromkeys(reasons)),
            source.hash_check,
            source.faults if own else (),
        )
        factor = self._first_factor if source.output_index == 0 else _rate_factor(source)
        return Shown(frame, source.frame, record, factor)


def _rate_factor(source: InputPicture) -> int:
    return math.prod(rate_factor(active.base) for active in source.active)
