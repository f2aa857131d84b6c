"""Inputs of the comparators: ragged sequences of the three modalities, embedded or as they are."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from ..core.ragged import owners_and_positions
from ..nn.packing import to_device
from ..nn.text_encoder import FrozenTextEncoder, TextEncoderSizes

EMPTY_TEXT = 2
"""Pieces of a text without words: [CLS] and [SEP]."""


@dataclass(frozen=True)
class Sequences:
    """One modality of B utterances without padding.

    Attributes:
        rows: ``(N, D)``, utterance after utterance.
        lengths: ``(B,)`` rows of each utterance, a numpy array; none is 0.
    """

    rows: Tensor
    lengths: np.ndarray


def row_means(sequences: Sequences) -> Tensor:
    """Return the mean row of each of B utterances, ``(B, D)``."""
    rows, lengths = sequences.rows, sequences.lengths
    owners = to_device(owners_and_positions(lengths)[0], rows.device)
    sums = rows.new_zeros(len(lengths), rows.shape[1]).index_add(0, owners, rows)
    return sums / to_device(lengths, rows.device).to(sums.dtype)[:, None]


def with_row_for_absent(rows: Tensor, row: Tensor, lengths: np.ndarray) -> Sequences:
    """Give utterances without rows one row.

    Every parameter has a gradient whatever the batch holds: ``row`` is part of the table that rows are selected from.

    Args:
        rows: ``(sum(lengths), D)``.
        row: ``(1, D)``.
        lengths: ``(B,)``, 0 where an utterance lacks the modality.
    """
    with_one = np.maximum(lengths, 1)
    is_absent = np.repeat(lengths == 0, with_one)
    source = np.full(len(is_absent), len(rows))
    source[~is_absent] = np.arange(len(rows))
    return Sequences(torch.cat([rows, row]).index_select(0, to_device(source, rows.device)), with_one)


class TextSequences(nn.Module):
    """``Dropout(LN(word))``; an utterance without text still has its [CLS] and [SEP].

    Args:
        vocabulary: rows of the dictionary.
        embed_dim: width D.
        dropout: applied to the result.
        encoder: sizes of a frozen BERT, whose projected states take the words' place.
    """

    def __init__(
        self, vocabulary: int, embed_dim: int, dropout: float, encoder: TextEncoderSizes | None = None
    ) -> None:
        super().__init__()
        self.encoder: FrozenTextEncoder | None = None
        if encoder is not None and encoder.layers:
            self.encoder = FrozenTextEncoder(vocabulary, encoder)
            self.linear = nn.Linear(encoder.embed_dim, embed_dim)
        else:
            self.word = nn.Embedding(vocabulary, embed_dim)
            nn.init.normal_(self.word.weight, std=embed_dim**-0.5)
        self.norm = nn.LayerNorm(embed_dim)
        self.dropout = nn.Dropout(dropout)

    def forward(self, pieces: Tensor, lengths: np.ndarray) -> Sequences:
        """Embed pieces ``(sum(lengths),)`` int64 with [CLS] and [SEP]."""
        if self.encoder is None:
            rows = self.word(pieces)
        else:
            rows = self.linear(self.encoder(pieces, lengths).to(self.linear.weight.dtype))
        return Sequences(self.dropout(self.norm(rows)), lengths)


class StandardFrames(nn.Module):
    """Base of what reads frames: less their mean, over their deviation; 0 and 1 without ``--standardize-frames``.

    Args:
        frame_dim: size of a frame's feature; 0 where the corpus has none.
    """

    mean: Tensor
    deviation: Tensor

    def __init__(self, frame_dim: int) -> None:
        super().__init__()
        self.frame_dim = frame_dim
        self.register_buffer("mean", torch.zeros(frame_dim))
        self.register_buffer("deviation", torch.ones(frame_dim))

    def standardized(self, frames: Tensor | None) -> Tensor:
        """Return frames ``(n, F)`` of any float type in the model's, ``(0, F)`` for None."""
        if frames is None or not self.frame_dim:
            if frames is not None and len(frames):
                raise ValueError("the batch has frames of a modality that the model was built without")
            return self.mean.new_empty(0, self.frame_dim)
        return (frames.to(self.mean.dtype) - self.mean) / self.deviation


class FrameSequences(StandardFrames):
    """``Dropout(LN(Linear(frames)))``, and one learned row for an utterance without frames.

    Args:
        frame_dim: size of a frame's feature; 0 where the corpus has none, every utterance then is the learned row.
        embed_dim: width D.
        dropout: applied to the result.
    """

    def __init__(self, frame_dim: int, embed_dim: int, dropout: float) -> None:
        super().__init__(frame_dim)
        self.linear = nn.Linear(frame_dim, embed_dim) if frame_dim else None
        self.norm = nn.LayerNorm(embed_dim) if frame_dim else None
        self.absent = nn.Parameter(torch.empty(1, embed_dim))
        self.dropout = nn.Dropout(dropout)
        nn.init.normal_(self.absent, std=embed_dim**-0.5)

    def forward(self, frames: Tensor | None, lengths: np.ndarray) -> Sequences:
        """Project frames ``(sum(lengths), F)`` of any float type, or None when no utterance has any."""
        standard = self.standardized(frames)
        projected = self.absent[:0]
        if self.linear is not None and self.norm is not None:  # also zero rows: the projection then has a gradient
            projected = self.norm(self.linear(standard))
        sequences = with_row_for_absent(projected, self.absent, lengths)
        return Sequences(self.dropout(sequences.rows), sequences.lengths)


def time_major_order(lengths: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the row order of a ``PackedSequence``: all first rows, then all second rows, longest utterance first.

    Args:
        lengths: ``(B,)``, none of them 0.

    Returns:
        ``(N,)`` row of each packed row, and ``(max(lengths),)`` how many utterances have a row at each time.
    """
    rank = np.empty(len(lengths), dtype=np.int64)
    rank[np.argsort(-lengths, kind="stable")] = np.arange(len(lengths))
    owners, positions = owners_and_positions(lengths)
    return np.lexsort((rank[owners], positions)), np.bincount(positions)


def recurrent_outputs(recurrent: nn.Module, sequences: Sequences) -> Tensor:
    """Return the outputs ``(N, H)`` of a recurrent network of torch that reads each sequence alone."""
    order, alive = time_major_order(sequences.lengths)
    rows = to_device(order, sequences.rows.device)
    packed = PackedSequence(sequences.rows.index_select(0, rows), torch.from_numpy(alive))
    hidden = recurrent(packed)[0].data
    return torch.zeros_like(hidden).index_copy(0, rows, hidden)


class TextVectors(nn.Module):
    """The vectors of a text's pieces as they are: the states of a frozen BERT, or word vectors that are learned.

    Args:
        vocabulary: rows of the dictionary.
        embed_dim: width of word vectors.
        encoder: sizes of a frozen BERT; 0 layers for none.
    """

    def __init__(self, vocabulary: int, embed_dim: int, encoder: TextEncoderSizes) -> None:
        super().__init__()
        self.encoder = FrozenTextEncoder(vocabulary, encoder) if encoder.layers else None
        self.word = None if encoder.layers else nn.Embedding(vocabulary, embed_dim)
        self.width = encoder.embed_dim if encoder.layers else embed_dim
        if self.word is not None:
            nn.init.normal_(self.word.weight, std=embed_dim**-0.5)

    def forward(self, pieces: Tensor, lengths: np.ndarray, dtype: torch.dtype) -> Sequences:
        """Return the vectors of pieces ``(sum(lengths),)``; a text of [CLS] and [SEP] alone is absent: a zero row."""
        if self.word is not None:
            rows = self.word(pieces)
        else:
            assert self.encoder is not None  # one of the two
            rows = self.encoder(pieces, lengths).to(dtype)
        kept = np.repeat(lengths > EMPTY_TEXT, lengths)
        rows = rows.index_select(0, to_device(np.flatnonzero(kept), rows.device))
        return with_row_for_absent(rows, rows.new_zeros(1, self.width), np.where(lengths > EMPTY_TEXT, lengths, 0))


class FrameVectors(StandardFrames):
    """Frames as they are, standardised; an utterance without any has one zero row.

    Args:
        frame_dim: size of a frame's feature; 0 where the corpus has none, every row is one zero then.
    """

    def __init__(self, frame_dim: int) -> None:
        super().__init__(frame_dim)
        self.width = max(frame_dim, 1)

    def forward(self, frames: Tensor | None, lengths: np.ndarray) -> Sequences:
        """Return frames ``(sum(lengths), F)`` of any float type, or None when no utterance has any, as sequences."""
        standard = self.standardized(frames)
        rows = standard if self.frame_dim else standard.new_empty(0, self.width)
        return with_row_for_absent(rows, rows.new_zeros(1, self.width), lengths)


CODE_DIM = 128
"""Width of a modality's vector after :class:`StreamEncoders`, and of each convolution."""
HEIGHTS = (3, 4, 5)
CONCATENATED = ("acoustic", "text", "visual")
"""The order in which MMIN's authors concatenate the modalities."""


class TextConvolutions(nn.Module):
    """Convolutions over 3, 4 and 5 pieces, ReLU, the maximum over time, and a projection with ReLU.

    A text shorter than a window is followed by zeros; no other window reads any.

    Args:
        width: of a piece's vector.
        dropout: before the projection.
    """

    def __init__(self, width: int, dropout: float) -> None:
        super().__init__()
        self.convolutions = nn.ModuleList(nn.Conv1d(width, CODE_DIM, height) for height in HEIGHTS)
        self.dropout = nn.Dropout(dropout)
        self.linear = nn.Linear(len(HEIGHTS) * CODE_DIM, CODE_DIM)

    def pooled(self, sequences: Sequences) -> Tensor:
        """Return the maxima ``(B, 384)``."""
        rows, lengths = sequences.rows, sequences.lengths
        longest = max(int(lengths.max()), *HEIGHTS)
        owners, positions = owners_and_positions(lengths)
        places = to_device(owners * longest + positions, rows.device)
        padded = rows.new_zeros(len(lengths) * longest, rows.shape[1]).index_copy(0, places, rows)
        padded = padded.view(len(lengths), longest, -1).transpose(1, 2)
        known = to_device(lengths, rows.device)[:, None, None]
        maxima = []
        for convolution, height in zip(self.convolutions, HEIGHTS, strict=True):
            windows = torch.relu(convolution(padded))
            first = torch.arange(windows.shape[2], device=rows.device)
            beyond = first >= (known - height + 1).clamp(min=1)
            maxima.append(windows.masked_fill(beyond, 0).amax(dim=2))
        return torch.cat(maxima, dim=1)

    def forward(self, pooled: Tensor) -> Tensor:
        """Return ``(..., 128)`` for maxima ``(..., 384)``."""
        return torch.relu(self.linear(self.dropout(pooled)))


class FrameRecurrence(nn.Module):
    """A one-way LSTM and the maximum of its outputs over time.

    Args:
        width: of a frame.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.lstm = nn.LSTM(width, CODE_DIM)

    def pooled(self, sequences: Sequences) -> Tensor:
        """Return the maxima ``(B, 128)``."""
        hidden = recurrent_outputs(self.lstm, sequences)
        owners = to_device(owners_and_positions(sequences.lengths)[0], hidden.device)[:, None].expand_as(hidden)
        least = hidden.new_full((len(sequences.lengths), CODE_DIM), -torch.inf)
        return least.scatter_reduce(0, owners, hidden, "amax")

    def forward(self, pooled: Tensor) -> Tensor:
        """Return the maxima as they are."""
        return pooled


class StreamEncoders(nn.Module):
    """MMIN's encoders of the three modalities (Zhao, Li and Jin, ACL 2021): 128 numbers each, without padding.

    Args:
        widths: of each modality's vectors.
        dropout: in the text's encoder.
    """

    def __init__(self, widths: Mapping[str, int], dropout: float) -> None:
        super().__init__()
        self.acoustic = FrameRecurrence(widths["acoustic"])
        self.text = TextConvolutions(widths["text"], dropout)
        self.visual = FrameRecurrence(widths["visual"])

    def forward(self, streams: Mapping[str, Sequences], shown: Sequence[Mapping[str, Tensor]] = ()) -> Tensor:
        """Return ``(B, 384)``: acoustic, text, visual.

        Args:
            streams: vectors of B utterances by modality.
            shown: by modality ``(B,)`` bool, where it is; elsewhere it is read as one zero row. Empty: everywhere. For
                several, the result is ``(len(shown), B, 384)``.
        """
        codes = []
        for name in CONCATENATED:
            encoder, stream = getattr(self, name), streams[name]
            pooled = encoder.pooled(stream)
            if shown:
                nothing = Sequences(stream.rows.new_zeros(1, stream.rows.shape[1]), np.ones(1, dtype=np.int64))
                hidden = encoder.pooled(nothing)
                pooled = torch.stack([torch.where(one[name][:, None], pooled, hidden) for one in shown])
            codes.append(encoder(pooled))
        joined = torch.cat(codes, dim=-1)
        return joined[0] if len(shown) == 1 else joined


def start_as_kaiming(module: nn.Module) -> None:
    """Draw weights of linear maps and convolutions from He's normal distribution, in place; biases become 0."""
    for part in module.modules():
        if isinstance(part, (nn.Linear, nn.Conv1d)):
            nn.init.kaiming_normal_(part.weight)
            if part.bias is not None:
                nn.init.zeros_(part.bias)


def emotion_classifier(width: int, labels: int, dropout: float) -> nn.Sequential:
    """Return MMIN's classifier: two layers of 128 with ReLU and dropout, then the labels."""
    return nn.Sequential(
        nn.Linear(width, CODE_DIM),
        nn.ReLU(),
        nn.Dropout(dropout),
        nn.Linear(CODE_DIM, CODE_DIM),
        nn.ReLU(),
        nn.Dropout(dropout),
        nn.Linear(CODE_DIM, labels),
    )
