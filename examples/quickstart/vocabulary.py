"""Writes a word-piece vocabulary: the words of a manifest's texts, and single characters for any other word."""

from __future__ import annotations

import argparse
import string
from collections import Counter
from pathlib import Path

from sentences import LABEL_WORDS

from memobert_plugin.core.console import run_command
from memobert_plugin.data.manifest import read_manifest

SPECIALS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
CHARACTERS = string.ascii_lowercase + string.digits + ".,?!'-"
PROMPT_WORDS = ("i", "am", ".", *LABEL_WORDS.values())


def vocabulary(texts: list[str]) -> list[str]:
    """Special symbols, characters (alone and ``##`` inside a word), then words, the frequent ones first."""
    words = Counter(word for text in texts for word in text.lower().split())
    ordered = sorted(words, key=lambda word: (-words[word], word))
    symbols = [*SPECIALS, *CHARACTERS, *(f"##{character}" for character in CHARACTERS), *PROMPT_WORDS, *ordered]
    return list(dict.fromkeys(symbols))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--manifest", type=Path, required=True, help="manifest whose texts give the words")
    parser.add_argument("--output", type=Path, required=True, help="vocab.txt to write, one symbol per line")
    arguments = parser.parse_args()
    symbols = vocabulary([row.text for row in read_manifest(arguments.manifest)])
    arguments.output.write_text("\n".join(symbols) + "\n", encoding="utf-8")
    print(f"{arguments.output}: {len(symbols)} symbols")


if __name__ == "__main__":
    run_command(main)
