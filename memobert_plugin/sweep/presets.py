"""Optimiser, rates, batches and lengths of every kind of training: the one source of ``memobert-train``, plans and
examples.

Values for BERT-base are the paper's (section 4). A corpus of another size than IEMOCAP gets as many passes, and those
for ``memobert_tiny`` were chosen on the quickstart's corpus.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, Final

import numpy as np

from ..core.errors import UserError
from ..core.fairseq_quirks import quiet_fairseq
from ..core.names import CLASSES, PROTOCOLS, SETTINGS, Setting
from ..data.corpus import Corpus
from ..data.folds import SPEAKERS, choose_fold, folds_of
from ..data.targets import target_of

PRETRAINING: Final = "pretrain"
"""Name of the preset of pre-training; all others are settings."""
_ANY_START: Final[Mapping[str, Setting]] = {
    "finetune": replace(SETTINGS["pretrain_finetune"], title="Finetune", starts_from="anything"),
    "prompt": replace(SETTINGS["pretrain_prompt"], title="Prompt", starts_from="anything"),
}
TINY: Final = "memobert_tiny"
BASE: Final = "memobert_base"
IEMOCAP: Final = 5531
"""Utterances of the corpus that the numbers of updates below are for."""
_LEAST_UPDATES = 200
_MOST_VALIDATIONS = 20

_TRAINING: Final[Mapping[str, Any]] = {
    "optimizer": "memobert_adamw",
    "adam_betas": "(0.9, 0.98)",
    "adam_eps": 1e-6,
    "weight_decay": 0.01,
    "clip_norm": 5.0,
    "lr": 5e-5,
    "lr_scheduler": "polynomial_decay",
    "no_epoch_checkpoints": True,
    "load_checkpoint_on_all_dp_ranks": True,
    "ddp_backend": "legacy_ddp",
    "num_workers": 2,
    "seed": 1,
    "log_format": "json",
}
_PRETRAINING: Final[Mapping[str, Any]] = {
    **_TRAINING,
    "warmup_updates": 4000,
    "max_update": 40000,
    "total_num_update": 40000,
    "batch_size": 80,
    "update_freq": 8,
    "validate_interval_updates": 2000,
    "save_interval_updates": 2000,
    "keep_interval_updates": 1,
    "log_interval": 100,
}
_TINY_PRETRAINING: Final[Mapping[str, Any]] = {
    **_PRETRAINING,
    "lr": 1e-3,
    "warmup_updates": 50,
    "max_update": 600,
    "total_num_update": 600,
    "batch_size": 64,
    "update_freq": 1,
    "validate_interval_updates": 200,
    "save_interval_updates": 200,
    "log_interval": 10,
}
_EMOTION: Final[Mapping[str, Any]] = {
    **_TRAINING,
    "warmup_updates": 200,
    "max_epoch": 15,
    "max_update": 2070,
    "total_num_update": 2070,
    "batch_size": 32,
    "log_interval": 20,
}
_TINY_FROM_NOTHING: Final[Mapping[str, Any]] = {
    "lr": 1e-3,
    "init_std": 0.05,
    "standardize_frames": True,
}
_TINY_PRETRAINED: Final[Mapping[str, Any]] = {"lr": 5e-4}


def presets() -> dict[str, Setting | None]:
    """Return the setting of every preset by name, None for pre-training; imports fairseq for the comparators."""
    return {PRETRAINING: None, **_ANY_START, **SETTINGS, **comparators()}


def preset_setting(name: str) -> Setting | None:
    """Return the setting of a preset, None for pre-training.

    Raises:
        UserError: there is no preset of that name; the message lists all.
    """
    known: Mapping[str, Setting | None] = {PRETRAINING: None, **_ANY_START, **SETTINGS}
    if name not in known:
        known = presets()
    if name not in known:
        raise UserError(f"unknown setting {name!r}: choose from {', '.join(known)}")
    return known[name]


def comparators() -> Mapping[str, Setting]:
    """Import the comparators, and fairseq with them; only those who name one should pay for that."""
    # While it is imported, fairseq looks for GPUs. Asking CUDA would leave it unusable in forked processes; with this
    # variable torch asks the driver's management library.
    os.environ.setdefault("PYTORCH_NVML_BASED_CUDA_CHECK", "1")
    with quiet_fairseq():
        from ..comparators.base import comparator_settings

        return comparator_settings()


def preset_flags(
    setting: Setting | None, architecture: str, utterances: int, protocol: str = "strict"
) -> dict[str, Any]:
    """Return the flags of a preset, without those that name data, folders, the model or the machine.

    Args:
        setting: None for pre-training.
        architecture: fairseq's ``--arch``; rates and batches follow its size.
        utterances: that train, counting those of all parts of the corpus; updates grow with them. Pre-training does
            not use it.
        protocol: of the folds; decides which checkpoint is kept as the best.
    """
    tiny = architecture == TINY
    if setting is None:
        return dict(_TINY_PRETRAINING if tiny else _PRETRAINING)
    tiny_flags = _TINY_PRETRAINED if setting.starts_from not in ("nothing", "anything") else _TINY_FROM_NOTHING
    flags = {**_EMOTION, **(tiny_flags if tiny else {}), **setting.recipe, **PROTOCOLS[protocol].flags}
    return {**_fitted(flags, utterances), **setting.flags}


def shortened(flags: Mapping[str, Any], updates: int) -> dict[str, Any]:
    """Return the flags that another number of updates changes; the schedule keeps its shape.

    Raises:
        UserError: there is no update.
    """
    if updates < 1:
        raise UserError(f"--max-update {updates}: give 1 or more")
    share = updates / flags["max_update"]
    changed: dict[str, Any] = {"max_update": updates, "total_num_update": updates}
    changed["warmup_updates"] = round(flags["warmup_updates"] * share)
    for name in ("validate_interval_updates", "save_interval_updates"):
        if name in flags:
            changed[name] = max(1, round(flags[name] * share))
    return changed


def machine_flags(gpu: bool) -> dict[str, Any]:
    """Return the flags of a machine with or without GPU."""
    return {"fp16": True, "fp16_no_flatten_grads": True} if gpu else {"cpu": True, "num_workers": 0}


def chosen_model(setting: Setting | None, architecture: str | None, start: Path | None, gpu: bool) -> dict[str, Any]:
    """Return ``arch`` and sizes of the network.

    They are a comparator's, those that are asked for, or those of the checkpoint that the training starts from; else
    what the machine can train in a reasonable time.

    Raises:
        UserError: the checkpoint is missing or damaged, or none of this package's.
    """
    if setting is not None and setting.architecture:
        return {"arch": setting.architecture}
    if architecture is not None:
        return {"arch": architecture}
    if start is None:
        return {"arch": BASE if gpu else TINY}
    from ..checkpoints.fairseq_checkpoint import read_plain_checkpoint
    from ..nn.network import ARCHITECTURES, NetworkSizes

    model = (read_plain_checkpoint(start).get("cfg") or {}).get("model") or {}
    if model.get("_name") not in (*ARCHITECTURES, "memobert"):
        raise UserError(f"{start}: does not say which MEmoBERT it is; give --arch")
    implied = ARCHITECTURES.get(model["_name"], NetworkSizes())
    names = [one.name for one in fields(NetworkSizes) if not one.name.startswith("text_encoder_")]
    sizes = {name: model[name] for name in names if name in model and model[name] != getattr(implied, name)}
    return {"arch": model["_name"], **sizes, "text_encoder": model.get("text_encoder") or None}


def chosen_fold(data: str) -> int:
    """Return 0, the manifest's own split, where it has all three parts; else 1."""
    return 0 if {"train", "valid", "test"} <= set(Corpus(data).splits) else 1


def labelled_utterances(
    data: str,
    fold: int = 0,
    folds: str = SPEAKERS,
    protocol: str = "strict",
    kind: str = CLASSES,
    names: Sequence[str] = (),
) -> int:
    """Return the number of utterances with an emotion, or another target, and check that there is such a fold.

    Args:
        data: the data-bin.
        fold: its number; 0 for the manifest's split.
        folds, protocol: see :func:`memobert_plugin.data.folds.folds_of`.
        kind: of the target.
        names: of its outputs, where it is not one emotion.

    Raises:
        UserError: no utterance has an emotion, or there is no such fold.
    """
    corpus = Corpus(data)
    if kind == CLASSES:
        labelled = corpus.emotion >= 0
    else:
        labelled = target_of(corpus, kind, names).known(corpus, np.arange(len(corpus)))
    if kind == CLASSES and not labelled.any():
        raise UserError(f"{data}: no utterance has an emotion; fill the manifest's column emotion")
    if fold:
        choose_fold(folds_of(corpus, labelled, folds, protocol), fold)
    return int(labelled.sum())


def has_gpu() -> bool:
    """Tell whether torch finds a GPU that it can compute on."""
    import torch

    return torch.cuda.is_available()


def _fitted(flags: dict[str, Any], utterances: int) -> dict[str, Any]:
    """Return the flags with as many passes over a corpus of that size, but not too few updates.

    Where an epoch has few updates, validation and checkpoints follow updates: one after every epoch would take most of
    the time.
    """
    if utterances == IEMOCAP:
        return flags
    share = utterances / IEMOCAP
    updates = max(_LEAST_UPDATES, round(flags["max_update"] * share))
    fitted = {**flags, **shortened(flags, updates)}
    # Few updates for each epoch: the lower limit on updates must not end at the number of epochs.
    del fitted["max_epoch"]
    epochs = flags["max_epoch"] * updates / (flags["max_update"] * share)
    if epochs > _MOST_VALIDATIONS:
        interval = max(1, math.ceil(updates / _MOST_VALIDATIONS))
        fitted |= {
            "validate_interval_updates": interval,
            "save_interval_updates": interval,
            "keep_interval_updates": 1,
            "validate_interval": 1000,
            "save_interval": 1000,
        }
    return fitted
