"""Files that appear whole or not at all."""

from __future__ import annotations

import errno
import os
import shutil
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from os import PathLike
from pathlib import Path
from typing import BinaryIO, TypeVar

from nnpf import steps

Made = TypeVar("Made")

# How long a process that ends waits for a file that is being made.
_PATIENCE_S = 0.1


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
    with named_errors(str(path)):
        if target.exists() and not target.is_file():  # /dev/null, a named pipe: nothing to rename
            with target.open("wb") as file:
                yield file
            return
        made = _temporary_name(target)
        with _unfinished_while(made):
            with _made_for(target, lambda: made.open("xb")) as file:
                yield file
            made.replace(target)


@contextmanager
def open_folder(path: str | PathLike[str], last: str) -> Iterator[Path]:
    """A folder to write into, whose files get their places when all are whole; the others in it stay.

    They are written into a folder beside it, which is renamed. Where the folder is there already and not empty, they
    are moved one by one, each replacing the file that has its name; `last` comes last, as it speaks of the others.
    """
    target = Path(path)
    if not target.absolute().parent.is_dir():
        raise FileNotFoundError(2, "no such folder", str(target.parent))
    with named_errors(str(target)):
        made = _temporary_name(target.absolute())
        with _unfinished_while(made):
            _made_for(target, made.mkdir)
            yield made
            if not target.exists() or not any(target.iterdir()):
                made.replace(target)
                return
            for file in sorted(made.iterdir(), key=lambda file: file.name == last):
                file.replace(target / file.name)
            made.rmdir()


def _temporary_name(target: Path) -> Path:
    """Beside its place, and known before there is such a file: this process may be ended at any time."""
    return target.parent / f".{target.name}.{os.urandom(8).hex()}.part"


def _made_for(target: Path, make: Callable[[], Made]) -> Made:
    """What is made; an error tells the name that the caller knows."""
    try:
        with _making:
            return make()
    except OSError as error:
        error.filename = str(target)
        raise


# What has a temporary name now.
_unfinished: set[Path] = set()
_making = threading.Lock()


def abandon() -> None:
    """Remove what is not finished, for a process that ends at once: from now on nothing new is made."""
    _making.acquire(timeout=_PATIENCE_S)
    for path in list(_unfinished):
        remove(path)


def remove(path: Path) -> None:
    """A file or a folder, if it is there."""
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


@contextmanager
def _unfinished_while(path: Path) -> Iterator[None]:
    """Removes the file or folder unless it has got its name."""
    _unfinished.add(path)
    try:
        with steps.unfinished(path):
            yield
    except BaseException:
        remove(path)
        raise
    finally:
        _unfinished.discard(path)


@contextmanager
def named_errors(name: str) -> Iterator[None]:
    """Errors of writing (a full disk, a closed pipe) come without a name; they get this one."""
    try:
        yield
    except OSError as error:
        if error.filename is None and error.errno in OF_WRITING:
            error.filename = name
        raise


OF_WRITING = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EPIPE})
