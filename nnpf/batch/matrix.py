"""The matrix file of `nnpf batch` (YAML): sequences, rate points and filters; every combination is a cell.

    sequences:
      - {name: bbb, class: animation, original: bbb.mkv, stream: "bbb_q{point}.266", fps: 30}
    points: [22, 27, 32, 37, 42]
    filters:
      - {name: unfiltered}
      - {name: small, base: small.onnx}
      - {name: fitted, base: small.onnx, adapt: {steps: 400}}
    evaluate: {messages_every: 10}

SCHEMA is the JSON Schema of it. Files are named relative to the matrix file. `{NAME}` stands for the value of a
variable: `point`, `sequence`, `filter`, and every key of the cell's sequence and filter.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nnpf import yaml_document
from nnpf.errors import NnpfError
from nnpf.yaml_document import Document, KeyPath

_SCALAR = {"type": ["string", "number", "boolean"]}
_NAME = {"type": "string", "minLength": 1, "maxLength": 200}
_OPTIONS = {
    "type": "object",
    "propertyNames": {"pattern": "^[a-z][a-z0-9_]*$"},
    "additionalProperties": {"anyOf": [_SCALAR, {"type": "array", "items": _SCALAR}]},
}
SCHEMA: dict[str, Any] = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "title": "Matrix of nnpf batch",
    "type": "object",
    "additionalProperties": False,
    "required": ["sequences", "points", "filters"],
    "properties": {
        "sequences": {
            "type": "array",
            "minItems": 1,
            "items": {
                "type": "object",
                "required": ["name", "original"],
                "additionalProperties": _SCALAR,
                "properties": {
                    "name": _NAME,
                    "class": {**_NAME, "description": "BD-rates are averaged over the sequences of a class"},
                    "original": {"type": "string", "description": "uncompressed or lossless video"},
                    "stream": {"type": "string", "description": "coded stream; {point} in it is the rate point"},
                    "fps": {"type": ["string", "number"], "description": "pictures per second"},
                },
            },
        },
        "points": {"type": "array", "minItems": 1, "uniqueItems": True, "items": {"type": ["string", "number"]}},
        "filters": {
            "type": "array",
            "minItems": 1,
            "items": {
                "type": "object",
                "required": ["name"],
                "additionalProperties": _SCALAR,
                "properties": {
                    "name": _NAME,
                    "base": {"type": "string", "description": "base filter (.onnx, .nnc), put in and activated"},
                    "spec": {"type": "string", "description": "specification file of nnpf inject"},
                    "adapt": {**_OPTIONS, "description": "fit an update of the base: options of nnpf adapt"},
                },
                "dependentRequired": {"adapt": ["base"]},
                "not": {"required": ["base", "spec"]},
            },
        },
        "steps": {
            "type": "array",
            "description": "commands of your own that come first in each cell, as an encoder",
            "items": {
                "type": "object",
                "required": ["name", "run", "output", "gives"],
                "additionalProperties": False,
                "properties": {
                    "name": {"type": "string", "pattern": "^[a-z][a-z0-9_-]*$"},
                    "run": {
                        "description": "{output} is the file to write; a text is split as a shell does it",
                        "anyOf": [{"type": "string"}, {"type": "array", "items": _SCALAR}],
                        "minLength": 1,
                        "minItems": 1,
                    },
                    "output": {"type": "string", "pattern": "^[A-Za-z0-9_][A-Za-z0-9_.-]*$"},
                    "gives": {"type": "string", "pattern": "^[a-z][a-z0-9_]*$", "description": "the variable it sets"},
                },
            },
        },
        "evaluate": {**_OPTIONS, "description": "options of nnpf eval"},
        "anchor": {"type": "string", "description": "the filter to compare with; default: the decoded pictures"},
    },
}  # fmt: skip

_VARIABLE = re.compile(r"\{([a-z][a-z0-9_]*)\}")
# Keys of sequences and filters whose values name files, relative to the matrix file.
FILES = ("original", "stream", "base", "spec")


@dataclass(frozen=True, slots=True)
class Step:
    """A command of a cell.

    Attributes:
        run: its words; `{NAME}` is the value of a variable, `{output}` the file to write, `{folder}` a folder for more.
        output: the name of the file that must be there when it is done.
        gives: the variable that holds the output's path for the steps that follow.
    """

    name: str
    run: tuple[str, ...]
    output: str
    gives: str


@dataclass(frozen=True, slots=True)
class Cell:
    """One sequence at one rate point with one filter.

    Attributes:
        group: the class of the sequence; "" where it has none.
        variables: what `{NAME}` stands for. Those in FILES are absolute paths.
        adapt: options of `nnpf adapt`; None where no update is fitted.
    """

    sequence: str
    group: str
    point: str
    filter: str
    variables: Mapping[str, str]
    adapt: Mapping[str, Any] | None


@dataclass(frozen=True, slots=True)
class Matrix:
    """All that is to be done, in the order of the file.

    Attributes:
        anchor: the name of a filter; None: the decoded pictures.
        evaluate: options of `nnpf eval`.
        steps: of every cell, before what the filter asks for.
    """

    sequences: tuple[str, ...]
    points: tuple[str, ...]
    filters: tuple[str, ...]
    cells: tuple[Cell, ...]
    steps: tuple[Step, ...]
    evaluate: Mapping[str, Any]
    anchor: str | None
    folder: Path


def read(path: Path) -> Matrix:
    """Read a matrix file.

    Raises:
        NnpfError: it is no matrix; the text names line and key.
        OSError: it cannot be read.
    """
    return _matrix(yaml_document.read(path, SCHEMA))


def _matrix(document: Document) -> Matrix:
    data = document.data
    for kind in ("sequences", "filters", "steps"):
        _unique(document, kind)
    points = tuple(_text(point) for point in data["points"])
    anchor = data.get("anchor")
    filters = tuple(entry["name"] for entry in data["filters"])
    if anchor is not None and anchor not in filters:
        raise document.error(["anchor"], f"{anchor}: no filter has this name")
    steps = tuple(_step(document, at) for at in range(len(data.get("steps", ()))))
    given = {step.gives for step in steps}
    cells = []
    for i, sequence in enumerate(data["sequences"]):
        if "stream" not in sequence and "stream" not in given:
            raise document.error(["sequences", i], "has no stream, and no step gives one")
        for point in points:
            for j, chosen in enumerate(data["filters"]):
                cells.append(_cell(document, (i, sequence), point, (j, chosen)))
    names = tuple(sequence["name"] for sequence in data["sequences"])
    folder = document.folder.resolve()
    return Matrix(names, points, filters, tuple(cells), steps, data.get("evaluate", {}), anchor, folder)


def _unique(document: Document, kind: str) -> None:
    seen: set[str] = set()
    for at, entry in enumerate(document.data.get(kind, ())):
        if entry["name"] in seen:
            raise document.error([kind, at, "name"], f"{entry['name']}: twice")
        seen.add(entry["name"])


def _step(document: Document, at: int) -> Step:
    import shlex

    path: KeyPath = ("steps", at, "run")
    entry = document.data["steps"][at]
    run = entry["run"]
    try:
        words = shlex.split(run) if isinstance(run, str) else [_text(word) for word in run]
    except ValueError as error:
        raise document.error(path, str(error)) from None
    if not any("{output}" in word for word in words):
        raise document.error(path, "does not say where {output} goes")
    return Step(entry["name"], tuple(words), entry["output"], entry["gives"])


def _cell(
    document: Document, sequence: tuple[int, Mapping[str, Any]], point: str, chosen: tuple[int, Mapping[str, Any]]
) -> Cell:
    variables = {"point": point, "sequence": sequence[1]["name"], "filter": chosen[1]["name"]}
    for kind, (at, entry) in (("sequences", sequence), ("filters", chosen)):
        for key, value in entry.items():
            if key in ("name", "adapt"):
                continue
            path: KeyPath = (kind, at, key)
            if key in variables:
                raise document.error(path, f"{key} has a value already")
            variables[key] = expand(_text(value), variables, lambda problem, path=path: document.error(path, problem))
    folder = document.folder.resolve()
    variables |= {key: str(folder / variables[key]) for key in FILES if key in variables}
    return Cell(
        variables["sequence"], variables.get("class", ""), point, variables["filter"], variables, chosen[1].get("adapt")
    )


def expand(text: str, variables: Mapping[str, str], error: Any = NnpfError) -> str:
    """The text with `{NAME}` replaced. `error` makes the exception for a name that is no variable."""

    def value(found: re.Match[str]) -> str:
        try:
            return variables[found[1]]
        except KeyError:
            raise error(f"{found[0]}: no such variable; there are {', '.join(sorted(variables))}") from None

    return _VARIABLE.sub(value, text)


def options(given: Mapping[str, Any]) -> Iterator[str]:
    """Command line options: `{messages_every: 10, no_ssim: true}` is `--messages-every 10 --no-ssim`."""
    for key, value in given.items():
        name = f"--{key.replace('_', '-')}"
        if value is True:
            yield name
        elif value is not False:
            values: Sequence[Any] = value if isinstance(value, list) else [value]
            for one in values:
                yield from (name, _text(one))


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return f"{value:.12g}" if isinstance(value, float) else str(value)
