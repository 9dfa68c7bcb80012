"""Filters in streams of all kinds, picture by picture: fields, sizes that change, pictures that are not output, starts
in the middle, ends of sequence. What is shown is what the loops of the reference say, with pictures of the decoder and
with given ones."""

from collections.abc import Callable, Iterable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper

from nnpf.activation import Active
from nnpf.characteristics import num_input_pics, output_pictures
from nnpf.frames import Format, Frame
from nnpf.model import Model
from nnpf.runner import ApplyOptions, Shown, apply
from nnpf.sources import ModelSources
from tests.nnpf.onnx_graphs import graph
from tests.nnpf.reference import Sent, Step, shown_pictures
from tests.nnpf.streams import activation, characteristics, luma_model, md5, nal_units, with_messages
from tests.vsei.encoded import encode
from vsei import messages
from vsei.annexb import NalUnit
from vsei.listing import sei_messages
from vsei.messages import Message, NnpfActivation, NnpfCharacteristics
from vsei.messages.nesting import HevcScalableNesting
from vsei.nal import Codec

Array = np.ndarray[Any, Any]
LUMA = {"inp_order_idc": 0, "out_order_idc": 0}
# Numbers of the filters: what they do to luma, weights[picture of the output][input picture], and their messages.
SOFT, BETWEEN, AFTER, SHARP = 1, 2, 3, 4
WEIGHTS = {
    SOFT: [[0.2718, 0.4564, 0.2718]],  # a picture, from itself and its neighbours
    BETWEEN: [[0.5123, 0.4877]],  # one more picture in each interval
    AFTER: [[0.7321, 0.2679]],  # the picture that follows, and itself
    SHARP: [[1.4142, -0.4142]],  # a picture, less the one before
}
BASES = {
    SOFT: {"num_input_pics_minus1": 2, "input_pic_filtering_flag": [0, 1, 0]},
    BETWEEN: {
        "purpose": 8,
        "num_input_pics_minus1": 1,
        "input_pic_filtering_flag": [0, 0],
        "interpolated_pics": [1],
    },
    AFTER: {"num_input_pics_minus1": 1, "input_pic_filtering_flag": [1, 0]},
    SHARP: {"num_input_pics_minus1": 1, "input_pic_filtering_flag": [1, 0], "absent_input_pic_zero_flag": 1},
}
SHIFTED = {"prompt_update_flag": 0, "seed_update_flag": 0, "selected_input_flag": 1, "num_input_pic_shift": 1}

Chain = Sequence[tuple[int, dict[str, Any]]]  # filters in order, with elements of their NNPFA


def base(number: int) -> Any:
    return characteristics(number, f"{number}.onnx", **LUMA, **BASES[number])


def codec_of(path: Path) -> Codec:
    return {".265": Codec.HEVC, ".264": Codec.AVC}.get(path.suffix, Codec.VVC)


def run(
    units: Iterable[NalUnit], codec: Codec, sources: ModelSources, given: Iterable[Frame] | None = None
) -> list[Shown]:
    frames = None if given is None else iter(given)
    source = None if frames is None else lambda form: next(frames, None)
    with apply(units, codec, ApplyOptions(sources=sources), decoded=source) as pictures:
        return list(pictures)


@cache
def decoded(path: Path) -> list[Shown]:
    """Without filters."""
    with apply(nal_units(path), codec_of(path), ApplyOptions(skip_failures=True)) as pictures:
        return list(pictures)


def luma(step: Step, frames: Sequence[Frame], known: dict[Any, Array]) -> Array:
    """What a step gives, rounded as often as the filters round."""

    def value(made: tuple[Any, ...]) -> Array:
        if made[0] == "decoded":
            return frames[made[1]].planes[0].astype(float)
        if made not in known:
            _, number, inputs, at = made
            like = next(value(one) for one in inputs if one != ("zero",))
            total = sum(
                weight * (value(one) if one != ("zero",) else np.zeros_like(like))
                for weight, one in zip(WEIGHTS[number][at], inputs, strict=True)
            )
            known[made] = np.clip(np.floor(total + 0.5), 0, (1 << frames[0].format.bit_depth_luma) - 1)
        return known[made]

    return value(step.made)


def assert_shown(
    path: Path,
    folder: Path,
    chain: Chain,
    at: str = "all",
    first_poc: int = -1,
    wrapped: Callable[[Message], Message] = lambda message: message,
) -> list[Shown]:
    """The filters of a chain, activated at the pictures that a selection names, and so in force from a POC on."""
    for number in WEIGHTS:
        luma_model(folder, WEIGHTS[number], f"{number}.onnx")
    placed: list[tuple[str, Message]] = [("clvs_start", wrapped(base(number))) for number, _ in chain]
    placed += [(at, wrapped(activation(number, **elements))) for number, elements in chain]
    plain = decoded(path)
    active = [
        Active(number, base(number), None, activation(number, **elements), rank=(256, at))
        for at, (number, elements) in enumerate(chain)
    ]
    sent = [Sent(one.record.clvs, one.frame.format, active if one.record.poc >= first_poc else []) for one in plain]
    frames = [one.frame for one in plain]
    expected = shown_pictures(sent, lambda active, form: form)
    codec = codec_of(path)
    units = with_messages(path, placed, codec)
    shown = run(units, codec, ModelSources(folder))
    assert [(s.record.kind, s.record.output_index, s.record.position) for s in shown] == [
        (step.kind if step.made[0] == "made" else "decoded", step.number, step.position) for step in expected
    ]
    known: dict[Any, Array] = {}
    for picture, step in zip(shown, expected, strict=True):
        wanted = luma(step, frames, known)
        # A float32 network falls to the other side of half a step now and then.
        difference = np.abs(picture.frame.planes[0] - wanted)
        assert difference.max() <= len(chain), step
        assert np.count_nonzero(difference) <= 0.01 * difference.size, step
    again = run(units, codec, ModelSources(folder), frames)
    for one, other in zip(shown, again, strict=True):
        assert one.record.position == other.record.position
        assert all(map(np.array_equal, one.frame.planes, other.frame.planes))
    return shown


def conformance(shared: Path, name: str) -> Path:
    return shared / "conformance" / f"{name}.bit"


def stream(shared: Path, name: str) -> Path:
    return shared / "vectors/streams" / f"{name}.266"


PERSISTS = {"persistence_flag": 1}


def test_fields_are_pictures_like_others(shared: Path, tmp_path: Path) -> None:
    """The field before is an input picture, whatever its parity; one more field between each two."""
    path = conformance(shared, "FIELD_A_Panasonic_4")
    shown = assert_shown(path, tmp_path, [(SOFT, PERSISTS), (BETWEEN, PERSISTS)])
    assert len(shown) == 2 * 20 - 1
    assert {str(s.frame.format) for s in shown} == {"720x240 4:2:0 10 bit"}


def test_pictures_whose_size_changes(shared: Path, tmp_path: Path) -> None:
    """Two pictures of one size, two of another, in one CLVS: those of another size are no input pictures."""
    shown = assert_shown(conformance(shared, "RPR_A_Alibaba_4"), tmp_path, [(SHARP, PERSISTS), (BETWEEN, PERSISTS)])
    assert [(s.record.position, s.frame.format.width) for s in shown] == [
        (0, 832), (0.5, 832), (1, 832), (2, 1664), (2.5, 1664), (3, 1664)
    ]  # fmt: skip
    sizes = "it is 832x480 4:2:0 10 bit, not 1664x960 4:2:0 10 bit"
    assert shown[3].record.reasons == (
        f"the picture with POC 1 is no input picture of NNPFC 4: {sizes}",
        f"the picture with POC 1 is no input picture of NNPFC 2: {sizes}",
        "NNPFA 2 has no effect: no picture of its output is shown",
    )


def test_bit_depths_that_change(shared: Path, samples: Path, tmp_path: Path) -> None:
    """10, 8, 12 and 8 bits in one stream; FFmpeg's fault at 8 bits is avoided from the first such picture on."""
    luma_model(tmp_path, WEIGHTS[SHARP], f"{SHARP}.onnx")
    placed: list[tuple[str, Message]] = [("clvs_start", base(SHARP)), ("all", activation(SHARP, no_prev_clvs_flag=1))]
    ten, eight = samples / "bbb_q37.266", shared / "vectors/streams/ldb_vtm_mix_q37_33f.266"
    twelve = shared / "conformance/12b420Ivvc1_A_InterDigital_2.bit"
    parts = [ten, eight, twelve, eight]
    joined = tmp_path / "joined.266"
    joined.write_bytes(b"".join(part.read_bytes() for part in parts))
    shown = run(with_messages(joined, placed), Codec.VVC, ModelSources(tmp_path))
    alone = {part: run(with_messages(part, placed), Codec.VVC, ModelSources(tmp_path)) for part in set(parts)}
    wanted = [picture for part in parts for picture in alone[part]]
    assert [picture.frame.format for picture in shown] == [picture.frame.format for picture in wanted]
    assert md5(picture.frame for picture in shown) == md5(picture.frame for picture in wanted)
    assert {picture.record.hash_check for picture in shown[65 : 65 + 33]} == {"matches"}
    assert all(picture.record.applied for picture in shown)


def test_pictures_that_are_not_output_are_no_input_pictures(shared: Path, tmp_path: Path) -> None:
    chain = [(SOFT, PERSISTS), (AFTER, PERSISTS | SHIFTED)]
    shown = assert_shown(conformance(shared, "POUT_A_Sharplabs_2"), tmp_path, chain)
    assert [s.record.poc for s in shown] == list(range(0, 16, 2))


@pytest.mark.parametrize("name", ["GDR_C_NOKIA_2", "RAP_B_HHI_1"])
def test_streams_that_begin_in_the_middle(shared: Path, tmp_path: Path, name: str) -> None:
    """A GDR picture whose recovery point comes later, a CRA picture whose leading pictures are not shown: what is
    activated there holds from the first picture that is shown."""
    chain = [(SHARP, PERSISTS), (SOFT, PERSISTS)]
    every = assert_shown(conformance(shared, name), tmp_path, chain)
    once = assert_shown(conformance(shared, name), tmp_path, chain, "clvs_start")
    assert [md5([s.frame]) for s in every] == [md5([s.frame]) for s in once]


@pytest.mark.parametrize(("no_prev_clvs", "no_foll_clvs"), [(0, 1), (1, 0)])
@pytest.mark.parametrize("name", ["eos_before_cra", "cat_res_change_idr"])
def test_several_clvss(shared: Path, tmp_path: Path, name: str, no_prev_clvs: int, no_foll_clvs: int) -> None:
    flags = PERSISTS | {"no_prev_clvs_flag": no_prev_clvs, "no_foll_clvs_flag": no_foll_clvs}
    shown = assert_shown(stream(shared, name), tmp_path, [(BETWEEN, flags), (SOFT, flags)])
    # 50 pictures in 2 CLVSs; 98 in 5, of which the first two differ in size.
    pictures, clvss, sizes = (50, 2, 1) if name == "eos_before_cra" else (98, 5, 2)
    assert len(shown) == 2 * pictures - (clvss if no_prev_clvs else sizes)


def test_activations_hold_in_output_order(shared: Path, tmp_path: Path) -> None:
    """The picture that begins the stream has POC 15, and pictures are shown before it. The CRA picture after the end
    of sequence begins a CLVS, which needs filter and activation anew."""
    shown = assert_shown(stream(shared, "eos_before_cra"), tmp_path, [(SHARP, PERSISTS)], "clvs_start", 15)
    assert [bool(s.record.applied) for s in shown] == [s.record.poc >= 15 for s in shown]
    assert {s.record.poc for s in shown if s.record.clvs == 1} == set(range(31, 65))


def hevc_nested(message: Message) -> Message:
    """For all layers."""
    coded = messages.encode(message)
    return HevcScalableNesting(
        bitstream_subset_flag=0,
        nesting_op_flag=0,
        all_layers_flag=1,
        payload_type=(coded.payload_type,),
        payload_size=(len(coded.payload),),
        payload=(coded.payload,),
    )


@pytest.mark.parametrize(
    ("encoder", "parameters", "wrapped"),
    [
        ("libx265", "", lambda message: message),
        ("libx265", "", hevc_nested),
        ("libx265", ":interlace=tff", lambda message: message),
        ("libx264", "", lambda message: message),
        ("libx264", ":tff=1", lambda message: message),
    ],
    ids=["H.265", "H.265 nested", "H.265 fields", "H.264", "H.264 MBAFF"],
)
def test_other_codecs(tmp_path: Path, encoder: str, parameters: str, wrapped: Callable[[Message], Message]) -> None:
    """24 pictures with B pictures, in 3 CLVSs."""
    path = tmp_path / f"in.{encoder[-3:]}"
    path.write_bytes(encode(encoder, "keyint=10:bframes=3:open-gop=0" + parameters))
    flags = PERSISTS | {"no_prev_clvs_flag": 1, "no_foll_clvs_flag": 1}
    shown = assert_shown(path, tmp_path, [(BETWEEN, flags), (SOFT, flags)], wrapped=wrapped)
    clvss = {s.record.clvs for s in shown}
    assert (len(shown), len(clvss)) == (2 * 24 - len(clvss), 3)


@pytest.mark.parametrize("encoder", ["libx264", "libx265"])
@pytest.mark.parametrize(("pix_fmt", "depth"), [("gray", 8), ("gray10le", 10)])
def test_pictures_without_chroma(tmp_path: Path, encoder: str, pix_fmt: str, depth: int) -> None:
    """FFmpeg makes 4:2:0 of such H.264."""
    path = tmp_path / f"in.{encoder[-3:]}"
    path.write_bytes(encode(encoder, "keyint=10:bframes=3", pix_fmt))
    shown = assert_shown(path, tmp_path, [(SHARP, PERSISTS)])
    assert {s.frame.format for s in shown} == {Format(96, 80, 0, depth, depth)}


def mixing(message: NnpfCharacteristics) -> tuple[Model, list[list[float]]]:
    """A filter for a message of the reference software: each picture of its output is another mean of the input."""
    outputs, inputs = len(output_pictures(message)), num_input_pics(message)
    numbers = np.random.default_rng(outputs).random((outputs, inputs)) + 0.1
    weights = numbers / numbers.sum(axis=1, keepdims=True)
    # On each plane of (Y, Cb, Cr), without the overlap.
    kernel = np.kron(weights, np.eye(3)).astype(np.float32)[:, :, np.newaxis, np.newaxis]
    overlap = message.nnpfc_overlap or 0
    begin, end = (np.array([at, at], np.int64) for at in (overlap, -overlap or 1 << 31))
    constants = {"kernel": kernel, "from": begin, "to": end, "axes": np.array([2, 3], np.int64)}
    nodes = [
        helper.make_node("Slice", ["input", "from", "to", "axes"], ["inner"]),
        helper.make_node("Conv", ["inner", "kernel"], ["output"]),
    ]
    model = graph(
        nodes, {"input": ((None, 3 * inputs, None, None), TensorProto.FLOAT)}, "output", constants, output_rank=4
    )
    return model, weights.tolist()


@pytest.mark.parametrize(
    "name",
    [
        "s07_fru_2in_ra17",
        "s08_fru_4in",
        "s12_tempextra",
        "s21_crop202x114_ext",
        "s22_crop202x113_444",
        "s23_po_pon_fix",
        "s25_multiclvs_idr",
        "s26_opengop_cra",
        "s27_suffix",
        "sp06_repeats_opengop",
        "sp07_fru_clean",
    ],
)
def test_streams_of_the_reference_software(shared: Path, tmp_path: Path, name: str) -> None:
    """Several input pictures, frame rate, extrapolation, conformance windows, a shift, suffix messages, open GOPs:
    filtered by messages that another program wrote."""
    path = shared / f"vectors/vtm/{name}.266"
    units = list(nal_units(path))
    plain = decoded(path)
    found = [entry for entry in sei_messages(units, Codec.VVC) if entry.picture is not None]
    bases = {e.message.nnpfc_id: e.message for e in found if isinstance(e.message, NnpfCharacteristics)}
    (number,) = bases
    model, WEIGHTS[number] = mixing(bases[number])
    (tmp_path / "filter.onnx").write_bytes(model.to_bytes())
    sources = ModelSources(by_uri={bases[number].nnpfc_uri: tmp_path / "filter.onnx"})

    # The message of each picture, or the one before in output order that persists in the CLVS.
    own = {e.picture.decode_index: e.message for e in found if isinstance(e.message, NnpfActivation)}
    in_force: NnpfActivation | None = None
    sent = []
    for at, one in enumerate(plain):
        if at and one.record.clvs != plain[at - 1].record.clvs:
            in_force = None
        in_force = own.get(one.record.decode_index, in_force)
        active = (
            [] if in_force is None or in_force.nnpfa_cancel_flag else [Active(number, bases[number], None, in_force)]
        )
        sent.append(Sent(one.record.clvs, one.frame.format, active))
        if in_force is not None and not in_force.nnpfa_persistence_flag:
            in_force = None
    expected = shown_pictures(sent, lambda active, form: form)

    shown = run(units, Codec.VVC, sources)
    assert [(s.record.kind, s.record.output_index, s.record.position) for s in shown] == [
        (step.kind if step.made[0] == "made" else "decoded", step.number, pytest.approx(float(step.position)))
        for step in expected
    ]
    assert any(s.record.applied for s in shown)
    positions = [s.record.position for s in shown]
    assert positions == sorted(set(positions))
    frames, known = [one.frame for one in plain], {}
    for picture, step in zip(shown, expected, strict=True):
        difference = np.abs(picture.frame.planes[0] - luma(step, frames, known))
        assert difference.max() <= 1
        assert np.count_nonzero(difference) <= 0.01 * difference.size
