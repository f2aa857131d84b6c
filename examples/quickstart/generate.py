"""Generates one part of a small corpus of three modalities: sounds as .wav, drawn faces as .png, words in a manifest.

Every utterance has an emotion, and voice, face and words each show it with a probability of their own: sometimes they
show another one, sometimes nothing (a mumbled voice in noise, a head from behind, a sentence about nothing), so no
modality can be relied on alone. ``emotions`` has labelled utterances in sessions of two speakers; ``films`` has
utterances of other speakers without labels, for pre-training. The same arguments give the same bytes.
"""

from __future__ import annotations

import argparse
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
from drawn_faces import EXPRESSIONS, Head, draw_face
from PIL import Image
from sentences import name_emotion, say
from voices import MANNERS, MUMBLED, SAMPLE_RATE, Voice, speak

from memobert_plugin.data.manifest import ManifestRow, write_manifest

EMOTIONS = ("anger", "happy", "neutral", "sad")
FACES_PER_SECOND = 10
FACE_OF = {"anger": "anger", "happy": "happiness", "neutral": "neutral", "sad": "sadness"}
# How often a cue shows the emotion, how often none; else it shows another one. Actors show more than other people do.
RIGHT = {"emotions": 0.58, "films": 0.8}
NOTHING = {"emotions": 0.3, "films": 0.1}
PARTS = {"emotions": 1, "films": 2}


@dataclass(frozen=True)
class Speaker:
    name: str
    session: str
    split: str
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
    """Speakers of ``emotions`` come in sessions of two; the last eighth of the films is for validation."""
    for number in range(count):
        rng = np.random.default_rng([seed, PARTS[part], number])
        head, voice = Head.drawn_at_random(rng), Voice.drawn_at_random(rng)
        if part == "emotions":
            yield Speaker(f"speaker{number + 1}", f"session{number // 2 + 1}", "", head, voice)
        else:
            split = "valid" if number >= count - max(1, count // 8) else "train"
            yield Speaker(f"actor{number + 1:02d}", f"film{number + 1:02d}", split, head, voice)


def write_media(part: str, speaker: Speaker, emotion: str, name: str, folder: Path, rng: np.random.Generator) -> str:
    """Writes the sound and the pictures of one utterance and returns its words."""
    words, face, voice = draw_cues(part, emotion, rng)
    manner = (MUMBLED if voice is None else MANNERS[voice]).moved(rng, 0.25)
    seconds = float(np.clip(rng.normal(1.0, 0.15), 0.7, 1.3))
    sound = speak(speaker.voice, manner, seconds, -32 if voice is None else rng.uniform(-60, -50), rng)
    soundfile.write(folder / "audio" / f"{name}.wav", sound, SAMPLE_RATE, subtype="PCM_16")
    pictures = folder / "faces" / name
    pictures.mkdir()
    expression = None if face is None else EXPRESSIONS[FACE_OF[face]].moved(rng, 0.2)
    place = rng.normal(0, 0.4, 2)
    for number in range(round(seconds * FACES_PER_SECOND)):
        place = 0.8 * place + rng.normal(0, 0.2, 2)
        moment = expression and expression.moved(rng, 0.15)
        picture = draw_face(speaker.head, moment, (float(place[0]), float(place[1])))
        picture += rng.normal(0, 8, picture.shape)
        Image.fromarray(np.clip(picture, 0, 255).astype(np.uint8)).save(pictures / f"{number:03d}.png")
    sentence = say(words, rng)
    if part == "emotions":
        return sentence
    form = rng.integers(3)
    return (sentence, f"{sentence} {name_emotion(emotion)}", name_emotion(emotion))[form]


def generate(part: str, folder: Path, speakers: int, utterances: int, seed: int) -> None:
    """Writes ``folder``: ``manifest.tsv``, ``audio/ID.wav`` and ``faces/ID/NNN.png``."""
    for name in ("audio", "faces"):
        (folder / name).mkdir(parents=True)
    write_manifest(folder / "manifest.tsv", write_utterances(part, folder, speakers, utterances, seed))


def write_utterances(part: str, folder: Path, speakers: int, utterances: int, seed: int) -> Iterator[ManifestRow]:
    """Writes the media of every utterance, one speaker after the other, emotions in turn, and yields its row."""
    for index, speaker in enumerate(draw_speakers(part, speakers, seed)):
        for number in range(utterances):
            emotion = EMOTIONS[number % len(EMOTIONS)]
            name = f"{speaker.name}_{number + 1:03d}"
            rng = np.random.default_rng([seed, PARTS[part], index, number + 1])
            yield ManifestRow(
                line=0,
                id=name,
                speaker=speaker.name,
                session=speaker.session,
                split=speaker.split,
                text=write_media(part, speaker, emotion, name, folder, rng),
                emotion=emotion if part == "emotions" else "",
                video=f"faces/{name}",
                audio=f"audio/{name}.wav",
            )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n\n")[0])
    parser.add_argument("part", choices=sorted(PARTS), help="labelled utterances, or unlabelled ones of other speakers")
    parser.add_argument("folder", type=Path, help="folder to write; replaced when it is complete")
    parser.add_argument("--speakers", type=int, default=6, help="number of speakers (default 6)")
    parser.add_argument("--utterances", type=int, default=80, help="utterances of each speaker (default 80)")
    parser.add_argument("--seed", type=int, default=1, help="another seed gives another corpus (default 1)")
    arguments = parser.parse_args()
    unfinished = arguments.folder.with_name(arguments.folder.name + ".unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    generate(arguments.part, unfinished, arguments.speakers, arguments.utterances, arguments.seed)
    shutil.rmtree(arguments.folder, ignore_errors=True)
    unfinished.rename(arguments.folder)
    count = arguments.speakers * arguments.utterances
    print(f"{arguments.folder}: {count} utterances of {arguments.speakers} speakers")


if __name__ == "__main__":
    main()
