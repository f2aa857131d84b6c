"""The notebook was executed from beginning to end, and runs again."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
NOTEBOOK = ROOT / "examples" / "notebook" / "clips.ipynb"


def kinds(cell: Any) -> list[str]:
    """Return the kinds of a cell's outputs that a reader sees: their MIME types, or the stream's name."""
    found = [sorted(output.get("data", {output.get("name", "")})) for output in cell.outputs]
    return [kind for kinds in found for kind in kinds if kind != "stderr"]


@pytest.mark.slow
def test_the_notebook_runs_again_and_shows_the_same_kinds_of_output() -> None:
    nbformat = pytest.importorskip("nbformat")
    client = pytest.importorskip("nbclient")
    pytest.importorskip("ipykernel")
    pytest.importorskip("pandas")
    stored = nbformat.read(NOTEBOOK, as_version=4)
    code = [cell for cell in stored.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    assert all(cell.outputs for cell in code) and NOTEBOOK.stat().st_size < 200_000
    again = nbformat.read(NOTEBOOK, as_version=4)
    manager = client.NotebookClient(again, timeout=600, resources={"metadata": {"path": str(NOTEBOOK.parent)}})
    manager.create_kernel_manager()
    manager.km.kernel_spec.argv[0] = sys.executable
    manager.execute()
    ran = [cell for cell in again.cells if cell.cell_type == "code"]
    assert [kinds(cell) for cell in ran] == [kinds(cell) for cell in code]


def test_the_stored_notebook_names_no_folder_of_its_maker() -> None:
    text = NOTEBOOK.read_text(encoding="utf-8")
    assert str(Path.home()) not in text and str(ROOT) not in text and "Traceback" not in text
