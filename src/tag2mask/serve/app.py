"""The application: its routes, what errors become, and how it ends."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from http import HTTPStatus
from pathlib import Path
from typing import Annotated, Any

from anyio import to_thread
from fastapi import APIRouter, FastAPI, HTTPException, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, JSONResponse
from starlette.datastructures import UploadFile
from starlette.staticfiles import StaticFiles

from tag2mask.errors import DatasetError, ModelError, Tag2MaskError
from tag2mask.serve import label_studio, review
from tag2mask.serve.formats import (
    MEDIA_TYPES,
    Format,
    choose_format,
    write_answer,
)
from tag2mask.serve.guard import Guard
from tag2mask.serve.service import Service

PAGE = Path(__file__).parent / "page"
_BODY = {
    "requestBody": {
        "required": True,
        "content": {
            "image/*": {"schema": {"type": "string", "format": "binary"}},
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["image"],
                    "properties": {"image": {"type": "string", "format": "binary"}},
                }
            },
        },
    }
}
_ANSWERS: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "The class of each pixel",
        "content": {media: {} for media in MEDIA_TYPES.values()},
    },
    **{
        code: {"description": text}
        for code, text in {
            400: "No image, or one that cannot be read",
            401: "The token is missing or wrong",
            406: "None of the formats is accepted",
            408: "The body took too long",
            413: "Too many bytes",
            429: "Too many requests are under way: see Retry-After",
        }.items()
    },
}


def make_app(
    service: Service,
    *,
    token: str | None = None,
    hosts: frozenset[str] | None = None,
) -> FastAPI:
    """Return the application.

    Args:
        service: What is served.
        token: That callers must name; None: everyone may ask.
        hosts: Names that the server answers to; None: any.
    """

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        await to_thread.run_sync(service.close)

    # the pages that FastAPI has for its schema load scripts from elsewhere
    app = FastAPI(
        title="tag2mask",
        description=f"Masks of images, by {service.name}.",
        docs_url=None,
        redoc_url=None,
        lifespan=lifespan,
    )
    for kind, status in (
        (ModelError, HTTPStatus.NOT_FOUND),
        (Tag2MaskError, HTTPStatus.INTERNAL_SERVER_ERROR),
    ):
        app.add_exception_handler(kind, _teller(status))
    app.add_exception_handler(RequestValidationError, _tell_invalid)
    app.include_router(_make_router(service))
    app.include_router(label_studio.make_router(service))
    app.include_router(review.make_router(service))
    app.mount("/page", StaticFiles(directory=PAGE), name="page")
    app.add_middleware(Guard, limits=service.limits, token=token, hosts=hosts)
    return app


async def _tell_invalid(_: Request, error: Exception) -> Response:
    """Say what is wrong with a request without repeating it.

    What was sent may be no JSON again: NaN, or half of a surrogate pair.
    """
    found = error.errors() if isinstance(error, RequestValidationError) else []
    told = [{key: each[key] for key in ("type", "loc", "msg")} for each in found]
    content = json.dumps({"detail": told})
    status = HTTPStatus.UNPROCESSABLE_ENTITY
    return Response(content, status, media_type="application/json")


def _teller(status: HTTPStatus) -> Any:  # noqa: ANN401
    async def tell(_: Request, error: Exception) -> JSONResponse:
        return JSONResponse({"detail": str(error)}, status)

    return tell


def _make_router(service: Service) -> APIRouter:
    router = APIRouter()

    @router.get("/", include_in_schema=False)
    async def page() -> FileResponse:
        return FileResponse(PAGE / "index.html")

    @router.get("/healthz")
    async def healthz() -> dict[str, Any]:
        """Say that the server lives, and how many requests are under way."""
        return {"status": "ok", "under_way": service.admission.taken}

    @router.get("/model")
    async def model() -> dict[str, Any]:
        """Return classes and colours, the model's card, its scores and protocol."""
        limits = service.limits
        return service.served.described() | {
            "name": service.name,
            "limits": {"upload_bytes": limits.upload_bytes, "pixels": limits.pixels},
        }

    @router.get("/about")
    async def about() -> dict[str, Any]:
        """Return which views the page has: predict, review or both."""
        views = {"predict": service.model, "review": service.gallery}
        seen = [name for name, what in views.items() if what is not None]
        return {"name": service.name, "views": seen}

    _add_predict(router, service)
    return router


def _add_predict(router: APIRouter, service: Service) -> None:
    @router.post(
        "/predict", openapi_extra=_BODY, responses=_ANSWERS, response_class=Response
    )
    async def predict(
        request: Request,
        format: Annotated[
            Format | None, Query(description="Counts before the header Accept.")
        ] = None,
    ) -> Response:
        """Return the class of each pixel of an image."""
        wanted = format or choose_format(request.headers.get("accept", ""))
        if wanted is None:
            raise HTTPException(
                HTTPStatus.NOT_ACCEPTABLE,
                f"expected Accept to name one of {', '.join(MEDIA_TYPES.values())}",
            )
        names = service.served.class_names
        with service.place():
            data = await _read_image(request)
            answer = await service.answer(data, wants_probabilities=wanted == "npz")
            content = await to_thread.run_sync(write_answer, answer, names, wanted)
        return Response(content, media_type=MEDIA_TYPES[wanted])


async def _read_image(request: Request) -> bytes:
    """Return the image of a body: the body itself, or the part ``image`` of a form."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "multipart/form-data":
        return await request.body()
    async with request.form(max_files=1, max_fields=4) as form:
        part = form.get("image")
        if isinstance(part, UploadFile):
            return await part.read()
    raise DatasetError("expected a file in the form's field `image`")
