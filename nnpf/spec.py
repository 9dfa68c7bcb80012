"""The specification file of `nnpf inject` (YAML): which messages go to which pictures.

    filters:
      - id: 1
        base: filters/tiny.onnx        # .onnx is sent by URI, .nnc in the payload
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

What `nnpf extract` writes has `nal_units` besides: SEI NAL units at their exact places in the stripped stream.
SCHEMA is the JSON Schema of it. Files are named relative to the specification file.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Container, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from nnpf import describe, elements, extraction, limits, yaml_document
from nnpf.errors import NnpfError
from nnpf.yaml_document import Document, DocumentError, KeyPath
from vsei import messages, selection
from vsei.edit import Placement
from vsei.errors import VseiError
from vsei.messages import NnpfActivation, NnpfCharacteristics, nnpf
from vsei.nal import Codec
from vsei.pictures import PictureFormat
from vsei.restoring import Taken
from vsei.rules import VTM, Decoder, Level, Rule, check_messages
from vsei.sei import SeiMessage
from vsei.selection import Selection

if TYPE_CHECKING:
    from nnpf.model import Model

# payloadType is coded in units of 255, as many as there are; nobody will define so many.
MAX_PAYLOAD_TYPE = 1 << 16
# What `base` may be. Everything but ONNX files is sent in the message, as a bitstream of ISO/IEC 15938-17.
# Models as files of their own, sent by URI.
MODEL_SUFFIXES = (".onnx", ".pt2")
PAYLOAD_SUFFIXES = (".nnc", ".nnr", ".bin")

_NONE_NEGATIVE = {"type": "integer", "minimum": 0}
_HEX = {"type": "string", "pattern": "^([0-9a-fA-F]{2})*$"}
_FILE_OR_HEX = {
    "type": "object",
    "additionalProperties": False,
    "oneOf": [{"required": ["hex"]}, {"required": ["file"]}],
    "properties": {"hex": _HEX, "file": {"type": "string"}},
}
_SHA256 = {
    "type": "string",
    "pattern": "^[0-9a-fA-F]{64}$",
    "description": "of the file; with another one it is not sent",
}
_AT = {"type": ["string", "integer"], "description": f"which pictures: {selection.FORMS}"}
_VALUE = {
    "anyOf": [
        {"type": ["integer", "string", "null"]},
        {"$ref": "#/$defs/bytes"},
        {"type": "array", "items": {"$ref": "#/$defs/value"}},
    ]
}
_ELEMENTS = {
    "type": "object",
    "description": "syntax elements by the standard's name; lists where they have subscripts",
    "additionalProperties": {"$ref": "#/$defs/value"},
}
_CONTENT = [{"required": ["elements"]}, {"required": ["payload"]}, {"required": ["hex"]}]
_MESSAGE = {
    "type": {"type": ["string", "integer"], "minimum": 0, "description": "payloadType, as number or by name"},
    "elements": _ELEMENTS,
    "payload": {"type": "string", "description": "file whose bytes are the payload"},
    "hex": _HEX,
}
SCHEMA: dict[str, Any] = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "title": "nnpf inject specification",
    "type": "object",
    "additionalProperties": False,
    "$defs": {"bytes": {**_FILE_OR_HEX, "description": "bytes"}, "value": _VALUE},
    "properties": {
        "codec": {"enum": [codec.value for codec in Codec], "description": "what the stream must be"},
        "on_existing": {
            "enum": ["error", "replace", "keep"],
            "default": "error",
            "description": "NNPFC and NNPFA messages that the stream has already",
        },
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
                        "description": "model file: .onnx (sent by URI) or .nnc (in the message)",
                    },
                    "sha256": _SHA256,
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
                                "sha256": _SHA256,
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
                "oneOf": _CONTENT,
                "properties": {
                    **_MESSAGE,
                    "at": _AT,
                    "suffix": {"type": "boolean", "default": False, "description": "behind the slices, as suffix SEI"},
                },
            },
        },
        "nal_units": {
            "type": "array",
            "description": "SEI NAL units as `nnpf extract` found them",
            "items": {
                "type": "object",
                "additionalProperties": False,
                "oneOf": [{"required": ["before"]}, {"required": ["in"]}],
                "anyOf": [{"required": ["messages"]}, {"required": ["raw"]}],
                "properties": {
                    "before": {
                        **_NONE_NEGATIVE,
                        "description": "a NAL unit of its own, in front of this one of the stripped stream (0-based)",
                    },
                    "in": {**_NONE_NEGATIVE, "description": "messages for this NAL unit of the stripped stream"},
                    "nal_unit_type": {"enum": ["PREFIX_SEI", "SUFFIX_SEI", "SEI"], "default": "PREFIX_SEI"},
                    "layer_id": {**_NONE_NEGATIVE, "maximum": 63, "default": 0},
                    "temporal_id": {**_NONE_NEGATIVE, "maximum": 6, "default": 0},
                    "ref_idc": {**_NONE_NEGATIVE, "maximum": 3, "default": 0},
                    "start_code": {"enum": [3, 4], "default": 4, "description": "its bytes"},
                    "trailing_zeros": {**_NONE_NEGATIVE, "default": 0, "description": "bytes after the NAL unit"},
                    "gap": {**_NONE_NEGATIVE, "default": 0, "description": "bytes before its start code"},
                    "zero_byte_stays": {
                        "type": "boolean",
                        "default": False,
                        "description": "the NAL unit after it has taken over a byte of its start code",
                    },
                    "messages": {
                        "type": "array",
                        "items": {
                            "type": "object",
                            "additionalProperties": False,
                            "required": ["type"],
                            "oneOf": _CONTENT,
                            "properties": {
                                **_MESSAGE,
                                "at": {**_NONE_NEGATIVE, "description": "its place among the messages of the NAL unit"},
                                "replaces": {
                                    "type": "boolean",
                                    "default": False,
                                    "description": "it stands for the message there, out of which others were taken",
                                },
                            },
                        },
                    },
                    "tail": {**_HEX, "default": "80", "description": "bytes after the last message"},
                    "raw": {
                        "$ref": "#/$defs/bytes",
                        "description": "the whole NAL unit, where messages are not enough",
                    },
                },
            },
        },
        "stripped_stream": {
            "type": "object",
            "additionalProperties": False,
            "required": ["nal_units"],
            "properties": {"nal_units": {**_NONE_NEGATIVE, "description": "how many the stripped stream has"}},
        },
    },
}


Spec = Document
SpecError = DocumentError


def load(text: str, name: str, folder: Path) -> Spec:
    """Read a specification file.

    Raises:
        SpecError: not YAML, or not what SCHEMA says; the text names the line and the key.
    """
    return yaml_document.load(text, name, folder, SCHEMA)


def read(path: Path) -> Spec:
    """As `load`, from a file, which file names in it are relative to. OSError where it cannot be read."""
    return yaml_document.read(path, SCHEMA)


def check(spec: Spec) -> Spec:
    """The same specification, known to conform to SCHEMA."""
    return yaml_document.check(spec, SCHEMA)


# Keys that name a file.
_FILE_KEYS = frozenset(("base", "payload", "file"))


def files(spec: Spec) -> list[Path]:
    """The files that a specification names."""

    def named(value: Any) -> Iterator[Path]:
        if isinstance(value, Mapping):
            for key, inner in value.items():
                if key in _FILE_KEYS and isinstance(inner, str):
                    yield spec.folder / inner
                else:
                    yield from named(inner)
        elif isinstance(value, list):
            for inner in value:
                yield from named(inner)

    return list(named(spec.data))


# --- messages for pictures -------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """What the messages are for.

    Attributes:
        codec: of the stream.
        picture: format of its pictures, where known; relations between elements and pictures are checked against it.
        decoder: that has to get along with them, beyond the standard.
        checked: messages that break a rule of the standard (or of the decoder) are refused.
        note: called with what a user should know, and the rule that says so.
    """

    codec: Codec = Codec.VVC
    picture: PictureFormat | None = None
    decoder: Decoder | None = None
    checked: bool = True
    note: Callable[[str, Rule | None], None] = lambda _, __: None


def placements(spec: Spec, codec: Codec = Codec.VVC, target: Target | None = None) -> list[Placement]:
    """The messages of a specification, in the order in which they stand where they meet in one picture:
    bases, updates, activations, other messages.

    Raises:
        SpecError: a file, an element or a value that cannot be used; the text names the line and the key.
    """
    target = target or Target(codec=codec)
    bases: list[Placement] = []
    updates: list[Placement] = []
    once: set[int] = set()  # filters that only the first CLVS has
    preceding: dict[int, int] = {}  # by filter
    for i, entry in enumerate(spec.data.get("filters", [])):
        path = ("filters", i)
        if not (entry.keys() & {"base", "uri", "nnpfc"} or entry.get("updates")):
            raise spec.error(path, "neither base, uri nor updates: there is nothing to send")
        purpose = {}
        if entry.keys() & {"base", "uri", "nnpfc"}:
            message, placement = _base(spec, path, entry, target)
            bases.append(placement)
            purpose = {"nnpfc_purpose": message.nnpfc_purpose}
            preceding[entry["id"]] = _preceding(message)
            if placement.pictures.kind == "first":
                once.add(entry["id"])
        for j, update in enumerate(entry.get("updates", [])):
            updates.append(_update(spec, (*path, "updates", j), entry["id"], update, purpose, target))
    activations = [
        _activation(spec, ("activations", i), entry, target, once, preceding)
        for i, entry in enumerate(spec.data.get("activations", []))
    ]
    others = [_other(spec, ("messages", i), e, target) for i, e in enumerate(spec.data.get("messages", []))]
    return [*bases, *updates, *activations, *others]


def _base(spec: Spec, path: KeyPath, entry: Mapping[str, Any], target: Target) -> tuple[NnpfCharacteristics, Placement]:
    identity: dict[str, Any] = {"nnpfc_id": entry["id"], "nnpfc_base_flag": 1}
    model = None
    file = entry.get("base")
    given = _given(spec, (*path, "nnpfc"), entry.get("nnpfc", {}))
    if file is not None and not file.endswith((*MODEL_SUFFIXES, *PAYLOAD_SUFFIXES)):
        raise spec.error((*path, "base"), f"{file!r} is none of {', '.join((*MODEL_SUFFIXES, *PAYLOAD_SUFFIXES))}")
    _check_hash(spec, path, entry, file)
    if file is not None and "uri" not in entry and not file.endswith(MODEL_SUFFIXES):
        identity |= {"nnpfc_mode_idc": nnpf.MODE_NNC, "nnpfc_payload": _bytes(spec, (*path, "base"), file)}
    elif "nnpfc_payload" in given:
        identity["nnpfc_mode_idc"] = nnpf.MODE_NNC
    else:
        uri = entry.get("uri", "")
        if file is not None and "uri" not in entry:
            uri = _uri_for(spec, path, file, target.decoder)
        tag = _tag_of(file or uri)
        identity |= {
            "nnpfc_mode_idc": nnpf.MODE_URI,
            "nnpfc_tag_uri": entry.get("tag_uri", tag),
            "nnpfc_uri": uri,
        }
    if file is not None and given.get("nnpfc_property_present_flag") != 0:
        model = _model(spec, (*path, "base"), file, target)
    wanted = target.decoder.base if target.decoder is not None else {}
    picture = None
    if model is not None and target.picture is not None:
        from nnpf.intake import picture_format  # like the model

        picture = picture_format(target.picture)
    try:
        message = describe.characteristics(
            identity, model, given, {name: values[0] for name, values in wanted.items()}, picture
        )
    except (VseiError, NnpfError) as error:
        raise _located(spec, (*path, "nnpfc"), error) from None
    repeat = selection.parse(entry.get("repeat", "random_access"))
    return message, Placement(repeat, _encoded(spec, (*path, "nnpfc"), message, target))


def _tag_of(file: str) -> str:
    """nnpfc_tag_uri for a file."""
    if file.endswith(PAYLOAD_SUFFIXES):
        return describe.NNC_TAG
    return describe.PT2_TAG if file.endswith(".pt2") else describe.ONNX_TAG


def _uri_for(spec: Spec, path: KeyPath, file: str, decoder: Decoder | None) -> str:
    """How the message names a model file: by its name; or as the decoder wants it, by its path on this machine."""
    if decoder is None or not decoder.uri_prefix:
        return local_uri(Path(file).name)
    absolute = (spec.folder / file).resolve().as_posix()
    if quote(absolute) != absolute:  # the decoder opens what is written, and does not know of %XX
        problem = f"{decoder.name} opens the path as the URI spells it, and a URI spells {absolute} with %XX"
        raise spec.error((*path, "base"), f"{problem}: move the model, or give the URI")
    return decoder.uri_prefix + absolute


def local_uri(path: str) -> str:
    """The URI for a model at a path that is relative to where the receiver looks for models.

    `file:` makes it a URI with a scheme, as nnpfc_uri must be (H.274 8.28.1.2: RFC 3986), and says that it is not to
    be fetched. RFC 8089 knows absolute paths after `file:` only; a path that starts without a slash is RFC 3986's.
    """
    return "file:" + quote(path)


def _model(spec: Spec, path: KeyPath, file: str, target: Target) -> Model | None:
    """The model in a file, to derive properties from; None where a bitstream does not hold its graph."""
    # Imported here: most specifications need no model, and these take a while.
    from nnpf import model as models
    from nnpf.sources import ModelSources, load_base

    try:
        if file.endswith(MODEL_SUFFIXES):
            return models.load(spec.folder / file, file)
        data = _bytes(spec, path, file)
        carrier = describe.characteristics(
            {"nnpfc_id": 0, "nnpfc_base_flag": 1, "nnpfc_mode_idc": nnpf.MODE_NNC, "nnpfc_payload": data}, None, {}
        )
        return load_base(carrier, ModelSources()).model
    except NnpfError as error:
        if file.endswith(MODEL_SUFFIXES):
            raise spec.error(path, str(error)) from None
        target.note(f"{file}: {error.problem}; properties of the filter that are not given take their default", None)
        return None


def _update(
    spec: Spec, path: KeyPath, nnpfc_id: int, entry: Mapping[str, Any], purpose: Mapping[str, Any], target: Target
) -> Placement:
    identity: dict[str, Any] = {"nnpfc_id": nnpfc_id, "nnpfc_base_flag": 0, **purpose}
    _check_hash(spec, path, entry, entry.get("payload"))
    if "payload" in entry:
        payload = _bytes(spec, (*path, "payload"), entry["payload"])
        identity |= {"nnpfc_mode_idc": nnpf.MODE_NNC, "nnpfc_payload": payload}
    else:
        tag = entry.get("tag_uri", describe.NNC_TAG)
        identity |= {"nnpfc_mode_idc": nnpf.MODE_URI, "nnpfc_tag_uri": tag, "nnpfc_uri": entry["uri"]}
    try:
        message = describe.characteristics(identity, None, _given(spec, (*path, "nnpfc"), entry.get("nnpfc", {})))
    except (VseiError, NnpfError) as error:
        raise _located(spec, (*path, "nnpfc"), error) from None
    return Placement(_pictures(spec, path, entry), _encoded(spec, (*path, "nnpfc"), message, target))


# An element behind a flag says that the flag is set; and any of the three makes it the form of V4.
_V4_FLAGS = (
    ("nnpfa_prompt_update_flag", "nnpfa_prompt"),
    ("nnpfa_seed_update_flag", "nnpfa_seed"),
    ("nnpfa_selected_input_flag", "nnpfa_num_input_pic_shift"),
)


def _preceding(base: NnpfCharacteristics) -> int:
    """How many pictures must be output before one at which the filter is active: between a picture and one that is
    absent nothing can be interpolated."""
    return max((i + 1 for i, count in enumerate(base.nnpfc_interpolated_pics or ()) if count), default=0)


def _activation(
    spec: Spec,
    path: KeyPath,
    entry: Mapping[str, Any],
    target: Target,
    once: Container[int],
    preceding: Mapping[int, int],
) -> Placement:
    given = _given(spec, (*path, "nnpfa"), entry.get("nnpfa", {}))
    values = {"nnpfa_target_id": entry["target"], **given}
    if not values.get("nnpfa_cancel_flag"):
        if values.keys() & {name for pair in _V4_FLAGS for name in pair}:
            for flag, element in _V4_FLAGS:
                values.setdefault(flag, int(element in values))
        if target.decoder is not None:
            values = {name: accepted[0] for name, accepted in target.decoder.activation.items()} | values
    defaults = {"nnpfa_persistence_flag": 1, "nnpfa_target_base_flag": 1, "nnpfa_output_flag": 1}
    try:
        message = elements.complete(NnpfActivation, nnpf.nnpfa, values, defaults)
    except VseiError as error:
        raise _located(spec, (*path, "nnpfa"), error) from None
    pictures = _pictures(spec, path, {"at": "segments", **entry})
    if "at" not in entry and not message.nnpfa_cancel_flag and not message.nnpfa_no_prev_clvs_flag:
        pictures = replace(pictures, after=preceding.get(entry["target"], 0))
    return Placement(
        pictures,
        _encoded(spec, (*path, "nnpfa"), message, target),
        # VTM takes a prefix NNPFA for an NNPFC, and stops by chance; a suffix one it reads right.
        suffix=target.decoder is VTM,
        # Where the base is sent only once, it is there for the first CLVS only.
        clvs=0 if "at" not in entry and entry["target"] in once else None,
    )


def _other(spec: Spec, path: KeyPath, entry: Mapping[str, Any], target: Target) -> Placement:
    if entry.get("suffix") and target.codec is Codec.AVC:
        raise spec.error((*path, "suffix"), "H.264 has no suffix SEI: behind its slices SEI is for the next picture")
    return Placement(
        _pictures(spec, path, entry), _message(spec, path, entry, target), suffix=entry.get("suffix", False)
    )


def _message(spec: Spec, path: KeyPath, entry: Mapping[str, Any], target: Target) -> SeiMessage:
    """A message given by elements or bytes."""
    codec = target.codec
    payload_type = entry["type"]
    if isinstance(payload_type, str):
        found = elements.payload_type(payload_type, codec)
        if found is None:
            raise spec.error((*path, "type"), f"{payload_type!r} is no SEI payload type of {codec.standard}")
        payload_type = found
    if payload_type > MAX_PAYLOAD_TYPE:
        raise spec.error((*path, "type"), f"{payload_type}, must be at most {MAX_PAYLOAD_TYPE}")
    if "elements" not in entry:
        data = bytes.fromhex(entry["hex"]) if "hex" in entry else _bytes(spec, (*path, "payload"), entry["payload"])
        return SeiMessage(payload_type, data)
    kind = messages.kind(payload_type, codec)
    if kind is None:
        raise spec.error((*path, "elements"), "this payload type is only known as bytes: give payload or hex")
    given = _given(spec, (*path, "elements"), entry["elements"])
    try:
        return messages.encode(elements.complete(kind.message, kind.description, given, {}), codec)
    except VseiError as error:
        raise _located(spec, (*path, "elements"), error) from None


def _encoded(spec: Spec, path: KeyPath, message: messages.Message, target: Target) -> SeiMessage:
    """The message as bytes, with every element in the standard's range and in the right relation to the others."""
    try:
        coded = messages.encode(message, target.codec)
    except VseiError as error:
        raise _located(spec, path, error) from None
    if target.checked:
        for finding in check_messages([coded], target.codec, picture=target.picture, decoder=target.decoder):
            if finding.rule.level is Level.VIOLATION:
                key = (*path, finding.element.partition("[")[0]) if finding.element else path
                raise spec.error(key, f"{finding.message} ({finding.rule.name}, {finding.rule.clause})")
            target.note(f"{spec.where(path)}{finding.element or finding.name}: {finding.message}", finding.rule)
    return coded


# --- what extract took out -------------------------------------------------------------------------------------------


def taken(spec: Spec, codec: Codec) -> list[Taken]:
    """The `nal_units` of a specification, for `vsei.restoring.restore`.

    Raises:
        SpecError: a file, an element or a value that cannot be used; the text names the line and the key.
    """
    target = Target(codec=codec, checked=False)
    out = []
    for i, entry in enumerate(spec.data.get("nal_units", [])):
        path = ("nal_units", i)
        if "in" in entry and not all("at" in m for m in entry.get("messages", [])):
            raise spec.error((*path, "messages"), "each message that goes into a NAL unit needs its place (at)")
        out.append(
            extraction.taken_of(
                entry,
                codec,
                lambda n, m, path=path: _message(spec, (*path, "messages", n), m, target),  # type: ignore[misc]
                lambda file, path=path: _bytes(spec, (*path, "raw"), file),  # type: ignore[misc]
            )
        )
    return out


def _given(spec: Spec, path: KeyPath, given: Mapping[str, Any]) -> dict[str, Any]:
    """Elements as given, bytes in place of files."""
    return {
        name: elements.with_bytes(value, lambda file, name=name: _bytes(spec, (*path, name), file))  # type: ignore[misc]
        for name, value in given.items()
    }


def _pictures(spec: Spec, path: KeyPath, entry: Mapping[str, Any]) -> Selection:
    try:
        return selection.parse(str(entry["at"]))
    except VseiError as error:
        raise spec.error((*path, "at"), error.problem) from None


def _bytes(spec: Spec, path: KeyPath, file: str) -> bytes:
    try:
        with (spec.folder / file).open("rb") as source:
            data = limits.read(source, "payload_bytes")
    except (OSError, ValueError) as error:
        raise spec.error(path, f"{file}: {getattr(error, 'strerror', None) or error}") from None
    if len(data) > (allowed := limits.current().payload_bytes):
        raise spec.error(path, f"{file}: more than {allowed} bytes (--set-limit payload_bytes=N)")
    return data


def _check_hash(spec: Spec, path: KeyPath, entry: Mapping[str, Any], file: str | None) -> None:
    """Refuse a file that is not the one that the specification was written for."""
    if "sha256" not in entry:
        return
    if file is None:
        raise spec.error((*path, "sha256"), "there is no file whose hash this could be")
    found = hashlib.sha256(_bytes(spec, path, file)).hexdigest()
    if found != entry["sha256"].lower():
        raise spec.error((*path, "sha256"), f"{file} has {found}")


def _located(spec: Spec, path: KeyPath, error: VseiError | NnpfError) -> SpecError:
    """An error about an element, at the line where the element is given."""
    element = error.element if isinstance(error, VseiError) else None
    if element is None:
        return spec.error(path, str(error))
    return spec.error((*path, element.partition("[")[0]), error.problem)
