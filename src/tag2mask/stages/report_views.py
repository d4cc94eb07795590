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
        groups: Which choices of images it belongs to.
        tags: Class ids.
        remark: Why it is shown; may be empty.
        photo: Data URI.
        width: Of the image, in pixels.
        height: Of the image, in pixels.
        stages: The pictures of each stage; the first is the photograph alone.
        start: Place of the picture that is seen first: the last one but the truth.
    """

    name: str
    groups: tuple[str, ...]
    tags: tuple[int, ...]
    remark: str
    photo: str
    width: int
    height: int
    stages: tuple[tuple[str, tuple[CellView, ...]], ...]
    start: int

    @property
    def cells(self) -> tuple[CellView, ...]:
        """All pictures, in the order of the stages."""
        return tuple(cell for _, cells in self.stages for cell in cells)

    @property
    def num_bytes(self) -> int:
        """Of its pictures; that which is seen first may be a thumbnail's too."""
        cells = self.cells
        layers = sum(len(cell.layer) for cell in cells)
        return len(self.photo) + layers + len(cells[self.start].layer)


def view_panel(panel: Panel, groups: tuple[str, ...], remark: str) -> PanelView:
    """Encode a panel; the photograph once, however many layers lie over it.

    Args:
        panel: What was made of an image.
        groups: Which choices of images it belongs to.
        remark: Why the image is shown; may be empty.
    """
    image = panel.image
    stages = tuple(
        (kind, tuple(_cell_view(cell) for cell in cells))
        for kind, cells in groupby(panel.cells, key=lambda cell: cell.kind)
    )
    kinds = [cell.kind for cell in panel.cells]
    start = max(place for place, kind in enumerate(kinds) if kind != "truth")
    return PanelView(
        name=image.name,
        groups=groups,
        tags=image.tags,
        remark=remark,
        photo=_data_uri("jpeg", photo_jpeg(panel.photo, side=_SIDE)),
        width=image.width,
        height=image.height,
        stages=stages,
        start=start,
    )


def _cell_view(cell: Cell) -> CellView:
    if cell.layer is None:
        return CellView(cell.kind, cell.detail, "")
    png = layer_png(cell.layer, side=_SIDE)
    return CellView(cell.kind, cell.detail, _data_uri("png", png))


def _data_uri(kind: str, data: bytes) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"
