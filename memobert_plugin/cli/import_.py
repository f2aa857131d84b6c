"""``memobert-import``: other systems' weights as checkpoints that training starts from."""

from __future__ import annotations

import argparse
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import UserError, run_command

if TYPE_CHECKING:
    from ..checkpoints.bert import ImportedBert


def main(arguments: Sequence[str] | None = None) -> int:
    """Run ``memobert-import`` on these arguments (the process's own when None)."""
    options = build_parser().parse_args(arguments)
    return options.run(options)


def build_parser() -> argparse.ArgumentParser:
    """The command's flags."""
    parser = argparse.ArgumentParser(
        prog="memobert-import", description="Turn other systems' weights into checkpoints for --finetune-from-model."
    )
    sources = parser.add_subparsers(title="sources", required=True, metavar="SOURCE")
    bert = sources.add_parser(
        "bert",
        help="a Hugging Face BERT folder",
        description="Turn a Hugging Face BERT folder into a checkpoint and say which parameters are new.",
    )
    bert.add_argument(
        "folder",
        type=Path,
        metavar="FOLDER",
        help="folder with config.json, vocab.txt and model.safetensors or pytorch_model.bin",
    )
    bert.add_argument("--output", type=Path, metavar="FILE", help="the checkpoint to write, for example bert.pt")
    bert.add_argument("--dry-run", action="store_true", help="only print what would be imported")
    bert.set_defaults(run=import_bert_folder)
    return parser


def import_bert_folder(options: argparse.Namespace) -> int:
    """``memobert-import bert``."""
    if options.output is None and not options.dry_run:
        raise UserError("--output: missing; name the checkpoint to write, or give --dry-run to see what it would hold")
    from ..checkpoints.bert import import_bert

    imported = import_bert(options.folder)

    # Only now, because this brings in the host, which takes seconds: a mistake above is reported sooner.
    from ..checkpoints.host_model import host_model, training_flags
    from ..checkpoints.starting_point import write_starting_point

    model = host_model(imported.config)
    print(describe(imported, model))
    if not options.dry_run:
        write_starting_point(options.output, imported.weights, model)
        print(f"written: {options.output}; use it with {training_flags(model)} --finetune-from-model {options.output}")
    return 0


def describe(imported: ImportedBert, model: Mapping[str, Any]) -> str:
    """What was taken, what training will initialise and what was left, a line each."""
    config = imported.config
    sizes = [weight.numel() for weight in imported.weights.values() if weight.is_floating_point()]
    lines = [
        f"{imported.source}: {config.layers} layers x {config.hidden} x {config.heads} heads, "
        f"feed-forward {config.ffn}, {config.max_positions} positions: {model['_name']}",
        f"taken: {len(sizes)} parameters, {sum(sizes) / 1e6:.1f} million numbers",
        f"new, initialised when training starts: {', '.join(imported.new)}",
        f"unused: {', '.join(imported.unused) or 'nothing'}",
    ]
    if imported.padding_rows:
        lines.append(f"dropped: the last {imported.padding_rows} embedding rows, which vocab.txt does not name")
    return "\n".join(lines)


def cli_main() -> None:
    """Entry point of the command; the host's remarks on optional packages are kept out of its output."""
    logging.getLogger("fairseq").setLevel(logging.WARNING)
    run_command(main)
