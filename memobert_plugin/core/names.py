"""Names that several folders share, each defined once: modality cases, protocols, settings, rates."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal

MODALITY_CASES: Final = ("lva", "lv", "la", "va", "l", "v", "a")
"""Cases of present modalities: text (l), visual (v), acoustic (a); from most to least."""

CLASSES: Final = "classes"
SEVERAL: Final = "several"
DIMENSIONS: Final = "dimensions"
"""Kinds of targets: one emotion of several, several labels at once, numbers."""
DIMENSION_NAMES: Final = ("valence", "arousal", "dominance")
"""The numbers that a manifest may have."""
SELECTED_BY: Final = {CLASSES: "uar", SEVERAL: "map", DIMENSIONS: "ccc"}
"""The score in validation that selects the checkpoint, for each kind of target."""

SAMPLE_RATE: Final = 16_000
"""Samples per second of every waveform that an encoder sees."""

PICTURE_RATE: Final = 10.0
"""Pictures per second that are looked at, as in the paper."""

VISUAL_INPUTS: Final = ("features", "expressions", "both")
"""Numbers of a face frame that a network reads: the encoder's features, its expression distribution, or both."""
FaceChoice = Literal["speaker", "most_frequent"]
"""The face whose mouth moves with the voice, or the one that is seen most often, whoever speaks."""
ValidBy = Literal["auto", "film", "block"]
"""Whole films validate, or a contiguous block of each; ``auto`` decides by the number of films."""


def counted(count: float, noun: str) -> str:
    """Return a number with its noun: ``1 speaker``, ``2 speakers``."""
    shown = f"{count:g}" if isinstance(count, float) else str(count)
    return f"{shown} {noun}{'' if count == 1 else 's'}"


def clock_time(seconds: float) -> str:
    """Return ``1:02:03`` or, below an hour, ``2:03``."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


@dataclass(frozen=True)
class Protocol:
    """A rule for dividing speakers and for choosing the checkpoint that is tested.

    Attributes:
        help: its part of the help of ``--protocol``.
        description: a sentence for reports.
        selection: the rule of the choice, as ``run.json`` and reports name it.
        checkpoint: file name of the chosen checkpoint.
        flags: fairseq's flags that make the choice.
    """

    help: str
    description: str
    selection: str
    checkpoint: str
    flags: Mapping[str, Any] = field(default_factory=dict)


_BEST_BY_UAR: Final = {"best_checkpoint_metric": "uar", "maximize_best_checkpoint_metric": True}

PROTOCOLS: Final[Mapping[str, Protocol]] = {
    "strict": Protocol(
        "validate on the session's other speaker (or the next one)",
        "one speaker is tested, another one selects the checkpoint, the rest trains",
        "best valid uar",
        "checkpoint_best.pt",
        _BEST_BY_UAR,
    ),
    "all_but_one": Protocol(
        "train on all other speakers, no validation",
        "one speaker is tested, all others train for a fixed number of epochs, the last checkpoint counts",
        "last",
        "checkpoint_last.pt",
        {"disable_validation": True},
    ),
    "reference": Protocol(
        "validate on the test speaker, as published (selected on test)",
        "one speaker is tested and also selects the checkpoint, the rest trains",
        "best test uar",
        "checkpoint_best.pt",
        _BEST_BY_UAR,
    ),
}
"""The protocols by name, from the one without any choice on test data to the published one."""


@dataclass(frozen=True)
class Setting:
    """A way to train an emotion classifier that sweeps and reports compare.

    Attributes:
        title: its name in tables and pictures.
        task: fairseq's task; the criterion has the same name.
        starts_from: ``nothing``, ``bert`` (an imported BERT) or ``pretraining``.
        architecture: a registered model instead of the plan's; empty for the plan's.
        flags: of fairseq and the task, which overrule the plan's.
        trains: False where nothing is learned from labels, so that their share does not matter.
        note: what a reader of a table has to know of its row.
        first: flags of a training on the same fold and labels that comes before and whose checkpoint this one starts
            from; None for none.
        unlabelled: the training also reads the data-bin of the plan's pre-training, without labels.
        recipe: flags of its preset (:mod:`memobert_plugin.sweep.presets`) where they differ from MEmoBERT's.
    """

    title: str
    task: str
    starts_from: str
    architecture: str = ""
    flags: Mapping[str, Any] = field(default_factory=dict)
    trains: bool = True
    note: str = ""
    first: Mapping[str, Any] | None = None
    unlabelled: bool = False
    recipe: Mapping[str, Any] = field(default_factory=dict)


SETTINGS: Final[Mapping[str, Setting]] = {
    "direct": Setting("Direct", "memobert_finetune", "nothing"),
    "direct_prompt": Setting("Direct+Prompt", "memobert_prompt", "nothing"),
    "bert_finetune": Setting("BERT+Finetune", "memobert_finetune", "bert"),
    "bert_prompt": Setting("BERT+Prompt", "memobert_prompt", "bert"),
    "pretrain_finetune": Setting("Pretrain+Finetune", "memobert_finetune", "pretraining"),
    "pretrain_prompt": Setting("Pretrain+Prompt", "memobert_prompt", "pretraining"),
    "zero_shot": Setting(
        "Pretrain+Prompt, no labels",
        "memobert_prompt",
        "pretraining",
        # One update with the learning rate 0: fairseq writes a checkpoint of unchanged weights that carries the prompt.
        flags={"lr": 0.0, "max_update": 1, "warmup_updates": 0},
        trains=False,
    ),
}
"""MEmoBERT's own settings, from the plainest to the paper's; each comparator (:mod:`memobert_plugin.comparators.base`)
brings one more."""

FULL: Final = "full"
"""The pre-training that leaves nothing out."""
FEATURES: Final = "features"
"""Digests of the data-bins' words and frames in a run's description."""

LABEL_THRESHOLD: Final = 0.5
"""Of several labels at once, one is given from this probability on."""

LAYER_NORM_EPS = 1e-12
"""Epsilon of BERT's LayerNorms; RoBERTa's, torch's and fairseq's is 1e-5."""
