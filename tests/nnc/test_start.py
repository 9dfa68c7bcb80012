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


def test_cached_code_does_not_outlive_a_change_in_any_source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """numba itself looks at the file of the function only, and not at what is compiled into it from others."""
    monkeypatch.setattr(compiled, "__file__", str(tmp_path / "compiled.py"))
    stamps = []
    for constant in ("1", "1", "2"):
        (tmp_path / "tables.py").write_text(f"A = {constant}")
        compiled._digest.cache_clear()

        def triple(x: int) -> int:
            return 3 * x

        function = compiled.compiled(triple)
        stamps.append(function._cache._cache_file._source_stamp)  # type: ignore[attr-defined]
    compiled._digest.cache_clear()
    assert stamps[0] == stamps[1]
    assert stamps[0] != stamps[2]


def test_a_numba_without_its_own_option_will_do(monkeypatch: pytest.MonkeyPatch) -> None:
    from numba.core.options import DefaultOptions

    assert compiled._options()["_nrt"] is False
    compiled._options.cache_clear()
    try:
        monkeypatch.delattr(DefaultOptions, "_nrt")
        assert "_nrt" not in compiled._options()
    finally:
        compiled._options.cache_clear()


@pytest.mark.slow
def test_processes_may_fill_the_cache_at_the_same_time(tmp_path: Path) -> None:
    program = f"from nnpf import nnc; print(len(nnc.decode(open({str(OWN / 'default.nnc')!r}, 'rb').read())))"
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path)}
    command = [sys.executable, "-c", program]
    runs = [subprocess.Popen(command, env=environment, stdout=subprocess.PIPE) for _ in range(3)]
    assert len({run.communicate(timeout=900)[0] for run in runs}) == 1
    assert all(run.returncode == 0 for run in runs)
    assert not list(tmp_path.rglob("*.tmp.*"))


def test_a_package_that_cannot_be_written_is_cached_elsewhere(tmp_path: Path) -> None:
    """The user's cache folder. As root everything can be written: the folder's place is taken by a file."""
    package = tmp_path / "kernels"
    package.mkdir()
    (package / "__pycache__").write_text("no folder")
    (package / "kernel.py").write_text(
        "from nnpf.nnc.compiled import compiled\n@compiled\ndef double(x):\n    return 2 * x\n"
    )
    program = "from kernel import double; assert double(21) == 42; print(double._cache.cache_path)"
    environment = {**os.environ, "PYTHONPATH": str(package), "XDG_CACHE_HOME": str(tmp_path / "cache")}
    environment.pop("NUMBA_CACHE_DIR", None)
    run = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True)
    assert run.stdout.startswith(str(tmp_path / "cache"))
