"""A segmenter as one ONNX file, compared with PyTorch before it is written."""

import json
import tempfile
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn
from torch.nn import functional

from tag2mask.artifacts.files import whole_file
from tag2mask.deploy import INPUT, LABELS, LOGITS, Predictor
from tag2mask.engine.inference import class_logits, to_batch
from tag2mask.errors import ModelError
from tag2mask.export.pictures import REFUSALS, choose_pictures
from tag2mask.export.same_padding import move_same_padding
from tag2mask.functional.presence import weigh_by_presence
from tag2mask.models.locate import locate_segmenter
from tag2mask.models.segmenters import Segmenter, load_segmenter
from tag2mask.models.standard import in_standard_operators
from tag2mask.prediction import predict_settings
from tag2mask.segmentation import class_colours

MOST_DIFFERENCE = 1e-3
"""Of a logit, between PyTorch and ONNX Runtime."""
LEAST_EQUAL = 0.999
"""Share of pixels whose labels are those of PyTorch."""
_TRACED = 64, 96
_OPSET, _MOST_IMAGES, _PATCHES = 18, 20, 32


class Parity(NamedTuple):
    """How far two programs agree on some images.

    Attributes:
        greatest_difference: Of a logit.
        equal_labels: Share of the pixels of all images, 0..1.
        num_images: How many images were compared.
    """

    greatest_difference: float
    equal_labels: float
    num_images: int


class Exported(NamedTuple):
    """What was written.

    Attributes:
        path: The file.
        float32: Agreement of the graph with PyTorch.
        int8: The same of the quantised graph, if that is what was written.
    """

    path: Path
    float32: Parity
    int8: Parity | None


def export_onnx(
    model: Segmenter | Path | str,
    out: Path,
    *,
    presence: float | None = None,
    int8: bool = False,
    images: Sequence[Path] = (),
) -> Exported:
    """Write a segmenter as an ONNX file, for batches and images of any size.

    Scaling to [0, 1], normalising, resizing the logits to the image and the choice of
    the class are in the graph: it takes RGB as uint8 and gives logits and labels.

    Args:
        model: A segmenter, or what names one.
        out: The file.
        presence: As in the recipe's table ``predict``; None: as the run was scored, 0
            for anything else.
        int8: Quantise the weights and, as it runs, the activations of all but
            depthwise convolutions to 8 bits. Its labels differ from those of PyTorch;
            how far is measured and not bounded.
        images: Files or folders to compare on, at most 20 images; none: generated
            images of several sizes, multiples of 32 where the network takes no others.

    Raises:
        RecipeError: If the presence is out of bounds.
        ModelError: If the network cannot be exported, if the graph does not compute
            what PyTorch does, or if onnx or ONNX Runtime are not installed.
    """
    _require_libraries()
    if not isinstance(model, Segmenter):
        located = locate_segmenter(model)
        model = load_segmenter(located.folder)
        if presence is None:
            presence = predict_settings(located.protocol).presence
    presence = predict_settings({"presence": presence or 0.0}).presence
    network = model.network.cpu()
    pictures = choose_pictures(images, network)
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch, "model.onnx")
        _write(model, presence, path)
        float32 = _compare_exported(model, path, pictures)
        _refuse_other(float32)
        quantised = None
        if int8:
            small = Path(scratch, "int8.onnx")
            _quantise(path, small)
            quantised, path = compare(network, Predictor(small), pictures), small
        _describe(path, {"float32": float32, "int8": quantised})
        with whole_file(out) as target:
            target.write_bytes(path.read_bytes())
    return Exported(out, float32, quantised)


def _compare_exported(
    model: Segmenter, path: Path, pictures: Sequence[UInt8[np.ndarray, "_ _ 3"]]
) -> Parity:
    try:
        return compare(model.network, Predictor(path), pictures)
    except ModelError as error:  # of a size that was traced as a constant
        raise ModelError(
            f"{_name(model)} cannot be exported for images of any size: the graph is "
            f"none ({error}); nothing was written"
        ) from None


@torch.inference_mode()
def compare(
    network: nn.Module,
    predictor: Predictor,
    images: Sequence[UInt8[np.ndarray, "_ _ 3"]],
) -> Parity:
    """Compare an exported model with its network, at one scale."""
    greatest, equal, pixels = 0.0, 0, 0
    for image in images:
        batch = to_batch([torch.from_numpy(image)], torch.device("cpu"))
        logits = class_logits(network, batch, scales=(1.0,), flip=False)
        expected = weigh_by_presence(logits, strength=predictor.presence)[0].numpy()
        found = predictor.logits(image[None])[0]
        greatest = max(greatest, float(np.abs(found - expected).max()))
        labels = predictor.predict(image).labels
        equal += int((labels == expected.argmax(0)).sum())
        pixels += labels.size
    return Parity(greatest, equal / pixels, len(images))


class _Graph(nn.Module):
    """A network with what is done before and behind it."""

    def __init__(self, network: nn.Module, presence: float) -> None:
        super().__init__()
        self.network = network
        self.presence = presence

    def forward(
        self, image: UInt8[Tensor, "b h w 3"]
    ) -> tuple[Float[Tensor, "b k h w"], UInt8[Tensor, "b h w"]]:
        logits = self.network(image.permute(0, 3, 1, 2).float() / 255)
        size = (image.shape[1], image.shape[2])
        logits = functional.interpolate(
            logits, size, mode="bilinear", align_corners=False
        )
        if self.presence:
            logits = weigh_by_presence(logits, strength=self.presence)
        return logits, logits.argmax(1).to(torch.uint8)


def _write(model: Segmenter, presence: float, path: Path) -> None:
    graph = _Graph(in_standard_operators(model.network), presence).eval()
    example = torch.zeros(2, *_TRACED, 3, dtype=torch.uint8)
    axes = {0: "batch", 1: "height", 2: "width"}
    try:
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")  # of the exporter about itself
            program = torch.onnx.export(
                graph,
                (example,),
                input_names=[INPUT],
                output_names=[LOGITS, LABELS],
                dynamic_shapes={
                    "image": {
                        axis: torch.export.Dim(name, min=2)
                        if axis
                        else torch.export.Dim(name, min=1)
                        for axis, name in axes.items()
                    }
                },
                opset_version=_OPSET,
                dynamo=True,
                verbose=False,
            )
    except (torch.onnx.OnnxExporterError, *REFUSALS) as error:
        raise ModelError(
            f"{_name(model)} cannot be exported for images of any size: "
            f"{_first_line(error.__cause__ or error)}"
        ) from error
    if program is None:
        raise ModelError(f"{_name(model)}: the exporter gave nothing")
    program.save(str(path))
    move_same_padding(path)
    _annotate(path, _identity(model) | {"presence": presence})


def _identity(model: Segmenter) -> dict[str, Any]:
    """Return what the file says of itself."""
    return {
        "class_names": list(model.class_names),
        "colours": class_colours(len(model.class_names)),
        "card": dict(model.card),
        "preprocessing": "none: image is RGB, uint8, batch x height x width x 3",
    }


def _name(model: Segmenter) -> str:
    return str(model.card.get("network", "the network"))


def _first_line(error: BaseException) -> str:
    return str(error).strip().partition("\n")[0] or type(error).__name__


def _quantise(source: Path, target: Path) -> None:
    import onnx
    from onnxruntime.quantization import QuantType, quantize_dynamic
    from onnxruntime.quantization.shape_inference import quant_pre_process

    nodes = onnx.load(source).graph.node
    depthwise = [
        node.name
        for node in nodes
        if node.op_type == "Conv"
        and any(each.name == "group" and each.i > 1 for each in node.attribute)
    ]
    prepared = target.with_suffix(".prepared.onnx")
    quant_pre_process(
        source, prepared, skip_optimization=True, skip_symbolic_shape=True
    )
    quantize_dynamic(
        prepared,
        target,
        op_types_to_quantize=["Conv", "MatMul"],
        # one scale for all channels is too coarse for filters that never mix
        nodes_to_exclude=depthwise,
        weight_type=QuantType.QUInt8,
    )


def _describe(path: Path, parity: dict[str, Parity | None]) -> None:
    found = {key: each._asdict() for key, each in parity.items() if each is not None}
    _annotate(path, {"parity": found})


def _annotate(path: Path, values: dict[str, Any]) -> None:
    import onnx

    model = onnx.load(path)
    for key, value in values.items():
        entry = model.metadata_props.add()
        entry.key = key
        entry.value = value if isinstance(value, str) else json.dumps(value)
    onnx.save(model, path)


def _refuse_other(parity: Parity) -> None:
    if (
        parity.greatest_difference > MOST_DIFFERENCE
        or parity.equal_labels < LEAST_EQUAL
    ):
        raise ModelError(
            f"the exported graph does not compute what PyTorch does: logits differ by "
            f"up to {parity.greatest_difference:.2g}, expected at most "
            f"{MOST_DIFFERENCE}; {100 * parity.equal_labels:.2f} % of the labels are "
            f"equal, expected {100 * LEAST_EQUAL} %; nothing was written"
        )


def _require_libraries() -> None:
    try:
        import onnx  # noqa: F401
        import onnxruntime  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise ModelError(
            f"exporting to ONNX needs {error.name}; install it with "
            f'pip install "tag2mask[onnx]"'
        ) from None
