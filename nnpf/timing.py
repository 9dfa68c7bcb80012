"""When pictures are shown: by the timestamps of a container, or by a rate."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from fractions import Fraction
from typing import TYPE_CHECKING

from nnpf.errors import NnpfError
from vsei.annexb import NalUnit, split
from vsei.frame_rate import frame_rate
from vsei.grouping import groups
from vsei.pictures import picture_units, with_output_index
from vsei.selection import Selection
from vsei.selection import at_times as selection_at
from vsei.source import Source, Stream

if TYPE_CHECKING:
    from nnpf.containers import Origin, Track

NO_RATE = "the stream does not say how many pictures it has per second"
# Pictures whose time is remembered until they are shown. Decoders and filters hold back far fewer.
_REMEMBERED = 4096


class Timing:
    """The times of a stream's pictures, found while its NAL units are read.

    Args:
        stream: a byte stream, or a track of a container.
        rate: pictures per second, of a byte stream. None: its pictures have no times.
    """

    def __init__(self, stream: Source | Track, rate: Fraction | None) -> None:
        self._stream, self._rate = stream, rate
        self._origins: dict[int, Origin] = {}  # by decode index
        self._last: tuple[int, Fraction] | None = None  # output index and time of the picture shown before
        self._interval: Fraction | None = None

    def nal_units(self) -> Iterator[NalUnit]:
        """The NAL units of the stream."""
        if isinstance(self._stream, Source):
            yield from self._stream.nal_units()
            return
        from nnpf.containers import Origins

        origins = Origins()
        for group in groups(self._stream.nal_units(origins=origins), self._stream.codec):
            if group.start is not None:
                self._origins[group.start.decode_index] = origins.at(group.units[group.first_vcl].nal.offset)
                if len(self._origins) > _REMEMBERED:
                    del self._origins[next(iter(self._origins))]
            yield from (unit.nal for unit in group.units)

    def origin(self, decode_index: int) -> Origin | None:
        """Where in a container a picture comes from, once it has been read."""
        return self._origins.get(decode_index)

    def is_cut_off(self, decode_index: int) -> bool:
        """Whether the container says that a picture is decoded, but not shown (edit list)."""
        origin = self.origin(decode_index)
        return origin is not None and origin.cut_off

    def seconds(self, decode_index: int, output_index: int, position: Fraction) -> Fraction:
        """When a picture is shown. To be asked in output order.

        Args:
            decode_index, output_index: of the coded picture that it is, or stands beside.
            position: in intervals of the coded pictures; `output_index` for these themselves.

        Raises:
            NnpfError: the stream does not say.
        """
        if isinstance(self._stream, Source):
            if self._rate is None:
                raise NnpfError(f"{NO_RATE}: --fps")
            return position / self._rate
        origin = self._origins.get(decode_index)
        own = origin.seconds if origin is not None else None
        if own is None:
            raise NnpfError(f"picture {decode_index} has no timestamp; write .y4m or .yuv", subject=self._stream.name)
        if self._last is not None and self._last[0] < output_index:
            self._interval = (own - self._last[1]) / (output_index - self._last[0])
        self._last = output_index, own
        if position == output_index:
            return own
        interval = self._interval or 1 / (self._stream.rate or Fraction(25))
        return own + (position - output_index) * interval


def at_times(selections: Sequence[Selection], stream: Stream, rate: Fraction | None = None) -> list[Selection]:
    """Selections that say times, by picture instead; the others as they are. The stream is read for it.

    Args:
        rate: pictures per second of a byte stream; None: as it says itself.

    Raises:
        NnpfError: the stream has no times.
        VseiError: no picture is on screen then.
    """
    if all(selection.kind != "time" for selection in selections):
        return list(selections)
    stream.keep()
    shown = sorted(_shown(stream, rate))
    return [_by_picture(one, shown) if one.kind == "time" else one for one in selections]


def _by_picture(selection: Selection, shown: Iterable[tuple[Fraction, int, int]]) -> Selection:
    wanted = [(seconds, index) for seconds, index, layer_id in shown if selection.layer_id in (None, layer_id)]
    return selection_at(selection, wanted)


def _shown(stream: Stream, rate: Fraction | None) -> Iterator[tuple[Fraction, int, int]]:
    """When each picture is shown, its index in decoding order, and its layer."""
    if isinstance(stream, Source):
        rate = rate or frame_rate(split([stream.head]), stream.codec)
        if rate is None:
            raise NnpfError(f"{NO_RATE}; name pictures by output: or decode:")
        pictures = (unit.picture for unit in picture_units(stream.nal_units(), stream.codec))
        for output_index, picture in with_output_index(pictures, lambda picture: picture):
            if picture is not None and output_index is not None:
                yield Fraction(output_index) / rate, picture.decode_index, picture.layer_id
        return
    timing = Timing(stream, None)  # type: ignore[arg-type]
    for group in groups(timing.nal_units(), stream.codec):
        origin = timing.origin(group.start.decode_index) if group.start is not None else None
        if group.start is not None and origin is not None and origin.seconds is not None:
            yield origin.seconds, group.start.decode_index, group.start.layer_id
