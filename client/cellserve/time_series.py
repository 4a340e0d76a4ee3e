"""Time series: a request for each time point."""

from __future__ import annotations

import os
from collections.abc import Iterator

import numpy as np
from cellserve_formats import EncodedImage, Image, time_points

from .errors import at_time_point
from .images import ImageLike
from .messages import Keyed, Template
from .params import SegmentOptions, SegmentParams
from .results import Segmentation
from .sources import ImageSource


def of_time_series(image: ImageLike, params: SegmentParams | None, options: SegmentOptions) -> SegmentOptions:
    """Returns the keywords of a call about a time series: arrays begin with T, then Z if there is a stack mode."""
    filled = SegmentOptions(**options)
    if "axes" not in options and not isinstance(image, Image | EncodedImage | str | os.PathLike):
        stacks = options.get("stack_mode", params and params.stack_mode) is not None
        names = {3: "TYX", 4: "TZYX", 5: "TZCYX"} if stacks else {3: "TYX", 4: "TCYX"}
        filled["axes"] = names.get(np.ndim(image))
    return filled


def read_time_points(image: ImageLike, template: Template) -> Iterator[tuple[int, Image]]:
    """Yields the time points of a series with their numbers, from 0. A file is read when the first is asked for.

    Raises:
        InvalidRequestError: The image cannot be read, or its axes are ambiguous or unknown.
    """
    source = ImageSource(image, template.axes, template.series, template.stacks, time_series=True)
    yield from enumerate(time_points(source.image_of()))


def at_time(result: Keyed[int]) -> Segmentation:
    """Returns the result of a time point.

    Raises:
        CellServeError: There is none; the message names the time point.
    """
    number, segmentation = result
    if isinstance(segmentation, Segmentation):
        return segmentation
    raise at_time_point(segmentation, number) from segmentation
