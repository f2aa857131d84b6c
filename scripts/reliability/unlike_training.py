"""Count how often input is noted as unlike a training's, rightly and wrongly, on real and on made input.

    MEMOBERT_TEST_DATA=FOLDER python scripts/reliability/unlike_training.py vocab.txt

The folder holds ``text/meld`` and ``text/emorynlp`` (English sentences), ``ravdess_speech`` and ``talking_heads``
(voices, faces) and ``ferplus_train_valid.npz`` (faces). The vocabulary is BERT's. Drawn faces are the quickstart's,
noise and music are made here, other languages are the messages of this machine's programs in ``/usr/share/locale``.
"""

from __future__ import annotations

import csv
import gettext
import os
import random
import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

sys.path.insert(0, str(Path(__file__).parents[2] / "examples/quickstart"))
from drawn_faces import EXPRESSIONS, Head, draw_face

from memobert_plugin.data.tokenizer import WordPieceTokenizer
from memobert_plugin.features.media.pictures import pictures
from memobert_plugin.features.media.sound import SAMPLE_RATE, read_clip
from memobert_plugin.features.speakers.crop import aligned_crop
from memobert_plugin.features.speakers.face import Face
from memobert_plugin.features.speakers.face_sources import load_face_source
from memobert_plugin.features.speakers.tracks import TrackBuilder
from memobert_plugin.features.speakers.voice_detectors import load_voice_detector
from memobert_plugin.inference.unlike_training import clipped, unlike_photographs, unlike_speech, unlike_words

SECONDS = 3.84
LANGUAGES = ("de", "fr", "es", "it", "nl", "fi", "pl", "tr", "pt", "sv", "ru", "ar", "ja", "zh_CN")


def main() -> None:
    """Print a table of inputs, their number, and the share that is noted."""
    data, rng = Path(os.environ["MEMOBERT_TEST_DATA"]), np.random.default_rng(0)
    print(f"{'input':<58}{'of':>7}{'noted':>9}")
    words(data, WordPieceTokenizer.from_vocab(sys.argv[1], True))
    sounds(data, rng)
    faces(data, rng)


def row(name: str, notes: Sequence[str]) -> None:
    """Print one line of the table."""
    print(f"{name:<58}{len(notes):>7}{sum(map(bool, notes)) / max(1, len(notes)):>9.2%}", flush=True)


def words(data: Path, tokenizer: WordPieceTokenizer) -> None:
    """Measure notes on words."""

    def notes(texts: Sequence[str]) -> list[str]:
        return [unlike_words(text, tokenizer.encode(text)[0][:60], tokenizer) for text in texts]

    rng = random.Random(0)
    english = []
    for name in ("meld/dev_sent_emo.csv", "meld/train_sent_emo.csv", "emorynlp/emorynlp_train_final.csv"):
        with open(data / "text" / name, encoding="utf-8") as stream:
            english += [line["Utterance"] for line in csv.DictReader(stream)]
    for least, most in ((1, 2), (3, 4), (5, 8), (9, 200)):
        texts = [text for text in english if least <= len(text.split()) <= most]
        row(f"MELD and EmoryNLP, {least} to {most} words", notes(texts))
    long = [text for text in english if len(text.split()) >= 5]
    row("the same, 5 words and more, spelled in letters", notes([" ".join(text.replace(" ", "")) for text in long]))
    letters = "abcdefghijklmnopqrstuvwxyz"
    made = [" ".join("".join(rng.choices(letters, k=rng.randint(3, 8))) for _ in range(5)) for _ in range(1000)]
    row("five words of 3 to 8 random letters", notes(made))
    for language in LANGUAGES:
        row(f"messages in {language}, 5 to 12 words", notes(messages(language, rng)))


def messages(language: str, rng: random.Random) -> list[str]:
    """Return up to 400 messages of this machine's programs in one language."""
    found = []
    for path in sorted(Path("/usr/share/locale", language, "LC_MESSAGES").glob("*.mo")):
        if not path.name.startswith("iso"):
            try:
                with open(path, "rb") as stream:
                    catalogue = gettext.GNUTranslations(stream)._catalog  # type: ignore[attr-defined]
            except UnicodeDecodeError:  # An older catalogue of another encoding.
                continue
            found += [said for key, said in catalogue.items() if isinstance(key, str) and said != key]
    spaced = language not in ("ja", "zh_CN")
    plain = [text for text in found if isinstance(text, str) and re.fullmatch(r"[^%<\n{}\\/_=\[\]|]{10,90}", text)]
    plain = [text for text in plain if not spaced or 5 <= len(text.split()) <= 12]
    rng.shuffle(plain)
    return plain[:400]


def sounds(data: Path, rng: np.random.Generator) -> None:
    """Measure notes on sound, by Silero's voice activity."""
    voice = load_voice_detector("silero")

    def notes(samples: Iterator[np.ndarray]) -> list[str]:
        return [unlike_speech(one, tuple(voice.intervals(one))) for one in samples]

    flac = sorted((data / "ravdess_speech").glob("*/*.flac"))[::6]
    clips = sorted((data / "talking_heads").glob("*/*.m*"))
    spoken = [read_clip(path, max_seconds=SECONDS) for path in flac]
    loud = [one / np.abs(one).max() for one in spoken]
    row("RAVDESS, speech", notes(iter(spoken)))
    row("RAVDESS, as loud as they can be", notes(iter(loud)))
    row("talking heads, speech", notes(read_clip(path, max_seconds=SECONDS) for path in clips))
    row("chords and melodies of harmonic tones", notes(music(rng) for _ in range(100)))
    row("white and brown noise", notes(noise(rng, bool(number % 2)) for number in range(100)))
    row("clipped: RAVDESS, as loud as they can be", [clipped(one) for one in loud])
    row("clipped: the same, four times too loud", [clipped(np.clip(4 * one, -1, 1)) for one in loud])


def music(rng: np.random.Generator) -> np.ndarray:
    """Return some seconds of one to three voices that play tones of five harmonics."""
    times = np.arange(round(SECONDS * SAMPLE_RATE)) / SAMPLE_RATE
    total = np.zeros_like(times)
    for _ in range(rng.integers(1, 4)):
        length = float(rng.choice([0.24, 0.48, 0.96]))
        for begin in np.arange(0, SECONDS, length):
            pitch = 220 * 2 ** (rng.integers(0, 24) / 12)
            sounding = (times >= begin) * np.exp(-3 * np.clip(times - begin, 0, None))
            total += sounding * sum(np.sin(2 * np.pi * pitch * number * times) / number for number in range(1, 6))
    return (0.8 * total / np.abs(total).max()).astype(np.float32)


def noise(rng: np.random.Generator, brown: bool) -> np.ndarray:
    """Return some seconds of noise."""
    drawn = rng.normal(size=round(SECONDS * SAMPLE_RATE))
    drawn = np.cumsum(drawn) - np.cumsum(drawn).mean() if brown else drawn
    return (rng.uniform(0.05, 0.9) * drawn / np.abs(drawn).max()).astype(np.float32)


def faces(data: Path, rng: np.random.Generator) -> None:
    """Measure notes on faces: a note on each picture, and on each clip's faces together."""
    archive = np.load(data / "ferplus_train_valid.npz", allow_pickle=False)
    small = archive["images"][archive["split"] == 1]
    scaled = [np.asarray(Image.fromarray(one).resize((64, 64), Image.Resampling.BILINEAR)) for one in small]
    row("FER+ valid, each picture", by_picture(np.stack(scaled)))
    clips = [crops for path in sorted((data / "talking_heads").glob("*/*.m*")) for crops in film_faces(path)]
    row("talking heads, each picture", by_picture(np.concatenate(clips)))
    row("talking heads, each face of a clip", [unlike_photographs(crops) for crops in clips])
    drawn = [drawn_faces(rng) for _ in range(24)]
    row("the quickstart's drawn faces, each picture", by_picture(np.concatenate(drawn)))
    row("the quickstart's drawn faces, each clip", [unlike_photographs(crops) for crops in drawn])
    row("noise, each picture", by_picture(rng.integers(0, 256, (200, 64, 64)).astype(np.uint8)))


def by_picture(crops: np.ndarray) -> list[str]:
    """Return the note on each picture alone."""
    return [unlike_photographs(crops[index : index + 1]) for index in range(len(crops))]


def film_faces(path: Path) -> Iterator[np.ndarray]:
    """Yield the faces of each track of a film, five a second."""
    source, tracks = load_face_source("litert"), TrackBuilder()
    source.start(path)
    for picture in pictures(path, 5.0, 0.0, 20.0):
        tracks.add(picture.time, picture.rgb, source.faces(picture.time, picture.rgb))
    yield from (track.crops for track in tracks.finish())


def drawn_faces(rng: np.random.Generator) -> np.ndarray:
    """Draw one head with many expressions and cut its face out."""
    head, crops = Head.drawn_at_random(rng), []
    for expression in [*EXPRESSIONS.values()] * 4:
        drawing = draw_face(head, expression.moved(rng, 0.2), float(rng.uniform()), tuple(rng.normal(0, 2, 2)))
        rgb = np.repeat(drawing.picture.round().astype(np.uint8)[..., None], 3, axis=2)
        crops.append(aligned_crop(rgb, Face(drawing.box, drawing.eyes, drawing.mouth)))
    return np.stack(crops)


if __name__ == "__main__":
    main()
