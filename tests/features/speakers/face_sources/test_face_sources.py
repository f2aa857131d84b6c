"""Face sources by name, from this package and from others."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from memobert_plugin.core.errors import UserError
from memobert_plugin.features.speakers.face_sources import FACE_SOURCES, load_face_source
from memobert_plugin.features.speakers.face_sources.tracker import TrackerFaces, TrackerOptions


def test_sources_are_built_by_name_and_options(tmp_path: Path) -> None:
    assert set(FACE_SOURCES.names()) >= {"mediapipe", "tracker"}
    assert isinstance(load_face_source("tracker", TrackerOptions(tmp_path)), TrackerFaces)


def test_an_unknown_source_is_named() -> None:
    with pytest.raises(UserError, match="unknown face source 'dlib': choose from mediapipe, tracker"):
        load_face_source("dlib")


def test_without_mediapipe_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mediapipe", None)
    monkeypatch.setitem(sys.modules, "mediapipe.python.solutions", None)
    with pytest.raises(UserError, match=r'pip install "\.\[faces\]"'):
        load_face_source("mediapipe")
