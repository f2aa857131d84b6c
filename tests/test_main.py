"""``memobert`` and ``python -m memobert_plugin``: one name for all commands."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from memobert_plugin.__main__ import COMMANDS, main
from memobert_plugin.core.errors import UserError

ROOT = Path(__file__).resolve().parents[1]
MOST_SECONDS_OF_HELP = 0.1


def run(*arguments: str, module: str = "memobert_plugin") -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", module, *arguments]
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False, timeout=120)


def test_help_lists_every_command_with_a_line() -> None:
    finished = run("--help")
    assert (finished.returncode, finished.stderr) == (0, "")
    for name, (_, summary) in COMMANDS.items():
        assert f"  {name} " in finished.stdout and summary in finished.stdout
    assert f"Documentation and recipes: {ROOT}" in finished.stdout
    nothing = run()
    assert nothing.returncode == 2 and nothing.stdout == finished.stdout


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_the_common_flags_under_its_own_name(name: str) -> None:
    finished = run(name, "--help")
    assert (finished.returncode, finished.stderr) == (0, "")
    assert finished.stdout.startswith(f"usage: memobert {name} ")
    assert all(flag in finished.stdout for flag in ("--version", "--quiet", "--verbose"))
    assert run(name, "--version").stdout.startswith(f"memobert {name} 0.")


def test_help_costs_less_than_a_tenth_of_a_second() -> None:
    """Processor time beyond that of starting Python, the least of several runs."""

    def cost(*command: str) -> float:
        spent = []
        for _ in range(5):
            before = os.times()
            subprocess.run([sys.executable, *command], capture_output=True, cwd=ROOT, check=True)
            after = os.times()
            spent.append(after.children_user + after.children_system - before.children_user - before.children_system)
            time.sleep(0.01)
        return min(spent)

    assert cost("-m", "memobert_plugin", "--help") - cost("-c", "pass") < MOST_SECONDS_OF_HELP
    assert cost("-m", "memobert_plugin", "predict", "--help") - cost("-c", "pass") < MOST_SECONDS_OF_HELP


def test_an_unknown_command_is_one_line_with_the_nearest() -> None:
    with pytest.raises(UserError, match="predit: no such command \\(did you mean predict\\?\\)"):
        main(["predit"])
    finished = run("predit")
    assert finished.returncode == 2 and finished.stderr.count("\n") == 1
    assert finished.stderr.startswith("memobert: error: predit")


def test_a_command_reports_errors_under_its_own_name() -> None:
    finished = run("inspect", "nowhere")
    assert finished.returncode == 2
    assert finished.stderr.startswith("memobert inspect: error: nowhere: no such file or folder")


@pytest.mark.parametrize("module", ["memobert_plugin.cli.predict", "memobert_plugin.nn", "memobert_plugin.nn.packing"])
def test_running_a_module_that_is_no_command_says_so(module: str) -> None:
    finished = run(module=module)
    assert finished.returncode == 1
    assert finished.stderr == f"{module}: a module that is no command; memobert --help lists the commands\n"


@pytest.mark.parametrize("module", ["memobert_plugin.corpora", "memobert_plugin.checkpoints.last_checkpoint"])
def test_modules_that_are_commands_still_run(module: str) -> None:
    finished = run("--help", module=module)
    assert finished.returncode == 0 and finished.stdout.startswith("usage: ")
