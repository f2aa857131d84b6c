"""Writes a word-piece vocabulary: frequent words, and single characters for all others."""

from __future__ import annotations

import argparse
import re
import string
from collections import Counter
from pathlib import Path

from memobert_plugin.core.errors import run_command

SPECIALS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
CHARACTERS = string.ascii_lowercase + string.digits + string.punctuation + "’“”…"
PROMPT_WORDS = ("i", "am", "angry", "happy", "neutral", "sad")


def vocabulary(texts: list[str], fewest: int) -> list[str]:
    """Special symbols, characters (alone and ``##`` inside a word), then words seen at least ``fewest`` times."""
    counts = Counter(word for text in texts for word in re.findall(r"[a-z]+", text.lower()))
    ordered = sorted((word for word in counts if counts[word] >= fewest), key=lambda word: (-counts[word], word))
    inside = (f"##{character}" for character in CHARACTERS)
    return list(dict.fromkeys([*SPECIALS, *CHARACTERS, *inside, *PROMPT_WORDS, *ordered]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("texts", type=Path, help="text file, a line each")
    parser.add_argument("--fewest", type=int, default=3, help="keep words seen so often (default: 3)")
    parser.add_argument("--output", type=Path, required=True, help="vocab.txt to write, one symbol per line")
    arguments = parser.parse_args()
    symbols = vocabulary(arguments.texts.read_text(encoding="utf-8").splitlines(), arguments.fewest)
    arguments.output.write_text("\n".join(symbols) + "\n", encoding="utf-8")
    print(f"{arguments.output}: {len(symbols)} symbols")


if __name__ == "__main__":
    run_command(main)
