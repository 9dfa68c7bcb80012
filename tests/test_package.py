"""What is built installs into a fresh environment, and works there. Takes minutes, and the network."""

import json
import subprocess
import sys
import tarfile
import tomllib
import venv
import zipfile

import pytest

from .conftest import ROOT

pytestmark = pytest.mark.slow
VERSION = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]


def run(*command, cwd):
    done = subprocess.run(list(map(str, command)), cwd=cwd, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-4000:]
    return done.stdout


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """The folder with sdist and wheel; the wheel is built out of the sdist, as packagers do it."""
    pytest.importorskip("build")
    folder = tmp_path_factory.mktemp("dist")
    run(sys.executable, "-m", "build", "--outdir", folder, ROOT, cwd=folder)
    return folder


@pytest.fixture(scope="module")
def installed(built, tmp_path_factory):
    """The scripts of an environment with nothing but the wheel and what it asks for."""
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder, with_pip=True)
    (wheel,) = built.glob("*.whl")
    run(folder / "bin/pip", "install", "--quiet", "--disable-pip-version-check", wheel, cwd=folder)
    return folder / "bin"


def test_the_wheel_has_the_packages_and_nothing_else(built):
    (wheel,) = built.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    tops = {name.split("/")[0] for name in names}
    assert tops == {"vsei", "nnpf", "nnpf_tools", f"nnpf-{VERSION}.dist-info"}
    assert {"vsei/py.typed", "nnpf/py.typed", f"nnpf-{VERSION}.dist-info/licenses/LICENSE"} <= set(names)
    sources = {
        path.relative_to(root).as_posix()
        for root, package in ((ROOT, "vsei"), (ROOT, "nnpf"), (ROOT / "tools", "nnpf_tools"))
        for path in (root / package).rglob("*.py")
    }
    assert {name for name in names if name.endswith(".py")} == sources


def test_the_sdist_has_all_that_is_under_version_control(built):
    (sdist,) = built.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    for path in ("samples/bbb_q37.266", "samples/filters/tiny.onnx", "docs/conf.py", "tests/conftest.py", "Makefile"):
        assert path in names
    assert not any(name.startswith((".venv", "dist", "docs/_build")) for name in names)


def test_it_works_where_nothing_else_is_installed(installed, samples, tmp_path):
    assert run(installed / "nnpf", "--version", cwd=tmp_path).startswith(f"nnpf {VERSION} ")
    health = json.loads(run(installed / "nnpf", "doctor", "--json", cwd=tmp_path))
    assert health["works"]
    states = {check["name"]: check["state"] for check in health["checks"]}
    assert states["torch"] == states["onnxruntime"] == "absent"
    stream, filters = samples / "bbb_q37.266", samples / "filters"
    run(installed / "nnpf", "inject", stream, "--base", filters / "tint_red.onnx", "-o", "out.266", cwd=tmp_path)
    assert "filter 1        2 bases" in run(installed / "nnpf", "dump", "out.266", "--summary", cwd=tmp_path)
    run(installed / "nnpf", "apply", "out.266", "--model-root", filters, "-o", "out.y4m", cwd=tmp_path)
    assert (tmp_path / "out.y4m").stat().st_size > 65 * 416 * 240 * 3


def test_every_module_that_needs_no_extra_is_imported(installed, tmp_path):
    """A file that the wheel lacks, or an import that only an extra brings, shows here."""
    code = """
import importlib, pkgutil, nnpf, vsei, nnpf_tools
missing = {}
for package in (vsei, nnpf, nnpf_tools):
    for module in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
        if not module.name.endswith("__main__"):
            try:
                importlib.import_module(module.name)
            except ModuleNotFoundError as error:
                missing[module.name] = error.name.partition(".")[0]
print(sorted(set(missing.values())))
"""
    extras = ("torch", "onnxruntime", "matplotlib", "PIL", "bjontegaard", "distributed", "dask", "scipy", "jinja2")
    found = run(installed / "python", "-c", code, cwd=tmp_path).strip()
    assert set(json.loads(found.replace("'", '"'))) <= set(extras)


def test_types_are_seen_by_those_who_use_it(installed, tmp_path):
    pytest.importorskip("mypy")
    (tmp_path / "use.py").write_text(
        "import nnpf, vsei\n"
        "for found in nnpf.read_messages('in.266'):\n"
        "    reveal_type(found.name)\n"
        "for picture in nnpf.apply('in.266'):\n"
        "    reveal_type(picture.record.poc)\n"
        "nnpf.inject(1, 2)\n"
    )
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--python-executable", str(installed / "python"), "use.py"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert 'Revealed type is "str"' in done.stdout or 'Revealed type is "builtins.str"' in done.stdout, done.stdout
    assert 'Revealed type is "int"' in done.stdout or 'Revealed type is "builtins.int"' in done.stdout
    assert 'Argument 1 to "inject" has incompatible type "int"' in done.stdout


def test_the_version_is_the_same_everywhere():
    assert f"\nversion: {VERSION}\n" in (ROOT / "CITATION.cff").read_text()
