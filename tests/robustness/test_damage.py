"""Damaged streams end in a result or one line, and what is not damaged is shown. All of it: see damage.py."""

from pathlib import Path

import pytest

from tests.robustness import damage
from tests.vsei.encoded import encode


@pytest.fixture(scope="module")
def streams(samples: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """One of each codec, with SEI messages."""
    folder = tmp_path_factory.mktemp("damage")
    for encoder, name in (("libx264", "a.264"), ("libx265", "b.265")):
        (folder / name).write_bytes(encode(encoder, "bframes=2:keyint=8"))
    return [samples / "bbb_q37.266", folder / "a.264", folder / "b.265"]


@pytest.mark.parametrize("which", range(3), ids=["vvc", "avc", "hevc"])
def test_damaged_streams(which: int, streams: list[Path]) -> None:
    ended = damage.run(streams[which], streams, 3, apply_every=0)
    assert sum(ended.values()) == 3 * len(damage.WAYS)


@pytest.mark.slow
def test_damaged_reference_streams(shared: Path) -> None:
    streams = damage.reference_streams()
    assert len(streams) > 70
    for path in streams:
        damage.run(path, streams[::20], 3)
