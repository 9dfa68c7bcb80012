"""From an NNPFC message to a model: files that its URI names, and payloads that it carries.

A `file:` URI or a relative one is looked up inside one folder. `https` is fetched where the caller allows it. Any other
needs an entry in the caller's map.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import unquote, urlsplit

from nnpf import limits
from nnpf import model as models
from nnpf.describe import NNC_TAG, ONNX_TAG, PT2_TAG
from nnpf.errors import NnpfError, shortened
from nnpf.model import Array, Model
from vsei.messages import NnpfCharacteristics
from vsei.messages.nnpf import MODE_URI

if TYPE_CHECKING:
    from nnpf.fetch import Fetcher
    from nnpf.nnc import Decoder
    from nnpf.nnc.updates import Semantics


class Found(NamedTuple):
    """What a URI names.

    Attributes:
        data: the bytes.
        name: of the file or the URI, as a report calls it.
        suffix: of its name: ".onnx", ".nnc", ...
    """

    data: bytes
    name: str
    suffix: str


@dataclass(frozen=True, slots=True)
class ModelSources:
    """Where models may come from.

    Attributes:
        root: the folder that relative and `file:` URIs are resolved in, and never left; None: no files.
        by_uri: URI, as in the message, to a file. The way for everything else, and it goes first.
        sha256: URI to the hash that its file must have, in hexadecimal digits.
        fetcher: for `https` URIs; None: nothing is fetched.
        update_semantics: what an update means whose NNC bitstream does not say whether it is a difference. By the
            standard it is one (H.274 8.28.1.2).
    """

    root: Path | None = None
    by_uri: Mapping[str, Path] = field(default_factory=dict)
    sha256: Mapping[str, str] = field(default_factory=dict)
    fetcher: Fetcher | None = None
    update_semantics: Semantics = "difference"

    def find(self, uri: str) -> Found:
        """What a URI names.

        Raises:
            NnpfError: nothing that may be had here, or something with another hash than it must have.
        """
        if self.fetcher is not None and uri not in self.by_uri and uri[:6].lower() == "https:":
            data = self.fetcher.fetch(uri)
            found = Found(data, shortened(uri), PurePosixPath(urlsplit(uri).path).suffix)
        else:
            path = self.path_of(uri)
            found = Found(_read(path), str(path), path.suffix)
        wanted = self.sha256.get(uri)
        if wanted is not None and (actual := hashlib.sha256(found.data).hexdigest()) != wanted.lower():
            raise NnpfError(f"has SHA-256 {actual}, must have {wanted.lower()}", subject=shortened(uri))
        return found

    def path_of(self, uri: str) -> Path:
        """The file that a URI names.

        Raises:
            NnpfError: it names none that may be read here.
        """
        if uri in self.by_uri:
            return self.by_uri[uri]
        try:
            parts = urlsplit(uri)
        except ValueError:
            raise NnpfError("is no URI", subject=shortened(uri)) from None
        if parts.scheme not in ("", "file") or parts.netloc not in ("", "localhost"):
            way = "fetch it (--allow-fetch), or " if parts.scheme == "https" and self.fetcher is None else ""
            raise NnpfError(f"is not fetched; {way}say which file it is (--model-map)", subject=shortened(uri))
        name = unquote(parts.path)
        if not name or "\0" in name:
            raise NnpfError("names no file", subject=shortened(uri))
        if self.root is None:
            raise NnpfError("there is no folder to look for it in (--model-root)", subject=shortened(uri))
        try:
            root = self.root.resolve()
            # Absolute paths are kept, and pass only if they lead into the root; links are followed first.
            path = (root / name).resolve()
            inside, there = path.is_relative_to(root), path.is_file()
        except (OSError, RuntimeError, UnicodeError):  # links in a circle; names that the file system does not have
            raise NnpfError("names no file", subject=shortened(uri)) from None
        if not inside:
            raise NnpfError(f"lies outside the model folder {root} (--model-root, --model-map)", subject=shortened(uri))
        if not there:
            raise NnpfError(f"is not in the model folder {root} (--model-root, --model-map)", subject=shortened(uri))
        return path


@dataclass(frozen=True, slots=True)
class Base:
    """A base filter. `decoder`: as it stands after the base's NNC bitstream, for updates whose coding refers to it."""

    model: Model
    decoder: Decoder | None = None


def load_base(message: NnpfCharacteristics, sources: ModelSources) -> Base:
    """The base filter of a message.

    Raises:
        NnpfError: it cannot be found or read, or its format is not known.
    """
    if message.nnpfc_mode_idc != MODE_URI:
        return _decode_base(message.nnpfc_payload or b"", f"payload of NNPFC {message.nnpfc_id}")
    uri, tag = message.nnpfc_uri or "", message.nnpfc_tag_uri or ""
    if tag not in (ONNX_TAG, PT2_TAG, NNC_TAG) and uri not in sources.by_uri:
        raise NnpfError(f"model format {shortened(tag)!r} is not known", subject=shortened(uri))
    found = sources.find(uri)
    if tag == NNC_TAG or found.suffix == ".nnc":
        return _decode_base(found.data, found.name)
    return Base(models.load(found.data, found.name))


def apply_update(base: Base, update: NnpfCharacteristics, sources: ModelSources) -> Model:
    """The base with an update, which is always relative to the base and never to an earlier update.

    Raises:
        NnpfError: the update cannot be found or read, or does not suit the base.
    """
    label = f"update of NNPFC {update.nnpfc_id}"
    if update.nnpfc_mode_idc == MODE_URI:
        uri, tag = update.nnpfc_uri or "", update.nnpfc_tag_uri or ""
        found = sources.find(uri)
        payload, label = found.data, PurePosixPath(found.name).name
        if tag != NNC_TAG and found.suffix != ".nnc":
            whole = models.load(payload, found.name)
            return base.model.with_parameters(whole.parameters, f"{base.model.name} + {label}")
    else:
        payload = update.nnpfc_payload or b""
    from nnpf.nnc import Decoder, NncError, updates

    decoder = base.decoder.copy() if base.decoder is not None else Decoder(limits=limits.for_nnc())
    known = base.model.parameters
    try:
        result = updates.updated(decoder, known, payload, sources.update_semantics, lambda: _coded_tensors(base))
    except NncError as error:
        raise NnpfError(str(error), subject=label) from None
    changed = {name: value for name, value in result.tensors.items() if value is not known[name]}
    return base.model.with_parameters(changed, f"{base.model.name} + {label} ({result})")


def _coded_tensors(base: Base) -> Mapping[str, Array]:
    """The parameters that an NNC bitstream of the base carries: hashes in updates are of these."""
    if base.decoder is not None and base.decoder.last is not None:
        return base.decoder.last.tensors
    from nnpf.nnc.model import split_model

    return split_model(base.model.proto).tensors


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            data = limits.read(file, "model_bytes")
    except OSError as error:
        raise NnpfError(f"cannot be read: {error.strerror}", subject=str(path)) from None
    if len(data) > (allowed := limits.current().model_bytes):
        raise limits.exceeded("model_bytes", f"more than {allowed} bytes", subject=str(path))
    return data


def _decode_base(data: bytes, name: str) -> Base:
    """A filter out of an NNC bitstream that holds its graph."""
    from nnpf.nnc import Decoder, NncError
    from nnpf.nnc.model import decode_model

    decoder = Decoder(limits=limits.for_nnc())
    try:
        proto = decode_model(data, decoder=decoder)
    except NncError as error:
        raise NnpfError(str(error), subject=name) from None
    return Base(models.checked(proto, name), decoder)
