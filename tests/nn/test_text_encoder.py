"""The frozen text encoder: BERT's states, kept for each text, without gradients."""

from __future__ import annotations

import numpy as np
import torch

from memobert_plugin.nn.label_words import CandidateWords, LabelWords
from memobert_plugin.nn.text_encoder import EncodedTextEmbedder, FrozenTextEncoder, TextEncoderSizes

SIZES = TextEncoderSizes(layers=2, embed_dim=12, ffn_dim=16, heads=2, positions=20)


def texts_of(lengths: list[int]) -> torch.Tensor:
    return torch.randint(4, 30, (sum(lengths),), generator=torch.Generator().manual_seed(1))


def test_states_of_a_text_do_not_depend_on_its_batch_or_on_what_was_kept() -> None:
    torch.manual_seed(0)
    encoder = FrozenTextEncoder(30, SIZES)
    lengths = [5, 3, 0, 7]
    pieces = texts_of(lengths)
    first = encoder(pieces, np.array(lengths))
    again = encoder(pieces, np.array(lengths))
    alone = [encoder(text, np.array([len(text)])) for text in pieces.split(lengths) if len(text)]
    assert torch.equal(first, again)
    assert torch.allclose(first, torch.cat(alone), atol=1e-6)
    assert not first.requires_grad and not any(parameter.requires_grad for parameter in encoder.parameters())


def test_other_weights_give_other_states() -> None:
    torch.manual_seed(0)
    encoder, other = FrozenTextEncoder(30, SIZES), FrozenTextEncoder(30, SIZES)
    pieces, lengths = texts_of([6]), np.array([6])
    before, expected = encoder(pieces, lengths), other(pieces, lengths)
    encoder.load_state_dict(other.state_dict())
    assert torch.equal(encoder(pieces, lengths), expected) and not torch.equal(before, expected)


def test_no_text_gives_no_states() -> None:
    encoder = FrozenTextEncoder(30, SIZES)
    assert encoder(torch.zeros(0, dtype=torch.int64), np.array([0, 0])).shape == (0, 12)


def test_candidate_words_are_their_projected_states_in_the_template() -> None:
    torch.manual_seed(0)
    embedder = EncodedTextEmbedder(30, SIZES, embed_dim=8, dropout=0.0)
    words = CandidateWords((7, 9), before=(0, 4, 5), after=(6, 2))
    vectors = embedder.output_vectors(words)
    for row, vector in zip(words.rows, vectors, strict=True):
        states = embedder.encoder(torch.tensor([0, 4, 5, row, 6, 2]), np.array([6]))
        assert torch.allclose(vector, embedder.feature_norm(embedder.linear(states[3])), atol=1e-6)
    assert embedder.output_vectors(None).shape == (30, 8)


def test_scores_of_candidates_are_those_of_the_whole_vocabulary() -> None:
    words = LabelWords([[3], [5, 8, 2], [7, 1]], 12)
    logits = torch.randn(4, 12, generator=torch.Generator().manual_seed(3))
    assert torch.equal(words.scores(logits), words.scores_of_candidates(logits[:, list(words.rows)]))
