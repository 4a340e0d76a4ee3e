"""Histograms as SVG. Places along x are percentages: a chart fits any width, and its text keeps its size."""

from __future__ import annotations

import math

from .bars import Bar, bars_of, height_ticks
from .histogram import Histogram
from .markup import Html, joined, tag
from .words import figure, short

_HEIGHT, _TOP, _BOTTOM = 210, 14, 178  # pixels: the picture, the highest mark, the axis
_LEFT, _RIGHT = 9.0, 98.5  # percent: the ends of the axis
_GAP = 0.12  # percent between bars
_LEAST = 1.5  # pixels: no bar that counts something is lower
_NEAR_THE_END = 0.93


def histogram_svg(histogram: Histogram, noun: str, unit: str, summary: str) -> Html:
    """Returns a histogram as an SVG element.

    Args:
        histogram: At least one value.
        noun: What is counted: "images" or "objects".
        unit: Unit of the values; "" for none.
        summary: What the chart shows, for those who do not see it.
    """
    shown = bars_of(histogram)
    ticks = height_ticks(max(bar.count for bar in shown.bars))
    grid = [
        joined(
            (
                tag("line", x1=_percent(0), x2=_percent(1), y1=_y(at, ticks[-1]), y2=_y(at, ticks[-1]), class_="grid"),
                tag("text", short(at), x=f"{_LEFT - 1:g}%", y=_y(at, ticks[-1]), dy="0.32em", text_anchor="end"),
            )
        )
        for at in ticks
    ]
    marks = [
        tag("text", tick.text, x=_percent(tick.place), y=_BOTTOM + 18, text_anchor=_anchor(tick.place))
        for tick in shown.ticks
    ]
    return tag(
        "svg",
        grid,
        [_bar(bar, ticks[-1], noun, unit) for bar in shown.bars if bar.count],
        tag("line", x1=_percent(0), x2=_percent(1), y1=_BOTTOM, y2=_BOTTOM, class_="axis"),
        marks,
        role="img",
        aria_label=summary,
        width="100%",
        height=_HEIGHT,
    )


def _bar(bar: Bar, highest: int, noun: str, unit: str) -> Html:
    top = min(float(_y(bar.count, highest)), _BOTTOM - _LEAST)
    left = _place(bar.left) + _GAP
    return tag(
        "rect",
        tag("title", f"{span(bar, unit)}: {bar.count:,} {noun if bar.count != 1 else noun.removesuffix('s')}"),
        x=f"{left:.2f}%",
        width=f"{max(_place(bar.right) - _GAP - left, 0.1):.2f}%",
        y=f"{top:.1f}",
        height=f"{_BOTTOM - top:.1f}",
        class_="bar rest" if is_rest(bar, unit) else "bar",
    )


def is_rest(bar: Bar, unit: str) -> bool:
    """Tells whether a bar holds all values beyond an end of the axis."""
    return math.isinf(bar.high) or bool(unit and not bar.low)


def span(bar: Bar, unit: str) -> str:
    """Returns the values of a bar as text, such as "20 to 21.8 px", "12" and "800 or more"."""
    end = f" {unit}" if unit else ""
    if math.isinf(bar.high):
        return f"{figure(bar.low) if unit else f'{bar.low:,.0f}'} or more{end}"
    if unit and bar.low == 0:
        return f"below {figure(bar.high)}{end}"
    if unit:
        return f"{figure(bar.low)} to {figure(bar.high)}{end}"
    return f"{bar.low:,.0f}" if bar.high - bar.low <= 1 else f"{bar.low:,.0f} to {bar.high - 1:,.0f}"


def _anchor(place: float) -> str:
    return "end" if place > _NEAR_THE_END else "middle"


def _place(share: float) -> float:
    return _LEFT + share * (_RIGHT - _LEFT)


def _percent(share: float) -> str:
    return f"{_place(share):.2f}%"


def _y(count: int, highest: int) -> str:
    return f"{_BOTTOM - (_BOTTOM - _TOP) * count / highest:.1f}"
