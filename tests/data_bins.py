"""Small data-bins for tests: random frames and sentences that carry the emotion."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from memobert_plugin.data.binarize import binarize
from memobert_plugin.data.frames import ExtractorInfo, frame_file, write_extractor_info
from memobert_plugin.data.manifest import ManifestRow, write_manifest
from memobert_plugin.data.tokenizer import Tokenizer, WordPieceTokenizer

WORDS = {
    "anger": ["hate", "stop", "never"],
    "happy": ["love", "great", "fun"],
    "neutral": ["table", "paper", "door"],
    "sad": ["lost", "cry", "alone"],
}
COMMON = ["we", "the", "it", "was", "so", "really", "##ly", "##s", "cat", "dog", "go", "home", "today", "he", "is"]
EMOTION_WORDS = ["angry", "happy", "neutral", "sad"]
VOCABULARY = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", ".", "?", "!", ",", "i", "am", *EMOTION_WORDS]


@dataclass(frozen=True)
class CorpusShape:
    """What a generated corpus looks like."""

    speakers: int = 4
    utterances: int = 12
    """Per speaker."""
    visual_dim: int = 6
    """0: a corpus without faces; the same for speech."""
    acoustic_dim: int = 5
    classes: int = 8
    absent: float = 0.15
    """Share of utterances without faces, and of those without speech."""
    emotions: tuple[str, ...] = field(default=tuple(WORDS))
    split: str = ""
    """Split of every utterance; empty: the last in ten are ``valid``, the rest ``train``."""
    words: int = 11
    """Most words of an utterance."""
    dimensions: bool = False
    """Valence and arousal that follow the emotion, with noise, and dominance of two in three utterances; of these every
    seventh has no emotion."""
    several: bool = False
    """One to three labels, the emotion among them."""
    votes: bool = False
    """Three annotators of each utterance, of whom two agree; none of every fifth."""
    parts: tuple[str, ...] = ()
    """Parts of the corpus, in turn."""
    dialogues: bool = False
    """Two dialogues for each session, in whose order the later rows come first."""


def write_vocabulary(folder: Path) -> Path:
    """A ``vocab.txt`` in BERT's layout."""
    path = folder / "vocab.txt"
    words = [word for emotion in WORDS.values() for word in emotion]
    path.write_text("\n".join([*VOCABULARY, *COMMON, *words]) + "\n", encoding="utf-8")
    return path


def make_data_bin(
    folder: Path,
    shape: CorpusShape = CorpusShape(),
    seed: int = 0,
    name: str = "bin",
    tokenizer: Tokenizer | None = None,
    **options: Any,
) -> Path:
    """Write manifest and frames under ``folder`` and binarize them with these options; returns the data-bin."""
    rng = np.random.default_rng(seed)
    dims = {name: dim for name, dim in (("visual", shape.visual_dim), ("acoustic", shape.acoustic_dim)) if dim}
    for modality, dim in dims.items():
        (folder / modality).mkdir(parents=True, exist_ok=True)
        info = ExtractorInfo(name="generated", options={}, weights_sha256=None, frame_rate=10.0, dim=dim, classes=None)
        write_extractor_info(folder / modality, info)
    rows = []
    for speaker in range(shape.speakers):
        for number in range(shape.utterances):
            emotion = shape.emotions[int(rng.integers(len(shape.emotions)))]
            identity = f"s{speaker}_{number}"
            split = shape.split or ("valid" if number % 10 == 9 else "train")
            words = rng.choice([*COMMON, *WORDS[emotion] * 4], int(rng.integers(1, shape.words + 1)))
            text = " ".join(words).replace(" ##", "")
            speaker_and_session = (f"spk{speaker}", f"ses{speaker // 2}")
            row = ManifestRow(0, identity, *speaker_and_session, split, text, emotion, "", "", None, None)
            if shape.votes and number % 5:
                other = shape.emotions[(shape.emotions.index(emotion) + 1) % len(shape.emotions)]
                row = replace(row, votes=f"{emotion}=2 {other}=1")
            if shape.dimensions:
                place = shape.emotions.index(emotion)
                numbers: dict[str, Any] = {
                    "valence": 1.0 + place + rng.normal(0, 0.2),
                    "arousal": 4.0 - place + rng.normal(0, 0.2),
                }
                if number % 3:
                    numbers["dominance"] = 1.0 + (number % 5)
                row = replace(row, **numbers, emotion="" if number % 7 == 6 else emotion)
            if shape.several:
                names = {emotion, *rng.choice(shape.emotions, int(rng.integers(0, 3)))}
                row = replace(row, labels=";".join(sorted(names)))
            if shape.parts:
                row = replace(row, part=shape.parts[number % len(shape.parts)])
            if shape.dialogues:
                start = float(shape.utterances - number) + speaker / 10
                row = replace(row, video=f"{speaker // 2}_{number % 2}.avi", start=start, end=start + 0.5)
            rows.append(row)
            for modality, dim in dims.items():
                if rng.random() < shape.absent:
                    continue
                frames = int(rng.integers(1, 40 if modality == "visual" else 70))
                arrays = {"frames": rng.normal(size=(frames, dim)) + shape.emotions.index(emotion) - 1.5}
                if modality == "visual":
                    arrays["expression"] = rng.dirichlet(np.ones(shape.classes), size=frames)
                file = frame_file(folder / modality, identity)
                np.savez(file, **{name: array.astype(np.float32) for name, array in arrays.items()})
    folder.mkdir(parents=True, exist_ok=True)
    write_manifest(folder / "manifest.tsv", rows)
    visual, acoustic = (folder / name if name in dims else None for name in ("visual", "acoustic"))
    tokenizer = tokenizer or WordPieceTokenizer.from_vocab(write_vocabulary(folder))
    binarize(folder / "manifest.tsv", visual, acoustic, tokenizer, folder / name, max_failed_share=0.0, **options)
    return folder / name
