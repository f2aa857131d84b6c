"""Setting up never empties an environment of another place, and knows when another checkout has installed into one."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def make_environment(venv: Path) -> subprocess.CompletedProcess[str]:
    """Run the function of that name of ``setup.sh``, with a Python that only says what it was asked for."""
    python = venv.parent / "python3.11"
    python.write_text('#!/bin/sh\nif [ "$1" = -m ]; then echo "would make $*"; else echo 3.11; fi\n')
    python.chmod(0o755)
    return subprocess.run(
        ["bash", "-c", "source scripts/setup.sh; make_environment"],
        cwd=ROOT,
        env={**os.environ, "VENV": str(venv), "PYTHON": str(python)},
        capture_output=True,
        text=True,
        check=False,
    )


def other_environment(folder: Path) -> Path:
    """A folder as ``python -m venv`` leaves it, whose pip names that folder."""
    (folder / "bin").mkdir(parents=True)
    (folder / "pyvenv.cfg").write_text("home = /usr/bin\n")
    (folder / "bin" / "pip").write_text(f"#!{folder}/bin/python\n")
    return folder


def test_a_link_to_the_environment_of_another_checkout_is_refused(tmp_path: Path) -> None:
    shared, link = other_environment(tmp_path / "shared"), tmp_path / ".venv"
    link.symlink_to(shared)
    ended = make_environment(link)
    assert ended.returncode != 0
    assert f"{link} is a link to an environment of another place" in ended.stderr
    assert "would make" not in ended.stdout + ended.stderr
    assert (shared / "bin" / "pip").exists()


def test_an_environment_that_was_moved_is_made_anew(tmp_path: Path) -> None:
    moved = other_environment(tmp_path / "shared").rename(tmp_path / ".venv")
    ended = make_environment(moved)
    assert f"would make -m venv --clear {moved}" in ended.stdout + ended.stderr


def test_a_checkout_installs_again_where_another_one_has_installed_since(tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    python = tmp_path / "bin" / "python"
    python.write_text("#!/bin/sh\necho Python 3.12.0\n")
    python.chmod(0o755)
    (tmp_path / ".installed-test").write_text("Python 3.12.0 /another/checkout 1 2\n")
    code = "source scripts/setup.sh; make_environment() { :; }; pip_install() { :; }; "
    for extra, said in (("plot", True), ("plot", False), ("video", True), ("plot", False)):
        ended = subprocess.run(
            ["bash", "-c", f"set -eu; {code} remove_broken_torchaudio() {{ :; }}; set_up {extra}"],
            cwd=ROOT,
            env={**os.environ, "VENV": str(tmp_path)},
            capture_output=True,
            text=True,
            check=True,
        )
        assert ("setup: installing into" in ended.stderr) is said
    assert {path.name for path in tmp_path.glob(".installed-*")} == {".installed-plot", ".installed-video"}


def test_help_of_the_quickstart_needs_no_package_and_sets_nothing_up(tmp_path: Path) -> None:
    bare = tmp_path / "python3.11"
    bare.write_text(f'#!/bin/sh\nexec "{sys.executable}" -S "$@"\n')
    bare.chmod(0o755)
    ended = subprocess.run(
        ["bash", "scripts/quickstart.sh", "--help"],
        cwd=ROOT,
        env={**os.environ, "VENV": str(tmp_path / "venv"), "PYTHON": str(bare)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert "--fresh" in ended.stdout and not ended.stderr
    assert not (tmp_path / "venv").exists()
