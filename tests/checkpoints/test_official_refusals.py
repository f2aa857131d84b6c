"""A published checkpoint that cannot be imported faithfully or safely is refused in one line that names the file."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from memobert_plugin.checkpoints.official import ImportedOfficial, import_official
from memobert_plugin.core.errors import UserError
from tests.reference.official_checkpoint import SIZES, VOCABULARY, OfficialCheckpoint, write_official

VISUAL_POSITIONS = "uniter.img_embeddings.position_embeddings.weight"


@pytest.fixture
def official(tmp_path: Path) -> OfficialCheckpoint:
    """A finetuned checkpoint with every part."""
    return write_official(tmp_path)


def imported_from(official: OfficialCheckpoint) -> ImportedOfficial:
    return import_official(official.checkpoint, official.config, official.vocab)


def refusal(official: OfficialCheckpoint) -> str:
    with pytest.raises(UserError) as caught:
        imported_from(official)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_every_needed_parameter_is_missed_by_its_name(tmp_path: Path) -> None:
    official = write_official(tmp_path, replace(SIZES, hidden=8, heads=2, ffn=6, max_positions=5))
    state = official.state()
    implied = ("cls.predictions.decoder.weight", "feat_regress.weight", "speech_feat_regress.weight")
    for name in official.parameters:
        official.rewrite({other: value for other, value in state.items() if other != name})
        if name in implied:
            imported_from(official)
        else:
            assert name in refusal(official)


def test_all_missing_parameters_are_listed_at_once(official: OfficialCheckpoint) -> None:
    gone = ["uniter.pooler.dense.bias", "uniter.encoder.layer.0.output.dense.weight", "feat_regress.net.2.bias"]
    official.rewrite({name: value for name, value in official.state().items() if name not in gone})
    said = refusal(official)
    assert all(name in said for name in [*gone, str(official.checkpoint), "lacks"])


def test_a_head_without_its_modality_is_missing_the_modality(official: OfficialCheckpoint) -> None:
    state = official.state()
    official.rewrite({name: value for name, value in state.items() if "img_embeddings" not in name})
    assert "uniter.img_embeddings.img_linear.weight" in refusal(official)


def test_a_gap_among_the_layers_is_missing(official: OfficialCheckpoint) -> None:
    gone = "uniter.encoder.layer.0."
    official.rewrite({name: value for name, value in official.state().items() if not name.startswith(gone)})
    assert f"{gone}attention.self.query.weight" in refusal(official)


@pytest.mark.parametrize(
    ("decoder", "original"),
    [
        ("cls.predictions.decoder.weight", "uniter.embeddings.word_embeddings.weight"),
        ("feat_regress.weight", "uniter.img_embeddings.img_linear.weight"),
        ("speech_feat_regress.weight", "uniter.speech_embeddings.speech_linear.weight"),
    ],
)
def test_a_decoder_that_is_not_its_input_weights_is_refused(
    official: OfficialCheckpoint, decoder: str, original: str
) -> None:
    state = official.state()
    state[decoder] = state[decoder].clone()
    state[decoder][1, 2] += 1e-4
    official.rewrite(state)
    assert f"{decoder} is not {original}" in refusal(official)


def test_position_tables_of_different_lengths_are_refused(official: OfficialCheckpoint) -> None:
    official.rewrite({**official.state(), VISUAL_POSITIONS: torch.zeros(64, 64)})
    said = refusal(official)
    assert "text 96, visual 64, acoustic 96 rows" in said
    assert "--max-positions" in said


Change = Callable[[Tensor], Tensor]


@pytest.mark.parametrize(
    ("name", "change", "said"),
    [
        ("uniter.img_embeddings.mask_embedding.weight", lambda value: value[:1], "is 1 x 36, expected 2 x 36"),
        ("uniter.embeddings.token_type_embeddings.weight", lambda value: value[:1], "is 1 x 64, expected 2 x 64"),
        ("region_classifier.net.3.bias", lambda value: value[:5], "is 5, expected 8"),
        ("output.output.0.weight", lambda value: value[:64], "is 64 x 64, expected 128 x 64"),
        ("uniter.embeddings.word_embeddings.weight", lambda value: value[0], "has only 1 axes"),
        (VISUAL_POSITIONS, lambda value: value * torch.nan, "holds NaN"),
        ("uniter.pooler.dense.weight", lambda value: value.long(), "whole numbers"),
    ],
)
def test_tensors_that_do_not_fit_are_refused_by_name(
    official: OfficialCheckpoint, name: str, change: Change, said: str
) -> None:
    state = official.state()
    official.rewrite({**state, name: change(state[name])})
    refused = refusal(official)
    assert name in refused
    assert said in refused


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("{", "cannot be read as JSON"),
        ("[4]", "holds no JSON object"),
        ("{}", "num_attention_heads is None"),
        ('{"num_attention_heads": 5}', "divides the hidden size 64"),
        ('{"num_attention_heads": true}', "num_attention_heads is True"),
        ('{"num_attention_heads": 4, "hidden_size": 768}', "hidden_size is 768, but the checkpoint's network has 64"),
        ('{"num_attention_heads": 4, "num_hidden_layers": 12}', "num_hidden_layers is 12"),
        ('{"num_attention_heads": 4, "hidden_act": "relu"}', "hidden_act is 'relu'"),
    ],
)
def test_a_configuration_of_another_model_is_refused(official: OfficialCheckpoint, content: str, said: str) -> None:
    official.config.write_text(content)
    refused = refusal(official)
    assert refused.startswith(f"{official.config}: ")
    assert said in refused


def test_a_vocabulary_of_another_model_is_refused(official: OfficialCheckpoint) -> None:
    official.vocab.write_text("".join(f"{piece}\n" for piece in [*VOCABULARY, "more"]), encoding="utf-8")
    assert f"{official.vocab}: has 57 word pieces, but {official.checkpoint} embeds 56" in refusal(official)


def test_files_that_are_no_published_checkpoint_are_refused(official: OfficialCheckpoint) -> None:
    state = official.state()
    official.rewrite({f"bert.{name.removeprefix('uniter.')}": value for name, value in state.items()})
    assert "no tensor is called uniter.embeddings.word_embeddings.weight" in refusal(official)
    official.rewrite({**state, **{f"teacher.{name}": value for name, value in state.items()}})
    assert "it holds 2 networks" in refusal(official)
    official.rewrite({"model": state, "step": 3})
    assert "is not a dictionary of named tensors" in refusal(official)


class Payload:
    """Unpickled carelessly, it creates a folder."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("zipped", [True, False])
def test_a_malicious_pickle_does_not_run(tmp_path: Path, official: OfficialCheckpoint, zipped: bool) -> None:
    trace = tmp_path / "executed"
    evil = {**official.state(), "uniter.extra": Payload(trace)}
    torch.save(evil, official.checkpoint, _use_new_zipfile_serialization=zipped)
    assert "was not opened" in refusal(official)
    assert not trace.exists()
    torch.load(official.checkpoint, weights_only=False)
    assert trace.exists(), "the payload is a real one"


def test_damaged_and_missing_files_are_named(official: OfficialCheckpoint) -> None:
    whole = official.checkpoint.read_bytes()
    for content in (b"", b"not a pickle", whole[: len(whole) // 2]):
        official.checkpoint.write_bytes(content)
        assert f"{official.checkpoint}: is damaged" in refusal(official)
    official.checkpoint.unlink()
    assert f"{official.checkpoint}: cannot be opened (No such file or directory)" in refusal(official)
    official.checkpoint.write_bytes(whole)
    official.vocab.unlink()
    assert f"{official.vocab}: cannot be read" in refusal(official)
