"""Importing this module registers every task, model, criterion and optimiser with fairseq."""

from __future__ import annotations

from .comparators.base import comparator_settings
from .core.fairseq_quirks import allow_fairseq_arguments
from .criterions import emotion as facial_expression_criterion  # noqa: F401
from .criterions import emotion as finetune_criterion  # noqa: F401
from .criterions import emotion as prompt_criterion  # noqa: F401
from .criterions import pretraining as pretraining_criterion  # noqa: F401
from .models import denseface as denseface_model  # noqa: F401
from .models import memobert  # noqa: F401
from .optim import adamw  # noqa: F401
from .tasks import emotion as emotion_task  # noqa: F401
from .tasks import facial_expression as facial_expression_task  # noqa: F401
from .tasks import pretraining as pretraining_task  # noqa: F401

allow_fairseq_arguments()
# Comparators of this package and of others register their architectures when they are imported.
comparator_settings()
