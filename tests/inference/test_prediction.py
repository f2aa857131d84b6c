"""Every answer says how sure it is, and whether that is less than it should be."""

from __future__ import annotations

import json
import pickle
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from memobert_plugin import MEmoBERT
from memobert_plugin.core.errors import UserError
from memobert_plugin.evaluation.metrics.calibration import Calibration, at_temperature
from memobert_plugin.inference.decision import NOT_CALIBRATED, contradiction, prediction
from memobert_plugin.inference.network import Network
from memobert_plugin.inference.outputs import as_text
from memobert_plugin.inference.page import Page
from memobert_plugin.inference.prediction import Prediction, Predictions
from memobert_plugin.inference.reading import ClipReader, ReadingOptions
from memobert_plugin.inference.requests import Outcome, run
from memobert_plugin.inference.utterance import Evidence, Utterance
from tests.films import tone, write_sound

FITTED = Calibration(2.0, 0.3, 0.04, 500, 0.55)
NOTE = "trained on drawn faces: answers nothing about people"
CLIP = Utterance(text="stop it", visual=np.ones((9, 342), np.float32), waveform=tone(1.0), name="clip")


def with_description(model: MEmoBERT, **changes: object) -> MEmoBERT:
    """Return a model whose network was built with another description."""
    network = Network.__new__(Network)
    network.__dict__.update(model.network.__dict__)
    network.description = replace(model.description, **changes)  # type: ignore[arg-type]
    network._calibration = network.description.calibration
    return MEmoBERT(network, ClipReader(network.description, network.tokenizer, ReadingOptions()))


@pytest.fixture
def raw(clip_model: MEmoBERT) -> MEmoBERT:
    return clip_model


def shares_of(answer: Prediction) -> np.ndarray:
    return np.array(list(answer.probabilities.values()))


def test_a_calibrated_model_answers_at_its_temperature(raw: MEmoBERT) -> None:
    fitted = with_description(raw, calibration=FITTED)
    before, after = (model.predict([CLIP], leave_out=True)[0] for model in (raw, fitted))
    assert shares_of(after) == pytest.approx(at_temperature(shares_of(before)[None], 2.0)[0], abs=1e-6)
    assert before.label == after.label and before.confidence == before.probabilities[before.label]
    assert after.confidence == after.probabilities[after.label] < before.confidence
    for name, use in before.modalities.items():
        first, second = use.without, after.modalities[name].without
        assert first is not None and second is not None
        expected = at_temperature(np.array([list(first.values())]), 2.0)[0]
        assert list(second.values()) == pytest.approx(expected.tolist(), abs=1e-6)
    assert NOT_CALIBRATED in before.notes and NOT_CALIBRATED not in after.notes


def evidence(unlike: str = "") -> Evidence:
    pieces = np.ones(2, np.int64)
    return Evidence(Utterance(text="stop it"), pieces, pieces.astype(np.uint8), unlike=unlike)


@pytest.mark.parametrize(
    ("threshold", "share", "unlike", "unsure"),
    [
        (None, 0.61, "", False),
        (None, 0.59, "", True),
        (0.5, 0.52, "", False),
        (0.7, 0.65, "", True),
        (1.0, 1.0, "", True),
        (0.5, 0.9, "l", True),
        (0.5, 0.9, "v", False),
    ],
)
def test_an_answer_is_unsure_below_the_threshold_or_where_nothing_read_is_like_training(
    raw: MEmoBERT, threshold: float | None, share: float, unlike: str, unsure: bool
) -> None:
    fitted = None if threshold is None else replace(FITTED, threshold=threshold)
    description = replace(raw.description, calibration=fitted)
    shares = np.array([share, *[(1 - share) / 3] * 3])
    answer = prediction(evidence(unlike), description, shares, None, {}, {})
    assert (answer.confidence, answer.unsure) == (share, unsure)
    line = json.loads(json.dumps(answer.to_dict()))
    assert (line["confidence"], line["unsure"]) == (share, unsure)
    assert ("(unsure)" in as_text([line], timeline=False)) == unsure
    page = Page(description, timeline=False)
    page.add(Outcome(Utterance(text="stop it"), prediction=answer, evidence=evidence(unlike)))
    assert ("is <strong>unsure</strong>" in page.render()) == unsure


def test_the_models_own_note_comes_first_everywhere(raw: MEmoBERT) -> None:
    noted = with_description(raw, note=NOTE)
    outcomes = list(run(noted, [CLIP, replace(CLIP, text="stop the xylophone")], explained=True))
    lines = [outcome.to_dict() for outcome in outcomes]
    assert all(line["notes"][0] == NOTE and line["notes"][-1] == NOT_CALIBRATED for line in lines)
    assert f"note (2 of 2): {NOTE}" in as_text(lines, timeline=False)
    page = Page(noted.description, timeline=False)
    for outcome in outcomes:
        page.add(outcome)
    html = page.render()
    assert html.count(NOTE) == 1 and html.index(NOTE) < html.index("All 2 answers")


def single(label: str, share: float) -> dict[str, float]:
    return {name: share if name == label else (1 - share) / 2 for name in ("anger", "happy", "sad")}


def test_streams_that_are_sure_of_different_answers_contradict_each_other() -> None:
    alone = {"l": single("happy", 0.9), "v": single("happy", 0.95), "a": single("sad", 0.8)}
    said = "streams contradict each other: faces alone: happy (95%), sound alone: sad (80%)"
    assert contradiction(alone) == said
    assert contradiction({**alone, "a": single("sad", 0.65)}) == ""
    assert contradiction({**alone, "a": single("happy", 0.8)}) == ""
    assert contradiction({}) == ""


@pytest.fixture
def divided(raw: MEmoBERT, monkeypatch: pytest.MonkeyPatch) -> MEmoBERT:
    """A model that says one thing from words, another from faces."""
    model = with_description(raw)
    of_case = {"l": 0, "v": 3}
    monkeypatch.setattr(
        model,
        "probabilities",
        lambda evidence, batch_size: [
            (np.where(np.arange(4) == of_case.get(found.present, 1), 0.91, 0.03), None) for found in evidence
        ],
    )
    return model


def test_contradicting_streams_are_noted_by_the_command_and_where_python_leaves_out(divided: MEmoBERT) -> None:
    said = "streams contradict each other: faces alone: sad (91%), text alone: anger (91%)"
    clip = replace(CLIP, waveform=None)
    for explained in (False, True):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("memobert_plugin.inference.explain.explain", lambda *_: None)
            patch.setattr("memobert_plugin.inference.explain.course", lambda *_: None)
            [outcome] = run(divided, [clip], explained=explained)
        assert outcome.prediction is not None and said in outcome.prediction.notes
    assert said in divided.predict(clip, leave_out=True).notes
    assert said not in divided.predict(clip).notes
    assert said not in divided.predict(text="stop it", leave_out=True).notes


def test_an_answer_shows_itself_as_a_table_and_as_bars(raw: MEmoBERT) -> None:
    hostile = replace(CLIP, name="<b>x</b>.mp4", waveform=None)
    answer = raw.predict(hostile)
    lines = str(answer).splitlines()
    assert lines[0] == f"<b>x</b>.mp4: {answer.label}, {answer.confidence:.0%}, unsure"
    assert lines[1].split()[:2] == [answer.label, f"{answer.confidence:.0%}"] and lines[1].endswith("#")
    assert "read: 2 word pieces, 9 faces" in lines and "not read: sound (not given)" in lines
    assert lines[-1] == f"note: {NOT_CALIBRATED}"
    assert repr(answer) == f"<{lines[0]}>"
    html = answer._repr_html_()
    assert "&lt;b&gt;x&lt;/b&gt;.mp4" in html and "<b>" not in html
    assert all(f"width:{100 * share:.1f}%" in html for share in answer.probabilities.values())


def test_answers_show_themselves_as_one_table(raw: MEmoBERT) -> None:
    answers = raw.predict([replace(CLIP, name="<i>a</i>"), replace(CLIP, name="b", text="")])
    assert isinstance(answers, Predictions) and answers == list(answers)
    assert [line.split()[0] for line in str(answers).splitlines()[2:]] == ["<i>a</i>", "b"]
    html = answers._repr_html_()
    assert html.count("<svg") == 2 and "&lt;i&gt;a" in html and "<i>" not in html
    assert json.loads(json.dumps(answers.to_dict()))[1]["label"] == answers[1].label


def test_answers_become_a_frame_with_a_column_for_each_emotion(raw: MEmoBERT) -> None:
    pytest.importorskip("pandas")
    answers = raw.predict([CLIP, replace(CLIP, name="b")])
    frame = answers.to_frame()
    assert frame["id"].tolist() == ["clip", "b"] and frame["visual_frames"].tolist() == [9, 9]
    assert frame[raw.labels].to_numpy() == pytest.approx(np.array([shares_of(one) for one in answers]))
    assert answers[0].to_frame()["label"].tolist() == [answers[0].label]


def test_an_answer_writes_its_page_and_one_without_its_model_says_so(raw: MEmoBERT, tmp_path: Path) -> None:
    answer = raw.predict(CLIP)
    page = answer.page(tmp_path / "page.html").read_text(encoding="utf-8")
    assert "What if something had been missing?" in page and "relied on" in page
    copied = pickle.loads(pickle.dumps(answer))
    assert copied == answer
    with pytest.raises(UserError, match=r"other\.html: these answers have lost their model"):
        copied.page(tmp_path / "other.html")


def test_labels_of_any_name_are_plotted() -> None:
    pytest.importorskip("matplotlib").use("Agg")
    shares = {"anger": 0.25, "bemused": 0.75}
    axes = Predictions([Prediction("x", "bemused", shares, {})]).plot()
    patches: list[Any] = list(axes.patches)
    assert [patch.get_height() for patch in patches] == [0.25, 0.75]
    assert len({patch.get_facecolor() for patch in patches}) == 2


def test_a_timeline_is_plotted_over_its_seconds(raw: MEmoBERT, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib").use("Agg")
    film = write_sound(tmp_path / "long.wav", tone(5.0), 16_000, "pcm_s16le")
    answers = raw.timeline(film, every=2.0)
    assert [(one.start, one.end) for one in answers][-1][1] == pytest.approx(5.0)
    axes = answers.plot()
    assert axes.get_xlabel() == "seconds" and len(axes.patches) == len(answers) * len(raw.labels)
    assert "Over time" in answers.page(tmp_path / "page.html").read_text(encoding="utf-8")
    with pytest.raises(UserError, match=r"every 0: give 0\.5 to 60 seconds"):
        raw.timeline(film, every=0)
    with pytest.raises(UserError, match="plot: there is no answer to draw"):
        Predictions().plot()
