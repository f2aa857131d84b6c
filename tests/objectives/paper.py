"""The paper's objectives for tests."""

from __future__ import annotations

from memobert_plugin.objectives.base import OBJECTIVES as REGISTRY
from memobert_plugin.objectives.base import InputSizes, MaskingOptions, Objective, in_order

OBJECTIVES = tuple(name for name in in_order(REGISTRY.own()) if REGISTRY.own()[name].in_every_model)
SYMBOLS = ("[CLS]", "[PAD]", "[SEP]", "[UNK]", "[MASK]", "angry", "happy")
SIZES = InputSizes(len(SYMBOLS), visual_dim=6, acoustic_dim=5, expression_classes=8)


def objectives_of(sizes: InputSizes = SIZES, **options: object) -> dict[str, Objective]:
    """Return every objective of this package, made for the same data."""
    settings = MaskingOptions(**options)  # type: ignore[arg-type]
    return {name: REGISTRY.get(name)(name, sizes, SYMBOLS, settings) for name in OBJECTIVES}
