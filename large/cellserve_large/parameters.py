"""Parameters of an image, resolved as the gateway resolves those of a request."""

from __future__ import annotations

from dataclasses import replace

from cellserve.models import Model
from cellserve_contract.channels import resolve_channels
from cellserve_contract.params import SegmentParams
from cellserve_contract.resolution import ignored_channels, resolve_stack
from cellserve_contract.warnings import Warnings
from cellserve_formats import ImageError
from cellserve_formats.image import check_flat
from cellserve_formats.lazy import LazyImage


def resolve(image: LazyImage, params: SegmentParams, family: Model) -> tuple[SegmentParams, Warnings]:
    """Resolves the parameters that depend on the image and the family, the diameter left out.

    Args:
        image: The image.
        params: As the caller gave them.
        family: The family that answers.

    Returns:
        Parameters that state model, channels and, of a volume, anisotropy; and what to know about them.

    Raises:
        ImageError: The image is a time series, a stack without a stack mode, or has channels and colours at once.
        ParameterError: A channel does not exist, or must be named, or the anisotropy is out of range.
    """
    length = dict(zip(image.axes, image.shape, strict=True))
    if "T" in length:
        raise ImageError(
            f"the image is a time series (axes {image.axes}, shape {image.shape}). A Zarr store, and an image beyond "
            "the limits of the server, can have one time point only: save each time point as an image of its own",
            "AXES_UNKNOWN",
        )
    if {"C", "S"} <= length.keys():
        raise ImageError(f"the image has channels and colour samples at once (axes {image.axes})", "AXES_UNKNOWN")
    planes, channels = length.get("Z", 1), length.get("C", 1) * length.get("S", 1)
    if planes > 1 and params.stack_mode is None:
        check_flat(image.axes, image.shape)
    cytoplasm, nucleus = resolve_channels(
        params.cytoplasm_channel, params.nucleus_channel, channels, family.name, family.channels
    )
    used = replace(params, model=family.name, cytoplasm_channel=cytoplasm, nucleus_channel=nucleus)
    used, warnings = resolve_stack(used, planes, image.pixel_size and image.pixel_size.anisotropy)
    return used, (*warnings, *ignored_channels(params, used, channels))
