"""Every kernel of volumes against its plain twin of the same name."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from cellserve_parallel import ThreadGroup
from cellserve_postprocess import (
    RecoveryParams,
    _diffusion3d,
    _labels,
    _tracking3d,
    _traps3d,
    _window,
    masks,
    measure_extents,
    recover_masks,
    reference,
)
from cellserve_postprocess.volumes import follow_window
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

GO = np.zeros(1, np.uint8)
SHAPES = hnp.array_shapes(min_dims=3, max_dims=3, max_side=9)


@st.composite
def flow_fields(draw, shapes=SHAPES):
    """Flows of any kind: smooth with sinks anywhere between voxels, noise, and values no network should give."""
    shape = draw(shapes)
    grid = np.indices(shape, dtype=np.float32)
    sinks = draw(st.lists(st.tuples(*(st.floats(0, length) for length in shape)), min_size=1, max_size=3))
    slope = draw(st.floats(0.05, 1.2))
    ways = np.array(sinks, np.float32)[:, :, np.newaxis, np.newaxis, np.newaxis] - grid
    nearest = np.argmin((ways**2).sum(axis=1), axis=0)
    flow = np.clip(np.choose(nearest[np.newaxis], ways) * np.float32(slope), -1, 1).astype(np.float32)
    twist = draw(st.floats(-0.5, 0.5))
    flow[1:] += np.float32(twist) * np.stack([flow[2], -flow[1]])
    wild = st.floats(-3, 3, width=32) | st.sampled_from([np.nan, np.inf, -np.inf, float(np.float32(3e38))])
    noise = draw(hnp.arrays(np.float32, flow.shape, elements=wild, fill=st.just(np.float32(0))))
    return flow + noise


def maps_of(flow, logit):
    with np.errstate(over="ignore"):
        return np.concatenate([np.float32(5) * flow, logit[np.newaxis]])


def expected_ends(maps, params):
    flow, indices = reference.keep(maps, params.cellprob_threshold)
    stretched = params.interpolation == "bilinear" and params.mask_rules == "cellpose3"
    with np.errstate(invalid="ignore", over="ignore"):
        return getattr(reference, f"follow_{'stretched' if stretched else params.interpolation}")(
            flow, indices, params.niter
        )


def follow(maps, params, origin=(0, 0, 0), shape=None, core=None):
    """Ends in a window of the maps, as flat indices of the whole."""
    volume = maps.shape[1:]
    shape = volume if shape is None else shape
    box = tuple(slice(first, first + length) for first, length in zip(origin, shape, strict=True))
    window = _window.window_of(origin, shape, volume)
    ends = follow_window(np.ascontiguousarray(maps[:, *box]), window, params, ThreadGroup(), core)
    found = ends >= 0
    places = np.add(np.unravel_index(ends[found], shape), np.array(origin)[:, np.newaxis])
    ends[found] = np.ravel_multi_index(tuple(places), volume)
    return ends


FOLLOWING = pytest.mark.parametrize(
    "rules",
    [{"interpolation": "bilinear"}, {"interpolation": "nearest"}, {"mask_rules": "cellpose3"}],
    ids=["trilinear", "nearest", "stretched"],
)


@FOLLOWING
@given(flow=flow_fields(), niter=st.integers(1, 90), seed=st.integers(0, 2**32 - 1))
def test_voxels_end_where_every_step_takes_them(rules, flow, niter, seed):
    logit = np.random.default_rng(seed).normal(2, 1, flow.shape[1:]).astype(np.float32)
    params = RecoveryParams(niter=niter, **rules).resolved(3)
    maps = maps_of(flow, logit)
    np.testing.assert_array_equal(follow(maps, params), expected_ends(maps, params))


@given(
    sink=st.tuples(*[st.floats(3.05, 6.95)] * 3),
    slope=st.floats(0.05, 0.9),
    seed=st.integers(0, 2**32 - 1),
    skew=st.floats(0, 0.5),
    away=st.sampled_from([(0, 0, 0), (0, 0, 3000), (3000, 0, 0)]),
)
def test_boxes_hold_what_enters(sink, slope, seed, skew, away):
    """The shortcut is used where a sink lies between voxels, and changes nothing: the twin takes every step."""
    rng = np.random.default_rng(seed)
    way = np.array(sink, np.float32)[:, np.newaxis, np.newaxis, np.newaxis] - np.indices((11, 11, 11), np.float32)
    matrix = np.eye(3) * slope + skew * slope * rng.uniform(-1, 1, (3, 3)) / 2
    flow = np.clip(np.tensordot(matrix, way, 1), -1, 1).astype(np.float32)
    maps = maps_of(flow, np.ones(flow.shape[1:], np.float32))
    maps = np.pad(maps, [(0, 0), *((length, 0) for length in away)])
    shape = maps.shape[1:]
    padded = np.zeros(_window.framed(shape), np.float32)
    _tracking3d.keep(maps, np.float32(0), np.float32(5), 0, shape[0] * shape[1], padded, np.empty(shape, np.int32))
    cells = np.zeros(padded.shape[:3], np.uint8)
    window = _window.window_of((0, 0, 0), shape, shape)
    _, boxes = _traps3d.find_traps(padded, window, 0, shape[0] * shape[1], cells)
    place = np.add(sink, away)
    near_face = np.minimum(place % 1, 1 - place % 1).min() < 0.05
    if skew < 0.3 and not near_face:
        assert cells[tuple(place.astype(int))] == _traps3d.TRAP
        assert ((boxes[:, :3] <= place + 0.01) & (place - 0.01 <= boxes[:, 3:])).all(axis=1).any()
    params = RecoveryParams(niter=150, cellprob_threshold=0).resolved(3)
    np.testing.assert_array_equal(follow(maps, params), expected_ends(maps, params))


@FOLLOWING
@given(
    flow=flow_fields(hnp.array_shapes(min_dims=3, max_dims=3, min_side=3, max_side=12)),
    niter=st.integers(1, 60),
    corners=st.tuples(*[st.tuples(st.integers(0, 11), st.integers(1, 12))] * 3),
)
def test_a_path_in_a_window_ends_where_it_ends_in_the_whole_volume(rules, flow, niter, corners):
    shape = flow.shape[1:]
    origin = tuple(min(first, length - 1) for (first, _), length in zip(corners, shape, strict=True))
    size = tuple(min(side, length - first) for (_, side), length, first in zip(corners, shape, origin, strict=True))
    params = RecoveryParams(niter=niter, **rules).resolved(3)
    maps = maps_of(flow, np.ones(shape, np.float32))
    whole = expected_ends(maps, params)[tuple(slice(f, f + s) for f, s in zip(origin, size, strict=True))]
    ends = follow(maps, params, origin, size)
    inside = ends != _tracking3d.ESCAPED
    np.testing.assert_array_equal(ends[inside], whole[inside])
    if size == shape:
        assert inside.all()


def test_paths_that_stay_away_from_the_faces_of_a_window_do_not_escape():
    way = np.array([10.4, 10.4, 10.4], np.float32)[:, np.newaxis, np.newaxis, np.newaxis] - np.indices((21, 21, 21))
    flow = (way / np.maximum(np.linalg.norm(way, axis=0), 1)).astype(np.float32)
    maps = maps_of(flow, np.ones(flow.shape[1:], np.float32))
    whole = follow(maps, RecoveryParams().resolved(3))
    core = (slice(2, 11), slice(2, 11), slice(2, 11))
    ends = follow(maps, RecoveryParams().resolved(3), (2, 2, 2), (14, 14, 14), core)
    assert (ends[core] >= 0).all()
    np.testing.assert_array_equal(ends[core], whole[4:13, 4:13, 4:13])
    assert np.count_nonzero(ends != -1) == 9**3
    narrow = follow(maps, RecoveryParams().resolved(3), (2, 2, 2), (8, 8, 8))
    assert (narrow == _tracking3d.ESCAPED).all()


@given(
    shape=SHAPES,
    seed=st.integers(0, 2**32 - 1),
    peaks=st.integers(1, 6),
    spread=st.floats(0, 2),
    voxels=st.integers(0, 700),
    reach=st.integers(0, 2),
    seed_count=st.integers(2, 10),
    rounds=st.sampled_from([None, masks.CELLPOSE_ROUNDS]),
)
def test_clusters(shape, seed, peaks, spread, voxels, reach, seed_count, rounds):
    rng = np.random.default_rng(seed)
    starts = rng.permutation(np.prod(shape))[:voxels]
    centres = rng.uniform(0, shape, (peaks, 3))[rng.integers(0, peaks, starts.size)]
    places = np.clip(rng.normal(centres, spread).astype(np.int64), 0, np.array(shape) - 1).T
    ends = np.full(shape, -1, np.int32)
    ends.ravel()[starts] = np.ravel_multi_index(tuple(places), shape)
    expected, expected_count = reference.cluster(ends, reach, seed_count, rounds)
    labels, count = masks._cluster(ends, masks.SeedRule(reach, seed_count, rounds), ThreadGroup())
    assert count == expected_count
    np.testing.assert_array_equal(labels, expected)


@st.composite
def label_volumes(draw):
    """Label images with large pieces, touching objects, cavities and gaps in the numbers."""
    shape = draw(SHAPES)
    labels = draw(hnp.arrays(np.int32, shape, elements=st.integers(0, 4), fill=st.integers(0, 4)))
    for number in range(1, draw(st.integers(0, 4)) + 1):
        corner = [draw(st.integers(0, length - 1)) for length in shape]
        side = draw(st.integers(1, 8))
        labels[tuple(slice(at, at + side) for at in corner)] = number
        labels[tuple(slice(at + 1, at + side - 1) for at in corner)] = draw(st.sampled_from([0, number]))
    return labels


def renumbered(labels):
    return np.unique(np.append(labels, 0), return_inverse=True)[1][:-1].reshape(labels.shape).astype(np.int32)


@given(labels=label_volumes())
def test_flows_of_masks(labels):
    _, boxes = measure_extents(labels, 4)
    np.testing.assert_array_equal(_diffusion3d.diffuse(labels, boxes), reference.diffuse(labels, boxes))


def assert_flow_errors(labels):
    count = int(labels.max())
    _, boxes = measure_extents(labels, count)
    numbers = np.arange(1, count + 1, dtype=np.int32)
    maps = 5 * np.random.default_rng(0).normal(size=(4, *labels.shape)).astype(np.float32)
    errors = _diffusion3d.flow_errors(labels, numbers, boxes, maps, np.float32(5), GO)
    np.testing.assert_allclose(errors, reference.flow_errors(labels, numbers, boxes, maps, False), rtol=1e-6)
    return errors


@given(labels=label_volumes())
def test_flow_errors(labels):
    assert_flow_errors(renumbered(labels))


@pytest.mark.parametrize("side", [_diffusion3d.LONGEST, _diffusion3d.LONGEST + 1, 2 * _diffusion3d.LONGEST + 1])
def test_flow_errors_of_large_objects(side):
    labels = np.zeros((9, 12, side + 2), dtype=np.int32)
    labels[1:8, 1:11, 1:-1] = 1
    labels[3:6, 4:8, 20:40] = 0
    assert_flow_errors(labels)


def test_heat_too_faint_for_single_precision_is_computed_in_double():
    labels = np.zeros((5, 5, 60), dtype=np.int32)
    labels[2, 2, 2:58] = 1
    labels[1:4, 1:4, 27:33] = 1
    errors = assert_flow_errors(labels)
    _, boxes = measure_extents(labels, 1)
    flow = _diffusion3d.diffuse(labels, boxes)
    assert _diffusion3d.flow_errors(labels, np.array([1], np.int32), boxes, flow, np.float32(1), GO) < 1e-12
    assert errors > 1


@given(labels=label_volumes())
def test_extents(labels):
    for result, expected in zip(measure_extents(labels, 5), reference.extents(labels, 5), strict=True):
        np.testing.assert_array_equal(result, expected)


@given(labels=label_volumes(), seed=st.integers(0, 2**32 - 1))
def test_moments(labels, seed):
    logit = np.random.default_rng(seed).normal(0, 10, labels.shape).astype(np.float32)
    sums = _labels.moments(labels, logit, 4, 0, labels.shape[0] * labels.shape[1])
    np.testing.assert_allclose(sums, reference.moments(labels, logit, 4), rtol=1e-12, atol=1e-12)


@given(labels=label_volumes(), order=st.permutations(range(4)))
def test_filled_holes(labels, order):
    labels = renumbered(labels)
    count = int(labels.max())
    _, boxes = measure_extents(labels, count)
    filled, expected = labels.copy(), labels.copy()
    order = np.array([i for i in order if i < count], dtype=np.int64)
    _labels.fill_holes(filled, boxes, order, GO)
    reference.fill_holes(expected, boxes, order)
    np.testing.assert_array_equal(filled, expected)
    hollow = _labels.may_have_holes(labels, boxes, 0, count, GO)
    for i in np.flatnonzero(~hollow):
        unfilled = labels.copy()
        reference.fill_holes(unfilled, boxes, np.array([i]))
        np.testing.assert_array_equal(unfilled, labels)


@given(
    flow=flow_fields(),
    logits=st.integers(0, 2**32 - 1),
    interpolation=st.sampled_from(["bilinear", "nearest"]),
    rules=st.sampled_from(["paper", "cellpose3"]),
    edges=st.booleans(),
    min_size=st.none() | st.integers(0, 12),
    fraction=st.sampled_from([0, 0.1, 0.9]),
    smaller=st.integers(1, 3),
    workers=st.integers(1, 3),
)
def test_masks(flow, logits, interpolation, rules, edges, min_size, fraction, smaller, workers):
    """The whole recovery, with every shortcut and with several threads, against its plain twin."""
    logit = np.random.default_rng(logits).normal(1, 1, flow.shape[1:]).astype(np.float32)
    params = RecoveryParams(
        niter=50,
        interpolation=interpolation,
        mask_rules=rules,
        exclude_on_edges=edges,
        min_size=min_size,
        max_size_fraction=0.9,
        min_volume_fraction=fraction,
        flow_threshold=1,
    )
    maps = maps_of(flow, logit)
    shape = tuple(max(1, length // smaller) for length in logit.shape)
    with np.errstate(invalid="ignore", over="ignore"):
        expected = reference.recover_masks(maps, params, shape)
    with ThreadPoolExecutor(workers) as pool:
        recovered = recover_masks(maps, params, ThreadGroup(pool, workers - 1), shape)
    np.testing.assert_array_equal(recovered.labels, expected.labels)
    np.testing.assert_allclose(recovered.flow_errors, expected.flow_errors, rtol=1e-6)


@given(flow=flow_fields(), seed=st.integers(0, 2**32 - 1), interpolation=st.sampled_from(["bilinear", "nearest"]))
def test_a_volume_of_one_plane_has_the_masks_of_the_image(flow, seed, interpolation):
    logit = np.random.default_rng(seed).normal(1, 1, flow.shape[2:]).astype(np.float32)
    plane = np.clip(np.nan_to_num(flow[:, 0]), -3, 3)  # across its plane an infinite flow is no number
    params = RecoveryParams(
        interpolation=interpolation, flow_threshold=0, min_volume_fraction=0, min_size=2, max_size_fraction=1
    ).resolved(2)
    image = recover_masks(maps_of(plane[1:], logit), params)
    volume = recover_masks(maps_of(plane, logit)[:, np.newaxis], params)
    np.testing.assert_array_equal(volume.labels[0], image.labels)
