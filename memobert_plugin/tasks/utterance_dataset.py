"""Read batches of utterances from an open data-bin, without padding."""

from __future__ import annotations

import logging
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from fairseq.data import FairseqDataset
from torch import Tensor

from ..core.names import MODALITY_CASES
from ..core.rng import Stream, integers
from ..data.batches import (
    FramesWanted,
    InputBuilder,
    Limits,
    NetworkInput,
    as_small_tensor,
    gather_frames,
    gather_pieces,
    zero_frame,
)
from ..data.buffers import BufferPool, bytes_for
from ..data.corpus import Corpus
from ..data.indexed import IndexedReader, blocks, taken
from ..data.prompts import PromptPieces
from ..data.targets import Target
from .dialogues import Dialogues
from .epochs import Batches, Rows, cut, halved, joined, shuffled

logger = logging.getLogger(__name__)

_READY_PER_WORKER = 4
"""Batches: torch has two made ahead, one more is being made, one is on its way."""


@dataclass(frozen=True)
class Modalities:
    """The modalities that a dataset shows: text (l), visual (v), acoustic (a).

    Attributes:
        case: one of :data:`MODALITY_CASES`.
        mixture: draw one of the cases within ``case`` for every utterance and epoch instead.
        full_weight: in that draw, ``case`` itself is this many times as likely as each other one.
        mix_streams: show the faces and the speech of other utterances of the same emotion, drawn for every epoch.
        seed: for these draws.
        zero_frames: show one zero frame for faces or speech that an utterance lacks, instead of leaving the modality
            out.
    """

    case: str = "lva"
    mixture: bool = False
    full_weight: int = 1
    mix_streams: bool = False
    seed: int = 0
    zero_frames: bool = False

    def kept(self, present: np.ndarray, uids: np.ndarray, epoch: int) -> np.ndarray:
        """Return the modalities shown, ``(3, B)`` bool, given those an utterance has.

        A drawn case that would leave nothing shows all that is there.
        """
        wanted = present & np.array([[letter in self.case] for letter in "lva"])
        if not self.mixture:
            return wanted
        cases = [case for case in MODALITY_CASES if set(case) <= set(self.case)]
        cases += [self.case] * (self.full_weight - 1)
        shows = np.array([[letter in case for case in cases] for letter in "lva"])
        drawn = integers(self.seed, epoch, Stream.MODALITY_MIXTURE, uids, 0, len(cases))
        kept = wanted & shows[:, drawn]
        return np.where(kept.any(axis=0), kept, wanted)


def rows_to_train_on(corpus: Corpus, tested: Collection[str]) -> npt.NDArray[np.int64]:
    """Return the utterances of the split ``train``, all where there is none, but for those of tested speakers."""
    codes = [code for code, name in enumerate(corpus.speakers) if name and name in tested]
    kept = ~np.isin(corpus.speaker, codes)
    if "train" in corpus.splits:
        kept &= corpus.split == corpus.splits.index("train")
    return np.flatnonzero(kept)


class UtteranceDataset(FairseqDataset):
    """Some utterances of a corpus. An item is its own index; the collater reads a batch from the memory maps.

    Args:
        corpus: the open data-bin.
        rows: its utterances that belong to the subset.
        limits: how much of each is read.
        modalities: which modalities are shown.
        target: what is predicted; None where no targets are needed.
        shares: targets of soft labels, ``(V, C)`` for each of the corpus' codes of votes; rows of zeros and utterances
            without votes have their emotion alone.
        prompt: appended to every text; None for none.
        more_prompts: others; in training a batch has one of all, in evaluation it has ``more`` inputs, one for each.
        shuffle: new order and new batches every epoch (training).
        with_words: also return the pieces, word starts and expressions that masking needs.
        dialogues: keep the utterances of a dialogue together; batch sizes then count dialogues.
        unlabelled: utterances of which as many as of the batch are drawn and added, as ``unlabelled``.
    """

    def __init__(
        self,
        corpus: Corpus,
        rows: np.ndarray | Rows,
        limits: Limits,
        modalities: Modalities,
        *,
        target: Target | None = None,
        shares: np.ndarray | None = None,
        prompt: PromptPieces | None = None,
        more_prompts: Sequence[PromptPieces] = (),
        shuffle: bool = False,
        with_words: bool = False,
        dialogues: Dialogues | None = None,
        unlabelled: UtteranceDataset | None = None,
    ) -> None:
        super().__init__()
        self.corpus, self.limits, self.modalities = corpus, limits, modalities
        self.rows: Any = rows if isinstance(rows, Rows) else np.asarray(rows, dtype=np.int64)
        self.target, self.prompt, self.shuffle, self.with_words = target, prompt, shuffle, with_words
        self.shares = shares
        self.dialogues, self.unlabelled = dialogues, unlabelled
        self._prompts = [prompt, *more_prompts]
        self.batches_divisible_by = 1
        self._inputs = InputBuilder(corpus.symbols)
        # Persistent workers keep their copy of the dataset; only shared memory reaches them with a new epoch.
        self._epoch = torch.zeros((), dtype=torch.int64).share_memory_()
        self._limits = np.array([[limits.pieces], [limits.visual_frames], [limits.acoustic_frames]])
        prompt_pieces = max(len(one.ids) + 1 if one else 0 for one in self._prompts)
        self.sizes, self.beyond = self._measured(2 + prompt_pieces)

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> int:
        return int(index)

    def num_tokens(self, index: int) -> int:
        """Return the number of pieces and frames of an utterance together."""
        return int(self.sizes[index])

    def num_tokens_vec(self, indices: np.ndarray) -> np.ndarray:
        """Return the same for many."""
        return self.sizes[indices]

    def size(self, index: int) -> int:
        """Return the same, by which fairseq filters."""
        return int(self.sizes[index])

    def set_epoch(self, epoch: int) -> None:
        """Set the epoch, also in persistent workers."""
        self._epoch.fill_(epoch)

    @property
    def can_reuse_epoch_itr_across_epochs(self) -> bool:
        """Return False in training, where every epoch has new batches."""
        return not self.shuffle

    def ordered_indices(self) -> np.ndarray:
        """Return a permutation in training (numpy is seeded by fairseq), else the order of the data-bin.

        Dialogues stay whole.
        """
        if self.dialogues is None:
            return shuffled(len(self)) if self.shuffle else np.arange(len(self))
        count = len(self.dialogues.items)
        order = shuffled(count) if self.shuffle else np.arange(count)
        return np.concatenate([self.dialogues.items[number] for number in order])

    def batch_by_size(
        self,
        indices: np.ndarray,
        max_tokens: int | None = None,
        max_sentences: int | None = None,
        required_batch_size_multiple: int = 1,
    ) -> Batches:
        """Cut ``indices`` into consecutive batches, of whole dialogues where there are any.

        Nothing is padded, so ``max_tokens`` counts real pieces and frames, and a batch size need not be a multiple of
        anything. The number of batches is brought to a multiple of ``batches_divisible_by`` by halving the largest (or,
        where hardly any has two utterances, by joining the smallest in pairs), so that no rank gets an empty
        micro-batch: fairseq drops a rank's whole gradient count when the last micro-batch of an update is empty.
        """
        if not len(indices):
            return Batches.of([])
        if self.dialogues is None:
            return self._batches(indices, self.sizes, max_tokens, max_sentences)
        items = self.dialogues.items
        dialogue = self._dialogue_of_item[indices]
        order = dialogue[np.sort(np.unique(dialogue, return_index=True)[1])]
        sizes = np.array([self.sizes[one].sum() for one in items])
        batches = self._batches(order, sizes, max_tokens, max_sentences)
        return Batches.of([np.concatenate([items[number] for number in batch]) for batch in batches])

    def _batches(
        self, indices: np.ndarray, sizes: np.ndarray, max_tokens: int | None, max_sentences: int | None
    ) -> Batches:
        ends = cut(indices, sizes, max_tokens, max_sentences)
        utterances, divisor = len(indices), self.batches_divisible_by
        if utterances < divisor:
            logger.warning("%d utterances are too few for %d micro-batches per update", utterances, divisor)
            return Batches(indices, ends)
        count = len(ends) - 1
        if count + -count % divisor > utterances:
            return joined(Batches(indices, ends), count % divisor, sizes)
        return Batches(indices, halved(ends, -count % divisor))

    def buffer_pool(
        self, workers: int, under_way: int, max_tokens: int | None, max_sentences: int | None
    ) -> BufferPool:
        """Return memory for the frames of batches cut with these limits, for :meth:`collater`.

        Args:
            workers: processes that read batches, 0 for this one.
            under_way: most batches that are kept at a time, beside those the workers have ready.
            max_tokens: pieces and frames of a batch.
            max_sentences: its utterances.
        """
        meta = self.corpus.meta
        classes = len(meta.expression_classes) if self.with_words else 0
        widest = max((meta.visual_dim or 0) + classes, meta.acoustic_dim or 0)
        limits = [max_tokens] if max_tokens else []
        if max_sentences and len(self):
            units = self.dialogues.items if self.dialogues is not None else ()
            limits.append(
                max_sentences * max((int(self.sizes[unit].sum()) for unit in units), default=self.sizes.max())
            )
        size = bytes_for([min(limits) * widest, 1, 1, 1]) if limits and widest else 0
        return BufferPool(workers, _READY_PER_WORKER + -(-under_way // max(workers, 1)), size)

    def collater(self, samples: Sequence[int], pool: BufferPool | None = None) -> dict[str, Any]:
        """Return a batch of B utterances; ``{}`` for none.

        ``net_input`` holds the network's arguments (tensors, and the lengths as numpy arrays); ``uids``
        identifies utterances for randomness. Frames stay float16 as stored; the model casts them. They go into a free
        buffer of ``pool``.
        """
        if not len(samples):
            return {}
        indices = np.asarray(samples, dtype=np.int64)
        rows, corpus = self.rows[indices], self.corpus
        uids = taken(corpus.uid, rows)
        sources = self._sources(rows, uids)
        lengths = self._lengths(*sources)
        stand_ins = self._stand_ins(lengths)
        kept = self.modalities.kept(lengths + stand_ins > 0, uids, int(self._epoch))
        lengths, stand_ins = np.minimum(lengths * kept, self._limits), stand_ins * kept
        pieces = gather_pieces(corpus.text, rows, lengths[0], np.int64)
        frames = self._frames(sources, lengths, stand_ins, pool)

        def build(prompt: PromptPieces | None) -> NetworkInput:
            shown = (frames["visual"], frames["acoustic"])
            return self._inputs.build(pieces, lengths + stand_ins, *shown, prompt, as_small_tensor)

        template = (int(uids[0] % 1009) + int(self._epoch)) % len(self._prompts) if self.shuffle else 0
        network_input = build(self._prompts[template])
        read = np.arange(len(indices))
        if self.dialogues is not None:
            read = np.flatnonzero(self.dialogues.read[indices])
        batch: dict[str, Any] = {
            "id": as_small_tensor(indices[read]),
            "nsentences": len(read),
            "ntokens": len(network_input),
            "uids": uids,
            "net_input": network_input.net_input,
        }
        if self.target is not None:
            batch["target"] = as_small_tensor(self.target.values(corpus, rows[read]))
            if self.shares is not None and corpus.votes is not None:
                batch["target_shares"] = as_small_tensor(self.shares[corpus.votes[rows[read]]])
        if self.dialogues is not None:
            batch["read"] = read
            batch["net_input"]["dialogue_lengths"] = self._dialogue_lengths(indices)
        if self.unlabelled is not None:
            batch["unlabelled"] = self._unlabelled_batch(uids)["net_input"]
        if self.prompt is not None:
            batch["mask_rows"], batch["template"] = network_input.mask_rows, template
        if not self.shuffle and len(self._prompts) > 1:
            more = map(build, self._prompts[1:])
            batch["more"] = [{"net_input": one.net_input, "mask_rows": one.mask_rows} for one in more]
        if self.with_words:
            batch["pieces"], batch["piece_lengths"] = pieces, lengths[0]
            batch["word_start"] = gather_pieces(corpus.word_start, rows, lengths[0], np.uint8)
            if "expression" in frames:
                batch["expression"] = frames["expression"]
        return batch

    def _dialogue_lengths(self, indices: np.ndarray) -> npt.NDArray[np.int64]:
        """Return how many utterances each dialogue of a batch has, in their order."""
        numbers = self._dialogue_of_item[indices]
        return np.diff(np.flatnonzero(np.diff(numbers, prepend=-1, append=-1)))

    @cached_property
    def _dialogue_of_item(self) -> npt.NDArray[np.int64]:
        assert self.dialogues is not None
        return np.repeat(np.arange(len(self.dialogues.items)), [len(one) for one in self.dialogues.items])

    def _unlabelled_batch(self, uids: np.ndarray) -> dict[str, Any]:
        """Return as many unlabelled utterances, drawn anew for each of these and every epoch."""
        assert self.unlabelled is not None
        drawn = integers(self.modalities.seed, int(self._epoch), Stream.UNLABELLED, uids, 0, len(self.unlabelled))
        return self.unlabelled.collater(drawn.tolist())

    def _sources(self, rows: np.ndarray, uids: np.ndarray) -> list[np.ndarray]:
        """Return the utterances whose text, faces and speech are shown, ``(B,)`` each: these, or mixed ones."""
        if not self.modalities.mix_streams:
            return [rows, rows, rows]
        emotions = self._emotions_of(rows)
        sources = [rows]
        for stream, partners in enumerate(self._partners, start=1):
            counts = np.array([len(partners[emotion]) for emotion in emotions])
            drawn = integers(
                self.modalities.seed, int(self._epoch), Stream.STREAM_MIXING, uids, stream, np.maximum(counts, 1)
            )
            # An emotion without any such stream keeps its own utterances, which have none either.
            sources.append(
                np.array(
                    [
                        partners[emotion][number] if count else row
                        for row, emotion, number, count in zip(rows, emotions, drawn, counts, strict=True)
                    ]
                )
            )
        return sources

    @cached_property
    def _partners(self) -> list[dict[int, np.ndarray]]:
        """Return for faces and for speech the utterances of each emotion that have them."""
        emotions = self._emotions_of(self.rows)
        lengths = self._lengths(self.rows, self.rows, self.rows)
        return [
            {int(emotion): self.rows[(emotions == emotion) & (lengths[stream] > 0)] for emotion in np.unique(emotions)}
            for stream in (1, 2)
        ]

    def _emotions_of(self, rows: np.ndarray) -> np.ndarray:
        assert self.target is not None  # streams are mixed within emotions only
        return self.target.values(self.corpus, rows)

    def _lengths(self, text: np.ndarray, visual: np.ndarray, acoustic: np.ndarray) -> npt.NDArray[np.int64]:
        """Return ``(3, B)`` pieces, face frames and speech frames of these utterances, ``(B,)`` each."""
        corpus = self.corpus
        rows = {"text": text, "visual": visual, "acoustic": acoustic}
        return np.stack([taken(lengths, rows[name]) for name, lengths in corpus.lengths.items()]).astype(np.int64)

    def _measured(self, special: int) -> tuple[npt.NDArray[np.integer], dict[str, tuple[int, int]]]:
        """Return the size of each item, and for each stream all its frames (or pieces) and those beyond the limit.

        Streams that are never shown take no place; mixed ones may come from the utterance with the most.

        Args:
            special: pieces of every text that are not the utterance's.
        """
        fits = self._limits.sum() + special < 1 << 16
        sizes: npt.NDArray[np.integer] = np.full(len(self.rows), special, np.uint16 if fits else np.int64)
        total, read = np.zeros(3, np.int64), np.zeros(3, np.int64)
        stand_ins = self._can_have_stand_ins()
        is_shown = [letter in self.modalities.case for letter in "lva"]
        longest = np.zeros(3, np.int64)
        if self.modalities.mix_streams and len(self.rows):
            longest[1:] = [taken(self.corpus.lengths[name], self.rows).max() for name in ("visual", "acoustic")]
        longest = np.minimum(longest, self._limits[:, 0])
        for block in blocks(len(self.rows)):
            rows, of_block = self.rows[block], sizes[block]
            for stream, lengths in enumerate(self.corpus.lengths.values()):
                whole = taken(lengths, rows)
                shown = np.minimum(whole, self._limits[stream, 0])
                total[stream] += whole.sum(dtype=np.int64)
                read[stream] += shown.sum(dtype=np.int64)
                stand_in = (whole == 0) & stand_ins[stream]
                if is_shown[stream]:
                    np.add(of_block, np.maximum(shown + stand_in, longest[stream]), out=of_block, casting="unsafe")
        counted = zip(self.corpus.lengths, total.tolist(), (total - read).tolist(), strict=True)
        return sizes, {stream: (all_of_it, beyond) for stream, all_of_it, beyond in counted}

    def _can_have_stand_ins(self) -> npt.NDArray[np.bool_]:
        """Return ``(3, 1)`` True for faces or speech that a zero frame stands for where an utterance lacks them."""
        meta = self.corpus.meta
        read = np.array([[False], [bool(meta.visual_dim)], [bool(meta.acoustic_dim)]]) & (self._limits > 0)
        return read & self.modalities.zero_frames

    def _stand_ins(self, lengths: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """Return ``(3, B)`` 1 where a zero frame stands for faces or speech that an utterance lacks."""
        return ((lengths == 0) & self._can_have_stand_ins()).astype(np.int64)

    def _frames(
        self,
        sources: Sequence[np.ndarray],
        lengths: npt.NDArray[np.int64],
        stand_ins: npt.NDArray[np.int64],
        pool: BufferPool | None,
    ) -> dict[str, Tensor]:
        corpus, meta = self.corpus, self.corpus.meta

        def wanted(reader: IndexedReader | None, modality: int, stand_in: np.ndarray) -> FramesWanted:
            return FramesWanted(
                sources[modality], reader, lengths[modality], len(stand_in), stand_ins[modality], stand_in
            )

        parts = {
            "visual": wanted(corpus.visual, 1, zero_frame(meta.visual_dim or 0)[0]),
            "acoustic": wanted(corpus.acoustic, 2, zero_frame(meta.acoustic_dim or 0)[0]),
        }
        if self.with_words and corpus.expression is not None:
            names = meta.expression_classes
            neutral = np.array([name == "neutral" for name in names], np.float16)
            # The zero frame's distribution is neutral in the authors' code.
            parts["expression"] = wanted(corpus.expression, 1, neutral if neutral.any() else neutral + 1 / len(names))
        return gather_frames(parts, pool)
