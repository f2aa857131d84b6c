"""Frames of one corpus agree: dimensions, expressions everywhere or nowhere, names from the extractor."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from memobert_plugin.core.errors import UserError
from memobert_plugin.data.corpus import Corpus
from memobert_plugin.data.frames import FERPLUS_CLASSES, ExtractorInfo, write_extractor_info
from tests.data.sources import VISUAL_DIM, Sources, distributions, frames


@pytest.fixture
def sources(tmp_path: Path) -> Sources:
    return Sources(tmp_path)


def test_expression_is_left_out_where_no_frame_has_it(sources: Sources) -> None:
    for number in (0, 1, 2, 3, 5):
        sources.put("visual", f"film/{number}", frames(2, VISUAL_DIM))
    corpus = Corpus(sources.binarize().output)
    assert corpus.expression is None
    assert corpus.meta.expression_classes == []
    assert not (corpus.path / "expression.bin").exists()


def test_expressions_that_begin_late_stay_with_their_utterance(sources: Sources) -> None:
    sources.remove("visual", "film/0")
    sources.remove("visual", "film/1")
    corpus = Corpus(sources.binarize().output)
    assert corpus.expression is not None
    np.testing.assert_array_equal(corpus.expression.sizes, np.array([0, 0, 3, 4, 0, 6]) * 8)
    np.testing.assert_array_equal(corpus.expression.view(2).reshape(-1, 8), distributions(3).astype(np.float16))


@pytest.mark.parametrize(
    ("classes", "names"),
    [(8, list(FERPLUS_CLASSES)), (3, ["class_0", "class_1", "class_2"])],
)
def test_expressions_without_names_are_ferplus_or_numbered(sources: Sources, classes: int, names: list[str]) -> None:
    for number in (0, 1, 2, 3, 5):
        sources.put("visual", f"film/{number}", frames(2, VISUAL_DIM), distributions(2, classes))
    assert Corpus(sources.binarize().output).meta.expression_classes == names


def test_the_extractors_description_is_kept_and_binding(sources: Sources) -> None:
    visual = ExtractorInfo("mine", {"size": 64}, "ab" * 32, 10.0, VISUAL_DIM, list("abcdefgh"), "2")
    write_extractor_info(sources.folder / "visual", visual)
    meta = Corpus(sources.binarize().output).meta
    assert meta.visual_extractor == visual
    assert meta.acoustic_extractor == ExtractorInfo("unknown")
    assert meta.expression_classes == list("abcdefgh")
    write_extractor_info(sources.folder / "visual", dataclasses.replace(visual, dim=342))
    with pytest.raises(UserError, match="film/0: visual frames of 6 dimensions, the corpus has 342"):
        sources.binarize(overwrite=True)
