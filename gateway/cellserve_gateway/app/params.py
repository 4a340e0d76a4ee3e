"""Parameters of a request, resolved for an image and a family."""

from __future__ import annotations

from dataclasses import replace
from enum import Enum

from cellserve_contract.channels import resolve_channels
from cellserve_contract.model_card import Family
from cellserve_contract.params import SegmentParams

from cellserve_gateway.errors import InvalidRequest


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


def check_stack_mode(params: SegmentParams, planes: int) -> None:
    """Raises InvalidRequest if an image is a stack of planes, and the parameters do not say what its planes make."""
    if planes > 1 and params.stack_mode is None:
        raise InvalidRequest(
            f"the image is a stack of {planes:,} planes; choose what they make: stack_mode volume (objects in three "
            "dimensions), stitch (objects of each plane, joined from plane to plane) or planes (each plane alone)",
            reason="STACK_MODE_MISSING",
            planes=planes,
        )
