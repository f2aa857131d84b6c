"""Options of every task on a data-bin. The host reads the fields' types, so they are not postponed here."""

from dataclasses import dataclass, field
from typing import List

from omegaconf import II

from .save_folder import SaveFolderConfig


@dataclass
class CorpusTaskConfig(SaveFolderConfig):
    """What every task on a data-bin can be told."""

    max_nonfinite_updates: int = field(
        default=10,
        metadata={"help": "end training after this many updates in a row with NaN or infinite gradients (left out)"},
    )
    center_frames: bool = field(
        default=False,
        metadata={
            "help": "start the projections of frames so that the mean frame becomes zero; helps short trainings on "
            "frames whose mean outweighs their differences (a checkpoint that is loaded overrules it)"
        },
    )
    seed: int = II("common.seed")
    update_freq: List[int] = II("optimization.update_freq")
