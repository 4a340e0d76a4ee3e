"""The plan of a stack: what is decided before any work."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from cellserve_contract.params import SegmentParams
from cellserve_preprocess import Sections, neighbours, resize
from numpy.typing import NDArray

from cellserve_gateway.errors import ImageTooLarge

from .context import RequestContext
from .limits import ServiceLimits
from .params import DiameterSource
from .plan import Plan, Planner
from .results import Wanted

VOXEL_BYTES = 48
"""Memory of a voxel at most, beside the image as sent and the answer: two normalised channels (8 bytes) and the sums of
the views, which become the maps (16). During inference also the maps of a view before and after smoothing (12 each),
then what mask recovery takes (17) and the labels (4)."""


@dataclass(frozen=True, slots=True)
class View:
    """Sections of a stack that are images to the networks.

    Attributes:
        sections: Where they are cut.
        plan: The execution plan of one section.
    """

    sections: Sections
    plan: Plan

    @property
    def across(self) -> int:
        """Axis that the sections are cut across: 0 for xy sections, 1 for xz, 2 for yz."""
        return self.sections.across

    def cut(self, channels: NDArray[np.float32], index: int) -> NDArray[np.float32]:
        """Returns a section of a stack [2, Z, Y, X] at the scale of the networks, [2, Y', X']."""
        (near,), (part,) = neighbours(self.sections.length, self.sections.count, slice(index, index + 1))
        section = np.ascontiguousarray(np.take(channels, near, 1 + self.across))
        if part:
            section += part * (np.take(channels, near + 1, 1 + self.across) - section)
        return resize(section, self.plan.scaled)

    def place(self, index: int, maps: NDArray[np.float32], view: NDArray[np.float32]) -> None:
        """Adds the maps of a section, flows along its two axes and logit, to those of the view, [3, Z, Y, X].

        A plane of the view lies between two sections at most, so that the order of the sections changes no bit.
        """
        planes = np.moveaxis(view, 1 + self.across, 0)
        if self.sections.count == self.sections.length:
            planes[index] = maps
            return
        near, parts = neighbours(self.sections.count, self.sections.length)
        for at in np.flatnonzero(near == index):
            planes[at] += (1 - parts[at]) * maps
        for at in np.flatnonzero((near == index - 1) & (parts > 0)):
            planes[at] += parts[at] * maps


@dataclass(frozen=True, slots=True)
class StackPlan:
    """The execution plan of a stack.

    Attributes:
        shape: (Z, Y, X).
        params: Resolved, with a stack mode, an anisotropy and a diameter.
        views: In the order in which their maps are added. Modes that segment each plane have the first one only.
    """

    shape: tuple[int, int, int]
    params: SegmentParams
    diameter_source: DiameterSource
    views: tuple[View, ...]

    @property
    def bytes(self) -> int:
        """Memory of the work, beside the image as sent."""
        return VOXEL_BYTES * math.prod(self.shape)

    def answer_bytes(self, wanted: Wanted) -> int:
        """Returns the bytes of the arrays of an answer; see `Plan.answer_bytes`."""
        components = 4 if self.params.stack_mode == "volume" else 3
        planes = (components - 1) * ("flows" in wanted.outputs) + ("cell_probability" in wanted.outputs)
        planes += components * (wanted.maps_only or "maps" in wanted.outputs)
        labels = 0 if wanted.maps_only or not wanted.labels else 2
        return (labels + np.dtype(wanted.map_type).itemsize * planes) * math.prod(self.shape)


class StackPlanner:
    """Makes plans for stacks, and refuses stacks that exceed a limit or cannot be done in time.

    Args:
        planner: Plans the sections.
        limits: Limits on planes and tiles. Voxels are limited where images are decoded.
    """

    def __init__(self, planner: Planner, limits: ServiceLimits) -> None:
        self._planner = planner
        self._limits = limits

    def check_planes(self, planes: int) -> None:
        """Raises ImageTooLarge if a stack has too many planes."""
        most = self._limits.max_stack_planes
        if planes > most:
            raise ImageTooLarge(
                f"the stack has {planes:,} planes; the limit is {most:,}: cut the stack into parts",
                resource="planes",
                value=planes,
                limit=most,
            )

    def plan(
        self, shape: tuple[int, int, int], params: SegmentParams, source: DiameterSource, context: RequestContext
    ) -> StackPlan:
        """Returns the execution plan of a stack.

        Args:
            shape: (Z, Y, X) of the stack.
            params: Resolved, with a stack mode, an anisotropy and a diameter.
            source: Where the diameter came from.
            context: Its deadline bounds the tiles.

        Raises:
            ModelUnknown, BackendUnavailable, ImageTooLarge, DeadlineTooNear: As `Planner.plan`.
        """
        planned = self._planner.sections(shape, params)
        self._planner.check(planned, self._limits.max_stack_tiles, params, context)
        views = tuple(View(sections, self._planner.section(sections, params, source)) for sections in planned)
        return StackPlan(shape, views[0].plan.params, source, views)
