"""Pictures of the report: arrays in, PNG or JPEG bytes out; equal in, equal out."""

import io
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image, ImageDraw, ImageFont

from tag2mask.functional.palette import voc_palette
from tag2mask.functional.shapes import BACKGROUND, IGNORE

OPACITY = 0.7
"""Of a layer over its photograph."""
BRIGHTNESS = 0.5
"""Of a photograph below a layer: the layer's colours stay what the legend says."""

_HEAT = (  # from dark to light, so that it reads without colour vision too
    (0, 0, 4),
    (66, 10, 104),
    (147, 38, 103),
    (221, 81, 58),
    (252, 165, 10),
    (252, 255, 164),
)
_HEAT_STEPS = 64
_UNLABELLED, _NOISY, _CLEAN = range(3)
_CLEAN_COLOURS = ((150, 150, 150, 255), (215, 48, 39, 255), (26, 152, 80, 255))
_GAP = 8
_CAPTION = 18
_FONT_SIZE = 12
_WIDEST_TILE = 240


class Layer(NamedTuple):
    """Something to lay over a photograph.

    Attributes:
        values: Which colour each pixel has; of any size, stretched to the photograph.
        colours: Red, green, blue and alpha of each value.
        is_smooth: Whether pixels between two values may mix their colours.
    """

    values: UInt8[np.ndarray, "h w"]
    colours: UInt8[np.ndarray, "n 4"]
    is_smooth: bool


def labels_layer(labels: UInt8[np.ndarray, "h w"]) -> Layer:
    """Colour a label map by PASCAL VOC's palette; background is transparent."""
    colours = np.full((256, 4), 255, np.uint8)
    colours[:, :3] = np.array(voc_palette(), np.uint8).reshape(256, 3)
    colours[BACKGROUND, 3] = 0
    return Layer(labels, colours, is_smooth=False)


def heat_layer(scores: Float[np.ndarray, "h w"]) -> Layer:
    """Colour an activation in [0, 1]: none is transparent, full is light yellow."""
    steps = np.linspace(0, 1, _HEAT_STEPS)
    stops = np.linspace(0, 1, len(_HEAT))
    channels = [np.interp(steps, stops, each) for each in zip(*_HEAT, strict=True)]
    # opaque from two thirds on, so that weak activation lets the photograph through
    colours = np.stack([*channels, 255 * np.minimum(1, 1.5 * steps)], axis=1)
    values = np.rint(scores.clip(0, 1) * (_HEAT_STEPS - 1)).astype(np.uint8)
    return Layer(values, np.rint(colours).astype(np.uint8), is_smooth=True)


def clean_layer(
    labels: UInt8[np.ndarray, "h w"],
    support: UInt8[np.ndarray, "h w"],
    *,
    min_support: int,
) -> Layer:
    """Colour a vote: green where clean, red where noisy, grey where unlabelled."""
    values = np.where(support >= min_support, _CLEAN, _NOISY)
    values[labels == IGNORE] = _UNLABELLED
    colours = np.array(_CLEAN_COLOURS, np.uint8)
    return Layer(values.astype(np.uint8), colours, is_smooth=False)


def fitting(width: int, height: int, *, side: int) -> tuple[int, int]:
    """Return the size with the longest side at most ``side``; nothing is enlarged."""
    factor = min(1.0, side / max(width, height))
    return max(1, round(width * factor)), max(1, round(height * factor))


def photo_jpeg(photo: UInt8[np.ndarray, "h w 3"], *, side: int) -> bytes:
    """Encode a photograph as a small JPEG."""
    picture = Image.fromarray(photo)
    small = picture.resize(fitting(*picture.size, side=side), Image.Resampling.LANCZOS)
    stream = io.BytesIO()
    small.save(stream, format="JPEG", quality=80, optimize=True)
    return stream.getvalue()


def layer_png(layer: Layer, *, side: int) -> bytes:
    """Encode a layer as a PNG that has no colour but those that occur.

    A class that is smaller than a pixel of the picture may get lost: pixels are
    picked, not mixed.
    """
    picture = Image.fromarray(layer.values)
    size = fitting(*picture.size, side=side)
    small = np.asarray(picture.resize(size, Image.Resampling.NEAREST))
    found, places = np.unique(small, return_inverse=True)
    colours = layer.colours[found]
    coded = Image.fromarray(places.reshape(small.shape).astype(np.uint8))
    coded.putpalette(colours[:, :3].tobytes())
    stream = io.BytesIO()
    alpha = colours[:, 3].tobytes()
    coded.save(stream, format="PNG", optimize=True, transparency=alpha)
    return stream.getvalue()


def blend(
    photo: UInt8[np.ndarray, "h w 3"], layer: Layer | None, size: tuple[int, int]
) -> Image.Image:
    """Return the photograph at a size, darkened below a layer if there is one."""
    picture = Image.fromarray(photo).resize(size, Image.Resampling.LANCZOS)
    if layer is None:
        return picture
    dark = picture.point([round(BRIGHTNESS * value) for value in range(256)] * 3)
    how = Image.Resampling.BILINEAR if layer.is_smooth else Image.Resampling.NEAREST
    cover = Image.fromarray(layer.colours[layer.values]).resize(size, how)
    # an array, since Pillow's own alpha would have to be scaled band by band
    pixels = np.asarray(cover, np.float32)
    alpha = OPACITY * pixels[..., 3:] / 255
    mixed = (1 - alpha) * np.asarray(dark, np.float32) + alpha * pixels[..., :3]
    return Image.fromarray(np.rint(mixed).astype(np.uint8))


class Tile(NamedTuple):
    """One cell of a strip: a caption, a photograph and what lies over it."""

    caption: str
    photo: UInt8[np.ndarray, "h w 3"]
    layer: Layer | None


def strip(rows: Sequence[Sequence[Tile]], *, width: int) -> Image.Image:
    """Put tiles side by side, their captions below them, on white.

    Args:
        rows: At least one tile each.
        width: That the longest row fills, in pixels, unless its tiles are few.
    """
    num_columns = max(map(len, rows))
    side = min(_WIDEST_TILE, (width - _GAP) // num_columns - _GAP)
    width = _GAP + num_columns * (side + _GAP)
    sizes = [_tile_size(row[0].photo, side) for row in rows]
    height = _GAP + sum(size[1] + _CAPTION + _GAP for size in sizes)
    sheet = Image.new("RGB", (width, height), "white")
    draw = ImageDraw.Draw(sheet)
    font = ImageFont.load_default(_FONT_SIZE)
    top = _GAP
    for row, size in zip(rows, sizes, strict=True):
        for number, tile in enumerate(row):
            left = _GAP + number * (side + _GAP)
            sheet.paste(blend(tile.photo, tile.layer, size), (left, top))
            place = left, top + size[1] + 2
            draw.text(place, _shortened(tile.caption, side, font), "black", font)
        top += size[1] + _CAPTION + _GAP
    return sheet


def small_png(picture: Image.Image, *, limit: int) -> bytes:
    """Encode a picture as PNG with as many colours as ``limit`` bytes allow.

    With 16 colours the limit is no longer kept.
    """
    data = b""
    for num_colours in (256, 128, 64, 32, 16):
        stream = io.BytesIO()
        few = picture.quantize(num_colours, dither=Image.Dither.NONE)
        few.save(stream, format="PNG", optimize=True)
        data = stream.getvalue()
        if len(data) <= limit:
            break
    return data


def _tile_size(photo: UInt8[np.ndarray, "h w 3"], side: int) -> tuple[int, int]:
    """Return the size of a photograph as wide as its column, unless it is upright."""
    height, width = photo.shape[:2]
    factor = side / max(width, height)
    return max(1, round(width * factor)), max(1, round(height * factor))


def _shortened(
    text: str, width: int, font: ImageFont.ImageFont | ImageFont.FreeTypeFont
) -> str:
    if font.getlength(text) <= width:
        return text
    while text and font.getlength(f"{text}...") > width:
        text = text[:-1]
    return f"{text}..."
