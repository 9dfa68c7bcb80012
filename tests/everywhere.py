"""The tests under other conditions than a developer's machine has.

    python -m tests.everywhere                     some tests under each condition (make test-everywhere)
    python -m tests.everywhere --whole locale      all quick tests under one
    python -m tests.everywhere random -- -k dump   what comes after -- is for pytest

The repository is copied for each condition, so that the folder of the package can be read-only or have a strange name.
Root may write everywhere; for root the read-only folder is a file system that is mounted so, for these tests only.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
# Something of every layer, with files, text on standard output, threads, machine code and models.
SOME = (
    "tests/vsei/test_annexb.py",
    "tests/vsei/test_edit.py",
    "tests/nnc/test_decode.py",
    "tests/nnc/test_command.py",
    "tests/nnpf/test_sources.py",
    "tests/nnpf/test_pipeline.py",
    "tests/nnpf/test_spec.py",
    "tests/tools/test_dump.py",
    "tests/tools/test_inject.py",
    "tests/robustness/test_limits.py",
)
_MOUNTED = 'mount --bind "$0" "$0" && mount -o remount,bind,ro "$0" && cd "$0" && exec "$@"'


@dataclass(frozen=True, slots=True)
class Condition:
    """How the tests are run.

    Attributes:
        folder: name of the folder that the repository is copied to.
        read_only: whether that folder can be written.
        empty_home: HOME is a folder with nothing in it, and caches are nowhere.
        environment, options: in addition; options are pytest's.
    """

    name: str
    folder: str = "copy"
    read_only: bool = False
    empty_home: bool = False
    environment: Mapping[str, str] = field(default_factory=dict)
    options: tuple[str, ...] = ()


_ONE = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"), "1")
_ASCII = {"LC_ALL": "C", "LANG": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
_ORDER = ("-p", "tests.order")

CONDITIONS = {
    condition.name: condition
    for condition in (
        Condition("one-thread", environment=_ONE),
        Condition("many-threads", environment=dict.fromkeys(_ONE, "8")),
        Condition("reversed", options=(*_ORDER, "--order", "reversed")),
        Condition("random", options=(*_ORDER, "--order", "random")),
        Condition("parallel", options=("-n", "4")),
        Condition("read-only", read_only=True),
        Condition("empty-home", empty_home=True),
        Condition("locale", environment=_ASCII),
        Condition("path", folder="a folder with späces, and 名"),
    )
}


def copied(folder: Path) -> None:
    """The files of this checkout, as they are now, with no caches beside them."""
    listed = subprocess.run(
        ["git", "-C", str(ROOT), "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        stdout=subprocess.PIPE,
        check=True,
    ).stdout
    for name in filter(None, os.fsdecode(listed).split("\0")):
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / name)


def run(condition: Condition, arguments: list[str]) -> int:
    """The tests under a condition; pytest's exit code."""
    with tempfile.TemporaryDirectory(prefix="nnpf-everywhere-") as name:
        base = Path(name)
        base.chmod(0o755)
        folder, home, scratch = base / condition.folder, base / "home", base / "scratch"
        for made in (folder, home, scratch):
            made.mkdir()
        copied(folder)
        environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join(map(str, (folder, folder / "tools"))),
            "TMPDIR": str(scratch),
            **condition.environment,
        }
        options = ["-q", "-p", "no:cacheprovider", "-m", "not slow", *condition.options, *arguments]
        command = [sys.executable, "-m", "pytest", *options]
        if condition.empty_home or condition.read_only:
            environment["HOME"] = str(home)
            for variable in ("XDG_CACHE_HOME", "NUMBA_CACHE_DIR"):
                environment.pop(variable, None)
        if condition.read_only and hasattr(os, "geteuid") and os.geteuid() == 0:
            command = ["unshare", "--mount", "sh", "-c", _MOUNTED, str(folder), *command]
        elif condition.read_only:
            for path in (folder, *folder.rglob("*")):
                path.chmod(path.stat().st_mode & ~0o222)
        try:
            return subprocess.run(command, cwd=folder, env=environment, check=False).returncode
        finally:
            for path in (folder, *folder.rglob("*")):  # so that it can be removed
                path.chmod(path.stat().st_mode | 0o200)


def main() -> int:
    given = sys.argv[1:]
    for_pytest = given[given.index("--") + 1 :] if "--" in given else []
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("conditions", nargs="*", metavar="CONDITION", help=", ".join(CONDITIONS))
    parser.add_argument("--whole", action="store_true", help="all quick tests")
    args = parser.parse_args(given[: given.index("--")] if "--" in given else given)
    if unknown := set(args.conditions) - set(CONDITIONS):
        parser.error(f"no condition {', '.join(sorted(unknown))}")
    failed = []
    for name in args.conditions or CONDITIONS:
        print(f"--- {name}", flush=True)
        if run(CONDITIONS[name], [*([] if args.whole else SOME), *for_pytest]) != 0:
            failed.append(name)
    print(f"failed under: {', '.join(failed)}" if failed else "the same everywhere")
    return int(bool(failed))


if __name__ == "__main__":
    sys.exit(main())
