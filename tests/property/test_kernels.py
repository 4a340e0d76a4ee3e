"""Every kernel against its plain twin of the same name."""

import numpy as np
import pytest
from cellserve_parallel import ThreadGroup
from cellserve_postprocess import (
    RecoveryParams,
    _diffusion,
    _labels,
    _tracking,
    masks,
    planes,
    recover_masks,
    reference,
)
from cellserve_postprocess.objects import measure_extents
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

SHAPES = hnp.array_shapes(min_dims=2, max_dims=2, max_side=14)


@st.composite
def label_images(draw):
    """Label images with large pieces, touching objects, holes and gaps in the numbers."""
    height, width = draw(SHAPES)
    labels = draw(hnp.arrays(np.int32, (height, width), elements=st.integers(0, 4), fill=st.integers(0, 4)))
    for number in range(1, draw(st.integers(0, 4)) + 1):
        y, x = draw(st.integers(0, height - 1)), draw(st.integers(0, width - 1))
        side = draw(st.integers(1, 9))
        labels[y : y + side, x : x + side] = number
        labels[y + 2 : y + side - 2, x + 2 : x + side - 2] = draw(st.sampled_from([0, number]))
    return labels


GO = np.zeros(1, np.uint8)


@st.composite
def flow_fields(draw):
    """Flows of any kind: smooth with sinks anywhere between pixels, noise, and values no network should give."""
    height, width = draw(SHAPES)
    y, x = np.indices((height, width), dtype=np.float32)
    sinks = draw(st.lists(st.tuples(st.floats(0, height), st.floats(0, width)), min_size=1, max_size=3))
    slope = draw(st.floats(0.05, 1.2))
    nearest = np.argmin([np.hypot(y - sink_y, x - sink_x) for sink_y, sink_x in sinks], axis=0)
    sink = np.array(sinks, dtype=np.float32)[nearest].transpose(2, 0, 1)
    flow = np.clip((sink - np.stack([y, x])) * np.float32(slope), -1, 1).astype(np.float32)
    wild = st.floats(-3, 3, width=32) | st.sampled_from([np.nan, np.inf, -np.inf, float(np.float32(3e38))])
    noise = draw(hnp.arrays(np.float32, flow.shape, elements=wild, fill=st.just(np.float32(0))))
    return flow + noise


def maps_of(flow, logit):
    with np.errstate(over="ignore"):
        return np.concatenate([np.float32(5) * flow, logit[np.newaxis]])


def assert_followed(flow, niter, interpolation="bilinear", away=(0, 0)):
    """Positions end where every single step takes them, whatever the kernel skips.

    `away` moves the field so many pixels down and right, to where positions are rounded more coarsely.
    """
    maps = maps_of(flow, np.ones(flow.shape[1:], np.float32))
    maps = np.pad(maps, ((0, 0), (away[0], 0), (away[1], 0)))
    params = RecoveryParams(niter=niter, interpolation=interpolation).resolved(2)
    expected_flow, indices = reference.keep(maps, 0)
    with np.errstate(invalid="ignore", over="ignore"):
        expected = getattr(reference, f"follow_{interpolation}")(expected_flow, indices, niter)
    ends = planes.follow_plane(maps, params, ThreadGroup())
    np.testing.assert_array_equal(ends, expected)
    assert ((ends >= 0) == (maps[2] > 0)).all()
    assert ends.max() < ends.size


@pytest.mark.parametrize("interpolation", ["bilinear", "nearest"])
@given(flow=flow_fields(), niter=st.integers(1, 90))
def test_pixels_end_where_every_step_takes_them(interpolation, flow, niter):
    assert_followed(flow, niter, interpolation)


@pytest.mark.parametrize("interpolation", ["bilinear", "nearest"])
@given(flow=flow_fields(), niter=st.integers(1, 90), data=st.data())
def test_paths_in_a_window_end_where_they_do_in_the_image_or_escape(interpolation, flow, niter, data):
    maps = maps_of(flow, np.ones(flow.shape[1:], np.float32))
    params = RecoveryParams(niter=niter, interpolation=interpolation).resolved(2)
    whole = planes.follow_plane(maps, params, ThreadGroup())
    sides = [sorted(data.draw(st.tuples(*[st.integers(0, n)] * 2).filter(lambda s: s[0] != s[1]))) for n in whole.shape]
    box = tuple(slice(*side) for side in sides)
    top, left = (side.start for side in box)
    part = np.ascontiguousarray(maps[(slice(None), *box)])
    ends = planes.follow_window(part, (top, left), whole.shape, params, ThreadGroup())
    y, x = np.divmod(ends, ends.shape[1])
    positions = (y + top) * whole.shape[1] + x + left
    np.testing.assert_array_equal(positions[ends >= 0], whole[box][ends >= 0])
    assert ((ends == _tracking.ESCAPED) | (ends >= 0)).all()
    if box == tuple(slice(0, length) for length in whole.shape):
        assert (ends >= 0).all()


@given(y=st.floats(3.1, 9.9), x=st.floats(3.1, 9.9), slope=st.floats(0.05, 0.9))
def test_traps_hold_what_enters(y, x, slope):
    """The shortcut is used where a sink lies between pixels, and changes nothing: the twin takes every step."""
    grid = np.indices((14, 14), dtype=np.float32)
    sink = np.array([y, x], dtype=np.float32)[:, np.newaxis, np.newaxis]
    flow = np.clip((sink - grid) * np.float32(slope), -1, 1).astype(np.float32)
    padded = np.ascontiguousarray(np.pad(flow, ((0, 0), (0, 1), (0, 1))).transpose(1, 2, 0))
    traps = np.zeros((15, 15), np.bool_)
    _tracking.find_traps(padded, 0, 14, traps)
    part = np.array([y % 1, x % 1])
    if ((part * slope > 0.002) & ((1 - part) * slope > 0.002)).all():
        assert traps[int(y), int(x)]
    assert traps.sum() <= 1
    assert_followed(flow, 300)


@given(
    along=st.integers(0, 1),
    flows=hnp.arrays(np.float32, (2, 4, 4), elements=st.floats(-1, 1, width=32)),
    first=st.sampled_from([0.0, 0.25, 0.9, 0.97, 1.0]),
    second=st.sampled_from([-0.25, -0.9, -0.97, -1.0, -1.05]),
    niter=st.integers(100, 201),
    away=st.sampled_from([(0, 0), (0, 9000), (9000, 0)]),
)
def test_what_goes_to_and_fro_ends_where_every_step_takes_it(along, flows, first, second, niter, away):
    """Sinks that positions overshoot: from perfect flows, with slopes around the one at which they never settle."""
    flow = np.zeros((2, 12, 12), np.float32)
    grid = np.indices((12, 12))[along]
    flow[along] = np.where(grid <= 5, np.float32(first), np.float32(second))
    flow[1 - along, 4:8, 4:8] = flows[1 - along]
    flow[along, 4:8, 4:8] += np.float32(0.05) * flows[along]
    assert_followed(flow, niter, away=away)


@given(
    shape=SHAPES,
    seed=st.integers(0, 2**32 - 1),
    peaks=st.integers(1, 6),
    spread=st.floats(0, 3),
    pixels=st.integers(0, 190),
    reach=st.integers(0, 2),
    seed_count=st.integers(2, 10),
    rounds=st.sampled_from([None, masks.CELLPOSE_ROUNDS]),
)
def test_clusters(shape, seed, peaks, spread, pixels, reach, seed_count, rounds):
    height, width = shape
    rng = np.random.default_rng(seed)
    starts = rng.permutation(height * width)[:pixels]
    centres = rng.uniform(0, shape, (peaks, 2))[rng.integers(0, peaks, starts.size)]
    y, x = np.clip(rng.normal(centres, spread).astype(np.int64), 0, np.array(shape) - 1).T
    ends = np.full(shape, -1, np.int32)
    ends.ravel()[starts] = y * width + x
    expected, expected_count = reference.cluster(ends, reach, seed_count, rounds)
    labels, count = masks._cluster(ends[np.newaxis], masks.SeedRule(reach, seed_count, rounds), ThreadGroup())
    assert count == expected_count
    np.testing.assert_array_equal(labels[0], expected)


@given(labels=label_images())
def test_flows_of_masks(labels):
    _, boxes = measure_extents(labels, 4)
    np.testing.assert_array_equal(_diffusion.diffuse(labels, boxes), reference.diffuse(labels, boxes))


def renumbered(labels):
    return np.unique(np.append(labels, 0), return_inverse=True)[1][:-1].reshape(labels.shape).astype(np.int32)


def assert_flow_errors(labels, cellpose=False):
    count = int(labels.max())
    _, boxes = measure_extents(labels, count)
    numbers = np.arange(1, count + 1, dtype=np.int32)
    maps = 5 * np.random.default_rng(0).normal(size=(3, *labels.shape)).astype(np.float32)
    errors = _diffusion.flow_errors(labels, numbers, boxes, maps, np.float32(5), cellpose, GO)
    expected = reference.flow_errors(labels, numbers, boxes, maps, cellpose)
    np.testing.assert_allclose(errors, expected, rtol=1e-6)
    return errors


@given(labels=label_images(), cellpose=st.booleans())
def test_flow_errors(labels, cellpose):
    assert_flow_errors(renumbered(labels), cellpose)


@pytest.mark.parametrize("side", [_diffusion.LONGEST, _diffusion.LONGEST + 1, 2 * _diffusion.LONGEST + 1])
def test_flow_errors_of_large_objects(side):
    labels = np.zeros((40, side + 2), dtype=np.int32)
    labels[3:36, 1:-1] = 1
    labels[10:20, 200:220] = 0
    assert_flow_errors(labels)


def test_heat_too_faint_for_single_precision_is_computed_in_double():
    labels = np.zeros((5, 200), dtype=np.int32)
    labels[2, 10:190] = 1
    labels[1:4, 95:105] = 1
    errors = assert_flow_errors(labels)
    _, boxes = measure_extents(labels, 1)
    numbers = np.array([1], np.int32)
    flow = _diffusion.diffuse(labels, boxes)
    assert _diffusion.flow_errors(labels, numbers, boxes, flow, np.float32(1), False, GO) < 1e-12
    assert errors > 1


def in_volume(boxes):
    """Boxes in a volume of one plane."""
    return np.insert(boxes, [0, 2], [0, 1], axis=1)


@given(labels=label_images())
def test_extents(labels):
    for result, expected in zip(measure_extents(labels, 5), reference.extents(labels, 5), strict=True):
        np.testing.assert_array_equal(result, expected)


@given(labels=label_images(), seed=st.integers(0, 2**32 - 1))
def test_moments(labels, seed):
    logit = np.random.default_rng(seed).normal(0, 10, labels.shape).astype(np.float32)
    np.testing.assert_allclose(
        _labels.moments(labels[np.newaxis], logit[np.newaxis], 4, 0, len(labels))[:, 1:],
        reference.moments(labels, logit, 4),
        rtol=1e-12,
        atol=1e-12,
    )


@given(labels=label_images(), order=st.permutations(range(4)))
def test_filled_holes(labels, order):
    labels = renumbered(labels)
    _, boxes = measure_extents(labels, int(labels.max()))
    order = np.array([i for i in order if i < len(boxes)], dtype=np.int64)
    filled, expected = labels.copy(), labels.copy()
    _labels.fill_holes(filled[np.newaxis], in_volume(boxes), order, GO)
    reference.fill_holes(expected, boxes, order)
    np.testing.assert_array_equal(filled, expected)
    np.testing.assert_array_equal(filled[labels > 0], labels[labels > 0])


@given(labels=label_images())
def test_objects_said_to_have_no_holes_have_none(labels):
    labels = renumbered(labels)
    count = int(labels.max())
    _, boxes = measure_extents(labels, count)
    for i in np.flatnonzero(~_labels.may_have_holes(labels[np.newaxis], in_volume(boxes), 0, count, GO)):
        filled = labels.copy()
        reference.fill_holes(filled, boxes, np.array([i]))
        np.testing.assert_array_equal(filled, labels)


@given(
    flow=flow_fields(),
    logits=st.integers(0, 2**32 - 1),
    interpolation=st.sampled_from(["bilinear", "nearest"]),
    rules=st.sampled_from(["paper", "cellpose3"]),
    edges=st.booleans(),
    min_size=st.none() | st.integers(0, 12),
    smaller=st.integers(1, 4),
)
def test_masks(flow, logits, interpolation, rules, edges, min_size, smaller):
    """The whole recovery, with every shortcut, against its plain twin."""
    logit = np.random.default_rng(logits).normal(1, 1, flow.shape[1:]).astype(np.float32)
    params = RecoveryParams(
        niter=50,
        interpolation=interpolation,
        mask_rules=rules,
        exclude_on_edges=edges,
        min_size=min_size,
        max_size_fraction=0.9,
    )
    maps = maps_of(flow, logit)
    shape = (max(1, logit.shape[0] // smaller), max(1, logit.shape[1] // smaller))
    with np.errstate(invalid="ignore", over="ignore"):
        expected = reference.recover_masks(maps, params, shape)
    recovered = recover_masks(maps, params, shape=shape)
    np.testing.assert_array_equal(recovered.labels, expected.labels)
    np.testing.assert_allclose(recovered.flow_errors, expected.flow_errors, rtol=1e-6)
