"""``memobert-export`` on a small trained checkpoint."""

from __future__ import annotations

from pathlib import Path

import pytest

from memobert_plugin.checkpoints.bundle import read_bundle
from memobert_plugin.cli.export import main
from memobert_plugin.core.errors import UserError
from tests.data_bins import CorpusShape, make_data_bin
from tests.host import TrainingRun


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("trained")
    data_bin = make_data_bin(folder / "corpus", CorpusShape(speakers=2, utterances=8))
    run = TrainingRun(data_bin, "memobert_finetune", "--fold", "1", "--protocol", "all_but_one")
    run.train(1)
    return run.save(folder / "checkpoint.pt")


def test_a_bundle_is_written_and_described(
    checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(checkpoint), str(tmp_path / "bundle")]) == 0
    printed = capsys.readouterr().out
    assert "finetune: anger, happy, neutral, sad; visual frames by generated; acoustic frames by generated" in printed
    assert read_bundle(tmp_path / "bundle").description.labels == ["anger", "happy", "neutral", "sad"]


def test_a_file_that_is_no_checkpoint_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"none\.pt: cannot be opened"):
        main([str(tmp_path / "none.pt"), str(tmp_path / "bundle")])
    assert not (tmp_path / "bundle").exists()
