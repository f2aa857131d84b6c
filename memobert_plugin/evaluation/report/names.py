"""How settings, conditions and marks are called in tables and pictures."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from ...core.names import FULL, MODALITY_CASES, SETTINGS
from .predictions import VOCABULARY
from .results import Result
from .runs import Condition, EmotionRun

SELECTED_ON_TEST = "selected on test"
TRANSDUCTIVE = "transductive"

ENOUGH_SPEAKERS = 5
"""Below this number the bootstrap has too few different samples for a 95 % interval."""

SELECTED_NOTE = (
    "Selected on test: the checkpoint is the one with the best score on the test speaker, as in the published "
    "evaluation, so these numbers are optimistic and no estimate of the performance on new speakers."
)
TRANSDUCTIVE_NOTE = "Transductive: clips of the test speakers, without labels, were part of the pre-training."


def order_settings(names: Iterable[str]) -> list[str]:
    """Sort settings: comparators by name, then MEmoBERT's own from the plainest to the paper's."""
    own = list(SETTINGS)
    return sorted(set(names), key=lambda name: (own.index(name) if name in own else -1, name))


def ablation_name(ablation: str) -> str:
    """An ablation in words."""
    return ablation.replace("_", " ").replace("-", " ")


def training_name(condition: Condition) -> str:
    """Setting, and what of an utterance was trained on where that is not everything."""
    parts = [condition.title]
    if condition.modality_mixture:
        parts.append("modality mixture")
    if condition.train_modalities != MODALITY_CASES[0]:
        parts.append(f"trained on {condition.train_modalities}")
    return ", ".join(parts)


def describe(condition: Condition) -> str:
    """A condition with everything that sets it apart."""
    parts = [training_name(condition)]
    if condition.ablation != FULL:
        parts.append(ablation_name(condition.ablation))
    return ", ".join([*parts, f"{100 * condition.train_fraction:g} % of the training data"])


def marks(result: Result) -> str:
    """What a reader has to know of a row, in brackets behind its name: decision, transductive, folds it rests on."""
    parts = []
    if result.decision == VOCABULARY:
        parts.append("over the full vocabulary")
    if result.transductive:
        parts.append(TRANSDUCTIVE)
    return f" ({', '.join(parts)})" if parts else ""


def coverage(result: Result) -> str:
    """For a row that lacks runs: the folds (and runs) it rests on, in brackets; nothing for a complete one."""
    if result.complete:
        return ""
    folds = f"{len(result.present_folds)}/{len(result.folds)} folds"
    runs = f", {len(result.cells)}/{len(result.folds) * len(result.seeds)} runs" if len(result.seeds) > 1 else ""
    return f" [{folds}{runs}]"


@dataclass(frozen=True)
class Provenance:
    """What all runs of a report share."""

    corpus: str
    corpus_sha256: str
    labels: tuple[str, ...]
    protocol: str
    selection: str
    selected_on_test: bool

    @classmethod
    def of(cls, run: EmotionRun) -> Provenance:
        """That of a run."""
        return cls(
            run.corpus,
            run.shared["corpus.sha256"],
            run.labels,
            run.protocol,
            run.selection,
            run.selected_on_test,
        )

    def title(self, subject: str) -> str:
        """The title of a table or picture, with the mark that concerns all of it."""
        mark = f" ({SELECTED_ON_TEST})" if self.selected_on_test else ""
        return f"{subject}, {self.corpus}, protocol {self.protocol}{mark}"

    def notes(self, results: Iterable[Result]) -> tuple[str, ...]:
        """Explanations of the marks on these rows."""
        chosen = list(results)
        notes = [SELECTED_NOTE] if self.selected_on_test else []
        fewest = min((result.speakers for result in chosen), default=0)
        if 1 < fewest < ENOUGH_SPEAKERS:
            notes.append(f"With {fewest} test speakers a 95 % interval is too narrow: it cannot leave their range.")
        if any(result.transductive for result in chosen):
            notes.append(TRANSDUCTIVE_NOTE)
        if not all(result.complete for result in chosen):
            notes.append("Partial: numbers with [n/N folds] rest on the runs that were there, the others on all.")
        return tuple(notes)

    def record(self, result: Result) -> dict[str, object]:
        """The columns that every CSV file has for a row."""
        condition = result.condition
        return {
            "corpus": self.corpus,
            "protocol": self.protocol,
            "selection": self.selection,
            "selected_on_test": self.selected_on_test,
            "setting": condition.setting,
            "ablation": condition.ablation,
            "train_fraction": condition.train_fraction,
            "train_modalities": condition.train_modalities,
            "modality_mixture": condition.modality_mixture,
            "test_modalities": result.case,
            "decision": result.decision,
            "transductive": result.transductive,
            "folds": len(result.present_folds),
            "folds_expected": len(result.folds),
            "runs": len(result.cells),
            "runs_expected": len(result.folds) * len(result.seeds),
            "speakers": result.speakers,
        }
