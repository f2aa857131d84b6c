"""MEmoBERT: multimodal emotion recognition by masked pre-training and prompting.

As fairseq's ``--user-dir`` this package registers its tasks, models, criterions and optimizer on import. Imported as a
library it loads neither torch nor fairseq, so that commands start quickly.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .inference.predictor import MEmoBERT

__all__ = ["MEmoBERT", "register"]


def register() -> None:
    """Register everything with fairseq and allow-list what its checkpoints hold; repeated calls do nothing.

    Raises:
        UserError: fairseq is not installed.
    """
    from .core.fairseq_quirks import require_fairseq

    require_fairseq("memobert_plugin.register()")
    from . import registration  # noqa: F401


def __getattr__(name: str) -> object:
    """Bring in :class:`MEmoBERT` when it is asked for, not before."""
    if name == "MEmoBERT":
        from .inference.predictor import MEmoBERT

        return MEmoBERT
    if name == "__version__":
        from .core.version import VERSION

        return VERSION
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


if sys.argv[:1] == ["-m"]:  # Python is looking for the module that it was told to run
    from .core.console import refuse_no_command

    refuse_no_command(sys.orig_argv)

if sys.modules.get("fairseq"):
    register()
