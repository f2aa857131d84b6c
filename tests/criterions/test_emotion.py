"""Metrics of a subset come from counts summed over batches and ranks, so they do not depend on the batches."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from fairseq.logging import metrics
from sklearn.metrics import accuracy_score, balanced_accuracy_score, f1_score
from torch import Tensor, nn

from memobert_plugin.criterions.emotion import (
    Decisions,
    MEmoBERTFinetuneCriterion,
    MEmoBERTPromptCriterion,
    confusion_counts,
)
from memobert_plugin.nn.label_words import LabelWords
from tests.criterions.prompts import ONE_PROMPT

CLASSES = 4


def logits_and_targets(utterances: int = 83) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    target = torch.multinomial(torch.tensor([0.6, 0.25, 0.1, 0.05]), utterances, True, generator=generator)
    return torch.randn(utterances, CLASSES, generator=generator) + nn.functional.one_hot(target, CLASSES), target


def logged_over_batches(sizes: list[int]) -> dict[str, float]:
    logits, target = logits_and_targets()
    criterion, outputs = MEmoBERTFinetuneCriterion(SimpleNamespace()), []
    for batch_logits, batch_target in zip(logits.split(sizes), target.split(sizes), strict=True):
        loss = nn.functional.cross_entropy(batch_logits, batch_target, reduction="sum")
        sample = {"target": batch_target, "ntokens": 1, "nsentences": len(batch_target)}
        outputs.append(criterion.summarise(Decisions(loss, batch_logits.softmax(dim=-1)), sample)[2])
    with metrics.aggregate(new_root=True) as logged:
        for output in outputs:  # as fairseq does for each validation step
            criterion.reduce_metrics([output])
    return dict(logged.get_smoothed_values())


@pytest.mark.parametrize("sizes", [[83], [1] * 83, [7] * 11 + [6], [64, 19]])
def test_metrics_equal_scikit_learns_for_every_batch_size(sizes: list[int]) -> None:
    logits, target = logits_and_targets()
    predicted, logged = logits.argmax(dim=-1), logged_over_batches(sizes)
    expected = {
        "wa": accuracy_score(target, predicted),
        "uar": balanced_accuracy_score(target, predicted),
        "wf1": f1_score(target, predicted, average="weighted"),
        "macro_f1": f1_score(target, predicted, average="macro"),
    }
    assert {name: logged[name] for name in expected} == pytest.approx({n: 100 * v for n, v in expected.items()})
    assert logged["loss"] == pytest.approx(float(nn.functional.cross_entropy(logits, target)), abs=1e-5)


def test_confusion_counts_hold_truth_in_rows_and_nothing_chosen_in_the_last_column() -> None:
    counts = confusion_counts(torch.tensor([0, 0, 1, 1, 1]), torch.tensor([0, 2, 1, 0, 1]), classes=2)
    assert counts.tolist() == [[1, 0, 1], [1, 2, 0]]


def prompt_criterion(words: list[list[int]], vocabulary: int = 12) -> MEmoBERTPromptCriterion:
    return MEmoBERTPromptCriterion(
        SimpleNamespace(mask_words="vocabulary", **ONE_PROMPT, label_words=words, symbols=["x"] * vocabulary)
    )


def decide(words: list[list[int]], logits: Tensor, target: Tensor) -> Decisions:
    class Fixed(nn.Module):
        def forward(self, **inputs: Any) -> Tensor:
            return logits

    sample = {"net_input": {}, "mask_rows": np.arange(len(logits)), "target": target}
    return prompt_criterion(words, logits.shape[1]).decide(Fixed(), sample)


def test_the_loss_of_one_word_per_emotion_is_the_cross_entropy_over_the_vocabulary() -> None:
    words, logits, target = [[3], [7], [5]], torch.randn(6, 12, dtype=torch.float64), torch.tensor([0, 1, 2, 2, 1, 0])
    expected = nn.functional.cross_entropy(logits, torch.tensor([3, 7, 5])[target], reduction="sum")
    torch.testing.assert_close(decide(words, logits, target).loss, expected)


def test_probabilities_of_several_words_of_an_emotion_are_added() -> None:
    words, logits, target = [[3, 8, 1], [7]], torch.randn(5, 12, dtype=torch.float64), torch.tensor([0, 1, 0, 1, 1])
    decisions, full = decide(words, logits, target), logits.softmax(dim=-1)
    of_emotions = torch.stack([full[:, [3, 8, 1]].sum(dim=-1), full[:, 7]], dim=-1)
    torch.testing.assert_close(decisions.probabilities, of_emotions / of_emotions.sum(dim=-1, keepdim=True))
    torch.testing.assert_close(decisions.loss, -of_emotions.gather(1, target[:, None]).log().sum())


def test_the_decision_over_the_vocabulary_may_be_no_emotion() -> None:
    logits = torch.zeros(3, 12)
    logits[0, 8], logits[1, 7], logits[2, 0] = 5.0, 5.0, 5.0
    decisions = decide([[3, 8], [7]], logits, torch.tensor([0, 1, 1]))
    assert decisions.vocabulary_predictions is not None
    assert decisions.vocabulary_predictions.tolist() == [0, 1, 2]


def test_half_precision_logits_are_scored_in_float32() -> None:
    logits = torch.full((1, 12), 60000.0, dtype=torch.float16)
    decisions = decide([[3, 8], [7]], logits, torch.tensor([0]))
    assert decisions.loss.dtype == decisions.probabilities.dtype == torch.float32
    assert torch.isfinite(decisions.loss) and decisions.probabilities[0].tolist() == pytest.approx(
        [2 / 3, 1 / 3], abs=1e-2
    )


def test_the_score_of_a_label_word_does_not_depend_on_other_labels() -> None:
    words = LabelWords([[2], [4, 5, 6]], vocabulary=8)
    logits = torch.arange(8.0)[None]
    torch.testing.assert_close(words.scores(logits), torch.stack([logits[:, 2], logits[:, 4:7].logsumexp(-1)], dim=-1))
