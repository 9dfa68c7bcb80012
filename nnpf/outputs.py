"""Files that appear whole or not at all."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from os import PathLike
from pathlib import Path
from typing import BinaryIO


class OutputError(ValueError):
    """A file that must not be written.

    Attributes:
        path: its name.
        exists: that it is there already is all that is wrong.
    """

    def __init__(self, path: str, problem: str, *, exists: bool = False) -> None:
        super().__init__(problem)
        self.path = path
        self.exists = exists


def check_output(path: str | PathLike[str], *, force: bool = False, inputs: Sequence[str | PathLike[str]] = ()) -> None:
    """Refuse, before any work, an output that would replace an input or, without `force`, any file.

    Raises:
        OutputError: it would.
        FileNotFoundError: there is no such folder.
    """
    target = Path(path)
    if not target.exists():
        if not target.parent.is_dir():
            raise FileNotFoundError(2, "no such folder", str(target.parent))
        return
    for source in inputs:
        if Path(source).exists() and target.samefile(source):
            raise OutputError(str(path), "is also the input; choose another output")
    if target.is_file() and not force:
        raise OutputError(str(path), "exists; force=True replaces it", exists=True)


@contextmanager
def open_output(
    path: str | PathLike[str], *, force: bool = False, inputs: Sequence[str | PathLike[str]] = ()
) -> Iterator[BinaryIO]:
    """A file for writing bytes.

    It is written under a temporary name beside its place and renamed when whole, so whatever happens there is the old
    file or the new one. An existing file is only replaced with `force`, an input never.
    """
    target = Path(path)
    check_output(path, force=force, inputs=inputs)
    if target.exists() and not target.is_file():  # /dev/null, a named pipe: nothing to rename
        with target.open("wb") as file:
            yield file
        return
    handle, name = tempfile.mkstemp(prefix=f".{target.name}.", suffix=".part", dir=target.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            yield file
        umask = os.umask(0)
        os.umask(umask)
        Path(name).chmod(0o666 & ~umask)  # mkstemp makes private files
        Path(name).replace(target)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
