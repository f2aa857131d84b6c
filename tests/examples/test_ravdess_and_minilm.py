"""The scripts beside the RAVDESS and MiniLM recipes: tables, the simple baseline, curves and the list of commands."""

from __future__ import annotations

import importlib.util
import json
import runpy
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from memobert_plugin.core.errors import UserError
from memobert_plugin.data.corpus import Corpus
from memobert_plugin.data.prompts import Template, Verbalizer
from memobert_plugin.data.tokenizer import WordPieceTokenizer
from tests.data_bins import CorpusShape, make_data_bin

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


def load(script: str) -> ModuleType:
    """A script as a module of its own."""
    name = f"example_{script.replace('/', '_')}"
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{script}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # where a dataclass looks for its own module
    try:
        spec.loader.exec_module(module)
    finally:
        del sys.modules[name]
    return module


def run_script(script: str, monkeypatch: pytest.MonkeyPatch, *arguments: object) -> int:
    """The script as it is typed; its exit status."""
    monkeypatch.setattr(sys, "argv", [f"{script}.py", *map(str, arguments)])
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(str(EXAMPLES / f"{script}.py"), run_name="__main__")
    return int(ended.value.code or 0)


def write_predictions(path: Path, pairs: list[tuple[str, str]]) -> None:
    """A file of predictions with the labels a and b."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [{"label": label, "prediction": said, "probabilities": {"a": 0.5, "b": 0.5}} for label, said in pairs]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")


def test_the_table_has_the_mean_over_folds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_predictions(tmp_path / "direct" / "fold1.jsonl", [("a", "a"), ("a", "a"), ("a", "a"), ("b", "a")])
    write_predictions(tmp_path / "direct" / "fold2.jsonl", [("a", "a"), ("b", "b")])
    assert run_script("ravdess/results", monkeypatch, tmp_path) == 0
    out = capsys.readouterr().out
    assert [line.split() for line in out.splitlines() if line.startswith("direct")] == [
        ["direct", "87.5", "±", "17.7", "75.0", "±", "35.4"]
    ]
    assert run_script("ravdess/results", monkeypatch, tmp_path / "nowhere") == 2


def test_the_baseline_learns_from_the_other_speakers(tmp_path: Path) -> None:
    baseline = load("ravdess/baseline")
    shape = CorpusShape(utterances=30, visual_dim=0)
    corpus = Corpus(make_data_bin(tmp_path, shape))
    labels = sorted(shape.emotions)
    scores = baseline.fold_scores(corpus, labels)
    assert len(scores) == shape.speakers
    assert np.mean([fold.uar for fold in scores]) > 0.8
    assert sum(fold.counts.sum() for fold in scores) == (corpus.acoustic_lengths > 0).sum()
    with pytest.raises(UserError, match="has no bored"):
        baseline.fold_scores(corpus, ["bored", *labels])


def test_every_fold_pre_trains_without_the_speaker_it_tests() -> None:
    run = load("ravdess/run")
    speakers = ["Actor_01", "Actor_02", "Actor_10"]
    steps = {step.name: step.command for _, steps in run.phases(speakers) for step in steps}
    for fold, speaker in enumerate(speakers, 1):
        command = steps[f"pretraining_fold{fold}"]
        assert command[command.index("--exclude-speakers") + 1] == speaker
        for setting in ("pretrain_finetune", "pretrain_prompt"):
            command = steps[f"{setting}_fold{fold}"]
            assert command[command.index("--fold") + 1] == str(fold)
            assert f"checkpoints/pretraining/fold{fold}/checkpoint_best.pt" in command
        assert "--finetune-from-model" not in steps[f"direct_fold{fold}"]


def test_the_vocabulary_holds_the_prompt_and_the_emotion_words() -> None:
    tokenizer = WordPieceTokenizer.from_vocab(EXAMPLES / "ravdess" / "vocab.txt")
    Template.parse("i am [MASK] .").encode(tokenizer)
    labels = ["anger", "happy", "neutral", "sad"]
    words = Verbalizer.parse("anger=angry happy=happy neutral=neutral sad=sad", labels).encode(tokenizer)
    assert [len(pieces) for pieces in words] == [1, 1, 1, 1]
    for statement in ("Kids are talking by the door", "Dogs are sitting by the door"):
        ids, _ = tokenizer.encode(statement)
        assert tokenizer.symbols.index("[UNK]") not in ids


def test_curves_are_drawn_from_logs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("matplotlib")
    lines = [
        '2026 | INFO | train_inner | {"num_updates": "10", "wwmlm_loss": "9.5"}',
        '2026 | INFO | valid | {"valid_num_updates": "10", "valid_wwmlm_loss": "9", "valid_wwmlm_accuracy": "1"}',
        '2026 | INFO | valid | {"valid_num_updates": "20", "valid_wwmlm_loss": "4.5", "valid_wwmlm_accuracy": "20"}',
    ]
    (tmp_path / "run.log").write_text("\n".join(lines), encoding="utf-8")
    assert run_script("minilm/curves", monkeypatch, tmp_path / "curves.png", f"mine={tmp_path / 'run.log'}") == 0
    assert "mine: valid wwmlm_loss 4.50 after 20 updates" in capsys.readouterr().out
    assert (tmp_path / "curves.png").stat().st_size > 1000
    assert run_script("minilm/curves", monkeypatch, tmp_path / "curves.png", "mine=nowhere.log") == 2
