"""Sizes become an architecture's name where one has them, and flags where none has."""

from __future__ import annotations

from memobert_plugin.checkpoints.bert import BertConfig
from memobert_plugin.checkpoints.starting_point import model_settings, training_flags


def test_architectures_are_recognised_by_their_sizes() -> None:
    def architecture(layers: int, hidden: int, ffn: int, heads: int) -> str:
        return model_settings(BertConfig(layers, hidden, ffn, heads, max_positions=512))["_name"]

    assert architecture(12, 768, 3072, 12) == "memobert_base"
    assert architecture(6, 384, 1536, 12) == "memobert_small"
    assert architecture(2, 128, 512, 2) == "memobert_tiny"
    assert architecture(12, 768, 3072, 8) == "memobert"


def test_flags_name_only_what_the_architecture_does_not_imply() -> None:
    base = BertConfig(layers=12, hidden=768, ffn=3072, heads=12, max_positions=512)
    assert training_flags(model_settings(base)) == "--arch memobert_base"
    short = BertConfig(layers=2, hidden=128, ffn=512, heads=2, max_positions=64)
    assert training_flags(model_settings(short)) == "--arch memobert_tiny --max-positions 64"
    narrow = BertConfig(layers=12, hidden=768, ffn=1000, heads=12, max_positions=512)
    assert training_flags(model_settings(narrow)) == "--arch memobert --encoder-ffn-embed-dim 1000"
