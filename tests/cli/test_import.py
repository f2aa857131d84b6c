"""``memobert-import``: what it writes is what the host starts training from, and what it says is true."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from transformers import BertForMaskedLM, BertModel

from memobert_plugin.cli.import_ import main
from memobert_plugin.core.errors import UserError
from memobert_plugin.models.memobert import MEmoBERTModel, MEmoBERTTinyConfig
from memobert_plugin.nn.network import weights_of_checkpoint
from tests.reference.bert_folder import bert_config, bert_vocabulary, random_bert, write_bert_folder
from tests.reference.official_checkpoint import write_official
from tests.reference.parameters import Config

VOCABULARY = bert_vocabulary()
SYMBOLS = [
    "[CLS]",
    "[PAD]",
    "[SEP]",
    "[UNK]",
    *(p for p in VOCABULARY if p not in ("[CLS]", "[PAD]", "[SEP]", "[UNK]")),
]
TINY = bert_config(layers=2, hidden=128, heads=2, ffn=512, rows=len(VOCABULARY), positions=512)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A BERT of ``memobert_tiny``'s size without an MLM head."""
    return write_bert_folder(tmp_path / "bert", random_bert(BertModel, TINY), VOCABULARY)


def started_from(checkpoint: Path, model: MEmoBERTModel, save_dir: Path) -> tuple[Any, dict[str, Any]]:
    """The host's own trainer after ``--finetune-from-model``, and the extra state it read."""
    from fairseq import checkpoint_utils
    from fairseq.dataclass.configs import FairseqConfig
    from fairseq.optim.adam import FairseqAdamConfig
    from fairseq.optim.lr_scheduler.fixed_schedule import FixedLRScheduleConfig
    from fairseq.trainer import Trainer
    from omegaconf import OmegaConf

    config = FairseqConfig()
    config.common.cpu = True
    config.checkpoint.save_dir = str(save_dir)
    config.checkpoint.finetune_from_model = str(checkpoint)
    config.model = MEmoBERTTinyConfig()
    config.optimizer = OmegaConf.structured(FairseqAdamConfig(_name="adam", lr=[1e-3], tpu=False))
    config.lr_scheduler = OmegaConf.structured(FixedLRScheduleConfig(_name="fixed", lr=[1e-3]))
    trainer = Trainer(config, SimpleNamespace(), model, torch.nn.Module())
    trainer.get_train_iterator = lambda epoch, **_: SimpleNamespace(epoch=epoch)
    extra_state, _ = checkpoint_utils.load_checkpoint(config.checkpoint, trainer)
    return trainer, extra_state


def test_the_host_starts_training_from_what_is_written(tmp_path: Path, folder: Path) -> None:
    checkpoint = tmp_path / "new" / "bert.pt"
    assert main(["bert", str(folder), "--output", str(checkpoint)]) == 0
    model = MEmoBERTModel.build(MEmoBERTTinyConfig(), len(SYMBOLS), 7, 5, 3, labels=4, symbols=SYMBOLS)
    fresh = {name: value.clone() for name, value in model.state_dict().items()}
    trainer, extra_state = started_from(checkpoint, model, tmp_path / "run")
    assert trainer.get_num_updates() == 0
    assert extra_state["train_iterator"]["epoch"] == 1

    imported = torch.load(checkpoint, weights_only=True)["model"]
    for name, value in model.state_dict().items():
        assert torch.equal(value, imported.get(name, fresh[name])), name
    assert "pooler.weight" in imported
    assert "heads.wwmlm.transform.weight" not in imported


def test_the_host_refuses_it_for_a_model_with_another_dictionary(tmp_path: Path, folder: Path) -> None:
    checkpoint = tmp_path / "bert.pt"
    main(["bert", str(folder), "--output", str(checkpoint)])
    other = [*SYMBOLS[:-2], SYMBOLS[-1], SYMBOLS[-2]]
    model = MEmoBERTModel.build(MEmoBERTTinyConfig(), len(other), 7, 5, 3, symbols=other)
    with pytest.raises(SystemExit, match="dictionary"):
        started_from(checkpoint, model, tmp_path / "run")


def test_the_checkpoint_is_plain_and_names_its_architecture(tmp_path: Path, folder: Path) -> None:
    checkpoint = tmp_path / "bert.pt"
    main(["bert", str(folder), "--output", str(checkpoint)])
    content = torch.load(checkpoint, weights_only=True)
    assert content["cfg"]["model"]["_name"] == "memobert_tiny"
    json.dumps({name: value for name, value in content.items() if name != "model"})
    assert {type(value) for value in content["model"].values()} == {torch.Tensor}
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == ["bert.pt"]


def test_it_says_what_was_taken_what_is_new_and_how_to_go_on(
    tmp_path: Path, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["bert", str(folder), "--output", str(tmp_path / "bert.pt")])
    said = capsys.readouterr().out
    assert "2 layers x 128 x 2 heads, feed-forward 512, 512 positions: memobert_tiny" in said
    assert "taken: 31 parameters, 0.5 million numbers" in said
    assert "new, initialised when training starts: visual_embedder.*" in said
    assert "heads.wwmlm.*" in said
    assert "unused: nothing" in said
    assert f"--arch memobert_tiny --finetune-from-model {tmp_path / 'bert.pt'}" in said


def test_sizes_that_no_architecture_has_are_spelled_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    padded = bert_config(layers=1, hidden=24, heads=3, ffn=40, rows=len(VOCABULARY) + 8)
    folder = write_bert_folder(tmp_path / "bert", random_bert(BertForMaskedLM, padded), VOCABULARY)
    main(["bert", str(folder), "--output", str(tmp_path / "bert.pt")])
    said = capsys.readouterr().out
    assert "dropped: the last 8 embedding rows, which the vocabulary does not name" in said
    flags = (
        "--arch memobert --encoder-layers 1 --encoder-embed-dim 24 --encoder-ffn-embed-dim 40 "
        "--encoder-attention-heads 3 --max-positions 64 --finetune-from-model"
    )
    assert flags in said
    sizes = torch.load(tmp_path / "bert.pt", weights_only=True)["cfg"]["model"]
    assert (sizes["_name"], sizes["encoder_layers"], sizes["max_positions"]) == ("memobert", 1, 64)


def test_a_dry_run_writes_nothing(tmp_path: Path, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bert", str(folder), "--output", str(tmp_path / "bert.pt"), "--dry-run"]) == 0
    assert main(["bert", str(folder), "--dry-run"]) == 0
    assert not (tmp_path / "bert.pt").exists()
    assert "memobert_tiny" in capsys.readouterr().out


def test_a_failed_import_leaves_an_earlier_checkpoint_alone(tmp_path: Path, folder: Path) -> None:
    checkpoint = tmp_path / "bert.pt"
    checkpoint.write_bytes(b"earlier")
    (folder / "vocab.txt").write_text("[PAD]\n", encoding="utf-8")
    with pytest.raises(UserError, match=r"vocab\.txt"):
        main(["bert", str(folder), "--output", str(checkpoint), "--overwrite"])
    assert checkpoint.read_bytes() == b"earlier"


def test_an_output_that_cannot_be_written_is_named(tmp_path: Path, folder: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"file/bert\.pt: cannot be written"):
        main(["bert", str(folder), "--output", str(tmp_path / "file" / "bert.pt")])
    (tmp_path / "taken.pt").mkdir()
    with pytest.raises(UserError, match=r"taken\.pt: cannot be written"):
        main(["bert", str(folder), "--output", str(tmp_path / "taken.pt")])
    with pytest.raises(UserError, match="--output: missing"):
        main(["bert", str(folder)])


OFFICIAL_TINY = Config(
    vocabulary=len(VOCABULARY), layers=2, hidden=128, heads=2, ffn=512, max_positions=512, visual_dim=7, acoustic_dim=5
)


@pytest.mark.parametrize("finetuned", [False, True])
def test_the_host_starts_training_from_an_authors_checkpoint(tmp_path: Path, finetuned: bool) -> None:
    official = write_official(tmp_path, OFFICIAL_TINY, finetuned)
    checkpoint = tmp_path / "new" / "memobert.pt"
    assert main(["official", *official.flags, "--output", str(checkpoint)]) == 0
    model = MEmoBERTModel.build(MEmoBERTTinyConfig(), len(SYMBOLS), 7, 5, 5, labels=3, symbols=SYMBOLS)
    fresh = {name: value.clone() for name, value in model.state_dict().items()}
    trainer, extra_state = started_from(checkpoint, model, tmp_path / "run")
    assert (trainer.get_num_updates(), extra_state["train_iterator"]["epoch"]) == (0, 1)

    content = torch.load(checkpoint, weights_only=True)
    imported = weights_of_checkpoint(content["model"])  # with the statistics that every embedder has
    assert content["cfg"]["model"]["_name"] == "memobert_tiny"
    for name, value in weights_of_checkpoint(model.state_dict()).items():
        expected = fresh[name] if name.startswith("heads.classify.") and not finetuned else imported[name]
        assert torch.equal(value, expected), name


def test_it_says_what_became_of_an_authors_checkpoint(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    official = write_official(tmp_path, replace(OFFICIAL_TINY, labels=4))
    state = official.state()
    state["uniter.speech_embeddings.mask_embedding.weight"][0] = 0.5
    official.rewrite({**state, "surprise.weight": torch.zeros(2)})
    output = tmp_path / "memobert.pt"
    main(["official", *official.flags, "--output", str(output)])
    said = capsys.readouterr().out.splitlines()
    assert said[0].endswith("2 layers x 128 x 2 heads, feed-forward 512, 512 positions: memobert_tiny")
    assert said[2:] == [
        "new, initialised when training starts: nothing",
        "unused: surprise.weight",
        "frames: 7 numbers for each visual one, 5 numbers for each acoustic one, 5 facial expressions",
        "dropped: vfom_output.*, sfom_output.*, emo_classifier.*, itm_output.*, eitm_output.*, "
        "which the published model does not use",
        "acoustic_embedder.mask: row 0, for frames that are not masked, reaches 0.5; treated as zero, as in the "
        "published network",
        "emotions in the order of the finetuned head: anger, happy, neutral, sad",
        f"written: {output}; use it with --arch memobert_tiny --labels anger,happy,neutral,sad "
        f"--finetune-from-model {output}",
    ]


def test_the_order_of_a_finetuned_heads_emotions_is_stated_or_asked_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = [*write_official(tmp_path / "three", OFFICIAL_TINY).flags, "--dry-run"]
    main(["official", *flags])
    assert "emotions of the finetuned head: 3 of unknown names; state them with --labels" in capsys.readouterr().out
    main(["official", *flags, "--labels", "sad, happy,neutral"])
    assert "in the order of the finetuned head: sad, happy, neutral\n" in capsys.readouterr().out
    for wrong in ("sad,happy", "sad,happy,sad", "sad,,happy"):
        with pytest.raises(UserError, match="has 3 emotions"):
            main(["official", *flags, "--labels", wrong])
    pretrained = write_official(tmp_path / "pretrained", OFFICIAL_TINY, finetuned=False)
    with pytest.raises(UserError, match="has no finetuned head"):
        main(["official", *pretrained.flags, "--dry-run", "--labels", "sad,happy,neutral"])


def test_a_dry_run_of_an_authors_checkpoint_writes_nothing(tmp_path: Path) -> None:
    flags = write_official(tmp_path, OFFICIAL_TINY).flags
    assert main(["official", *flags, "--output", str(tmp_path / "x.pt"), "--dry-run"]) == 0
    assert not (tmp_path / "x.pt").exists()
    with pytest.raises(UserError, match="--output: missing"):
        main(["official", *flags])


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    program = "from memobert_plugin.cli.import_ import cli_main; cli_main()"
    return subprocess.run([sys.executable, "-c", program, *arguments], capture_output=True, text=True, check=False)


@pytest.mark.parametrize("source", ["bert", "official"])
def test_help_is_fast(source: str) -> None:
    start = time.monotonic()
    finished = run(source, "--help")
    assert time.monotonic() - start < 1.5
    assert finished.returncode == 0
    assert "--dry-run" in finished.stdout


def test_a_mistake_ends_in_one_line(tmp_path: Path) -> None:
    finished = run("bert", str(tmp_path / "nowhere"), "--dry-run")
    assert (finished.returncode, finished.stdout) == (2, "")
    assert len(finished.stderr.splitlines()) == 1
    assert str(tmp_path / "nowhere" / "config.json") in finished.stderr
