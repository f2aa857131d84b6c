"""Read and check a sweep's plan file: what is compared, on which corpus, with which flags and resources."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ..core.errors import UserError
from ..core.names import (
    CLASSES,
    DIMENSION_NAMES,
    DIMENSIONS,
    FULL,
    MODALITY_CASES,
    PROTOCOLS,
    SETTINGS,
    SEVERAL,
    Setting,
)
from ..core.slurm import SlurmResources
from ..data.folds import GROUPS, SESSIONS
from ..data.folds import SPEAKERS as SPEAKERS_FOLDS
from .grid import MOST_TRIALS, RANDOM, SAMPLERS, Search, search_problem
from .presets import comparators, preset_flags, shortened
from .section import REQUIRED, Section


def pretraining_ablations() -> dict[str, Mapping[str, Any]]:
    """Return the flags that each ablation changes in pre-training; everything else stays as in ``full``.

    The paper's (Table 3) leave out objectives or the masking of whole words and spans; an objective says which ablation
    it belongs to.
    """
    from ..objectives.base import ablations

    without = {name: {f"{objective}_ratio": 0 for objective in objectives} for name, objectives in ablations().items()}
    return {FULL: {}, **without, "no_span_no_whole_word": {"word_masking": "piece", "frame_masking": "random"}}


SPEAKERS = ("others", "without_test_speaker", "all")
KEPT = ("selected", "all", "none")
SELECTIONS = ("best", "last")
BUDGETS = ("equal", "by_setting")
_RESERVED_FLAGS: Mapping[str, str] = {
    **dict.fromkeys(("user_dir", "task", "criterion", "save_dir", "path"), "leave it out"),
    **dict.fromkeys(("finetune_from_model", "restore_file"), "name a setting, and bert or pretraining"),
    **dict.fromkeys(("distributed_world_size", "distributed_port", "distributed_rank"), "give slurm resources"),
    **dict.fromkeys(("best_checkpoint_metric", "maximize_best_checkpoint_metric"), "choose a protocol"),
    **dict.fromkeys(("predictions", "valid_subset", "log_format", "no_epoch_checkpoints"), "leave it out"),
    **dict.fromkeys(("no_save", "no_last_checkpoints"), "a run goes on from its last checkpoint"),
    "arch": "give model.arch",
    "seed": "give seeds",
    "fold": "give folds",
    "folds": "give leave_out",
    "protocol": "give protocol",
    "train_fraction": "give train_fractions",
    "labels": "give corpus.labels",
    "dimensions": "give corpus.dimensions",
    "several_labels": "give corpus.several_labels",
    "modalities": "give train_modalities and modality_cases",
    "modality_mixture": "give modality_mixture",
    "exclude_speakers": "give pretraining.speakers",
}
"""Flags of fairseq and the tasks that follow from other keys of the plan, each with the remedy."""


@dataclass(frozen=True)
class Resources(SlurmResources):
    """Resources of the SLURM jobs of one kind of run."""

    runs_per_job: int = 1

    @property
    def ranks(self) -> int:
        """Return the number of processes that train together."""
        return self.nodes * self.tasks_per_node


@dataclass(frozen=True)
class PretrainingPlan:
    """The pre-training that some settings start from."""

    data: tuple[Path, ...]
    speakers: str
    """``others``: the data-bin has other speakers than the folds; ``without_test_speaker``: one pre-training per fold,
    without its test speaker; ``all``: all speakers of the data-bin, and the results are marked transductive."""
    seed: int | None
    """The same for all runs, or None: each seed of the sweep has its own pre-training."""
    checkpoint: str
    """``best``, ``last``, or the path of a checkpoint that exists, in which ``{fold}``, ``{seed}`` and ``{speaker}``
    stand for the run's; nothing is pre-trained then."""
    flags: Mapping[str, Any]
    from_bert: bool = True
    """It starts from the plan's ``bert`` where there is one."""

    @property
    def given(self) -> bool:
        """Tell whether the checkpoints exist already."""
        return self.checkpoint not in SELECTIONS


@dataclass(frozen=True)
class Plan:
    """The content of a plan file; ``examples/sweep/README.md`` explains every key."""

    path: Path
    name: str
    corpus: Path
    corpus_name: str
    labels: tuple[str, ...]
    """Emotions, or the names of other outputs; empty for all of the data-bin."""
    kind: str
    """``classes``; ``dimensions`` with ``corpus.dimensions``, ``several`` with ``corpus.several_labels``."""
    protocol: str
    folds: tuple[int, ...]
    """Empty for all."""
    folding: str
    """The units of folds: ``speakers``, ``sessions``, ``groups:K``, or the path of a file of folds."""
    seeds: tuple[int, ...]
    train_fractions: tuple[float, ...]
    settings: Mapping[str, Setting]
    ablations: Mapping[str, Mapping[str, Any]]
    train_modalities: str
    modality_mixture: bool
    modality_cases: tuple[str, ...]
    bert: Path | None
    pretraining: PretrainingPlan | None
    model: Mapping[str, Any]
    presets: bool
    """Flags that the plan does not give are those of ``memobert-train`` (:mod:`memobert_plugin.sweep.presets`)."""
    common: Mapping[str, Any]
    emotion: Mapping[str, Any]
    partial_data: Mapping[str, Any]
    """Flags that replace those of ``emotion`` for runs on a part of the training data."""
    setting_flags: Mapping[str, Mapping[str, Any]]
    search: Search | None
    """Of flags that have a range; None where none has."""
    budgets: str
    """``equal``: a report refuses settings of different budgets in one table; ``by_setting``: it lists the budgets."""
    keep_checkpoints: str
    slurm: Mapping[str, Resources]
    """By kind of run; empty without a section ``slurm``."""


def read_plan(path: Path) -> Plan:
    """Read a plan file; relative paths in it start at its own folder.

    Raises:
        UserError: the file is unreadable, a key is unknown, missing or out of range, or keys contradict each other.
    """
    top = Section(path, "", _load(path))
    corpus = top.section("corpus")
    settings = _settings(top)
    variants, of_variant = _variants(top, settings)
    corpus_path = _path(corpus, "path")
    dimensions = bool(corpus.peek("dimensions"))
    presets = top.truth("presets", False)
    emotion = top.section("emotion", {} if presets else REQUIRED)
    plan = Plan(
        path=path,
        name=_name(top),
        corpus=corpus_path,
        corpus_name=corpus.text("name", corpus_path.name),
        labels=_labels(corpus),
        kind=_kind(corpus, dimensions),
        protocol=top.text("protocol", "strict", PROTOCOLS),
        folds=_folds(top),
        folding=_folding(top),
        seeds=top.numbers("seeds", [1234]),
        train_fractions=top.shares("train_fractions", [1.0]),
        settings=settings,
        ablations=_ablations(top),
        train_modalities=top.text("train_modalities", "lva", MODALITY_CASES),
        modality_mixture=top.truth("modality_mixture", False),
        modality_cases=top.names("modality_cases", ["lva"], MODALITY_CASES),
        bert=_path(top, "bert", None),
        pretraining=_pretraining(top),
        model=_model(top),
        presets=presets,
        common=top.flags("common", _RESERVED_FLAGS),
        emotion=emotion.flags("flags", _RESERVED_FLAGS, grids=True),
        partial_data=emotion.flags("partial_data_flags", _RESERVED_FLAGS, grids=True),
        setting_flags=_with_variants(_setting_flags(emotion, settings), variants, of_variant),
        search=_search(top),
        budgets=emotion.text("budgets", "by_setting" if presets else "equal", BUDGETS),
        keep_checkpoints=top.text("keep_checkpoints", "selected", KEPT),
        slurm=_slurm(top),
    )
    for section in (corpus, emotion, top):
        section.finish()
    own = {name: replace(settings[base], title=_title(settings[base], name)) for name, base in variants.items()}
    plan = replace(plan, settings={**settings, **own})
    _check(plan, top)
    return plan


def _variants(top: Section, settings: Mapping[str, Setting]) -> tuple[dict[str, str], dict[str, Mapping[str, Any]]]:
    """Return the setting of every variant, and the flags in which it differs from it."""
    if top.peek("variants") is None:
        return {}, {}
    section = top.section("variants")
    bases: dict[str, str] = {}
    flags: dict[str, Mapping[str, Any]] = {}
    allowed = {name: value for name, value in _RESERVED_FLAGS.items() if name != "arch"}
    for name in section.names_left():
        if _as_folder(top, "variants", name) in settings or not name.isidentifier():
            raise top.error("variants", f"has {name!r}; give an identifier that is no setting of the plan")
        variant = section.section(name)
        bases[name] = variant.text("setting", choices=tuple(settings))
        flags[name] = variant.flags("flags", allowed, grids=True)
        variant.finish()
    return bases, flags


def _with_variants(
    flags: Mapping[str, Mapping[str, Any]], variants: Mapping[str, str], of_variant: Mapping[str, Mapping[str, Any]]
) -> dict[str, Mapping[str, Any]]:
    return {**flags, **{name: {**flags[base], **of_variant[name]} for name, base in variants.items()}}


def _title(setting: Setting, variant: str) -> str:
    return f"{setting.title}, {variant.replace('_', ' ')}"


def _load(path: Path) -> object:
    from omegaconf import OmegaConf

    if not path.is_file():
        raise UserError(f"{path}: no such file; give a plan, for example examples/sweep/quickstart.yaml")
    try:
        return OmegaConf.to_container(OmegaConf.load(path), resolve=True)
    except Exception as error:  # YAML's and the configuration library's own, which share no base
        reason = " ".join(str(error).split())
        raise UserError(f"{path}: cannot be read as YAML ({reason}); correct that place") from None


def _name(top: Section) -> str:
    return _as_folder(top, "name", top.text("name", top.path.stem))


def _as_folder(section: Section, key: str, name: str) -> str:
    """Return a name that becomes a folder's, after checking that it leads nowhere else."""
    if not name or name.startswith(".") or "/" in name or "\0" in name:
        raise section.error(key, f"is {name!r}; give a folder's name")
    return name


def _path(section: Section, key: str, default: Any = REQUIRED) -> Any:
    text = section.take(key, default)
    if text is None:
        return None
    if not isinstance(text, str):
        raise section.error(key, f"is {text!r}; give a path")
    return Path(section.path.parent, text).resolve()


def _settings(top: Section) -> dict[str, Setting]:
    known = SETTINGS
    names = top.names("settings")
    if not set(names) <= set(known):
        known = {**known, **comparators()}
        top.choose("settings", names, known)
    return {name: known[name] for name in names}


def _labels(corpus: Section) -> tuple[str, ...]:
    if corpus.peek("dimensions"):
        if corpus.peek("labels") or corpus.peek("several_labels"):
            raise corpus.error("dimensions", "stand beside labels; give only one of the two")
        return corpus.choose("dimensions", corpus.names("dimensions"), DIMENSION_NAMES)
    return corpus.names("labels") if corpus.peek("labels") else ()


def _kind(corpus: Section, dimensions: bool) -> str:
    return DIMENSIONS if dimensions else SEVERAL if corpus.truth("several_labels", False) else CLASSES


def _folds(top: Section) -> tuple[int, ...]:
    if top.peek("folds") in (None, "all"):
        top.take("folds", "all")
        return ()
    return top.numbers("folds")


def _folding(top: Section) -> str:
    folding = top.text("leave_out", SPEAKERS_FOLDS)
    if folding in (SPEAKERS_FOLDS, SESSIONS) or folding.startswith(f"{GROUPS}:"):
        return folding
    return str(Path(top.path.parent, folding).resolve())


def _ablations(top: Section) -> dict[str, Mapping[str, Any]]:
    given = top.peek("ablations")
    if not isinstance(given, dict):
        known = pretraining_ablations()
        return {name: known[name] for name in top.names("ablations", [FULL], known)}
    section = top.section("ablations")
    names = [_as_folder(top, "ablations", str(name)) for name in given]
    return {name: section.flags(name, _RESERVED_FLAGS) for name in names}


def _pretraining(top: Section) -> PretrainingPlan | None:
    if top.peek("pretraining") is None:
        return None
    section = top.section("pretraining")
    checkpoint = section.text("checkpoint", "best")
    given = checkpoint not in SELECTIONS
    data = section.take("data", [] if given else REQUIRED)
    shards = data if isinstance(data, list) else str(data).split(":")
    each = section.peek("seed") == "each"
    plan = PretrainingPlan(
        data=tuple(Path(top.path.parent, str(shard)).resolve() for shard in shards),
        speakers=section.text("speakers", "others", SPEAKERS),
        seed=None if each and section.take("seed") else section.number("seed", 1234),
        checkpoint=str(Path(top.path.parent, checkpoint).resolve()) if given else checkpoint,
        flags=section.flags("flags", _RESERVED_FLAGS, grids=True),
        from_bert=section.truth("from_bert", True),
    )
    section.finish()
    if given and plan.flags:
        raise section.error("flags", "train nothing beside a checkpoint that exists; leave them out")
    return plan


def _model(top: Section) -> dict[str, Any]:
    section = top.section("model")
    arch = section.text("arch")
    return {"arch": arch, **dict(section.items())}


def _setting_flags(emotion: Section, settings: Collection[str]) -> dict[str, Mapping[str, Any]]:
    section = emotion.section("setting_flags", {})
    allowed = {name: value for name, value in _RESERVED_FLAGS.items() if name != "arch"}
    flags: dict[str, Mapping[str, Any]] = {name: section.flags(name, allowed, grids=True) for name in settings}
    section.finish()
    return flags


def _search(top: Section) -> Search | None:
    if top.peek("search") is None:
        return None
    section = top.section("search")
    trials, seed = section.number("trials", least=2, most=MOST_TRIALS), section.number("seed", 1)
    search = Search(trials, seed, section.text("sampler", RANDOM, SAMPLERS))
    section.finish()
    return search


def _slurm(top: Section) -> dict[str, Resources]:
    if top.peek("slurm") is None:
        return {}
    section = top.section("slurm")
    base = dict(section.items())
    kinds = {kind: base.pop(kind, None) or {} for kind in ("import", "pretraining", "emotion")}
    resources = {}
    for kind, own in kinds.items():
        if not isinstance(own, Mapping):
            raise section.error(kind, f"is {own!r}; give a mapping of keys to values")
        resources[kind] = _resources(Section(top.path, f"slurm.{kind}", {**base, **own}), kind)
    return resources


def _resources(section: Section, kind: str) -> Resources:
    gpus = section.number("gpus_per_node", 0)
    resources = Resources(
        partition=section.text("partition", "") or None,
        minutes=section.number("minutes", 60, least=1),
        nodes=section.number("nodes", 1, least=1),
        gpus=gpus,
        tasks_per_node=section.number("tasks_per_node", gpus or 1, least=1),
        cpus=section.number("cpus_per_task", 1, least=1),
        runs_per_job=section.number("runs_per_job", 1, least=1),
        jobs=section.number("jobs_at_a_time", 64, least=1),
        stop_seconds=section.number("stop_seconds", 120, least=1),
        options=dict(section.section("options", {}).items()),
    )
    section.finish()
    if gpus and resources.tasks_per_node != gpus:
        raise section.error("tasks_per_node", f"is {resources.tasks_per_node}; with GPUs there is one task per GPU")
    if kind != "pretraining" and resources.ranks > 1:
        raise section.error("nodes", f"and tasks make {resources.ranks} processes; only pre-training is distributed")
    if resources.ranks > 1 and resources.runs_per_job > 1:
        raise section.error(
            "runs_per_job", f"is {resources.runs_per_job}; give 1 where several processes train together"
        )
    return resources


def with_preset(plan: Plan, setting: Setting | None, own: Mapping[str, Any], utterances: int) -> dict[str, Any]:
    """Return the flags of a training: a plan's own, and beside them those of the preset if the plan asks for presets.

    Args:
        plan: the plan.
        setting: None for pre-training.
        own: flags of the plan for this training.
        utterances: labelled ones, of all folds.
    """
    if not plan.presets:
        return dict(own)
    architecture = (setting.architecture if setting else "") or str(plan.model["arch"])
    preset = preset_flags(setting, architecture, utterances, plan.protocol)
    if isinstance(own.get("max_update"), int):
        preset |= shortened(preset, own["max_update"])
    elif "max_epoch" in own:
        del preset["max_update"]
    set_elsewhere = {*_RESERVED_FLAGS, *plan.common, *plan.model}
    return {**{name: value for name, value in preset.items() if name not in set_elsewhere}, **own}


def _check(plan: Plan, top: Section) -> None:
    """Refuse keys that contradict each other."""
    starts = {setting.starts_from for setting in plan.settings.values()}
    if "pretraining" in starts and plan.pretraining is None:
        raise top.error("pretraining", f"is missing; settings {', '.join(plan.settings)} need it")
    if "bert" in starts and plan.bert is None:
        raise top.error("bert", "is missing; give a Hugging Face BERT folder")
    for name, setting in plan.settings.items():
        if plan.kind != CLASSES and (setting.task != "memobert_finetune" or setting.flags.get("criterion")):
            raise top.error("settings", f"has {name}, which learns one emotion only; leave it out")
        if setting.unlabelled and (plan.pretraining is None or len(plan.pretraining.data) != 1):
            raise top.error("pretraining", f"needs data of one data-bin, which {name} reads without labels")
    if len(plan.ablations) > 1 and "pretraining" not in starts:
        raise top.error("ablations", "change pre-training; name a setting that has it")
    given = plan.pretraining is not None and plan.pretraining.given
    if given and list(plan.ablations) != [FULL]:
        raise top.error("ablations", "change pre-training, which pretraining.checkpoint replaces; leave them out")
    varied = [plan.emotion, plan.partial_data, *plan.setting_flags.values()]
    before = plan.pretraining.flags if plan.pretraining is not None and "pretraining" in starts else {}
    if problem := search_problem(plan.search, varied, before):
        raise top.error("search", problem)
    varied.append(before)
    if plan.protocol == "all_but_one" and any(
        isinstance(value, Mapping) for flags in varied for value in flags.values()
    ):
        raise top.error("emotion", "has a grid, and protocol all_but_one has no validation to choose by; take strict")
    for case in plan.modality_cases:
        if not set(case) <= set(plan.train_modalities):
            raise top.error("modality_cases", f"has {case}, trained on {plan.train_modalities}; test what is trained")
    for key, flags in (
        ("emotion.flags", plan.emotion),
        ("pretraining.flags", None if given else getattr(plan.pretraining, "flags", None)),
    ):
        if plan.presets:
            continue
        if flags is not None and not ({"batch_size", "max_tokens"} & set(flags)):
            raise top.error(key, "need batch_size")
        if flags is not None and not ({"max_epoch", "max_update"} & set(flags)):
            raise top.error(key, "need max_epoch or max_update, or training would not end")
