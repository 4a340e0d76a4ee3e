"""Parameters of a request, resolved for an image and a family."""

from __future__ import annotations

import math
from dataclasses import replace
from enum import Enum

from cellserve_contract.channels import resolve_channels
from cellserve_contract.model_card import Family
from cellserve_contract.params import MIN_SIZE, SegmentParams
from cellserve_contract.warnings import WarningKind, Warnings
from cellserve_formats import PixelSize

from cellserve_gateway.errors import InvalidRequest

SMALL_DIAMETER = 6.0
"""In pixels. Masks of smaller objects are recovered at the networks' scale: on few pixels, fewer paths converge."""

TESTED_DIAMETERS = (3.0, 160.0)
"""In pixels: smallest and largest median diameter at which results were measured; see docs/decisions/0022."""


class DiameterSource(Enum):
    """Where the diameter of an answer came from."""

    CALLER = "caller"
    TRAINING_DIAMETER = "training_diameter"
    SIZE_MODEL = "size_model"


def resolve(params: SegmentParams, planes: int, family: Family) -> tuple[SegmentParams, DiameterSource]:
    """Resolves the parameters that depend on the image and the family.

    Args:
        params: As the caller sent them.
        planes: Number of planes of the image.
        family: The family that `params.model` names.

    Returns:
        Parameters, all resolved, and the source of the diameter. If the source is the size model, the diameter is still
        None: `DiameterEstimator` estimates it from the image.

    Raises:
        ParameterError: A channel does not exist, or must be named; see `cellserve_contract.channels`.
    """
    cytoplasm, nucleus = resolve_channels(
        params.cytoplasm_channel, params.nucleus_channel, planes, family.name, family.channels
    )
    channels = replace(params, cytoplasm_channel=cytoplasm, nucleus_channel=nucleus)
    if params.diameter is not None:
        return channels, DiameterSource.CALLER
    if family.size_model is not None:
        return channels, DiameterSource.SIZE_MODEL
    return replace(channels, diameter=family.default_diameter), DiameterSource.TRAINING_DIAMETER


def resolve_stack(params: SegmentParams, planes: int, pixel_size: PixelSize | None) -> tuple[SegmentParams, Warnings]:
    """Resolves the parameters that depend on the planes of a stack.

    Args:
        params: As the caller sent them.
        planes: Number of planes; 1 for an image that is no stack.
        pixel_size: Pixel size of the image. None: unknown.

    Returns:
        Parameters that state an anisotropy if the image is a stack, and what to know about them.

    Raises:
        InvalidRequest: The image is a stack, and the parameters do not say what its planes make.
        ParameterError: The pixel size gives an anisotropy that is out of range.
    """
    if planes == 1:
        ignored: Warnings = (
            ((WarningKind.SINGLE_PLANE, {"stack_mode": params.stack_mode}),) if params.stack_mode else ()
        )
        return replace(params, stack_mode=None), ignored
    if params.stack_mode is None:
        raise InvalidRequest(
            f"the image is a stack of {planes:,} planes; choose what they make: stack_mode volume (objects in three "
            "dimensions), stitch (objects of each plane, joined from plane to plane) or planes (each plane alone)",
            reason="STACK_MODE_MISSING",
            planes=planes,
        )
    if params.anisotropy is not None:
        return params, ()
    stated = pixel_size.anisotropy if pixel_size else None
    if stated is not None:
        return replace(params, anisotropy=stated), ()
    unknown: Warnings = ((WarningKind.ANISOTROPY_UNKNOWN, {}),) if params.stack_mode == "volume" else ()
    return replace(params, anisotropy=1.0), unknown


def has_small_objects(params: SegmentParams) -> bool:
    """Returns whether objects of the diameter are small.

    Never for Cellpose, which recovers at the image's size, and in volumes, whose views meet in the stack's own voxels.
    """
    assert params.diameter is not None  # resolved or estimated
    if params.mask_rules == "cellpose3" or params.stack_mode == "volume":
        return False
    return params.diameter < SMALL_DIAMETER


def with_recovery_defaults(params: SegmentParams) -> SegmentParams:
    """Resolves `min_size` and the thresholds of parameters that state a diameter.

    No default of `min_size` drops objects of half the diameter.
    """
    if params.min_size is not None:
        return params.resolved(3 if params.stack_mode == "volume" else 2)
    assert params.diameter is not None  # resolved or estimated
    quarter = math.pi / 16 * params.diameter**2  # of the area of a disc: a disc of half the diameter
    smallest = MIN_SIZE if params.mask_rules == "cellpose3" else min(MIN_SIZE, round(quarter))
    return with_recovery_defaults(replace(params, min_size=smallest))
