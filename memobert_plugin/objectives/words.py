"""Whole-word masked language modelling (WWMLM): predict hidden words of the text (MEmoBERT, section 3)."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
from torch import Tensor
from torch.nn import functional

from ..core.errors import UserError
from ..core.ragged import Integers, owners_and_positions
from ..core.rng import Stream
from ..data.vocabulary import MASK, SPECIALS
from ..nn.heads import WORD_HEAD, HeadPlan, word_head
from ..nn.packing import to_device
from .base import OBJECTIVES, InputSizes, Masked, MaskingOptions, Objective
from .draws import Draws, Fate, draw_fates, ordinary_pieces, select_at_least_one

WORD_MASKING = ("whole_word", "piece")


class _Draw(IntEnum):
    """First counter of each kind of draw of words."""

    SELECTED = 0 << 32
    GUARANTEED = 1 << 32
    FATE = 2 << 32
    REPLACEMENT = 3 << 32


@dataclass(frozen=True)
class MaskedText:
    """The pieces to predict, and what the model sees in their place.

    Attributes:
        targets: (n,) rows of the flat ``ids``, ascending.
        replacements: (n,) ids to put there: ``[MASK]``, a random piece, or the piece that stood there.
    """

    targets: Integers
    replacements: Integers


def mask_text(
    ids: npt.NDArray[np.integer],
    word_start: npt.NDArray[np.integer],
    lengths: npt.NDArray[np.integer],
    draws: Draws,
    *,
    mode: str,
    probability: float,
    mask_index: int,
    replacements: Integers,
    special_ids: Collection[int],
) -> MaskedText:
    """Choose the pieces to predict: whole words, or single pieces (the paper's ablation).

    A word (a piece) is chosen with the given probability; an utterance in which none was gets one, drawn uniformly. Of
    the chosen, 80 % become ``[MASK]`` in all pieces, 10 % a random piece for each piece, 10 % stay.

    Args:
        ids: (pieces of all utterances,) without ``[CLS]`` and ``[SEP]``.
        word_start: as ``ids``, 1 where a whitespace word begins; a first piece always begins one.
        lengths: (B,) pieces per utterance; one of length 0 has no targets.
        draws: the random numbers of their utterances.
        mode: one of ``WORD_MASKING``.
        probability: of each word or piece to be chosen; the paper's is 0.15.
        mask_index: the id of ``[MASK]``.
        replacements: ids from which random pieces are drawn, all equally likely.
        special_ids: ids that are never predicted.

    Raises:
        UserError: an unknown mode, a probability outside (0, 1], no id to draw from.
    """
    if mode not in WORD_MASKING:
        raise UserError(f"word masking {mode!r} is unknown; choose from {', '.join(WORD_MASKING)}")
    if not 0 < probability <= 1:
        raise UserError(f"the share of words to mask must be above 0 and at most 1, not {probability}")
    if not len(replacements):
        raise UserError("no piece of the dictionary can replace others in masking; take a larger vocabulary")
    pieces = np.asarray(lengths, dtype=np.int64)
    owner, position = owners_and_positions(pieces)
    maskable = ~np.isin(ids, np.array(sorted(special_ids), dtype=np.int64))

    begins = (position == 0) | (word_start != 0) | (mode == "piece")
    unit_of_piece = np.cumsum(begins) - 1
    maskable_units = np.bincount(unit_of_piece[maskable], minlength=int(begins.sum())) > 0
    fate = _fates_of_units(owner[begins], maskable_units, len(pieces), draws, probability)[unit_of_piece]

    targets = np.flatnonzero((fate >= 0) & maskable)
    fate = fate[targets]
    shown = ids[targets].astype(np.int64)
    shown[fate == Fate.MASKED] = mask_index
    replaced = np.flatnonzero(fate == Fate.REPLACED)
    rows = targets[replaced]
    points = draws.uniform(owner[rows], _Draw.REPLACEMENT + position[rows])
    shown[replaced] = replacements[(points * len(replacements)).astype(np.int64)]
    return MaskedText(targets, shown)


def _fates_of_units(
    owner: Integers, maskable: np.ndarray, utterances: int, draws: Draws, probability: float
) -> Integers:
    """Return the fate of each word or piece, -1 for those that are not chosen.

    Args:
        owner: (units,) each unit's utterance, ascending.
        maskable: (units,) bool; the others are never chosen.
        utterances: their number.
        draws: the random numbers of their utterances.
        probability: of each unit to be chosen.
    """
    candidates = np.flatnonzero(maskable)
    per_utterance = np.bincount(owner[candidates], minlength=utterances)
    index = owners_and_positions(per_utterance)[1]
    chosen = select_at_least_one(
        selected=draws.uniform(owner[candidates], _Draw.SELECTED + index) < probability,
        lengths=per_utterance,
        fallback=draws.integers(np.arange(utterances), _Draw.GUARANTEED, per_utterance),
    )
    fates = np.full(len(owner), -1)
    fates[candidates[chosen]] = draw_fates(draws.uniform(owner[candidates[chosen]], _Draw.FATE + index[chosen]))
    return fates


def perplexity(mean_loss: float) -> float:
    """Return the exponential of a mean cross-entropy, of 700 at most, where float64 ends."""
    return round(math.exp(min(mean_loss, 700.0)), 4)


@OBJECTIVES.register(WORD_HEAD)
class WordModelling(Objective):
    """WWMLM of the paper; its head is BERT's, and prompting reads it."""

    title = "masked words"
    help = "whole-word masked language modelling"
    modality = "text"
    default_ratio = 2.0
    order = 10
    in_every_model = True
    advice = "the dictionary differs: binarize the corpus with the checkpoint's vocabulary"
    scores_of_loss: ClassVar[Mapping[str, Callable[[float], float]]] = {"ppl": perplexity}
    shares = ("accuracy",)
    stream = Stream.TEXT_MASK

    def __init__(self, name: str, sizes: InputSizes, symbols: Sequence[str], options: MaskingOptions) -> None:
        super().__init__(name, sizes, symbols, options)
        self._mask_index = symbols.index(MASK)
        self._replacements = ordinary_pieces(symbols)

    @classmethod
    def serves(cls, sizes: InputSizes) -> bool:
        """Return True: every utterance can have a text."""
        return True

    @classmethod
    def head(cls, sizes: InputSizes) -> HeadPlan:
        """Return BERT's masked-language-modelling head."""
        return word_head(sizes.vocabulary)

    def mask(self, batch: Mapping[str, Any], draws: Draws) -> Masked:
        """Hide words or pieces (:func:`mask_text`)."""
        lengths, text = batch["piece_lengths"], batch["net_input"]["text"]
        chosen = mask_text(
            batch["pieces"],
            batch["word_start"],
            lengths,
            draws,
            mode=self.options.word_mode,
            probability=self.options.word_ratio,
            mask_index=self._mask_index,
            replacements=self._replacements,
            # [UNK] is an ordinary target.
            special_ids=(*range(len(SPECIALS) - 1), self._mask_index),
        )
        # Each utterance has [CLS] before its pieces and [SEP] after them.
        rows = chosen.targets + 2 * np.repeat(np.arange(len(lengths)), lengths)[chosen.targets] + 1
        on_device = to_device(rows, text.device)
        masked = text.index_copy(0, on_device, to_device(chosen.replacements, text.device))
        return Masked(rows, text.index_select(0, on_device), {"text": masked})

    def loss(self, output: Tensor, target: Tensor) -> tuple[Tensor, int]:
        """Return the cross-entropy over n pieces."""
        return functional.cross_entropy(output, target, reduction="sum"), target.numel()

    def count(self, output: Tensor, target: Tensor) -> Mapping[str, Tensor]:
        """Return the number of right pieces."""
        return {"accuracy": (output.argmax(dim=-1) == target).sum()}
