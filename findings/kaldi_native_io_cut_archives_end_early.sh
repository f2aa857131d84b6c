#!/usr/bin/env bash
# kaldi-native-io: an archive that was cut off reads as a shorter one, without an exception.
#
# Versions: kaldi-native-io 1.23.0.
# Guess: reading an archive whose last matrix is cut off raises an error, at the latest when the reader is closed.
# Seen: of three matrices the first two are given, then the loop ends as at a whole archive's end. A warning goes to
#   standard error. close() of the Python class returns nothing; the C++ reader's close(), which it calls, gives False.
#   A copy that broke off loses utterances in silence.
# Do: count the utterances, or look at reader._impl.close().
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check numpy==2.2.6 kaldi-native-io==1.23.0

cd "$folder"
"$folder/venv/bin/python" - <<'PY'
import kaldi_native_io
import numpy as np

with kaldi_native_io.FloatMatrixWriter("ark:whole.ark") as writer:
    for name in ("one", "two", "three"):
        writer.write(name, np.ones((3, 4), np.float32))
content = open("whole.ark", "rb").read()
open("cut.ark", "wb").write(content[:-30])

found = {}
for name in ("whole", "cut"):
    reader = kaldi_native_io.SequentialFloatMatrixReader(f"ark:{name}.ark")
    keys = []
    while not reader.done:
        keys.append(reader.key)
        reader.next()
    found[name] = keys, reader._impl.close()
print(found)
assert found == {"whole": (["one", "two", "three"], True), "cut": (["one", "two"], False)}, "a cut archive reads otherwise"
PY
