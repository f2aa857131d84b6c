"""Names that several folders share, each defined once: modalities and modality cases."""

from __future__ import annotations

from typing import Final

MODALITY_CASES: Final = ("lva", "lv", "la", "va", "l", "v", "a")
"""Which of text (l), visual (v) and acoustic (a) a model is shown; from most to least."""
