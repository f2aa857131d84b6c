"""Open data-bins as memory maps, without a Python object per utterance."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ..core.errors import UserError
from ..core.files import regular, replaced_when_complete
from ..core.names import DIMENSION_NAMES
from .frames import ExtractorInfo
from .indexed import IndexedReader
from .tokenizer import Tokenizer, load_tokenizer
from .vocabulary import SPECIALS


def write_dictionary(symbols: Sequence[str], path: str | os.PathLike[str]) -> None:
    """Write all but the four specials, one ``symbol count`` a line, in row order.

    ``Dictionary(bos="[CLS]", pad="[PAD]", eos="[SEP]", unk="[UNK]")`` with ``add_from_file(path)`` then has
    ``len(symbols)`` entries in the same order.

    Raises:
        UserError: the specials do not come first, or a symbol occurs twice or holds a line break (fairseq refuses it).
    """
    if tuple(symbols[: len(SPECIALS)]) != SPECIALS:
        raise UserError(
            f"{path}: a dictionary starts with {' '.join(SPECIALS)}, not {' '.join(symbols[: len(SPECIALS)])}"
        )
    seen: set[str] = set()
    for row, symbol in enumerate(symbols):
        if symbol in seen:
            raise UserError(f"{path}, row {row}: symbol {symbol!r} occurs twice; symbols must be unique")
        if "\n" in symbol or "\r" in symbol:
            raise UserError(f"{path}, row {row}: symbol {symbol!r} holds a line break; take it out of the vocabulary")
        seen.add(symbol)
    with replaced_when_complete(path) as temporary, open(temporary, "w", encoding="utf-8") as stream:
        stream.writelines(f"{symbol} 1\n" for symbol in symbols[len(SPECIALS) :])


def read_dictionary(path: str | os.PathLike[str]) -> list[str]:
    """Return all symbols in row order, the four specials first.

    Raises:
        UserError: the file is missing or a line is not ``symbol count``.
    """
    symbols = [*SPECIALS]
    try:
        with open(regular(path), encoding="utf-8") as stream:
            for number, line in enumerate(stream, start=1):
                symbol, separator, count = line.rstrip("\n").rpartition(" ")
                if not separator or not count.isdecimal():
                    raise UserError(
                        f"{path}, row {number}: no 'symbol count'; write the data-bin again with memobert-binarize"
                    )
                symbols.append(symbol)
    except (OSError, UnicodeDecodeError):
        raise UserError(f"{path}: missing or unreadable; write the data-bin again with memobert-binarize") from None
    return symbols


FORMAT = "memobert data-bin"
FORMAT_VERSION = 1
META_FILE = "corpus.json"
UTTERANCES_FILE = "utterances.tsv"
DICTIONARY_FILE = "dict.txt"
TOKENIZER_FOLDER = "tokenizer"

ARRAYS: dict[str, np.dtype] = {
    "uid": np.dtype("<u8"),
    "speaker": np.dtype("<i4"),
    "session": np.dtype("<i4"),
    "split": np.dtype("i1"),
    "emotion": np.dtype("<i2"),
    "duration": np.dtype("<f4"),
    "visual_length": np.dtype("<i4"),
    "acoustic_length": np.dtype("<i4"),
    "row_offset": np.dtype("<i8"),
}
"""One value per utterance each, as ``<name>.npy``; ``duration`` in seconds, NaN where unknown, lengths in frames."""
ORDER: dict[str, np.dtype] = {"dialogue": np.dtype("<i4"), "start": np.dtype("<f4")}
"""Two more arrays, which earlier data-bins lack. Utterances that are cut from one film or sound file of a session have
the same ``dialogue``; ``start`` is where they begin, in seconds. Both are -1 and NaN without times in the manifest."""
VOTES_ARRAY: dict[str, np.dtype] = {"votes": np.dtype("<i4")}
"""And the code of its annotators' votes, whose text is a name of ``votes`` in ``corpus.json``; likewise."""
LABEL_SET_ARRAY: dict[str, np.dtype] = {"labels": np.dtype("<i4")}
"""And the code of its set of labels, a name of ``label_sets`` in ``corpus.json``; likewise."""
DIMENSION_ARRAYS: dict[str, np.dtype] = dict.fromkeys(DIMENSION_NAMES, np.dtype("<f4"))
"""And its valence, arousal and dominance, NaN where unknown; likewise."""
PART_ARRAY: dict[str, np.dtype] = {"part": np.dtype("i1")}
"""Another one: the code of the corpus' part, such as ``scripted``. Data-bins of earlier versions, and those without
parts, lack it."""
OPTIONAL_CODES = {**PART_ARRAY, **VOTES_ARRAY, **LABEL_SET_ARRAY}
OFFSETS = "row_offset"
"""The array with one more value: the byte at which each row of ``utterances.tsv`` begins, and the file's size."""
COUNTS = (
    "utterances",
    "skipped",
    "with_text",
    "with_visual",
    "with_acoustic",
    "pieces",
    "visual_frames",
    "acoustic_frames",
)


@dataclass(frozen=True)
class CorpusMeta:
    """The content of ``corpus.json``: everything about a data-bin that is not one value per utterance."""

    counts: dict[str, int]
    """One number under each of :data:`COUNTS`."""
    vocabulary_size: int
    tokenizer: str
    """``wordpiece``, ``sentencepiece`` or ``bytelevel``."""
    splits: list[str]
    speakers: list[str]
    sessions: list[str]
    labels: list[str]
    """Emotion names, alphabetical."""
    parts: list[str] = field(default_factory=list)
    """Names of the codes in ``part``; empty for a corpus without parts."""
    votes: list[str] = field(default_factory=list)
    """Texts of the codes in ``votes`` (see :func:`.targets.parse_votes`); empty for a corpus without votes."""
    label_sets: list[str] = field(default_factory=list)
    """Texts of the codes in ``labels`` (see :func:`.targets.parse_labels`); empty for a corpus without such labels."""
    dimensions: dict[str, list[float]] = field(default_factory=dict)
    """Least and largest number of each of valence, arousal and dominance; without those that the corpus lacks."""
    visual_dim: int | None = None
    acoustic_dim: int | None = None
    expression_classes: list[str] = field(default_factory=list)
    visual_extractor: ExtractorInfo | None = None
    acoustic_extractor: ExtractorInfo | None = None
    format_version: int = FORMAT_VERSION

    @property
    def extractors(self) -> dict[str, ExtractorInfo | None]:
        """Return the makers of the frames by stream."""
        return {"visual": self.visual_extractor, "acoustic": self.acoustic_extractor}

    def write(self, path: Path) -> None:
        """Write ``corpus.json``."""
        content = {"format": FORMAT, **asdict(self)}
        for stream, info in self.extractors.items():
            content[f"{stream}_extractor"] = info and info.to_dict()
        for name in _ADDED:
            if not content[name]:
                del content[name]  # earlier versions do not know it
        path.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")

    @classmethod
    def read(cls, folder: str | os.PathLike[str]) -> CorpusMeta:
        """Read a data-bin's ``corpus.json``.

        Raises:
            UserError: no such folder, no data-bin, another format version, unreadable.
        """
        path = Path(folder, META_FILE)
        if not Path(folder).is_dir():
            raise UserError(f"{folder}: no such folder; give the folder that memobert-binarize wrote")
        try:
            content: dict[str, Any] = json.loads(regular(path).read_text(encoding="utf-8"))
            found, version = content.pop("format"), content["format_version"]
        except FileNotFoundError:
            raise UserError(f"{folder}: not a data-bin (no {META_FILE}); write one with memobert-binarize") from None
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            raise UserError(
                f"{path}: unreadable or truncated; write the data-bin again with memobert-binarize"
            ) from None
        if found != FORMAT:
            raise UserError(f"{path}: not the description of a data-bin; write one with memobert-binarize")
        if version != FORMAT_VERSION:
            raise UserError(
                f"{path}: data-bin of format version {version}, this release reads {FORMAT_VERSION}; "
                "write it again with this release's memobert-binarize"
            )
        try:
            for name, empty in _ADDED.items():
                content.setdefault(name, empty())
            for name, fits in _TAKES.items():
                if not fits(content[name]):
                    raise UserError(f"{path}: {name} cannot be {str(content[name])[:60]}; write the data-bin again")
            for name in ("visual_extractor", "acoustic_extractor"):
                if content[name] is not None:
                    content[name] = ExtractorInfo.from_dict(f"{path} ({name})", content[name])
            return cls(**content)
        except (KeyError, TypeError):
            raise UserError(f"{path}: incomplete; write the data-bin again with memobert-binarize") from None


_STRETCH = 1 << 15
"""Elements of each stretch that a digest of frames reads."""
_ADDED: dict[str, Callable[[], Any]] = {"parts": list, "votes": list, "label_sets": list, "dimensions": dict}
"""Keys that earlier versions do not know, left out where they are empty."""


def _ranges(value: object) -> bool:
    return isinstance(value, dict) and all(
        name in DIMENSION_NAMES
        and isinstance(ends, list)
        and len(ends) == 2
        and all(isinstance(end, (int, float)) for end in ends)
        for name, ends in value.items()
    )


def _number(value: object) -> bool:
    return type(value) is int and value >= 0


def _names(value: object) -> bool:
    return isinstance(value, list) and set(map(type, value)) <= {str}  # a hundred thousand speakers are many


_TAKES: dict[str, Callable[[Any], bool]] = {
    "counts": lambda value: isinstance(value, dict) and set(value) == set(COUNTS) and all(map(_number, value.values())),
    "vocabulary_size": _number,
    "tokenizer": lambda value: isinstance(value, str),
    **dict.fromkeys(
        ("splits", "speakers", "sessions", "labels", "parts", "votes", "label_sets", "expression_classes"), _names
    ),
    "dimensions": _ranges,
    **dict.fromkeys(("visual_dim", "acoustic_dim"), lambda value: value is None or (_number(value) and value > 0)),
}


class Corpus:
    """A data-bin opened for reading. The time to open it does not depend on its size. It is pickled as its path.

    Args:
        path: the folder.

    Raises:
        UserError: not a data-bin, another format version, a file missing, foreign or truncated (the message names it).
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self.meta = CorpusMeta.read(path)
        self._count = self.meta.counts["utterances"]
        self.symbols: list[str] = read_dictionary(self.path / DICTIONARY_FILE)
        if len(self.symbols) != self.meta.vocabulary_size:
            raise self._broken(DICTIONARY_FILE, f"{len(self.symbols)} symbols", f"{self.meta.vocabulary_size}")
        pieces, visual, acoustic = (self.meta.counts[name] for name in ("pieces", "visual_frames", "acoustic_frames"))
        self.text = self._container("text", pieces)
        self.word_start = self._container("word_start", pieces)
        self.visual = self._frames("visual", visual, self.meta.visual_dim)
        self.expression = self._frames("expression", visual, len(self.meta.expression_classes) or None)
        self.acoustic = self._frames("acoustic", acoustic, self.meta.acoustic_dim)
        self.uid = self._array("uid")
        self.speaker = self._array("speaker")
        self.session = self._array("session")
        self.split = self._array("split")
        self.emotion = self._array("emotion")
        self.duration = self._array("duration")
        self.text_lengths = self.text.sizes
        self.visual_lengths = self._array("visual_length")
        self.acoustic_lengths = self._array("acoustic_length")
        self._offsets = self._array(OFFSETS)
        self.order: tuple[np.ndarray, np.ndarray] | None = None
        """``dialogue`` and ``start`` of each utterance; None in data-bins of earlier versions."""
        if (self.path / "dialogue.npy").exists():
            self.order = (self._array("dialogue"), self._array("start"))
        self.part: np.ndarray | None = self._array("part") if self.meta.parts else None
        """Code of each utterance's part of the corpus; None in a corpus without parts."""
        self.votes: np.ndarray | None = self._array("votes") if self.meta.votes else None
        """Code of each utterance's votes; None in a corpus without votes."""
        self.label_sets: np.ndarray | None = self._array("labels") if self.meta.label_sets else None
        """Code of each utterance's set of labels; None in a corpus without such labels."""
        self.dimensions = {name: self._array(name) for name in self.meta.dimensions}
        """Numbers of each utterance by name, NaN where unknown."""
        self._rows = self._row_bytes()

    def __len__(self) -> int:
        return self._count

    def __reduce__(self) -> tuple[type[Corpus], tuple[Path]]:
        return type(self), (self.path,)

    @property
    def lengths(self) -> dict[str, np.ndarray]:
        """Pieces of each text, and frames of each utterance's faces and speech."""
        return {"text": self.text_lengths, "visual": self.visual_lengths, "acoustic": self.acoustic_lengths}

    @property
    def splits(self) -> list[str]:
        """Names of the codes in ``split``; an empty name where the manifest gave none."""
        return self.meta.splits

    @property
    def speakers(self) -> list[str]:
        """Names of the codes in ``speaker``, in natural order ("2" before "10")."""
        return self.meta.speakers

    @property
    def sessions(self) -> list[str]:
        """Names of the codes in ``session``, in natural order."""
        return self.meta.sessions

    def utterance_id(self, index: int) -> str:
        """Return the manifest's id of one utterance."""
        row = bytes(self._rows[int(self._offsets[index]) : int(self._offsets[index + 1])])
        return row.partition(b"\t")[0].decode()

    def utterance_ids(self, indices: Iterable[int]) -> list[str]:
        """Return the manifest's ids of several utterances."""
        return [self.utterance_id(int(index)) for index in indices]

    def sha256(self) -> str:
        """Return the digest of ids, speakers and targets, by which results of different corpora are told apart."""
        digest = hashlib.sha256()
        further = [*(["labels"] if self.meta.label_sets else []), *self.meta.dimensions]
        for name in ("uid", "emotion", "speaker", *further):
            digest.update((self.path / f"{name}.npy").read_bytes())
        return digest.hexdigest()

    def features_sha256(self) -> str:
        """Return a digest of words and frames: of all their lengths, and of 64 stretches of each stream."""
        digest = hashlib.sha256()
        for reader in (self.text, self.visual, self.acoustic):
            if reader is None:
                digest.update(b"none")
                continue
            digest.update(np.ascontiguousarray(reader.sizes).tobytes())
            last = max(0, len(reader.data) - _STRETCH)
            for begin in np.unique(np.linspace(0, last, 64).astype(np.int64)).tolist():
                digest.update(reader.data[begin : begin + _STRETCH].tobytes())
        return digest.hexdigest()

    def load_tokenizer(self) -> Tokenizer:
        """Return the tokenizer that made ``text``.

        Raises:
            UserError: its files are missing or give other symbols than ``dict.txt``.
        """
        tokenizer = load_tokenizer(self.path / TOKENIZER_FOLDER)
        if tokenizer.symbols != self.symbols:
            raise self._broken(TOKENIZER_FOLDER, "another vocabulary", f"that of {DICTIONARY_FILE}")
        return tokenizer

    def _container(self, name: str, elements: int, view_dtype: np.dtype | None = None) -> IndexedReader:
        reader = IndexedReader(self.path / name, view_dtype)
        if len(reader) != self._count:
            raise self._broken(f"{name}.idx", f"{len(reader)} utterances", f"{self._count}")
        if reader.data.size != elements:
            raise self._broken(f"{name}.bin", f"{reader.data.size} elements", f"{elements}")
        return reader

    def _frames(self, name: str, frames: int, dim: int | None) -> IndexedReader | None:
        return None if dim is None else self._container(name, frames * dim, np.dtype(np.float16))

    def _array(self, name: str) -> np.ndarray:
        count = self._count + (name == OFFSETS)
        try:
            array = np.load(regular(self.path / f"{name}.npy"), mmap_mode="r", allow_pickle=False)
        except (OSError, ValueError, EOFError):
            raise UserError(
                f"{self.path / name}.npy: missing or truncated; write the data-bin again with memobert-binarize"
            ) from None
        expected = {**ARRAYS, **ORDER, **OPTIONAL_CODES, **DIMENSION_ARRAYS}[name]
        if array.dtype != expected or array.shape != (count,):
            raise self._broken(f"{name}.npy", f"{array.dtype} {array.shape}", f"{expected} ({count},)")
        return np.asarray(array)

    def _row_bytes(self) -> np.ndarray:
        path = self.path / UTTERANCES_FILE
        expected, found = int(self._offsets[-1]), path.stat().st_size if path.is_file() else -1
        if found != expected:
            raise self._broken(UTTERANCES_FILE, f"{found} bytes" if found >= 0 else "no file", f"{expected} bytes")
        return np.asarray(np.memmap(path, dtype=np.uint8, mode="r"))

    def _broken(self, name: str, found: str, expected: str) -> UserError:
        return UserError(
            f"{self.path / name}: {found} where {META_FILE} says {expected}; copy it again or write the data-bin again"
        )
