"""``python -m memobert_plugin.corpora`` finds its corpora, also those of other packages."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from memobert_plugin.core.errors import UserError
from memobert_plugin.corpora.__main__ import build_parser, main
from memobert_plugin.corpora.reading import CORPORA
from memobert_plugin.data.manifest import read_manifest

OUTSIDE = """
from dataclasses import dataclass, field
from memobert_plugin.corpora.reading import Corpus, Reading
from memobert_plugin.data.manifest import ManifestRow

@dataclass(frozen=True)
class Options:
    speaker: str = field(default="nobody", metadata={"help": "the only speaker"})

def read(folder, options):
    rows = [ManifestRow(0, path.stem, speaker=options.speaker, text=path.read_text()) for path in folder.glob("*.txt")]
    return Reading(rows, [], ["read by another package"])

NOTES = Corpus(help="notes, a file each", folder="folder of notes", options=Options, read=read)
"""


def install(folder: Path, module: str, content: str, entry: str) -> None:
    """Put a small distribution with one entry point into a folder."""
    folder.mkdir(exist_ok=True)
    (folder / f"{module}.py").write_text(content)
    information = folder / f"{module}-1.0.dist-info"
    information.mkdir()
    (information / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {module}\nVersion: 1.0\n")
    (information / "entry_points.txt").write_text(f"[memobert_plugin.corpora]\n{entry}\n")


def run(path: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the command with another folder of packages."""
    places = os.pathsep.join([str(path), *sys.path])
    command = [sys.executable, "-m", "memobert_plugin.corpora", *arguments]
    return subprocess.run(command, env={**os.environ, "PYTHONPATH": places}, capture_output=True, text=True)


def test_every_shipped_corpus_is_found_by_name() -> None:
    assert {"clips", "crema-d", "ferplus", "iemocap", "meld", "msp-improv", "ravdess"} <= set(CORPORA.names())
    assert "crema-d" in build_parser().format_help()


def test_a_corpus_of_another_package_needs_no_change_here(tmp_path: Path) -> None:
    install(tmp_path / "packages", "outside", OUTSIDE, "notes = outside:NOTES")
    (tmp_path / "corpus").mkdir()
    (tmp_path / "corpus" / "one.txt").write_text("all is well")
    manifest = tmp_path / "manifest.tsv"
    arguments = ["notes", str(tmp_path / "corpus"), "--output", str(manifest), "--speaker", "ann"]
    done = run(tmp_path / "packages", *arguments)
    assert done.returncode == 0, done.stderr
    assert "read by another package" in done.stdout
    [row] = read_manifest(manifest)
    assert (row.id, row.speaker, row.text) == ("one", "ann", "all is well")
    assert "notes, a file each" in run(tmp_path / "packages", "--help").stdout


def test_a_broken_package_stops_only_its_own_corpus(tmp_path: Path) -> None:
    install(tmp_path / "packages", "broken", "raise OSError('no licence')", "notes = broken:NOTES")
    shown = run(tmp_path / "packages", "--help")
    assert shown.returncode == 0
    assert "RAVDESS speech" in shown.stdout
    refused = run(tmp_path / "packages", "notes", str(tmp_path), "--output", str(tmp_path / "m.tsv"))
    assert refused.returncode == 2
    assert "of the package broken cannot be imported (OSError: no licence)" in refused.stderr
    assert "Traceback" not in refused.stderr


def test_an_unknown_corpus_and_wrong_flags_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for arguments in (["ravdes", "x"], ["ravdess", "x"], ["ravdess", "x", "--output", "y", "--valid-share", "2"]):
        with pytest.raises(SystemExit):
            main(arguments)
    assert "2' is not a share from 0 to 1" in capsys.readouterr().err
    with pytest.raises(UserError, match="holds none of train_sent_emo"):
        main(["meld", str(tmp_path), "--output", str(tmp_path / "m.tsv")])


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys; from memobert_plugin.corpora.__main__ import build_parser; build_parser().format_help(); "
        "assert not {'torch', 'fairseq', 'numpy'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
