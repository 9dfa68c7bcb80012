"""Filters of all kinds in a stream, from its messages to the pictures that are shown."""

import io
from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper

from nnpf import limits
from nnpf.decoding import decode_file
from nnpf.describe import ONNX_TAG
from nnpf.describe import characteristics as described
from nnpf.errors import NnpfError
from nnpf.frames import Frame
from nnpf.intake import announced_pictures
from nnpf.model import Model, load
from nnpf.runner import ApplyOptions, Shown, apply
from nnpf.sources import ModelSources
from tests.nnpf.onnx_graphs import graph, identity_filter
from tests.nnpf.streams import activation, characteristics, luma_model, save, with_messages
from tests.vsei.test_rules import SUBPICTURE, nesting
from tests.vsei.test_rules import order as processing_order
from tests.vsei.test_rules import scalable_nesting as nested
from vsei import limits as of_streams
from vsei.annexb import NalUnit
from vsei.messages import Message
from vsei.nal import Codec, is_sei
from vsei.pictures import picture_units

ENGINES = ["openvino", "torch", "onnxruntime"]
FLOAT = TensorProto.FLOAT
FREE = (None, 3, None, None)
Array = np.ndarray[Any, Any]


def first(
    units: Sequence[NalUnit], folder: Path, pictures: int = 1, given: Iterable[Frame] | None = None, **options: Any
) -> list[Shown]:
    frames = None if given is None else iter(given)
    source = None if frames is None else lambda form: next(frames, None)
    settings = ApplyOptions(sources=ModelSources(folder), **options)
    with apply(units, Codec.VVC, settings, decoded=source) as shown:
        return list(islice(shown, pictures))


@pytest.fixture(scope="module")
def decoded(samples: Path) -> list[Frame]:
    return [item.frame for item in islice(decode_file(samples / "bbb_q37.266"), 6)]


def resized(scales: Sequence[float]) -> Model:
    settings = {"nearest_mode": "floor", "coordinate_transformation_mode": "asymmetric"}
    node = helper.make_node("Resize", ["input", "", "scales"], ["output"], mode="nearest", **settings)
    constants = {"scales": np.array([1, 1, *scales], np.float32)}
    return graph([node], {"input": (FREE, FLOAT)}, "output", constants, output_rank=4)


def ratio(width: tuple[int, int], height: tuple[int, int]) -> dict[str, int]:
    names = [f"pic_{side}_{part}_minus1" for side in ("width", "height") for part in ("num", "denom")]
    return dict(zip(names, [size - 1 for size in (*width, *height)], strict=True))


def near_by(plane: Array, rows: float, columns: float) -> Array:
    """Of each new sample the old one at or before its place."""
    height, width = plane.shape
    y, x = np.arange(round(height * rows)), np.arange(round(width * columns))
    return plane[np.floor(y / rows).astype(int)][:, np.floor(x / columns).astype(int)]


ALL = {"inp_order_idc": 2, "out_order_idc": 2}


@pytest.mark.parametrize(
    ("ratios", "size"),
    [
        (((2, 1), (2, 1)), "832x480"),
        (((1, 2), (1, 2)), "208x120"),
        (((3, 2), (5, 4)), "624x300"),
        (((1, 1), (1, 2)), "416x120"),
    ],
)
def test_resampling(
    samples: Path, tmp_path: Path, decoded: list[Frame], ratios: tuple[tuple[int, int], ...], size: str
) -> None:
    """With constant patches of 16x8, whose size every ratio makes a whole number."""
    columns, rows = (num / denom for num, denom in ratios)
    save(tmp_path, resized([rows, columns]))
    patch = {"constant_patch_size_flag": 1, "patch_width_minus1": 15, "patch_height_minus1": 7}
    message = characteristics(purpose=4, **ratio(*ratios), **patch, **ALL)
    shown = first(with_messages(samples / "bbb_q37.266", [("all", message), ("all", activation())]), tmp_path)[0]
    assert str(shown.frame.format) == f"{size} 4:2:0 10 bit"
    luma, cb, _ = decoded[0].planes
    assert np.array_equal(shown.frame.planes[0], near_by(luma, rows, columns))
    assert np.array_equal(shown.frame.planes[1], near_by(doubled(cb), rows, columns)[::2, ::2])


def doubled(plane: Array) -> Array:
    return plane.repeat(2, 0).repeat(2, 1)


def applied_once(samples: Path, folder: Path, model: Model, engine: str = "auto", **elements: Any) -> Shown:
    """What the first picture becomes."""
    save(folder, model)
    placed = [("first", characteristics(**elements)), ("poc:0", activation(persistence_flag=0))]
    return first(with_messages(samples / "bbb_q37.266", placed), folder, engine=engine)[0]


def test_chroma_upsampling(samples: Path, tmp_path: Path, decoded: list[Frame]) -> None:
    luma, cb, cr = decoded[0].planes
    full = applied_once(samples, tmp_path, identity_filter(3, 3, 0), purpose=2, out_sub_c_flag=1, **ALL).frame
    assert str(full.format) == "416x240 4:4:4 10 bit"
    assert all(map(np.array_equal, full.planes, (luma, doubled(cb), doubled(cr))))
    chroma = {"inp_order_idc": 1, "out_order_idc": 1}
    wide = resized([2, 1])
    wide = graph(
        list(wide.proto.graph.node), {"input": ((None, 2, None, None), FLOAT)}, "output", wide.parameters, output_rank=4
    )
    half = applied_once(samples, tmp_path, wide, purpose=2, out_sub_c_flag=0, **chroma).frame
    assert str(half.format) == "416x240 4:2:2 10 bit"
    assert all(map(np.array_equal, half.planes, (luma, cb.repeat(2, 0), cr.repeat(2, 0))))


def test_bit_depth_upsampling(samples: Path, tmp_path: Path, decoded: list[Frame]) -> None:
    luma = decoded[0].planes[0]
    integers = {"inp_format_idc": 1, "out_format_idc": 1}
    for side in ("inp", "out"):
        integers |= {f"{side}_tensor_{plane}_bitdepth_minus8": 4 for plane in ("luma", "chroma")}
    node = helper.make_node("Identity", ["input"], ["output"])
    same = graph([node], {"input": (FREE, TensorProto.INT32)}, "output", output_type=TensorProto.INT32, output_rank=4)
    exact = applied_once(samples, tmp_path, same, purpose=16, **integers, **ALL).frame
    assert str(exact.format) == "416x240 4:2:0 12 bit"
    assert np.array_equal(exact.planes[0], luma << 2)
    real = applied_once(samples, tmp_path, identity_filter(3, 3, 0), purpose=16, **ALL).frame
    assert np.array_equal(real.planes[0], np.floor(luma / 1023 * 4095 + 0.5))


def test_spatial_extrapolation(samples: Path, tmp_path: Path, decoded: list[Frame]) -> None:
    """Two columns of chroma more on the left, one on the right, one row less on the top, three more below."""
    node = helper.make_node("Pad", ["input", "pads"], ["output"], mode="edge")
    pads = {"pads": np.array([0, 0, -2, 4, 0, 0, 6, 2], np.int64)}
    offsets = {
        f"spatial_extrapolation_{side}_offset": n
        for side, n in zip(("left", "right", "top", "bottom"), (2, 1, -1, 3), strict=True)
    }
    patch = {"patch_width_minus1": 415, "patch_height_minus1": 239}
    model = graph([node], {"input": (FREE, FLOAT)}, "output", pads, output_rank=4)
    shown = applied_once(samples, tmp_path, model, purpose=0x80, **offsets, **patch, **ALL).frame
    assert str(shown.format) == "422x244 4:2:0 10 bit"
    luma, cb, _ = decoded[0].planes
    assert np.array_equal(shown.planes[0], np.pad(luma, ((0, 6), (4, 2)), "edge")[2:])
    assert np.array_equal(shown.planes[1], np.pad(cb, ((0, 3), (2, 1)), "edge")[1:])


def test_two_purposes_at_once(samples: Path, tmp_path: Path, decoded: list[Frame]) -> None:
    purposes = {"purpose": 4 | 2 | 16, "out_sub_c_flag": 1, **ratio((2, 1), (2, 1))}
    shown = applied_once(samples, tmp_path, resized([2, 2]), **purposes, **ALL).frame
    assert str(shown.format) == "832x480 4:4:4 12 bit"
    expected = doubled(doubled(decoded[0].planes[2]))
    assert np.array_equal(shown.planes[2], np.floor(expected / 1023 * 4095 + 0.5))


def test_colourization(shared: Path, tmp_path: Path) -> None:
    weight = np.array([[1.0], [0.5], [0.25]], np.float32)[:, :, np.newaxis, np.newaxis]
    node = helper.make_node("Conv", ["input", "weight"], ["output"])
    save(
        tmp_path, graph([node], {"input": ((None, 1, None, None), FLOAT)}, "output", {"weight": weight}, output_rank=4)
    )
    message = characteristics(purpose=0x20, out_colour_format_idc=1, inp_order_idc=0, out_order_idc=2)
    placed = [("first", message), ("poc:0", activation(persistence_flag=0))]
    shown = first(with_messages(shared / "conformance/8b400_A_Bytedance_2.bit", placed), tmp_path)[0]
    (luma,) = shown.decoded.planes
    assert str(shown.frame.format) == str(shown.decoded.format).replace("4:0:0", "4:2:0")
    assert np.array_equal(shown.frame.planes[0], luma)
    assert np.array_equal(shown.frame.planes[2], np.floor(luma[::2, ::2] / 4 + 0.5))


# --- models of all forms ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("batch", [1, 3, 4])
def test_models_of_one_batch_size(samples: Path, tmp_path: Path, decoded: list[Frame], batch: int, engine: str) -> None:
    """28 patches, which is no multiple of 3."""
    flat = helper.make_node("Reshape", ["input", "whole"], ["same"])
    add = helper.make_node("Add", ["same", "more"], ["output"])
    shape = [batch, 6, 32, 32]
    constants = {"whole": np.array(shape, np.int64), "more": np.float32(16 / 1023)}
    model = graph([flat, add], {"input": (shape, FLOAT)}, "output", constants, output_rank=4)
    patch = {"constant_patch_size_flag": 1, "patch_width_minus1": 31, "patch_height_minus1": 31}
    shown = applied_once(samples, tmp_path, model, engine, **patch)
    assert (shown.record.applied[0].patches, shown.record.applied[0].engine) == (28, engine)
    assert np.array_equal(shown.frame.planes[0], np.minimum(decoded[0].planes[0] + 16, 1023))


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("component_last", [0, 1])
def test_models_of_rank_5(
    samples: Path, tmp_path: Path, decoded: list[Frame], engine: str, component_last: int
) -> None:
    """[batch, picture, channel, row, column] or the channels last; the output may be of rank 4."""
    node = helper.make_node("ReduceMean", ["input", "axes"], ["output"], keepdims=0)
    channels = (None, 2, None, None, 1) if component_last else (None, 2, 1, None, None)
    model = graph([node], {"input": (channels, FLOAT)}, "output", {"axes": np.array([1], np.int64)}, output_rank=4)
    save(tmp_path, model)
    order = {"inp_order_idc": 0, "out_order_idc": 0, "component_last_flag": component_last}
    message = characteristics(num_input_pics_minus1=1, input_pic_filtering_flag=[1, 0], **order)
    units = with_messages(samples / "bbb_q37.266", [("first", message), ("all", activation())])
    shown = first(units, tmp_path, 4, engine=engine)
    mean = (decoded[3].planes[0].astype(float) + decoded[2].planes[0]) / 2
    assert np.abs(shown[3].frame.planes[0] - mean).max() <= 0.5 + 1e-3


def words_and_numbers() -> Model:
    """Adds the seed to luma, and the number of letters of the prompt to that."""
    nodes = [
        helper.make_node("Cast", ["seed"], ["number"], to=FLOAT),
        helper.make_node("Shape", ["prompt"], ["size"]),
        helper.make_node("ReduceSum", ["size"], ["letters"], keepdims=1),
        helper.make_node("Cast", ["letters"], ["letter_count"], to=FLOAT),
        helper.make_node("Add", ["number", "letter_count"], ["steps"]),
        helper.make_node("Mul", ["steps", "step"], ["more"]),
        helper.make_node("Add", ["pictures", "more"], ["output"]),
    ]
    inputs = {
        "prompt": ((None,), TensorProto.INT32),
        "pictures": ((None, 1, None, None), FLOAT),
        "seed": ((1,), TensorProto.INT64),
    }
    return graph(nodes, inputs, "output", {"step": np.float32(1 / 1023)}, output_rank=4)


@pytest.mark.parametrize("engine", ENGINES)
def test_prompt_and_seed_reach_the_model_with_their_updates(
    samples: Path, tmp_path: Path, decoded: list[Frame], engine: str
) -> None:
    save(tmp_path, words_and_numbers())
    message = characteristics(
        inp_order_idc=0,
        out_order_idc=0,
        auxiliary_inp_idc=6,
        inband_prompt_flag=1,
        prompt="grass",
        inband_seed_flag=1,
        seed=20,
    )
    prompted = activation(prompt_update_flag=1, prompt="a summer's day", seed_update_flag=0, selected_input_flag=0)
    seeded = activation(prompt_update_flag=0, seed_update_flag=1, seed=40, selected_input_flag=0)
    placed = [("first", message), ("poc:1", activation()), ("poc:3", prompted), ("poc:4", seeded)]
    shown = first(with_messages(samples / "bbb_q37.266", placed), tmp_path, 6, engine=engine)
    more = [0, 25, 25, 34, 54, 54]
    for picture, frame, n in zip(shown, decoded, more, strict=True):
        assert np.array_equal(picture.frame.planes[0], np.minimum(frame.planes[0] + n, 1023))


@pytest.mark.parametrize(("length", "reason"), [(16, None), (4, "the prompt has 5 bytes, the model's input prompt")])
def test_a_prompt_of_fixed_length(
    samples: Path, tmp_path: Path, decoded: list[Frame], length: int, reason: str | None
) -> None:
    """Zeros stand behind its letters: here the filter adds the number of zeros."""
    nodes = [
        helper.make_node("Equal", ["prompt", "none"], ["empty"]),
        helper.make_node("Cast", ["empty"], ["zeros"], to=FLOAT),
        helper.make_node("ReduceSum", ["zeros"], ["count"], keepdims=0),
        helper.make_node("Mul", ["count", "step"], ["more"]),
        helper.make_node("Add", ["pictures", "more"], ["output"]),
    ]
    inputs = {"pictures": ((None, 1, None, None), FLOAT), "prompt": ((1, length), TensorProto.INT64)}
    model = graph(nodes, inputs, "output", {"step": np.float32(1 / 1023), "none": np.int64(0)}, output_rank=4)
    elements = {"inp_order_idc": 0, "out_order_idc": 0, "auxiliary_inp_idc": 2, "inband_prompt_flag": 1}
    if reason is not None:
        with pytest.raises(NnpfError, match=reason):
            applied_once(samples, tmp_path, model, prompt="grass", **elements)
        return
    shown = applied_once(samples, tmp_path, model, prompt="grass", **elements)
    assert np.array_equal(shown.frame.planes[0], np.minimum(decoded[0].planes[0] + length - 5, 1023))


def test_an_input_that_nothing_is_for_is_named(samples: Path, tmp_path: Path) -> None:
    with pytest.raises(NnpfError, match=r"NNPFC 1 at POC 0: .*nothing in the messages is for the model's input prompt"):
        applied_once(samples, tmp_path, words_and_numbers(), inp_order_idc=0, out_order_idc=0)


@pytest.mark.parametrize("engine", ENGINES)
def test_a_module_of_torch_of_rank_5_with_a_seed(
    samples: Path, tmp_path: Path, decoded: list[Frame], engine: str
) -> None:
    torch = pytest.importorskip("torch")

    class Blend(torch.nn.Module):  # type: ignore[misc, name-defined]
        def forward(self, pictures: Any, seed: Any) -> Any:
            return pictures.mean(1) + seed.reshape(-1, 1, 1, 1) / 1023

    free = torch.export.Dim.DYNAMIC
    program = torch.export.export(
        Blend(), (torch.rand(2, 2, 1, 20, 24), torch.rand(1)), dynamic_shapes=({0: free, 3: free, 4: free}, None)
    )
    buffer = io.BytesIO()
    torch.export.save(program, buffer)
    (tmp_path / "blend.pt2").write_bytes(buffer.getvalue())
    message = characteristics(
        uri="blend.pt2",
        tag_uri="tag:pytorch.org,2025:torch.export",
        num_input_pics_minus1=1,
        input_pic_filtering_flag=[1, 0],
        inp_order_idc=0,
        out_order_idc=0,
        auxiliary_inp_idc=4,
        inband_seed_flag=1,
        seed=100,
    )
    units = with_messages(samples / "bbb_q37.266", [("first", message), ("all", activation())])
    shown = first(units, tmp_path, 3, engine=engine)
    mean = (decoded[2].planes[0].astype(float) + decoded[1].planes[0]) / 2
    assert np.abs(shown[2].frame.planes[0] - np.minimum(mean + 100, 1023)).max() <= 0.5 + 1e-3


def test_each_input_picture_has_its_own_strength(samples: Path, tmp_path: Path) -> None:
    """A filter whose output is the strength of the picture before the current one."""
    nodes = [helper.make_node("Gather", ["input", "at"], ["output"], axis=1)]
    model = graph(
        nodes, {"input": ((None, 4, None, None), FLOAT)}, "output", {"at": np.array([3], np.int64)}, output_rank=4
    )
    save(tmp_path, model)
    settings = {"num_input_pics_minus1": 1, "input_pic_filtering_flag": [1, 0], "auxiliary_inp_idc": 1}
    message = characteristics(inp_order_idc=0, out_order_idc=0, **settings)
    units = with_messages(samples / "bbb_q37.266", [("first", message), ("all", activation())])
    shown = first(units, tmp_path, 6)
    strengths = [picture.record.applied[0].strength for picture in shown]  # of the current pictures
    assert len(set(strengths)) > 2
    for before, picture in zip([strengths[0], *strengths], shown, strict=False):
        assert before is not None
        assert np.all(picture.frame.planes[0] == np.floor(before * 1023 + 0.5))


# --- messages that are for some layer, and filters in some order -----------------------------------------------------


def add(number: int) -> Model:
    return identity_filter(1, 1, 0, offset=number / 1023)


def two_layers(units: Sequence[NalUnit]) -> list[NalUnit]:
    """Each picture once more, in layer 1; messages stay in layer 0."""
    found: list[NalUnit] = []
    for unit in picture_units(units, Codec.VVC):
        found += unit.units
        for nal, header in zip(unit.units, unit.headers, strict=True):
            if header is not None and not is_sei(Codec.VVC, header.nal_unit_type):
                found.append(nal._replace(data=memoryview(b"\x01" + bytes(nal.data[1:]))))
    return found


def test_nested_messages_are_for_the_layers_they_name(samples: Path, tmp_path: Path, decoded: list[Frame]) -> None:
    luma = {"inp_order_idc": 0, "out_order_idc": 0}
    bases = [characteristics(number, f"{number}.onnx", **luma) for number in (1, 2, 4)]
    for number in (1, 2, 4):
        save(tmp_path, add(16 * number), f"{number}.onnx")
    placed: list[tuple[str, Message]] = [("first", nested(*bases))]  # for all layers
    placed.append(("poc:0", nested(activation(1), layers=(1,))))  # for layers 0 and 1
    placed.append(("poc:0", nested(nested(activation(2)), layers=(3,))))  # for layers 0 and 3, inside for all from 0 on
    placed.append(("poc:0", activation(4)))  # for layer 0
    units = two_layers(with_messages(samples / "bbb_q37.266", placed))
    for layer, more, numbers in ((0, 16 + 32 + 64, [1, 2, 4]), (1, 16, [1])):
        shown = first(units, tmp_path, 3, cycle(decoded), layer_id=layer)
        assert [[one.nnpfc_id for one in picture.record.applied] for picture in shown] == [numbers] * 3
        assert np.array_equal(shown[2].frame.planes[0], np.minimum(decoded[2].planes[0] + more, 1023))


def test_an_order_of_four_filters_for_luma_and_chroma(samples: Path, tmp_path: Path, decoded: list[Frame]) -> None:
    """Halve luma, add to it, and the same for chroma: each pair the other way round than it is sent."""
    luma, chroma = {"inp_order_idc": 0, "out_order_idc": 0}, {"inp_order_idc": 1, "out_order_idc": 1}
    save(tmp_path, identity_filter(1, 1, 0, gain=0.5), "1.onnx")
    save(tmp_path, add(64), "2.onnx")
    save(tmp_path, identity_filter(2, 2, 0, gain=0.5), "3.onnx")
    save(tmp_path, identity_filter(2, 2, 0, offset=64 / 1023), "4.onnx")
    bases = [characteristics(n, f"{n}.onnx", **(luma if n < 3 else chroma)) for n in (1, 2, 3, 4)]
    targets = {1: "010", 2: "011", 3: "00100", 4: "00101"}  # ue(v) of nnpfa_target_id
    entries = [(payload_type, order) for order in range(4) for payload_type in (210, 211)]
    prefix = {2 * at + 1: targets[number] for at, number in enumerate((2, 4, 1, 3))}
    for order_first in (True, False):
        ordered: list[tuple[str, Message]] = [("clvs_start", processing_order(*entries, prefix=prefix))]
        placed: list[tuple[str, Message]] = [("clvs_start", base) for base in bases]
        placed += [("segments", activation(number)) for number in (1, 2, 3, 4)]
        placed = [*ordered, *placed] if order_first else [*placed, *ordered]
        shown = first(with_messages(samples / "bbb_q37.266", placed), tmp_path, 2)[1]
        assert [one.nnpfc_id for one in shown.record.applied] == [2, 4, 1, 3]
        for plane, before in zip(shown.frame.planes, decoded[1].planes, strict=True):
            assert np.array_equal(plane, np.floor(np.minimum(before + 64, 1023) / 2 + 0.5))
    # Without the message in the order in which they are sent.
    shown = first(with_messages(samples / "bbb_q37.266", [p for p in placed if p not in ordered]), tmp_path, 2)[1]
    assert [one.nnpfc_id for one in shown.record.applied] == [1, 2, 3, 4]
    for plane, before in zip(shown.frame.planes, decoded[1].planes, strict=True):
        assert np.array_equal(plane, np.minimum(np.floor(before / 2 + 0.5) + 64, 1023))


def test_messages_nested_for_a_processing_order(samples: Path, tmp_path: Path, decoded: list[Frame]) -> None:
    """A filter that only those see who follow the order with po_sei_id 1; no other order is there."""
    save(tmp_path, add(16))
    base, on = characteristics(inp_order_idc=0, out_order_idc=0), activation()
    order = processing_order((210, 0), (211, 1), po_sei_wrapping_flag=(1, 1))
    for po_sei_id, numbers in ((1, [1]), (2, [])):
        inside = replace(nesting(base, on), pon_target_po_id=(po_sei_id,))
        units = with_messages(samples / "bbb_q37.266", [("clvs_start", order), ("all", inside)])
        shown = first(units, tmp_path, 2)[1]
        assert [one.nnpfc_id for one in shown.record.applied] == numbers
        if numbers:
            assert np.array_equal(shown.frame.planes[0], np.minimum(decoded[1].planes[0] + 16, 1023))
        else:
            reason = "messages nested for the processing order 2 are ignored: no such order is in use"
            assert shown.record.reasons == (reason,)


def test_filters_that_take_or_give_too_many_pictures_are_refused(
    samples: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Five pictures of 416x240 at 10 bit have 1,497,600 bytes."""
    monkeypatch.setattr(limits, "_current", replace(limits.current(), input_bytes=5 * 299_520))
    luma = {"inp_order_idc": 0, "out_order_idc": 0}
    between = {"purpose": 8, "input_pic_filtering_flag": [0, 0], "num_input_pics_minus1": 1, "interpolated_pics": [6]}
    luma_model(tmp_path, [[0.5, 0.5]] * 6)
    message = characteristics(**between, **luma)
    units = with_messages(samples / "bbb_q37.266", [("first", message), ("poc:3", activation())])
    with pytest.raises(NnpfError, match="an inference that gives 6 pictures needs 1797120 bytes, more than 1497600"):
        first(units, tmp_path, 20)
    three = {"input_pic_filtering_flag": [1, 0, 0], "num_input_pics_minus1": 2}
    placed: list[tuple[str, Message]] = [("first", characteristics(number, **three, **luma)) for number in (1, 2)]
    placed += [("poc:3", activation(number)) for number in (1, 2)]
    with pytest.raises(NnpfError, match="filters of 6 input pictures together need 1797120 bytes, more than 1497600"):
        first(with_messages(samples / "bbb_q37.266", placed), tmp_path, 20)


def test_an_integer_network_gives_the_same_bits_however_pictures_are_cut_and_threads_share_them(samples: Path) -> None:
    """The sample filter of integers. Patch and overlap together are a multiple of 11."""
    pytest.importorskip("torch")
    identity = {"nnpfc_id": 1, "nnpfc_base_flag": 1, "nnpfc_mode_idc": 1, "nnpfc_tag_uri": ONNX_TAG}
    folder = samples / "filters"
    message = described(identity | {"nnpfc_uri": "tiny_int8.onnx"}, load(folder / "tiny_int8.onnx"), {})
    units = with_messages(samples / "bbb_q37.266", [("first", message), ("poc:0", activation())])
    choices: list[dict[str, Any]] = [{"threads": 1}, {"threads": 2, "patch": (100, 56)}, {"patch": (67, 23)}]
    shown = [first(units, folder, **choice) for choice in choices]
    assert all(picture.record.applied[0].exact for pictures in shown for picture in pictures)
    assert len({picture.record.applied[0].patches for pictures in shown for picture in pictures}) == len(choices)
    for pictures in shown[1:]:
        for one, other in zip(shown[0], pictures, strict=True):
            assert all(map(np.array_equal, one.frame.planes, other.frame.planes))
    assert not np.array_equal(shown[0][0].frame.planes[0], shown[0][0].decoded.planes[0])


def test_messages_that_are_not_taken_are_said(samples: Path) -> None:
    """Nested too deep, for a subpicture, cut off; but nothing of messages that are for other layers alone."""
    deepest = of_streams.current().nesting_depth
    deep: Message = activation(1)
    for _ in range(deepest + 1):
        deep = nested(deep)
    subpicture = replace(nested(activation(2)), sn_subpic_flag=1, **SUBPICTURE)
    elsewhere = nested(activation(3), layers=(5,))  # and for layer 0, whose SEI NAL unit it is in
    placed: list[tuple[str, Message]] = [("poc:0", deep), ("poc:0", subpicture)]
    units = with_messages(samples / "bbb_q37.266", placed)
    first_sei = next(at for at, unit in enumerate(units) if unit.data[1] >> 3 == 23)
    cut = bytes(units[first_sei].data[:2]) + b"\xd3\x20\x00\x80"  # 32 bytes of NNPFA, and they are not there
    units.insert(first_sei, units[first_sei]._replace(data=memoryview(cut)))
    reasons = next(one.reasons for one in announced_pictures(units, Codec.VVC) if one.picture.poc == 0)
    assert reasons[0].startswith("an SEI NAL unit is broken: ")
    assert reasons[1:] == (
        f"messages nested more than {deepest} deep are ignored",
        "messages for subpictures are ignored: only whole pictures are filtered",
    )
    other = with_messages(samples / "bbb_q37.266", [("poc:0", elsewhere)])
    for layer_id, said in ((0, True), (1, False)):
        found = [one.reasons for one in announced_pictures(two_layers(other), Codec.VVC, layer_id=layer_id)]
        assert any(found) == said
