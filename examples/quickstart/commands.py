"""The quickstart's commands in their order, written as one would type them."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import memobert_plugin

HERE = Path(__file__).resolve().parent
REPOSITORY = HERE.parents[1]
SIZES = {"films": (16, 48), "emotions": (6, 60)}  # speakers, utterances of each
PRETRAINED = "checkpoints/pretraining"
SHARES = ("all", "tenth")
CASES = ("l", "v", "a")
SETTINGS = ("direct", "pretrain_finetune", "pretrain_prompt")
WHOLE = "pretrain_prompt_all"
VERBALIZER = "anger=angry happy=happy neutral=neutral sad=sad"
NOTE = "trained on drawn faces and synthetic voices: answers nothing about people"


@dataclass(frozen=True)
class Step:
    """A command, its name and what it writes (a file, or a folder of its own)."""

    name: str
    command: tuple[str, ...]
    output: Path


class Quickstart:
    """All steps of the job, to be run inside the folder ``work``; steps of one phase may run side by side."""

    def __init__(self, work: Path, seed: int) -> None:
        self.work = work
        self.seed = str(seed)

    def phases(self) -> list[tuple[str, list[Step]]]:
        """Titles and steps, in order."""
        folds = range(1, SIZES["emotions"][0] + 1)
        trained = [(f"{setting}_{share}", fold) for share in SHARES for setting in SETTINGS for fold in folds]
        trained += [("zero_shot", fold) for fold in folds]
        direct = [(name, fold) for name, fold in trained if name.startswith("direct")]
        return [
            ("Generate films of drawn faces with voices and subtitles", [self.generate(part) for part in SIZES]),
            ("Films to utterances and frames: who speaks, the face, the voice", [self.extract_films()]),
            ("The labelled utterances to frames", [self.extract_faces(), self.extract_voices()]),
            ("Make the word pieces", [self.vocabulary()]),
            ("Write the data-bins", [self.binarize("films"), self.binarize("emotions")]),
            (
                "Pre-train on films; beside it train without pre-training",
                [self.pretrain(), *(self.train(name, fold) for name, fold in direct)],
            ),
            (
                "Train from the pre-trained model",
                [self.train(name, fold) for name, fold in trained if (name, fold) not in direct],
            ),
            (
                "Test every fold",
                [
                    *(self.test(name, fold) for name, fold in trained),
                    *(self.test(WHOLE, fold, case) for case in CASES for fold in folds),
                ],
            ),
            ("Results", [self.results(), self.plot(), self.bundle()]),
        ]

    def outside(self, path: Path) -> str:
        """A path outside ``work`` as one would type it there: relative inside the repository."""
        return os.path.relpath(path, self.work) if self.work.is_relative_to(REPOSITORY) else str(path)

    def script(self, name: str, output: str, file: str, *arguments: str) -> Step:
        """A step that runs one of this folder's Python files."""
        return Step(name, ("python", self.outside(HERE / file), *arguments), Path(output))

    def generate(self, part: str) -> Step:
        speakers, utterances = SIZES[part]
        return self.script(
            f"generate_{part}", f"corpus/{part}", "generate.py", part, f"corpus/{part}",
            "--speakers", str(speakers), "--utterances", str(utterances), "--seed", self.seed, "--workers", "2",
        )  # fmt: skip

    def vocabulary(self) -> Step:
        manifest = "features/films/manifest.tsv"
        return self.script("vocabulary", "vocab.txt", "vocabulary.py", "--manifest", manifest, "--output", "vocab.txt")

    def extract_films(self) -> Step:
        command = (
            "memobert-extract", "film", "corpus/films", "--output", "features/films", *self.tracked_faces("films"),
            "--pool", "10", "--valid-share", "0.125", "--preview", "features/films/preview.html",
        )  # fmt: skip
        return Step("extract_films", command, Path("features/films"))

    def extract_faces(self) -> Step:
        folder = "features/emotions/visual"
        command = (
            "memobert-extract", "visual", "--manifest", "corpus/emotions/manifest.tsv", "--output", folder,
            *self.tracked_faces("emotions"), "--choice", "most_frequent",
        )  # fmt: skip
        return Step("extract_faces", command, Path(folder))

    def extract_voices(self) -> Step:
        folder = "features/emotions/acoustic"
        command = (
            "memobert-extract", "acoustic", "--manifest", "corpus/emotions/manifest.tsv", "--output", folder,
            "--pool", "10",
        )  # fmt: skip
        return Step("extract_voices", command, Path(folder))

    @staticmethod
    def tracked_faces(part: str) -> tuple[str, ...]:
        """Where faces come from, since a detector takes no drawings for faces, and how many a second."""
        return (
            "--faces",
            "tracker",
            "--tracker",
            f"corpus/{part}",
            "--voice",
            "energy",
            "--picture-rate",
            "5",
            "--workers",
            "2",
        )

    def binarize(self, part: str) -> Step:
        manifest = {"films": "features/films/manifest.tsv", "emotions": "corpus/emotions/manifest.tsv"}[part]
        command = (
            "memobert-binarize", "--manifest", manifest, "--output", f"data-bin/{part}",
            "--visual", f"features/{part}/visual", "--acoustic", f"features/{part}/acoustic", "--vocab", "vocab.txt",
        )  # fmt: skip
        return Step(f"binarize_{part}", command, Path("data-bin", part))

    def pretrain(self) -> Step:
        """Return the step that first learns words, in which films name emotions, then what single streams agree on."""
        command = (
            *self.host("fairseq-train", "films", "memobert_pretraining"), "--criterion", "memobert_pretraining",
            *self.training(PRETRAINED, "1e-3", 700, 50), "--validate-interval", "1000",
            "--validate-interval-updates", "50",
            "--first-objective", "wwmlm", "--first-updates", "300", "--word-mask-ratio", "0.3",
            "--co-prompting-ratio", "1", "--co-prompting-updates", "100", "--co-prompting-shares", "equal",
            "--wwmlm-ratio", "0", "--mvfr-ratio", "0", "--mvfc-ratio", "0", "--mafr-ratio", "0",
            "--prompt-words", VERBALIZER,
        )  # fmt: skip
        return Step("pretraining", command, Path(PRETRAINED))

    def train(self, name: str, fold: int) -> Step:
        """Return the training of one fold; what is kept is what has the best UAR on the validation speaker.

        What is pre-trained takes few and small steps, since larger ones forget.
        """
        task, folder = self.task(name), f"checkpoints/{name}/fold{fold}"
        rate, updates, warmup = "2e-4", 60, 0
        if name.startswith("direct"):
            rate, updates, warmup = "1e-3", 200, 20
        elif name.endswith("_all"):
            rate, updates, warmup = "5e-4", 100, 20
        elif name == "zero_shot":  # one update of size 0 gives the checkpoint its prompt
            rate, updates, warmup = "0", 1, 0
        command = [
            *self.host("fairseq-train", "emotions", task), "--criterion", task, "--fold", str(fold),
            *self.training(folder, rate, updates, warmup), "--no-last-checkpoints", "--modality-mixture",
            "--best-checkpoint-metric", "uar", "--maximize-best-checkpoint-metric",
            "--validate-interval", "1000", "--validate-interval-updates", "20",
        ]  # fmt: skip
        if name.endswith("_tenth"):
            command += ["--train-fraction", "0.1"]
        if task == "memobert_prompt":
            command += ["--template", "i am [MASK] .", "--verbalizer", VERBALIZER]
        if not name.startswith("direct"):
            command += ["--finetune-from-model", f"{PRETRAINED}/checkpoint_last.pt"]
        return Step(f"{name}_fold{fold}", tuple(command), Path(folder))

    def test(self, name: str, fold: int, modalities: str = "") -> Step:
        """Return the test of one fold on its test speaker, with some modalities only where they are given."""
        of_case = f"{name}_{modalities}" if modalities else name
        predictions = f"predictions/{of_case}/fold{fold}.jsonl"
        command = [
            *self.host("fairseq-validate", "emotions", self.task(name)), "--batch-size", "64",
            "--path", f"checkpoints/{name}/fold{fold}/checkpoint_best.pt",
            "--valid-subset", "test", "--predictions", predictions,
        ]  # fmt: skip
        if modalities:
            command += ["--modalities", modalities]
        return Step(f"test_{of_case}_fold{fold}", tuple(command), Path(predictions))

    def results(self) -> Step:
        return self.script("results", "results.json", "results.py", "predictions", "results.json")

    def plot(self) -> Step:
        return self.script("plot_losses", "losses.png", "plot_losses.py", "logs/pretraining.log", "losses.png")

    def bundle(self) -> Step:
        """Return the step that packs a model, calibrated on all folds' test speakers, with a note on its training."""
        folds = range(1, SIZES["emotions"][0] + 1)
        command = (
            "memobert-export", f"checkpoints/{WHOLE}/fold1/checkpoint_best.pt", "bundle",
            "--calibrate", *(f"predictions/{WHOLE}/fold{fold}.jsonl" for fold in folds), "--note", NOTE,
        )  # fmt: skip
        return Step("bundle", command, Path("bundle"))

    def host(self, program: str, part: str, task: str) -> tuple[str, ...]:
        """What all of the host's commands have in common."""
        user_dir = self.outside(Path(memobert_plugin.__file__).parent)
        return (program, f"data-bin/{part}", "--user-dir", user_dir, "--task", task, "--cpu", "--num-workers", "0")

    def training(self, folder: str, learning_rate: str, updates: int, warmup: int) -> tuple[str, ...]:
        """Return the flags of model, optimiser and checkpoints of a training."""
        return (
            "--arch", "memobert_tiny", "--init-std", "0.05", "--dropout", "0.1", "--attention-dropout", "0",
            "--standardize-frames", "--batch-size", "32", "--seed", self.seed,
            "--optimizer", "memobert_adamw", "--adam-betas", "(0.9, 0.98)", "--adam-eps", "1e-6",
            "--weight-decay", "0.01", "--clip-norm", "5.0", "--lr", learning_rate,
            "--lr-scheduler", "polynomial_decay", "--warmup-updates", str(warmup),
            "--total-num-update", str(updates * 6 // 5 + 1), "--max-update", str(updates),
            "--save-dir", folder, "--no-epoch-checkpoints", "--no-save-optimizer-state",
            "--log-format", "json", "--log-interval", "10",
        )  # fmt: skip

    @staticmethod
    def task(name: str) -> str:
        """Return the task of a setting."""
        return "memobert_finetune" if name.startswith(("direct", "pretrain_finetune")) else "memobert_prompt"
