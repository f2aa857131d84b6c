"""Read and write cells of a manifest that hold several emotions: votes of annotators, and several labels.

Nothing here needs numpy, so that corpus readers start at once.
"""

from __future__ import annotations

import math
from collections.abc import Mapping


def parse_votes(text: str) -> dict[str, float]:
    """Return the votes for each emotion of ``anger=3 happy=1``.

    Raises:
        ValueError: not such a list, a number below 0, or no vote at all.
    """
    votes: dict[str, float] = {}
    for word in text.split():
        label, equals, number = word.rpartition("=")
        try:
            count = float(number) if equals and label else math.nan
        except ValueError:
            count = math.nan
        if not 0 <= count < math.inf or label in votes:
            raise ValueError(f"votes {text[:60]!r}: give each emotion once with its votes, as in anger=3 happy=1")
        votes[label] = count
    if text.strip() and not sum(votes.values()):
        raise ValueError(f"votes {text[:60]!r}: nobody voted; leave the cell empty")
    return votes


def format_votes(votes: Mapping[str, float]) -> str:
    """Return votes as :func:`parse_votes` reads them, the emotions in order of their names; those without any are left
    out."""
    return " ".join(f"{label}={votes[label]:g}" for label in sorted(votes) if votes[label])


def renamed_votes(text: str, names: Mapping[str, str]) -> str:
    """Return votes with other names for emotions; those of two that get one name are added.

    Raises:
        ValueError: no such votes.
    """
    counts: dict[str, float] = {}
    for label, count in parse_votes(text).items():
        name = names.get(label, label)
        counts[name] = counts.get(name, 0.0) + count
    return format_votes(counts)


def parse_labels(text: str) -> list[str]:
    """Return the labels of ``happy;surprised``, sorted, each once."""
    return sorted({" ".join(name.split()) for name in text.split(";")} - {""})
