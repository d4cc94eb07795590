"""Trained networks and the ways to read them: each way is a voter."""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from tag2mask import config
from tag2mask.artifacts.build import Artifact
from tag2mask.models.cam_network import CamNetwork
from tag2mask.models.monte_carlo import MonteCarloCam
from tag2mask.models.text_maps import TextMaps
from tag2mask.stages import localize, prompts


class Reading(NamedTuple):
    """One way to read a trained network, or texts.

    Attributes:
        subject: Name of the voter.
        network: Name of the training.
        trained: The training; the prompts where nothing is trained.
        scale: Input scale.
        dropped: Probability of dropping a channel while reading; None drops none.
    """

    subject: str
    network: str
    trained: Artifact
    scale: float
    dropped: float | None

    def knobs(self, *, random_seed: int) -> dict[str, Any]:
        """Return what makes the maps of this reading others than those of another."""
        if self.dropped is None:
            return {"scale": self.scale}
        drops = {"dropped": self.dropped, "random_seed": random_seed}
        return {"scale": self.scale} | drops


def cam_settings(
    reading: Reading, settings: config.Voter, *, random_seed: int
) -> dict[str, Any]:
    """Return what changes the maps of a reading beside what is read."""
    knobs = settings.cam.model_dump(mode="json")
    if isinstance(settings, config.TextCam):
        knobs["suppress_words"] = settings.suppress_words
        # the model of its texts, which here sees the images too
        knobs["image_text"] = prompts.image_text_settings(settings.image_text)
    return knobs | reading.knobs(random_seed=random_seed)


def list_readings(
    name: str, settings: config.Voter, trainings: Mapping[str, Artifact]
) -> Iterator[Reading]:
    """Yield each training at each input scale, and with each dropout if asked.

    Args:
        name: Of the voter's table.
        settings: The table.
        trainings: By name.
    """
    for network, trained in trainings.items():
        drops: dict[str, float | None] = {network: None}
        if isinstance(settings, config.Classifier) and settings.mode == "mc":
            drops = {f"{name}-{each:g}": each for each in settings.dropout}
        for prefix, dropped in drops.items():
            for scale in settings.scales:
                subject = f"{prefix}-{scale:g}"
                yield Reading(subject, network, trained, scale, dropped)


def open_network(
    reading: Reading, settings: config.Voter, *, num_classes: int, random_seed: int
) -> CamNetwork | MonteCarloCam | TextMaps:
    """Return the network of a reading, what is read being finished.

    Args:
        reading: What is read.
        settings: The voter's table.
        num_classes: Background included.
        random_seed: Of the channels that are dropped.
    """
    if isinstance(settings, config.TextCam):
        vectors = prompts.read_vectors(reading.trained.folder)
        return prompts.open_text_maps(vectors, settings)
    network = localize.load(reading.trained.folder, settings, num_classes=num_classes)
    if reading.dropped is None:
        return network
    return MonteCarloCam(
        network,
        dropout=reading.dropped,
        voter=f"{reading.dropped:g}-{reading.scale:g}",
        random_seed=random_seed,
    )
