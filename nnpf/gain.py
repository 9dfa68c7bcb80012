"""Rate points of one video put together: curves of decoded and filtered pictures, and the delta between them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

from nnpf.errors import NnpfError
from nnpf.evaluation import Evaluation, Means
from nnpf.rate_distortion import Delta, RatePoint, bjontegaard_delta, windows

# What curves are drawn of, with the unit.
MEASURES = {"Y": "dB", "Cb": "dB", "Cr": "dB", "6:1:1": "dB", "SSIM Y": "SSIM", "MS-SSIM Y": "MS-SSIM"}


@dataclass(frozen=True, slots=True)
class Rating:
    """How rates are counted.

    Attributes:
        fps: pictures per second; None where it is not known, and rates are per picture.
        messages_every: seconds of video that one set of the stream's messages serves, where that is more than the
            stream's own length.
    """

    fps: Fraction | None = None
    messages_every: Fraction | None = None

    @property
    def unit(self) -> str:
        return "kbit/s" if self.fps is not None else "kbit/picture"

    def rates(self, evaluation: Evaluation) -> tuple[float, float]:
        """Anchor and test.

        Raises:
            NnpfError: the video is no bitstream; or it is longer than messages_every, or its length is not known.
        """
        if evaluation.size is None:
            raise NnpfError("is no bitstream, so it has no rate")
        count = len(evaluation.pictures)
        share = Fraction(1)
        if self.messages_every is not None:
            if self.fps is None:
                raise NnpfError("how long the video is cannot be known without pictures per second")
            share = Fraction(count) / self.fps / self.messages_every
            if share > 1:
                seconds = float(count / self.fps)
                raise NnpfError(
                    f"messages once in {float(self.messages_every):g} s: the video itself is {seconds:.2f} s long"
                )
        scale = float(self.fps or 1) / count * 8 / 1000
        return evaluation.size.anchor * scale, evaluation.size.test(share) * scale


@dataclass(frozen=True, slots=True)
class Point:
    """One stream of a video."""

    label: str
    evaluation: Evaluation


@dataclass(frozen=True, slots=True)
class Curves:
    """Of one measure, from the highest rate to the lowest.

    Attributes:
        anchor: without messages, pictures as decoded.
        test: with messages, pictures as filtered.
    """

    measure: str
    anchor: tuple[RatePoint, ...]
    test: tuple[RatePoint, ...]


@dataclass(frozen=True, slots=True)
class Gain:
    """The delta of one measure over some of the points.

    Attributes:
        points: their labels, from the highest rate to the lowest.
    """

    points: tuple[str, ...]
    measure: str
    delta: Delta


def curves(points: Sequence[Point], rating: Rating) -> tuple[Curves, ...]:
    """The curves of all measures that every point has.

    Raises:
        NnpfError: a point has no rate or no decoded pictures to compare; picture counts differ.
    """
    counts = {len(point.evaluation.pictures) for point in points}
    if len(counts) > 1:
        raise NnpfError(f"the streams have {', '.join(map(str, sorted(counts)))} pictures: no rate points of one video")
    rated = []
    for point in points:
        decoded = point.evaluation.decoded
        if decoded is None:
            raise NnpfError("has no decoded pictures of the original's size to compare with", subject=point.label)
        try:
            rated.append((point.label, point.evaluation.filtered, decoded, *rating.rates(point.evaluation)))
        except NnpfError as error:
            raise NnpfError(error.problem, subject=point.label) from None
    rated.sort(key=lambda entry: -entry[3])
    found = []
    for measure in MEASURES:
        anchor, test = [], []
        for label, filtered, decoded, anchor_rate, test_rate in rated:
            before, after = value(decoded, measure), value(filtered, measure)
            if before is None or after is None:
                break
            anchor.append(RatePoint(label, anchor_rate, before))
            test.append(RatePoint(label, test_rate, after))
        else:
            found.append(Curves(measure, tuple(anchor), tuple(test)))
    return tuple(found)


def gains(of: Sequence[Curves]) -> tuple[Gain, ...]:
    """Deltas of all curves: of every four neighbouring points where there are more, and of all points."""
    return tuple(
        Gain(
            tuple(point.label for point in one.anchor[window]),
            one.measure,
            bjontegaard_delta(one.anchor[window], one.test[window], unit=MEASURES[one.measure]),
        )
        for window in windows(len(of[0].anchor) if of else 0)
        for one in of
    )


def value(means: Means, measure: str) -> float | None:
    """One of MEASURES out of the averages; None where it is not there."""
    psnr = means.average.psnr
    if measure == "6:1:1":
        return means.combined
    if measure in ("SSIM Y", "MS-SSIM Y"):
        return (means.ssim if measure == "SSIM Y" else means.ms_ssim)[0]
    at = ("Y", "Cb", "Cr").index(measure)
    return psnr[at] if at < len(psnr) else None
