"""Streams with filters for tests: messages put into a real stream, models in a folder beside it."""

import hashlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from onnx import TensorProto, helper

from nnpf.frames import Frame
from nnpf.model import Model
from tests.nnpf.onnx_graphs import graph
from vsei import edit, messages, selection
from vsei.annexb import NalUnit, read_chunks, split
from vsei.messages import Message, NnpfActivation, NnpfCharacteristics, form
from vsei.messages.nnpf import nnpfa, nnpfc
from vsei.nal import Codec

ONNX_TAG = "tag:onnx.ai,2017:onnx"


def characteristics(number: int = 1, uri: str = "filter.onnx", **elements: Any) -> NnpfCharacteristics:
    """A base filter by URI, order 3, free patch size, replicate padding, no overlap; and what is given."""
    values: dict[str, Any] = {
        "purpose": 1,
        "id": number,
        "base_flag": 1,
        "mode_idc": 1,
        "tag_uri": ONNX_TAG,
        "uri": uri,
        "property_present_flag": 1,
        "inp_order_idc": 3,
        "out_order_idc": 3,
        "padding_type": 1,
        **elements,
    }
    return form.complete(NnpfCharacteristics, nnpfc, {f"nnpfc_{key}": value for key, value in values.items()}, {})


def activation(number: int = 1, **elements: Any) -> NnpfActivation:
    """Base, persistent; and what is given."""
    values = {"target_id": number, "persistence_flag": 1, "target_base_flag": 1, **elements}
    if values.get("cancel_flag"):
        values = {"target_id": number, "cancel_flag": 1}
    return form.complete(NnpfActivation, nnpfa, {f"nnpfa_{key}": value for key, value in values.items()}, {})


def nal_units(path: Path) -> Iterator[NalUnit]:
    with path.open("rb") as file:
        for unit in split(read_chunks(file)):
            yield unit._replace(data=memoryview(bytes(unit.data)))


def with_messages(path: Path, placed: Iterable[tuple[str, Message]], codec: Codec = Codec.VVC) -> list[NalUnit]:
    """A stream with messages at pictures (`poc:8`, `random_access` ...)."""
    placements = [edit.Placement(selection.parse(at), messages.encode(message, codec)) for at, message in placed]
    decided = edit.decide(nal_units(path), codec, placements)
    return list(edit.inject(nal_units(path), codec, placements, decided))


def save(folder: Path, model: Model, name: str = "filter.onnx") -> None:
    (folder / name).write_bytes(model.to_bytes())


def luma_model(folder: Path, weights: list[list[float]], name: str = "filter.onnx") -> None:
    """A model that mixes luma pictures: weights[output picture][input picture]."""
    kernel = np.array(weights, np.float32)[:, :, np.newaxis, np.newaxis]
    node = helper.make_node("Conv", ["input", "weight"], ["output"])
    inputs = {"input": ((1, kernel.shape[1], None, None), TensorProto.FLOAT)}
    save(folder, graph([node], inputs, "output", {"weight": kernel}, output_rank=4), name)


def md5(frames: Iterable[Frame]) -> str:
    digest = hashlib.md5()
    for frame in frames:
        for plane in frame.file_planes():
            digest.update(plane.data)
    return digest.hexdigest()
