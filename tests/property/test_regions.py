"""Regions that are found block by block against regions of the whole image."""

import numpy as np
import pytest
from cellserve_large import Box, Grid, regions
from cellserve_parallel import ThreadGroup
from cellserve_postprocess import masks, stages
from hypothesis import given
from hypothesis import strategies as st


def in_blocks(ends, side, rule):
    """Label image of pixels with these ends, and the number of objects."""
    counts = np.zeros(ends.shape, np.int32)
    positions, pixels = stages.sinks(ends.copy(), ends.shape)
    counts.ravel()[positions] = pixels
    grid = Grid.regular(ends.shape, side)
    found = []
    for block in range(len(grid)):
        box = grid.box(block)
        window = box.grown(regions.halo(rule), ends.shape)
        part = counts[window.within(Box.whole(ends.shape))].copy()
        found.append(regions.find_regions(part, window, box, ends.shape, rule))
    numbering = regions.number_regions(found)
    known = np.concatenate([block.positions for block in found])
    keys = np.concatenate([block.keys + first for block, first in zip(found, numbering.offsets, strict=False)])
    objects = regions.look_up(np.arange(ends.size), known, numbering.numbers[keys])
    return np.where(ends >= 0, objects[ends], 0), numbering.objects


@given(
    shape=st.tuples(*[st.integers(1, 40)] * 2) | st.tuples(*[st.integers(1, 9)] * 3),
    side=st.integers(1, 9),
    seed=st.integers(0, 2**32 - 1),
    peaks=st.integers(1, 9),
    spread=st.floats(0, 4),
    share=st.floats(0, 1) | st.just(1.0),
    rule=st.builds(masks.SeedRule, st.integers(0, 1), st.integers(2, 10), st.none())
    | st.builds(masks.SeedRule, st.just(0), st.integers(2, 10), st.integers(1, masks.CELLPOSE_ROUNDS)),
)
def test_regions_do_not_depend_on_blocks(shape, side, seed, peaks, spread, share, rule):
    rng = np.random.default_rng(seed)
    size = int(np.prod(shape))
    starts = rng.permutation(size)[: int(share * size)]
    centres = rng.uniform(0, shape, (peaks, len(shape)))[rng.integers(0, peaks, starts.size)]
    places = np.clip(rng.normal(centres, spread).astype(np.int64), 0, np.array(shape) - 1)
    ends = np.full(shape, -1, np.int32)
    ends.ravel()[starts] = np.ravel_multi_index(tuple(places.T), shape)
    assert_same(ends, side, rule)


@pytest.mark.parametrize("side", range(1, 12))
def test_two_seeds_that_grow_towards_each_other(side):
    """They reach five positions far, across blocks, and contest what lies between them."""
    pixels = [3] * 4 + [12] + [3] * 7 + [20] + [3] * 6
    ends = np.full((12, 20), -1, np.int32)
    ends.ravel()[: sum(pixels)] = np.repeat(5 * 20 + np.arange(len(pixels)), pixels)
    for rule in (masks.SeedRule(0, 10, None), masks.SeedRule(0, 10, masks.CELLPOSE_ROUNDS)):
        assert_same(ends, side, rule)


def assert_same(ends, side, rule):
    labels, count = in_blocks(ends, side, rule)
    expected, expected_count = masks._cluster(
        ends.reshape((1,) * (3 - ends.ndim) + ends.shape).copy(), rule, ThreadGroup()
    )
    np.testing.assert_array_equal(labels, expected.reshape(ends.shape))
    assert count == expected_count
