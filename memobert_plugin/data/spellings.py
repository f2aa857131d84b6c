"""Join the spellings of one name in a manifest, and tell of those that may be one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence


def joined_labels(counts: Mapping[str, int], fixed: Sequence[str] = ()) -> tuple[dict[str, str], list[str]]:
    """Join names that differ in case or blanks only, such as ``Happy`` and ``happy``.

    Args:
        counts: utterances by name; the empty name is none.
        fixed: names that are kept as they are here.

    Returns:
        The joined name of every name (one of ``fixed``, else its most frequent spelling without outer blanks), and a
        note for each that changed.
    """
    spellings: dict[str, list[str]] = {}
    for name in sorted(counts, key=lambda name: (name not in fixed, -counts[name], name)):
        spellings.setdefault(" ".join(name.split()).casefold(), []).append(name)
    joined: dict[str, str] = {}
    notes = []
    for key, same in spellings.items():
        kept = key if key in fixed else " ".join(same[0].split())
        joined.update(dict.fromkeys(same, kept))
        others = [repr(name) for name in same if name != kept and name.strip()]
        if others:
            notes.append(f"{', '.join(others)} counted as {kept!r}: they differ in case or blanks only")
    return joined, notes


def emotion_names(emotions: Mapping[str, int], voted: Iterable[str]) -> tuple[dict[str, str], list[str]]:
    """Join the names of emotions and of votes as :func:`joined_labels` does; the emotions' spellings count."""
    names, notes = joined_labels({**dict.fromkeys(voted, 0), **emotions})
    if others := sorted({names[name] for name in voted} - {names[name] for name in emotions}):
        listed = ", ".join(map(repr, others[:3])) + (" …" if len(others) > 3 else "")
        notes.append(f"{listed}: there are votes for it, and no row has it")
    return names, notes


def alike_speakers(speakers: Iterable[str]) -> str:
    """Return the first groups of speakers whose names differ in case or blanks only: each may be one person."""
    alike: dict[str, list[str]] = {}
    for name in sorted(speakers):
        alike.setdefault(" ".join(name.split()).casefold(), []).append(name)
    groups = [", ".join(map(repr, names[:3])) for names in alike.values() if len(names) > 1]
    return "; ".join(groups[:3]) + (" …" if len(groups) > 3 else "")
