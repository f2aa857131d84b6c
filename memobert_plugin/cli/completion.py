"""``memobert completion``: print a script with which bash, zsh or tcsh completes the commands and their flags."""

from __future__ import annotations

import argparse
import importlib
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from ..__main__ import COMMANDS
from ..core.console import CommandParser
from ..core.errors import UserError
from .extract_flags import LateParser

_EPILOG = """\
bash:  memobert completion bash > ~/.local/share/bash-completion/completions/memobert
zsh:   memobert completion zsh > ~/.zfunc/_memobert    (a folder of $fpath)
tcsh:  memobert completion tcsh > ~/.memobert.csh      (source it in ~/.tcshrc)

For one session of bash: eval "$(memobert completion bash)".
"""
_PATHS = {"FOLDER", "DIR", "DATA-BIN", "SAVE_DIR", "BUNDLE"}
"""Values that are folders."""


def build_parser() -> argparse.ArgumentParser:
    """Return the command's flags."""
    parser = CommandParser(
        command="completion",
        description="Print a script with which a shell completes memobert's commands, flags and files.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("shell", choices=("bash", "zsh", "tcsh"), help="the shell that reads the script")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status."""
    options = build_parser().parse_args(argv)
    try:
        import shtab
    except ImportError:
        raise UserError("completion: needs shtab; pip install shtab") from None
    # A "-" in the name of zsh's script is the program's own; for the others all programs share one file.
    print(shtab.complete(all_commands(), options.shell))
    return 0


def all_commands() -> argparse.ArgumentParser:
    """Return a parser of every sub-command with all its flags."""
    import shtab

    parser = CommandParser(prog="memobert")
    commands = parser.add_subparsers(metavar="COMMAND")
    for name, (module, summary) in COMMANDS.items():
        found = importlib.import_module(f"..{module}", __package__).build_parser()
        # A parser that is there already takes the place of the empty one.
        commands.add_parser(name, help=summary)
        commands.choices[name] = found
        for each in _with_commands(found):
            for action in each._actions:
                folder = str(action.metavar) in _PATHS
                if folder or action.type is Path or re.search("FILE|PATH|TSV|JSONL|HTML|CLIP", str(action.metavar)):
                    action.complete = shtab.DIRECTORY if folder else shtab.FILE  # type: ignore[attr-defined]
    return parser


def _with_commands(parser: argparse.ArgumentParser) -> Iterator[argparse.ArgumentParser]:
    """Yield a parser and those of its sub-commands, complete."""
    if isinstance(parser, LateParser):
        parser.complete()
    yield parser
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for one in dict.fromkeys(action.choices.values()):
                yield from _with_commands(one)
