"""Kills a pre-training run and what follows it with SIGKILL again and again; it must end like an undisturbed one.

    python scripts/reliability/kill_training.py --films data-bin/films --emotions data-bin/emotions --output /tmp/kills

Two sweeps of one plan (a pre-training, a prompt training from it): one runs through, of the other every process is
killed, and memobert-sweep is started again: in half of the starts while a checkpoint is being written, in most others
at a random moment after the first update, and in some at any moment, also while everything is being loaded. The final
checkpoints' parameters are then compared bit for bit. The data-bins are the quickstart's, or any others with the
emotions anger, happy, neutral and sad.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import torch
import yaml
from tqdm import tqdm

SAVED_EVERY = 20


def plan(films: Path, emotions: Path, updates: int) -> dict[str, object]:
    """A sweep of two runs on one thread each."""
    flags = {
        "optimizer": "memobert_adamw", "adam_betas": "(0.9, 0.98)", "adam_eps": 1e-6, "weight_decay": 0.01,
        "clip_norm": 5.0, "lr": 1e-3, "lr_scheduler": "polynomial_decay", "log_interval": 5,
        "batch_size": 16, "warmup_updates": 10, "total_num_update": updates, "max_update": updates,
        "save_interval_updates": SAVED_EVERY, "keep_interval_updates": 2,
    }  # fmt: skip
    return {
        "name": "kills",
        "corpus": {
            "path": str(emotions.resolve()),
            "name": "quickstart",
            "labels": ["anger", "happy", "neutral", "sad"],
        },
        "protocol": "strict",
        "folds": [1],
        "seeds": [1],
        "settings": ["pretrain_prompt"],
        "common": {"cpu": True, "num_workers": 0},
        "model": {"arch": "memobert_tiny"},
        "pretraining": {"data": str(films.resolve()), "speakers": "others", "seed": 1, "flags": flags},
        "emotion": {"flags": {**flags, "max_update": updates // 4, "total_num_update": updates // 4}},
    }


def start(plan_file: Path, folder: Path) -> subprocess.Popen[bytes]:
    """Start (or start again) the sweep with its output in ``folder``."""
    program = str(Path(sys.executable).with_name("memobert-sweep"))
    command = [program, str(plan_file), "--output", str(folder), "--jobs", "1", "--retry-failed"]
    with open(folder.with_suffix(".log"), "ab") as log:
        return subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, start_new_session=True)


def descendants(process: int) -> list[int]:
    """A process and all below it."""
    found = [process]
    for one in found:
        for children in Path("/proc", str(one), "task").glob("*/children"):
            try:
                found += map(int, children.read_text().split())
            except OSError:
                continue
    return found


def kill_everything(process: subprocess.Popen[bytes]) -> None:
    """SIGKILL to all at once, so that no process has a chance to tidy up after another."""
    for one in descendants(process.pid):
        try:
            os.kill(one, signal.SIGKILL)
        except ProcessLookupError:
            continue
    process.wait()


def changed_since(folder: Path, pattern: str, moment: float) -> str:
    """Name of a file that changed after ``moment``, empty if none did."""
    for path in folder.glob(pattern):
        try:
            if path.stat().st_mtime > moment:
                return path.name
        except FileNotFoundError:
            continue
    return ""


def updates_logged(folder: Path) -> int:
    """Lines that trainings have written about their updates so far."""
    return sum(path.read_bytes().count(b"| train_inner |") for path in folder.glob("**/log.txt"))


def disturb(process: subprocess.Popen[bytes], folder: Path, chance: random.Random) -> str | None:
    """Wait for a moment, then kill. Returns what was going on, or None if the sweep ended before."""
    started, logged = time.time(), updates_logged(folder)
    kind = chance.choices(("writing", "training", "any"), (5, 4, 1))[0]
    delay, training_since = chance.uniform(0.5, 20.0), 0.0
    while process.poll() is None:
        passed = time.time() - started
        if kind == "writing" and (name := changed_since(folder, "**/checkpoints/*.pt*", started)):
            time.sleep(chance.uniform(0.0, 0.03))
            kill_everything(process)
            return f"{passed:.1f} s after the start, while writing {name}"
        if kind == "training" and not training_since and updates_logged(folder) > logged:
            training_since, delay = time.time(), chance.uniform(0.0, 4.0)
        if (kind == "any" and passed > delay) or (training_since and time.time() > training_since + delay):
            kill_everything(process)
            return f"{passed:.1f} s after the start{', in training' if training_since else ''}"
        time.sleep(0.0005 if kind == "writing" else 0.02)
    return None


def final_parameters(folder: Path) -> dict[str, dict[str, torch.Tensor]]:
    """Parameters of every run's last and best checkpoint."""
    return {
        str(path.relative_to(folder)): torch.load(path, map_location="cpu", weights_only=True)["model"]
        for name in ("last", "best")
        for path in sorted(folder.glob(f"**/checkpoints/checkpoint_{name}.pt"))
    }


def equal(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> bool:
    """Bit for bit."""
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--films", type=Path, required=True, help="data-bin to pre-train on")
    parser.add_argument("--emotions", type=Path, required=True, help="labelled data-bin")
    parser.add_argument("--output", type=Path, required=True, help="new folder for both sweeps")
    parser.add_argument("--kills", type=int, default=30, help="how often (default 30)")
    parser.add_argument("--updates", type=int, default=400, help="of the pre-training (default 400)")
    parser.add_argument("--seed", type=int, default=1, help="of the moments (default 1)")
    arguments = parser.parse_args()
    arguments.output.mkdir(parents=True)
    plan_file = arguments.output / "plan.yaml"
    plan_file.write_text(yaml.safe_dump(plan(arguments.films, arguments.emotions, arguments.updates)), encoding="utf-8")
    quiet, disturbed = arguments.output / "undisturbed", arguments.output / "disturbed"
    os.environ["OMP_NUM_THREADS"] = "1"
    if start(plan_file, quiet).wait():
        print(f"the undisturbed sweep failed; see {quiet.with_suffix('.log')}")
        return 1
    chance, moments = random.Random(arguments.seed), []
    with tqdm(total=arguments.kills, desc="kills") as bar:
        while len(moments) < arguments.kills:
            moment = disturb(start(plan_file, disturbed), disturbed, chance)
            if moment is None:
                print(f"the disturbed sweep ended after {len(moments)} kills; give more --updates", file=sys.stderr)
                break
            moments.append(moment)
            bar.update()
    status = start(plan_file, disturbed).wait()
    expected, found = final_parameters(quiet), final_parameters(disturbed)
    same = {name: name in found and equal(expected[name], found[name]) for name in expected}
    said = disturbed.with_suffix(".log").read_text(encoding="utf-8", errors="replace").splitlines()
    damaged = [path.name for path in disturbed.glob("**/*.damaged")]
    result = {"kills": moments, "damaged": damaged, "same_parameters": same, "exit_status": status}
    (arguments.output / "result.json").write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    counts = [sum(what in moment for moment in moments) for what in ("while writing", "in training")]
    print(f"{len(moments)} kills: {counts[0]} while a checkpoint was written, {counts[1]} elsewhere in a training")
    logs = "".join(path.read_text(encoding="utf-8", errors="replace") for path in disturbed.glob("**/log.txt"))
    print(f"restarts that went on from a checkpoint: {logs.count('Loaded checkpoint')}")
    print(
        f"checkpoints found damaged at a restart: {len(damaged)}, replaced: {logs.count('the newest whole checkpoint')}"
    )
    for name, verdict in same.items():
        print(f"{name}: {'bit for bit the same' if verdict else 'DIFFERENT'}")
    if status:
        print(*said[-5:], sep="\n")
    return int(status != 0 or not same or not all(same.values()))


if __name__ == "__main__":
    sys.exit(main())
