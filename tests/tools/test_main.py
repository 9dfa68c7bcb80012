"""The frame of the command: help, errors in one line, exit codes, files that appear whole or not at all."""

import argparse
import io
import subprocess
import sys

import pytest

from nnpf_tools import files, main


def test_help_shows_examples_for_every_command(capsys):
    for command in main._available():
        with pytest.raises(SystemExit) as stopped:
            main.main([command, "--help"])
        assert stopped.value.code == 0
        text = capsys.readouterr().out
        assert "examples:" in text
        assert f"nnpf {command}" in text


def test_wrong_usage_is_exit_code_2(capsys):
    for arguments in ([], ["unknown"], ["dump"], ["dump", "--no-such-option", "x"]):
        with pytest.raises(SystemExit) as stopped:
            main.main(arguments)
        assert stopped.value.code == 2
    capsys.readouterr()


@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        (["dump", ""], "stream"),
        (["apply", "in.266", "-o", ""], "output"),
        (["inject", "in.266", "--base", "", "-o", "out.266"], "base"),
        (["apply", "in.266", "--md5", "--model-map", ""], "model-map"),
        (["nnc", "decode", "", "-o", "out.onnx"], "payload"),
    ],
)
def test_an_empty_name_is_not_the_working_folder(arguments, name, capsys):
    assert main.main(arguments) == 2
    assert capsys.readouterr().err == f"nnpf: {name}: an empty text is given; is a variable of the shell not set?\n"


def test_the_version_names_the_editions(capsys):
    with pytest.raises(SystemExit):
        main.main(["--version"])
    assert "H.274 V3 09/2023 and V4 01/2026" in capsys.readouterr().out


def test_debug_shows_the_traceback(tmp_path):
    with pytest.raises(FileNotFoundError):
        main.main(["dump", str(tmp_path / "none"), "--debug"])


@pytest.mark.parametrize(
    ("missing", "said"),
    [
        ("torch", "nnpf: dump needs torch: pip install 'nnpf[torch]'\n"),
        ("dask.config", "nnpf: dump needs dask: pip install 'nnpf[batch]'\n"),
        ("av", "nnpf: dump needs av: its installation is damaged: pip install --force-reinstall nnpf\n"),
    ],
)
def test_a_package_that_is_missing_is_named_with_the_way_out(missing, said, capsys, monkeypatch):
    def fails(_: argparse.Namespace) -> int:
        raise ModuleNotFoundError(f"No module named {missing!r}", name=missing)

    monkeypatch.setattr("nnpf_tools.dump.run", fails)
    assert main.main(["dump", "in.266"]) == 1
    assert capsys.readouterr().err == said


@pytest.mark.skipif(sys.platform == "win32", reason="of a POSIX shell")
@pytest.mark.parametrize("closed", [">&-", "2>&-", ">&- 2>&-", "<&-", "<&- >&- 2>&-"])
def test_standard_streams_may_be_closed(samples, tmp_path, closed):
    """As services and cron jobs have it."""
    out = tmp_path / "out.266"
    for arguments in (f"dump {samples}/bbb_q37.266 --summary", f"strip {samples}/bbb_q37.266 -o {out} --force"):
        command = f"{sys.executable} -m nnpf_tools.main {arguments} {closed}"
        done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=False)
        assert (done.returncode, "Traceback" in done.stderr) == (0, False)
    assert out.read_bytes() == (samples / "bbb_q37.266").read_bytes()


def test_standard_input_that_is_closed_is_empty(capfd):
    command = f"{sys.executable} -m nnpf_tools.main dump - <&-"
    assert subprocess.run(["sh", "-c", command], check=False).returncode == 1
    assert capfd.readouterr().err == "nnpf: -: the stream is empty\n"


class TestOutputFiles:
    def test_the_file_appears_when_it_is_whole(self, tmp_path):
        target = tmp_path / "out"
        with files.open_output(str(target)) as out:
            out.write(b"half")
            assert not target.exists()
            out.write(b" and half")
        assert target.read_bytes() == b"half and half"
        assert list(tmp_path.iterdir()) == [target]

    def test_a_failure_leaves_nothing_new(self, tmp_path):
        target = tmp_path / "out"
        target.write_bytes(b"old")
        with pytest.raises(RuntimeError), files.open_output(str(target), force=True) as out:
            out.write(b"new")
            raise RuntimeError
        assert target.read_bytes() == b"old"
        assert list(tmp_path.iterdir()) == [target]

    def test_nothing_is_replaced_without_force(self, tmp_path):
        target = tmp_path / "out"
        target.write_bytes(b"old")
        with pytest.raises(files.OutputError, match="exists; --force replaces it"):
            files.check_output(str(target))
        files.check_output(str(target), force=True)

    def test_an_input_is_never_replaced(self, tmp_path):
        target = tmp_path / "in"
        target.write_bytes(b"x")
        link = tmp_path / "link"
        link.symlink_to(target)
        with pytest.raises(files.OutputError, match="is also the input"):
            files.check_output(str(link), force=True, inputs=(str(target),))

    def test_a_folder_that_is_missing_is_named(self, tmp_path):
        with pytest.raises(FileNotFoundError) as error:
            files.check_output(str(tmp_path / "no" / "out"))
        assert error.value.filename == str(tmp_path / "no")


def test_no_progress_off_a_terminal(capsys):
    with files.progress(argparse.Namespace(quiet=False), 10, "B") as bar:
        bar.advance(5)
    assert bar.count == 5
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("quiet", [True, False])
def test_progress_on_a_terminal_unless_quiet(capsys, monkeypatch, quiet):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    with files.progress(argparse.Namespace(quiet=quiet), 10, "B") as bar:
        bar.advance(5)
    assert bool(capsys.readouterr().err) is not quiet


def test_what_is_printed_beside_a_bar_stands_on_lines_of_its_own(monkeypatch):
    terminal = io.StringIO()  # gets both, as a terminal does
    terminal.isatty = lambda: True
    monkeypatch.setattr(sys, "stdout", terminal)
    monkeypatch.setattr(sys, "stderr", terminal)
    with files.progress(argparse.Namespace(quiet=False), 3, "pictures") as bar:
        bar.advance()
        print("first", "line")
        print("second line", file=sys.stderr)
        bar.advance()
    assert sys.stdout is terminal
    seen = [part for part in terminal.getvalue().split("\r") if part.strip()]
    assert seen[0].startswith("  0%|") and "0/3 [" in seen[0] and "? pictures/s" in seen[0]
    assert "first line\nsecond line\n" in seen


@pytest.mark.parametrize("command", [("dump",), ("validate",), ("strip", "-o", "out.266"), ("extract", "-o", "out")])
def test_an_empty_stream_is_an_error(command, tmp_path, capsys, monkeypatch):
    """Not a stream without messages, nor one that is clean: somebody's encoder has failed."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "in.266").touch()
    assert main.main([command[0], "in.266", *command[1:]]) == 1
    assert capsys.readouterr().err == "nnpf: in.266: the stream is empty\n"
    assert [path.name for path in tmp_path.iterdir()] == ["in.266"]
