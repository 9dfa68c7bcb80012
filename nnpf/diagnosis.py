"""What works on this machine: decoders and engines are tried on something very small, and what they give is checked."""

from __future__ import annotations

import hashlib
import re
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from nnpf.errors import NnpfError
from nnpf.probe_streams import STREAMS, ProbeStream
from vsei.annexb import split

State = Literal["works", "absent", "fails"]

# Programs that decode H.266 and that `nnpf apply --decoder` can start: what they are, and what the files are called.
PROGRAMS = {
    "VVdeC": (("vvdecapp",), "https://github.com/fraunhoferhhi/vvdec"),
    "VTM": (("DecoderApp", "DecoderAppStatic"), "https://vcgit.hhi.fraunhofer.de/jvet/VVCSoftware_VTM"),
}
# What an extra is for; those that are not here are for working on the program itself.
EXTRAS = {
    "torch": "CUDA and MPS, integer networks, nnpf adapt",
    "ort": "ONNX Runtime as a third engine",
    "eval": "BD-rates of nnpf eval",
    "plot": "plots of nnpf eval, pictures of frames",
    "batch": "nnpf batch",
    "report": "nnpf report",
}
_PROGRAM_SECONDS = 30
_TOLERANCE = 1e-3


@dataclass(frozen=True, slots=True)
class Check:
    """Something that was tried.

    Attributes:
        area: "decoder", "engine", "coder" or "extra".
        needed: the program cannot do without it.
        detail: versions and devices; or what is wrong, in one line.
        fix: what to do about it; empty where nothing is to be done.
        seconds: how long it took, the loading of libraries included; None where nothing was run.
    """

    area: str
    name: str
    state: State
    needed: bool = False
    detail: str = ""
    fix: str = ""
    seconds: float | None = None


def checks() -> Iterator[Check]:
    """Everything, one after another, as it is tried."""
    for stream in STREAMS:
        yield _tried(Check("decoder", f"FFmpeg {stream.name}", "works", needed=True), lambda s=stream: _ffmpeg(s))  # type: ignore[misc]
    for program, (names, source) in PROGRAMS.items():
        yield _program(program, names, source)
    yield _ffmpeg_program()
    yield _tried(Check("coder", "NNC", "works", needed=True), _nnc)
    for name, device in _engines():
        yield _engine(name, device)
    yield from _extras()


def _tried(check: Check, trial: Callable[[], str]) -> Check:
    """The check with what came of it: `trial` gives a detail, or raises."""
    started = time.perf_counter()
    try:
        detail = trial()
    except Exception as error:  # whatever it is: it is the finding
        text = " ".join(str(error).split()) or type(error).__name__
        fix = check.fix or "pip install --force-reinstall nnpf"
        return replace(check, state="fails", detail=text, fix=fix, seconds=time.perf_counter() - started)
    return replace(check, detail=detail, fix="", seconds=time.perf_counter() - started)


# --- decoders --------------------------------------------------------------------------------------------------------


def _md5(planes: Iterator[bytes]) -> str:
    digest = hashlib.md5(usedforsecurity=False)
    for plane in planes:
        digest.update(plane)
    return digest.hexdigest()


def _ffmpeg(stream: ProbeStream) -> str:
    import av

    from nnpf import runner

    with runner.apply(split([stream.data]), stream.codec, runner.ApplyOptions()) as pictures:
        frames = [shown.frame for shown in pictures]
    if [_md5(plane.tobytes() for plane in frame.file_planes()) for frame in frames] != [stream.md5]:
        raise NnpfError("decodes to other samples than it should")
    version = ".".join(map(str, av.library_versions["libavcodec"]))
    return f"PyAV {av.__version__}, libavcodec {version}"


def _program(program: str, names: Sequence[str], source: str) -> Check:
    check = Check("decoder", program, "works", fix=f"build it again, or take it off the path: {source}")
    path = next(filter(None, map(shutil.which, names)), None)
    if path is None:
        use = f"for nnpf apply --decoder {names[0]}"
        return replace(check, state="absent", detail=use, fix=f"{source}; put {' or '.join(names)} on the path")
    return _tried(check, lambda: _decoded_by(path))


def _decoded_by(path: str) -> str:
    from nnpf import runner
    from nnpf.decoder_program import decoded_by

    stream = STREAMS[0]
    with (
        decoded_by(path, split([stream.data]), stream.codec) as decoded,
        runner.apply(split([stream.data]), stream.codec, runner.ApplyOptions(), decoded=decoded) as pictures,
    ):
        found = [_md5(plane.tobytes() for plane in shown.frame.file_planes()) for shown in pictures]
    if found != [stream.md5]:
        raise NnpfError("decodes to other samples than it should")
    return path


def _ffmpeg_program() -> Check:
    """FFmpeg's own program: nothing here starts it, but pipes of users do."""
    check = Check("decoder", "ffmpeg", "works", fix="FFmpeg 7.1 or later decodes H.266; nnpf itself has PyAV")
    path = shutil.which("ffmpeg")
    if path is None:
        return replace(check, state="absent", detail="the program, for pipes; nnpf itself has PyAV", fix="")

    def trial() -> str:
        stream = STREAMS[0]
        command = [path, "-v", "error", "-f", "vvc", "-i", "-", "-f", "rawvideo", "-pix_fmt", "yuv420p10le", "-"]
        done = subprocess.run(command, input=stream.data, capture_output=True, timeout=_PROGRAM_SECONDS, check=False)
        if done.returncode != 0:
            raise NnpfError(done.stderr.decode("utf-8", "replace").strip().partition("\n")[0] or "fails")
        if _md5(iter([done.stdout])) != stream.md5:
            raise NnpfError("decodes to other samples than it should")
        return path

    return _tried(check, trial)


# --- engines ---------------------------------------------------------------------------------------------------------


def _engines() -> Iterator[tuple[str, str]]:
    """Engines with their devices on this machine; "" where the engine is not installed."""
    from nnpf.engines import ENGINES, installed

    for name in ENGINES:
        if not installed(name):
            yield name, ""
            continue
        for device in _devices(name):
            yield name, device


def _devices(engine: str) -> list[str]:
    try:
        if engine == "openvino":
            from nnpf.engines.silent_openvino import openvino as ov

            return list(ov.Core().available_devices)
        if engine == "torch":
            import torch

            gpus = [f"cuda:{i}" for i in range(torch.cuda.device_count())]
            return ["cpu", *gpus, *(["mps"] if torch.backends.mps.is_available() else [])]
    except Exception:  # a broken installation: the trial on the CPU says what is wrong
        return ["cpu"]
    return ["cpu"]


def _engine(name: str, device: str) -> Check:
    extra = {"torch": "torch", "onnxruntime": "ort"}.get(name)
    install = f"pip install 'nnpf[{extra}]'" if extra else f"pip install {name}"
    check = Check("engine", name, "works", needed=extra is None, fix=f"{install} --force-reinstall")
    if not device:
        return replace(check, state="absent", detail=EXTRAS[extra] if extra else "the default on CPUs", fix=install)
    on_cpu = device.lower() == "cpu"
    if not on_cpu:
        check = replace(check, needed=False, fix=f"--device cpu; or the driver of {device}")
    return _tried(replace(check, name=f"{name} on {device}"), lambda: _network(name, device))


def _network(name: str, device: str) -> str:
    """A 3x3 convolution whose result is known. Returns version and device."""
    from importlib.metadata import version

    import numpy as np
    from onnx import TensorProto, helper, numpy_helper

    from nnpf.engines import select_engine
    from nnpf.model import Model

    picture = (np.arange(16 * 16, dtype=np.float32).reshape(1, 1, 16, 16) % 11) / 8
    weights = (np.arange(18, dtype=np.float32).reshape(2, 1, 3, 3) - 8) / 16
    graph = helper.make_graph(
        [helper.make_node("Conv", ["x", "w"], ["y"])],
        "probe",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 1, "h", "w"])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 2, "p", "q"])],
        [numpy_helper.from_array(weights, "w")],
    )
    model = Model(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), "probe")
    engine = select_engine(name, device.lower() if device == "CPU" else device)
    found = engine.compile(model).run({"x": picture})
    windows = np.lib.stride_tricks.sliding_window_view(picture[0, 0], (3, 3))
    wanted = np.einsum("yxij,cij->cyx", windows, weights[:, 0])[None]
    if found.shape != wanted.shape or not np.allclose(found, wanted, atol=_TOLERANCE):
        raise NnpfError("a convolution gives wrong results")
    return f"{version(name)}, {engine.device}"


# --- the rest --------------------------------------------------------------------------------------------------------


def _nnc() -> str:
    from importlib.metadata import version

    import numpy as np

    from nnpf import nnc

    weights = np.sin(np.arange(96, dtype=np.float32)).reshape(8, 12)
    back = nnc.decode(nnc.encode({"w": weights}, nnc.Settings(lossless=True)))["w"]
    if not np.array_equal(weights, back):
        raise NnpfError("a tensor that was coded without loss comes back changed")
    return f"numba {version('numba')}; the first time it compiles, later it is read from a cache"


def _extras() -> Iterator[Check]:
    """The extras of this version that bring functions."""
    from importlib.metadata import metadata

    for extra in metadata("nnpf").get_all("Provides-Extra", []):
        if extra in EXTRAS:
            yield _extra(extra)


def _packages(extra: str) -> Iterator[str]:
    """What an extra asks for, that of extras which it brings along included."""
    from importlib.metadata import requires

    for line in requires("nnpf") or ():
        match = re.match(rf"([\w.-]+)(?:\[([^]]*)\])?.*extra\s*==\s*['\"]{extra}['\"]", line)
        if match is not None and match[1] != "nnpf":
            yield match[1]
        elif match is not None:
            for other in (match[2] or "").split(","):
                yield from _packages(other.strip())


def _extra(name: str) -> Check:
    from importlib.metadata import PackageNotFoundError, version

    found, missing = [], []
    for package in dict.fromkeys(_packages(name)):
        try:
            found.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            missing.append(package)
    check = Check("extra", name, "works")
    if missing:
        detail = f"{EXTRAS[name]}; without {', '.join(missing)}"
        return replace(check, state="absent", detail=detail, fix=f"pip install 'nnpf[{name}]'")
    return replace(check, detail=", ".join(found))
