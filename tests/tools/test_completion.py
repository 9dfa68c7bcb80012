"""`nnpf completion`: scripts that shells accept, and that complete what there is."""

import shutil
import subprocess

import pytest

from nnpf_tools.main import COMMANDS, main


def script(shell, tmp_path, capsys):
    assert main(["completion", shell]) == 0
    path = tmp_path / f"nnpf.{shell}"
    path.write_text(capsys.readouterr().out)
    return path


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_script_is_accepted_and_complete(shell, tmp_path, capsys):
    path = script(shell, tmp_path, capsys)
    text = path.read_text()
    for name in COMMANDS:
        assert name in text
    assert "on-existing" in text
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not on this machine: the script's syntax is not checked")
    assert subprocess.run([shell, "-n", path], capture_output=True).stderr == b""


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
@pytest.mark.parametrize(
    ("words", "completed"),
    [
        ("nnpf inj", "inject"),
        ("nnpf nnc enc", "encode"),
        ("nnpf inject --on-e", "--on-existing"),
        ("nnpf inject --on-existing re", "replace"),
        ("nnpf dump in.", "in.266"),
    ],
)
def test_bash_completes(words, completed, tmp_path, capsys):
    path = script("bash", tmp_path, capsys)
    (tmp_path / "in.266").touch()
    typed = f"COMP_WORDS=({words}); COMP_CWORD={len(words.split()) - 1}"
    ask = f"source {path}; {typed}; _shtab_nnpf; echo ${{COMPREPLY[@]}}"
    done = subprocess.run(["bash", "--norc", "-c", ask], capture_output=True, text=True, cwd=tmp_path)
    assert done.stdout.split() == [completed], done.stderr
