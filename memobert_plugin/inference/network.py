"""The network with its prompt or classifier: utterances in, probabilities out, as fairseq's tasks compute them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ..checkpoints.bundle import read_bundle
from ..checkpoints.fairseq_checkpoint import read_fairseq_checkpoint
from ..checkpoints.model_description import FINETUNED, PRETRAINED, PROMPTED
from ..checkpoints.trained_model import TrainedModel
from ..core.errors import UserError
from ..core.ragged import first_rows
from ..data.batches import InputBuilder, Limits, NetworkInput, zero_frame
from ..data.prompts import PromptPieces, Template, Verbalizer
from ..data.tokenizer import SPECIALS
from ..nn.heads import EMOTION_HEAD, WORD_HEAD, upcast
from ..nn.label_words import CandidateWords, LabelWords
from ..nn.packing import PackedLayout
from .reading import LEFT_OUT
from .utterance import Evidence


class Network:
    """A trained model in evaluation mode.

    Args:
        model: weights, description and tokenizer.
        device: runs the network.
        dtype: the parameters'; answers are computed in float32 at least.

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
        """The template appended to every text; None for a finetuned model."""
        if model.description.kind == PROMPTED:
            self.prompt = Template.parse(model.description.template).encode(self.tokenizer)
            words = Verbalizer.parse(model.description.verbalizer, self.labels).encode(self.tokenizer)
            self._label_words = LabelWords(words, len(symbols))
            self._candidates = CandidateWords(self._label_words.rows, *self.prompt.around_mask())
        self._inputs = InputBuilder(symbols)

    def batch(self, evidence: Sequence[Evidence], prompt: PromptPieces | None) -> NetworkInput:
        """Put utterances together, cut to the model's limits; nothing is padded."""
        description = self.description
        return self._inputs.from_arrays(
            [found.pieces for found in evidence],
            [self._frames(found, "v", found.visual, description.visual_dim) for found in evidence],
            [self._frames(found, "a", found.acoustic, description.acoustic_dim) for found in evidence],
            limits=Limits(**description.limits),
            dims=(description.visual_dim, description.acoustic_dim),
            prompt=prompt,
            device=self.device,
        )

    def _frames(self, evidence: Evidence, letter: str, frames: np.ndarray | None, dim: int) -> np.ndarray | None:
        """Return the frames, or the zero frame where the model wants one for what the clip lacks."""
        found_none = letter in evidence.absent and evidence.absent[letter] != LEFT_OUT
        wants_one = self.description.training.get("zero_frames") and letter in self.description.trained_on
        return zero_frame(dim) if dim and found_none and wants_one else frames

    def scores(self, batch: NetworkInput) -> tuple[Tensor, Tensor | None]:
        """Return scores of the emotions (B, C), whose softmax are the calibrated probabilities.

        For a prompted model that chooses among the whole vocabulary also return the rows (B,) of its likeliest pieces.

        Raises:
            UserError: the model was only pre-trained.
        """
        if self.description.kind == PRETRAINED:
            raise UserError("this model was only pre-trained and tells no emotions apart; fill_mask and encode work")
        temperatures = self._temperatures(batch)
        if self.description.kind == FINETUNED:
            rows = first_rows(batch.net_input["text_lengths"])
            return upcast(self.module(**batch.net_input, head=EMOTION_HEAD, rows=rows)) / temperatures, None
        if self.description.mask_words == "labels":
            logits = self.module(**batch.net_input, head=WORD_HEAD, rows=batch.mask_rows, words=self._candidates)
            return self._label_words.scores_of_candidates(upcast(logits)) / temperatures, None
        logits = self.vocabulary_logits(batch)
        return self._label_words.scores(logits) / temperatures, logits.argmax(dim=-1)

    def _temperatures(self, batch: NetworkInput) -> Tensor:
        """Return the temperature of each utterance's answer, (B, 1): that of the modalities it has."""
        found = self.description.calibration
        lengths = [batch.piece_lengths, batch.net_input["visual_lengths"], batch.net_input["acoustic_lengths"]]
        cases = [
            "".join(letter for letter, own in zip("lva", of, strict=True) if own) for of in zip(*lengths, strict=True)
        ]
        values = [found.of_case(case) if found is not None else 1.0 for case in cases]
        return torch.tensor(values, device=self.device)[:, None]

    def vocabulary_logits(self, batch: NetworkInput) -> Tensor:
        """Return logits (B, vocabulary) at the prompt's mask."""
        return upcast(self.module(**batch.net_input, head=WORD_HEAD, rows=batch.mask_rows))

    def likeliest_words(self, batch: NetworkInput, prompt: PromptPieces, count: int) -> list[tuple[int, float]]:
        """Return rows of the dictionary with their probabilities at the mask of one utterance, likeliest first.

        Special symbols are left out: they have a probability too, but no text holds one. A model that was trained to
        choose among label words ranks these alone.
        """
        if self.description.mask_words == "labels":
            words = CandidateWords(self._label_words.rows, *prompt.around_mask())
            logits = upcast(self.module(**batch.net_input, head=WORD_HEAD, rows=batch.mask_rows, words=words))[0]
            chosen = logits.softmax(dim=-1).topk(min(count, len(words.rows)))
            return [(words.rows[index], float(share)) for share, index in zip(*map(list, chosen), strict=True)]
        logits = self.vocabulary_logits(batch)[0]
        probabilities = logits.softmax(dim=-1)
        special = [*range(len(SPECIALS)), self.tokenizer.mask_index]
        ranked = probabilities.index_fill(0, torch.tensor(special, device=logits.device), -1.0)
        rows = ranked.topk(min(count, len(ranked) - len(special))).indices.tolist()
        return [(row, float(probabilities[row])) for row in rows]

    def word(self, row: int) -> str:
        """Return a row of the dictionary as a word, without its tokenizer's marks."""
        return self.tokenizer.symbols[row].removeprefix("▁")

    def hidden_states(self, batch: NetworkInput) -> tuple[Tensor, PackedLayout]:
        """Return the last layer of every piece and frame, packed, and the layout of its rows."""
        return self.module.hidden_states(**batch.net_input)


DTYPES = ("float32", "bfloat16", "float16")


def load_network(
    path: Path, device: str, dtype: str | torch.dtype, data_bin: Path | None = None, zero_frames: bool = False
) -> Network:
    """Load a bundle (a folder) or a checkpoint of ``fairseq-train`` (a file).

    Args:
        path, data_bin: see :meth:`MEmoBERT.from_pretrained`.
        device, dtype: of the parameters.
        zero_frames: let the model read one zero frame for faces or speech that a clip lacks.

    Raises:
        UserError: not a model, an altered file, no such device or an unknown dtype.
    """
    if not path.exists():
        raise UserError(f"{path}: no such bundle or checkpoint")
    model = read_bundle(path) if path.is_dir() else read_fairseq_checkpoint(path, data_bin)
    if zero_frames:
        model.description.training["zero_frames"] = True
    return Network(model, _device(device), _dtype(dtype))


def _device(name: str) -> torch.device:
    try:
        device = torch.device(name)
    except RuntimeError:
        raise UserError(f"device {name!r}: unknown; give cpu or cuda") from None
    if device.type == "cuda" and not torch.cuda.is_available():
        raise UserError(f"device {name}: this machine has no usable CUDA device; give cpu")
    return device


def _dtype(dtype: str | torch.dtype) -> torch.dtype:
    name = str(dtype).removeprefix("torch.")
    if name not in DTYPES:
        raise UserError(f"dtype {name}: give one of {', '.join(DTYPES)}")
    found = getattr(torch, name)
    assert isinstance(found, torch.dtype)
    return found
