"""``memobert completion``: scripts that shells read."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from memobert_plugin.cli.completion import main

pytest.importorskip("shtab")

ASK = """
source "$1"; shift
COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); COMPREPLY=()
_shtab_memobert
echo "${COMPREPLY[*]}"
"""


@pytest.mark.skipif(shutil.which("bash") is None, reason="no bash")
@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        ("memobert exp", "export"),
        ("memobert extract f", "film"),
        ("memobert predict --tr", "--transcribe"),
        ("memobert extract film --executor s", "slurm"),
        ("memobert corpora rav", "ravdess"),
    ],
)
def test_bash_completes_commands_flags_and_values(
    typed: str, offered: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["bash"]) == 0
    script = tmp_path / "completion.bash"
    script.write_text(capsys.readouterr().out)
    asked = subprocess.run(
        ["bash", "-c", ASK, "ask", script, *typed.split(" ")], capture_output=True, text=True, check=True
    )
    assert asked.stdout.split() == [offered]


@pytest.mark.parametrize("shell", ["zsh", "tcsh"])
def test_other_shells_get_scripts_that_know_the_commands(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([shell]) == 0
    assert "binarize" in capsys.readouterr().out
