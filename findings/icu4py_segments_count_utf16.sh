#!/usr/bin/env bash
# icu4py: the offsets of WordBreaker.segments() count UTF-16 units and so do not index Python's strings.
#
# Versions: icu4py 1.2.0.
# Guess: text[start:end] is the word of a segment, as for re.finditer.
# Seen: each character beyond U+FFFF (emoji, rare Chinese characters) counts as two, so all words after it are cut in
#   the wrong place and the last offsets lie behind the end. Iterating the breaker itself gives the right words.
# Do: add up the lengths of the words that iterating gives, or slice the text's UTF-16 at twice the offsets.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check icu4py==1.2.0

"$folder/venv/bin/python" - <<'PY'
from icu4py.breakers import WordBreaker


def words(text):
    """Return the words that iterating gives and those that slicing by segments() gives."""
    return list(WordBreaker(text, "en")), [text[start:end] for start, end in WordBreaker(text, "en").segments()]


for text in ("so glad, hello", "so glad \U0001f600, hello"):
    whole, sliced = words(text)
    print(f"{ascii(text)}: iterated {ascii(whole)}, sliced {ascii(sliced)}")
    assert "".join(whole) == text and whole[-1] == "hello"
    assert (sliced == whole) == text.isascii(), "segments now index Python's strings"
utf16 = text.encode("utf-16-le")
assert whole == [utf16[2 * a : 2 * b].decode("utf-16-le") for a, b in WordBreaker(text, "en").segments()]
PY
