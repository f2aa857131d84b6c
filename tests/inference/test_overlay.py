"""A film with the answers drawn in: pictures, panel, sound and times."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from memobert_plugin.core.errors import UserError
from memobert_plugin.features.media.pictures import pictures
from memobert_plugin.inference.overlay import check_overlay, write_overlay
from tests.films import write_film
from tests.inference.test_outputs import FAILED, LABELS, answer

av = pytest.importorskip("av")
pytest.importorskip("PIL")


def grey(time: float) -> np.ndarray:
    return np.full((240, 320, 3), 200, np.uint8)


def streams_of(path: Path) -> dict[str, Any]:
    with av.open(str(path)) as container:
        return {
            stream.type: float(stream.duration * stream.time_base) for stream in container.streams if stream.duration
        }


@pytest.mark.parametrize("suffix", [".mp4", ".mov"])
def test_the_panel_changes_with_the_answer_and_the_rest_stays(tmp_path: Path, suffix: str) -> None:
    film = write_film(tmp_path / "film.mp4", seconds=4.0, picture=grey)
    lines = [answer("b", 2.0, anger=0.25), answer("a", 0.0, anger=1.0), FAILED]
    target = tmp_path / f"out{suffix}"
    write_overlay(film, lines, target, LABELS)
    shown = {round(one.time, 1): one.rgb.astype(int) for one in pictures(target)}
    assert len(shown) == 40
    panel = {time: shown[time][:60, :150] for time in (0.5, 1.0, 1.7, 2.5)}
    assert panel[0.5].mean() < 160 and np.abs(panel[0.5] - panel[1.0]).mean() < 5
    assert np.abs(panel[0.5] - panel[2.5]).mean() > 2 and np.abs(panel[1.0] - panel[1.7]).mean() > 2  # no answer at 1.7
    assert all(np.abs(picture[150:, 200:] - 200).max() < 10 for picture in shown.values())
    lasts = streams_of(target)
    assert lasts["video"] == pytest.approx(4.0, abs=0.1) and lasts["audio"] == pytest.approx(4.0, abs=0.15)


def test_numbers_have_bars_too(tmp_path: Path) -> None:
    film = write_film(tmp_path / "film.mp4", seconds=2.0, picture=grey)
    lines = [
        {**answer(name, start), "label": "", "probabilities": {}, "confidence": None,
         "dimensions": {"valence": {"value": value, "low": 0.0, "high": 1.0}}, "end": start + 1.0}
        for name, start, value in (("a", 0.0, 0.1), ("b", 1.0, 0.9))
    ]  # fmt: skip
    write_overlay(film, lines, tmp_path / "out.mp4", ["valence"])
    shown = {round(one.time, 1): one.rgb.astype(int)[:60, :150] for one in pictures(tmp_path / "out.mp4")}
    assert np.abs(shown[0.5] - shown[1.5]).mean() > 1 and np.abs(shown[0.4] - shown[0.5]).mean() < 1


def test_a_film_without_sound_and_of_odd_size_is_written(tmp_path: Path) -> None:
    film = write_film(
        tmp_path / "film.mkv", seconds=1.0, silent=True, picture=lambda time: np.zeros((50, 62, 3), np.uint8)
    )
    write_overlay(film, [answer("a", 0.0)], tmp_path / "out.mp4", LABELS)
    assert list(streams_of(tmp_path / "out.mp4")) == ["video"]


@pytest.mark.parametrize(
    ("film", "target", "message"),
    [("a.wav", "o.mp4", "a.wav has no pictures"), ("a.mp4", "o.gif", "ends in .mp4, .mov")],
)
def test_what_cannot_be_drawn_is_refused_first(film: str, target: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        check_overlay(Path(film), Path(target))
