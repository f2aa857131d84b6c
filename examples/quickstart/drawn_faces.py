"""Small grey pictures of a drawn face: brows, eyes and mouth show an expression."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw

SIZE = 96
SCALE = 2  # drawn this many times larger, then averaged down, so that lines may lie between pixels


EYES = (0.3, -0.08)
MOUTH = (0.36, 0.5)


@dataclass(frozen=True)
class Expression:
    """Where the movable parts of a face are, each about -1..1 with 0 at rest."""

    mouth_curve: float
    mouth_open: float
    brow_height: float
    brow_slant: float
    eye_open: float

    def moved(self, rng: np.random.Generator, spread: float) -> Expression:
        """The same expression, every part off by a normal deviate of this spread."""
        parts = np.array(
            [self.mouth_curve, self.mouth_open, self.brow_height, self.brow_slant, self.eye_open]
        ) + rng.normal(0, spread, 5)
        return Expression(*map(float, parts))


EXPRESSIONS = {
    "neutral": Expression(0.0, 0.0, 0.0, 0.0, 0.0),
    "happiness": Expression(1.0, 0.3, 0.2, 0.0, -0.3),
    "surprise": Expression(0.0, 1.0, 1.0, 0.0, 1.0),
    "sadness": Expression(-1.0, -0.2, 0.3, 0.9, -0.6),
    "anger": Expression(-0.6, 0.2, -0.9, -1.0, 0.3),
    "disgust": Expression(-0.5, -0.3, -0.6, 0.0, -0.8),
    "fear": Expression(-0.3, 0.7, 0.8, 0.8, 0.8),
    "contempt": Expression(0.4, -0.3, -0.2, -0.3, -0.5),
}


@dataclass(frozen=True)
class Head:
    """What stays the same in all pictures of one speaker; sizes relative to an average head, greys in 0..255."""

    width: float = 1.0
    height: float = 1.0
    skin: float = 190.0
    hair: float = 60.0
    fringe: float = 0.16

    @classmethod
    def drawn_at_random(cls, rng: np.random.Generator) -> Head:
        return cls(
            width=float(rng.uniform(0.9, 1.08)),
            height=float(rng.uniform(0.92, 1.06)),
            skin=float(rng.uniform(160, 215)),
            hair=float(rng.uniform(30, 110)),
            fringe=float(rng.uniform(0.1, 0.22)),
        )


@dataclass(frozen=True)
class Drawing:
    """A picture and where the face is in it, in pixels (x, y) from the upper left corner."""

    picture: np.ndarray
    """(SIZE, SIZE), float in 0..255."""
    box: tuple[float, float, float, float]
    """Left, top, right, bottom of the face."""
    eyes: np.ndarray
    """(2, 2), centres: the left one in the picture, the right one."""
    mouth: np.ndarray
    """(4, 2): left corner, right corner, upper lip, lower lip."""


def draw_face(
    head: Head, expression: Expression, speech: float = 0.0, shift: tuple[float, float] = (0.0, 0.0)
) -> Drawing:
    """Draw one picture.

    Args:
        head: whose face.
        expression: what it shows.
        speech: how far a syllable opens the mouth, 0..1.
        shift: how far the head is off the centre, in pixels to the right and down.
    """
    side = SIZE * SCALE
    picture = Image.new("L", (side, side), 120)
    pen = ImageDraw.Draw(picture)
    unit = side / 2
    centre_x, centre_y = unit + shift[0] * SCALE, unit + shift[1] * SCALE

    def box(x: float, y: float, half_width: float, half_height: float) -> list[float]:
        x, y = centre_x + x * unit * head.width, centre_y + y * unit * head.height
        half_width, half_height = half_width * unit, half_height * unit
        return [x - half_width, y - half_height, x + half_width, y + half_height]

    def points(*places: tuple[float, float]) -> np.ndarray:
        placed = np.array(places) * (unit * head.width, unit * head.height) + (centre_x, centre_y)
        return placed / SCALE

    def line(places: list[tuple[float, float]], width: float) -> None:
        placed = [tuple(place) for place in points(*places) * SCALE]
        pen.line(placed, fill=25, width=max(1, round(width * unit)), joint="curve")

    pen.ellipse(box(0, 0, 0.78 * head.width, 0.92 * head.height), fill=round(head.hair))
    face = box(0, head.fringe, 0.68 * head.width, (0.9 - head.fringe) * head.height)
    pen.ellipse(face, fill=round(head.skin))
    for direction in (-1, 1):
        opening = 0.09 * (1 + 0.6 * float(np.clip(expression.eye_open, -1, 1)))
        pen.ellipse(box(EYES[0] * direction, EYES[1], 0.13, opening), fill=240)
        pen.ellipse(box(EYES[0] * direction, EYES[1], 0.06, min(0.06, opening)), fill=20)
        height = -0.3 - 0.09 * expression.brow_height
        slant = 0.12 * expression.brow_slant
        line([(0.14 * direction, height - slant), (0.46 * direction, height + slant)], 0.075)
    across = np.linspace(-MOUTH[0], MOUTH[0], 13)
    bend = MOUTH[1] + 0.2 * expression.mouth_curve * (0.5 - (across / MOUTH[0]) ** 2)
    opening = 0.05 + 0.07 * max(-0.6, expression.mouth_open)
    line(list(zip(across, bend, strict=True)), opening * 2)
    middle, lips = float(bend[6]), opening + 0.14 * speech
    pen.ellipse(box(0, middle, 0.16, lips), fill=25)
    pixels = np.asarray(picture, dtype=np.uint16)
    parts = [pixels[row::SCALE, column::SCALE] for row in range(SCALE) for column in range(SCALE)]
    return Drawing(
        picture=np.sum(parts, axis=0) / len(parts),
        box=(face[0] / SCALE, face[1] / SCALE, face[2] / SCALE, face[3] / SCALE),
        eyes=points((-EYES[0], EYES[1]), EYES),
        mouth=points((-MOUTH[0], bend[0]), (MOUTH[0], bend[-1]), (0, middle), (0, middle))
        + np.array([(0, 0), (0, 0), (0, -lips), (0, lips)]) * unit / SCALE,
    )
