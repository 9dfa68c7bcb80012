"""Inputs that make sense, to start from: from the samples and tests of this repository, and the reference vectors of
`../shared` where there are any."""

from __future__ import annotations

import io
import itertools
import tempfile
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

from vsei.annexb import read_chunks, split
from vsei.nal import Codec

ROOT = Path(__file__).resolve().parents[2]
SAMPLES = ROOT / "samples"
SHARED = ROOT.parent / "shared"

# A fuzzer changes a few bytes at a time: what is short is changed where it matters.
HEAD_BYTES = 3000
HEAD_UNITS = 12


@cache
def streams(codec: Codec) -> tuple[bytes, ...]:
    """Starts of streams with different tools, SEI messages among them."""
    if codec is not Codec.VVC:
        from tests.vsei.encoded import encode

        encoder = {Codec.HEVC: "libx265", Codec.AVC: "libx264"}[codec]
        return tuple(
            _head(encode(encoder, parameters, pix_fmt))
            for parameters, pix_fmt in (("keyint=8:bframes=3", "yuv420p"), ("bframes=0", "yuv422p10le"))
        )
    paths = [
        SAMPLES / "bbb_q37.266",
        *sorted((SHARED / "vectors/vtm").glob("*.266")),
        *sorted((SHARED / "conformance").glob("*.bit")),
    ]
    return tuple(_head(path.read_bytes()[: 1 << 20]) for path in paths if path.exists())


def _head(data: bytes) -> bytes:
    """The first NAL units, long ones cut: slice data mean nothing to a header."""
    units = itertools.islice(split([data]), HEAD_UNITS)
    return b"".join(unit.prefix + bytes(unit.data[:400]) for unit in units)[:HEAD_BYTES]


def heads(codec: Codec) -> Callable[[], Iterator[bytes]]:
    return lambda: iter(streams(codec))


def byte_streams() -> Iterator[bytes]:
    for size in (0, 6, 255):
        yield bytes([size]) + streams(Codec.VVC)[0]
    yield b"\x02" + b"\0\0\0\1\x09\x10\0\0\3\0\0\0\1\0\0\1" + bytes(9)


def messages() -> Iterator[bytes]:
    """Every payload type that is read element by element: all zeros of it, invented ones, and those of real streams."""
    import random

    from tests.fuzz.invented_messages import invented_payload
    from vsei.listing import sei_messages
    from vsei.messages import kind

    for number, codec in enumerate(Codec):
        for payload_type in range(300):
            if kind(payload_type, codec) is not None:
                head = bytes([number]) + payload_type.to_bytes(2, "big")
                yield head + bytes(24)
                rng = random.Random(payload_type)
                for _ in range(3):
                    yield head + invented_payload(rng, payload_type, codec)
    seen: set[tuple[int, int]] = set()
    for path in (SAMPLES / "bbb_q37.266", *sorted((SHARED / "vectors/vtm").glob("*.266"))):
        if not path.exists():
            continue
        with path.open("rb") as file:
            for found in sei_messages(split(read_chunks(file)), Codec.VVC):
                coded = found.coded
                if len(coded.payload) < 4096 and (coded.payload_type, len(coded.payload)) not in seen:
                    seen.add((coded.payload_type, len(coded.payload)))
                    yield b"\0" + coded.payload_type.to_bytes(2, "big") + coded.payload


def nnc_base() -> bytes:
    from tests.nnc.vectors import own_payloads

    return own_payloads()["update_0"]


def nnc_updates() -> Iterator[bytes]:
    from tests.nnc.vectors import own_payloads

    yield from (data for name, data in sorted(own_payloads().items()) if name.startswith("update_"))


def nnc_payloads() -> Iterator[bytes]:
    """Coded tensors, and a payload that holds a whole model."""
    from nnpf.nnc.model import encode_model
    from tests.nnc.vectors import own_payloads
    from tests.nnpf.onnx_graphs import blur_filter

    yield encode_model(blur_filter(6, 6, 0).proto)
    for _, data in sorted(own_payloads().items()):
        if len(data) < 20_000:
            yield data
    for path in sorted((SHARED / "vectors/nnc").glob("*.nnc")):
        if path.stat().st_size < 20_000:
            yield path.read_bytes()


@cache
def small_filter() -> bytes:
    from tests.nnpf.onnx_graphs import blur_filter

    return blur_filter(6, 6, 0).to_bytes()


def onnx_models() -> Iterator[bytes]:
    yield small_filter()
    for name in ("tint_red", "tint_green", "tint_blue"):
        yield (SAMPLES / f"filters/{name}.onnx").read_bytes()
    yield from _invented_models()


def _invented_models() -> Iterator[bytes]:
    """One model for each group of operators that post-filters use."""
    import onnx
    from onnx import TensorProto, helper

    chains = [
        [helper.make_node("Relu", ["x"], ["y"])],
        [helper.make_node("Pad", ["x", "pads"], ["p"]), helper.make_node("Slice", ["p", "zero", "ends"], ["y"])],
        [
            helper.make_node("SpaceToDepth", ["x"], ["s"], blocksize=2),
            helper.make_node("DepthToSpace", ["s"], ["y"], blocksize=2),
        ],
        [helper.make_node("Resize", ["x", "", "scales"], ["y"], mode="nearest")],
        [helper.make_node("Shape", ["x"], ["s"]), helper.make_node("Reshape", ["x", "s"], ["y"])],
        [helper.make_node("Tile", ["x", "ones"], ["y"])],
        [helper.make_node("Shape", ["x"], ["s"]), helper.make_node("Expand", ["x", "s"], ["y"])],
        [helper.make_node("Conv", ["x", "w"], ["c"], pads=[1, 1, 1, 1]), helper.make_node("LeakyRelu", ["c"], ["y"])],
        [helper.make_node("ConvTranspose", ["x", "w"], ["y"], pads=[1, 1, 1, 1])],
    ]
    ints = {"pads": [0, 0, 0, 0, 0, 0, 0, 0], "zero": [0, 0, 0, 0], "ends": [1, 6, 16, 32], "ones": [1, 1, 1, 1]}
    for chain in chains:
        used = {name for node in chain for name in node.input}
        constants = [helper.make_tensor(n, TensorProto.INT64, [len(v)], v) for n, v in ints.items() if n in used]
        if "scales" in used:
            constants.append(helper.make_tensor("scales", TensorProto.FLOAT, [4], [1.0] * 4))
        if "w" in used:
            constants.append(helper.make_tensor("w", TensorProto.FLOAT, [6, 6, 3, 3], [0.1] * 324))
        graph = helper.make_graph(
            chain,
            "g",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, [None, 6, None, None])],
            [helper.make_tensor_value_info("y", TensorProto.FLOAT, [None] * 4)],
            constants,
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
        onnx.checker.check_model(model)
        yield model.SerializeToString()


def exported_models() -> Iterator[bytes]:
    """What torch.export.save writes, of a small network."""
    import torch

    network = torch.nn.Sequential(torch.nn.Conv2d(6, 6, 3, padding=1), torch.nn.ReLU(), torch.nn.PixelShuffle(1))
    program = torch.export.export(network.eval(), (torch.zeros(1, 6, 8, 8),))
    out = io.BytesIO()
    torch.export.save(program, out)
    yield out.getvalue()


def specifications() -> Iterator[bytes]:
    yield b"filters:\n- id: 1\n  base: tiny.onnx\nactivations:\n- target: 1\n"
    yield (
        b"codec: vvc\nfilters:\n- {id: 1, base: tint_red.onnx, repeat: first, nnpfc: {nnpfc_padding_type: 1},\n"
        b"   updates: [{uri: 'file:a.nnc', at: 'poc:8,16'}]}\n"
        b"activations:\n- {target: 1, at: 'output:3', nnpfa: {nnpfa_persistence_flag: 1}}\n"
        b"messages:\n- {type: content_light_level_info, at: first, elements: {clli_max_content_light_level: 1000}}\n"
        b"- {type: 5, at: all, hex: '00112233445566778899aabbccddeeff00'}\n"
    )
    yield b"a: &a [1, 1]\nb: &b [*a, *a]\nfilters: [*b, *b]\n"
    yield b'nal_units:\n- {at: 5, type: 23, messages: [{type: 210, hex: "80"}]}\n'
    yield b'{"filters": [{"id": 4294967294, "uri": "https://example.com/f.onnx", "tag_uri": "tag:x"}]}'
    yield from (path.read_bytes() for path in sorted(ROOT.glob("tools/training/*.yaml")))


def y4m_files() -> Iterator[bytes]:
    yield b"YUV4MPEG2 W4 H4 F25:1 Ip A0:0 C420mpeg2\nFRAME\n" + bytes(24) + b"FRAME\n" + bytes(24)
    yield b"YUV4MPEG2 W2 H2 F30000:1001 Ip A0:0 C444p10 XYSCSS=444P10\nFRAME I\n" + bytes(24)


def container_files() -> Iterator[bytes]:
    """Each container with each codec; with sound, and without."""
    from tests.nnpf.container_files import encoded, vvc

    with tempfile.TemporaryDirectory() as folder:
        short = Path(folder) / "short.266"
        units = itertools.islice(split([(SAMPLES / "bbb_q37.266").read_bytes()]), 10)
        short.write_bytes(b"".join(unit.to_bytes() for unit in units))
        for number, suffix in enumerate(("mp4", "mov", "mkv", "ts")):
            files = [
                encoded(Path(folder) / f"avc.{suffix}", "libx264", size=(32, 16)),
                encoded(Path(folder) / f"hevc.{suffix}", "libx265", audio=False, size=(32, 16)),
                vvc(Path(folder) / f"vvc.{suffix}", short),
            ]
            for at, file in enumerate(files):
                yield bytes([number + at]) + file.read_bytes()


def command_streams() -> Iterator[bytes]:
    for codec in Codec:
        for number, stream in enumerate(streams(codec)):
            yield bytes([number % 8]) + stream
    for stream in _with_filter(4):
        for command in range(8):
            yield bytes([command]) + stream


def filtered_streams() -> Iterator[bytes]:
    """Streams of a few pictures that `apply` filters."""
    for number, stream in enumerate(_with_filter(3)):
        yield bytes([number]) + stream


@cache
def _with_filter(pictures: int) -> tuple[bytes, ...]:
    """For each codec a stream of a few pictures with a filter that is active: base in a payload, and by URI."""
    from nnpf.nnc.model import encode_model
    from tests.nnpf.onnx_graphs import blur_filter
    from tests.nnpf.streams import activation, characteristics
    from tests.vsei.encoded import encode
    from vsei import edit, selection
    from vsei import messages as coded
    from vsei.pictures import picture_units

    payload = encode_model(blur_filter(6, 6, 0).proto)
    base = characteristics(2, mode_idc=0, tag_uri=None, uri=None, payload=payload)
    messages = [characteristics(), activation(), base, activation(2)]
    originals = {Codec.VVC: (SAMPLES / "bbb_q37.266").read_bytes()}
    for codec, encoder in ((Codec.HEVC, "libx265"), (Codec.AVC, "libx264")):
        originals[codec] = encode(encoder, "keyint=8:bframes=1", "yuv420p", 64, 48)
    found = []
    for codec, original in originals.items():
        units = [u for unit in itertools.islice(picture_units(split([original]), codec), pictures) for u in unit.units]
        placements = [edit.Placement(selection.parse("first"), coded.encode(m, codec)) for m in messages]
        decided = edit.decide(iter(units), codec, placements)
        out = io.BytesIO()
        for unit in edit.inject(iter(units), codec, placements, decided):
            out.write(unit.to_bytes())
        found.append(out.getvalue())
    return (found[0], *found)
