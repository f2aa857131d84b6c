#!/usr/bin/env bash
# pysubs2: lines of SAMI end by a guess even where the file ends them, and languages cut each other off.
#
# Versions: pysubs2 1.8.1.
# Guess: a line of SAMI stays until the next <SYNC> of its class, as Microsoft's description of SAMI 1.0 says; an empty
#   one (&nbsp;) takes it off the screen. Classes, the languages of a file, are kept apart or at least named.
# Seen: every line ends 0.5 s and 67 ms per character after its begin, or at the next <SYNC> where that is earlier. A
#   line of three letters shown for four seconds lasts 0.7 s: who cuts speech by it loses most. Classes are not read; of
#   two languages with the same times all lines of the first last 0 s, and where both stand in one <SYNC> they are one
#   text.
# Do: take the <P> of one class before pysubs2 reads the file, and as ends the begins of the events that follow, empty
#   ones too.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check pysubs2==1.8.1

"$folder/venv/bin/python" - <<'PY'
import pysubs2

FILE = """<SAMI><HEAD><STYLE TYPE="text/css"><!--
P { font-family: Arial; }
.ENCC { Name: English; lang: en-US; SAMIType: CC; }
.DECC { Name: German; lang: de-DE; SAMIType: CC; }
--></STYLE></HEAD><BODY>
BODY
</BODY></SAMI>"""
ONE = "<SYNC Start=1000><P Class=ENCC>Oh.\n<SYNC Start=5000><P Class=ENCC>&nbsp;"
TWO = "<SYNC Start=1000><P Class=DECC>Aha.\n<SYNC Start=1000><P Class=ENCC>Oh.\n<SYNC Start=5000><P Class=ENCC>&nbsp;"
TOGETHER = "<SYNC Start=1000><P Class=DECC>Aha.<P Class=ENCC>Oh.\n<SYNC Start=5000><P Class=ENCC>&nbsp;"


def lines(body):
    events = pysubs2.SSAFile.from_string(FILE.replace("BODY\n", body + "\n")).events
    return [(event.start, event.end, event.plaintext) for event in events if event.plaintext.strip()]


for name, body in (("one language", ONE), ("two", TWO), ("two in one SYNC", TOGETHER)):
    print(f"{name}: {lines(body)}")
assert lines(ONE) == [(1000, 1701, "Oh.")], "the line ends elsewhere now"
assert lines(TWO) == [(1000, 1000, "Aha."), (1000, 1701, "Oh.")], "two languages are read otherwise"
assert lines(TOGETHER) == [(1000, 1969, "Aha.Oh.")], "languages in one SYNC are read otherwise"
PY
