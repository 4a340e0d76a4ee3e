"""The limits that an image, its answer and its call meet."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from cellserve_preprocess import TILE

from cellserve_gateway.settings import Settings


@dataclass(frozen=True, slots=True)
class ServiceLimits:
    """The limits that callers can ask for. The contract's `Limits` has the same fields and describes them."""

    max_image_pixels: int
    max_image_bytes: int
    max_planes: int
    max_tiles: int
    max_transfer_bytes: int
    max_message_bytes: int
    default_deadline_s: float
    max_deadline_s: float
    max_stack_planes: int
    max_stack_voxels: int
    max_stack_tiles: int

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """Returns the limits that follow from the settings."""
        return cls(
            max_image_pixels=settings.max_image_pixels,
            max_image_bytes=settings.max_image_bytes,
            max_planes=settings.max_channels,
            # Never more than an idle gateway would admit.
            max_tiles=min(settings.max_tiles, max(1, settings.max_pixels_in_flight // (TILE * TILE))),
            max_transfer_bytes=settings.max_transfer_bytes,
            max_message_bytes=settings.max_message_bytes,
            default_deadline_s=min(settings.default_deadline_s, settings.max_deadline_s),
            max_deadline_s=settings.max_deadline_s,
            max_stack_planes=settings.max_stack_planes,
            max_stack_voxels=settings.max_stack_voxels,
            max_stack_tiles=settings.max_stack_tiles,
        )
