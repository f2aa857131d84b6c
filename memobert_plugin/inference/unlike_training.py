"""Tell words, sound and faces that are unlike anything a model is trained on.

``scripts/reliability/unlike_training.py`` measures each limit, and docs/predict.md has the rates. Limits are set so
that input of the right kind is hardly ever noted; input of another kind may pass.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

import numpy as np

from ..core.names import SAMPLE_RATE
from ..data.tokenizer import Pieces, Tokenizer
from ..data.vocabulary import UNK
from ..data.words import has_unspaced_script
from ..features.speakers.voice import Interval

_COMMON: Final = """
the be to of and a in that have i it for not on with he as you do at this but his by from they we say her she or an
will my one all would there their what so up out if about who get which go me when make can like time no just him
know take into your good some could them see other than then now look only come its over think also back after use
how our well even want because any these give us is are was were been has had did does am im dont yeah oh okay ok
hey why here really right where let thats youre cant got too very thank please hi hello yes
"""
_COMMON_WORDS: Final = frozenset(_COMMON.split())
"""The most frequent words of spoken English, apostrophes left out."""
_WORD: Final = re.compile(r"[^\W\d_]+")
_MOSTLY: Final = 0.5
_KNOWN_WHOLE: Final = 0.8
_FEWEST_WORDS: Final = 3
_LEAST_SPEECH: Final = 0.1
_FULL_SCALE: Final = 0.99
_MOST_CLIPPED: Final = 0.01
_FAINT: Final = 0.005
"""Of full scale: the faintest of 960 clips of RAVDESS reaches 0.6 %."""
_MOST_EVEN: Final = 0.17
_LEAST_SMOOTH: Final = 0.5


def unlike_words(text: str, pieces: np.ndarray, tokenizer: Tokenizer) -> str:
    """Return a note on words that are spelled in letters or in no language of the model's; empty if they seem fine.

    Words of another language break into more pieces, and hold none of the most frequent words of English. That can be
    told only where the tokenizer keeps English words whole, so for others, and for scripts without spaces, only pieces
    that are unknown count.

    Args:
        text: the words.
        pieces: (n,) their rows of the dictionary.
        tokenizer: the model's.
    """
    if len(pieces) > 1 and float((pieces == UNK).mean()) >= _MOSTLY:
        return "words in no language that the model knows: most of them are not in its vocabulary"
    if has_unspaced_script(text):
        return ""
    words = _WORD.findall(text.lower().replace("'", "").replace("\N{RIGHT SINGLE QUOTATION MARK}", ""))
    letters = [word for word in words if len(word) == 1 and word.isascii() and word not in "aio"]
    if len(letters) >= _FEWEST_WORDS and len(letters) >= _MOSTLY * len(words):
        return "words are spelled in single letters: the model reads each letter as a word"
    if not words:
        return ""
    in_pieces = [len(encoded) for encoded, _ in _inside(tokenizer, words)]
    rate = sum(in_pieces) / len(words)
    broken = sum(count != 1 for count in in_pieces) / len(words)
    common = sum(word in _COMMON_WORDS for word in words) / len(words)
    enough = len(words) >= _FEWEST_WORDS
    other_script = not text.isascii() and rate >= 3 and not common
    other_words = enough and common < 0.1 and broken >= (0.3 if len(words) >= 5 else 0.5)
    if (other_script or other_words or (enough and rate >= 2.5)) and _keeps_english_whole(tokenizer):
        return f"words in no language that the model knows: they break into {rate:.1f} pieces a word, English into 1.1"
    return ""


def _inside(tokenizer: Tokenizer, words: Sequence[str]) -> list[Pieces]:
    """Return the pieces of each word as it stands inside a text."""
    return [tokenizer.encode_inside(f" {word}") for word in words]


def _keeps_english_whole(tokenizer: Tokenizer) -> bool:
    """Tell whether most of the frequent words of English are one piece each."""
    whole = [len(found) == 1 and found[0] != UNK for found, _ in _inside(tokenizer, _COMMON.split())]
    return sum(whole) >= _KNOWN_WHOLE * len(whole)


def unlike_speech(samples: np.ndarray, voiced: tuple[Interval, ...]) -> str:
    """Return a note on sound with speech in less than a tenth of it; empty if there is more.

    Args:
        samples: float32 (N,) at 16 kHz, as far as the model reads them.
        voiced: (begin, end) of the stretches with speech, in seconds.
    """
    if not voiced:
        return "no speech was found: what is heard is not a voice, though it is read like one"
    seconds = len(samples) / SAMPLE_RATE
    spoken = sum(max(0.0, min(end, seconds) - begin) for begin, end in voiced)
    if spoken >= _LEAST_SPEECH * seconds:
        return ""
    return f"hardly any speech was found: {spoken:.1f} of {seconds:.1f} s that are read; the rest is read like a voice"


def unlike_level(samples: np.ndarray) -> str:
    """Return a note if more than one in a hundred samples (N,) is at full scale, or none is loud; empty if not."""
    levels = np.abs(samples)
    share = float((levels >= _FULL_SCALE).mean()) if len(levels) else 0.0
    if share > _MOST_CLIPPED:
        return f"the sound is clipped: {share:.0%} of it is at full scale"
    loudest = float(levels.max(initial=0.0))
    return f"the sound is very faint: its loudest moment has {loudest:.2%} of full scale" if loudest < _FAINT else ""


def unlike_photographs(crops: np.ndarray) -> str:
    """Return a note if most faces uint8 (T, 64, 64) seem drawn, or are no pictures of anything; empty if not.

    In a drawing many pixels have nearly one grey level. In noise neighbouring pixels are not alike.
    """
    if not len(crops):
        return ""
    if float(np.median([_even_share(crop) for crop in crops])) >= _MOST_EVEN:
        return "faces look drawn: large parts of them have one grey level, as in no photograph"
    if float(np.median([_smoothness(crop) for crop in crops])) < _LEAST_SMOOTH:
        return "faces look like noise: neighbouring pixels are not alike, as they are in every photograph"
    return ""


def _even_share(crop: np.ndarray) -> float:
    """Return the largest share of pixels within three neighbouring grey levels; black and white do not count.

    Photographs have black borders and white skies.
    """
    counts = np.bincount(crop.ravel(), minlength=256).astype(np.float64)
    counts[[0, 255]] = 0.0
    return float(np.convolve(counts, np.ones(3), "valid").max() / crop.size)


def _smoothness(crop: np.ndarray) -> float:
    """Return the correlation of each pixel with its right neighbour; 1 for a picture of one grey level."""
    centred = crop.astype(np.float64) - crop.mean()
    variance = float((centred**2).mean())
    return float((centred[:, 1:] * centred[:, :-1]).mean()) / variance if variance else 1.0
