"""What an interrupted adaptation goes on from: a folder with arrays (.npz) and decisions (.json). No pickle."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np

from nnpf.adapt.fit import State
from nnpf.errors import NnpfError
from nnpf.outputs import open_output

_PARTS: Final = ("values", "first", "second")


class Checkpoint:
    """The files of one segment. With no folder, nothing is kept.

    Args:
        identity: of the run: files of another one are refused.
        resume: use what is there; else start afresh.
    """

    def __init__(self, folder: Path | None, segment: int, identity: str, *, resume: bool) -> None:
        self._folder, self._segment = folder, segment
        self.decisions: dict[str, Any] = {"identity": identity}
        if folder is None:
            return
        file = folder / f"segment-{segment}.json"
        if resume and file.exists():
            try:
                found = json.loads(file.read_text("utf-8"))
            except (OSError, ValueError, RecursionError):
                raise NnpfError("is no checkpoint", subject=str(file)) from None
            if not isinstance(found, dict) or found.get("identity") != identity:
                raise NnpfError("belongs to another stream, base or setting; start without --resume", subject=str(file))
            self.decisions = found
        else:
            folder.mkdir(parents=True, exist_ok=True)
            for old in folder.glob(f"segment-{segment}.*"):
                old.unlink()
            self.decide()

    def decide(self, **decisions: Any) -> None:
        """Keep decisions, as JSON."""
        self.decisions.update(decisions)
        if self._folder is not None:
            self._write(f"segment-{self._segment}.json", json.dumps(self.decisions).encode())

    def _path(self, trial: str) -> Path | None:
        return (
            self._folder / f"segment-{self._segment}.{trial.replace(':', '-').replace(' ', '.')}.npz"
            if self._folder
            else None
        )

    def save(self, trial: str, state: State) -> None:
        """Keep the state of a fit."""
        path = self._path(trial)
        if path is None:
            return
        arrays: dict[str, Any] = {"step": np.asarray(state.step)}
        for part in _PARTS:
            arrays |= {f"{part}/{name}": value for name, value in getattr(state, part).items()}
        with open_output(path, force=True) as file:
            np.savez(file, **arrays)

    def load(self, trial: str, like: State) -> State:
        """The state that was kept; `like` where there is none.

        Raises:
            NnpfError: the file is damaged, or of other parameters.
        """
        path = self._path(trial)
        if path is None or not path.exists():
            return like
        try:
            with np.load(path, allow_pickle=False) as arrays:
                parts = {part: {name: arrays[f"{part}/{name}"] for name in like.values} for part in _PARTS}
                step = int(arrays["step"])
        except (OSError, ValueError, KeyError, zipfile.BadZipFile, EOFError):
            raise NnpfError("is no checkpoint of this adaptation", subject=str(path)) from None
        if not _alike(like.values, parts["values"]):
            raise NnpfError("is no checkpoint of this adaptation", subject=str(path))
        return State(step, parts["values"], parts["first"], parts["second"])

    def _write(self, name: str, data: bytes) -> None:
        assert self._folder is not None
        with open_output(self._folder / name, force=True) as file:
            file.write(data)


def _alike(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    return all(other[name].shape == value.shape and other[name].dtype == value.dtype for name, value in one.items())
