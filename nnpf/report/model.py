"""What a page shows, put together; `page` makes HTML of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from nnpf.report.documents import Adaptation, Delta, Run
from nnpf.report.stream import StreamFacts
from nnpf.report.views import View, Window

FileState = Literal["unchanged", "read", "changed", "not found"]


@dataclass(frozen=True, slots=True)
class FileNote:
    """A file that the page was made from.

    Attributes:
        path: as it was found, or as the report names it.
        state: "unchanged": it has the size and hash that the report gives; "read": no report says what it should be.
    """

    role: str
    path: str
    bytes: int | None
    sha256: str | None
    state: FileState


@dataclass(frozen=True, slots=True, kw_only=True)
class Chapter:
    """One stream.

    Attributes:
        facts: what the bitstream says; None where it could not be read.
        views: pictures to look at; `window`: the part of them that is shown, None is all.
        missing: what is not there, and why.
    """

    run: Run
    facts: StreamFacts | None = None
    views: Sequence[View] = ()
    window: Window | None = None
    files: Sequence[FileNote] = ()
    missing: Sequence[str] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """The whole page.

    Attributes:
        rate_unit, deltas, bd_problem, findings: as in `nnpf.report.documents.Document`.
        environments: by the command that reported them.
        command: with which the page was made; `made`: when.
    """

    title: str
    chapters: Sequence[Chapter]
    rate_unit: str | None = None
    deltas: Sequence[Delta] = ()
    bd_problem: str | None = None
    findings: Sequence[str] = ()
    adaptations: Sequence[Adaptation] = ()
    environments: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    command: str = ""
    made: str = ""
    version: str = ""
