"""Run folders as a sweep leaves them, with made-up predictions: what the report's tests read."""

from __future__ import annotations

import json
import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

LABELS = ("anger", "happy", "neutral", "sad")
SKILL = {"direct": 0.45, "bert_finetune": 0.55, "pretrain_finetune": 0.62, "pretrain_prompt": 0.7}


def utterances(speaker: str, count: int) -> list[tuple[str, str]]:
    """Identity and label of a speaker's utterances, always the same."""
    draw = random.Random(f"labels of {speaker}")
    return [(f"{speaker}_{number:03d}", draw.choices(LABELS, (3, 2, 5, 2))[0]) for number in range(count)]


def prediction_lines(
    speaker: str, fold: int, *, skill: float, key: str, count: int = 24, vocabulary: bool = False
) -> list[dict[str, Any]]:
    """Lines of one file of predictions."""
    draw = random.Random(f"{key} {speaker}")
    ability = skill + random.Random(speaker).uniform(-0.15, 0.15)
    lines = []
    for identity, label in utterances(speaker, count):
        prediction = label if draw.random() < ability else draw.choice(LABELS)
        line: dict[str, Any] = {"id": identity, "speaker": speaker, "fold": fold, "label": label}
        line["prediction"] = prediction
        line["probabilities"] = {name: 0.7 if name == prediction else 0.1 for name in LABELS}
        if vocabulary:
            line["vocabulary_prediction"] = prediction if draw.random() < 0.9 else None
        lines.append(line)
    return lines


def write_lines(path: Path, lines: Sequence[Mapping[str, Any]]) -> None:
    """One JSON object per line."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines), encoding="utf-8")


def write_run(
    root: Path,
    setting: str = "direct",
    fold: int = 1,
    seed: int = 1234,
    *,
    ablation: str = "full",
    fraction: float = 1.0,
    cases: Sequence[str] = ("lva",),
    status: str | None = "done",
    skill: float | None = None,
    vocabulary: bool = False,
    log: str = "",
    **changes: Any,
) -> Path:
    """Write one run; ``changes`` replace entries of its ``run.json``."""
    speaker = f"Ses{fold:02d}"
    mixture = "-mixture" if changes.get("modality_mixture") else ""
    trained = changes.get("train_modalities", "lva")
    name = f"emotion/{setting}{mixture}-{trained}/{ablation}/fraction{100 * fraction:g}/fold{fold:02d}/seed{seed}"
    folder = root / name
    run = {
        "format": 1,
        "name": name,
        "kind": "emotion",
        "depends_on": [],
        "commands": [],
        "setting": setting,
        "ablation": ablation,
        "corpus": {"path": "data-bin/toy", "name": "toy", "sha256": "ab" * 32},
        "labels": list(LABELS),
        "protocol": "strict",
        "selection": "best valid uar",
        "fold": fold,
        "test_speaker": speaker,
        "seed": seed,
        "train_fraction": fraction,
        "train_modalities": "lva",
        "modality_mixture": False,
        "budget": {"max_epoch": 15, "max_update": 0, "batch_size": 32, "lr": [5e-05], "update_freq": [1]},
        "transductive": False,
        "predictions": {case: f"predictions/test-{case}.jsonl" for case in cases},
        **changes,
    }
    folder.mkdir(parents=True)
    (folder / "run.json").write_text(json.dumps(run), encoding="utf-8")
    if status is not None:
        (folder / "state.json").write_text(json.dumps({"status": status, "attempts": 1}), encoding="utf-8")
    if status in (None, "done"):
        for case in cases:
            best = SKILL.get(setting, 0.5) if skill is None else skill
            able = (best - (0 if ablation == "full" else 0.05)) * (0.4 + 0.2 * len(case)) * (0.7 + 0.3 * fraction)
            key = f"{setting} {ablation} {fraction} {case} {seed} {mixture}"
            lines = prediction_lines(run["test_speaker"], fold, skill=able, key=key, vocabulary=vocabulary)
            write_lines(folder / "predictions" / f"test-{case}.jsonl", lines)
    if log:
        (folder / "log.txt").write_text(log, encoding="utf-8")
    return folder


def write_grid(
    root: Path,
    settings: Sequence[str] = ("direct", "pretrain_prompt"),
    folds: Sequence[int] = (1, 2, 3, 4),
    seeds: Sequence[int] = (1, 2),
    **options: Any,
) -> Path:
    """Runs of all folds and seeds for each setting."""
    for setting in settings:
        for fold in folds:
            for seed in seeds:
                write_run(root, setting, fold, seed, **options)
    return root


def emotion_log(epochs: int, *, start: float = 1.4, validated: bool = True) -> str:
    """What fairseq-train prints with --log-format json."""
    lines = ["2026-01-01 00:00:00 | INFO | fairseq_cli.train | training"]
    for epoch in range(1, epochs + 1):
        values = {"epoch": epoch, "train_loss": f"{start / epoch:.4f}", "train_num_updates": f"{10 * epoch}"}
        values |= {"train_uar": f"{30 + epoch}", "train_lr": "0.0001"}
        if validated:
            valid = {"epoch": epoch, "valid_loss": "1.2", "valid_uar": f"{28 + epoch}"}
            lines.append(f"2026 | INFO | valid | {json.dumps(valid | {'valid_num_updates': str(10 * epoch)})}")
        lines.append(f"2026 | INFO | train | {json.dumps(values)}")
    return "\n".join(lines) + "\n"


def write_pretraining(root: Path, name: str = "pretraining/full/seed1", epochs: int = 4) -> Path:
    """A pre-training run with the losses of its objectives."""
    folder = root / name
    folder.mkdir(parents=True)
    run = {"format": 1, "name": name, "kind": "pretraining", "depends_on": [], "commands": []}
    (folder / "run.json").write_text(json.dumps(run), encoding="utf-8")
    lines = []
    for epoch in range(1, epochs + 1):
        values = {"epoch": epoch, "valid_num_updates": str(20 * epoch)}
        losses = {f"valid_{name}_loss": f"{4 / (epoch + n):.4f}" for n, name in enumerate(("wwmlm", "mvfr", "mafr"))}
        lines.append(f"2026 | INFO | valid | {json.dumps(values | losses)}")
    (folder / "log.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder
