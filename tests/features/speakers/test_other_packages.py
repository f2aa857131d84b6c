"""A face source and a voice detector of another package, installed beside this one."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.host import ROOT
from tests.talking_faces import DrawnFace, write_talking_film

MODULE = """
from dataclasses import dataclass, field
import numpy as np
from memobert_plugin.features.speakers.face import Face

@dataclass(frozen=True)
class MiddleOptions:
    face_size: float = field(default=40.0, metadata={"help": "side of the face, in pixels"})

class Middle:
    name, version, summary, Options = "middle", "1", "the middle of the picture", MiddleOptions
    def __init__(self, size):
        self.size, self.options = size, {"face_size": size}
    @classmethod
    def from_options(cls, options):
        return cls(options.face_size)
    def start(self, path, offset_seconds=0.0): pass
    def faces(self, time, rgb, left_edge=0):
        x, y, half = rgb.shape[1] / 2, rgb.shape[0] / 2, self.size / 2
        return [Face((x - half, y - half, x + half, y + half))]

@dataclass(frozen=True)
class AlwaysOptions: pass

class Always:
    name, summary, Options, options = "always", "all of the sound", AlwaysOptions, {}
    @classmethod
    def from_options(cls, options):
        return cls()
    def start(self, path): pass
    def intervals(self, samples, start=0.0):
        return [(0.0, len(samples) / 16000)]
"""
ENTRY_POINTS = """
[memobert_plugin.face_sources]
middle = outside_of_memobert:Middle
[memobert_plugin.voice_detectors]
always = outside_of_memobert:Always
"""


@pytest.fixture
def other_package(tmp_path: Path) -> Path:
    """A folder for PYTHONPATH that holds an installed distribution."""
    folder = tmp_path / "site"
    information = folder / "outside_of_memobert-1.0.dist-info"
    information.mkdir(parents=True)
    (folder / "outside_of_memobert.py").write_text(MODULE)
    (information / "METADATA").write_text("Metadata-Version: 2.1\nName: outside-of-memobert\nVersion: 1.0\n")
    (information / "entry_points.txt").write_text(ENTRY_POINTS)
    return folder


def run(folder: Path, *arguments: object) -> str:
    path = os.pathsep.join(map(str, (folder, ROOT)))
    code = "import sys; from memobert_plugin.cli.extract import main; sys.exit(main(sys.argv[1:]))"
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_their_names_and_options_are_flags_and_a_film_is_extracted_with_them(
    other_package: Path, tmp_path: Path
) -> None:
    helped = " ".join(run(other_package, "film", "--help").split())
    assert "middle: the middle of the picture" in helped
    assert "--faces middle: side of the face, in pixels (default: 40.0)" in helped
    assert "always: all of the sound" in helped
    film = write_talking_film(tmp_path, "film", [DrawnFace(talks=((0.0, 2.0),))], [], 2.0)
    manifest = tmp_path / "manifest.tsv"
    columns = "id\tspeaker\tsession\tsplit\ttext\temotion\tvideo\taudio\tstart\tend"
    manifest.write_text(f"{columns}\na\t\t\ttrain\t\t\t{film.name}\t\t\t\n")
    output = tmp_path / "visual"
    flags = ("--faces", "middle", "--face-size", "30", "--voice", "always", "--choice", "most_frequent")
    run(other_package, "visual", "--manifest", manifest, "--output", output, "--picture-rate", "5", *flags)
    assert (output / "a.npz").is_file()
    assert '"face_size": 30.0' in (output / "extractor.json").read_text()
