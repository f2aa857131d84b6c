"""Pre-training steps: their objectives and masks, a gradient for every parameter, the logs of validation."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from memobert_plugin.data.vocabulary import SPECIALS
from memobert_plugin.objectives.base import draw_objective
from tests.data_bins import CorpusShape, make_data_bin
from tests.host import TrainingRun
from tests.objectives.paper import OBJECTIVES

SEP = SPECIALS.index("[SEP]")
RATIOS = {"wwmlm": 2.0, "mvfr": 1.0, "mvfc": 1.0, "mafr": 1.0}


@pytest.fixture(scope="module")
def data_bin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_data_bin(tmp_path_factory.mktemp("corpus"), CorpusShape(speakers=3, utterances=15))


@pytest.fixture(scope="module")
def text_bin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_data_bin(
        tmp_path_factory.mktemp("text"), CorpusShape(speakers=2, utterances=10, visual_dim=0, acoustic_dim=0), seed=5
    )


def run_of(data_bin: Path | str, *flags: str) -> TrainingRun:
    return TrainingRun(data_bin, "memobert_pretraining", *flags)


@pytest.fixture(scope="module")
def untrained(data_bin: Path) -> TrainingRun:
    """For tests that only look."""
    return run_of(data_bin)


class Seen:
    """A record of a task's masks by (update, utterance)."""

    def __init__(self, run: TrainingRun) -> None:
        self.samples: list[dict[str, Any]] = []
        masked = run.task.masked

        def recording(sample: dict[str, Any], objective: str, update: int) -> dict[str, Any]:
            result = masked(sample, objective, update)
            self.samples.append({**result, "uids": sample["uids"], "update": update})
            return result

        run.task.masked = recording

    def rows_by_utterance(self) -> list[dict[int, list[int]]]:
        """For each step, the masked rows of every utterance, counted inside it."""
        return [dict(rows_inside_utterances(sample)) for sample in self.samples]


MODALITY = {"wwmlm": "text", "mvfr": "visual", "mvfc": "visual", "mafr": "acoustic"}


def rows_inside_utterances(sample: dict[str, Any]) -> Iterator[tuple[int, list[int]]]:
    lengths = sample["net_input"][f"{MODALITY[sample['objective']]}_lengths"]
    ends = np.cumsum(lengths)
    for uid, start, end in zip(sample["uids"], ends - lengths, ends, strict=True):
        rows = sample["net_input"]["rows"]
        yield int(uid), (rows[(rows >= start) & (rows < end)] - start).tolist()


def first_epochs(data_bin: Path, workers: int, *flags: str) -> list[dict[int, list[int]]]:
    """Masked rows by utterance for each of two epochs of one objective."""
    run = run_of(data_bin, "--num-workers", str(workers), *flags)
    seen = Seen(run)
    epochs: list[dict[int, list[int]]] = []
    for _ in range(2):
        seen.samples.clear()
        run.train(run.updates_per_epoch)
        epochs.append({uid: rows for step in seen.rows_by_utterance() for uid, rows in step.items()})
    return epochs


ONLY = {
    objective: [flag for other in OBJECTIVES if other != objective for flag in (f"--{other}-ratio", "0")]
    for objective in OBJECTIVES
}


@pytest.mark.parametrize("objective", ["wwmlm", "mafr"])
def test_masks_differ_between_epochs_and_do_not_depend_on_workers(data_bin: Path, objective: str) -> None:
    alone, with_workers = (first_epochs(data_bin, workers, *ONLY[objective]) for workers in (0, 2))
    assert alone == with_workers
    first, second = alone
    assert first.keys() == second.keys()
    assert np.mean([first[uid] != second[uid] for uid in first if first[uid]]) > 0.5


def test_masks_do_not_depend_on_the_batch(untrained: TrainingRun) -> None:
    run, dataset = untrained, untrained.task.dataset("train")
    together = dataset.collater(range(12))
    for objective in OBJECTIVES:
        masked = run.task.masked(together, objective, 7)
        of_batch = dict(rows_inside_utterances({**masked, "uids": together["uids"]}))
        for index in range(12):
            sample = dataset.collater([index])
            alone = run.task.masked(sample, objective, 7)
            [(uid, rows)] = rows_inside_utterances({**alone, "uids": sample["uids"]})
            assert of_batch[uid] == rows


def test_masking_leaves_the_given_sample_as_it_is(untrained: TrainingRun) -> None:
    """fairseq keeps its dummy batch and returns it again."""
    run, sample = untrained, untrained.task.dataset("train").collater(range(20))
    before = copy.deepcopy(sample)
    for objective in OBJECTIVES:
        run.task.masked(sample, objective, 3)
    assert flat(sample) == flat(before)


def flat(sample: Any) -> Any:
    if isinstance(sample, dict):
        return {key: flat(value) for key, value in sample.items()}
    return sample.tolist() if isinstance(sample, (Tensor, np.ndarray)) else sample


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_only_the_objectives_modality_is_changed_and_only_at_targets(untrained: TrainingRun, objective: str) -> None:
    run, sample = untrained, untrained.task.dataset("train").collater(range(30))
    for update in range(20):
        masked = run.task.masked(sample, objective, update)
        rows = masked["net_input"]["rows"]
        modality = MODALITY[objective]
        for name in ("text", "visual", "acoustic"):
            untouched = np.ones(len(sample["net_input"][name]), dtype=bool)
            if name == modality:
                untouched[rows] = False
            assert torch.equal(masked["net_input"][name][untouched], sample["net_input"][name][untouched])
        original = sample["expression"] if objective == "mvfc" else sample["net_input"][modality]
        assert torch.equal(masked["target"], original[rows])
        if objective == "wwmlm":
            assert (masked["target"] > SEP).all()
        else:
            hidden = masked["net_input"].get(f"{modality}_masked", torch.empty(0)).tolist()
            assert set(hidden) <= set(rows)
        lengths = sample["net_input"][f"{modality}_lengths"]
        present = {
            int(uid) for uid, length in zip(sample["uids"], lengths, strict=True) if length > 2 * (modality == "text")
        }
        targeted = {uid for uid, own in rows_inside_utterances({**masked, "uids": sample["uids"]}) if own}
        assert targeted == present


def test_the_sequence_of_objectives_is_the_seeds_and_each_batch_serves_its_updates(data_bin: Path) -> None:
    run = run_of(data_bin, "--update-freq", "2")
    seen = Seen(run)
    run.train(25)
    expected = [draw_objective(3, update, RATIOS) for update in range(25)]
    by_update: dict[int, set[str]] = {}
    for sample in seen.samples:
        by_update.setdefault(sample["update"], set()).add(sample["objective"])
    assert by_update == {update: {objective} for update, objective in enumerate(expected)}
    assert set(expected) == set(OBJECTIVES)


def test_objectives_can_be_left_out(data_bin: Path) -> None:
    run = run_of(data_bin, "--mvfr-ratio", "0", "--mvfc-ratio", "0", "--wwmlm-ratio", "1")
    seen = Seen(run)
    run.train(12)
    assert {sample["objective"] for sample in seen.samples} == {"wwmlm", "mafr"}
    assert {name for name in run.validate() if name.endswith("_loss")} == {"wwmlm_loss", "mafr_loss"}


def test_a_corpus_of_text_alone_leaves_only_wwmlm(text_bin: Path, caplog: pytest.LogCaptureFixture) -> None:
    run = run_of(text_bin)
    assert run.task.ratios == {"wwmlm": 2.0}
    assert "objective mafr is left out: the data-bin has no frames" in caplog.text
    assert all(np.isfinite(step["loss"]) for step in run.train(4))


def step_with_gradients(run: TrainingRun, indices: list[int], objective: str) -> tuple[Tensor, int]:
    run.model.zero_grad(set_to_none=True)
    sample = run.task.masked(run.task.dataset("train").collater(indices), objective, 0)
    loss, count, _ = run.criterion(run.model.train(), sample)
    loss.backward()
    return loss.detach(), count


def without(run: TrainingRun, letter: str) -> list[int]:
    """Training utterances that lack a modality."""
    dataset = run.task.dataset("train")
    lengths = dataset.corpus.visual_lengths if letter == "v" else dataset.corpus.acoustic_lengths
    return np.flatnonzero(lengths[dataset.rows] == 0).tolist()


@pytest.mark.parametrize("objective", OBJECTIVES)
@pytest.mark.parametrize("batch", ["whole", "nobody visible", "nobody audible"])
@pytest.mark.parametrize("checkpoint_activations", [False, True])
def test_every_parameter_has_a_gradient_at_every_step(
    untrained: TrainingRun, objective: str, batch: str, checkpoint_activations: bool
) -> None:
    run = untrained
    run.model.encoder.checkpoint_activations = checkpoint_activations
    indices = {"whole": list(range(15)), "nobody visible": without(run, "v"), "nobody audible": without(run, "a")}[
        batch
    ]
    loss, count = step_with_gradients(run, indices, objective)
    missing = [name for name, parameter in run.model.named_parameters() if parameter.grad is None]
    assert missing == []
    modality = {"nobody visible": "visual", "nobody audible": "acoustic"}.get(batch)
    if MODALITY[objective] == modality:
        assert (float(loss), count) == (0.0, 0)
        assert not any(parameter.grad.any() for parameter in run.model.parameters() if parameter.grad is not None)
    else:
        assert count > 0 and float(loss) > 0


def test_an_update_without_any_target_changes_nothing_but_goes_on(data_bin: Path) -> None:
    run = run_of(data_bin, "--weight-decay", "0", *ONLY["mvfr"])
    dataset = run.task.dataset("train")
    before = run.parameters()
    logged = run.trainer.train_step([dataset.collater(without(run, "v")[:2])])
    assert logged["sample_size"] == 0
    assert run.trainer.get_num_updates() == 1
    for name, value in run.parameters().items():
        torch.testing.assert_close(value, before[name], rtol=0, atol=0)


def test_validation_logs_every_objective_and_their_weighted_mean(data_bin: Path) -> None:
    run = run_of(data_bin)
    logged = run.validate()
    mean = sum(RATIOS[name] * logged[f"{name}_loss"] for name in OBJECTIVES) / sum(RATIOS.values())
    assert logged["loss"] == pytest.approx(mean, abs=1e-4)
    assert logged["wwmlm_ppl"] == pytest.approx(np.exp(logged["wwmlm_loss"]), rel=1e-3)
    assert 0 <= logged["wwmlm_accuracy"] <= 100


def test_validation_is_the_same_at_any_time_and_batch_size(data_bin: Path) -> None:
    losses = []
    for size in ("1", "7", "64"):
        run = run_of(data_bin, "--batch-size-valid", size)
        losses += [[run.validate()[f"{name}_loss"] for name in OBJECTIVES] for _ in range(2)]
    assert all(again == pytest.approx(losses[0], abs=1e-5) for again in losses)


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_training_lowers_the_loss(data_bin: Path, objective: str) -> None:
    run = run_of(data_bin, *ONLY[objective], "--lr", "1e-2", "--batch-size", "16", "--total-num-update", "200")
    before = run.validate()["loss"]
    run.train(60)
    assert run.validate()["loss"] < 0.97 * before


@pytest.mark.parametrize("word_masking", ["whole_word", "piece"])
@pytest.mark.parametrize("frame_masking", ["span", "span_reference", "random"])
def test_ablations_train(data_bin: Path, word_masking: str, frame_masking: str) -> None:
    run = run_of(data_bin, "--word-masking", word_masking, "--frame-masking", frame_masking)
    assert all(np.isfinite(step["loss"]) for step in run.train(6))


REFUSED = {
    "no objective": (
        [flag for name in OBJECTIVES for flag in (f"--{name.replace('_', '-')}-ratio", "0")],
        "no objective is left; set one of --wwmlm-ratio, --mvfr-ratio, --mvfc-ratio, --mafr-ratio, "
        "--prompted-expression-ratio, ",
    ),
    "a negative ratio": (["--mvfr-ratio", "-1"], "objective ratios must not be negative"),
    "no share of words": (["--word-mask-ratio", "0"], "the share of words to mask must be above 0 and at most 1"),
    "too large a share of frames": (["--visual-mask-ratio", "1.5"], "1.5"),
    "no span": (["--mask-span-length", "0"], "span"),
    "another span than the reference's": (
        ["--frame-masking", "span_reference", "--mask-span-length", "2"], "spans of 3 frames, not 2",
    ),
    "more frames than positions": (["--max-acoustic-frames", "81"], "--max-acoustic-frames: 81 positions"),
    "more pieces than positions": (["--max-pieces", "79"], "81 positions, the model's tables have --max-positions 80"),
}  # fmt: skip


@pytest.mark.parametrize("what", REFUSED)
def test_flags_that_cannot_work_end_in_one_line_before_training(data_bin: Path, what: str) -> None:
    flags, message = REFUSED[what]
    with pytest.raises(SystemExit) as leaving:
        run_of(data_bin, *flags)
    line = str(leaving.value)
    assert line.startswith("memobert: error: ") and message in line and "\n" not in line


def test_long_texts_are_dropped_and_frames_cut(data_bin: Path, caplog: pytest.LogCaptureFixture) -> None:
    limits = ("--max-pieces", "5", "--max-visual-frames", "4", "--max-acoustic-frames", "0")
    with caplog.at_level("INFO"):
        run = run_of(data_bin, *limits, "--mafr-ratio", "0")
    dataset = run.task.dataset("train")
    lengths = dataset.corpus.text_lengths[dataset.corpus.split == dataset.corpus.splits.index("train")]
    assert len(dataset) == (lengths <= 5).sum() < len(lengths)
    assert (
        f"train: {len(dataset)} utterances, {len(lengths) - len(dataset)} dropped for more than 5 pieces" in caplog.text
    )
    batch = dataset.collater(range(len(dataset)))["net_input"]
    assert (batch["text_lengths"].max(), batch["visual_lengths"].max(), batch["acoustic_lengths"].max()) == (7, 4, 0)
    run.train(3)


def test_a_speaker_of_one_shard_alone_can_be_left_out(data_bin: Path, text_bin: Path) -> None:
    run = run_of(f"{data_bin}:{text_bin}", "--exclude-speakers", "spk2")
    for epoch, speakers in ((1, {"spk0", "spk1"}), (2, {"spk0", "spk1"})):
        run.task.load_dataset("train", epoch=epoch)
        dataset = run.task.dataset("train")
        assert {dataset.corpus.speakers[code] for code in dataset.corpus.speaker[dataset.rows]} == speakers
    with pytest.raises(SystemExit, match=r"no speaker spk9; it has spk0, spk1, spk2"):
        run_of(f"{data_bin}:{text_bin}", "--exclude-speakers", "spk9").task.load_dataset("train")


def test_shards_take_turns_even_when_one_has_no_frames(data_bin: Path, text_bin: Path) -> None:
    run = run_of(f"{data_bin}:{text_bin}")
    seen = Seen(run)
    assert run.task.has_sharded_data("train")
    for epoch, name in ((1, data_bin), (2, text_bin), (3, data_bin)):
        run.task.load_dataset("train", epoch=epoch)
        dataset = run.task.dataset("train")
        assert dataset.corpus.path == name
        run.trainer.reset_dummy_batch(dataset.collater([0]))
        for _ in range(8):
            logged = run.trainer.train_step([dataset.collater(range(6))])
            assert np.isfinite(logged["loss"]) == (logged["sample_size"] > 0)
    assert {sample["objective"] for sample in seen.samples} == set(OBJECTIVES)
