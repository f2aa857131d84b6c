#!/usr/bin/env bash
# python-iso639: common names such as Greek or Swahili are not found, and "En" is not English.
#
# Versions: python-iso639 2026.7.23.
# Guess: Language.match finds a language by its English name, and a code in any case.
# Seen: names must be those of ISO 639-3, which are "Modern Greek (1453-)", "Swahili (macrolanguage)",
#   "Nepali (macrolanguage)" and "Malay (macrolanguage)". Codes must be in lower case: "EN" and "De" are not found, and
#   "En" is the language of that name (code enc).
# Do: put codes in lower case first, and keep a list of the plain names that a corpus may use.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check python-iso639==2026.7.23

"$folder/venv/bin/python" - <<'PY'
import iso639


def code(name):
    """Return the three letters of the language that a name or code stands for, None for none."""
    try:
        return iso639.Language.match(name).part3
    except iso639.LanguageNotFoundError:
        return None


tried = ("en", "English", "German", "Greek", "Swahili", "Nepali", "Malay", "EN", "De", "En")
seen = {name: code(name) for name in tried}
print(", ".join(f"{name}: {found}" for name, found in seen.items()))
print({two: iso639.Language.from_part1(two).name for two in ("el", "sw", "ne", "ms")})
assert (seen["en"], seen["English"], seen["German"]) == ("eng", "eng", "deu")
assert not any(seen[name] for name in ("Greek", "Swahili", "Nepali", "Malay")), "plain names are now found"
assert (seen["EN"], seen["De"], seen["En"]) == (None, None, "enc"), "codes are now found in any case"
PY
