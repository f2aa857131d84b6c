"""A task as the criterion of prompting sees it, beside label words: one template that is the mask alone."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from memobert_plugin.data.prompts import PromptPieces

ONE_PROMPT: dict[str, Any] = {
    "prompt": lambda: PromptPieces([4], 0),
    "more_prompts": list,
    "weights_of_templates": lambda: None,
    "cfg": SimpleNamespace(contextual_calibration=False, keep_pretrained=0.0),
}
