"""The specification file of `nnpf inject` (YAML): which messages go to which pictures.

    filters:
      - id: 1
        base: filters/first.onnx        # .onnx is sent by URI, .nnc in the payload
        repeat: random_access           # where the base stands: random_access (default), clvs_start, first
        nnpfc: {nnpfc_padding_type: 1}  # elements of the message; the rest is derived from the model, or default
        updates:
          - payload: update.nnc
            at: poc:8,16
    activations:
      - target: 1
        at: segments                    # the default: what persists from there on holds for every picture
        nnpfa: {nnpfa_persistence_flag: 1}
    messages:                           # any message that is understood, element by element; or bytes
      - type: content_light_level_info
        at: first
        elements: {clli_max_content_light_level: 1000}

SCHEMA is the JSON Schema of it. Files are named relative to the specification file.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from nnpf import describe
from nnpf import model as models
from nnpf.errors import NnpfError
from vsei import messages, selection
from vsei.edit import Placement
from vsei.errors import VseiError
from vsei.messages import NnpfActivation, form, nnpf
from vsei.nal import Codec
from vsei.sei import SeiMessage
from vsei.selection import Selection

MAX_SPEC_BYTES = 16 << 20

_AT = {"type": ["string", "integer"], "description": f"which pictures: {selection.FORMS}"}
_ELEMENTS = {
    "type": "object",
    "description": "syntax elements by the standard's name; lists where they have subscripts",
    "additionalProperties": {"type": ["integer", "string", "array"]},
}
SCHEMA: dict[str, Any] = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "title": "nnpf inject specification",
    "type": "object",
    "additionalProperties": False,
    "properties": {
        "filters": {
            "type": "array",
            "items": {
                "type": "object",
                "additionalProperties": False,
                "required": ["id"],
                "properties": {
                    "id": {"type": "integer", "minimum": 0, "maximum": 2**32 - 2, "description": "nnpfc_id"},
                    "base": {
                        "type": "string",
                        "description": "model file: .onnx (sent by URI) or .nnc (in the payload)",
                    },
                    "uri": {"type": "string", "description": "nnpfc_uri; default: the file name of the base"},
                    "tag_uri": {"type": "string", "description": "nnpfc_tag_uri; default: by the kind of the base"},
                    "repeat": {"enum": ["random_access", "clvs_start", "first"], "default": "random_access"},
                    "nnpfc": _ELEMENTS,
                    "updates": {
                        "type": "array",
                        "items": {
                            "type": "object",
                            "additionalProperties": False,
                            "required": ["at"],
                            "oneOf": [{"required": ["payload"]}, {"required": ["uri"]}],
                            "properties": {
                                "payload": {"type": "string", "description": "file whose bytes are sent (.nnc)"},
                                "uri": {"type": "string", "description": "nnpfc_uri"},
                                "tag_uri": {"type": "string", "default": describe.NNC_TAG},
                                "at": _AT,
                                "nnpfc": _ELEMENTS,
                            },
                        },
                    },
                },
            },
        },
        "activations": {
            "type": "array",
            "items": {
                "type": "object",
                "additionalProperties": False,
                "required": ["target"],
                "properties": {
                    "target": {"type": "integer", "minimum": 0, "maximum": 2**32 - 2, "description": "nnpfa_target_id"},
                    "at": {**_AT, "default": "segments"},
                    "nnpfa": _ELEMENTS,
                },
            },
        },
        "messages": {
            "type": "array",
            "items": {
                "type": "object",
                "additionalProperties": False,
                "required": ["type", "at"],
                "oneOf": [{"required": ["elements"]}, {"required": ["payload"]}, {"required": ["hex"]}],
                "properties": {
                    "type": {"type": ["string", "integer"], "description": "payloadType, as number or by name"},
                    "at": _AT,
                    "elements": _ELEMENTS,
                    "payload": {"type": "string", "description": "file whose bytes are the payload"},
                    "hex": {"type": "string", "pattern": "^([0-9a-fA-F]{2})*$"},
                },
            },
        },
    },
}


class SpecError(NnpfError):
    """Something in a specification file is wrong; the text names the line and the key."""


@dataclass(frozen=True, slots=True)
class Spec:
    """A specification: plain data as in the file, and where each part of it stands.

    Attributes:
        data: conforms to SCHEMA.
        name: of the file, for errors.
        folder: what file names are relative to.
        lines: 1-based line of each key or list item, by its path.
    """

    data: Mapping[str, Any]
    name: str
    folder: Path
    lines: Mapping[tuple[str | int, ...], int]

    def error(self, path: Sequence[str | int], problem: str) -> SpecError:
        """The error that names the line and the key of `path`."""
        known = tuple(path)
        while known and known not in self.lines:
            known = known[:-1]
        key = "".join(f"[{p}]" if isinstance(p, int) else f".{p}" for p in path).lstrip(".")
        line = f"line {self.lines[known]}: " if known in self.lines else ""
        return SpecError(f"{line}{key}: {problem}" if key else f"{line}{problem}", subject=self.name)


def load(text: str, name: str, folder: Path) -> Spec:
    """Read a specification file.

    Raises:
        SpecError: not YAML, or not what SCHEMA says; the text names the line and the key.
    """
    if len(text) > MAX_SPEC_BYTES:
        raise SpecError(f"more than {MAX_SPEC_BYTES} bytes", subject=name)
    try:
        root = yaml.compose(text, yaml.CSafeLoader)
        data = yaml.load(text, yaml.CSafeLoader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        raise SpecError(f"line {mark.line + 1 if mark else '?'}: {error.problem}", subject=name) from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise SpecError(f"is not YAML: {' '.join(str(error).split())}", subject=name) from None
    lines = dict(_lines(root, (), set())) if root is not None else {}
    return check(Spec({} if data is None else data, name, folder, lines))


def check(spec: Spec) -> Spec:
    """The same specification, known to conform to SCHEMA."""
    import jsonschema

    validator = jsonschema.Draft202012Validator(SCHEMA)
    error = jsonschema.exceptions.best_match(validator.iter_errors(spec.data))
    if error is not None:
        raise spec.error(list(error.absolute_path), _explained(error))
    return spec


def _explained(error: Any) -> str:
    if error.validator == "oneOf":
        wanted = [option["required"][0] for option in error.validator_value]
        return f"exactly one of {', '.join(wanted)} is wanted"
    return str(error.message)


def _lines(node: Any, path: tuple[str | int, ...], above: set[int]) -> Iterator[tuple[tuple[str | int, ...], int]]:
    yield path, node.start_mark.line + 1
    if id(node) in above:
        return  # an alias that holds itself
    inside = above | {id(node)}
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            yield from _lines(value, (*path, key.value), inside)
            yield (*path, key.value), key.start_mark.line + 1
    elif isinstance(node, yaml.SequenceNode):
        for i, value in enumerate(node.value):
            yield from _lines(value, (*path, i), inside)


def placements(spec: Spec, codec: Codec = Codec.VVC) -> list[Placement]:
    """The messages of a specification, in the order in which they stand where they meet in one picture:
    bases, updates, activations, other messages.

    Raises:
        SpecError: a file, an element or a value that cannot be used; the text names the line and the key.
    """
    bases: list[Placement] = []
    updates: list[Placement] = []
    for i, entry in enumerate(spec.data.get("filters", [])):
        path = ("filters", i)
        purpose = {}
        if "base" in entry or "uri" in entry or "nnpfc" in entry:
            bases.append(_base(spec, path, entry))
            base = messages.decode(bases[-1].message)
            assert base is not None
            purpose = {"nnpfc_purpose": base.message.fields()["nnpfc_purpose"]}
        for j, update in enumerate(entry.get("updates", [])):
            updates.append(_update(spec, (*path, "updates", j), entry["id"], update, purpose))
    activations = [_activation(spec, ("activations", i), e) for i, e in enumerate(spec.data.get("activations", []))]
    others = [_other(spec, ("messages", i), e, codec) for i, e in enumerate(spec.data.get("messages", []))]
    return [*bases, *updates, *activations, *others]


KeyPath = tuple[str | int, ...]


def _base(spec: Spec, path: KeyPath, entry: Mapping[str, Any]) -> Placement:
    identity: dict[str, Any] = {"nnpfc_id": entry["id"], "nnpfc_base_flag": 1}
    model = None
    file = entry.get("base")
    if file is not None and not file.endswith((".onnx", ".nnc")):
        raise spec.error((*path, "base"), f"{file!r} is neither .onnx nor .nnc")
    if file is not None and file.endswith(".onnx"):
        try:
            model = models.load(spec.folder / file, file)
        except NnpfError as error:
            raise spec.error((*path, "base"), str(error)) from None
    if file is not None and file.endswith(".nnc") and "uri" not in entry:
        identity |= {"nnpfc_mode_idc": nnpf.MODE_NNC, "nnpfc_payload": _bytes(spec, (*path, "base"), file)}
    else:
        tag = describe.NNC_TAG if (file or entry.get("uri", "")).endswith(".nnc") else describe.ONNX_TAG
        identity |= {
            "nnpfc_mode_idc": nnpf.MODE_URI,
            "nnpfc_tag_uri": entry.get("tag_uri", tag),
            "nnpfc_uri": entry.get("uri", Path(file).name if file else ""),
        }
    given = entry.get("nnpfc", {})
    try:
        message = describe.characteristics(identity, model, given)
    except (VseiError, NnpfError) as error:
        raise _located(spec, (*path, "nnpfc"), error) from None
    return Placement(selection.parse(entry.get("repeat", "random_access")), _encoded(spec, path, message))


def _update(
    spec: Spec, path: KeyPath, nnpfc_id: int, entry: Mapping[str, Any], purpose: Mapping[str, Any]
) -> Placement:
    identity: dict[str, Any] = {"nnpfc_id": nnpfc_id, "nnpfc_base_flag": 0, **purpose}
    if "payload" in entry:
        payload = _bytes(spec, (*path, "payload"), entry["payload"])
        identity |= {"nnpfc_mode_idc": nnpf.MODE_NNC, "nnpfc_payload": payload}
    else:
        tag = entry.get("tag_uri", describe.NNC_TAG)
        identity |= {"nnpfc_mode_idc": nnpf.MODE_URI, "nnpfc_tag_uri": tag, "nnpfc_uri": entry["uri"]}
    try:
        message = describe.characteristics(identity, None, entry.get("nnpfc", {}))
    except (VseiError, NnpfError) as error:
        raise _located(spec, (*path, "nnpfc"), error) from None
    return Placement(_pictures(spec, path, entry), _encoded(spec, path, message))


def _activation(spec: Spec, path: KeyPath, entry: Mapping[str, Any]) -> Placement:
    elements = {"nnpfa_target_id": entry["target"], **entry.get("nnpfa", {})}
    if elements.keys() & {"nnpfa_prompt", "nnpfa_seed", "nnpfa_num_input_pic_shift"}:
        # An element behind a flag says that the flag is set; and any of the three makes it the form of V4.
        for flag, element in (
            ("nnpfa_prompt_update_flag", "nnpfa_prompt"),
            ("nnpfa_seed_update_flag", "nnpfa_seed"),
            ("nnpfa_selected_input_flag", "nnpfa_num_input_pic_shift"),
        ):
            elements.setdefault(flag, int(element in elements))
    defaults = {"nnpfa_persistence_flag": 1, "nnpfa_target_base_flag": 1, "nnpfa_output_flag": 1}
    try:
        message = form.complete(NnpfActivation, nnpf.nnpfa, elements, defaults)
    except VseiError as error:
        raise _located(spec, (*path, "nnpfa"), error) from None
    return Placement(_pictures(spec, path, {"at": "segments", **entry}), _encoded(spec, path, message))


def _other(spec: Spec, path: KeyPath, entry: Mapping[str, Any], codec: Codec) -> Placement:
    payload_type = entry["type"]
    if isinstance(payload_type, str):
        by_name = {messages.payload_name(t, codec): t for t in range(1024)}
        if payload_type not in by_name:
            raise spec.error((*path, "type"), f"{payload_type!r} is no SEI payload type of {codec.standard}")
        payload_type = by_name[payload_type]
    if "elements" in entry:
        kind = messages.kind(payload_type, codec)
        if kind is None:
            raise spec.error((*path, "elements"), "this payload type is only known as bytes: give payload or hex")
        try:
            message = messages.encode(form.complete(kind.message, kind.description, entry["elements"], {}), codec)
        except VseiError as error:
            raise _located(spec, (*path, "elements"), error) from None
    else:
        data = bytes.fromhex(entry["hex"]) if "hex" in entry else _bytes(spec, (*path, "payload"), entry["payload"])
        message = SeiMessage(payload_type, data)
    return Placement(_pictures(spec, path, entry), message)


def _encoded(spec: Spec, path: KeyPath, message: messages.Message) -> SeiMessage:
    """The message as bytes, with every element in the standard's range."""
    try:
        coded = messages.encode(message)
        decoded = messages.decode(coded)
    except VseiError as error:
        raise _located(spec, path, error) from None
    assert decoded is not None
    for item in decoded.out_of_range:
        raise spec.error(path, f"{item.element}: {item.value}, must be {item.allowed}")
    return coded


def _pictures(spec: Spec, path: KeyPath, entry: Mapping[str, Any]) -> Selection:
    try:
        return selection.parse(str(entry["at"]))
    except VseiError as error:
        raise spec.error((*path, "at"), error.problem) from None


def _bytes(spec: Spec, path: KeyPath, file: str) -> bytes:
    try:
        return (spec.folder / file).read_bytes()
    except OSError as error:
        raise spec.error(path, f"{file}: {error.strerror}") from None


def _located(spec: Spec, path: KeyPath, error: VseiError | NnpfError) -> SpecError:
    """An error about an element, at the line where the element is given."""
    element = error.element if isinstance(error, VseiError) else None
    if element is None:
        return spec.error(path, str(error))
    return spec.error((*path, element.partition("[")[0]), error.problem)
