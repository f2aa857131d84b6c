"""Recognise words in speech: the recogniser's interface, and Whisper through CTranslate2 (Radford et al., 2022).

A folder of CTranslate2 needs ``model.bin``, ``config.json`` and ``vocabulary.json`` or ``vocabulary.txt``. Text is only
decoded, never encoded, so no tokenizer has to be in it.
"""

from __future__ import annotations

import json
import math
import struct
import unicodedata
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol

import numpy as np

from ...core.errors import UserError, pip_install
from ...core.files import regular, sha256_of
from ...core.names import SAMPLE_RATE
from ..media.streams import wanted_language

if TYPE_CHECKING:
    import torch

LONGEST_SECONDS: Final = 30.0
"""Whisper reads this much at a time; shorter sound is followed by silence."""
ADVICE: Final = "give a folder of Whisper in CTranslate2's format (model.bin, config.json, vocabulary)"

_FRAMES_PER_SECOND: Final = 100
"""Of the spectrogram; an alignment counts every second one."""
_BEAM: Final = 5
_MOST_PIECES: Final = 440
"""Whisper's decoder has 448 positions, of which the prompt takes up to four."""
_REPETITIVE: Final = 2.4
"""A text that zlib shrinks by more than this factor repeats itself (section 4.5 of the paper)."""
_UNSPACED: Final = frozenset({"zh", "ja", "th", "lo", "my", "yue"})
"""Languages that are written without spaces between words."""
_OTHER_CODES: Final = {"jv": "jw"}
"""Whisper's codes that ISO 639-1 has withdrawn."""


@dataclass(frozen=True, slots=True)
class HeardWord:
    """A recognised word."""

    text: str
    """With the space before it, where the language writes one."""
    start: float
    """Seconds from the beginning of the sound."""
    end: float
    log_probability: float
    """Natural logarithm, summed over the word's pieces."""
    pieces: int


@dataclass(frozen=True, slots=True)
class Recognized:
    """The words of a stretch of sound."""

    words: tuple[HeardWord, ...]
    no_speech: float = 0.0
    """Probability of there being no speech."""

    @property
    def log_probability(self) -> float:
        """Return the average over the pieces; 0 without words."""
        return average_log_probability(self.words)


def average_log_probability(words: Sequence[HeardWord]) -> float:
    """Return the average logarithm of the pieces' probabilities; 0 without words."""
    pieces = sum(word.pieces for word in words)
    return sum(word.log_probability for word in words) / pieces if pieces else 0.0


class Recognizer(Protocol):
    """A recogniser of speech."""

    name: str
    sha256: str
    """Of its weights."""

    def language_code(self, language: str) -> str:
        """Return the recogniser's code of a language that is given by any code or name.

        Raises:
            UserError: it does not know the language.
        """

    def detect(self, samples: np.ndarray) -> dict[str, float]:
        """Return the probability of each language, by its code, in float32 samples (N,) at 16 kHz."""

    def recognize(self, samples: np.ndarray, language: str) -> Recognized:
        """Recognise float32 samples (N,) at 16 kHz, at most 30 s, in a language by its code."""


class WhisperFolder:
    """A folder of Whisper in CTranslate2's format, checked without loading the model.

    Raises:
        UserError: the folder holds no such model, or its vocabulary cannot be read.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder
        if not folder.is_dir():
            raise UserError(f"--transcribe {folder}: is no folder; {ADVICE}")
        try:
            with open(regular(folder / "model.bin"), "rb") as stream:
                start = stream.read(64)
        except OSError:
            raise UserError(f"--transcribe {folder}: holds no model.bin; {ADVICE}") from None
        specification = _specification(start)
        if specification != "WhisperSpec":
            kind = f"a {specification}" if specification.isprintable() and specification else "another kind of file"
            raise UserError(f"--transcribe {folder}: its model.bin is {kind}, not Whisper; {ADVICE}")
        self._check_configuration()
        self.vocabulary = self._read_vocabulary()
        self.rows = {piece: row for row, piece in enumerate(self.vocabulary)}
        for piece in ("<|startoftranscript|>", "<|endoftext|>", "<|transcribe|>", "<|notimestamps|>"):
            if piece not in self.rows:
                raise UserError(f"--transcribe {folder}: its vocabulary lacks {piece}; {ADVICE}")

    def _check_configuration(self) -> None:
        """Refuse what CTranslate2 would only meet while it recognises: no configuration, or one that is no object."""
        path = self.path / "config.json"
        try:
            content = json.loads(regular(path).read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError) as error:
            raise UserError(f"--transcribe {path}: cannot be read ({error}); {ADVICE}") from None
        if not isinstance(content, dict):
            raise UserError(f"--transcribe {path}: is no configuration; {ADVICE}")

    def _read_vocabulary(self) -> list[str]:
        for name in ("vocabulary.json", "vocabulary.txt"):
            path = self.path / name
            if not path.is_file():
                continue
            try:
                text = regular(path).read_text(encoding="utf-8")
                pieces = json.loads(text) if name.endswith(".json") else text.split("\n")
            except (OSError, ValueError, RecursionError) as error:
                raise UserError(f"--transcribe {path}: cannot be read ({error}); {ADVICE}") from None
            if isinstance(pieces, list) and all(isinstance(piece, str) for piece in pieces):
                return pieces[:-1] if pieces and not pieces[-1] else pieces
            raise UserError(f"--transcribe {path}: is no list of pieces; {ADVICE}")
        raise UserError(f"--transcribe {self.path}: holds no vocabulary.json and no vocabulary.txt; {ADVICE}")

    @cached_property
    def sha256(self) -> str:
        """Return the sha256 of ``model.bin``."""
        return sha256_of(self.path / "model.bin")

    @property
    def multilingual(self) -> bool:
        """Return whether the model knows more languages than English."""
        return "" in self.rows  # CTranslate2 4.8.5 tells it by this piece too, which the English vocabulary lacks

    def language_code(self, language: str) -> str:
        """Return Whisper's code of a language; see :meth:`Recognizer.language_code`."""
        found = wanted_language(language)
        if not self.multilingual:
            if found.code != "eng":
                raise UserError(f"--language {language}: {self.path} holds an English-only Whisper; give another size")
            return "en"
        for code in (_OTHER_CODES.get(code, code) for code in found.codes):
            if f"<|{code}|>" in self.rows:
                return code
        raise UserError(f"--language {language}: the Whisper in {self.path} does not know this language")


def _specification(start: bytes) -> str:
    """Return the kind of model from the first bytes of a CTranslate2 file: version, length and name."""
    try:
        _, length = struct.unpack_from("<IH", start)
        return start[6 : 6 + length].rstrip(b"\0").decode("ascii")
    except (struct.error, UnicodeDecodeError):
        return ""


class Whisper:
    """Whisper as a recogniser: beam search without sampling, so that the same sound has the same words.

    Args:
        folder: the checked folder.
        device: ``cpu``, ``cuda`` or ``cuda:1``.
        threads: of the processor; 0 for CTranslate2's choice.

    Raises:
        UserError: CTranslate2 is missing, cannot read the folder, or has no such device.
    """

    name = "whisper"

    def __init__(self, folder: WhisperFolder, device: str = "cpu", threads: int = 1) -> None:
        self._folder, self.sha256 = folder, folder.sha256
        self._ctranslate2 = import_ctranslate2()
        kind, _, index = device.partition(":")
        self._ctranslate2.set_log_level(40)  # it warns of every folder in half precision that runs on a processor
        try:
            self._model = self._ctranslate2.models.Whisper(
                str(folder.path), device=kind, device_index=int(index or 0), intra_threads=threads
            )
        except (RuntimeError, ValueError, TypeError) as error:
            reason = " ".join(str(error).split())[:200]
            raise UserError(f"--transcribe {folder.path}: cannot be loaded on {device} ({reason}); {ADVICE}") from None

    def language_code(self, language: str) -> str:
        """Return Whisper's code of a language; see :meth:`Recognizer.language_code`."""
        return self._folder.language_code(language)

    def detect(self, samples: np.ndarray) -> dict[str, float]:
        """Return the probability of each language; English alone for an English-only model."""
        if not self._model.is_multilingual:
            return {"en": 1.0}
        with self._errors_named():
            found = self._model.detect_language(self._encoded(samples))[0]
        return {mark.strip("<|>"): probability for mark, probability in found}

    def recognize(self, samples: np.ndarray, language: str) -> Recognized:
        """Recognise at most 30 s of sound; see :meth:`Recognizer.recognize`."""
        rows = self._folder.rows
        prompt = [rows["<|startoftranscript|>"]]
        if self._model.is_multilingual:
            prompt += [rows[f"<|{language}|>"], rows["<|transcribe|>"]]
        with self._errors_named():
            return self._recognized(samples, prompt, spaced=language not in _UNSPACED)

    @contextmanager
    def _errors_named(self) -> Iterator[None]:
        """Turn CTranslate2's errors, such as too little memory, into one line about the folder."""
        try:
            yield
        except (RuntimeError, ValueError) as error:
            if isinstance(error, UserError):
                raise
            raise UserError(f"--transcribe {self._folder.path}: {' '.join(str(error).split())[:200]}") from None

    def _recognized(self, samples: np.ndarray, prompt: list[int], *, spaced: bool) -> Recognized:
        rows, encoded = self._folder.rows, self._encoded(samples)
        found, pieces = self._generated(encoded, prompt)
        if _repeats_itself(text_of(pieces)):
            found, pieces = self._generated(encoded, prompt, no_repeat_ngram_size=3)
        if not pieces:
            return Recognized((), found.no_speech_prob)
        frames = min(len(samples), round(LONGEST_SECONDS * SAMPLE_RATE)) * _FRAMES_PER_SECOND // SAMPLE_RATE
        aligned = self._model.align(encoded, prompt, [[rows[piece] for piece in pieces]], max(2, frames))[0]
        begins = np.full(len(pieces) + 1, np.inf)
        for piece, frame in aligned.alignments:
            begins[piece] = min(begins[piece], frame * 2 / _FRAMES_PER_SECOND)
        begins[-1] = min(begins[-1], frames / _FRAMES_PER_SECOND)
        begins = np.minimum.accumulate(begins[::-1])[::-1]
        logarithms = [math.log(max(probability, 1e-10)) for probability in aligned.text_token_probs]
        words = words_of(pieces, begins.tolist(), logarithms, spaced=spaced)
        return Recognized(words, found.no_speech_prob)

    def _generated(self, encoded: Any, prompt: list[int], **options: Any) -> tuple[Any, list[str]]:
        """Return CTranslate2's result and the pieces of its text."""
        last = self._folder.rows["<|endoftext|>"]
        prompts = [[*prompt, self._folder.rows["<|notimestamps|>"]]]
        found = self._model.generate(
            encoded, prompts, beam_size=_BEAM, return_no_speech_prob=True, max_length=_MOST_PIECES, **options
        )[0]
        rows = [row for row in found.sequences_ids[0] if row < last]
        return found, [self._folder.vocabulary[row] for row in rows]

    def _encoded(self, samples: np.ndarray) -> Any:
        import torch

        from ..encoders.whisper import log_mel

        padded = np.zeros(round(LONGEST_SECONDS * SAMPLE_RATE), np.float32)
        padded[: len(samples)] = samples[: len(padded)]
        mel = log_mel(torch.from_numpy(padded)[None], self._filters).numpy()
        return self._model.encode(self._ctranslate2.StorageView.from_array(np.ascontiguousarray(mel)), to_cpu=False)

    @cached_property
    def _filters(self) -> torch.Tensor:
        import torch

        from ..encoders.whisper import mel_filters

        return torch.from_numpy(mel_filters(self._model.n_mels))


def import_ctranslate2() -> Any:
    """Import CTranslate2.

    Raises:
        UserError: it is not installed, or not usable.
    """
    try:
        import ctranslate2
    except (ImportError, OSError) as error:
        raise UserError(f"--transcribe needs CTranslate2 ({error}): {pip_install('transcribe')}") from None
    return ctranslate2


# --- from pieces to words -------------------------------------------------------------------------------------------


def _byte_letters() -> dict[str, int]:
    """Return the byte of each letter of a byte-level vocabulary: printable bytes stand for themselves (GPT-2)."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(0x100) if byte not in printable]
    return {chr(byte): byte for byte in printable} | {chr(0x100 + place): byte for place, byte in enumerate(others)}


_BYTES: Final = _byte_letters()


def bytes_of(piece: str) -> bytes:
    """Return the bytes of a piece of a byte-level vocabulary."""
    return bytes(_BYTES[letter] for letter in piece if letter in _BYTES)


def text_of(pieces: Sequence[str]) -> str:
    """Return the text of pieces."""
    return b"".join(map(bytes_of, pieces)).decode("utf-8", "replace")


def words_of(
    pieces: Sequence[str], begins: Sequence[float], log_probabilities: Sequence[float], *, spaced: bool
) -> tuple[HeardWord, ...]:
    """Join pieces to words.

    A piece may end inside a character of several bytes; such pieces stay together. In languages without spaces every
    such group is a word, with the punctuation after it.

    Args:
        pieces: n of a byte-level vocabulary.
        begins: n + 1 seconds at which pieces begin; the last is the end.
        log_probabilities: n of the pieces.
        spaced: whether the language writes spaces between words.
    """
    words: list[tuple[str, int]] = []
    first, raw = 0, b""
    for place, piece in enumerate(pieces):
        raw += bytes_of(piece)
        try:
            text = raw.decode("utf-8")
        except UnicodeDecodeError:
            if place + 1 < len(pieces) and len(raw) < 16:
                continue
            text = raw.decode("utf-8", "ignore")
        if words and (not text[:1].isspace() if spaced else _closes(text)):
            words[-1] = (words[-1][0] + text, words[-1][1])
        else:
            words.append((text, first))
        first, raw = place + 1, b""
    firsts = [place for _, place in words] + [len(pieces)]
    return tuple(
        HeardWord(text, begins[begin], begins[end], sum(log_probabilities[begin:end]), end - begin)
        for (text, begin), end in zip(words, firsts[1:], strict=True)
        if text.strip()
    )


def _closes(text: str) -> bool:
    """Return whether a text is punctuation that belongs to the word before it."""
    kinds = {unicodedata.category(letter) for letter in text}
    return bool(text.strip()) and all(kind[0] in "PZ" for kind in kinds) and not kinds & {"Ps", "Pi"}


def _repeats_itself(text: str) -> bool:
    raw = text.encode()
    return len(raw) > 40 and len(raw) / len(zlib.compress(raw)) > _REPETITIVE
