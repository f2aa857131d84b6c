"""``memobert-export``: write a checkpoint as a bundle, one folder to hand on."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ..core.errors import run_command

if TYPE_CHECKING:
    from ..checkpoints.model_description import ModelDescription


def main(arguments: Sequence[str] | None = None) -> int:
    """Run ``memobert-export`` on these arguments (the process's own when None)."""
    options = build_parser().parse_args(arguments)
    from ..checkpoints.bundle import write_bundle
    from ..checkpoints.fairseq_checkpoint import read_fairseq_checkpoint

    labels = [label.strip() for label in options.labels.split(",") if label.strip()]
    model = read_fairseq_checkpoint(options.checkpoint, options.data_bin, labels, options.verbalizer)
    if options.zero_frames:
        model.description.training["zero_frames"] = True
    write_bundle(model, options.bundle, overwrite=options.overwrite)
    print(describe(model.description))
    print(f"written: {options.bundle}; its README.md has lines for you to complete")
    return 0


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = argparse.ArgumentParser(
        prog="memobert-export",
        description="Write a checkpoint of fairseq-train as a bundle: a folder with safetensors weights, one JSON "
        "configuration, the tokenizer and a model card, for memobert-predict and MEmoBERT.from_pretrained.",
    )
    parser.add_argument(
        "checkpoint", type=Path, metavar="CHECKPOINT", help="such as checkpoints/fold1/checkpoint_best.pt"
    )
    parser.add_argument("bundle", type=Path, metavar="BUNDLE", help="the folder to write")
    parser.add_argument(
        "--data-bin",
        type=Path,
        metavar="FOLDER",
        help="the data-bin it was trained on, for a checkpoint that does not carry its tokenizer; for weights of "
        "memobert-import official one of the same vocabulary and extractors",
    )
    parser.add_argument(
        "--labels",
        default="",
        metavar="NAMES",
        help="for weights of memobert-import official: emotions in the order of the classifier, or those to prompt for",
    )
    parser.add_argument(
        "--verbalizer",
        default="",
        metavar="WORDS",
        help="for imported weights without a classifier: the words of each of the --labels, such as "
        "'anger=angry sad=sad' (default: the paper's, 'anger=anger sad=sad')",
    )
    parser.add_argument(
        "--zero-frames",
        action="store_true",
        help="have the model read one zero frame for faces or speech that a clip lacks, as the authors' code does, "
        "instead of leaving the modality out; for imported weights (a training's own --zero-frames is kept)",
    )
    parser.add_argument("--overwrite", action="store_true", help="replace an earlier bundle (nothing else)")
    return parser


def describe(description: ModelDescription) -> str:
    """Describe a bundle in one line."""
    from ..checkpoints.model_description import PRETRAINED

    names = {"visual": description.visual_extractor, "acoustic": description.acoustic_extractor}
    frames = [f"{modality} frames by {info.name}" for modality, info in names.items() if info]
    what = "pre-trained, no emotions" if description.kind == PRETRAINED else ", ".join(description.labels)
    return f"{description.kind}: {what}; {'; '.join(frames) or 'text only'}"


def cli_main() -> None:
    """Run the command and leave the process."""
    run_command(main)
