"""From the planes in the run folder to the maps in the run folder, block by block."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from cellserve_contract.params import SegmentParams
from cellserve_postprocess import ViewSums, smooth_sections, smoothing_reach, to_maps, view_rule
from cellserve_preprocess import SECTION_AXES, Region, Sections, resize_region, source_region
from cellserve_preprocess.normalize import map_intensities
from numpy.typing import NDArray

from .errors import LargeError
from .geometry import Box, Grid
from .intensities import Scales
from .networks import Networks
from .pixels import Pixels
from .store import Store
from .tiles import TileBlocks

BAND_BYTES = 32 << 20
"""Bytes of the planes, or of the sums, that are resized at a time."""


@dataclass(frozen=True, slots=True)
class View:
    """Sections of the image that the networks see, and their tiles.

    Attributes:
        sections: The sections.
        blocks: Their tiles.
    """

    sections: Sections
    blocks: TileBlocks


@dataclass(frozen=True, slots=True)
class MapJob:
    """What workers need to know to make maps. A job can be pickled.

    Attributes:
        pixels: The planes.
        scales: Maps of their intensities.
        params: Resolved.
        views: In the order in which their maps are added.
        networks: Runs the networks.
        grid: Blocks of the maps of a volume.
    """

    pixels: Pixels
    scales: Scales
    params: SegmentParams
    views: tuple[View, ...]
    networks: Networks
    grid: Grid

    @property
    def store(self) -> Store:
        """The run folder."""
        return self.pixels.store


def sums_stage(view: int) -> str:
    """Returns the stage of the sums of a view."""
    return f"sums-{view}"


def maps_stage(view: int) -> str:
    """Returns the stage of the maps after so many views were added."""
    return f"maps-{view}"


def add_tiles(job: MapJob, number: int, block: int) -> None:
    """Run the networks on a block of tiles of a view."""
    stage = sums_stage(number)
    if job.store.has(stage, block):
        return
    view = job.views[number]
    some, grid = view.blocks.part(block)
    rows, columns = grid.extent
    planes = np.zeros((len(some), 2, rows.stop - rows.start, columns.stop - columns.start), np.float32)
    down, across = (own / length for own, length in zip(view.sections.shape, view.sections.scaled, strict=True))
    pixels = len(some) * down * (columns.stop - columns.start) * across  # of the image, for each scaled row
    band = max(1, int(BAND_BYTES / (pixels * job.pixels.count * (job.pixels.dtype.itemsize + 4))))
    for first in range(rows.start, rows.stop, band):
        part = slice(first, min(first + band, rows.stop))
        planes[:, : job.pixels.count, part.start - rows.start : part.stop - rows.start] = _scaled(
            job, view.sections, some, (part, columns)
        )
    sums = job.networks.run(planes, grid)
    shape = len(some), 3, *planes.shape[2:]
    if sums.shape != shape or sums.dtype != np.int32:
        raise LargeError(f"the networks returned {sums.dtype} of shape {sums.shape} instead of int32 of shape {shape}")
    job.store.save(stage, block, sums=sums, seen=np.array([planes.any()]))


def _scaled(job: MapJob, sections: Sections, some: range, region: Region) -> NDArray[np.float32]:
    """Returns a region of some sections, normalised and at the networks' scale, float32 [N, planes, rows, columns]."""
    rows, columns = source_region(sections.shape, sections.scaled, region)
    box = _box(sections.across, some, (rows, columns))
    source = job.pixels.read(box)
    normalized = np.zeros(source.shape, np.float32)
    for plane, (scale, fill) in enumerate(zip(job.scales.scales, job.scales.fills, strict=True)):
        if scale is not None:
            map_intensities(source[plane], scale, job.params.normalization.invert, normalized[plane])
        if fill is not None:
            normalized[plane][fill.read(job.pixels, plane, box)] = 0
    window = np.moveaxis(normalized, 1 + sections.across, 0)
    return resize_region(window, (rows.start, columns.start), sections.shape, sections.scaled, region)


def add_view(job: MapJob, number: int, block: int) -> None:
    """Add a block of the maps of a view to those of the views before; the last view completes the maps."""
    stage = maps_stage(number)
    if job.store.has(stage, block):
        return
    sections, box = job.views[number].sections, job.grid.box(block)
    across = sections.across
    sigma, weight = view_rule(across, job.params)
    reach = smoothing_reach(sigma, sections.count)
    wanted = range(box.start[across], box.stop[across])
    held = range(max(0, wanted.start - reach), min(wanted.stop + reach, sections.count))
    rows, columns = (slice(box.start[axis], box.stop[axis]) for axis in SECTION_AXES[across])
    window = np.empty((len(held), 3, rows.stop - rows.start, columns.stop - columns.start), np.float32)
    scale = math.prod(sections.scaled) / math.prod(sections.recovered)
    band = max(1, int(BAND_BYTES / (window[0].nbytes * scale)))
    for first in range(0, len(held), band):
        part = slice(first, first + band)
        window[part] = _recovered(job.store, job.views[number], number, held[part], (rows, columns))
    view = np.moveaxis(window, (1, 0), (0, 1 + across))
    smoothed = smooth_sections(view, across, sigma, held, wanted, sections.count)
    depth, height, width = box.shape
    sums = ViewSums((depth, height, width))
    if number:
        sums = ViewSums.of(*job.store.load(maps_stage(number - 1), block, "maps", "weights"))
    sums.add(smoothed, across, weight)
    if number + 1 < len(job.views):
        job.store.save(stage, block, maps=sums.sums, weights=sums.weights)
    else:
        job.store.save(stage, block, maps=sums.maps())


def _recovered(store: Store, view: View, number: int, some: range, region: Region) -> NDArray[np.float32]:
    """Returns a region of the maps of some sections, float32 [N, 3, rows, columns], at the scale of the recovery."""
    scaled, recovered = view.sections.scaled, view.sections.recovered
    rows, columns = source_region(scaled, recovered, region)
    maps = to_maps(view.blocks.read(store, sums_stage(number), some, (rows, columns)))
    return resize_region(maps, (rows.start, columns.start), scaled, recovered, region)


def _box(across: int, some: range, region: Region) -> Box:
    """Returns the box in the stack [Z, Y, X] of a region of some sections."""
    ends = [(part.start, part.stop) for part in region]
    ends.insert(across, (some.start, some.stop))
    return Box(tuple(first for first, _ in ends), tuple(last for _, last in ends))


@dataclass(frozen=True, slots=True)
class ImageMaps:
    """Maps of an image, made of the sums in the run folder whenever they are read: storing them would take longer.

    Attributes:
        store: The run folder.
        view: The only one.
    """

    store: Store
    view: View

    @property
    def shape(self) -> tuple[int, int]:
        """(Y, X) of the maps."""
        return self.view.sections.recovered

    def blocks(self, box: Box) -> list[int]:
        """Returns the blocks of tiles whose sums the maps of a box are made of."""
        rows, columns = box.slices
        region = source_region(self.view.sections.scaled, self.shape, (rows, columns))
        return self.view.blocks.near(range(1), region)

    def read(self, box: Box) -> NDArray[np.float32]:
        """Returns the maps of a box."""
        rows, columns = box.slices
        maps: NDArray[np.float32] = _recovered(self.store, self.view, 0, range(1), (rows, columns))[0]
        return maps


@dataclass(frozen=True, slots=True)
class VolumeMaps:
    """Maps of a volume in the run folder.

    Attributes:
        store: The run folder.
        stage: Of the maps.
        grid: Blocks of the maps.
    """

    store: Store
    stage: str
    grid: Grid

    @property
    def shape(self) -> tuple[int, ...]:
        """(Z, Y, X) of the maps."""
        return self.grid.shape

    def read(self, box: Box) -> NDArray[np.float32]:
        """Returns the maps of a box."""
        return self.store.read(self.stage, "maps", self.grid, box, np.float32, (4,))


@dataclass(frozen=True, slots=True)
class NoMaps:
    """Maps of an image that shows nothing.

    Attributes:
        shape: (Y, X).
    """

    shape: tuple[int, ...]

    def read(self, box: Box) -> NDArray[np.float32]:
        """Returns the maps of a box."""
        maps = np.zeros((len(self.shape) + 1, *box.shape), np.float32)
        maps[-1] = -np.inf
        return maps
