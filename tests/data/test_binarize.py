"""Rows of a manifest go into the data-bin, without a modality where it is missing, or are left out with a reason."""

from __future__ import annotations

import dataclasses
import fcntl
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from memobert_plugin.core.errors import UserError
from memobert_plugin.data import prepare
from memobert_plugin.data.binarize import binarize
from memobert_plugin.data.corpus import Corpus
from memobert_plugin.data.corpus_writer import CorpusWriter
from memobert_plugin.data.frames import ExtractorInfo, write_extractor_info
from memobert_plugin.data.tokenizer import WordPieceTokenizer
from tests.data.sources import ACOUSTIC_DIM, VISUAL_DIM, Sources, distributions, frames


@pytest.fixture
def sources(tmp_path: Path) -> Sources:
    return Sources(tmp_path)


def skipped(folder: Path) -> dict[str, str]:
    lines = (folder / "bin" / "skipped.tsv").read_text(encoding="utf-8").splitlines()
    assert lines[0] == "row\tid\treason"
    return {identity: reason for _, identity, reason in (line.split("\t") for line in lines[1:])}


def test_frames_arrive_as_float16_in_the_manifests_order(sources: Sources) -> None:
    report = sources.binarize()
    corpus = Corpus(report.output)
    assert report.counts["utterances"] == report.rows == len(corpus) == 6
    assert corpus.visual is not None
    assert corpus.acoustic is not None
    for number in range(6):
        visual = corpus.visual.view(number).reshape(-1, VISUAL_DIM)
        acoustic = corpus.acoustic.view(number).reshape(-1, ACOUSTIC_DIM)
        expected = frames(0 if number == 4 else number + 1, VISUAL_DIM, number)
        np.testing.assert_array_equal(visual, expected.astype(np.float16))
        expected = frames(0 if number == 5 else 2 * number + 1, ACOUSTIC_DIM, number)
        np.testing.assert_array_equal(acoustic, expected.astype(np.float16))


def test_a_manifest_that_does_not_stay_in_memory_gives_the_same_bytes(
    sources: Sources, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = sources.binarize("kept", center_speakers=True).output
    monkeypatch.setattr("memobert_plugin.data.binarize._MOST_KEPT", 2)
    read_again = sources.binarize("read_again", center_speakers=True).output
    for path in (path for path in kept.rglob("*") if path.is_file()):
        assert (read_again / path.relative_to(kept)).read_bytes() == path.read_bytes(), path


@pytest.mark.parametrize("workers", [1, 2])
def test_speech_frames_are_less_the_mean_of_their_speaker_on_request(
    sources: Sources, monkeypatch: pytest.MonkeyPatch, workers: int
) -> None:
    """Speakers S10, S9 and S2 take turns; the last utterance has no sound, and the first loses its speaker."""
    monkeypatch.setattr(prepare, "ROWS_PER_CHUNK", 1)
    sources.rows[0] = dataclasses.replace(sources.rows[0], speaker="")
    report = sources.binarize(center_speakers=True, workers=workers)
    corpus = Corpus(report.output)
    raw = [frames(2 * number + 1, ACOUSTIC_DIM, number) for number in range(5)]
    means = {"S10": raw[3].mean(axis=0), "S9": np.concatenate([raw[1], raw[4]]).mean(axis=0), "S2": raw[2].mean(axis=0)}
    average = np.mean(list(means.values()), axis=0)
    assert corpus.acoustic is not None and corpus.visual is not None
    for number, speaker in enumerate(("", "S9", "S2", "S10", "S9")):
        clips = 2 if speaker == "S9" else 1
        more = 4 * (1 - clips / 20)
        own = (clips * means[speaker] + more * average) / (clips + more) if speaker else average
        found = corpus.acoustic.view(number).reshape(-1, ACOUSTIC_DIM)
        np.testing.assert_allclose(found, raw[number] - own, atol=2e-3)
    np.testing.assert_array_equal(corpus.visual.view(1).reshape(-1, VISUAL_DIM), frames(2, VISUAL_DIM, 1).astype("f2"))
    described = corpus.meta.acoustic_extractor
    assert described is not None and described.speaker_mean == pytest.approx(average.tolist(), abs=1e-6)
    assert report.notes == ["--center-speakers: 1 row without a speaker; the average one's mean is taken"]


def test_frames_of_another_size_are_recorded_where_speakers_are_centered(sources: Sources) -> None:
    sources.put("acoustic", "film/1", np.full((4, ACOUSTIC_DIM), np.nan))
    sources.put("acoustic", "film/3", frames(4, ACOUSTIC_DIM + 1))
    report = sources.binarize(center_speakers=True)
    assert report.counts["utterances"] == 4
    assert set(skipped(sources.folder)) == {"film/1", "film/3"}
    corpus = Corpus(report.output)
    assert corpus.acoustic is not None
    assert corpus.meta.acoustic_extractor is not None and corpus.meta.acoustic_extractor.is_centered
    assert np.isfinite(corpus.acoustic.view(2)).all()


def test_a_speaker_of_twenty_clips_needs_no_average_voice(tmp_path: Path) -> None:
    sources = Sources(tmp_path, utterances=21)
    sources.rows = [
        dataclasses.replace(row, speaker="B" if number == 20 else "A") for number, row in enumerate(sources.rows)
    ]
    sources.put("acoustic", "film/5", frames(3, ACOUSTIC_DIM, 5))
    report = sources.binarize(center_speakers=True)
    corpus = Corpus(report.output)
    assert corpus.acoustic is not None
    found = np.concatenate([corpus.acoustic.view(number) for number in range(20)]).reshape(-1, ACOUSTIC_DIM)
    np.testing.assert_allclose(found.astype(np.float64).mean(axis=0), 0, atol=1e-3)


def test_speakers_that_differ_in_case_or_blanks_only_are_told(sources: Sources) -> None:
    for place, name in enumerate(("Ann", "ann", "Ann ", "Bo", "Cy ")):
        sources.rows[place] = dataclasses.replace(sources.rows[place], speaker=name)
    [note] = [note for note in sources.binarize().notes if "speakers" in note]
    assert note.endswith("speakers 'Ann', 'Ann ', 'ann' differ in case or blanks only, and count as several")


def test_frames_beyond_float16_do_not_count_for_their_speakers_mean(sources: Sources) -> None:
    sources.put("acoustic", "film/1", np.full((4, ACOUSTIC_DIM), 1e30, np.float32))
    report = sources.binarize(center_speakers=True)
    assert report.counts["utterances"] == 5
    assert set(skipped(sources.folder)) == {"film/1"}


def test_frames_that_are_centered_elsewhere_fit_their_mean(sources: Sources) -> None:
    write_extractor_info(sources.folder / "acoustic", ExtractorInfo("made", speaker_mean=[0.0] * (ACOUSTIC_DIM + 1)))
    with pytest.raises(UserError, match=f"acoustic frames of {ACOUSTIC_DIM} dimensions, the corpus has"):
        sources.binarize()
    write_extractor_info(sources.folder / "visual", ExtractorInfo("made", speaker_mean=[0.0] * VISUAL_DIM))
    with pytest.raises(UserError, match="visual: speaker_mean belongs to speech frames"):
        sources.binarize()


def test_speakers_that_cannot_be_centered_are_a_mistake(sources: Sources) -> None:
    with pytest.raises(UserError, match="--center-speakers: subtracts from speech frames; give --acoustic"):
        sources.binarize(center_speakers=True, modalities="v")
    write_extractor_info(sources.folder / "acoustic", ExtractorInfo("made", speaker_mean=[0.0] * ACOUSTIC_DIM))
    with pytest.raises(UserError, match="says that its frames are centred already"):
        sources.binarize(center_speakers=True)
    write_extractor_info(sources.folder / "acoustic", ExtractorInfo("made"))
    sources.rows = [dataclasses.replace(row, speaker="") for row in sources.rows]
    with pytest.raises(UserError, match="no row has both a speaker and speech frames"):
        sources.binarize(center_speakers=True)


def test_an_utterance_without_a_file_lacks_that_modality_and_is_counted(sources: Sources) -> None:
    report = sources.binarize()
    assert report.counts == {
        "utterances": 6,
        "skipped": 0,
        "with_text": 6,
        "with_visual": 5,
        "with_acoustic": 5,
        "pieces": 6 * 8,
        "visual_frames": 1 + 2 + 3 + 4 + 6,
        "acoustic_frames": 1 + 3 + 5 + 7 + 9,
    }
    assert report.acceptable
    assert skipped(sources.folder) == {}


def test_a_file_of_no_frames_is_like_no_file(sources: Sources) -> None:
    sources.put("visual", "film/0", np.empty((0, VISUAL_DIM)), np.empty((0, 8)))
    report = sources.binarize()
    assert report.counts["with_visual"] == 4
    assert report.counts["skipped"] == 0


def spoil_nan(sources: Sources) -> None:
    values = frames(3, VISUAL_DIM)
    values[1, 2] = np.nan
    sources.put("visual", "film/2", values, distributions(3))


def spoil_overflow(sources: Sources) -> None:
    sources.put("acoustic", "film/2", np.full((2, ACOUSTIC_DIM), 1e5))


def spoil_dim(sources: Sources) -> None:
    sources.put("acoustic", "film/2", frames(2, ACOUSTIC_DIM + 1))


def spoil_classes(sources: Sources) -> None:
    sources.put("visual", "film/2", frames(2, VISUAL_DIM), distributions(2, 7))


def spoil_mixed(sources: Sources) -> None:
    sources.put("visual", "film/2", frames(2, VISUAL_DIM))


def spoil_everything(sources: Sources) -> None:
    sources.rows[2] = dataclasses.replace(sources.rows[2], text=" \u200b ")
    sources.remove("visual", "film/2")
    sources.remove("acoustic", "film/2")


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (spoil_nan, "frames has NaN or infinite values, first in frame 1"),
        (spoil_overflow, "frames reach 100000, beyond float16's 65504"),
        (spoil_dim, "acoustic frames of 6 dimensions, the corpus has 5"),
        (spoil_classes, "expression of 7 dimensions, the corpus has 8"),
        (spoil_mixed, "no expression, the corpus has 8 per frame"),
        (spoil_everything, "empty text and no frames"),
    ],
)
def test_a_defective_utterance_is_left_out_and_recorded(
    sources: Sources, spoil: Callable[[Sources], None], reason: str
) -> None:
    spoil(sources)
    report = sources.binarize()
    recorded = skipped(sources.folder)
    assert list(recorded) == ["film/2"]
    assert reason in recorded["film/2"]
    assert report.first_defects == [("film/2", recorded["film/2"])]
    assert report.skipped_file == report.output / "skipped.tsv"
    corpus = Corpus(report.output)
    assert len(corpus) == 5
    assert corpus.meta.counts["skipped"] == 1
    assert corpus.utterance_ids(range(5)) == ["film/0", "film/1", "film/3", "film/4", "film/5"]
    for reader in (corpus.visual, corpus.expression, corpus.acoustic):
        assert reader is not None
        assert np.isfinite(reader.data).all()


def test_only_more_defects_than_the_share_are_unacceptable(sources: Sources) -> None:
    spoil_dim(sources)
    assert not sources.binarize(max_failed_share=0.16).acceptable
    report = sources.binarize(max_failed_share=0.17, overwrite=True)
    assert report.acceptable
    assert report.failed_share == 1 / 6


def test_durations_are_the_manifests_else_the_frames(sources: Sources) -> None:
    write_extractor_info(sources.folder / "visual", ExtractorInfo("v", frame_rate=10.0))
    write_extractor_info(sources.folder / "acoustic", ExtractorInfo("a", frame_rate=4.0))
    sources.rows[0] = dataclasses.replace(sources.rows[0], start=1.5, end=4.0)
    sources.remove("acoustic", "film/1")
    sources.remove("visual", "film/5")
    corpus = Corpus(sources.binarize().output)
    np.testing.assert_allclose(corpus.duration, [2.5, 0.2, 5 / 4, 7 / 4, 9 / 4, np.nan], rtol=1e-6)


def test_a_corpus_may_be_text_only_or_lack_one_modality(sources: Sources) -> None:
    corpus = Corpus(sources.binarize("text", modalities="").output)
    assert corpus.visual is corpus.expression is corpus.acoustic is None
    assert corpus.meta.visual_dim is corpus.meta.acoustic_dim is None
    corpus = Corpus(sources.binarize("la", modalities="a").output)
    assert corpus.visual is None
    assert corpus.acoustic is not None


def test_utterances_may_have_frames_only(sources: Sources) -> None:
    sources.rows = [dataclasses.replace(row, text="") for row in sources.rows]
    report = sources.binarize()
    assert report.counts["with_text"] == 0
    assert Corpus(report.output).text_lengths.tolist() == [0] * 6


def test_a_folder_without_any_of_the_utterances_files_is_a_mistake(sources: Sources) -> None:
    for number in range(5):
        sources.remove("acoustic", f"film/{number}")
    with pytest.raises(UserError, match=r"acoustic: no usable acoustic frames for any utterance of .*film%2F0\.npz"):
        sources.binarize()
    with pytest.raises(UserError, match="nowhere: no such folder"):
        binarize(
            sources.manifest, sources.folder / "nowhere", None, WordPieceTokenizer.from_vocab(sources.vocabulary), "x"
        )


def test_a_corpus_without_a_usable_utterance_is_refused_with_the_first_reason(sources: Sources) -> None:
    sources.rows = [dataclasses.replace(row, text="") for row in sources.rows]
    with pytest.raises(
        UserError, match=r"none of its 6 utterances can be used \(first: film/0: empty text and no frames\)"
    ):
        sources.binarize(modalities="")
    assert not (sources.folder / "bin").exists()


def test_a_mistake_in_the_manifest_ends_it_before_any_work(sources: Sources) -> None:
    tokenizer = WordPieceTokenizer.from_vocab(sources.vocabulary)
    sources.manifest.write_text("name\ttext\na\tb\n")
    with pytest.raises(UserError, match="row 1: no column id"):
        binarize(sources.manifest, None, None, tokenizer, sources.folder / "bin")
    sources.rows *= 2
    with pytest.raises(UserError, match="row 8: id 'film/0' occurs twice"):
        sources.binarize()
    assert not (sources.folder / "bin").exists()


def test_other_targets_are_stored_beside_the_emotion(sources: Sources) -> None:
    sets, valence = ["sad;Happy", "happy ; sad", "", "happy", "sad", "happy"], [1.5, None, -0.5, 4.0, 2.0, None]
    sources.rows = [
        dataclasses.replace(row, labels=labels, valence=number)
        for row, labels, number in zip(sources.rows, sets, valence, strict=True)
    ]
    report = sources.binarize(modalities="")
    corpus = Corpus(report.output)
    assert corpus.meta.label_sets == ["", "happy", "happy;sad", "sad"] and corpus.label_sets is not None
    assert corpus.label_sets.tolist() == [2, 2, 0, 1, 3, 1]
    assert corpus.meta.dimensions == {"valence": [-0.5, 4.0]}
    np.testing.assert_array_equal(corpus.dimensions["valence"], [1.5, np.nan, -0.5, 4.0, 2.0, np.nan])
    assert report.notes[0].endswith("labels 'Happy' counted as 'happy': they differ in case or blanks only")
    assert len(report.notes) == 1
    assert not (report.output / "arousal.npy").exists() and not (report.output / "votes.npy").exists()


def test_a_vote_is_for_the_emotion_of_its_name_whatever_its_spelling(sources: Sources) -> None:
    votes = ["SAD=2 Happy=1", "happy=3", "", "Happy=1 frustrated=2", "", ""]
    emotions = ["sad", "happy", "happy", "happy", "", "sad"]
    sources.rows = [
        dataclasses.replace(row, emotion=emotion, votes=given)
        for row, emotion, given in zip(sources.rows, emotions, votes, strict=True)
    ]
    report = sources.binarize(modalities="")
    corpus = Corpus(report.output)
    assert sorted(corpus.meta.votes) == ["", "frustrated=2 happy=1", "happy=1 sad=2", "happy=3"]
    assert [note.partition(": ")[2] for note in report.notes] == [
        "emotion 'Happy' counted as 'happy': they differ in case or blanks only",
        "emotion 'SAD' counted as 'sad': they differ in case or blanks only",
        "emotion 'frustrated': there are votes for it, and no row has it",
    ]


def test_labels_that_other_marks_than_semicolons_separate_are_named(sources: Sources) -> None:
    sets = ["sad, happy", "happy|sad", "very sad;happy"]
    sources.rows = [dataclasses.replace(row, labels=labels) for row, labels in zip(sources.rows, sets, strict=False)]
    (note,) = sources.binarize(modalities="").notes
    assert note.endswith("labels 'happy|sad', 'sad, happy' count as one each; separate labels by semicolons")


def test_labels_that_differ_in_case_or_blanks_only_are_one(sources: Sources) -> None:
    emotions, splits = (
        ["sad", " Sad", "SAD ", "anger", "sad", "very  calm"],
        ["Train", "train", "", "valid", "VALID", "x"],
    )
    sources.rows = [
        dataclasses.replace(row, emotion=emotion, split=split)
        for row, emotion, split in zip(sources.rows, emotions, splits, strict=True)
    ]
    report = sources.binarize(modalities="")
    meta = Corpus(report.output).meta
    assert (meta.labels, meta.splits) == (["anger", "sad", "very calm"], ["", "train", "valid", "x"])
    assert [note.partition(": ")[2] for note in report.notes] == [
        "emotion ' Sad', 'SAD ' counted as 'sad': they differ in case or blanks only",
        "emotion 'very  calm' counted as 'very calm': they differ in case or blanks only",
        "split 'Train' counted as 'train': they differ in case or blanks only",
        "split 'VALID' counted as 'valid': they differ in case or blanks only",
    ]


@pytest.mark.parametrize("name", ["few.csv", "few.tsv", "few.jsonl"])
def test_a_manifest_with_a_few_columns_of_any_format_is_binarized(sources: Sources, name: str) -> None:
    manifest = sources.folder / name
    fields = [{"text": "it was so cool", "rating": "5", "id": row.id} for row in sources.rows]
    if name.endswith("l"):
        manifest.write_text("".join(json.dumps(one) + "\n" for one in fields))
    else:
        mark = "," if name.endswith("csv") else "\t"
        manifest.write_text("".join(mark.join(one) + "\n" for one in [fields[0], *(one.values() for one in fields)]))
    tokenizer = WordPieceTokenizer.from_vocab(sources.vocabulary)
    report = binarize(manifest, sources.folder / "visual", None, tokenizer, sources.folder / "bin")
    assert report.counts["with_visual"] == 5
    assert report.notes == [f"{manifest}: columns that are not used: rating"]


def test_a_dry_run_checks_everything_and_writes_nothing(sources: Sources) -> None:
    spoil_nan(sources)
    report = sources.binarize(dry_run=True)
    assert report.counts["skipped"] == 1
    assert report.skipped_file is None
    assert sorted(path.name for path in sources.folder.iterdir()) == ["acoustic", "manifest.tsv", "visual", "vocab.txt"]
    sources.binarize()
    with pytest.raises(UserError, match="bin: exists already"):
        sources.binarize(dry_run=True)


def test_an_existing_data_bin_is_replaced_on_request_only(sources: Sources) -> None:
    sources.binarize()
    with pytest.raises(UserError, match="bin: exists already; remove it, choose another output or give --overwrite"):
        sources.binarize()
    del sources.rows[0]
    assert len(Corpus(sources.binarize(overwrite=True).output)) == 5
    assert not list(sources.folder.glob(".bin*"))


def test_a_folder_that_is_no_data_bin_is_never_replaced(sources: Sources) -> None:
    (sources.folder / "bin").mkdir()
    (sources.folder / "bin" / "thesis.tex").touch()
    with pytest.raises(UserError, match="bin: exists and holds something else"):
        sources.binarize(overwrite=True)
    (sources.folder / "bin" / "thesis.tex").unlink()
    assert sources.binarize().acceptable


def test_a_second_writer_of_one_output_is_refused(sources: Sources) -> None:
    lock = sources.folder / ".bin.lock"
    with open(lock, "w") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        with pytest.raises(UserError, match="bin: another process is writing it"):
            sources.binarize()
    assert sources.binarize().acceptable
    assert not lock.exists()


def test_a_failed_run_leaves_nothing_and_can_be_repeated(sources: Sources, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(CorpusWriter, "finish", lambda self: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            sources.binarize()
    assert not list(sources.folder.glob("*bin*"))
    assert sources.binarize().acceptable


KILLED = """
import os, signal, sys
from pathlib import Path
from memobert_plugin.data.binarize import binarize
from memobert_plugin.data.corpus_writer import CorpusWriter
from memobert_plugin.data.tokenizer import WordPieceTokenizer
folder = Path(sys.argv[1])
CorpusWriter.finish = lambda self: os.kill(os.getpid(), signal.SIGKILL)
binarize(folder / "manifest.tsv", None, None, WordPieceTokenizer.from_vocab(folder / "vocab.txt"), folder / "bin")
"""


def test_a_killed_run_leaves_nothing_under_the_name_and_can_be_repeated(sources: Sources) -> None:
    sources.binarize("unused", modalities="")
    killed = subprocess.run(
        [sys.executable, "-c", KILLED, str(sources.folder)], env={**os.environ, "PYTHONPATH": os.getcwd()}
    )
    assert killed.returncode == -signal.SIGKILL
    assert not (sources.folder / "bin").exists()
    assert (sources.folder / ".bin.writing").is_dir()
    assert len(Corpus(sources.binarize().output)) == 6
    assert not list(sources.folder.glob(".bin*"))
