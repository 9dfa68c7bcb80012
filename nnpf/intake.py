"""A stream as the filters want it: decoded pictures in output order, each with the filters that are in force.

What the bitstream says is read in decoding order, alongside the decoder; what comes out is in output order. Pictures
that the decoder gives are held against the bitstream: which ones, in which order, of which size, with which hash.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field, replace
from functools import lru_cache, partial
from itertools import chain
from typing import TYPE_CHECKING, Literal

import numpy as np

from nnpf import limits as of_filters
from nnpf.activation import ActivationState, Active, Known, Timeline
from nnpf.characteristics import num_input_pics, out_of_range
from nnpf.errors import NnpfError
from nnpf.frames import Format, Frame
from nnpf.layer_data import LayerData
from nnpf.layer_messages import LayerMessages
from nnpf.picture_hash import differing
from vsei.annexb import NalUnit
from vsei.errors import VseiError
from vsei.grouping import is_random_access
from vsei.messages import Message, NnpfCharacteristics
from vsei.messages.display import FramePackingArrangement
from vsei.messages.hashes import DecodedPictureHash, HevcDecodedPictureHash
from vsei.nal import Codec
from vsei.pictures import OutputOrder, Picture, PictureFormat, PictureUnit, Shown, picture_units

if TYPE_CHECKING:
    from nnpf.decoding import CodecName

_DECODERS: Mapping[Codec, CodecName] = {Codec.VVC: "vvc", Codec.HEVC: "hevc", Codec.AVC: "h264"}
_TEMPORAL_INTERLEAVING = 5  # fp_arrangement_type

_SHOWN_POCS = 8

# What a decoded picture hash SEI message says of a decoded picture; "absent": there is none for it.
HashCheck = Literal["matches", "differs", "absent", "unchecked"]

# The next decoded picture in output order, of the format that the stream says; None at the end.
DecodedSource = Callable[[Format], Frame | None]


@dataclass(frozen=True, slots=True, eq=False)
class InputPicture:
    """A decoded picture, cropped, with what holds for it.

    Attributes:
        output_index: 0-based, in output order.
        active: the filters in force, in the order to apply them.
        reasons: why messages have no effect.
        frame0: with temporally interleaved frame packing, fp_current_frame_is_frame0_flag; else None.
        known: filters of several input pictures that may come into force.
        hash_check: of its samples as decoded.
        faults: what is wrong with the stream or with what the decoder made of it, since the picture before; for the
            last one also after it.
    """

    picture: Picture
    output_index: int
    frame: Frame
    active: tuple[Active, ...]
    reasons: tuple[str, ...]
    frame0: bool | None
    known: tuple[Known, ...] = ()
    hash_check: HashCheck = "unchecked"
    faults: tuple[str, ...] = ()


class _Faults:
    """Where a stream, or what a decoder makes of it, is not right: an error, or with `keep_going` noted."""

    def __init__(self, keep_going: bool) -> None:
        self.keep_going = keep_going
        self._noted: list[str] = []

    def note(self, problem: str, way_out: str = "--keep-going shows what there is") -> None:
        if not self.keep_going:
            raise NnpfError(f"{problem}; {way_out}")
        self._noted.append(problem)

    def taken(self) -> tuple[str, ...]:
        """Those since the last call."""
        found = tuple(self._noted)
        self._noted.clear()
        return found

    def with_the_last(self, pictures: Generator[InputPicture, None, None]) -> Iterator[InputPicture]:
        """The pictures; what is noted after the last one goes with it."""
        held: InputPicture | None = None
        with closing(pictures):
            for picture in pictures:
                if held is not None:
                    yield held
                held = picture
        if held is not None:
            yield replace(held, faults=held.faults + self.taken())


@dataclass(slots=True)
class _Notes:
    """What is kept of a picture until its samples are there."""

    picture: Picture
    reasons: list[str] = field(default_factory=list)
    hashes: list[Message] = field(default_factory=list)


class _Stream:
    """What the bitstream says of its pictures: taken in decoding order, asked for in output order."""

    def __init__(
        self, nal_units: Iterable[NalUnit], codec: Codec, layer_id: int, *, ordered: bool, faults: _Faults
    ) -> None:
        self._faults = faults
        self._units = picture_units(nal_units, codec)
        self._codec, self._layer, self._ordered = codec, layer_id, ordered
        self._messages = LayerMessages(codec, layer_id)
        self._state = ActivationState()
        self._order: OutputOrder[Picture] = OutputOrder()
        self._packing: dict[int, Timeline[FramePackingArrangement]] = {}  # by CLVS
        self.expected: deque[Picture] = deque()  # with `ordered`: in output order, as far as it is known
        self.pending: dict[int, _Notes] = {}  # of pictures that are to be output, by decoding index
        self._inputs_wanted = 1
        self._checked: tuple[PictureFormat, int] | None = None
        self._output_index = 0
        self._begun = False  # whether a picture came at which decoding can start
        self._before = 0  # pictures before that

    def units(self, skip: Callable[[PictureUnit], None] | None = None) -> Iterator[tuple[PictureUnit, Picture]]:
        """Picture units of the layer in decoding order, their messages taken in. `skip`: is given those of others."""
        first_problem: VseiError | None = None
        for unit in self._units:
            picture = unit.picture
            if picture is None:
                if unit.problem is not None and any(header is not None for header in unit.headers):
                    if not self._begun and not self._may_begin(unit):
                        # A recording that begins anywhere: what its pictures need was sent before.
                        self._before += 1
                        first_problem = first_problem or unit.problem
                        continue
                    if not self._faults.keep_going:
                        raise unit.problem
                    self._faults.note(f"a picture is left out: {unit.problem}")
                continue
            if picture.layer_id != self._layer:
                self._messages.of(unit, picture)
                if skip is not None:
                    skip(unit)
                continue
            self._begun |= picture.random_access or picture.output
            self._before += not self._begun
            # H.264 decoders begin on their own: with recovery_frame_cnt above 0 decoding starts before output does.
            if not self._begun and self._codec is not Codec.AVC:
                continue
            found = self._messages.of(unit, picture)
            notes = _Notes(picture, found.reasons)
            if self._begun and self._before and picture.output:
                notes.reasons.insert(0, f"{self._before} pictures before it are left out: decoding cannot start there")
                self._before = 0
            for message in found.messages:
                if (
                    isinstance(message, NnpfCharacteristics)
                    and message.nnpfc_base_flag
                    and out_of_range(message) is None
                ):
                    self._inputs_wanted = max(self._inputs_wanted, num_input_pics(message))
                elif isinstance(message, FramePackingArrangement):
                    self._packing.setdefault(picture.clvs, Timeline()).put(picture.poc, message)
                elif isinstance(message, (DecodedPictureHash, HevcDecodedPictureHash)):
                    notes.hashes.append(message)
            self._check_memory(picture)
            self._state.take(
                decode_index=picture.decode_index, clvs=picture.clvs, poc=picture.poc, messages=found.messages
            )
            if picture.output:
                self.pending[picture.decode_index] = notes
            self._sort(self._order.push(picture, picture))
            yield unit, picture
        if first_problem is not None and not self._begun:
            raise first_problem
        self._sort(self._order.flush())

    def _may_begin(self, unit: PictureUnit) -> bool:
        """Whether decoding can start at a picture whose headers cannot be read, as its NAL unit types say."""
        own = (header for header in unit.headers if header is not None and header.layer_id == self._layer)
        return any(is_random_access(self._codec, header.nal_unit_type) for header in own)

    def _check_memory(self, picture: Picture) -> None:
        """Refuse pictures that are too large, and too many of them for one filter, before anything is decoded."""
        checked = picture.format, self._inputs_wanted
        if checked == self._checked:
            return
        taken = self._inputs_wanted * _whole_format(picture.format).file_bytes
        if taken > (allowed := of_filters.current().input_bytes):
            problem = f"a filter of {self._inputs_wanted} input pictures needs {taken} bytes, more than {allowed}"
            raise of_filters.exceeded("input_bytes", problem)
        self._checked = checked

    def _sort(self, sorted_pictures: Iterable[Shown[Picture]]) -> None:
        for output_index, picture in sorted_pictures:
            if output_index is None:
                self.pending.pop(picture.decode_index, None)  # dropped by a later picture, or never to be output
            elif self._ordered:
                self.expected.append(picture)

    def ready(self, picture: Picture, frame: Frame, whole: Frame | None) -> InputPicture:
        """A picture whose samples are there; to be called in output order.

        Args:
            whole: before cropping, to check its hash.

        Raises:
            NnpfError: it has another hash than the stream says.
        """
        notes = self.pending.pop(picture.decode_index)
        hash_check = self._hash_check(notes, whole)
        decision = self._state.decide(decode_index=picture.decode_index, clvs=picture.clvs, poc=picture.poc)
        index = self._output_index
        self._output_index += 1
        return InputPicture(
            picture,
            index,
            frame,
            decision.active,
            (*notes.reasons, *decision.reasons),
            self._frame0(picture),
            decision.known,
            hash_check,
            self._faults.taken(),
        )

    def _hash_check(self, notes: _Notes, whole: Frame | None) -> HashCheck:
        if whole is None:
            return "unchecked"
        if not notes.hashes:
            return "absent"
        wrong = [name for message in notes.hashes for name in differing(message, whole)]
        if not wrong:
            return "matches"
        self._faults.note(
            f"picture with POC {notes.picture.poc}: {', '.join(wrong)} as decoded does not have the hash that "
            "the stream gives (decoded picture hash SEI): decoder or stream is at fault"
        )
        return "differs"

    def _frame0(self, picture: Picture) -> bool | None:
        for old in [clvs for clvs in self._packing if clvs < picture.clvs]:
            del self._packing[old]
        held = self._packing[picture.clvs].at(picture.poc) if picture.clvs in self._packing else None
        if held is None:
            return None
        since, message = held
        # H.264 has a period in place of a flag: 0 this picture only, 1 until the next message, else as many POCs.
        period = message.frame_packing_arrangement_repetition_period or 0
        persists = message.fp_arrangement_persistence_flag or period == 1 or picture.poc - since <= period
        if message.fp_arrangement_cancel_flag or (since != picture.poc and not persists):
            return None
        if message.fp_arrangement_type != _TEMPORAL_INTERLEAVING:
            return None
        return bool(message.fp_current_frame_is_frame0_flag)


@lru_cache(maxsize=16)
def picture_format(form: PictureFormat) -> Format:
    """The format of the cropped picture."""
    return Format(form.width, form.height, form.chroma_format_idc, form.bit_depth_luma, form.bit_depth_chroma)


@lru_cache(maxsize=16)
def _whole_format(form: PictureFormat) -> Format:
    """The format of the picture before it is cropped."""
    return Format(
        form.coded_width, form.coded_height, form.chroma_format_idc, form.bit_depth_luma, form.bit_depth_chroma
    )


def decoded_pictures(
    nal_units: Iterable[NalUnit],
    codec: Codec,
    *,
    layer_id: int = 0,
    check_hashes: bool = True,
    keep_going: bool = False,
) -> Iterator[InputPicture]:
    """Decode a stream with PyAV.

    Args:
        keep_going: what is wrong is noted with the pictures instead of being an error, and what the decoder gives is
            taken.

    Raises:
        VseiError: its headers are broken.
        NnpfError: the decoder fails, or its pictures are not those of the stream.
    """
    faults = _Faults(keep_going)
    return faults.with_the_last(_decoded(nal_units, codec, layer_id, check_hashes, faults))


def _decoded(
    nal_units: Iterable[NalUnit], codec: Codec, layer_id: int, check_hashes: bool, faults: _Faults
) -> Generator[InputPicture, None, None]:
    from nnpf.decoding import CodedPicture, decode, threads_for

    stream = _Stream(nal_units, codec, layer_id, ordered=False, faults=faults)
    layer = LayerData(codec, layer_id)
    units = stream.units(layer.skip)
    first = next(units, None)
    if first is None:
        raise _no_picture(layer_id)
    threads = threads_for(_whole_format(first[1].format))

    def coded() -> Iterator[CodedPicture]:
        after_eos = False
        held: CodedPicture | None = None
        for unit, picture in chain((first,), units):
            data = layer.of(unit, picture)
            if held is not None and picture.second_field:  # FFmpeg wants a frame's fields together
                held = replace(held, data=held.data + data)
            else:
                if held is not None:
                    yield held
                held = CodedPicture(data, picture.decode_index, after_eos, picture.format.bit_depth_luma == 8)
            after_eos = any(header is not None and header.name in ("EOS", "EOB") for header in unit.headers)
        if held is not None:
            yield held

    last: tuple[int, int] | None = None
    # Cropping is done here, by the parameter sets as vsei read them: hashes are of whole pictures.
    way_out = "give decoded pictures as YUV, or --keep-going"
    on_fault = partial(faults.note, way_out=way_out)
    name = _DECODERS[codec]
    for decoded in decode(coded(), name, threads=threads, crop=False, on_fault=on_fault):
        notes = stream.pending.get(decoded.decode_index)
        if notes is None:
            continue  # decoders give pictures that are not to be output; the bitstream decides
        picture = notes.picture
        if last is not None and (picture.clvs, picture.poc) <= last:
            raise NnpfError(f"the decoder gives POC {picture.poc} after POC {last[1]}; give decoded pictures as YUV")
        last = picture.clvs, picture.poc
        if decoded.damaged:
            faults.note(f"picture with POC {picture.poc}: the decoder says that something it refers to is missing")
        frame = _cropped(decoded.frame, picture)
        yield stream.ready(picture, frame, decoded.frame if check_hashes else None)
    for _ in units:
        pass  # a decoder that ends before the stream does has left out the rest
    if stream.pending:
        missing = [stream.pending[index].picture for index in sorted(stream.pending)]
        listed = ", ".join(str(picture.poc) for picture in missing[:_SHOWN_POCS])
        faults.note(
            f"the decoder left out {len(missing)} pictures: POC {listed}" + " ..." * (len(missing) > _SHOWN_POCS),
            way_out,
        )


def _cropped(frame: Frame, picture: Picture) -> Frame:
    window, wanted = picture.format, picture_format(picture.format)
    whole, given = _whole_format(window), frame.format
    if wanted.chroma_format_idc == 0:
        # A decoder knows one bit depth where there is no chroma. FFmpeg makes 4:2:0 of H.264 without chroma: grey.
        given = replace(given, chroma_format_idc=0, bit_depth_chroma=whole.bit_depth_chroma)
    if given != whole:
        raise NnpfError(f"picture with POC {picture.poc} is {whole} in the stream, and {frame.format} decoded")
    if wanted == frame.format:
        return frame
    planes = []
    for at, (rows, columns) in enumerate(wanted.shapes):
        sub_w, sub_h = (1, 1) if at == 0 else (wanted.SubWidthC, wanted.SubHeightC)
        top, left = window.top // sub_h, window.left // sub_w
        planes.append(frame.planes[at][top : top + rows, left : left + columns])
    return Frame(tuple(planes), wanted)


def announced_pictures(nal_units: Iterable[NalUnit], codec: Codec, *, layer_id: int = 0) -> Iterator[InputPicture]:
    """What the bitstream says of each picture, in output order. Nothing is decoded: all samples are 0.

    Raises:
        VseiError: the stream's headers are broken.
        NnpfError: the stream has no picture.
    """
    stream = _Stream(nal_units, codec, layer_id, ordered=True, faults=_Faults(keep_going=False))
    empty = True
    for _ in chain(stream.units(), (None,)):  # and once more for those that the end of the stream lets out
        while stream.expected:
            picture = stream.expected.popleft()
            yield stream.ready(picture, _zeros(picture_format(picture.format)), None)
            empty = False
    if empty:
        raise _no_picture(layer_id)


def _no_picture(layer_id: int) -> NnpfError:
    return NnpfError("the stream has no picture" + f" of layer {layer_id}" * (layer_id > 0))


def _zeros(form: Format) -> Frame:
    """One sample, seen as a whole picture."""
    zero = (np.uint8(0), np.uint16(0))
    planes = (
        np.broadcast_to(zero[depth > 8], shape) for shape, depth in zip(form.shapes, form.bit_depths, strict=True)
    )
    return Frame(tuple(planes), form)


def given_pictures(
    nal_units: Iterable[NalUnit],
    codec: Codec,
    source: DecodedSource,
    *,
    layer_id: int = 0,
    check_hashes: bool = True,
    keep_going: bool = False,
) -> Iterator[InputPicture]:
    """Pictures that were decoded elsewhere, cropped, in output order. Hashes are of whole pictures, and can be checked
    where nothing was cropped.

    Args:
        keep_going: as for `decoded_pictures`.

    Raises:
        VseiError: the stream's headers are broken.
        NnpfError: the pictures are more or fewer than those of the stream, or of another format.
    """
    faults = _Faults(keep_going)
    return faults.with_the_last(_given(nal_units, codec, source, layer_id, check_hashes, faults))


def _given(
    nal_units: Iterable[NalUnit],
    codec: Codec,
    source: DecodedSource,
    layer_id: int,
    check_hashes: bool,
    faults: _Faults,
) -> Generator[InputPicture, None, None]:
    stream = _Stream(nal_units, codec, layer_id, ordered=True, faults=faults)
    form: Format | None = None
    count, missing = 0, 0
    for _ in chain(stream.units(), (None,)):  # and once more for those that the end of the stream lets out
        while stream.expected:
            picture = stream.expected.popleft()
            form = picture_format(picture.format)
            try:
                frame = None if missing else source(form)
            except NnpfError as error:
                raise NnpfError(f"picture with POC {picture.poc} (number {count} of those decoded): {error}") from None
            if frame is None:
                if not missing:
                    faults.note(f"the decoded pictures end after {count}; the stream goes on with POC {picture.poc}")
                missing += 1
                continue
            if frame.format != form:
                raise NnpfError(f"picture with POC {picture.poc} is {form} in the stream, and {frame.format} decoded")
            count += 1
            whole = check_hashes and form == _whole_format(picture.format)
            yield stream.ready(picture, frame, frame if whole else None)
    if form is None:
        raise _no_picture(layer_id)
    if missing:
        faults.note(f"{missing} decoded pictures are missing at the end")
    elif source(form) is not None:
        faults.note(f"there are more decoded pictures than the {count} that the stream outputs")
