"""The presets of ``fairseq-hydra-train``: complete, the recipe's numbers, and the same training as with flags."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import torch
from fairseq import registry, tasks
from fairseq.models import MODEL_DATACLASS_REGISTRY
from omegaconf import OmegaConf

from memobert_plugin.objectives.base import OBJECTIVES
from memobert_plugin.tasks.pretraining import ratio_field
from tests.data_bins import CorpusShape, make_data_bin
from tests.host import ROOT, USER_DIR, Finished, load_safely, run_commands

PRETRAINING, EMOTION = ROOT / "examples" / "pretraining" / "config", ROOT / "examples" / "emotion" / "config"
PRESETS = {
    "memobert_base": PRETRAINING,
    "memobert_tiny": PRETRAINING,
    "prompt": EMOTION,
    "finetune": EMOTION,
    "early_fusion": EMOTION,
    "mult": EMOTION,
    "clstm_mma": EMOTION,
    "mmin": EMOTION,
    "ssmm": EMOTION,
    "denseface": ROOT / "examples" / "denseface" / "config",
}
EFFECTIVE_BATCH = {"memobert_base": 640, "finetune": 32}
RUN_CONFIGS = ("local", "slurm_1", "slurm_4")


def preset(name: str) -> dict[str, Any]:
    return OmegaConf.to_container(OmegaConf.load(PRESETS[name] / f"{name}.yaml"))


def dataclass_of(group: str, name: str) -> type:
    if group == "task":
        return tasks.TASK_DATACLASS_REGISTRY[name]
    if group == "model":
        return MODEL_DATACLASS_REGISTRY[name]
    return registry.REGISTRIES[group]["dataclass_registry"][name]


def flags_of(objective: str) -> set[str]:
    options = OBJECTIVES.get(objective).Options
    return {ratio_field(objective), *(() if options is None else (one.name for one in fields(options)))}


@pytest.mark.parametrize("name", PRESETS)
@pytest.mark.parametrize("group", ["task", "model", "criterion", "optimizer", "lr_scheduler"])
def test_every_field_is_there_so_that_an_override_needs_no_plus(name: str, group: str) -> None:
    """Fields that borrow another section's value have their home there; an objective may be left out as a whole."""
    given = preset(name)[group]
    optional = {
        one for objective in OBJECTIVES.own() for one in flags_of(objective) if ratio_field(objective) not in given
    }
    own = {
        field.name
        for field in fields(dataclass_of(group, given["_name"]))
        if field.name == "total_num_update" or not str(field.default).startswith("${")
    }
    assert own - optional <= set(given) <= own | {"_name"}


@pytest.mark.parametrize("name", PRESETS)
def test_what_the_task_and_the_model_say_are_their_defaults(name: str) -> None:
    for group in ("task", "model"):
        given = preset(name)[group]
        defaults = {field.name: field.default for field in fields(dataclass_of(group, given["_name"]))}
        changed = {key for key, value in given.items() if key not in ("_name", "data") and defaults[key] != value}
        assert changed <= {"fold", *(["dialogues"] if name == "clstm_mma" else [])}


def test_the_published_recipe() -> None:
    base = preset("memobert_base")
    assert base["optimizer"]["_name"] == "memobert_adamw" and base["optimizer"]["adam_betas"] == "(0.9, 0.98)"
    assert (base["optimizer"]["adam_eps"], base["optimizer"]["weight_decay"]) == (1e-6, 0.01)
    assert base["lr_scheduler"]["_name"] == "polynomial_decay" and base["lr_scheduler"]["warmup_updates"] == 4000
    assert (base["optimization"]["max_update"], base["optimization"]["lr"]) == (40000, [5e-5])
    assert (base["optimization"]["clip_norm"], base["common"]["fp16"]) == (5.0, True)
    for name in ("prompt", "finetune"):
        emotion = preset(name)
        assert (emotion["optimization"]["lr"], emotion["optimization"]["max_epoch"]) == ([5e-5], 15)
        assert emotion["dataset"]["batch_size"] == 32 and emotion["task"]["protocol"] == "strict"
        assert emotion["checkpoint"]["best_checkpoint_metric"] == "uar"
        assert emotion["checkpoint"]["maximize_best_checkpoint_metric"] is True


@pytest.mark.parametrize("name", EFFECTIVE_BATCH)
@pytest.mark.parametrize("run_config", RUN_CONFIGS)
def test_the_effective_batch_is_the_same_on_every_machine(name: str, run_config: str) -> None:
    machine = OmegaConf.load(PRESETS[name] / "run_config" / f"{run_config}.yaml")
    merged = OmegaConf.merge(OmegaConf.load(PRESETS[name] / f"{name}.yaml"), machine)
    ranks = merged.distributed_training.distributed_world_size
    assert merged.dataset.batch_size * ranks * merged.optimization.update_freq[0] == EFFECTIVE_BATCH[name]
    assert (merged.distributed_training.distributed_port > 0) == (ranks > 1)
    if run_config != "local":
        launcher = merged.hydra.launcher
        assert launcher.nodes * launcher.tasks_per_node == ranks and launcher.gpus_per_node == launcher.tasks_per_node


@pytest.mark.parametrize("name", ["early_fusion", "mult"])
def test_a_baseline_differs_in_the_model_and_its_rate_only(name: str) -> None:
    ours, theirs = preset("finetune"), preset(name)
    theirs["optimization"]["lr"] = ours["optimization"]["lr"]
    differing = {group for group in ours if group not in ("hydra", "model") and ours[group] != theirs[group]}
    assert differing == {"checkpoint"}
    assert theirs["checkpoint"]["save_dir"] == ours["checkpoint"]["save_dir"].replace("finetune", name)


UPDATES = 6
SHARED_OVERRIDES = [
    "common.cpu=true", "common.fp16=false", f"optimization.max_update={UPDATES}", "dataset.batch_size=8",
    "model.dropout=0", "model.encoder_layers=1", "model.encoder_embed_dim=16", "model.encoder_ffn_embed_dim=32",
    "model.encoder_attention_heads=2", "common.log_interval=1", "dataset.num_workers=0", "common.seed=5",
    "optimization.lr=[0.01]", "lr_scheduler.warmup_updates=2",
]  # fmt: skip
SHARED_FLAGS = [
    "--cpu", "--max-update", str(UPDATES), "--batch-size", "8", "--dropout", "0", "--encoder-layers", "1",
    "--encoder-embed-dim", "16", "--encoder-ffn-embed-dim", "32", "--encoder-attention-heads", "2", "--log-interval",
    "1", "--num-workers", "0", "--seed", "5", "--optimizer", "memobert_adamw", "--adam-betas", "(0.9, 0.98)",
    "--adam-eps", "1e-6", "--weight-decay", "0.01", "--clip-norm", "5.0", "--lr", "0.01", "--lr-scheduler",
    "polynomial_decay", "--warmup-updates", "2", "--total-num-update", str(UPDATES), "--log-format", "json",
    "--no-epoch-checkpoints",
]  # fmt: skip
OWN: dict[str, tuple[list[str], list[str]]] = {
    "memobert_tiny": (
        ["task.mvfr_ratio=3"],
        ["--arch", "memobert_tiny", "--task", "memobert_pretraining", "--mvfr-ratio", "3"],
    ),
    "prompt": (
        ["task.fold=2", "task.template='he is [MASK] .'"],
        ["--arch", "memobert_base", "--task", "memobert_prompt", "--fold", "2", "--template", "he is [MASK] .",
         "--best-checkpoint-metric", "uar", "--maximize-best-checkpoint-metric", "--max-epoch", "15"],
    ),
    "finetune": (
        ["task.fold=2"],
        ["--arch", "memobert_base", "--task", "memobert_finetune", "--fold", "2", "--best-checkpoint-metric", "uar",
         "--maximize-best-checkpoint-metric", "--max-epoch", "15"],
    ),
}  # fmt: skip


class Pairs:
    """Each preset's run and the same run with flags."""

    def __init__(self, folder: Path, finished: dict[str, Finished]) -> None:
        self.folder, self.finished = folder, finished


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Pairs:
    folder = tmp_path_factory.mktemp("presets")
    data_bin = make_data_bin(folder / "corpus", CorpusShape(speakers=3, utterances=10))
    commands = {}
    for name, (overrides, flags) in OWN.items():
        commands[f"{name}_hydra"] = [
            "fairseq-hydra-train", "--config-dir", str(PRESETS[name]), "--config-name", name,
            f"common.user_dir={USER_DIR}", f"task.data={data_bin}", f"checkpoint.save_dir={folder / name}_hydra",
            *SHARED_OVERRIDES, *overrides,
        ]  # fmt: skip
        task = flags[flags.index("--task") + 1]
        commands[f"{name}_flags"] = [
            "fairseq-train", str(data_bin), "--user-dir", str(USER_DIR), "--criterion", task,
            "--save-dir", f"{folder / name}_flags", *SHARED_FLAGS, *flags,
        ]  # fmt: skip
    return Pairs(folder, run_commands(folder / "run", commands))


@pytest.mark.slow
@pytest.mark.parametrize("name", OWN)
def test_a_preset_trains_as_the_flags_do(pairs: Pairs, name: str) -> None:
    by_hydra, by_flags = (pairs.finished[f"{name}_{kind}"] for kind in ("hydra", "flags"))
    assert (by_hydra.status, by_flags.status) == (0, 0), by_hydra.log[-3000:] + by_flags.log[-3000:]
    losses = [[update["loss"] for update in run.logged("train_inner")] for run in (by_hydra, by_flags)]
    assert len(losses[0]) == UPDATES and losses[0] == losses[1]
    states = [load_safely(pairs.folder / f"{name}_{kind}" / "checkpoint_last.pt") for kind in ("hydra", "flags")]
    assert states[0]["model"].keys() == states[1]["model"].keys()
    for parameter, value in states[0]["model"].items():
        assert torch.equal(value, states[1]["model"][parameter]), parameter
    assert states[0]["task_state"] == states[1]["task_state"]


@pytest.mark.slow
def test_hydra_leaves_nothing_where_it_was_started(pairs: Pairs) -> None:
    assert [path.name for path in (pairs.folder / "run").iterdir() if path.suffix != ".log"] == []
    assert not (pairs.folder / "run" / "hydra_train.log").exists()
