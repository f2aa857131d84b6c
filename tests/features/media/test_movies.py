"""Films and the subtitle files that belong to them."""

from __future__ import annotations

from pathlib import Path

import pytest

from memobert_plugin.core.errors import UserError
from memobert_plugin.features.media.movies import Movie, read_movies
from memobert_plugin.features.media.streams import StreamChoice


def files(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return folder


def test_films_below_a_folder_in_order_of_their_names(tmp_path: Path) -> None:
    files(
        tmp_path, "b.mp4", "Heat (1995)/Heat.mkv", "Heat (1995)/Heat.srt", "a.AVI", ".hidden.mp4", "notes.txt", "a.ass"
    )
    found = read_movies([tmp_path])
    assert found.movies == [
        Movie("Heat (1995)_Heat", tmp_path / "Heat (1995)/Heat.mkv", tmp_path / "Heat (1995)/Heat.srt"),
        Movie("a", tmp_path / "a.AVI", tmp_path / "a.ass"),
        Movie("b", tmp_path / "b.mp4"),
    ]
    assert found.defects == []


def test_the_language_in_the_name_chooses_among_several(tmp_path: Path) -> None:
    files(tmp_path, "f.mp4", "f.en.srt", "f.fr.srt")
    found = read_movies([tmp_path])
    assert found.movies == []
    assert "several files of subtitles: f.en.srt, f.fr.srt; name a --language" in str(found.defects[0])
    assert read_movies([tmp_path], streams=StreamChoice("fr")).movies == [
        Movie("f", tmp_path / "f.mp4", tmp_path / "f.fr.srt")
    ]
    files(tmp_path, "f.srt")
    assert read_movies([tmp_path]).movies[0].subtitles == tmp_path / "f.srt"
    assert read_movies([tmp_path], streams=StreamChoice("en")).movies[0].subtitles == tmp_path / "f.en.srt"


def test_subtitles_may_lie_elsewhere(tmp_path: Path) -> None:
    films, texts = files(tmp_path / "films", "a.mp4", "b.mp4"), files(tmp_path / "texts", "a.srt", "b.de.srt")
    assert [movie.subtitles for movie in read_movies([films], texts).movies] == [texts / "a.srt", texts / "b.de.srt"]
    assert read_movies([films / "b.mp4"], texts / "a.srt").movies == [Movie("b", films / "b.mp4", texts / "a.srt")]
    with pytest.raises(UserError, match=r"a\.srt: one file for 2 films"):
        read_movies([films], texts / "a.srt")
    with pytest.raises(UserError, match=r"--subtitles .*none: no such file or folder"):
        read_movies([films], tmp_path / "none")


def test_what_holds_no_film_or_two_of_one_name_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no film below it"):
        read_movies([tmp_path])
    with pytest.raises(UserError, match=r"none\.mp4: no such film or folder"):
        read_movies([tmp_path / "none.mp4"])
    files(tmp_path, "a/b.mp4", "a_b.mp4")
    with pytest.raises(UserError, match="both would be called 'a_b'; rename one"):
        read_movies([tmp_path])


def test_names_that_a_manifest_cannot_take_are_changed(tmp_path: Path) -> None:
    files(tmp_path, "a\tb.mp4")
    assert read_movies([tmp_path]).movies[0].name == "a_b"


def taken(folder: Path, language: str | None = None) -> str | None:
    (movie,) = read_movies([folder], streams=StreamChoice(language)).movies
    return movie.subtitles.name if movie.subtitles is not None else None


def test_suffixes_are_compared_without_case(tmp_path: Path) -> None:
    assert taken(files(tmp_path / "a", "HARBOUR.MP4", "HARBOUR.SRT")) == "HARBOUR.SRT"
    assert taken(files(tmp_path / "b", "Harbour.Mkv", "harbour.En.Vtt"), "en") == "harbour.En.Vtt"


@pytest.mark.parametrize("language", ["en", "eng", "english", "English", "en-US", None])
def test_dialogue_is_preferred_to_captions_and_forced_lines(tmp_path: Path, language: str | None) -> None:
    pytest.importorskip("iso639")
    names = ["f.en.forced.srt", "f.en.sdh.srt", "f.en.srt", "f.eng.hi.srt", "f.en.commentary.srt"]
    files(tmp_path, "f.mp4", *names)
    assert taken(tmp_path, language) == "f.en.srt"
    (movie,) = read_movies([tmp_path]).movies
    assert movie.remark.startswith("f.mp4: f.en.srt taken, not ")
    (tmp_path / "f.en.srt").unlink()
    assert taken(tmp_path, language) in ("f.en.sdh.srt", "f.eng.hi.srt")


@pytest.mark.parametrize(
    ("language", "expected"),
    [
        ("en", "f.English.srt"),
        ("eng", "f.English.srt"),
        ("ger", "f.deu.srt"),
        ("de", "f.deu.srt"),
        ("pt-BR", "f.pt-BR.srt"),
        ("pt-PT", "f.pt-PT.srt"),
        ("zh", "f.chi.srt"),
        ("zh-Hant", "f.chi.srt"),
        ("hi", "f.hi.srt"),
        ("fr", None),
    ],
)
def test_languages_of_names_agree_by_any_code(tmp_path: Path, language: str, expected: str | None) -> None:
    pytest.importorskip("iso639")
    files(tmp_path, "f.mp4", *(f"f.{mark}.srt" for mark in ("English", "deu", "pt-PT", "pt-BR", "chi", "hi")))
    assert taken(tmp_path, language) == expected
    if expected is None:
        assert "f.deu.srt" in read_movies([tmp_path], streams=StreamChoice(language)).movies[0].others


def test_a_plain_name_is_dialogue_beside_forced_lines(tmp_path: Path) -> None:
    pytest.importorskip("iso639")
    files(tmp_path, "f.mp4", "f.srt", "f.en.forced.srt")
    assert taken(tmp_path, "en") == "f.srt"
    (tmp_path / "f.srt").unlink()
    (movie,) = read_movies([tmp_path], streams=StreamChoice("en")).movies
    assert movie.subtitles == tmp_path / "f.en.forced.srt"
    assert movie.partial


def test_files_of_another_film_and_other_tools_are_left_alone(tmp_path: Path) -> None:
    files(tmp_path, "f.mp4", "f.2.mp4", "f.2.srt", "f.sub", "f.json", "f.tsv")
    (tmp_path / "f.sub").write_bytes(b"\0\0\1\xba")
    (tmp_path / "f.json").write_text('{"id": "x"}')
    (tmp_path / "f.tsv").write_text("begin\tend\n0\t1\n")
    assert [movie.subtitles for movie in read_movies([tmp_path]).movies] == [None, tmp_path / "f.2.srt"]
    (tmp_path / "f.tsv").write_text("start\tend\ttext\n0\t1000\tYes.\n")
    assert read_movies([tmp_path]).movies[0].subtitles == tmp_path / "f.tsv"


def test_a_stream_inside_leaves_files_alone(tmp_path: Path) -> None:
    files(tmp_path, "f.mp4", "f.srt")
    assert read_movies([tmp_path], streams=StreamChoice(subtitle_stream=2)).movies[0].subtitles is None
    with pytest.raises(UserError, match="--subtitle-stream: a stream inside the film; leave --subtitles out"):
        read_movies([tmp_path], tmp_path / "f.srt", StreamChoice(subtitle_stream=2))
