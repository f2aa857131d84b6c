"""What the baselines share: systems without pre-training, in the same task, folds and report as MEmoBERT."""

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from fairseq.dataclass import FairseqDataclass
from fairseq.models import BaseFairseqModel
from torch import Tensor, nn

from ..core.errors import UserError, exits_in_one_line
from ..core.ragged import first_rows
from ..models.state_upgrade import complete_state, dictionary_fingerprint
from ..nn.heads import EmotionHead
from ..nn.packing import to_device


@dataclass(frozen=True)
class Sequences:
    """One modality of B utterances without padding.

    Attributes:
        rows: ``(N, D)``, utterance after utterance.
        lengths: ``(B,)`` rows of each utterance, on the host; none is 0.
    """

    rows: Tensor
    lengths: np.ndarray


class TextSequences(nn.Module):
    """``Dropout(LN(word))``. An utterance without text still has its [CLS] and [SEP].

    Args:
        vocabulary: rows of the dictionary.
        embed_dim: width D.
        dropout: applied to the result.
    """

    def __init__(self, vocabulary: int, embed_dim: int, dropout: float) -> None:
        super().__init__()
        self.word = nn.Embedding(vocabulary, embed_dim)
        self.norm = nn.LayerNorm(embed_dim)
        self.dropout = nn.Dropout(dropout)
        nn.init.normal_(self.word.weight, std=embed_dim**-0.5)

    def forward(self, pieces: Tensor, lengths: np.ndarray) -> Sequences:
        """Pieces ``(sum(lengths),)`` int64 with [CLS] and [SEP]."""
        return Sequences(self.dropout(self.norm(self.word(pieces))), lengths)


class FrameSequences(nn.Module):
    """``Dropout(LN(Linear(frames)))``, and one learned row for an utterance without frames.

    Args:
        frame_dim: size of a frame's feature; 0 where the corpus has none, every utterance then is the learned row.
        embed_dim: width D.
        dropout: applied to the result.
    """

    def __init__(self, frame_dim: int, embed_dim: int, dropout: float) -> None:
        super().__init__()
        self.linear = nn.Linear(frame_dim, embed_dim) if frame_dim else None
        self.norm = nn.LayerNorm(embed_dim) if frame_dim else None
        self.absent = nn.Parameter(torch.empty(1, embed_dim))
        self.dropout = nn.Dropout(dropout)
        nn.init.normal_(self.absent, std=embed_dim**-0.5)

    def forward(self, frames: Tensor | None, lengths: np.ndarray) -> Sequences:
        """Frames ``(sum(lengths), F)`` of any float type, or None when no utterance has any.

        Without frames the projection still runs, on no rows, and with every utterance present the learned row is still
        on the list: so every parameter has a gradient whatever the batch holds.
        """
        with_one = np.maximum(lengths, 1)
        is_absent = np.repeat(lengths == 0, with_one)
        source = np.full(len(is_absent), int(lengths.sum()))
        source[~is_absent] = np.arange(int(lengths.sum()))
        rows = torch.cat([self._projected(frames), self.absent])
        return Sequences(self.dropout(rows.index_select(0, to_device(source, rows.device))), with_one)

    def _projected(self, frames: Tensor | None) -> Tensor:
        if self.linear is None or self.norm is None:
            if frames is not None and len(frames):
                raise ValueError("the batch has frames of a modality that the model was built without")
            return self.absent[:0]
        weight = self.linear.weight
        frames = weight.new_empty(0, weight.shape[1]) if frames is None else frames.to(weight.dtype)
        return self.norm(self.linear(frames))


@dataclass
class BaselineConfig(FairseqDataclass):
    """Sizes that all baselines have."""

    encoder_embed_dim: int = field(
        default=64, metadata={"help": "width D of each modality's vectors, even (chosen for corpora of some hours)"}
    )
    dropout: float = field(
        default=0.1, metadata={"help": "dropout on embeddings, sub-layer outputs and the classifier's input"}
    )
    max_positions: int = field(
        default=512, metadata={"help": "longest sequence of a modality, in pieces or frames; the task's limits obey it"}
    )


class EmotionBaseline(BaseFairseqModel):
    """Three modalities, one vector per utterance, MEmoBERT's finetuning classifier on it.

    A subclass says how the modalities become one vector: :meth:`fuse`. Words are embedded at random, frames projected;
    an absent modality is a learned row.

    Args:
        config: sizes and dropout.
        vocabulary: rows of the dictionary.
        visual_dim: size of a face frame's feature; 0 where the corpus has none.
        acoustic_dim: size of a speech frame's feature; 0 where the corpus has none.
        labels: number of emotions C.
        fused_dim: width of what :meth:`fuse` returns.
        symbols: the dictionary's symbols in row order, so that weights of another dictionary are refused.

    Raises:
        UserError: the width is odd.
    """

    def __init__(
        self,
        config: BaselineConfig,
        vocabulary: int,
        visual_dim: int,
        acoustic_dim: int,
        labels: int,
        fused_dim: int,
        symbols: Sequence[str],
    ) -> None:
        super().__init__()
        width = config.encoder_embed_dim
        if width % 2:
            raise UserError(f"--encoder-embed-dim {width}: give an even width")
        self.text = TextSequences(vocabulary, width, config.dropout)
        self.visual = FrameSequences(visual_dim, width, config.dropout)
        self.acoustic = FrameSequences(acoustic_dim, width, config.dropout)
        self.dropout = nn.Dropout(config.dropout)
        self.classifier = EmotionHead(fused_dim, labels)
        fingerprint = torch.tensor([dictionary_fingerprint(symbols)], dtype=torch.int64)
        self.register_buffer("dictionary_fingerprint", fingerprint)

    @classmethod
    @abstractmethod
    def build(
        cls,
        config: Any,
        vocabulary: int,
        visual_dim: int,
        acoustic_dim: int,
        labels: int,
        symbols: Sequence[str] = (),
    ) -> "EmotionBaseline":
        """Build the network with random weights; arguments as in the class."""

    @classmethod
    @exits_in_one_line
    def build_model(cls, config: BaselineConfig, task: Any) -> "EmotionBaseline":
        """The host's way: sizes of dictionary, frames and labels come from the task.

        Raises:
            SystemExit: one line, when the task asks for a head that a baseline does not have.
        """
        sizes = task.model_sizes() if hasattr(task, "model_sizes") else {}
        if sizes.get("labels") is None:
            raise UserError(
                f"--arch {config._name}: a baseline has an emotion classifier and no head for pre-training or "
                f"prompting; train it with --task memobert_finetune --criterion memobert_finetune"
            )
        return cls.build(
            config, sizes["vocabulary"], sizes["visual_dim"], sizes["acoustic_dim"], sizes["labels"], sizes["symbols"]
        )

    @abstractmethod
    def fuse(self, text: Sequences, visual: Sequences, acoustic: Sequences) -> Tensor:
        """B utterances to ``(B, fused_dim)``."""

    def forward(
        self,
        text: Tensor,
        text_lengths: np.ndarray,
        visual: Tensor | None,
        visual_lengths: np.ndarray,
        acoustic: Tensor | None,
        acoustic_lengths: np.ndarray,
        head: str,
        rows: np.ndarray,
    ) -> Tensor:
        """Classify utterances; arguments as in ``MEmoBERTModel.forward``, so that one criterion serves both.

        Args:
            text: ``(sum(text_lengths),)`` piece ids with [CLS] first and [SEP] last in each utterance.
            text_lengths: ``(B,)`` on the host, like the other lengths; frames may be 0 where a modality is absent.
            visual: ``(sum(visual_lengths), V)`` face frames of any float type, or None when no utterance has any.
            visual_lengths: ``(B,)``.
            acoustic: ``(sum(acoustic_lengths), A)`` speech frames, or None.
            acoustic_lengths: ``(B,)``.
            head: ``classify``, the only one.
            rows: rows of the [CLS] of the n utterances that are read, on the host.

        Returns:
            ``(n, C)``. Every parameter has a gradient whatever the batch lacks.
        """
        if head != "classify":
            raise UserError(f"head {head!r}: a baseline has an emotion classifier only")
        fused = self.fuse(
            self.text(text, text_lengths),
            self.visual(visual, visual_lengths),
            self.acoustic(acoustic, acoustic_lengths),
        )
        utterances = to_device(np.searchsorted(first_rows(text_lengths), rows), fused.device)
        return self.classifier(self.dropout(fused.index_select(0, utterances)))

    def upgrade_state_dict_named(self, state_dict: dict[str, Tensor], name: str) -> None:
        """Refuse a checkpoint of another architecture or dictionary in one line; see :mod:`.state_upgrade`."""
        super().upgrade_state_dict_named(state_dict, name)
        complete_state(state_dict, self.state_dict())
