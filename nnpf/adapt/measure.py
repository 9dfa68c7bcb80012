"""What a filter gives, as a receiver has it: the patch process and the engine of `nnpf.runner`, PSNR per picture.

Gains are of 6:1:1 PSNR, the mean over pictures of (6 Y + Cb + Cr) / 8, as JVET combines them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from nnpf.activation import Active
from nnpf.adapt.clip import ClipPicture, at_depth_of
from nnpf.characteristics import num_input_pics, output_format, patch_process
from nnpf.errors import NnpfError
from nnpf.filters import EngineChoice, Engines, Filter, plan_patches
from nnpf.frames import Frame
from nnpf.metrics import Difference, compare
from nnpf.model import Model
from nnpf.tensors import CHROMA, LUMA, PatchPlan, PatchProcess
from vsei.messages import NnpfActivation, NnpfCharacteristics, form
from vsei.messages.nnpf import nnpfa

# Of Y, Cb, Cr.
COMPONENT_WEIGHTS: Final = (6 / 8, 1 / 8, 1 / 8)
# The same in the loss. An update must pay by its luma alone, too, and chroma is easier to gain on.
LOSS_WEIGHTS: Final = (14 / 16, 1 / 16, 1 / 16)
# Where a picture comes out without any error: what JVET's tools print.
LARGEST_PSNR: Final = 100.0

Floats = npt.NDArray[np.float32]


def combined(psnr: Sequence[float]) -> float:
    """6:1:1 PSNR in dB; of the luma where there is no chroma."""
    capped = [min(value, LARGEST_PSNR) for value in psnr]
    if len(capped) == 1:
        return capped[0]
    return sum(weight * value for weight, value in zip(COMPONENT_WEIGHTS, capped, strict=True))


@dataclass(frozen=True, slots=True)
class Gain:
    """dB between two results for the same pictures: 6:1:1, and luma alone. Means over pictures."""

    combined: float
    luma: float


def gain(before: Sequence[Difference], after: Sequence[Difference]) -> Gain:
    """Of `after` over `before`, picture by picture."""
    pairs = [(b.psnr, a.psnr) for b, a in zip(before, after, strict=True)]
    return Gain(
        math.fsum(combined(a) - combined(b) for b, a in pairs) / len(pairs),
        math.fsum(min(a[0], LARGEST_PSNR) - min(b[0], LARGEST_PSNR) for b, a in pairs) / len(pairs),
    )


def check_supported(model: Model, base: NnpfCharacteristics, picture: ClipPicture) -> PatchProcess:
    """The patch process of a filter that can be adapted: one picture in, one of the same format out.

    Raises:
        NnpfError: it is another kind of filter.
    """
    decoded = picture.decoded.format
    if num_input_pics(base) != 1 or len(model.inputs) != 1:
        raise NnpfError("only filters of one input picture and one input can be adapted", subject=model.name)
    process = patch_process(base, decoded)
    if output_format(base, decoded) != decoded or process.num_output_pics != 1:
        raise NnpfError("only filters whose output has the format of the decoded picture can be adapted")
    if process.inp_unit != process.out_unit:
        raise NnpfError("only filters whose input and output are of the same resolution can be adapted")
    if model.tensor_input.rank != 4 or process.component_last or model.tensor_input.dtype != np.float32:
        raise NnpfError("only filters of float32 tensors [batch, channel, row, column] can be adapted")
    return process


class Receiver:
    """Runs models on pictures as `nnpf apply` does. `threads`: of the CPU; 0: all cores."""

    def __init__(self, base: NnpfCharacteristics, *, threads: int = 0) -> None:
        self._base = base
        self._engines = Engines(EngineChoice(threads=threads))
        elements = {"nnpfa_target_id": base.nnpfc_id, "nnpfa_target_base_flag": 1}
        activation = form.complete(NnpfActivation, nnpfa, elements, {})
        self._active = Active(base.nnpfc_id, base, None, activation)

    def measure(self, model: Model | None, pictures: Sequence[ClipPicture]) -> list[Difference]:
        """The filtered pictures against the original ones; the decoded pictures where there is no model."""
        if model is None:
            return [compare(picture.decoded, picture.original) for picture in pictures]
        network = Filter(model, self._base, self._engines)
        differences = []
        for picture in pictures:
            frames, _ = network.run(self._active, [picture.decoded], [picture.strength], _taking(picture.decoded))
            differences.append(compare(frames[0], picture.original))
        return differences


def _taking(frame: Frame) -> Callable[[int], Frame]:
    return lambda _: frame


@dataclass(frozen=True, slots=True, eq=False)
class TrainingPicture:
    """Tensors of one picture.

    Attributes:
        input: [channel, rows + 2 overlap, columns + 2 overlap], as the network gets it.
        target: [channel, rows, columns]: the original, laid out as the network's output.
    """

    input: Floats
    target: Floats


def training_picture(model: Model, process: PatchProcess, picture: ClipPicture) -> TrainingPicture:
    """The tensors of a picture, by the patch process of the receiver."""
    plan = plan_patches(model, process).plan
    tensor = plan.pack([picture.decoded], [picture.strength], plan.new_input())
    order = process.out_order_idc
    # The original as an input picture of a filter that takes the order of the output: the same layout, no margin.
    whole = PatchProcess(inp=process.out, out=process.out, inp_order_idc=order, out_order_idc=order)
    rows, columns = (tensor.shape[axis] - 2 * process.overlap for axis in (2, 3))
    unit = whole.inp_unit
    height, width = -(-process.out.height // unit[0]), -(-process.out.width // unit[1])
    own = PatchPlan(whole, (height, width), rank=4, dtype=np.dtype(np.float32))
    target = own.pack([at_depth_of(picture.original, picture.decoded)], [picture.strength], own.new_input())
    height, width = min(rows, height), min(columns, width)
    # What patches at the right and the bottom reach beyond the picture counts for nothing.
    margin = 2 * process.overlap
    return TrainingPicture(
        np.array(tensor[0, :, : height + margin, : width + margin]), np.array(target[0, :, :height, :width])
    )


def channel_weights(process: PatchProcess, differences: Difference) -> Floats:
    """For each output channel what a squared error of its samples (0..1), meaned over the channel, adds to the loss.

    The loss is the weighted sum of the components' errors relative to `differences`: its change times 10 / ln 10 is the
    change in dB of PSNR, combined with LOSS_WEIGHTS, for small changes.
    """
    components = range(len(process.inp.shapes))
    of_channel = {LUMA: (0,), CHROMA: (1, 2), 2: (0, 1, 2), 3: (0, 0, 0, 0, 1, 2)}[process.out_order_idc]
    weights = []
    for component in of_channel:
        depth = differences.bit_depths[component]
        weight = LOSS_WEIGHTS[component] if len(components) > 1 else 1.0
        # Below the error of rounding to integers nothing can be gained.
        mse = max(differences.mse[component], 1 / 12)
        weights.append(weight / of_channel.count(component) * ((1 << depth) - 1) ** 2 / mse)
    return np.asarray(weights, np.float32)


def evenly(pictures: Sequence[Any], count: int) -> list[Any]:
    """At most `count` of them, evenly spread."""
    if len(pictures) <= count:
        return list(pictures)
    return [pictures[(2 * at + 1) * len(pictures) // (2 * count)] for at in range(count)]
