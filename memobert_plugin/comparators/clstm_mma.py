"""cLSTM-MMA (Pan et al., Interspeech 2020): attention between modalities at each utterance of a dialogue, then an LSTM.

Taken from the paper and from public forks of the authors' code: the layers, their order and widths, the cosine scores,
the residual connection, Adam with 1e-3 and batches of 5 to 10 dialogues.

Ours: an utterance's vectors are the means of its text's vectors, of its faces and of its speech frames, as the data-bin
has them. A dialogue is all utterances that the manifest cuts from one film or sound file of a session, in the order of
their start, other speakers' and unlabelled ones included; in training, of training speakers only. An absent modality
is a zero vector. The published 73.94 (WA, IEMOCAP) is that of the fusion of this network with three unimodal ones,
which is not built here.
"""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from ..nn.packing import MODALITIES, to_device
from .base import ComparatorConfig, StreamNetwork, comparator, read_utterances, refuse_other_heads
from .inputs import Sequences, recurrent_outputs, row_means

NOTE = (
    "cLSTM-MMA is the only row that reads the earlier utterances of the dialogue. Its inputs are this data-bin's, not "
    "its authors'. The published 73.94 is that of its fusion with three unimodal networks, with frustration counted as "
    "sad, on one fixed split of the dialogues, at the epoch that was best on the test part."
)
ATTENTION_DIM, LSTM_DIM, HIDDEN_DIM = 150, 300, 200


class ModalityAttention(nn.Module):
    """Attention of each modality to all three at one utterance: ``x_m + dropout(sum_n softmax_n(cos(q_m, k_n)) v_n)``.

    Args:
        dim: width of the modalities' vectors.
        dropout: on what is added.
    """

    def __init__(self, dim: int, dropout: float) -> None:
        super().__init__()
        # Three maps for each modality: query, key and value.
        self.maps = nn.ModuleDict({name: nn.Linear(dim, 3 * dim) for name in MODALITIES})
        self.dropout = nn.Dropout(dropout)

    def forward(self, vectors: Tensor) -> Tensor:
        """Return ``(B, 3, D)`` for ``(B, 3, D)``."""
        mapped = torch.stack([self.maps[name](vectors[:, place]) for place, name in enumerate(MODALITIES)], dim=1)
        query, key, value = mapped.chunk(3, dim=-1)
        scores = functional.normalize(query, dim=-1) @ functional.normalize(key, dim=-1).transpose(1, 2)
        return vectors + self.dropout(scores.softmax(dim=-1) @ value)


@dataclass
class ClstmMmaConfig(ComparatorConfig):
    """The authors' sizes are fixed."""

    encoder_embed_dim: int = field(
        default=100, metadata={"help": "width of word vectors, which are learned without a text encoder"}
    )
    dropout: float = field(default=0.1, metadata={"help": "dropout on modalities' vectors and their attention"})
    classifier_dropout: float = field(default=0.5, metadata={"help": "dropout in the classifier"})


@comparator(
    "clstm_mma",
    "cLSTM-MMA, with dialogue context",
    ClstmMmaConfig,
    flags={"dialogues": True},
    # Adam, its rate and batches of dialogues are the authors'; the number of updates is ours.
    recipe={
        "adam_betas": "(0.9, 0.999)",
        "adam_eps": 1e-8,
        "weight_decay": 0.0,
        "lr": 1e-3,
        "warmup_updates": 0,
        "batch_size": 8,
        "max_epoch": 60,
        "max_update": 900,
        "total_num_update": 900,
    },
    note=NOTE,
)
class ClstmMma(StreamNetwork):
    """A vector per modality and utterance, attention between them, an LSTM along the dialogue, and a classifier."""

    reads_dialogues = True

    def __init__(
        self, config: ClstmMmaConfig, vocabulary: int, visual_dim: int, acoustic_dim: int, labels: int
    ) -> None:
        super().__init__(config, vocabulary, visual_dim, acoustic_dim)
        self.project = nn.ModuleDict({name: nn.Linear(width, ATTENTION_DIM) for name, width in self.widths.items()})
        self.dropout = nn.Dropout(config.dropout)
        self.attention = ModalityAttention(ATTENTION_DIM, config.dropout)
        self.lstm = nn.LSTM(3 * ATTENTION_DIM, LSTM_DIM)
        self.classifier = nn.Sequential(
            nn.ReLU(),
            nn.Linear(LSTM_DIM, HIDDEN_DIM),
            nn.ReLU(),
            nn.Dropout(config.classifier_dropout),
            nn.Linear(HIDDEN_DIM, labels),
        )

    def forward(self, head: str, rows: np.ndarray, dialogue_lengths: np.ndarray | None = None, **inputs: Any) -> Tensor:
        """Classify utterances of dialogues.

        Args:
            head: ``classify``, the only one.
            rows: rows of the [CLS] of the n utterances that are read.
            dialogue_lengths: ``(G,)`` utterances of each dialogue, one dialogue after another; None: each utterance is
                one.
            inputs: of :meth:`.base.StreamNetwork.streams`.

        Returns:
            ``(n, C)``.
        """
        refuse_other_heads(head)
        streams = self.streams(**inputs)
        projected = [self.dropout(functional.relu(self.project[name](row_means(streams[name])))) for name in MODALITIES]
        attended = self.attention(torch.stack(projected, dim=1)).flatten(1)
        lengths = np.ones(len(attended), dtype=np.int64) if dialogue_lengths is None else dialogue_lengths
        hidden = recurrent_outputs(self.lstm, Sequences(attended, lengths))
        utterances = to_device(read_utterances(inputs["text_lengths"], rows), hidden.device)
        return self.classifier(hidden.index_select(0, utterances))
