"""MSP-IMPROV, made here in its published layout, becomes manifest rows."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from memobert_plugin.core.errors import UserError
from memobert_plugin.corpora.__main__ import main
from memobert_plugin.corpora.msp_improv import PAPER_TURNS, TURNS, read_msp_improv
from memobert_plugin.data.folds import make_folds
from memobert_plugin.data.manifest import read_manifest

NAME = "S01A-F01-S-FM01"


def write_evaluations(folder: Path, *turns: tuple[str, str], file_name: str = "Evalution.txt", end: str = "\n") -> Path:
    """The file of evaluations with these (name, label)."""
    lines = []
    for name, label in turns:
        lines.append(f"UTD-IMPROV-{name}.avi; {label}; A:3.000000; V:NaN; D:3.000000 ; N:3.200000;")
        lines.append("ahmed-p01; Neutral; Neutral, Concerned; A:3.000000; V:3.000000; D:3.000000; N:4.000000;")
        lines.append("maria-p02; Happy; Happy,Excited; A:4.000000; V:NaN; D:3.000000; N:NaN;")
        lines.append("")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / file_name).write_bytes(end.join(lines).encode("latin-1"))
    return folder


def place(path: Path, content: bytes = b"") -> str:
    """A file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return str(path)


def test_a_turn_becomes_an_utterance_with_its_media_and_words(tmp_path: Path) -> None:
    write_evaluations(tmp_path, (NAME, "N"), end="\r\n")
    audio = place(tmp_path / "Audio" / "session1" / "S01A" / "S" / f"MSP-IMPROV-{NAME}.wav")
    video = place(tmp_path / "Video" / "session1" / "S01A" / "S" / f"UTD-IMPROV-{NAME}.avi")
    place(tmp_path / "Audio" / "session1" / "S01A" / "S" / f"._MSP-IMPROV-{NAME}.wav")
    words = b"How can I not?\r\nIt\x92s a caf\xe9.\r\n"
    place(tmp_path / "All_human_transcriptions" / f"MSP-IMPROV-{NAME}.txt", words)
    reading = read_msp_improv(tmp_path)
    [row] = reading.rows
    assert (row.id, row.session, row.speaker, row.split) == (f"MSP-IMPROV-{NAME}", "session1", "F01", "")
    assert (row.text, row.emotion) == ("How can I not? It’s a café.", "neutral")
    assert (row.audio, row.video, row.start, row.end, row.region) == (audio, video, None, None, "")
    assert not reading.remarks


@pytest.mark.parametrize("file_name", ["Evalution.txt", "Evaluation.txt"])
def test_the_file_of_evaluations_has_two_spellings(tmp_path: Path, file_name: str) -> None:
    write_evaluations(tmp_path, (NAME, "H"), file_name=file_name)
    assert [row.emotion for row in read_msp_improv(tmp_path).rows] == ["happy"]


def test_other_labels_and_ties_are_passed_over_or_kept(tmp_path: Path) -> None:
    turns = [(f"S01A-F01-S-FM{n:02d}", label) for n, label in enumerate("AHNSOX", start=1)]
    write_evaluations(tmp_path, *turns)
    reading = read_msp_improv(tmp_path)
    assert [row.emotion for row in reading.rows] == ["anger", "happy", "neutral", "sad"]
    assert "2 turns with other labels or none passed over" in reading.remarks
    assert [row.emotion for row in read_msp_improv(tmp_path, all_emotions=True).rows][4:] == ["other", ""]


def test_scenarios_are_chosen(tmp_path: Path) -> None:
    write_evaluations(tmp_path, *[(f"S20S-M06-{scenario}-MF10", "S") for scenario in "RTSP"])
    assert [row.id[-6] for row in read_msp_improv(tmp_path).rows] == ["S"]
    chosen = read_msp_improv(tmp_path, scenarios=("T", "P")).rows
    assert [(row.id[-6], row.speaker, row.session) for row in chosen] == [
        ("T", "M06", "session6"),
        ("P", "M06", "session6"),
    ]
    with pytest.raises(UserError, match="scenario Q: MSP-IMPROV has S, T, R, P"):
        read_msp_improv(tmp_path, scenarios=("Q",))


def test_missing_media_and_words_are_remarked(tmp_path: Path) -> None:
    write_evaluations(tmp_path, (NAME, "N"), ("S02H-M01-S-FM01", "H"))
    place(tmp_path / "session1" / "S01A" / "S" / f"MSP-IMPROV-{NAME}.wav")
    assert read_msp_improv(tmp_path).remarks == [
        "1 turn without a sound file; kept without it",
        "2 turns without a film; kept without it",
        "2 turns without a transcript; kept without it",
    ]


def test_defects_are_reported_by_row_and_the_rest_goes_on(tmp_path: Path) -> None:
    turns = [(NAME, "N"), (NAME, "N"), ("S01A-F07-S-FM01", "N"), ("S01A-M01-S-FM02", "Q"), ("S01A-M01-S-FM03", "N")]
    write_evaluations(tmp_path, *turns)
    reading = read_msp_improv(tmp_path)
    assert [row.id[-4:] for row in reading.rows] == ["FM01", "FM03"]
    assert [defect.place.rpartition(" ")[2] for defect in reading.defects] == ["5", "9", "13"]
    reasons = ["occurs twice", "is not a name", "label 'Q'"]
    assert all(reason in defect.reason for defect, reason in zip(reading.defects, reasons, strict=True))


def complete_corpus(folder: Path) -> list[tuple[str, str]]:
    """As many turns of each scenario and label as the corpus has, over all speakers."""
    turns = []
    for scenario, labels in TURNS.items():
        for number, label in enumerate(label for label, count in labels.items() for _ in range(count)):
            who, rest = number % 12, number // 12
            speaker = f"{'FM'[who % 2]}0{who // 2 + 1}"
            turns.append((f"S{rest // 90 + 1:02d}A-{speaker}-{scenario}-FM{rest % 90 + 1:02d}", label))
    write_evaluations(folder, *turns)
    return turns


def test_the_complete_corpus_has_the_published_counts_and_twelve_folds(tmp_path: Path) -> None:
    complete_corpus(tmp_path)
    manifest = tmp_path / "manifest.tsv"
    assert main(["msp-improv", str(tmp_path), "--output", str(manifest)]) == 0
    rows = list(read_manifest(manifest))
    assert Counter(row.emotion for row in rows) == {"anger": 470, "happy": 1048, "neutral": 1789, "sad": 633}
    folds = make_folds({row.speaker: {row.session} for row in rows}, "strict")
    assert len(folds) == 12
    assert [(fold.test, fold.valid) for fold in folds][:2] == [("F01", "M01"), ("F02", "M02")]
    everything = read_msp_improv(tmp_path, scenarios="RTSP", all_emotions=True)
    assert len(everything.rows) == 8438
    assert not everything.other_counts


def test_the_papers_turns_remain_when_those_without_a_face_are_left_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    turns = complete_corpus(tmp_path)
    without_face = [
        [name for name, label in turns if name[9] == "S" and label == letter][:count]
        for letter, count in {"A": 10, "H": 49, "N": 56, "S": 6}.items()
    ]
    listed = tmp_path / "no_face.txt"
    listed.write_text("".join(f"MSP-IMPROV-{name} N False\n" for names in without_face for name in names) + "\n")
    manifest = tmp_path / "manifest.tsv"
    arguments = ["msp-improv", str(tmp_path), "--output", str(manifest), "--leave-out", str(listed)]
    arguments.append("--overwrite")
    assert main(arguments) == 0
    assert Counter(row.emotion for row in read_manifest(manifest)) == PAPER_TURNS
    assert "121 turns left out" in (out := capsys.readouterr().out)
    assert "the rest has the counts of the published MEmoBERT results" in out
    listed.write_text(f"MSP-IMPROV-{turns[0][0]}\n")
    assert main(arguments) == 0
    assert "the published MEmoBERT results use 3819: anger 460" in capsys.readouterr().out
    listed.write_text("MSP-IMPROV-S01A-F01-S-FM99\n")
    with pytest.raises(UserError, match=r"no_face\.txt, row 1: MSP-IMPROV-S01A-F01-S-FM99 is not a turn"):
        main(arguments)


def test_a_partial_copy_is_refused_unless_allowed(tmp_path: Path) -> None:
    write_evaluations(tmp_path, (NAME, "N"))
    arguments = ["msp-improv", str(tmp_path), "--output", str(tmp_path / "manifest.tsv")]
    with pytest.raises(UserError, match="1 utterance; MSP-IMPROV has 3940: anger 0 instead of 470"):
        main(arguments)
    assert main([*arguments, "--allow-other-counts"]) == 0


def test_a_folder_without_evaluations_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no Evalution\.txt or Evaluation\.txt"):
        read_msp_improv(tmp_path)
