"""A bundle equals its checkpoint bit for bit, is refused when altered, and runs nothing."""

from __future__ import annotations

import dataclasses
import json
import math
import os
import pickle
import stat
from pathlib import Path

import pytest
import torch

from memobert_plugin.checkpoints.bundle import CARD, CONFIGURATION, TOKENIZER, WEIGHTS, read_bundle, write_bundle
from memobert_plugin.checkpoints.fairseq_checkpoint import read_fairseq_checkpoint
from memobert_plugin.core.errors import UserError
from memobert_plugin.nn.network import weights_of_checkpoint
from tests.data_bins import CorpusShape, make_data_bin
from tests.host import TrainingRun, load_safely

KINDS = {"memobert_pretraining": "pretraining", "memobert_prompt": "prompt", "memobert_finetune": "finetune"}
SHAPE = CorpusShape(speakers=3, utterances=10)


@pytest.fixture(scope="module")
def data_bin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_data_bin(tmp_path_factory.mktemp("corpus"), SHAPE)


@pytest.fixture(scope="module")
def checkpoints(data_bin: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("checkpoints")
    saved = {}
    for task, kind in KINDS.items():
        run = TrainingRun(data_bin, task, *([] if kind == "pretraining" else ["--fold", "1"]))
        run.train(1)
        saved[kind] = run.save(folder / f"{kind}.pt")
    return saved


@pytest.fixture
def bundle(checkpoints: dict[str, Path], tmp_path: Path) -> Path:
    write_bundle(read_fairseq_checkpoint(checkpoints["prompt"]), tmp_path / "bundle")
    return tmp_path / "bundle"


@pytest.mark.parametrize("kind", KINDS.values())
def test_weights_and_description_come_back_bit_for_bit(checkpoints: dict[str, Path], tmp_path: Path, kind: str) -> None:
    exported = read_fairseq_checkpoint(checkpoints[kind])
    write_bundle(exported, tmp_path / "bundle")
    loaded = read_bundle(tmp_path / "bundle")
    assert loaded.description == exported.description and loaded.description.kind == kind
    assert loaded.tokenizer_files == exported.tokenizer_files
    saved = weights_of_checkpoint(load_safely(checkpoints[kind])["model"])
    assert set(loaded.weights) == set(saved)
    for name, weight in saved.items():
        assert loaded.weights[name].dtype == weight.dtype and torch.equal(loaded.weights[name], weight), name


@pytest.mark.parametrize("kind", KINDS.values())
def test_the_built_model_has_the_checkpoints_parameters(checkpoints: dict[str, Path], kind: str) -> None:
    model = read_fairseq_checkpoint(checkpoints[kind]).build(torch.device("cpu"), torch.float32)
    saved = weights_of_checkpoint(load_safely(checkpoints[kind])["model"])
    not_read = {name for name in saved if name.startswith(("heads.mvfr.", "heads.mvfc.", "heads.mafr."))}
    assert not_read and set(model.state_dict()) == set(saved) - not_read
    assert all(torch.equal(value, saved[name]) for name, value in model.state_dict().items())
    assert not model.training and not any(parameter.requires_grad for parameter in model.parameters())


def test_a_bundle_says_how_it_was_trained_and_names_no_path(bundle: Path, data_bin: Path) -> None:
    configuration = json.loads((bundle / CONFIGURATION).read_text())
    facts = configuration["model"]["training"]
    assert facts["task"] == "memobert_prompt" and facts["updates"] == 1 and facts["fold"]["test"] == "spk0"
    assert configuration["model"]["acoustic_extractor"]["name"] == "generated"
    card = (bundle / CARD).read_text()
    assert "spk0" in card and "anger, happy, neutral, sad" in card
    for file in (bundle / CONFIGURATION, bundle / CARD):
        assert str(data_bin.parent) not in file.read_text()


@pytest.mark.parametrize("name", [WEIGHTS, f"{TOKENIZER}/vocab.txt", f"{TOKENIZER}/settings.json"])
@pytest.mark.parametrize("how", ["altered", "missing", "truncated"])
def test_an_altered_or_missing_file_is_refused_by_name(bundle: Path, name: str, how: str) -> None:
    path = bundle / name
    content = bytearray(path.read_bytes())
    if how == "missing":
        path.unlink()
    else:
        content[-1] ^= 1
        path.write_bytes(content if how == "altered" else content[:-1])
    with pytest.raises(UserError, match=path.name):
        read_bundle(bundle)


def test_a_tokenizer_file_that_was_added_is_refused(bundle: Path) -> None:
    (bundle / TOKENIZER / "sentencepiece.model").write_bytes(b"x")
    with pytest.raises(UserError, match=r"sentencepiece\.model: not the file that was exported"):
        read_bundle(bundle)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"format_version": 2}, "format 2"),
        ({"format": "other"}, "not the configuration"),
        ({"sha256": None}, "incomplete"),
        ({"model": {}}, "no acoustic_dim"),
    ],
)
def test_a_foreign_configuration_is_refused(bundle: Path, change: dict[str, object], said: str) -> None:
    configuration = json.loads((bundle / CONFIGURATION).read_text())
    (bundle / CONFIGURATION).write_text(json.dumps({**configuration, **change}))
    with pytest.raises(UserError, match=said):
        read_bundle(bundle)


@pytest.mark.parametrize(
    ("name", "value"),
    [("vocabulary", -1), ("kind", "poetry"), ("labels", ["one"]), ("limits", {"pieces": 3}), ("visual_dim", 7.5)],
)
def test_an_impossible_value_is_refused_by_name(bundle: Path, name: str, value: object) -> None:
    configuration = json.loads((bundle / CONFIGURATION).read_text())
    configuration["model"][name] = value
    (bundle / CONFIGURATION).write_text(json.dumps(configuration))
    with pytest.raises(UserError, match=f"{name} cannot be"):
        read_bundle(bundle)


@pytest.mark.parametrize(("stream", "numbers"), [("acoustic", SHAPE.acoustic_dim + 1), ("visual", SHAPE.visual_dim)])
def test_the_mean_of_other_frames_than_speech_is_refused(bundle: Path, stream: str, numbers: int) -> None:
    configuration = json.loads((bundle / CONFIGURATION).read_text())
    configuration["model"][f"{stream}_extractor"] = {"name": "made", "speaker_mean": [0.0] * numbers}
    (bundle / CONFIGURATION).write_text(json.dumps(configuration))
    with pytest.raises(UserError, match=f"{stream}_extractor: speaker_mean does not fit"):
        read_bundle(bundle)


@pytest.mark.parametrize("value", [0, 0.0, 1.0, "1e-5", None, float("nan")])
def test_an_impossible_epsilon_is_refused(bundle: Path, value: object) -> None:
    configuration = json.loads((bundle / CONFIGURATION).read_text())
    configuration["model"]["architecture"]["layer_norm_eps"] = value
    (bundle / CONFIGURATION).write_text(json.dumps(configuration))
    with pytest.raises(UserError, match="architecture cannot be"):
        read_bundle(bundle)


@pytest.mark.parametrize("size", ["encoder_layers", "encoder_embed_dim", "max_positions"])
def test_sizes_that_the_weights_do_not_have_are_refused(bundle: Path, size: str) -> None:
    configuration = json.loads((bundle / CONFIGURATION).read_text())
    configuration["model"]["architecture"][size] *= 1000
    (bundle / CONFIGURATION).write_text(json.dumps(configuration))
    with pytest.raises(UserError, match="weights"):
        read_bundle(bundle).build(torch.device("cpu"), torch.float32)


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("acoustic_embedder.mean", math.nan, r"acoustic_embedder\.mean holds NaN or infinite values"),
        ("visual_embedder.deviation", math.inf, r"visual_embedder\.deviation holds NaN or infinite values"),
        ("pooler.weight", math.nan, r"pooler\.weight holds NaN or infinite values, as after a training that diverged"),
        ("visual_embedder.deviation", 0.0, r"visual_embedder\.deviation holds numbers that are not above 0"),
        ("acoustic_embedder.mean", None, r"weights and configuration do not fit .*acoustic_embedder\.mean"),
        ("acoustic_embedder.deviation", None, r"weights and configuration do not fit .*acoustic_embedder\.deviation"),
    ],
)
def test_weights_that_answer_nothing_are_refused(
    checkpoints: dict[str, Path], tmp_path: Path, name: str, value: float | None, said: str
) -> None:
    model = read_fairseq_checkpoint(checkpoints["prompt"])
    weights = dict(model.weights)
    whole = weights.pop(name)
    if value is not None:
        weights[name] = whole.clone()
        weights[name].view(-1)[-1] = value
    unusable = dataclasses.replace(model, weights=weights)
    with pytest.raises(UserError, match=said):
        unusable.build(torch.device("cpu"), torch.float32)
    with pytest.raises(UserError, match=said):
        write_bundle(unusable, tmp_path / "bundle")
    assert not (tmp_path / "bundle").exists()


def test_only_an_earlier_bundle_is_ever_replaced(checkpoints: dict[str, Path], tmp_path: Path) -> None:
    model = read_fairseq_checkpoint(checkpoints["finetune"])
    foreign = tmp_path / "foreign"
    foreign.mkdir()
    (foreign / CONFIGURATION).write_text('{"architectures": ["BertModel"]}')
    for overwrite in (False, True):
        with pytest.raises(UserError, match="something else"):
            write_bundle(model, foreign, overwrite=overwrite)
    assert os.listdir(foreign) == [CONFIGURATION]
    write_bundle(model, tmp_path / "bundle")
    with pytest.raises(UserError, match="exists already"):
        write_bundle(model, tmp_path / "bundle")
    write_bundle(read_fairseq_checkpoint(checkpoints["prompt"]), tmp_path / "bundle", overwrite=True)
    assert read_bundle(tmp_path / "bundle").description.kind == "prompt"


def test_every_file_has_the_mode_the_user_asked_for(checkpoints: dict[str, Path], tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        write_bundle(read_fairseq_checkpoint(checkpoints["prompt"]), tmp_path / "bundle")
    finally:
        os.umask(before)
    files = [path for path in (tmp_path / "bundle").rglob("*") if path.is_file()]
    assert {stat.S_IMODE(path.stat().st_mode) for path in files} == {0o640}


class Harmful:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, ("touch harmed",)


def test_a_checkpoint_that_would_run_code_is_not_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"cfg": {}, "model": {}, "task_state": {}, "more": Harmful()}, tmp_path / "checkpoint.pt")
    with pytest.raises(UserError, match="more than plain data"):
        read_fairseq_checkpoint(tmp_path / "checkpoint.pt")
    (tmp_path / "pickle.pt").write_bytes(pickle.dumps(Harmful(), protocol=2))
    with pytest.raises(UserError, match=r"not opened|damaged"):
        read_fairseq_checkpoint(tmp_path / "pickle.pt")
    assert not (tmp_path / "harmed").exists()


def test_an_older_checkpoint_takes_tokenizer_and_extractors_from_its_data_bin(
    checkpoints: dict[str, Path], data_bin: Path, tmp_path: Path
) -> None:
    content = load_safely(checkpoints["prompt"])
    del content["task_state"]["origins"]
    torch.save(content, tmp_path / "older.pt")
    with pytest.raises(UserError, match="--data-bin"):
        read_fairseq_checkpoint(tmp_path / "older.pt")
    completed = read_fairseq_checkpoint(tmp_path / "older.pt", data_bin)
    carried = read_fairseq_checkpoint(checkpoints["prompt"])
    assert completed.description == carried.description and completed.tokenizer_files == carried.tokenizer_files


def test_another_data_bin_than_the_trained_one_is_refused(checkpoints: dict[str, Path], tmp_path: Path) -> None:
    other = make_data_bin(tmp_path, CorpusShape(speakers=1, utterances=3, visual_dim=9))
    with pytest.raises(UserError, match="visual frames have 9 dimensions"):
        read_fairseq_checkpoint(checkpoints["prompt"], other)
    centered = make_data_bin(tmp_path / "centered", SHAPE, center_speakers=True)
    with pytest.raises(UserError, match="it reads speech frames as they are, the data-bin's are centered"):
        read_fairseq_checkpoint(checkpoints["prompt"], centered)


@pytest.mark.parametrize("name", ["../outside.txt", "/tmp/outside.txt", "pickle.pkl"])
def test_a_tokenizer_file_of_another_name_is_never_written(
    checkpoints: dict[str, Path], tmp_path: Path, name: str
) -> None:
    content = load_safely(checkpoints["prompt"])
    content["task_state"]["origins"]["tokenizer"][name] = "eA=="
    torch.save(content, tmp_path / "checkpoint.pt")
    with pytest.raises(UserError, match="tokenizer file"):
        read_fairseq_checkpoint(tmp_path / "checkpoint.pt")
