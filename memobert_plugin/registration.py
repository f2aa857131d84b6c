"""Importing this module registers every task, model, criterion and optimiser with fairseq."""

from __future__ import annotations

import argparse

import torch

from .criterions import facial_expression as facial_expression_criterion  # noqa: F401
from .criterions import finetune as finetune_criterion  # noqa: F401
from .criterions import pretraining as pretraining_criterion  # noqa: F401
from .criterions import prompt as prompt_criterion  # noqa: F401
from .models import denseface as denseface_model  # noqa: F401
from .models import early_fusion as early_fusion_model  # noqa: F401
from .models import memobert  # noqa: F401
from .models import mult as mult_model  # noqa: F401
from .optim import adamw  # noqa: F401
from .tasks import facial_expression as facial_expression_task  # noqa: F401
from .tasks import finetune as finetune_task  # noqa: F401
from .tasks import pretraining as pretraining_task  # noqa: F401
from .tasks import prompt as prompt_task  # noqa: F401

# The host stores its arguments as a Namespace and loads without saying how; torch >= 2.6 then refuses the file.
# Allowing this one class keeps every load restricted to plain data.
torch.serialization.add_safe_globals([argparse.Namespace])
