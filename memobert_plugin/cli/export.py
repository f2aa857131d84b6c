"""``memobert-export``: write a checkpoint as a bundle, one folder to hand on."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from ..core.console import CommandParser, run_command, say
from ..core.errors import UserError
from ..core.names import CLASSES, DIMENSIONS, MODALITY_CASES, SEVERAL, counted
from ..core.version import license_of, shipped_model

if TYPE_CHECKING:
    from ..checkpoints.model_description import ModelDescription
    from ..checkpoints.trained_model import TrainedModel


def main(arguments: Sequence[str] | None = None) -> int:
    """Run ``memobert-export`` on these arguments (the process's own when None)."""
    options = build_parser().parse_args(arguments)
    if options.bundle is None and options.onnx is None:
        raise UserError("nothing to write: name the BUNDLE, or give --onnx FILE")
    if options.onnx is not None:
        from ..core.files import refuse_existing_file, refuse_input
        from ..inference.onnx_export import require_onnx

        refuse_input(options.onnx, options.checkpoint)
        refuse_existing_file(options.onnx, options.overwrite)
        require_onnx()
    model = _model(options)
    say(describe(model.description))
    if options.bundle is not None:
        from ..checkpoints.bundle import write_bundle

        write_bundle(model, options.bundle, overwrite=options.overwrite)
        say(f"written: {options.bundle}; its README.md has lines for you to complete")
    if options.onnx is not None:
        _write_onnx(model, options.onnx)
    return 0


def _model(options: argparse.Namespace) -> TrainedModel:
    """Read a checkpoint or a bundle, with the description that the flags ask for."""
    from ..checkpoints.bundle import read_bundle
    from ..checkpoints.fairseq_checkpoint import read_fairseq_checkpoint

    source = options.checkpoint or shipped_model()
    labels = [label.strip() for label in options.labels.split(",") if label.strip()]
    if source.is_dir():
        if options.data_bin or labels or options.verbalizer:
            raise UserError(f"{source}: a bundle has its tokenizer and labels; leave --data-bin and the like out")
        model = read_bundle(source)
    else:
        model = read_fairseq_checkpoint(source, options.data_bin, labels, options.verbalizer)
    if options.zero_frames:
        model.description.training["zero_frames"] = True
    return replace(model, description=described(model.description, options.calibrate, options.note))


def _write_onnx(model: TrainedModel, path: Path) -> None:
    from ..inference.network import cpu_network
    from ..inference.onnx_export import export_onnx

    worst = export_onnx(cpu_network(model), path, license_of(model.source))
    say(f"written: {path}; outputs differ from PyTorch's by {worst:.1g} at most, in all seven modality cases")


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = CommandParser(
        command="export",
        description="Write a checkpoint of fairseq-train as a bundle: a folder with safetensors weights, one JSON "
        "configuration, the tokenizer and a model card, for memobert-predict and MEmoBERT.from_pretrained.",
    )
    parser.add_argument(
        "checkpoint",
        type=Path,
        nargs="?",
        metavar="CHECKPOINT",
        help="such as checkpoints/fold1/checkpoint_best.pt, or a bundle (default: the shipped model)",
    )
    parser.add_argument("bundle", type=Path, nargs="?", metavar="BUNDLE", help="the folder to write")
    parser.add_argument(
        "--onnx",
        type=Path,
        metavar="FILE",
        help="also, or instead, write one ONNX file that runs without this package, checked against PyTorch",
    )
    _add_import_flags(parser)
    parser.add_argument(
        "--calibrate",
        nargs="+",
        default=[],
        metavar="[CASE=]JSONL",
        help="fit a temperature to predictions for held-out speakers (fairseq-validate --predictions), so that the "
        "bundle's answers are as often right as they are sure; several files count together, also of other folds' "
        "models; with CASE=, such as lva=a.jsonl v=b.jsonl, each modality case has its own temperature",
    )
    parser.add_argument(
        "--note",
        default="",
        metavar="TEXT",
        help='shown first with every answer, such as "trained on drawn faces: answers nothing about people"',
    )
    parser.add_argument("--overwrite", action="store_true", help="replace an earlier bundle or ONNX file")
    return parser


def _add_import_flags(parser: argparse.ArgumentParser) -> None:
    """Add the flags of checkpoints that do not say all about themselves."""
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


def described(description: ModelDescription, predictions: Sequence[str | Path], note: str) -> ModelDescription:
    """Return the description with a calibration on files of predictions and with a note, where they are given.

    Raises:
        UserError: predictions of another model's emotions or of speakers of the training, too few of them, or a note
            that is too long.
    """
    from ..checkpoints.model_description import LONGEST_NOTE, PRETRAINED
    from ..evaluation.metrics.calibration import FEWEST, calibrate, calibrate_several
    from ..evaluation.report.predictions import read_probabilities

    note = " ".join(note.split())
    if len(note) > LONGEST_NOTE:
        raise UserError(f"--note: {len(note)} letters; give at most {LONGEST_NOTE}")
    if note:
        description = replace(description, note=note)
    if not predictions:
        return description
    if description.kind == PRETRAINED:
        raise UserError("--calibrate: this model was only pre-trained and tells no emotions apart; leave the flag out")
    if description.target_kind == DIMENSIONS:
        raise UserError(
            "--calibrate: this model predicts numbers without saying how sure it is, so there is nothing to calibrate; "
            "leave the flag out"
        )
    several = description.target_kind == SEVERAL
    fold = description.training.get("fold") or {}
    files: dict[str, list[Path]] = {}
    for entry in map(str, predictions):
        case, _, file = entry.partition("=")
        case, file = (case, file) if case in MODALITY_CASES and file else ("", entry)
        files.setdefault(case, []).append(Path(file))
    parts = {
        case: read_probabilities(paths, description.labels, fold.get("number"), fold.get("train", ()), several)
        for case, paths in files.items()
    }
    if (fewest := min(len(found[0]) for found in parts.values())) < FEWEST:
        raise UserError(f"--calibrate: {counted(fewest, 'prediction')}; give at least {FEWEST}")
    return replace(description, calibration=calibrate_several(parts) if several else calibrate(parts))


def describe(description: ModelDescription) -> str:
    """Describe a bundle: a line on the model, and one on its calibration."""
    from ..checkpoints.model_description import PRETRAINED

    names = {"visual": description.visual_extractor, "acoustic": description.acoustic_extractor}
    frames = [f"{modality} frames by {info.name}" for modality, info in names.items() if info]
    what = "pre-trained, no emotions" if description.kind == PRETRAINED else ", ".join(description.labels)
    lines = [f"{description.kind}: {what}; {'; '.join(frames) or 'text only'}"]
    if description.more_templates:
        weights = ", ".join(f"{one:g}" for one in description.template_weights)
        how = f"weighted {weights} (chosen in validation)" if weights else "averaged"
        lines.append(f"answers by {len(description.more_templates) + 1} templates, their log-probabilities {how}")
    if description.contextual_calibration:
        lines.append("answers are divided by those to nothing (contextual calibration)")
    if found := description.calibration:
        lines.append(
            f"calibrated on {counted(found.utterances, 'prediction')}: {found.describe()}, expected calibration "
            f"error {found.error_before:.3f} before, {found.error_after:.3f} after"
            + (f"; unsure below {found.threshold:.3g}" if description.target_kind == CLASSES else ", over all labels")
        )
    return "\n".join(lines)


def cli_main() -> None:
    """Run the command and leave the process."""
    run_command(main)
