"""Panels as the page shows them: small pictures, encoded into the page itself."""

import base64
from itertools import groupby
from typing import NamedTuple

from tag2mask.stages.report_panels import Cell, Panel
from tag2mask.stages.report_pictures import layer_png, photo_jpeg

_SIDE = 220
"""Longest side of a picture in the page, in pixels."""


class CellView(NamedTuple):
    """A picture as the page shows it; ``layer`` is empty for the photograph alone."""

    kind: str
    detail: str
    layer: str


class PanelView(NamedTuple):
    """The pictures of an image as the page shows them.

    Attributes:
        name: Of the image.
        tags: Class ids.
        remark: Why it is shown; may be empty.
        photo: Data URI.
        width: Of the image, in pixels.
        height: Of the image, in pixels.
        stages: The pictures of each stage; the first is the photograph alone.
    """

    name: str
    tags: tuple[int, ...]
    remark: str
    photo: str
    width: int
    height: int
    stages: tuple[tuple[str, tuple[CellView, ...]], ...]


def view_panel(panel: Panel, remark: str) -> PanelView:
    """Encode a panel; the photograph once, however many layers lie over it.

    Args:
        panel: What was made of an image.
        remark: Why the image is shown; may be empty.
    """
    image = panel.image
    stages = tuple(
        (kind, tuple(_cell_view(cell) for cell in cells))
        for kind, cells in groupby(panel.cells, key=lambda cell: cell.kind)
    )
    photo = _data_uri("jpeg", photo_jpeg(panel.photo, side=_SIDE))
    size = image.width, image.height
    return PanelView(image.name, image.tags, remark, photo, *size, stages)


def _cell_view(cell: Cell) -> CellView:
    if cell.layer is None:
        return CellView(cell.kind, cell.detail, "")
    png = layer_png(cell.layer, side=_SIDE)
    return CellView(cell.kind, cell.detail, _data_uri("png", png))


def _data_uri(kind: str, data: bytes) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"
