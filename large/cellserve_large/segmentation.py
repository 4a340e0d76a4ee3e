"""Segmentation of an image of any size: the result that one request would have given, in blocks on disk."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Executor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from cellserve.engines import Progress
from cellserve_contract.params import SegmentParams
from cellserve_contract.sizes import with_recovery_defaults
from cellserve_contract.warnings import Warned, WarningKind
from cellserve_formats.lazy import LazyImage
from cellserve_preprocess import plan_sections

from .errors import LargeError
from .execution import Call, Runner
from .following import HALO
from .geometry import Grid
from .intensities import NAME as SCALES
from .intensities import Scales, described, find_scales, warnings_of
from .maps import ImageMaps, MapJob, NoMaps, View, VolumeMaps, add_tiles, add_view, maps_stage, sums_stage
from .networks import Networks
from .pixels import Channels, Pixels, read_block
from .recovery import SIDE, Recovery, inverse, recover_all
from .run import Description
from .sources import MapSource
from .store import Store
from .tiles import TileBlocks
from .work import Job, follow, read_logit

ONE_REQUEST = ("tile_margin", "resample_stack", "sum_views")
"""Parameters that cannot be changed here."""


def segment(
    image: LazyImage,
    params: SegmentParams,
    networks: Networks,
    folder: Path,
    *,
    working_diameter: float,
    side: int | None = None,
    executor: Executor | None = None,
    progress: Progress | None = None,
    identity: Any = None,
) -> Recovery:
    """Segments an image, or a stack as a volume.

    Labels, numbers and flow errors are those of one request with the same parameters, bit for bit, if the networks
    give the same outputs. The side of the blocks does not matter. Sums of probabilities are taken in another order:
    mean probabilities differ by less than 1e-6.

    The stage "read" copies the planes for the networks into the run folder. Each chunk of the storage is read once.
    The stages "percentiles" and "border" pass over the copy again if the intensities need it. The stage "networks"
    follows, and the stage "maps" of a volume, both for each view; then the stages of `recover`.

    Memory is bounded. Each thread takes up to 200 MB, the largest chunk of the storage, and the bytes that `recover`
    states. The folder takes about 25 bytes for each pixel of an image while the run lasts, and 60 for each voxel of a
    volume. Most of them are sums: 17 bytes for each pixel that the networks see, of one view at a time.

    Args:
        image: The image. Axes are YX or ZYX, with C or S; a Z axis needs the stack mode "volume".
        params: Resolved: diameter, channels, and of a stack mode and anisotropy.
        networks: Runs the networks.
        folder: The run folder. If a run was ended in it, at any moment, the same run goes on.
        working_diameter: Diameter of objects that the networks work at, in pixels: `diam_mean` of the family.
        side: Of the blocks, in pixels; SIDE if left out.
        executor: Runs the blocks: threads, or workers that share the folder; the calling thread alone if left out.
        progress: Told about blocks that are done.
        identity: Of the image and of the networks, anything that JSON can hold. A run goes on with the same only.

    Returns:
        Labels, table of objects, and warnings about the intensities and about a result without objects. Warnings about
        the file and about parameters that the caller resolved are the caller's.

    Raises:
        FolderBusyError: Another run works in the folder.
        OtherRunError: The folder holds a run of another image, or with other parameters.
        LargeError: The image has axes, or the parameters have a stack mode, that are not segmented.
        ParameterError: The image has no such channel.
        DiskFullError: The folder has no room. What is there stays; the run can go on.
        ImageError, OSError: The image cannot be read.
        Exception: As `networks` raises.
    """
    params = with_recovery_defaults(params, working_diameter)
    channels = _channels(image, params)
    shape = channels.shape if params.stack_mode else channels.shape[1:]
    views = tuple(View(own, TileBlocks.of(own, params)) for own in plan_sections(shape, params, working_diameter))
    maps_shape = shape if params.stack_mode else views[0].sections.recovered
    side = side or SIDE[len(shape)]
    about = {
        "identity": identity,
        "name": image.name,
        "axes": image.axes,
        "shape": image.shape,
        "dtype": image.dtype.str,
        "working_diameter": working_diameter,
    }
    with Description(about, maps_shape, shape, params, side).opened(Store(folder)) as store:
        store.sweep("")
        pixels = Pixels(store, channels.grid(), channels.count, channels.dtype)
        run = _Run(pixels, params, views, networks, Grid.regular(maps_shape, side), shape, Runner(executor, progress))
        return run.result(channels)


def _channels(image: LazyImage, params: SegmentParams) -> Channels:
    """Returns the planes of the image that the networks look at; refuses what is not segmented."""
    assert params.cytoplasm_channel is not None  # resolved
    assert params.nucleus_channel is not None
    channels = Channels(image, params.cytoplasm_channel, params.nucleus_channel)
    if "Z" in image.axes and params.stack_mode != "volume":
        raise LargeError(
            f"the image is a stack (axes {image.axes}, shape {image.shape}) and the stack mode is {params.stack_mode}: "
            "a stack of any size is segmented as a volume. Choose the stack mode volume, or segment each plane alone."
        )
    if others := [name for name in ONE_REQUEST if getattr(params, name) != getattr(SegmentParams(), name)]:
        raise LargeError(
            f"{', '.join(others)} (preset cellpose3) is for images that one request holds. Leave the parameter out, or "
            "cut the image into parts."
        )
    if "Z" not in image.axes and params.stack_mode is not None:
        raise LargeError(f"the image (axes {image.axes}) is no stack and has no stack mode. Leave the stack mode out.")
    return channels


@dataclass(frozen=True, slots=True)
class _Run:
    """The stages in order. What a stage leaves for later ones stays in the run folder until nobody needs it."""

    pixels: Pixels
    params: SegmentParams
    views: tuple[View, ...]
    networks: Networks
    grid: Grid
    shape: tuple[int, ...]
    runner: Runner

    @property
    def store(self) -> Store:
        return self.pixels.store

    @property
    def last(self) -> str:
        """The stage that masks are recovered from: the maps of a volume, or the sums of an image."""
        return maps_stage(len(self.views) - 1) if self.params.stack_mode else sums_stage(0)

    def result(self, channels: Channels) -> Recovery:
        store, grid = self.store, self.grid
        noted = store.noted("warnings")
        maps = NoMaps(grid.shape) if noted is not None else self._maps(channels)
        job = self._recovery(maps)
        found = recover_all(job, self.runner)
        if noted is None:
            nothing = () if len(found.objects) else (self._nothing_found(job),)
            noted = described((*self._scales(channels).warnings, *nothing))
            store.note("warnings", noted)
        for stage in (self.last, "logits"):
            store.drop(stage)
        return replace(found, warnings=warnings_of(noted))

    def _maps(self, channels: Channels) -> ImageMaps | VolumeMaps | NoMaps:
        """Returns the maps that masks are recovered from."""
        store = self.store
        if store.noted(self.last) is None:
            self._make_maps(channels)
        for name in ("pixels", "fill", "sums", "maps"):
            for stage in store.stages(name):
                if stage != self.last:
                    store.drop(stage)
        if not store.noted(self.last)["seen"]:
            return NoMaps(self.grid.shape)
        if self.params.stack_mode is None:
            return ImageMaps(store, self.views[0])
        return VolumeMaps(store, self.last, self.grid)

    def _scales(self, channels: Channels) -> Scales:
        """Returns the maps of the intensities."""
        if self.store.noted(SCALES) is None or self.store.noted(self.last) is None:
            blocks = range(len(self.pixels.grid))
            self.runner.each("read", read_block, [(self.pixels, channels, block) for block in blocks])
        return find_scales(self.pixels, self.params.normalization, self.runner)

    def _make_maps(self, channels: Channels) -> None:
        """Run the networks on the image, or on the sections of all views of a volume, one view after another."""
        job = MapJob(self.pixels, self._scales(channels), self.params, self.views, self.networks, self.grid)
        if self.params.stack_mode:
            self._make_volume_maps(job)
            return
        seen = any(job.scales.scales)  # the networks are not asked about an image of zeros
        if seen:
            self._run_networks(job, 0, "networks", self._followed())
            sums = (self.store.load(sums_stage(0), block, "seen") for block in range(len(self.views[0].blocks)))
            seen = any(some.any() for (some,) in sums)
        if not seen:
            self.store.drop("sinks")
        self.store.note(self.last, {"seen": seen})

    def _followed(self) -> Callable[[int], Iterator[Call]]:
        """Returns which blocks of the image can be followed once the sums of one more block of tiles are there."""
        maps = ImageMaps(self.store, self.views[0])
        job = self._recovery(maps)
        windows = [self.grid.box(block).grown(HALO[2], self.grid.shape) for block in range(len(self.grid))]
        missing = [set(maps.blocks(window)) if window.size else set() for window in windows]
        waiting = inverse(missing)

        def ready(tiles: int) -> Iterator[Call]:
            for block in waiting[tiles]:
                missing[block].remove(tiles)
                if not missing[block]:
                    yield follow, job, block

        return ready

    def _make_volume_maps(self, job: MapJob) -> None:
        store = self.store
        for number in range(len(self.views)):
            stage, axes = maps_stage(number), "xyz".replace("zyx"[number], "")
            if store.noted(stage) is None:
                self._run_networks(job, number, f"networks {axes}")
                self.runner.each(f"maps {axes}", add_view, [(job, number, block) for block in range(len(self.grid))])
                store.note(stage, {"seen": True})
            store.drop(sums_stage(number))
            if number:
                store.drop(maps_stage(number - 1))

    def _run_networks(
        self, job: MapJob, number: int, name: str, then: Callable[[int], Iterator[Call]] | None = None
    ) -> None:
        blocks = range(len(self.views[number].blocks))
        self.runner.each(name, add_tiles, [(job, number, block) for block in blocks], waits=True, then=then)

    def _recovery(self, maps: MapSource) -> Job:
        return Job(self.store, maps, self.params, self.grid, self.grid.sampled(self.shape))

    def _nothing_found(self, job: Job) -> Warned:
        """Returns the warning about a result without objects."""
        if isinstance(job.maps, NoMaps):
            return WarningKind.NOTHING_FOUND, {}
        blocks = range(len(job.label_grid))
        self.runner.each("logits", find_largest, [(job, block) for block in blocks])
        largest = max(float(self.store.load("logits", block, "largest")[0][0]) for block in blocks)
        return WarningKind.NOTHING_FOUND, {"largest_logit": f"{largest:.3g}"}


def find_largest(job: Job, block: int) -> None:
    """Find the largest logit in a block of the label image."""
    if not job.store.has("logits", block):
        box = job.label_grid.box(block)
        largest = read_logit(job, box).max() if box.size else -np.inf
        job.store.save("logits", block, largest=np.array([largest], np.float32))
