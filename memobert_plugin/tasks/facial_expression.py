"""Train and evaluate DenseFace on grey faces with votes for expressions."""

import logging
from dataclasses import dataclass, field
from typing import Any, List

import torch
from fairseq.data.iterators import EpochBatchIterator
from fairseq.dataclass import ChoiceEnum, FairseqDataclass
from fairseq.tasks import register_task
from omegaconf import II, MISSING
from torch import Tensor, nn

from ..core.errors import UserError, exits_in_one_line
from ..features.denseface.pictures import SPLITS, ExpressionPictures
from ..nn.densenet import DOWNSAMPLING
from .picture_dataset import Augmentation, PictureDataset
from .resuming import ResumableTask
from .save_folder import SaveFolderConfig

logger = logging.getLogger(__name__)

TARGETS = ("votes", "majority")
TARGET_CHOICES = ChoiceEnum(TARGETS)


@dataclass
class FacialExpressionConfig(SaveFolderConfig):
    """Flags of training and evaluation on faces with votes."""

    data: str = field(
        default=MISSING,
        metadata={"help": "folder with the packed pictures that python -m memobert_plugin.corpora ferplus wrote"},
    )
    targets: TARGET_CHOICES = field(  # type: ignore[valid-type]
        default="votes",
        metadata={
            "help": "learn the distribution of the votes for an expression, or the majority's expression alone "
            "(pictures without a unique majority are then left out of training)"
        },
    )
    input_size: int = field(
        default=64,
        metadata={"help": "side of the pictures the network reads, pixels, a multiple of 8; frames are taken at 64"},
    )
    no_flip: bool = field(default=False, metadata={"help": "do not mirror pictures in training"})
    max_rotation: float = field(default=12.0, metadata={"help": "largest rotation in training, degrees"})
    max_shift: float = field(default=0.08, metadata={"help": "largest shift in training, share of the picture's side"})
    repeat_rarer_than: float = field(
        default=0.1,
        metadata={
            "help": "in training, repeat the pictures of expressions that have less than this share t of the pictures: "
            "sqrt(t / share) times per epoch on average (repeat factor sampling); 0 repeats none"
        },
    )
    seed: int = II("common.seed")
    update_freq: List[int] = II("optimization.update_freq")


@register_task("memobert_facial_expression", dataclass=FacialExpressionConfig)
class FacialExpressionTask(ResumableTask):
    """Facial expressions learned from votes as soft labels; pictures are augmented in training only, as a function of
    (seed, epoch, picture).
    """

    cfg: FacialExpressionConfig

    def __init__(self, cfg: FairseqDataclass, **kwargs: Any) -> None:
        super().__init__(cfg, **kwargs)
        self._pictures: ExpressionPictures | None = None
        self.state.add_factory("grey_levels", self._measure_grey_levels)

    @property
    def source_dictionary(self) -> None:
        """Return None: there are no words."""
        return None

    @property
    def target_dictionary(self) -> None:
        """Return None: there are no words."""
        return None

    def max_positions(self) -> None:
        """Return None: pictures have no length."""
        return None

    def grey_levels(self) -> tuple[float, float]:
        """Return mean and standard deviation of the training pictures' grey levels; a checkpoint carries them."""
        mean, deviation = self.state.grey_levels
        return mean, deviation

    @exits_in_one_line
    def build_model(self, cfg: FairseqDataclass, from_checkpoint: bool = False) -> nn.Module:
        """Refuse impossible flags, then build the model as fairseq does."""
        if self.cfg.input_size < DOWNSAMPLING or self.cfg.input_size % DOWNSAMPLING:
            raise UserError(f"--input-size {self.cfg.input_size}: give a multiple of {DOWNSAMPLING}")
        if not 0 <= self.cfg.max_shift <= 0.5:
            raise UserError(f"--max-shift {self.cfg.max_shift}: give a share of the side, 0 to 0.5")
        if not 0 <= self.cfg.max_rotation <= 180:
            raise UserError(f"--max-rotation {self.cfg.max_rotation}: give degrees, 0 to 180")
        if not 0 <= self.cfg.repeat_rarer_than <= 1:
            raise UserError(f"--repeat-rarer-than {self.cfg.repeat_rarer_than}: give a share of the pictures, 0 to 1")
        logger.info("grey levels of the training pictures: mean %.3f, deviation %.3f", *self.grey_levels())
        return super().build_model(cfg, from_checkpoint)

    @exits_in_one_line
    def load_dataset(
        self, split: str, combine: bool = False, task_cfg: Any = None, epoch: int = 1, **kwargs: Any
    ) -> None:
        """Load ``train``, ``valid`` or ``test`` of the packed file."""
        training = split == "train"
        pictures = self._of_split(split)
        if str(self.cfg.targets) == "majority":
            pictures = pictures.where(pictures.majorities() >= 0) if training else pictures
            targets = pictures.majority_distributions()
        else:
            targets = pictures.distributions()
        logger.info(
            "%s: %d pictures, %d of them without a majority", split, len(targets), (pictures.majorities() < 0).sum()
        )
        self.datasets[split] = PictureDataset(
            pictures,
            targets,
            self.cfg.input_size,
            self._augmentation() if training else None,
            self.cfg.seed,
            self.cfg.repeat_rarer_than,
        )

    def get_batch_iterator(self, dataset: PictureDataset, **kwargs: Any) -> EpochBatchIterator:
        """Return fairseq's iterator; in training, the number of batches becomes a multiple of ranks x update-freq."""
        if dataset.shuffle:
            per_rank = self.batches_per_update(kwargs.get("epoch", 1))
            dataset.batches_divisible_by = kwargs.get("num_shards", 1) * per_rank
        return super().get_batch_iterator(dataset, **kwargs)

    def valid_step(
        self, sample: dict[str, Any], model: nn.Module, criterion: nn.Module
    ) -> tuple[Tensor, int, dict[str, Any]]:
        """Make fairseq's step; ``fairseq-validate`` passes ``{}`` on a rank that has run out of batches."""
        if not sample:
            return torch.zeros(()), 0, {}
        return super().valid_step(sample, model, criterion)

    def _augmentation(self) -> Augmentation:
        return Augmentation(not self.cfg.no_flip, self.cfg.max_rotation, self.cfg.max_shift)

    def _of_split(self, split: str) -> ExpressionPictures:
        if split not in SPLITS:
            raise UserError(f"subset '{split}': choose one of {', '.join(SPLITS)}")
        if self._pictures is None:
            self._pictures = ExpressionPictures.read(self.cfg.data)
        pictures = self._pictures.of_split(split)
        if not len(pictures.images):
            raise UserError(f"{self.cfg.data}: has no picture of the subset '{split}'")
        return pictures

    def _measure_grey_levels(self) -> list[float]:
        images = self._of_split("train").images
        return [float(images.mean()), float(images.std())]
