"""The examples run, and do what they say."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


@pytest.mark.parametrize("codec", ["h265", "h264"])
def test_the_whole_loop(codec: str, tmp_path: Path) -> None:
    """Encoded, filtered, fitted and filtered again: each step is better than the one before."""
    pytest.importorskip("torch")
    command = [sys.executable, str(ROOT / "examples/whole_loop.py"), "--codec", codec, "--folder", str(tmp_path)]
    small = ["--pictures", "10", "--steps", "100", "--slope", "0.002"]
    done = subprocess.run([*command, *small], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "picture 0, POC 0: nnpfc\npicture 0, POC 0: nnpfa\n" in done.stdout
    psnr = {
        name: (float(a), float(b)) for name, a, b in re.findall(r"(\w+): +luma PSNR (\S+) -> (\S+) dB", done.stdout)
    }
    decoded, by_base = psnr["base"]
    again, by_update = psnr["update"]
    assert decoded == again
    assert decoded < by_base < by_update
    assert {p.name for p in tmp_path.iterdir()} == {
        *("original.mkv", "coded.mp4", "filtered.mp4", "fitted.mp4", "update.nnc", "update.yaml")
    }
