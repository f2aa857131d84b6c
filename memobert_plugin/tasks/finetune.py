"""Recognise emotion by finetuning a classifier on the pooled [CLS] (MEmoBERT, section 4)."""

from dataclasses import dataclass
from typing import Any

from fairseq.tasks import register_task

from .emotion_classification import EmotionClassificationConfig, EmotionClassificationTask


@dataclass
class FinetuneConfig(EmotionClassificationConfig):
    """The shared flags."""


@register_task("memobert_finetune", dataclass=FinetuneConfig)
class MEmoBERTFinetuneTask(EmotionClassificationTask):
    """Adds a classifier head with one output per emotion."""

    cfg: FinetuneConfig

    def model_sizes(self) -> dict[str, Any]:
        """With the number of emotions."""
        return {**super().model_sizes(), "labels": len(self.labels)}
