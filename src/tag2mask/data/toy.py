"""The toy world: generated scenes with both diseases of class activation maps.

Each object has a small telling part and a large body in a texture that all classes
share, so that a classifier needs the part only; each class stands nine times in ten on
its companion ground, so that a classifier may use the ground instead. Six classes, one
to three objects, clutter that is no class, light, noise and occlusion.

The world is frozen by ``VERSION``: scenes are drawn in whole numbers, so that they are
equal on every machine, and a test holds a digest of them.
"""

import csv
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Int, UInt8
from numpy.random import Generator
from PIL import Image

from tag2mask.artifacts.files import whole_file
from tag2mask.data.classes import ClassPrompts, write_class_prompts
from tag2mask.data.toy_figures import CLUTTER, FIGURES, Figure, Sprite, draw_figure
from tag2mask.data.toy_grounds import PLACES, SKY, draw_ground, words_around
from tag2mask.functional.palette import voc_palette
from tag2mask.functional.shapes import BACKGROUND, IGNORE

VERSION = 1
"""Goes up with every change of a pixel: scores on different versions do not compare."""
CLASSES: tuple[str, ...] = tuple(figure.name for figure in FIGURES)
SPLITS: tuple[str, ...] = ("train", "val")
MIN_SIZE = 32
"""Pixels below which telling parts vanish."""
LAST_FILE = "classes.txt"  # a folder that has it is a whole world
_COUNTS = ("no", "a", "two", "three")


@dataclass(frozen=True)
class Scene:
    """One scene: what is seen, what it is, and what is said about it.

    ``tags`` are the class ids 1..6 of the mask, ascending. A class of which less than
    1/400 of the scene is visible is ``IGNORE`` in the mask and not tagged, and so is
    the one pixel wide outline of every object.
    """

    image: UInt8[np.ndarray, "h w 3"]
    mask: UInt8[np.ndarray, "h w"]
    tags: tuple[int, ...]
    caption: str


@dataclass(frozen=True)
class _Section:
    """A part of the scene from ``left`` to ``right`` with one ground and one class."""

    class_id: int
    ground: int
    num_objects: int
    left: int
    right: int


def draw_scene(rng: Generator, size: int) -> Scene:
    """Draw the next scene of ``rng``, ``size`` pixels high and wide.

    A scene whose every object is hidden is drawn anew.

    Raises:
        ValueError: If ``size`` is below ``MIN_SIZE``.
    """
    if size < MIN_SIZE:
        raise ValueError(f"size: expected at least {MIN_SIZE} pixels, came {size}")
    sections = _plan_sections(rng, size)
    horizon = int(rng.integers(size // 8, size * 3 // 8))
    picture = _draw_grounds(rng, sections, size=size, horizon=horizon)
    owner = np.zeros((size, size), dtype=np.int64)
    classes = [BACKGROUND]
    for figure, section in _plan_figures(rng, sections):
        sprite = _draw_sprite(rng, figure, size)
        corner = _place(rng, sprite, section, size=size, horizon=horizon)
        classes.append(BACKGROUND if figure in CLUTTER else section.class_id)
        _paste(sprite, corner, picture, owner, len(classes) - 1)
    mask = _label(np.array(classes), owner)
    tags = tuple(int(label) for label in np.unique(mask) if 0 < label < IGNORE)
    if not tags:
        return draw_scene(rng, size)
    return Scene(_photograph(rng, picture), mask, tags, _describe(rng, sections, tags))


def _plan_sections(rng: Generator, size: int) -> Sequence[_Section]:
    """Choose one or two sections, their classes, grounds and numbers of objects.

    Most second sections stay without object, so that a ground alone often misleads:
    a class implies its ground more than the ground implies the class.
    """
    num_sections = 1 + int(rng.integers(100) < 85)
    chosen = rng.permutation(len(CLASSES))[:num_sections]
    border = int(rng.integers(size * 7 // 16, size * 9 // 16 + 1))
    edges = (0, size) if num_sections == 1 else (0, border, size)
    num_objects = [1] * num_sections
    if num_sections == 2 and rng.integers(100) < 70:
        num_objects[rng.integers(2)] = 0
    occupied = np.flatnonzero(num_objects)
    for _ in range(3 - len(occupied)):
        num_objects[rng.choice(occupied)] += int(rng.integers(100) < 30)
    sections = []
    for place, companion in enumerate(int(number) for number in chosen):
        stray = (companion + int(rng.integers(1, len(CLASSES)))) % len(CLASSES)
        ground = stray if rng.integers(10) == 0 else companion
        extent = (edges[place], edges[place + 1])
        sections.append(_Section(companion + 1, ground, num_objects[place], *extent))
    return sections


def _plan_figures(
    rng: Generator, sections: Sequence[_Section]
) -> Sequence[tuple[Figure, _Section]]:
    """List the objects of all sections among one to three pieces of clutter.

    The first is farthest: later ones are painted over it.
    """
    figures = [
        (FIGURES[section.class_id - 1], section)
        for section in sections
        for _ in range(section.num_objects)
    ]
    for _ in range(int(rng.integers(1, 4))):
        section = sections[int(rng.integers(len(sections)))]
        figures.append((CLUTTER[rng.integers(len(CLUTTER))], section))
    return [figures[index] for index in rng.permutation(len(figures))]


def _draw_grounds(
    rng: Generator, sections: Sequence[_Section], *, size: int, horizon: int
) -> Int[np.ndarray, "{size} {size} 3"]:
    """Draw the ground of each section, the later ones behind a slanted border."""
    y, x = np.ogrid[:size, :size]
    slant = int(rng.integers(-size // 8, size // 8 + 1))
    picture = np.zeros((size, size, 3), dtype=np.int32)
    for section in sections:
        ground = draw_ground(rng, section.ground, size=size, horizon=horizon)
        shift = (y * 2 - size) * slant // (2 * size) if section.left else 0
        beyond = x >= section.left + shift
        picture = np.where(beyond[:, :, None], ground, picture)
    return picture


def _draw_sprite(rng: Generator, figure: Figure, size: int) -> Sprite:
    """Draw a figure at a random scale, facing left or right."""
    is_clutter = figure in CLUTTER
    least, most = (10, 24) if is_clutter else (24, 46)
    side = int(rng.integers(size * least // 100, size * most // 100 + 1))
    # the side of a square of equal area, so that no class is larger than another
    height = max(4, int(side / math.sqrt(figure.aspect)))
    return draw_figure(rng, figure, height=height, mirror=bool(rng.integers(2)))


def _place(
    rng: Generator, sprite: Sprite, section: _Section, *, size: int, horizon: int
) -> tuple[int, int]:
    """Return top and left of a sprite in its section, on the ground if there is one."""
    height, width = sprite.covered.shape
    low = max(0, section.left - width // 4)
    high = min(size - width, section.right - width * 3 // 4)
    left = int(rng.integers(low, max(low, high) + 1))
    highest = 0 if section.ground == SKY else max(0, horizon + 4 - height * 3 // 4)
    top = int(rng.integers(highest, max(highest, size - height) + 1))
    return top, min(left, size - width)


def _paste(
    sprite: Sprite,
    corner: tuple[int, int],
    picture: Int[np.ndarray, "h w 3"],
    owner: Int[np.ndarray, "h w"],
    number: int,
) -> None:
    """Paint a sprite over ``picture`` and its ``number`` over ``owner``, in place."""
    (top, left), (height, width) = corner, sprite.covered.shape
    window = np.s_[top : top + height, left : left + width]
    picture[window][sprite.covered] = sprite.colours[sprite.covered]
    owner[window][sprite.covered] = number


def _label(
    classes: Int[np.ndarray, "objects"], owner: Int[np.ndarray, "h w"]
) -> UInt8[np.ndarray, "h w"]:
    """Turn object numbers into class ids with ignored outlines and specks."""
    labels: UInt8[np.ndarray, "h w"] = classes[owner].astype(np.uint8)
    padded = np.pad(owner, 1, mode="edge")
    inner = padded[1:-1, 1:-1]
    vertical = (padded[:-2, 1:-1] != inner) | (padded[2:, 1:-1] != inner)
    horizontal = (padded[1:-1, :-2] != inner) | (padded[1:-1, 2:] != inner)
    labels[(vertical | horizontal) & (labels != BACKGROUND)] = IGNORE
    for label in range(1, len(CLASSES) + 1):
        seen = labels == label
        if np.count_nonzero(seen) * 400 < labels.size:
            labels[seen] = IGNORE
    return labels


def _photograph(
    rng: Generator, picture: Int[np.ndarray, "h w 3"]
) -> UInt8[np.ndarray, "h w 3"]:
    """Soften the edges, light the scene and add noise."""
    height, width, _ = picture.shape
    picture = np.pad(picture, ((1, 1), (1, 1), (0, 0)), mode="edge")
    picture = 6 * picture[1:-1] + picture[2:] + picture[:-2]
    picture = (6 * picture[:, 1:-1] + picture[:, 2:] + picture[:, :-2]) >> 6
    light = rng.integers(190, 290) + rng.integers(-8, 9, size=3)
    fall = int(rng.integers(-40, 41))
    ramp = (np.arange(width) * 2 - width) * fall // width
    picture *= (light + ramp[:, None]).astype(np.int32)
    picture >>= 8
    noise = int(rng.integers(3, 13))
    shape = (height, width, 3)
    picture += rng.integers(-noise, noise + 1, size=shape, dtype=np.int16)
    photograph: UInt8[np.ndarray, "h w 3"] = np.clip(picture, 0, 255).astype(np.uint8)
    return photograph


def _describe(
    rng: Generator, sections: Sequence[_Section], tags: tuple[int, ...]
) -> str:
    """Say which tagged objects are where, in one of a few ways."""
    phrases = []
    for section in sections:
        if section.class_id in tags:
            name = CLASSES[section.class_id - 1]
            noun = name if section.num_objects == 1 else f"{name}s"
            count, place = _COUNTS[section.num_objects], PLACES[section.ground]
            phrases.append(f"{count} {noun} {place}")
    opening = ("", "a picture of ", "an image with ", "we see ")[rng.integers(4)]
    joint = (" next to ", " and ", " beside ")[rng.integers(3)]
    return opening + joint.join(phrases)


def write_toy_world(
    root: Path | str, *, num_train: int, num_val: int, random_seed: int, size: int = 128
) -> None:
    """Write a folder of scenes: images, masks, tags, captions, class names and prompts.

    Scene ``i`` of a split depends on ``VERSION``, ``random_seed``, the split, ``i`` and
    ``size`` only: a larger world begins with the smaller one.

    Args:
        root: Gets ``images/NAME.png``, ``masks/NAME.png`` (palette PNG, 255 = ignore),
            ``tags.csv`` (image, split, tags joined by ``;``), ``captions.csv`` (image,
            split, caption), ``prompts.toml`` (grounds of each class, its companion
            first) and ``classes.txt`` (class id = line number).
        num_train: Scenes of split ``train``, at least 1.
        num_val: Scenes of split ``val``, at least 0.
        random_seed: Another one gives other scenes; at least 0.
        size: Height and width in pixels, at least ``MIN_SIZE``.

    Raises:
        ValueError: If a number is below its bound.
        ArtifactError: If the folder cannot be written.
    """
    root = Path(root)
    counts = {"num_train": (num_train, 1), "num_val": (num_val, 0)}
    bounds = {**counts, "random_seed": (random_seed, 0), "size": (size, MIN_SIZE)}
    for knob, (value, least) in bounds.items():
        if value < least:
            raise ValueError(f"{knob}: expected at least {least}, came {value}")
    palette = voc_palette()
    tags, captions = [], []
    for place, split in enumerate(SPLITS):
        for i in range((num_train, num_val)[place]):
            rng = np.random.default_rng([VERSION, random_seed, place, i, size])
            name, scene = f"{split}_{i:05d}", draw_scene(rng, size)
            picture, mask = map(Image.fromarray, (scene.image, scene.mask))
            mask.putpalette(palette)
            for folder, each in (("images", picture), ("masks", mask)):
                with whole_file(root / folder / f"{name}.png") as scratch:
                    each.save(scratch, format="PNG", compress_level=1)
            tags.append((name, split, ";".join(CLASSES[k - 1] for k in scene.tags)))
            captions.append((name, split, scene.caption))
    _write_table(root / "tags.csv", ("image", "split", "tags"), tags)
    _write_table(root / "captions.csv", ("image", "split", "caption"), captions)
    prompts = (ClassPrompts(c, (c,), words_around(i)) for i, c in enumerate(CLASSES))
    write_class_prompts(root / "prompts.toml", prompts)
    with whole_file(root / LAST_FILE) as scratch:
        scratch.write_text("\n".join(CLASSES) + "\n", encoding="utf-8")


def _write_table(
    path: Path, header: Sequence[str], rows: Iterable[Sequence[str]]
) -> None:
    with (
        whole_file(path) as scratch,
        scratch.open("w", encoding="utf-8", newline="") as stream,
    ):
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)
