"""The patch-wise process of H.274 8.28.1.3 in its own loops, one sample at a time. Slow, plain, and what decides.

Written from section 4.6 of the notes on the standard, without a look at nnpf/tensors.py; settings come as a
PatchProcess, which holds values only. Arithmetic is exact (integers and fractions) up to the last step.
"""

from collections.abc import Callable, Sequence
from fractions import Fraction
from math import floor
from typing import Any

import numpy as np

from nnpf.frames import Frame
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
