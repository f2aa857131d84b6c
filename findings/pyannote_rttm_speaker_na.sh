#!/usr/bin/env bash
# pyannote.database: speakers called NA and null in an RTTM file become one speaker, whose name is not a number.
#
# Versions: pyannote.database 6.1.1, pyannote.core 6.1.0, pandas 3.1.1.
# Guess: load_rttm reads names as text, since it asks pandas for strings; initials such as NA stay what they are.
# Seen: pandas takes NA, null, nan and None for a missing value whatever the column's type. Two speakers of those names
#   come back as one label, the number nan, which is not equal to itself: whoever looks for it in a list finds nothing.
#   Names such as 01 and 007 are kept.
# Do: give speakers longer names before they are written, or read RTTM line by line; its cells are split at blanks.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check \
    pyannote.database==6.1.1 pyannote.core==6.1.0 pandas==3.1.1

cat >"$folder/talk.rttm" <<'RTTM'
SPEAKER talk 1 0.0 1.0 <NA> <NA> NA <NA> <NA>
SPEAKER talk 1 1.0 1.0 <NA> <NA> null <NA> <NA>
SPEAKER talk 1 2.0 1.0 <NA> <NA> BO <NA> <NA>
SPEAKER talk 1 3.0 1.0 <NA> <NA> 01 <NA> <NA>
RTTM
"$folder/venv/bin/python" - "$folder/talk.rttm" <<'PY'
import sys

from pyannote.database.util import load_rttm

labels = load_rttm(sys.argv[1])["talk"].labels()
print("speakers NA, null, BO and 01 were read as", labels)
assert len(labels) == 3 and {"BO", "01"} < set(labels), "names are read in another way now"
(other,) = (label for label in labels if label not in ("BO", "01"))
assert isinstance(other, float) and other != other, "the name of NA and null has changed"
PY
