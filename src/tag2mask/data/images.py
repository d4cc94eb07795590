"""Read photographs: JPEG and PNG to RGB, with errors that name the file."""

import warnings
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageOps

from tag2mask.errors import DatasetError

SUFFIXES = (".jpg", ".jpeg", ".png")


def read_image(path: Path) -> UInt8[np.ndarray, "h w 3"]:
    """Return an image's pixels as RGB, turned upright as its EXIF data says.

    Raises:
        DatasetError: If the file is missing, truncated or no image, naming it.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(path) as picture:
                upright = ImageOps.exif_transpose(picture)
                return np.array(upright.convert("RGB"))
    except FileNotFoundError:
        raise DatasetError(f"{path}: there is no such image") from None
    except (OSError, SyntaxError, ValueError) as error:
        raise DatasetError(
            f"{path} cannot be read as an image ({error}); replace or remove it, or "
            f"set data.skip_bad=true"
        ) from None
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise DatasetError(f"{path} is too large to be a photograph: {error}") from None


def image_files(folder: Path) -> dict[str, list[Path]]:
    """Find the images below a folder, by name: the relative path without suffix.

    Two files that differ in their suffix only share a name; the caller decides.
    """
    found: dict[str, list[Path]] = {}
    for path in sorted(folder.rglob("*")):
        if path.suffix.lower() in SUFFIXES and path.is_file():
            name = path.relative_to(folder).with_suffix("").as_posix()
            found.setdefault(name, []).append(path)
    return found
