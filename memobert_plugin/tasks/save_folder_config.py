"""What every task knows of the host's checkpoints. The host reads the fields' types, so they are not postponed here."""

from dataclasses import dataclass

from fairseq.dataclass import FairseqDataclass
from omegaconf import II


@dataclass
class SaveFolderConfig(FairseqDataclass):
    """The host's flags that say where checkpoints are; see :mod:`.save_folder`."""

    save_dir: str = II("checkpoint.save_dir")
    restore_file: str = II("checkpoint.restore_file")
    no_save: bool = II("checkpoint.no_save")
    no_last_checkpoints: bool = II("checkpoint.no_last_checkpoints")
