"""The documentation builds without a warning, and its references know every command."""

import re
import subprocess
import sys

import pytest

from nnpf_tools.main import COMMANDS
from tests.conftest import ROOT

pytestmark = pytest.mark.slow


def test_it_builds_without_a_warning(tmp_path):
    for package in ("sphinx", "myst_parser", "furo", "sphinx_argparse_cli", "sphinx_copybutton"):
        pytest.importorskip(package)
    command = [sys.executable, "-m", "sphinx", "-q", "-W", "--keep-going", "-b", "html", ROOT / "docs", tmp_path]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    commands = (tmp_path / "commands.html").read_text("utf-8")
    for name in COMMANDS:
        assert re.search(rf'<section id="{name}">|id="nnpf-{name}"', commands), name
    api = (tmp_path / "api.html").read_text("utf-8")
    for name in ("nnpf.inject", "nnpf.apply", "nnpf.fit_update", "nnpf.read_messages", "vsei.read_messages"):
        assert f'id="{name}"' in api, name
