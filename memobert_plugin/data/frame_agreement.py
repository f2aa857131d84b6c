"""What the frames of one corpus must have in common: their dimensions, and expressions everywhere or nowhere."""

from __future__ import annotations

import numpy as np

from .frames import FERPLUS_CLASSES, ExtractorInfo
from .prepare import PreparedUtterance


class FrameAgreement:
    """Takes the dimensions from ``extractor.json``, else from the first usable utterance, and objects to others.

    Args:
        visual, acoustic: what the feature folders say of their extractor; None for a modality that is left out.
    """

    def __init__(self, visual: ExtractorInfo | None, acoustic: ExtractorInfo | None) -> None:
        self.visual = visual
        self.acoustic = acoustic
        self.visual_dim = visual.dim if visual else None
        self.acoustic_dim = acoustic.dim if acoustic else None
        self._expressions = len(visual.classes) if visual and visual.classes else None
        """K, 0 where frames come without expressions, None while that is open."""

    def objection(self, utterance: PreparedUtterance) -> str:
        """Return why an utterance does not fit the ones before it, or an empty string."""
        visual_dim = _dim(utterance.visual, self.visual_dim)
        acoustic_dim = _dim(utterance.acoustic, self.acoustic_dim)
        expressions = self._expressions
        if utterance.visual is not None and expressions is None:
            expressions = 0 if utterance.expression is None else utterance.expression.shape[1]
        for name, array, expected in (
            ("visual frames", utterance.visual, visual_dim),
            ("acoustic frames", utterance.acoustic, acoustic_dim),
            ("expression", utterance.expression, expressions),
        ):
            if array is not None and array.shape[1] != expected:
                return f"{name} of {array.shape[1]} dimensions, the corpus has {expected}; extract all alike"
        if utterance.visual is not None and utterance.expression is None and expressions:
            return f"no expression, the corpus has {expressions} per frame; give it to all or none"
        self.visual_dim, self.acoustic_dim, self._expressions = visual_dim, acoustic_dim, expressions
        return ""

    def expression_classes(self) -> list[str]:
        """Return the names of the expressions; eight without names are FER+'s."""
        if not self._expressions:
            return []
        if self.visual and self.visual.classes:
            return list(self.visual.classes)
        if self._expressions == len(FERPLUS_CLASSES):
            return list(FERPLUS_CLASSES)
        return [f"class_{index}" for index in range(self._expressions)]


def _dim(array: np.ndarray | None, known: int | None) -> int | None:
    return array.shape[1] if known is None and array is not None else known
