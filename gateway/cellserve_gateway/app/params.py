"""Parameters of a request, resolved for an image and a family."""

from __future__ import annotations

import math
from dataclasses import replace
from enum import Enum

from cellserve_contract.channels import resolve_channels
from cellserve_contract.model_card import Family
from cellserve_contract.params import MIN_SIZE, SegmentParams

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


def has_small_objects(params: SegmentParams) -> bool:
    """Returns whether objects of the diameter are small; never for Cellpose, which recovers at the image's size."""
    assert params.diameter is not None  # resolved or estimated
    return params.mask_rules == "paper" and params.diameter < SMALL_DIAMETER


def with_min_size(params: SegmentParams) -> SegmentParams:
    """Resolves `min_size` of parameters that state a diameter: no default drops objects of half the diameter."""
    if params.min_size is not None:
        return params
    assert params.diameter is not None  # resolved or estimated
    quarter = math.pi / 16 * params.diameter**2  # of the area of a disc: a disc of half the diameter
    return replace(params, min_size=MIN_SIZE if params.mask_rules == "cellpose3" else min(MIN_SIZE, round(quarter)))
