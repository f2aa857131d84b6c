"""MSP-IMPROV: twelve actors in six sessions of two improvise around sentences (Busso et al., 2017).

The publisher's folder holds, in any arrangement below it::

    Evalution.txt      (spelled so; Evaluation.txt in some copies) a block per turn, its first line the summary:
                       UTD-IMPROV-S01A-F01-S-FM01.avi; N; A:3.000000; V:3.500000; D:3.000000 ; N:3.200000;
                       then a line per evaluator and an empty one
    Audio/session1/S01A/S/MSP-IMPROV-S01A-F01-S-FM01.wav
    Video/session1/S01A/S/UTD-IMPROV-S01A-F01-S-FM01.avi
    All_human_transcriptions/MSP-IMPROV-S01A-F01-S-FM01.txt

A name holds the sentence and intended emotion (S01A), the speaker (F01 and M01 make session 1) and the scenario: ``R``
target sentence read, ``T`` target sentence improvised, ``S`` the other turns of the improvisations, ``P`` natural talk
between them. The label is the evaluators' plurality as the publisher gives it; ``X`` is a tie.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from ..core.errors import UserError
from ..core.names import counted
from ..data.manifest import ManifestRow
from .reading import (
    ALL_EMOTIONS_HELP,
    CORPORA,
    Corpus,
    CountedOptions,
    Defect,
    Reading,
    differing_counts,
    existing,
    files_below,
    names_list,
    one_line,
    read_text,
)

FOUR_EMOTIONS: Final = {"A": "anger", "H": "happy", "N": "neutral", "S": "sad"}
ALL_EMOTIONS: Final = {**FOUR_EMOTIONS, "O": "other", "X": ""}
TURNS: Final = {
    "S": {"A": 470, "H": 1048, "N": 1789, "S": 633, "O": 70, "X": 371},
    "T": {"A": 115, "H": 136, "N": 283, "S": 106, "O": 1, "X": 11},
    "R": {"A": 169, "H": 88, "N": 241, "S": 80, "O": 3, "X": 39},
    "P": {"A": 38, "H": 1372, "N": 1164, "S": 66, "O": 11, "X": 134},
}
"""Turns by scenario and label, table 4 of the corpus's paper: 8 438; 3 940 are S with one of the four labels."""
PAPER_TURNS: Final = {"anger": 460, "happy": 999, "neutral": 1733, "sad": 627}
"""Turns of the published MEmoBERT results: 3 819 of the 3 940; its authors left out 121 turns without a face."""

EVALUATIONS: Final = ("Evalution.txt", "Evaluation.txt")

_NAME: Final = re.compile(
    r"(?:MSP|UTD)-IMPROV-(S\d\d[AHNS]-([FM])0([1-6])-([PRST])-[FM]{2}\d{2,3})(?:\.\w{3})?", re.ASCII
)


@dataclass(frozen=True)
class _Turn:
    name: str
    """``MSP-IMPROV-...``, also where the file begins with ``UTD``."""
    speaker: str
    session: str
    scenario: str


def read_msp_improv(
    folder: Path, *, scenarios: Collection[str] = ("S",), all_emotions: bool = False, left_out: Path | None = None
) -> Reading:
    """Read the evaluated turns of some scenarios.

    The id is the turn's name with the prefix ``MSP-IMPROV``, the session ``session1``, the speaker ``F01``; there is
    no split. Media and transcripts are found by their names.

    Args:
        folder: holds ``Evalution.txt``.
        scenarios: some of R, T, S and P.
        all_emotions: keep turns with other labels, and those without agreement with an empty one.
        left_out: a file whose lines begin with the name of a turn to leave out. With the list of turns without a face
            that the authors of MEmoBERT published (``preprocess/msp/no_face_check.txt`` of
            github.com/AIM3-RUC/MEmoBert) the 3 819 turns of their results remain.

    Raises:
        UserError: no such file of evaluations, a scenario that does not exist, or a name in ``left_out`` that is no
            turn of these.
    """
    unknown = [name for name in scenarios if name not in TURNS]
    if unknown:
        raise UserError(f"scenario {', '.join(unknown)}: MSP-IMPROV has {', '.join(TURNS)}")
    evaluation = next((folder / name for name in EVALUATIONS if (folder / name).is_file()), None)
    if evaluation is None:
        raise UserError(f"{folder}: no {' or '.join(EVALUATIONS)} in it; give MSP-IMPROV's own folder")
    names = ALL_EMOTIONS if all_emotions else FOUR_EMOTIONS
    files = _files_by_turn(folder)
    rows: dict[str, ManifestRow] = {}
    defects: list[Defect] = []
    other_labels = 0
    for place, found, label in _summaries(evaluation):
        turn = _turn(found)
        if turn is None or label not in ALL_EMOTIONS or turn.name in rows:
            defects.append(Defect(place, _what_is_wrong(turn, found, label)))
        elif turn.scenario in scenarios and label not in names:
            other_labels += 1
        elif turn.scenario in scenarios:
            rows[turn.name] = _row(turn, names[label], files)
    published: Counter[str] = Counter()
    for scenario in scenarios:
        published.update({name: TURNS[scenario][label] for label, name in names.items()})
    counts = Counter(row.emotion for row in rows.values())
    remarks = [f"{counted(other_labels, 'turn')} with other labels or none passed over"] if other_labels else []
    kept = list(rows.values())
    if left_out:
        kept = _without(left_out, rows)
        remarks.append(_against_the_paper(len(rows) - len(kept), kept, left_out))
    remarks += _missing(kept)
    return Reading(kept, defects, remarks, differing_counts("MSP-IMPROV", published, counts))


def _summaries(evaluation: Path) -> Iterator[tuple[str, str, str]]:
    """Yield the place, file name and label of every turn. The single evaluators' lines begin with no file name."""
    for number, line in enumerate(read_text(evaluation).split("\n"), start=1):
        fields = [field.strip() for field in line.split(";")]
        if fields[0].lower().endswith((".avi", ".wav")):
            yield f"{evaluation}, row {number}", fields[0], fields[1] if len(fields) > 1 else ""


def _turn(file_name: str) -> _Turn | None:
    found = _NAME.fullmatch(file_name)
    if not found:
        return None
    return _Turn(f"MSP-IMPROV-{found[1]}", f"{found[2]}0{found[3]}", f"session{found[3]}", found[4])


def _what_is_wrong(turn: _Turn | None, found: str, label: str) -> str:
    if turn is None:
        return f"{found} is not a name like UTD-IMPROV-S01A-F01-S-FM01.avi"
    if label not in ALL_EMOTIONS:
        return f"label {label!r} of {found}; MSP-IMPROV has {', '.join(ALL_EMOTIONS)}"
    return f"{found} occurs twice"


def _files_by_turn(folder: Path) -> dict[tuple[str, str], Path]:
    """Return sound, film and transcript by turn and suffix."""
    files: dict[tuple[str, str], Path] = {}
    for path in files_below(folder, {".wav", ".avi", ".txt"}):
        turn = _turn(path.name)
        if turn:
            files.setdefault((turn.name, path.suffix.lower()), path)
    return files


def _row(turn: _Turn, emotion: str, files: dict[tuple[str, str], Path]) -> ManifestRow:
    audio, video, transcript = (files.get((turn.name, suffix)) for suffix in (".wav", ".avi", ".txt"))
    return ManifestRow(
        line=0,
        id=turn.name,
        speaker=turn.speaker,
        session=turn.session,
        text=one_line(read_text(transcript)) if transcript else "",
        emotion=emotion,
        audio=existing(audio),
        video=existing(video),
    )


def _without(left_out: Path, rows: dict[str, ManifestRow]) -> list[ManifestRow]:
    names = set()
    for number, line in enumerate(read_text(left_out).split("\n"), start=1):
        if not line.split():
            continue
        turn = _turn(line.split()[0])
        if turn is None or turn.name not in rows:
            raise UserError(f"{left_out}, row {number}: {line.split()[0]} is not a turn of these scenarios")
        names.add(turn.name)
    return [row for name, row in rows.items() if name not in names]


def _against_the_paper(count: int, kept: list[ManifestRow], left_out: Path) -> str:
    remark = f"{counted(count, 'turn')} left out, as {left_out} says"
    if Counter(row.emotion for row in kept) == Counter(PAPER_TURNS):
        return f"{remark}; the rest has the counts of the published MEmoBERT results"
    listed = ", ".join(f"{name} {turns}" for name, turns in PAPER_TURNS.items())
    return f"{remark}; the published MEmoBERT results use {sum(PAPER_TURNS.values())}: {listed}"


def _missing(rows: list[ManifestRow]) -> list[str]:
    counts = {
        "sound file": sum(not row.audio for row in rows),
        "film": sum(not row.video for row in rows),
        "transcript": sum(not row.text for row in rows),
    }
    return [f"{counted(count, 'turn')} without a {what}; kept without it" for what, count in counts.items() if count]


@dataclass(frozen=True)
class MspImprovOptions(CountedOptions):
    """The flags of MSP-IMPROV."""

    scenarios: tuple[str, ...] = field(
        default=("S",),
        metadata={
            "type": names_list,
            "metavar": "LETTER,...",
            "help": "R target sentence read, T target sentence improvised, S other improvised turns, P natural "
            "interaction; the published MEmoBERT results use S",
        },
    )
    leave_out: Path | None = field(
        default=None,
        metadata={"metavar": "FILE", "help": "turns to leave out, one name at the beginning of each line"},
    )
    all_emotions: bool = field(default=False, metadata={"help": ALL_EMOTIONS_HELP})


CORPORA.register("msp-improv")(
    Corpus(
        help="MSP-IMPROV: 3 940 turns of four emotions, 3 819 with faces",
        folder="folder with Evalution.txt, Audio, Video and the transcripts",
        options=MspImprovOptions,
        read=lambda folder, options: read_msp_improv(
            folder, scenarios=options.scenarios, all_emotions=options.all_emotions, left_out=options.leave_out
        ),
    )
)
