"""Embed text by a frozen BERT: its last layer's states stand where MEmoBERT has word vectors.

A corpus of a few hundred utterances is too small to learn words. Their states in a BERT that has read much text carry
what a small transformer can use, and they need no gradient.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from ..core.names import LAYER_NORM_EPS
from ..core.ragged import owners_and_positions
from .attention import AttentionPlan
from .embedders import PAD, PromptedEmbedder, TextEmbedder
from .label_words import CandidateWords
from .linear import Linear
from .packing import PackedLayout
from .transformer import CrossModalityTransformer, set_layer_norm_eps

ENCODER_PREFIX = "text_embedder.encoder."
"""Beginning of the frozen weights' names in a network's state dictionary."""
_CACHED_BYTES = 256 << 20


@dataclass(frozen=True)
class TextEncoderSizes:
    """The sizes of a frozen BERT; ``layers`` is 0 for none."""

    layers: int = 0
    embed_dim: int = 0
    ffn_dim: int = 0
    heads: int = 0
    positions: int = 0
    layer_norm_eps: float = LAYER_NORM_EPS


class FrozenTextEncoder(nn.Module):
    """BERT's embedder and transformer without dropout, head or gradients.

    On a CPU the states of each text are kept, up to 256 MiB: an epoch computes them once.

    Args:
        vocabulary: rows of the dictionary.
        sizes: of the encoder.
    """

    def __init__(self, vocabulary: int, sizes: TextEncoderSizes) -> None:
        super().__init__()
        self.embedder = TextEmbedder(vocabulary, sizes.embed_dim, sizes.positions, 0.0)
        self.body = CrossModalityTransformer(sizes.layers, sizes.embed_dim, sizes.ffn_dim, sizes.heads, 0.0, 0.0)
        set_layer_norm_eps(self, sizes.layer_norm_eps)
        self.requires_grad_(False)
        self._states: OrderedDict[bytes, Tensor] = OrderedDict()
        self._bytes = 0
        self._cached_for: tuple[int, int, torch.dtype] | None = None

    @torch.no_grad()
    def forward(self, pieces: Tensor, lengths: np.ndarray) -> Tensor:
        """Return the last layer's states ``(n, E)``.

        Args:
            pieces: ``(n,)`` dictionary rows of all texts, each with its special pieces.
            lengths: ``(B,)`` numpy; 0 for an utterance without text.
        """
        if pieces.device.type != "cpu":
            return self._encode(pieces, lengths)
        self._forget_other_weights()
        texts = [text.numpy().tobytes() for text in pieces.split(lengths.tolist()) if len(text)]
        unknown = [text for text in dict.fromkeys(texts) if text not in self._states]
        fresh: dict[bytes, Tensor] = {}
        if unknown:
            new = [torch.frombuffer(bytearray(text), dtype=torch.int64) for text in unknown]
            new_lengths = np.array([len(text) for text in new])
            encoded = self._encode(torch.cat(new), new_lengths).split(new_lengths.tolist())
            fresh = dict(zip(unknown, encoded, strict=True))
        states = [fresh[text] if text in fresh else self._states[text] for text in texts]
        self._keep(fresh)
        return torch.cat(states) if states else self._empty(pieces.device)

    def _encode(self, pieces: Tensor, lengths: np.ndarray) -> Tensor:
        if not len(pieces):
            return self._empty(pieces.device)
        own = lengths[lengths > 0]
        layout = PackedLayout.from_lengths(own, 0 * own, 0 * own)
        positions = torch.from_numpy(np.concatenate([np.arange(length) for length in own])).to(pieces.device)
        plan = AttentionPlan.for_all(layout, pieces.device)
        return self.body(self.embedder(pieces, positions), plan, plan)

    def _empty(self, device: torch.device) -> Tensor:
        weight = self.embedder.word.weight
        return torch.zeros(0, weight.shape[1], dtype=weight.dtype, device=device)

    def _keep(self, fresh: dict[bytes, Tensor]) -> None:
        for text, states in fresh.items():
            # A copy: a view would keep the states of its whole batch alive.
            self._states[text] = states.clone()
            self._bytes += states.nbytes
        while self._bytes > _CACHED_BYTES:
            self._bytes -= self._states.popitem(last=False)[1].nbytes

    def _forget_other_weights(self) -> None:
        weight = self.embedder.word.weight
        version = (weight.data_ptr(), weight._version, weight.dtype)
        if version != self._cached_for:
            self._states.clear()
            self._bytes, self._cached_for = 0, version


class EncodedTextEmbedder(PromptedEmbedder):
    """``Dropout(LN(LN(Linear(states)) + token_type[0]))`` of a frozen BERT's states.

    The second row of ``token_type`` is the visual embedder's, as in :class:`.embedders.TextEmbedder`.

    Args:
        vocabulary: rows of the dictionary.
        sizes: of the frozen encoder, of width E.
        embed_dim: width D.
        dropout: applied to the result.
    """

    def __init__(self, vocabulary: int, sizes: TextEncoderSizes, embed_dim: int, dropout: float) -> None:
        super().__init__()
        self.encoder = FrozenTextEncoder(vocabulary, sizes)
        self.linear = Linear(sizes.embed_dim, embed_dim)
        self.feature_norm = nn.LayerNorm(embed_dim, eps=LAYER_NORM_EPS)
        self.token_type = nn.Embedding(2, embed_dim)
        self.norm = nn.LayerNorm(embed_dim, eps=LAYER_NORM_EPS)
        self.dropout = nn.Dropout(dropout)

    def forward(self, pieces: Tensor, lengths: np.ndarray) -> Tensor:
        """Return ``(n, D)`` for pieces ``(n,)`` of texts of these lengths ``(B,)``."""
        words = self._with_prompt(pieces, self._states(pieces, lengths))
        return self.dropout(self.norm(words + self.token_type.weight[0]))

    def _states(self, pieces: Tensor, lengths: np.ndarray) -> Tensor:
        """Return the projected states ``(n, D)`` of the words, which do not see the places of learned vectors."""
        if self.prompt is None:
            return self._projected(self.encoder(pieces, lengths))
        is_word = (pieces != PAD).cpu()
        owner = owners_and_positions(lengths)[0]
        own_lengths = np.bincount(owner[is_word.numpy()], minlength=len(lengths))
        at = is_word.nonzero()[:, 0].to(pieces.device)
        states = self._projected(self.encoder(pieces[at], own_lengths))
        return states.new_zeros(len(pieces), states.shape[1]).index_copy(0, at, states)

    def output_vectors(self, words: CandidateWords | None) -> Tensor:
        """Return the vectors that a head compares its output with.

        Args:
            words: those that may fill the mask; None for the whole dictionary. Places of learned vectors are left out.

        Returns:
            ``(n, D)``: the projected states of the words, each in the place of the mask in the template. For the whole
            dictionary, ``(vocabulary, D)``, the projected word vectors: nothing surrounds them.
        """
        if words is None:
            return self._projected(self.encoder.embedder.word.weight)
        device = self.linear.weight.device
        found, mask = words.texts(), words.mask_position
        mask -= int((found[0, :mask] == PAD).sum())
        texts = torch.from_numpy(found[:, found[0] != PAD]).to(device)
        states = self.encoder(texts.flatten(), np.full(len(texts), texts.shape[1]))
        return self._projected(states.view(*texts.shape, -1)[:, mask])

    def _projected(self, states: Tensor) -> Tensor:
        return self.feature_norm(self.linear(states.to(self.linear.weight.dtype)))
