"""YAML files that people write: read with limits, checked against a JSON Schema, errors with line and key."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from nnpf import limits
from nnpf.errors import NnpfError

KeyPath = tuple[str | int, ...]


class DocumentError(NnpfError):
    """Something in a document is wrong; the text names the line and the key.

    Attributes:
        path: the file; None where there is none.
    """

    def __init__(self, problem: str, path: str | None) -> None:
        super().__init__(problem)
        self.path = path


@dataclass(frozen=True, slots=True)
class Document:
    """A YAML file: plain data as in the file, and where each part of it stands.

    Attributes:
        data: conforms to its schema.
        name: of the file, for errors; None where the data come from elsewhere.
        folder: what file names are relative to.
        lines: 1-based line of each key or list item, by its path.
        labels: what parts of it are called, by their path, where the user gave them in another way.
    """

    data: Mapping[str, Any]
    name: str | None
    folder: Path
    lines: Mapping[KeyPath, int] = field(default_factory=dict)
    labels: Mapping[KeyPath, str] = field(default_factory=dict)

    def where(self, path: Sequence[str | int]) -> str:
        """`line 3: filters[0].nnpfc: `, as errors begin."""
        known = tuple(path)
        while known and known not in self.labels:
            known = known[:-1]
        label = self.labels.get(known, "")
        rest = "".join(f"[{p}]" if isinstance(p, int) else f".{p}" for p in path[len(known) :])
        key = label + (rest.lstrip(".") if label.endswith(" ") else rest)
        at = tuple(path)
        while at and at not in self.lines:
            at = at[:-1]
        line = f"line {self.lines[at]}: " if at in self.lines else ""
        return f"{line}{key.lstrip('.').rstrip()}: " if key else line

    def error(self, path: Sequence[str | int], problem: str) -> DocumentError:
        """The error that names the line and the key of `path`."""
        return DocumentError(self.where(path) + problem, self.name)


def read(path: Path, schema: Mapping[str, Any]) -> Document:
    """Read a file, which file names in it are relative to. As `load`; OSError where it cannot be read."""
    with path.open("rb") as file:
        data = limits.read(file, "spec_bytes")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DocumentError(f"is no UTF-8 text at byte {error.start}", str(path)) from None
    return load(text, str(path), path.parent, schema)


def load(text: str, name: str, folder: Path, schema: Mapping[str, Any]) -> Document:
    """Read a document.

    Raises:
        DocumentError: not YAML, or not what `schema` says; the text names the line and the key.
    """
    if len(text) > (allowed := limits.current().spec_bytes):
        raise DocumentError(f"more than {allowed} bytes (--set-limit spec_bytes=N)", name)
    loader = yaml.CSafeLoader(text)
    try:
        root = loader.get_single_node()
        if root is not None:
            _check_nodes(root, name)
        data = None if root is None else loader.construct_document(root)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        raise DocumentError(f"line {mark.line + 1 if mark else '?'}: {error.problem}", name) from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        if isinstance(error, DocumentError):
            raise
        raise DocumentError(f"is not YAML: {' '.join(str(error).split())}", name) from None
    finally:
        loader.dispose()
    return check(Document({} if data is None else data, name, folder, _Lines(root)), schema)


def check(document: Document, schema: Mapping[str, Any]) -> Document:
    """The same document, known to conform to `schema`."""
    import jsonschema

    # JSON has no integers, so that 1.0 is one to its schemas; it is none here.
    types = jsonschema.Draft202012Validator.TYPE_CHECKER.redefine(
        "integer", lambda _, value: isinstance(value, int) and not isinstance(value, bool)
    )
    strict: Any = jsonschema.validators.extend(  # type: ignore[no-untyped-call]
        jsonschema.Draft202012Validator, type_checker=types
    )
    error = jsonschema.exceptions.best_match(strict(schema).iter_errors(document.data))
    if error is not None:
        # (The best match may be what one of several forms asks for; a value that has none of them is told as it is.)
        while error.parent is not None and not isinstance(error.parent.instance, (dict, list)):
            error = error.parent
        raise document.error(list(error.absolute_path), _explained(error))
    return document


def _explained(error: Any) -> str:
    if error.validator in ("oneOf", "anyOf") and all("required" in option for option in error.validator_value):
        wanted = ", ".join(option["required"][0] for option in error.validator_value)
        return f"{'exactly' if error.validator == 'oneOf' else 'at least'} one of {wanted} is wanted"
    if error.validator == "anyOf":
        value = error.instance
        wanted = ": write 1 or 0" if isinstance(value, bool) else ""
        return f"{json.dumps(value, default=str)} is no value of an element{wanted}"
    return str(error.message)


def _check_nodes(root: yaml.Node, name: str) -> None:
    """DocumentError for what YAML allows and a document must not have: keys twice or that are no text, aliases that
    hold themselves or stand for endlessly much, endless nesting."""
    allowed = limits.current()
    sizes: dict[int, int] = {}  # of what has been looked at, aliases written out

    def size_of(node: yaml.Node, depth: int) -> int:
        known = sizes.get(id(node))
        if known is not None:
            if known < 0:
                raise _at_line(node, "an alias that holds itself", name)
            return known
        if depth > allowed.spec_depth:
            raise _at_line(node, f"nested more than {allowed.spec_depth} deep (--set-limit spec_depth=N)", name)
        sizes[id(node)] = -1
        size = 1
        if isinstance(node, yaml.MappingNode):
            seen: set[str] = set()
            for key, value in node.value:
                if not isinstance(key, yaml.ScalarNode) or key.tag != "tag:yaml.org,2002:str":
                    raise _at_line(key, "a key that is no text", name)
                if key.value in seen:
                    raise _at_line(key, f"{key.value}: twice", name)
                seen.add(key.value)
                size += size_of(value, depth + 1)
        elif isinstance(node, yaml.SequenceNode):
            size += sum(size_of(item, depth + 1) for item in node.value)
        if size > allowed.spec_values:
            raise _at_line(node, f"more than {allowed.spec_values} values (--set-limit spec_values=N)", name)
        sizes[id(node)] = size
        return size

    size_of(root, 0)


def _at_line(node: yaml.Node, problem: str, name: str) -> DocumentError:
    return DocumentError(f"line {node.start_mark.line + 1}: {problem}", name)


class _Lines(Mapping[KeyPath, int]):
    """Where each key and list item stands, looked up when an error asks."""

    def __init__(self, root: yaml.Node | None) -> None:
        self._root = root

    def __getitem__(self, path: KeyPath) -> int:
        node, line = self._root, 0
        if node is None:
            raise KeyError(path)
        line = node.start_mark.line
        for step in path:
            found = None
            if isinstance(node, yaml.MappingNode):
                found = next(((k.start_mark.line, v) for k, v in node.value if k.value == step), None)
            elif isinstance(node, yaml.SequenceNode) and isinstance(step, int) and step < len(node.value):
                found = node.value[step].start_mark.line, node.value[step]
            if found is None:
                raise KeyError(path)
            line, node = found
        return int(line) + 1

    def __iter__(self) -> Iterator[KeyPath]:
        return iter(())

    def __len__(self) -> int:
        return 0
