"""The network with its prompt or classifier: utterances in, probabilities out, as the host's tasks compute them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..checkpoints.model_description import FINETUNED, PRETRAINED, PROMPTED
from ..checkpoints.trained_model import TrainedModel
from ..core.errors import UserError
from ..core.ragged import first_rows
from ..criterions.emotion import LabelWords
from ..data.prompts import PromptPieces, Template, Verbalizer, assemble_prompts, ends_sentence
from ..data.tokenizer import SPECIALS
from ..nn.heads import upcast
from ..nn.packing import PackedLayout
from .utterance import Evidence

_CLS, _, _SEP, _UNK = range(len(SPECIALS))


@dataclass(frozen=True)
class Batch:
    """Utterances as the model reads them.

    Attributes:
        net_input: arguments of the model.
        mask_rows: (B,) row of each utterance's ``[MASK]`` in the text; empty without a prompt.
        piece_lengths: (B,) pieces of each text that were kept, prompt and special pieces not counted.
    """

    net_input: dict[str, Any]
    mask_rows: np.ndarray
    piece_lengths: np.ndarray


class Network:
    """A trained model in evaluation mode.

    Args:
        model: weights, description and tokenizer.
        device: where it runs.
        dtype: of its parameters; answers are computed in float32 at least.

    Raises:
        UserError: weights, tokenizer and description do not belong together, or the prompt cannot be encoded.
    """

    def __init__(self, model: TrainedModel, device: torch.device, dtype: torch.dtype) -> None:
        self.description = model.description
        self.tokenizer = model.tokenizer()
        self.module = model.build(device, dtype)
        self.device = device
        self.labels = list(self.description.labels)
        symbols = self.tokenizer.symbols
        self.prompt: PromptPieces | None = None
        """What is appended to every text; None for a finetuned model."""
        if model.description.kind == PROMPTED:
            self.prompt = Template.parse(model.description.template).encode(self.tokenizer)
            words = Verbalizer.parse(model.description.verbalizer, self.labels).encode(self.tokenizer)
            self._label_words = LabelWords(words, len(symbols))
        self._sentence_end = ends_sentence(symbols)
        self._period = symbols.index(".") if "." in symbols else _UNK

    def batch(self, evidence: Sequence[Evidence], prompt: PromptPieces | None) -> Batch:
        """Put utterances together, cut to the model's limits; nothing is padded."""
        limits = self.description.limits
        texts = [found.pieces[: limits["pieces"]].astype(np.int64) for found in evidence]
        lengths = np.array([len(pieces) for pieces in texts], dtype=np.int64)
        pieces = np.concatenate(texts) if texts else np.empty(0, dtype=np.int64)
        text = assemble_prompts(pieces, lengths, self._sentence_end, self._period, prompt, _CLS, _SEP, None)
        visual, visual_lengths = _joined(
            [found.visual for found in evidence], limits["visual_frames"], self.description.visual_dim
        )
        acoustic, acoustic_lengths = _joined(
            [found.acoustic for found in evidence], limits["acoustic_frames"], self.description.acoustic_dim
        )
        net_input = {
            "text": torch.from_numpy(text.ids).to(self.device),
            "text_lengths": text.lengths,
            "visual": torch.from_numpy(visual).to(self.device),
            "visual_lengths": visual_lengths,
            "acoustic": torch.from_numpy(acoustic).to(self.device),
            "acoustic_lengths": acoustic_lengths,
        }
        return Batch(net_input, text.mask_rows, lengths)

    def scores(self, batch: Batch) -> tuple[Tensor, Tensor | None]:
        """Scores of the emotions (B, C), whose softmax are the probabilities; prompting also the rows (B,) of the most
        likely pieces of the whole vocabulary.

        Raises:
            UserError: the model was only pre-trained.
        """
        if self.description.kind == PRETRAINED:
            raise UserError("this model was only pre-trained and tells no emotions apart; fill_mask and encode work")
        if self.description.kind == FINETUNED:
            rows = first_rows(batch.net_input["text_lengths"])
            return upcast(self.module(**batch.net_input, head="classify", rows=rows)), None
        logits = self.vocabulary_logits(batch)
        return self._label_words.scores(logits), logits.argmax(dim=-1)

    def vocabulary_logits(self, batch: Batch) -> Tensor:
        """(B, vocabulary) at the prompt's mask."""
        return upcast(self.module(**batch.net_input, head="wwmlm", rows=batch.mask_rows))

    def likeliest_words(self, logits: Tensor, count: int) -> list[tuple[int, float]]:
        """Rows of the dictionary with their probabilities, likeliest first, of logits (vocabulary,).

        Special symbols have a probability too, but no text holds one, so none is listed.
        """
        probabilities = logits.softmax(dim=-1)
        special = [*range(len(SPECIALS)), self.tokenizer.mask_index]
        ranked = probabilities.index_fill(0, torch.tensor(special, device=logits.device), -1.0)
        rows = ranked.topk(min(count, len(ranked) - len(special))).indices.tolist()
        return [(row, float(probabilities[row])) for row in rows]

    def word(self, row: int) -> str:
        """A row of the dictionary as a word, without the marks of its tokenizer."""
        return self.tokenizer.symbols[row].removeprefix("▁")

    def hidden_states(self, batch: Batch) -> tuple[Tensor, PackedLayout]:
        """Last layer of every piece and frame, packed, and whose each row is."""
        return self.module.hidden_states(**batch.net_input)


def _joined(frames: Sequence[np.ndarray | None], limit: int, dim: int) -> tuple[np.ndarray, np.ndarray]:
    """Frames of all utterances (sum, D) float16, cut to the limit, and how many of each (B,)."""
    empty = np.empty((0, dim), dtype=np.float16)
    kept = [empty if own is None else own[:limit] for own in frames]
    return np.concatenate([empty, *kept]), np.array([len(own) for own in kept], dtype=np.int64)
