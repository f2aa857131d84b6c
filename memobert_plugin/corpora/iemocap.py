"""IEMOCAP: ten actors in five sessions of two, scripted and improvised dialogues (Busso et al., 2008).

The release unpacks to ``Session1`` to ``Session5``. Of each session this reader uses::

    dialog/EmoEvaluation/Ses01F_impro01.txt    one block per turn, its first line in four columns separated by tabs:
                                               [6.2901 - 8.2357]  Ses01F_impro01_F000  neu  [2.5000, 2.5000, 2.5000]
                                               (times, turn, label, and means of valence, activation, dominance)
    dialog/transcriptions/Ses01F_impro01.txt   Ses01F_impro01_F000 [006.2901-008.2357]: Excuse me.
    sentences/wav/Ses01F_impro01/Ses01F_impro01_F000.wav    one turn, mono
    dialog/avi/DivX/Ses01F_impro01.avi         the whole dialogue, 720 x 480: one actor in each half of the picture
    dialog/wav/Ses01F_impro01.wav              its sound from two microphones

In ``Ses01F_impro01_M002`` the first letter is the actor who wears the motion-capture markers in this dialogue, the
second the actor who speaks (the release's README.txt). The actor with markers sits in the left half of the picture. The
README does not say so; public code that crops this corpus does, such as ``extractionmapCreator.py`` of
github.com/IoannisKansizoglou/Iemocap-preprocess. If you have the films, look at one of each kind.

The label is the evaluators' majority as the publisher gives it; ``xxx`` is a tie or no agreement.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from math import isfinite
from pathlib import Path
from typing import Final

from ..core.errors import UserError
from ..core.names import DIMENSION_NAMES, counted
from ..data.manifest import ManifestRow
from ..data.votes import format_votes
from .reading import (
    ALL_EMOTIONS_HELP,
    CORPORA,
    Corpus,
    CountedOptions,
    Defect,
    Reading,
    differing_counts,
    existing,
    one_line,
    read_text,
)

FOUR_EMOTIONS: Final = {"ang": "anger", "hap": "happy", "exc": "happy", "neu": "neutral", "sad": "sad"}
"""The usual four classes; excited counts as happy."""
ALL_EMOTIONS: Final = {
    "ang": "anger", "hap": "happy", "exc": "excited", "neu": "neutral", "sad": "sad", "fru": "frustrated",
    "fea": "fearful", "sur": "surprised", "dis": "disgusted", "oth": "other", "xxx": "",
}  # fmt: skip
TURNS: Final = {
    "ang": 1103, "hap": 595, "exc": 1041, "neu": 1708, "sad": 1084, "fru": 1849, "fea": 40, "sur": 107, "dis": 2,
    "oth": 3, "xxx": 2507,
}  # fmt: skip
"""Labelled turns of the release by label: 10 039, of which 5 531 belong to the four classes."""

_RELEASE: Final = "IEMOCAP_full_release"
_DIALOGUE: Final = re.compile(r"(Ses0[1-5])([FM])_\w+", re.ASCII)
_CHOSEN: Final = {
    "Anger": "ang", "Happiness": "hap", "Excited": "exc", "Neutral": "neu", "Neutral state": "neu", "Sadness": "sad",
    "Frustration": "fru", "Fear": "fea", "Surprise": "sur", "Disgust": "dis", "Other": "oth",
}  # fmt: skip
"""Labels by the words of an evaluator."""
_EVALUATOR: Final = re.compile(r"C-E\d+:\t([^\t]*)", re.ASCII)
"""Of a single evaluator; C-F1 and C-M1 are the actors' own."""
_EVALUATED: Final = re.compile(r"\[(\d+\.\d+) - (\d+\.\d+)\]\s+(\w+)_([FM])(\d{3})\s+(\w{3})\s+\[([^\]]*)", re.ASCII)
_TRANSCRIBED: Final = re.compile(r"(Ses\w+)\s*\[(\d+\.\d+)\s*-\s*(\d+\.\d+)\]\s*:?(.*)", re.ASCII)


@dataclass(frozen=True)
class _Turn:
    """An evaluated turn, its times in seconds from the beginning of the dialogue."""

    name: str
    speaker: str
    """F or M."""
    label: str
    start: float
    end: float
    votes: Mapping[str, float] = field(default_factory=dict)
    """Of the evaluators, by label; one who named several gave each a part of a vote."""
    ratings: Mapping[str, float] = field(default_factory=dict)
    """Valence, arousal (the release's activation) and dominance, means of the evaluators' 1 to 5."""


@dataclass(frozen=True)
class _Spoken:
    """A transcribed turn, its times as above."""

    start: float
    end: float
    text: str


@dataclass
class _Found:
    """The rows, defects and counts found so far."""

    rows: list[ManifestRow] = field(default_factory=list)
    defects: list[Defect] = field(default_factory=list)
    other_labels: int = 0
    without_transcript: int = 0
    without_evaluation: int = 0
    without_media: int = 0


def read_iemocap(folder: Path, *, dialogues: bool = False, all_emotions: bool = False) -> Reading:
    """Read the evaluated turns of a release.

    The id is the turn's, the session ``Ses01``, the speaker ``Ses01F`` or ``Ses01M``; there is no split. The part is
    ``scripted`` or ``improvised``: all sessions play the same scripts, so that words alone tell much there. Texts are
    as transcribed, ``[LAUGHTER]`` included; a turn without transcript has an empty one.

    Args:
        folder: holds ``Session1`` to ``Session5``, or ``IEMOCAP_full_release``.
        dialogues: name the films of the dialogues, with ``start``, ``end`` and ``region``, and their two-channel
            sound; otherwise the sound file of each turn.
        all_emotions: keep all labels under their own names, and turns without agreement with an empty one; otherwise
            anger, happy (with excited), neutral and sad.

    Raises:
        UserError: the folder holds no evaluation of a dialogue.
    """
    release = folder / _RELEASE if (folder / _RELEASE).is_dir() else folder
    evaluations = sorted(release.glob("Session[1-5]/dialog/EmoEvaluation/Ses*.txt"))
    if not evaluations:
        raise UserError(
            f"{folder}: no Session1/dialog/EmoEvaluation/Ses01F_impro01.txt or the like; give the folder that holds "
            "IEMOCAP's Session1 to Session5"
        )
    names = ALL_EMOTIONS if all_emotions else FOUR_EMOTIONS
    found = _Found()
    for evaluation in evaluations:
        _read_dialogue(evaluation, names, dialogues, found)
    published: Counter[str] = Counter()
    for label, name in names.items():
        published[name] += TURNS[label]
    counts = Counter(row.emotion for row in found.rows)
    return Reading(
        found.rows, found.defects, _remarks(found, dialogues), differing_counts("IEMOCAP", published, counts)
    )


def _read_dialogue(evaluation: Path, names: dict[str, str], dialogues: bool, found: _Found) -> None:
    session_folder, dialogue = evaluation.parents[2], evaluation.stem
    named = _DIALOGUE.fullmatch(dialogue)
    if not named or session_folder.name != f"Session{dialogue[4]}":
        found.defects.append(Defect(str(evaluation), f"not the name of a dialogue of {session_folder.name}"))
        return
    transcript = session_folder / "dialog" / "transcriptions" / evaluation.name
    spoken: dict[str, _Spoken] = {}
    if transcript.is_file():
        spoken = _transcribed_turns(transcript)
    else:
        found.defects.append(Defect(str(transcript), "no such file; the turns of this dialogue stay without text"))
    turns: dict[str, _Turn] = {}
    for turn in _evaluated_turns(evaluation):
        if isinstance(turn, Defect):
            found.defects.append(turn)
            continue
        turns[turn.name] = turn
        if turn.label not in names:
            found.other_labels += 1
            continue
        words = spoken.get(turn.name)
        found.without_transcript += words is None
        row = ManifestRow(
            line=0,
            id=turn.name,
            speaker=named[1] + turn.speaker,
            session=named[1],
            text=words.text if words else "",
            emotion=names[turn.label],
            part="scripted" if "_script" in dialogue else "improvised",
            votes=_named_votes(turn.votes, names),
            valence=turn.ratings.get("valence"),
            arousal=turn.ratings.get("arousal"),
            dominance=turn.ratings.get("dominance"),
        )
        if dialogues:
            row = _with_dialogue(row, session_folder, dialogue, turn, words)
        else:
            row = _with_sound(row, session_folder, dialogue)
        found.without_media += not (row.video if dialogues else row.audio)
        found.rows.append(row)
    found.without_evaluation += len(spoken.keys() - turns.keys())


def _named_votes(votes: Mapping[str, float], names: Mapping[str, str]) -> str:
    """Return the votes for emotions that have a name here, as the manifest holds them."""
    named: dict[str, float] = {}
    for label, count in votes.items():
        if name := names.get(label):
            named[name] = round(named.get(name, 0.0) + count, 3)
    return format_votes(named)


def _evaluated_turns(evaluation: Path) -> Iterator[_Turn | Defect]:
    """Yield the turns of a dialogue, each with the votes of the evaluators that follow it."""
    last: _Turn | None = None
    votes: dict[str, float] = {}
    for found in _turns_and_evaluators(evaluation):
        if isinstance(found, str):
            chosen = [_CHOSEN[word] for part in found.split(";") if (word := part.strip()) in _CHOSEN]
            for label in chosen:
                votes[label] = votes.get(label, 0.0) + 1 / len(chosen)
            continue
        if last is not None:
            yield replace(last, votes=votes)
        last, votes = (found, {}) if isinstance(found, _Turn) else (None, {})
        if isinstance(found, Defect):
            yield found
    if last is not None:
        yield replace(last, votes=votes)


def _turns_and_evaluators(evaluation: Path) -> Iterator[_Turn | Defect | str]:
    """Yield turns and defects, and after a turn the words that each evaluator chose."""
    seen: set[str] = set()
    for number, line in enumerate(read_text(evaluation).split("\n"), start=1):
        if not line.startswith("["):
            if evaluator := _EVALUATOR.match(line):
                yield evaluator[1]
            continue
        place = f"{evaluation}, row {number}"
        fields = _EVALUATED.match(line)
        if not fields:
            yield Defect(place, f"{line[:60]!r} is not [start - end], turn, label and ratings, separated by tabs")
            continue
        start, end, dialogue, speaker, count, label, rated = fields.groups()
        name = f"{dialogue}_{speaker}{count}"
        if dialogue != evaluation.stem:
            yield Defect(place, f"{name} belongs to another dialogue")
        elif name in seen:
            yield Defect(place, f"{name} occurs twice")
        elif label not in TURNS:
            yield Defect(place, f"label {label!r} of {name}; IEMOCAP has {', '.join(TURNS)}")
        else:
            seen.add(name)
            yield _Turn(name, speaker, label, float(start), float(end), ratings=_ratings(rated))


def _ratings(text: str) -> dict[str, float]:
    """Return the three means of ``2.5000, 2.5000, 2.5000``; none where one is missing."""
    try:
        numbers = [float(part) for part in text.split(",")]
    except ValueError:
        return {}
    return dict(zip(DIMENSION_NAMES, numbers, strict=True)) if len(numbers) == 3 and all(map(isfinite, numbers)) else {}


def _transcribed_turns(transcript: Path) -> dict[str, _Spoken]:
    """Return the turns by name. Lines without a name and times, such as ``M: Yeah.``, are passed over."""
    lines = (_TRANSCRIBED.match(line) for line in read_text(transcript).split("\n"))
    return {line[1]: _Spoken(float(line[2]), float(line[3]), one_line(line[4])) for line in lines if line}


def _with_sound(row: ManifestRow, session_folder: Path, dialogue: str) -> ManifestRow:
    return replace(row, audio=existing(session_folder / "sentences" / "wav" / dialogue / f"{row.id}.wav"))


def _with_dialogue(
    row: ManifestRow, session_folder: Path, dialogue: str, turn: _Turn, words: _Spoken | None
) -> ManifestRow:
    times = words if words and words.end > words.start else turn
    return replace(
        row,
        video=existing(session_folder / "dialog" / "avi" / "DivX" / f"{dialogue}.avi"),
        audio=existing(session_folder / "dialog" / "wav" / f"{dialogue}.wav"),
        start=times.start,
        end=times.end,
        region="left" if turn.speaker == dialogue[5] else "right",
    )


def _remarks(found: _Found, dialogues: bool) -> list[str]:
    remarks = []
    if found.other_labels:
        remarks.append(f"{counted(found.other_labels, 'turn')} with other labels passed over")
    if found.without_evaluation:
        remarks.append(f"{counted(found.without_evaluation, 'transcribed turn')} never evaluated; passed over")
    if found.without_transcript:
        remarks.append(f"{counted(found.without_transcript, 'turn')} not transcribed; kept without text")
    if found.without_media:
        wanted = "film in dialog/avi/DivX" if dialogues else "sound file in sentences/wav"
        remarks.append(f"{counted(found.without_media, 'turn')} without {wanted}; kept without it")
    return remarks


@dataclass(frozen=True)
class IemocapOptions(CountedOptions):
    """The flags of IEMOCAP."""

    dialogues: bool = field(
        default=False,
        metadata={
            "help": "name the films of whole dialogues, with times and the speaker's half of the picture, for visual "
            "frames (default: the sound file of each turn, for acoustic frames)"
        },
    )
    all_emotions: bool = field(default=False, metadata={"help": ALL_EMOTIONS_HELP})


CORPORA.register("iemocap")(
    Corpus(
        help="IEMOCAP: 5 531 turns of four emotions",
        folder="folder that holds Session1 to Session5",
        options=IemocapOptions,
        read=lambda folder, options: read_iemocap(
            folder, dialogues=options.dialogues, all_emotions=options.all_emotions
        ),
    )
)
