"""What a subtitle line says, without what is only meant for the eye of a viewer."""

from __future__ import annotations

import re
import unicodedata
from typing import Final, Literal

CLEANINGS: Final = ("english", "markup")
Cleaning = Literal["english", "markup"]

_TAG: Final = re.compile(r"</?\s*(?:i|b|u|s|em|strong|font|c|v|span|lang|ruby|rt)\b[^<>]*>", re.IGNORECASE)
_UNPRINTABLE: Final = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u00ad\u200b-\u200f\u2028-\u202e\u2060\ufeff]")
_DESCRIPTION: Final = re.compile(r"\[[^\]]*\]|\([^)]*\)|\{[^}]*\}|\*[^*]*\*", re.DOTALL)
_MUSIC: Final = re.compile(r"[♪♫♬]|^\s*#.*#\s*$|^\s*#\s")
_ADVERTISEMENT: Final = re.compile(r"https?://|www\.|opensubtitles", re.IGNORECASE)
_SPEAKER: Final = re.compile(r"^(\W*)[A-Z][A-Z0-9 .'#&-]*[A-Z0-9.]\s*:(?=\s|$)")
_DASH: Final = re.compile(r"^\s*[-\u2010-\u2015]+\s*")
_QUOTES: Final = {
    **dict.fromkeys("\u2018\u2019\u201a\u201b\u00b4`", "'"),
    **dict.fromkeys("\u201c\u201d\u201e\u00ab\u00bb", '"'),
}
_LETTERS: Final = {"ß": "ss", "æ": "ae", "Æ": "AE", "œ": "oe", "Œ": "OE", "ø": "o", "Ø": "O", "ł": "l", "Ł": "L"}
_ASCII: Final = str.maketrans({**_QUOTES, **_LETTERS, **dict.fromkeys("\u2010\u2011\u2012\u2013\u2014\u2015", "-")})


def clean_text(text: str, cleaning: Cleaning = "english") -> str:
    """What is said in a line, as one row; empty where nothing is.

    ``markup`` takes out tags, invisible characters and line breaks, whatever the language. ``english`` also takes out
    sound descriptions (``[sighs]``, ``(sighs)``, ``*sighs*``), songs (``♪``), advertisements with an address, speakers'
    names (``JOHN:``) and dashes before a speaker's words, and leaves ASCII alone: accents are dropped, typographic
    characters replaced by the plain ones, anything else removed.
    """
    text = _UNPRINTABLE.sub(" ", _TAG.sub("", text))
    if cleaning == "english":
        rows = _DESCRIPTION.sub(" ", text).split("\n")
        rows = [_spoken(row) for row in rows if not _MUSIC.search(row) and not _ADVERTISEMENT.search(row)]
        text = "\n".join(rows)
    text = " ".join(text.split())
    return text if any(character.isalnum() for character in text) else ""


def several_speakers(text: str) -> bool:
    """Whether two rows begin with a dash: the words of two people, of which one face can only have said one's."""
    rows = _DESCRIPTION.sub(" ", _TAG.sub("", text)).split("\n")
    return sum(bool(_DASH.match(row)) and any(character.isalnum() for character in row) for row in rows) > 1


def _spoken(row: str) -> str:
    row = unicodedata.normalize("NFKD", row.translate(_ASCII)).encode("ascii", "ignore").decode()
    return _DASH.sub("", _SPEAKER.sub(r"\1", _DASH.sub("", row.strip())))
