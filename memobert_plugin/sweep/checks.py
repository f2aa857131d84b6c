"""Check a sweep's commands before any of them runs: flags, their values, templates and label words."""

from __future__ import annotations

import argparse
import contextlib
import importlib
import io
import os
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from ..checkpoints.bert import BertConfig, dictionary_of
from ..checkpoints.model_description import SIZES
from ..checkpoints.starting_point import model_settings
from ..core.errors import UserError
from ..core.fairseq_quirks import quiet_fairseq
from ..data.corpus import Corpus, CorpusMeta
from ..data.frame_making import otherwise_centered
from ..data.prompts import Template, Verbalizer
from ..nn.network import ARCHITECTURES, NetworkSizes
from .commands import flag_value
from .expansion import Run

_PACKAGE = Path(__file__).resolve().parents[1]
_REGISTRATION = "memobert_plugin.registration"
"""Imported by name, since it lies on a higher floor."""
_DIFFER = ("--save-dir", "--seed", "--fold", "--finetune-from-model", "--path", "--predictions", "--modalities")
"""Flags that differ between runs and that cannot be wrong."""
_DIFFER_TOO = ("--train-fraction", "--exclude-speakers", "--distributed-port")


def check_commands(plan: Path, runs: Iterable[Run]) -> None:
    """Parse the command of every kind of run as fairseq will.

    Args:
        plan: the plan file, for messages.
        runs: of the sweep.

    Raises:
        UserError: a flag that fairseq does not know, a value that it does not take, a prompt that does not fit the
            data-bin, a BERT that fits neither the data-bin nor the network, or a pre-training on other voices.
    """
    seen: dict[tuple[str, ...], argparse.Namespace] = {}
    pretrained: dict[str, argparse.Namespace] = {}  # by folder
    runs = list(runs)
    berts = {
        flag_value(command, "--output"): Path(command[2])
        for run in runs
        for command in run.commands
        if command[:2] == ("memobert-import", "bert")
    }
    for run in runs:
        # Draws from a range are all of one type.
        drawn = [f"--{name.replace('_', '-')}" for name in run.description.get("search", {}).get("ranges", {})]
        for command in run.commands:
            if not command[0].startswith("fairseq-"):
                continue
            start = flag_value(command, "--finetune-from-model")
            bert, before = berts.get(start), pretrained.get(str(Path(start or "").parent))
            of_start = (str(start is None), str(bert), str(before and vars(before)))
            key = (*of_start, *_without(command, (*_DIFFER, *_DIFFER_TOO, *drawn)))
            if key not in seen:
                problem = ""
                parsed = parsed_command(command)
                if isinstance(parsed, str):
                    raise UserError(f"{plan}: {run.name}: {parsed}")
                if bert is not None:
                    problem = _misfit(bert, command[1], parsed)
                elif before is not None:
                    problem = _other_sizes(before, parsed) or _other_voices(before.data, parsed.data)
                if problem := problem or (_impossible(parsed) if command[0] == "fairseq-train" else ""):
                    raise UserError(f"{plan}: {run.name}: {problem}")
                if flag_value(command, "--task") == "memobert_prompt" and command[0] == "fairseq-train":
                    _check_prompt(plan, run, command)
                seen[key] = parsed
            if run.kind == "pretraining":
                pretrained[flag_value(command, "--save-dir") or ""] = seen[key]


def _impossible(flags: argparse.Namespace) -> str:
    """Return what the training's own classes refuse of these flags before they begin; empty where they do not."""
    from fairseq.models import ARCH_MODEL_REGISTRY, MODEL_DATACLASS_REGISTRY
    from fairseq.tasks import TASK_DATACLASS_REGISTRY, TASK_REGISTRY

    task, model = TASK_REGISTRY[flags.task], ARCH_MODEL_REGISTRY[flags.arch]
    try:
        if check := getattr(task, "check_flags", None):
            check(TASK_DATACLASS_REGISTRY[flags.task].from_namespace(flags), flags.finetune_from_model)
        if check := getattr(model, "check_flags", None):
            check(MODEL_DATACLASS_REGISTRY[flags.arch].from_namespace(flags))
    except UserError as error:
        return str(error)
    return ""


def _size(flags: argparse.Namespace, name: str) -> Any:
    """Return a size that a flag gives, or else the architecture: fairseq keeps the flags that were given."""
    return getattr(flags, name, getattr(ARCHITECTURES.get(flags.arch, NetworkSizes()), name))


def _other_sizes(before: argparse.Namespace, flags: argparse.Namespace) -> str:
    """Return the first size in which a network differs from the pre-trained one that it starts from; empty if none."""
    for name in SIZES:
        if (own := _size(flags, name)) != (wanted := _size(before, name)):
            return f"{name} is {own}, and {wanted} in its pre-training; give {name} under model, for both"
    return ""


def _other_voices(before: str, data: str) -> str:
    """Return which data-bin ``a:b:c`` of a pre-training has other voices than those after it; empty if none.

    Voices are read less the mean of their speaker, or as they are.
    """
    own = CorpusMeta.read(data.split(os.pathsep)[0]).acoustic_extractor
    for data_bin in before.split(os.pathsep):
        read = CorpusMeta.read(data_bin).acoustic_extractor
        if reason := otherwise_centered(own, read.to_dict() if read else None):
            return f"{data_bin}: no start for trainings on {data}: {reason}"
    return ""


def _without(command: Sequence[str], flags: Sequence[str]) -> tuple[str, ...]:
    dropped = {place + step for place, word in enumerate(command) if word in flags for step in (0, 1)}
    return tuple(word for place, word in enumerate(command) if place not in dropped)


def _misfit(folder: Path, data: str, flags: argparse.Namespace) -> str:
    """Return the reason why a BERT fits no data-bin ``a:b:c`` or no network of these flags; empty where it does.

    A folder that is not there is left to the import, whose message is better.
    """
    if not (folder / "config.json").is_file():
        return ""
    config = BertConfig.read(folder / "config.json")
    symbols = dictionary_of(folder, config).symbols
    for data_bin in data.split(os.pathsep):
        if Corpus(data_bin).symbols != symbols:
            return f"{data_bin}: was binarized with another vocabulary than that of {folder}; give this one to --vocab"
    wanted = model_settings(config)
    for name in (*SIZES, "layer_norm_eps"):
        if (own := _size(flags, name)) != wanted[name]:
            return f"model: {name} is {own}, that of {folder} {wanted[name]}; give {name}: {wanted[name]}"
    return ""


def parsed_command(command: Sequence[str]) -> argparse.Namespace | str:
    """Return a command's flags, or what fairseq's parser says of it where it does not take it."""
    # SLURM's jobs have a copy of the package; this process has imported the original.
    arguments = [*_without(command[1:], ("--user-dir",)), "--user-dir", str(_PACKAGE)]
    with quiet_fairseq():
        from fairseq import options

        importlib.import_module(_REGISTRATION)
        parsers: dict[str, Any] = {
            "fairseq-train": options.get_training_parser,
            "fairseq-validate": options.get_validation_parser,
        }
    said = io.StringIO()
    try:
        with quiet_fairseq(), contextlib.redirect_stderr(said), contextlib.redirect_stdout(said):
            return options.parse_args_and_arch(parsers[command[0]](), arguments)
    except SystemExit:
        last = said.getvalue().strip().splitlines()[-1:]
        problem = f"{command[0]}: {last[0].partition('error: ')[2] or last[0]}" if last else "cannot be parsed"
        return re.sub(r"(?<=choose from )'.*'", _ours, problem)
    except Exception as error:  # fairseq's own checks raise all kinds
        return f"{command[0]}: {' '.join(str(error).split())}"


def _ours(choices: re.Match[str]) -> str:
    """Return the choices of this package where fairseq has others too, or else all."""
    found = choices[0].split(", ")
    return ", ".join([one for one in found if one.startswith("'memobert")] or found)


def _check_prompt(plan: Path, run: Run, command: Sequence[str]) -> None:
    tokenizer = Corpus(command[1]).load_tokenizer()
    labels = (flag_value(command, "--labels") or "").split(",")
    try:
        if template := flag_value(command, "--template"):
            Template.parse(template).encode(tokenizer)
        for text in filter(str.strip, (flag_value(command, "--more-templates") or "").split("||")):
            Template.parse(text).encode(tokenizer)
        if verbalizer := flag_value(command, "--verbalizer"):
            Verbalizer.parse(verbalizer, labels).encode(tokenizer)
        else:
            Verbalizer.of_labels(labels, tokenizer)
    except UserError as error:
        raise UserError(f"{plan}: {run.name}: {error}") from None
