"""The base of all corpus readers: the registry, the result of reading, and helpers for publishers' files.

A corpus is one file of this folder, or an entry point of the group ``memobert_plugin.corpora`` in another package. It
registers a :class:`Corpus` under the name that users type.
"""

from __future__ import annotations

import argparse
import os
import re
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final, Literal

from ..core.errors import Defect, UserError
from ..core.files import regular
from ..core.names import counted
from ..core.registry import Registry
from ..data.manifest import ManifestRow, utterance_uid, write_manifest
from ..data.votes import renamed_votes


@dataclass(frozen=True)
class Corpus:
    """A corpus reader, as ``python -m memobert_plugin.corpora`` shows and calls it.

    Attributes:
        help: one line for the list of corpora.
        folder: help text of the argument FOLDER.
        options: a dataclass; its fields become the corpus's flags (see :mod:`memobert_plugin.core.flags`). Derive it
            from :class:`CountedOptions` where the publisher states counts that a complete copy must have.
        read: reads the folder with an instance of ``options`` and returns a :class:`Reading`. For ``makes="pictures"``
            it returns any object with ``other_counts``, ``write(output)`` and ``summary()``.
        makes: a manifest of utterances, or a folder of labelled pictures.
    """

    help: str
    folder: str
    options: type
    read: Callable[[Path, Any], Any]
    makes: Literal["manifest", "pictures"] = "manifest"


CORPORA: Final[Registry[Corpus]] = Registry("corpus", "memobert_plugin.corpora", "memobert_plugin.corpora")


@dataclass(frozen=True)
class NoOptions:
    """The flags of a corpus that needs none."""


@dataclass(frozen=True)
class CountedOptions:
    """The flag of a corpus whose publisher states its counts."""

    allow_other_counts: bool = field(
        default=False,
        metadata={"help": "accept a partial copy, and print how its counts differ from the publisher's"},
    )


ALL_EMOTIONS_HELP: Final = (
    "keep all labels, and turns whose evaluators did not agree without one (default: anger, happy, neutral, sad)"
)


def names_list(text: str) -> tuple[str, ...]:
    """Parse a flag's names, separated by commas."""
    names = tuple(name.strip() for name in text.split(",") if name.strip())
    if not names:
        raise argparse.ArgumentTypeError(f"{text!r} names nothing")
    return names


@dataclass(frozen=True)
class Reading:
    """The rows of a corpus and everything that was noticed while reading it.

    Attributes:
        rows: one per utterance, media paths absolute.
        defects: files and rows that could not be used.
        remarks: anything else the user should know, a line each.
        other_counts: differences from the counts that the publisher states for a complete copy, a line each.
    """

    rows: list[ManifestRow]
    defects: list[Defect]
    remarks: list[str]
    other_counts: list[str] = field(default_factory=list)

    @property
    def failed_share(self) -> float:
        """Share of the defects in everything that was read."""
        return len(self.defects) / max(1, len(self.defects) + len(self.rows))

    def renamed(self, names: Mapping[str, str]) -> Reading:
        """Return a reading whose emotions have other names, in votes too; two emotions that get one name become one.

        Raises:
            UserError: a name that no row has.
        """
        self._refuse_unknown(names)
        rows = [
            replace(row, emotion=names.get(row.emotion, row.emotion), votes=renamed_votes(row.votes, names))
            for row in self.rows
        ]
        return replace(self, rows=rows)

    def of_emotions(self, kept: Collection[str]) -> Reading:
        """Return a reading with only the utterances of these emotions.

        Raises:
            UserError: an emotion that no row has.
        """
        self._refuse_unknown(kept)
        return replace(self, rows=[row for row in self.rows if row.emotion in kept])

    def with_valid_share(self, share: float) -> Reading:
        """Return a reading with a new split: about ``share`` of the utterances in ``valid``, the rest in ``train``.

        The draw depends on an utterance's id alone: adding or removing utterances does not move the others.
        """
        import numpy as np

        from ..core.rng import Stream, uniform

        uids = np.array([utterance_uid(row.id) for row in self.rows], dtype=np.uint64)
        chosen = uniform(0, 0, Stream.VALID_SHARE, uids, 0) < share
        splits = np.where(chosen, "valid", "train").tolist()
        return replace(self, rows=[replace(row, split=split) for row, split in zip(self.rows, splits, strict=True)])

    def write(self, manifest: Path) -> None:
        """Write the manifest. Media below its folder get relative paths, so that the two can move together.

        Raises:
            UserError: no utterance is left, or the manifest cannot be written.
        """
        if not self.rows:
            raise UserError(f"{manifest}: no utterance is left to write; see what was left out")
        folder = os.path.abspath(manifest.parent)
        try:
            manifest.parent.mkdir(parents=True, exist_ok=True)
            write_manifest(
                manifest,
                (
                    replace(row, video=_portable(row.video, folder), audio=_portable(row.audio, folder))
                    for row in self.rows
                ),
                named_by_user=True,
            )
        except OSError as error:
            raise UserError(f"{manifest}: cannot be written ({error.strerror}); name another file") from None

    def summary(self) -> str:
        """Return one line with the numbers of utterances, speakers, emotions and splits."""
        speakers = {row.speaker for row in self.rows} - {""}
        nameless = sum(not row.speaker for row in self.rows)
        parts = [f"{counted(len(self.rows), 'utterance')} of {counted(len(speakers), 'speaker')}"]
        if nameless:
            parts.append(f"{nameless} without a speaker")
        parts.append(f"emotions: {_counted(Counter(row.emotion for row in self.rows))}")
        splits = Counter(row.split for row in self.rows if row.split)
        if splits:
            parts.append(f"splits: {_counted(splits)}")
        return "; ".join(parts)

    def _refuse_unknown(self, names: Collection[str]) -> None:
        known = sorted({row.emotion for row in self.rows})
        unknown = [name for name in names if name not in known]
        if unknown:
            raise UserError(f"emotion {', '.join(unknown)}: the corpus has {', '.join(known)}")


def differing_counts(corpus: str, published: Mapping[str, int], found: Counter[str]) -> list[str]:
    """Return one line that lists every count unlike the publisher's, or no line. The name "" means no label."""
    names = [*published, *sorted(set(found) - set(published))]
    differing = [name for name in names if found[name] != published.get(name, 0)]
    if not differing:
        return []
    listed = ", ".join(f"{name or 'no label'} {found[name]} instead of {published.get(name, 0)}" for name in differing)
    return [f"{counted(sum(found.values()), 'utterance')}; {corpus} has {sum(published.values())}: {listed}"]


def _counted(values: Counter[str]) -> str:
    return ", ".join(f"{value or 'no label'} {count}" for value, count in sorted(values.items()))


def _portable(media: str, folder: str) -> str:
    return os.path.relpath(media, folder) if media.startswith(folder + os.sep) else media


_LEFT_OVER_CP1252: Final = re.compile("[\x80-\x9f]")
_BLANKS: Final = re.compile(r"[\x00-\x20\x7f\u2028\u2029]+")


def files_below(folder: Path, suffixes: Collection[str]) -> Iterator[Path]:
    """Yield the files with one of these suffixes (lower case), the least deep first, then by name.

    Hidden files, and the extra files in archives made on a Macintosh (``._name``, ``__MACOSX``), are passed over.
    """
    for path in sorted(folder.rglob("*"), key=lambda path: (len(path.parts), path)):
        hidden = path.name.startswith(".") or "__MACOSX" in path.parts
        if path.suffix.lower() in suffixes and not hidden and path.is_file():
            yield path


def existing(path: Path | None) -> str:
    """Return the absolute path of a file for a manifest row, or an empty string where there is none."""
    return os.path.abspath(path) if path is not None and path.is_file() else ""


def read_text(path: Path) -> str:
    """Return a text file's content, decoded as UTF-8 or else as cp1252; line ends become ``\\n``.

    Raises:
        UserError: the file cannot be read.
    """
    try:
        content = regular(path).read_bytes()
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); check the copy of the corpus") from None
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        # Windows' cp1252 also decodes the letters of Latin-1.
        text = content.decode("cp1252", errors="replace")
    return text.replace("\r\n", "\n").replace("\r", "\n")


def one_line(text: str) -> str:
    """Return text as one line: stray cp1252 bytes (``\\x92`` for an apostrophe) decoded, blanks as one space."""
    text = _LEFT_OVER_CP1252.sub(lambda found: found[0].encode("latin-1").decode("cp1252", errors="ignore"), text)
    return _BLANKS.sub(" ", text).strip()
