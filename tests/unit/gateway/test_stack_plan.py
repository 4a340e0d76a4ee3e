"""The sections of a stack that is resampled before it is cut."""

from __future__ import annotations

import numpy as np
import pytest
from cellserve_contract.params import SegmentParams
from cellserve_gateway.app.stack_plan import StackPlanner
from cellserve_preprocess import resize

from .perfect import setup

SHAPE = (9, 34, 27)


def plan(**params):
    with setup(None) as made:
        planner = StackPlanner(made.planner, made.segmenter.limits)
        params = SegmentParams(model="cells", stack_mode="volume", **params)
        return planner.plan(SHAPE, params, None, made.context)


def along(array: np.ndarray, axis: int, length: int) -> np.ndarray:
    """An array resized along one axis."""
    moved = np.moveaxis(array, axis, 0)
    flat = np.ascontiguousarray(moved).reshape(len(moved), -1)
    return np.moveaxis(resize(flat, (length, flat.shape[1])).reshape(length, *moved.shape[1:]), 0, axis)


@pytest.mark.parametrize("diameter", [19, 30, 71])
async def test_sections_are_those_of_the_resampled_stack(diameter):
    rng = np.random.default_rng(0)
    made = plan(diameter=diameter, anisotropy=2.5, resample_stack=True)
    scale = 30 / diameter
    cubic = tuple(int(length * scale * step) for length, step in zip(SHAPE, (2.5, 1, 1), strict=True))
    stack = rng.normal(size=(2, *SHAPE)).astype(np.float32)
    resampled = stack
    for axis, length in enumerate(cubic):
        resampled = along(resampled, 1 + axis, length)
    for view in made.views:
        assert (view.sections.length, view.sections.count) == (SHAPE[view.across], cubic[view.across])
        maps = rng.normal(size=(3, view.sections.count, *np.delete(SHAPE, view.across))).astype(np.float32)
        found = np.zeros((3, *SHAPE), np.float32)
        for index in rng.permutation(view.sections.used):
            expected = np.take(resampled, index, 1 + view.across)
            np.testing.assert_allclose(view.cut(stack, index), expected, atol=1e-5)
            view.place(index, maps[:, index], found)
        expected = np.moveaxis(along(maps, 1, view.sections.length), 1, 1 + view.across)
        np.testing.assert_allclose(found, expected, atol=1e-6)


async def test_sections_that_no_plane_lies_at_are_left_out():
    made = plan(diameter=5, anisotropy=1, resample_stack=True)
    assert [view.sections.count for view in made.views] == [54, 204, 162]
    assert [len(view.sections.used) for view in made.views] == [18, 68, 54]


async def test_the_sections_of_other_stacks_are_their_own():
    for made in (plan(diameter=19, anisotropy=2.5), plan(diameter=30, anisotropy=1, resample_stack=True)):
        for view in made.views:
            assert view.sections.length == view.sections.count == SHAPE[view.across]
            assert view.sections.used == list(range(view.sections.length))
