"""Updates for a clip, from the files of the clip and of the base filter to files that `nnpf inject` takes."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

import yaml

from nnpf import describe, sources
from nnpf.adapt.adaptation import AdaptOptions, Progress, SegmentResult, adapt_segment
from nnpf.adapt.clip import Segment, read_clip, segments
from nnpf.adapt.placement import specification
from nnpf.errors import NnpfError
from nnpf.outputs import check_output, open_output
from nnpf.sources import Base
from vsei.annexb import NalUnit
from vsei.messages import NnpfCharacteristics
from vsei.messages.nnpf import MODE_NNC, MODE_URI
from vsei.nal import Codec


@dataclass(frozen=True, slots=True)
class BaseFilter:
    """The base filter of an adaptation. `elements`: of its NNPFC message, beside those that follow from the model."""

    path: Path
    nnpfc_id: int
    elements: Mapping[str, int]
    base: Base
    message: NnpfCharacteristics


def load_base_filter(path: Path, nnpfc_id: int = 1, elements: Mapping[str, int] | None = None) -> BaseFilter:
    """A base filter out of a .onnx or .nnc file, with the NNPFC message that it gets.

    Raises:
        NnpfError: it cannot be read, or the message cannot be what the elements say.
    """
    identity: dict[str, Any] = {"nnpfc_id": nnpfc_id, "nnpfc_base_flag": 1}
    if path.suffix == ".nnc":
        identity |= {"nnpfc_mode_idc": MODE_NNC, "nnpfc_payload": path.read_bytes()}
    else:
        identity |= {"nnpfc_mode_idc": MODE_URI, "nnpfc_tag_uri": describe.ONNX_TAG, "nnpfc_uri": path.name}
    plain = describe.characteristics(identity, None, {})
    base = sources.load_base(plain, sources.ModelSources(None, {path.name: path}))
    given = dict(elements or {})
    return BaseFilter(path, nnpfc_id, given, base, describe.characteristics(identity, base.model, given))


def update_files(update: Path, division: str, count: int) -> list[Path]:
    """The file of each segment's update: UPDATE.nnc for a whole clip, else UPDATE_0.nnc and so on."""
    if division == "clip":
        return [update]
    return [update.with_name(f"{update.stem}_{at}{update.suffix}") for at in range(count)]


def adapted(
    nal_units: Iterable[NalUnit],
    codec: Codec,
    parts: Sequence[Segment],
    original: Path,
    base: BaseFilter,
    options: AdaptOptions,
    *,
    original_depth: int | None = None,
    tell: Callable[[Progress], None] = lambda _: None,
) -> Iterator[SegmentResult]:
    """Segment by segment what `adapt_segment` finds. Raises what `read_clip` and `adapt_segment` raise."""
    for part, pictures in read_clip(nal_units, codec, original, parts, original_depth=original_depth):
        yield adapt_segment(base.base, base.message, part, pictures, options, codec=codec, tell=tell)


@dataclass(frozen=True, slots=True)
class Fitted:
    """The updates of a clip.

    Attributes:
        base: what they are relative to.
        division: how the clip is divided, as for `nnpf.adapt.clip.segments`.
        results: for each segment, in output order. `payload` is the update (NNC), None where none pays.
    """

    base: BaseFilter
    division: str
    results: Sequence[SegmentResult]

    def save(self, update: str | PathLike[str], *, force: bool = False) -> list[Path | None]:
        """Write the updates (see `update_files`), and beside them UPDATE.yaml, the specification that puts base,
        updates and activations into the stream.

        Args:
            update: a name that ends in .nnc.
            force: replace files that exist.

        Returns:
            The file of each segment's update; None where it has none.

        Raises:
            OutputError: a file exists.
            NnpfError: the name is that of no update.
        """
        path = Path(update)
        if path.suffix != ".nnc":
            raise NnpfError("an update is a .nnc file", subject=str(path))
        names = update_files(path, self.division, len(self.results))
        beside = path.with_suffix(".yaml")
        written = [name if r.payload is not None else None for name, r in zip(names, self.results, strict=True)]
        for name in (*written, beside):
            if name is not None:
                check_output(name, force=force)
        for name, result in zip(written, self.results, strict=True):
            if name is not None and result.payload is not None:
                with open_output(name, force=force) as file:
                    file.write(result.payload)
        data = specification(
            self.results,
            [None if name is None else name.name for name in written],
            nnpfc_id=self.base.nnpfc_id,
            base=Path(os.path.relpath(self.base.path, path.parent)).as_posix(),
            elements=dict(self.base.elements),
        )
        with open_output(beside, force=force) as file:
            file.write(yaml.safe_dump(data, sort_keys=False).encode())
        return written


def fit(
    read: Callable[[], Iterable[NalUnit]],
    codec: Codec,
    original: Path,
    base: BaseFilter,
    options: AdaptOptions,
    *,
    division: str = "clip",
    original_depth: int | None = None,
    tell: Callable[[Progress], None] = lambda _: None,
) -> Fitted:
    """Fit the updates of a clip.

    Args:
        read: gives the NAL units of the stream, from its start; called twice.
        original: the clip before coding.
        division: how the clip is divided, as for `nnpf.adapt.clip.segments`.

    Raises:
        VseiError: the stream is broken.
        NnpfError: the filter cannot be adapted, or the original is not that of the stream.
    """
    parts = segments(read(), codec, division)
    found = adapted(read(), codec, parts, original, base, options, original_depth=original_depth, tell=tell)
    return Fitted(base, division, list(found))
