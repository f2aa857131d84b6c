#!/usr/bin/env bash
# iso639-lang and python-iso639: both install the module iso639, so whichever comes last breaks the other's users.
#
# Versions: iso639-lang 2.6.3, python-iso639 2026.7.23, audformat 1.4.3.
# Guess: a package of corpora (audformat, which opensmile and audinterface need) and one that reads languages of subtitles
#   can be installed side by side, or pip says that they cannot.
# Seen: audformat requires iso639-lang. After python-iso639 is installed too, "from iso639 import Lang" fails, and with it
#   "import audformat" and "import opensmile"; pip installs both without a word, and "pip check" finds nothing broken.
# Do: depend on the one that the field's packages have, iso639-lang, and name the other where its import fails.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
pip() { "$folder/venv/bin/pip" --disable-pip-version-check "$@"; }
pip install --quiet iso639-lang==2.6.3
pip download --quiet --no-deps --dest "$folder" audformat==1.4.3
python3 - "$folder"/audformat-*.whl <<'PY'
import sys
import zipfile

archive = zipfile.ZipFile(sys.argv[1])
metadata = archive.read(next(name for name in archive.namelist() if name.endswith("METADATA"))).decode()
needs = [line for line in metadata.splitlines() if line.startswith("Requires-Dist:") and "iso639" in line]
print(needs)
assert needs and "iso639-lang" in needs[0], "audformat needs another package now"
PY
"$folder/venv/bin/python" -c 'from iso639 import Lang; print("before:", Lang("de").pt3)'
pip install --quiet python-iso639==2026.7.23
pip check
if "$folder/venv/bin/python" -c 'from iso639 import Lang' 2>"$folder/said"; then
    echo "the two packages no longer overwrite each other"
    exit 1
fi
echo "after: $(tail -n 1 "$folder/said" | sed 's/(.*//')"
