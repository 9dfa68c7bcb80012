"""What every test may ask for."""

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
def samples() -> Path:
    """The sample streams and filters that the repository carries."""
    return ROOT / "samples"
