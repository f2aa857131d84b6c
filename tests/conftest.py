"""What all tests share: leaving out slow tests and those that need fairseq, and the folder of real corpora."""

from __future__ import annotations

import importlib.util
import os
import sys
from importlib.abc import MetaPathFinder
from pathlib import Path
from types import FrameType

import pytest

REAL_DATA_VARIABLE = "MEMOBERT_TEST_DATA"
FAIRSEQ = ("fairseq", "fairseq_cli", "hydra", "omegaconf")
CALLED_BY_FAIRSEQ = tuple(
    f"memobert_plugin.{part}"
    for part in ("registration", "tasks", "criterions", "models", "comparators", "optim", "sweep")
)
"""Parts of the package that may import fairseq and what it brings (docs/architecture.md)."""


class SkipWithoutFairseq(MetaPathFinder):
    """Skip a test, or a file of tests, that imports fairseq, itself or through a part of the package that may.

    Where another part of the package is on the way, nothing is skipped: it must work without fairseq.
    """

    def find_spec(self, fullname: str, path: object = None, target: object = None) -> None:
        """Find nothing."""
        if fullname not in FAIRSEQ:
            return
        importers: list[str] = []
        frame: FrameType | None = sys._getframe(1)
        while frame is not None:
            importers.append(frame.f_globals.get("__name__", ""))
            frame = frame.f_back
        importers = [name for name in importers if not name.startswith("importlib")]
        ours = [name for name in importers if name.startswith("memobert_plugin")]
        if importers[0].startswith(("tests.", "memobert_plugin")) and all(
            name.startswith(CALLED_BY_FAIRSEQ) for name in ours
        ):
            pytest.skip(f"needs {fullname}, which is not installed", allow_module_level=True)


if importlib.util.find_spec("fairseq") is None:
    sys.meta_path.insert(0, SkipWithoutFairseq())


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
