"""CREMA-D, made here in its published layout, becomes manifest rows."""

from __future__ import annotations

from collections import Counter
from itertools import product
from pathlib import Path

import pytest

from memobert_plugin.core.errors import UserError
from memobert_plugin.core.names import counted
from memobert_plugin.corpora.__main__ import main
from memobert_plugin.corpora.crema_d import CLIPS, EMOTIONS, SENTENCES, UNUSABLE, read_crema_d
from memobert_plugin.data.manifest import read_manifest


def place(folder: Path, *names: str, content: bytes = b"RIFF") -> Path:
    """Files below a folder."""
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return folder


def test_a_clips_name_says_everything(tmp_path: Path) -> None:
    place(tmp_path, "AudioWAV/1001_DFA_ANG_XX.wav", "VideoFlash/1001_DFA_ANG_XX.flv", "AudioMP3/1001_DFA_ANG_XX.mp3")
    [row] = read_crema_d(tmp_path).rows
    assert (row.id, row.speaker, row.session, row.split) == ("1001_DFA_ANG_XX", "1001", "", "")
    assert (row.text, row.emotion) == ("Don't forget a jacket.", "anger")
    assert row.audio == str(tmp_path / "AudioWAV/1001_DFA_ANG_XX.wav")
    assert row.video == str(tmp_path / "VideoFlash/1001_DFA_ANG_XX.flv")


def test_the_file_of_early_clones_with_one_x_is_known(tmp_path: Path) -> None:
    place(tmp_path, "AudioWAV/1040_ITH_SAD_X.wav", "VideoFlash/1040_ITH_SAD_XX.flv")
    [row] = read_crema_d(tmp_path).rows
    assert row.id == "1040_ITH_SAD_XX"
    assert row.audio.endswith("1040_ITH_SAD_X.wav")
    assert row.video.endswith("1040_ITH_SAD_XX.flv")


def test_known_bad_clips_are_left_out_or_lose_their_film(tmp_path: Path) -> None:
    for name in ("1076_MTI_SAD_XX", "1064_IEO_DIS_MD", "1064_TIE_SAD_XX", "1064_IEO_DIS_LO"):
        place(tmp_path, f"AudioWAV/{name}.wav", f"VideoFlash/{name}.flv")
    reading = read_crema_d(tmp_path)
    assert [(row.id, bool(row.audio), bool(row.video)) for row in reading.rows] == [
        ("1064_IEO_DIS_LO", True, True),
        ("1064_IEO_DIS_MD", True, False),
        ("1064_TIE_SAD_XX", True, False),
    ]
    [defect] = reading.defects
    assert "1076_MTI_SAD_XX" in defect.place
    assert "2 clips without a usable film; kept without it" in reading.remarks


def test_a_malformed_name_is_reported(tmp_path: Path) -> None:
    names = ("1001_DFA_ANGRY_XX.wav", "1001_ABC_ANG_XX.wav", "noise.wav", "1001_DFA_ANG_MEDIUM.wav")
    place(tmp_path, "AudioWAV/1001_DFA_ANG_XX.wav", "AudioWAV/._1001_DFA_ANG_XX.wav", *names)
    reading = read_crema_d(tmp_path)
    assert len(reading.rows) == 1
    assert sorted(Path(defect.place).name for defect in reading.defects) == sorted(names)


def test_pointers_of_git_lfs_are_refused(tmp_path: Path) -> None:
    pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:c6f9\nsize 72862\n"
    with pytest.raises(UserError, match=r"1001_DFA_ANG_XX\.wav: a git-lfs pointer, not a clip; run 'git lfs pull'"):
        read_crema_d(place(tmp_path, "AudioWAV/1001_DFA_ANG_XX.wav", content=pointer))


@pytest.mark.parametrize(
    ("perceived", "emotions"), [("voice", ["neutral"]), ("face", ["happy"]), ("both", ["happy", "fear"])]
)
def test_labels_can_be_what_was_perceived_and_ties_are_passed_over(
    tmp_path: Path, perceived: str, emotions: list[str]
) -> None:
    names = ("1001_IEO_HAP_LO", "1001_IEO_SAD_HI", "1001_IEO_SAD_LO")
    place(tmp_path, *(f"AudioWAV/{name}.wav" for name in names))
    table = (
        '"","FileName","VoiceVote","VoiceLevel","FaceVote","FaceLevel","MultiModalVote","MultiModalLevel"\r\n'
        '"1","1001_IEO_HAP_LO","N","71.67","H","57","H","57.38"\r\n'
        '"2","1001_IEO_SAD_HI","A:D","60.14","A:F","30.67:51.00","F","63.5"\r\n'
    )
    place(tmp_path, "processedResults/summaryTable.csv", content=table.encode())
    reading = read_crema_d(tmp_path, perceived=perceived)
    assert [row.emotion for row in reading.rows] == emotions
    assert any(f"{counted(3 - len(emotions), 'clip')} without a single winner" in remark for remark in reading.remarks)


@pytest.mark.parametrize(("perceived", "votes"), [("voice", "happy=3 neutral=6"), ("both", "happy=9")])
def test_what_raters_perceived_comes_with_all_their_votes(tmp_path: Path, perceived: str, votes: str) -> None:
    place(tmp_path, "AudioWAV/1001_IEO_HAP_LO.wav", "AudioWAV/1001_IEO_HAP_MD.wav")
    summary = "FileName,VoiceVote,FaceVote,MultiModalVote\n1001_IEO_HAP_LO,N,H,H\n1001_IEO_HAP_MD,N,H,H\n"
    place(tmp_path, "processedResults/summaryTable.csv", content=summary.encode())
    assert any("no votes for --soft-labels" in one for one in read_crema_d(tmp_path, perceived=perceived).remarks)
    table = (
        '"","A","D","F","H","N","S","fileName","numResponses"\n"100002",0,0,0,3,6,0,"1001_IEO_HAP_LO",9\n'
        '"200002",0,0,0,8,1,0,"1001_IEO_HAP_LO",9\n"300002",0,0,0,9,0,0,"1001_IEO_HAP_LO",9\n'
    )
    place(tmp_path, "processedResults/tabulatedVotes.csv", content=table.encode())
    reading = read_crema_d(tmp_path, perceived=perceived)
    assert [row.votes for row in reading.rows] == [votes, ""]
    assert "1 clip without votes in tabulatedVotes.csv; --soft-labels takes their emotion alone" in reading.remarks
    of_both = reading.renamed({reading.rows[0].emotion: "joy"})
    assert [row.votes for row in of_both.rows] == ["happy=3 joy=6" if perceived == "voice" else "joy=9", ""]
    for broken, message in (("0,0,0,3,6", "row 2: votes are not whole"), ('"H",', r"row 1: no column H; give")):
        content = table.replace(broken, "many,0,0,3,6" if broken[0] == "0" else "", 1)
        place(tmp_path, "processedResults/tabulatedVotes.csv", content=content.encode())
        with pytest.raises(UserError, match=message):
            read_crema_d(tmp_path, perceived="voice")


def test_votes_need_the_publishers_table(tmp_path: Path) -> None:
    place(tmp_path, "AudioWAV/1001_DFA_ANG_XX.wav")
    with pytest.raises(UserError, match=r"no processedResults/summaryTable\.csv"):
        read_crema_d(tmp_path, perceived="voice")
    place(tmp_path, "processedResults/summaryTable.csv", content=b"FileName,Vote\n")
    with pytest.raises(UserError, match=r"summaryTable\.csv, row 1: no column VoiceVote"):
        read_crema_d(tmp_path, perceived="voice")


def complete_corpus(folder: Path) -> None:
    """As many clips of each emotion as the corpus has, over all its actors and sentences, and the unusable one."""
    every = list(product(("XX", "LO", "MD", "HI"), SENTENCES, range(1001, 1092)))
    names = {code: [f"{actor}_{sentence}_{code}_{level}" for level, sentence, actor in every] for code in EMOTIONS}
    names["SAD"].remove(UNUSABLE)
    chosen = [name for code, emotion in EMOTIONS.items() for name in names[code][: CLIPS[emotion]]]
    place(folder, *(f"AudioWAV/{name}.wav" for name in [*chosen, UNUSABLE]))


def test_the_complete_corpus_has_the_published_counts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    complete_corpus(tmp_path)
    manifest = tmp_path / "manifest.tsv"
    arguments = ["crema-d", str(tmp_path), "--output", str(manifest), "--overwrite"]
    assert main(arguments) == 0
    rows = list(read_manifest(manifest))
    assert Counter(row.emotion for row in rows) == CLIPS
    assert len({row.speaker for row in rows}) == 91
    assert "1076_MTI_SAD_XX.wav: published without sound and face" in capsys.readouterr().err
    (tmp_path / "AudioWAV" / "1001_DFA_ANG_XX.wav").unlink()
    with pytest.raises(UserError, match="7440 utterances; CREMA-D has 7441: anger 1270 instead of 1271"):
        main(arguments)
    assert main([*arguments, "--allow-other-counts"]) == 0


def test_a_folder_without_clips_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no clip such as"):
        read_crema_d(tmp_path)
