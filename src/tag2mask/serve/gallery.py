"""The review of a run: pseudo masks, those first on which the voters agree least."""

import threading
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, NamedTuple

from tag2mask.artifacts.cams import cam_path, read_cams
from tag2mask.artifacts.files import read_json
from tag2mask.artifacts.labels import LabelFolder
from tag2mask.artifacts.tables import ImageRecord, Index
from tag2mask.data.images import read_indexed
from tag2mask.data.review import Mark, MarkKind, ReviewFile
from tag2mask.engine.map_images import map_images
from tag2mask.engine.runtime import Runtime
from tag2mask.errors import ArtifactError
from tag2mask.pipeline import read_run
from tag2mask.serve.served import colour
from tag2mask.stages.index import review_file
from tag2mask.stages.report_pictures import (
    Layer,
    clean_layer,
    heat_layer,
    labels_layer,
    layer_png,
    photo_jpeg,
)
from tag2mask.stages.report_sources import Voter

Marked = Literal["any", "unmarked", "marked"]


@dataclass(frozen=True)
class Sources:
    """The artifacts of a run that the review shows.

    Attributes:
        index: The images, their tags and classes.
        voters: In the order in which they are shown.
        vote: Folder with labels/ and support/: the vote, or what became of it.
        made_by: Says what made these labels.
        min_support: Votes that make a pixel clean.
        review: Where marks are kept; None: the recipe honours none.
    """

    index: Index
    voters: tuple[Voter, ...]
    vote: Path
    made_by: str
    min_support: int
    review: ReviewFile | None


class Entry(NamedTuple):
    """An image of the train split, and the share of pixels that got all votes."""

    unanimous: float
    image: ImageRecord


class Gallery:
    """Shows the images that a run learns from, and keeps what is said of them."""

    def __init__(self, sources: Sources, runtime: Runtime) -> None:
        self._sources = sources
        self._runtime = runtime
        self._counting = threading.Lock()

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names by class id, background first."""
        return self._sources.index.class_names

    def described(self) -> dict[str, Any]:
        """Return what can be filtered by, and where marks go, as JSON values."""
        review = self._sources.review
        names = self.class_names
        return {
            "classes": [
                {"id": number, "name": name, "colour": colour(number)}
                for number, name in enumerate(names)
            ],
            "stages": ["vote", "clean", "cam", "seed"],
            "min_support": self._sources.min_support,
            "num_voters": len(self._sources.voters),
            "review": str(review.path) if review else None,
        }

    def page(
        self, *, tag: int | None, marked: Marked, offset: int, limit: int
    ) -> dict[str, Any]:
        """Return images as JSON values, least agreement first, then by name.

        Args:
            tag: Only images that have it; None: all.
            marked: Only images that have a mark, or have none.
            offset: Images that are passed over.
            limit: Most images.
        """
        marks = self._sources.review.read() if self._sources.review else {}
        found = [
            entry
            for entry in self.entries
            if (tag is None or tag in entry.image.tags)
            and (marked == "any" or (entry.image.name in marks) == (marked == "marked"))
        ]
        return {
            "total": len(found),
            "images": [
                {
                    "name": image.name,
                    "width": image.width,
                    "height": image.height,
                    "tags": list(image.tags),
                    "unanimous": round(unanimous, 4),
                    "mark": marks[image.name].mark if image.name in marks else "keep",
                    "layers": list(self._layers(image)),
                }
                for unanimous, image in found[offset : offset + limit]
            ],
        }

    @property
    def entries(self) -> tuple[Entry, ...]:
        """Every image of the train split; the first call reads every vote."""
        with self._counting:
            return self._entries

    @cached_property
    def _entries(self) -> tuple[Entry, ...]:
        support = LabelFolder(self._sources.vote / "support")
        most = len(self._sources.voters)

        def count(image: ImageRecord) -> Entry:
            has_all = support[image.name] == most
            return Entry(float(has_all.float().mean()), image)

        images = self._sources.index.split("train")
        counted = map_images(count, images, runtime=self._runtime, title="agreement")
        return tuple(sorted(counted, key=lambda entry: (entry[0], entry[1].name)))

    @cached_property
    def _images(self) -> dict[str, ImageRecord]:
        return {image.name: image for image in self._sources.index.split("train")}

    def find(self, name: str) -> ImageRecord | None:
        """Return an image of the train split; None if there is none of that name."""
        return self._images.get(name)

    def photo(self, image: ImageRecord, *, side: int) -> bytes:
        """Return the photograph as a JPEG whose longest side is at most ``side``.

        Raises:
            DatasetError: If it cannot be read any more.
        """
        return photo_jpeg(read_indexed(self._sources.index, image), side=side)

    def layer(self, image: ImageRecord, name: str, *, side: int) -> bytes | None:
        """Return one layer as a PNG, None if the image has none of that name.

        Raises:
            ArtifactError: If its file cannot be read.
        """
        if name not in {each["name"] for each in self._layers(image)}:
            return None
        stage, _, voter = name.partition("/")
        return layer_png(self._drawn(image, stage, voter), side=side)

    def mark(self, image: ImageRecord, kind: MarkKind) -> None:
        """Keep what was said of an image, with the tags that it was said of.

        Raises:
            ArtifactError: If it cannot be written, or the recipe honours no marks.
        """
        review = self._sources.review
        if review is None:
            raise ArtifactError(
                "the recipe of this run honours no marks (data.review is empty); name "
                "a file there and run it again"
            )
        tags = tuple(self.class_names[tag] for tag in image.tags)
        review.append(Mark(image.name, kind, tags))

    def _layers(self, image: ImageRecord) -> Iterator[dict[str, str]]:
        threshold = self._sources.min_support
        yield {
            "name": "vote",
            "stage": "vote",
            "detail": self._sources.made_by,
        }
        yield {
            "name": "clean",
            "stage": "clean",
            "detail": f"green: {threshold} or more votes",
        }
        for stage in ("cam", "seed"):
            for voter in self._sources.voters:
                is_there = (
                    cam_path(voter.cams, image.name).exists()
                    if stage == "cam"
                    else image.name in voter.labels
                )
                if is_there:
                    name = f"{stage}/{voter.name}"
                    yield {"name": name, "stage": stage, "detail": voter.name}

    def _drawn(self, image: ImageRecord, stage: str, voter_name: str) -> Layer:
        voters = {voter.name: voter for voter in self._sources.voters}
        if stage == "cam":
            maps = read_cams(voters[voter_name].cams, image.name).maps
            if not len(maps):
                maps = maps.new_zeros(1, 1, 1)
            return heat_layer(maps.amax(dim=0).numpy())
        if stage == "seed":
            return labels_layer(voters[voter_name].labels[image.name].numpy())
        labels = LabelFolder(self._sources.vote / "labels")[image.name].numpy()
        if stage == "vote":
            return labels_layer(labels)
        support = LabelFolder(self._sources.vote / "support")[image.name].numpy()
        return clean_layer(labels, support, min_support=self._sources.min_support)


def open_gallery(summary: Path, runtime: Runtime) -> Gallery | None:
    """Return the review of a run, None if it has no vote to look at.

    Raises:
        ArtifactError: If the summary is none of this version.
    """
    recipe, _ = read_run(summary)
    made = read_json(summary)["artifacts"]
    if made["vote"] is None:
        return None

    def folder(path: str) -> Path:
        return (summary.parent / path).resolve()

    voters = tuple(
        Voter(
            name,
            folder(voter["cam"]) / "cams",
            LabelFolder(folder(voter["seed"]) / "labels"),
        )
        for name, voter in made["voters"].items()
    )
    made_by = f"vote of {len(voters)}"
    for role, by in (("vote_refine", "refined vote"), ("relabel", "second round")):
        made_by = by if made.get(role) else made_by
    sources = Sources(
        Index(folder(made["index"]), recipe.data.root),
        voters,
        folder(made.get("relabel") or made.get("vote_refine") or made["vote"]),
        made_by,
        recipe.segment.min_support,
        review_file(recipe.data),
    )
    return Gallery(sources, runtime)
