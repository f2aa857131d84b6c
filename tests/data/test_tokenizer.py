"""Pieces are BERT's or sentencepiece's, as rows of one dictionary that fairseq loads, with words marked."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
import sentencepiece

from memobert_plugin.core.errors import UserError
from memobert_plugin.data.tokenizer import (
    SentencePieceTokenizer,
    Tokenizer,
    WordPieceTokenizer,
    load_tokenizer,
    train_sentencepiece,
)
from memobert_plugin.data.vocabulary import MASK, SPECIALS, UNK
from tests.data.sources import minilm_vocabulary, write_vocabulary

SENTENCES = [
    f"the {word} house number {number} isn't mine, it's yours!" for number in range(40) for word in ("red", "old")
]


def shown(tokenizer: Tokenizer, text: str) -> list[str]:
    """Pieces by name, a bar before each one that begins a word."""
    ids, word_start = tokenizer.encode(text)
    assert ids.dtype == np.int32
    assert word_start.dtype == np.uint8
    return [("|" if start else "") + tokenizer.symbols[row] for row, start in zip(ids, word_start, strict=True)]


@pytest.fixture
def vocabulary(tmp_path: Path) -> Path:
    return write_vocabulary(tmp_path)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("sentencepiece") / "m.model"
    train_sentencepiece(SENTENCES, 8000, path)
    return path


def test_rows_are_the_specials_and_then_the_vocabulary_in_its_order(vocabulary: Path) -> None:
    lines = vocabulary.read_text().splitlines()
    tokenizer = WordPieceTokenizer.from_vocab(vocabulary)
    assert tuple(tokenizer.symbols[:4]) == SPECIALS == ("[CLS]", "[PAD]", "[SEP]", "[UNK]")
    assert tokenizer.symbols[4:] == [line for line in lines if line not in SPECIALS]
    assert tokenizer.symbols[tokenizer.mask_index] == MASK


def test_words_are_what_whitespace_separates(vocabulary: Path) -> None:
    tokenizer = WordPieceTokenizer.from_vocab(vocabulary)
    assert shown(tokenizer, " Really,  it's so\u00a0cats! ") == [
        "|really", ",", "|it", "[UNK]", "[UNK]", "|so", "|cat", "##s", "!",
    ]  # fmt: skip
    assert shown(tokenizer, "reallyly") == ["|really", "##ly"]


def test_a_word_of_nothing_but_invisible_characters_has_no_piece(vocabulary: Path) -> None:
    tokenizer = WordPieceTokenizer.from_vocab(vocabulary)
    assert shown(tokenizer, "cat \u200b dog") == ["|cat", "|dog"]
    assert shown(tokenizer, "") == shown(tokenizer, " \u200b ") == []


def test_case_is_kept_on_request(vocabulary: Path) -> None:
    assert shown(WordPieceTokenizer.from_vocab(vocabulary, lowercase=True), "Cat") == ["|cat"]
    assert shown(WordPieceTokenizer.from_vocab(vocabulary, lowercase=False), "Cat") == ["|[UNK]"]


@pytest.mark.parametrize("text", [f"so {special} cat" for special in (*SPECIALS, MASK, "<s>", "</s>", "<unk>")])
def test_no_text_gives_a_special_symbol(vocabulary: Path, model: Path, text: str) -> None:
    for tokenizer in (WordPieceTokenizer.from_vocab(vocabulary), SentencePieceTokenizer.from_model(model)):
        ids, _ = tokenizer.encode(text)
        assert not set(ids.tolist()) & {0, 1, 2, tokenizer.mask_index}


def test_ids_are_those_of_transformers_by_symbol() -> None:
    transformers = pytest.importorskip("transformers")
    path = minilm_vocabulary()
    theirs = transformers.BertTokenizer(str(path), do_lower_case=True)
    ours = WordPieceTokenizer.from_vocab(path)
    texts = [
        "It's unaffable, déjà-vu; 北京 naïve…",
        "What?! $5,000 @home #tag",
        "a" * 120,
        "İstanbul ﬁne Ω",
        "e\u0301 x",
    ]
    for text in texts:
        ids, _ = ours.encode(text)
        assert [ours.symbols[row] for row in ids] == theirs.tokenize(text)
    assert len(ours.symbols) == len(theirs) == 30522
    assert sorted(ours.symbols) == sorted(theirs.get_vocab())


def test_a_word_has_the_same_pieces_wherever_and_however_often_it_comes(
    vocabulary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("memobert_plugin.data.tokenizer._MOST_KNOWN", 4)  # so that it forgets words on the way
    texts = ["it's so cats! \u200b", "cats! 学習 cats!", "", "really 学習 it's", "so cats! \u200b it's"]
    once = [shown(WordPieceTokenizer.from_vocab(vocabulary), text) for text in texts]
    tokenizer = WordPieceTokenizer.from_vocab(vocabulary)
    for _ in range(3):
        together = tokenizer.encode_batch(texts)
        assert [ids.dtype for ids, _ in together] == [np.int32] * len(texts)
        assert [shown(tokenizer, text) for text in texts] == once
        assert [len(ids) for ids, _ in together] == list(map(len, once))


def test_a_sentence_without_spaces_does_not_stay_in_memory(vocabulary: Path) -> None:
    tokenizer = WordPieceTokenizer.from_vocab(vocabulary)
    rows, starts = tokenizer.encode("cats " + 10_000 * "学习")
    assert len(rows) == len(starts) > 20_000
    assert list(tokenizer._known) == ["cats"]


def test_words_of_real_utterances_are_whole(real_data: Path) -> None:
    """MELD's lines: every whitespace word begins exactly one group of pieces, and the groups spell the words."""
    transformers = pytest.importorskip("transformers")
    path = minilm_vocabulary()
    theirs = transformers.BertTokenizer(str(path), do_lower_case=True)
    tokenizer = WordPieceTokenizer.from_vocab(path)
    with open(real_data / "text" / "meld" / "dev_sent_emo.csv", encoding="utf-8") as stream:
        texts = [row["Utterance"] for row in csv.DictReader(stream)]
    for text, (ids, word_start) in zip(texts, tokenizer.encode_batch(texts), strict=True):
        words = text.split()
        assert word_start.sum() == len(words)
        begins = np.append(np.flatnonzero(word_start), len(ids))
        for word, begin, end in zip(words, begins, begins[1:], strict=False):
            assert [tokenizer.symbols[row] for row in ids[begin:end]] == theirs.tokenize(word)


def test_words_of_a_prompt_become_pieces_without_changing_other_words(tmp_path: Path) -> None:
    plain, prompting = tmp_path / "plain.model", tmp_path / "prompting.model"
    words = ["i", "am", ".", "anger", "Happy", "sad", "ärger"]
    assert train_sentencepiece(SENTENCES, 8000, plain) < train_sentencepiece(SENTENCES, 8000, prompting, words=words)
    before, after = (SentencePieceTokenizer.from_model(path) for path in (plain, prompting))
    for word in words:
        ids, _ = after.encode(word)
        assert len(ids) == 1, word
        assert ids[0] != UNK
    assert "." in after.symbols
    for text in SENTENCES[:10]:
        assert shown(after, text) == shown(before, text)
    with pytest.raises(UserError, match="too long to be one piece"):
        train_sentencepiece(SENTENCES, 8000, prompting, words=["a" * 200])


@pytest.mark.parametrize("missing", [*SPECIALS, MASK])
def test_a_vocabulary_without_a_special_is_refused(vocabulary: Path, missing: str) -> None:
    lines = vocabulary.read_text().splitlines()
    lines.remove(missing)
    vocabulary.write_text("\n".join(lines))
    with pytest.raises(UserError, match=rf"vocab\.txt: no \{missing[:-1]}\] among its {len(lines)} pieces"):
        WordPieceTokenizer.from_vocab(vocabulary)


def test_a_vocabulary_that_is_none_is_refused(tmp_path: Path, vocabulary: Path) -> None:
    with pytest.raises(UserError, match=r"none\.txt: cannot be read"):
        WordPieceTokenizer.from_vocab(tmp_path / "none.txt")
    with open(vocabulary, "a") as stream:
        stream.write("cat\n")
    with pytest.raises(UserError, match="piece 'cat' occurs twice"):
        WordPieceTokenizer.from_vocab(vocabulary)
    vocabulary.write_bytes(b"\xff\xfe")
    with pytest.raises(UserError, match="not UTF-8"):
        WordPieceTokenizer.from_vocab(vocabulary)


def test_sentencepiece_rows_leave_out_control_symbols_and_end_with_the_mask(model: Path) -> None:
    processor = sentencepiece.SentencePieceProcessor(model_file=str(model))
    pieces = [processor.id_to_piece(index) for index in range(processor.get_piece_size())]
    assert pieces[:3] == ["<unk>", "<s>", "</s>"]
    assert SentencePieceTokenizer.from_model(model).symbols == [*SPECIALS, *pieces[3:], MASK]


def test_sentencepiece_words_begin_with_their_first_piece(model: Path) -> None:
    """A lone "▁" is such a first piece, and what the model does not know belongs to the word that it stands in."""
    tokenizer = SentencePieceTokenizer.from_model(model)
    ids, word_start = tokenizer.encode("The ☃ it's ☃☃")
    pieces = [tokenizer.symbols[row] for row in ids]
    assert word_start.sum() == 4
    groups = np.split(np.array(pieces), np.flatnonzero(word_start)[1:])
    assert ["".join(group) for group in groups] == ["▁the", "▁[UNK]", "▁it's", "▁[UNK]"]
    assert tokenizer.encode("")[0].size == 0


def test_sentencepiece_gives_what_the_model_gives(model: Path) -> None:
    processor = sentencepiece.SentencePieceProcessor(model_file=str(model))
    tokenizer = SentencePieceTokenizer.from_model(model)
    for text, (ids, _) in zip(SENTENCES, tokenizer.encode_batch(SENTENCES), strict=True):
        assert [tokenizer.symbols[row] for row in ids] == processor.encode(text, out_type=str)


def test_symbols_of_a_sentencepiece_model_that_are_called_like_specials_take_the_specials_rows(tmp_path: Path) -> None:
    with open(tmp_path / "m.model", "wb") as stream:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(SENTENCES),
            model_writer=stream,
            vocab_size=60,
            hard_vocab_limit=False,
            user_defined_symbols=["[MASK]", "[SEP]", "<sad>"],
            control_symbols=["[CLS]"],
            pad_id=3,
            minloglevel=2,
        )
    tokenizer = SentencePieceTokenizer.from_model(tmp_path / "m.model")
    assert len(set(tokenizer.symbols)) == len(tokenizer.symbols)
    assert tokenizer.symbols[:6] == [*SPECIALS, "[MASK]", "<sad>"]
    assert tokenizer.mask_index == 4
    ids, _ = tokenizer.encode("[MASK][SEP]<sad>")
    assert ids[-3:].tolist() == [UNK, UNK, 5]


def test_training_keeps_case_on_request_and_is_repeatable(tmp_path: Path) -> None:
    for name in ("a", "b"):
        train_sentencepiece(["The House"] * 50, 100, tmp_path / name, lowercase=False)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    assert any("H" in symbol for symbol in SentencePieceTokenizer.from_model(tmp_path / "a").symbols)


@pytest.mark.parametrize(("texts", "size"), [([], 100), ([" "], 100), (["a text"] * 9, -1), (["a text"] * 9, 2)])
def test_training_that_cannot_work_is_one_line(tmp_path: Path, texts: list[str], size: int) -> None:
    with pytest.raises(UserError, match=f"sentencepiece with {size} pieces could not be trained") as caught:
        train_sentencepiece(texts, size, tmp_path / "m.model")
    assert "\n" not in str(caught.value)


def test_a_saved_tokenizer_is_the_same(tmp_path: Path, vocabulary: Path, model: Path) -> None:
    tokenizers: list[Tokenizer] = [
        WordPieceTokenizer.from_vocab(vocabulary, lowercase=False),
        SentencePieceTokenizer.from_model(model),
    ]
    for number, tokenizer in enumerate(tokenizers):
        folder = tmp_path / str(number)
        folder.mkdir()
        tokenizer.save(folder)
        again = load_tokenizer(folder)
        assert type(again) is type(tokenizer)
        assert again.symbols == tokenizer.symbols
        for text in ("The cat isn't mine!", "the cat"):
            np.testing.assert_array_equal(again.encode(text), tokenizer.encode(text))


@pytest.mark.parametrize("settings", [None, "{", "[]", '{"kind": "letters"}'])
def test_a_folder_without_a_known_tokenizer_is_refused(tmp_path: Path, settings: str | None) -> None:
    if settings is not None:
        (tmp_path / "settings.json").write_text(settings)
    with pytest.raises(UserError, match=r"settings\.json: (missing or unreadable|unknown tokenizer 'letters')"):
        load_tokenizer(tmp_path)


def test_a_file_that_is_no_sentencepiece_model_is_refused(tmp_path: Path) -> None:
    (tmp_path / "m.model").write_text("nothing")
    for name in ("m.model", "none.model"):
        with pytest.raises(UserError, match=rf"{name}: cannot be read as a sentencepiece model"):
            SentencePieceTokenizer.from_model(tmp_path / name)
