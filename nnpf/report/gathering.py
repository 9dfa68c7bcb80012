"""The chapter of one stream, from whatever is there of it: what is missing is said, and the rest is shown."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Protocol

from nnpf.errors import NnpfError
from nnpf.frames import Frame
from nnpf.provenance import file_facts
from nnpf.report import views
from nnpf.report.documents import Run, at
from nnpf.report.files import locate
from nnpf.report.model import Chapter, FileNote
from nnpf.report.stream import StreamFacts, read_stream
from nnpf.report.views import Taken, View, Window
from nnpf.runner import ApplyOptions, apply
from vsei.annexb import NalUnit
from vsei.errors import VseiError
from vsei.nal import Codec

# Differences of PSNR (dB) up to here come from the arithmetic of another machine.
SAME_DB = 0.002


class Stream(Protocol):
    """What `nnpf.opening.open_stream` gives."""

    @property
    def codec(self) -> Codec: ...

    def nal_units(self) -> Iterator[NalUnit]:
        """From the start, each time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What the user asks for.

    Attributes:
        open_stream, options: how streams are opened and filtered.
        streams: files that may be the streams of runs.
        original, filtered: files that come before those that a report names.
        pictures: output indices, or how many; None: as many as `default_pictures`.
        window: see `nnpf.report.views.take`.
    """

    open_stream: Callable[[Path], AbstractContextManager[Stream]]
    options: Callable[[Path], ApplyOptions]
    streams: Sequence[Path] = ()
    original: Path | None = None
    original_depth: int | None = None
    filtered: Path | None = None
    pictures: tuple[int, ...] | int | None = None
    default_pictures: int = views.DEFAULT_PICTURES
    window: Window | None = None
    whole: bool = False
    layer_id: int = 0


def is_of(path: Path, run: Run) -> bool:
    """Whether a file is the stream that a run is about: by its name or its hash."""
    if run.stream is not None and path.name == Path(run.stream).name:
        return True
    facts = run.inputs.get("stream")
    if facts is None or path.stat().st_size != facts.bytes:
        return False
    ours = file_facts(path)
    return ours is not None and ours.sha256 == facts.sha256


def chapter(run: Run, request: Request) -> Chapter:
    """Everything that can be had about a run."""
    missing: list[str] = []
    files: list[FileNote] = []

    def find(role: str, named: str | None, given: Sequence[Path]) -> Path | None:
        if named is None and not given:
            return None
        located = locate(role, named or str(given[0]), run.inputs.get(role), run.found_in, given)
        files.append(located.note)
        if located.problem is not None:
            missing.append(located.problem)
        return located.path

    stream = find("stream", run.stream, [path for path in request.streams if is_of(path, run)])
    original = find("original", run.original, [request.original] if request.original is not None else [])
    if stream is None and run.stream is None:
        missing.append("the stream came from a pipe: its messages are not shown; name it, too")
    facts = _facts(stream, request, missing) if stream is not None else None
    wanted = _wanted(run, facts, request, missing)
    found: list[View] = []
    window = request.window
    if wanted:
        found, window = _views(run, stream, original, wanted, request, missing)
        missing += _disagreements(run, found)
    return Chapter(run=run, facts=facts, views=found, window=window, files=files, missing=missing)


def _facts(stream: Path, request: Request, missing: list[str]) -> StreamFacts | None:
    try:
        with request.open_stream(stream) as source:
            return read_stream(source.nal_units, source.codec, layer_id=request.layer_id)
    except (VseiError, NnpfError, OSError) as error:
        missing.append(f"the stream cannot be read, so its messages are not shown: {error}")
        return None


def _wanted(run: Run, facts: StreamFacts | None, request: Request, missing: list[str]) -> dict[int, str]:
    """Which pictures to show, and why those."""
    if not isinstance(request.pictures, tuple):
        return views.choose(run.pictures, request.default_pictures if request.pictures is None else request.pictures)
    known = {p.output_index for p in (run.pictures or (facts.pictures if facts is not None else ()))}
    absent = [str(index) for index in request.pictures if index not in known]
    if absent:
        missing.append(f"there is no picture {', '.join(absent)}")
    return {index: "asked for" for index in request.pictures if index in known}


# --- pictures --------------------------------------------------------------------------------------------------------


def _views(
    run: Run, stream: Path | None, original: Path | None, wanted: dict[int, str], request: Request, missing: list[str]
) -> tuple[list[View], Window | None]:
    """Filtered again, unless a filtered video was given; where that fails, what `nnpf apply` wrote, if it is there."""
    written = Path(run.output) if run.output is not None else None
    ways: list[Path | None] = [request.filtered] if request.filtered is not None else []
    if not ways:
        ways += [None] if stream is not None else []
        ways += [p for p in ((written, run.found_in / written.name) if written else ()) if p.is_file()][:1]
    problems: list[str] = []
    for filtered in ways:
        try:
            with contextlib.closing(_pictures(stream, filtered, original, request)) as pictures:
                found = views.take(pictures, wanted, request.window, whole=request.whole)
        except (NnpfError, VseiError, OSError, RuntimeError) as error:
            problems.append(str(error))
            continue
        if problems:
            missing.append(f"the pictures are those of {filtered}: filtering again failed: {problems[0]}")
        lost = sorted(set(wanted) - {view.output_index for view in found[0]})
        if lost:
            missing.append(f"{filtered or stream} ends before picture {lost[0]}")
        return found
    reason = "; ".join(problems) or "neither the stream nor a filtered video is there"
    missing.append(f"no pictures to look at: {reason}")
    return [], request.window


def _pictures(
    stream: Path | None, filtered: Path | None, original: Path | None, request: Request
) -> Generator[Taken, None, None]:
    """Decoded, filtered and original pictures, in output order."""
    from nnpf.video import read_video

    with contextlib.ExitStack() as stack:
        if stream is None:
            assert filtered is not None
            pictures: Iterator[tuple[int, int, Frame | None, Frame]] = _only_filtered(filtered)
        else:
            source = stack.enter_context(request.open_stream(stream))
            if filtered is not None:
                pictures = _beside_decoded(source, filtered, request)
            else:
                shown = stack.enter_context(apply(source.nal_units(), source.codec, request.options(stream)))
                pictures = (
                    (s.record.output_index, s.record.poc, s.decoded, s.frame)
                    for s in shown
                    if s.record.kind in ("decoded", "filtered")
                )
        first = next(pictures, None)
        if first is None:
            return
        form = (first[2] or first[3]).format
        originals = None if original is None else read_video(original, form, request.original_depth)
        yield from views.with_originals(chain((first,), pictures), originals)


def _only_filtered(path: Path) -> Iterator[tuple[int, int, Frame | None, Frame]]:
    from nnpf.frames import Format
    from nnpf.video import read_video

    if path.suffix == ".yuv":
        raise NnpfError("a raw file does not say its size, and the stream is not there", subject=str(path))
    for index, frame in enumerate(read_video(path, Format(16, 16))):  # (of no meaning: the file says what it holds)
        yield index, index, None, frame


def _beside_decoded(source: Stream, path: Path, request: Request) -> Iterator[tuple[int, int, Frame | None, Frame]]:
    """The decoded pictures of a stream and the filtered ones of a file. Files with added pictures do not match."""
    from nnpf.intake import decoded_pictures
    from nnpf.video import read_video

    options = request.options(path)
    filtered: Iterator[Frame] | None = None
    decoded = decoded_pictures(
        source.nal_units(), source.codec, layer_id=request.layer_id, check_hashes=options.check_hashes
    )
    for item in decoded:
        if filtered is None:
            filtered = read_video(path, item.frame.format)
        frame = next(filtered, None)
        if frame is None:
            return
        yield item.output_index, item.picture.poc, item.frame, frame
    if filtered is not None and next(filtered, None) is not None:
        raise NnpfError("has more pictures than the stream", subject=str(path))


def _disagreements(run: Run, found: Sequence[View]) -> Iterator[str]:
    """Pictures that are not those of the report, by their PSNR."""
    known = {p.output_index: p for p in run.pictures}
    for view in found:
        result = known.get(view.output_index)
        if result is None:
            continue
        for source, quality in (("decoded", result.before), ("filtered", result.after)):
            if quality is None or source not in view.psnr:
                continue
            for component, ours in zip(("Y", "Cb", "Cr"), enumerate(view.psnr[source]), strict=False):
                index, value = ours
                theirs = at(quality.psnr, index)
                if theirs is None or value == theirs or abs(value - theirs) <= SAME_DB:
                    continue
                yield (
                    f"picture {view.output_index}, {source}, as shown has {component} PSNR {_db(value)}, and "
                    f"{_db(theirs)} in the report: other files, another filter or other software"
                )
                break


def _db(value: float) -> str:
    return f"{value:.3f} dB" if math.isfinite(value) else "without limit"
