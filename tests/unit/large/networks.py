"""Networks without networks: maps that follow from the pixels of each tile."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from cellserve_contract.sizes import with_recovery_defaults
from cellserve_postprocess import (
    MapSums,
    ViewSums,
    measure_objects,
    recover_masks,
    smooth_view,
    to_maps,
    view_rule,
)
from cellserve_preprocess import normalize, plan_sections, resize, select_channels


def outputs(tile):
    """Maps of a tile [2, T, T]: bright objects, flows up the slope of the smoothed intensities."""
    smoothed = tile[0] + tile[1] / 2
    for axis in (0, 1):
        for _ in range(2):
            smoothed = (np.roll(smoothed, 1, axis) + smoothed + np.roll(smoothed, -1, axis)) / np.float32(3)
    maps = np.empty((3, *smoothed.shape), np.float32)
    slopes = np.stack([np.roll(smoothed, -1, axis) - np.roll(smoothed, 1, axis) for axis in (0, 1)])
    maps[:2] = 5 * slopes / np.maximum(np.sqrt((slopes**2).sum(axis=0)), np.float32(1e-3))
    maps[2] = 12 * smoothed - 3
    return maps


@dataclass(frozen=True)
class SlopeNetworks:
    """`Networks` in this process."""

    def run(self, planes, grid):
        return np.stack([sums_of(plane, grid) for plane in planes])


def sums_of(plane, grid):
    sums = MapSums(grid)
    for index in range(len(grid)):
        tile = grid.cut(plane, index, index + 1)[0]
        maps = outputs(tile)
        sums.add(index, maps)
    return sums.sums


def segment_in_memory(image, params, working_diameter):
    """The way of one request.

    Args:
        image: [C, Y, X] or [C, Z, Y, X].

    Returns:
        Labels, objects and warnings.
    """
    params = with_recovery_defaults(params, working_diameter)
    normalized = normalize(
        select_channels(image, params.cytoplasm_channel, params.nucleus_channel), params.normalization
    )
    views = plan_sections(image.shape[1:], params, working_diameter)
    if params.stack_mode is None:
        (view,) = views
        scaled = resize(normalized.planes, view.scaled)
        network = resize(to_maps(sums_of(scaled, view.grid(params))), view.recovered)
        recovered = recover_masks(network, params, shape=view.shape)
        maps = resize(network, view.shape)
    else:
        sums = ViewSums(image.shape[1:])
        for view in views:
            stack = np.zeros((3, *image.shape[1:]), np.float32)
            for index in range(view.count):
                section = np.ascontiguousarray(np.take(normalized.planes, index, 1 + view.across))
                part = to_maps(sums_of(resize(section, view.scaled), view.grid(params)))
                np.moveaxis(stack, 1 + view.across, 0)[index] = resize(part, view.recovered)
            sigma, weight = view_rule(view.across, params)
            sums.add(smooth_view(stack, view.across, sigma), view.across, weight)
        maps = sums.maps()
        recovered = recover_masks(maps, params)
    objects = measure_objects(recovered.labels, maps[-1], recovered.flow_errors)
    return recovered.labels, objects, normalized.warnings
