"""Every operator of the torch importer gives what onnxruntime gives."""

from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto
from onnx.reference import ReferenceEvaluator

from nnpf.engines import INTEGER_OPERATORS, select_engine
from nnpf.engines.onnx_torch import TorchGraph, supported_operators
from nnpf.errors import NnpfError
from tests.nnpf.onnx_graphs import one_node, outputs_of

rng = np.random.default_rng(3)  # for what is made when the module is read
Array = np.ndarray[Any, Any]


def f(*shape: int) -> Array:
    return rng.standard_normal(shape).astype(np.float32)


def positive(*shape: int) -> Array:
    return (rng.random(shape) + 0.1).astype(np.float32)


def i(*values: int) -> Array:
    return np.array(values, np.int64)


X = f(1, 4, 6, 8)
I64 = rng.integers(-9, 9, (2, 3)).astype(np.int64)
BOOLS = rng.random((2, 3)) > 0.5
FLOAT, INT64, BOOL = TensorProto.FLOAT, TensorProto.INT64, TensorProto.BOOL

# (operator, inputs, constants, attributes, opset, type of the output)
CASES: list[tuple[Any, ...]] = [
    *(
        (op, X, (), {})
        for op in [
            "Abs",
            "Neg",
            "Floor",
            "Ceil",
            "Sign",
            "Exp",
            "Sin",
            "Cos",
            "Erf",
            "Relu",
            "Sigmoid",
            "Tanh",
            "Softplus",
            "Softsign",
        ]
    ),
    *((op, X, (), {}) for op in ["HardSwish", "Mish", "Identity", "Elu", "Selu", "LeakyRelu", "HardSigmoid", "Gelu"]),
    *((op, positive(2, 3, 4), (), {}) for op in ("Sqrt", "Log", "Reciprocal")),
    *((op, [X, f(1, 4, 1, 1)], (), {}) for op in ("Add", "Sub", "Mul", "Div", "Min", "Max", "Sum", "Mean")),
    *((op, X, (), {}) for op in ("Tan", "Atan", "Sinh", "Cosh", "Asinh")),
    *((op, (rng.random((2, 3)) * 1.8 - 0.9).astype(np.float32), (), {}) for op in ("Asin", "Acos", "Atanh")),
    ("Acosh", positive(2, 3) + 1, (), {}),
    ("IsNaN", np.array([1, np.nan, np.inf], np.float32), (), {}, 18, BOOL),
    ("ThresholdedRelu", X, (), {"alpha": 0.3}),
    ("Shrink", X, (), {"bias": 0.2, "lambd": 0.4}),
    *((op, [I64, I64], (), {}) for op in ("Add", "Sub", "Mul", "Min", "Max")),
    ("Round", np.array([0.5, 1.5, -0.5, 2.4, -2.6], np.float32), (), {}),
    ("Div", [i(-7, 7, 7, -7), i(2, -2, 2, -2)], (), {}),
    ("Mod", [i(-7, 7, 7, -7), i(2, -3, 3, -3)], (), {}),
    ("Mod", [f(5), positive(5)], (), {"fmod": 1}),
    ("Pow", [positive(2, 3), f(2, 3)], (), {}),
    ("Pow", f(2, 3), (np.array(2, np.float32),), {}),
    ("Gelu", X, (), {"approximate": "tanh"}, 20),
    ("Elu", X, (), {"alpha": 0.3}),
    ("Celu", X, (), {"alpha": 0.3}),
    ("LeakyRelu", X, (), {"alpha": 0.2}),
    ("PRelu", X, (f(4, 1, 1),), {}),
    ("Clip", X, (np.array(-0.5, np.float32), np.array(0.5, np.float32)), {}),
    ("Clip", X, (None, np.array(0.5, np.float32)), {}),
    ("Clip", X, (), {}),
    ("Clip", X, (), {"min": -0.5, "max": 0.25}, 10),
    ("Cast", f(4) * 9, (), {"to": INT64}, 18, INT64),
    ("Cast", I64, (), {"to": FLOAT}, 18, FLOAT),
    ("CastLike", I64, (f(1),), {}, 18, FLOAT),
    ("Dropout", X, (), {}),
    ("Softmax", X, (), {"axis": 1}),
    ("Softmax", X, (), {}, 11),
    ("LogSoftmax", X, (), {"axis": 1}),
    ("LogSoftmax", X, (), {}, 11),
    ("Not", BOOLS, (), {}),
    *((op, [BOOLS, ~BOOLS], (), {}) for op in ("And", "Or", "Xor")),
    *((op, [I64, I64[:1]], (), {}, 18, BOOL) for op in ["Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual"]),
    ("Where", [BOOLS, f(2, 3), f(3)], (), {}, 18, FLOAT),
    # convolution
    ("Conv", X, (f(5, 4, 3, 3), f(5)), {}),
    ("Conv", X, (f(5, 4, 3, 3),), {"pads": [1, 1, 1, 1]}),
    ("Conv", X, (f(6, 2, 3, 1),), {"pads": [2, 0, 1, 3], "group": 2, "strides": [2, 1]}),
    ("Conv", X, (f(4, 1, 3, 3), f(4)), {"group": 4, "dilations": [2, 2], "pads": [2, 2, 2, 2]}),
    *(("Conv", X, (f(3, 4, 4, 3),), {"auto_pad": pad, "strides": [2, 3]}) for pad in ("SAME_UPPER", "SAME_LOWER")),
    ("Conv", X, (f(3, 4, 4, 3),), {"auto_pad": "VALID"}),
    ("Conv", f(1, 2, 9), (f(3, 2, 3),), {"pads": [1, 1]}),
    ("Conv", f(1, 2, 4, 5, 6), (f(3, 2, 3, 3, 3),), {"pads": [1, 0, 1, 1, 0, 1]}),
    ("ConvTranspose", X, (f(4, 3, 3, 3), f(3)), {"strides": [2, 2], "pads": [1, 1, 1, 1], "output_padding": [1, 1]}),
    ("ConvTranspose", X, (f(4, 2, 4, 4),), {"strides": [2, 2], "pads": [1, 0, 2, 1], "group": 2}),
    ("ConvTranspose", X, (f(4, 3, 2, 2),), {"strides": [2, 2]}),
    ("ConvTranspose", X, (f(4, 3, 3, 3),), {"strides": [2, 2], "output_shape": [12, 16]}),
    ("ConvTranspose", X, (f(4, 3, 3, 3),), {"strides": [2, 2], "auto_pad": "SAME_UPPER"}),
    ("ConvTranspose", X, (f(4, 3, 3, 3),), {"dilations": [2, 1]}),
    ("MaxPool", X, (), {"kernel_shape": [2, 3], "strides": [2, 2], "pads": [0, 1, 1, 1]}),
    ("MaxPool", X, (), {"kernel_shape": [2, 2], "dilations": [2, 2]}),
    ("MaxPool", X, (), {"kernel_shape": [3, 3], "auto_pad": "SAME_UPPER", "strides": [2, 2]}),
    ("AveragePool", X, (), {"kernel_shape": [2, 2], "strides": [2, 2]}),
    ("AveragePool", X, (), {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1]}),
    ("AveragePool", X, (), {"kernel_shape": [3, 3], "pads": [1, 0, 0, 1], "count_include_pad": 1}),
    ("GlobalAveragePool", X, (), {}),
    ("GlobalMaxPool", X, (), {}),
    ("BatchNormalization", X, (f(4), f(4), f(4), positive(4)), {"epsilon": 1e-3}),
    ("InstanceNormalization", X, (f(4), f(4)), {}),
    ("LayerNormalization", X, (f(6, 8), f(6, 8)), {"axis": 2}),
    ("GroupNormalization", X, (f(4), f(4)), {"num_groups": 2}, 21),
    *(("LRN", X, (), {"size": size, "alpha": 0.3, "beta": 0.6, "bias": 1.2}) for size in (3, 5)),
    ("MeanVarianceNormalization", X, (), {}),
    ("MeanVarianceNormalization", X, (), {"axes": [1]}),
    *(("LpNormalization", X, (), {"axis": axis, "p": p}) for axis, p in ((1, 1), (-1, 2))),
    ("RMSNormalization", X, (f(8),), {}, 23),
    ("MatMul", [f(2, 3, 4), f(4, 5)], (), {}),
    ("Gemm", f(3, 4), (f(5, 4), f(5)), {"transB": 1, "alpha": 0.5, "beta": 2.0}),
    ("Gemm", f(4, 3), (f(4, 5),), {"transA": 1}),
    ("Einsum", [f(2, 3), f(3, 4)], (), {"equation": "ij,jk->ik"}),
    *(
        (op, X, (i(1, -1),), {"keepdims": 0})
        for op in ("ReduceMean", "ReduceMax", "ReduceMin", "ReduceSum", "ReduceL2")
    ),
    *((op, X, (i(1, -1),), {"keepdims": 0}) for op in ("ReduceL1", "ReduceProd", "ReduceLogSumExp")),
    *((op, positive(2, 3, 4), (i(1),), {}) for op in ("ReduceLogSum", "ReduceSumSquare")),
    ("ReduceProd", i(2, 3, 4), (), {}),
    *((op, X, (), {"axis": 2, "keepdims": keep}, 18, INT64) for op in ("ArgMax", "ArgMin") for keep in (0, 1)),
    *((op, i(3, 1, 3, 1), (), {"select_last_index": 1}, 18, INT64) for op in ("ArgMax", "ArgMin")),
    *(
        ("CumSum", X, (np.array(-2, np.int64),), {"exclusive": exclusive, "reverse": reverse}, 14)
        for exclusive in (0, 1)
        for reverse in (0, 1)
    ),
    *(("TopK", rng.integers(0, 4, (3, 9)).astype(np.float32), (i(4),), {"largest": large}) for large in (0, 1)),
    ("TopK", X, (i(2),), {"axis": 1}),
    ("Trilu", X, (), {}, 14),
    *(("Trilu", X, (np.array(k, np.int64),), {"upper": upper}, 14) for k, upper in ((1, 1), (-2, 1), (1, 0), (-1, 0))),
    ("OneHot", i(0, 2, -1, 9), (i(3), np.array([0.5, 2], np.float32)), {}, 18, FLOAT),
    ("OneHot", I64[:, :2], (i(3), np.array([0, 1], np.float32)), {"axis": 1}, 18, FLOAT),
    ("ReduceMean", X, (), {"axes": [2, 3]}, 13),
    ("ReduceMean", X, (), {}),
    # layout
    ("Shape", X, (), {"start": 1}, 18, INT64),
    ("Size", X, (), {}, 18, INT64),
    ("ConstantOfShape", i(3), (), {}, 18, FLOAT),
    ("Range", [np.array(2, np.int64), np.array(9, np.int64), np.array(3, np.int64)], (), {}),
    ("Gather", X, (np.array([[0, -1], [2, 1]], np.int64),), {"axis": 1}),
    ("Gather", i(4, 5, 6), (np.array(1, np.int64),), {}),
    ("GatherElements", X, (np.array([[[[0, -1, 3]], [[2, 1, -6]]]], np.int64),), {"axis": 2}),
    ("GatherND", X, (np.array([[0, 1], [0, -1]], np.int64),), {}),
    ("GatherND", f(2, 3, 4), (np.array([[[1, 0]], [[-1, 3]]], np.int64),), {"batch_dims": 1}),
    *(
        ("ScatterElements", f(3, 4), (np.array([[0, -1], [2, 0]], np.int64), f(2, 2)), {"axis": 1, "reduction": how})
        for how in ("none", "add", "mul", "max", "min")
    ),
    ("Scatter", f(3, 4), (np.array([[0, 1], [2, 0]], np.int64), f(2, 2)), {}, 10),
    ("ScatterND", X, (np.array([[[0, 3], [0, -3]]], np.int64), f(1, 2, 6, 8)), {}),
    ("ScatterND", f(4, 2), (np.array([[1], [1], [3]], np.int64), f(3, 2)), {"reduction": "add"}),
    ("Concat", [X, f(1, 2, 6, 8)], (), {"axis": 1}),
    ("Split", X, (i(1, 3),), {"axis": 1}),
    ("Split", X, (), {"axis": 3, "num_outputs": 2}),
    ("Slice", X, (i(1, -5), i(9, -1), i(1, 3), i(1, 2)), {}),
    ("Slice", X, (i(-1), i(-(2**62)), i(3), i(-2)), {}),
    ("Slice", X, (i(5), i(0), i(2), i(-1)), {}),
    ("Slice", X, (i(1, 1), i(3, 2**62)), {}),
    ("Pad", X, (i(0, 0, 1, 2, 0, 1, 3, 0), np.array(0.5, np.float32)), {}),
    ("Pad", X, (i(0, 0, -1, 2, 0, 0, 1, -2),), {}),
    ("Pad", X, (i(0, 0, 2, 1, 0, 0, 3, 4),), {"mode": "reflect"}),
    ("Pad", X, (i(0, 0, 2, 1, 0, 0, 3, 4),), {"mode": "edge"}),
    ("Pad", X, (i(2, 1, 3, 4), None, i(2, 3)), {"mode": "wrap"}, 19),
    *(("DepthToSpace", f(1, 8, 3, 2), (), {"blocksize": 2, "mode": mode}) for mode in ("DCR", "CRD")),
    ("SpaceToDepth", X, (), {"blocksize": 2}),
    ("Col2Im", f(1, 18, 10), (i(5, 6), i(3, 3)), {"strides": [1, 2], "pads": [1, 1, 1, 1], "dilations": [1, 2]}),
    ("Col2Im", f(1, 12, 12), (i(6, 8), i(2, 2)), {"strides": [2, 2]}),
    ("Reshape", X, (i(0, 2, -1, 8),), {}),
    ("Flatten", X, (), {"axis": 2}),
    ("Transpose", X, (), {"perm": [0, 2, 3, 1]}),
    ("Transpose", X, (), {}),
    ("Unsqueeze", X, (i(0, -1),), {}),
    ("Unsqueeze", X, (), {"axes": [1]}, 11),
    ("Squeeze", X, (i(0),), {}),
    ("Squeeze", X, (), {}),
    ("Expand", f(1, 3, 1), (i(2, 1, 4),), {}),
    ("Tile", f(2, 3), (i(2, 1),), {}),
    ("GridSample", X, ((rng.random((1, 5, 7, 2)) * 2.4 - 1.2).astype(np.float32),), {"align_corners": 1}),
    *(
        ("GridSample", X, ((rng.random((1, 5, 7, 2)) * 2.4 - 1.2).astype(np.float32),), {"padding_mode": pad}, 20)
        for pad in ("zeros", "border")
    ),
]

NONE = None
for mode in ("half_pixel", "pytorch_half_pixel", "align_corners", "asymmetric", "half_pixel_symmetric"):
    opset = 19 if mode.endswith("symmetric") else 18
    for scale in (2.0, 0.5, 1.5):
        scales = (NONE, np.array([1, 1, scale, scale], np.float32))
        for how in (
            {"mode": "linear"},
            {"mode": "cubic"},
            *(
                {"mode": "nearest", "nearest_mode": n}
                for n in ("round_prefer_floor", "round_prefer_ceil", "floor", "ceil")
            ),
        ):
            CASES += [("Resize", X, scales, {**how, "coordinate_transformation_mode": mode}, opset)]
CASES += [
    ("Resize", X, (NONE, NONE, i(1, 4, 9, 5)), {"mode": "linear"}),
    ("Resize", X, (NONE, NONE, i(9, 5)), {"mode": "cubic", "axes": [2, 3], "exclude_outside": 1}),
    ("Resize", X, (NONE, NONE, i(9, 5)), {"mode": "cubic", "axes": [2, 3], "cubic_coeff_a": -0.5}),
    *(
        (
            "Resize",
            X,
            (NONE, np.array([1, 1, scale, scale], np.float32)),
            {**how, "antialias": 1, "coordinate_transformation_mode": transform},
        )
        for scale in (0.3, 0.7, 1.5)
        for transform in ("half_pixel", "align_corners")
        for how in ({"mode": "linear"}, {"mode": "cubic"}, {"mode": "cubic", "exclude_outside": 1})
    ),
    ("Upsample", X, (np.array([1, 1, 2, 2], np.float32),), {"mode": "nearest"}, 9),
]


@pytest.mark.parametrize("case", CASES, ids=[f"{at}-{case[0]}" for at, case in enumerate(CASES)])
def test_an_operator_gives_what_onnxruntime_gives(case: tuple[Any, ...]) -> None:
    op, x, constants, attributes, *rest = case
    opset = rest[0] if rest else 20 if op == "Gelu" else 22 if op == "Mish" else 18
    model, inputs = one_node(op, x, constants, opset, attributes, outputs_of(op), rest[1] if len(rest) > 1 else None)
    expected = select_engine("onnxruntime").compile(model).run(inputs)
    found = select_engine("torch", "cpu").compile(model).run(inputs)
    assert found.shape == expected.shape and found.dtype == expected.dtype
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("offset_group", "group", "settings"),
    [
        (1, 1, {}),
        (2, 1, {"pads": [1, 2, 1, 2], "strides": [2, 1]}),
        (2, 2, {"dilations": [2, 1]}),
    ],
)
@pytest.mark.parametrize("masked", [False, True])
def test_deformable_convolution(offset_group: int, group: int, settings: dict[str, Any], masked: bool) -> None:
    """Against onnx's own evaluator: onnxruntime does not run it on processors in all its versions."""
    pads, strides = settings.get("pads", [0] * 4), settings.get("strides", [1, 1])
    dilations, kernel = settings.get("dilations", [1, 1]), (3, 2)
    size = [
        (X.shape[2 + at] + pads[at] + pads[2 + at] - dilations[at] * (kernel[at] - 1) - 1) // strides[at] + 1
        for at in (0, 1)
    ]
    constants = [f(4, 4 // group, *kernel), f(1, offset_group * 12, *size), f(4)]
    if masked:
        constants.append(positive(1, offset_group * 6, *size))
    attributes = {"offset_group": offset_group, "group": group, **settings}
    model, inputs = one_node("DeformConv", X, constants, 19, attributes)
    expected = ReferenceEvaluator(model.proto).run(None, inputs)[0]
    found = select_engine("torch", "cpu").compile(model).run(inputs)
    assert found.shape == expected.shape
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)


def test_every_operator_has_a_case() -> None:
    # Constants stand in the graphs of test_engines, integer operators in test_integer_networks.
    tested = {case[0] for case in CASES} | {"Constant", "DeformConv"} | INTEGER_OPERATORS
    assert supported_operators() - tested == set()


def test_an_operator_that_is_missing_is_named() -> None:
    model, _ = one_node("Det", f(3, 3))
    with pytest.raises(NnpfError, match="operator Det is not covered"):
        select_engine("torch", "cpu").compile(model)


def test_a_setting_that_is_missing_is_named() -> None:
    transform = {"mode": "linear", "coordinate_transformation_mode": "tf_crop_and_resize"}
    model, inputs = one_node("Resize", X, (np.zeros(8, np.float32), NONE, i(1, 4, 9, 5)), 18, transform)
    with pytest.raises(NnpfError, match=r"operator Resize \(y\): coordinate_transformation_mode"):
        select_engine("torch", "cpu").compile(model).run(inputs)


# What an operator set lacks, or its checker or onnxruntime refuses there, is left out; so many cases remain at least.
OPSETS = {
    11: 60,
    12: 60,
    13: 100,
    14: 100,
    15: 100,
    16: 110,
    17: 110,
    18: 190,
    19: 190,
    20: 190,
    21: 190,
    22: 190,
    23: 150,
}


@pytest.mark.parametrize(
    "opset", [opset if opset in (11, 23) else pytest.param(opset, marks=pytest.mark.slow) for opset in OPSETS]
)
def test_operator_sets(opset: int) -> None:
    """Every case again, written in another operator set."""
    compared = 0
    for op, x, constants, attributes, *rest in CASES:
        try:
            outputs = outputs_of(op)
            kind = rest[1] if len(rest) > 1 else None
            model, inputs = one_node(op, x, constants, opset, attributes, outputs, kind)
            expected = select_engine("onnxruntime").compile(model).run(inputs)
        except (NnpfError, onnx.shape_inference.InferenceError):
            continue
        with torch.no_grad():
            found = TorchGraph(model)(*(torch.from_numpy(value.copy()) for value in inputs.values())).numpy()
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5, err_msg=f"{op} {attributes}")
        compared += 1
    assert compared >= OPSETS[opset]
