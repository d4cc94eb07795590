"""Label Studio's protocol for ML backends, under a prefix of its own.

In Label Studio the address of the backend is ``http://HOST:PORT/label-studio``: its
``/predict`` would collide with ours. A backend with a token is connected with Basic
authentication, any user and the token as the password.
"""

import xml.etree.ElementTree as ET
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from anyio import to_thread
from fastapi import APIRouter
from pydantic import BaseModel

from tag2mask.data.brush_code import encode_brush
from tag2mask.errors import DatasetError
from tag2mask.functional.shapes import BACKGROUND
from tag2mask.serve.guard import LABEL_STUDIO
from tag2mask.serve.service import Service
from tag2mask.serve.worker import Answer

_DIGITS = 4


class Control(NamedTuple):
    """The brush of a labelling config.

    Attributes:
        name: Of the tag ``BrushLabels``.
        image: Name of the tag ``Image`` that it paints on.
        variable: Key of a task's data that holds the image.
        labels: What it can paint; empty: whatever a task says.
    """

    name: str
    image: str
    variable: str
    labels: frozenset[str]


class Task(BaseModel):
    """One task; what else Label Studio tells of it is of no account."""

    data: dict[str, Any]
    id: int | None = None


class Tasks(BaseModel):
    """What Label Studio sends to have tasks predicted."""

    tasks: list[Task]
    label_config: str


class Setup(BaseModel):
    """What Label Studio sends when a backend is connected; nothing is kept."""

    project: str | int | None = None


def make_router(service: Service) -> APIRouter:
    """Return the routes below ``/label-studio``."""
    router = APIRouter(prefix=LABEL_STUDIO.rstrip("/"), tags=["Label Studio"])
    version = service.model_version

    @router.get("/health")
    async def health() -> dict[str, str]:
        """Say that the backend lives."""
        return {"status": "UP", "model_class": "tag2mask"}

    @router.post("/setup")
    async def setup(_: Setup) -> dict[str, str]:
        """Name the version of the model; no address or key that is sent is used."""
        return {"model_version": version}

    @router.get("/versions")
    async def versions() -> dict[str, list[str]]:
        """List the versions that can be asked for: one."""
        return {"versions": [version]}

    @router.post("/webhook")
    async def webhook() -> dict[str, str]:
        """Take no notice of annotations: nothing is trained here."""
        return {"status": "ignored"}

    @router.post("/predict")
    async def predict(body: Tasks) -> dict[str, Any]:
        """Return brush masks for tasks, one after another."""
        with service.place():
            control = read_control(body.label_config)
            results = [await _predict(service, control, task) for task in body.tasks]
        return {"results": results, "model_version": version}

    return router


async def _predict(service: Service, control: Control, task: Task) -> dict[str, Any]:
    address = task.data.get(control.variable)
    if not isinstance(address, str):
        raise DatasetError(
            f"task {task.id}: expected an address of an image in data."
            f"{control.variable}, which the label config names"
        )
    data = await to_thread.run_sync(service.task_images.read, address)
    answer = await service.answer(data, wants_probabilities=True)
    names = service.served.class_names
    return await to_thread.run_sync(
        prediction_of, answer, names, control, service.model_version
    )


def prediction_of(
    answer: Answer, class_names: Sequence[str], control: Control, version: str
) -> dict[str, Any]:
    """Return one prediction: a brush mask for each class that the config knows.

    The score of a mask is the mean probability of its class there; that of the
    prediction is the mean over pixels of the probability of what they are called.
    """
    if answer.probabilities is None:
        raise ValueError("scores need the probabilities of the answer")
    height, width = answer.labels.shape
    regions = []
    for number in np.unique(answer.labels).tolist():
        name = class_names[number]
        if number == BACKGROUND or (control.labels and name not in control.labels):
            continue
        mask = answer.labels == number
        regions.append(
            {
                "id": f"tag2mask-{number}",
                "from_name": control.name,
                "to_name": control.image,
                "type": "brushlabels",
                "original_width": width,
                "original_height": height,
                "image_rotation": 0,
                "score": round(
                    float(answer.probabilities[number][mask].mean()), _DIGITS
                ),
                "value": {
                    "format": "rle",
                    "rle": encode_brush(mask),
                    "brushlabels": [name],
                },
            }
        )
    sure = float(answer.probabilities.max(axis=0).mean())
    return {
        "result": regions,
        "score": round(sure, _DIGITS),
        "model_version": version,
    }


def read_control(label_config: str) -> Control:
    """Find the brush and its image in a labelling config.

    Raises:
        DatasetError: If it is no XML, or has no brush on an image.
    """
    # a config needs no entities, and nested ones would fill the memory
    if "<!" in label_config.replace("<!--", ""):
        raise DatasetError("the label config must not declare a document type")
    try:
        tree = ET.fromstring(label_config)
    except (ET.ParseError, ValueError) as error:  # or half a surrogate pair
        raise DatasetError(f"the label config is no XML: {error}") from None
    images = {each.get("name"): each.get("value", "") for each in tree.iter("Image")}
    for brush in tree.iter("BrushLabels"):
        name, image = brush.get("name"), brush.get("toName")
        variable = images.get(image, "")
        if name and image and variable.startswith("$"):
            labels = (label.get("value") for label in brush.iter("Label"))
            known = frozenset(label for label in labels if label)
            return Control(name, image, variable[1:], known)
    raise DatasetError(
        "the label config needs <Image name='image' value='$image'/> and "
        "<BrushLabels name='tag' toName='image'>"
    )
