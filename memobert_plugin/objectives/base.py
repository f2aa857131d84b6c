"""Conditional masking: one objective's modality of a batch is masked, the others stay intact (MEmoBERT, section 3)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..core.rng import Stream
from ..data.tokenizer import SPECIALS
from .words import MaskedFrames, MaskedText, mask_frames, mask_text


@dataclass(frozen=True)
class ConditionalMasking:
    """Turns a batch into a masked one, as a pure function of (seed, update, utterance).

    Attributes:
        seed: the run's seed.
        word_mode: one of ``data.masking.WORD_MASKING``.
        frame_mode: one of ``data.masking.FRAME_MASKING``.
        word_ratio: probability of a word (or piece) to be masked.
        visual_ratio: share of face frames masked.
        acoustic_ratio: share of speech frames masked.
        span_length: frames in a masked span.
        mask_index: dictionary row of [MASK].
        vocabulary: rows of the dictionary.
        widths: columns of the targets of ``mvfr``, ``mvfc`` and ``mafr``.
    """

    seed: int
    word_mode: str
    frame_mode: str
    word_ratio: float
    visual_ratio: float
    acoustic_ratio: float
    span_length: int
    mask_index: int
    vocabulary: int
    widths: dict[str, int]

    def check(self, objective: str) -> None:
        """Draw once for an utterance of one piece or frame.

        Raises:
            UserError: a ratio, mode or span length with which nothing can be drawn.
        """
        one, uid = np.ones(1, dtype=np.int64), np.zeros(1, dtype=np.uint64)
        if objective == "wwmlm":
            self._chosen_pieces(one * len(SPECIALS), one, one, uid, 0)
        else:
            self._chosen_frames(objective, one, uid, 0)

    def masked(self, sample: dict[str, Any], objective: str, update: int) -> dict[str, Any]:
        """A new sample with one modality masked (the host reuses its dummy batch, so the given one stays as it is).

        Adds ``objective``, ``target`` and, inside ``net_input``, ``head`` and ``rows``.
        """
        masked = {key: sample[key] for key in ("id", "ntokens", "nsentences")}
        masked["objective"] = objective
        masked["net_input"] = dict(sample["net_input"], head=objective)
        mask = self._mask_words if objective == "wwmlm" else self._mask_frames
        mask(sample, masked, objective, update)
        return masked

    def _mask_words(self, sample: dict[str, Any], masked: dict[str, Any], objective: str, update: int) -> None:
        lengths, text = sample["piece_lengths"], sample["net_input"]["text"]
        chosen = self._chosen_pieces(sample["pieces"], sample["word_start"], lengths, sample["uids"], update)
        # Each utterance has [CLS] before its pieces and [SEP] behind them.
        rows = chosen.targets + 2 * np.repeat(np.arange(len(lengths)), lengths)[chosen.targets] + 1
        at = _on(rows, text.device)
        masked["target"] = text.index_select(0, at)
        masked["net_input"]["text"] = text.index_copy(0, at, _on(chosen.replacements, text.device))
        masked["net_input"]["rows"] = rows

    def _mask_frames(self, sample: dict[str, Any], masked: dict[str, Any], objective: str, update: int) -> None:
        modality = "acoustic" if objective == "mafr" else "visual"
        frames, lengths = sample["net_input"][modality], sample["net_input"][f"{modality}_lengths"]
        chosen = self._chosen_frames(objective, lengths, sample["uids"], update)
        masked["net_input"]["rows"] = chosen.targets
        device = frames.device
        if len(chosen.targets):
            source = sample["expression"] if objective == "mvfc" else frames
            masked["target"] = source.index_select(0, _on(chosen.targets, device))
        else:  # not even the width is known where a shard lacks the modality
            masked["target"] = frames.new_empty(0, self.widths[objective])
        if len(chosen.replaced):
            others = frames.index_select(0, _on(chosen.sources, device))
            masked["net_input"][modality] = frames.index_copy(0, _on(chosen.replaced, device), others)
        if len(chosen.masked):
            masked["net_input"][f"{modality}_masked"] = _on(chosen.masked, device)

    def _chosen_pieces(
        self, pieces: np.ndarray, word_start: np.ndarray, lengths: np.ndarray, uids: np.ndarray, update: int
    ) -> MaskedText:
        return mask_text(
            pieces,
            word_start,
            lengths,
            uids,
            seed=self.seed,
            update=update,
            mode=self.word_mode,
            probability=self.word_ratio,
            mask_index=self.mask_index,
            replacement_range=(len(SPECIALS), self.vocabulary),
            special_ids=(*range(len(SPECIALS) - 1), self.mask_index),
        )

    def _chosen_frames(self, objective: str, lengths: np.ndarray, uids: np.ndarray, update: int) -> MaskedFrames:
        acoustic = objective == "mafr"
        return mask_frames(
            lengths,
            uids,
            seed=self.seed,
            update=update,
            stream=Stream.ACOUSTIC_MASK if acoustic else Stream.VISUAL_MASK,
            mode=self.frame_mode,
            ratio=self.acoustic_ratio if acoustic else self.visual_ratio,
            span_length=self.span_length,
        )


def _on(indices: np.ndarray, device: torch.device) -> Tensor:
    return torch.from_numpy(indices).to(device, non_blocking=True)
