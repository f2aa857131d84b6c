"""How many compiled shapes oneDNN keeps while batches differ in shape."""

from __future__ import annotations

import os

import pytest

from memobert_plugin.core.onednn import limit_primitive_cache


@pytest.mark.parametrize("variable", ["ONEDNN_PRIMITIVE_CACHE_CAPACITY", "LRU_CACHE_CAPACITY"])
def test_a_training_keeps_few_unless_the_user_chose(monkeypatch: pytest.MonkeyPatch, variable: str) -> None:
    monkeypatch.delenv(variable, raising=False)
    limit_primitive_cache()
    assert int(os.environ[variable]) < 1024
    monkeypatch.setenv(variable, "1000")
    limit_primitive_cache()
    assert os.environ[variable] == "1000"
