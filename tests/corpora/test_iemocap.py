"""IEMOCAP's release, made here in its published layout, becomes manifest rows."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import pytest

from memobert_plugin.core.errors import UserError
from memobert_plugin.corpora.__main__ import main
from memobert_plugin.corpora.iemocap import TURNS, read_iemocap
from memobert_plugin.data.folds import make_folds
from memobert_plugin.data.manifest import read_manifest

HEADER = "% [START_TIME - END_TIME] TURN_NAME EMOTION [V, A, D]"


@dataclass(frozen=True)
class Turn:
    """One line of an evaluation, and of the transcript if it has words."""

    name: str
    label: str = "neu"
    start: float = 6.2901
    end: float = 8.2357
    words: str | None = "Excuse me."
    ratings: str = "2.5000, 3.5000, 1.5000"


def write_dialogue(
    release: Path, dialogue: str, *turns: Turn, transcript: list[str] | None = None, encoding: str = "latin-1"
) -> Path:
    """Evaluation and transcript of a dialogue as the release has them; returns its session's folder."""
    session = release / f"Session{dialogue[4]}"
    lines = [HEADER, ""]
    for turn in turns:
        times = f"[{turn.start:.4f} - {turn.end:.4f}]"
        lines += [f"{times}\t{dialogue}_{turn.name}\t{turn.label}\t[{turn.ratings}]"]
        lines += ["C-E2:\tNeutral;\t()", "C-E4:\tNeutral; Anger;\t(curious)", "A-E3:\tval 3; act 2; dom  2;\t()", ""]
    words = [
        f"{dialogue}_{turn.name} [{turn.start:08.4f}-{turn.end:08.4f}]: {turn.words}"
        for turn in turns
        if turn.words is not None
    ]
    for folder, content in (("EmoEvaluation", lines), ("transcriptions", [*words, *(transcript or [])])):
        path = session / "dialog" / folder / f"{dialogue}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes("\n".join([*content, ""]).encode(encoding))
    return session


def place(path: Path) -> str:
    """An empty file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    return str(path)


def test_a_turn_becomes_an_utterance_with_its_own_sound_file(tmp_path: Path) -> None:
    session = write_dialogue(tmp_path, "Ses01F_impro01", Turn("F000"))
    audio = place(session / "sentences" / "wav" / "Ses01F_impro01" / "Ses01F_impro01_F000.wav")
    [row] = read_iemocap(tmp_path).rows
    assert (row.id, row.session, row.speaker, row.split) == ("Ses01F_impro01_F000", "Ses01", "Ses01F", "")
    assert (row.part, row.votes) == ("improvised", "anger=0.5 neutral=1.5")
    assert (row.valence, row.arousal, row.dominance) == (2.5, 3.5, 1.5)
    assert (row.text, row.emotion) == ("Excuse me.", "neutral")
    assert (row.audio, row.video, row.start, row.end, row.region) == (audio, "", None, None, "")


@pytest.mark.parametrize("ratings", ["", "2.5000, nan, 2.5000", "2.5000, 2.5000"])
def test_a_turn_without_all_ratings_has_none(tmp_path: Path, ratings: str) -> None:
    write_dialogue(tmp_path, "Ses01F_impro01", Turn("F000", ratings=ratings))
    [row] = read_iemocap(tmp_path).rows
    assert (row.valence, row.arousal, row.dominance) == (None, None, None)


@pytest.mark.parametrize(
    ("dialogue", "turn", "speaker", "half"),
    [
        ("Ses03F_script01_1", "F000", "Ses03F", "left"),
        ("Ses03F_script01_1", "M000", "Ses03M", "right"),
        ("Ses05M_script01_1b", "M000", "Ses05M", "left"),
        ("Ses05M_script01_1b", "F000", "Ses05F", "right"),
    ],
)
def test_the_actor_with_markers_is_on_the_left(
    tmp_path: Path, dialogue: str, turn: str, speaker: str, half: str
) -> None:
    session = write_dialogue(tmp_path, dialogue, Turn(turn, start=60.5, end=62.25))
    film = place(session / "dialog" / "avi" / "DivX" / f"{dialogue}.avi")
    sound = place(session / "dialog" / "wav" / f"{dialogue}.wav")
    [row] = read_iemocap(tmp_path, dialogues=True).rows
    assert (row.speaker, row.region, row.part) == (speaker, half, "scripted")
    assert (row.video, row.audio, row.start, row.end) == (film, sound, 60.5, 62.25)


@pytest.mark.parametrize(
    ("label", "emotion", "own_name"),
    [
        ("ang", "anger", "anger"),
        ("hap", "happy", "happy"),
        ("exc", "happy", "excited"),
        ("neu", "neutral", "neutral"),
        ("sad", "sad", "sad"),
        ("fru", None, "frustrated"),
        ("oth", None, "other"),
        ("xxx", None, ""),
    ],
)
def test_excited_is_happy_and_ties_have_no_class(
    tmp_path: Path, label: str, emotion: str | None, own_name: str
) -> None:
    write_dialogue(tmp_path, "Ses01F_impro01", Turn("F000", label))
    four = read_iemocap(tmp_path)
    assert [row.emotion for row in four.rows] == ([] if emotion is None else [emotion])
    assert ("1 turn with other labels passed over" in four.remarks) == (emotion is None)
    assert [row.emotion for row in read_iemocap(tmp_path, all_emotions=True).rows] == [own_name]


def test_transcripts_are_read_line_by_line_whatever_stands_between(tmp_path: Path) -> None:
    write_dialogue(
        tmp_path,
        "Ses01F_impro02",
        Turn("F000", words="Did you get the mail?\tSo you saw my letter?"),
        Turn("F001", words="[LAUGHTER] Caf\xe9, it\x92s late."),
        Turn("F002", words=None),
        Turn("M000", words="It's not fair."),
        transcript=["M: Yeah.", "", "Ses01F_impro02_MXX0 [151.2551-153.4251]: [LAUGHTER], That's what they say."],
    )
    reading = read_iemocap(tmp_path)
    assert {row.id[-4:]: row.text for row in reading.rows} == {
        "F000": "Did you get the mail? So you saw my letter?",
        "F001": "[LAUGHTER] Café, it’s late.",
        "F002": "",
        "M000": "It's not fair.",
    }
    assert not reading.defects
    assert "1 turn not transcribed; kept without text" in reading.remarks
    assert "1 transcribed turn never evaluated; passed over" in reading.remarks


def test_a_turn_without_usable_times_in_the_transcript_has_the_evaluations(tmp_path: Path) -> None:
    session = write_dialogue(tmp_path, "Ses02M_impro01", Turn("F000", start=3.5, end=5.0), Turn("M000", words=None))
    transcript = session / "dialog" / "transcriptions" / "Ses02M_impro01.txt"
    transcript.write_text("Ses02M_impro01_F000 [005.0000-005.0000]: Hm.\r\n", encoding="latin-1")
    rows = read_iemocap(tmp_path, dialogues=True).rows
    assert [(row.start, row.end, row.text) for row in rows] == [(3.5, 5.0, "Hm."), (6.2901, 8.2357, "")]


def test_extra_files_of_an_archive_are_not_read(tmp_path: Path) -> None:
    session = write_dialogue(tmp_path / "IEMOCAP_full_release", "Ses01F_impro01", Turn("F000"))
    evaluations = session / "dialog" / "EmoEvaluation"
    (evaluations / "._Ses01F_impro01.txt").write_bytes(b"\x00\x05\x16\x07\x80\x81")
    for folder in ("Attribute", "Categorical", "Self-evaluation"):
        place(evaluations / folder / "Ses01F_impro01_e1_cat.txt")
    reading = read_iemocap(tmp_path)
    assert [row.id for row in reading.rows] == ["Ses01F_impro01_F000"]
    assert not reading.defects


def test_defects_are_reported_by_row_and_the_rest_goes_on(tmp_path: Path) -> None:
    session = write_dialogue(tmp_path, "Ses01F_impro01", Turn("F000"), Turn("F000"), Turn("F001", "abc"), Turn("F002"))
    evaluation = session / "dialog" / "EmoEvaluation" / "Ses01F_impro01.txt"
    with open(evaluation, "a", encoding="latin-1") as stream:
        stream.write("[1.0000 - 2.0000]\tSes01F_impro02_F000\tneu\t[2.5000, 2.5000, 2.5000]\n[1.0000 - 2.0000]\tneu\n")
    place(session / "dialog" / "EmoEvaluation" / "Ses02F_impro01.txt")
    reading = read_iemocap(tmp_path)
    assert [row.id[-4:] for row in reading.rows] == ["F000", "F002"]
    places = [defect.place.rpartition("Ses0")[2] for defect in reading.defects]
    assert places == [f"1F_impro01.txt, row {row}" for row in (8, 13, 23, 24)] + ["2F_impro01.txt"]
    reasons = [
        "occurs twice",
        "label 'abc'",
        "belongs to another dialogue",
        "is not [start - end]",
        "not the name of a dialogue",
    ]
    assert all(reason in defect.reason for defect, reason in zip(reading.defects, reasons, strict=True))


def test_a_missing_transcript_is_reported_and_its_turns_stay(tmp_path: Path) -> None:
    session = write_dialogue(tmp_path, "Ses01F_impro01", Turn("F000"))
    (session / "dialog" / "transcriptions" / "Ses01F_impro01.txt").unlink()
    reading = read_iemocap(tmp_path, dialogues=True)
    assert [(row.text, row.start) for row in reading.rows] == [("", 6.2901)]
    assert "no such file" in reading.defects[0].reason


def complete_release(release: Path) -> Path:
    """As many turns of each label as the release has, spread over both speakers of all sessions."""
    labels = [label for label, count in TURNS.items() for _ in range(count)]
    for session in range(5):
        for markers, share in (("F", labels[2 * session :: 10]), ("M", labels[2 * session + 1 :: 10])):
            turns = [Turn(f"{'FM'[n % 2]}{n // 2:03d}", label) for n, label in enumerate(share)]
            write_dialogue(release, f"Ses0{session + 1}{markers}_impro01", *turns)
    return release


def test_the_complete_release_has_the_published_counts_and_ten_folds(tmp_path: Path) -> None:
    complete_release(tmp_path)
    manifest = tmp_path / "manifest.tsv"
    assert main(["iemocap", str(tmp_path), "--output", str(manifest)]) == 0
    rows = list(read_manifest(manifest))
    assert Counter(row.emotion for row in rows) == {"anger": 1103, "happy": 1636, "neutral": 1708, "sad": 1084}
    folds = make_folds({row.speaker: {row.session} for row in rows}, "strict")
    assert [(fold.test, fold.valid) for fold in folds][:2] == [("Ses01F", "Ses01M"), ("Ses01M", "Ses01F")]
    assert len(folds) == 10
    assert len(read_iemocap(tmp_path, all_emotions=True).rows) == 10_039


def test_a_partial_copy_is_refused_unless_allowed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_dialogue(tmp_path, "Ses01F_impro01", Turn("F000"), Turn("M000", "sad"))
    manifest = tmp_path / "manifest.tsv"
    arguments = ["iemocap", str(tmp_path), "--output", str(manifest)]
    with pytest.raises(UserError, match=r"2 utterances; IEMOCAP has 5531: anger 0 instead of 1103.*--allow-other-cou"):
        main(arguments)
    assert not manifest.exists()
    assert main([*arguments, "--allow-other-counts", "--dialogues"]) == 0
    assert [row.region for row in read_manifest(manifest)] == ["left", "right"]
    assert "neutral 1 instead of 1708" in capsys.readouterr().out


def test_a_folder_without_sessions_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="give the folder that holds IEMOCAP's Session1 to Session5"):
        read_iemocap(tmp_path)
