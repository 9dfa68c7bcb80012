"""What people do most, one call each. `import nnpf` has all of it as `nnpf.inject`, `nnpf.apply` and so on.

Streams are files: byte streams (Annex B; .266, .265, .264 or other names), MP4, MOV, Matroska and MPEG-TS. Every
function does what the command of its name does, by the same code, and raises `VseiError` (the stream is broken),
`NnpfError` (a file, a model or a setting cannot be used) or `OSError`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from os import PathLike, fspath
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nnpf import injection, spec
from nnpf.adapt import DEFAULT_STEPS
from nnpf.injection import Activate, CommonCase, Injected, InjectOptions
from nnpf.opening import open_stream, writing
from nnpf.outputs import check_output, open_output
from nnpf.spec import Spec
from vsei.edit import OnExisting
from vsei.listing import Found, sei_messages
from vsei.nal import Codec

if TYPE_CHECKING:
    import torch

    from nnpf.adapt.adaptation import Progress
    from nnpf.adapt.fitted import Fitted
    from nnpf.engines import Precision
    from nnpf.frames import Frame
    from nnpf.runner import Shown

File = str | PathLike[str]


def read_messages(stream: File, *, codec: Codec | None = None) -> Iterator[Found]:
    """The SEI messages of a stream, in order, each with its picture (`vsei.read_messages` for containers, too).

    Args:
        stream: file to read.
        codec: None: by the file's name, else by its first NAL units.

    Yields:
        For each message `name` ("nnpfc", "nnpfa" ...), `picture` (decode_index, poc, clvs), `output_index` and
        `message`: a dataclass with the standard's syntax elements, for NNPFC and NNPFA those of H.274 8.28; None where
        only the bytes are known (`coded`). `problems` says what is wrong with it.
    """
    with open_stream(stream, codec) as source:
        yield from sei_messages(source.nal_units(), source.codec)


def inject(
    stream: File,
    output: File,
    specification: File | Mapping[str, Any] | None = None,
    *,
    base: File | None = None,
    updates: Mapping[str, File] | None = None,
    nnpfc_id: int = 1,
    repeat: str = "random_access",
    activate: Activate | None = None,
    activate_at: str | None = None,
    elements: Mapping[str, object] | None = None,
    on_existing: OnExisting | None = None,
    decoder: str | None = None,
    layer_id: int | None = None,
    checked: bool = True,
    codec: Codec | None = None,
    force: bool = False,
) -> Injected:
    """Put NNPFC and NNPFA messages (H.274 8.28) into a stream. Not a bit of the video changes.

    Args:
        stream: file to read.
        output: file to write, in the format that its name asks for (.mp4, .mkv ..., else a byte stream); it appears
            when it is whole.
        specification: what goes where: a YAML file, or the same as plain data (`nnpf.spec`). File names in it are
            relative to it, or to the working folder. Instead of it, for one filter that is active everywhere:
        base: model file of the base filter: .onnx is sent by URI, .nnc in the message (nnpfc_mode_idc).
        updates: model files (.nnc) of updates, by the pictures that they come with: {"poc:16": "fitted.nnc"}.
            Pictures are written as for the command: poc:8,16-24, output:0-9, decode:5, clvs:1, random_access, first.
        nnpfc_id: of the filter, 0..2^32 - 2.
        repeat: where the base stands: random_access, clvs_start or first.
        activate: base, update or none; None: the base, and from each update on that.
        activate_at: pictures that the activation stands at; None: so that it holds for every picture.
        elements: of the messages, by the standard's names: {"nnpfc_padding_type": 1}.
        on_existing: what becomes of NNPFC and NNPFA messages that are there: error (the default), replace or keep.
        decoder: write what this decoder needs: vtm or nokia-vvdec.
        layer_id: nuh_layer_id of the pictures that get messages; None: of all layers (of H.265 the base layer).
        checked: refuse messages that break a rule of the standard.
        codec: None: by the file's name, else by its first NAL units.
        force: replace a file that exists.

    Returns:
        What was written: bytes before and after, messages, pictures.

    Raises:
        SpecError: what is asked for cannot be.
        BrokenRule: with the messages in, the stream would break the standard.
        OutputError: the output exists.
    """
    check_output(output, force=force, inputs=[stream])
    with open_stream(stream, codec) as source:
        chosen = injection.decoder_named(decoder, source.codec)
        follow = False
        if specification is not None:
            if base is not None or updates:
                raise spec.SpecError("a specification says what is base and update: give one or the other", None)
            given = _specification(specification)
        else:
            if base is None and not updates:
                raise spec.SpecError("a specification is wanted, or base, or updates", None)
            case = CommonCase(
                base=None if base is None else fspath(base),
                folder=Path(output).parent,
                updates=[(fspath(path), pictures) for pictures, path in (updates or {}).items()],
                nnpfc_id=nnpfc_id,
                repeat=repeat,
                activate=activate,
                activate_at=activate_at,
                elements=elements or {},
                decoder=chosen,
            )
            given, follow = case.specification(), case.follows_updates
        check_output(output, force=force, inputs=spec.files(given))
        options = InjectOptions(
            decoder=chosen, checked=checked, on_existing=on_existing, follow_updates=follow, layer_id=layer_id
        )
        plan = injection.plan(given, source, options)
        with (
            open_output(output, force=force, inputs=[stream]) as file,
            writing(fspath(output), file, source) as out,
        ):
            return injection.inject(source, plan, out)


def _specification(given: File | Mapping[str, Any]) -> Spec:
    if isinstance(given, Mapping):
        return spec.check(Spec(given, None, Path()))
    return spec.read(Path(given))


def apply(
    stream: File,
    *,
    models: File | None = None,
    model_map: Mapping[str, File] | None = None,
    engine: str = "auto",
    device: str = "auto",
    threads: int = 0,
    precision: Precision = "f32",
    deterministic: bool = False,
    patch: tuple[int, int] | None = None,
    out_bit_depth: int | None = None,
    layer_id: int = 0,
    check_hashes: bool = True,
    keep_going: bool = False,
    skip_failures: bool = False,
    codec: Codec | None = None,
) -> Iterator[Shown]:
    """Decode a stream and filter its pictures as its messages say (H.274 8.28), in output order.

    Decoding and filtering go on a few pictures ahead of the loop; a loop that is left early ends them.

    Args:
        stream: file to read.
        models: folder of the filters that messages name by URI; None: that of the stream. Nothing outside is read.
        model_map: files for URIs.
        engine: openvino, torch, onnxruntime, or auto.
        device: cpu, cuda, cuda:1, mps, a device of OpenVINO, or auto.
        threads: of the CPU; 0: all cores.
        precision: of float networks: f32; bf16 is faster on some machines, and less exact; auto: the device's own.
        deterministic: the same samples in every run on this machine, for any number of threads.
        patch: (columns, rows) of a patch, where the message leaves it free.
        out_bit_depth: of the pictures, where the messages leave it.
        layer_id: nuh_layer_id of the pictures.
        check_hashes: hold decoded pictures against the decoded picture hash SEI where the stream has it.
        keep_going: take what the decoder gives of a damaged stream; what is wrong stands in `record.faults`.
        skip_failures: show a picture as decoded where its filter cannot be had or run, and say so in its record.
        codec: None: by the file's name, else by its first NAL units.

    Yields:
        For each picture `frame` (as it is to be shown), `decoded` (before the filter) and `record` (POC, what was
        applied, why something was not). `frame.planes` are NumPy arrays of (rows, columns): Y, Cb, Cr, or Y alone;
        uint8 at 8 bits, uint16 above. They stay valid; nobody may write into them. `to_torch` makes tensors of them,
        `nnpf.to_rgb` a picture to look at.

    Raises:
        NnpfError: the decoder fails, its pictures are not those of the stream, or a filter cannot be had or run.
        VseiError: the headers of the stream are broken.
    """
    from nnpf import runner
    from nnpf.sources import ModelSources

    root = Path(stream).parent if models is None else Path(models)
    options = runner.ApplyOptions(
        sources=ModelSources(root, {uri: Path(path) for uri, path in (model_map or {}).items()}),
        engine=engine,
        device=device,
        threads=threads,
        precision=precision,
        deterministic=deterministic,
        patch=patch,
        out_bit_depth=out_bit_depth,
        layer_id=layer_id,
        check_hashes=check_hashes,
        keep_going=keep_going,
        skip_failures=skip_failures,
    )
    with open_stream(stream, codec) as source, runner.apply(source.nal_units(), source.codec, options) as shown:
        yield from shown


def to_torch(frame: Frame, device: str | torch.device = "cpu") -> tuple[torch.Tensor, ...]:
    """The planes of a picture as torch tensors: float32, (1, 1, rows, columns), samples divided by (1 << bitDepth) - 1,
    which is what H.274 8.28 calls InpScaled.

    Args:
        frame: a picture with one plane (4:0:0) or three.
        device: where the tensors are to be.
    """
    import numpy as np
    import torch

    return tuple(
        torch.from_numpy(plane.astype(np.float32) / np.float32((1 << depth) - 1))[None, None].to(device)
        for plane, depth in zip(frame.planes, frame.format.bit_depths, strict=True)
    )


def fit_update(
    stream: File,
    *,
    original: File,
    base: File,
    segment: str = "clip",
    params: str = "auto",
    budget: int | None = None,
    steps: int = DEFAULT_STEPS,
    seed: int = 0,
    slope: float | None = None,
    device: str = "auto",
    threads: int = 1,
    original_depth: int | None = None,
    nnpfc_id: int = 1,
    elements: Mapping[str, int] | None = None,
    codec: Codec | None = None,
    tell: Callable[[Progress], None] = lambda _: None,
) -> Fitted:
    """Fine-tune an update of a base filter on a clip, and code it (ISO/IEC 15938-17), where it pays. Needs torch.

    Args:
        stream: file of the coded clip.
        original: the clip before coding: .yuv, .y4m, or any video file.
        base: base filter, .onnx (best out of `nnpf prepare`) or .nnc.
        segment: what gets an update of its own: the clip, "ras" (each random access segment), or a number of pictures.
        params: what may change: multipliers, biases, last (last:2 ...), all, several joined by +, or auto.
        budget: bytes that an update has at most.
        steps: of gradient descent, for a segment.
        seed: of all that is random.
        slope: dB of 6:1:1 PSNR for each factor e of rate, which is what bytes cost; None: by the QP.
        device, threads: of torch.
        original_depth: bit depth of a raw .yuv original.
        nnpfc_id: of the filter, for the specification.
        elements: of the base's NNPFC message, by the standard's names.
        codec: None: by the file's name, else by its first NAL units.
        tell: called as the fit goes on.

    Returns:
        A result for each segment; `save` writes the updates and the specification that `inject` takes.

    Raises:
        NnpfError: the filter cannot be adapted, or the original is not that of the stream.
    """
    from nnpf.adapt.adaptation import AdaptOptions
    from nnpf.adapt.fitted import fit, load_base_filter

    options = AdaptOptions(
        params=params, budget=budget, steps=steps, seed=seed, slope=slope, device=device, threads=threads
    )
    with open_stream(stream, codec) as source:
        return fit(
            source.nal_units,
            source.codec,
            Path(original),
            load_base_filter(Path(base), nnpfc_id, elements),
            options,
            division=segment,
            original_depth=original_depth,
            tell=tell,
        )
