"""dict.txt is read back by fairseq with equal size and order."""

from __future__ import annotations

from pathlib import Path

import pytest

from memobert_plugin.core.errors import UserError
from memobert_plugin.data.corpus import read_dictionary, write_dictionary
from memobert_plugin.data.tokenizer import WordPieceTokenizer
from memobert_plugin.data.vocabulary import SPECIALS
from tests.data.sources import write_vocabulary


@pytest.mark.parametrize(
    "extra", [[], ["a b", "", "\u3000", "\u2028", "#fairseq:overwrite", "1", "x 2", "<s>", "<pad>", "é"]]
)
def test_the_host_loads_the_dictionary_with_equal_size_and_order(tmp_path: Path, extra: list[str]) -> None:
    from fairseq.data import Dictionary

    symbols = [*WordPieceTokenizer.from_vocab(write_vocabulary(tmp_path)).symbols, *extra]
    write_dictionary(symbols, tmp_path / "dict.txt")
    dictionary = Dictionary(bos="[CLS]", pad="[PAD]", eos="[SEP]", unk="[UNK]")
    dictionary.add_from_file(str(tmp_path / "dict.txt"))
    assert dictionary.symbols == symbols == read_dictionary(tmp_path / "dict.txt")
    assert [dictionary.bos(), dictionary.pad(), dictionary.eos(), dictionary.unk()] == [0, 1, 2, 3]


@pytest.mark.parametrize(
    ("symbols", "message"),
    [
        (["[PAD]", "[CLS]", "[SEP]", "[UNK]"], r"a dictionary starts with \[CLS\]"),
        ([*SPECIALS, "a", "[SEP]"], r"row 5: symbol '\[SEP\]' occurs twice"),
        ([*SPECIALS, "a\r"], "holds a line break"),
    ],
)
def test_symbols_that_the_host_would_refuse_are_not_written(tmp_path: Path, symbols: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        write_dictionary(symbols, tmp_path / "dict.txt")
    assert not list(tmp_path.iterdir())


def test_a_damaged_dictionary_is_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "dict.txt"
    with pytest.raises(UserError, match=r"dict\.txt: missing"):
        read_dictionary(path)
    path.write_text("a 1\nb\n")
    with pytest.raises(UserError, match=r"dict\.txt, row 2: no 'symbol count'"):
        read_dictionary(path)
