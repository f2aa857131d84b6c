"""FER+: the pictures of FER2013 with the votes of ten annotators (Barsoum et al., 2016).

Two files are published. Row N of both is about the same picture::

    fer2013.csv      emotion,pixels,Usage                       (FER2013 challenge: 48x48 grey levels, blank between)
    fer2013new.csv   Usage,Image name,neutral,...,unknown,NF    (github.com/microsoft/FERPlus: votes)

``Usage`` is ``Training``, ``PublicTest`` (used for validation) or ``PrivateTest`` (used as test). FER+ removed the
pictures without an image name: no face, or too many votes for "not a face".
"""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, Final

from ..core.errors import UserError
from ..core.files import regular
from .reading import CORPORA, Corpus, CountedOptions

if TYPE_CHECKING:  # numpy would cost every --help a tenth of a second
    import numpy as np
    import numpy.typing as npt

    from ..features.denseface.pictures import ExpressionPictures

PICTURES_CSV: Final = "fer2013.csv"
VOTES_CSV: Final = "fer2013new.csv"
USAGES: Final = {"Training": "train", "PublicTest": "valid", "PrivateTest": "test"}
ROWS: Final = {"train": 28709, "valid": 3589, "test": 3589}
"""Rows of each file by split."""
FACES: Final = {"train": 28558, "valid": 3579, "test": 3573}
"""Pictures that FER+ kept."""
SIDE: Final = 48
"""Width and height of a picture, in pixels."""


@dataclass(frozen=True, eq=False)
class FerPlus:
    """The content of the two files.

    Attributes:
        pictures: faces with votes, in the files' order, without those that FER+ removed.
        other_counts: differences from the published counts, a line each. The whole test part may be missing.
    """

    pictures: ExpressionPictures
    other_counts: list[str]

    def write(self, output: Path) -> None:
        """Write the packed file of pictures (see :class:`.ExpressionPictures`).

        Raises:
            UserError: the folder cannot be written.
        """
        try:
            self.pictures.write(output)
        except OSError as error:
            raise UserError(f"{output}: cannot be written ({error.strerror}); name another folder") from None

    def summary(self) -> str:
        """Return one line with the number of faces by split."""
        from ..features.denseface.pictures import SPLITS

        counts = ", ".join(f"{name} {int((self.pictures.split == code).sum())}" for code, name in enumerate(SPLITS))
        without = int((self.pictures.majorities() < 0).sum())
        return f"{counts} faces, {without} of them without a unique majority"


def read_ferplus(folder: Path) -> FerPlus:
    """Read ``fer2013.csv`` and ``fer2013new.csv`` of a folder.

    Raises:
        UserError: a file is missing, its columns or a row are not as published, or the two do not belong together.
    """
    import numpy as np

    from ..features.denseface.pictures import SPLITS, ExpressionPictures

    images: list[npt.NDArray[np.uint8]] = []
    votes: list[list[int]] = []
    split: list[int] = []
    rows: Counter[str] = Counter()
    pairs = zip_longest(
        _rows(folder / PICTURES_CSV, ("pixels", "Usage")), _rows(folder / VOTES_CSV, ("Usage", "Image name"))
    )
    for number, (picture, label) in enumerate(pairs, start=2):
        if picture is None or label is None:
            short, long = (PICTURES_CSV, VOTES_CSV) if picture is None else (VOTES_CSV, PICTURES_CSV)
            raise UserError(f"{folder / short}: ends before row {number}, {long} does not; fetch both as published")
        if picture["Usage"] != label["Usage"] or label["Usage"] not in USAGES:
            raise UserError(
                f"{folder / VOTES_CSV}, row {number}: Usage is {label['Usage']!r}, in {PICTURES_CSV} "
                f"{picture['Usage']!r}; the rows must be about the same picture, {', '.join(USAGES)}"
            )
        name = USAGES[label["Usage"]]
        rows[name] += 1
        if label["Image name"]:
            images.append(_pixels(folder / PICTURES_CSV, number, picture["pixels"]))
            votes.append(_votes(folder / VOTES_CSV, number, label))
            split.append(SPLITS.index(name))
    if not images:
        raise UserError(f"{folder / VOTES_CSV}: names no picture; fetch the file as published")
    pictures = ExpressionPictures(np.stack(images), np.array(votes, np.uint8), np.array(split, np.uint8))
    return FerPlus(pictures, _other_counts(rows, Counter(SPLITS[number] for number in split)))


def _rows(path: Path, needed: tuple[str, ...]) -> Iterator[dict[str, str]]:
    from ..features.denseface.pictures import VOTE_COLUMNS

    columns = [*needed, *(VOTE_COLUMNS if path.name == VOTES_CSV else ())]
    try:
        with open(regular(path), encoding="utf-8-sig", newline="") as stream:
            reader = csv.DictReader(stream, restval="", restkey="", skipinitialspace=True)
            missing = [name for name in columns if name not in (reader.fieldnames or ())]
            if missing:
                raise UserError(f"{path}, row 1: no column {', '.join(missing)}; fetch the file as published")
            yield from reader
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        reason = getattr(error, "strerror", None) or error
        raise UserError(f"{path}: cannot be read ({reason}); put {PICTURES_CSV} and {VOTES_CSV} there") from None


def _pixels(path: Path, row: int, text: str) -> npt.NDArray[np.uint8]:
    import numpy as np

    try:
        levels = np.array(text.split(), dtype=np.int64)
    except ValueError:
        levels = np.zeros(0, dtype=np.int64)
    if len(levels) != SIDE * SIDE or levels.min() < 0 or levels.max() > 255:
        raise UserError(f"{path}, row {row}: pixels are not {SIDE * SIDE} numbers from 0 to 255; fetch the file again")
    return levels.astype(np.uint8).reshape(SIDE, SIDE)


def _votes(path: Path, row: int, label: dict[str, str]) -> list[int]:
    from ..features.denseface.pictures import VOTE_COLUMNS

    counts = [label[column] for column in VOTE_COLUMNS]
    if not all(count.isdecimal() and int(count) <= 10 for count in counts):
        raise UserError(f"{path}, row {row}: votes are {', '.join(counts)}, not counts up to 10; fetch the file again")
    return [int(count) for count in counts]


def _other_counts(rows: Counter[str], faces: Counter[str]) -> list[str]:
    expected_rows, expected_faces = dict(ROWS), dict(FACES)
    if not rows["test"]:
        del expected_rows["test"], expected_faces["test"]
    return [
        f"{what} {name} {found[name]} instead of {count}"
        for what, published, found in (("rows of", expected_rows, rows), ("faces in", expected_faces, faces))
        for name, count in published.items()
        if found[name] != count
    ]


CORPORA.register("ferplus")(
    Corpus(
        help="FER+: 35 710 faces with votes, packed for training DenseFace",
        folder="folder with fer2013.csv and fer2013new.csv",
        options=CountedOptions,
        read=lambda folder, _: read_ferplus(folder),
        makes="pictures",
    )
)
