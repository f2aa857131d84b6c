"""Face sources by name, from this package and from others."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from memobert_plugin.core.errors import UserError
from memobert_plugin.features.speakers.face_sources import FACE_SOURCES, load_face_source
from memobert_plugin.features.speakers.face_sources.tracker import TrackerFaces, TrackerOptions


def test_sources_are_built_by_name_and_options(tmp_path: Path) -> None:
    assert set(FACE_SOURCES.names()) >= {"litert", "mediapipe", "tracker"}
    assert isinstance(load_face_source("tracker", TrackerOptions(tmp_path)), TrackerFaces)


def test_an_unknown_source_is_named() -> None:
    with pytest.raises(UserError, match=r"unknown face source 'dlib': choose from .*litert, .*tracker"):
        load_face_source("dlib")


@pytest.mark.parametrize(
    ("name", "module", "needed"),
    [
        ("litert", "ai_edge_litert.interpreter", r'pip install "\.\[faces\]"'),
        ("mediapipe", "mediapipe.python.solutions", r"pip install mediapipe==0.10.21`; `--faces litert` does without"),
    ],
)
def test_without_its_library_a_source_names_what_it_needs(
    name: str, module: str, needed: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, module.partition(".")[0], None)
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(UserError, match=needed):
        load_face_source(name)
