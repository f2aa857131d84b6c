"""CREMA-D: 91 actors speak twelve sentences with six emotions, rated by a crowd (Cao et al., 2014).

A clone of github.com/CheyneyComputerScience/CREMA-D (``git lfs pull`` included) holds::

    AudioWAV/1001_DFA_ANG_XX.wav           actor, sentence, intended emotion, its level (LO, MD, HI or XX, unspecified)
    VideoFlash/1001_DFA_ANG_XX.flv
    processedResults/summaryTable.csv      FileName, VoiceVote, FaceVote, MultiModalVote: the emotion that most
                                           raters of the sound, the face or both perceived; "A:F" is a tie
    processedResults/tabulatedVotes.csv    votes for A, D, F, H, N and S by fileName; the first column is a number that
                                           begins with 1 (sound), 2 (face) or 3 (both)

Known bad clips: ``1076_MTI_SAD_XX`` has neither sound nor face; the films of ``1064_TIE_SAD_XX`` (no duration) and
``1064_IEO_DIS_MD`` (a minute of several emotions) are unusable (issue 8 of that repository). Early clones call one file
``1040_ITH_SAD_X.wav`` (issue 6).
"""

from __future__ import annotations

import csv
import io
import re
from collections import Counter, defaultdict
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final, Literal

from ..core.errors import UserError
from ..core.names import counted
from ..data.manifest import ManifestRow
from ..data.votes import format_votes
from .reading import (
    CORPORA,
    Corpus,
    CountedOptions,
    Defect,
    Reading,
    differing_counts,
    existing,
    files_below,
    read_text,
)

EMOTIONS: Final = {
    "ANG": "anger", "DIS": "disgust", "FEA": "fear", "HAP": "happy", "NEU": "neutral", "SAD": "sad",
}  # fmt: skip
CLIPS: Final = {"anger": 1271, "disgust": 1271, "fear": 1271, "happy": 1271, "neutral": 1087, "sad": 1270}
"""Usable clips by intended emotion: 7 441. The repository's README counts 7 442, with :data:`UNUSABLE`."""
ACTORS: Final = 91
SENTENCES: Final = {
    "IEO": "It's eleven o'clock.",
    "TIE": "That is exactly what happened.",
    "IOM": "I'm on my way to the meeting.",
    "IWW": "I wonder what this is about.",
    "TAI": "The airplane is almost full.",
    "MTI": "Maybe tomorrow it will be cold.",
    "IWL": "I would like a new alarm clock.",
    "ITH": "I think I have a doctor's appointment.",
    "DFA": "Don't forget a jacket.",
    "ITS": "I think I've seen this before.",
    "TSI": "The surface is slick.",
    "WSI": "We'll stop in a couple of minutes.",
}
VOTES: Final = {"voice": "VoiceVote", "face": "FaceVote", "both": "MultiModalVote"}
SUMMARY: Final = "summaryTable.csv"
TABULATED: Final = "tabulatedVotes.csv"

UNUSABLE: Final = "1076_MTI_SAD_XX"
UNUSABLE_FILMS: Final = ("1064_IEO_DIS_MD", "1064_TIE_SAD_XX")

_NAME: Final = re.compile(rf"(10\d\d)_({'|'.join(SENTENCES)})_({'|'.join(EMOTIONS)})_(?:LO|MD|HI|XX?)", re.ASCII)
_POINTER: Final = b"version https://git-lfs"


def read_crema_d(folder: Path, *, perceived: str | None = None) -> Reading:
    """Read all clips below a folder.

    The id is the file's name, the speaker the actor's number. The corpus has neither sessions nor a split. The same
    twelve sentences are spoken with every emotion, so the text does not tell the emotion.

    Args:
        folder: holds ``AudioWAV`` or ``VideoFlash``, at any depth.
        perceived: label by the raters' majority for the ``voice``, the ``face`` or ``both`` instead of the intended
            emotion; clips with a tie are passed over. With ``tabulatedVotes.csv`` the rows carry all votes.

    Raises:
        UserError: no clip, files that git-lfs has not fetched, or no usable table of votes.
    """
    media: dict[str, dict[str, Path]] = defaultdict(dict)
    defects: list[Defect] = []
    for path in files_below(folder, {".wav", ".flv"}):
        if not _NAME.fullmatch(path.stem):
            defects.append(Defect(str(path), "the name is not actor_sentence_emotion_level, as 1001_DFA_ANG_XX"))
            continue
        _refuse_pointer(path)
        name = path.stem if path.stem.endswith(("LO", "MD", "HI", "XX")) else f"{path.stem}X"
        media[name].setdefault(path.suffix.lower(), path)
    if not media:
        raise UserError(f"{folder}: no clip such as AudioWAV/1001_DFA_ANG_XX.wav below it; give CREMA-D's folder")
    bad = media.pop(UNUSABLE, {})
    counts = Counter(EMOTIONS[name.split("_")[2]] for name in media)
    defects += [Defect(str(path), "published without sound and face") for path in list(bad.values())[:1]]
    rows = [_row(name, files) for name, files in sorted(media.items())]
    remarks = _remarks(rows)
    if perceived:
        rows, more = _by_votes(rows, _table_of_votes(folder), VOTES[perceived])
        rows, without = _with_counts(rows, folder, str(list(VOTES).index(perceived) + 1))
        remarks += [*more, *without]
    return Reading(rows, defects, remarks, differing_counts("CREMA-D", CLIPS, counts))


def _refuse_pointer(path: Path) -> None:
    with open(path, "rb") as stream:
        if stream.read(len(_POINTER)) == _POINTER:
            raise UserError(f"{path}: a git-lfs pointer, not a clip; run 'git lfs pull' in the clone")


def _row(name: str, files: dict[str, Path]) -> ManifestRow:
    actor, sentence, emotion, _ = name.split("_")
    film = None if name in UNUSABLE_FILMS else files.get(".flv")
    return ManifestRow(
        line=0,
        id=name,
        speaker=actor,
        text=SENTENCES[sentence],
        emotion=EMOTIONS[emotion],
        audio=existing(files.get(".wav")),
        video=existing(film),
    )


def _table_of_votes(folder: Path) -> Path:
    for path in files_below(folder, {".csv"}):
        if path.name == SUMMARY:
            return path
    raise UserError(f"{folder}: no processedResults/{SUMMARY} below it; --perceived needs this table of votes")


def _with_counts(rows: list[ManifestRow], folder: Path, kind: str) -> tuple[list[ManifestRow], list[str]]:
    """Return the rows with the number of votes for each emotion, of raters whose numbers begin with ``kind``."""
    table = next((path for path in files_below(folder, {".csv"}) if path.name == TABULATED), None)
    if table is None:
        return rows, [f"no processedResults/{TABULATED}, so the manifest has no votes for --soft-labels"]
    reader = csv.DictReader(io.StringIO(read_text(table), newline=""), restval="")
    letters = {code[0]: emotion for code, emotion in EMOTIONS.items()}
    missing = [name for name in ("", "fileName", *letters) if name not in (reader.fieldnames or ())]
    if missing:
        told = ", ".join(name or "with numbers of raters" for name in missing)
        raise UserError(f"{table}, row 1: no column {told}; give CREMA-D's own {TABULATED}")
    votes = {}
    for number, fields in enumerate(reader, start=2):
        if not fields[""].startswith(kind):
            continue
        try:
            counts = {emotion: float(int(fields[letter])) for letter, emotion in letters.items()}
        except ValueError:
            raise UserError(f"{table}, row {number}: votes are not whole numbers; fetch the file again") from None
        votes[fields["fileName"]] = format_votes(counts)
    without = sum(row.id not in votes for row in rows)
    return [replace(row, votes=votes.get(row.id, "")) for row in rows], [
        f"{counted(without, 'clip')} without votes in {TABULATED}; --soft-labels takes their emotion alone"
    ] if without else []


def _by_votes(rows: list[ManifestRow], table: Path, column: str) -> tuple[list[ManifestRow], list[str]]:
    reader = csv.DictReader(io.StringIO(read_text(table), newline=""), restval="", restkey="")
    missing = [name for name in ("FileName", column) if name not in (reader.fieldnames or ())]
    if missing:
        raise UserError(f"{table}, row 1: no column {', '.join(missing)}; give CREMA-D's own summaryTable.csv")
    letters = {code[0]: emotion for code, emotion in EMOTIONS.items()}
    votes = {fields["FileName"]: fields[column] for fields in reader}
    kept = [replace(row, emotion=letters[votes[row.id]]) for row in rows if votes.get(row.id) in letters]
    passed_over = len(rows) - len(kept)
    return kept, [
        f"{counted(passed_over, 'clip')} without a single winner in {column} passed over"
    ] if passed_over else []


def _remarks(rows: list[ManifestRow]) -> list[str]:
    remarks = []
    actors = len({row.speaker for row in rows})
    if actors != ACTORS:
        remarks.append(f"clips of {counted(actors, 'actor')}; complete, CREMA-D has {ACTORS}")
    for what, count in (
        ("sound file", sum(not row.audio for row in rows)),
        ("film", sum(not row.video for row in rows)),
    ):
        if count:
            remarks.append(f"{counted(count, 'clip')} without a usable {what}; kept without it")
    return remarks


@dataclass(frozen=True)
class CremaDOptions(CountedOptions):
    """The flags of CREMA-D."""

    perceived: Literal["voice", "face", "both"] | None = field(
        default=None,
        metadata={
            "help": "label by what most raters perceived in the voice, the face or both, with their votes (default: "
            "the intended emotion)"
        },
    )


CORPORA.register("crema-d")(
    Corpus(
        help="CREMA-D: 7 441 clips of six emotions",
        folder="clone of the corpus's repository, or any folder that holds AudioWAV and VideoFlash",
        options=CremaDOptions,
        read=lambda folder, options: read_crema_d(folder, perceived=options.perceived),
    )
)
