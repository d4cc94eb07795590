"""Routes of the review: images, their layers, and the marks that people set."""

from http import HTTPStatus
from typing import Annotated, Any

from fastapi import APIRouter, HTTPException, Query, Response
from pydantic import BaseModel, ConfigDict

from tag2mask.artifacts.tables import ImageRecord
from tag2mask.data.review import MarkKind
from tag2mask.serve.gallery import Gallery, Marked
from tag2mask.serve.service import Service

_SIDE = 320
_MOST_SIDE = 1600
_PAGE = 12
_MOST_PAGE = 100

Side = Annotated[int, Query(ge=16, le=_MOST_SIDE, description="Longest, in pixels.")]


class MarkOrder(BaseModel):
    """What a person says of an image."""

    model_config = ConfigDict(extra="forbid")
    image: str
    mark: MarkKind


def make_router(service: Service) -> APIRouter:
    """Return the routes below ``/review``; what reads files runs in threads."""
    router = APIRouter(prefix="/review", tags=["review"])

    @router.get("")
    def about() -> dict[str, Any]:
        """Return classes, stages, and where marks are kept."""
        return _gallery_of(service).described()

    @router.get("/images")
    def images(
        tag: int | None = None,
        marked: Marked = "any",
        offset: Annotated[int, Query(ge=0)] = 0,
        limit: Annotated[int, Query(ge=1, le=_MOST_PAGE)] = _PAGE,
    ) -> dict[str, Any]:
        """Return images of the train split, least agreement of the voters first."""
        gallery = _gallery_of(service)
        return gallery.page(tag=tag, marked=marked, offset=offset, limit=limit)

    @router.post("/marks")
    def mark(order: MarkOrder) -> dict[str, str]:
        """Keep a mark; it is on the disk when this answers."""
        gallery, record = _find(service, order.image)
        gallery.mark(record, order.mark)
        return {"image": order.image, "mark": order.mark}

    _add_pictures(router, service)
    return router


def _add_pictures(router: APIRouter, service: Service) -> None:
    @router.get("/photo", response_class=Response)
    def photo(image: str, side: Side = _SIDE) -> Response:
        """Return a photograph as JPEG."""
        gallery, record = _find(service, image)
        return Response(gallery.photo(record, side=side), media_type="image/jpeg")

    @router.get("/layer", response_class=Response)
    def layer(image: str, layer: str, side: Side = _SIDE) -> Response:
        """Return what a stage made of an image, as a PNG to lie over it."""
        gallery, record = _find(service, image)
        content = gallery.layer(record, layer, side=side)
        if content is None:
            raise HTTPException(HTTPStatus.NOT_FOUND, "the image has no such layer")
        return Response(content, media_type="image/png")


def _find(service: Service, name: str) -> tuple[Gallery, ImageRecord]:
    gallery = _gallery_of(service)
    image = gallery.find(name)
    if image is None:
        raise HTTPException(HTTPStatus.NOT_FOUND, "the train split has no such image")
    return gallery, image


def _gallery_of(service: Service) -> Gallery:
    if service.gallery is None:
        raise HTTPException(
            HTTPStatus.NOT_FOUND,
            "there is no review: serve a run that has at least its vote",
        )
    return service.gallery
