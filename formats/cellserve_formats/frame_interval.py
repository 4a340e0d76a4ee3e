"""Frame intervals that TIFF files state, in seconds."""

from __future__ import annotations

import math
from xml.etree import ElementTree

import tifffile

from .pixel_size import number

_MINUTE, _HOUR, _DAY = 60.0, 3600.0, 86400.0
_SECONDS = {
    "s": 1.0, "sec": 1.0, "second": 1.0, "seconds": 1.0, "ms": 1e-3, "msec": 1e-3, "µs": 1e-6, "us": 1e-6, "ns": 1e-9,
    "millisecond": 1e-3, "microsecond": 1e-6, "nanosecond": 1e-9,
    "min": _MINUTE, "minute": _MINUTE, "minutes": _MINUTE, "h": _HOUR, "hr": _HOUR, "hour": _HOUR, "hours": _HOUR,
    "d": _DAY, "day": _DAY, "days": _DAY,
}  # fmt: skip


def frame_interval_s(file: tifffile.TiffFile, ome: ElementTree.Element | None) -> float | None:
    """Returns the seconds between the time points of a TIFF file.

    Args:
        file: The file.
        ome: Its OME-XML, if it has any.

    Returns:
        The interval by `TimeIncrement` of OME-XML, else by `finterval` of ImageJ's metadata. None if the file states
        none, if the unit is unknown, or if the interval is not above 0.
    """
    if ome is not None:
        pixels = next((element.attrib for element in ome.iter() if element.tag.rpartition("}")[2] == "Pixels"), {})
        value, unit = pixels.get("TimeIncrement"), pixels.get("TimeIncrementUnit", "s")
    else:
        facts = (file.imagej_metadata or {}) if file.is_imagej else {}
        value, unit = facts.get("finterval"), str(facts.get("tunit", "sec"))
    return seconds_of(value, unit)


def seconds_of(value: object, unit: str) -> float | None:
    """Returns an interval in seconds; None if it is not above 0 or its unit is unknown.

    Args:
        value: The interval.
        unit: Name of its unit.
    """
    seconds = number(value) * _SECONDS.get(unit.replace("\\u00B5", "µ").replace("μ", "µ").strip(), math.nan)
    return seconds if 0 < seconds < math.inf else None
