"""Stacks: volumes, planes that are stitched, and planes alone, on networks that see perfectly."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from cellserve_contract.params import PRESETS, SegmentParams
from cellserve_contract.warnings import WarningKind
from cellserve_formats import PixelSize
from cellserve_gateway.app.decode import Decoded
from cellserve_gateway.app.results import Wanted
from cellserve_gateway.errors import ImageTooLarge, InvalidRequest
from cellserve_preprocess import TILE, ParameterError

from .perfect import setup

BALL = 14
"""Diameter of a ball in pixels of a plane."""
CENTRES = [(10, 12, 12), (10, 12, 40), (10, 40, 26), (30, 14, 28), (30, 40, 46)]
SHAPE = (40, 54, 60)


def balls(anisotropy: float = 1.0) -> np.ndarray:
    """Labels of balls that no section joins, [Z, Y, X]; planes lie `anisotropy` pixels apart."""
    depth = round(SHAPE[0] / anisotropy)
    z, y, x = np.indices((depth, *SHAPE[1:]), dtype=float)
    labels = np.zeros(z.shape, np.uint16)
    for number, (at_z, at_y, at_x) in enumerate(CENTRES, 1):
        labels[(z * anisotropy - at_z) ** 2 + (y - at_y) ** 2 + (x - at_x) ** 2 < (BALL / 2) ** 2] = number
    return labels


def image(labels: np.ndarray) -> np.ndarray:
    return ((labels > 0) * 200).astype(np.uint8)


NOTHING_MORE = Wanted()


async def segment(made, stack, wanted=NOTHING_MORE, pixel_size=None, **params):
    params = SegmentParams(model="cells", **({"diameter": BALL} | params))
    decoded = Decoded(stack[:, np.newaxis], pixel_size=pixel_size)
    with made.admission.admit(requests=1) as reservation:
        return await made.segmenter.segment(lambda: decoded, params, wanted, made.context, reservation)


def shares(truth: np.ndarray, found: np.ndarray) -> list[float]:
    """Intersection over union of each true object with the object at its centre."""
    scores = []
    for number in range(1, truth.max() + 1):
        mask = truth == number
        own = np.bincount(found[mask]).argmax()
        scores.append((mask & (found == own)).sum() / (mask | (found == own)).sum() if own else 0.0)
    return scores


@pytest.mark.parametrize("anisotropy", [1.0, 2.0])
async def test_balls_are_found_in_three_dimensions(anisotropy):
    truth = balls(anisotropy)
    wanted = Wanted(frozenset({"outlines", "flows", "cell_probability", "maps"}))
    with setup(None) as made:
        found = await segment(made, image(truth), wanted, stack_mode="volume", anisotropy=anisotropy)
    assert (found.axes, found.params.stack_mode, found.params.anisotropy) == ("ZYX", "volume", anisotropy)
    assert len(found.objects) == found.labels.max() == len(CENTRES)
    assert min(shares(truth, found.labels)) > 0.7
    assert found.labels.shape == found.cell_probability.shape == truth.shape
    assert (found.flows.shape, found.maps.shape) == ((3, *truth.shape), (4, *truth.shape))
    np.testing.assert_array_equal(found.objects.area, np.bincount(found.labels.ravel())[1:])
    assert found.objects.bbox.shape == (len(CENTRES), 6)
    centres = sorted(map(tuple, (found.objects.centroid * [anisotropy, 1, 1]).tolist()))
    np.testing.assert_allclose(centres, CENTRES, atol=1)
    for number, outlines in enumerate(found.outlines, 1):
        assert sorted(outlines) == np.unique(np.nonzero(found.labels == number)[0]).tolist()
        assert all((found.labels[z][tuple(points.T)] == number).all() for z, points in outlines.items())


async def test_the_preset_finds_the_same_balls():
    truth = balls(2.0)
    wanted = Wanted(frozenset({"maps"}))
    preset = {name: value for name, value in PRESETS["cellpose3"].items() if name != "normalization"}
    with setup(None) as made:
        found = await segment(made, image(truth), wanted, stack_mode="volume", anisotropy=2.0, **preset)
        means = await segment(
            made, image(truth), wanted, stack_mode="volume", anisotropy=2.0, **preset | {"sum_views": False}
        )
    assert found.labels.max() == len(CENTRES)
    assert min(shares(truth, found.labels)) > 0.4, "sums of flows overshoot, and five rounds leave voxels out"
    np.testing.assert_array_equal(found.maps[3] > 0, truth > 0)
    assert (found.params.flow_threshold, found.params.niter, found.params.min_size) == (0, int(200 * BALL / 30), 15)
    np.testing.assert_allclose(found.maps[:3], 2 * means.maps[:3], atol=1e-5)
    np.testing.assert_allclose(found.maps[3], 3 * means.maps[3], atol=1e-5)


async def test_small_sections_are_tiles_of_their_own_size():
    """Cellpose fills no tiles. Networks of a fixed size get zeros."""
    given = {"stack_mode": "volume", "anisotropy": 1.5, "tile_margin": "cellpose3"}
    with setup(None) as made:
        fixed = await segment(made, image(balls(1.5)), Wanted(maps_only=True), **given)
        assert made.triton.sizes == {(TILE, TILE)}
        made.triton.sizes.clear()
        made.triton.any_size = True
        found = await segment(made, image(balls(1.5)), Wanted(maps_only=True), **given)
        assert made.triton.sizes == {(144, 144), (112, 144)}
        await segment(made, image(balls(1.5)), Wanted(maps_only=True), **given | {"tile_margin": "fixed"})
        assert (TILE, TILE) in made.triton.sizes
    np.testing.assert_array_equal(found.maps, fixed.maps)


async def test_planes_are_stitched():
    truth = balls()
    with setup(None) as made:
        found = await segment(made, image(truth), Wanted(frozenset({"outlines"})), stack_mode="stitch")
    assert found.labels.max() == len(found.objects) == len(CENTRES)
    assert min(shares(truth, found.labels)) > 0.9, "the tips are there, too"
    assert (found.objects.flow_error < 0.2).all()
    assert len(found.outlines[0]) == len(np.unique(np.nonzero(found.labels == 1)[0]))
    assert made.triton.calls == ["cells"] * len(truth), "a tile a plane"


async def test_planes_alone_are_numbered_in_one_row():
    truth = balls()
    with setup(None) as made:
        found = await segment(made, image(truth), stack_mode="planes")
        alone = [(await segment(made, plane[np.newaxis])).labels for plane in image(truth)]
    starts = np.cumsum([0, *(plane.max() for plane in alone)])
    expected = [np.where(plane, plane + start, 0) for plane, start in zip(alone, starts[:-1], strict=True)]
    np.testing.assert_array_equal(found.labels, expected)
    assert len(found.objects) == starts[-1]
    np.testing.assert_array_equal(found.objects.bbox[:, 3] - found.objects.bbox[:, 0], 1)
    np.testing.assert_allclose(found.objects.equivalent_diameter_area, 2 * np.sqrt(found.objects.area / np.pi))


@pytest.mark.parametrize("resampled", [False, True])
async def test_the_same_stack_has_the_same_maps_every_time(resampled):
    """Sections are computed side by side, and end in any order."""
    stack, given = image(balls()), {"stack_mode": "volume", "resample_stack": resampled}
    with setup(None) as made:
        first, second = [await segment(made, stack, Wanted(maps_only=True), **given) for _ in range(2)]
    assert first.labels is None
    assert len(first.objects) == 0
    np.testing.assert_array_equal(first.maps, second.maps)


@pytest.mark.parametrize("mode", ["volume", "stitch", "planes"])
async def test_empty_stacks_have_no_objects(mode):
    with setup(None) as made:
        found = await segment(made, np.zeros((3, 20, 30), np.uint8), stack_mode=mode)
    assert (found.labels.shape, found.labels.max(), found.objects.bbox.shape) == ((3, 20, 30), 0, (0, 6))
    assert WarningKind.NOTHING_FOUND in [kind for kind, _ in found.warnings]


async def test_two_channels_and_empty_planes():
    truth = balls()
    stack = np.stack([image(truth), np.zeros_like(image(truth))], axis=1)
    stack = np.concatenate([np.zeros_like(stack[:3]), stack])
    params = SegmentParams(model="cells", diameter=BALL, stack_mode="volume", anisotropy=1)
    with setup(None) as made, made.admission.admit(requests=1) as reservation:
        found = await made.segmenter.segment(lambda: Decoded(stack), params, Wanted(), made.context, reservation)
    assert (found.labels.max(), found.params.nucleus_channel) == (len(CENTRES), 1)
    assert not found.labels[:3].any()


async def test_a_stack_needs_a_mode():
    with setup(None) as made:
        with pytest.raises(InvalidRequest, match=r"40 planes.*volume .*stitch .*planes") as error:
            await segment(made, image(balls()))
        assert (error.value.reason, error.value.metadata) == ("STACK_MODE_MISSING", {"planes": "40"})
        params = SegmentParams(model="cells", diameter=BALL)
        with pytest.raises(InvalidRequest):
            made.segmenter.check(params, (40, 1, 54, 60), None, made.context)
        assert not made.triton.calls


async def test_one_plane_is_an_image():
    plane = image(balls())[10:11]
    with setup(None) as made:
        alone, stack = await segment(made, plane), await segment(made, plane, stack_mode="volume")
    np.testing.assert_array_equal(alone.labels, stack.labels)
    assert (stack.axes, stack.params.stack_mode, stack.labels.ndim) == ("YX", None, 2)
    assert [kind for kind, _ in stack.warnings] == [*(kind for kind, _ in alone.warnings), WarningKind.SINGLE_PLANE]


async def test_anisotropy_follows_from_the_pixel_size():
    stack = image(balls(2))
    with setup(None) as made:
        stated = await segment(made, stack, pixel_size=PixelSize(0.5, 0.5, 1.0), stack_mode="volume")
        given = await segment(made, stack, pixel_size=PixelSize(0.5, 0.5), stack_mode="volume", anisotropy=2)
        unknown = await segment(made, stack, stack_mode="volume")
        with pytest.raises(ParameterError, match="anisotropy is 1000"):
            await segment(made, stack, pixel_size=PixelSize(0.1, 0.1, 100.0), stack_mode="volume")
    assert stated.params.anisotropy == 2
    np.testing.assert_array_equal(stated.labels, given.labels)
    kinds = [[kind for kind, _ in found.warnings] for found in (stated, given, unknown)]
    assert [WarningKind.ANISOTROPY_UNKNOWN in found for found in kinds] == [False, False, True]
    assert unknown.params.anisotropy == 1


async def test_the_diameter_is_that_of_some_planes():
    stack = image(balls())
    with setup(10) as made:
        found = await segment(made, stack, stack_mode="stitch", diameter=None)
    assert found.params.diameter == pytest.approx(BALL, rel=0.3)
    assert found.labels.max() == len(CENTRES)


async def test_limits_of_stacks():
    with setup(None, max_stack_tiles=150) as made:
        with pytest.raises(ImageTooLarge, match="154 tiles; the limit is 150") as error:
            await segment(made, image(balls()), stack_mode="volume")
        assert error.value.metadata["resource"] == "tiles"
        assert not made.triton.calls
        assert (await segment(made, image(balls()), stack_mode="stitch")).labels.max() == len(CENTRES)


async def test_planes_are_limited_whatever_the_channels():
    with setup(None, max_stack_planes=39) as made:
        with pytest.raises(ImageTooLarge, match="40 planes; the limit is 39") as error:
            await segment(made, image(balls()), stack_mode="planes")
        assert error.value.metadata["resource"] == "planes"
        with pytest.raises(ImageTooLarge):
            made.segmenter.check(SegmentParams(model="cells", stack_mode="planes"), (40, 1, 54, 60), None, made.context)


@pytest.mark.parametrize("planes", [1, 3])
async def test_the_log_has_the_shape_of_the_image(planes):
    with setup(None) as made:
        await segment(made, np.zeros((planes, 20, 30), np.uint8), stack_mode="planes")
        assert made.context.facts["shape"] == ([1, 20, 30] if planes == 1 else [planes, 1, 20, 30])


async def test_memory_is_reserved_before_the_work_and_freed_after_it():
    stack = image(balls())
    with setup(None) as made:
        infer, most = made.triton.infer, []

        async def watched(*arguments):
            most.append(made.admission.in_flight("bytes"))
            return await infer(*arguments)

        made.triton.infer = watched
        await segment(made, stack, stack_mode="volume")
        assert min(most) >= 48 * stack.size
        assert made.admission.in_flight("bytes") == 0


async def test_a_cancelled_stack_ends_within_its_tiles():
    with setup(None) as made:
        made.context.deadline = -1.0
        with pytest.raises(Exception, match="deadline"):
            await segment(made, image(balls()), stack_mode="volume")
        assert not made.triton.calls


@pytest.mark.parametrize("wanted", [Wanted(), Wanted(maps_only=True)])
async def test_volumes_of_small_objects_have_the_maps_of_their_voxels(wanted):
    stack = np.zeros((5, 12, 14), np.uint8)
    stack[1:4, 4:8, 5:9] = 200
    with setup(None) as made:
        found = await segment(made, stack, wanted, stack_mode="volume", diameter=4, anisotropy=1)
    shape = (found.maps if wanted.maps_only else found.labels).shape
    assert shape[-3:] == stack.shape


async def test_small_objects_of_planes_are_recovered_at_the_networks_scale():
    stack = np.zeros((4, 60, 72), np.uint8)
    stack[:, 6:10, 6:10] = stack[:, 30:34, 40:44] = 200
    with setup(None) as made:
        found = await segment(made, stack, stack_mode="stitch", diameter=4)
    assert found.labels.max() == 2
    assert replace(found.params, min_size=None).diameter == 4
