"""Numbers and times as a report writes them."""

from __future__ import annotations

import math
from datetime import datetime


def count_of(number: int, noun: str) -> str:
    """Returns a number with its noun, such as "1 image" and "1,204 images"."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def figure(number: float) -> str:
    """Returns a number with three significant digits, or with all digits before the point."""
    if number >= 99.95:
        return f"{number:,.0f}"
    return f"{number:.1f}" if number >= 9.995 else f"{number:.3g}"


def rough(number: float) -> str:
    """Returns a positive number with two significant digits: what the median of a histogram is worth."""
    rounded = float(f"{number:.2g}")
    return f"{rounded:,.{max(0, 1 - math.floor(math.log10(rounded)))}f}"


def short(number: int) -> str:
    """Returns a round number for an axis, such as "500", "20k" and "1.5M"."""
    if number < 10_000:
        return f"{number:,}"
    return f"{number / 1000:g}k" if number < 1_000_000 else f"{number / 1_000_000:,g}M"


def pixels(millions: float) -> str:
    """Returns a number of pixels, such as "1.43 megapixels" and "4.2 gigapixels"."""
    for power, prefix in ((6, "tera"), (3, "giga")):
        if millions >= 10**power:
            return f"{figure(millions / 10**power)} {prefix}pixels"
    return f"{figure(millions)} megapixels"


def duration(seconds: float) -> str:
    """Returns a time such as "0.8 s", "42 s", "3 min 20 s" and "1 h 48 min"."""
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    minutes = round(seconds / 60)
    return f"{minutes // 60:,} h {minutes % 60} min"


def period(started: datetime, ended: datetime) -> str:
    """Returns two times with their distance from UTC, such as "2026-03-12, 09:14 to 11:02 (UTC+01:00)"."""
    if started.tzinfo and ended.tzinfo:
        ended = ended.astimezone(started.tzinfo)
    zone = started.strftime("%z")
    day = "" if started.date() == ended.date() else f"{ended:%Y-%m-%d}, "
    times = f"{started:%Y-%m-%d}, {started:%H:%M} to {day}{ended:%H:%M}"
    return times + (f" (UTC{zone[:3]}:{zone[3:5]})" if zone else "")
