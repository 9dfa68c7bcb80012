"""What every test may ask for."""

import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import settings

# A deadline is of the clock, and other programs take their share of it. Where a hang is looked for, tests say so.
settings.register_profile("nnpf", deadline=None)
settings.load_profile("nnpf")

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def shared() -> Path:
    """The material beside the repository: reference vectors, clips, peers. A user's machine has none."""
    folder = ROOT.parent / "shared"
    if not (folder / "vectors").is_dir():
        pytest.skip(f"needs the reference material in {folder}, which this machine does not have")
    return folder


@pytest.fixture(scope="session")
def ffmpeg() -> str:
    """An ffmpeg program that knows H.266."""
    program = find_ffmpeg()
    if program is None:
        pytest.skip("needs an ffmpeg program that knows H.266 (pip install imageio-ffmpeg), which this machine lacks")
    return program


def find_ffmpeg() -> str | None:
    try:
        from imageio_ffmpeg import get_ffmpeg_exe

        program: str | None = get_ffmpeg_exe()
    except (ImportError, RuntimeError):
        program = shutil.which("ffmpeg")
    if program is None:
        return None
    formats = subprocess.run([program, "-hide_banner", "-formats"], capture_output=True, text=True, check=False)
    return program if " vvc " in formats.stdout else None


@pytest.fixture(scope="session")
def samples() -> Path:
    """The sample streams and filters that the repository carries."""
    return ROOT / "samples"
