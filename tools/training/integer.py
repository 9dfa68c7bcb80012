"""The same network in integers: weights int8, one scale for each output channel; activations uint8; sums int32.

Only samples come in and go out as real numbers. A 10-bit sample goes in as two integers of 8 bits, the sample divided
by four and what is left over, through the same weights, so nothing of it is lost. In between there are only integer
products and sums, whose order does not matter, and steps on single numbers, which IEEE arithmetic rounds everywhere
alike: the result is the same bit by bit on every device. In training the rounding is there and its gradient is passed
through.
"""

import numpy as np
import numpy.typing as npt
import onnx
import torch
import torch.nn.functional as F
from network import INPUT_SCALE, INPUT_SHIFT, OUTPUT_SCALE, Filter, Shape
from onnx import NodeProto
from onnx.helper import make_node
from onnx_file import IN_CHANNELS, OUT_CHANNELS, filter_model
from pairs import CODED_MAX
from torch import Tensor

COARSE = 4  # a sample is COARSE * coarse + fine
WEIGHT_MAX, ACTIVATION_MAX = 127, 255
RANGE_DECAY = 0.99  # of the running ranges of the activations


def macs_per_luma_sample(shape: Shape) -> float:
    """The samples go through the first convolution twice."""
    return shape.macs_per_luma_sample + 9 * IN_CHANNELS * shape.channels / 4


def passed(x: Tensor, rounded: Tensor) -> Tensor:
    """The value of `rounded`, the gradient of `x`."""
    return x + (rounded - x).detach()


def weight_scales(weight: Tensor) -> Tensor:
    """One scale for each output channel, (O, 1, 1, 1)."""
    return weight.detach().abs().amax((1, 2, 3), keepdim=True).clamp(min=1e-8) / WEIGHT_MAX


class IntegerFilter(Filter):
    """As Filter, with the rounding of the integer network. `ranges` (layers, 2): least and largest activation."""

    ranges: Tensor

    def __init__(self, shape: Shape) -> None:
        super().__init__(shape)
        self.register_buffer("ranges", torch.zeros(shape.hidden + 1, 2))

    def folded(self, i: int) -> tuple[Tensor, Tensor]:
        """Weight and bias of layer i for samples and corrections in 0..1."""
        weight, bias = self.convs[i].weight, self.convs[i].bias
        if i == 0:
            weight = weight * self.scale
            bias = bias - (weight * self.shift).sum((1, 2, 3))
        if i == len(self.convs) - 1:
            weight, bias = weight * OUTPUT_SCALE, bias * OUTPUT_SCALE
        return weight, bias

    def steps(self, i: int) -> tuple[Tensor, Tensor]:
        """Scale and zero point of the activations after layer i."""
        low, high = self.ranges[i]
        scale = ((high - low) / ACTIVATION_MAX).clamp(min=1e-8)
        return scale, (-low / scale).round().clamp(0, ACTIVATION_MAX)

    def correction(self, x: Tensor, *, half: bool = False) -> Tensor:
        """As Filter.correction; `half` changes nothing."""
        x = (x * CODED_MAX).round() / CODED_MAX
        last = len(self.convs) - 1
        for i in range(last + 1):
            weight, bias = self.folded(i)
            scales = weight_scales(weight)
            x = F.conv2d(x, passed(weight, (weight / scales).round() * scales), bias)
            if i != last:
                x = self.quantised(F.leaky_relu(x, self.shape.slope), i)
        return x

    def quantised(self, x: Tensor, i: int) -> Tensor:
        if self.training:
            seen = torch.stack((x.detach().min(), x.detach().max()))
            first = not bool(self.ranges[i].any())
            self.ranges[i] = seen if first else self.ranges[i].lerp(seen, 1 - RANGE_DECAY)
        scale, zero = self.steps(i)
        within = x.clamp(float(-zero * scale), float((ACTIVATION_MAX - zero) * scale))
        return passed(within, (within / scale).round() * scale)


def _float(value: float) -> npt.NDArray[np.float32]:
    return np.array(value, np.float32)


def to_onnx(network: IntegerFilter, *, purpose: str, training: str) -> onnx.ModelProto:
    """The filter as ONNX of QuantizeLinear, DequantizeLinear and Conv between them."""
    r, slope = network.shape.overlap, network.shape.slope
    network = network.double()
    shift, scale = torch.tensor(INPUT_SHIFT), torch.tensor(INPUT_SCALE)
    network.shift, network.scale = (v.double().view(1, -1, 1, 1) for v in (shift, scale))
    parameters: dict[str, npt.NDArray[np.generic]] = {
        "coarse.scale": _float(COARSE / CODED_MAX),
        "coarse.zero": np.array(0, np.uint8),
        "fine.scale": _float(1 / CODED_MAX),
        "fine.zero": np.array(0, np.int8),
    }
    nodes: list[NodeProto] = []

    def quantise(x: str, name: str) -> str:
        """Round x to integers and take it as real numbers again; the name of the result."""
        nodes.append(make_node("QuantizeLinear", [x, f"{name}.scale", f"{name}.zero"], [f"{name}.q"], f"{name}.q"))
        nodes.append(make_node("DequantizeLinear", [f"{name}.q", f"{name}.scale", f"{name}.zero"], [name], name))
        return name

    quantise("input", "coarse")
    nodes.append(make_node("Sub", ["input", "coarse"], ["rest"], "rest"))
    quantise("rest", "fine")
    x, last = "coarse", len(network.convs) - 1
    for i in range(last + 1):
        weight, bias = (v.detach() for v in network.folded(i))
        scales = weight_scales(weight)
        parameters[f"w{i}"] = (weight / scales).round().to(torch.int8).numpy()
        parameters[f"w{i}.scale"] = scales.flatten().float().numpy()
        parameters[f"w{i}.zero"] = np.zeros(len(weight), np.int8)
        parameters[f"b{i}"] = bias.float().numpy()
        nodes.append(
            make_node("DequantizeLinear", [f"w{i}", f"w{i}.scale", f"w{i}.zero"], [f"w{i}.real"], f"w{i}", axis=0)
        )
        y = "correction" if i == last else f"features{i}"
        conv = make_node("Conv", [x, f"w{i}.real", f"b{i}"], [y], f"conv{i}", kernel_shape=[3, 3])
        nodes.append(conv)
        if i == 0:
            conv.output[0] = "coarse.features"
            nodes.append(make_node("Conv", ["fine", "w0.real"], ["fine.features"], "conv0.fine", kernel_shape=[3, 3]))
            nodes.append(make_node("Add", ["coarse.features", "fine.features"], [y], "both"))
        if i != last:
            step, zero = network.steps(i)
            parameters[f"a{i}.scale"] = _float(float(step))
            parameters[f"a{i}.zero"] = np.array(int(zero), np.uint8)
            nodes.append(make_node("LeakyRelu", [y], [f"active{i}"], f"relu{i}", alpha=slope))
            x = quantise(f"active{i}", f"a{i}")
    parameters["centre.starts"] = np.array([0, r, r], np.int64)
    parameters["centre.ends"] = np.array([OUT_CHANNELS, -r, -r], np.int64)
    parameters["centre.axes"] = np.array([1, 2, 3], np.int64)
    nodes.append(make_node("Slice", ["input", "centre.starts", "centre.ends", "centre.axes"], ["centre"], "centre"))
    nodes.append(make_node("Add", ["centre", "correction"], ["output"], "add"))
    return filter_model(
        "post_filter",
        nodes,
        parameters,
        purpose=purpose,
        overlap=r,
        macs_per_luma_sample=macs_per_luma_sample(network.shape),
        training=training,
    )
