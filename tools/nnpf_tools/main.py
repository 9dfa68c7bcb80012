"""`nnpf`: reads the command line, runs one subcommand, turns errors into one line and an exit code.

Exit codes: 0 done; 1 failed (the input or the machine is at fault); 2 wrong usage; 3 done, and what was checked has
findings; 130 stopped by Ctrl-C.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import io
import os
import sys
from collections.abc import Container, Sequence
from types import ModuleType

from nnpf import outputs, steps
from nnpf.errors import printable
from nnpf_tools import stopping, watched
from nnpf_tools.files import STDOUT, UsageError

# The module of a command is imported only when the command runs: start-up must feel instant.
COMMANDS = {
    "dump": "show the SEI messages of a stream, by picture",
    "inject": "put post-filter messages into a stream",
    "extract": "take the messages out into files and a specification that puts them back",
    "strip": "remove SEI messages from a stream",
    "validate": "check the messages of a stream against the standard",
    "apply": "decode a stream and filter its pictures as its messages say",
    "eval": "measure what filters gain: PSNR, SSIM, BD-rate, cost",
    "report": "one HTML page: where filters act, what each picture gains, before and after",
    "prepare": "make a base filter ready for small updates",
    "adapt": "fit an update of a base filter to a clip, and code it",
    "batch": "run an experiment matrix: sequences, rate points, filters",
    "nnc": "encode, decode and inspect NNC payloads (ISO/IEC 15938-17)",
    "doctor": "try what is installed: decoders, engines, devices; how to fix what does not work",
    "completion": "print what completes commands and options in a shell",
}

EPILOG = """examples:
  nnpf dump in.266                                  what post-filter messages are in there?
  nnpf inject in.266 --base filter.onnx -o out.266  put a filter in, active on all pictures
  nnpf apply out.266 -o filtered.y4m                decode and filter
  nnpf COMMAND --help                               more examples
"""


def _available() -> dict[str, str]:
    here = importlib.util.find_spec
    return {name: summary for name, summary in COMMANDS.items() if here(f"nnpf_tools.{name}") is not None}


class _Version(argparse.Action):
    """--version. What it prints takes longer to find than most commands take to start."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        from nnpf.provenance import release

        print(f"nnpf {release()} (H.274 V3 09/2023 and V4 01/2026)")
        parser.exit()


def build_parser(chosen: Container[str | None] = frozenset(COMMANDS)) -> argparse.ArgumentParser:
    """The parser of all commands; only the chosen ones get their arguments (and their imports)."""
    parser = argparse.ArgumentParser(
        prog="nnpf",
        description="Neural-network post-filters in video bitstreams (ITU-T H.274 | ISO/IEC 23002-7).",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action=_Version, nargs=0, help="print the version and the editions of H.274")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name, summary in _available().items():
        if name in chosen:
            module = _module(name)
            command = commands.add_parser(
                name,
                help=summary,
                description=module.__doc__,
                epilog=module.EPILOG,
                formatter_class=argparse.RawDescriptionHelpFormatter,
            )
            module.add_arguments(command)
            command.add_argument("--debug", action="store_true", help="show the traceback of an error")
            command.add_argument(
                "--set-limit", metavar="NAME=N", action="append", default=[], help="change a limit (docs/security.md)"
            )
        else:
            commands.add_parser(name, help=summary, add_help=False)
    return parser


def _module(name: str) -> ModuleType:
    return importlib.import_module(f"nnpf_tools.{name}")


def _open_standard_streams() -> None:
    """Python has none where one was closed, as by `nnpf ... >&-` or a service; the next file would get its number."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            nowhere = os.open(os.devnull, os.O_RDWR)
            if nowhere != number:
                os.dup2(nowhere, number)
                os.close(nowhere)
            setattr(sys, name, os.fdopen(number, "r" if number == 0 else "w", encoding="utf-8"))


def _check_given(args: argparse.Namespace) -> None:
    """UsageError for an empty name, which would be taken for the working folder."""
    for name, value in vars(args).items():
        if "" in (value if isinstance(value, list) else [value]):
            raise UsageError(f"{name.replace('_', '-')}: an empty text is given; is a variable of the shell not set?")


def _prepare(args: argparse.Namespace) -> None:
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # whatever characters a terminal has, a stream may have more
    if args.set_limit or "NNPF_LIMITS" in os.environ:
        from nnpf import limits

        try:
            limits.take(args.set_limit)
        except ValueError as error:
            raise UsageError(str(error)) from None


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; returns the exit code."""
    if argv is None:
        _open_standard_streams()
    if argv is None and watched.possible() and (ended := watched.divide()) is not None:
        os._exit(ended)
    arguments = list(sys.argv[1:] if argv is None else argv)
    chosen = next((a for a in arguments if not a.startswith("-")), None)
    args = build_parser({chosen}).parse_args(arguments)
    if argv is None:  # this process is there for this command only
        stopping.watch()
    if (stream := getattr(args, "stream", None)) is not None:
        steps.about(str(stream))
    try:
        _check_given(args)
        _prepare(args)
        if argv is None:
            watched.bound_memory()
        code = int(_module(args.command).run(args))
        sys.stdout.flush()
        return code
    except KeyboardInterrupt as error:
        return _stopped(error, alone=argv is None)
    except Exception as error:
        # A library may have made an error of its own of what stopped it, as an import does.
        if (stop := stopping.received()) is not None:
            return _stopped(stop, alone=argv is None)
        return _failed(error, args)


def _stopped(error: KeyboardInterrupt, *, alone: bool) -> int:
    print("nnpf: stopped", file=sys.stderr, flush=True)
    if alone:
        os._exit(stopping.exit_code(error))  # threads that still compute are not waited for
    return stopping.exit_code(error)


def _failed(error: Exception, args: argparse.Namespace) -> int:
    """The line that tells it; what no user can cause is raised again."""
    if isinstance(error, UsageError):
        print(f"nnpf: {error}", file=sys.stderr)
        return 2
    if not isinstance(error, (ValueError, OSError, RuntimeError, MemoryError, ImportError, SystemError)):
        raise error
    if isinstance(error, OSError) and error.filename in (None, STDOUT) and error.errno in outputs.OF_WRITING:
        # Keep Python from writing the rest at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        error.filename = STDOUT
    if args.debug:
        raise error
    print(f"nnpf: {_one_line(error, args)}", file=sys.stderr)
    return 1


# Packages that only some commands need, and the extra of this program that brings them.
_EXTRAS = {"torch": "torch", "onnxruntime": "ort", "matplotlib": "plot", "dask": "batch", "distributed": "batch"}


def _way_out(error: ModuleNotFoundError, command: str) -> str:
    package = str(error.name).partition(".")[0]
    extra = _EXTRAS.get(package)
    how = f"pip install 'nnpf[{extra}]'" if extra else "its installation is damaged: pip install --force-reinstall nnpf"
    return f"{command} needs {package}: {how}"


def _one_line(error: BaseException, args: argparse.Namespace) -> str:
    """`FILE: offset N: element: what is wrong`"""
    if isinstance(error, OSError) and error.filename is not None:
        reason = "closed by its reader" if isinstance(error, BrokenPipeError) else error.strerror
        return printable(f"{os.fspath(error.filename)}: {reason}")
    if isinstance(error, ModuleNotFoundError) and error.name:
        return printable(_way_out(error, args.command))
    file = getattr(error, "path", None) or getattr(args, "stream", None)
    text = " ".join(str(error).split()) or type(error).__name__
    if isinstance(error, MemoryError):
        from nnpf import limits

        text = f"out of memory; a command may take {limits.current().process_bytes} bytes (--set-limit process_bytes=N)"
    return printable(text if file is None or text.startswith(f"{file}: ") else f"{file}: {text}")


if __name__ == "__main__":
    sys.exit(main())
