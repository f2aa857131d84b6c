"""How many compiled shapes oneDNN keeps while batches differ in shape."""

from __future__ import annotations

import os

import pytest

from memobert_plugin.core.fairseq_quirks import limit_primitive_cache

VARIABLE = "ONEDNN_PRIMITIVE_CACHE_CAPACITY"


def test_a_training_keeps_few_unless_the_user_chose(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    limit_primitive_cache()
    assert int(os.environ[VARIABLE]) < 1024
    monkeypatch.setenv(VARIABLE, "1000")
    limit_primitive_cache()
    assert os.environ[VARIABLE] == "1000"
