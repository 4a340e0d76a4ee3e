"""What follows from the diameter of the objects in an image."""

from __future__ import annotations

import math
from dataclasses import replace

from .params import MIN_SIZE, NITER, PARAMETERS, SegmentParams

SMALL_DIAMETER = 6.0
"""In pixels. Masks of smaller objects are recovered at the networks' scale: on few pixels, fewer paths converge."""


def has_small_objects(params: SegmentParams) -> bool:
    """Returns whether objects of the diameter are small.

    Never for Cellpose, which recovers at the image's size, and in volumes, whose views meet in the stack's own voxels.
    """
    assert params.diameter is not None  # resolved or estimated
    if params.mask_rules == "cellpose3" or params.stack_mode == "volume":
        return False
    return params.diameter < SMALL_DIAMETER


def with_recovery_defaults(params: SegmentParams, working_diameter: float) -> SegmentParams:
    """Resolves `niter`, `min_size` and the thresholds of parameters that state a diameter.

    No default of `min_size` drops objects of half the diameter. Cellpose 3.1 takes more steps in larger objects, and
    has one smallest size.

    Args:
        params: They state a diameter.
        working_diameter: Diameter that the networks work at, pixels.
    """
    assert params.diameter is not None  # resolved or estimated
    if params.mask_rules == "cellpose3":
        most = PARAMETERS["niter"].about.high
        assert most is not None  # declared
        niter, min_size = max(1, int(min(NITER * params.diameter / working_diameter, most))), MIN_SIZE
    else:
        quarter = math.pi / 16 * params.diameter**2  # of the area of a disc: a disc of half the diameter
        niter, min_size = NITER, min(MIN_SIZE, round(quarter))
    params = replace(
        params,
        niter=niter if params.niter is None else params.niter,
        min_size=min_size if params.min_size is None else params.min_size,
    )
    return params.resolved(3 if params.stack_mode == "volume" else 2)
