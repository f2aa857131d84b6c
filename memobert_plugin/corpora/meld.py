"""MELD: utterances of the series Friends with emotion, speaker and dialogue (Poria et al., 2019).

The publisher's ``train_sent_emo.csv``, ``dev_sent_emo.csv`` and ``test_sent_emo.csv`` hold the text; the clips, in an
archive of their own, are called ``dia{Dialogue_ID}_utt{Utterance_ID}.mp4``.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from ..core.errors import Defect, UserError
from ..core.names import counted
from ..data.manifest import ManifestRow
from .reading import CORPORA, Corpus, Reading, existing, one_line, read_text


@dataclass(frozen=True)
class Part:
    """One of MELD's three parts.

    Attributes:
        name: the publisher's name; ids begin with it.
        split: its name in the manifest.
        clips: the folder in its archive of clips.
        utterances: the publisher's count.
    """

    name: str
    split: str
    clips: str
    utterances: int

    @property
    def table(self) -> str:
        """File name of its table."""
        return f"{self.name}_sent_emo.csv"


PARTS: Final = (
    Part("train", "train", "train_splits", 9989),
    Part("dev", "valid", "dev_splits_complete", 1109),
    Part("test", "test", "output_repeated_splits_test", 2610),
)
COLUMNS: Final = ("Utterance", "Speaker", "Emotion", "Dialogue_ID", "Utterance_ID")
EMOTIONS: Final = ("anger", "disgust", "fear", "joy", "neutral", "sadness", "surprise")


def read_meld(folder: Path, media: Path | None = None) -> Reading:
    """Read the tables in a folder.

    The id is ``train_dia0_utt0``, the session the dialogue ``train_dia0``, the split ``train``, ``valid`` (MELD's dev)
    or ``test``. The times in the tables are those of the episode, not of the clip, so ``start`` and ``end`` stay
    empty. Stray bytes of the encoding cp1252 (``\\x92`` for an apostrophe) are decoded.

    Args:
        folder: holds one to three of the tables.
        media: the folder above the unpacked clips; if given, ``video`` names each utterance's clip.

    Raises:
        UserError: no such folder, no table in it, or one without the columns.
    """
    tables = [(part, folder / part.table) for part in PARTS if (folder / part.table).is_file()]
    if not tables:
        raise UserError(
            f"{folder}: holds none of {', '.join(part.table for part in PARTS)}; give the folder with the tables"
        )
    rows: list[ManifestRow] = []
    defects: list[Defect] = []
    remarks = []
    for part, table in tables:
        clips = _clip_folder(part, media) if media else None
        count, missing = 0, 0
        seen: set[str] = set()
        for place, fields in _table_rows(table):
            found = _read_row(part, place, fields, clips)
            if isinstance(found, ManifestRow) and found.id in seen:
                found = Defect(place, f"{found.id} occurs twice")
            if isinstance(found, Defect):
                defects.append(found)
                continue
            seen.add(found.id)
            rows.append(found)
            count += 1
            missing += clips is not None and not found.video
        if count != part.utterances:
            remarks.append(f"{table.name}: {counted(count, 'utterance')}; MELD states {part.utterances}")
        if missing:
            remarks.append(
                f"{part.name}: {counted(missing, 'utterance')} without a clip in {clips}; kept without video"
            )
    return Reading(rows, defects, remarks)


def _clip_folder(part: Part, media: Path) -> Path:
    for candidate in (media / part.clips, media / part.name / part.clips, media):
        if candidate.name == part.clips and candidate.is_dir():
            return candidate
    raise UserError(
        f"{media}: no folder {part.clips} below it; give --media the folder that the archive of clips was unpacked in"
    )


def _table_rows(table: Path) -> Iterator[tuple[str, dict[str, str]]]:
    """Yield the place and the fields of every row."""
    reader = csv.DictReader(io.StringIO(read_text(table), newline=""), restval="", restkey="")
    missing = [name for name in COLUMNS if name not in (reader.fieldnames or ())]
    if missing:
        raise UserError(f"{table}, row 1: no column {', '.join(missing)}; give MELD's own tables")
    for fields in reader:
        yield f"{table}, row {reader.line_num}", fields


def _read_row(part: Part, place: str, fields: dict[str, str], clips: Path | None) -> ManifestRow | Defect:
    values = {name: one_line(fields[name]) for name in COLUMNS}
    dialogue, utterance = values["Dialogue_ID"], values["Utterance_ID"]
    if not (dialogue.isdecimal() and utterance.isdecimal()):
        return Defect(place, f"Dialogue_ID {dialogue!r}, Utterance_ID {utterance!r}: both must be numbers")
    if values["Emotion"].lower() not in EMOTIONS:
        return Defect(place, f"emotion {values['Emotion']!r}; MELD has {', '.join(EMOTIONS)}")
    if not values["Utterance"]:
        return Defect(place, "the utterance is empty")
    name = f"dia{int(dialogue)}_utt{int(utterance)}"
    return ManifestRow(
        line=0,
        id=f"{part.name}_{name}",
        speaker=values["Speaker"],
        session=f"{part.name}_dia{int(dialogue)}",
        split=part.split,
        text=values["Utterance"],
        emotion=values["Emotion"].lower(),
        video=existing(clips / f"{name}.mp4") if clips else "",
    )


@dataclass(frozen=True)
class MeldOptions:
    """The flags of MELD."""

    media: Path | None = field(
        default=None, metadata={"metavar": "FOLDER", "help": "folder in which the archives of clips were unpacked"}
    )


CORPORA.register("meld")(
    Corpus(
        help="MELD: text, and clips where you have them",
        folder="folder with train_sent_emo.csv, dev_sent_emo.csv, test_sent_emo.csv (one or more of them)",
        options=MeldOptions,
        read=lambda folder, options: read_meld(folder, options.media),
    )
)
