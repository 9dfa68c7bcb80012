"""What a filter gains: a stream decoded and filtered at once, both compared with the original, all bits counted.

The test is the stream as it is. The anchor is the same stream without its post-filter messages: the pictures as
decoded, and fewer bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from fractions import Fraction

from nnpf.complexity import Complexity, complexity
from nnpf.errors import NnpfError
from nnpf.frames import Format, Frame
from nnpf.metrics import Average, Difference, average, combined, compare
from nnpf.runner import ApplyOptions, Shown, apply
from nnpf.similarity import Similarity, similarity
from nnpf.sources import Base, apply_update, load_base
from vsei import edit, messages
from vsei.annexb import NalUnit
from vsei.errors import VseiError
from vsei.messages import NnpfActivation, NnpfCharacteristics
from vsei.messages.processing_order import SeiProcessingOrder
from vsei.nal import Codec
from vsei.sei import SeiMessage

# Streams are served by a handful of filters; one that announces more is not described in full.
MAX_DESCRIBED = 64

Original = Callable[[Format], Iterator[Frame]]


# --- bytes -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class StreamBytes:
    """How long a stream is, start codes included.

    Attributes:
        total: with its post-filter messages.
        messages: what they take: NNPFC, NNPFA, and SEI processing order messages that name them.
    """

    total: int
    messages: int

    @property
    def anchor(self) -> int:
        return self.total - self.messages

    def test(self, share: Fraction = Fraction(1)) -> float:
        """Bytes with the messages. `share`: of the messages that is charged to this video, where they serve a longer
        one; the rest of that is taken to be like this video."""
        return self.anchor + self.messages * float(share)


@dataclass(frozen=True, slots=True)
class Survey:
    """A first pass over a stream: its bytes, and its different NNPFC messages in order of appearance."""

    size: StreamBytes
    characteristics: tuple[NnpfCharacteristics, ...]
    complete: bool


def survey(nal_units: Iterable[NalUnit], codec: Codec) -> Survey:
    """Count the bytes of a stream with and without its post-filter messages, without decoding it."""
    total = left = 0
    seen: dict[NnpfCharacteristics, None] = {}
    complete = True

    def counted() -> Iterator[NalUnit]:
        nonlocal total
        for unit in nal_units:
            total += _size(unit)
            yield unit

    def of_post_filters(_: edit.Place, message: SeiMessage) -> bool:
        nonlocal complete
        kind = message.payload_type
        if kind == NnpfActivation.PAYLOAD_TYPE:
            return True
        if kind not in (NnpfCharacteristics.PAYLOAD_TYPE, SeiProcessingOrder.PAYLOAD_TYPE):
            return False
        try:
            decoded = messages.decode(message, codec)
        except VseiError:
            return kind == NnpfCharacteristics.PAYLOAD_TYPE
        parsed = decoded.message if decoded is not None else None
        if isinstance(parsed, SeiProcessingOrder):
            named = {NnpfCharacteristics.PAYLOAD_TYPE, NnpfActivation.PAYLOAD_TYPE}
            return not named.isdisjoint(parsed.po_sei_payload_type)
        if isinstance(parsed, NnpfCharacteristics):
            if len(seen) < MAX_DESCRIBED or parsed in seen:
                seen[parsed] = None
            else:
                complete = False
        return True

    for unit in edit.strip(counted(), codec, of_post_filters):
        left += _size(unit)
    return Survey(StreamBytes(total, total - left), tuple(seen), complete)


def _size(unit: NalUnit) -> int:
    return len(unit.prefix) + len(unit.data) + unit.zeros


# --- pictures --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Quality:
    """A picture against the original. `similarity`: None where it was not asked for."""

    difference: Difference
    similarity: Similarity | None

    @property
    def combined(self) -> float | None:
        """PSNR 6:1:1."""
        return combined(self.difference.psnr)


@dataclass(frozen=True, slots=True)
class Measured:
    """One picture.

    Attributes:
        poc: None in a video that is no bitstream.
        filters: the names of the models that ran for it.
        decoded: None where the decoded picture has not the original's size, and in a video that is no bitstream.
    """

    output_index: int
    poc: int | None
    filters: tuple[str, ...]
    decoded: Quality | None
    filtered: Quality


@dataclass(frozen=True, slots=True)
class Means:
    """Over the pictures of a stream.

    Attributes:
        average: PSNR by component.
        combined: PSNR 6:1:1 of the averages; None without chroma.
        ssim, ms_ssim: by component; None where it was not asked for or the pictures are too small.
    """

    average: Average
    combined: float | None
    ssim: tuple[float | None, ...]
    ms_ssim: tuple[float | None, ...]


def means(qualities: Sequence[Quality]) -> Means:
    """Averages. NnpfError when there is no picture, or bit depths change between them."""
    result = average(quality.difference for quality in qualities)
    found = [quality.similarity for quality in qualities]
    components = range(len(result.psnr))
    return Means(
        result,
        combined(result.psnr),
        tuple(_mean([None if s is None else s.ssim[c] for s in found]) for c in components),
        tuple(_mean([None if s is None else s.ms_ssim[c] for s in found]) for c in components),
    )


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if len(known) == len(values) else None


def measure(picture: Frame, original: Frame, *, with_similarity: bool) -> Quality:
    """Compare a picture with the original. NnpfError when they have not the same size and chroma format."""
    return Quality(compare(picture, original), similarity(picture, original) if with_similarity else None)


# --- streams ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class FilterFacts:
    """A filter that ran, or the base of an update that ran.

    Attributes:
        update: an update of a base; the costs are those of the updated filter.
        model: its name.
        carried_bytes: of the model in the message, which the rate counts; 0 where a URI names it.
        uri: the model is fetched from there, and the rate does not count it.
        complexity: None where it cannot be counted; a note says why.
    """

    nnpfc_id: int
    update: bool
    model: str
    carried_bytes: int
    uri: str | None
    complexity: Complexity | None


@dataclass(frozen=True, slots=True)
class Evaluation:
    """A stream against its original.

    Attributes:
        size: None for a video that is no bitstream.
        formats: of original, decoded and filtered pictures (the first of each).
        engines: what ran the filters.
        notes: what was not compared or not counted, and why.
    """

    size: StreamBytes | None
    pictures: tuple[Measured, ...]
    formats: tuple[Format, Format, Format]
    filters: tuple[FilterFacts, ...]
    engines: tuple[str, ...]
    notes: tuple[str, ...]

    @property
    def decoded(self) -> Means | None:
        """None where decoded pictures have not the original's size, and for a video that is no bitstream."""
        qualities = [p.decoded for p in self.pictures if p.decoded is not None]
        return means(qualities) if len(qualities) == len(self.pictures) else None

    @property
    def filtered(self) -> Means:
        return means([p.filtered for p in self.pictures])


@dataclass(slots=True)
class _Notes:
    extra_pictures: int = 0
    without_difference: int = 0
    reasons: dict[str, int] = field(default_factory=dict)

    def take(self, shown: Shown) -> None:
        for reason in shown.record.reasons:
            self.reasons[reason] = self.reasons.get(reason, 0) + 1

    def lines(self) -> Iterator[str]:
        if self.extra_pictures:
            yield f"{self.extra_pictures} pictures that filters added have no original and are not compared"
        if self.without_difference:
            yield f"{self.without_difference} pictures have a component without any difference; averages leave it out"
        for reason, count in self.reasons.items():
            yield f"{count} pictures: {reason}"


def evaluate(
    open_stream: Callable[[], Iterable[NalUnit]],
    codec: Codec,
    original: Original,
    options: ApplyOptions,
    *,
    with_similarity: bool = True,
    tell: Callable[[Measured], None] | None = None,
) -> Evaluation:
    """Decode and filter a stream, and compare it with its original.

    Args:
        open_stream: the NAL units from the start; called twice.
        original: the original pictures in output order, for the format of the decoded ones.
        with_similarity: SSIM and MS-SSIM too, which take most of the time that comparing takes.
        tell: called for each picture that was compared.

    Raises:
        VseiError, NnpfError: as `nnpf.runner.apply`; or the original has fewer pictures, or pictures of another size.
    """
    surveyed = survey(open_stream(), codec)
    measured: list[Measured] = []
    notes = _Notes()
    originals: Iterator[Frame] | None = None
    formats: tuple[Format, Format, Format] | None = None
    applied: set[tuple[int, bool]] = set()
    engines: dict[str, None] = {}
    with apply(open_stream(), codec, options) as pictures:
        for shown in pictures:
            notes.take(shown)
            applied |= {(item.nnpfc_id, item.update) for item in shown.record.applied}
            engines |= dict.fromkeys(f"{item.engine} on {item.device}" for item in shown.record.applied)
            if shown.record.kind not in ("decoded", "filtered"):
                notes.extra_pictures += 1
                continue
            if originals is None:
                originals = original(shown.decoded.format)
            frame = next(originals, None)
            if frame is None:
                raise NnpfError(f"the original ends after {len(measured)} pictures, the stream goes on")
            if formats is None:
                formats = frame.format, shown.decoded.format, shown.frame.format
            measured.append(_measured(shown, frame, with_similarity))
            notes.without_difference += 0.0 in measured[-1].filtered.difference.mse
            if tell is not None:
                tell(measured[-1])
    if formats is None or originals is None:
        raise NnpfError("the stream shows no picture that has an original")
    lines = [*_format_notes(formats), *notes.lines(), *_longer(originals, len(measured))]
    facts, problems = _describe(surveyed, applied, formats[1], options)
    return Evaluation(surveyed.size, tuple(measured), formats, facts, tuple(engines), (*lines, *problems))


def evaluate_video(
    video: Iterable[Frame],
    original: Original,
    *,
    with_similarity: bool = True,
    tell: Callable[[Measured], None] | None = None,
) -> Evaluation:
    """Compare a video that is no bitstream with its original: as `evaluate`, with its pictures as the filtered ones."""
    measured: list[Measured] = []
    originals: Iterator[Frame] | None = None
    formats: tuple[Format, Format, Format] | None = None
    for index, picture in enumerate(video):
        if originals is None:
            originals = original(picture.format)
        frame = next(originals, None)
        if frame is None:
            raise NnpfError(f"the original ends after {index} pictures, the video goes on")
        formats = formats or (frame.format, picture.format, picture.format)
        measured.append(Measured(index, None, (), None, measure(picture, frame, with_similarity=with_similarity)))
        if tell is not None:
            tell(measured[-1])
    if formats is None or originals is None:
        raise NnpfError("the video has no picture")
    notes = _Notes(without_difference=sum(0.0 in item.filtered.difference.mse for item in measured))
    lines = [*_format_notes(formats), *notes.lines(), *_longer(originals, len(measured))]
    return Evaluation(None, tuple(measured), formats, (), (), tuple(lines))


def _longer(originals: Iterator[Frame], count: int) -> Iterator[str]:
    if next(originals, None) is not None:
        yield f"the original has more pictures; its first {count} are compared"


def _measured(shown: Shown, original: Frame, with_similarity: bool) -> Measured:
    sizes = original.format.shapes
    decoded = filtered = None
    if shown.decoded.format.shapes == sizes:
        decoded = measure(shown.decoded, original, with_similarity=with_similarity)
    if shown.frame is shown.decoded:
        filtered = decoded
    if filtered is None:
        filtered = measure(shown.frame, original, with_similarity=with_similarity)
    record = shown.record
    return Measured(record.output_index, record.poc, tuple(item.model for item in record.applied), decoded, filtered)


def _format_notes(formats: tuple[Format, Format, Format]) -> Iterator[str]:
    original, decoded, filtered = formats
    if decoded.shapes != original.shapes:
        yield f"decoded pictures are {decoded}, the original is {original}: only filtered pictures are compared"
    if len({original.bit_depths, decoded.bit_depths, filtered.bit_depths}) > 1:
        depths = ", ".join(
            f"{name} {'/'.join(map(str, dict.fromkeys(form.bit_depths)))}"
            for name, form in (("original", original), ("decoded", decoded), ("filtered", filtered))
        )
        yield f"bit depths: {depths}; compared at the larger one of each pair, samples of the lower one shifted up"


def _describe(
    surveyed: Survey, applied: set[tuple[int, bool]], form: Format, options: ApplyOptions
) -> tuple[tuple[FilterFacts, ...], list[str]]:
    """The filters that ran, and what could not be found out."""
    facts: list[FilterFacts] = []
    problems: list[str] = []
    bases: dict[int, tuple[NnpfCharacteristics, Base]] = {}
    for message in surveyed.characteristics:
        number, update = message.nnpfc_id, not message.nnpfc_base_flag
        used = {key for key in applied if key[0] == number}
        if not used:
            continue
        try:
            if not update:
                bases[number] = message, load_base(message, options.sources)
            if number not in bases or (update and (number, True) not in used):
                continue
            base_message, base = bases[number]
            model = apply_update(base, message, options.sources) if update else base.model
            cost = complexity(model, base_message, message, form, options.patch, options.out_bit_depth)
            name = model.name
        except NnpfError as error:
            problems.append(f"NNPFC {number}: its cost cannot be counted: {error}")
            cost, name = None, message.nnpfc_uri or "payload"
        payload = message.nnpfc_payload or b""
        facts.append(FilterFacts(number, update, name, len(payload), message.nnpfc_uri, cost))
    if not surveyed.complete:
        problems.append(f"more than {MAX_DESCRIBED} different NNPFC messages; the others are not described")
    return tuple(facts), problems
