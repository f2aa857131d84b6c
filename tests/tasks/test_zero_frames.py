"""``--zero-frames``: what training reads of an utterance without faces or speech is what prediction reads."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from memobert_plugin import MEmoBERT
from memobert_plugin.cli import export
from tests.data_bins import CorpusShape, make_data_bin
from tests.host import TrainingRun
from tests.inference.models import utterances_of


def probabilities(model: MEmoBERT, data_bin: Path) -> dict[str, dict[str, float]]:
    utterances = utterances_of(data_bin)
    answers = model.predict(utterances)
    return {answer.name: dict(answer.probabilities) for answer in answers}


def test_prediction_reads_the_zero_frame_that_training_read(tmp_path: Path) -> None:
    data_bin = make_data_bin(tmp_path / "corpus", CorpusShape(speakers=3, utterances=12))
    flags = ("--fold", "1", "--zero-frames", "--lr", "3e-3", "--predictions", str(tmp_path / "test.jsonl"))
    run = TrainingRun(data_bin, "memobert_prompt", *flags)
    run.train(5)
    checkpoint = run.save(tmp_path / "zero.pt")
    run.validate("test")
    expected = {line["id"]: line for line in map(json.loads, (tmp_path / "test.jsonl").read_text().splitlines())}
    found = probabilities(MEmoBERT.from_pretrained(checkpoint), data_bin)
    for name, line in expected.items():
        assert found[name] == pytest.approx(line["probabilities"], abs=1e-5)

    plain = TrainingRun(data_bin, "memobert_prompt", "--fold", "1", "--lr", "3e-3")
    plain.train(1)
    plain.model.load_state_dict(run.model.state_dict())
    without = plain.save(tmp_path / "plain.pt")
    assert export.main([str(without), str(tmp_path / "plain")]) == 0
    assert export.main([str(without), str(tmp_path / "zero"), "--zero-frames"]) == 0
    left_out, filled = (
        probabilities(MEmoBERT.from_pretrained(tmp_path / name), data_bin) for name in ("plain", "zero")
    )
    assert filled == found
    differing = {name for name in filled if not np.allclose(list(filled[name].values()), list(left_out[name].values()))}
    lacking = {one.name for one in utterances_of(data_bin) if one.visual is None or one.acoustic is None}
    assert differing and differing <= lacking
