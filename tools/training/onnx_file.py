"""The form that every filter of samples/filters has as an ONNX file: order 3 in and out, plus the strength channel."""

import numpy as np
import numpy.typing as npt
import onnx
from onnx import NodeProto, TensorProto, helper, numpy_helper

IN_CHANNELS = 7  # luma top-left, top-right, bottom-left, bottom-right, Cb, Cr, strength
OUT_CHANNELS = 6
OPSET = 17
IR_VERSION = 8  # the oldest that opset 17 allows: every runtime that knows the opset reads it


def filter_model(
    name: str,
    nodes: list[NodeProto],
    parameters: dict[str, npt.NDArray[np.generic]],
    *,
    purpose: str,
    overlap: int,
    macs_per_luma_sample: float,
    training: str,
) -> onnx.ModelProto:
    """A checked model, dynamic in N, H and W, whose `nodes` lead from "input" to "output".

    Overlap is in samples of the half-resolution tensor, on each side.
    """
    out_size = ["height", "width"] if overlap == 0 else [f"height - {2 * overlap}", f"width - {2 * overlap}"]
    graph = helper.make_graph(
        nodes,
        name,
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["batch", IN_CHANNELS, "height", "width"])],
        [helper.make_tensor_value_info("output", TensorProto.FLOAT, ["batch", OUT_CHANNELS, *out_size])],
        [numpy_helper.from_array(array, parameter) for parameter, array in parameters.items()],
    )
    model = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", OPSET)], producer_name="nnpf tools/training"
    )
    model.ir_version = IR_VERSION
    metadata = {
        "licence": "Apache-2.0",
        "purpose": purpose,
        "overlap": str(overlap),
        "macs_per_luma_sample": f"{macs_per_luma_sample:g}",
        "channels": "order 3: luma top-left, top-right, bottom-left, bottom-right, Cb, Cr; input 7: StrengthControlVal",
        "training": training,
    }
    helper.set_model_props(model, metadata)
    onnx.checker.check_model(model, full_check=True)
    return model
