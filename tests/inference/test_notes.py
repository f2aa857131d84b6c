"""Reasons and notes in answers, on the terminal and on the page follow from what was read."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from memobert_plugin import MEmoBERT
from memobert_plugin.core.names import MODALITY_CASES
from memobert_plugin.inference.outputs import as_text
from memobert_plugin.inference.page import PLAIN_NAMES, Page
from memobert_plugin.inference.reading import ClipReader, ReadingOptions
from memobert_plugin.inference.requests import run
from memobert_plugin.inference.utterance import MODALITY_NAMES, Utterance
from tests.films import tone

FACES = np.ones((9, 342), np.float32)
EXPRESSION = np.full((9, 8), 0.125, np.float32)
EVERYTHING = Utterance(text="stop it", visual=FACES, expression=EXPRESSION, waveform=tone(1.0), name="clip")
IN_MESSAGES = {"l": "text", "v": "faces", "a": "sound"}


def as_trained(model: MEmoBERT, modalities: str, **changes: Any) -> MEmoBERT:
    """Return the model as if it had been trained on these modalities."""
    description = replace(model.description, modalities=modalities, **changes)
    network = model.network
    network.description = description
    return MEmoBERT(network, ClipReader(description, network.tokenizer, ReadingOptions()))


@pytest.fixture
def model(clip_model: MEmoBERT) -> Any:
    """The model of the tests, which gets its own description back."""
    before = clip_model.network.description
    yield clip_model
    clip_model.network.description = before


@pytest.mark.parametrize("trained", MODALITY_CASES)
@pytest.mark.parametrize("asked", [None, *MODALITY_CASES])
def test_every_case_tells_what_was_read_left_out_and_never_trained_on(
    model: MEmoBERT, trained: str, asked: str | None
) -> None:
    wanted = trained if asked is None else asked
    fewer = as_trained(model, trained)
    [outcome] = run(fewer, [EVERYTHING], modalities=asked, explained=True)
    assert outcome.prediction is not None
    answer, text = outcome.prediction, as_text([outcome.to_dict()], timeline=False)
    page = Page(fewer.description, timeline=False)
    page.add(outcome)
    html = page.render()
    first = re.search(r"A trained model read (.*?), and estimated", html)
    assert first is not None
    for letter, name in MODALITY_NAMES.items():
        use, plain = answer.modalities[name], IN_MESSAGES[letter]
        left_out = letter in trained and letter not in wanted
        untrained = letter not in trained and letter not in wanted
        reason = "left out on request" if left_out else f"this model was not trained on {plain}" if untrained else ""
        assert (use.present, use.reason) == (letter in wanted, reason)
        assert (f"no {plain} read" in text) == left_out
        assert (PLAIN_NAMES[letter] in first[1]) == (letter in wanted)
        assert (f"Not used: {PLAIN_NAMES[letter]} (" in html) == (letter not in wanted)
        assert (f"without {PLAIN_NAMES[letter]}" in html) == (letter in wanted and len(wanted) > 1)
        on_request = f"read on request: {plain}, on which the model was not trained"
        assert (on_request in answer.notes) == (letter in wanted and letter not in trained)
        assert (on_request in text) == (on_request in html) == (on_request in answer.notes)
    if asked is None:
        assert "on request" not in text + html
    assert ("What is said" in html) == ("l" in wanted)
    assert ("“Expression” is" in html) == ("v" in wanted)
    assert ("one scale" in html) == ("v" in wanted and "a" in wanted)
    assert ("as more is read" in html) == (wanted != "l")
    assert ("16.7 frames per second" in html) == ("a" in trained)


def test_only_what_was_given_is_said_to_be_read(model: MEmoBERT) -> None:
    clips = [Utterance(text="stop it", name="words"), replace(EVERYTHING, visual=None, name="both")]
    page = Page(model.description, timeline=False)
    outcomes = list(run(model, clips, explained=True))
    for outcome in outcomes:
        page.add(outcome)
    assert "A trained model read what is said and the sound (in 1 of 2 clips), and estimated" in page.render()
    assert "no faces read" not in as_text([outcome.to_dict() for outcome in outcomes], timeline=False)
    nothing = Page(model.description, timeline=False)
    nothing.add(next(iter(run(model, [Utterance(name="empty")], explained=True))))
    assert "It has no answer for what it was given" in nothing.render()
    assert "A trained model read" not in nothing.render()


def test_words_that_are_not_read_have_no_note(model: MEmoBERT) -> None:
    clip = replace(EVERYTHING, text="xylophone")
    assert any("words unknown" in note for note in model.read(clip).notes)
    assert not any("words unknown" in note for note in model.read(clip, "va").notes)
    beyond = replace(clip, text="stop it " * 30 + "xylophone")
    assert not any("words unknown" in note for note in model.read(beyond).notes), "beyond the 60 pieces that are read"


def test_sound_that_is_not_read_loads_no_encoder(model: MEmoBERT) -> None:
    fewer = as_trained(model, "l")
    assert fewer.read(EVERYTHING).notes == ()
    assert "encoder" not in vars(fewer.reader.speech)


def test_a_clip_beyond_the_encoders_limit_was_read_in_part(model: MEmoBERT) -> None:
    roomy = as_trained(model, "a", limits={**model.description.limits, "acoustic_frames": 1000})
    notes = roomy.read(Utterance(waveform=tone(14.0))).notes
    assert "only the beginning was read: 10.0 s of sound" in notes
    assert not any("beginning" in note for note in roomy.read(Utterance(waveform=tone(9.9))).notes)


def test_notes_of_several_clips_are_counted_and_never_one_clips_for_all(model: MEmoBERT) -> None:
    [one] = [outcome.to_dict() for outcome in run(model, [EVERYTHING])]
    notes = [f"several faces: of 2 that were seen, the {place} from the left was read" for place in ("first", "second")]
    lines = [{**one, "notes": [notes[0]]}, {**one, "notes": [notes[1]]}, {**one, "notes": [notes[0]]}, one]
    text = as_text(lines, timeline=False)
    assert f"note (2 of 4): {notes[0]}" in text and f"note (1 of 4): {notes[1]}" in text
    many = [{**one, "notes": [f"several faces: of {number} that were seen"]} for number in range(2, 12)]
    assert "note (7 of 10): several faces: otherwise (--output has each)" in as_text(many, timeline=False)
