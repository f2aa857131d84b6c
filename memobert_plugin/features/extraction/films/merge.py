"""Merge the finished parts of one or several jobs into one manifest and one folder of frames per modality."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

import numpy as np

from ....core.errors import UserError
from ....core.files import replaced_when_complete, staged_folder
from ....core.names import ValidBy
from ....core.rng import Stream, uniform
from ....data.frames import read_extractor_info, write_extractor_info
from ....data.manifest import ManifestRow, read_manifest, utterance_uid, write_manifest
from .parts import ACOUSTIC, DROPPED, MANIFEST, PART_FILE, PARTS, VISUAL, noted_parts

_EXTRACTOR: Final = "extractor.json"


@dataclass(frozen=True, slots=True)
class ValidSettings:
    """The choice of the utterances on which pre-training validates."""

    share: float = 0.05
    by: ValidBy = "auto"
    """Whole films; or a contiguous block of every film; ``auto``: films, if the share is at least one of them."""


@dataclass(frozen=True, slots=True)
class MergeReport:
    """Counts of a merge."""

    parts: int
    films: int
    train: int
    valid: int
    by: str
    """``film`` or ``block``."""
    dropped: int
    missing: list[str] = field(default_factory=list)
    """Film and number of the planned parts that no job has finished."""


@dataclass(frozen=True, slots=True)
class _Part:
    folder: Path
    film: str
    index: int
    key: str
    utterances: int


def merge_parts(jobs: Sequence[Path], output: Path, valid: ValidSettings | None = None) -> MergeReport:
    """Merge finished parts below ``jobs`` into ``output``; the result does not depend on their division among jobs.

    Parts of films or subtitles that are missing from a job's last run are left out. Files of frames are linked where
    the file system can, else copied.

    Args:
        jobs: folders of extractions.
        output: folder for ``manifest.tsv``, ``visual/``, ``acoustic/`` and ``dropped.tsv``; may be one of ``jobs``.
        valid: the choice of validation utterances (None: the defaults).

    Raises:
        UserError: no finished part, parts of different extractors, or two different parts of one name.
    """
    wanted = {key: name for job in jobs for key, name in noted_parts(job).items()}
    parts = [part for part in _finished(jobs) if part.key in wanted]
    if not parts:
        raise UserError(f"{', '.join(map(str, jobs))}: no finished part below {PARTS}; extract films first")
    rows = [row for part in parts if part.utterances for row in read_manifest(part.folder / MANIFEST)]
    by, splits = _splits(rows, valid or ValidSettings())
    for modality in (VISUAL, ACOUSTIC):
        _merge_frames([part.folder / modality for part in parts], output / modality)
    output.mkdir(parents=True, exist_ok=True)
    dropped = _merge_dropped(parts, output / DROPPED)
    write_manifest(output / MANIFEST, (replace(row, split=split) for row, split in zip(rows, splits, strict=True)))
    films = len({part.film for part in parts})
    missing = [wanted[key] for key in wanted.keys() - {part.key for part in parts}]
    return MergeReport(len(parts), films, splits.count("train"), splits.count("valid"), by, dropped, sorted(missing))


def _finished(jobs: Sequence[Path]) -> list[_Part]:
    found: dict[tuple[str, int], _Part] = {}
    for job in jobs:
        for path in (job / PARTS).glob(f"*/*/{PART_FILE}"):
            if path.parent.name.startswith("."):
                continue
            try:
                content = json.loads(path.read_text(encoding="utf-8"))
                place = str(content["film"]), int(content["part"])
                part = _Part(path.parent, *place, str(content["key"]), int(content["utterances"]))
            except (OSError, ValueError, KeyError, TypeError):
                raise UserError(f"{path}: damaged; remove its folder and extract that part again") from None
            other = found.setdefault(place, part)
            if other.key != part.key:
                raise UserError(
                    f"{part.folder} and {other.folder}: different parts of one name; merge jobs with the same options"
                )
    return [found[place] for place in sorted(found)]


def _splits(rows: Sequence[ManifestRow], valid: ValidSettings) -> tuple[str, list[str]]:
    """Return ``film`` or ``block``, and every row's split; draws depend on films' names alone."""
    films: dict[str, list[int]] = {}
    for index, row in enumerate(rows):
        films.setdefault(row.session, []).append(index)
    by = valid.by if valid.by != "auto" else "film" if valid.share * len(films) >= 1.0 else "block"
    splits = ["train"] * len(rows)
    if not valid.share or not films:
        return by, splits
    uids = np.array([utterance_uid(film) for film in films], dtype=np.uint64)
    draws = uniform(0, 0, Stream.VALID_SHARE, uids, 0).tolist()
    for draw, indices in zip(draws, films.values(), strict=True):
        if by == "film":
            chosen = indices if draw < valid.share or draw == min(draws) else []
        else:
            size = min(max(1, round(valid.share * len(indices))), len(indices) - 1)
            first = int(draw * (len(indices) - size + 1))
            chosen = indices[first : first + size]
        for index in chosen:
            splits[index] = "valid"
    return by, splits


def _merge_frames(folders: Sequence[Path], target: Path) -> None:
    folders = [folder for folder in folders if folder.is_dir()]
    if not folders:
        return
    infos = [read_extractor_info(folder) for folder in folders]
    for folder, info in zip(folders, infos, strict=True):
        if replace(info, version=infos[0].version) != infos[0]:
            raise UserError(f"{folder} and {folders[0]}: frames of different extractors; merge jobs with equal options")
    with staged_folder(target, _EXTRACTOR, overwrite=True) as staging:
        write_extractor_info(staging, infos[0])
        for folder in folders:
            with os.scandir(folder) as entries:
                for entry in entries:
                    if entry.name.endswith(".npz") and entry.is_file(follow_symlinks=False):
                        _link(entry.path, staging / entry.name)


def _link(source: str, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


def _merge_dropped(parts: Sequence[_Part], target: Path) -> int:
    count = 0
    with (
        replaced_when_complete(target) as temporary,
        open(temporary, "w", encoding="utf-8", errors="backslashreplace") as merged,
    ):
        for number, part in enumerate(parts):
            with open(part.folder / DROPPED, encoding="utf-8") as file:
                header = next(file)
                if not number:
                    merged.write(header)
                for line in file:
                    merged.write(line)
                    count += 1
    return count
