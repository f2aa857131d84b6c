"""What all tests share: leaving out slow tests unless asked for, and the folder of real corpora."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

REAL_DATA_VARIABLE = "MEMOBERT_TEST_DATA"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--all", action="store_true", help="run the tests marked slow too")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Skip slow tests, so that the summary lists each of them, unless ``--all`` or a ``-m`` expression chooses."""
    if config.getoption("--all") or config.getoption("-m"):
        return
    for item in items:
        if item.get_closest_marker("slow"):
            item.add_marker(pytest.mark.skip(reason="slow; --all runs it"))


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Folder of real corpora as published (``ravdess_speech/``, ``text/meld/`` …); skips where there is none."""
    folder = os.environ.get(REAL_DATA_VARIABLE)
    if not folder:
        pytest.skip(f"{REAL_DATA_VARIABLE} is not set: it names a folder of real corpora")
    if not Path(folder).is_dir():
        pytest.fail(f"{REAL_DATA_VARIABLE}={folder} is no folder")
    return Path(folder)
