#!/usr/bin/env bash
# webvtt-py: character references stay in the text, one voice stands for all, and start_in_seconds drops milliseconds.
#
# Versions: webvtt-py 0.6.0.
# Guess: Caption.text is what a player shows ("&amp;" becomes "&", W3C WebVTT 4.2.2), a caption of two speakers names
#   both, and start_in_seconds is 1.25 for 00:00:01.250.
# Seen: "&amp;" and "&lt;" stay, voice is the first speaker's alone while text holds the words of both, and
#   start_in_seconds and end_in_seconds are whole seconds, rounded down: a caption of less than a second lasts 0.
# Do: pass text through html.unescape, split raw_text at its <v> tags, and take seconds from the strings start and end.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check webvtt-py==0.6.0

"$folder/venv/bin/python" - <<'PY'
import io

import webvtt

FILE = """WEBVTT

00:00:01.250 --> 00:00:01.950
<v Mira>Bread &amp; butter.</v>
<v Tom>Two &lt; three.</v>
"""
caption = webvtt.from_buffer(io.StringIO(FILE))[0]
print(f"text {caption.text!r}, voice {caption.voice!r}, {caption.start_in_seconds} s to {caption.end_in_seconds} s")
assert caption.text == "Bread &amp; butter.\nTwo &lt; three.", "character references are now replaced"
assert caption.voice == "Mira", "the second voice is no longer lost"
assert caption.start_in_seconds == caption.end_in_seconds == 1, "milliseconds are now kept"
assert (caption.start, caption.end) == ("00:00:01.250", "00:00:01.950")
PY
