"""Build prompts: the template with its mask, the words of each label, and texts with the template appended.

A prompted text is ``[CLS] text . i am [MASK] . [SEP]``. The full stop after the text is added only if the text does not
end a sentence (the paper's section 2.3).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ..core.errors import UserError
from ..core.ragged import Integers, first_rows, owners_and_positions
from .tokenizer import Tokenizer
from .vocabulary import CLS, MASK, PAD, SEP, UNK

PAPER_TEMPLATE = "i am [MASK] ."
PAPER_WORDS = {"anger": "anger", "happy": "happy", "neutral": "neutral", "sad": "sad"}
"""The emotion words of section 2.3, by label; also those of the authors' checkpoints."""
SECOND_WORDS = {"anger": "angry"}
"""The words for vocabularies that lack the paper's, by label."""
SENTENCE_ENDS = (".", "?", "!")


@dataclass(frozen=True)
class PromptPieces:
    """A template as dictionary ids, and the place of ``[MASK]`` in them."""

    ids: list[int]
    mask_offset: int

    def after_vectors(self, count: int) -> PromptPieces:
        """Return the template behind ``count`` places for learned vectors, which [PAD] marks; no text holds any."""
        return PromptPieces([PAD] * count + self.ids, self.mask_offset + count)

    def around_mask(self) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Return the pieces before and after the mask in a text that is the template alone."""
        return (CLS, *self.ids[: self.mask_offset]), (*self.ids[self.mask_offset + 1 :], SEP)


@dataclass(frozen=True)
class Template:
    """The words around the one ``[MASK]`` of a prompt; white space behind the mask is kept, as RoBERTa reads it."""

    before: str
    after: str

    @classmethod
    def parse(cls, text: str) -> Template:
        """Read a template such as ``i am [MASK] .``.

        Raises:
            UserError: there is not exactly one ``[MASK]``.
        """
        count = text.count(MASK)
        if count != 1:
            raise UserError(f'template "{text}" has {count} {MASK}; it needs exactly one, as in "i am {MASK} ."')
        before, after = text.split(MASK)
        return cls(before.strip(), after.rstrip())

    def encode(self, tokenizer: Tokenizer, *, follows_text: bool = True) -> PromptPieces:
        """Return the template's pieces in the tokenizer's dictionary, those behind a text or at the beginning."""
        if follows_text:
            before = tokenizer.encode_inside(f" {self.before}")[0].tolist()
        else:
            before = tokenizer.encode(self.before)[0].tolist()
        after = tokenizer.encode_inside(self.after)[0].tolist()
        return PromptPieces([*before, tokenizer.mask_index, *after], len(before))


@dataclass(frozen=True)
class Verbalizer:
    """The words of each label at the mask position.

    Attributes:
        labels: the corpus's labels, in its order.
        words: as ``labels``, one or more words each.
    """

    labels: tuple[str, ...]
    words: tuple[tuple[str, ...], ...]

    @classmethod
    def parse(cls, text: str, labels: Sequence[str]) -> Verbalizer:
        """Read a verbalizer such as ``anger=angry,mad happy=happy``.

        Args:
            text: ``label=word[,word...]`` for every label, separated by white space.
            labels: the corpus's labels; their case does not matter.

        Raises:
            UserError: an entry of another form, a label unknown, given twice or left out.
        """
        words_of: dict[str, tuple[str, ...]] = {}
        by_name = {label.casefold(): label for label in labels}
        for entry in text.split():
            given, _, listed = entry.partition("=")
            label = given if given in labels else by_name.get(given.casefold(), given)
            words = tuple(listed.split(","))
            if not label or not all(words):
                raise UserError(f'verbalizer entry "{entry}" is not of the form label=word[,word...]')
            if label not in labels:
                raise UserError(f'verbalizer label "{label}" is not in the corpus; its labels are {", ".join(labels)}')
            if label in words_of:
                raise UserError(f'verbalizer label "{label}" is given twice; list its words once, separated by commas')
            words_of[label] = words
        missing = [label for label in labels if label not in words_of]
        if missing:
            raise UserError(f'the verbalizer has no word for the label "{missing[0]}"; add {missing[0]}=word')
        return cls(tuple(labels), tuple(words_of[label] for label in labels))

    @classmethod
    def of_labels(cls, labels: Sequence[str], tokenizer: Tokenizer) -> Verbalizer:
        """Return the paper's words for these labels, without regard to their case.

        ``anger`` has the word "anger", or "angry" in a vocabulary that lacks it.

        Raises:
            UserError: a label for which the paper has no word.
        """
        words = []
        for label in labels:
            name = label.casefold()
            if name not in PAPER_WORDS:
                known = ", ".join(PAPER_WORDS)
                raise UserError(
                    f'no word is known for the label "{label}", only for {known}; give the words of all labels as '
                    "label=word, such as --verbalizer 'joy=happy ...'"
                )
            first, second = PAPER_WORDS[name], SECOND_WORDS.get(name, "")
            words.append((second if second and not _is_piece(tokenizer, first) else first,))
        return cls(tuple(labels), tuple(words))

    def text(self) -> str:
        """Return the verbalizer in the form that :meth:`parse` reads.

        Raises:
            UserError: a label with a blank, which that form cannot hold.
        """
        blank = next((label for label in self.labels if len(label.split()) != 1 or "=" in label), None)
        if blank is not None:
            raise UserError(f'label "{blank}": a label with a blank or "=" cannot be prompted for; rename it')
        return " ".join(f"{label}={','.join(words)}" for label, words in zip(self.labels, self.words, strict=True))

    def encode(self, tokenizer: Tokenizer) -> list[list[int]]:
        """Return the words' ids, by label.

        Raises:
            UserError: a word is not exactly one known piece, or two words are the same piece.
        """
        ids = [[_single_piece(tokenizer, word) for word in words] for words in self.words]
        piece, count = Counter(piece for of_label in ids for piece in of_label).most_common(1)[0]
        if count > 1:
            named = [label for label, of_label in zip(self.labels, ids, strict=True) if piece in of_label]
            raise UserError(
                f'verbalizer word "{tokenizer.symbols[piece]}" is listed {count} times ({", ".join(named)}); '
                "every word may stand for one label only, once"
            )
        return ids


def ends_sentence(symbols: Sequence[str]) -> npt.NDArray[np.bool_]:
    """Return for each row of a dictionary if a text that ends in that piece ends a sentence (``.``, ``?`` or ``!``)."""
    return np.array([symbol.endswith(SENTENCE_ENDS) for symbol in symbols], dtype=bool)


@dataclass(frozen=True)
class PromptedText:
    """A packed batch of texts with their prompts.

    Attributes:
        ids: (pieces of all utterances,) with ``[CLS]``, prompt and ``[SEP]``.
        lengths: (B,) pieces per utterance.
        mask_rows: (B,) the row of each utterance's ``[MASK]`` in ``ids``; empty without a prompt.
    """

    ids: Integers
    lengths: Integers
    mask_rows: Integers


def assemble_prompts(
    ids: npt.NDArray[np.integer],
    lengths: npt.NDArray[np.integer],
    sentence_end: npt.NDArray[np.bool_],
    period_id: int,
    prompt: PromptPieces | None,
) -> PromptedText:
    """Assemble ``[CLS] text . prompt [SEP]``, or ``[CLS] text [SEP]`` without a prompt.

    The full stop is added to a text that is not empty and does not end a sentence.

    Args:
        ids: (pieces of all texts,) without special symbols.
        lengths: (B,) pieces per text.
        sentence_end: (vocabulary,) from :func:`ends_sentence`.
        period_id: the id of the full stop.
        prompt: the template's pieces.
    """
    text_lengths = np.asarray(lengths, dtype=np.int64)
    prompt_ids = np.array(prompt.ids if prompt else [], dtype=np.int64)
    stop = np.zeros_like(text_lengths)
    if prompt:
        worded = text_lengths > 0
        stop[worded] = ~sentence_end[ids[(first_rows(text_lengths) + text_lengths - 1)[worded]]]

    total = 1 + text_lengths + stop + len(prompt_ids) + 1
    begin = first_rows(total)
    packed = np.empty(int(total.sum()), dtype=np.int64)
    packed[begin] = CLS
    owner, position = owners_and_positions(text_lengths)
    packed[(begin + 1)[owner] + position] = ids
    prompt_begin = begin + 1 + text_lengths + stop
    packed[(prompt_begin - 1)[stop > 0]] = period_id
    packed[prompt_begin[:, None] + np.arange(len(prompt_ids))] = prompt_ids
    packed[begin + total - 1] = SEP
    mask_rows = prompt_begin + prompt.mask_offset if prompt else np.empty(0, dtype=np.int64)
    return PromptedText(packed, total, mask_rows)


def prompt_words(labels: Iterable[str]) -> list[str]:
    """Return the words that a vocabulary for prompting needs: the template's, the paper's and the labels themselves."""
    template = Template.parse(PAPER_TEMPLATE)
    words = [*template.before.split(), *template.after.split(), *PAPER_WORDS.values(), *SECOND_WORDS.values()]
    return list(dict.fromkeys([*words, *(label for label in labels if len(label.split()) == 1)]))


def _is_piece(tokenizer: Tokenizer, word: str) -> bool:
    pieces = tokenizer.encode_inside(f" {word}")[0].tolist()
    return len(pieces) == 1 and pieces != [UNK]


def _single_piece(tokenizer: Tokenizer, word: str) -> int:
    pieces = tokenizer.encode_inside(f" {word}")[0].tolist()
    if not _is_piece(tokenizer, word):
        shown = " ".join(tokenizer.symbols[piece] for piece in pieces) or "nothing"
        raise UserError(f'verbalizer word "{word}" is not one piece of the vocabulary but {shown}; choose another word')
    return int(pieces[0])
