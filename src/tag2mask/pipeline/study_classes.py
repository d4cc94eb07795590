"""The figure of a study by class: a bar for each row, class below class."""

from collections.abc import Mapping, Sequence
from html import escape

_WIDTH, _LEFT, _RIGHT = 680, 130, 50
_TOP, _BAR, _GAP = 24, 9, 10
_LEGEND = 18
_COLOURS = (
    "#2f6fb3",
    "#e08a1e",
    "#3b9c5f",
    "#b3445c",
    "#7a5fb0",
    "#8a6d4b",
    "#c66aa8",
    "#6f7b86",
)
"""As many as rows can be told apart."""
_STYLE = """
svg{background:#fff;font:12px system-ui,sans-serif}text{fill:#1c1e21}
.grid{stroke:#dfe1e4}.number{font-size:9px}.title{font-weight:600}
@media (prefers-color-scheme:dark){svg{background:#1e2125}text{fill:#e8e9eb}
.grid{stroke:#363a40}}
"""


def class_chart(
    rows: Mapping[str, Mapping[str, float | None]], *, title: str
) -> str | None:
    """Draw the IoU of every class in every row (CA-CL, figure 2).

    Args:
        rows: By name, the IoU by class in percent; None where undefined. All have the
            classes of the first.
        title: Above them.

    Returns:
        An SVG file's text; None for more rows than colours can tell apart, or none.
    """
    if not 0 < len(rows) <= len(_COLOURS):
        return None
    names = list(rows)
    classes = list(rows[names[0]])
    block = _BAR * len(names) + _GAP
    top = _TOP + _LEGEND * len(names) + _GAP
    height = top + block * len(classes) + _GAP
    parts = [f'<text class="title" x="8" y="16">{escape(title)}</text>']
    for number, name in enumerate(names):
        y = _TOP + _LEGEND * number
        parts.append(
            f'<rect x="8" y="{y + 4}" width="12" height="10" '
            f'fill="{_COLOURS[number]}"/>'
            f'<text x="26" y="{y + 13}">{escape(name)}</text>'
        )
    for tick in (0.0, 20.0, 40.0, 60.0, 80.0, 100.0):
        x = _place(tick)
        parts.append(
            f'<line class="grid" x1="{x}" x2="{x}" y1="{top}" y2="{height - _GAP}"/>'
        )
    for place, each in enumerate(classes):
        values = [rows[name].get(each) for name in names]
        parts += _block(each, values, top + block * place)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" '
        f'role="img" aria-label="{escape(title)}"><style>{_STYLE}</style>\n'
        + "\n".join(parts)
        + "\n</svg>\n"
    )


def _block(name: str, values: Sequence[float | None], top: int) -> list[str]:
    middle = top + _BAR * len(values) / 2 + 4
    parts = [
        f'<text x="{_LEFT - 8}" y="{middle:g}" text-anchor="end">{escape(name)}</text>'
    ]
    for number, value in enumerate(values):
        if value is None:
            continue
        y, end = top + _BAR * number, _place(value)
        parts.append(
            f'<rect x="{_LEFT}" y="{y}" width="{round(end - _LEFT, 1)}" '
            f'height="{_BAR - 1}" fill="{_COLOURS[number]}"/>'
            f'<text class="number" x="{end + 3:g}" y="{y + 8}">{value:.1f}</text>'
        )
    return parts


def _place(percent: float) -> float:
    return round(_LEFT + percent / 100 * (_WIDTH - _LEFT - _RIGHT), 1)
