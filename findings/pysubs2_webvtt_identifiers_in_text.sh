#!/usr/bin/env bash
# pysubs2: the identifier of a WebVTT cue, and NOTE blocks before it, become text of the cue before.
#
# Versions: pysubs2 1.8.1.
# Guess: identifiers and NOTE blocks are no text (W3C WebVTT 4.1), and the text of a cue ends at its empty line.
# Seen: all lines up to the next line of times are text, except a number just before it as in SubRip. The words of an
#   identifier (the recordings of video conferences have them) or of a remark count as spoken.
# Do: cut the text of each cue at its first empty line, or remove these lines before pysubs2 reads the file.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check pysubs2==1.8.1

"$folder/venv/bin/python" - <<'PY'
import pysubs2

FILE = """WEBVTT

{first}
00:00:01.000 --> 00:00:02.000
The kettle is on.

{note}{second}
00:00:03.000 --> 00:00:04.000
Nobody told the baker.
"""


def texts(**parts):
    return [line.plaintext for line in pysubs2.SSAFile.from_string(FILE.format(**parts), format_="vtt")]


numbered = texts(first="1", second="2", note="")
named = texts(first="opening", second="reply-2", note="")
noted = texts(first="opening", second="reply-2", note="NOTE checked by hand\n\n")
for title, seen in (("numbers", numbered), ("names", named), ("names and a NOTE", noted)):
    print(f"{title}: {seen}")
assert numbered == ["The kettle is on.", "Nobody told the baker."]
assert named[0].split() == ["The", "kettle", "is", "on.", "reply-2"], "an identifier is no longer text"
assert "NOTE checked by hand" in noted[0], "a NOTE is no longer text"
PY
