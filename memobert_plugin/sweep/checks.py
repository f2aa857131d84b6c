"""Check a sweep's commands before any of them runs: flags, their values, templates and label words."""

from __future__ import annotations

import argparse
import contextlib
import importlib
import io
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from ..checkpoints.bert import BertConfig, dictionary_of
from ..checkpoints.model_description import SIZES
from ..checkpoints.starting_point import model_settings
from ..core.errors import UserError
from ..core.fairseq_quirks import quiet_fairseq
from ..data.corpus import Corpus
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
            data-bin, or a BERT that fits neither the data-bin nor the network.
    """
    seen: set[tuple[str, ...]] = set()
    runs = list(runs)
    berts = {
        flag_value(command, "--output"): Path(command[2])
        for run in runs
        for command in run.commands
        if command[:2] == ("memobert-import", "bert")
    }
    for run in runs:
        if any(_keeps_nothing(command) for command in run.commands):
            raise UserError(
                f"{plan}: {run.name}: keep_pretrained: it starts from nothing; give the flag under "
                "emotion.setting_flags to settings that start from a checkpoint"
            )
        # Draws from a range are all of one type.
        drawn = [f"--{name.replace('_', '-')}" for name in run.description.get("search", {}).get("ranges", {})]
        for command in run.commands:
            bert = berts.get(flag_value(command, "--finetune-from-model"))
            key = (str(bert), *_without(command, (*_DIFFER, *_DIFFER_TOO, *drawn)))
            if not command[0].startswith("fairseq-") or key in seen:
                continue
            seen.add(key)
            parsed = _parsed(command)
            if isinstance(parsed, str):
                raise UserError(f"{plan}: {run.name}: {parsed}")
            if bert is not None and (problem := _misfit(bert, command[1], parsed)):
                raise UserError(f"{plan}: {run.name}: {problem}")
            if flag_value(command, "--task") == "memobert_prompt" and command[0] == "fairseq-train":
                _check_prompt(plan, run, command)


def _keeps_nothing(command: Sequence[str]) -> bool:
    """Tell whether a training is to keep the answers of a network that it does not start from."""
    asked = flag_value(command, "--keep-pretrained") not in (None, "0", "0.0")
    return command[0] == "fairseq-train" and asked and flag_value(command, "--finetune-from-model") is None


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
    wanted, implied = model_settings(config), ARCHITECTURES.get(flags.arch, NetworkSizes())
    for name in (*SIZES, "layer_norm_eps"):
        # fairseq keeps the flags that were given.
        own = getattr(flags, name, getattr(implied, name))
        if own != wanted[name]:
            return f"model: {name} is {own}, that of {folder} {wanted[name]}; give {name}: {wanted[name]}"
    return ""


def _parsed(command: Sequence[str]) -> argparse.Namespace | str:
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
        return f"{command[0]}: {last[0].partition('error: ')[2] or last[0]}" if last else "cannot be parsed"
    except Exception as error:  # fairseq's own checks raise all kinds
        return f"{command[0]}: {' '.join(str(error).split())}"


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
