"""RAVDESS: 24 actors speak two sentences with eight emotions (Livingstone and Russo, 2018).

The publisher's archives unpack to folders ``Actor_01`` to ``Actor_24``. A file's name holds the labels:
``modality-channel-emotion-intensity-statement-repetition-actor``, two digits each, such as
``03-01-05-02-01-01-12.wav``. Speech is channel 01. Songs (channel 02) are passed over.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from pathlib import Path
from typing import Final

from ..core.errors import Defect, UserError
from ..core.names import counted
from ..data.manifest import ManifestRow
from .reading import CORPORA, Corpus, NoOptions, Reading, existing, files_below

EMOTIONS: Final = {
    "01": "neutral", "02": "calm", "03": "happy", "04": "sad", "05": "angry", "06": "fearful", "07": "disgust",
    "08": "surprised",
}  # fmt: skip
STATEMENTS: Final = {"01": "Kids are talking by the door", "02": "Dogs are sitting by the door"}
ACTORS: Final = 24
CLIPS_PER_ACTOR: Final = 60
"""Seven emotions in two intensities and neutral in one, two statements, two repetitions."""

AUDIO_VIDEO, VIDEO_ONLY, AUDIO_ONLY = "01", "02", "03"
SPEECH, SONG = "01", "02"
SUFFIXES: Final = {AUDIO_VIDEO: (".mp4",), VIDEO_ONLY: (".mp4",), AUDIO_ONLY: (".wav", ".flac")}

_NAME: Final = re.compile(r"\d\d(-\d\d){6}", re.ASCII)
_ACTOR_FOLDER: Final = re.compile(r"Actor_(\d\d)", re.ASCII)
_CODES: Final = {
    "modality": tuple(SUFFIXES),
    "channel": (SPEECH, SONG),
    "emotion": tuple(EMOTIONS),
    "intensity": ("01", "02"),
    "statement": tuple(STATEMENTS),
    "repetition": ("01", "02"),
    "actor": tuple(f"{number:02d}" for number in range(1, ACTORS + 1)),
}


def read_ravdess(folder: Path) -> Reading:
    """Read all spoken clips below a folder, in any arrangement of the publisher's archives.

    The recordings of one clip in several modalities become one row: ``audio`` is the sound file (modality 03),
    ``video`` the film with sound (01) or else the one without (02). The id is the file's name without the modality;
    the speaker is the actor's folder, ``Actor_12``; the corpus has neither sessions nor a split.

    Raises:
        UserError: no such folder, or no spoken clip in it.
    """
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder; give the one that holds RAVDESS's Actor_01 to Actor_{ACTORS}")
    media: dict[str, dict[str, Path]] = defaultdict(dict)
    defects: list[Defect] = []
    counts: Counter[str] = Counter()
    suffixes = {suffix for group in SUFFIXES.values() for suffix in group}
    for path in files_below(folder, suffixes):
        reason = _what_is_wrong(path)
        if reason:
            defects.append(Defect(str(path), reason))
            continue
        modality, channel, clip = path.stem[:2], path.stem[3:5], path.stem[3:]
        if channel == SONG:
            counts["songs"] += 1
        elif modality in media[clip]:
            counts["repeated"] += 1
        else:
            media[clip][modality] = path
    if not media:
        found = f"; the first of {len(defects)} that cannot be used: {defects[0]}" if defects else ""
        raise UserError(f"{folder}: no spoken clip such as Actor_01/03-01-01-01-01-01-01.wav below it{found}")
    rows = [_row(clip, files) for clip, files in sorted(media.items(), key=lambda item: (item[0][-2:], item[0]))]
    return Reading(rows, defects, _remarks(rows, counts))


def _what_is_wrong(path: Path) -> str:
    if not _NAME.fullmatch(path.stem):
        return f"the name is not seven numbers of two digits ({'-'.join(_CODES)})"
    for (field, codes), code in zip(_CODES.items(), path.stem.split("-"), strict=True):
        if code not in codes:
            return f"{field} {code} does not exist; RAVDESS has {codes[0]} to {codes[-1]}"
    modality, actor = path.stem[:2], path.stem[-2:]
    if path.suffix.lower() not in SUFFIXES[modality]:
        return f"modality {modality} is published as {' or '.join(SUFFIXES[modality])}"
    parent = _ACTOR_FOLDER.fullmatch(path.parent.name)
    if parent and parent[1] != actor:
        return f"the folder is {path.parent.name}, but the name says actor {actor}"
    return ""


def _row(clip: str, files: dict[str, Path]) -> ManifestRow:
    _, emotion, _, statement, _, actor = clip.split("-")
    return ManifestRow(
        line=0,
        id=clip,
        speaker=f"Actor_{actor}",
        text=STATEMENTS[statement],
        emotion=EMOTIONS[emotion],
        video=existing(files.get(AUDIO_VIDEO) or files.get(VIDEO_ONLY)),
        audio=existing(files.get(AUDIO_ONLY)),
    )


def _remarks(rows: list[ManifestRow], counts: Counter[str]) -> list[str]:
    remarks = []
    per_actor = Counter(row.speaker for row in rows)
    if len(rows) != ACTORS * CLIPS_PER_ACTOR:
        remarks.append(
            f"{counted(len(rows), 'spoken clip')} of {counted(len(per_actor), 'actor')}; complete, RAVDESS has "
            f"{ACTORS * CLIPS_PER_ACTOR} of {ACTORS}"
        )
    short = [f"{actor} {count}" for actor, count in sorted(per_actor.items()) if count != CLIPS_PER_ACTOR]
    if short:
        remarks.append(f"actors without their {CLIPS_PER_ACTOR} clips: {', '.join(short)}")
    silent = sum(not row.audio for row in rows)
    if silent:
        remarks.append(
            f"{counted(silent, 'clip')} without a sound file; RAVDESS publishes these as Audio_Speech_Actors_01-24.zip"
        )
    if counts["songs"]:
        remarks.append(f"{counted(counts['songs'], 'file')} of songs (channel {SONG}) passed over")
    if counts["repeated"]:
        remarks.append(f"{counted(counts['repeated'], 'file')} found twice; the one in fewer folders was taken")
    return remarks


CORPORA.register("ravdess")(
    Corpus(
        help="RAVDESS speech: sound, film or both",
        folder="folder that holds Actor_01 to Actor_24, at any depth",
        options=NoOptions,
        read=lambda folder, _: read_ravdess(folder),
    )
)
