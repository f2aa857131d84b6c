"""Templates, verbalizers and prompted texts."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence

import numpy as np
import pytest

from memobert_plugin.core.errors import UserError
from memobert_plugin.data.prompts import (
    PromptedText,
    PromptPieces,
    Template,
    Verbalizer,
    assemble_prompts,
    ends_sentence,
    prompt_words,
)
from memobert_plugin.data.tokenizer import Pieces
from memobert_plugin.data.vocabulary import SPECIALS
from memobert_plugin.data.words import Segmentation

CLS, PAD, SEP, UNK, MASK = range(5)


class WordsAndLetters:
    """A tokenizer that knows some words whole and spells the others; the smallest thing with the protocol's shape."""

    kind = "words and letters"
    segmentation: Segmentation = "bert"

    def __init__(self) -> None:
        words = ["i", "am", "it", "was", "angry", "mad", "happy", "sad", "neutral", ".", "!", "?"]
        self.symbols = [*SPECIALS, "[MASK]", *words, *"abcdefghijklmnopqrstuvwxyz"]
        self.mask_index = MASK

    def encode(self, text: str) -> Pieces:
        pieces: list[int] = []
        starts: list[int] = []
        for word in text.lower().split():
            found = [word] if word in self.symbols[5:] else list(word)
            pieces += [self.symbols.index(piece) if piece in self.symbols else UNK for piece in found]
            starts += [1] + [0] * (len(found) - 1)
        return np.array(pieces, dtype=np.int32), np.array(starts, dtype=np.uint8)

    def encode_batch(self, texts: Sequence[str]) -> list[Pieces]:
        return [self.encode(text) for text in texts]

    encode_inside = encode

    def spelled(self, rows: Sequence[int]) -> str:
        raise NotImplementedError

    def save(self, folder: str | os.PathLike[str]) -> None:
        raise NotImplementedError


TOKENIZER = WordsAndLetters()
PERIOD = TOKENIZER.symbols.index(".")
LABELS = ["anger", "happy", "neutral", "sad"]
WORDS = "anger=angry,mad happy=happy\tneutral=neutral\n sad=sad"


def symbols_of(ids: Iterable[int]) -> str:
    return " ".join(TOKENIZER.symbols[piece] for piece in ids)


class TestTemplate:
    @pytest.mark.parametrize(
        ("text", "pieces", "offset"),
        [
            ("i am [MASK] .", "i am [MASK] .", 2),
            ("  it was [MASK].", "it was [MASK] .", 2),
            ("[MASK]", "[MASK]", 0),
            ("[MASK] !", "[MASK] !", 0),
            ("am i [MASK]", "am i [MASK]", 2),
        ],
    )
    def test_the_mask_stands_where_the_template_puts_it(self, text: str, pieces: str, offset: int) -> None:
        prompt = Template.parse(text).encode(TOKENIZER)
        assert symbols_of(prompt.ids) == pieces
        assert prompt.mask_offset == offset
        assert prompt.ids[offset] == MASK

    @pytest.mark.parametrize(
        ("text", "count"), [("i am sad .", 0), ("i am [mask] .", 0), ("", 0), ("[MASK] [MASK]", 2)]
    )
    def test_a_template_without_a_mask_or_with_two_is_refused(self, text: str, count: int) -> None:
        with pytest.raises(UserError, match=rf"has {count} \[MASK\]; it needs exactly one"):
            Template.parse(text)


class TestVerbalizer:
    def test_the_papers_words_are_taken_for_the_labels_that_are_there(self) -> None:
        class KnowsAnger(WordsAndLetters):
            def __init__(self) -> None:
                super().__init__()
                self.symbols.append("anger")

        assert Verbalizer.of_labels(LABELS, KnowsAnger()).text() == "anger=anger happy=happy neutral=neutral sad=sad"
        assert Verbalizer.of_labels(LABELS, TOKENIZER).text() == "anger=angry happy=happy neutral=neutral sad=sad"
        assert Verbalizer.of_labels(["Sad", "HAPPY"], TOKENIZER).text() == "Sad=sad HAPPY=happy"
        with pytest.raises(
            UserError, match='no word is known for the label "joy", only for anger, happy, neutral, sad'
        ):
            Verbalizer.of_labels(["anger", "joy"], TOKENIZER)

    def test_the_case_of_labels_does_not_matter(self) -> None:
        assert Verbalizer.parse("ANGER=mad happy=happy", ["anger", "Happy"]).text() == "anger=mad Happy=happy"
        assert Verbalizer.parse("a=mad A=happy", ["a", "A"]).text() == "a=mad A=happy"

    def test_labels_that_the_text_form_cannot_hold_are_refused(self) -> None:
        with pytest.raises(UserError, match='label "very sad": a label with a blank'):
            Verbalizer(("very sad",), (("sad",),)).text()

    def test_a_vocabulary_for_prompting_has_template_paper_and_label_words(self) -> None:
        words = ["i", "am", ".", "anger", "happy", "neutral", "sad", "angry", "joy"]
        assert prompt_words(["joy", "sad", "very sad", ""]) == words

    def test_words_are_encoded_in_the_order_of_the_corpus_labels(self) -> None:
        verbalizer = Verbalizer.parse("sad=sad " + WORDS.removesuffix("sad=sad"), LABELS)
        assert verbalizer.labels == tuple(LABELS)
        assert verbalizer.words == (("angry", "mad"), ("happy",), ("neutral",), ("sad",))
        expected = [[TOKENIZER.symbols.index(word) for word in words] for words in verbalizer.words]
        assert verbalizer.encode(TOKENIZER) == expected

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("anger=angry happy=happy sad=sad", 'no word for the label "neutral"; add neutral=word'),
            ("", 'no word for the label "anger"'),
            (WORDS + " fear=fear", 'label "fear" is not in the corpus; its labels are anger, happy, neutral, sad'),
            (WORDS + " sad=mad", 'label "sad" is given twice'),
            (WORDS + " sad", 'entry "sad" is not of the form'),
            ("anger= happy=happy", 'entry "anger=" is not of the form'),
            ("anger=angry, mad", 'entry "anger=angry," is not of the form'),
            ("=angry", 'entry "=angry" is not of the form'),
        ],
    )
    def test_a_verbalizer_that_does_not_fit_the_labels_is_refused(self, text: str, message: str) -> None:
        with pytest.raises(UserError, match=message):
            Verbalizer.parse(text, LABELS)

    @pytest.mark.parametrize(
        ("word", "message"),
        [
            ("furious", 'word "furious" is not one piece of the vocabulary but f u r i o u s'),
            ("é", r'word "é" is not one piece of the vocabulary but \[UNK\]'),
            ("angry,happy", r'word "happy" is listed 2 times \(anger, happy\)'),
            ("mad,MAD", r'word "mad" is listed 2 times \(anger\)'),
        ],
    )
    def test_a_word_that_is_not_one_piece_of_its_own_is_refused(self, word: str, message: str) -> None:
        verbalizer = Verbalizer.parse(f"anger={word} happy=happy neutral=neutral sad=sad", LABELS)
        with pytest.raises(UserError, match=message):
            verbalizer.encode(TOKENIZER)


def test_pieces_whose_last_character_is_a_full_stop_question_or_exclamation_mark_end_a_sentence() -> None:
    symbols = ["[CLS]", ".", "?", "!", "##.", "ok.", "?!", ",", ".a", "'", "▁.", ""]
    assert ends_sentence(symbols).tolist() == [
        False,
        True,
        True,
        True,
        True,
        True,
        True,
        False,
        False,
        False,
        True,
        False,
    ]


def straightforward(texts: Sequence[str], prompt: PromptPieces | None) -> PromptedText:
    """The rule for one text at a time."""
    ids: list[int] = []
    lengths, mask_rows = [], []
    for text in texts:
        words = TOKENIZER.encode(text)[0].tolist()
        stop = [PERIOD] if prompt and words and TOKENIZER.symbols[words[-1]] not in ".?!" else []
        whole = [CLS, *words, *stop, *(prompt.ids if prompt else []), SEP]
        if prompt:
            mask_rows.append(len(ids) + 1 + len(words) + len(stop) + prompt.mask_offset)
        ids += whole
        lengths.append(len(whole))
    return PromptedText(np.array(ids), np.array(lengths), np.array(mask_rows, dtype=np.int64))


def assemble(texts: Sequence[str], prompt: PromptPieces | None) -> PromptedText:
    encoded = [TOKENIZER.encode(text)[0] for text in texts]
    return assemble_prompts(
        np.concatenate([np.zeros(0, dtype=np.int32), *encoded]),
        np.array([len(pieces) for pieces in encoded], dtype=np.int32),
        ends_sentence(TOKENIZER.symbols),
        PERIOD,
        prompt,
    )


PROMPT = Template.parse("i am [MASK] .").encode(TOKENIZER)
TEXTS = ["it was sad", "mad !", "", "happy .", "was it ?", "a . b", "! ! !", "it was mad . i am angry", "z"]


class TestAssemblePrompts:
    def test_a_full_stop_joins_only_a_text_that_does_not_end_a_sentence(self) -> None:
        prompted = assemble(["it was sad", "mad !", "", "happy ."], PROMPT)
        assert [symbols_of(part) for part in np.split(prompted.ids, np.cumsum(prompted.lengths)[:-1])] == [
            "[CLS] it was sad . i am [MASK] . [SEP]",
            "[CLS] mad ! i am [MASK] . [SEP]",
            "[CLS] i am [MASK] . [SEP]",
            "[CLS] happy . i am [MASK] . [SEP]",
        ]
        assert (prompted.ids[prompted.mask_rows] == MASK).all()

    def test_without_a_prompt_nothing_but_the_special_symbols_is_added(self) -> None:
        prompted = assemble(["it was sad", ""], None)
        assert symbols_of(prompted.ids) == "[CLS] it was sad [SEP] [CLS] [SEP]"
        assert prompted.lengths.tolist() == [5, 2]
        assert prompted.mask_rows.shape == (0,)

    @pytest.mark.parametrize("template", ["i am [MASK] .", "[MASK]", None])
    def test_a_batch_is_what_its_texts_give_one_by_one(self, template: str | None) -> None:
        prompt = Template.parse(template).encode(TOKENIZER) if template else None
        prompted, expected = assemble(TEXTS, prompt), straightforward(TEXTS, prompt)
        assert prompted.ids.dtype == prompted.lengths.dtype == prompted.mask_rows.dtype == np.int64
        assert prompted.ids.tolist() == expected.ids.tolist()
        assert prompted.lengths.tolist() == expected.lengths.tolist()
        assert prompted.mask_rows.tolist() == expected.mask_rows.tolist()

    @pytest.mark.parametrize("prompt", [PROMPT, None])
    def test_no_utterances_give_empty_arrays(self, prompt: PromptPieces | None) -> None:
        prompted = assemble([], prompt)
        assert len(prompted.ids) == len(prompted.lengths) == len(prompted.mask_rows) == 0
