"""A server without a model, and the folder in which it makes its private one."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from starlette.testclient import TestClient


@pytest.fixture
def room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder in which servers make their private folders."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


@pytest.fixture
def client(room: Path) -> Iterator[TestClient]:
    """A server without a model."""
    pytest.importorskip("httpx")
    testclient = pytest.importorskip("starlette.testclient")
    from memobert_plugin.serve.answering import Settings
    from memobert_plugin.serve.app import build_app
    from memobert_plugin.serve.desk import Desk, Limits
    from tests.serve.answerers import OWN, pretend

    limits = Limits(bytes=100_000, seconds=2.0, queue=3)
    with testclient.TestClient(build_app(Desk(Settings(), limits, target=pretend)), base_url=OWN) as client:
        yield client
