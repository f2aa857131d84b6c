"""Files of weights whose pickle runs code: every command that loads weights refuses them, and nothing is run."""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import os
import pickle
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from memobert_plugin.checkpoints import last_checkpoint
from memobert_plugin.checkpoints.fairseq_checkpoint import read_fairseq_checkpoint
from memobert_plugin.cli import export, extract, import_, predict
from memobert_plugin.core.errors import UserError
from memobert_plugin.data.manifest import ManifestRow, write_manifest
from memobert_plugin.features.denseface import weights as denseface_weights
from memobert_plugin.features.denseface.weights import read_checkpoint
from tests.data_bins import CorpusShape, make_data_bin, write_vocabulary
from tests.fuzzing.targets import make_bundle
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


def extract_acoustic_from_folder(folder: Path, weights: Path) -> Sequence[str]:
    model = folder / "wav2vec2"
    model.mkdir()
    sizes = ("num_hidden_layers", "hidden_size", "intermediate_size", "num_attention_heads")
    convolutions = {name: [4] for name in ("conv_dim", "conv_kernel", "conv_stride")}
    settings = {"model_type": "wav2vec2", **dict.fromkeys(sizes, 4), **convolutions}
    (model / "config.json").write_text(json.dumps(settings))
    weights.rename(model / "pytorch_model.bin")
    return extract_acoustic(folder, model)


def extract_visual(folder: Path, weights: Path) -> Sequence[str]:
    write_manifest(folder / "manifest.tsv", [ManifestRow(line=0, id="u1", video="a.mp4")])
    return [
        "visual", "--manifest", str(folder / "manifest.tsv"), "--output", str(folder / "frames"),
        *quiet_faces(folder), "--face-weights", str(weights),
    ]  # fmt: skip


def extract_film(folder: Path, weights: Path) -> Sequence[str]:
    (folder / "film.mp4").touch()
    return [
        "film", str(folder / "film.mp4"), "--output", str(folder / "frames"), *quiet_faces(folder),
        "--face-weights", str(weights),
    ]  # fmt: skip


def extract_film_sound(folder: Path, weights: Path) -> Sequence[str]:
    (folder / "film.mp4").touch()
    return [
        "film", str(folder / "film.mp4"), "--output", str(folder / "frames"), *quiet_faces(folder),
        "--encoder", "wav2vec2", "--weights", str(weights),
    ]  # fmt: skip


def quiet_faces(folder: Path) -> Sequence[str]:
    (folder / "tracks").mkdir()
    return ["--faces", "tracker", "--tracker", str(folder / "tracks"), "--voice", "energy"]


def export_bundle(folder: Path, weights: Path) -> Sequence[str]:
    return [str(weights), str(folder / "bundle")]


def predict_with_checkpoint(folder: Path, weights: Path) -> Sequence[str]:
    return ["--text", "i am", "--model", str(weights)]


def predict_with_bundle(folder: Path, weights: Path) -> Sequence[str]:
    """Everything about it is right but the weights' own format."""
    bundle = make_bundle(make_data_bin(folder / "corpus", CorpusShape(speakers=2, utterances=3)), folder / "bundle")
    configuration = json.loads((bundle / "config.json").read_text())
    configuration["sha256"]["model.safetensors"] = hashlib.sha256(weights.read_bytes()).hexdigest()
    (bundle / "config.json").write_text(json.dumps(configuration))
    weights.rename(bundle / "model.safetensors")
    return ["--text", "i am", "--model", str(bundle)]


def pack_denseface(folder: Path, weights: Path) -> Sequence[str]:
    return [str(weights), str(folder / "denseface.safetensors")]


Arguments = Callable[[Path, Path], Sequence[str]]
"""Makes a command's files around some weights, and says how the command is called."""

COMMANDS: dict[Arguments, Callable[[Sequence[str] | None], int]] = {
    import_bert: import_.main,
    import_official: import_.main,
    extract_acoustic: extract.main,
    extract_acoustic_from_folder: extract.main,
    extract_visual: extract.main,
    extract_film: extract.main,
    extract_film_sound: extract.main,
    export_bundle: export.main,
    predict_with_checkpoint: predict.main,
    predict_with_bundle: predict.main,
    pack_denseface: denseface_weights.main,
}
"""All that load weights, but for those of the host, which have a test of their own."""


@pytest.mark.parametrize("arguments", COMMANDS, ids=lambda function: function.__name__)
def test_a_command_refuses_the_file_and_runs_nothing(arguments: Arguments, weights: Path, tmp_path: Path) -> None:
    given = arguments(tmp_path, weights)
    with pytest.raises(UserError, match=r"(weights\.pt|pytorch_model\.bin|model\.safetensors): .*"):
        COMMANDS[arguments](given)
    assert not (tmp_path / "executed").exists()


def test_the_launcher_runs_nothing_of_a_checkpoint_that_it_finds(weights: Path, tmp_path: Path) -> None:
    weights.rename(tmp_path / "checkpoint_last.pt")
    with contextlib.suppress(UserError):
        last_checkpoint.main([str(tmp_path)])
    assert not (tmp_path / "executed").exists()


@pytest.mark.parametrize(
    "read", [read_fairseq_checkpoint, read_checkpoint], ids=["a checkpoint", "DenseFace's checkpoint"]
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
        said = "Weights only" if name == "validate" else "holds more than plain data, and was not opened"
        assert said in run.log, f"{name} failed for another reason:\n{run.log}"


def test_the_payload_would_work(weights: Path, tmp_path: Path) -> None:
    """Else the tests above would prove nothing."""
    with contextlib.suppress(RuntimeError):  # torch asks for more than a plain pickle has, but only after reading it
        torch.load(weights, weights_only=False)
    assert (tmp_path / "executed").is_dir()
