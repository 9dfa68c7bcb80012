"""Pictures to input tensors, output tensors to pictures: the patch-wise process of H.274 8.28.1.3, without loops.

Knows nothing of bitstreams or networks: plain settings in, arrays out, of numpy or of another library (`nnpf.arrays`).
`tests/nnpf/reference.py` says the same in the loops of the standard, and decides.

A patch is counted in units: luma samples for order 0 and 2, chroma samples for order 1, quads of 2x2 luma samples for
order 3. All patches of a picture lie side by side in one extended tensor, of which each patch with its overlap is a
view. So a picture in one patch is that tensor itself, and many patches are one strided copy.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from nnpf.arrays import NUMPY, Array, Arrays
from nnpf.errors import NnpfError
from nnpf.frames import Format, Frame, Plane
from nnpf.padding import FIXED, REFLECT, REPLICATE, WRAP, ZERO, Ints, PaddedPlane, as_slice, padded_plane

LUMA, CHROMA, LUMA_CHROMA, QUADS = 0, 1, 2, 3  # nnpfc_inp_order_idc, nnpfc_out_order_idc
CHANNELS = {LUMA: 1, CHROMA: 2, LUMA_CHROMA: 3, QUADS: 6}
REAL, INTEGER = 0, 1  # nnpfc_inp_format_idc, nnpfc_out_format_idc

# Memory for the input tensor of one picture with all that lies around it. An 8K picture in order 2 takes 0.5 GB;
# a message with a small picture and the largest overlap or patch would take hundreds.
MAX_TENSOR_BYTES = 4 << 30


@dataclass(frozen=True, slots=True, kw_only=True)
class PatchProcess:
    """The settings of the patch-wise process, named as the elements of the NNPFC message without their prefix.

    Attributes:
        inp: the cropped decoded picture.
        out: the picture that the filter makes of it.
        inp_tensor_bit_depths, out_tensor_bit_depths: luma and chroma; for integer tensors.
        strength: one more input channel with the filtering strength (nnpfc_auxiliary_inp_idc bit 0).
        num_input_pics, num_output_pics: pictures in the input and the output tensor.
        patch_width, patch_height: with constant_patch_size the size of every patch, in units; else the
            extended_patch_..._cd_delta_minus1 + 1 that legal sizes are counted by.
        padding_values: Y, Cb, Cr at the decoded bit depth, for padding type 4.
    """

    inp: Format
    out: Format
    inp_order_idc: int = LUMA_CHROMA
    out_order_idc: int = LUMA_CHROMA
    inp_format_idc: int = REAL
    out_format_idc: int = REAL
    inp_tensor_bit_depths: tuple[int, int] = (8, 8)
    out_tensor_bit_depths: tuple[int, int] = (8, 8)
    component_last: bool = False
    strength: bool = False
    num_input_pics: int = 1
    num_output_pics: int = 1
    overlap: int = 0
    constant_patch_size: bool = False
    patch_width: int = 1
    patch_height: int = 1
    padding_type: int = ZERO
    padding_values: tuple[int, int, int] = (0, 0, 0)

    def __post_init__(self) -> None:
        for side, order, form in (("input", self.inp_order_idc, self.inp), ("output", self.out_order_idc, self.out)):
            if order not in CHANNELS:
                raise NnpfError(f"{side} order {order} is reserved")
            if order == QUADS and form.chroma_format_idc != 1:
                raise NnpfError(f"{side} order 3 is for 4:2:0 pictures, these are {form}")
            if order != LUMA and form.chroma_format_idc == 0:
                raise NnpfError(f"{side} order {order} needs chroma, the pictures are {form}")
        if self.padding_type not in (ZERO, REPLICATE, REFLECT, WRAP, FIXED):
            raise NnpfError(f"padding type {self.padding_type} is reserved")
        if self.inp_format_idc not in (REAL, INTEGER) or self.out_format_idc not in (REAL, INTEGER):
            raise NnpfError(f"tensor formats {self.inp_format_idc}, {self.out_format_idc}: one is reserved")
        if self.padding_type == FIXED:
            for value, depth in zip(self.padding_values, self.inp.bit_depths, strict=False):
                if value >> depth:
                    raise NnpfError(f"the padding value {value} is no sample of {depth} bits")
        if min(self.patch_width, self.patch_height, self.num_input_pics, self.num_output_pics) < 1 or self.overlap < 0:
            raise NnpfError("patch sizes and picture counts are at least 1, the overlap at least 0")

    @property
    def inp_channels(self) -> int:
        """Channels of one picture in the input tensor."""
        return CHANNELS[self.inp_order_idc] + self.strength

    @property
    def out_channels(self) -> int:
        """Channels of one picture in the output tensor."""
        return CHANNELS[self.out_order_idc]

    @property
    def inp_unit(self) -> tuple[int, int]:
        """Luma rows and columns of one unit of an input patch."""
        return _unit(self.inp_order_idc, self.inp)

    @property
    def out_unit(self) -> tuple[int, int]:
        return _unit(self.out_order_idc, self.out)

    def out_patch(self, patch: tuple[int, int]) -> tuple[int, int] | None:
        """Rows and columns of the output patch for an input patch; None where one is no whole number.

        An output patch covers what the input patch covers, scaled as the picture is. Where the orders of input and
        output count in the same units, this is outPatchHeight, outPatchWidth (or outPatchCHeight, outPatchCWidth) of
        the standard; for other pairs of orders its text is not clear, and this is what the geometry asks for.
        """
        sizes = []
        for size, inp, out, inp_unit, out_unit in zip(
            patch,
            (self.inp.height, self.inp.width),
            (self.out.height, self.out.width),
            self.inp_unit,
            self.out_unit,
            strict=True,
        ):
            whole, rest = divmod(size * inp_unit * out, inp * out_unit)
            if rest:
                return None
            sizes.append(whole)
        return sizes[0], sizes[1]


def _unit(order: int, form: Format) -> tuple[int, int]:
    if order == CHROMA:
        return form.SubHeightC, form.SubWidthC
    return (2, 2) if order == QUADS else (1, 1)


# --- where a tensor's samples come from ------------------------------------------------------------------------------

Run = tuple[slice, slice]


@dataclass(frozen=True, slots=True)
class _Channel:
    """One channel of the input tensor: a plane, and for rows and columns the positions of the tensor, each with those
    that it takes of the padded plane."""

    plane: int
    rows: tuple[Run, ...]
    columns: tuple[Run, ...]


@dataclass(frozen=True, slots=True)
class _Reading:
    """How a channel reads rows or columns of its plane: unit after unit, (unit * scale + offset) / divide."""

    scale: int = 1
    offset: int = 0
    divide: int = 1

    def coordinates(self, units: range) -> Ints:
        multiplied = np.arange(units.start, units.stop, dtype=np.intp) * self.scale + self.offset
        # The standard's "/" truncates towards zero: in a 4:2:0 picture luma row -1 takes chroma row 0.
        divided: Ints = np.sign(multiplied) * (np.abs(multiplied) // self.divide)
        return divided

    def runs(self, units: range, first: int) -> tuple[Run, ...]:
        """Positions in the tensor and what they read, in slices, of a plane whose first position is `first`. With
        `divide` > 1 each sample is read that many times, by positions that lie apart in a slice of their own."""
        positions = self.coordinates(units) - first
        step = self.scale if self.divide == 1 else 1
        runs = []
        for phase in range(min(self.divide, positions.size)):
            read = positions[phase :: self.divide]
            ends = [*(np.flatnonzero(np.diff(read) != step) + 1).tolist(), read.size]
            for start, end in zip([0, *ends], ends, strict=False):
                into = slice(phase + start * self.divide, phase + (end - 1) * self.divide + 1, self.divide)
                runs.append((into, slice(int(read[start]), int(read[end - 1]) + 1, step)))
        return tuple(runs)


def _readings(order: int, form: Format) -> list[tuple[int, _Reading, _Reading]]:
    """For each channel of a picture its plane, and how it reads rows and columns."""
    once = _Reading()
    luma, chroma = [(0, once, once)], [(1, once, once), (2, once, once)]
    if order == LUMA:
        return luma
    if order == CHROMA:
        return chroma
    if order == LUMA_CHROMA:
        rows, columns = _Reading(divide=form.SubHeightC), _Reading(divide=form.SubWidthC)
        return luma + [(plane, rows, columns) for plane in (1, 2)]
    return [(0, _Reading(2, at >> 1), _Reading(2, at & 1)) for at in range(4)] + chroma


class PatchPlan:
    """The process for one picture format and one patch size, with everything that does not depend on samples.

    Args:
        patch: rows and columns, from `choose_patch`.
        rank: of the network's input: 5, or 4 with pictures folded into channels, picture by picture.
        dtype: of the network's input.
        arrays: the library whose arrays the tensors are.

    Attributes:
        grid: rows and columns of patches.
        patch_shape: of the network's input for one patch, without the batch dimension.
        out_patch: rows and columns of an output patch.
    """

    def __init__(
        self,
        process: PatchProcess,
        patch: tuple[int, int],
        *,
        rank: int = 4,
        dtype: npt.DTypeLike = np.float32,
        arrays: Arrays = NUMPY,
    ) -> None:
        self.process = process
        self.patch = patch
        self.rank = rank
        self.arrays = arrays
        self.dtype: np.dtype[Any] = np.dtype(dtype)
        out_patch = process.out_patch(patch)
        if out_patch is None:
            raise NnpfError(f"a patch of {patch[1]}x{patch[0]} gives no whole number of output samples")
        if rank not in (4, 5):
            raise NnpfError(f"network inputs have rank 4 or 5, not {rank}")
        self._check_dtype()
        self.out_patch = out_patch
        size = (process.inp.height, process.inp.width)
        units = [-(-length // unit) for length, unit in zip(size, process.inp_unit, strict=True)]
        self.grid = (-(-units[0] // patch[0]), -(-units[1] // patch[1]))
        margin = 2 * process.overlap
        rows, columns = (count * size + margin for count, size in zip(self.grid, patch, strict=True))
        self._input_shape = (
            1,
            *self._layout((process.inp_channels, rows, columns), process.num_input_pics),
        )
        if (size_bytes := math.prod(self._input_shape) * self.dtype.itemsize) > MAX_TENSOR_BYTES:
            raise NnpfError(
                f"patches of {patch[1]}x{patch[0]} with an overlap of {process.overlap} make an input tensor of "
                f"{size_bytes >> 20} MiB for {process.inp}; at most {MAX_TENSOR_BYTES >> 20} are taken"
            )
        self._make_channels()
        self.patch_shape = self._layout(
            (process.inp_channels, patch[0] + margin, patch[1] + margin), process.num_input_pics
        )

    def _check_dtype(self) -> None:
        process, kind = self.process, self.dtype.kind
        if process.inp_format_idc == REAL:
            if kind != "f":
                raise NnpfError(f"the tensor holds real numbers, the network takes {self.dtype}")
            return
        depth = max(process.inp_tensor_bit_depths)
        room = np.finfo(self.dtype).nmant + 1 if kind == "f" else np.iinfo(self.dtype).bits - (kind == "i")
        if room < depth:
            raise NnpfError(f"the tensor holds integers of {depth} bits, the network takes {self.dtype}")

    def _layout(self, shape: tuple[int, int, int], pictures: int) -> tuple[int, ...]:
        """The shape of (channels, rows, columns) of some pictures as the network has it, without the batch."""
        channels, rows, columns = shape
        if self.rank == 4:
            folded = pictures * channels
            return (rows, columns, folded) if self.process.component_last else (folded, rows, columns)
        return (pictures, rows, columns, channels) if self.process.component_last else (pictures, *shape)

    def _make_channels(self) -> None:
        """The channels of one picture; and how far each plane is read beyond its ends."""
        process = self.process
        overlap = process.overlap
        units = [range(-overlap, count * size + overlap) for count, size in zip(self.grid, self.patch, strict=True)]
        readings = _readings(process.inp_order_idc, process.inp)
        self._padded: dict[int, PaddedPlane] = {}
        for plane in sorted({plane for plane, *_ in readings}):
            ends = []
            for axis in (0, 1):
                read = [of[axis].coordinates(units[axis]) for at, *of in readings if at == plane]
                ends.append((min(int(one[0]) for one in read), max(int(one[-1]) for one in read) + 1))
            size = process.inp.shapes[plane]
            self._padded[plane] = padded_plane(ends[0], ends[1], size, process.padding_type, self.arrays)
        self._channels = [
            _Channel(
                plane,
                rows.runs(units[0], self._padded[plane].rows.first),
                columns.runs(units[1], self._padded[plane].columns.first),
            )
            for plane, rows, columns in readings
        ]

    # --- input ---

    def new_input(self) -> Array:
        """Memory for `pack`, to be used again for every picture."""
        return self.arrays.empty(self._input_shape, self.dtype)

    def pack(self, pictures: Sequence[Frame], strengths: Sequence[Fraction], into: Array) -> Array:
        """Fill the extended input tensor: all patches of the picture with what lies around it.

        Args:
            pictures: inputPic[0], inputPic[1], ...; all of the format `process.inp`.
            strengths: StrengthControlVal of each picture, 0..1; exact, because integer tensors take the floor. Read
                with `process.strength` only.
            into: from `new_input`.
        """
        process = self.process
        if len(pictures) != process.num_input_pics:
            raise NnpfError(f"{len(pictures)} input pictures, {process.num_input_pics} are wanted")
        tensor = self._by_picture(into, process.num_input_pics, process.inp_channels)[0]
        for at, (picture, channels) in enumerate(zip(pictures, tensor, strict=True)):
            if picture.format != process.inp:
                raise NnpfError(f"input picture of {picture.format}, {process.inp} is wanted")
            for plane, padded in self._padded.items():
                value = process.padding_values[plane] if process.padding_type == FIXED else 0
                samples = padded.around(self.arrays.plane(picture.planes[plane]), value, self.arrays)
                for channel, target in zip(self._channels, channels, strict=False):
                    if channel.plane == plane:
                        self._fill(channel, samples, target)
            if process.strength:
                channels[-1] = self._strength_value(strengths[at])
        return into

    def _strength_value(self, strength: Fraction) -> float:
        process = self.process
        if process.inp_format_idc == REAL:
            return float(strength)
        # Order 1 signals no luma depth; the depth of what the tensor holds is the only sense there is.
        depth = process.inp_tensor_bit_depths[process.inp_order_idc == CHROMA]
        return math.floor(strength * ((1 << depth) - 1))

    def _fill(self, channel: _Channel, samples: Array, target: Array) -> None:
        for into_rows, from_rows in channel.rows:
            for into_columns, from_columns in channel.columns:
                self._convert_input(samples[from_rows, from_columns], target[into_rows, into_columns], channel.plane)

    def _convert_input(self, samples: Array, target: Array, plane: int) -> None:
        """InpY and InpC."""
        process, arrays = self.process, self.arrays
        depth = process.inp.bit_depths[plane]
        if process.inp_format_idc == REAL:
            arrays.real_input(samples, (1 << depth) - 1, target)
            return
        tensor_depth = process.inp_tensor_bit_depths[plane > 0]
        shift = tensor_depth - depth
        wide = arrays.wide(samples)
        if shift >= 0:
            target[...] = wide << shift
        else:
            target[...] = arrays.clipped((wide + (1 << (-shift - 1))) >> -shift, (1 << tensor_depth) - 1)

    def _by_picture(self, tensor: Array, pictures: int, channels: int) -> Array:
        """A network's tensor as (batch, picture, channel, row, column), whatever its layout. A view."""
        if tensor.ndim == 5:
            return self.arrays.permuted(tensor, (0, 1, 4, 2, 3)) if self.process.component_last else tensor
        if self.process.component_last:
            batch, rows, columns, _ = tensor.shape
            folded = tensor.reshape(batch, rows, columns, pictures, channels)
            return self.arrays.permuted(folded, (0, 3, 4, 1, 2))
        return tensor.reshape(tensor.shape[0], pictures, channels, *tensor.shape[2:])

    # --- patches ---

    @property
    def num_patches(self) -> int:
        return self.grid[0] * self.grid[1]

    def blocks(self, max_batch: int) -> Iterator[tuple[slice, slice]]:
        """The grid of patches in blocks of at most `max_batch`: some rows of patches, or a part of one row."""
        rows, columns = self.grid
        high = max(1, max_batch // columns)
        wide = min(columns, max(1, max_batch))
        for top in range(0, rows, high):
            for left in range(0, columns, wide):
                yield slice(top, min(top + high, rows)), slice(left, min(left + wide, columns))

    def extract(self, tensor: Array, block: tuple[slice, slice]) -> Array:
        """The patches of a block as a batch for the network; the tensor itself where there is one patch."""
        if self.num_patches == 1:
            return tensor
        process, arrays = self.process, self.arrays
        source = self._by_picture(tensor, process.num_input_pics, process.inp_channels)[0]
        margin = 2 * process.overlap
        windows = arrays.windows(source, (self.patch[0] + margin, self.patch[1] + margin), self.patch)
        chosen = windows[:, :, block[0], block[1]]  # (picture, channel, grid row, grid column, row, column)
        counts = chosen.shape[2:4]
        batch = arrays.empty((counts[0] * counts[1], *self.patch_shape), self.dtype)
        target = self._by_picture(batch, process.num_input_pics, process.inp_channels)
        # Splitting the first axis of an array keeps it a view, whatever the strides of the others.
        target.reshape(*counts, *target.shape[1:])[...] = arrays.permuted(chosen, (2, 3, 0, 1, 4, 5))
        return batch

    def output_shape(self, batch: int, rank: int) -> tuple[int, ...]:
        """What the network must give for a batch of patches."""
        process = self.process
        rows, columns = self.out_patch
        if rank == 4:
            channels = process.num_output_pics * process.out_channels
            return (batch, rows, columns, channels) if process.component_last else (batch, channels, rows, columns)
        if process.component_last:
            return (batch, process.num_output_pics, rows, columns, process.out_channels)
        return (batch, process.num_output_pics, process.out_channels, rows, columns)

    def run(
        self, network: Callable[[Array], Array], tensor: Array, *, max_batch: int = 1, fixed_batch: bool = False
    ) -> Array:
        """Give all patches to the network and lay what it returns side by side.

        Args:
            network: a batch of patches (batch, *patch_shape) to a batch of output patches. What it returns is read
                before the next call.
            tensor: from `pack`.
            fixed_batch: the network takes batches of exactly `max_batch`; they are filled up with a patch once more.

        Returns:
            (output picture, channel, row, column); the network's own memory where there is one patch.

        Raises:
            NnpfError: the network gives another shape than the process says.
        """
        process = self.process
        whole: Array | None = None
        rows, columns = self.out_patch
        for block in self.blocks(max_batch):
            batch = self.extract(tensor, block)
            count = batch.shape[0]
            if fixed_batch and count < max_batch:
                batch = self.arrays.joined([batch, *[batch[-1:]] * (max_batch - count)])
            result = network(batch)
            expected = self.output_shape(batch.shape[0], result.ndim)
            if result.ndim not in (4, 5) or result.shape != expected:
                raise NnpfError(
                    f"the network gives {list(result.shape)} for {list(batch.shape)}, {list(expected)} is wanted"
                )
            patches = self._by_picture(result[:count], process.num_output_pics, process.out_channels)
            if self.num_patches == 1:
                return patches[0]
            if whole is None:
                size = (self.grid[0] * rows, self.grid[1] * columns)
                whole = self.arrays.like(result, (process.num_output_pics, process.out_channels, *size))
            counts = [span.stop - span.start for span in block]
            grid = whole.reshape(*whole.shape[:2], self.grid[0], rows, self.grid[1], columns)
            side_by_side = self.arrays.permuted(patches.reshape(*counts, *patches.shape[1:]), (2, 3, 0, 4, 1, 5))
            grid[:, :, block[0], :, block[1]] = side_by_side
        assert whole is not None
        return whole

    # --- output ---

    @cached_property
    def _chroma_positions(self) -> tuple[slice | Array, slice | Array]:
        """Rows and columns of the laid-out tensor that the chroma samples of order 2 come from.

        A chroma sample is written once for each luma sample that it belongs to, patch after patch, each time from the
        tensor position rounded down to a multiple of the subsampling inside its patch; the last one stays.
        """
        form = self.process.out
        positions = []
        for length, sub, size in zip(
            (form.height, form.width), (form.SubHeightC, form.SubWidthC), self.out_patch, strict=True
        ):
            last = np.minimum(np.arange(-(-length // sub), dtype=np.intp) * sub + sub - 1, length - 1)
            patch, inside = np.divmod(last, size)
            found = as_slice(patch * size + inside // sub * sub)
            positions.append(found if isinstance(found, slice) else self.arrays.constant(found))
        return positions[0], positions[1]

    def store(self, tensor: Array, decoded: Sequence[Frame | None]) -> list[Frame]:
        """The output pictures.

        Args:
            tensor: from `run`.
            decoded: for each output picture the decoded one that planes are taken from which the filter does not make
                (order 0 has no chroma, order 1 no luma).

        Raises:
            NnpfError: the tensor holds a value that is no number, or a plane that is missing cannot be taken over.
        """
        if self.arrays.is_real(tensor) and self.arrays.has_nan(tensor):
            raise NnpfError("the network gives values that are not numbers (NaN)")
        return [self._store_picture(channels, source) for channels, source in zip(tensor, decoded, strict=True)]

    def _store_picture(self, channels: Array, decoded: Frame | None) -> Frame:
        form = self.process.out
        order = self.process.out_order_idc
        made: dict[int, Array] = {}
        for plane, shape in enumerate(form.shapes):
            if (order == LUMA and plane > 0) or (order == CHROMA and plane == 0):
                continue
            target = made[plane] = self.arrays.new_plane(shape, form.bit_depths[plane])
            if order == QUADS and plane == 0:
                for phase in range(4):
                    into = target[phase >> 1 :: 2, phase & 1 :: 2]
                    self._convert_output(channels[phase, : into.shape[0], : into.shape[1]], into, plane)
            elif order == LUMA_CHROMA and plane > 0:
                rows, columns = self._chroma_positions
                self._convert_output(channels[plane][rows][:, columns], target, plane)
            else:
                first = {LUMA: 0, CHROMA: -1, LUMA_CHROMA: 0, QUADS: 3}[order]
                self._convert_output(channels[first + plane, : shape[0], : shape[1]], target, plane)
        stored = self.arrays.planes(list(made.values()), [form.bit_depths[plane] for plane in made])
        planes = dict(zip(made, stored, strict=True))
        taken = (planes[at] if at in planes else self._taken_over(decoded, at) for at in range(len(form.shapes)))
        return Frame(tuple(taken), form)

    def _taken_over(self, decoded: Frame | None, plane: int) -> Plane:
        form = self.process.out
        kind = "chroma" if plane else "luma"
        if decoded is None or plane >= len(decoded.planes):
            raise NnpfError(f"the filter makes no {kind}, and there is no decoded {kind} to take over")
        source = decoded.planes[plane]
        if source.shape != form.shapes[plane] or decoded.format.bit_depths[plane] != form.bit_depths[plane]:
            raise NnpfError(f"the filter makes no {kind}, and the decoded one ({decoded.format}) does not suit {form}")
        return source

    def _convert_output(self, values: Array, target: Array, plane: int) -> None:
        """OutY and OutC: to the nearest sample value, halves up, clipped."""
        process = self.process
        depth = process.out.bit_depths[plane]
        highest = (1 << depth) - 1
        if process.out_format_idc == REAL:
            self.arrays.real_output(values, highest, target)
            return
        wide = self.arrays.integers(values)
        shift = process.out_tensor_bit_depths[plane > 0] - depth
        wide = (wide + (1 << (shift - 1))) >> shift if shift > 0 else wide << -shift
        target[...] = self.arrays.clipped(wide, highest)
