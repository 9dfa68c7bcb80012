"""What an update does to a base model, and how to tell that it is the right base."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from nnpf.nnc.decoder import Decoded, Decoder, Tensor
from nnpf.nnc.errors import NncError

Semantics: TypeAlias = Literal["difference", "replace"]
"""Whether the tensors of an update are added to those of the base, or stand in their place."""

# A base_model_id that starts so goes on with the `fingerprint` of the base in hexadecimal, and may end with that of the
# result after RESULT_PREFIX.
FINGERPRINT_PREFIX: Final = "sha256:"
RESULT_PREFIX: Final = ",result="


def semantics_of(decoded: Decoded) -> Semantics | None:
    """What the payload says of itself: "difference" where its units have a parent; None where it does not say."""
    return "difference" if decoded.is_difference else None


def fingerprint(tensors: Mapping[str, NDArray[Any]]) -> bytes:
    """SHA-256 over the names (in order of their UTF-8), types, shapes and little-endian values of all tensors."""
    digest = hashlib.sha256()
    for name in sorted(tensors, key=lambda n: n.encode("utf-8")):
        value = np.asarray(tensors[name])
        shape = ",".join(map(str, value.shape))
        digest.update(f"{name}\0{value.dtype.kind}{value.dtype.itemsize}\0{shape}\0".encode())
        digest.update(np.ascontiguousarray(value, dtype=value.dtype.newbyteorder("<")).tobytes())
    return digest.digest()


def base_model_id(base: Mapping[str, NDArray[Any]], result: Mapping[str, NDArray[Any]] | None = None) -> str:
    """What an update may carry as base_model_id, so that it is never applied to another base.

    result: the tensors after the update; it is then known as well that they come out right.
    """
    return FINGERPRINT_PREFIX + fingerprint(base).hex() + (RESULT_PREFIX + fingerprint(result).hex() if result else "")


def _hashes(decoded: Decoded) -> tuple[str, str]:
    """Fingerprints of base and result that the payload carries, in hexadecimal; empty where it carries none."""
    carried = decoded.mps.base_model_id if decoded.mps is not None else ""
    if not carried.startswith(FINGERPRINT_PREFIX):
        return "", ""
    base, _, result = carried.removeprefix(FINGERPRINT_PREFIX).partition(RESULT_PREFIX)
    return base, result


def check_base(decoded: Decoded, base: Mapping[str, NDArray[Any]]) -> bool:
    """Whether the payload says which base it belongs to. NncError where that is another one than this."""
    wanted, _ = _hashes(decoded)
    if not wanted:
        return False
    found = fingerprint(base).hex()
    if wanted != found:
        raise NncError(f"an update of the base sha256:{wanted}, applied to sha256:{found}", field="base_model_id")
    return True


def check_result(decoded: Decoded, result: Mapping[str, NDArray[Any]]) -> bool:
    """Whether the payload says what the base becomes. NncError where that is something else than this."""
    _, wanted = _hashes(decoded)
    if not wanted:
        return False
    found = fingerprint(result).hex()
    if wanted != found:
        raise NncError(f"the update should lead to sha256:{wanted}, not sha256:{found}", field="base_model_id")
    return True


def difference(
    base: Mapping[str, NDArray[Any]], target: Mapping[str, NDArray[Any]]
) -> dict[str, NDArray[np.float32] | NDArray[np.int32]]:
    """What to add to the base to get the target; only tensors that differ. NncError where names or shapes do."""
    _check_names(base, target, "target")
    changed: dict[str, NDArray[np.float32] | NDArray[np.int32]] = {}
    for name, value in target.items():
        if np.array_equal(value, base[name]):
            continue
        if value.dtype.kind == "f":
            changed[name] = (value.astype(np.float64) - base[name]).astype(np.float32)
        else:
            changed[name] = (value.astype(np.int64) - base[name]).astype(np.int32)
    return changed


def apply_update(
    base: Mapping[str, NDArray[Any]], update: Mapping[str, NDArray[Any]], semantics: Semantics
) -> dict[str, Tensor]:
    """The base with an update applied, in the order of the base. Tensors that the update lacks stay as they are.

    Raises: NncError, naming the tensors, where the update has some that the base lacks, or shapes or types differ.
    """
    _check_names(base, update, "update")
    result: dict[str, Tensor] = {}
    for name, value in base.items():
        if name not in update:
            result[name] = np.asarray(value)
        elif semantics == "replace":
            result[name] = np.asarray(update[name])
        else:
            result[name] = np.add(value, update[name], dtype=value.dtype)
    return result


def _check_names(base: Mapping[str, NDArray[Any]], other: Mapping[str, NDArray[Any]], what: str) -> None:
    unknown = [name for name in other if name not in base]
    if unknown:
        raise NncError(f"the {what} has tensors that the base lacks: {', '.join(map(repr, unknown))}")
    unlike = [
        f"{name!r} {np.shape(other[name])} {other[name].dtype}, not {np.shape(base[name])} {base[name].dtype}"
        for name in other
        if np.shape(other[name]) != np.shape(base[name]) or other[name].dtype.kind != base[name].dtype.kind
    ]
    if unlike:
        raise NncError(f"the {what} does not fit the base: {'; '.join(unlike)}")


@dataclass(frozen=True, slots=True)
class Updated:
    """A base with an update applied.

    Attributes:
        tensors: all of the base, changed or not (the same object then).
        semantics: what the update did to them.
        said: whether the payload says so itself.
        base_checked, result_checked: whether it carries hashes of base and result; they were right.
    """

    tensors: dict[str, Tensor]
    semantics: Semantics
    said: bool
    base_checked: bool
    result_checked: bool

    def __str__(self) -> str:
        return self.semantics if self.said else f"{self.semantics}, as the payload does not say"


def updated(
    decoder: Decoder,
    base: Mapping[str, NDArray[Any]],
    data: bytes,
    if_unsaid: Semantics | None = None,
    identity: Callable[[], Mapping[str, NDArray[Any]]] | None = None,
) -> Updated:
    """Decode an update and apply it to the base that the decoder has decoded.

    Args:
        if_unsaid: what an update means that does not say it (plain differences coded as if they were a model).
        identity: those tensors of the base whose hash names it, if not all: the ones that a payload of it carries.

    Raises: NncError where the payload belongs to another base, names or shapes differ, or nothing says what it means.
        The decoder then stays as it was.
    """
    attempt = decoder.copy()
    tensors = attempt.decode(data)
    assert attempt.last is not None
    said = semantics_of(attempt.last)
    semantics = said or if_unsaid
    if semantics is None:
        raise NncError("nothing says whether this update is a difference or a replacement")
    named = base
    if identity is not None and any(_hashes(attempt.last)):
        named = identity()
    base_checked = check_base(attempt.last, named)
    result = apply_update(base, tensors, semantics)
    result_checked = check_result(attempt.last, {name: result[name] for name in named if name in result})
    decoder.adopt(attempt)
    return Updated(result, semantics, said is not None, base_checked, result_checked)


def decode_update(
    decoder: Decoder, base: Mapping[str, NDArray[Any]], data: bytes, semantics: Semantics | None = None
) -> dict[str, Tensor]:
    """The tensors of a base with an update; see `updated`.

    semantics: for a payload that does not say; one that does must agree.
    """
    attempt = decoder.copy()
    found = updated(attempt, base, data, semantics)
    if semantics is not None and found.semantics != semantics:
        raise NncError(f"the payload says of itself that it is a {found.semantics}, not a replacement")
    decoder.adopt(attempt)
    return found.tensors
