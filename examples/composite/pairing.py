"""Who says what with which faces: the drawing behind the composite corpus, without files."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from memobert_plugin.core.errors import UserError

EMOTIONS: Final = ("anger", "happy", "neutral", "sad")
OWN_FACES: Final = 0.4
"""Probability that a face shows the utterance's emotion; otherwise it shows one of the other three."""
FEWEST_FACES, MOST_FACES = 8, 24

Indices = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Line:
    """A line of dialogue and the id it has in its own corpus."""

    id: str
    text: str


class Lines:
    """Lines by emotion, each handed out once, and no text twice.

    Args:
        lines: (emotion, line) in any order.
        rng: shuffles them.
    """

    def __init__(self, lines: Iterable[tuple[str, Line]], rng: np.random.Generator) -> None:
        every = list(lines)
        seen: set[str] = set()
        self._left: dict[str, list[Line]] = {emotion: [] for emotion in EMOTIONS}
        for number in rng.permutation(len(every)):
            emotion, line = every[number]
            text = line.text.casefold()
            if text not in seen:
                seen.add(text)
                self._left[emotion].append(line)

    def next(self, emotion: str) -> Line:
        """A line of this emotion that nobody has had.

        Raises:
            UserError: there is none left.
        """
        if not self._left[emotion]:
            raise UserError(f"no line of {emotion} is left; give all of MELD's tables")
        return self._left[emotion].pop()

    def suffice_for(self, clips: Mapping[str, int]) -> int:
        """How often so many clips of each emotion can be given lines."""
        return min(len(self._left[emotion]) // count for emotion, count in clips.items())

    @property
    def left(self) -> list[Line]:
        """All lines that nobody has had."""
        return [line for emotion in EMOTIONS for line in self._left[emotion]]


class Faces:
    """Pictures by emotion, shared out between the speakers so that no picture has two.

    Args:
        pictures: for every emotion the numbers of its pictures.
        speakers: who shares them.
        rng: shuffles them.

    Raises:
        UserError: an emotion has fewer pictures than there are speakers.
    """

    def __init__(self, pictures: Mapping[str, Indices], speakers: Sequence[str], rng: np.random.Generator) -> None:
        self._of: dict[str, dict[str, Indices]] = {speaker: {} for speaker in speakers}
        for emotion in EMOTIONS:
            shuffled = rng.permutation(pictures[emotion])
            if len(shuffled) < len(speakers):
                raise UserError(f"{len(shuffled)} pictures of {emotion} for {len(speakers)} speakers; give all of FER+")
            for place, speaker in enumerate(speakers):
                self._of[speaker][emotion] = shuffled[place :: len(speakers)]

    def draw(self, speaker: str, emotion: str, rng: np.random.Generator) -> Indices:
        """Numbers of the 8 to 24 pictures of one utterance, in random order.

        Each shows the emotion with probability 0.4 and otherwise one of the other three. None comes twice, unless the
        speaker has fewer pictures of an emotion than were drawn.
        """
        count = int(rng.integers(FEWEST_FACES, MOST_FACES + 1))
        others = [other for other in EMOTIONS if other != emotion]
        shown = np.where(rng.random(count) < OWN_FACES, emotion, rng.choice(others, count))
        drawn = []
        for kind in EMOTIONS:
            pool, wanted = self._of[speaker][kind], int((shown == kind).sum())
            drawn.append(rng.choice(pool, wanted, replace=wanted > len(pool)))
        return rng.permutation(np.concatenate(drawn))


def usable_pictures(
    images: npt.NDArray[np.uint8], majorities: Indices, in_training: npt.NDArray[np.bool_], *, unseen: bool
) -> dict[str, Indices]:
    """Numbers of the pictures of each emotion; of identical ones the first.

    Args:
        images: ``(N, H, W)``.
        majorities: ``(N,)`` the place of the expression with most votes in FER+'s order, -1 without a single winner.
        in_training: ``(N,)`` whether the face encoder was trained on the picture.
        unseen: leave out those, and any other picture that equals one of them.
    """
    classes = {"neutral": 0, "happy": 1, "sad": 3, "anger": 4}
    taken = {images[number].tobytes() for number in np.flatnonzero(in_training)} if unseen else set()
    kept = np.zeros(len(images), bool)
    for number in np.flatnonzero(np.isin(majorities, list(classes.values())) & ~(in_training & unseen)):
        content = images[number].tobytes()
        kept[number] = content not in taken
        taken.add(content)
    return {emotion: np.flatnonzero(kept & (majorities == number)) for emotion, number in classes.items()}
