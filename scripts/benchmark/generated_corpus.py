"""Writes a data-bin of any size in seconds: what training reads of it has a corpus' lengths, frames may be holes.

    python scripts/benchmark/generated_corpus.py --utterances 180000 --output data-bin/generated

An utterance lasts as long as a film's do (log-normal, median 2.2 s, 0.4 to 10 s) and has ten faces, 16.7 speech frames
and about 3.3 word pieces a second, in the paper's dimensions. Texts, identities and lengths are drawn. Frames are holes
(``--frames holes``, the default): zeros which the file system makes up, so that reading costs what it costs from the
page cache, and 10 million utterances take 1.5 GB instead of 1 TB, 100 million 13 GB. With ``--frames written`` every
byte is on the disk.
"""

from __future__ import annotations

import argparse
import os
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np

from memobert_plugin.core.files import staged_folder
from memobert_plugin.data.corpus import (
    ARRAYS,
    DICTIONARY_FILE,
    META_FILE,
    OFFSETS,
    TOKENIZER_FOLDER,
    UTTERANCES_FILE,
    CorpusMeta,
    write_dictionary,
)
from memobert_plugin.data.frames import FERPLUS_CLASSES, ExtractorInfo
from memobert_plugin.data.indexed import write_index
from memobert_plugin.data.tokenizer import WordPieceTokenizer
from memobert_plugin.data.vocabulary import MASK, SPECIALS

VOCABULARY = 30_522
FACES_PER_SECOND, SPEECH_FRAMES_PER_SECOND, PIECES_PER_SECOND = 10.0, 50 / 3, 3.3
VALID_SHARE = 0.01
UTTERANCES_PER_SPEAKER = 500
LABELS = ["anger", "happy", "neutral", "sad"]
_BLOCK = 1 << 26
_UTTERANCES = 1 << 20
_NAMED = 20_000_000
"""Most utterances whose rows in utterances.tsv are written."""
_FRAME_NAMES = ("visual", "expression", "acoustic")


@dataclass(frozen=True)
class Shape:
    """Columns of the frames and, where not drawn, the lengths of every utterance."""

    visual_dim: int = 342
    acoustic_dim: int = 768
    lengths: tuple[int, int, int] | None = None
    """Word pieces, faces and speech frames of every utterance; None draws them."""


def write_data_bin(
    output: Path, utterances: int, shape: Shape = Shape(), *, frames: str = "holes", seed: int = 1
) -> Path:
    """Write the data-bin ``output`` and return it; memory is about 8 bytes per utterance.

    Args:
        output: a folder that does not exist.
        utterances: how many.
        shape: what they look like.
        frames: ``holes`` or ``written``.
        seed: of lengths, texts and identities.
    """
    rng = np.random.default_rng(seed)
    with staged_folder(output, META_FILE) as folder:
        symbols = _write_tokenizer(folder)
        columns = {
            name: np.lib.format.open_memmap(
                folder / f"{name}.npy", "w+", ARRAYS[name], (utterances + (name == OFFSETS),)
            )
            for name in ARRAYS
        }
        pieces = np.empty(utterances, np.int32)
        with open(folder / "text.bin", "wb") as text, open(folder / "word_start.bin", "wb") as starts:
            for begin in range(0, utterances, _UTTERANCES):
                block = slice(begin, min(begin + _UTTERANCES, utterances))
                seconds = drawn_seconds(rng, block.stop - begin)
                pieces[block], faces, speech = _lengths(rng, seconds, shape)
                _write_text(text, starts, rng, int(pieces[block].sum()))
                speaker = np.arange(begin, block.stop) // UTTERANCES_PER_SPEAKER
                drawn = {
                    "uid": rng.integers(0, 1 << 64, len(seconds), dtype=np.uint64),
                    "speaker": speaker,
                    "session": speaker,
                    "split": (rng.random(len(seconds)) < VALID_SHARE) & (utterances > 1),
                    "emotion": rng.integers(0, len(LABELS), len(seconds)),
                    "duration": seconds,
                    "visual_length": faces,
                    "acoustic_length": speech,
                }
                for name, values in drawn.items():
                    columns[name][block] = values
        _write_rows(folder / UTTERANCES_FILE, columns[OFFSETS])
        for name, dtype in (("text", np.uint16), ("word_start", np.uint8)):
            write_index(folder / name, dtype, pieces)
        frames_of_all = {}
        for name, dim in zip(_FRAME_NAMES, (shape.visual_dim, len(FERPLUS_CLASSES), shape.acoustic_dim), strict=True):
            lengths = columns["acoustic_length" if name == "acoustic" else "visual_length"]
            frames_of_all[name] = int(lengths.sum(dtype=np.int64))
            write_index(folder / name, np.float16, lengths * np.int32(dim))
            _write_frames(folder / f"{name}.bin", 2 * dim * frames_of_all[name], frames, rng)
        speakers = -(-utterances // UTTERANCES_PER_SPEAKER)
        names = [f"film_{number}" for number in range(speakers)]
        CorpusMeta(
            counts={
                "utterances": utterances,
                "skipped": 0,
                "with_text": utterances,
                "with_visual": utterances,
                "with_acoustic": utterances,
                "pieces": int(pieces.sum(dtype=np.int64)),
                "visual_frames": frames_of_all["visual"],
                "acoustic_frames": frames_of_all["acoustic"],
            },
            vocabulary_size=len(symbols),
            tokenizer="wordpiece",
            splits=["train", "valid"],
            speakers=names,
            sessions=names,
            labels=LABELS,
            visual_dim=shape.visual_dim,
            acoustic_dim=shape.acoustic_dim,
            expression_classes=list(FERPLUS_CLASSES),
            visual_extractor=ExtractorInfo("generated", frame_rate=FACES_PER_SECOND, dim=shape.visual_dim),
            acoustic_extractor=ExtractorInfo("generated", frame_rate=SPEECH_FRAMES_PER_SECOND, dim=shape.acoustic_dim),
        ).write(folder / META_FILE)
    return output


def drawn_seconds(rng: np.random.Generator, utterances: int) -> np.ndarray:
    """How long utterances of films last, float32."""
    return np.clip(rng.lognormal(np.log(2.2), 0.6, utterances), 0.4, 10.0).astype(np.float32)


def _write_tokenizer(folder: Path) -> list[str]:
    """A vocabulary of BERT's size; returns the dictionary's symbols."""
    words = [*SPECIALS, MASK, *".?!,"]
    words += [f"word{number}" for number in range(VOCABULARY - len(words))]
    vocabulary = folder / "vocab.txt"
    vocabulary.write_text("\n".join(words) + "\n", encoding="utf-8")
    tokenizer = WordPieceTokenizer.from_vocab(vocabulary)
    vocabulary.unlink()
    (folder / TOKENIZER_FOLDER).mkdir()
    tokenizer.save(folder / TOKENIZER_FOLDER)
    write_dictionary(tokenizer.symbols, folder / DICTIONARY_FILE)
    return tokenizer.symbols


def _lengths(rng: np.random.Generator, seconds: np.ndarray, shape: Shape) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    if shape.lengths is not None:
        return tuple(np.full(len(seconds), length, np.int32) for length in shape.lengths)  # type: ignore[return-value]
    pieces = rng.poisson(PIECES_PER_SECOND * seconds) + 1
    faces = np.maximum(seconds * FACES_PER_SECOND, 1)
    return pieces.astype(np.int32), faces.astype(np.int32), (seconds * SPEECH_FRAMES_PER_SECOND).astype(np.int32)


def _write_text(text: BinaryIO, starts: BinaryIO, rng: np.random.Generator, pieces: int) -> None:
    text.write(rng.integers(len(SPECIALS) + 1, VOCABULARY, pieces, dtype=np.uint16).data)
    starts.write((rng.random(pieces, dtype=np.float32) < 0.8).view(np.uint8).data)


def _write_frames(path: Path, size: int, how: str, block: bytes) -> None:
    with open(path, "wb") as stream:
        if how == "holes":
            stream.truncate(size)
            return
        for begin in range(0, size, len(block)):
            stream.write(block[: size - begin])
        stream.flush()
        os.fsync(stream.fileno())


def _write_rows(path: Path, offsets: np.ndarray) -> None:
    """Write ``utterances.tsv`` with rows of one width, and where each begins; rows of very many are holes."""
    header = b"id\tspeaker\tsession\tsplit\temotion\n"
    row = np.frombuffer(b"utterance_00000000\t\t\t\t\n", np.uint8)
    count = len(offsets) - 1
    with open(path, "wb") as stream:
        stream.write(header)
        for begin in range(0, count + 1, _UTTERANCES):
            numbers = np.arange(begin, min(begin + _UTTERANCES, count + 1))
            offsets[numbers] = len(header) + len(row) * numbers
            if count <= _NAMED:
                rows = np.tile(row, (len(numbers[numbers < count]), 1))
                rows[:, 10:18] = ord("0") + numbers[numbers < count, None] // 10 ** np.arange(7, -1, -1) % 10
                stream.write(rows.data)
        stream.truncate(int(offsets[-1]))


def main() -> None:
    """Write what the flags describe."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--utterances", type=int, default=180_000, metavar="N", help="how many (default: %(default)s)")
    parser.add_argument("--frames", choices=("holes", "written"), default="holes", help="default: %(default)s")
    parser.add_argument("--output", type=Path, required=True, metavar="DIR", help="the data-bin to write")
    options = parser.parse_args()
    print(write_data_bin(options.output, options.utterances, frames=options.frames))


if __name__ == "__main__":
    main()
