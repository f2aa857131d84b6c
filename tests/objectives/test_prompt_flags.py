"""Co-prompting's prior: how often an emotion is the target stays as it was."""

from __future__ import annotations

import pytest
import torch

from memobert_plugin.core.errors import UserError
from memobert_plugin.objectives.prompt_flags import parse_shares, prior_of_shares


def random_answers(streams: list[int], sharpness: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Answers (n, 4), summed over each utterance's streams, that rarely choose the first emotion, and (n, 1) counts."""
    random = torch.Generator().manual_seed(0)
    counts = torch.tensor(streams)[torch.randint(len(streams), (500,), generator=random)]
    logits = sharpness * torch.randn(500, 3, 4, generator=random) - torch.tensor([2.0, 0.0, 0.0, 0.0])
    there = torch.arange(3) < counts[:, None]
    return (logits.log_softmax(dim=-1) * there[:, :, None]).sum(dim=1), counts[:, None]


@pytest.mark.parametrize("sharpness", [1.0, 3.0])
def test_targets_have_the_shares_that_are_asked_for(sharpness: float) -> None:
    answers, streams = random_answers([2, 3], sharpness)
    shares = torch.tensor([0.3, 0.3, 0.2, 0.2])
    log_prior = prior_of_shares(answers, streams, shares)
    targets = (answers - (streams - 1) * log_prior).softmax(dim=-1)
    assert torch.allclose(targets.mean(dim=0), shares, atol=1e-3)


def test_an_utterance_of_one_stream_keeps_its_answer() -> None:
    answers, streams = random_answers([1], 1.0)
    log_prior = prior_of_shares(answers, streams, torch.full((4,), 0.25))
    assert torch.equal((answers - (streams - 1) * log_prior).softmax(dim=-1), answers.softmax(dim=-1))


def test_independent_witnesses_of_balanced_emotions_give_bayes_rule() -> None:
    random = torch.Generator().manual_seed(1)
    emotion = torch.arange(4).repeat(2000)
    likelihood = torch.tensor([0.55, 0.15, 0.15, 0.15])
    seen = (torch.multinomial(likelihood, 3 * len(emotion), replacement=True, generator=random) + emotion.repeat(3)) % 4
    single = likelihood[(seen.view(3, -1)[:, :, None] - torch.arange(4)) % 4].log()
    log_prior = prior_of_shares(single.sum(dim=0), torch.full((len(emotion), 1), 3), torch.full((4,), 0.25))
    # Up to a constant, which no answer depends on.
    assert torch.allclose(log_prior - log_prior.mean(), torch.zeros(4), atol=0.05)


def test_shares_come_from_the_start_are_equal_or_given_by_weights() -> None:
    labels = ("anger", "sadness")
    assert parse_shares("start", labels) is None
    for text, shares in (("equal", [0.5, 0.5]), ("sadness=3 anger=1", [0.25, 0.75])):
        found = parse_shares(text, labels)
        assert found is not None and found.tolist() == shares


@pytest.mark.parametrize("text", ["", "anger=1", "anger=1 sadness=0", "anger=1 sadness=x", "anger=1 anger=1", "even"])
def test_other_shares_are_refused(text: str) -> None:
    with pytest.raises(UserError, match="a weight above 0 for each of anger, sadness"):
        parse_shares(text, ("anger", "sadness"))
