"""The grounds of the toy world: what its objects stand on, drawn in whole numbers."""

import numpy as np
from jaxtyping import Int
from numpy.random import Generator

HORIZON_COLOUR = (198, 190, 178)


def _speckle(
    rng: Generator, size: int, grain: int, strength: int
) -> Int[np.ndarray, "{size} {size} 1"]:
    """Return blocks of ``grain`` pixels whose brightness varies by ``strength``."""
    num_blocks = -(-size // grain)
    shape = (num_blocks, num_blocks)
    blocks = rng.integers(-strength, strength + 1, size=shape, dtype=np.int32)
    grains: Int[np.ndarray, "h w"] = blocks.repeat(grain, 0).repeat(grain, 1)
    return grains[:size, :size, None]


def _triangle_wave(
    positions: Int[np.ndarray, "*n"], period: int
) -> Int[np.ndarray, "*n"]:
    """Return 0..period/2 and back: a wave without the rounding of a sine."""
    wave: Int[np.ndarray, "*n"] = np.abs(positions % period - period // 2)
    return wave


def _plain(
    rng: Generator, size: int, colour: tuple[int, int, int], jitter: int
) -> Int[np.ndarray, "{size} {size} 3"]:
    shifted = np.array(colour) + rng.integers(-jitter, jitter + 1, size=3)
    return np.broadcast_to(shifted, (size, size, 3)).astype(np.int32)


def _rails(rng: Generator, size: int) -> Int[np.ndarray, "{size} {size} 3"]:
    ground = _plain(rng, size, (140, 124, 112), 12)
    ground += _speckle(rng, size, max(1, size // 64), 26)
    y, x = np.ogrid[:size, :size]
    period = size * 5 // 16
    row = (y + int(rng.integers(period))) % period * 64 // size
    sleeper = (row >= 2) & (row < 14) & ((x + y // 3) * 64 // size % 8 < 3)
    ground[sleeper] = (92, 66, 50)
    steel = np.broadcast_to((row == 4) | (row == 10), (size, size))
    ground[steel] = (204, 208, 216)
    return ground


def _water(rng: Generator, size: int) -> Int[np.ndarray, "{size} {size} 3"]:
    ground = _plain(rng, size, (44, 104, 158), 14)
    y, x = np.ogrid[:size, :size]
    shift = int(rng.integers(64))
    wave = _triangle_wave(x * 64 // size + shift, 12) + y * 64 // size
    ground[wave % 9 < 2] += (34, 40, 36)
    ground += _speckle(rng, size, max(1, size // 32), 7)
    return ground


def _sky(rng: Generator, size: int) -> Int[np.ndarray, "{size} {size} 3"]:
    ground = _plain(rng, size, (112, 172, 228), 14)
    y, x = np.ogrid[:size, :size]
    ground += (y * 44 // size)[:, :, None]
    for _ in range(int(rng.integers(4, 8))):
        left, top = rng.integers(size, size=2)
        width, height = rng.integers(size // 8, size // 4), rng.integers(4, 9)
        across = (x - left) * (x - left) * 256 // (width * width)
        down = (y - top) * (y - top) * 256 // (height * height * size * size // 16384)
        ground[across + down <= 256] = (238, 242, 246)
    return ground


def _grass(rng: Generator, size: int) -> Int[np.ndarray, "{size} {size} 3"]:
    ground = _plain(rng, size, (88, 146, 62), 14)
    ground += _speckle(rng, size, max(1, size // 16), 9)
    tufts = _speckle(rng, size, max(1, size // 64), 24)
    ground[:, :, :2] += tufts
    return ground


def _road(rng: Generator, size: int) -> Int[np.ndarray, "{size} {size} 3"]:
    ground = _plain(rng, size, (86, 88, 94), 10)
    ground += _speckle(rng, size, 1, 8)
    y, x = np.ogrid[:size, :size]
    period = size * 5 // 16
    row = (y + int(rng.integers(period))) % period * 64 // size
    dash = (row < 2) & ((x * 64 // size + int(rng.integers(16))) % 16 < 9)
    ground[dash] = (232, 228, 216)
    return ground


def _snow(rng: Generator, size: int) -> Int[np.ndarray, "{size} {size} 3"]:
    ground = _plain(rng, size, (224, 232, 242), 8)
    y, x = np.ogrid[:size, :size]
    drift = _triangle_wave(x * 64 // size + int(rng.integers(64)), 40)
    ridge = (drift + y * 64 // size * 2) % 24
    for channel, strength in enumerate((4, 2, 2)):
        ground[:, :, channel] -= ridge * strength // 2
    ground += _speckle(rng, size, max(1, size // 64), 5)
    return ground


_GROUNDS = (_rails, _water, _sky, _grass, _road, _snow)

PLACES: tuple[str, ...] = (
    "on rails",
    "on the water",
    "in the sky",
    "on grass",
    "on a road",
    "in the snow",
)
"""How a caption names each ground; ground ``i`` is the companion of class ``i + 1``."""
WORDS: tuple[str, ...] = ("rails", "water", "sky", "grass", "road", "snow")
"""What each ground is called."""


def words_around(ground: int) -> tuple[str, ...]:
    """Return the words of all grounds, that of ``ground`` first."""
    return (WORDS[ground], *WORDS[:ground], *WORDS[ground + 1 :])


SKY = PLACES.index("in the sky")


def draw_ground(
    rng: Generator, ground: int, *, size: int, horizon: int
) -> Int[np.ndarray, "{size} {size} 3"]:
    """Draw one ground below ``horizon`` with hazy hills above; the sky has no horizon.

    Every ground but the sky shares the haze, so that it tells no class.
    """
    picture = _GROUNDS[ground](rng, size)
    if ground == SKY:
        return picture
    haze = _plain(rng, size, HORIZON_COLOUR, 10)[:horizon]
    y, x = np.ogrid[:horizon, :size]
    height = _triangle_wave(x + int(rng.integers(size)), size * 5 // 8) * 5 // 16
    haze -= np.int32(32) * (y + height > horizon)[:, :, None]
    picture[:horizon] = haze
    return picture
