"""The model in float64 equals the straightforward implementation: outputs, losses and gradients, for every batch."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from memobert_plugin.criterions.emotion import MEmoBERTFinetuneCriterion, MEmoBERTPromptCriterion
from memobert_plugin.criterions.pretraining import MEmoBERTPretrainingCriterion
from memobert_plugin.models.memobert import MEmoBERTConfig, MEmoBERTModel
from tests.criterions.prompts import ONE_PROMPT
from tests.objectives.paper import objectives_of
from tests.reference import straightforward
from tests.reference.straightforward import Config, Parameters, Utterance

SIZES = Config()
LABEL_WORDS = [7, 19, 30]

Batch = list[Utterance]


def build_model(parameters: Parameters, **changes: Any) -> MEmoBERTModel:
    config = MEmoBERTConfig(
        encoder_layers=SIZES.layers,
        encoder_embed_dim=SIZES.hidden,
        encoder_ffn_embed_dim=SIZES.ffn,
        encoder_attention_heads=SIZES.heads,
        dropout=0.0,
        attention_dropout=0.0,
        max_positions=SIZES.max_positions,
        **changes,
    )
    model = MEmoBERTModel.build(
        config, SIZES.vocabulary, SIZES.visual_dim, SIZES.acoustic_dim, SIZES.expression_classes, SIZES.labels
    ).double()
    state = {name: value.detach() for name, value in straightforward.to_plugin_names(parameters).items()}
    model.load_state_dict({**state, "dictionary_fingerprint": torch.zeros(1, dtype=torch.int64)})
    return model


def utterance(seed: int, pieces: int, visual: int = 0, acoustic: int = 0) -> Utterance:
    """Random pieces between [CLS] and [SEP], and frames; 0 leaves a modality out."""
    generator = torch.Generator().manual_seed(seed)
    text = torch.randint(4, SIZES.vocabulary, (pieces,), generator=generator)

    def frames(count: int, dim: int) -> Tensor | None:
        return torch.randn(count, dim, generator=generator, dtype=torch.float64) if count else None

    return Utterance(
        torch.cat([torch.tensor([0]), text, torch.tensor([2])]),
        frames(visual, SIZES.visual_dim),
        frames(acoustic, SIZES.acoustic_dim),
    )


def with_zero_frames(seed: int, pieces: int) -> Utterance:
    """Where nothing was seen or heard, corpora made like the paper's keep a single frame of zeros."""
    zeros = (
        torch.zeros(1, SIZES.visual_dim, dtype=torch.float64),
        torch.zeros(1, SIZES.acoustic_dim, dtype=torch.float64),
    )
    return replace(utterance(seed, pieces), visual=zeros[0], acoustic=zeros[1])


BATCHES: dict[str, Callable[[], Batch]] = {
    "all modalities": lambda: [utterance(1, 4, 5, 6), utterance(2, 7, 3, 9), utterance(3, 1, 8, 2)],
    "equally long": lambda: [utterance(4, 4, 5, 6), utterance(5, 4, 5, 6)],
    "one utterance": lambda: [utterance(6, 3, 2, 4)],
    "some without a modality": lambda: [
        utterance(7, 3, 0, 4),
        utterance(8, 5),
        utterance(9, 2, 6, 0),
        utterance(10, 6, 4, 5),
        utterance(11, 0, 3, 0),
    ],
    "single zero frames": lambda: [with_zero_frames(12, 3), utterance(13, 5, 4, 3), with_zero_frames(14, 6)],
    "nobody visible": lambda: [utterance(15, 3, 0, 4), utterance(16, 5, 0, 7)],
    "nobody audible": lambda: [utterance(17, 3, 4, 0), utterance(18, 5, 7, 0)],
    "text only": lambda: [utterance(19, 3), utterance(20, 6)],
}


def lengths(parts: list[Tensor | None]) -> np.ndarray:
    return np.array([0 if part is None else len(part) for part in parts], dtype=np.int64)


def flat_frames(parts: list[Tensor | None]) -> Tensor | None:
    present = [part for part in parts if part is not None]
    return torch.cat(present) if present else None


def flat_masked(parts: list[Tensor | None], masks: list[Tensor | None]) -> Tensor | None:
    if all(mask is None for mask in masks):
        return None
    flags = [
        torch.zeros(len(part), dtype=torch.bool) if mask is None else mask
        for part, mask in zip(parts, masks, strict=True)
        if part is not None
    ]
    return torch.cat(flags).nonzero()[:, 0]


def net_input(batch: Batch) -> dict[str, Any]:
    """The batch as the model reads it: flat arrays and lengths."""
    texts: list[Tensor | None] = [item.text for item in batch]
    visual, acoustic = [item.visual for item in batch], [item.acoustic for item in batch]
    return {
        "text": flat_frames(texts),
        "text_lengths": lengths(texts),
        "visual": flat_frames(visual),
        "visual_lengths": lengths(visual),
        "acoustic": flat_frames(acoustic),
        "acoustic_lengths": lengths(acoustic),
        "visual_masked": flat_masked(visual, [item.visual_masked for item in batch]),
        "acoustic_masked": flat_masked(acoustic, [item.acoustic_masked for item in batch]),
    }


def flat_rows(own_lengths: np.ndarray, rows: list[Tensor]) -> np.ndarray:
    """Rows of single utterances as rows of the flat array."""
    starts = np.concatenate([[0], np.cumsum(own_lengths)[:-1]])
    return np.concatenate([start + row.numpy() for start, row in zip(starts, rows, strict=True)]).astype(np.int64)


def sample(batch: Batch, **more: Any) -> dict[str, Any]:
    return {"ntokens": 1, "nsentences": len(batch), **more}


def named(name: str) -> Callable[[str], str]:
    """Put a parameter's name before a comparison's message."""
    return lambda message: f"{name}: {message}"


def assert_same_loss_and_gradients(
    model: MEmoBERTModel, loss: Tensor, expected: Tensor, parameters: Parameters
) -> None:
    torch.testing.assert_close(loss, expected, rtol=1e-6, atol=0.0)
    loss.backward()
    gradients = straightforward.to_plugin_names(straightforward.gradients(expected, parameters))
    found = dict(model.named_parameters())
    assert found.keys() == gradients.keys()
    for name, gradient in gradients.items():
        assert found[name].grad is not None, f"{name} has no gradient"
        scale = float(gradient.abs().max())
        torch.testing.assert_close(found[name].grad, gradient, rtol=1e-6, atol=1e-9 * scale + 1e-14, msg=named(name))


def frame_targets(batch: Batch, modality: str) -> Iterator[tuple[Tensor, Utterance]]:
    """Target rows of each utterance and the utterance with most of them masked; the last target is kept as it is."""
    for item in batch:
        frames = getattr(item, modality)
        if frames is None:
            yield torch.empty(0, dtype=torch.int64), item
            continue
        rows = torch.arange(0, len(frames), 2)
        masked = torch.zeros(len(frames), dtype=torch.bool)
        masked[rows[:-1] if len(rows) > 1 else rows] = True
        yield rows, replace(item, **{f"{modality}_masked": masked})


def pretraining_loss(model: MEmoBERTModel, objective: str, batch: Batch, rows: np.ndarray, target: Tensor) -> Tensor:
    criterion = MEmoBERTPretrainingCriterion(SimpleNamespace(objectives=objectives_of()))
    inputs = {**net_input(batch), "head": objective, "rows": rows}
    loss, count, _ = criterion(model, sample(batch, objective=objective, net_input=inputs, target=target))
    return loss / count


@pytest.mark.parametrize("name", BATCHES)
def test_hidden_states_equal_the_reference_at_every_position(name: str) -> None:
    parameters = straightforward.random_parameters(SIZES, seed=1)
    batch = BATCHES[name]()
    inputs = {key: value for key, value in net_input(batch).items() if not key.endswith("_masked")}
    hidden, layout = build_model(parameters).hidden_states(**inputs)
    expected = [straightforward.hidden_states(parameters, item, SIZES.heads) for item in batch]
    assert layout.lengths.tolist() == [len(one.text) + len(one.visual) + len(one.acoustic) for one in expected]
    together = torch.cat([torch.cat([one.text, one.visual, one.acoustic]) for one in expected])
    torch.testing.assert_close(hidden, together, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("name", BATCHES)
def test_wwmlm_equals_the_reference(name: str) -> None:
    parameters = straightforward.random_parameters(SIZES, seed=2)
    batch = BATCHES[name]()
    rows = [torch.arange(1, len(item.text) - 1, 2) for item in batch]
    targets = [(item.text[row] + 3) % SIZES.vocabulary for item, row in zip(batch, rows, strict=True)]
    expected = straightforward.wwmlm_loss(parameters, SIZES.heads, batch, rows, targets)
    model = build_model(parameters)
    flat = flat_rows(net_input(batch)["text_lengths"], rows)
    assert_same_loss_and_gradients(
        model, pretraining_loss(model, "wwmlm", batch, flat, torch.cat(targets)), expected, parameters
    )


MODALITIES = {"mvfr": "visual", "mafr": "acoustic", "mvfc": "visual"}
FRAME_CASES = [
    (name, objective)
    for name, batch in BATCHES.items()
    for objective, modality in MODALITIES.items()
    if any(getattr(item, modality) is not None for item in batch())
]


@pytest.mark.parametrize(("name", "objective"), FRAME_CASES)
def test_frame_objectives_equal_the_reference(name: str, objective: str) -> None:
    modality = MODALITIES[objective]
    parameters = straightforward.random_parameters(SIZES, seed=3)
    rows, batch = (list(part) for part in zip(*frame_targets(BATCHES[name](), modality), strict=True))
    targets = []
    for item, row in zip(batch, rows, strict=True):
        if objective == "mvfc":
            generator = torch.Generator().manual_seed(len(row))
            scores = torch.randn(len(row), SIZES.expression_classes, generator=generator, dtype=torch.float64)
            distributions = torch.softmax(3 * scores, dim=-1)
            distributions[:, 0] = 0.0
            targets.append(distributions / distributions.sum(dim=-1, keepdim=True))
        else:
            dim = SIZES.visual_dim if modality == "visual" else SIZES.acoustic_dim
            frames = getattr(item, modality)
            targets.append(torch.empty(0, dim, dtype=torch.float64) if frames is None else frames[row])
    loss_of = getattr(straightforward, f"{objective}_loss")
    expected = loss_of(parameters, SIZES.heads, batch, rows, targets)
    model = build_model(parameters)
    flat = flat_rows(net_input(batch)[f"{modality}_lengths"], rows)
    loss = pretraining_loss(model, objective, batch, flat, torch.cat(targets))
    assert_same_loss_and_gradients(model, loss, expected, parameters)


@pytest.mark.parametrize("name", BATCHES)
def test_prompting_equals_the_reference(name: str) -> None:
    parameters = straightforward.random_parameters(SIZES, seed=4)
    batch = BATCHES[name]()
    positions = [len(item.text) - 2 for item in batch]
    emotions = [number % len(LABEL_WORDS) for number in range(len(batch))]
    answers = [LABEL_WORDS[emotion] for emotion in emotions]
    expected = straightforward.prompt_loss(parameters, SIZES.heads, batch, positions, answers)
    model = build_model(parameters)
    task = SimpleNamespace(
        mask_words="vocabulary",
        **ONE_PROMPT,
        label_words=[[word] for word in LABEL_WORDS],
        symbols=["x"] * SIZES.vocabulary,
    )
    mask_rows = flat_rows(net_input(batch)["text_lengths"], [torch.tensor([position]) for position in positions])
    prompted = sample(batch, net_input=net_input(batch), mask_rows=mask_rows, target=torch.tensor(emotions))
    loss, count, _ = MEmoBERTPromptCriterion(task)(model, prompted)
    assert_same_loss_and_gradients(model, loss / count, expected, parameters)


@pytest.mark.parametrize("name", BATCHES)
def test_finetuning_equals_the_reference(name: str) -> None:
    parameters = straightforward.random_parameters(SIZES, seed=5)
    batch = BATCHES[name]()
    labels = [number % SIZES.labels for number in range(len(batch))]
    expected = straightforward.finetune_loss(parameters, SIZES.heads, batch, labels)
    model = build_model(parameters)
    first_rows = flat_rows(net_input(batch)["text_lengths"], [torch.tensor([0]) for _ in batch])
    labelled = sample(batch, net_input=net_input(batch), first_rows=first_rows, target=torch.tensor(labels))
    loss, count, _ = MEmoBERTFinetuneCriterion(SimpleNamespace())(model, labelled)
    assert_same_loss_and_gradients(model, loss / count, expected, parameters)


def test_recomputed_activations_give_the_same_gradients() -> None:
    parameters = straightforward.random_parameters(SIZES, seed=6)
    batch = BATCHES["some without a modality"]()
    labels = [0, 1, 2, 0, 1]
    expected = straightforward.finetune_loss(parameters, SIZES.heads, batch, labels)
    model = build_model(parameters, checkpoint_activations=True).train()
    first_rows = flat_rows(net_input(batch)["text_lengths"], [torch.tensor([0]) for _ in batch])
    labelled = sample(batch, net_input=net_input(batch), first_rows=first_rows, target=torch.tensor(labels))
    loss, count, _ = MEmoBERTFinetuneCriterion(SimpleNamespace())(model, labelled)
    assert_same_loss_and_gradients(model, loss / count, expected, parameters)


def test_a_masked_frame_does_not_reach_the_output() -> None:
    model = build_model(straightforward.random_parameters(SIZES, seed=7))
    masked = torch.tensor([True, False, True, False])
    item = replace(utterance(21, 3, 4, 5), visual_masked=masked)
    assert item.visual is not None
    other = replace(item, visual=item.visual + 100.0 * masked[:, None])
    rows = np.arange(4)
    outputs = [model(**net_input([one]), head="mvfc", rows=rows) for one in (item, other)]
    torch.testing.assert_close(outputs[0], outputs[1], rtol=0.0, atol=0.0)


def test_a_batch_without_a_target_gives_every_parameter_a_zero_gradient() -> None:
    model = build_model(straightforward.random_parameters(SIZES, seed=8))
    batch = BATCHES["text only"]()
    target = torch.empty(0, SIZES.visual_dim, dtype=torch.float64)
    inputs = {**net_input(batch), "head": "mvfr", "rows": np.empty(0, dtype=np.int64)}
    loss, count, _ = MEmoBERTPretrainingCriterion(SimpleNamespace(objectives=objectives_of()))(
        model, sample(batch, objective="mvfr", net_input=inputs, target=target)
    )
    loss.backward()
    assert (loss.item(), count) == (0.0, 0)
    assert all(p.grad is not None and not p.grad.any() for p in model.parameters())


@pytest.mark.parametrize("name", BATCHES)
def test_an_utterance_does_not_depend_on_the_others_of_its_batch(name: str) -> None:
    model = build_model(straightforward.random_parameters(SIZES, seed=9)).float()
    batch = BATCHES[name]()
    first_rows = flat_rows(net_input(batch)["text_lengths"], [torch.tensor([0]) for _ in batch])
    together = model(**net_input(batch), head="classify", rows=first_rows)
    alone = torch.cat([model(**net_input([item]), head="classify", rows=np.zeros(1, dtype=np.int64)) for item in batch])
    torch.testing.assert_close(together, alone, rtol=1e-5, atol=1e-5)
