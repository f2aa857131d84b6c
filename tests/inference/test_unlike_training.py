"""Words, sound and faces that are unlike a training's are noted, and those that are like it are not."""

from __future__ import annotations

import string
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from memobert_plugin import MEmoBERT
from memobert_plugin.data.tokenizer import Tokenizer, WordPieceTokenizer
from memobert_plugin.inference import reading
from memobert_plugin.inference.unlike_training import (
    _COMMON,
    unlike_level,
    unlike_photographs,
    unlike_speech,
    unlike_words,
)
from memobert_plugin.inference.utterance import Utterance
from tests.films import tone

LETTERS = [*string.ascii_lowercase, "я", "н", "е", "з", "а", "ю"]


@pytest.fixture(scope="module")
def english(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    """A vocabulary of the most frequent English words, some others, and letters."""
    words = [*_COMMON.split(), "house", "happy", "never", "anything", "told", "!", ","]
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *words, *LETTERS, *(f"##{letter}" for letter in LETTERS)]
    path = tmp_path_factory.mktemp("vocabulary") / "vocab.txt"
    path.write_text("\n".join(dict.fromkeys(pieces)) + "\n", encoding="utf-8")
    return WordPieceTokenizer.from_vocab(path, True)


def said(text: str, tokenizer: Tokenizer) -> str:
    return unlike_words(text, tokenizer.encode(text)[0], tokenizer)


@pytest.mark.parametrize(
    "text",
    [
        "why did you never told me anything",
        "I can't believe it, I'm so happy!",
        "Chandler Bing",
        "Hahahahaha!",
        "hmm",
        "you and I, a and o",
        "in the U S A we go 3 2 1",
        "",
        "!!!",
    ],
)
def test_english_has_no_note(english: Tokenizer, text: str) -> None:
    assert said(text, english) == ""


@pytest.mark.parametrize(
    "text",
    [
        "warum hast du mir nichts gesagt",
        "pourquoi ne veux tu rien dire",
        "xqzt wvbn plkj",
        "я не знаю",
        "Незнаю",
        "字字字字",
    ],
)
def test_words_of_other_languages_and_random_letters_are_noted(english: Tokenizer, text: str) -> None:
    assert said(text, english).startswith("words in no language that the model knows: ")


@pytest.mark.parametrize("text", ["h e l l o", "W H Y  D I D  Y O U", "i m s o h a p p y"])
def test_spelled_words_are_noted(english: Tokenizer, text: str) -> None:
    assert said(text, english).startswith("words are spelled in single letters")


def test_a_model_of_another_language_keeps_its_words(tmp_path: Path) -> None:
    """Only unknown pieces count where English words are not whole."""
    german = ["warum", "hast", "du", "mir", "nichts", "gesagt"]
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *german, *LETTERS, *(f"##{letter}" for letter in LETTERS)]
    (tmp_path / "vocab.txt").write_text("\n".join(pieces) + "\n", encoding="utf-8")
    tokenizer = WordPieceTokenizer.from_vocab(tmp_path / "vocab.txt", True)
    assert said("warum hast du mir nichts gesagt", tokenizer) == ""
    assert said("freund wollte fast immer gern fort", tokenizer) == ""
    assert "not in its vocabulary" in said("Ωμέγα Ωμέγα", tokenizer)


def test_speech_in_less_than_a_tenth_is_noted() -> None:
    samples = tone(4.0)
    assert unlike_speech(samples, ()).startswith("no speech was found")
    assert unlike_speech(samples, ((1.0, 1.3),)) == (
        "hardly any speech was found: 0.3 of 4.0 s that are read; the rest is read like a voice"
    )
    assert unlike_speech(samples, ((1.0, 1.3), (2.0, 2.3))) == ""
    assert unlike_speech(samples, ((3.9, 9.0),)).startswith("hardly any speech was found: 0.1 of 4.0 s")


def test_clipped_and_very_faint_sound_is_noted() -> None:
    loud = tone(1.0, level=0.98)
    assert unlike_level(loud) == unlike_level(0.01 * loud) == ""
    assert unlike_level(np.clip(4 * loud, -1, 1)) == "the sound is clipped: 84% of it is at full scale"
    assert unlike_level(0.003 * loud) == "the sound is very faint: its loudest moment has 0.29% of full scale"


def photograph(rng: np.random.Generator) -> np.ndarray:
    """Return grey levels that vary smoothly with some grain, as a face's do."""
    down, across = np.mgrid[:64, :64] / 64
    shade = 130 + 60 * np.sin(3 * across + rng.uniform(0, 6)) + 40 * np.cos(4 * down + rng.uniform(0, 6))
    return np.clip(shade + rng.normal(0, 4, (64, 64)), 0, 255).astype(np.uint8)


def test_drawn_faces_and_noise_are_told_from_photographs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [str(Path(__file__).parents[2] / "examples/quickstart"), *sys.path])
    from drawn_faces import EXPRESSIONS, Head, draw_face

    rng = np.random.default_rng(0)
    photographs = np.stack([photograph(rng) for _ in range(9)])
    drawn = np.stack([draw_face(Head(), one).picture[16:80, 16:80] for one in EXPRESSIONS.values()]).astype(np.uint8)
    assert unlike_photographs(photographs) == unlike_photographs(photographs[:0]) == ""
    assert unlike_photographs(drawn).startswith("faces look drawn")
    assert unlike_photographs(rng.integers(0, 256, (3, 64, 64)).astype(np.uint8)).startswith("faces look like noise")
    assert unlike_photographs(np.concatenate([photographs, drawn[:8]])) == "", "most are photographs"
    bordered = photographs.copy()
    bordered[:, :, :20] = 0
    assert unlike_photographs(bordered) == "", "a black border is no drawing"


def test_real_faces_are_hardly_ever_noted(real_data: Path) -> None:
    archive = np.load(real_data / "ferplus_train_valid.npz", allow_pickle=False)
    faces = archive["images"][archive["split"] == 1][::4]
    noted = [bool(unlike_photographs(face[None])) for face in faces]
    assert 0 < np.mean(noted) < 0.02, "some pictures of FER+ are drawings"


def test_an_answer_from_nothing_but_unlike_input_is_unsure(
    clip_model: MEmoBERT, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        clip_model.reader.faces, "voice", type("Deaf", (), {"intervals": lambda *_: []})(), raising=False
    )
    sound = Utterance(waveform=tone(1.0))
    evidence = clip_model.read(sound)
    assert (evidence.unlike, evidence.notes[0].partition(":")[0]) == ("a", "no speech was found")
    assert clip_model.predict(sound).unsure
    spelled = clip_model.read(replace(sound, text="g h m n p q"))
    assert (spelled.unlike, spelled.present) == ("al", "la") and len(spelled.notes) >= 2


def test_a_folder_of_pictures_without_faces_is_noted(
    clip_model: MEmoBERT, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    crops = np.stack([photograph(np.random.default_rng(number)) for number in range(20)])
    monkeypatch.setattr(reading, "read_face_pictures", lambda _: crops)
    said = "pictures without faces: there is one in 3 of 8 that were looked at"
    for seen, noted in (((3, 8), True), ((4, 8), False), (None, False)):
        monkeypatch.setattr(reading, "pictures_with_faces", lambda _, seen=seen: seen)
        evidence = clip_model.read(Utterance(tmp_path))
        assert (said in evidence.notes, "v" in evidence.unlike) == (noted, noted)


def test_no_face_is_seen_in_shades() -> None:
    pytest.importorskip("ai_edge_litert")
    from memobert_plugin.inference.faces import pictures_with_faces

    assert pictures_with_faces(np.stack([photograph(np.random.default_rng(1))] * 20)) == (0, 8)
