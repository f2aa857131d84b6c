"""Generates one part of a small corpus: films of drawn faces with synthetic voices, subtitles and a tracker's CSV.

Every utterance has an emotion, and voice, face and words each show it with a probability of their own: sometimes they
show another one, sometimes nothing (a mumbled voice in noise, a face in the dark, a sentence about nothing), so no
modality can be relied on alone. ``emotions`` has speakers in sessions of two and a manifest that says what is said
when and with which emotion; ``films`` has other speakers, and nothing but films and subtitles, for pre-training. The
same arguments give the same bytes.
"""

from __future__ import annotations

import argparse
import multiprocessing
import shutil
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from drawn_faces import EXPRESSIONS, Drawing, Head, draw_face
from films import PICTURES_PER_SECOND, SAMPLES_PER_PICTURE, Film
from sentences import name_emotion, say
from voices import MANNERS, MUMBLED, Voice, speak

from memobert_plugin.data.manifest import ManifestRow, write_manifest

EMOTIONS = ("anger", "happy", "neutral", "sad")
PAUSE = 2  # pictures before and after every utterance in which nobody speaks
FACE_OF = {"anger": "anger", "happy": "happiness", "neutral": "neutral", "sad": "sadness"}
# How often a cue shows the emotion, how often none; else it shows another one. Actors show more than other people do.
RIGHT = {"emotions": 0.58, "films": 0.8}
NOTHING = {"emotions": 0.3, "films": 0.1}
PARTS = {"emotions": 1, "films": 2}
DARK = 0.25


@dataclass(frozen=True)
class Speaker:
    name: str
    session: str
    head: Head
    voice: Voice


def draw_cues(part: str, emotion: str, rng: np.random.Generator) -> tuple[str | None, str | None, str | None]:
    """What words, face and voice of one utterance show: independent of each other; None = nothing."""
    others = [other for other in EMOTIONS if other != emotion]
    chances = rng.random(3)
    wrong = rng.integers(len(others), size=3)
    right, nothing = RIGHT[part], NOTHING[part]
    shown = [
        emotion if chance < right else None if chance < right + nothing else others[other]
        for chance, other in zip(chances, wrong, strict=True)
    ]
    return shown[0], shown[1], shown[2]


def draw_speakers(part: str, count: int, seed: int) -> Iterator[Speaker]:
    """Speakers of ``emotions`` come in sessions of two, those of ``films`` in a film each."""
    for number in range(count):
        rng = np.random.default_rng([seed, PARTS[part], number])
        head, voice = Head.drawn_at_random(rng), Voice.drawn_at_random(rng)
        if part == "emotions":
            yield Speaker(f"speaker{number + 1}", f"session{number // 2 + 1}", head, voice)
        else:
            yield Speaker(f"film{number + 1:02d}", "", head, voice)


def draw_sound(speaker: Speaker, shown: str | None, rng: np.random.Generator) -> np.ndarray:
    """A whole number of pictures' samples: a pause, speech that shows an emotion or none, a pause."""
    manner = (MUMBLED if shown is None else MANNERS[shown]).moved(rng, 0.25)
    pictures = round(float(np.clip(rng.normal(1.2, 0.15), 0.9, 1.5)) * PICTURES_PER_SECOND)
    noise = -32 if shown is None else rng.uniform(-60, -50)
    speech = speak(speaker.voice, manner, pictures / PICTURES_PER_SECOND, noise, rng)
    pauses = rng.normal(0, 10 ** (noise / 20), (2, PAUSE * SAMPLES_PER_PICTURE))
    return np.concatenate([pauses[0], speech, pauses[1]])


def draw_pictures(
    speaker: Speaker, shown: str | None, sound: np.ndarray, rng: np.random.Generator
) -> Iterator[Drawing]:
    """One picture per tenth of a second: the mouth opens as far as the sound is loud; without emotion it is dark."""
    loudness = np.sqrt((sound.reshape(-1, SAMPLES_PER_PICTURE) ** 2).mean(1))
    loudness[:PAUSE], loudness[-PAUSE:] = 0.0, 0.0
    expression = EXPRESSIONS["neutral" if shown is None else FACE_OF[shown]].moved(rng, 0.2)
    place = rng.normal(0, 1.2, 2)
    for opening in loudness / loudness.max() * rng.uniform(0.3, 1.0, len(loudness)):
        place = 0.8 * place + rng.normal(0, 0.6, 2)
        moment = expression.moved(rng, 0.15)
        drawing = draw_face(speaker.head, moment, float(opening), (float(place[0]), float(place[1])))
        light = DARK if shown is None else 1.0
        yield replace(drawing, picture=light * drawing.picture + rng.normal(0, 3, drawing.picture.shape))


def draw_text(part: str, emotion: str, shown: str | None, rng: np.random.Generator) -> str:
    """A sentence; in films it may name the emotion as well, or only name it."""
    sentence = say(shown, rng)
    if part == "emotions":
        return sentence
    form = rng.integers(3)
    return (sentence, f"{sentence} {name_emotion(emotion)}", name_emotion(emotion))[form]


def generate(part: str, folder: Path, speakers: int, utterances: int, seed: int, workers: int = 1) -> None:
    """Writes ``folder``: a film of every speaker with its subtitles and faces; for ``emotions`` ``manifest.tsv``."""
    folder.mkdir(parents=True)
    with ProcessPoolExecutor(workers, multiprocessing.get_context("fork")) as pool:
        films = [
            pool.submit(write_film, part, folder, speaker, utterances, [seed, PARTS[part], index])
            for index, speaker in enumerate(draw_speakers(part, speakers, seed))
        ]
        rows = [row for film in films for row in film.result()]
    if part == "emotions":
        write_manifest(folder / "manifest.tsv", rows)


def write_film(part: str, folder: Path, speaker: Speaker, utterances: int, seed: list[int]) -> list[ManifestRow]:
    """Writes a speaker's film, emotions in turn, and returns a row per utterance."""
    file, rows = folder / f"{speaker.name}.mp4", []
    with Film(file) as film:
        for number in range(utterances):
            emotion = EMOTIONS[number % len(EMOTIONS)]
            rng = np.random.default_rng([*seed, number + 1])
            words, face, voice = draw_cues(part, emotion, rng)
            sound, start = draw_sound(speaker, voice, rng), film.seconds
            film.show(list(draw_pictures(speaker, face, sound, rng)), sound)
            text = draw_text(part, emotion, words, rng)
            film.subtitle(start, film.seconds, text)
            row = ManifestRow(
                line=0,
                id=f"{speaker.name}_{number + 1:03d}",
                speaker=speaker.name,
                session=speaker.session,
                text=text,
                emotion=emotion,
                video=file.name,
                audio=file.name,
                start=round(start, 3),
                end=round(film.seconds, 3),
            )
            rows.append(row)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n\n")[0])
    parser.add_argument("part", choices=sorted(PARTS), help="labelled utterances, or unlabelled ones of other speakers")
    parser.add_argument("folder", type=Path, help="folder to write; replaced when it is complete")
    parser.add_argument("--speakers", type=int, default=6, help="number of speakers (default 6)")
    parser.add_argument("--utterances", type=int, default=80, help="utterances of each speaker (default 80)")
    parser.add_argument("--seed", type=int, default=1, help="another seed gives another corpus (default 1)")
    parser.add_argument("--workers", type=int, default=1, help="films made at a time; same bytes (default 1)")
    arguments = parser.parse_args()
    unfinished = arguments.folder.with_name(arguments.folder.name + ".unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    generate(arguments.part, unfinished, arguments.speakers, arguments.utterances, arguments.seed, arguments.workers)
    shutil.rmtree(arguments.folder, ignore_errors=True)
    unfinished.rename(arguments.folder)
    count = arguments.speakers * arguments.utterances
    print(f"{arguments.folder}: {count} utterances of {arguments.speakers} speakers")


if __name__ == "__main__":
    main()
