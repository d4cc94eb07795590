"""The objects of the toy world: outlines and paint, drawn with whole-number arithmetic.

A figure is a list of pieces on a unit square, painted in order. Its body wears one of
the textures that all classes and all clutter share; its telling pieces have colours
that no other class has.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import assert_never

import numpy as np
from jaxtyping import Bool, Float, Int
from numpy.random import Generator

BODY = None
"""Paint of a piece that wears the shared texture of its object."""

Colour = tuple[int, int, int]


@dataclass(frozen=True)
class Polygon:
    """A convex polygon on the unit square, x to the right, y down, clockwise."""

    corners: Sequence[tuple[float, float]]
    paint: Colour | None = BODY
    telling: bool = False


@dataclass(frozen=True)
class Ellipse:
    """An axis-parallel ellipse on the unit square."""

    centre: tuple[float, float]
    radii: tuple[float, float]
    paint: Colour | None = BODY
    telling: bool = False


Piece = Polygon | Ellipse


@dataclass(frozen=True)
class Figure:
    """The pieces of one class and how wide its box is for its height."""

    name: str
    aspect: float
    pieces: Sequence[Piece]


def box(
    left: float,
    top: float,
    right: float,
    bottom: float,
    paint: Colour | None = BODY,
    telling: bool = False,
) -> Polygon:
    """Return an upright rectangle on the unit square."""
    corners = ((left, top), (right, top), (right, bottom), (left, bottom))
    return Polygon(corners, paint, telling)


DARK = (44, 42, 46)

TRAIN = Figure(
    "train",
    2.1,
    (
        box(0.06, 0.84, 0.94, 0.93, DARK),
        Ellipse((0.2, 0.91), (0.05, 0.09), DARK),
        Ellipse((0.5, 0.91), (0.05, 0.09), DARK),
        Ellipse((0.8, 0.91), (0.05, 0.09), DARK),
        box(0.0, 0.1, 0.86, 0.86),
        Polygon(((0.86, 0.1), (0.93, 0.2), (1.0, 0.62), (1.0, 0.86), (0.86, 0.86))),
        box(0.78, 0.52, 1.0, 0.86, (240, 200, 30), True),
        Polygon(((0.83, 0.52), (0.88, 0.52), (0.84, 0.86), (0.79, 0.86)), DARK, True),
        Polygon(((0.93, 0.52), (0.98, 0.52), (0.94, 0.86), (0.89, 0.86)), DARK, True),
    ),
)
BOAT = Figure(
    "boat",
    1.7,
    (
        box(0.62, 0.0, 0.65, 0.5, DARK),
        box(0.18, 0.28, 0.56, 0.62),
        Polygon(((0.0, 0.55), (1.0, 0.55), (0.84, 1.0), (0.14, 1.0))),
        Polygon(((0.65, 0.02), (0.94, 0.16), (0.65, 0.3)), (214, 30, 44), True),
        Polygon(((0.65, 0.1), (0.78, 0.16), (0.65, 0.22)), (245, 240, 235), True),
        Ellipse((0.36, 0.72), (0.09, 0.153), (214, 30, 44), True),
        Ellipse((0.36, 0.72), (0.045, 0.076), (245, 240, 235), True),
    ),
)
BIRD = Figure(
    "bird",
    1.5,
    (
        Polygon(((0.0, 0.42), (0.3, 0.5), (0.2, 0.74), (0.0, 0.62))),
        Ellipse((0.44, 0.62), (0.34, 0.3)),
        Polygon(((0.22, 0.02), (0.36, 0.0), (0.6, 0.5), (0.34, 0.56))),
        Ellipse((0.76, 0.36), (0.15, 0.2), (232, 72, 36), True),
        Polygon(((0.86, 0.28), (1.0, 0.4), (0.86, 0.48)), (252, 196, 16), True),
        Ellipse((0.78, 0.33), (0.07, 0.1), (250, 250, 240), True),
        Ellipse((0.795, 0.33), (0.034, 0.05), (16, 16, 16), True),
    ),
)
COW = Figure(
    "cow",
    1.45,
    (
        box(0.12, 0.6, 0.21, 1.0),
        box(0.27, 0.6, 0.36, 0.98),
        box(0.56, 0.6, 0.65, 0.98),
        box(0.7, 0.6, 0.79, 1.0),
        Ellipse((0.44, 0.5), (0.42, 0.27)),
        box(0.1, 0.27, 0.78, 0.6),
        box(0.74, 0.14, 0.96, 0.5),
        Polygon(((0.7, 0.0), (0.76, 0.0), (0.82, 0.15), (0.75, 0.16)), (240, 228, 190)),
        Polygon(((0.94, 0.0), (1.0, 0.0), (0.95, 0.16), (0.88, 0.15)), (240, 228, 190)),
        Ellipse((0.87, 0.47), (0.13, 0.11), (242, 150, 170), True),
        Ellipse((0.82, 0.47), (0.028, 0.04), (120, 40, 60), True),
        Ellipse((0.92, 0.47), (0.028, 0.04), (120, 40, 60), True),
    ),
)
CAR = Figure(
    "car",
    1.9,
    (
        Polygon(((0.26, 0.08), (0.66, 0.08), (0.8, 0.45), (0.14, 0.45))),
        box(0.0, 0.42, 1.0, 0.84),
        Ellipse((0.23, 0.82), (0.11, 0.18), (24, 24, 28), True),
        Ellipse((0.77, 0.82), (0.11, 0.18), (24, 24, 28), True),
        Ellipse((0.23, 0.82), (0.055, 0.09), (90, 235, 235), True),
        Ellipse((0.77, 0.82), (0.055, 0.09), (90, 235, 235), True),
    ),
)
HOUSE = Figure(
    "house",
    1.15,
    (
        box(0.7, 0.04, 0.8, 0.3),
        box(0.06, 0.36, 0.94, 1.0),
        Polygon(((0.3, 0.06), (0.7, 0.06), (1.0, 0.4), (0.0, 0.4))),
        box(0.38, 0.62, 0.62, 1.0, (110, 50, 150), True),
        Ellipse((0.5, 0.63), (0.12, 0.09), (110, 50, 150), True),
        box(0.44, 0.68, 0.56, 0.8, (250, 235, 120), True),
    ),
)
FIGURES: tuple[Figure, ...] = (TRAIN, BOAT, BIRD, COW, CAR, HOUSE)

CLUTTER: tuple[Figure, ...] = (
    Figure("crate", 1.2, (box(0.0, 0.0, 1.0, 1.0),)),
    Figure("rock", 1.6, (Ellipse((0.5, 0.6), (0.5, 0.4)),)),
    Figure("heap", 1.5, (Polygon(((0.35, 0.0), (0.6, 0.0), (1.0, 1.0), (0.0, 1.0))),)),
    Figure("post", 0.25, (box(0.0, 0.0, 1.0, 1.0),)),
)

BODY_COLOURS: tuple[Colour, ...] = (
    (176, 172, 166),
    (206, 190, 158),
    (150, 104, 74),
    (104, 118, 146),
    (122, 142, 104),
    (164, 92, 88),
    (226, 222, 216),
    (92, 88, 92),
)


def body_texture(
    rng: Generator, height: int, width: int
) -> Int[np.ndarray, "{height} {width} 3"]:
    """Return a shared texture: a quiet colour in bands, bars, chequers, spots or plain.

    Clutter and the bodies of all classes draw from the same textures, so that a body
    does not tell its class.
    """
    colour = np.array(BODY_COLOURS[rng.integers(len(BODY_COLOURS))]) + rng.integers(
        -14, 15, size=3
    )
    contrast = int(rng.integers(18, 46))
    period = int(rng.integers(4, 9)) * max(height, width) // 64 + 3
    y, x = np.ogrid[:height, :width]
    spot = (x % period * 2 - period) ** 2 + (y % period * 2 - period) ** 2
    patterns = (
        np.zeros((height, width), dtype=bool),
        np.broadcast_to(y // period % 2 == 0, (height, width)),
        np.broadcast_to(x // period % 2 == 0, (height, width)),
        (x // period + y // period) % 2 == 0,
        spot * 4 < period * period * 2,
    )
    pattern = patterns[rng.integers(len(patterns))]
    texture: Int[np.ndarray, "h w 3"] = colour - contrast * pattern[:, :, None]
    return texture


def inside(
    piece: Piece, x: Float[np.ndarray, "#h w"], y: Float[np.ndarray, "h #w"]
) -> Bool[np.ndarray, "h w"]:
    """Return which points of the unit square a piece covers, its border included."""
    match piece:
        case Ellipse():
            across = (x - piece.centre[0]) / piece.radii[0]
            down = (y - piece.centre[1]) / piece.radii[1]
            disc: Bool[np.ndarray, "h w"] = across * across + down * down <= 1
            return disc
        case Polygon():
            ends = (*piece.corners[1:], piece.corners[0])
            covered = np.ones(np.broadcast_shapes(x.shape, y.shape), dtype=bool)
            for (x0, y0), (x1, y1) in zip(piece.corners, ends, strict=True):
                covered &= (x1 - x0) * (y - y0) >= (y1 - y0) * (x - x0)
            return covered
        case _:
            assert_never(piece)


@dataclass(frozen=True)
class Sprite:
    """A drawn figure: its colours, what it covers, and where it tells its class."""

    colours: Int[np.ndarray, "h w 3"]
    covered: Bool[np.ndarray, "h w"]
    telling: Bool[np.ndarray, "h w"]


def draw_figure(rng: Generator, figure: Figure, *, height: int, mirror: bool) -> Sprite:
    """Draw a figure ``height`` pixels tall in a texture and tints of its own.

    Only sums, products, quotients and comparisons of floats are taken, which IEEE 754
    rounds alike on every machine.
    """
    width = max(2, int(height * figure.aspect))
    y = (np.arange(height)[:, None] + 0.5) / height
    x = (np.arange(width)[None, :] + 0.5) / width
    x = 1 - x if mirror else x
    colours = body_texture(rng, height, width)
    tint = rng.integers(-16, 17, size=3)
    covered = np.zeros((height, width), dtype=bool)
    telling = np.zeros((height, width), dtype=bool)
    for piece in figure.pieces:
        area = inside(piece, x, y)
        covered |= area
        if piece.paint is not BODY:
            colours[area] = np.array(piece.paint) + tint
            telling[area] = piece.telling
    return Sprite(colours, covered, telling)
