"""What a result depends on, for those who want to see it again: the files it was made from, and the software."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

PACKAGES = ("nnpf", "numpy", "openvino", "torch", "onnxruntime", "av")


@dataclass(frozen=True, slots=True)
class FileFacts:
    """A file as it was when it was read. `sha256`: of its bytes, in hexadecimal digits."""

    path: str
    bytes: int
    sha256: str


def file_facts(path: str | Path) -> FileFacts | None:
    """Size and SHA-256; None for what cannot be read twice (pipes) or is no file."""
    if not Path(path).is_file():
        return None
    with Path(path).open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        return FileFacts(str(path), file.tell(), digest)


def facts_of(files: Mapping[str, str | None]) -> dict[str, dict[str, Any]]:
    """For reports: the facts of files by their roles, those left out that are not given or are no files."""
    found = {role: file_facts(path) for role, path in files.items() if path is not None}
    return {role: asdict(facts) for role, facts in found.items() if facts is not None}


def environment() -> dict[str, str]:
    """Versions and machine, as far as the result may depend on them."""
    import platform
    from importlib.metadata import PackageNotFoundError, version

    found = {"python": platform.python_version(), "system": platform.platform(), "cpu": _processor()}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def release() -> str:
    """The version of this program, and the commit where it runs out of a checkout or was installed from one."""
    from importlib.metadata import version

    commit = _commit()
    return version("nnpf") + (f" ({commit})" if commit else "")


def _commit() -> str | None:
    """Of a checkout as `git describe` says it; of an installation from a repository as pip has noted it."""
    import json
    import subprocess
    from importlib.metadata import distribution

    root = Path(__file__).resolve().parent.parent
    if (root / ".git").exists():
        command = ["git", "-C", str(root), "describe", "--always", "--dirty", "--abbrev=10"]
        try:
            found = subprocess.run(command, capture_output=True, text=True, timeout=5, check=False)
        except (OSError, subprocess.SubprocessError):
            return None
        return f"git {found.stdout.strip()}" if found.returncode == 0 else None
    noted = json.loads(distribution("nnpf").read_text("direct_url.json") or "{}")
    commit = noted.get("vcs_info", {}).get("commit_id")
    return f"git {commit[:10]}" if commit else None


def _processor() -> str:
    """The processor's name; Linux has it where Python's own look-up gives nothing."""
    import platform

    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor()
