"""Label images with an exported model: numpy, Pillow and ONNX Runtime, no torch.

from tag2mask.deploy import Predictor
Predictor("model.onnx").predict("photo.jpg").overlay().save("seen.png")
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tag2mask.artifacts.claim import CLASSES, claim_folder
from tag2mask.artifacts.files import file_digest, write_json
from tag2mask.errors import ModelError
from tag2mask.pictures import find_images, read_image
from tag2mask.segmentation import Segmentation

SUFFIX = ".onnx"
INPUT, LOGITS, LABELS = "image", "logits", "labels"
"""Names in the graph: uint8 "b h w 3", float32 "b k h w", uint8 "b h w"."""
_MOST_PRESENCE = 100.0
"""As in recipes."""


class Predictor:
    """A model that ``tag2mask export onnx`` wrote.

    Attributes:
        class_names: By class id, background first.
        palette: Red, green and blue in 0..255 by class id.
        card: Everything else that is known of the model.
        presence: How far it doubts classes that are certain nowhere in an image; see
            ``functional.presence``.

    Args:
        path: The file.
        threads: Of ONNX Runtime; 0: as many as cores.

    Raises:
        ModelError: If the file is missing or no such model, or ONNX Runtime is not
            installed.
    """

    def __init__(self, path: Path | str, *, threads: int = 0) -> None:
        self._path = Path(path)
        self._session, self._refusals = _open(self._path, threads)
        found = self._session.get_modelmeta().custom_metadata_map
        try:
            self.class_names = tuple(map(str, json.loads(found["class_names"])))
            colours = json.loads(found["colours"])
            self.palette = tuple((red, green, blue) for red, green, blue in colours)
            self.card: dict[str, Any] = dict(json.loads(found["card"]))
            self.presence = float(found.get("presence", 0))
            if not 0 <= self.presence <= _MOST_PRESENCE:
                raise ValueError
        except (KeyError, TypeError, ValueError, RecursionError):
            raise ModelError(
                f"{path} does not name its classes, colours and presence as it "
                f"should: expected a file of `tag2mask export onnx`"
            ) from None

    def protocol(self) -> dict[str, Any]:
        """Return how it predicts, as a recipe's table ``predict``."""
        told = {"presence": self.presence} if self.presence else {}
        return {"scales": [1.0], "flip": False, "crf": "none", **told}

    def predict(self, image: Path | str | NDArray[np.uint8]) -> Segmentation:
        """Return the class of each pixel of an image of any size.

        Args:
            image: A file, or RGB pixels, uint8 "h w 3".

        Raises:
            DatasetError: If the file cannot be read as an image.
            ModelError: If the network takes no images of this size.
            ValueError: If pixels are of another kind.
        """
        pixels = _pixels(image)
        labels = self.labels(pixels[None])
        return Segmentation(labels[0], self.class_names, pixels, self.palette)

    def labels(self, images: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Return class ids "b h w" of RGB images of one size, uint8 "b h w 3"."""
        found: NDArray[np.uint8] = self._run(LABELS, images)
        return found

    def logits(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return logits "b k h w" at the size of RGB images, uint8 "b h w 3"."""
        found: NDArray[np.float32] = self._run(LOGITS, images)
        return found

    def _run(self, output: str, images: NDArray[np.uint8]) -> Any:  # noqa: ANN401
        try:
            (found,) = self._session.run([output], {INPUT: images})
        except self._refusals as error:
            height, width = images.shape[1:3]
            raise ModelError(
                f"{self._path} takes no image of {width}x{height} pixels: {error}"
            ) from None
        return found


def predict_files(
    model: Path | str,
    images: Sequence[Path | str],
    out: Path | str,
    *,
    threads: int = 0,
) -> tuple[int, str]:
    """Write an index PNG for each image, and classes.json, into ``out``.

    Args:
        model: A file of ``tag2mask export onnx``.
        images: Files, or folders that are searched for images. An image keeps its
            path below the folder that was named.
        out: Images that have a label map there are left alone, so that a second call
            continues the first; it must hold no label maps of anything else.
        threads: Of ONNX Runtime; 0: as many as cores.

    Returns:
        How many images there are, and the protocol in words.

    Raises:
        DatasetError: If there is no image, one cannot be read, two would share a
            label map, or ``out`` holds label maps that something else made.
        ModelError: If ``model`` is no such file.
    """
    out, model = Path(out), Path(model)
    predictor = Predictor(model, threads=threads)
    found = find_images(Path(image) for image in images)
    claim_folder(
        out, {"weights": file_digest(model), "predict": predictor.protocol()}, found
    )
    write_json(out / CLASSES, list(predictor.class_names))
    for name, file in found.items():
        path = out / f"{name}.png"
        if not path.exists():
            predictor.predict(file).save(path)
    told = f", presence {predictor.presence:g}" if predictor.presence else ""
    return len(found), f"scales 1{told}, CRF none"


def _import_runtime() -> tuple[Any, tuple[type[Exception], ...]]:
    """Return ONNX Runtime, and what it raises about a file or an input."""
    try:
        import onnxruntime
        from onnxruntime.capi import onnxruntime_pybind11_state as state
    except ImportError:
        raise ModelError(
            "an exported model is run by ONNX Runtime; install it with "
            "pip install onnxruntime"
        ) from None
    refusals = (
        state.Fail,
        state.InvalidArgument,
        state.InvalidGraph,
        state.InvalidProtobuf,
        state.NoSuchFile,
        state.NotImplemented,
        state.RuntimeException,
    )
    return onnxruntime, refusals


def _open(path: Path, threads: int) -> tuple[Any, tuple[type[Exception], ...]]:
    runtime, refusals = _import_runtime()
    if not path.is_file():
        raise ModelError(f"there is no exported model {path}")
    options = runtime.SessionOptions()
    options.intra_op_num_threads = threads
    # warnings of the runtime tell a user of masks nothing, its errors are raised too
    options.log_severity_level = 4
    try:
        session = runtime.InferenceSession(
            str(path), options, providers=["CPUExecutionProvider"]
        )
    except refusals as error:
        raise ModelError(
            f"{path} cannot be opened as an ONNX model ({error}); export it again"
        ) from None
    return session, refusals


def _pixels(image: Path | str | NDArray[np.uint8]) -> NDArray[np.uint8]:
    if isinstance(image, Path | str):
        return read_image(Path(image))
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[-1] != 3:
        raise ValueError(
            f"expected RGB pixels, uint8 'h w 3', got {image.dtype} {image.shape}"
        )
    return image
