"""Models that predict numbers or several labels: checkpoint, bundle, answers, and what is refused."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from memobert_plugin import MEmoBERT
from memobert_plugin.checkpoints.bundle import read_bundle, write_bundle
from memobert_plugin.checkpoints.fairseq_checkpoint import read_fairseq_checkpoint
from memobert_plugin.checkpoints.model_description import ModelDescription
from memobert_plugin.cli.export import described
from memobert_plugin.cli.inspect import main as inspect
from memobert_plugin.core.errors import UserError
from memobert_plugin.inference.explain import explain
from memobert_plugin.inference.outputs import as_text, earlier_answers, write_answers
from memobert_plugin.inference.page import Page
from memobert_plugin.inference.prediction import bars
from memobert_plugin.inference.requests import Outcome, run
from tests.data_bins import CorpusShape, make_data_bin
from tests.host import TrainingRun
from tests.inference.models import utterances_of

FLAGS = {
    "numbers": ("--dimensions", "valence,arousal"),
    "number": ("--dimensions", "arousal"),
    "labels": ("--several-labels",),
}


@pytest.fixture(scope="module")
def data_bin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    shape = CorpusShape(speakers=3, utterances=8, dimensions=True, several=True)
    return make_data_bin(tmp_path_factory.mktemp("corpus"), shape)


@pytest.fixture(scope="module")
def trained(data_bin: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Bundles, and what the task predicts of its test speaker, as ``NAME.jsonl``."""
    folder = tmp_path_factory.mktemp("models")
    for name, flags in FLAGS.items():
        path = folder / f"{name}.jsonl"
        run = TrainingRun(
            data_bin, "memobert_finetune", "--fold", "1", "--lr", "3e-3", *flags, "--predictions", str(path)
        )
        run.train(15)
        run.validate("test")
        write_bundle(read_fairseq_checkpoint(run.save(folder / f"{name}.pt")), folder / name)
    return folder


@pytest.mark.parametrize("name", list(FLAGS))
def test_a_bundle_answers_as_the_task_does(data_bin: Path, trained: Path, name: str, tmp_path: Path) -> None:
    model = MEmoBERT.from_pretrained(trained / name)
    expected = {line["id"]: line for line in map(json.loads, (trained / f"{name}.jsonl").read_text().splitlines())}
    asked = [one for one in utterances_of(data_bin) if one.name in expected]
    answers = model.predict(asked)
    assert len(asked) == 8 and model.labels == list(
        next(iter(expected.values()))["prediction" if name != "labels" else "probabilities"]
    )
    for answer in answers:
        line = expected[answer.name]
        if name == "labels":
            assert answer.labels == tuple(line["prediction"])
            assert answer.probabilities == pytest.approx(line["probabilities"], abs=1e-5)
            assert answer.label == ("; ".join(answer.labels) or "none of the labels")
        else:
            assert {key: one.value for key, one in answer.dimensions.items()} == pytest.approx(
                line["prediction"], abs=1e-5
            )
            assert not answer.probabilities and all(one.low < one.high for one in answer.dimensions.values())
    lines = answers.to_dict()
    shown = as_text(lines, False)
    key = "labels" if name == "labels" else "dimensions"
    assert key in lines[0] and (
        name == "labels" or f"arousal {lines[0]['dimensions']['arousal']['value']:.2f}" in shown
    )
    for suffix in ("csv", "jsonl"):
        write_answers(tmp_path / f"x.{suffix}", lines, model.labels)
    assert (lines[0]["confidence"] is None) == (name != "labels")
    header = (tmp_path / "x.csv").read_text().splitlines()[0].split(",")
    assert {f"p_{label}" if name == "labels" else label for label in model.labels} <= set(header)
    assert len(earlier_answers(tmp_path / "x.jsonl", model.labels)) == 8
    kinds = {"labels": "several labels at once"}
    assert kinds.get(name, "numbers") in repr(model)
    shown_in = "happy" if name == "labels" else "arousal"
    assert shown_in in str(answers[0]) and answers[0].headline in answers[0]._repr_html_()
    assert len(answers.to_frame()) == 8


def test_leaving_a_modality_out_gives_other_numbers(data_bin: Path, trained: Path) -> None:
    model = MEmoBERT.from_pretrained(trained / "numbers")
    answer = next(
        one for one in model.predict(utterances_of(data_bin), leave_out=True) if one.modalities["visual"].without
    )
    without = answer.modalities["visual"].without
    assert without is not None and set(without) == {"valence", "arousal"} and not answer.notes


def test_the_bundle_and_its_card_say_what_is_predicted(trained: Path) -> None:
    description = read_bundle(trained / "numbers").description
    assert description.target is not None and set(description.target) == {"kind", "mean", "deviation", "ranges"}
    assert "It predicts valence, arousal (in its corpus " in (trained / "numbers" / "README.md").read_text()
    assert "several at once" in (trained / "labels" / "README.md").read_text()
    assert ModelDescription.from_dict("x", description.to_dict()) == description
    for target in (
        None,
        {**description.target, "mean": [1.0]},
        {**description.target, "ranges": "wide"},
        {"kind": "several", "mean": []},
    ):
        content = {**replace(description, labels=["valence"]).to_dict(), "target": target}
        if target is None:
            del content["target"]
        with pytest.raises(UserError, match=r"labels (and target )?cannot be"):
            ModelDescription.from_dict("x", content)


def test_what_is_for_one_emotion_of_several_is_refused(trained: Path, tmp_path: Path) -> None:
    model = MEmoBERT.from_pretrained(trained / "numbers")
    with pytest.raises(UserError, match="--labels: this model does not choose one of its labels"):
        MEmoBERT.from_pretrained(trained / "labels", labels="happy,sad")
    with pytest.raises(UserError, match=r"--calibrate: this model predicts numbers .* nothing to calibrate"):
        described(model.description, [tmp_path / "x.jsonl"], "")


@pytest.mark.parametrize("name", ["numbers", "labels"])
def test_answers_are_drawn_with_every_number_or_label(data_bin: Path, trained: Path, tmp_path: Path, name: str) -> None:
    pysubs2 = pytest.importorskip("pysubs2")
    pytest.importorskip("matplotlib").use("agg")
    model = MEmoBERT.from_pretrained(trained / name)
    answers = model.predict(utterances_of(data_bin)[:2])
    axes = answers.plot()
    values = answers[0].probabilities or {key: one.value for key, one in answers[0].dimensions.items()}
    assert {line.get_label(): np.asarray(line.get_ydata())[0] for line in axes.get_lines()} == pytest.approx(values)
    lines = [{**line, "start": 2.0 * at, "end": 2.0 * at + 1} for at, line in enumerate(answers.to_dict())]
    write_answers(tmp_path / "out.ass", lines, model.labels)
    first = pysubs2.load(str(tmp_path / "out.ass"))[0]
    assert first.plaintext.startswith(answers[0].headline.partition(",")[0] if name == "numbers" else answers[0].label)
    filled = bars(lines[0])
    assert list(filled) == model.labels and first.style == max(filled, key=lambda key: filled[key][0])
    assert all(0 <= share <= 1 for share, _ in filled.values())
    assert all(value in answers[0]._repr_html_() for _, value in filled.values())
    drawn = answers._repr_html_()
    assert all(f"<title>{label} {value}</title>" in drawn for label, (_, value) in filled.items())
    ends = [float(x) + float(width) for x, width in re.findall(r'<rect x="([\d.]+)" y="0" width="([\d.]+)"', drawn)]
    assert len(ends) == len(filled) * len(answers) and max(ends) <= 160


def test_several_labels_are_calibrated_and_decided_as_before(data_bin: Path, trained: Path, tmp_path: Path) -> None:
    lines = [json.loads(line) for line in (trained / "labels.jsonl").read_text().splitlines()]
    model = read_bundle(trained / "labels")
    names = model.description.labels
    for number in range(7):  # more utterances of other folds, with labels that are never given
        for line in lines[:8]:
            lines.append({**line, "id": f"{line['id']}-{number}", "fold": 2, "label": names[:1]})
    (tmp_path / "all.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    found = described(model.description, [tmp_path / "all.jsonl"], "")
    assert found.calibration is not None and found.calibration.utterances == len(lines)
    assert found.calibration.temperature != pytest.approx(1.0, abs=0.05)
    write_bundle(replace(model, description=found), tmp_path / "bundle")
    before = MEmoBERT.from_pretrained(trained / "labels").predict(utterances_of(data_bin))
    after = MEmoBERT.from_pretrained(tmp_path / "bundle").predict(utterances_of(data_bin))
    for one, other in zip(before, after, strict=True):
        assert one.labels == other.labels
        for name in names:
            logit = np.log(one.probabilities[name] / (1 - one.probabilities[name]))
            expected = 1 / (1 + np.exp(-logit / found.calibration.temperature))
            assert other.probabilities[name] == pytest.approx(expected, abs=1e-5)
    assert "yes or no for each label" in (tmp_path / "bundle" / "README.md").read_text()
    (tmp_path / "one.jsonl").write_text(json.dumps({**lines[0], "label": "happy"}) + "\n")
    with pytest.raises(UserError, match=r"one\.jsonl:1: not a prediction among"):
        described(model.description, [tmp_path / "one.jsonl"], "")


@pytest.mark.parametrize("name", ["numbers", "labels"])
def test_a_page_shows_every_number_or_label_with_its_reasons(data_bin: Path, trained: Path, name: str) -> None:
    model = MEmoBERT.from_pretrained(trained / name)
    asked = [replace(one, start=2.0 * at, end=2.0 * at + 1.5) for at, one in enumerate(utterances_of(data_bin)[:3])]
    page = Page(model.description, timeline=True)
    found = list(run(model, asked, explained=True))
    for outcome in [*found, Outcome(replace(asked[0], name="late", start=6.0, end=7.0), error="defective")]:
        page.add(outcome)
    html = page.render()
    for outcome in found:
        answer, explained = outcome.prediction, outcome.explanation
        assert answer is not None and explained is not None
        assert f"<td>{answer.headline if name == 'numbers' else answer.label}</td>" in html
        assert f"spoke for “{explained.label}”" in html
        for label in model.labels:
            if name == "numbers":
                one = answer.dimensions[label]
                value = f"{one.value:.2f} ({one.low:.3g} to {one.high:.3g})"
            else:
                share = answer.probabilities[label]
                value = f"{100 * share:.0f} % ({'yes' if share >= 0.5 else 'no'})"
            # In the details, in the table of all, and under the pointer of the drawing over time.
            assert html.count(value) >= 4 and f"{label} {value}" in html
    assert html.count("without what is said") >= 3 and html.count('class="soft"') == len(model.labels)
    assert html.count("stroke-dasharray") == len(model.labels) and "No answer for late" in html
    assert ("how sure" in html) is False and ("adds up" in html or "add up to 100 %" in html) == (name == "labels")
    assert (": on average" in html) == (name == "numbers") and html.count('<span class="track') == 3 * len(model.labels)


@pytest.mark.parametrize("name", ["numbers", "labels"])
def test_words_and_frames_speak_for_what_they_change(data_bin: Path, trained: Path, name: str) -> None:
    model = MEmoBERT.from_pretrained(trained / name)
    evidence = model.read(next(one for one in utterances_of(data_bin) if one.visual is not None))
    explained = explain(model.network, evidence)
    batch = model.network.batch([evidence], None)
    place = model.labels.index(explained.label.removeprefix("more "))
    step = 1e-2

    def value(scale: float) -> float:
        handle = model.network.module.word_vectors().register_forward_hook(lambda _, __, output: output * scale)
        with torch.inference_mode():
            scores = model.network.scores(batch)[0][0].double()
        handle.remove()
        return float(scores[place] if name == "numbers" else torch.nn.functional.logsigmoid(scores)[place])

    change = (value(1 + step) - value(1 - step)) / (2 * step)
    words = sum(word.value for word in explained.words)
    assert words + explained.prompt == pytest.approx(change, rel=0.1) and abs(change) > 5e-4


def test_a_number_beyond_its_range_fills_the_bar_and_no_more() -> None:
    line = {
        "dimensions": {"valence": {"value": 7.0, "low": 1.0, "high": 5.0}, "arousal": {"value": 2, "low": 2, "high": 2}}
    }
    assert bars(line) == {"valence": (1.0, "7.00"), "arousal": (0.0, "2.00")}


def test_inspect_describes_the_data_bin_and_the_predictions(
    data_bin: Path, trained: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for source, told in (
        (data_bin, ("one of several labels", "dimension ", "valence ")),
        (trained / "numbers.jsonl", ("utterances: 8", "valence 8")),
        (trained / "labels.jsonl", ("utterances: 8", "sad ")),
    ):
        assert inspect([str(source)]) == 0
        printed = capsys.readouterr().out
        assert all(one in printed for one in told), printed
