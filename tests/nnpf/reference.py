"""The patch-wise process of H.274 8.28.1.3 in its own loops, one sample at a time, and which pictures go into which
inference (8.28.2.2), one whole sequence at a time. Slow, plain, and what decides.

Written from sections 4.3 and 4.6 of the notes on the standard, without a look at nnpf/tensors.py and
nnpf/input_pictures.py; settings come as a PatchProcess, which holds values only, and as messages. Arithmetic is exact
(integers and fractions) up to the last step.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from math import floor
from typing import Any

import numpy as np

from nnpf.activation import Active
from nnpf.frames import Format, Frame
from nnpf.tensors import PatchProcess

Array = np.ndarray[Any, Any]


def trunc_div(a: int, b: int) -> int:
    """The standard's "/": towards zero."""
    return abs(a) // b * (1 if a >= 0 else -1)


def reflect(highest: int, x: int) -> int:
    if highest == 0:
        return 0
    while not 0 <= x <= highest:
        x = -x if x < 0 else 2 * highest - x
    return x


def inp_sample_val(p: PatchProcess, y: int, x: int, plane: Array, component: int) -> int:
    height, width = plane.shape
    inside = 0 <= y < height and 0 <= x < width
    if p.padding_type == 0:
        return int(plane[y, x]) if inside else 0
    if p.padding_type == 1:
        return int(plane[min(max(y, 0), height - 1), min(max(x, 0), width - 1)])
    if p.padding_type == 2:
        return int(plane[reflect(height - 1, y), reflect(width - 1, x)])
    if p.padding_type == 3:
        return int(plane[y, x % width]) if 0 <= y < height else 0
    return int(plane[y, x]) if inside else p.padding_values[component]


def inp_value(p: PatchProcess, sample: int, component: int) -> Fraction:
    """InpY (component 0) and InpC."""
    depth = p.inp.bit_depth_luma if component == 0 else p.inp.bit_depth_chroma
    if p.inp_format_idc == 0:
        return Fraction(sample, 2**depth - 1)
    tensor_depth = p.inp_tensor_bit_depths[0 if component == 0 else 1]
    if tensor_depth >= depth:
        return Fraction(sample << (tensor_depth - depth))
    shift = depth - tensor_depth
    return Fraction(min((sample + (1 << (shift - 1))) >> shift, 2**tensor_depth - 1))


def strength_value(p: PatchProcess, strength: Fraction) -> Fraction:
    if p.inp_format_idc == 0:
        return strength
    depth = p.inp_tensor_bit_depths[1 if p.inp_order_idc == 1 else 0]
    return Fraction(floor(strength * (2**depth - 1)))


def input_patch(
    p: PatchProcess, pictures: Sequence[Frame], strengths: Sequence[Fraction], top: int, left: int, ph: int, pw: int
) -> Array:
    """One patch as (picture, channel, row, column). `top` and `left` as in the loops of `process`."""
    o = p.overlap
    sub_h, sub_w = p.inp.SubHeightC, p.inp.SubWidthC
    channels = {0: 1, 1: 2, 2: 3, 3: 6}[p.inp_order_idc] + int(p.strength)
    tensor = np.empty((len(pictures), channels, ph + 2 * o, pw + 2 * o), np.float64)
    for i, picture in enumerate(pictures):

        def luma(y: int, x: int, picture: Frame = picture) -> Fraction:
            return inp_value(p, inp_sample_val(p, y, x, picture.planes[0], 0), 0)

        def chroma(component: int, y: int, x: int, picture: Frame = picture) -> Fraction:
            return inp_value(p, inp_sample_val(p, y, x, picture.planes[component], component), component)

        for y in range(-o, ph + o):
            for x in range(-o, pw + o):
                values: list[Fraction]
                if p.inp_order_idc == 0:
                    values = [luma(top + y, left + x)]
                elif p.inp_order_idc == 1:
                    values = [chroma(1, top + y, left + x), chroma(2, top + y, left + x)]
                elif p.inp_order_idc == 2:
                    yc, xc = trunc_div(top + y, sub_h), trunc_div(left + x, sub_w)
                    values = [luma(top + y, left + x), chroma(1, yc, xc), chroma(2, yc, xc)]
                else:
                    yl, xl, yc, xc = top + 2 * y, left + 2 * x, top // 2 + y, left // 2 + x
                    values = [luma(yl, xl), luma(yl, xl + 1), luma(yl + 1, xl), luma(yl + 1, xl + 1)]
                    values += [chroma(1, yc, xc), chroma(2, yc, xc)]
                if p.strength:
                    values.append(strength_value(p, strengths[i]))
                tensor[i, :, y + o, x + o] = [float(value) for value in values]
    return tensor


def out_exact(p: PatchProcess, value: float, component: int) -> Fraction:
    """OutY and OutC before rounding and clipping."""
    depth = p.out.bit_depth_luma if component == 0 else p.out.bit_depth_chroma
    if p.out_format_idc == 0:
        return Fraction(float(value)) * (2**depth - 1)
    shift = p.out_tensor_bit_depths[0 if component == 0 else 1] - depth
    # An integer tensor is rounded as (x + (1 << (shift - 1))) >> shift: halves up, as below.
    return Fraction(int(value)) * (Fraction(1, 2**shift) if shift > 0 else 2**-shift)


def out_sample(p: PatchProcess, value: float, component: int) -> int:
    """OutY and OutC: Clip3( 0, ( 1 << BitDepth ) - 1, Round( ) )."""
    depth = p.out.bit_depth_luma if component == 0 else p.out.bit_depth_chroma
    return min(max(floor(out_exact(p, value, component) + Fraction(1, 2)), 0), 2**depth - 1)


def process(
    p: PatchProcess,
    patch: tuple[int, int],
    filter_patch: Callable[[Array], Array],
    pictures: Sequence[Frame],
    strengths: Sequence[Fraction],
    store: Callable[[PatchProcess, float, int], Any] = out_sample,
) -> list[list[Array | None]]:
    """The planes of each output picture, float64; None for a plane that the filter does not make.

    `filter_patch` takes (picture, channel, row, column) and gives the same for the output.
    """
    ph, pw = patch
    sub_h, sub_w = p.out.SubHeightC, p.out.SubWidthC
    out_h, out_w = p.out.height, p.out.width
    order = p.out_order_idc
    shapes = p.out.shapes
    results: list[list[Array | None]] = [
        [
            None if (order == 0 and at > 0) or (order == 1 and at == 0) else np.full(shape, np.nan)
            for at, shape in enumerate(shapes)
        ]
        for _ in range(p.num_output_pics)
    ]
    if p.inp_order_idc == 1:
        rows, columns, step = p.inp.shapes[1][0], p.inp.shapes[1][1], 1
    elif p.inp_order_idc == 3:
        rows, columns, step = p.inp.height, p.inp.width, 2
    else:
        rows, columns, step = p.inp.height, p.inp.width, 1
    for top in range(0, rows, step * ph):
        for left in range(0, columns, step * pw):
            output = filter_patch(input_patch(p, pictures, strengths, top, left, ph, pw))
            patch_h, patch_w = output.shape[2:]
            for planes, channels in zip(results, output, strict=True):
                for y_p in range(patch_h):
                    for x_p in range(patch_w):
                        # Position of the patch in the output, in the units of the output order.
                        y, x = top // step * patch_h // ph + y_p, left // step * patch_w // pw + x_p
                        if order == 0:
                            if y < out_h and x < out_w:
                                planes[0][y, x] = store(p, channels[0, y_p, x_p], 0)
                        elif order == 1:
                            if y < shapes[1][0] and x < shapes[1][1]:
                                planes[1][y, x] = store(p, channels[0, y_p, x_p], 1)
                                planes[2][y, x] = store(p, channels[1, y_p, x_p], 2)
                        elif order == 2:
                            if y < out_h and x < out_w:
                                planes[0][y, x] = store(p, channels[0, y_p, x_p], 0)
                                y_c, x_c = y_p // sub_h * sub_h, x_p // sub_w * sub_w
                                planes[1][y // sub_h, x // sub_w] = store(p, channels[1, y_c, x_c], 1)
                                planes[2][y // sub_h, x // sub_w] = store(p, channels[2, y_c, x_c], 2)
                        else:
                            if y < shapes[1][0] and x < shapes[1][1]:
                                for at in range(4):
                                    yl, xl = 2 * y + (at >> 1), 2 * x + (at & 1)
                                    if yl < out_h and xl < out_w:
                                        planes[0][yl, xl] = store(p, channels[at, y_p, x_p], 0)
                                planes[1][y, x] = store(p, channels[4, y_p, x_p], 1)
                                planes[2][y, x] = store(p, channels[5, y_p, x_p], 2)
    return results


@dataclass(frozen=True)
class Sent:
    """A decoded picture. `frame0`: fp_current_frame_is_frame0_flag of temporally interleaved views, else None."""

    clvs: int
    form: Format
    active: Sequence[Active]
    frame0: bool | None = None


@dataclass(frozen=True)
class Step:
    """A picture of a sequence. `made`: "decoded" and its number; or "made", nnpfc_id, what inputPic[ ] were, and the
    index in the output tensor. `number`: of the coded picture that it is or stands beside."""

    kind: str
    number: int
    sent: Sent
    position: Fraction
    form: Format
    made: tuple[Any, ...]


def shown_pictures(pictures: Sequence[Sent], form_after: Callable[[Active, Format], Format]) -> list[Step]:
    """The pictures that are shown: one filter after the other takes the whole sequence."""
    sequence = [
        Step("filtered", number, sent, Fraction(number), sent.form, ("decoded", number))
        for number, sent in enumerate(pictures)
    ]
    for rank in sorted({active.rank for sent in pictures for active in sent.active}):
        sequence = _one_filter(sequence, rank, form_after)
    return sequence


def _one_filter(
    sequence: list[Step], rank: tuple[int, int], form_after: Callable[[Active, Format], Format]
) -> list[Step]:
    own = list(sequence)
    beside: list[list[Step]] = [[] for _ in sequence]
    for n, current in enumerate(sequence):
        active = {one.rank: one for one in current.sent.active}.get(rank)
        if active is None:
            continue
        c, a = active.base, active.activation
        count = (c.nnpfc_num_input_pics_minus1 or 0) + 1
        rate = c.nnpfc_purpose & 8
        between = c.nnpfc_interpolated_pics or (0,) * (count - 1)
        filtering = c.nnpfc_input_pic_filtering_flag or (int(c.nnpfc_purpose != 64),)
        output, left = [0] * count, list(a.nnpfa_output_flag or ())
        for i in range(count):
            if filtering[i]:
                output[i] = left.pop(0) if left else 1
        shift = (a.nnpfa_num_input_pic_shift or 0) if a.nnpfa_selected_input_flag else 0
        # Closing inferences move the current picture to ever higher indices.
        last = n == len(sequence) - 1
        ends = not last and sequence[n + 1].sent.clvs != current.sent.clvs and a.nnpfa_no_foll_clvs_flag
        highest = shift
        if a.nnpfa_persistence_flag and (last or ends):
            if c.nnpfc_purpose == 8 and sum(k > 0 for k in between) == 1:
                highest = max(shift, [k > 0 for k in between].index(True))
            elif not rate and count > 1 and sum(output) == 1:
                highest = max(shift, output.index(1))
        for place in range(shift, highest + 1):
            input_pic: list[int | None] = [None] * count
            input_pic[place] = n
            step = n
            for i in range(place + 1, count):
                step -= 1
                while (
                    step >= 0
                    and rate
                    and current.sent.frame0 is not None
                    and (sequence[step].sent.frame0 != current.sent.frame0)
                ):
                    step -= 1
                if step < 0 or (a.nnpfa_no_prev_clvs_flag and sequence[step].sent.clvs != current.sent.clvs):
                    break
                input_pic[i] = step
            step, taken = n, 0
            reach = shift * (2 if any(s.sent.frame0 is not None for s in sequence) else 1)
            for step in range(n + 1, min(n + 1 + reach, len(sequence))):
                if place != shift or (a.nnpfa_no_foll_clvs_flag and sequence[step].sent.clvs != current.sent.clvs):
                    break
                same_view = sequence[step].sent.frame0 == current.sent.frame0
                if taken < shift and (same_view or not rate or current.sent.frame0 is None):
                    taken += 1
                    input_pic[place - taken] = step
            present = [None if k is None or sequence[k].form != current.form else k for k in input_pic]
            samples: list[Any] = [None] * count
            samples[place] = current.made
            for i in range(place + 1, count):
                k = present[i]
                absent = ("zero",) if c.nnpfc_absent_input_pic_zero_flag else samples[i - 1]
                samples[i] = absent if k is None else sequence[k].made
            for i in range(place - 1, -1, -1):
                k = present[i]
                absent = ("zero",) if c.nnpfc_absent_input_pic_zero_flag else samples[i + 1]
                samples[i] = absent if k is None else sequence[k].made
            tensor = 0
            added: dict[tuple[str, int], list[Step]] = {}
            for i in range(count - 1, -1, -1):
                k = present[i]
                if filtering[i]:
                    if k is not None and output[i]:
                        made = ("made", active.nnpfc_id, tuple(samples), tensor)
                        own[k] = replace(sequence[k], form=form_after(active, current.form), made=made)
                    tensor += 1
                if i > 0:
                    before, after = k, present[i - 1]
                    for number in range(between[i - 1] if rate else 0):
                        if before is not None and after is not None:
                            x, y = sequence[before], sequence[after]
                            at = x.position + (y.position - x.position) * Fraction(number + 1, between[i - 1] + 1)
                            made = ("made", active.nnpfc_id, tuple(samples), tensor)
                            form = form_after(active, current.form)
                            added.setdefault(("interpolated", after), []).append(
                                Step("interpolated", y.number, y.sent, at, form, made)
                            )
                        tensor += 1
            if c.nnpfc_purpose & 64:
                k = present[0]
                pictures = (c.nnpfc_extrapolated_pics_minus1 or 0) + 1
                for number in range(pictures):
                    if k is not None:
                        # Before the next picture, or as if there were one after another.
                        y = sequence[k]
                        if k + 1 < len(sequence):
                            interval = (sequence[k + 1].position - y.position) / (pictures + 1)
                        else:
                            interval = y.position - sequence[k - 1].position if k > 0 else Fraction(1)
                        made = ("made", active.nnpfc_id, tuple(samples), tensor)
                        form = form_after(active, current.form)
                        at = y.position + (number + 1) * interval
                        added.setdefault(("extrapolated", k), []).append(
                            Step("extrapolated", y.number, y.sent, at, form, made)
                        )
                    tensor += 1
            for (kind, k), steps in added.items():  # instead of those of an earlier inference
                beside[k] = [one for one in beside[k] if one.kind != kind] + steps
    return _views_in_turn(list(zip(own, beside, strict=True)))


def _views_in_turn(groups: list[tuple[Step, list[Step]]]) -> list[Step]:
    """All pictures in order. Added pictures of temporally interleaved views alternate like those that were sent, and
    share the time of the two evenly; the last one stays where it is."""
    result: list[Step] = []
    at = 0
    while at < len(groups):
        own, added = groups[at]
        view = own.sent.frame0
        partners = [groups[at]]
        if view is not None and added and at + 1 < len(groups) and groups[at + 1][0].sent.frame0 == (not view):
            partners.append(groups[at + 1])
        sorted_ones = [sorted([*beside, one], key=lambda item: item.position) for one, beside in partners]
        if view is None or not added:
            result += sorted_ones[0]
        else:
            turns = [one[k] for k in range(max(map(len, sorted_ones))) for one in sorted_ones if k < len(one)]
            spread, end = Fraction(len(partners), len(turns)), partners[-1][0].position
            result += [replace(item, position=end - spread * (len(turns) - 1 - k)) for k, item in enumerate(turns)]
        at += len(partners)
    return result
