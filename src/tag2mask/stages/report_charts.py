"""Charts of the report: numbers in, SVG text out; its colours are the page's."""

from collections.abc import Mapping, Sequence
from html import escape
from typing import NamedTuple

NUM_COLOURS = 12
"""The page's style sheet has the classes line-0 to line-11."""

_WIDTH, _HEIGHT = 680, 320
_LEFT, _RIGHT, _TOP, _BOTTOM = 44, 12, 12, 40
_TICKS = 5
_DENSE = 50
_SHARES = 64
"""Height of the lower part of the chart of supports."""
_GAP = 30
_TIME_HEIGHT = 36


class Mark(NamedTuple):
    """A point of a curve that has a name, such as ``best``."""

    name: str
    threshold: float
    score: float


class Curve(NamedTuple):
    """Scores in percent at evenly spaced thresholds from 0 to 1."""

    scores: Sequence[float | None]
    marks: Sequence[Mark]


class Support(NamedTuple):
    """Pixels with exactly so many votes.

    Attributes:
        votes: How many.
        share: Percent of the pixels; None: there are none at all.
        purity: Percent of them that are right; None where nobody knows.
    """

    votes: int
    share: float | None
    purity: float | None


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
    return _svg(_HEIGHT, label, parts)


def support_chart(supports: Sequence[Support]) -> str:
    """Draw purity by support above the share of pixels: a reliability diagram.

    The dashes are where n of v votes would be right in n of v cases. Where no purity
    is known the upper part is left out.
    """
    is_known = any(each.purity is not None for each in supports)
    base = _HEIGHT - _BOTTOM if is_known else 0
    bottom = base + _GAP + _SHARES
    step = (_WIDTH - _LEFT - _RIGHT) / max(1, len(supports))
    parts = [_lines(100)] if is_known else []
    for place, each in enumerate(supports):
        left, width = round(_LEFT + (place + 0.15) * step, 1), round(0.7 * step, 1)
        text = _support_text(each)
        if each.purity is not None:
            top = _y(each.purity, 100)
            parts.append(_rect("right", (left, top, width, base - top), text))
        if is_known:
            y = _y(100 * each.votes / len(supports), 100)
            parts.append(
                f'<line class="even" x1="{left}" x2="{left + width:g}" y1="{y}" '
                f'y2="{y}"/>'
            )
        high = round(_SHARES * (each.share or 0) / 100, 1)
        parts.append(_rect("share", (left, bottom - high, width, high), text))
        parts.append(_tick(left + width / 2, bottom + 16, str(each.votes)))
    middle = (_LEFT + _WIDTH - _RIGHT) / 2
    if is_known:
        parts.append(_tick(middle, base + 18, "right among them, in %"))
    parts.append(
        _tick(middle, bottom + 34, "share of all pixels, by number of equal votes")
    )
    return _svg(bottom + 40, "Pixels by number of equal votes", parts)


def time_chart(times: Sequence[tuple[str, float]]) -> str:
    """Draw the seconds of each stage as parts of one bar, in their order."""
    total = sum(seconds for _, seconds in times)
    parts, left = [], 0.0
    for place, (stage, seconds) in enumerate(times):
        width = round(_WIDTH * seconds / total, 1)
        text = f"{stage}: {seconds:.1f} s, {100 * seconds / total:.0f} %"
        colour = f"line-{place % NUM_COLOURS}"
        parts.append(_rect(colour, (left, 0.0, width, float(_TIME_HEIGHT)), text))
        left = round(left + width, 1)
    return _svg(_TIME_HEIGHT, "Share of each stage in the time", parts)


def _support_text(support: Support) -> str:
    votes, share, purity = support
    known = [] if share is None else [f"{share:.1f} % of the pixels"]
    known += [] if purity is None else [f"{purity:.1f} % of them right"]
    noun = "vote" if votes == 1 else "votes"
    return f"{votes} {noun}: {', '.join(known) or 'no pixel'}"


def _svg(height: int, label: str, parts: Sequence[str]) -> str:
    return (
        f'<svg viewBox="0 0 {_WIDTH} {height}" role="img" aria-label="{label}">'
        f"{''.join(parts)}</svg>"
    )


def _rect(
    colour: str, corner_and_size: tuple[float, float, float, float], text: str
) -> str:
    x, y, width, height = corner_and_size
    return (
        f'<rect class="{colour}" x="{x:g}" y="{y:g}" width="{width:g}" '
        f'height="{height:g}"><title>{escape(text)}</title></rect>'
    )


def _tick(x: float, y: int, text: str) -> str:
    return f'<text x="{x:g}" y="{y}" class="tick-x">{escape(text)}</text>'


def _grid(top: int) -> str:
    parts = [_lines(top)]
    for tick in range(_TICKS + 1):
        share = tick / _TICKS
        parts.append(_tick(_x(share), _HEIGHT - _BOTTOM + 16, f"{share:g}"))
    middle = (_LEFT + _WIDTH - _RIGHT) / 2
    parts.append(_tick(middle, _HEIGHT - 6, "background threshold (mIoU in % upwards)"))
    return "".join(parts)


def _lines(top: int) -> str:
    parts = []
    for score in range(0, top + 1, 20 if top > _DENSE else 10):
        y = _y(float(score), top)
        parts.append(
            f'<line class="grid" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y}" '
            f'y2="{y}"/><text x="{_LEFT - 6}" y="{y}" class="tick-y">{score}</text>'
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
