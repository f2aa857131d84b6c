"""Files of weights whose pickle runs code: every command that loads weights refuses them, and nothing is run."""

from __future__ import annotations

import argparse
import contextlib
import os
import pickle
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from memobert_plugin.checkpoints.host_checkpoint import read_host_checkpoint
from memobert_plugin.cli import export, extract, import_
from memobert_plugin.data.manifest import ManifestRow, write_manifest
from memobert_plugin.errors import UserError
from memobert_plugin.features.denseface_weights import read_checkpoint
from tests.data_bins import CorpusShape, make_data_bin, write_vocabulary
from tests.host import USER_DIR, run_commands, training_flags


class Payload:
    """Makes a folder when it is unpickled."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[str]]:
        return os.mkdir, (str(self.folder),)


def as_torch_archive(path: Path, content: object) -> None:
    torch.save(content, path)


def as_old_torch_file(path: Path, content: object) -> None:
    torch.save(content, path, _use_new_zipfile_serialization=False)


def as_plain_pickle(path: Path, content: object) -> None:
    path.write_bytes(pickle.dumps(content))


FORMS = (as_torch_archive, as_old_torch_file, as_plain_pickle)


@pytest.fixture(params=FORMS, ids=lambda form: form.__name__)
def weights(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A file that looks like a checkpoint and makes ``tmp_path / "executed"`` when it is trusted."""
    path = tmp_path / "weights.pt"
    request.param(path, {"model": {"weight": torch.ones(2)}, "cfg": {}, "extra_state": Payload(tmp_path / "executed")})
    return path


def import_bert(folder: Path, weights: Path) -> Sequence[str]:
    bert = folder / "bert"
    bert.mkdir()
    write_vocabulary(bert)
    sizes = "hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size", "max_position_embeddings"
    (bert / "config.json").write_text("{" + ", ".join(f'"{name}": 4' for name in sizes) + "}")
    weights.rename(bert / "pytorch_model.bin")
    return ["bert", str(bert), "--output", str(folder / "out.pt")]


def import_official(folder: Path, weights: Path) -> Sequence[str]:
    (folder / "config.json").write_text('{"num_attention_heads": 2}')
    vocabulary = write_vocabulary(folder)
    return [
        "official", "--checkpoint", str(weights), "--config", str(folder / "config.json"), "--vocab", str(vocabulary),
        "--output", str(folder / "out.pt"),
    ]  # fmt: skip


def extract_acoustic(folder: Path, weights: Path) -> Sequence[str]:
    write_manifest(folder / "manifest.tsv", [ManifestRow(line=0, id="u1", audio="a.wav")])
    return [
        "acoustic", "--manifest", str(folder / "manifest.tsv"), "--output", str(folder / "frames"),
        "--encoder", "wav2vec2", "--weights", str(weights),
    ]  # fmt: skip


def export_bundle(folder: Path, weights: Path) -> Sequence[str]:
    return [str(weights), str(folder / "bundle")]


Arguments = Callable[[Path, Path], Sequence[str]]
"""Makes a command's files around some weights, and says how the command is called."""

COMMANDS: dict[Arguments, Callable[[Sequence[str] | None], int]] = {
    import_bert: import_.main,
    import_official: import_.main,
    extract_acoustic: extract.main,
    export_bundle: export.main,
}


@pytest.mark.parametrize("arguments", COMMANDS, ids=lambda function: function.__name__)
def test_a_command_refuses_the_file_and_runs_nothing(arguments: Arguments, weights: Path, tmp_path: Path) -> None:
    given = arguments(tmp_path, weights)
    with pytest.raises(UserError):
        COMMANDS[arguments](given)
    assert not (tmp_path / "executed").exists()


@pytest.mark.parametrize(
    "read", [read_host_checkpoint, read_checkpoint], ids=["a checkpoint", "DenseFace's checkpoint"]
)
def test_reading_leaves_the_host_the_one_class_it_needs(read: Callable[[Path], object], weights: Path) -> None:
    with pytest.raises(UserError):
        read(weights)
    assert argparse.Namespace in torch.serialization.get_safe_globals()


def test_the_host_runs_nothing_of_a_checkpoint(tmp_path: Path) -> None:
    data_bin = make_data_bin(tmp_path / "corpus", CorpusShape(speakers=3, utterances=6))
    path, executed = tmp_path / "checkpoint.pt", tmp_path / "executed"
    as_torch_archive(path, {"model": {}, "cfg": None, "args": None, "extra_state": Payload(executed)})
    train = ["fairseq-train", *training_flags(data_bin, "memobert_finetune", "--fold", "1", "--max-update", "1")]
    evaluate = ["--task", "memobert_finetune", "--cpu", "--batch-size", "4", "--path", str(path)]
    finished = run_commands(
        tmp_path / "runs",
        {
            "finetune": [*train, "--save-dir", "a", "--finetune-from-model", str(path)],
            "restore": [*train, "--save-dir", "b", "--restore-file", str(path)],
            "validate": ["fairseq-validate", str(data_bin), "--user-dir", str(USER_DIR), *evaluate],
        },
    )
    assert not executed.exists()
    for name, run in finished.items():
        assert run.status != 0, name
        assert "weights_only" in run.log or "Weights only" in run.log, f"{name} failed for another reason:\n{run.log}"


def test_the_payload_would_work(weights: Path, tmp_path: Path) -> None:
    """Else the tests above would prove nothing."""
    with contextlib.suppress(RuntimeError):  # torch asks for more than a plain pickle has, but only after reading it
        torch.load(weights, weights_only=False)
    assert (tmp_path / "executed").is_dir()
