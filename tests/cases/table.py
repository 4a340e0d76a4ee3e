"""The table of cases: inputs on which segmentation services answer wrongly or in silence, and what is right.

Rows of one number are of one kind: other containers, bit depths, writers and doors.
"""

from __future__ import annotations

from collections.abc import Iterator

from . import commands, containers, further, intensities, training
from .rows import Row

GROUPS = (
    commands.batches, commands.names, containers.palettes, intensities.values, containers.sets, containers.damaged,
    containers.colours, training.labels, containers.sizes, intensities.diameters, containers.several_images,
    intensities.edges, containers.views, further.unusual_pixels, further.unknown_pixels, further.planes,
    further.surroundings, training.exports,
)  # fmt: skip


def rows() -> Iterator[Row]:
    """Yields all rows, in the order of their numbers."""
    yield from sorted((row for group in GROUPS for row in group()), key=lambda row: row.case)
