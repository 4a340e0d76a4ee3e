"""The columns of the table of objects, with the names of scikit-image's `regionprops_table` where it has one.

`columns` are those of every answer. `shape_columns` and `intensity_columns` are measured on request.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

GROUPS = ("shape", "intensity")
"""What can be measured of objects: names of the groups of columns."""

_POWERS = {1: ("", "micrometres"), 2: ("2", "square micrometres"), 3: ("3", "cubic micrometres")}
_OF_A_CHANNEL = re.compile(r"intensity_[a-z]+-(\d+)")


@dataclass(frozen=True, slots=True)
class Column:
    """A column of the table.

    Attributes:
        name: Heading.
        kind: Type of its values.
        unit: Unit of its values.
        meaning: One sentence.
    """

    name: str
    kind: Literal["int", "float"]
    unit: str
    meaning: str


def columns(axes: str = "YX") -> tuple[Column, ...]:
    """Returns the columns for a label image.

    Args:
        axes: Axes of the label image: "YX" or "ZYX". Indices in the names count them: `bbox-0` is the first row of an
            object in "YX", the first plane in "ZYX". "TYX" and "TZYX" add the column `frame`, as trackpy names it.
    """
    if axes.startswith("T"):
        frame = Column("frame", "int", "", "Number of the time point, from 0. Labels begin anew at each time point.")
        return (frame, *columns(axes[1:]))
    count = len(axes)
    first = [Column(f"bbox-{n}", "int", "pixels", f"First pixel along {axis}.") for n, axis in enumerate(axes)]
    last = [
        Column(f"bbox-{n}", "int", "pixels", f"One past the last pixel along {axis}.")
        for n, axis in enumerate(axes, count)
    ]
    centre = [Column(f"centroid-{n}", "float", "pixels", f"Mean position along {axis}.") for n, axis in enumerate(axes)]
    return (
        Column("label", "int", "", "Value of the object in the label image."),
        *first,
        *last,
        *centre,
        Column("area", "int", "pixels", "Number of pixels."),
        Column("equivalent_diameter_area", "float", "pixels", "Diameter of the disk of equal area."),
        Column("mean_probability", "float", "", "Mean cell probability of the pixels, 0 to 1."),
        Column(
            "flow_error", "float", "", "Mean squared distance between the flows of the shape and the predicted flows."
        ),
    )


def shape_columns(
    axes: str = "YX", spacing: Sequence[float | None] | None = None, *, planes: bool = False
) -> tuple[Column, ...]:
    """Returns the columns of the group `shape`.

    Lengths and areas are in pixels, as those of `columns`. If the spacing is known, each of them has a second column in
    micrometres: its name ends in `_um`, `_um2` or `_um3`. Measures without a meaning in three dimensions are columns of
    objects in a plane only.

    Args:
        axes: Axes of the label image: "YX" or "ZYX".
        spacing: Micrometres between neighbouring pixels along each axis; None where unknown.
        planes: Whether each object of "ZYX" lies in one plane, as those of the stack mode "planes": its measures are
            then those of objects in a plane.
    """
    known = [None] * len(axes) if spacing is None else list(spacing)
    flat = planes or len(axes) == 2
    dimensions = 2 if flat else 3
    measured = None not in known[-dimensions:]
    figure, body, size = ("ellipse", "disk", "area") if flat else ("ellipsoid", "ball", "volume")

    def in_micrometres(name: str, meaning: str, power: int = 1) -> list[Column]:
        suffix, unit = _POWERS[power]
        return [Column(f"{name}_um{suffix}", "float", unit, meaning)] if measured else []

    def in_both(name: str, meaning: str) -> list[Column]:
        return [Column(name, "float", "pixels", meaning), *in_micrometres(name, meaning)]

    def in_plane() -> list[Column]:
        angle = "Angle from the axis Y to the longest axis, counter-clockwise in a picture, -pi/2 to pi/2."
        line = "Length of the line through the centres of the border pixels."
        return [
            Column("eccentricity", "float", "", "Eccentricity of that ellipse: 0 for a circle, almost 1 for a line."),
            Column("orientation", "float", "radians", angle),
            Column("perimeter", "float", "pixels", line),
            *(in_micrometres("perimeter", line) if _are_equal(known[-2], known[-1]) else []),
        ]

    positions = [in_micrometres(f"centroid-{n}", f"Mean position along {axis}.") for n, axis in enumerate(axes)]
    border = "1 if the object has a pixel in the first or last row or column of the image, else 0."
    return (
        *(column for position in positions for column in position if None not in known),
        *in_micrometres("area", f"{size.capitalize()} of the pixels.", dimensions),
        *in_micrometres("equivalent_diameter_area", f"Diameter of the {body} of equal {size}."),
        *in_both("axis_major_length", f"Longest axis of the {figure} with the same second moments."),
        *in_both("axis_minor_length", f"Shortest axis of the {figure} with the same second moments."),
        *(in_plane() if flat else ()),
        Column("solidity", "float", "", "Pixels of the object divided by those of its convex hull, at most 1."),
        Column("touches_border", "int", "", border),
    )


def _are_equal(y: float | None, x: float | None) -> bool:
    """Tells whether pixels are squares but for rounding."""
    return y is not None and x is not None and math.isclose(y, x, rel_tol=1e-6)


def intensity_columns(channels: int) -> tuple[Column, ...]:
    """Returns the columns of the group `intensity`, channel by channel.

    Args:
        channels: Channels or colours of the image. The names end in the number of the channel, from 0.
    """
    return tuple(column for channel in range(channels) for column in _columns_of_channel(channel))


def _columns_of_channel(channel: int) -> list[Column]:
    """Returns the columns of a channel. scikit-image has no name for the sum."""
    of = f"of the pixels in channel {channel}."
    return [
        Column(f"intensity_mean-{channel}", "float", "intensity", f"Mean {of}"),
        Column(f"intensity_median-{channel}", "float", "intensity", f"Median {of}"),
        Column(f"intensity_max-{channel}", "float", "intensity", f"Maximum {of}"),
        Column(f"intensity_sum-{channel}", "float", "intensity", f"Integrated intensity: sum {of}"),
    ]


def measured_column(name: str, axes: str = "YX", *, planes: bool = False) -> Column | None:
    """Returns the column of that name in the groups of measurements, or None.

    Args:
        name: Heading.
        axes: As in `shape_columns`.
        planes: As in `shape_columns`.
    """
    channel = _OF_A_CHANNEL.fullmatch(name)
    known = _columns_of_channel(int(channel[1])) if channel else shape_columns(axes, [1.0] * len(axes), planes=planes)
    return next((column for column in known if column.name == name), None)
