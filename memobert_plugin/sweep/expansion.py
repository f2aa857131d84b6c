"""Expand a plan into runs: names, dependencies, commands, and the description that a report reads."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np

from ..core.errors import UserError
from ..core.names import CLASSES, FEATURES, FULL, PROTOCOLS, SELECTED_BY, Setting
from ..data.corpus import Corpus
from ..data.folds import GROUPS, SESSIONS, SPEAKERS, choose_fold, folds_of, natural_order
from ..data.targets import target_of
from .commands import FIRST, Command, CommandWriter
from .grid import FIRST_RANDOM, TPE, candidate_folder, candidates, divided, flags_of_pretraining, is_range, listed
from .plan import Plan, with_preset

CHOSEN_BY_LABELS = "{title}: validation, which has labels, chose the pre-training."
MANIFEST_SPLIT = 0
"""Number of the fold that is the manifest's own split."""


@dataclass(frozen=True)
class TestPart:
    """The test part of a fold.

    Attributes:
        number: the fold's.
        speaker: the test speaker; empty for folds of several and for the manifest's own split.
        speakers: everybody who speaks in the test part.
    """

    number: int
    speaker: str
    speakers: frozenset[str]


@dataclass(frozen=True)
class EmotionCorpus:
    """The corpus on which emotion is classified.

    Attributes:
        labels: the emotions that are classified.
        sha256: of ids, emotions and speakers, so that results of different corpora are never mixed.
        folds: the plan's.
        features: digest of words and frames, so that runs before and after a change of them are never mixed.
        utterances: labelled ones, of all folds.
        dialogues: the data-bin says of all labelled utterances which follow each other.
    """

    labels: tuple[str, ...]
    sha256: str
    features: str
    folds: tuple[TestPart, ...]
    utterances: int
    dialogues: bool


def read_emotion_corpus(
    path: Path,
    labels: Sequence[str],
    protocol: str,
    folds: Sequence[int],
    folding: str = SPEAKERS,
    kind: str = CLASSES,
) -> EmotionCorpus:
    """Open the data-bin and compute its folds as the tasks will.

    Args:
        path: of the data-bin.
        labels: emotions to classify, or names of other outputs; none for all of the data-bin.
        protocol: see :func:`memobert_plugin.data.folds.make_folds`.
        folds: numbers; none for all.
        folding: see :func:`memobert_plugin.data.folds.folds_of`.
        kind: of the target.

    Raises:
        UserError: there is no data-bin, or it lacks a target or a fold.
    """
    corpus = Corpus(path)
    known = corpus.meta.labels
    if kind == CLASSES and (unknown := [name for name in labels if name not in known]):
        raise UserError(f"{path}: has no emotion {', '.join(unknown)}; it has {', '.join(known) or 'none'}")
    target = target_of(corpus, kind, labels)
    chosen = tuple(target.names)
    labelled = target.known(corpus, np.arange(len(corpus)))
    dialogues = corpus.order is not None and bool((corpus.order[0][labelled] >= 0).all())
    parts = tuple(_test_parts(corpus, labelled, protocol, folds, folding))
    return EmotionCorpus(chosen, corpus.sha256(), corpus.features_sha256(), parts, int(labelled.sum()), dialogues)


def read_speakers(paths: Sequence[Path]) -> frozenset[str]:
    """Return everybody who speaks in these data-bins."""
    return frozenset(name for path in paths for name in Corpus(path).speakers if name)


def _test_parts(
    corpus: Corpus, labelled: np.ndarray, protocol: str, numbers: Sequence[int], folding: str
) -> list[TestPart]:
    parts = []
    if MANIFEST_SPLIT in numbers:
        if "test" not in corpus.splits:
            raise UserError(f"{corpus.path}: the split column has no 'test'; give folds of at least 1")
        tested = labelled & (corpus.split == corpus.splits.index("test"))
        speakers = frozenset(corpus.speakers[code] for code in np.unique(corpus.speaker[tested]))
        parts.append(TestPart(MANIFEST_SPLIT, "", speakers))
    wanted = [number for number in numbers if number != MANIFEST_SPLIT]
    if numbers and not wanted:
        return parts
    folds = folds_of(corpus, labelled, folding, protocol)
    chosen = [choose_fold(folds, number) for number in wanted] if wanted else folds
    for fold in chosen:
        speaker = fold.test_speakers[0] if len(fold.test_speakers) == 1 else ""
        parts.append(TestPart(fold.number, speaker, frozenset(fold.test_speakers)))
    return parts


BERT_RUN = "import/bert"
FORMAT = 1
_BUDGET = ("max_epoch", "max_update", "batch_size", "lr", "update_freq")


@dataclass(frozen=True)
class Run:
    """The work of one folder: commands in order, started when the runs it depends on are done.

    Attributes:
        name: readable, and the folder's path inside the sweep.
        kind: ``import``, ``pretraining`` or ``emotion``.
        description: content of ``run.json``.
    """

    name: str
    kind: str
    depends_on: tuple[str, ...]
    commands: tuple[Command, ...]
    description: Mapping[str, Any]


class Expansion:
    """All runs of a plan.

    Args:
        plan: the plan.
        corpus: its emotion corpus.
        pretraining_speakers: everybody in the pre-training's data-bins.
        sweep: the folder of the sweep.
        writer: of the commands.

    Raises:
        UserError: the plan says that pre-training has other speakers than the folds, but it shares some; or a setting
            reads dialogues and the data-bin does not tell their order.
    """

    def __init__(
        self,
        plan: Plan,
        corpus: EmotionCorpus,
        pretraining_speakers: frozenset[str],
        sweep: Path,
        writer: CommandWriter,
    ) -> None:
        self.plan, self.corpus, self.sweep, self.writer = plan, corpus, sweep, writer
        self.pretraining_speakers = pretraining_speakers
        tested = frozenset().union(*(fold.speakers for fold in corpus.folds)) if corpus.folds else frozenset()
        common = sorted(tested & pretraining_speakers)
        if plan.pretraining is not None and plan.pretraining.speakers == "others" and common:
            raise UserError(
                f"{plan.path}: pretraining.speakers is others, but {', '.join(common[:5])} "
                f"{'is' if len(common) == 1 else 'are'} tested and in the pre-training's data-bin too; give "
                f"without_test_speaker (one pre-training per fold) or all (marked transductive), or other names to "
                f"other people"
            )

        for name, setting in plan.settings.items():
            if setting.flags.get("dialogues") and not corpus.dialogues:
                raise UserError(
                    f"{plan.path}: settings: {name} reads dialogues, and {plan.corpus} does not say which utterances "
                    f"follow each other; give its manifest start and video or audio (files of whole dialogues), "
                    f"binarize it with this version, or leave {name} out"
                )

    def runs(self) -> list[Run]:
        """Return all runs, each after those it depends on."""
        found: dict[str, Run] = {}
        for emotion, needed in self._emotion_runs():
            for run in (*needed, emotion):
                found.setdefault(run.name, run)
        order = {"import": 0, "pretraining": 1, "emotion": 2}
        return sorted(found.values(), key=lambda run: order[run.kind])

    def _emotion_runs(self) -> Iterator[tuple[Run, list[Run]]]:
        for name, setting in self.plan.settings.items():
            pretrained = setting.starts_from == "pretraining"
            for ablation in self.plan.ablations if pretrained else (FULL,):
                for fraction in self.plan.train_fractions if setting.trains else (1.0,):
                    for fold in self.corpus.folds:
                        for seed in self.plan.seeds:
                            yield self._emotion(name, ablation, fraction, fold, seed)

    def _emotion(
        self, setting_name: str, ablation: str, fraction: float, fold: TestPart, seed: int
    ) -> tuple[Run, list[Run]]:
        plan, setting = self.plan, self.plan.settings[setting_name]
        name = f"emotion/{setting_name}/{ablation}/fraction{_percent(fraction)}/fold{fold.number:02d}/seed{seed}"
        folder = self.sweep / name
        own = {
            **plan.emotion,
            **(plan.partial_data if fraction < 1 else {}),
            **plan.setting_flags[setting_name],
        }
        flags = {**with_preset(plan, setting, own, round(fraction * self.corpus.utterances)), **setting.flags}
        varied_before = self._varied_before(ablation) if setting.starts_from == "pretraining" else {}
        given_flags = {**varied_before, **flags}
        tried = candidates(given_flags, plan.search)
        needed, starts = self._starting_points(setting, ablation, fold, seed, tried)
        identity = {"seed": seed, "fold": fold.number, "train_fraction": fraction, "labels": self.corpus.labels}
        selection = PROTOCOLS[plan.protocol].selection.replace("uar", SELECTED_BY[plan.kind])
        predictions = {case: f"predictions/test-{case}.jsonl" for case in plan.modality_cases}
        if setting.unlabelled and plan.pretraining is not None:
            flags = {"unlabelled": plan.pretraining.data[0], **flags}
        commands = self._trainings(setting, flags, tried, identity, starts, folder)
        if len(tried) > 1:
            flags = {**flags, **divided(tried[0])[1]}  # the tests take sizes of batches from them
        for case, path in predictions.items():
            commands.append(self.writer.test(folder / "checkpoints", setting, flags, case, folder / path))
        budget = {key: listed(given_flags.get(key)) for key in _BUDGET}
        details = {
            "setting": setting_name,
            "setting_title": setting.title,
            "setting_note": setting.note
            if setting.trains or len(tried) == 1
            else CHOSEN_BY_LABELS.format(title=setting.title),
            "ablation": ablation,
            "corpus": {"path": str(plan.corpus), "name": plan.corpus_name, "sha256": self.corpus.sha256},
            FEATURES: [self.corpus.features],
            **identity,
            "labels": list(self.corpus.labels),
            "protocol": plan.protocol,
            "selection": selection,
            **({"target": plan.kind} if plan.kind != CLASSES else {}),
            "test_speaker": fold.speaker,
            "leave_out": plan.folding,
            "held_out": held_out(plan.folding, self.corpus.folds),
            "train_modalities": plan.train_modalities,
            "modality_mixture": flags.get("modality_mixture", plan.modality_mixture),
            "budget": budget if plan.budgets == "equal" else {},
            "budget_of_setting": {} if plan.budgets == "equal" else budget,
            "transductive": setting.starts_from == "pretraining" and self._is_transductive(fold),
            "predictions": predictions,
            **({"candidates": tried} if len(tried) > 1 else {}),
            **_described_search(plan, flags_given=given_flags, tried=len(tried)),
        }
        return self._run(name, "emotion", needed[-len(set(starts)) :], commands, details), needed

    def _trainings(
        self,
        setting: Setting,
        flags: Mapping[str, Any],
        tried: Sequence[Mapping[str, Any]],
        identity: Mapping[str, Any],
        starts: Sequence[Path | None],
        folder: Path,
    ) -> list[Command]:
        """Return the trainings of a fold with each of the tried values, and the choice among them."""
        commands: list[Command] = []
        several = len(tried) > 1
        for number, (chosen, start) in enumerate(zip(tried, starts, strict=True), start=1):
            target = candidate_folder(folder, number) if several else folder / "checkpoints"
            own, begin = {**flags, **divided(chosen)[1]}, start
            if setting.first is not None:
                first = target / FIRST if several else folder / FIRST
                commands.append(self.writer.emotion(first, setting, {**own, **setting.first}, identity, start))
                begin = first / PROTOCOLS[self.plan.protocol].checkpoint
            commands.append(self.writer.emotion(target, setting, own, identity, begin))
        if several:
            commands.append(("python", "-m", "memobert_plugin.sweep.grid", str(folder)))
        return commands

    def _varied_before(self, ablation: str) -> dict[str, Any]:
        """Return the flags of pre-training with several values; one that the ablation sets has its value alone."""
        assert self.plan.pretraining is not None
        return flags_of_pretraining({**self.plan.pretraining.flags, **self.plan.ablations[ablation]})

    def _starting_points(
        self, setting: Setting, ablation: str, fold: TestPart, seed: int, tried: Sequence[Mapping[str, Any]]
    ) -> tuple[list[Run], list[Path | None]]:
        """Return the runs that an emotion run needs, in order, and the checkpoint that each candidate starts from.

        The checkpoints are those of the last runs.
        """
        given = self.plan.pretraining is not None and self.plan.pretraining.given
        if setting.starts_from == "nothing" or (setting.starts_from == "pretraining" and given):
            return [], [self._given_checkpoint(setting, fold, seed)] * len(tried)
        imported = [self._bert()] if self.plan.bert is not None else []
        if setting.starts_from == "bert":
            return imported, [self._starting_point(imported[0])] * len(tried)
        if self.plan.pretraining is not None and not self.plan.pretraining.from_bert:
            imported = []
        runs = [self._pretraining(ablation, fold, seed, imported, divided(one)[0]) for one in tried]
        different = {run.name: run for run in runs}
        return [*imported, *different.values()], [self._starting_point(run) for run in runs]

    def _given_checkpoint(self, setting: Setting, fold: TestPart, seed: int) -> Path | None:
        """Return the checkpoint that a plan names instead of a pre-training.

        Raises:
            UserError: there is no such file.
        """
        if setting.starts_from != "pretraining" or self.plan.pretraining is None:
            return None
        name = self.plan.pretraining.checkpoint
        for key, value in (("fold", str(fold.number)), ("seed", str(seed)), ("speaker", quote(fold.speaker, safe=""))):
            name = name.replace(f"{{{key}}}", value)
        if not Path(name).is_file():
            raise UserError(f"{self.plan.path}: pretraining.checkpoint: {name} does not exist; name one, best or last")
        return Path(name)

    def _bert(self) -> Run:
        command = self.writer.bert_import(self.sweep / BERT_RUN / "checkpoints" / "bert.pt")
        return self._run(BERT_RUN, "import", [], [command], {})

    def _pretraining(
        self, ablation: str, fold: TestPart, seed: int, imported: list[Run], chosen: Mapping[str, Any]
    ) -> Run:
        """Return a pre-training; ``chosen`` are the values of its flags that have several."""
        pretraining = self.plan.pretraining
        assert pretraining is not None
        seed = seed if pretraining.seed is None else pretraining.seed
        excluded = ",".join(natural_order(fold.speakers & self.pretraining_speakers)) if self._leaves_out(fold) else ""
        suffix = f"-without-{quote(fold.speaker, safe='') or f'fold{fold.number:02d}'}" if excluded else ""
        name = f"pretraining/{ablation}/seed{seed}{suffix}{self._number_of(chosen, ablation)}"
        start = self._starting_point(imported[0]) if imported else None
        command = self.writer.pretraining(
            self.sweep / name / "checkpoints", seed, self.plan.ablations[ablation], excluded, start, chosen
        )
        details = {
            "ablation": ablation,
            "seed": seed,
            "speakers": pretraining.speakers,
            "excluded_speaker": excluded,
            "data": [str(path) for path in pretraining.data],
            FEATURES: self._pretraining_features,
            **({"chosen": dict(chosen)} if chosen else {}),
        }
        return self._run(name, "pretraining", imported, [command], details)

    @cached_property
    def _pretraining_features(self) -> list[str]:
        assert self.plan.pretraining is not None
        return [Corpus(path).features_sha256() for path in self.plan.pretraining.data]

    def _number_of(self, chosen: Mapping[str, Any], ablation: str) -> str:
        """Return the end of the name of a pre-training that is one of several: its number, from 1."""
        if not chosen:
            return ""
        tried = candidates(self._varied_before(ablation), self.plan.search)
        return f"-grid{[divided(one)[0] for one in tried].index(dict(chosen)) + 1:02d}"

    def _leaves_out(self, fold: TestPart) -> bool:
        assert self.plan.pretraining is not None
        if self.plan.pretraining.speakers != "without_test_speaker":
            return False
        return bool(fold.speakers & self.pretraining_speakers)

    def _is_transductive(self, fold: TestPart) -> bool:
        pretraining = self.plan.pretraining
        if pretraining is not None and pretraining.given and not pretraining.data:
            return pretraining.speakers == "all"
        return bool(fold.speakers & self.pretraining_speakers) and not self._leaves_out(fold)

    def _starting_point(self, run: Run) -> Path:
        """Return the checkpoint that a finished run leaves for others."""
        folder = self.sweep / run.name / "checkpoints"
        if run.kind == "import":
            return folder / "bert.pt"
        assert self.plan.pretraining is not None
        return folder / f"checkpoint_{self.plan.pretraining.checkpoint}.pt"

    def _run(self, name: str, kind: str, needed: list[Run], commands: list[Command], details: Mapping[str, Any]) -> Run:
        depends_on = tuple(run.name for run in needed)
        description = {
            "format": FORMAT,
            "name": name,
            "kind": kind,
            "depends_on": list(depends_on),
            "commands": [list(command) for command in commands],
            **details,
        }
        return Run(name, kind, depends_on, tuple(commands), description)


def _described_search(plan: Plan, flags_given: Mapping[str, Any], tried: int) -> dict[str, Any]:
    """Return what a run's description says of its random search; nothing without one."""
    ranges = {name: listed(value) for name, value in flags_given.items() if is_range(value)}
    if plan.search is None or not ranges:
        return {}
    search = {"trials": tried, "seed": plan.search.seed, "ranges": ranges}
    if plan.search.sampler == TPE:
        space = {name: dict(value) for name, value in flags_given.items() if isinstance(value, Mapping)}
        search |= {"sampler": TPE, "random": min(FIRST_RANDOM, tried), "space": space}
    return {"search": search}


def held_out(folding: str, folds: Sequence[TestPart]) -> str:
    """Return what a fold leaves out, which intervals and tests resample: ``speaker``, ``session`` or ``group``."""
    if folding == SESSIONS:
        return "session"
    several = folding.startswith(GROUPS) or not all(fold.speaker for fold in folds)
    return "group" if several and folding != SPEAKERS else "speaker"


def _percent(fraction: float) -> str:
    """Format a share as three digits: ``010`` for a tenth, ``100`` for all, ``012.5`` for an eighth."""
    whole, _, rest = f"{100 * fraction:.4f}".rstrip("0").partition(".")
    return whole.zfill(3) + (f".{rest}" if rest else "")
