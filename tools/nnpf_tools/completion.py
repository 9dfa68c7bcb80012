"""Print a script that completes commands, options and files of `nnpf` in a shell.

It is made from the commands as they are in this version: make it again after an upgrade.
"""

from __future__ import annotations

import argparse

EPILOG = """examples:
  nnpf completion bash > ~/.local/share/bash-completion/completions/nnpf
  nnpf completion zsh > ~/.zfunc/_nnpf              with fpath+=~/.zfunc in front of compinit in ~/.zshrc
  nnpf completion fish > ~/.config/fish/completions/nnpf.fish
  source <(nnpf completion bash)                    for this shell only
"""

SHELLS = ("bash", "zsh", "fish")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("shell", choices=SHELLS, help="the shell")


def run(args: argparse.Namespace) -> int:
    import shtab

    from nnpf_tools.main import build_parser

    parser = build_parser()
    _complete_files(parser, shtab.FILE)
    print(shtab.complete(parser, shell=args.shell))
    return 0


def _complete_files(parser: argparse.ArgumentParser, files: object) -> None:
    """What has no choices of its own is most often a file, or followed by one."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for command in action.choices.values():
                _complete_files(command, files)
        elif action.choices is None and action.nargs != 0 and action.type is not int:
            action.complete = files  # type: ignore[attr-defined]  # what shtab looks for
