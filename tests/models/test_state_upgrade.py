"""Checkpoints of other stages: fresh parts, dropped parts and refusals from imported BERT to finetuning."""

from __future__ import annotations

import logging
from typing import Any

import pytest
import torch
from torch import Tensor

from memobert_plugin.models.memobert import MEmoBERTConfig, MEmoBERTModel
from memobert_plugin.nn.network import dictionary_fingerprint

SYMBOLS = ("[CLS]", "[PAD]", "[SEP]", "[UNK]", "[MASK]", "angry", "happy")
SIZES: dict[str, Any] = {
    "vocabulary": len(SYMBOLS), "visual_dim": 6, "acoustic_dim": 5, "expression_classes": 8, "symbols": SYMBOLS,
}  # fmt: skip
TEXT_ONLY = {**SIZES, "visual_dim": 0, "acoustic_dim": 0, "expression_classes": 0}


def model_of(sizes: dict[str, Any], **config: Any) -> MEmoBERTModel:
    small = {
        "encoder_layers": 2, "encoder_embed_dim": 8, "encoder_ffn_embed_dim": 12, "encoder_attention_heads": 2,
        "max_positions": 20,
    }  # fmt: skip
    return MEmoBERTModel.build(MEmoBERTConfig(**{**small, **config}), **sizes)


def state_of(sizes: dict[str, Any], **config: Any) -> dict[str, Tensor]:
    return model_of(sizes, **config).state_dict()


def load(model: MEmoBERTModel, state: dict[str, Tensor]) -> None:
    """Load strictly, as fairseq does."""
    model.load_state_dict(state, strict=True)


STAGES = {
    "pre-training goes on": (SIZES, SIZES, "", ""),
    "pre-trained to prompt": (SIZES, SIZES, "", ""),
    "pre-trained to finetune": (SIZES, {**SIZES, "labels": 4}, "heads.classify.", ""),
    "finetuned to prompt": ({**SIZES, "labels": 4}, SIZES, "", "heads.classify."),
    "imported text to all modalities": (
        TEXT_ONLY, SIZES, "visual_embedder.,acoustic_embedder.,heads.mvfr.,heads.mvfc.,heads.mafr.", "",
    ),
    "all modalities to speech and text": (
        SIZES, {**SIZES, "visual_dim": 0, "expression_classes": 0}, "", "visual_embedder.,heads.mvfr.,heads.mvfc.",
    ),
    "without to with distributions": ({**SIZES, "expression_classes": 0}, SIZES, "heads.mvfc.", ""),
}  # fmt: skip


@pytest.mark.parametrize("stage", STAGES)
def test_declared_parts_start_fresh_or_are_dropped_and_the_rest_is_taken(
    stage: str, caplog: pytest.LogCaptureFixture
) -> None:
    before, after, fresh, dropped = STAGES[stage]
    state, model = state_of(before), model_of(after)
    own = {name: value.clone() for name, value in model.state_dict().items()}
    given = {name: value.clone() for name, value in state.items()}
    with caplog.at_level(logging.INFO):
        load(model, state)
    fresh_parts = tuple(filter(None, fresh.split(",")))
    for name, value in model.state_dict().items():
        assert torch.equal(value, (own if name.startswith(fresh_parts) else given)[name]), name
    for part in fresh_parts:
        assert f"not in the checkpoint, starts fresh: {part}*" in caplog.text
    for part in filter(None, dropped.split(",")):
        assert f"in the checkpoint, not in this model, dropped: {part}*" in caplog.text
    assert len(caplog.records) == len(fresh_parts) + len(list(filter(None, dropped.split(","))))


def test_a_checkpoint_without_pooler_or_word_head_gets_fresh_ones() -> None:
    """BERT folders come without either."""
    state = {name: value for name, value in state_of(SIZES).items() if not name.startswith(("pooler.", "heads.wwmlm."))}
    load(model_of(SIZES), state)


def refusal(model: MEmoBERTModel, state: dict[str, Tensor]) -> str:
    with pytest.raises(SystemExit) as leaving:
        load(model, state)
    message = str(leaving.value)
    assert message.startswith("memobert: error: checkpoint: ") and "\n" not in message
    return message


REFUSED: dict[str, tuple[dict[str, Any], dict[str, Any], list[str]]] = {
    "other face frames": ({"visual_dim": 7}, {}, ["visual_embedder.mask", "(1, 7)", "(1, 6)", "the visual frames"]),
    "other speech frames": ({"acoustic_dim": 9}, {}, ["acoustic_embedder.mask", "(1, 9)", "the acoustic frames"]),
    "other expressions": (
        {"expression_classes": 7},
        {},
        ["heads.mvfc.out", "(7, 8)", "distributions over the classes"],
    ),
    "another dictionary": ({"symbols": (*SYMBOLS[:-1], "sad")}, {}, ["another dictionary", "--vocab"]),
    "another number of emotions": ({"labels": 3}, {}, ["heads.classify.out", "another number of emotions"]),
    "another depth": ({}, {"encoder_layers": 3}, ["unknown", "encoder.layers.2", "--arch"]),
    "another width": ({}, {"encoder_embed_dim": 10}, ["(7, 10)", "(7, 8)"]),
    "shorter position tables": ({}, {"max_positions": 10}, ["text_embedder.position", "(10, 8)", "--arch and sizes"]),
}


@pytest.mark.parametrize("what", REFUSED)
def test_anything_else_is_refused_in_one_line(what: str) -> None:
    sizes, config, words = REFUSED[what]
    message = refusal(model_of({**SIZES, "labels": 4}), state_of({**SIZES, **sizes}, **config))
    assert [word for word in words if word not in message] == []


def test_half_a_part_is_refused() -> None:
    state = state_of(SIZES)
    del state["visual_embedder.mask"]
    assert "1 missing (visual_embedder.mask)" in refusal(model_of(SIZES), state)


def test_an_unknown_dictionary_is_taken_on_trust_and_then_known() -> None:
    state, model = state_of({**SIZES, "symbols": ()}), model_of(SIZES)
    load(model, state)
    assert int(model.dictionary_fingerprint) == dictionary_fingerprint(SYMBOLS) != 0


def test_a_fingerprint_is_that_of_the_symbols_and_their_order() -> None:
    assert dictionary_fingerprint(SYMBOLS) == dictionary_fingerprint(list(SYMBOLS))
    assert dictionary_fingerprint(SYMBOLS) != dictionary_fingerprint(SYMBOLS[::-1])
    assert dictionary_fingerprint(()) == 0


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_parameters_of_a_training_that_diverged_are_refused_and_large_ones_taken(value: float) -> None:
    state = state_of(SIZES)
    state["pooler.weight"].fill_(3e38)
    load(model_of(SIZES), state)
    state["pooler.weight"][-1, -1] = value
    with pytest.raises(SystemExit, match=r"checkpoint: pooler\.weight holds NaN or infinite values"):
        load(model_of(SIZES), state)
