"""Models that the tests of clips share: trained once, on random frames of the real encoders' sizes."""

from __future__ import annotations

from pathlib import Path

import pytest

from memobert_plugin import MEmoBERT
from tests.inference.models import bundle_for_clips


@pytest.fixture(scope="session")
def clip_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A prompted model that says it was trained on DenseFace's and log-mel frames."""
    return bundle_for_clips(tmp_path_factory.mktemp("clip_bundle"), "memobert_prompt")


@pytest.fixture(scope="session")
def clip_model(clip_bundle: Path) -> MEmoBERT:
    """The same, loaded."""
    return MEmoBERT.from_pretrained(clip_bundle)
