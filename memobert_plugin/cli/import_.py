"""``memobert-import``: take over what others made: weights to start from, frames of other tools."""

from __future__ import annotations

import argparse
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..core.console import CommandParser, run_command, say
from ..core.errors import UserError
from ..core.names import counted

if TYPE_CHECKING:
    from torch import Tensor

    from ..checkpoints.bert import ImportedBert
    from ..checkpoints.official import ImportedOfficial


def main(arguments: Sequence[str] | None = None) -> int:
    """Run ``memobert-import`` on these arguments (the process's own when None)."""
    options = build_parser().parse_args(arguments)
    return options.run(options)


def build_parser() -> argparse.ArgumentParser:
    """Return the command's flags."""
    parser = CommandParser(
        command="import",
        description="Turn other systems' weights into checkpoints for --finetune-from-model, and their frames into "
        "folders for memobert-binarize.",
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
        help="folder with config.json, vocab.txt, tokenizer.json or vocab.json and merges.txt, and the weights "
        "(.safetensors or .bin, whole or in shards)",
    )
    _add_output_flags(bert, example="bert.pt")
    bert.set_defaults(run=import_bert_folder)
    official = sources.add_parser(
        "official",
        help="a checkpoint of MEmoBERT's authors",
        description="Turn a checkpoint of MEmoBERT's authors into one that training starts from, and list new and "
        "unused parameters: MEmoBERT, pre-trained or finetuned (needs --config and --vocab), or DenseFace, the "
        "visual encoder (needs --grey-mean and --grey-std).",
    )
    official.add_argument(
        "--checkpoint",
        type=Path,
        required=True,
        metavar="FILE",
        help="the authors' weights, for example model_step_40000.pt",
    )
    for flag, metavar, text in (
        ("--config", "JSON", "the configuration beside them, for example uniter-base.json; tells the attention heads"),
        ("--vocab", "FILE", "the word pieces they were trained with: BERT's vocab.txt or tokenizer.json"),
    ):
        official.add_argument(flag, type=Path, metavar=metavar, help=text)
    for flag, text in (
        ("--grey-mean", "of a DenseFace: mean grey level (0 to 255) it was trained with; the file does not tell"),
        ("--grey-std", "of a DenseFace: the grey levels' standard deviation"),
    ):
        official.add_argument(flag, type=float, metavar="NUMBER", help=text)
    official.add_argument(
        "--labels",
        metavar="NAMES",
        help="of a finetuned checkpoint: its emotions in the order of its outputs, separated by commas "
        "(default: anger,happy,neutral,sad where it has four)",
    )
    _add_output_flags(official, example="memobert.pt")
    official.set_defaults(run=import_authors_checkpoint)
    _add_frames(sources)
    return parser


def _add_frames(sources: argparse._SubParsersAction[Any]) -> None:
    from .extract_flags import rate, share

    frames = sources.add_parser(
        "frames",
        help="frames that another tool made",
        description="Write frames of another tool into a folder for memobert-binarize and memobert-predict, one file "
        "an utterance. What cannot be used is left out and stands in failed.tsv.",
    )
    add = frames.add_argument
    add(
        "source",
        type=Path,
        metavar="SOURCE",
        help="a folder of .npy, .npz or .csv files named by the manifest's ids (.csv: a row per frame, as openSMILE "
        "writes them), an .npz file with one array per id, or Kaldi's .scp or .ark (extra 'kaldi')",
    )
    add("--output", type=Path, required=True, metavar="FOLDER", help="the folder to write")
    add("--name", required=True, help="what made the frames, for extractor.json; prediction compares it")
    add("--rate", type=rate, required=True, metavar="HZ", help="frames per second")
    add("--expression", type=Path, metavar="SOURCE", help="expression distributions of the same utterances, likewise")
    add("--classes", metavar="NAMES", help="the distributions' classes in order, separated by commas")
    add(
        "--max-failed-share", type=share, default=0.1, metavar="SHARE", help="more than this is an error (default: 0.1)"
    )
    add("--overwrite", action="store_true", help="replace frames that are there")
    frames.set_defaults(run=import_frames)


def import_frames(options: argparse.Namespace) -> int:
    """Run ``memobert-import frames``."""
    from ..data.frames import ExtractorInfo
    from ..features.extraction.ready_frames import take_over
    from .extract_flags import exit_status

    if (options.classes is None) != (options.expression is None):
        raise UserError("--classes, --expression: name the distributions and their classes together")
    classes = options.classes.split(",") if options.classes else None
    info = ExtractorInfo(options.name, frame_rate=options.rate, dim=None, classes=classes)
    taken = take_over(options.source, options.output, info, options.expression, overwrite=options.overwrite)
    asked = taken.written + taken.finished + len(taken.failures)
    say(
        f"{options.output}: {counted(asked, 'utterance')}, {taken.finished} finished before, {taken.written} written "
        f"({counted(taken.frames, 'frame')}), {len(taken.failures)} failed"
    )
    if taken.failures:
        say(f"the failures are in {options.output / 'failed.tsv'}, the first: {': '.join(taken.failures[0])}")
    return exit_status(
        len(taken.failures) / asked, f"{len(taken.failures)} of {asked} utterances", options.max_failed_share
    )


def _add_output_flags(source: argparse.ArgumentParser, example: str) -> None:
    source.add_argument("--output", type=Path, metavar="FILE", help=f"the checkpoint to write, for example {example}")
    source.add_argument("--overwrite", action="store_true", help="replace an output that exists")
    source.add_argument("--dry-run", action="store_true", help="only print what would be imported")


def _require_output(options: argparse.Namespace) -> None:
    from ..core.files import refuse_existing_file

    if options.output is None and not options.dry_run:
        raise UserError("--output: missing; name the checkpoint to write, or give --dry-run to list its parameters")
    if not options.dry_run:
        refuse_existing_file(options.output, options.overwrite)


def import_bert_folder(options: argparse.Namespace) -> int:
    """Run ``memobert-import bert``."""
    _require_output(options)
    from ..checkpoints.bert import import_bert

    return _finish(options, import_bert(options.folder), remarks=[], task_flags=[])


def import_authors_checkpoint(options: argparse.Namespace) -> int:
    """Run ``memobert-import official``."""
    _require_output(options)
    from ..checkpoints.official import import_official
    from ..checkpoints.official_denseface import is_denseface
    from ..checkpoints.state_dictionary import read_pickled_tensors

    content = read_pickled_tensors(options.checkpoint)
    if is_denseface(content):
        return _import_authors_denseface(options, content)
    _require(options, ("config", "vocab"), ("grey_mean", "grey_std"))
    imported = import_official(options.checkpoint, options.config, options.vocab, content)
    labels = classified_emotions(imported, options.labels)
    task_flags = ["--labels", ",".join(labels)] if labels else []
    return _finish(options, imported, remarks_on_official(imported, labels), task_flags)


def _import_authors_denseface(options: argparse.Namespace, content: Mapping[str, Tensor]) -> int:
    from ..checkpoints.official_denseface import import_denseface
    from ..checkpoints.starting_point import write_starting_point

    _require(options, ("grey_mean", "grey_std"), ("config", "vocab", "labels"))
    imported = import_denseface(options.checkpoint, content, options.grey_mean, options.grey_std)
    say(f"{imported.source}: DenseFace: memobert_denseface")
    say(f"unused: {', '.join(imported.unused) or 'nothing'}")
    if not options.dry_run:
        write_starting_point(
            options.output, imported.weights, {"_name": "memobert_denseface", "bfloat16_autocast": False}
        )
        say(
            f"written: {options.output}; train on with --arch memobert_denseface --finetune-from-model "
            f"{options.output}, or make frames after: python -m memobert_plugin.features.denseface.weights "
            f"{options.output} FILE"
        )
    return 0


def _require(options: argparse.Namespace, needed: Sequence[str], foreign: Sequence[str]) -> None:
    """Raise a :class:`UserError` for a flag that this kind of checkpoint lacks or does not take."""
    kind = "MEmoBERT" if "vocab" in needed else "DenseFace"
    for name in needed:
        if getattr(options, name) is None:
            raise UserError(f"--{name.replace('_', '-')}: missing; {options.checkpoint} is a {kind}, which needs it")
    for name in foreign:
        if getattr(options, name) is not None:
            raise UserError(f"--{name.replace('_', '-')}: {options.checkpoint} is a {kind}; leave the flag out")


def classified_emotions(imported: ImportedOfficial, named: str | None) -> list[str]:
    """Return the names of a finetuned head's outputs; empty without such a head or if they are unknown.

    Raises:
        UserError: ``named`` are not as many different names as the head has outputs.
    """
    from ..checkpoints.official import AUTHORS_LABELS

    if named is None:
        return list(AUTHORS_LABELS) if imported.labels == len(AUTHORS_LABELS) else []
    if imported.labels is None:
        raise UserError(f"--labels: {imported.source} has no finetuned head (output.output.*); leave the flag out")
    labels = [label.strip() for label in named.split(",")]
    if not all(labels) or len(set(labels)) != len(labels) or len(labels) != imported.labels:
        raise UserError(f"--labels {named!r}: {imported.source} has {imported.labels} emotions; name as many")
    return labels


def _finish(
    options: argparse.Namespace, imported: ImportedBert | ImportedOfficial, remarks: list[str], task_flags: list[str]
) -> int:
    """Print a description and write the checkpoint."""
    # Imported late: this loads torch, and a mistake should be reported before.
    from ..checkpoints.starting_point import model_settings, training_flags, write_starting_point
    from ..core.files import messages_kept_apart

    model = model_settings(imported.config)
    with messages_kept_apart(options.output):
        say(*describe(imported, model), *remarks)
        if not options.dry_run:
            write_starting_point(options.output, imported.weights, model)
            flags = " ".join([training_flags(model), *task_flags])
            say(f"written: {options.output}; use it with {flags} --finetune-from-model {options.output}")
    return 0


def describe(imported: ImportedBert | ImportedOfficial, model: Mapping[str, Any]) -> list[str]:
    """List the parameters that were taken, that training will initialise, and that were left out, a line each."""
    config = imported.config
    sizes = [weight.numel() for weight in imported.weights.values() if weight.is_floating_point()]
    lines = [
        f"{imported.source}: {config.layers} layers x {config.hidden} x {config.heads} heads, "
        f"feed-forward {config.ffn}, {config.max_positions} positions: {model['_name']}",
        f"taken: {len(sizes)} parameters, {sum(sizes) / 1e6:.1f} million numbers",
        f"new, initialised when training starts: {', '.join(imported.new) or 'nothing'}",
        f"unused: {', '.join(imported.unused) or 'nothing'}",
    ]
    if imported.padding_rows:
        lines.append(f"dropped: the last {imported.padding_rows} embedding rows, which the vocabulary does not name")
    return lines


def remarks_on_official(imported: ImportedOfficial, labels: Sequence[str]) -> list[str]:
    """Describe the parts of a published checkpoint beyond BERT, a line each."""
    dims = [
        f"{dim} numbers for each {kind} one"
        for kind, dim in (("visual", imported.visual_dim), ("acoustic", imported.acoustic_dim))
        if dim
    ]
    if imported.expression_classes:
        dims.append(f"{imported.expression_classes} facial expressions")
    lines = [f"frames: {', '.join(dims) or 'none'}"]
    if imported.dropped:
        lines.append(f"dropped: {', '.join(imported.dropped)}, which the published model does not use")
    for name, largest in imported.unmasked.items():
        lines.append(
            f"{name}: row 0, for frames that are not masked, reaches {largest:.3g}; treated as zero, as in the "
            "published network"
        )
    if labels:
        lines.append(f"emotions in the order of the finetuned head: {', '.join(labels)}")
    elif imported.labels is not None:
        lines.append(f"emotions of the finetuned head: {imported.labels} of unknown names; state them with --labels")
    return lines


def cli_main() -> None:
    """Run the command as a program, without fairseq's messages on optional packages."""
    logging.getLogger("fairseq").setLevel(logging.WARNING)
    run_command(main)
