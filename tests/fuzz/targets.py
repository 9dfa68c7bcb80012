"""What is fuzzed: functions that take bytes of a stranger, each with the errors that it may end in.

A target returns, or raises one of EXPECTED: an error with a sentence for the user. Anything else is a finding, and so
is more time or memory than `tests.fuzz.budget` allows.
"""

from __future__ import annotations

import contextlib
import io
import itertools
import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from nnpf.errors import NnpfError
from nnpf.nnc.errors import NncError
from tests.fuzz import seeds
from tests.fuzz.archive_mutations import mutated_archive
from tests.fuzz.onnx_mutations import mutated_model
from vsei import annexb, limits, messages, sei
from vsei.errors import VseiError
from vsei.nal import Codec, read_header

EXPECTED = (VseiError, NnpfError, NncError)
CODECS = tuple(Codec)


@dataclass(frozen=True, slots=True)
class Target:
    """Something to fuzz.

    Attributes:
        run: takes one input.
        seeds: inputs that make sense, to start from.
        prepare: loads what the target loads once, so that no input is charged with it.
        mutate: (input, longest, seed) to a changed input, where changing bytes blindly seldom leads anywhere.
    """

    name: str
    run: Callable[[bytes], None]
    seeds: Callable[[], Iterator[bytes]]
    prepare: Callable[[], None] = lambda: None
    mutate: Callable[[bytes, int, int], bytes] | None = None


# --- bytes to NAL units ----------------------------------------------------------------------------------------------


def byte_stream(data: bytes) -> None:
    """Annex B: every byte is kept, whatever the chunks."""
    if not data:
        return
    size, stream = data[0] + 1, data[1:]
    whole = list(annexb.split([stream]))
    assert b"".join(unit.to_bytes() for unit in whole) == stream
    pieces = (stream[at : at + size] for at in range(0, len(stream), size))
    parts = [(u.offset, u.prefix, bytes(u.data), u.zeros) for u in annexb.split(pieces)]
    assert parts == [(u.offset, u.prefix, bytes(u.data), u.zeros) for u in whole]
    for unit in whole:
        plain = annexb.rbsp(unit.data)
        assert annexb.rbsp(annexb.escape(plain)).startswith(plain)


# --- messages --------------------------------------------------------------------------------------------------------


def message(data: bytes) -> None:
    """One SEI message: a byte for the codec, two for payloadType, the payload. What is exact is written back."""
    if len(data) < 3:
        return
    codec = CODECS[data[0] % len(CODECS)]
    coded = sei.SeiMessage(int.from_bytes(data[1:3], "big"), data[3:])
    _check_message(coded, codec, 0)


def _check_message(coded: sei.SeiMessage, codec: Codec, depth: int) -> None:
    from nnpf import characteristics
    from nnpf.frames import Format
    from vsei.messages.nnpf import NnpfCharacteristics
    from vsei.rules import check_messages

    list(check_messages([coded], codec))
    decoded = messages.decode(coded, codec, [])
    if decoded is None:
        return
    if decoded.exact:
        assert messages.encode(decoded.message, codec) == coded
    if isinstance(decoded.message, NnpfCharacteristics) and characteristics.out_of_range(decoded.message) is None:
        with contextlib.suppress(NnpfError):
            characteristics.output_pictures(decoded.message)
            characteristics.patch_process(decoded.message, Format(96, 80, 1, 10, 10), None)
    if depth < limits.current().nesting_depth:
        for inner in getattr(decoded.message, "messages", ()):
            with contextlib.suppress(*EXPECTED):
                _check_message(inner, codec, depth + 1)


# --- parameter sets and headers --------------------------------------------------------------------------------------


def headers(codec: Codec) -> Callable[[bytes], None]:
    """Parameter sets, picture and slice headers of a byte stream, as dump shows them and as pictures are found."""

    def run(data: bytes) -> None:
        from vsei.pictures import in_output_order, picture_units
        from vsei.structures import header_state

        units = list(annexb.split([data]))
        state = header_state(codec)
        for unit in units:
            with contextlib.suppress(VseiError):
                state.read(read_header(codec, unit.data), unit.data, [])
        found = list(picture_units(units, codec))
        assert [unit for part in found for unit in part.units] == units  # nothing is lost
        list(in_output_order(found, lambda part: part.picture))

    return run


# --- models, payloads, specifications --------------------------------------------------------------------------------


def nnc_payload(data: bytes) -> None:
    """An NNC bitstream: tensors, report, and the model where it holds one."""
    from nnpf.nnc import Decoder
    from nnpf.nnc.model import join_model

    decoder = Decoder(threads=1)
    tensors = decoder.decode(data)
    assert decoder.last is not None
    join_model(decoder.last.topology, tensors, limits=decoder.limits)


def nnc_update(data: bytes) -> None:
    """An update of a known base."""
    from nnpf.nnc import updates

    decoder, known = _update_base()
    updates.decode_update(decoder.copy(), known, data, "difference")


@cache
def _update_base():  # type: ignore[no-untyped-def]
    from nnpf.nnc import Decoder

    decoder = Decoder(threads=1)
    return decoder, decoder.decode(seeds.nnc_base())


def onnx_model(data: bytes) -> None:
    """An ONNX file, up to what it costs."""
    from nnpf import model

    loaded = model.load(data, "fuzzed")
    loaded.cost({spec.name: tuple(8 if size is None else size for size in spec.shape) for spec in loaded.inputs})
    _ = loaded.parameters, loaded.num_parameters, loaded.operators, loaded.opset, loaded.sha256
    _ = loaded.tensor_input


def engine(name: str) -> Callable[[bytes], None]:
    """An ONNX file, up to its result: planned, compiled and run as `nnpf apply` does it."""

    def run(data: bytes) -> None:
        import numpy as np

        from nnpf import model
        from nnpf.characteristics import patch_process
        from nnpf.filters import EngineChoice, Engines, plan_patches
        from nnpf.frames import Format
        from tests.nnpf.streams import characteristics

        loaded = model.load(data, "fuzzed")
        process = patch_process(characteristics(), Format(32, 16, 1, 10, 10), None)
        patching = plan_patches(loaded, process, None)
        make = Engines(EngineChoice(engine=name, threads=1)).candidates(loaded)[0]
        network = make().compile(loaded)
        tensors = {loaded.tensor_input.name: np.zeros((1, *patching.plan.patch_shape), loaded.tensor_input.dtype)}
        network.run(tensors)

    return run


def specification(data: bytes) -> None:
    """A specification file of inject, with the sample filter beside it."""
    from nnpf import spec

    try:
        text = data.decode()
    except UnicodeDecodeError:
        return
    loaded = spec.check(spec.load(text, "fuzzed.yaml", seeds.SAMPLES / "filters"))
    spec.placements(loaded)
    spec.taken(loaded, Codec.VVC)


def y4m(data: bytes) -> None:
    """A Y4M file."""
    from nnpf.frames import read_y4m

    for _ in itertools.islice(read_y4m(io.BytesIO(data))[1], 64):
        pass


# --- whole commands --------------------------------------------------------------------------------------------------


@cache
def _folder() -> Path:
    """For the files of commands: in memory where the machine has such a place."""
    memory = Path("/dev/shm")
    folder = tempfile.mkdtemp(prefix="nnpf-fuzz-", dir=memory if os.access(memory, os.W_OK) else None)
    (Path(folder) / "filter.onnx").write_bytes(seeds.small_filter())
    (Path(folder) / "tiny.onnx").write_bytes((seeds.SAMPLES / "filters/tiny.onnx").read_bytes())
    return Path(folder)


def _command(*arguments: str) -> None:
    """A command as a user runs it; errors come as they were raised."""
    from nnpf_tools import main

    written, stdout, stderr = io.TextIOWrapper(io.BytesIO()), sys.stdout, sys.stderr
    try:
        sys.stdout = sys.stderr = written
        code = main.main([*arguments, "--debug"])
    finally:
        sys.stdout, sys.stderr = stdout, stderr
    assert code in (0, 1, 3), code


# What a byte in front of the stream chooses; the stream is `in`.
_COMMANDS = (
    ("dump", "in", "--all", "--trace"),
    ("dump", "in", "--json"),
    ("dump", "in", "--summary"),
    ("validate", "in"),
    ("validate", "in", "--json"),
    ("strip", "in", "-o", "out", "--force", "-q"),
    ("extract", "in", "-o", "extracted", "--force", "-q"),
    ("inject", "in", "--base", "filter.onnx", "-o", "out", "--force", "-q"),
)


def commands(data: bytes) -> None:
    """Commands on a stream. The first byte says which one, and which codec."""
    if not data:
        return
    folder = _folder()
    stream = folder / "in"
    stream.write_bytes(data[1:])
    arguments = [
        str(folder / word) if word in ("in", "out", "extracted", "filter.onnx") else word
        for word in _COMMANDS[data[0] % len(_COMMANDS)]
    ]
    codec = data[0] >> 3 & 3
    _command(*arguments, *(["--codec", CODECS[codec - 1].value] if codec else []))


def containers(data: bytes) -> None:
    """A file of MP4, QuickTime, Matroska or MPEG-TS. The first byte says what to do with it."""
    from nnpf.container_formats import container_of

    folder = _folder()
    (folder / "in").write_bytes(data[1:])
    form = container_of(data[1:])
    if form is None or not form.suffixes:
        return  # a byte stream, which other targets take; a format that is not written
    out = f"out{form.suffixes[0]}"
    written = ("-o", str(folder / out), "--force", "-q")
    which: tuple[tuple[str, ...], ...] = (
        ("dump", "--all"),
        ("dump", "--json"),
        ("validate",),
        ("strip", *written),
        ("inject", "--base", str(folder / "filter.onnx"), *written),
    )
    name, *options = which[data[0] % len(which)]
    _command(name, str(folder / "in"), *options)


def apply_stream(data: bytes) -> None:
    """`nnpf apply`: decoder, models, network and all. The first byte says which codec."""
    if not data:
        return
    folder = _folder()
    stream = folder / "in"
    stream.write_bytes(data[1:])
    codec = data[0] & 3
    _command(
        *("apply", str(stream), "-o", os.devnull, "-q", "--threads", "1", "--md5"),
        *(["--codec", CODECS[codec - 1].value] if codec else []),
    )


def _load_engine(name: str) -> Callable[[], None]:
    def load() -> None:
        with contextlib.suppress(*EXPECTED):
            engine(name)(seeds.small_filter())

    return load


def _load_apply() -> None:
    for seed in itertools.islice(seeds.filtered_streams(), 1):
        apply_stream(seed)


TARGETS = {
    target.name: target
    for target in (
        Target("byte_stream", byte_stream, seeds.byte_streams),
        Target("message", message, seeds.messages),
        Target("headers_vvc", headers(Codec.VVC), seeds.heads(Codec.VVC)),
        Target("headers_hevc", headers(Codec.HEVC), seeds.heads(Codec.HEVC)),
        Target("headers_avc", headers(Codec.AVC), seeds.heads(Codec.AVC)),
        Target("nnc_payload", nnc_payload, seeds.nnc_payloads),
        Target("nnc_update", nnc_update, seeds.nnc_updates),
        Target("onnx_model", onnx_model, seeds.onnx_models, mutate=mutated_model),
        Target("engine_openvino", engine("openvino"), seeds.onnx_models, _load_engine("openvino"), mutated_model),
        Target(
            "engine_onnxruntime", engine("onnxruntime"), seeds.onnx_models, _load_engine("onnxruntime"), mutated_model
        ),
        Target("engine_torch", engine("torch"), seeds.onnx_models, _load_engine("torch"), mutated_model),
        Target("torch_export", onnx_model, seeds.exported_models, mutate=mutated_archive),
        Target("specification", specification, seeds.specifications),
        Target("y4m", y4m, seeds.y4m_files),
        Target("containers", containers, seeds.container_files),
        Target("commands", commands, seeds.command_streams),
        Target("apply", apply_stream, seeds.filtered_streams, _load_apply),
    )
}
