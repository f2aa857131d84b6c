"""An open data-bin: what it tells, what it refuses, and that opening does not depend on its size."""

from __future__ import annotations

import csv
import json
import pickle
import time
from pathlib import Path

import numpy as np
import pytest

from memobert_plugin.core.errors import UserError
from memobert_plugin.data.binarize import binarize
from memobert_plugin.data.corpus import ARRAYS, ORDER, Corpus
from memobert_plugin.data.manifest import ManifestRow, utterance_uid, write_manifest
from memobert_plugin.data.tokenizer import WordPieceTokenizer
from tests.data.sources import ACOUSTIC_DIM, VISUAL_DIM, Sources, minilm_vocabulary


@pytest.fixture
def data_bin(tmp_path: Path) -> Path:
    return Sources(tmp_path).binarize().output


def test_every_utterance_has_its_speaker_session_split_and_emotion(data_bin: Path) -> None:
    corpus = Corpus(data_bin)
    assert [corpus.speakers[code] for code in corpus.speaker] == ["S10", "S9", "S2"] * 2
    assert [corpus.sessions[code] for code in corpus.session] == ["0", "1", "0"] * 2
    assert [corpus.splits[code] for code in corpus.split] == ["train", "train", "train", "valid", "train", "train"]
    assert corpus.emotion.tolist() == [1, 0, -1] * 2
    assert corpus.uid.tolist() == [utterance_uid(f"film/{number}") for number in range(6)]


def test_speakers_stand_in_natural_and_emotions_in_alphabetical_order(data_bin: Path) -> None:
    corpus = Corpus(data_bin)
    assert corpus.speakers == ["S2", "S9", "S10"]
    assert corpus.meta.labels == ["anger", "sad"]


def test_types_are_those_that_training_reads(data_bin: Path) -> None:
    corpus = Corpus(data_bin)
    types = [corpus.uid, corpus.speaker, corpus.session, corpus.split, corpus.emotion, corpus.text_lengths]
    assert [array.dtype.str for array in types] == ["<u8", "<i4", "<i4", "|i1", "<i2", "<i4"]
    assert corpus.visual is not None
    assert corpus.visual.data.dtype == np.float16
    assert corpus.text.data.dtype == np.uint16


def test_lengths_are_pieces_and_frames(data_bin: Path) -> None:
    corpus = Corpus(data_bin)
    assert corpus.visual is not None
    assert corpus.acoustic is not None
    assert corpus.text_lengths.tolist() == [8] * 6
    assert corpus.visual_lengths.tolist() == [1, 2, 3, 4, 0, 6] == (corpus.visual.sizes // VISUAL_DIM).tolist()
    assert corpus.acoustic_lengths.tolist() == [1, 3, 5, 7, 9, 0] == (corpus.acoustic.sizes // ACOUSTIC_DIM).tolist()


def test_words_are_marked(data_bin: Path) -> None:
    corpus = Corpus(data_bin)
    pieces = [corpus.symbols[row] for row in corpus.text.view(2)]
    assert pieces == ["it", "[UNK]", "[UNK]", "so", "[UNK]", "cat", "##s", "!"]
    assert corpus.word_start.view(2).tolist() == [1, 0, 0, 1, 1, 1, 0, 0]


def test_ids_are_read_from_the_table(data_bin: Path) -> None:
    corpus = Corpus(data_bin)
    assert corpus.utterance_id(0) == "film/0"
    assert corpus.utterance_ids(np.array([5, 2])) == ["film/5", "film/2"]
    lines = (data_bin / "utterances.tsv").read_text().splitlines()
    assert lines[0] == "id\tspeaker\tsession\tsplit\temotion"
    assert lines[4] == "film/3\tS10\t0\tvalid\tsad"


def test_the_host_reads_text_and_dictionary(data_bin: Path) -> None:
    from fairseq.data import Dictionary
    from fairseq.data.indexed_dataset import MMapIndexedDataset

    corpus = Corpus(data_bin)
    dictionary = Dictionary(bos="[CLS]", pad="[PAD]", eos="[SEP]", unk="[UNK]")
    dictionary.add_from_file(str(data_bin / "dict.txt"))
    assert dictionary.symbols == corpus.symbols
    for name in ("text", "word_start"):
        dataset = MMapIndexedDataset(str(data_bin / name))
        assert len(dataset) == len(corpus)
        np.testing.assert_array_equal(dataset[3].numpy(), getattr(corpus, name).view(3))


def test_a_corpus_pickles_as_its_path(data_bin: Path) -> None:
    state = pickle.dumps(Corpus(data_bin))
    assert len(state) < 500
    again = pickle.loads(state)
    assert again.utterance_id(3) == "film/3"


def test_nothing_in_it_is_a_pickle_and_arrays_are_mapped(data_bin: Path) -> None:
    corpus = Corpus(data_bin)
    for name in ARRAYS:
        np.load(data_bin / f"{name}.npy", allow_pickle=False)
    for array in (corpus.uid, corpus.emotion, corpus.text.data, corpus.text.sizes):
        assert not array.flags.owndata
        assert not array.flags.writeable


def test_the_tokenizer_gives_the_same_pieces(data_bin: Path) -> None:
    corpus = Corpus(data_bin)
    np.testing.assert_array_equal(corpus.load_tokenizer().encode("it's so cool cats!")[0], corpus.text.view(0))
    vocabulary = data_bin / "tokenizer" / "vocab.txt"
    vocabulary.write_text(vocabulary.read_text() + "one more\n")
    with pytest.raises(UserError, match=r"tokenizer: another vocabulary where corpus\.json says that of dict\.txt"):
        corpus.load_tokenizer()


def test_real_utterances_arrive(tmp_path: Path, real_data: Path) -> None:
    """MELD's development part: curly quotes, dashes and all."""
    with open(real_data / "text" / "meld" / "dev_sent_emo.csv", encoding="utf-8") as stream:
        published = list(csv.DictReader(stream))
    rows = [
        ManifestRow(
            0,
            f"dia{row['Dialogue_ID']}_utt{row['Utterance_ID']}",
            row["Speaker"],
            text=row["Utterance"],
            emotion=row["Emotion"],
        )
        for row in published
    ]
    write_manifest(tmp_path / "meld.tsv", rows)
    tokenizer = WordPieceTokenizer.from_vocab(minilm_vocabulary())
    report = binarize(tmp_path / "meld.tsv", None, None, tokenizer, tmp_path / "meld", workers=2)
    corpus = Corpus(report.output)
    assert report.counts["skipped"] == 0
    assert len(corpus) == len(published) == 1109
    assert corpus.meta.labels == ["anger", "disgust", "fear", "joy", "neutral", "sadness", "surprise"]
    for index in (0, 500, 1108):
        assert corpus.utterance_id(index) == rows[index].id
        assert corpus.speakers[corpus.speaker[index]] == rows[index].speaker
        assert corpus.meta.labels[corpus.emotion[index]] == rows[index].emotion
        assert corpus.word_start.view(index).sum() == len(rows[index].text.split())
        np.testing.assert_array_equal(corpus.text.view(index), tokenizer.encode(rows[index].text)[0])


def test_another_folder_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="none: no such folder"):
        Corpus(tmp_path / "none")
    with pytest.raises(UserError, match=r"not a data-bin \(no corpus\.json\); write one with memobert-binarize"):
        Corpus(tmp_path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "unreadable or truncated"),
        ("[]", "unreadable or truncated"),
        ("{}", "unreadable or truncated"),
        ('{"format": "else", "format_version": 1}', "not the description of a data-bin"),
        ('{"format": "memobert data-bin", "format_version": 1}', "incomplete"),
        ('{"format": "memobert data-bin", "format_version": 2}', "data-bin of format version 2, this release reads 1"),
    ],
)
def test_a_foreign_description_is_refused(data_bin: Path, content: str, message: str) -> None:
    (data_bin / "corpus.json").write_text(content)
    with pytest.raises(UserError, match=rf"corpus\.json: {message}"):
        Corpus(data_bin)


FILES = [
    *(
        f"{name}.{suffix}"
        for name in ("text", "word_start", "visual", "expression", "acoustic")
        for suffix in ("bin", "idx")
    ),
    *(f"{name}.npy" for name in ARRAYS),
    "start.npy",
    "utterances.tsv",
    "dict.txt",
]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("counts", {}),
        ("counts", {"utterances": None}),
        ("counts", {"visual_frames": True}),
        ("acoustic_dim", "x"),
        ("visual_dim", -2),
        ("vocabulary_size", 1.5),
        ("speakers", {"a": 1}),
        ("labels", ["a", None]),
        ("expression_classes", None),
    ],
)
def test_a_value_of_another_kind_is_refused_by_name(data_bin: Path, name: str, value: object) -> None:
    path = data_bin / "corpus.json"
    meta = json.loads(path.read_text())
    meta[name] = {**meta[name], **value} if isinstance(value, dict) and value and name == "counts" else value
    path.write_text(json.dumps(meta))
    with pytest.raises(UserError, match=f"corpus.json: {name} cannot be"):
        Corpus(data_bin)


@pytest.mark.parametrize("name", FILES)
def test_a_missing_or_truncated_file_is_refused_by_name(data_bin: Path, name: str) -> None:
    path = data_bin / name
    content = path.read_bytes()
    for damaged in (content[: len(content) // 2], content[:-6], b"", None):
        if damaged is None:
            path.unlink()
        else:
            path.write_bytes(damaged)
        with pytest.raises(UserError) as caught:
            Corpus(data_bin)
        assert str(caught.value).startswith(str(path))
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["text", "visual", "emotion", "row_offset"])
def test_a_file_of_another_data_bin_is_refused_by_name(tmp_path: Path, data_bin: Path, name: str) -> None:
    other = Sources(tmp_path / "other", utterances=5).binarize().output
    for suffix in (".bin", ".idx", ".npy"):
        if (data_bin / f"{name}{suffix}").exists():
            (data_bin / f"{name}{suffix}").write_bytes((other / f"{name}{suffix}").read_bytes())
    with pytest.raises(UserError, match=rf"{name}\.\w+: .* where corpus\.json says"):
        Corpus(data_bin)


def _grow(data_bin: Path, count: int) -> None:
    """Turn a text-only data-bin of one utterance into one of ``count``, without writing what is not looked at."""
    meta = json.loads((data_bin / "corpus.json").read_text())
    pieces = meta["counts"]["pieces"]
    meta["counts"].update(utterances=count, pieces=count * pieces)
    (data_bin / "corpus.json").write_text(json.dumps(meta))
    for name, width in (("text", 2), ("word_start", 1)):
        with open(data_bin / f"{name}.idx", "r+b") as stream:
            stream.seek(18)
            stream.write(np.array([count], "<u8").tobytes())
            stream.write(np.full(count, pieces, "<i4").tobytes())
            stream.write((np.arange(count) * pieces * width).astype("<i8").tobytes())
        with open(data_bin / f"{name}.bin", "r+b") as stream:
            stream.truncate(count * pieces * width)
    for name, dtype in {**ARRAYS, **ORDER}.items():
        rows = count + (name == "row_offset")
        array = np.lib.format.open_memmap(data_bin / f"{name}.npy", mode="w+", dtype=dtype, shape=(rows,))
        array[-1:] = (data_bin / "utterances.tsv").stat().st_size if name == "row_offset" else 0


def test_ten_million_utterances_open_at_once(tmp_path: Path) -> None:
    data_bin = Sources(tmp_path, utterances=1).binarize(modalities="").output
    _grow(data_bin, 10_000_000)
    started = time.perf_counter()
    corpus = Corpus(data_bin)
    assert time.perf_counter() - started < 2.0
    assert len(corpus) == 10_000_000
    assert corpus.text.view(9_999_999).size == 8
