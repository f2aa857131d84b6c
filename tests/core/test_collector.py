"""Python's search for cycles rests while a command starts."""

from __future__ import annotations

import gc
import subprocess
import sys
import textwrap

import pytest

from memobert_plugin.core import collector
from memobert_plugin.core.collector import starting_up


def test_a_library_leaves_the_collector_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(collector, "_process_is_ours", [False])  # a test before may have run a command in here
    before = gc.get_freeze_count()
    with starting_up():
        assert gc.isenabled()
    assert gc.get_freeze_count() == before


_BEGIN = """
import gc
from memobert_plugin.core.collector import starting_up
from memobert_plugin.core.console import run_command
"""


def _run_as_command(main: str) -> None:
    """Run the function ``main`` in a process of its own, as a command."""
    program = f"{_BEGIN}{textwrap.dedent(main)}\nrun_command(main)"
    subprocess.run([sys.executable, "-c", program], check=True)


def test_a_command_sets_aside_what_it_imported() -> None:
    _run_as_command("""
        def main():
            with starting_up():
                assert not gc.isenabled()
                with starting_up():
                    pass
                assert not gc.isenabled()
                assert not gc.get_freeze_count()
            assert gc.isenabled()
            assert gc.get_freeze_count() > 1000
    """)


def test_the_collector_works_again_after_an_error() -> None:
    _run_as_command("""
        def main():
            try:
                with starting_up():
                    raise ValueError
            except ValueError:
                assert gc.isenabled()
    """)


def test_a_collector_that_is_switched_off_stays_so() -> None:
    _run_as_command("""
        def main():
            gc.disable()
            with starting_up():
                pass
            assert not gc.isenabled()
    """)
