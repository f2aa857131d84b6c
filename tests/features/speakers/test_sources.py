"""Face sources by name."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from memobert_plugin.core.errors import UserError
from memobert_plugin.features.speakers.sources import load_face_source
from memobert_plugin.features.speakers.tracker_files import TrackerFaces


def test_a_tracker_needs_its_file_and_nobody_else_takes_one(tmp_path: Path) -> None:
    assert isinstance(load_face_source("tracker", tracker=tmp_path), TrackerFaces)
    with pytest.raises(UserError, match="needs the tracker's CSV"):
        load_face_source("tracker")
    with pytest.raises(UserError, match="takes no tracker's file"):
        load_face_source("mediapipe", tracker=tmp_path)


def test_an_unknown_source_is_named() -> None:
    with pytest.raises(UserError, match="by dlib: unknown; choose mediapipe or tracker"):
        load_face_source("dlib")


def test_without_mediapipe_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mediapipe", None)
    monkeypatch.setitem(sys.modules, "mediapipe.python.solutions", None)
    with pytest.raises(UserError, match=r"pip install 'memobert-plugin\[faces\]'"):
        load_face_source("mediapipe")
