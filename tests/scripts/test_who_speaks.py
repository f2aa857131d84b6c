"""The pieces of scripts/reliability/who_speaks.py: cutting films, giving them another voice, judging, fitting."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from memobert_plugin.features.media.pictures import Picture
from memobert_plugin.features.media.sound import SAMPLE_RATE
from memobert_plugin.features.speakers.active_speaker import SpeakerSettings
from memobert_plugin.features.speakers.lip_sync import OpeningMap, shipped_map
from tests.features.speakers.test_active_speaker import PAUSED, SECONDS, face_track, moving, speech

SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "reliability" / "who_speaks.py"


@pytest.fixture(scope="module")
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("who_speaks", SCRIPT)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["who_speaks"] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


def clip(script: ModuleType, seed: int) -> Any:
    """A film of six seconds in which one face talks."""
    track = face_track(moving(seed, PAUSED), number=seed)
    first = Picture(0.0, np.zeros((64, 64, 3), np.uint8))
    return script.Clip(f"clip{seed}", "drawn", [track], [track], speech(seed, PAUSED), PAUSED, first)


def test_a_piece_has_its_own_times_sound_and_voice(script: ModuleType) -> None:
    whole = clip(script, 1)
    piece = whole.piece(whole.tracks, 2.0, 5.0)
    assert piece.seconds == 3.0
    np.testing.assert_allclose(piece.tracks[0].times, np.arange(30) / 10, atol=1e-9)
    np.testing.assert_allclose(piece.voiced, [(0.0, 0.3), (1.2, 2.4), (2.9, 3.0)])
    np.testing.assert_array_equal(piece.samples, whole.samples[2 * SAMPLE_RATE : 5 * SAMPLE_RATE])
    assert [one.seconds for one in script.cut(whole)] == [3.0, 3.0]


def test_another_sound_makes_voice_over_as_long_as_the_shorter_film(script: ModuleType) -> None:
    one, other = clip(script, 1), clip(script, 2)
    long, short = one.piece(one.tracks, 0.0, SECONDS), other.piece(other.tracks, 0.0, 4.0)
    film = long.under(short)
    assert (film.talks, film.seconds, len(film.tracks[0].times)) == (False, 4.0, 40)
    np.testing.assert_array_equal(film.samples, short.samples)
    films = list(script.films_of([long, short]))
    assert [(each.clip, each.talks) for each in films] == [
        ("clip1", True), ("clip1", False), ("clip2", True), ("clip2", False),
    ]  # fmt: skip


def test_talking_faces_are_taken_and_the_table_counts_them(
    script: ModuleType, capsys: pytest.CaptureFixture[str]
) -> None:
    clips = [clip(script, seed) for seed in range(3)]
    pieces = [each.piece(each.tracks, 0.0, SECONDS) for each in clips]
    assert all(script.is_taken(piece, SpeakerSettings(), shipped_map()) for piece in pieces)
    script.report(list(script.films_of(pieces)), {"taken after": {}})
    table = [[cell.strip() for cell in line.strip("|").split("|")] for line in capsys.readouterr().out.splitlines()]
    assert table[0] == ["voice", "face", "films", "taken before", "taken after"]
    assert ["own voice", "all", "3", "3", "3"] in table
    (others,) = (row for row in table if row[:2] == ["another's voice", "all"])
    assert others[2] == "6" and int(others[4]) < int(others[3])


def test_a_fitted_map_is_written_as_the_package_reads_it(script: ModuleType, tmp_path: Path) -> None:
    fitted = script.fit([clip(script, seed) for seed in range(4)])
    assert fitted.weights.shape == (len(fitted.lags), script.BANDS) == shipped_map().weights.shape
    script.write_map(tmp_path / "map.json", fitted)
    content = json.loads((tmp_path / "map.json").read_text())
    read = OpeningMap(np.array(content["lags"]), np.array(content["weights"]))
    np.testing.assert_array_equal(read.lags, fitted.lags)
    np.testing.assert_array_equal(read.weights, fitted.weights)
    # The made-up mouths open with the loudness of their sound, so louder bands must mean a wider mouth.
    assert fitted.weights.sum() > 0
