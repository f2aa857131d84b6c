"""``memobert`` and ``python -m memobert_plugin``: all commands under one name."""

from __future__ import annotations

import importlib
import os
import site
import sys
from collections.abc import Sequence

COMMANDS = {
    "predict": ("cli.predict", "the emotion in clips, films and texts, with reasons, times and subtitles"),
    "extract": ("cli.extract", "turn films and sound files into frames: faces, speech, words"),
    "manifest": ("cli.manifest", "make a manifest from a folder of clips, with subtitles or words"),
    "corpora": ("corpora.__main__", "make a manifest from a published corpus"),
    "binarize": ("cli.binarize", "write a data-bin from a manifest and frames"),
    "inspect": ("cli.inspect", "say what a file or folder is and what it holds"),
    "import": ("cli.import_", "turn weights of BERT or of MEmoBERT's authors into a checkpoint"),
    "train": ("cli.train", "train a setting with its preset, by fairseq-train"),
    "sweep": ("cli.sweep", "carry out a plan: settings, folds, seeds, ablations"),
    "report": ("cli.report", "tables, figures and a page from the runs of a sweep"),
    "serve": ("cli.serve", "a page in the browser and POST /predict, on this machine"),
    "export": ("cli.export", "write a checkpoint as a bundle, one folder to hand on, or as ONNX"),
    "completion": ("cli.completion", "print a script with which a shell completes these commands"),
}
"""Module and summary of each sub-command; only the one that is asked for is imported."""


def usage() -> str:
    """Return what ``memobert --help`` prints."""
    lines = [f"  {name:<11} {summary}" for name, (_, summary) in COMMANDS.items()]
    return "\n".join(
        [
            "usage: memobert COMMAND ...",
            "",
            "Recognise emotion from words, faces and voice; train the model that does so.",
            "",
            "commands:",
            *lines,
            "",
            "memobert COMMAND --help shows a command's flags; --version, -q and -v work in all of them.",
            'train starts fairseq-train --user-dir "$(memobert inspect --user-dir)" and prints the whole command.',
            *(f"Documentation and recipes: {folder}" for folder in [documentation()] if folder),
        ]
    )


def documentation() -> str:
    """Return the folder of README.md, docs and examples: a checkout's, or the one that a wheel installs; or nothing."""
    checkout = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    installed = [os.path.join(base, "share", "doc", "memobert_plugin") for base in (sys.prefix, site.getuserbase())]
    for folder in (checkout, *installed):
        if os.path.isfile(os.path.join(folder, "docs", "commands.md")):
            return folder
    return ""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the sub-command that the first argument names.

    Raises:
        UserError: there is no such command.
    """
    from .core.errors import UserError

    given = list(sys.argv[1:] if arguments is None else arguments)
    name = given[0] if given else "--help"
    if name in ("-h", "--help", "help"):
        print(usage())
        return 0 if given else 2
    if name == "--version":
        from .core.version import version_text

        print(version_text("memobert"))
        return 0
    if name not in COMMANDS:
        from .core.console import closest

        raise UserError(f"{name}: no such command{closest(name, list(COMMANDS))}; memobert --help lists them")
    sys.argv = [f"memobert {name}", *given[1:]]
    return importlib.import_module(f".{COMMANDS[name][0]}", __package__).main(given[1:]) or 0


def cli_main() -> None:
    """Run the command as a process."""
    try:
        from .core.console import run_command
    except KeyboardInterrupt:
        sys.exit(130)
    if sys.argv[0].endswith("__main__.py"):
        sys.argv[0] = "memobert"
    run_command(main)


if __name__ == "__main__":
    cli_main()
