"""Pre-training by conditional masked modelling: one objective per update, one modality masked (MEmoBERT, section 3)."""

import logging
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, make_dataclass
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any, Optional, get_type_hints

import numpy as np
import torch
from fairseq import options, utils
from fairseq.dataclass import ChoiceEnum, FairseqDataclass
from fairseq.dataclass.utils import convert_namespace_to_omegaconf
from fairseq.logging import metrics
from fairseq.tasks import register_task
from omegaconf import MISSING
from torch import Tensor, nn

from ..checkpoints.state_dictionary import read_pickled_tensors
from ..core.errors import UserError, exits_in_one_line
from ..core.files import replaced_when_complete
from ..data.corpus import TOKENIZER_FOLDER, Corpus
from ..data.indexed import release_pages
from ..data.tokenizer import load_tokenizer
from ..nn.network import MEmoBERTNetwork
from ..objectives.base import OBJECTIVES, InputSizes, MaskingOptions, Objective, draw_objective, in_order
from ..objectives.spans import FRAME_MASKING
from ..objectives.words import WORD_MASKING
from .corpus_task import CorpusTask, CorpusTaskConfig, task_asked_of_validation
from .emotion import MEmoBERTPromptTask
from .epochs import Rows
from .utterance_dataset import Modalities, UtteranceDataset

logger = logging.getLogger(__name__)

WORD_MASKING_CHOICES = ChoiceEnum(WORD_MASKING)
FRAME_MASKING_CHOICES = ChoiceEnum(FRAME_MASKING)
VALIDATION_UPDATE = -1
"""Takes the place of the update number in validation: masks there depend on the seed and the utterance alone."""


@dataclass
class PretrainingConfig(CorpusTaskConfig):
    """Flags of pre-training; one sampling ratio for each objective is added below.

    Defaults are the paper's (sections 3 and 4) unless a help text says otherwise.
    """

    data: str = field(default=MISSING, metadata={"help": "data-bin, or several shards a:b:c, one per epoch"})
    word_masking: WORD_MASKING_CHOICES = field(  # type: ignore[valid-type]
        default="whole_word", metadata={"help": "mask whole whitespace words, or single pieces (ablation)"}
    )
    frame_masking: FRAME_MASKING_CHOICES = field(  # type: ignore[valid-type]
        default="span",
        metadata={
            "help": "mask spans; span_reference follows the authors' code to the letter; random masks single frames "
            "(ablation)"
        },
    )
    word_mask_ratio: float = field(default=0.15, metadata={"help": "probability of a word (or piece) to be masked"})
    visual_mask_ratio: Optional[float] = field(
        default=None, metadata={"help": "share of face frames masked (default: 0.15, and 0.20 with span_reference)"}
    )
    acoustic_mask_ratio: float = field(default=0.15, metadata={"help": "share of speech frames masked"})
    mask_span_length: int = field(default=3, metadata={"help": "frames in a masked span"})
    first_objective: str = field(
        default="",
        metadata={"help": "train on this objective alone in the first --first-updates, whatever its ratio"},
    )
    first_updates: int = field(default=0, metadata={"help": "updates of --first-objective"})
    exclude_speakers: str = field(
        default="",
        metadata={
            "help": "comma-separated speakers whose utterances are left out, such as the one that a fold will test on"
        },
    )
    max_pieces: int = field(default=30, metadata={"help": "utterances with more word pieces are dropped"})


def ratio_field(objective: str) -> str:
    """Return the name of the configuration's field for an objective's sampling ratio."""
    return f"{objective}_ratio"


def _ratio_fields() -> list[tuple[str, Any, Any]]:
    """Return a field for each objective; those of other packages are not imported for it."""
    own, others = OBJECTIVES.own(), [name for name in OBJECTIVES.names() if name not in OBJECTIVES.own()]
    fields: list[tuple[str, Any, Any]] = []
    for name in in_order(own):
        text = f"share of updates for {own[name].help}; 0 leaves it out"
        fields.append((ratio_field(name), float, field(default=own[name].default_ratio, metadata={"help": text})))
    for name in filter(str.isidentifier, others):
        text = f"share of updates for the installed objective {name} (default: its own); 0 leaves it out"
        fields.append((ratio_field(name), Optional[float], field(default=None, metadata={"help": text})))
    return fields


def _option_fields() -> list[tuple[str, Any, Any]]:
    """Return the fields of the options of this package's objectives; those that several share come once."""
    found: dict[str, tuple[str, Any, Any]] = {}
    for objective in OBJECTIVES.own().values():
        if objective.Options is not None:
            hints = get_type_hints(objective.Options)
            for one in fields(objective.Options):
                found[one.name] = (one.name, hints[one.name], field(default=one.default, metadata=dict(one.metadata)))
    return list(found.values())


PretrainingFlags = make_dataclass(
    "PretrainingFlags",
    [*_ratio_fields(), *_option_fields()],
    bases=(PretrainingConfig,),
    namespace={"__module__": __name__},
)


def zero_shot_task(arguments: Sequence[str]) -> MEmoBERTPromptTask:
    """Return the prompt task of a ``fairseq-validate`` command line, for a checkpoint that was only pre-trained."""
    parsed = options.parse_args_and_arch(options.get_validation_parser(), list(arguments))
    task = MEmoBERTPromptTask.setup_task(convert_namespace_to_omegaconf(parsed).task)
    task.is_zero_shot = True
    return task


@register_task("memobert_pretraining", dataclass=PretrainingFlags)
class MEmoBERTPretrainingTask(CorpusTask):
    """Pre-training: every update masks a batch for one objective.

    Masks are made in the step from (seed, update, utterance id): they change with every update and depend on nothing
    else.
    """

    cfg: PretrainingConfig
    first_update: int | None = None

    @classmethod
    @exits_in_one_line
    def setup_task(cls, cfg: FairseqDataclass, **kwargs: Any) -> Any:
        """Set the task up; for ``fairseq-validate --task memobert_prompt`` that of a prompt without any label.

        fairseq takes the checkpoint's own task and passes over ``--task``, ``--fold``, ``--labels`` and ``--template``.

        Raises:
            SystemExit: one line, for finetuning, whose classifier a pre-trained model does not have.
        """
        asked = task_asked_of_validation() if kwargs.get("from_checkpoint") else None
        if asked == "memobert_prompt":
            return zero_shot_task(sys.argv[1:])
        if asked not in (None, cfg._name):
            raise UserError(
                f"--task {asked}: the checkpoint is pre-trained and has no emotion classifier; give --task "
                "memobert_prompt, or finetune it first (memobert-train finetune)"
            )
        return super().setup_task(cfg, **kwargs)

    @cached_property
    def ratios(self) -> Mapping[str, float]:
        """Return the sampling ratio of every objective that is asked for and that the data can serve.

        Raises:
            UserError: nothing is left.
        """
        asked = {name: ratio for name in OBJECTIVES.names() if (ratio := self._asked(name))}
        first = self.cfg.first_objective
        if bool(first) != (self.cfg.first_updates > 0):
            raise UserError("--first-objective and --first-updates: give both, or neither")
        if first:
            OBJECTIVES.get(first)
            asked.setdefault(first, 0.0)
        if min(asked.values(), default=0) < 0:
            raise UserError(f"objective ratios must not be negative: {asked}")
        ratios = {}
        for name in in_order(asked):
            if OBJECTIVES.get(name).serves(self._sizes):
                ratios[name] = asked[name]
            elif name == first:
                raise UserError(f"--first-objective {name}: the data-bin has no frames or distributions for it")
            else:
                logger.warning("objective %s is left out: the data-bin has no frames or distributions for it", name)
        if first and not any(ratios.values()):
            raise UserError(
                f"--first-objective {first}: nothing follows it, every ratio is 0; give it a ratio instead, or a ratio "
                "above 0 to another objective"
            )
        if not ratios:
            flags = ", ".join("--" + ratio_field(name).replace("_", "-") for name in in_order(OBJECTIVES.own()))
            raise UserError(f"no objective is left; set one of {flags} above 0")
        return ratios

    def _asked(self, name: str) -> float:
        """Return the ratio of the flag or, without one, the objective's own; 0 where it cannot be imported."""
        ratio = getattr(self.cfg, ratio_field(name), None)
        if ratio is not None:
            return ratio
        try:
            return OBJECTIVES.get(name).default_ratio
        except UserError as error:
            logger.warning("objective %s is left out: %s", name, error)
            return 0

    @property
    def _sizes(self) -> InputSizes:
        state = self.state
        return InputSizes(len(state.symbols), state.visual_dim, state.acoustic_dim, len(state.expression_classes))

    @cached_property
    def objectives(self) -> Mapping[str, Objective]:
        """Return the objectives of this training by name."""
        cfg, frame_mode = self.cfg, str(self.cfg.frame_masking)
        visual_ratio = cfg.visual_mask_ratio
        if visual_ratio is None:
            visual_ratio = 0.20 if frame_mode == "span_reference" else 0.15
        options = MaskingOptions(
            str(cfg.word_masking),
            frame_mode,
            cfg.word_mask_ratio,
            visual_ratio,
            cfg.acoustic_mask_ratio,
            cfg.mask_span_length,
        )
        built = {name: OBJECTIVES.get(name)(name, self._sizes, self.symbols, options) for name in self.ratios}
        tokenizer = None
        for objective in built.values():
            if objective.Options is not None:
                names = [one.name for one in fields(objective.Options)]
                values = {name: getattr(cfg, name) for name in names if hasattr(cfg, name)}
                tokenizer = tokenizer or load_tokenizer(self.corpus().path / TOKENIZER_FOLDER)
                objective.configure(objective.Options(**values), tokenizer, self.state.expression_classes)
        return built

    def model_sizes(self) -> dict[str, Any]:
        """Return also the objectives, whose heads the model needs."""
        return {**super().model_sizes(), "objectives": tuple(self.ratios)}

    @exits_in_one_line
    def build_model(self, cfg: FairseqDataclass, from_checkpoint: bool = False) -> nn.Module:
        """Decide on the objectives, and refuse masks that cannot be drawn, before anything long starts."""
        for name, objective in self.objectives.items():
            logger.info("objective %s: %s, sampling ratio %g", name, objective.title, self.ratios[name])
            objective.check()
        model = super().build_model(cfg, from_checkpoint)
        for objective in self.objectives.values():
            objective.check_network(model)
        return model

    @exits_in_one_line
    def load_dataset(
        self, split: str, combine: bool = False, task_cfg: Any = None, epoch: int = 1, **kwargs: Any
    ) -> None:
        """Load ``train`` or ``valid`` of the manifest's split column; utterances with too many pieces are dropped, not
        cut.
        """
        training = split == "train"
        corpus = self.fitting_corpus(epoch if training else 1)
        if split not in corpus.splits:
            raise UserError(
                f"{corpus.path}: the split column has no '{split}' (it has: "
                f"{', '.join(filter(None, corpus.splits)) or 'nothing'}); memobert-extract film --valid-share 0.05 and "
                "the corpus readers write it, and memobert-binarize takes it over"
            )
        of_split, dropped = self._of_split(corpus, split), 0

        def kept(block: slice) -> np.ndarray:
            nonlocal dropped
            wanted, fits = of_split(block), corpus.text_lengths[block] <= self.cfg.max_pieces
            release_pages(corpus.split, corpus.speaker, corpus.text_lengths)
            dropped += int(np.count_nonzero(wanted & ~fits))
            return wanted & fits

        rows = Rows(len(corpus), kept)
        logger.info(
            "%s: %d utterances, %d dropped for more than %d pieces", split, len(rows), dropped, self.cfg.max_pieces
        )
        self.datasets[split] = UtteranceDataset(
            corpus,
            self.nonempty(corpus, rows, split),
            self.limits(),
            Modalities(zero_frames=self.cfg.zero_frames),
            shuffle=training,
            with_words=True,
        )
        self.log_beyond_limits(split)

    def training_rows(self) -> np.ndarray:
        """Return the rows of the split ``train`` that are not of an excluded speaker, too long ones included."""
        corpus = self.fitting_corpus()
        if "train" not in corpus.splits:
            raise UserError(f"{corpus.path}: the split column has no 'train'")
        return np.flatnonzero(self._of_split(corpus, "train")(slice(None)))

    @cached_property
    def _all_speakers(self) -> list[str]:
        """Return the speakers of all shards, each once."""
        return list(dict.fromkeys(name for path in utils.split_paths(self.cfg.data) for name in Corpus(path).speakers))

    def _drops_frames(self, sample: dict[str, Any]) -> bool:
        """Spare objectives whose targets are frames: they hide some themselves."""
        return self.objectives[sample["objective"]].modality == "text"

    def _of_split(self, corpus: Corpus, split: str) -> Callable[[slice], np.ndarray]:
        """Return what tells, ``(n,)`` bool, which utterances of a block are of a split and of no excluded speaker."""
        code = corpus.splits.index(split)
        excluded = [name.strip() for name in self.cfg.exclude_speakers.split(",") if name.strip()]
        if unknown := [name for name in excluded if name not in corpus.speakers and name not in self._all_speakers]:
            known = self._all_speakers
            raise UserError(
                f"--exclude-speakers: {self.cfg.data} has no speaker {', '.join(unknown)}; "
                f"it has {', '.join(known[:20])}{', …' if len(known) > 20 else ''}"
            )
        codes = [corpus.speakers.index(name) for name in excluded if name in corpus.speakers]

        def of_split(block: slice) -> np.ndarray:
            found = corpus.split[block] == code
            return found & ~np.isin(corpus.speaker[block], codes) if codes else found

        return of_split

    def train_step(
        self,
        sample: dict[str, Any],
        model: nn.Module,
        criterion: nn.Module,
        optimizer: Any,
        update_num: int,
        ignore_grad: bool = False,
        **kwargs: Any,
    ) -> tuple[Tensor, int, dict[str, Any]]:
        """Mask for the update's objective, which all ranks and micro-batches share, then step as fairseq does."""
        if self.first_update is None:
            self.first_update = update_num
        if update_num < self.cfg.first_updates:
            objective = self.cfg.first_objective
        else:
            objective = draw_objective(self.cfg.seed, update_num, self.ratios)
        self.objectives[objective].prepare(_Training(self, model, update_num, trains=True))
        masked = self.masked(sample, objective, update_num)
        return super().train_step(masked, model, criterion, optimizer, update_num, ignore_grad, **kwargs)

    def valid_step(
        self, sample: dict[str, Any], model: nn.Module, criterion: nn.Module
    ) -> tuple[Tensor, int, dict[str, Any]]:
        """Evaluate every objective on the batch, with the same masks each time; nothing on a rank without a batch."""
        if not sample:
            return torch.zeros(()), 0, {}
        for name in self.ratios:
            self.objectives[name].prepare(_Training(self, model, VALIDATION_UPDATE, trains=False))
        results = [
            super(MEmoBERTPretrainingTask, self).valid_step(
                self.masked(sample, objective, VALIDATION_UPDATE), model, criterion
            )
            for objective in self.ratios
        ]
        merged: dict[str, Any] = {}
        for _, _, logging_output in results:
            for key, value in logging_output.items():
                merged[key] = merged.get(key, 0) + value
        merged["ntokens"], merged["nsentences"] = sample["ntokens"], sample["nsentences"]
        return torch.stack([loss for loss, _, _ in results]).sum(), sum(size for _, size, _ in results), merged

    def reduce_metrics(self, logging_outputs: list[dict[str, Any]], criterion: nn.Module) -> None:
        """Log also ``loss``: the objectives' mean losses, weighted by their sampling ratios."""
        super().reduce_metrics(logging_outputs, criterion)
        ratios = self.ratios
        metrics.log_derived("loss", lambda meters: _weighted_loss(meters, ratios))

    def masked(self, sample: dict[str, Any], objective: str, update: int) -> dict[str, Any]:
        """Return a new sample with one modality masked; see :meth:`.Objective.masked`."""
        return self.objectives[objective].masked(sample, self.cfg.seed, update)


_SAMPLED_UTTERANCES, _SAMPLED_AT_A_TIME = 1024, 64


def _modified(path: Path) -> float:
    """Return when a file was written; 0 where another process has just removed it."""
    try:
        return path.stat().st_mtime
    except FileNotFoundError:
        return 0.0


@dataclass
class _Training:
    """The training as objectives see it (:class:`memobert_plugin.objectives.base.Training`)."""

    task: MEmoBERTPretrainingTask
    model: nn.Module
    update: int
    trains: bool

    @property
    def first_update(self) -> int:
        return self.task.first_update or 0

    @property
    def network(self) -> MEmoBERTNetwork:
        network: Any = self.model
        while not isinstance(network, MEmoBERTNetwork):  # in fairseq's wrappers for several ranks
            network = network.module
        return network

    def sampled_batches(self) -> Iterator[dict[str, Any]]:
        dataset = self.task.datasets["train" if "train" in self.task.datasets else next(iter(self.task.datasets))]
        indices = np.unique(np.linspace(0, len(dataset) - 1, _SAMPLED_UTTERANCES).astype(np.int64))
        on_gpu = next(self.network.parameters()).is_cuda
        for first in range(0, len(indices), _SAMPLED_AT_A_TIME):
            batch = dataset.collater(indices[first : first + _SAMPLED_AT_A_TIME].tolist())
            yield utils.move_to_cuda(batch) if on_gpu else batch

    def remember(self, name: str, state: Mapping[str, Tensor]) -> None:
        if self.task.cfg.no_save or (torch.distributed.is_initialized() and torch.distributed.get_rank()):
            return
        folder = Path(self.task.cfg.save_dir)
        folder.mkdir(parents=True, exist_ok=True)
        with replaced_when_complete(folder / f"{name}.pt") as temporary:
            torch.save(dict(state), temporary)
        # A training that was killed resumes at its newest checkpoint, which needs what was kept before it.
        newest = max((_modified(path) for path in folder.glob("checkpoint*.pt")), default=0.0)
        kept = sorted(folder.glob(f"{name.rpartition('-')[0]}-*.pt"), key=_modified)
        for earlier, following in pairwise(kept):
            if _modified(following) < newest:
                earlier.unlink(missing_ok=True)

    def recall(self, name: str) -> dict[str, Tensor] | None:
        path = Path(self.task.cfg.save_dir, f"{name}.pt")
        return read_pickled_tensors(path) if path.is_file() else None


def _weighted_loss(meters: Any, ratios: Mapping[str, float]) -> float:
    # Between fairseq's log intervals a meter can be there without a value.
    means = {name: meters[f"{name}_loss"].avg for name in ratios if f"{name}_loss" in meters}
    seen = {name: float(mean) for name, mean in means.items() if mean is not None}
    if not seen:
        return float("nan")
    weights = {name: ratios[name] for name in seen}
    if not any(weights.values()):  # so far only the first objective was seen, whose ratio may be 0
        weights = dict.fromkeys(seen, 1.0)
    return round(sum(weights[name] * mean for name, mean in seen.items()) / sum(weights.values()), 6)
