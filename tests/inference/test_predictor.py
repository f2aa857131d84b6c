"""The same answers as the host's validation, alone and in batches, whatever is missing."""

from __future__ import annotations

import doctest
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from memobert_plugin import MEmoBERT
from memobert_plugin.checkpoints.bundle import write_bundle
from memobert_plugin.checkpoints.fairseq_checkpoint import read_fairseq_checkpoint
from memobert_plugin.core.errors import DefectiveClip, UserError
from memobert_plugin.inference import predictor
from memobert_plugin.inference.decision import NOT_CALIBRATED
from memobert_plugin.inference.utterance import Utterance
from tests.data_bins import CorpusShape, make_data_bin
from tests.films import tone, write_film
from tests.host import ROOT, TrainingRun
from tests.inference.models import trained_checkpoint, utterances_of

TASKS = ("memobert_prompt", "memobert_finetune")
SHAPE = CorpusShape(speakers=4, utterances=10)


@pytest.fixture(scope="module")
def data_bin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_data_bin(tmp_path_factory.mktemp("corpus"), SHAPE)


@pytest.fixture(scope="module")
def checkpoints(data_bin: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("checkpoints")
    tasks = (*TASKS, "memobert_pretraining")
    return {task: trained_checkpoint(data_bin, task, folder / f"{task}.pt") for task in tasks}


@pytest.fixture(scope="module")
def models(checkpoints: dict[str, Path]) -> dict[str, MEmoBERT]:
    return {task: MEmoBERT.from_pretrained(path) for task, path in checkpoints.items()}


@pytest.fixture(scope="module")
def bundle(checkpoints: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bundles") / "prompt"
    write_bundle(read_fairseq_checkpoint(checkpoints["memobert_prompt"]), folder)
    return folder


def rows(answers: list[Any]) -> np.ndarray:
    return np.array([list(answer.probabilities.values()) for answer in answers])


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("modalities", ["lva", "la", "v"])
def test_answers_equal_the_hosts_validation(
    data_bin: Path,
    checkpoints: dict[str, Path],
    models: dict[str, MEmoBERT],
    tmp_path: Path,
    task: str,
    modalities: str,
) -> None:
    run = TrainingRun(
        data_bin, task, "--fold", "1", "--modalities", modalities, "--predictions", str(tmp_path / "{subset}.jsonl")
    )
    state = torch.load(checkpoints[task], weights_only=True)["model"]
    run.model.load_state_dict(state)
    run.validate("test")
    expected = {line["id"]: line for line in map(json.loads, (tmp_path / "test.jsonl").read_text().splitlines())}
    asked = [utterance for utterance in utterances_of(data_bin) if utterance.name in expected]
    readable = [one for one in asked if any(letter in modalities for letter in present(one))]
    answers = models[task].predict(readable, modalities=modalities)
    assert len(readable) > SHAPE.utterances // 2
    assert rows(answers).std(axis=0).max() > 1e-3
    for answer in answers:
        line = expected[answer.name]
        assert answer.label == line["prediction"]
        assert answer.probabilities == pytest.approx(line["probabilities"], abs=1e-5)


def present(utterance: Utterance) -> str:
    return "l" + "v" * (utterance.visual is not None) + "a" * (utterance.acoustic is not None)


@pytest.mark.parametrize("task", TASKS)
def test_an_utterance_has_the_same_answer_alone_in_any_batch_and_again(
    data_bin: Path, models: dict[str, MEmoBERT], task: str
) -> None:
    asked = utterances_of(data_bin)[:20]
    together = rows(models[task].predict(asked))
    assert together.std(axis=0).min() > 1e-3
    for size in (1, 3, 7):
        assert np.abs(rows(models[task].predict(asked, batch_size=size)) - together).max() < 1e-6
    assert np.array_equal(rows(models[task].predict(asked)), together)
    alone = rows([models[task].predict(one) for one in reversed(asked)])[::-1]
    assert np.abs(alone - together).max() < 1e-6


@pytest.mark.parametrize("task", TASKS)
def test_a_bundle_answers_as_its_checkpoint(
    data_bin: Path, checkpoints: dict[str, Path], models: dict[str, MEmoBERT], tmp_path: Path, task: str
) -> None:
    write_bundle(read_fairseq_checkpoint(checkpoints[task]), tmp_path / "bundle")
    asked = utterances_of(data_bin)[:6]
    answers = MEmoBERT.from_pretrained(tmp_path / "bundle").predict(asked)
    assert np.array_equal(rows(answers), rows(models[task].predict(asked)))


def test_what_was_read_and_what_was_not_is_told(models: dict[str, MEmoBERT]) -> None:
    faces = np.ones((50, SHAPE.visual_dim), np.float32)
    answer = models["memobert_prompt"].predict(text="stop it", visual=faces, leave_out=True)
    text, visual, acoustic = answer.modalities.values()
    assert (text.present, text.frames, text.seconds) == (True, 2, None)
    assert (visual.present, visual.frames, visual.found, visual.seconds) == (True, 36, 50, pytest.approx(3.6))
    assert (acoustic.present, acoustic.reason) == (False, "not given")
    assert text.without is not None and visual.without is not None and acoustic.without is None
    alone = models["memobert_prompt"].predict(text="stop it")
    assert visual.without == pytest.approx(alone.probabilities, abs=1e-6)
    assert answer.notes == ("only the beginning was read: 3.6 s of faces", NOT_CALIBRATED)
    assert json.loads(json.dumps(answer.to_dict()))["label"] == answer.label


def test_words_that_the_model_does_not_know_are_told(models: dict[str, MEmoBERT]) -> None:
    answer = models["memobert_prompt"].predict(text="stop the xylophone")
    assert answer.notes == ("words unknown to the model: 1 of 3 pieces", NOT_CALIBRATED)


def test_nothing_to_read_is_an_error_with_the_reasons(models: dict[str, MEmoBERT]) -> None:
    with pytest.raises(DefectiveClip, match=r"nothing to read \(text: not given; faces: not given"):
        models["memobert_prompt"].predict()
    with pytest.raises(DefectiveClip, match=r"nothing to read \(sound: not given\)"):
        models["memobert_prompt"].predict(text="stop it", modalities="a")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"modalities": "x"}, "modalities 'x'"),
        ({"modalities": ""}, "modalities ''"),
        ({"text": ["a", "b"]}, "a list of texts for one clip"),
        ({"clip": ["a.wav"], "text": "a"}, "one text for a list"),
        ({"clip": ["a.wav"], "text": ["a", "b"]}, "1 clip and 2 texts"),
        ({"clip": ["a.wav"], "start": 1.0}, "belong to one utterance"),
        ({"clip": 3}, "a clip cannot be int"),
        ({"text": "a", "batch_size": 0}, "batch_size 0"),
        ({"visual": np.ones((3, 7), np.float32)}, "this model reads floats of shape"),
        ({"visual": np.full((3, 6), np.nan, np.float32)}, "NaN"),
        ({"visual": np.full((3, 6), 1e6, np.float32)}, "beyond float16"),
    ],
)
def test_wrong_arguments_are_named(models: dict[str, MEmoBERT], arguments: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError, match=said):
        models["memobert_prompt"].predict(**arguments)


def test_a_pretrained_model_fills_masks_and_encodes_but_tells_no_emotion(models: dict[str, MEmoBERT]) -> None:
    model = models["memobert_pretraining"]
    assert model.labels == []
    with pytest.raises(UserError, match="only pre-trained"):
        model.predict(text="stop it")
    words = model.fill_mask("I am [MASK].", text="stop it", top_k=1000)
    assert not {"[CLS]", "[PAD]", "[SEP]", "[UNK]", "[MASK]"} & {word for word, _ in words}
    assert 0.9 < sum(share for _, share in words) < 1.0
    assert model.encode(text="stop it").text.shape == (4, 16)


def test_the_templates_mask_is_what_the_prompt_reads(models: dict[str, MEmoBERT]) -> None:
    model = models["memobert_prompt"]
    answer = model.predict(text="we love it")
    shares = dict(model.fill_mask("i am [MASK] .", text="we love it", top_k=100))
    emotions = {"anger": "angry", "happy": "happy", "neutral": "neutral", "sad": "sad"}
    among = {label: shares[word] for label, word in emotions.items()}
    expected = {label: share / sum(among.values()) for label, share in among.items()}
    assert answer.probabilities == pytest.approx(expected, abs=1e-5)
    assert answer.word == max(shares, key=lambda word: shares[word])


@pytest.mark.parametrize("template", ["i am happy", "[MASK] and [MASK]"])
def test_a_template_has_one_mask(models: dict[str, MEmoBERT], template: str) -> None:
    with pytest.raises(UserError, match="exactly one"):
        models["memobert_prompt"].fill_mask(template)


def test_a_finetuned_model_fills_no_mask(models: dict[str, MEmoBERT]) -> None:
    assert models["memobert_finetune"].predict(text="we love it").word is None
    with pytest.raises(UserError, match="word head was not trained"):
        models["memobert_finetune"].fill_mask("i am [MASK] .")


def test_an_encoding_has_a_row_for_every_piece_and_frame(models: dict[str, MEmoBERT]) -> None:
    model = models["memobert_finetune"]
    faces, speech = (np.random.default_rng(0).normal(size=(9, dim)).astype(np.float32) for dim in (6, 5))
    found = model.encode(text="stop it", visual=faces, acoustic=speech)
    assert found.pieces == ("[CLS]", "stop", "it", "[SEP]")
    assert found.text.shape == (4, 16) and found.visual.shape == (9, 16) and found.acoustic.shape == (9, 16)
    assert len(found.visual_times) == len(found.acoustic_times) == 9
    without = model.encode(text="stop it", acoustic=speech)
    assert without.visual.shape == (0, 16) and not np.allclose(without.text, found.text)


@pytest.mark.parametrize(("dtype", "tolerance"), [("float16", 0.05), ("bfloat16", 0.15), (torch.float64, 0.0)])
def test_other_precisions(bundle: Path, models: dict[str, MEmoBERT], dtype: Any, tolerance: float) -> None:
    if dtype is torch.float64:
        with pytest.raises(UserError, match="dtype float64"):
            MEmoBERT.from_pretrained(bundle, dtype=dtype)
        return
    model = MEmoBERT.from_pretrained(bundle, dtype=dtype)
    faces, speech = (np.random.default_rng(0).normal(size=(9, dim)).astype(np.float32) for dim in (6, 5))
    for streams in ({}, {"visual": faces, "acoustic": speech}):
        given: dict[str, Any] = {"text": "we love it", **streams}
        expected = models["memobert_prompt"].predict(**given).probabilities
        assert model.predict(**given).probabilities == pytest.approx(expected, abs=tolerance)


@pytest.mark.parametrize("device", ["cuda", "abacus"])
def test_a_device_that_is_not_there_is_named(bundle: Path, device: str) -> None:
    if device == "cuda" and torch.cuda.is_available():
        pytest.skip("there is one")
    with pytest.raises(UserError, match=device):
        MEmoBERT.from_pretrained(bundle, device=device)


def test_a_model_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such bundle or checkpoint"):
        MEmoBERT.from_pretrained(tmp_path / "none")
    with pytest.raises(UserError, match="not a bundle"):
        MEmoBERT.from_pretrained(tmp_path)


def test_the_documentation_is_true(bundle: Path) -> None:
    names = {"bundle": bundle, "model": MEmoBERT.from_pretrained(bundle), "np": np}
    tried = doctest.testmod(predictor, extraglobs=names)
    assert tried.attempted >= 8 and tried.failed == 0


CORE_ONLY = """
import sys
for name in ("av", "ai_edge_litert", "silero_vad", "pysubs2", "matplotlib", "transformers"):
    sys.modules[name] = None
import soundfile
import numpy as np
from memobert_plugin import MEmoBERT
assert "torch" not in sys.modules
model = MEmoBERT.from_pretrained(sys.argv[1])
soundfile.write(sys.argv[2], np.sin(np.arange(16000) / 10), 16000)
answer = model.predict(sys.argv[2], "stop it")
print(sorted(name for name, use in answer.modalities.items() if use.present))
try:
    model.predict("clip.mp4")
except ValueError as error:
    print(error)
"""


def test_a_model_prints_what_it_is(bundle: Path, models: dict[str, MEmoBERT]) -> None:
    shown = str(MEmoBERT.from_pretrained(bundle)).splitlines()
    assert shown[:2] == ["MEmoBERT", "  architecture   1 layers of 16, 2 heads; 42 word pieces"]
    facts = dict(line.strip().split(maxsplit=1) for line in shown[1:])
    assert facts["labels"] == ", ".join(models["memobert_prompt"].labels)
    html = models["memobert_finetune"]._repr_html_()
    assert "a classifier head" in html and "prompt" not in html


SURROUNDINGS = """
import logging, os, random, signal, sys, warnings
import numpy as np
import torch
from memobert_plugin import MEmoBERT

def state():
    return {
        "level": logging.root.level, "handlers": list(logging.root.handlers), "disabled": logging.root.manager.disable,
        "filters": list(warnings.filters), "threads": torch.get_num_threads(), "torch": torch.get_rng_state().tolist(),
        "numpy": str(np.random.get_state()), "python": random.getstate(), "gradients": torch.is_grad_enabled(),
        "float": torch.get_default_dtype(), "errors": np.geterr(), "signal": signal.getsignal(signal.SIGINT),
        "environment": dict(os.environ), "path": list(sys.path), "folder": os.getcwd(),
    }

torch.set_num_threads(2)
before = state()
model = MEmoBERT.from_pretrained()
loaded = state()
model.predict(sys.argv[1], "stop it", leave_out=True)
after = state()
changed = {name for name in before if not before[name] == loaded[name] == after[name]}
print(changed, "fairseq" in sys.modules)
"""


def test_the_callers_logging_warnings_threads_and_random_numbers_stay(tmp_path: Path) -> None:
    film = write_film(tmp_path / "film.mp4", seconds=1.0, samples=tone(1.0))
    command = [sys.executable, "-c", SURROUNDINGS, str(film)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, cwd=ROOT, check=False)
    assert done.stdout == "set() False\n", done.stderr


@pytest.mark.slow
def test_a_bundle_works_where_only_the_core_is_installed(clip_bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "clip.mp4").touch()
    finished = subprocess.run(
        [sys.executable, "-c", CORE_ONLY, str(clip_bundle), str(tmp_path / "clip.wav")],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert finished.returncode == 0, finished.stderr
    read, missing = finished.stdout.splitlines()[-2:]
    assert read == "['acoustic', 'text']" and 'pip install ".[video]"' in missing
