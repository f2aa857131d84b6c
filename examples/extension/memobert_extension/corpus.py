"""A corpus of sound files in one folder per emotion: ``happy/alice_01.wav`` is spoken by alice."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from memobert_plugin.core.errors import UserError
from memobert_plugin.corpora.reading import CORPORA, Corpus, Defect, Reading
from memobert_plugin.data.manifest import ManifestRow


@dataclass(frozen=True)
class FoldersOptions:
    """The flags of this corpus; each field becomes one."""

    separator: str = field(default="_", metadata={"help": "character after the speaker in a file's name"})


def read_folders(folder: Path, options: FoldersOptions) -> Reading:
    """Read one utterance per sound file.

    Raises:
        UserError: no such folder, or no sound file in its folders.
    """
    rows, defects = [], []
    for file in sorted(folder.glob("*/*.wav")):
        speaker, separator, _ = file.stem.partition(options.separator)
        if not separator:
            defects.append(Defect(str(file), f"its name has no {options.separator!r} after the speaker"))
            continue
        emotion, identity = file.parent.name, f"{file.parent.name}-{file.stem}"
        rows.append(ManifestRow(line=0, id=identity, speaker=speaker, emotion=emotion, audio=str(file.resolve())))
    if not rows:
        raise UserError(f"{folder}: no sound file such as happy/alice{options.separator}01.wav; give the folder above")
    return Reading(rows, defects, remarks=[])


CORPORA.register("folders")(
    Corpus(
        help="sound files in one folder per emotion",
        folder="folder that holds one folder per emotion",
        options=FoldersOptions,
        read=read_folders,
    )
)
