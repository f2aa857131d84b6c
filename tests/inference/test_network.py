"""Labels that a user chooses: a model's probabilities over some of them, or over other words."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from memobert_plugin import MEmoBERT
from memobert_plugin.checkpoints.bundle import read_bundle, write_bundle
from memobert_plugin.checkpoints.fairseq_checkpoint import read_fairseq_checkpoint
from memobert_plugin.core.errors import UserError
from memobert_plugin.evaluation.metrics.calibration import Calibration
from memobert_plugin.inference.decision import NOT_CALIBRATED
from memobert_plugin.inference.explain import explain
from memobert_plugin.inference.network import cpu_network, wanted_labels
from memobert_plugin.inference.onnx_export import export_onnx
from tests.data_bins import CorpusShape, make_data_bin
from tests.host import TrainingRun
from tests.inference.models import trained_checkpoint, utterances_of

SHAPE = CorpusShape(speakers=3, utterances=8)
TASKS = {
    "prompt": ("memobert_prompt",),
    "labels": ("memobert_prompt", "--mask-words", "labels"),
    "finetune": ("memobert_finetune",),
    "pretrain": ("memobert_pretraining",),
}
CALIBRATION = Calibration(temperature=2.0, threshold=0.5, error_before=0.1, error_after=0.01, utterances=100)


@pytest.fixture(scope="module")
def data_bin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_data_bin(tmp_path_factory.mktemp("corpus"), SHAPE)


@pytest.fixture(scope="module")
def bundles(data_bin: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("bundles")
    for name, (task, *flags) in TASKS.items():
        model = read_fairseq_checkpoint(trained_checkpoint(data_bin, task, folder / f"{name}.pt", *flags, updates=8))
        calibration = None if name == "pretrain" else CALIBRATION
        write_bundle(replace(model, description=replace(model.description, calibration=calibration)), folder / name)
    return {name: folder / name for name in TASKS}


@pytest.mark.parametrize("kind", ["prompt", "labels", "finetune"])
def test_probabilities_are_renormalised_over_the_chosen_labels(
    data_bin: Path, bundles: dict[str, Path], kind: str
) -> None:
    asked = utterances_of(data_bin)[:6]
    whole = MEmoBERT.from_pretrained(bundles[kind]).predict(asked)
    model = MEmoBERT.from_pretrained(bundles[kind], labels="Sad, anger")
    assert model.labels == ["sad", "anger"]
    for answer, full in zip(model.predict(asked), whole, strict=True):
        both = full.probabilities["sad"] + full.probabilities["anger"]
        expected = {label: full.probabilities[label] / both for label in ("sad", "anger")}
        assert answer.probabilities == pytest.approx(expected, abs=1e-5)
        assert answer.label == max(expected, key=expected.__getitem__)
        note = "asked to choose among sad, anger alone (--labels): another answer may be the right one"
        assert answer.notes[0] == note and note not in full.notes and NOT_CALIBRATED not in answer.notes


@pytest.mark.parametrize("kind", ["prompt", "labels"])
def test_new_words_are_read_by_the_prompt(data_bin: Path, bundles: dict[str, Path], kind: str) -> None:
    asked = utterances_of(data_bin)[:4]
    model = MEmoBERT.from_pretrained(bundles[kind], labels={"calm": "table", "anger": "hate"})
    same = MEmoBERT.from_pretrained(bundles[kind], labels=["calm=table", "anger=hate"])
    swapped = MEmoBERT.from_pretrained(bundles[kind], labels="anger=table,calm=hate")
    for answer, again, other in zip(*(each.predict(asked) for each in (model, same, swapped)), strict=True):
        assert answer.probabilities == again.probabilities
        assert answer.probabilities["calm"] == pytest.approx(other.probabilities["anger"], abs=1e-6)
        assert NOT_CALIBRATED in answer.notes


def test_the_word_at_the_mask_decides(data_bin: Path, bundles: dict[str, Path]) -> None:
    """The probability of a new label is that of its word in the whole vocabulary, at the model's temperature."""
    (asked,) = utterances_of(data_bin)[:1]
    filled = dict(MEmoBERT.from_pretrained(bundles["prompt"]).fill_mask("i am [MASK] .", asked, top_k=40))
    model = MEmoBERT.from_pretrained(bundles["prompt"], labels="calm=table,anger=hate")
    first, second = (filled[word] ** (1 / CALIBRATION.temperature) for word in ("table", "hate"))
    assert model.predict(asked).probabilities["calm"] == pytest.approx(first / (first + second), abs=1e-4)


def test_all_labels_in_another_order_are_the_trained_answer(data_bin: Path, bundles: dict[str, Path]) -> None:
    (asked,) = utterances_of(data_bin)[:1]
    whole = MEmoBERT.from_pretrained(bundles["prompt"]).predict(asked)
    answer = MEmoBERT.from_pretrained(bundles["prompt"], labels="sad,happy,anger,neutral").predict(asked)
    assert list(answer.probabilities) == ["sad", "happy", "anger", "neutral"]
    assert answer.probabilities == pytest.approx(dict(whole.probabilities), abs=1e-6)
    assert answer.notes == whole.notes


@pytest.mark.parametrize(
    ("kind", "labels", "message"),
    [
        ("prompt", "anger,calm", r'unknown label "calm"; the model has anger, .*; for a new label give .* calm=WORD'),
        ("prompt", "anger,calm=xylophone", r'verbalizer word "xylophone" is not one piece of the vocabulary'),
        ("prompt", "anger,calm=hates", r'"hates" is not one piece of the vocabulary but hate ##s'),
        ("prompt", "calm=hate,angry=hate", r'"hate" is listed 2 times \(calm, angry\)'),
        ("finetune", "anger,calm=table", r"this model was finetuned and has no words; choose among anger, "),
        ("finetune", "anger,calm", r'unknown label "calm"; the model has anger, happy, neutral, sad$'),
        ("pretrain", "anger,sad", r"only pre-trained"),
    ],
)
def test_labels_that_a_model_cannot_choose_among_are_named(
    bundles: dict[str, Path], kind: str, labels: str, message: str
) -> None:
    with pytest.raises(UserError, match=message) as caught:
        MEmoBERT.from_pretrained(bundles[kind], labels=labels)
    assert str(caught.value).startswith("--labels: ") and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ("", "is not of the form label or label=word"),
        ("anger", "at least two labels"),
        ("anger,", "is not of the form"),
        ("anger=,sad", "is not of the form"),
        ("=mad,sad", "is not of the form"),
        ("anger,Anger=mad", '"Anger" is given twice'),
        ("very calm=table,anger", 'label "very calm" has a blank; write it as one word'),
        ("calm=at ease,sad", 'the word of "calm", "at ease", is not one word'),
    ],
)
def test_labels_of_another_form_are_refused_before_the_model_is_read(labels: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=message):
        MEmoBERT.from_pretrained(tmp_path / "none", labels=labels)


def test_words_may_be_given_in_three_forms() -> None:
    expected = {"happy": "", "calm": "calm"}
    assert wanted_labels(" happy , calm = calm ") == wanted_labels(["happy", "calm=calm"]) == expected
    assert wanted_labels({"calm": "calm", "sad": "low"}) == {"calm": "calm", "sad": "low"}


MORE = ("--more-templates", "it was [MASK] . || the [MASK] cat")


@pytest.mark.parametrize(
    "flags",
    [
        MORE,
        ("--contextual-calibration",),
        (*MORE, "--contextual-calibration", "--mask-words", "labels"),
        (*MORE, "--soft-prompt-length", "4", "--contextual-calibration"),
        (*MORE, "--template-weights", "validation"),
    ],
)
def test_a_bundle_answers_by_all_templates_as_the_task_does(
    data_bin: Path, tmp_path: Path, flags: tuple[str, ...]
) -> None:
    path = tmp_path / "test.jsonl"
    run = TrainingRun(data_bin, "memobert_prompt", "--fold", "1", "--lr", "3e-3", *flags, "--predictions", str(path))
    run.train(8)
    if "--template-weights" in flags:
        run.validate()
        run.task.datasets.clear()  # as before a test
    run.validate("test")
    write_bundle(read_fairseq_checkpoint(run.save(tmp_path / "x.pt")), tmp_path / "bundle")
    model = MEmoBERT.from_pretrained(tmp_path / "bundle")
    expected = {line["id"]: line["probabilities"] for line in map(json.loads, path.read_text().splitlines())}
    asked = [one for one in utterances_of(data_bin) if one.name in expected]
    for answer in model.predict(asked):
        assert answer.probabilities == pytest.approx(expected[answer.name], abs=1e-5)
    assert model.description.soft_prompt_length == (4 if "--soft-prompt-length" in flags else 0)
    assert bool(model.description.template_weights) == ("--template-weights" in flags)
    alone = replace(model.description, more_templates=[], template_weights=[], contextual_calibration=False)
    plain = cpu_network(replace(read_bundle(tmp_path / "bundle"), description=alone))
    others = MEmoBERT(plain, model.reader).predict(asked)
    assert any(abs(one.probabilities["sad"] - expected[one.name]["sad"]) > 1e-3 for one in others)
    assert str(model).count("[MASK]") == (3 if MORE[0] in flags else 1)
    description = model.description
    assert description.more_templates == (["it was [MASK] .", "the [MASK] cat"] if MORE[0] in flags else [])
    assert description.contextual_calibration == ("--contextual-calibration" in flags)
    explained = explain(model.network, model.read(asked[0]))
    assert explained.label == model.predict(asked[0]).label and len(explained.words) == len(asked[0].text.split())
    pytest.importorskip("onnx")
    with pytest.raises(UserError, match="--onnx: a model of one template only"):
        export_onnx(model.network, tmp_path / "x.onnx")
