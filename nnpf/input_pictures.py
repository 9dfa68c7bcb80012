"""Which pictures go into an inference, and how many inferences there are: H.274 8.28.2.2, for one filter and a sequence
of pictures in output order."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import islice

import numpy as np

from nnpf.activation import Active
from nnpf.characteristics import closing_inferences, filtered_inputs, num_input_pics
from nnpf.errors import NnpfError
from nnpf.frames import Format, Frame, Plane
from nnpf.inference import Given, Picture
from nnpf.sequence import Place
from vsei.messages.nnpf import PICTURE_RATE_UPSAMPLING
from vsei.pictures import Picture as CodedPicture

# inputPic[ ], or what stands for it: samples, and the coded picture whose QP is their strength.
Samples = tuple[Picture, CodedPicture]


def output_flags(active: Active) -> dict[int, int]:
    """nnpfa_output_flag of each filtered input picture, by its index; entries that are absent are inferred to be 1."""
    indices = filtered_inputs(active.base)
    flags = active.activation.nnpfa_output_flag or ()
    return {index: flags[at] if at < len(flags) else 1 for at, index in enumerate(indices)}


def num_following(active: Active, current: Place, following: Iterable[Place], views: int) -> int:
    """How many of the pictures that follow must be known before `input_pictures` and `num_post_roll` can say theirs.

    Args:
        following: those that are known.
        views: 2 where pictures are temporally interleaved, for then every other one may be of no use; else 1.
    """
    activation = active.activation
    if activation.nnpfa_no_foll_clvs_flag and any(place.item.clvs != current.item.clvs for place in following):
        return 0
    wanted = min(_shift(active), num_input_pics(active.base) - 1) * views
    if activation.nnpfa_persistence_flag and _closing(active):
        wanted = max(wanted, 1)  # whether it is the last one
    return wanted


def num_post_roll(active: Active, current: Place, following: Place | None) -> int:
    """numPostRoll: inferences after that of the last picture, with ever more absent pictures in front. The current
    picture stands at nnpfa_num_input_pic_shift already, so as many fewer serve the last pictures."""
    activation = active.activation
    if not activation.nnpfa_persistence_flag:
        return 0
    if following is not None:
        last_of_clvs = following.item.clvs != current.item.clvs
        if not (last_of_clvs and activation.nnpfa_no_foll_clvs_flag):
            return 0
    return max(0, _closing(active) - _shift(active))


def _closing(active: Active) -> int:
    return closing_inferences(active.base, tuple(output_flags(active).values()))


def _shift(active: Active) -> int:
    """nnpfa_num_input_pic_shift; 0 where it is absent."""
    activation = active.activation
    return activation.nnpfa_num_input_pic_shift or 0 if activation.nnpfa_selected_input_flag else 0


def input_pictures(
    active: Active, places: Sequence[Place], at: int, *, complete: bool, views: int = 1
) -> list[Place | None]:
    """inputPic[ ], None where there is none.

    nnpfa_num_input_pic_shift puts the current picture at that index, and pictures that follow it in output order before
    it. (The notes on the standard mark this as open to doubt; only this module depends on it.)

    Pictures that are not output have no place in output order, and are no input pictures. (The reference software goes
    by POC, and takes them.)

    The process has one CroppedWidth, one bit depth and so on for all input pictures, and the standard does not say what
    happens where pictures differ (reference picture resampling, a new CLVS). Here those that are not like the current
    one are absent, with a note.

    Args:
        places: the sequence, as far as it is kept.
        at: of the current picture.
        complete: whether it is kept from its beginning.
        views: see `num_following`.

    Raises:
        NnpfError: pictures that are wanted were not kept, or there is no place for the current one.
    """
    base, activation, current = active.base, active.activation, places[at]
    count, shift = num_input_pics(base), _shift(active)
    if shift >= count:
        raise NnpfError(f"nnpfa_num_input_pic_shift {shift} leaves the current picture out of {count}")
    interleaved = bool(base.nnpfc_purpose & PICTURE_RATE_UPSAMPLING) and current.item.source.frame0 is not None

    def usable(other: Place) -> bool:
        return not interleaved or other.item.source.frame0 == current.item.source.frame0

    later: list[Place | None] = []
    for place in islice(places, at + 1, at + 1 + shift * views):
        if activation.nnpfa_no_foll_clvs_flag and place.item.clvs != current.item.clvs:
            break
        if len(later) < shift and usable(place):
            later.append(place)
    earlier: list[Place | None] = []
    for index in range(at - 1, -1, -1):
        place = places[index]
        if len(earlier) + 1 + shift == count:
            break
        if not usable(place):
            continue
        if activation.nnpfa_no_prev_clvs_flag and place.item.clvs != current.item.clvs:
            complete = True  # nothing before it counts
            break
        earlier.append(place)
    absent = count - shift - 1 - len(earlier)
    if absent and not complete:
        raise NnpfError(f"{count} input pictures were not kept: the filter was not known when they were decoded")
    inputs = [*([None] * (shift - len(later))), *reversed(later), current, *earlier, *([None] * absent)]
    return _alike(active, inputs, current)


def _alike(active: Active, inputs: Sequence[Place | None], current: Place) -> list[Place | None]:
    found: list[Place | None] = []
    form = current.item.picture.format
    for place in inputs:
        if place is not None and (other := place.item.picture.format) != form:
            poc = place.item.source.picture.poc
            current.item.notes.reasons.append(
                f"the picture with POC {poc} is no input picture of NNPFC {active.nnpfc_id}: it is {other}, not {form}"
            )
            place = None
        found.append(place)
    return found


def input_samples(active: Active, inputs: Sequence[Place | None], current: Place) -> list[Samples]:
    """Samples of inputPic[ ]. Those of an absent picture are zero, or those of the picture next to it that is nearer to
    the current one."""
    own = next(at for at, place in enumerate(inputs) if place is current)
    found: dict[int, Samples] = {}
    for at in (*range(own, len(inputs)), *reversed(range(own))):
        place = inputs[at]
        if place is not None:
            found[at] = place.item.picture, place.item.source.picture
            continue
        picture, coded = found[at - 1 if at > own else at + 1]
        if active.base.nnpfc_absent_input_pic_zero_flag:
            picture = Given(_zeros(picture.format))
        found[at] = picture, coded
    return [found[at] for at in range(len(inputs))]


def _zeros(form: Format) -> Frame:
    planes: list[Plane] = [
        np.zeros(shape, np.uint8 if depth == 8 else np.uint16)
        for shape, depth in zip(form.shapes, form.bit_depths, strict=True)
    ]
    return Frame(tuple(planes), form)
