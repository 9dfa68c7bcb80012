"""What importing costs, and where compiled code is kept."""

import os
import subprocess
import sys
from pathlib import Path

import numba
import pytest

from nnpf.nnc import compiled
from tests.nnc.vectors import OWN


def test_importing_brings_in_nothing_heavy() -> None:
    program = "import sys, nnpf.nnc; print([m for m in ('numba', 'onnx', 'torch', 'av', 'vsei') if m in sys.modules])"
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"


def test_compiled_code_goes_where_it_may_be_kept(tmp_path: Path) -> None:
    """A package folder that cannot be written is no obstacle: numba has other places, NUMBA_CACHE_DIR first."""
    program = f"from nnpf import nnc; nnc.decode(open({str(OWN / 'default.nnc')!r}, 'rb').read())"
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path)}
    subprocess.run([sys.executable, "-c", program], check=True, env=environment)
    assert list(tmp_path.rglob("*decode_levels*.nbc"))


def test_without_any_folder_code_is_compiled_without_being_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    real = numba.njit

    def no_locator(*args: object, cache: bool = False, **options: object) -> object:
        if cache:
            raise RuntimeError("cannot cache function: no locator available")
        return real(*args, **options)  # type: ignore[call-overload]

    monkeypatch.setattr(compiled, "_njit", no_locator)

    def double(x: int) -> int:
        return 2 * x

    with pytest.warns(UserWarning, match="NUMBA_CACHE_DIR"):
        function = compiled.compiled(double)
    assert function(21) == 42
