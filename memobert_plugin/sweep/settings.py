"""The ways to recognise emotion that a sweep compares, the pre-training variants of its ablations, and their names."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

FULL = "full"


@dataclass(frozen=True)
class Setting:
    """A way to recognise emotion.

    Attributes:
        task: the host's task, whose criterion has the same name.
        starts_from: ``nothing``, ``bert`` (an imported BERT) or ``pretraining``.
        architecture: another registered model than the plan's, for systems without the transformer.
    """

    task: str
    starts_from: str
    architecture: str = ""


SETTINGS: Mapping[str, Setting] = {
    "direct": Setting("memobert_finetune", "nothing"),
    "bert_finetune": Setting("memobert_finetune", "bert"),
    "bert_prompt": Setting("memobert_prompt", "bert"),
    "pretrain_finetune": Setting("memobert_finetune", "pretraining"),
    "pretrain_prompt": Setting("memobert_prompt", "pretraining"),
    "early_fusion": Setting("memobert_finetune", "nothing", "memobert_early_fusion"),
    "mult": Setting("memobert_finetune", "nothing", "memobert_mult"),
}

ABLATIONS: Mapping[str, Mapping[str, Any]] = {
    FULL: {},
    "no_visual": {"mvfr_ratio": 0, "mvfc_ratio": 0},
    "no_acoustic": {"mafr_ratio": 0},
    "no_span_no_whole_word": {"word_masking": "piece", "frame_masking": "random"},
}
"""What each of the paper's ablations (Table 3) changes in pre-training; everything else stays as in ``full``."""


@dataclass(frozen=True)
class Protocol:
    """How a protocol's checkpoint is chosen.

    Attributes:
        selection: in words, for reports.
        checkpoint: the file that is tested.
        flags: the host's flags.
    """

    selection: str
    checkpoint: str
    flags: Mapping[str, Any] = field(default_factory=dict)


_BY_UAR = {"best_checkpoint_metric": "uar", "maximize_best_checkpoint_metric": True}
PROTOCOLS: Mapping[str, Protocol] = {
    "strict": Protocol("best valid uar", "checkpoint_best.pt", _BY_UAR),
    "all_but_one": Protocol("last", "checkpoint_last.pt", {"disable_validation": True}),
    "reference": Protocol("best test uar", "checkpoint_best.pt", _BY_UAR),
}
