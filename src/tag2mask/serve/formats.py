"""How a prediction is written: index PNG, run-length codes or probabilities."""

import io
import json
from collections.abc import Iterator, Sequence
from typing import Any, Literal, assert_never, get_args

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from tag2mask.errors import Tag2MaskError
from tag2mask.functional.palette import voc_palette
from tag2mask.serve.served import colour
from tag2mask.serve.worker import Answer

Format = Literal["png", "rle", "npz"]
FORMATS: tuple[Format, ...] = get_args(Format)
MEDIA_TYPES: dict[Format, str] = {
    "png": "image/png",
    "rle": "application/json",
    "npz": "application/x-npz",
}
_ACCEPTED: dict[str, Format] = {media: name for name, media in MEDIA_TYPES.items()} | {
    "*/*": "png",
    "image/*": "png",
    "application/*": "rle",
    "application/octet-stream": "npz",
}
_DIGITS = 6


def choose_format(accept: str) -> Format | None:
    """Return the format that an ``Accept`` header likes best, None if it likes none.

    Of equally liked ones the first counts; an empty header takes a PNG.
    """
    liked: list[tuple[float, Format]] = []
    for part in accept.split(",") if accept.strip() else ["*/*"]:
        media, *parameters = (each.strip() for each in part.lower().split(";"))
        weight = _weight(parameters)
        if media in _ACCEPTED and weight > 0:
            liked.append((weight, _ACCEPTED[media]))
    best = max(liked, key=lambda pair: pair[0], default=None)
    return best[1] if best else None


def write_answer(answer: Answer, class_names: Sequence[str], wanted: Format) -> bytes:
    """Return a prediction in the format that was asked for.

    Raises:
        ValueError: If probabilities are asked for that the answer lacks.
        Tag2MaskError: If run-length codes are, and pycocotools is missing.
    """
    match wanted:
        case "png":
            return index_png(answer.labels)
        case "rle":
            return json.dumps(coco_record(answer.labels, class_names)).encode()
        case "npz":
            if answer.probabilities is None:
                raise ValueError("the answer has no probabilities")
            stream = io.BytesIO()
            np.savez(
                stream,
                probabilities=answer.probabilities.astype(np.float16),
                class_names=np.array(class_names, np.str_),
            )
            return stream.getvalue()
        case _:
            assert_never(wanted)


def index_png(labels: UInt8[np.ndarray, "h w"]) -> bytes:
    """Return an 8-bit palette PNG that stores class ids."""
    picture = Image.fromarray(labels)
    picture.putpalette(voc_palette())
    stream = io.BytesIO()
    picture.save(stream, format="PNG", compress_level=1)
    return stream.getvalue()


def coco_record(
    labels: UInt8[np.ndarray, "h w"], class_names: Sequence[str]
) -> dict[str, Any]:
    """Return every class that occurs with its area and COCO's compressed mask."""
    height, width = labels.shape
    return {
        "height": height,
        "width": width,
        "classes": list(_regions(labels, class_names)),
    }


def _regions(
    labels: UInt8[np.ndarray, "h w"], class_names: Sequence[str]
) -> Iterator[dict[str, Any]]:
    encode = _open_encoder()
    for number in np.unique(labels).tolist():
        is_class = labels == number
        code = encode(np.asfortranarray(is_class.astype(np.uint8)))
        area = int(is_class.sum())
        yield {
            "id": number,
            "name": class_names[number],
            "colour": colour(number),
            "area": area,
            "share": round(area / labels.size, _DIGITS),
            "rle": {"size": code["size"], "counts": code["counts"].decode("ascii")},
        }


def _open_encoder() -> Any:  # noqa: ANN401
    try:
        from pycocotools import mask
    except ImportError:
        raise Tag2MaskError(
            "run-length codes need pycocotools, which is an extra: "
            'pip install "tag2mask[serve]"'
        ) from None
    return mask.encode


def _weight(parameters: Sequence[str]) -> float:
    for parameter in parameters:
        if parameter.startswith("q="):
            try:
                return float(parameter[2:])
            except ValueError:
                return 0.0
    return 1.0
