"""Faces with their annotators' votes, packed into one file: what a facial-expression encoder is trained on."""

from __future__ import annotations

import os
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ...core.errors import UserError
from ...core.files import regular, replaced_when_complete
from ...data.frames import FERPLUS_CLASSES

VOTE_COLUMNS = (*FERPLUS_CLASSES, "unknown", "NF")
"""The votes an annotator could give: eight expressions, "cannot say", "not a face"."""
SPLITS = ("train", "valid", "test")
PICTURES_FILE = "pictures.npz"
"""The packed file in its folder; fairseq wants a folder."""

_ARRAYS = {"images": (np.uint8, 3), "votes": (np.uint8, 2), "split": (np.uint8, 1)}


@dataclass(frozen=True, eq=False)
class ExpressionPictures:
    """N grey pictures of faces.

    Attributes:
        images: ``(N, H, W)`` uint8 grey levels.
        votes: ``(N, 10)`` uint8, how many annotators chose each of :data:`VOTE_COLUMNS`.
        split: ``(N,)`` uint8, index into :data:`SPLITS`.
    """

    images: npt.NDArray[np.uint8]
    votes: npt.NDArray[np.uint8]
    split: npt.NDArray[np.uint8]

    @classmethod
    def read(cls, folder: str | os.PathLike[str]) -> ExpressionPictures:
        """Read the packed file of a folder.

        Raises:
            UserError: it is missing, damaged or something else.
        """
        path = Path(folder, PICTURES_FILE)
        try:
            with np.load(regular(path), allow_pickle=False) as content:
                arrays = {name: content[name] for name in _ARRAYS}
        except FileNotFoundError:
            raise UserError(
                f"{path}: there is no such file; python -m memobert_plugin.corpora ferplus makes it"
            ) from None
        except (OSError, ValueError, EOFError, KeyError, AttributeError, zipfile.BadZipFile, zlib.error) as error:
            raise UserError(
                f"{path}: not a file of pictures with votes ({' '.join(str(error).split())}); "
                "python -m memobert_plugin.corpora ferplus makes one"
            ) from None
        for name, (dtype, dimensions) in _ARRAYS.items():
            if arrays[name].dtype != dtype or arrays[name].ndim != dimensions:
                raise UserError(
                    f"{path}: {name} is {arrays[name].dtype} with {arrays[name].ndim} dimensions, not {dtype.__name__} "
                    f"with {dimensions}; python -m memobert_plugin.corpora ferplus makes the file"
                )
        if len({len(array) for array in arrays.values()}) != 1 or arrays["votes"].shape[1] != len(VOTE_COLUMNS):
            raise UserError(
                f"{path}: its arrays do not fit together; python -m memobert_plugin.corpora ferplus makes it"
            )
        return cls(**arrays)

    def write(self, folder: str | os.PathLike[str]) -> None:
        """Write the packed file, whole or not at all; the folder is made where it is missing."""
        Path(folder).mkdir(parents=True, exist_ok=True)
        with replaced_when_complete(Path(folder, PICTURES_FILE)) as temporary, open(temporary, "wb") as stream:
            np.savez(stream, images=self.images, votes=self.votes, split=self.split)

    def of_split(self, split: str) -> ExpressionPictures:
        """Return the pictures of ``train``, ``valid`` or ``test`` with at least one vote for an expression."""
        return self.where((self.split == SPLITS.index(split)) & (self._expression_votes.sum(axis=1) > 0))

    def where(self, chosen: npt.NDArray[np.bool_]) -> ExpressionPictures:
        """Return the pictures for which ``(N,)`` ``chosen`` is true."""
        return ExpressionPictures(self.images[chosen], self.votes[chosen], self.split[chosen])

    def distributions(self) -> npt.NDArray[np.float32]:
        """Return ``(N, 8)`` shares of the expressions among the votes for an expression; nan where there is none."""
        expressions = self._expression_votes.astype(np.float32)
        with np.errstate(invalid="ignore"):
            return expressions / expressions.sum(axis=1, keepdims=True)

    def majorities(self) -> npt.NDArray[np.int64]:
        """Return ``(N,)`` the expression with most votes, -1 where two or more share the first place."""
        expressions = self._expression_votes
        is_most = expressions == expressions.max(axis=1, keepdims=True)
        return np.where(is_most.sum(axis=1) == 1, is_most.argmax(axis=1), -1).astype(np.int64)

    def majority_distributions(self) -> npt.NDArray[np.float32]:
        """Return ``(N, 8)`` with 1 for the majority's expression; zeros where there is no majority."""
        return (self.majorities()[:, np.newaxis] == np.arange(len(FERPLUS_CLASSES))).astype(np.float32)

    @property
    def _expression_votes(self) -> npt.NDArray[np.uint8]:
        return self.votes[:, : len(FERPLUS_CLASSES)]
