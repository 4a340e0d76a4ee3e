"""Rules that resolve parameters for an image, and what to know about the outcome: gateway and large share them."""

from __future__ import annotations

from dataclasses import replace

from .channels import MEAN
from .params import SegmentParams
from .warnings import WarningKind, Warnings

TESTED_DIAMETERS = (3.0, 160.0)
"""In pixels: smallest and largest median diameter at which results were measured; see docs/decisions/0022."""


def resolve_stack(params: SegmentParams, planes: int, stated: float | None) -> tuple[SegmentParams, Warnings]:
    """Resolve the parameters that depend on the planes of a stack.

    Args:
        params: As the caller sent them. They state a stack mode if there are several planes.
        planes: Number of planes; 1 for an image that is no stack.
        stated: Anisotropy by the pixel size of the image. None: unknown.

    Returns:
        Parameters that state an anisotropy if the image is a stack, and what to know about them.

    Raises:
        ParameterError: The pixel size gives an anisotropy that is out of range.
    """
    if planes == 1:
        ignored: Warnings = (
            ((WarningKind.SINGLE_PLANE, {"stack_mode": params.stack_mode}),) if params.stack_mode else ()
        )
        return replace(params, stack_mode=None), ignored
    if params.anisotropy is not None:
        return params, ()
    if stated is not None:
        return replace(params, anisotropy=stated), ()
    unknown: Warnings = ((WarningKind.ANISOTROPY_UNKNOWN, {}),) if params.stack_mode == "volume" else ()
    return replace(params, anisotropy=1.0), unknown


def ignored_channels(given: SegmentParams, used: SegmentParams, channels: int) -> Warnings:
    """Return a warning if the caller named no channels and some channels of the image are not used."""
    if (given.cytoplasm_channel, given.nucleus_channel) == (None, None) and used.cytoplasm_channel != MEAN:
        ignored = sorted(set(range(channels)) - {used.cytoplasm_channel, used.nucleus_channel})
        if ignored:
            return ((WarningKind.PLANES_IGNORED, {"planes": ", ".join(map(str, ignored))}),)
    return ()


def untested_diameter(params: SegmentParams) -> Warnings:
    """Return a warning if objects of the diameter that the parameters state were never measured."""
    smallest, largest = TESTED_DIAMETERS
    if params.diameter is None or smallest <= params.diameter <= largest:
        return ()
    facts = {"diameter": f"{params.diameter:.3g}", "smallest": f"{smallest:g}", "largest": f"{largest:g}"}
    return ((WarningKind.SIZE_UNTESTED, facts),)
