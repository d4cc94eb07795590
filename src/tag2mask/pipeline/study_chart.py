"""The figure of a study: every score of a row as a dot, their mean and spread."""

import math
from collections.abc import Sequence
from html import escape
from statistics import fmean, stdev
from textwrap import wrap
from typing import NamedTuple

_WIDTH, _LEFT, _RIGHT = 680, 16, 60
_TOP, _BOTTOM, _ROW = 40, 36, 40
_MOST_CHARACTERS = 92
"""Of a row's name, in the width."""
_CAPTION_CHARACTERS, _LINE = 100, 16
_MOST_TICKS = 8
_STEPS = (1, 2, 5, 10, 20)
_ROUNDING = 1e-9
_LEAST_WIDTH = 1.0
"""Of the axis, percent: smaller differences should look small."""
_STYLE = """
svg{background:#fff;font:12px system-ui,sans-serif}text{fill:#1c1e21}
.faint{fill:#63686f}.grid{stroke:#dfe1e4}.spread{stroke:#2f6fb3;stroke-width:2}
.dot{fill:#2f6fb3;fill-opacity:.45}.mean{fill:#2f6fb3}.best{font-weight:600}
@media (prefers-color-scheme:dark){svg{background:#1e2125}text{fill:#e8e9eb}
.faint{fill:#a0a5ac}.grid{stroke:#363a40}.spread{stroke:#5b9bdd}.dot,.mean{fill:#5b9bdd}}
"""


class Spot(NamedTuple):
    """A row of the figure: its scores in percent, None where undefined."""

    name: str
    scores: Sequence[float | None]
    is_best: bool = False


class Axis(NamedTuple):
    """Scores from left to right, in percent."""

    low: float
    high: float
    step: float

    @property
    def ticks(self) -> list[float]:
        """Multiples of the step from ``low`` to ``high``."""
        count = round((self.high - self.low) / self.step)
        return [self.low + number * self.step for number in range(count + 1)]

    def place(self, score: float) -> float:
        """Return the horizontal place of a score."""
        share = (score - self.low) / (self.high - self.low)
        return round(_LEFT + share * (_WIDTH - _LEFT - _RIGHT), 1)


def spread_chart(spots: Sequence[Spot], *, title: str, caption: str = "") -> str:
    """Draw rows below each other: dots, a diamond for the mean, a line of one sd.

    The line reaches one standard deviation (n - 1) to both sides of the mean; a single
    score has none. The axis begins near the least score: what counts is the difference.

    Args:
        spots: The rows.
        title: Above them.
        caption: Below them, wrapped; where the protocol belongs.

    Returns:
        An SVG file's text.
    """
    axis = fit_axis([v for spot in spots for v in _reach(spot)])
    bottom = _TOP + _ROW * len(spots)
    lines = wrap(caption, _CAPTION_CHARACTERS)
    height = bottom + _BOTTOM + _LINE * len(lines)
    parts = [f'<text class="best" x="{_LEFT}" y="22">{escape(title)}</text>']
    parts += [_tick(axis.place(tick), f"{tick:g}", bottom) for tick in axis.ticks]
    parts += [
        _row(spot, axis, _TOP + _ROW * number) for number, spot in enumerate(spots)
    ]
    parts += [
        f'<text class="faint" x="{_LEFT}" y="{bottom + 42 + _LINE * number}">'
        f"{escape(line)}</text>"
        for number, line in enumerate(lines)
    ]
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" '
        f'role="img" aria-label="{escape(title)}"><style>{_STYLE}</style>\n'
        + "\n".join(parts)
        + "\n</svg>\n"
    )


def fit_axis(scores: Sequence[float]) -> Axis:
    """Return an axis of at most eight round steps that holds all scores.

    It is one percent wide at least. Without a score it goes from 0 to 100.
    """
    if not scores:
        return Axis(0.0, 100.0, 20.0)
    middle = (min(scores) + max(scores)) / 2
    reach = max(max(scores) - middle, _LEAST_WIDTH / 2)
    power = 10.0 ** math.floor(math.log10(2 * reach / _MOST_TICKS))
    for factor in _STEPS:
        step = factor * power
        first = math.floor((middle - reach) / step + _ROUNDING)
        last = math.ceil((middle + reach) / step - _ROUNDING)
        if last - first <= _MOST_TICKS:
            break
    return Axis(first * step, last * step, step)


def _row(spot: Spot, axis: Axis, top: int) -> str:
    known = _known(spot)
    y = top + 26
    name = spot.name
    if len(name) > _MOST_CHARACTERS:
        name = f"{name[: _MOST_CHARACTERS - 1]}\N{HORIZONTAL ELLIPSIS}"
    weight = ' class="best"' if spot.is_best else ""
    parts = [f'<text{weight} x="{_LEFT}" y="{top + 12}">{escape(name)}</text>']
    if len(known) > 1:
        left, right = (axis.place(each) for each in (_reach(spot)[-2:]))
        line = f'x1="{left}" x2="{right}" y1="{y}" y2="{y}"'
        parts.append(f'<line class="spread" {line}/>')
        parts += [
            f'<circle class="dot" cx="{axis.place(each)}" cy="{y}" r="4"/>'
            for each in known
        ]
    text = "undefined"
    if known:
        x = axis.place(fmean(known))
        corners = f"{x},{y - 6} {x + 6},{y} {x},{y + 6} {x - 6},{y}"
        parts.append(f'<polygon class="mean" points="{corners}"/>')
        text = f"{fmean(known):.2f}"
    parts.append(f'<text{weight} x="{_WIDTH - _RIGHT + 12}" y="{y + 4}">{text}</text>')
    return f"<g><title>{escape(spot.name)}: {text}</title>{''.join(parts)}</g>"


def _tick(x: float, text: str, bottom: int) -> str:
    return (
        f'<line class="grid" x1="{x}" x2="{x}" y1="{_TOP}" y2="{bottom}"/>'
        f'<text class="faint" x="{x}" y="{bottom + 18}" text-anchor="middle">'
        f"{text}</text>"
    )


def _known(spot: Spot) -> list[float]:
    return [score for score in spot.scores if score is not None]


def _reach(spot: Spot) -> list[float]:
    """Return the scores, then where one standard deviation ends below and above."""
    known = _known(spot)
    if len(known) < 2:
        return known
    mean, spread = fmean(known), stdev(known)
    return [*known, mean - spread, mean + spread]
