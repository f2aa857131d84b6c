"""Words for whole-word masking are found in scripts with and without spaces, and the pieces stay the same."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from memobert_plugin.core.errors import UserError
from memobert_plugin.data import words
from memobert_plugin.data.tokenizer import (
    SentencePieceTokenizer,
    WordPieceTokenizer,
    load_tokenizer,
    train_sentencepiece,
)
from memobert_plugin.data.words import SEGMENTATIONS, Segmentation, first_pieces

SPECIAL_PIECES = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]


def split(text: str, segmentation: Segmentation) -> list[str]:
    """The words of a text whose every character is a piece."""
    starts = np.flatnonzero(first_pieces(text, np.arange(len(text)), segmentation)).tolist()
    return [text[begin:end] for begin, end in pairwise([*starts, len(text)])]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("今天下雨我们不回家了", list("今天下雨我们不回家了")),
        ("今天，下雨。", ["今", "天，", "下", "雨。"]),
        ("「今天」", ["「今", "天」"]),
        ("雨が降るので今日は帰りません", ["雨", "が", "降", "るので", "今", "日", "は", "帰", "りません"]),
        ("我爱NY!", ["我", "爱", "NY!"]),
        ("iPhone手机", ["iPhone", "手", "机"]),
        ("𠮷野家", ["𠮷", "野", "家"]),
        ("안녕하세요!", ["안녕하세요!"]),
        ("well-known", ["well-known"]),
        ("วันนี้อากาศดี", ["วันนี้อากาศดี"]),
        ("。", ["。"]),
    ],
)
def test_each_chinese_character_is_a_word_as_for_bert(text: str, expected: list[str]) -> None:
    assert split(text, "bert") == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("今天下雨我们不回家了。", ["今天", "下雨", "我们", "不", "回家", "了。"]),
        ("วันนี้อากาศดี", ["วัน", "นี้", "อากาศ", "ดี"]),
        ("ມື້ນີ້ຝົນຕົກ", ["ມື້ນີ້", "ຝົນຕົກ"]),
        ("ថ្ងៃនេះភ្លៀង", ["ថ្ងៃនេះ", "ភ្លៀង"]),
        ("𠀋今天ok", ["𠀋", "今天", "ok"]),
        ("well-known", ["well-known"]),
        ("it's", ["it's"]),
    ],
)
def test_dictionaries_find_words_on_request(text: str, expected: list[str]) -> None:
    pytest.importorskip("icu4py")
    assert split(text, "icu") == expected


@given(text=st.text(st.characters(exclude_categories=["Cc", "Cs", "Zs", "Zl", "Zp"]), min_size=1))
def test_every_text_is_split_without_loss(text: str) -> None:
    for segmentation in SEGMENTATIONS:
        assert "".join(split(text, segmentation)) == text


def vocabulary(folder: Path, characters: str) -> Path:
    path = folder / "vocab.txt"
    pieces = dict.fromkeys([*SPECIAL_PIECES, ".", "!", "cat", "##s", *characters, *(f"##{one}" for one in characters)])
    path.write_text("\n".join(pieces) + "\n", encoding="utf-8")
    return path


TEXT = "cats! 今天。天 いま今 วันนี้"


@pytest.mark.parametrize("segmentation", SEGMENTATIONS)
def test_word_pieces_do_not_depend_on_the_words(tmp_path: Path, segmentation: Segmentation) -> None:
    path = vocabulary(tmp_path, "今天いま。วันนี้")
    tokenizer = WordPieceTokenizer.from_vocab(path, segmentation=segmentation)
    tokenizer.save(tmp_path)
    ids, starts = load_tokenizer(tmp_path).encode(TEXT)
    shown = [("|" if start else "") + tokenizer.symbols[row] for row, start in zip(ids, starts, strict=True)]
    thai = ["|ว", "##น", "##น"]  # the vowel signs are accents for BERT, and removed
    if segmentation == "icu":
        pytest.importorskip("icu4py")
        assert shown == ["|cat", "##s", "!", "|今", "天", "。", "|天", "|い", "##ま", "|今", "|ว", "##น", "|##น"]
    else:
        assert shown == ["|cat", "##s", "!", "|今", "|天", "。", "|天", "|い", "##ま", "|今", *thai]


def test_sentencepieces_begin_words_at_chinese_characters(tmp_path: Path) -> None:
    model = tmp_path / "m.model"
    train_sentencepiece(["今天下雨我们不回家了", "雨が降るので今日は帰りません", "ｱﾊﾟｰﾄ ok"] * 50, 200, model)
    tokenizer = SentencePieceTokenizer.from_model(model)
    shown = []
    for text in ("今天下雨", "ｱﾊﾟｰﾄ今日"):
        ids, starts = tokenizer.encode(text)
        shown.append(
            "".join(("|" if start else "") + tokenizer.symbols[row] for row, start in zip(ids, starts, strict=True))
        )
    # The mark of a word's beginning may be a piece of its own; half-width kana are normalised.
    assert shown == ["|▁今|天|下|雨", "|▁アパート|今|日"]


def test_without_icu_its_words_are_refused_by_name_but_a_trained_model_still_loads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(words, "_breaker", [None])
    with pytest.raises(UserError, match=r"icu4py is not installed; install the extra \[words\]"):
        words.require_icu()
    WordPieceTokenizer.from_vocab(vocabulary(tmp_path, "今天"), segmentation="icu").save(tmp_path)
    assert load_tokenizer(tmp_path).encode("今天")[1].tolist() == [1, 1]


def test_an_unknown_segmentation_is_refused(tmp_path: Path) -> None:
    WordPieceTokenizer.from_vocab(vocabulary(tmp_path, "今天")).save(tmp_path)
    (tmp_path / "settings.json").write_text('{"kind": "wordpiece", "word_segmentation": "mecab"}')
    with pytest.raises(UserError, match="unknown word segmentation 'mecab'; this version knows bert and icu"):
        load_tokenizer(tmp_path)
