"""Read photographs of many formats to RGB, with errors that name the file.

Needs numpy and Pillow alone, as an exported model does.
"""

import io
import os
import struct
import unicodedata
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NoReturn

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, UnidentifiedImageError

from tag2mask.errors import DatasetError

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff")
_FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "TIFF")
"""Those of the suffixes; Pillow knows others, some of which run programs."""
UNREADABLE = (
    OSError,
    EOFError,
    SyntaxError,
    ValueError,
    TypeError,
    LookupError,
    AttributeError,
    ArithmeticError,
    RuntimeError,
    MemoryError,
    struct.error,
    zlib.error,
)
"""What Pillow makes of a damaged file; which of them depends on the place."""
_NOT_SEARCHED = ("@eaDir", "__MACOSX")
"""What disk stations and archives put beside photographs."""
_CURE = "replace or remove it, or set data.skip_bad=true"
BOMBS = (Image.DecompressionBombError, Image.DecompressionBombWarning)
"""What says that a picture has too many pixels to be decoded."""
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""What turns a picture upright, by its EXIF orientation."""


def read_image(path: Path) -> NDArray[np.uint8]:
    """Return an image's pixels as RGB "h w 3", turned upright as its EXIF data says.

    Transparency is dropped; 16-bit channels keep their upper 8 bits; of several pages
    or frames the first counts. EXIF data that cannot be read does not count.

    Raises:
        DatasetError: If the file is missing, truncated, no image or stores floats,
            naming it.
    """
    try:
        with Image.open(path, formats=_FORMATS) as picture:
            refuse_bomb(picture, Image.MAX_IMAGE_PIXELS)
            return _upright_rgb(picture)
    except FileNotFoundError:
        raise DatasetError(f"{path}: there is no such image") from None
    except BOMBS as error:
        raise DatasetError(
            f"{path} is too large to be a photograph: {error}; {_CURE}"
        ) from None
    except UNREADABLE as error:
        raise DatasetError(
            f"{path} cannot be read as an image ({error}); {_CURE}"
        ) from None


def decode_image(data: bytes, *, most_pixels: int) -> NDArray[np.uint8]:
    """Return the pixels of an image that someone sent, as ``read_image`` does.

    Args:
        data: A whole file: JPEG, PNG, WebP, BMP or TIFF.
        most_pixels: Width times height; a larger picture is refused undecoded.

    Raises:
        DatasetError: If it is larger, or cannot be read as an image.
    """
    try:
        with Image.open(io.BytesIO(data), formats=_FORMATS) as picture:
            refuse_bomb(picture, most_pixels)
            return _upright_rgb(picture)
    except BOMBS as error:
        raise DatasetError(f"the image is too large: {error}") from None
    except UnidentifiedImageError:
        raise DatasetError(
            f"this is no image; expected {', '.join(_FORMATS)}"
        ) from None
    except UNREADABLE as error:
        raise DatasetError(f"the image cannot be read: {error}") from None


def _upright_rgb(picture: Image.Image) -> NDArray[np.uint8]:
    rgb = _rgb(picture)
    turn = _TURNS.get(_orientation(picture))
    return np.array(rgb if turn is None else rgb.transpose(turn))


def refuse_bomb(picture: Image.Image, most: int | None) -> None:
    """Refuse a picture of more pixels before it is decoded.

    Pillow warns first and refuses twice as many; a filter of warnings would be shared
    by threads.

    Raises:
        Image.DecompressionBombError: If it has more than ``most``; None allows any.
    """
    pixels = picture.width * picture.height
    if most is not None and pixels > most:
        raise Image.DecompressionBombError(f"{pixels} pixels, at most {most}")


def _rgb(picture: Image.Image) -> Image.Image:
    if picture.mode.startswith("I"):  # converting would clip what is above 255
        grey = np.asarray(picture).astype(np.int64) >> 8
        return Image.fromarray(grey.clip(0, 255).astype(np.uint8)).convert("RGB")
    if picture.mode == "F":  # converting would take 0..1 for black
        raise ValueError("it stores floats; save it with 8 or 16 bits")
    if picture.mode == "P":  # with transparency it converts by way of RGBA only
        picture = picture.convert("RGBA")
    return picture.convert("RGB")


def _orientation(picture: Image.Image) -> int:
    try:
        return int(picture.getexif().get(ExifTags.Base.Orientation, 1))
    except UNREADABLE:
        return 1


def image_files(folder: Path) -> dict[str, list[Path]]:
    """Find the images below a folder, by name: the relative path without suffix.

    Two files that differ in their suffix only share a name; the caller decides.

    Raises:
        DatasetError: As of ``files_below``; or if a name holds a line break, another
            control code, or bytes that are not UTF-8.
    """
    found: dict[str, list[Path]] = {}
    for path in sorted(filter(is_image, files_below(folder))):
        name = path.relative_to(folder).with_suffix("").as_posix()
        if not is_plain_text(name):
            raise DatasetError(
                f"{folder} holds an image named {path.name!a}: a name is UTF-8 "
                f"without line breaks and other control codes; rename it and its "
                f"folders"
            )
        found.setdefault(name, []).append(path)
    return found


def files_below(folder: Path) -> Iterator[Path]:
    """Yield the files of a folder and of those below it in which images are searched.

    Hidden folders are left out, those that disk stations and archives put beside
    photographs, and a work folder. A link to a folder elsewhere is followed.

    Raises:
        DatasetError: If a folder cannot be read, is a work folder itself, or two links
            lead to the same place.
    """
    root = Path(os.path.realpath(folder))
    searched: dict[str, Path] = {}
    tops = [folder]
    for top in tops:  # grows by the links that are found
        for inside, below, names in os.walk(top, onerror=_refuse_folder):
            place = Path(inside)
            if (real := os.path.realpath(inside)) in searched:
                _refuse_twice(searched[real], place, root)
                below.clear()
                continue
            searched[real] = place
            if _is_work_folder(place, below):
                if place == folder:
                    raise DatasetError(
                        f"{folder} is a work folder; keep the images in a folder "
                        f"below it, or choose another --work"
                    )
                below.clear()
                continue
            below[:] = [each for each in sorted(below) if _is_searched(each)]
            links = [place / each for each in below if _is_link(place / each)]
            # what leads to a folder around this one leads back into it
            around = (root, *root.parents, Path(real), *Path(real).parents)
            tops += [each for each in links if each.resolve() not in around]
            yield from (place / name for name in names)


def _refuse_twice(first: Path, second: Path, root: Path) -> None:
    if not Path(os.path.realpath(second)).is_relative_to(root):
        raise DatasetError(
            f"{first} and {second} are one folder by links; remove one of the links"
        )


def _is_work_folder(folder: Path, below: list[str]) -> bool:
    """Whether a run keeps its artifacts here; its label maps are no images."""
    return "index" in below and any((folder / "index").glob("*/manifest.json"))


def _is_searched(name: str) -> bool:
    return not name.startswith(".") and name not in _NOT_SEARCHED


def _is_link(folder: Path) -> bool:
    # junctions of Windows are links that Python knows from 3.12 on
    is_junction = getattr(os.path, "isjunction", lambda _: False)
    return folder.is_symlink() or bool(is_junction(folder))


def find_images(places: Iterable[Path]) -> dict[str, Path]:
    """Return images by name, sorted, each with a name of its own.

    Args:
        places: Files, named by their stem, or folders that are searched: an image
            keeps its path below the folder that was named.

    Raises:
        DatasetError: If there is no image, or two would share a label map.
    """
    found: dict[str, Path] = {}
    places = list(places)
    for path in places:
        if path.is_dir():
            below = [
                (name, file)
                for name, files in image_files(path).items()
                for file in files
            ]
        elif path.is_file():
            below = [(path.stem, path)]
        else:
            raise DatasetError(f"there is no image or folder {path}")
        for name, file in below:
            if name in found:
                raise DatasetError(
                    f"{found[name]} and {file} would share the label map {name}.png; "
                    f"predict them into folders of their own"
                )
            found[name] = file
    if not found:
        raise DatasetError(f"no image in {', '.join(map(str, places))}")
    return {name: found[name] for name in sorted(found)}


def is_plain_text(text: str) -> bool:
    """Whether a text can be written to a line of a UTF-8 file and read back.

    Control codes cannot, nor halves of surrogate pairs, which JSON can say and which
    stand for bytes of file names that are no UTF-8.
    """
    return all(unicodedata.category(each) not in ("Cc", "Cs") for each in text)


def is_image(path: Path) -> bool:
    """Whether a path is a file that is named like an image.

    ``._`` files, which macOS puts beside photographs, are none.
    """
    is_named = path.suffix.lower() in SUFFIXES and not path.name.startswith("._")
    return is_named and path.is_file()


def _refuse_folder(error: OSError) -> NoReturn:
    raise DatasetError(
        f"{error.filename} cannot be read: {error.strerror}; allow it, or move the "
        f"folder elsewhere"
    ) from None
