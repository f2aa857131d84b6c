"""TTML: times in frames and ticks, durations, and files of its drafts."""

from __future__ import annotations

from pathlib import Path

import pytest

from memobert_plugin.core.errors import DefectiveClip
from memobert_plugin.features.media.subtitles import read_subtitles

ROOT = '<tt xmlns="{}" xmlns:ttp="http://www.w3.org/ns/ttml#parameter" {}><body>{}</body></tt>'
NAMESPACE = "http://www.w3.org/ns/ttml"


def lines_of(
    folder: Path, body: str, parameters: str = "", namespace: str = NAMESPACE
) -> list[tuple[float, float, str]]:
    path = folder / "film.ttml"
    path.write_text(ROOT.format(namespace, parameters, body), encoding="utf-8")
    return [(line.start, line.end, line.text) for line in read_subtitles(path).lines]


@pytest.mark.parametrize(
    ("times", "parameters", "expected"),
    [
        ('begin="00:00:01.500" end="00:00:04"', "", (1.5, 4.0)),
        ('begin="1.5s" end="4000ms"', "", (1.5, 4.0)),
        ("begin='0.025m' end='00:04'", "", (1.5, 4.0)),
        ('begin="15000000t" end="40000000t"', 'ttp:tickRate="10000000"', (1.5, 4.0)),
        ('begin="00:00:01:12" end="00:00:04:00"', 'ttp:frameRate="24"', (1.5, 4.0)),
        ('begin="45f" end="120f"', "", (1.5, 4.0)),
        ('begin="24f" end="00:00:02:00"', 'ttp:frameRate="24" ttp:frameRateMultiplier="1000 1001"', (1.001, 2.0)),
        ('begin="00:00:01.5" dur="2.5s"', "", (1.5, 4.0)),
        ('dur="2.5s" xml:id="x"', "", (0.0, 2.5)),
    ],
)
def test_every_form_of_time_is_read(tmp_path: Path, times: str, parameters: str, expected: tuple[float, float]) -> None:
    assert lines_of(tmp_path, f"<div><p {times}>It is late.</p></div>", parameters) == [(*expected, "It is late.")]


def test_times_count_from_the_begin_of_what_holds_them(tmp_path: Path) -> None:
    body = '<div begin="10s"><p begin="20t" end="30t" style="s1">One<br/>two</p></div>'
    assert lines_of(tmp_path, body, 'ttp:tickRate="10"') == [(12.0, 13.0, "One\ntwo")]


@pytest.mark.parametrize("draft", ["http://www.w3.org/2006/04/ttaf1", "http://www.w3.org/2006/10/ttaf1"])
def test_files_of_the_drafts_are_read(tmp_path: Path, draft: str) -> None:
    assert lines_of(tmp_path, '<div><p begin="1s" end="2s">One</p></div>', namespace=draft) == [(1.0, 2.0, "One")]


def test_a_time_of_no_form_is_named(tmp_path: Path) -> None:
    with pytest.raises(DefectiveClip, match=r"film\.ttml: not readable as subtitles .'soon' is no time of TTML"):
        lines_of(tmp_path, '<div><p begin="soon" end="2s">One</p></div>')
