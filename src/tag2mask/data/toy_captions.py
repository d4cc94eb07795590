"""Pairs of image and caption from the toy world, for training an image-text model."""

import csv
from pathlib import Path

import numpy as np
from PIL import Image

from tag2mask.artifacts.files import whole_file
from tag2mask.data.captions import IMAGES, TABLE
from tag2mask.data.toy import VERSION, draw_scene

_PLACE = 1000
"""Stands where the seed of a world's scene has the place of its split: 0, 1, ..."""


def toy_caption_seed(i: int, *, random_seed: int, size: int) -> list[int]:
    """Return what seeds caption scene ``i``.

    A scene of a toy world has the number of its split in the third place, so that no
    world has a caption scene, whatever its random seed.
    """
    return [VERSION, random_seed, _PLACE, i, size]


def write_toy_captions(
    root: Path, *, num_pairs: int, random_seed: int, size: int = 128
) -> None:
    """Write a folder of pairs that ``data.captions`` reads, without any mask.

    Args:
        root: Gets ``images/NAME.png`` and ``captions.csv`` (image, caption).
        num_pairs: Scenes, at least 1.
        random_seed: Another one gives other scenes; at least 0.
        size: Height and width in pixels.

    Raises:
        ValueError: If a number is below its bound.
        ArtifactError: If the folder cannot be written.
    """
    for knob, value, least in (
        ("num_pairs", num_pairs, 1),
        ("random_seed", random_seed, 0),
    ):
        if value < least:
            raise ValueError(f"{knob}: expected at least {least}, came {value}")
    rows = []
    for i in range(num_pairs):
        seed = toy_caption_seed(i, random_seed=random_seed, size=size)
        scene, name = draw_scene(np.random.default_rng(seed), size), f"pair_{i:05d}"
        with whole_file(root / IMAGES / f"{name}.png") as scratch:
            Image.fromarray(scene.image).save(scratch, format="PNG", compress_level=1)
        rows.append((name, scene.caption))
    with (
        whole_file(root / TABLE) as scratch,
        scratch.open("w", encoding="utf-8", newline="") as stream,
    ):
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerows([("image", "caption"), *rows])
