"""Options of every task on a data-bin. The host reads the fields' types, so they are not postponed here."""

from dataclasses import dataclass, field
from typing import List, Optional

from omegaconf import II

from ..data.limits import DEFAULT_FRAMES
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
    zero_frames: bool = field(
        default=False,
        metadata={
            "help": "show one zero frame (of neutral expression) for faces or speech that an utterance lacks, as the "
            "authors' code does, instead of leaving the modality out; for models imported from them"
        },
    )
    max_visual_frames: int = field(
        default=DEFAULT_FRAMES["visual"],
        metadata={"help": "face frames read from the start of an utterance (at 10 per second 36 are 3.6 s)"},
    )
    max_visual_seconds: Optional[float] = field(
        default=None, metadata={"help": "the same in seconds, by the data-bin's frame rate; overrules the frames"}
    )
    max_acoustic_frames: int = field(
        default=DEFAULT_FRAMES["acoustic"],
        metadata={"help": "speech frames read from the start of an utterance (at one per 60 ms 64 are 3.84 s)"},
    )
    max_acoustic_seconds: Optional[float] = field(
        default=None, metadata={"help": "the same in seconds, by the data-bin's frame rate; overrules the frames"}
    )
    seed: int = II("common.seed")
    update_freq: List[int] = II("optimization.update_freq")
