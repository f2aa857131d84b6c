"""Byte-level pieces are RoBERTa's, as transformers cuts them, with words marked."""

from __future__ import annotations

import csv
import json
import random
from pathlib import Path

import numpy as np
import pytest
from transformers import RobertaTokenizer

from memobert_plugin.core.errors import UserError
from memobert_plugin.data.byte_level import ByteLevelTokenizer
from memobert_plugin.data.prompts import Template, Verbalizer
from memobert_plugin.data.tokenizer import Tokenizer, WordPieceTokenizer, load_tokenizer, tokenizer_of
from memobert_plugin.data.vocabulary import MASK, ROBERTA_NAMES, SPECIALS
from tests.reference.bert_folder import write_roberta_tokenizer

ODD = [
    "It's  so great!",
    " we",
    "we ",
    "\tlost\n\nand\r\nalone ",
    "a\u00a0b\u2003c\u3000d",
    "naïve café — 東京に行く。",
    "🙂👩\u200d👩\u200d👧 ok",
    "I'LL you'll ''ll 's",
    "e\u0301 İstanbul \ufb01ne Ω \u0000 \x7f",
    "3.14 1,000 x2 4you #tag @home http://a.b/c?d=e",
    "[MASK] [CLS] Ġwe Ċ madeupword0000",
    "a" * 300,
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_roberta_tokenizer(tmp_path_factory.mktemp("roberta"))


@pytest.fixture(scope="module")
def tokenizer(folder: Path) -> Tokenizer:
    return tokenizer_of(folder)


def texts_of_all_planes(count: int) -> list[str]:
    """Short texts of letters, white space, punctuation and any other character but surrogates."""
    draws = random.Random(1)
    characters = ["we", "happy", "'s", " ", "  ", "\n", ".", "\u00a0", "5"]
    any_character = [chr(number) for number in range(0x30000) if not 0xD800 <= number < 0xE000]
    return [
        "".join(
            draws.choice(characters if draws.random() < 0.7 else any_character) for _ in range(draws.randint(1, 25))
        )
        for _ in range(count)
    ]


def assert_cuts_alike(ours: Tokenizer, theirs: RobertaTokenizer, texts: list[str]) -> None:
    for text, (ids, _) in zip(texts, ours.encode_batch(texts), strict=True):
        assert [ours.symbols[row] for row in ids] == (theirs.tokenize(text) if text.strip() else []), repr(text)


def shown(tokenizer: Tokenizer, text: str) -> str:
    """Pieces by name, a bar before each one that begins a word."""
    ids, starts = tokenizer.encode(text)
    assert (ids.dtype, starts.dtype) == (np.int32, np.uint8)
    return " ".join(("|" if start else "") + tokenizer.symbols[row] for row, start in zip(ids, starts, strict=True))


def test_pieces_are_those_of_transformers(folder: Path, tokenizer: Tokenizer) -> None:
    assert_cuts_alike(tokenizer, RobertaTokenizer.from_pretrained(folder), [*ODD, *texts_of_all_planes(1000)])


def test_real_utterances_are_cut_as_by_transformers(folder: Path, tokenizer: Tokenizer, real_data: Path) -> None:
    with open(real_data / "text" / "meld" / "dev_sent_emo.csv", encoding="utf-8") as stream:
        texts = [row["Utterance"] for row in csv.DictReader(stream)]
    assert_cuts_alike(tokenizer, RobertaTokenizer.from_pretrained(folder), texts)
    for text, (ids, starts) in zip(texts, tokenizer.encode_batch(texts), strict=True):
        groups = np.split(ids, np.flatnonzero(starts)[1:])
        assert [tokenizer.spelled(group.tolist()) for group in groups] == text.split()


@pytest.mark.parametrize("spaced", [False, True])
def test_tokenizer_json_and_its_settings_are_read(folder: Path, tmp_path: Path, spaced: bool) -> None:
    theirs = RobertaTokenizer.from_pretrained(folder, add_prefix_space=spaced)
    theirs.save_pretrained(tmp_path)
    assert not (tmp_path / "vocab.json").exists()
    ours = tokenizer_of(tmp_path)
    assert_cuts_alike(ours, theirs, ODD)
    ours.save(tmp_path)
    (tmp_path / "tokenizer.json").unlink()
    (tmp_path / "tokenizer_config.json").unlink()
    again = load_tokenizer(tmp_path)
    assert isinstance(again, ByteLevelTokenizer) and again.symbols == ours.symbols
    assert_cuts_alike(again, theirs, ODD)


def test_rows_are_the_specials_and_then_the_vocabulary_in_its_order(folder: Path, tokenizer: Tokenizer) -> None:
    numbers = json.loads((folder / "vocab.json").read_text(encoding="utf-8"))
    pieces = sorted(numbers, key=numbers.__getitem__)
    assert tuple(tokenizer.symbols[:4]) == SPECIALS
    assert tokenizer.symbols[4:] == [MASK, *(piece for piece in pieces if piece not in ROBERTA_NAMES.values())]
    assert tokenizer.symbols[tokenizer.mask_index] == MASK


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("we love it's", "|we |Ġlove |Ġit 's"),
        (" love  the ", "|Ġlove |Ġ Ġthe Ġ"),
        ("we\u00a0love", "|we |Â ł lo ve"),
        ("東京", "|æ Ŀ ± |ä º ¬"),
        ("", ""),
        (" \n ", ""),
    ],
)
def test_words_are_what_whitespace_separates(tokenizer: Tokenizer, text: str, expected: str) -> None:
    assert shown(tokenizer, text) == expected


@pytest.mark.parametrize("special", [*ROBERTA_NAMES, *ROBERTA_NAMES.values()])
def test_no_text_gives_a_special_symbol(tokenizer: Tokenizer, special: str) -> None:
    ids, _ = tokenizer.encode(f"so {special} we")
    assert not set(ids.tolist()) & {0, 1, 2, 3, tokenizer.mask_index}
    assert tokenizer.spelled(ids.tolist()) == f"so {special} we"


def test_words_of_prompts_are_those_inside_a_text(tokenizer: Tokenizer) -> None:
    def named(template: str, **options: bool) -> str:
        return " ".join(tokenizer.symbols[row] for row in Template.parse(template).encode(tokenizer, **options).ids)

    assert named("i am [MASK] .") == "Ġi Ġam [MASK] Ġ."
    assert named(" i am [MASK]. ") == "Ġi Ġam [MASK] ."
    assert named("i am [MASK].", follows_text=False) == "i Ġam [MASK] ."
    assert named("[MASK]") == "[MASK]"
    words = Verbalizer.of_labels(["anger", "happy", "sad"], tokenizer).encode(tokenizer)
    assert [tokenizer.symbols[row] for (row,) in words] == ["Ġanger", "Ġhappy", "Ġsad"]
    assert tokenizer.spelled([words[1][0]]) == "happy"
    with pytest.raises(UserError, match='"delight" is not one piece of the vocabulary but Ġ d'):
        Verbalizer.parse("anger=delight", ["anger"]).encode(tokenizer)


def saved_json(folder: Path, **changes: object) -> Path:
    RobertaTokenizer.from_pretrained(folder).save_pretrained(folder / "json")
    path = folder / "json" / "tokenizer.json"
    path.write_text(json.dumps({**json.loads(path.read_text(encoding="utf-8")), **changes}))
    return path


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"normalizer": {"type": "NFC"}}, r"tokenizer\.json: cuts text unlike RoBERTa \(normalizer\)"),
        ({"pre_tokenizer": {"type": "Metaspace"}}, r"cuts text unlike RoBERTa \(pre_tokenizer\)"),
        ({"pre_tokenizer": {"type": "ByteLevel", "use_regex": False}}, r"cuts text unlike RoBERTa \(pre_tokenizer\)"),
        ({"model": {"type": "BPE", "vocab": {"a": 0}, "merges": [["a"]]}}, "not a vocabulary of word pieces"),
        ({"model": {"type": "BPE", "vocab": {"a": 0}}}, "not a vocabulary of word pieces"),
        ({"model": {"type": "BPE", "vocab": {"a": 5}, "merges": ["a b"]}}, "merges do not belong to its pieces"),
    ],
)
def test_a_tokenizer_json_that_is_not_robertas_is_refused(tmp_path: Path, changes: object, message: str) -> None:
    path = saved_json(write_roberta_tokenizer(tmp_path), **changes)  # type: ignore[arg-type]
    with pytest.raises(UserError, match=message) as caught:
        tokenizer_of(path)
    assert "\n" not in str(caught.value)


def test_files_that_are_missing_or_damaged_are_named(tmp_path: Path) -> None:
    folder = write_roberta_tokenizer(tmp_path / "roberta")
    with pytest.raises(
        UserError, match=r"vocab\.json: RoBERTa's pieces; BERT's vocab\.txt or tokenizer\.json is needed"
    ):
        WordPieceTokenizer.from_vocab(folder)
    numbers = json.loads((folder / "vocab.json").read_text(encoding="utf-8"))
    for name in ("<mask>", "<s>"):
        pieces = [piece for piece in numbers if piece != name]
        other = folder / "vocab.json"
        other.write_text(json.dumps({piece: row for row, piece in enumerate(pieces)}), encoding="utf-8")
        with pytest.raises(UserError, match=rf"no {name} among its {len(pieces)} pieces; give RoBERTa's vocabulary"):
            tokenizer_of(folder)
    (folder / "merges.txt").write_text("#version: 0.2\na b c\n")
    with pytest.raises(UserError, match=r"merges\.txt: a line that is not two pieces"):
        tokenizer_of(folder)
    (folder / "merges.txt").unlink()
    with pytest.raises(UserError, match=r"merges\.txt: cannot be read .*vocab\.json beside merges\.txt"):
        tokenizer_of(folder)
    (folder / "vocab.json").unlink()
    with pytest.raises(UserError, match=r"vocab\.txt: cannot be read .*or RoBERTa's tokenizer\.json"):
        tokenizer_of(folder)
