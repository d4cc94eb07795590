"""Charts of the report: numbers in, SVG text out; its colours are the page's."""

from collections.abc import Mapping, Sequence
from html import escape
from typing import NamedTuple

NUM_COLOURS = 8
"""The page's style sheet has the classes line-0 to line-7."""

_WIDTH, _HEIGHT = 680, 320
_LEFT, _RIGHT, _TOP, _BOTTOM = 44, 12, 12, 40
_TICKS = 5
_DENSE = 50


class Mark(NamedTuple):
    """A point of a curve that has a name, such as ``best``."""

    name: str
    threshold: float
    score: float


class Curve(NamedTuple):
    """Scores in percent at evenly spaced thresholds from 0 to 1."""

    scores: Sequence[float | None]
    marks: Sequence[Mark]


def threshold_chart(curves: Mapping[str, Curve]) -> str:
    """Draw mIoU over the background threshold, one line for each voter.

    Circles are the fixed thresholds, diamonds all others. A score that is undefined
    is left out of its line.
    """
    known = [v for curve in curves.values() for v in curve.scores if v is not None]
    top = 10 * (int(max(known, default=0) // 10) + 1)
    parts = [_grid(top)]
    for number, (name, curve) in enumerate(curves.items()):
        colour = f"line-{number % NUM_COLOURS}"
        last = max(1, len(curve.scores) - 1)
        points = " ".join(
            _point(place / last, score, top)
            for place, score in enumerate(curve.scores)
            if score is not None
        )
        title = f"<title>{escape(name)}</title>"
        parts.append(f'<polyline class="{colour}" points="{points}">{title}</polyline>')
        parts += [_mark(name, mark, colour, top) for mark in curve.marks]
    label = f"mIoU over the background threshold of {len(curves)} voters"
    return (
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{label}">'
        f"{''.join(parts)}</svg>"
    )


def _grid(top: int) -> str:
    parts = []
    for score in range(0, top + 1, 20 if top > _DENSE else 10):
        y = _y(float(score), top)
        parts.append(
            f'<line class="grid" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y}" '
            f'y2="{y}"/><text x="{_LEFT - 6}" y="{y}" class="tick-y">{score}</text>'
        )
    for tick in range(_TICKS + 1):
        share = tick / _TICKS
        parts.append(
            f'<text x="{_x(share)}" y="{_HEIGHT - _BOTTOM + 16}" class="tick-x">'
            f"{share:g}</text>"
        )
    middle = (_LEFT + _WIDTH - _RIGHT) // 2
    parts.append(
        f'<text x="{middle}" y="{_HEIGHT - 6}" class="tick-x">'
        f"background threshold (mIoU in % upwards)</text>"
    )
    return "".join(parts)


def _mark(name: str, mark: Mark, colour: str, top: int) -> str:
    x, y = _x(mark.threshold), _y(mark.score, top)
    text = f"{name}, {mark.name}: {mark.score:.1f} at {mark.threshold:g}"
    title = f"<title>{escape(text)}</title>"
    if mark.name == "fixed":
        return f'<circle class="{colour}" cx="{x}" cy="{y}" r="5">{title}</circle>'
    corners = [(x, y - 7), (x + 7, y), (x, y + 7), (x - 7, y)]
    if mark.name == "label-free":
        corners = [(x, y - 7), (x + 7, y + 6), (x - 7, y + 6)]
    points = " ".join(f"{left:g},{down:g}" for left, down in corners)
    return f'<polygon class="{colour}" points="{points}">{title}</polygon>'


def _point(threshold: float, score: float, top: int) -> str:
    return f"{_x(threshold):g},{_y(score, top):g}"


def _x(share: float) -> float:
    return round(_LEFT + share * (_WIDTH - _LEFT - _RIGHT), 1)


def _y(score: float, top: int) -> float:
    return round(_HEIGHT - _BOTTOM - score / top * (_HEIGHT - _TOP - _BOTTOM), 1)
