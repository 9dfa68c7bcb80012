"""Files that appear whole or not at all."""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from os import PathLike
from pathlib import Path
from typing import BinaryIO

from nnpf import steps


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
        handle, name = tempfile.mkstemp(prefix=f".{target.name}.", suffix=".part", dir=target.parent)
        with _unfinished_while(Path(name)):
            with os.fdopen(handle, "wb") as file:
                yield file
            Path(name).chmod(0o666 & ~_umask())  # mkstemp makes private files
            Path(name).replace(target)


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
        made = Path(tempfile.mkdtemp(prefix=f".{target.name}.", suffix=".part", dir=target.absolute().parent))
        with _unfinished_while(made):
            yield made
            made.chmod(0o777 & ~_umask())
            if not target.exists() or not any(target.iterdir()):
                made.replace(target)
                return
            for file in sorted(made.iterdir(), key=lambda file: file.name == last):
                file.replace(target / file.name)
            made.rmdir()


# What has a temporary name now.
_unfinished: set[Path] = set()


def abandon() -> None:
    """Remove what is not finished, for a process that ends at once."""
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


def _umask() -> int:
    umask = os.umask(0)
    os.umask(umask)
    return umask
