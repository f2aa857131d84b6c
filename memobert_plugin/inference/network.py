"""The network with its prompt or classifier: utterances in, probabilities out, as the host's tasks compute them."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ..checkpoints.model_description import FINETUNED, PRETRAINED, PROMPTED
from ..checkpoints.trained_model import TrainedModel
from ..core.errors import UserError
from ..core.ragged import first_rows
from ..data.batches import InputBuilder, Limits, NetworkInput
from ..data.prompts import PromptPieces, Template, Verbalizer
from ..data.tokenizer import SPECIALS
from ..nn.heads import EMOTION_HEAD, WORD_HEAD, upcast
from ..nn.label_words import LabelWords
from ..nn.packing import PackedLayout
from .utterance import Evidence


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
        self._inputs = InputBuilder(symbols)

    def batch(self, evidence: Sequence[Evidence], prompt: PromptPieces | None) -> NetworkInput:
        """Put utterances together, cut to the model's limits; nothing is padded."""
        return self._inputs.from_arrays(
            [found.pieces for found in evidence],
            [found.visual for found in evidence],
            [found.acoustic for found in evidence],
            limits=Limits(**self.description.limits),
            dims=(self.description.visual_dim, self.description.acoustic_dim),
            prompt=prompt,
            device=self.device,
        )

    def scores(self, batch: NetworkInput) -> tuple[Tensor, Tensor | None]:
        """Scores of the emotions (B, C), whose softmax are the probabilities; prompting also the rows (B,) of the most
        likely pieces of the whole vocabulary.

        Raises:
            UserError: the model was only pre-trained.
        """
        if self.description.kind == PRETRAINED:
            raise UserError("this model was only pre-trained and tells no emotions apart; fill_mask and encode work")
        if self.description.kind == FINETUNED:
            rows = first_rows(batch.net_input["text_lengths"])
            return upcast(self.module(**batch.net_input, head=EMOTION_HEAD, rows=rows)), None
        logits = self.vocabulary_logits(batch)
        return self._label_words.scores(logits), logits.argmax(dim=-1)

    def vocabulary_logits(self, batch: NetworkInput) -> Tensor:
        """(B, vocabulary) at the prompt's mask."""
        return upcast(self.module(**batch.net_input, head=WORD_HEAD, rows=batch.mask_rows))

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

    def hidden_states(self, batch: NetworkInput) -> tuple[Tensor, PackedLayout]:
        """Last layer of every piece and frame, packed, and whose each row is."""
        return self.module.hidden_states(**batch.net_input)
