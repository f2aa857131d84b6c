"""Recognisers for tests: folders that look like Whisper's, one that CTranslate2 loads, and one that only pretends."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from memobert_plugin.core.errors import UserError
from memobert_plugin.features.extraction.recognition import HeardWord, Recognized

LANGUAGES = ("en", "zh", "de", "ru", "fr", "yue", "jw", "no")
WIDTH = 8


def vocabulary(multilingual: bool) -> list[str]:
    """Pieces at Whisper's places: bytes first, then marks, with the empty piece that only the multilingual one has."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    pieces = [chr(byte) for byte in printable] + [chr(256 + place) for place in range(68)]
    pieces += [f"w{place}" for place in range(50256 - len(pieces))] + [""] * multilingual
    pieces += ["<|endoftext|>", "<|startoftranscript|>", *(f"<|{code}|>" for code in LANGUAGES)]
    pieces += [f"<|x{place}|>" for place in range(99 - len(LANGUAGES))]
    pieces += ["<|translate|>", "<|transcribe|>", "<|startoflm|>", "<|startofprev|>", "<|nospeech|>"]
    pieces += ["<|notimestamps|>", *(f"<|{0.02 * place:.2f}|>" for place in range(1501))]
    return pieces


def write_folder(folder: Path, *, multilingual: bool = False, specification: str = "WhisperSpec") -> Path:
    """A folder that passes the checks before a model is loaded, without weights."""
    folder.mkdir(parents=True)
    name = specification.encode() + b"\0"
    (folder / "model.bin").write_bytes(struct.pack("<IH", 6, len(name)) + name)
    (folder / "config.json").write_text("{}")
    (folder / "vocabulary.json").write_text(json.dumps(vocabulary(multilingual)))
    return folder


def write_random_model(folder: Path, *, multilingual: bool) -> Path:
    """A folder that CTranslate2 loads: Whisper with one layer of random weights."""
    from ctranslate2.specs import whisper_spec

    rng = np.random.default_rng(0)
    pieces = vocabulary(multilingual)
    spec: Any = whisper_spec.WhisperSpec(1, 2, 1, 2)

    def norm(layer: Any) -> None:
        layer.gamma, layer.beta = np.ones(WIDTH, np.float32), np.zeros(WIDTH, np.float32)

    def weights(layer: Any, *shape: int) -> None:
        layer.weight = rng.normal(0.0, 0.3, shape).astype(np.float32)
        if hasattr(layer, "bias"):
            layer.bias = np.zeros(shape[0], np.float32)

    encoder, decoder = spec.encoder, spec.decoder
    weights(encoder.conv1, WIDTH, 80, 3)
    weights(encoder.conv2, WIDTH, WIDTH, 3)
    for part, length in ((encoder, 1500), (decoder, 448)):
        part.position_encodings.encodings = rng.normal(0.0, 0.3, (length, WIDTH)).astype(np.float32)
        norm(part.layer_norm)
        for layer in part.layer:
            norm(layer.self_attention.layer_norm)
            weights(layer.self_attention.linear[0], 3 * WIDTH, WIDTH)
            weights(layer.self_attention.linear[1], WIDTH, WIDTH)
            norm(layer.ffn.layer_norm)
            weights(layer.ffn.linear_0, 4 * WIDTH, WIDTH)
            weights(layer.ffn.linear_1, WIDTH, 4 * WIDTH)
    for layer in decoder.layer:
        norm(layer.attention.layer_norm)
        for linear, rows in zip(layer.attention.linear, (1, 2, 1), strict=True):
            weights(linear, rows * WIDTH, WIDTH)
    weights(decoder.embeddings, len(pieces), WIDTH)
    decoder.projection.weight = decoder.embeddings.weight
    spec.config.suppress_ids, spec.config.suppress_ids_begin = [], []
    spec.config.lang_ids = [pieces.index(f"<|{code}|>") for code in LANGUAGES]
    spec.config.alignment_heads = [(0, 0)]
    spec.register_vocabulary(pieces)
    spec.validate()
    spec.optimize()
    folder.mkdir(parents=True)
    spec.save(str(folder))
    return folder


def heard(
    text: str, start: float = 0.0, end: float = 1.0, log_probability: float = -0.2, no_speech: float = 0.0
) -> Recognized:
    """Words that share the time from start to end equally, each of one piece."""
    words = text.split()
    edges = np.linspace(start, end, len(words) + 1).tolist()
    return Recognized(
        tuple(
            HeardWord(f" {word}", begin, stop, log_probability, 1)
            for word, begin, stop in zip(words, edges, edges[1:], strict=False)
        ),
        no_speech,
    )


class FakeRecognizer:
    """A recogniser that gives prepared words, or those that a function makes of the samples."""

    name = "whisper"
    sha256 = "ab" * 32

    def __init__(self, words: Callable[[np.ndarray], Recognized], languages: dict[str, float] | None = None) -> None:
        self._words, self._languages = words, languages or {"en": 1.0}
        self.asked: list[tuple[int, str]] = []

    def language_code(self, language: str) -> str:
        code = {"english": "en", "eng": "en", "deu": "de", "ger": "de"}.get(language, language)
        if code not in self._languages:
            raise UserError(f"--language {language}: fake holds an English-only Whisper; give another size")
        return code

    def detect(self, samples: np.ndarray) -> dict[str, float]:
        return self._languages

    def recognize(self, samples: np.ndarray, language: str) -> Recognized:
        self.asked.append((len(samples), language))
        return self._words(samples)


class FakeVoice:
    """A voice detector that knows where the voice is in the whole sound."""

    name = "fake"

    def __init__(self, *intervals: tuple[float, float]) -> None:
        self._intervals = intervals
        self.options: dict[str, Any] = {}

    def start(self, path: Path) -> None:
        self.path = path

    def intervals(self, samples: np.ndarray, start: float = 0.0) -> list[tuple[float, float]]:
        end = start + len(samples) / 16_000
        cut = [(max(begin, start), min(stop, end)) for begin, stop in self._intervals]
        return [(begin - start, stop - start) for begin, stop in cut if stop > begin]
