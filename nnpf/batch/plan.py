"""Jobs of a matrix: each command once, whatever number of cells need it, under a key made of all that it depends on."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from nnpf.batch.job import OWN_FOLDER, Job
from nnpf.batch.matrix import FILES, Cell, Matrix, Step, expand, options
from nnpf.errors import NnpfError

EVALUATION = "evaluation.json"
_CHUNK = 1 << 20


@dataclass(frozen=True, slots=True)
class Program:
    """What a name at the start of a command stands for.

    Attributes:
        identity: another text for each version of the program.
    """

    argv: tuple[str, ...]
    identity: str


@dataclass(frozen=True, slots=True)
class Planned:
    """A cell and its last job, which measures.

    Attributes:
        job: None where the cell cannot be run; `problem` says why.
    """

    cell: Cell
    job: Job | None
    problem: str | None


@dataclass(frozen=True, slots=True)
class Plan:
    """Attributes:
    jobs: by key; a job comes after those that it needs.
    """

    cells: tuple[Planned, ...]
    jobs: Mapping[str, Job]


class FileHashes:
    """SHA-256 of files, kept over runs by path, size and time of change."""

    def __init__(self, known: Mapping[str, list[str | int]] | None = None) -> None:
        self.known: dict[str, list[str | int]] = dict(known or {})

    def of(self, path: Path) -> str:
        stat = path.stat()
        found = self.known.get(str(path))
        if found is None or found[:2] != [stat.st_size, stat.st_mtime_ns]:
            with path.open("rb") as file:
                found = [stat.st_size, stat.st_mtime_ns, hashlib.file_digest(file, "sha256").hexdigest()]
            self.known[str(path)] = found
        return str(found[2])


def plan(matrix: Matrix, root: Path, hashes: FileHashes, programs: Mapping[str, Program]) -> Plan:
    """The jobs of a matrix. A cell whose files are missing has a problem instead; the others are not concerned.

    Args:
        root: absolute; where results are kept.
        programs: by name; `nnpf` is one of them. Others are looked for beside the matrix file and on the PATH.
    """
    jobs: dict[str, Job] = {}
    cells = []
    for cell in matrix.cells:
        try:
            cells.append(Planned(cell, _chain(matrix, cell, root, hashes, programs, jobs), None))
        except NnpfError as error:
            cells.append(Planned(cell, None, str(error)))
        except OSError as error:
            cells.append(Planned(cell, None, f"{error.filename}: {error.strerror}"))
    return Plan(tuple(cells), jobs)


def _chain(
    matrix: Matrix, cell: Cell, root: Path, hashes: FileHashes, programs: Mapping[str, Program], jobs: dict[str, Job]
) -> Job:
    """The jobs of a cell, put into `jobs`; the last one measures."""
    paths = dict(cell.variables)
    # What the variables stand for, said without where it lies.
    contents = {name: _content(name, value, hashes) for name, value in paths.items()}
    for at, (uri, model) in enumerate(_models(paths)):
        paths[f"uri{at}"] = contents[f"uri{at}"] = uri
        paths[f"model{at}"], contents[f"model{at}"] = str(model), hashes.of(model)
    made: dict[str, Job] = {}  # by the variable that it gives
    job: Job | None = None
    for step in _steps(matrix, cell, paths):
        needs = tuple(made[name] for name in made if any(f"{{{name}}}" in word for word in step.run))
        argv, identity = _command(step, paths, contents, matrix.folder, hashes, programs)
        text = json.dumps([step.name, step.output, identity, [need.key for need in needs]])
        key = hashlib.sha256(text.encode()).hexdigest()
        job = jobs.setdefault(key, Job(key, step.name, argv, step.output, tuple(need.key for need in needs)))
        made[step.gives] = job
        paths[step.gives] = str(job.folder(root) / step.output)
        contents[step.gives] = f"{key}/{step.output}"
    assert job is not None  # every cell is measured
    return job


def _steps(matrix: Matrix, cell: Cell, paths: Mapping[str, str]) -> Iterator[Step]:
    """The commands of a cell: those of the matrix, then what its filter asks for, then the measurement.

    `paths` grows as steps are made.
    """
    yield from matrix.steps
    filtered = "filtered" + Path(paths["stream"]).suffix
    if cell.adapt is not None:
        run = ["nnpf", "adapt", "{stream}", "--original", "{original}", "--base", "{base}", "-o", "{folder}/update.nnc"]
        run += ["--report", "{folder}/report.json", "--quiet", *options(cell.adapt)]
        yield Step("adapt", tuple(run), "update.yaml", "spec")
    if "spec" in paths:
        yield Step("inject", ("nnpf", "inject", "{stream}", "{spec}", "-q", "-o", "{output}"), filtered, "stream")
    elif "base" in paths:
        run = ["nnpf", "inject", "{stream}", "--base", "{base}", "-q", "-o", "{output}"]
        yield Step("inject", tuple(run), filtered, "stream")
    run = ["nnpf", "eval", "{stream}", "--original", "{original}", "--json", "-q"]
    if "fps" in paths:
        run += ["--fps", "{fps}"]
    for at in range(len(paths)):
        if f"model{at}" in paths:
            run += ["--model-map", f"{{uri{at}}}={{model{at}}}"]
    # One thread: there are as many workers as cores.
    yield Step("evaluate", (*run, *options({"threads": 1, **matrix.evaluate})), EVALUATION, "evaluation")


def _models(paths: Mapping[str, str]) -> Iterator[tuple[str, Path]]:
    """The models that messages will name, and how: the stream is written elsewhere than where they are."""
    from nnpf import spec

    if "base" in paths:
        yield spec.local_uri(Path(paths["base"]).name), Path(paths["base"])
    elif "spec" in paths:
        given = spec.read(Path(paths["spec"]))
        for entry in given.data.get("filters", ()):
            if entry.get("base", "").endswith(spec.MODEL_SUFFIXES):
                model = given.folder / entry["base"]
                yield entry.get("uri", spec.local_uri(model.name)), model


def _command(
    step: Step,
    paths: Mapping[str, str],
    contents: Mapping[str, str],
    folder: Path,
    hashes: FileHashes,
    programs: Mapping[str, Program],
) -> tuple[tuple[str, ...], list[str]]:
    """The command of a step, and the same with contents in place of paths."""
    own = {"folder": OWN_FOLDER, "output": f"{OWN_FOLDER}/{step.output}"}
    argv = [expand(word, {**paths, **own}) for word in step.run]
    identity = [expand(word, {**contents, **own}) for word in step.run]
    for at, word in enumerate(step.run):
        if at and word and "{" not in word and (folder / word).is_file():  # a file that the command itself names
            argv[at], identity[at] = str(folder / word), hashes.of(folder / word)
    program = programs.get(argv[0]) or _program(argv[0], folder, hashes)
    return (*program.argv, *argv[1:]), [program.identity, *identity[1:]]


def _content(name: str, value: str, hashes: FileHashes) -> str:
    if name not in FILES:
        return value
    path = Path(value)
    if name != "spec":
        return hashes.of(path)
    # A specification names more files.
    from nnpf import spec

    files = [path, *_named_files(spec.read(path).data, path.parent)]
    return " ".join(hashes.of(file) for file in files)


def _named_files(data: object, folder: Path) -> Iterator[Path]:
    if isinstance(data, str):
        path = folder / data
        if len(data) < 4096 and "\0" not in data and data and path.is_file():
            yield path
    elif isinstance(data, Mapping):
        for value in data.values():
            yield from _named_files(value, folder)
    elif isinstance(data, list):
        for value in data:
            yield from _named_files(value, folder)


def _program(name: str, folder: Path, hashes: FileHashes) -> Program:
    local = folder / name
    found = str(local) if "/" in name and local.is_file() else shutil.which(name)
    if found is None:
        raise NnpfError("no such program", subject=name)
    return Program((found,), hashes.of(Path(found)))
