"""The columns of the table of objects, with the names of scikit-image's `regionprops_table` where it has one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


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
