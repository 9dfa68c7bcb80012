"""The network of the trained filters: plain 3x3 convolutions on the half-resolution tensor of order 3.

No convolution pads, so an output patch is exact whatever the patch size: the input is `overlap` tensor samples larger
on each side. Trained with scaled inputs and output; the export folds the scales into the first and last convolution.
"""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import onnx
import torch
import torch.nn.functional as F
from onnx.helper import make_node
from onnx_file import IN_CHANNELS, OUT_CHANNELS, filter_model
from torch import Tensor, nn

# Samples are spread to about -2..2 and StrengthControlVal (0.45..0.9 for QP 22..55) to about -2..2.
INPUT_SHIFT = (0.5,) * 6 + (0.65,)
INPUT_SCALE = (4.0,) * 6 + (8.0,)
OUTPUT_SCALE = 1 / 32  # corrections are a few 10-bit levels


@dataclass(frozen=True, slots=True)
class Shape:
    """`channels` hidden channels, `hidden` convolutions between the first and the last, LeakyReLU `slope`."""

    channels: int
    hidden: int
    slope: float

    @property
    def overlap(self) -> int:
        return self.hidden + 2

    @property
    def macs_per_luma_sample(self) -> float:
        c = self.channels
        return 9 * (IN_CHANNELS * c + self.hidden * c * c + c * OUT_CHANNELS) / 4


class Filter(nn.Module):
    """(N, 7, H, W) samples and strength in 0..1 -> (N, 6, H - 2r, W - 2r) corrected samples, r = shape.overlap."""

    shift: Tensor
    scale: Tensor

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        widths = [IN_CHANNELS] + [shape.channels] * (shape.hidden + 1) + [OUT_CHANNELS]
        self.convs = nn.ModuleList(nn.Conv2d(a, b, 3) for a, b in pairwise(widths))
        for conv in self.convs:
            nn.init.kaiming_normal_(conv.weight, a=shape.slope)
            nn.init.zeros_(conv.bias)
        # Hidden convolutions hand on what they get, and add something: so a deep network learns as a residual one does,
        # and costs less.
        for conv in self.convs[1:-1]:
            conv.weight.data *= 0.5
            conv.weight.data[:, :, 1, 1] += torch.eye(shape.channels)
        nn.init.zeros_(self.convs[-1].weight)  # start as the identity
        self.register_buffer("shift", torch.tensor(INPUT_SHIFT).view(1, -1, 1, 1), persistent=False)
        self.register_buffer("scale", torch.tensor(INPUT_SCALE).view(1, -1, 1, 1), persistent=False)

    def correction(self, x: Tensor, *, half: bool = False) -> Tensor:
        """The correction alone, (N, 6, H - 2r, W - 2r).

        `half` computes in bfloat16. Its 8 bits cannot hold a 10-bit sample, so each input goes in as two numbers, the
        rounded sample and what the rounding left over, through the same weights.
        """
        x = (x - self.shift) * self.scale
        first, *hidden, last = self.convs
        if not half:
            x = first(x)
        else:
            coarse = x.bfloat16()
            both = torch.cat((coarse, (x - coarse.float()).bfloat16()), 1).contiguous(memory_format=torch.channels_last)
            weight = first.weight.bfloat16()
            x = F.conv2d(both, torch.cat((weight, weight), 1), first.bias.bfloat16())
        with torch.autocast(x.device.type, torch.bfloat16, enabled=half):
            for conv in hidden:
                x = conv(F.leaky_relu(x, self.shape.slope, inplace=True))
            x = last(F.leaky_relu(x, self.shape.slope, inplace=True))
        return x.float() * OUTPUT_SCALE

    def forward(self, x: Tensor, *, half: bool = False) -> Tensor:
        r = self.shape.overlap
        return x[:, :OUT_CHANNELS, r:-r, r:-r] + self.correction(x, half=half)


def folded(network: Filter) -> dict[str, npt.NDArray[np.float32]]:
    """Weights and biases by name, with the scales of input and output folded in; computed in double precision."""
    shift, scale = np.array(INPUT_SHIFT), np.array(INPUT_SCALE)
    weights: dict[str, npt.NDArray[np.float32]] = {}
    last = len(network.convs) - 1
    for i, conv in enumerate(network.convs):
        weight = conv.weight.detach().double().cpu().numpy()
        bias = conv.bias.detach().double().cpu().numpy()
        if i == 0:
            weight = weight * scale[None, :, None, None]
            bias = bias - (weight * shift[None, :, None, None]).sum((1, 2, 3))
        if i == last:
            weight, bias = weight * OUTPUT_SCALE, bias * OUTPUT_SCALE
        weights[f"conv{i}.weight"] = weight.astype(np.float32)
        weights[f"conv{i}.bias"] = bias.astype(np.float32)
    return weights


def to_onnx(network: Filter, *, purpose: str, training: str) -> onnx.ModelProto:
    """The filter as ONNX; `purpose` and `training` go into its metadata."""
    r, slope = network.shape.overlap, network.shape.slope
    parameters: dict[str, npt.NDArray[np.generic]] = dict(folded(network))
    # The samples that are corrected: channels 0..5 without the overlap.
    parameters["centre.starts"] = np.array([0, r, r], np.int64)
    parameters["centre.ends"] = np.array([OUT_CHANNELS, -r, -r], np.int64)
    parameters["centre.axes"] = np.array([1, 2, 3], np.int64)
    nodes = []
    x, last = "input", len(network.convs) - 1
    for i in range(last + 1):
        y = "correction" if i == last else f"features{i}"
        nodes.append(make_node("Conv", [x, f"conv{i}.weight", f"conv{i}.bias"], [y], f"conv{i}", kernel_shape=[3, 3]))
        x = y
        if i != last:
            x = f"active{i}"
            nodes.append(make_node("LeakyRelu", [y], [x], f"relu{i}", alpha=slope))
    nodes.append(make_node("Slice", ["input", "centre.starts", "centre.ends", "centre.axes"], ["centre"], "centre"))
    nodes.append(make_node("Add", ["centre", "correction"], ["output"], "add"))
    return filter_model(
        "post_filter",
        nodes,
        parameters,
        purpose=purpose,
        overlap=r,
        macs_per_luma_sample=network.shape.macs_per_luma_sample,
        training=training,
    )
