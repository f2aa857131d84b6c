"""``memobert-train``: start fairseq-train with a setting's preset, and print the whole command."""

from __future__ import annotations

import argparse
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..core.console import CommandParser, run_command
from ..core.errors import UserError

if TYPE_CHECKING:
    from ..core.names import Setting

_EPILOG = """\
SETTING is one of
  pretrain           masked modelling without labels (DATA-BIN may be several shards a:b:c)
  direct             a classifier, trained from nothing;         direct_prompt   a prompt, trained from nothing
  finetune, prompt   the same from --finetune-from-model, the checkpoint of a pre-training or of memobert-import bert
  early_fusion, mult, clstm_mma, mmin, ssmm, and any other comparator: systems to compare with
and a plan's names: bert_finetune, bert_prompt, pretrain_finetune, pretrain_prompt, zero_shot.

All further flags go to fairseq-train and replace the preset's; docs/flags.md lists those of this package. Without them:
the GPU if there is one, else the CPU and memobert_tiny; the architecture of --finetune-from-model; fold 1, or the
manifest's own split where it has train, valid and test; checkpoints/SETTING/foldN. --dry-run prints the command only.

  memobert-train direct data-bin/x
  memobert-train direct data-bin/x --folds sessions --fold 3
  memobert-train prompt data-bin/x --fold 2 --finetune-from-model checkpoints/pretrain/checkpoint_best.pt
"""


def build_parser() -> argparse.ArgumentParser:
    """Return the flags that the preset depends on; all others are fairseq-train's."""
    parser = CommandParser(
        command="train",
        usage="%(prog)s SETTING DATA-BIN [--fold K] [--dry-run] [flags of fairseq-train]",
        description="Train with a setting's preset.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("setting", metavar="SETTING", help="see below")
    parser.add_argument("data", metavar="DATA-BIN", help="a folder of memobert-binarize")
    parser.add_argument("--fold", type=int, metavar="K", help="speaker fold, from 1; 0: the manifest's own split")
    parser.add_argument("--dry-run", action="store_true", help="print the command, start nothing")
    for flags in (("--arch", "-a"), ("--save-dir",), ("--protocol",), ("--folds",), ("--unlabelled",)):
        parser.add_argument(*flags, help=argparse.SUPPRESS)
    for flag in ("--dimensions", "--labels"):
        parser.add_argument(flag, default="", help=argparse.SUPPRESS)
    parser.add_argument("--several-labels", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--finetune-from-model", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--max-update", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--cpu", action="store_true", help=argparse.SUPPRESS)
    return parser


_SAME: Mapping[str, str] = {"a": "arch", "learning_rate": "lr", "max_sentences": "batch_size"}
"""Flags of fairseq that have two names."""
_BELONG_TO: Mapping[str, tuple[str, ...]] = {
    "optimizer": ("adam_betas", "adam_eps", "weight_decay"),
    "lr_scheduler": ("warmup_updates", "total_num_update"),
    "max_tokens": ("batch_size",),
    "arch": ("init_std",),
    "bf16": ("fp16", "fp16_no_flatten_grads"),
    "amp": ("fp16", "fp16_no_flatten_grads"),
    "memory_efficient_fp16": ("fp16", "fp16_no_flatten_grads"),
    "disable_validation": ("best_checkpoint_metric", "maximize_best_checkpoint_metric"),
    "max_epoch": ("max_update",),
}
"""Flags of the preset that make no sense any more where another flag is given."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status; a training takes this process's place."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    options, others = build_parser().parse_known_args(arguments)
    from ..core.fairseq_quirks import require_fairseq

    require_fairseq("training")
    from ..sweep.earlier_training import is_finished

    commands = training_commands(options, others)
    for command in commands:
        print(shlex.join(command), flush=True)
    if (test := test_command(commands[-1])) is not None:
        print(f"# Test it:\n# {shlex.join(test)}", flush=True)
    if options.dry_run:
        return 0
    for command in commands[:-1]:
        status = 0 if is_finished(command) else subprocess.run(_program(command), check=False).returncode
        if status:
            return status
    if is_finished(commands[-1]):
        return 0
    sys.stdout.flush()
    program = _program(commands[-1])
    os.execv(program[0], program)


def training_commands(options: argparse.Namespace, others: Sequence[str]) -> list[list[str]]:
    """Return the commands of a setting in order, with the preset's flags that were not given.

    Raises:
        UserError: an unknown setting, or one that needs a flag; a data-bin that is none or has too few speakers.
    """
    from ..core.names import CLASSES, PROTOCOLS, SELECTED_BY
    from ..sweep.commands import FIRST, flag_arguments
    from ..sweep.presets import (
        PRETRAINING,
        chosen_fold,
        chosen_model,
        has_gpu,
        labelled_utterances,
        machine_flags,
        preset_flags,
        preset_setting,
        shortened,
    )

    name = options.setting.replace("-", "_")
    setting = preset_setting(name)
    _refuse_missing(name, setting, options)
    gpu = not options.cpu and has_gpu()
    model = chosen_model(setting, options.arch, options.finetune_from_model, gpu)
    flags: dict[str, Any] = {"user_dir": Path(__file__).resolve().parents[1]}
    if setting is None:
        flags |= {"task": "memobert_pretraining", "criterion": "memobert_pretraining", **model}
        flags |= preset_flags(None, model["arch"], 0)
        folder = Path("checkpoints", PRETRAINING)
    else:
        fold = options.fold
        if fold is None:
            fold = 1 if options.folds else chosen_fold(options.data)
        protocol = options.protocol or "strict"
        flags |= {"task": setting.task, "criterion": setting.task, **model, "fold": fold, "protocol": protocol}
        flags["folds"] = options.folds
        kind, names = _target(name, setting, options)
        place = (fold, options.folds or "speakers", protocol)
        flags |= preset_flags(setting, model["arch"], labelled_utterances(options.data, *place, kind, names), protocol)
        if kind != CLASSES and "best_checkpoint_metric" in flags:
            flags["best_checkpoint_metric"] = SELECTED_BY[kind]
        chosen = {"dimensions": options.dimensions, "several_labels": options.several_labels, "labels": options.labels}
        flags |= {flag: value or None for flag, value in chosen.items()}
        folder = Path("checkpoints", name, f"fold{fold}")
    flags |= machine_flags(gpu)
    if options.max_update is not None:
        flags |= shortened(flags, options.max_update)
    folder = Path(options.save_dir) if options.save_dir else folder
    flags |= {"unlabelled": options.unlabelled, "finetune_from_model": options.finetune_from_model, "save_dir": folder}
    given = {} if options.max_update is None else {"max_update": options.max_update}
    flags = _without_given(flags, others) | given
    commands = []
    if setting is not None and setting.first is not None:
        first = {**flags, **setting.first, "save_dir": folder / FIRST}
        commands.append(["fairseq-train", options.data, *flag_arguments(first), *others])
        flags["finetune_from_model"] = folder / FIRST / PROTOCOLS[options.protocol or "strict"].checkpoint
    return [*commands, ["fairseq-train", options.data, *flag_arguments(flags), *others]]


def test_command(training: Sequence[str]) -> list[str] | None:
    """Return the command that tests what a training selects; None for pre-training and without a best checkpoint."""
    from ..sweep.commands import flag_value

    task, folder = flag_value(training, "--task"), flag_value(training, "--save-dir")
    if task == "memobert_pretraining" or flag_value(training, "--best-checkpoint-metric") is None:
        return None
    user_dir = str(flag_value(training, "--user-dir"))
    machine = ["--cpu", "--num-workers", "0"] if "--cpu" in training else []
    return [
        "fairseq-validate", training[1], "--user-dir", user_dir, "--task", str(task), *machine, "--batch-size", "64",
        "--path", f"{folder}/checkpoint_best.pt", "--valid-subset", "test", "--predictions", f"{folder}/test.jsonl",
    ]  # fmt: skip


def _refuse_missing(name: str, setting: Setting | None, options: argparse.Namespace) -> None:
    from ..core.names import PROTOCOLS

    starts = setting.starts_from if setting is not None else "nothing"
    if starts in ("bert", "pretraining", "anything") and not options.finetune_from_model:
        origin = "memobert-import bert" if starts == "bert" else "memobert-train pretrain"
        without = "" if setting is None or setting.task != "memobert_prompt" else "_prompt"
        raise UserError(
            f"{name} needs --finetune-from-model CHECKPOINT, as {origin} writes it; from nothing: direct{without}"
        )
    of_emotion = {"--fold": options.fold, "--folds": options.folds, "--protocol": options.protocol}
    of_emotion |= {"--dimensions": options.dimensions or None, "--labels": options.labels or None}
    if setting is None and (given := [flag for flag, value in of_emotion.items() if value is not None]):
        raise UserError(f"{name} takes no {given[0]}; leave the tested speakers out with --exclude-speakers A,B")
    if options.protocol not in (None, *PROTOCOLS):
        raise UserError(f"--protocol {options.protocol}: choose from {', '.join(PROTOCOLS)}")
    if setting is not None and setting.unlabelled and not options.unlabelled:
        raise UserError(f"{name} needs --unlabelled DATA-BIN, of which it reads utterances without labels")


def _target(name: str, setting: Setting, options: argparse.Namespace) -> tuple[str, Sequence[str]]:
    """Return the kind of target that is asked for, and the names of its outputs.

    Raises:
        UserError: the setting only learns one emotion of several.
    """
    from ..core.names import CLASSES, DIMENSIONS, SEVERAL

    kind = DIMENSIONS if options.dimensions else SEVERAL if options.several_labels else CLASSES
    if kind != CLASSES and (setting.task != "memobert_finetune" or setting.flags.get("criterion")):
        flag = "--dimensions" if options.dimensions else "--several-labels"
        raise UserError(f"{name}: {flag} needs a classifier with the task's own loss, such as direct or finetune")
    return kind, (options.dimensions or options.labels).replace(",", " ").split()


def _without_given(flags: Mapping[str, Any], others: Sequence[str]) -> dict[str, Any]:
    """Return the preset's flags that are not given, and that still make sense beside those that are."""
    names = {word.partition("=")[0].lstrip("-").replace("-", "_") for word in others if word.startswith("-")}
    names |= {_SAME[name] for name in names & set(_SAME)}
    gone = names.union(*(_BELONG_TO[name] for name in names & set(_BELONG_TO)))
    return {name: value for name, value in flags.items() if name not in gone}


def _program(command: Sequence[str]) -> list[str]:
    """Return a command of fairseq with the interpreter of this one."""
    script = shutil.which(command[0], path=str(Path(sys.executable).parent))
    if script is None:
        module = command[0].replace("fairseq-", "fairseq_cli.")
        return [sys.executable, "-m", module, *map(str, command[1:])]
    return [script, *map(str, command[1:])]


def cli_main() -> None:
    """Entry point of ``memobert-train``."""
    run_command(main)
