"""From an NNPFC message to a model: files that its URI names, and payloads that it carries.

Nothing is fetched. A `file:` URI or a relative one is looked up inside one folder; any other needs an entry in the
caller's map.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from nnpf import limits
from nnpf import model as models
from nnpf.describe import NNC_TAG, ONNX_TAG
from nnpf.errors import NnpfError
from nnpf.model import Model
from vsei.messages import NnpfCharacteristics
from vsei.messages.nnpf import MODE_URI

if TYPE_CHECKING:
    from nnpf.nnc import Decoder

# Shown in messages; a stream may hold any string.
_SHOWN_URI = 120


@dataclass(frozen=True, slots=True)
class ModelSources:
    """Where models may come from.

    Attributes:
        root: the folder that relative and `file:` URIs are resolved in, and never left; None: no files.
        by_uri: URI, as in the message, to a file. The way for everything else, and it goes first.
    """

    root: Path | None = None
    by_uri: Mapping[str, Path] = field(default_factory=dict)

    def path_of(self, uri: str) -> Path:
        """The file that a URI names.

        Raises:
            NnpfError: it names none that may be read here.
        """
        shown = uri if len(uri) <= _SHOWN_URI else uri[:_SHOWN_URI] + "..."
        if uri in self.by_uri:
            return self.by_uri[uri]
        try:
            parts = urlsplit(uri)
        except ValueError:
            raise NnpfError("is no URI", subject=shown) from None
        if parts.scheme not in ("", "file") or parts.netloc not in ("", "localhost"):
            raise NnpfError("is not fetched; say which file it is (--model-map)", subject=shown)
        name = unquote(parts.path)
        if not name or "\0" in name:
            raise NnpfError("names no file", subject=shown)
        if self.root is None:
            raise NnpfError("there is no folder to look for it in (--model-root)", subject=shown)
        root = self.root.resolve()
        # Absolute paths are kept, and pass only if they lead into the root; links are followed first.
        path = (root / name).resolve()
        if not path.is_relative_to(root):
            raise NnpfError(f"lies outside the model folder {root} (--model-root, --model-map)", subject=shown)
        if not path.is_file():
            raise NnpfError(f"is not in the model folder {root} (--model-root, --model-map)", subject=shown)
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
    if tag not in (ONNX_TAG, NNC_TAG) and uri not in sources.by_uri:
        raise NnpfError(f"model format {tag[:_SHOWN_URI]!r} is not known", subject=uri[:_SHOWN_URI])
    path = sources.path_of(uri)
    if tag == NNC_TAG or path.suffix == ".nnc":
        return _decode_base(_read(path), str(path))
    return Base(models.load(path))


def apply_update(base: Base, update: NnpfCharacteristics, sources: ModelSources) -> Model:
    """The base with an update, which is always relative to the base and never to an earlier update.

    Raises:
        NnpfError: the update cannot be found or read, or does not suit the base.
    """
    label = f"update of NNPFC {update.nnpfc_id}"
    if update.nnpfc_mode_idc == MODE_URI:
        uri, tag = update.nnpfc_uri or "", update.nnpfc_tag_uri or ""
        path = sources.path_of(uri)
        if tag != NNC_TAG and path.suffix != ".nnc":
            whole = models.load(path)
            return base.model.with_parameters(whole.parameters, f"{base.model.name} + {path.name}")
        payload, label = _read(path), path.name
    else:
        payload = update.nnpfc_payload or b""
    from nnpf.nnc import Decoder, NncError, updates

    decoder = base.decoder.copy() if base.decoder is not None else Decoder(limits=limits.for_nnc())
    known = base.model.parameters
    try:
        # A payload that does not say whether it is a difference is one: that is what an update is (H.274 8.28.1.2).
        tensors = updates.decode_update(decoder, known, payload, "difference")
    except NncError as error:
        raise NnpfError(str(error), subject=label) from None
    changed = {name: value for name, value in tensors.items() if value is not known[name]}
    return base.model.with_parameters(changed, f"{base.model.name} + {label}")


def _read(path: Path) -> bytes:
    try:
        if path.stat().st_size > (allowed := limits.current().model_bytes):
            raise limits.exceeded("model_bytes", f"more than {allowed} bytes", subject=str(path))
        return path.read_bytes()
    except OSError as error:
        raise NnpfError(f"cannot be read: {error.strerror}", subject=str(path)) from None


def _decode_base(data: bytes, name: str) -> Base:
    """A filter out of an NNC bitstream that holds its graph."""
    from nnpf.nnc import Decoder, NncError
    from nnpf.nnc.model import decode_model

    decoder = Decoder(limits=limits.for_nnc())
    try:
        proto = decode_model(data, decoder=decoder)
    except NncError as error:
        raise NnpfError(str(error), subject=name) from None
    models.check(proto, name)
    return Base(models.Model(proto, name), decoder)
