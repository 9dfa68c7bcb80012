"""The files that a report names: where they are now, and whether they are still what they were."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from nnpf.provenance import FileFacts, file_facts
from nnpf.report.model import FileNote


@dataclass(frozen=True, slots=True)
class Located:
    """A file to use, or None, and what to say of it. `problem`: why it is not used, or how it differs."""

    path: Path | None
    note: FileNote
    problem: str | None = None


def locate(role: str, named: str, facts: FileFacts | None, folder: Path, given: Sequence[Path] = ()) -> Located:
    """Find a file.

    Args:
        named: its path as the report has it, from the folder where the command ran.
        facts: what it was then; None: the report does not say.
        folder: of the report.
        given: files that the user names, which come first. One that has the file's name is used even if it is not what
            it was; the page says so.
    """
    name = Path(named).name
    ours = [path for path in given if path.name == name or (facts is not None and _is(path, facts))]
    for path in ours:
        problem = None
        if facts is not None and not _is(path, facts):
            problem = f"{path} is not the {role} that the report was made from: size or SHA-256 differ"
        return Located(path, _note(role, path, facts, problem), problem)
    changed: Path | None = None
    for path in dict.fromkeys((Path(named), folder / named, folder / name)):
        if not path.is_file():
            continue
        if facts is None or _is(path, facts):
            return Located(path, _note(role, path, facts, None))
        changed = changed or path
    if changed is not None:
        problem = f"{changed} has changed since the report was made (SHA-256), and is not used"
        return Located(None, _note(role, changed, facts, problem), problem)
    size, digest = (None, None) if facts is None else (facts.bytes, facts.sha256)
    missing = FileNote(role, named, size, digest, "not found")
    return Located(None, missing, f"{named} ({role}) is not there")


def _is(path: Path, facts: FileFacts) -> bool:
    if not path.is_file() or path.stat().st_size != facts.bytes:
        return False
    found = file_facts(path)
    return found is not None and found.sha256 == facts.sha256


def _note(role: str, path: Path, facts: FileFacts | None, problem: str | None) -> FileNote:
    if facts is None:
        return FileNote(role, str(path), path.stat().st_size, None, "read")
    return FileNote(role, str(path), facts.bytes, facts.sha256, "unchanged" if problem is None else "changed")
