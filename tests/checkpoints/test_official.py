"""An imported published checkpoint computes what the published network computes, for every head and every batch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from memobert_plugin.checkpoints.official import ImportedOfficial, import_official
from memobert_plugin.checkpoints.starting_point import model_settings
from memobert_plugin.models.memobert import MEmoBERTConfig, MEmoBERTModel
from memobert_plugin.nn.network import dictionary_fingerprint
from tests.reference import straightforward
from tests.reference.official_checkpoint import SIZES, SYMBOLS, VOCABULARY, OfficialCheckpoint, write_official
from tests.reference.straightforward import Parameters, Utterance

ODD = replace(SIZES, layers=3, hidden=35, heads=5, ffn=71, max_positions=23, visual_dim=7, acoustic_dim=5, labels=3)
ODD = replace(ODD, expression_classes=1)
SQUARE = replace(SIZES, hidden=24, heads=2, ffn=48, acoustic_dim=24)
"""As in the published model, speech frames are as wide as the transformer."""
DROPPED = ["vfom_output.*", "sfom_output.*", "emo_classifier.*", "itm_output.*", "eitm_output.*"]


def imported_from(official: OfficialCheckpoint) -> ImportedOfficial:
    return import_official(official.checkpoint, official.config, official.vocab)


def build(imported: ImportedOfficial) -> MEmoBERTModel:
    """The plugin's model with the imported weights and nothing else."""
    settings = model_settings(imported.config)
    config = MEmoBERTConfig(**{name: value for name, value in settings.items() if name != "_name"})
    model = MEmoBERTModel.build(
        config,
        len(SYMBOLS),
        imported.visual_dim,
        imported.acoustic_dim,
        imported.expression_classes,
        imported.labels,
        symbols=SYMBOLS,
    )
    model.load_state_dict(dict(imported.weights))
    return model.eval()


AUTHORS_ROWS = torch.tensor([VOCABULARY.index(symbol) for symbol in SYMBOLS])
"""For each row of the plugin's dictionary the authors' row of the same word piece."""


def utterance(official: OfficialCheckpoint, seed: int, pieces: int, visual: int = 0, acoustic: int = 0) -> Utterance:
    """Rows of the plugin's dictionary and frames, about a third of which are masked; 0 leaves a modality out."""
    generator = torch.Generator().manual_seed(seed)

    def frames(count: int, dim: int) -> tuple[Tensor | None, Tensor | None]:
        if not count:
            return None, None
        values = torch.randn(count, dim, generator=generator).double()
        return values, torch.rand(count, generator=generator) < 0.35

    text = torch.cat(
        [torch.tensor([0]), torch.randint(4, len(SYMBOLS), (pieces,), generator=generator), torch.tensor([2])]
    )
    seen, seen_masked = frames(visual, official.sizes.visual_dim)
    heard, heard_masked = frames(acoustic, official.sizes.acoustic_dim)
    return Utterance(text, seen, heard, seen_masked, heard_masked)


def zero_frames(official: OfficialCheckpoint, seed: int, pieces: int, masked: bool) -> Utterance:
    """The published corpora keep a single frame of zeros for a clip without faces or speech."""
    zeros = [torch.zeros(1, dim).double() for dim in (official.sizes.visual_dim, official.sizes.acoustic_dim)]
    flag = torch.tensor([masked])
    return replace(
        utterance(official, seed, pieces), visual=zeros[0], acoustic=zeros[1], visual_masked=flag, acoustic_masked=flag
    )


def batches(official: OfficialCheckpoint) -> list[list[Utterance]]:
    long = official.sizes.max_positions - 2
    return [
        [utterance(official, 1, 4, 5, 6), utterance(official, 2, 7, 3, 9), utterance(official, 3, 1, 8, 2)],
        [utterance(official, 4, long, long + 2, long + 2)],
        [utterance(official, 5, 3, 0, 4), utterance(official, 6, 5), utterance(official, 7, 2, 6, 0)],
        [utterance(official, 8, 0, 3, 0)],
        [zero_frames(official, 9, 3, False), zero_frames(official, 10, 5, True), utterance(official, 11, 2, 1, 1)],
    ]


def expected_outputs(parameters: Parameters, heads: int, batch: Sequence[Utterance]) -> dict[str, Tensor]:
    """Every head at every position of its modality, one utterance after the other; hidden states without masks."""
    found: dict[str, list[Tensor]] = {name: [] for name in ("hidden", "wwmlm", "mvfr", "mvfc", "mafr", "classify")}
    for item in batch:
        own = replace(item, text=AUTHORS_ROWS[item.text])
        hidden = straightforward.hidden_states(parameters, own, heads)
        found["wwmlm"].append(straightforward.wwmlm_head(parameters, hidden.text)[:, AUTHORS_ROWS])
        found["mvfr"].append(straightforward.mvfr_head(parameters, hidden.visual))
        found["mvfc"].append(straightforward.mvfc_head(parameters, hidden.visual))
        found["mafr"].append(straightforward.mafr_head(parameters, hidden.acoustic))
        if "output.output.0.weight" in parameters:
            pooled = straightforward.pool(parameters, hidden)
            found["classify"].append(straightforward.classify_head(parameters, pooled)[None])
        unmasked = straightforward.hidden_states(
            parameters, replace(own, visual_masked=None, acoustic_masked=None), heads
        )
        found["hidden"] += [unmasked.text, unmasked.visual, unmasked.acoustic]
    return {name: torch.cat(parts) for name, parts in found.items() if parts}


def model_outputs(model: MEmoBERTModel, batch: Sequence[Utterance]) -> dict[str, Tensor]:
    def flat(parts: Sequence[Tensor | None]) -> tuple[Tensor | None, np.ndarray]:
        present = [part for part in parts if part is not None]
        return (torch.cat(present) if present else None), np.array([0 if p is None else len(p) for p in parts])

    text, text_lengths = flat([item.text for item in batch])
    visual, visual_lengths = flat([item.visual for item in batch])
    acoustic, acoustic_lengths = flat([item.acoustic for item in batch])
    assert text is not None
    arguments = (text, text_lengths, visual, visual_lengths, acoustic, acoustic_lengths)
    masks = [flat([getattr(item, name) for item in batch])[0] for name in ("visual_masked", "acoustic_masked")]
    masked = [None if mask is None else mask.nonzero()[:, 0] for mask in masks]
    keywords = dict(zip(("visual_masked", "acoustic_masked"), masked, strict=True))
    rows = {
        "wwmlm": np.arange(text_lengths.sum()),
        "mvfr": np.arange(visual_lengths.sum()),
        "mvfc": np.arange(visual_lengths.sum()),
        "mafr": np.arange(acoustic_lengths.sum()),
        "classify": np.cumsum(text_lengths) - text_lengths,
    }
    with torch.no_grad():
        outputs = {
            head: model(*arguments, head=head, rows=asked, **keywords)
            for head, asked in rows.items()
            if head in model.heads
        }
        outputs["hidden"] = model.hidden_states(*arguments)[0]
    return outputs


def named(name: str) -> Callable[[str], str]:
    """Put an output's name before a comparison's message."""
    return lambda message: f"{name}: {message}"


@pytest.mark.parametrize("sizes", [SIZES, ODD, SQUARE], ids=["small", "odd", "square"])
@pytest.mark.parametrize("finetuned", [False, True], ids=["pre-trained", "finetuned"])
def test_hidden_states_and_every_head_equal_the_published_networks(
    tmp_path: Path, sizes: straightforward.Config, finetuned: bool
) -> None:
    official = write_official(tmp_path, sizes, finetuned)
    model = build(imported_from(official))
    assert ("classify" in model.heads) == finetuned
    for batch in batches(official):
        expected = expected_outputs(official.parameters, sizes.heads, batch)
        found = model_outputs(model, batch)
        assert found.keys() == expected.keys()
        for name, values in expected.items():
            torch.testing.assert_close(found[name].double(), values, rtol=0.0, atol=1e-5, msg=named(name))


def test_frames_that_are_not_masked_ignore_row_0(tmp_path: Path) -> None:
    clean, dirty = write_official(tmp_path / "clean"), write_official(tmp_path / "dirty")
    state = dirty.state()
    state["uniter.img_embeddings.mask_embedding.weight"][0, 3] = -0.25
    dirty.rewrite(state)
    imported = imported_from(dirty)
    assert imported.unmasked == {"visual_embedder.mask": 0.25}
    assert imported_from(clean).unmasked == {}
    batch = batches(clean)[0]
    found, expected = model_outputs(build(imported), batch), model_outputs(build(imported_from(clean)), batch)
    assert all(torch.equal(found[name], values) for name, values in expected.items())


def test_sizes_are_read_off_the_weights(tmp_path: Path) -> None:
    imported = imported_from(write_official(tmp_path, ODD))
    config = imported.config
    assert (config.layers, config.hidden, config.ffn, config.heads, config.max_positions) == (3, 35, 71, 5, 23)
    dims = (imported.visual_dim, imported.acoustic_dim, imported.expression_classes, imported.labels)
    assert dims == (7, 5, 1, 3)
    assert imported.weights["dictionary_fingerprint"].tolist() == [dictionary_fingerprint(SYMBOLS)]


def test_the_configuration_need_only_name_the_heads(tmp_path: Path) -> None:
    official = write_official(tmp_path)
    official.config.write_text('{"num_attention_heads": 4}')
    assert imported_from(official).config.heads == 4


def test_it_says_what_is_dropped_what_is_unknown_and_what_is_new(tmp_path: Path) -> None:
    official = write_official(tmp_path, finetuned=False)
    imported = imported_from(official)
    assert (imported.dropped, imported.unused, imported.new) == (DROPPED, [], ["heads.classify.*"])
    state = official.state()
    official.rewrite({**state, "optimizer.step": torch.ones(1), "uniter.extra.weight": torch.ones(2)})
    assert imported_from(official).unused == ["optimizer.step", "uniter.extra.weight"]


def test_whole_parts_may_be_absent_as_in_finetuned_and_ablated_models(tmp_path: Path) -> None:
    official = write_official(tmp_path)
    absent = ("cls.", "feat_regress.", "region_classifier.", "speech_feat_regress.", "uniter.speech_embeddings.")
    official.rewrite({name: value for name, value in official.state().items() if not name.startswith(absent)})
    imported = imported_from(official)
    heads = ["heads.wwmlm.*", "heads.mvfr.*", "heads.mvfc.*", "heads.mafr.*"]
    assert imported.new == ["acoustic_embedder.*", *heads]
    assert (imported.acoustic_dim, imported.expression_classes, imported.labels) == (0, 0, 4)


@pytest.mark.parametrize("prefix", ["module.", "model.module."])
def test_names_may_have_a_wrappers_prefix(tmp_path: Path, prefix: str) -> None:
    plain, wrapped = write_official(tmp_path / "plain"), write_official(tmp_path / "wrapped")
    wrapped.rewrite({f"{prefix}{name}": value for name, value in plain.state().items()} | {"step": torch.ones(1)})
    expected, found = imported_from(plain), imported_from(wrapped)
    assert found.weights.keys() == expected.weights.keys()
    assert all(torch.equal(found.weights[name], value) for name, value in expected.weights.items())
    assert (found.dropped, found.unused) == (DROPPED, ["step"])


def test_half_precision_and_the_format_of_old_torch_are_read(tmp_path: Path) -> None:
    official = write_official(tmp_path)
    half = {name: value.half() for name, value in official.state().items()}
    torch.save(half, official.checkpoint, _use_new_zipfile_serialization=False)
    weights = imported_from(official).weights
    assert {value.dtype for name, value in weights.items() if name != "dictionary_fingerprint"} == {torch.float32}
    pooler = half["uniter.pooler.dense.weight"].float()
    assert torch.equal(weights["pooler.weight"], pooler)


def test_padding_rows_of_the_embedding_are_dropped_and_counted(tmp_path: Path) -> None:
    official = write_official(tmp_path, replace(SIZES, vocabulary=len(VOCABULARY) + 8))
    imported = imported_from(official)
    assert imported.padding_rows == 8
    assert len(imported.weights["text_embedder.word.weight"]) == len(imported.weights["heads.wwmlm.bias"]) == 56
    batch = batches(official)[0]
    expected = expected_outputs(official.parameters, SIZES.heads, batch)["wwmlm"]
    found = model_outputs(build(imported), batch)["wwmlm"].double()
    torch.testing.assert_close(found, expected, rtol=0.0, atol=1e-5)
