"""Find the words of a text for whole-word masking, also in scripts without spaces between words.

A word is what white space separates: "it's" and "cool!" are one word each. For scripts without spaces there are two
ways:

- ``bert``: every Chinese character (kanji and hanja too) is a word, as for BERT's tokenizer. A run of kana, or of Thai,
  Lao, Khmer or Burmese letters, is one word.
- ``icu``: the dictionaries of ICU split all these scripts into words (package ``icu4py``).

Punctuation belongs to the word before it. Neither way changes the pieces of a text, only which piece begins a word.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterator
from itertools import accumulate
from typing import Literal

import numpy as np

from ..core.errors import UserError

logger = logging.getLogger(__name__)

Segmentation = Literal["bert", "icu"]
SEGMENTATIONS: tuple[Segmentation, ...] = ("bert", "icu")

# The ranges that BERT's tokenizer puts spaces around, with the later extensions of the same blocks.
_IDEOGRAPHS = "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003134f"
_RUNS = (
    "\u3005-\u3007\u3031-\u3035\u3041-\u309f\u30a1-\u30ff\u31f0-\u31ff\uff66-\uff9f"  # kana and iteration marks
    "\u0e00-\u0eff"  # Thai, Lao
    "\u1000-\u109f\ua9e0-\ua9ff\uaa60-\uaa7f"  # Burmese
    "\u1780-\u17ff\u19e0-\u19ff"  # Khmer
)
_IDEOGRAPH = re.compile(f"[{_IDEOGRAPHS}]")
_UNSPACED = re.compile(f"[{_IDEOGRAPHS}{_RUNS}]")
_LONG_RUN = re.compile(f"[{_RUNS}]{{8}}")


def has_unspaced_script(text: str) -> bool:
    """Tell whether a text has characters of a script that puts no spaces between words."""
    return _UNSPACED.search(text) is not None


def has_long_run(text: str) -> bool:
    """Tell whether ``bert`` would take several words of a text for one: eight letters of such a script in a row."""
    return _LONG_RUN.search(text) is not None


def require_icu() -> None:
    """Raise a :class:`UserError` if ``icu4py`` is not installed."""
    if _icu_breaker() is None:
        raise UserError(
            "--word-segmentation icu: icu4py is not installed; install the extra [words], or leave the flag out"
        )


def first_pieces(word: str, begins: np.ndarray, segmentation: Segmentation) -> np.ndarray:
    """Return 1 for every piece that begins a word, as uint8; a word may be several pieces long.

    Args:
        word: text without white space inside.
        begins: (n,) character of ``word`` at which each piece begins, ascending.
        segmentation: one of :data:`SEGMENTATIONS`.
    """
    word_of = np.searchsorted(_word_begins(word, segmentation), begins, side="right")
    return np.diff(word_of, prepend=0).astype(bool).astype(np.uint8)


def word_begins(text: str, segmentation: Segmentation) -> list[int]:
    """Return the characters of a text at which its words begin."""
    begins: list[int] = []
    for found in re.finditer(r"\S+", text):
        inside = _word_begins(found[0], segmentation) if has_unspaced_script(found[0]) else [0]
        begins += [found.start() + begin for begin in inside]
    return begins


def _word_begins(word: str, segmentation: Segmentation) -> list[int]:
    """Return the characters at which the words inside a text without white space begin; the first is 0."""
    segments = list(_icu_segments(word) if segmentation == "icu" else _bert_segments(word))
    words: list[str] = []
    for segment in segments:
        # Punctuation joins the word before it; at the beginning, the next segment joins the punctuation.
        if words and not (_has_letter(segment) and _has_letter(words[-1])):
            words[-1] += segment
        else:
            words.append(segment)
    return [0, *accumulate(map(len, words[:-1]))]


def _has_letter(text: str) -> bool:
    return any(character.isalnum() for character in text)


def _bert_segments(word: str) -> Iterator[str]:
    begin = 0
    for found in _IDEOGRAPH.finditer(word):
        if found.start() > begin:
            yield word[begin : found.start()]
        yield found[0]
        begin = found.end()
    if begin < len(word):
        yield word[begin:]


def _icu_segments(word: str) -> Iterator[str]:
    """Yield ICU's words; its breaks inside other scripts, as in "well-known", are left out."""
    breaker = _icu_breaker()
    if breaker is None:
        yield from _bert_segments(word)
        return
    segment = ""
    # The strings are taken, not the offsets of segments(): these count UTF-16 units (icu4py 1.2.0).
    for part in breaker(word):
        if segment and (_UNSPACED.match(segment[-1]) or _UNSPACED.match(part[0])):
            yield segment
            segment = ""
        segment += part
    if segment:
        yield segment


_breaker: list[Callable[[str], Iterator[str]] | None] = []


def _icu_breaker() -> Callable[[str], Iterator[str]] | None:
    """Return ICU's word breaker; None, said once, where ``icu4py`` is not installed."""
    if not _breaker:
        try:
            from icu4py.breakers import WordBreaker
        except ImportError:
            # A model that was trained with ICU's words still predicts: its pieces are the same.
            logger.warning("icu4py is not installed: words are found as BERT's tokenizer does")
            _breaker.append(None)
        else:
            _breaker.append(lambda word: iter(WordBreaker(word, "en")))
    return _breaker[0]
