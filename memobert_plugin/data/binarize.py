"""Write a data-bin from a manifest and its frames."""

from __future__ import annotations

import math
import os
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from ..core.console import tracked
from ..core.errors import UserError
from ..core.files import refuse_existing, staged_folder
from ..core.names import counted
from .corpus import COUNTS, META_FILE, TOKENIZER_FOLDER, CorpusMeta
from .corpus_writer import CorpusWriter
from .extraction_lists import unfinished_extraction
from .frames import FERPLUS_CLASSES, ExtractorInfo, described_visual_input, frame_file, read_extractor_info
from .manifest import ManifestRow, manifest_notes, read_manifest
from .prepare import FeatureFolders, PreparedUtterance, prepare_rows
from .speakers import speaker_means
from .spellings import alike_speakers, emotion_names, joined_labels
from .tokenizer import Tokenizer
from .votes import parse_labels, parse_votes, renamed_votes
from .words import has_long_run


class FrameAgreement:
    """A check that all utterances have frames of the same dimensions.

    The dimensions come from ``extractor.json``, else from the first usable utterance.

    Args:
        visual, acoustic: the ``extractor.json`` of each feature folder; None for a modality that is left out.
    """

    def __init__(self, visual: ExtractorInfo | None, acoustic: ExtractorInfo | None) -> None:
        self.visual = visual
        self.acoustic = acoustic
        self.visual_dim = visual.dim if visual else None
        self.acoustic_dim = acoustic.dim if acoustic else None
        self._expressions = len(visual.classes) if visual and visual.classes else None
        """K; 0 for frames without expressions; None before the first frames."""

    def objection(self, utterance: PreparedUtterance) -> str:
        """Return the reason why an utterance does not fit the ones before it, or an empty string."""
        visual_dim = _dim(utterance.visual, self.visual_dim)
        acoustic_dim = _dim(utterance.acoustic, self.acoustic_dim)
        expressions = self._expressions
        if utterance.visual is not None and expressions is None:
            expressions = 0 if utterance.expression is None else utterance.expression.shape[1]
        for name, array, expected in (
            ("visual frames", utterance.visual, visual_dim),
            ("acoustic frames", utterance.acoustic, acoustic_dim),
            ("expression", utterance.expression, expressions),
        ):
            if array is not None and array.shape[1] != expected:
                return f"{name} of {array.shape[1]} dimensions, the corpus has {expected}; extract all alike"
        if utterance.visual is not None and utterance.expression is None and expressions:
            return f"no expression, the corpus has {expressions} per frame; give it to all or none"
        self.visual_dim, self.acoustic_dim, self._expressions = visual_dim, acoustic_dim, expressions
        return ""

    def expression_classes(self) -> list[str]:
        """Return the names of the expressions; eight without names are FER+'s."""
        if not self._expressions:
            return []
        if self.visual and self.visual.classes:
            return list(self.visual.classes)
        if self._expressions == len(FERPLUS_CLASSES):
            return list(FERPLUS_CLASSES)
        return [f"class_{index}" for index in range(self._expressions)]


def _dim(array: np.ndarray | None, known: int | None) -> int | None:
    return array.shape[1] if known is None and array is not None else known


SKIPPED_FILE, _SHOWN_DEFECTS = "skipped.tsv", 5
_MOST_KEPT = 20_000
"""Rows up to which a manifest stays in memory (15 MB) between its two readings."""


@dataclass(frozen=True)
class BinarizeReport:
    """The outcome of binarizing a manifest."""

    output: Path
    rows: int
    counts: dict[str, int]
    """As in :class:`~memobert_plugin.data.corpus.CorpusMeta`."""
    max_failed_share: float
    first_defects: list[tuple[str, str]] = field(default_factory=list)
    """Id and reason of the first defective utterances."""
    skipped_file: Path | None = None
    """The list of all of them; None if there are none or nothing was written."""
    notes: list[str] = field(default_factory=list)
    """Remarks on the manifest: columns that are not used, labels that were joined; a line each."""

    @property
    def failed_share(self) -> float:
        """Share of the manifest's rows that were left out."""
        return self.counts["skipped"] / self.rows

    @property
    def acceptable(self) -> bool:
        """True if no more rows were left out than allowed."""
        return self.failed_share <= self.max_failed_share


def binarize(
    manifest: str | os.PathLike[str],
    visual_folder: str | os.PathLike[str] | None,
    acoustic_folder: str | os.PathLike[str] | None,
    tokenizer: Tokenizer,
    output: str | os.PathLike[str],
    *,
    visual_input: str = "features",
    center_speakers: bool = False,
    max_failed_share: float = 0.01,
    workers: int = 1,
    progress: bool = False,
    overwrite: bool = False,
    dry_run: bool = False,
) -> BinarizeReport:
    """Write the data-bin ``output`` from a manifest and folders of frames.

    A defective utterance is left out, listed in ``skipped.tsv`` and counted. An utterance without a file of frames
    lacks that modality only; a note tells of an extraction that has not finished. Labels that differ in case or blanks
    only are one label (see :func:`.joined_labels`). Any number of workers gives the same bytes.

    Args:
        manifest: see :mod:`memobert_plugin.data.manifest`.
        visual_folder, acoustic_folder: see :mod:`memobert_plugin.data.frames`; None leaves the modality out.
        tokenizer: makes the pieces and the dictionary.
        output: folder to write; it gets this name when it is complete.
        visual_input: one of :data:`memobert_plugin.core.names.VISUAL_INPUTS`.
        center_speakers: subtract from every speech frame the mean of its speaker's, over all rows of the manifest.
        max_failed_share: share of defective rows up to which the report is ``acceptable``.
        workers: processes that read frames and tokenize.
        progress: show progress on standard error.
        overwrite: replace an earlier data-bin of this name.
        dry_run: read and check everything, write nothing.

    Raises:
        UserError: a mistake in the manifest or in ``extractor.json``, a folder without frames for any utterance, no
            usable utterance, no speakers to center, an output that exists or is being written by another process.
    """
    survey = _surveyed(manifest, tokenizer)
    folders = FeatureFolders(_existing(visual_folder), _existing(acoustic_folder), visual_input)
    visual = _visual_info(folders)
    acoustic = read_extractor_info(folders.acoustic) if folders.acoustic else None
    if center_speakers:
        rows = tracked(survey.read_again(), survey.rows, "speakers", shown=progress)
        folders, acoustic = _centered(folders, acoustic, rows, survey)
    agreement = FrameAgreement(visual, acoustic)
    with _dry_folder(output, overwrite) if dry_run else staged_folder(output, META_FILE, overwrite) as folder:
        (folder / TOKENIZER_FOLDER).mkdir()
        tokenizer.save(folder / TOKENIZER_FOLDER)
        prepared = prepare_rows(survey.joined(), folders, tokenizer, folder / TOKENIZER_FOLDER, workers)
        writer = None if dry_run else CorpusWriter(folder, tokenizer.symbols, **folders.given)
        with _SkippedFile(folder / SKIPPED_FILE) as skipped, closing(prepared):
            shown = tracked(prepared, survey.rows, "binarize", shown=progress)
            counts = _write_utterances(shown, agreement, skipped, writer)
        _check_usable(manifest, folders, counts, skipped)
        for frames in filter(None, (folders.visual, folders.acoustic)):
            survey.notes.extend(unfinished_extraction(frames, survey.read_again()))
        if writer is not None:
            _meta(counts, tokenizer, agreement, writer).write(folder / META_FILE)
    listed = Path(output, SKIPPED_FILE) if skipped.count and not dry_run else None
    return BinarizeReport(Path(output), survey.rows, counts, max_failed_share, skipped.first, listed, survey.notes)


def _visual_info(folders: FeatureFolders) -> ExtractorInfo | None:
    """Return the description of the face frames that a network reads; None without any.

    Raises:
        UserError: frames that are less their speaker's mean, as only speech frames are.
    """
    if folders.visual is None:
        return None
    info = read_extractor_info(folders.visual)
    if info.is_centered:
        raise UserError(f"{folders.visual}: speaker_mean belongs to speech frames; leave it out of its extractor.json")
    return described_visual_input(info, folders.visual_input)


def _centered(
    folders: FeatureFolders, acoustic: ExtractorInfo | None, rows: Iterable[ManifestRow], survey: _Survey
) -> tuple[FeatureFolders, ExtractorInfo]:
    """Return the folders with the means of their speakers, and the description of frames less these; note rows without.

    Raises:
        UserError: no speech frames, frames that are centred already, no row with both a speaker and frames.
    """
    if folders.acoustic is None or acoustic is None:
        raise UserError("--center-speakers: subtracts from speech frames; give --acoustic")
    if acoustic.is_centered:
        raise UserError(f"--center-speakers: {folders.acoustic} says that its frames are centred already")
    means = speaker_means(rows, folders.acoustic, acoustic.dim)
    if nameless := survey.without_speaker:
        note = f"--center-speakers: {counted(nameless, 'row')} without a speaker; the average one's mean is taken"
        survey.notes.append(note)
    centered = replace(acoustic, speaker_mean=means.average.tolist(), dim=len(means.average))
    return replace(folders, speaker_means=means), centered


@dataclass(frozen=True)
class _Survey:
    """A manifest's first reading: its number of rows, the joined names of its labels, and remarks for the user."""

    manifest: str | os.PathLike[str]
    rows: int
    kept: Sequence[ManifestRow]
    """All rows of a small manifest; none of a larger one, which is read again."""
    without_speaker: int
    emotions: Mapping[str, str]
    splits: Mapping[str, str]
    labels: Mapping[str, str]
    notes: list[str]

    def read_again(self) -> Iterable[ManifestRow]:
        """Return the manifest's rows once more."""
        return self.kept or read_manifest(self.manifest)

    def joined(self) -> Iterator[ManifestRow]:
        """Yield the manifest's rows once more, with the joined names of its labels."""
        for row in self.read_again():
            names: dict[str, Any] = {"emotion": self.emotions[row.emotion], "split": self.splits[row.split]}
            if row.votes:
                names["votes"] = renamed_votes(row.votes, self.emotions)
            if row.labels:
                names["labels"] = ";".join(sorted({self.labels[name] for name in parse_labels(row.labels)}))
            yield row if all(getattr(row, column) == name for column, name in names.items()) else replace(row, **names)


def _surveyed(manifest: str | os.PathLike[str], tokenizer: Tokenizer) -> _Survey:
    """Read a manifest for its mistakes, its labels and its scripts.

    Raises:
        UserError: a mistake in the manifest.
    """
    emotions: Counter[str] = Counter()
    splits: Counter[str] = Counter()
    labels: Counter[str] = Counter()
    speakers: Counter[str] = Counter()
    voted: set[str] = set()
    unspaced = 0
    kept: list[ManifestRow] = []
    for row in read_manifest(manifest):
        if len(kept) <= _MOST_KEPT:
            kept.append(row)
        emotions[row.emotion] += 1
        splits[row.split] += 1
        labels.update(parse_labels(row.labels))
        unspaced += has_long_run(row.text)
        speakers[row.speaker] += 1
        try:
            voted.update(parse_votes(row.votes))
        except ValueError as error:
            raise UserError(f"{manifest}, line {row.line}: {error}") from None
    emotions_by_name, emotion_notes = emotion_names(emotions, voted)
    split_names, split_notes = joined_labels(splits, ("train", "valid", "test"))
    label_names, label_notes = joined_labels(labels)
    notes = manifest_notes(manifest)
    notes += [f"{manifest}: labels {note}" for note in label_notes]
    if joint := sorted({name for name in label_names.values() if set(name) & set(",|/")}):
        listed = ", ".join(map(repr, joint[:3])) + (" …" if len(joint) > 3 else "")
        notes.append(f"{manifest}: labels {listed} count as one each; separate labels by semicolons")
    notes += [f"{manifest}: emotion {note}" for note in emotion_notes]
    notes += [f"{manifest}: split {note}" for note in split_notes]
    if alike := alike_speakers(speakers):
        notes.append(f"{manifest}: speakers {alike} differ in case or blanks only, and count as several")
    if unspaced and tokenizer.segmentation == "bert":
        notes.append(
            f"{manifest}: {unspaced} texts in scripts without spaces: for whole-word masking, a run of kana, Thai or "
            "other letters is one word; --word-segmentation icu finds the words in it"
        )
    return _Survey(
        manifest,
        rows=emotions.total(),
        kept=kept if len(kept) <= _MOST_KEPT else (),
        without_speaker=speakers[""],
        emotions=emotions_by_name,
        splits=split_names,
        labels=label_names,
        notes=notes,
    )


def _write_utterances(
    utterances: Iterable[PreparedUtterance],
    agreement: FrameAgreement,
    skipped: _SkippedFile,
    writer: CorpusWriter | None,
) -> dict[str, int]:
    """Write utterances (nothing without a writer), list the defective ones, and return the counts."""
    counts = dict.fromkeys(COUNTS, 0)
    for utterance in utterances:
        defect = utterance.defect or agreement.objection(utterance)
        if defect:
            skipped.add(utterance.row, defect)
            continue
        _count(counts, utterance)
        if writer is not None:
            writer.add(utterance, _duration(utterance, agreement))
    counts["skipped"] = skipped.count
    return counts


class _SkippedFile:
    """The file ``skipped.tsv``: row, id and reason of every utterance that was left out."""

    def __init__(self, path: Path) -> None:
        self.count = 0
        self.first: list[tuple[str, str]] = []
        self._stream = open(path, "w", encoding="utf-8")  # noqa: SIM115
        self._stream.write("row\tid\treason\n")

    def add(self, row: ManifestRow, reason: str) -> None:
        reason = " ".join(reason.split())
        self._stream.write(f"{row.line}\t{row.id}\t{reason}\n")
        self.count += 1
        if len(self.first) < _SHOWN_DEFECTS:
            self.first.append((row.id, reason))

    def __enter__(self) -> _SkippedFile:
        return self

    def __exit__(self, *_: object) -> None:
        self._stream.close()


@contextmanager
def _dry_folder(output: str | os.PathLike[str], overwrite: bool) -> Iterator[Path]:
    refuse_existing(output, META_FILE, overwrite)
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder)


def _existing(folder: str | os.PathLike[str] | None) -> Path | None:
    if folder is None:
        return None
    if not Path(folder).is_dir():
        raise UserError(f"{folder}: no such folder; give the folder with one .npz per utterance")
    return Path(folder)


def _count(counts: dict[str, int], utterance: PreparedUtterance) -> None:
    counts["utterances"] += 1
    counts["with_text"] += bool(len(utterance.ids))
    counts["pieces"] += len(utterance.ids)
    for name, frames in (("visual", utterance.visual), ("acoustic", utterance.acoustic)):
        if frames is not None:
            counts[f"with_{name}"] += 1
            counts[f"{name}_frames"] += len(frames)


def _duration(utterance: PreparedUtterance, agreement: FrameAgreement) -> float:
    """Return an utterance's seconds: from the manifest, else acoustic frames, else visual frames, else NaN."""
    row = utterance.row
    if row.end is not None:
        return row.end - (row.start or 0.0)
    for frames, extractor in ((utterance.acoustic, agreement.acoustic), (utterance.visual, agreement.visual)):
        if frames is not None and extractor is not None and extractor.frame_rate:
            return len(frames) / extractor.frame_rate
    return math.nan


def _check_usable(
    manifest: str | os.PathLike[str], folders: FeatureFolders, counts: dict[str, int], skipped: _SkippedFile
) -> None:
    """Refuse a corpus without utterances, or without any frames of a modality whose folder was given."""
    first = f" (first: {skipped.first[0][0]}: {skipped.first[0][1]})" if skipped.first else ""
    if not counts["utterances"]:
        raise UserError(f"{manifest}: none of its {counted(skipped.count, 'utterance')} can be used{first}")
    for name, folder in (("visual", folders.visual), ("acoustic", folders.acoustic)):
        if folder is not None and not counts[f"with_{name}"]:
            example = frame_file(folder, next(read_manifest(manifest)).id).name
            raise UserError(
                f"{folder}: no usable {name} frames for any utterance of {manifest}{first}; "
                f"files are named after ids, such as {example}"
            )


def _meta(counts: dict[str, int], tokenizer: Tokenizer, agreement: FrameAgreement, writer: CorpusWriter) -> CorpusMeta:
    names = writer.finish()
    return CorpusMeta(
        counts=counts,
        vocabulary_size=len(tokenizer.symbols),
        tokenizer=tokenizer.kind,
        splits=names["split"],
        speakers=names["speaker"],
        sessions=names["session"],
        labels=names["emotion"],
        parts=names["part"],
        votes=names["votes"],
        label_sets=names["labels"],
        dimensions=writer.ranges,
        visual_dim=agreement.visual_dim,
        acoustic_dim=agreement.acoustic_dim,
        expression_classes=agreement.expression_classes(),
        visual_extractor=agreement.visual,
        acoustic_extractor=agreement.acoustic,
    )
