"""Answers as JSON lines, tables and subtitles, and what of an earlier run is kept."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest

from memobert_plugin.core.errors import UserError
from memobert_plugin.inference.outputs import Answers, as_text, earlier_answers, write_answers
from memobert_plugin.inference.utterance import Utterance

LABELS = ("anger", "calm")


def answer(name: str, start: float, text: str = "stop it", anger: float = 0.75, **more: Any) -> dict[str, Any]:
    uses = {
        name: {"present": present, "frames": 3 * present, "reason": reason}
        for name, present, reason in (
            ("text", True, ""),
            ("visual", False, "no face was found"),
            ("acoustic", True, ""),
        )
    }
    shares = {"anger": anger, "calm": 1 - anger}
    label = "anger" if anger > 0.5 else "calm"
    line: dict[str, Any] = {
        "id": name,
        "file": None,
        "start": start,
        "end": start + 1.5,
        "text": text,
        "text_source": "typed",
        "label": label,
    }
    line |= {"confidence": shares[label], "unsure": False, "probabilities": shares, "word": "angry"}
    return {**line, "modalities": uses, "notes": ["loud", "short"], **more}


FAILED = {"id": "c", "start": 4.0, "end": 5.0, "text": "", "error": "cannot be read"}
LINES = [answer("a", 0.0), answer("b", 2.0, 'say "no",\n{\\an8}go <i> --> now', 0.25, unsure=True), FAILED]


@pytest.mark.parametrize(("name", "delimiter"), [("out.csv", ","), ("out.TSV", "\t")])
def test_a_table_names_every_emotion_and_stream(tmp_path: Path, name: str, delimiter: str) -> None:
    write_answers(tmp_path / name, LINES, LABELS)
    with open(tmp_path / name, encoding="utf-8", newline="") as stream:
        first, second, failed = csv.DictReader(stream, delimiter=delimiter)
    assert float(first["p_anger"]) == 0.75 and float(first["p_calm"]) == 0.25
    assert (first["words"], first["faces"], first["voice"]) == ("3", "0", "3")
    assert first["not_read"] == "faces: no face was found" and first["notes"] == "loud; short"
    assert (first["start"], first["end"], first["label"], first["unsure"]) == ("0.0", "1.5", "anger", "false")
    assert second["text"] == 'say "no", {\\an8}go <i> --> now'
    assert (failed["error"], failed["label"], failed["p_anger"]) == ("cannot be read", "", "")


def test_columns_of_words_that_nobody_gave_and_no_model_filled_in_are_not_shown() -> None:
    silent = {**answer("a", 0.0, text="", word=None), "transcript": None}
    assert as_text([silent], timeline=True).split("\n")[0].split() == ["time", "answer", "read"]
    shown = [silent, {**answer("b", 2.0), "transcript": None}]
    assert as_text(shown, timeline=False).split("\n")[0].split() == ["clip", "text", "answer", "read", "word"]


def test_json_lines_hold_everything(tmp_path: Path) -> None:
    write_answers(tmp_path / "answers", LINES, LABELS)
    assert [json.loads(line) for line in (tmp_path / "answers").read_text().splitlines()] == LINES


@pytest.mark.parametrize("suffix", [".srt", ".vtt", ".ass"])
def test_subtitles_show_label_streams_and_words_at_their_times(tmp_path: Path, suffix: str) -> None:
    pysubs2 = pytest.importorskip("pysubs2")
    path = tmp_path / f"out{suffix}"
    write_answers(path, LINES, LABELS)
    first, second = pysubs2.load(str(path))
    assert (first.start, first.end, second.start, second.end) == (0, 1500, 2000, 3500)
    assert first.plaintext == "anger 75% (words, voice)\nstop it"
    assert second.plaintext.startswith("calm 75%, unsure (words, voice)\n")
    written = path.read_text(encoding="utf-8")
    assert "\\an8}" not in written and written.count("-->") == (0 if suffix == ".ass" else 2)
    if suffix == ".vtt":
        assert "&lt;i&gt;" in written
    if suffix == ".ass":
        styles = pysubs2.load(str(path)).styles
        assert styles["anger"].primarycolor != styles["calm"].primarycolor
        assert (first.style, second.style) == ("anger", "calm")


def test_earlier_answers_are_kept_in_the_order_of_the_question(tmp_path: Path) -> None:
    path = tmp_path / "out.jsonl"
    write_answers(path, LINES[1:], LABELS)
    times = (("a", 0.0, "x"), ("b", 2.0, LINES[1]["text"]))
    utterances = [Utterance(name=name, text=text, start=start, end=start + 1.5) for name, start, text in times]
    utterances.append(Utterance(name="c", start=4.0, end=5.0))
    answers = Answers(utterances, earlier_answers(path, LABELS))
    assert [one.name for one in answers.waiting] == ["a", "c"]  # c had failed
    assert earlier_answers(path, LABELS[::-1]) == earlier_answers(path, LABELS)
    answers.add(answer("a", 0.0))
    assert [line["id"] for line in answers.lines()] == ["a", "b"]


def test_an_earlier_answer_about_another_file_or_other_words_is_not_kept(tmp_path: Path) -> None:
    path = tmp_path / "out.jsonl"
    kept = answer("x.wav", 0.0, "stop it", file="one/x.wav")
    heard = answer("y.wav", 0.0, "what was heard", file="y.wav", text_source="transcribed")
    write_answers(path, [kept, heard], LABELS)
    asked = [
        Utterance(Path("one/x.wav"), "stop it", 0.0, 1.5),
        Utterance(Path("two/x.wav"), "stop it", 0.0, 1.5),
        Utterance(Path("one/x.wav"), "go on", 0.0, 1.5),
        Utterance(Path("y.wav"), "", 0.0, 1.5),  # its words are heard anew, and would be the same
    ]
    assert Answers(asked, earlier_answers(path, LABELS)).waiting == asked[1:3]


def test_answers_whose_words_hold_unusual_line_separators_are_kept(tmp_path: Path) -> None:
    path = tmp_path / "out.jsonl"
    write_answers(path, [answer("a", 0.0, "stop\u2028it\u0085now"), answer("b", 2.0)], LABELS)
    assert len(earlier_answers(path, LABELS)) == 2


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("no json\n", "holds no answers"),
        ("[1]\n", "holds no answers"),
        (json.dumps(answer("a", 0.0) | {"probabilities": {"joy": 1.0}}) + "\n", "row 1: an answer with other labels"),
        (json.dumps(answer("a", 0.0) | {"model": "of another"}) + "\n", "row 1: an answer of another model"),
    ],
)
def test_answers_of_something_else_are_refused(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "out.jsonl"
    path.write_text(content)
    with pytest.raises(UserError, match=message):
        earlier_answers(path, LABELS, "this one")
