"""Writes MELD's lines as one fold, and dialogue without labels to pre-train on, as two manifests.

MELD's dev part is the test; a tenth of the training part's dialogues is the validation. The same characters speak in
all parts: rows name no speaker.
"""

from __future__ import annotations

import argparse
import random
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from memobert_plugin.core.console import run_command
from memobert_plugin.core.errors import UserError
from memobert_plugin.core.files import read_rows
from memobert_plugin.corpora.meld import read_meld
from memobert_plugin.data.manifest import ManifestRow, write_manifest

COLUMNS = ("Utterance", "text")


def one_fold(rows: Sequence[ManifestRow], seed: int) -> list[ManifestRow]:
    """Return MELD's rows without speakers, in the parts train, valid and test.

    Raises:
        UserError: MELD's training or dev part is not there, or too small to leave a dialogue to validate on.
    """
    dialogues = sorted({row.session for row in rows if row.split == "train"})
    random.Random(seed).shuffle(dialogues)
    validation = set(dialogues[: len(dialogues) // 10])
    of_part = {"train": "train", "valid": "test"}
    if not validation or not any(row.split == "valid" for row in rows):
        raise UserError("--meld: give train_sent_emo.csv, of ten dialogues at least, and dev_sent_emo.csv beside it")
    return [
        replace(row, speaker="", split="valid" if row.session in validation else of_part[row.split])
        for row in rows
        if row.split in of_part
    ]


def lines_of(path: Path) -> Iterator[str]:
    """Yield the texts of a table, its column ``Utterance`` or ``text``.

    Raises:
        UserError: it has no such column.
    """
    for place, row in read_rows(path):
        name = next((name for name in COLUMNS if row.get(name) is not None), None)
        if name is None:
            raise UserError(f"{place}: no column {' or '.join(COLUMNS)}")
        yield " ".join(str(row[name]).replace("\x92", "'").split())


def main(argv: Sequence[str] | None = None) -> int:
    """Write both manifests."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--meld", type=Path, required=True, metavar="FOLDER", help="of MELD's tables")
    parser.add_argument(
        "--lines", type=Path, nargs="*", default=[], metavar="TABLE", help="more texts for pre-training, .csv or .tsv"
    )
    parser.add_argument("--output", type=Path, required=True, metavar="FOLDER", help="for meld.tsv and lines.tsv")
    parser.add_argument("--seed", type=int, default=1, help="draws the validation (default: %(default)s)")
    options = parser.parse_args(argv)
    meld = one_fold(read_meld(options.meld).rows, options.seed)
    texts = [row.text for row in meld if row.split == "train"]
    for table in options.lines:
        texts += lines_of(table)
    options.output.mkdir(parents=True, exist_ok=True)
    lines = [ManifestRow(0, f"line{number}", "", "", "train", text) for number, text in enumerate(texts) if text]
    write_manifest(options.output / "meld.tsv", meld)
    write_manifest(options.output / "lines.tsv", lines)
    print(f"{len(meld)} labelled lines, {len(lines)} to pre-train on")
    return 0


if __name__ == "__main__":
    run_command(main)
