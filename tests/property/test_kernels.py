"""Every kernel against its plain twin of the same name."""

import numpy as np
import pytest
from cellserve_postprocess import _clustering, _diffusion, _labels, _tracking, reference
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


def padded(flow):
    return np.ascontiguousarray(np.pad(flow, ((0, 0), (0, 1), (0, 1))))


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
    return padded(flow + noise)


@pytest.mark.parametrize("name", ["follow_bilinear", "follow_nearest"])
@given(flow=flow_fields(), niter=st.integers(1, 60))
def test_pixels_end_where_every_step_takes_them(name, flow, niter):
    height, width = flow.shape[1] - 1, flow.shape[2] - 1
    starts = np.arange(height * width)
    with np.errstate(invalid="ignore", over="ignore"):
        expected = getattr(reference, name)(flow, starts, niter)
    ends = getattr(_tracking, name)(flow, starts, niter)
    np.testing.assert_array_equal(ends, expected)
    assert ((ends >= 0) & (ends < starts.size)).all()


@given(y=st.floats(3.1, 9.9), x=st.floats(3.1, 9.9), slope=st.floats(0.05, 0.9))
def test_traps_hold_what_enters(y, x, slope):
    """The shortcut is used where a sink lies between pixels, and changes nothing: the twin takes every step."""
    grid = np.indices((14, 14), dtype=np.float32)
    sink = np.array([y, x], dtype=np.float32)[:, np.newaxis, np.newaxis]
    flow = padded(np.clip((sink - grid) * np.float32(slope), -1, 1).astype(np.float32))
    traps = _tracking.find_traps(flow)
    part = np.array([y % 1, x % 1])
    if ((part * slope > 0.002) & ((1 - part) * slope > 0.002)).all():
        assert traps[int(y), int(x)]
    assert traps.sum() <= 1
    starts = np.arange(14 * 14)
    np.testing.assert_array_equal(
        _tracking.follow_bilinear(flow, starts, 300), reference.follow_bilinear(flow, starts, 300)
    )


@given(
    shape=SHAPES,
    seed=st.integers(0, 2**32 - 1),
    peaks=st.integers(1, 6),
    spread=st.floats(0, 3),
    pixels=st.integers(0, 190),
)
def test_clusters(shape, seed, peaks, spread, pixels):
    height, width = shape
    rng = np.random.default_rng(seed)
    starts = np.sort(rng.permutation(height * width)[:pixels])
    centres = rng.uniform(0, shape, (peaks, 2))[rng.integers(0, peaks, starts.size)]
    y, x = np.clip(rng.normal(centres, spread).astype(np.int64), 0, np.array(shape) - 1).T
    ends = y * width + x
    labels, count = _clustering.cluster(starts, ends, height, width)
    expected, expected_count = reference.cluster(starts, ends, height, width)
    assert count == expected_count
    np.testing.assert_array_equal(labels, expected)


@given(labels=label_images())
def test_flows_of_masks(labels):
    _, boxes = _labels.extents(labels, 4)
    np.testing.assert_array_equal(_diffusion.diffuse(labels, boxes), reference.diffuse(labels, boxes))


def renumbered(labels):
    return np.unique(np.append(labels, 0), return_inverse=True)[1][:-1].reshape(labels.shape).astype(np.int32)


@given(labels=label_images(), seed=st.integers(0, 2**32 - 1))
def test_flow_errors(labels, seed):
    labels = renumbered(labels)
    _, boxes = _labels.extents(labels, int(labels.max()))
    predicted = np.random.default_rng(seed).normal(size=(2, *labels.shape)).astype(np.float32)
    errors = _diffusion.flow_errors(labels, boxes, predicted)
    np.testing.assert_allclose(errors, reference.flow_errors(labels, boxes, predicted), rtol=1e-6)


@pytest.mark.parametrize("side", [_diffusion.LONGEST, _diffusion.LONGEST + 1, 2 * _diffusion.LONGEST + 1])
def test_flow_errors_of_large_objects(side):
    labels = np.zeros((40, side + 2), dtype=np.int32)
    labels[3:36, 1:-1] = 1
    labels[10:20, 200:220] = 0
    _, boxes = _labels.extents(labels, 1)
    predicted = np.random.default_rng(0).normal(size=(2, *labels.shape)).astype(np.float32)
    errors = _diffusion.flow_errors(labels, boxes, predicted)
    np.testing.assert_allclose(errors, reference.flow_errors(labels, boxes, predicted), rtol=1e-6)


@given(labels=label_images())
def test_extents(labels):
    for result, expected in zip(_labels.extents(labels, 5), reference.extents(labels, 5), strict=True):
        np.testing.assert_array_equal(result, expected)


@given(labels=label_images(), seed=st.integers(0, 2**32 - 1))
def test_moments(labels, seed):
    logit = np.random.default_rng(seed).normal(0, 10, labels.shape).astype(np.float32)
    np.testing.assert_allclose(
        _labels.moments(labels, logit, 4), reference.moments(labels, logit, 4), rtol=1e-12, atol=1e-12
    )


@given(labels=label_images(), order=st.permutations(range(4)))
def test_filled_holes(labels, order):
    labels = renumbered(labels)
    _, boxes = _labels.extents(labels, int(labels.max()))
    order = np.array([i for i in order if i < len(boxes)], dtype=np.int64)
    filled, expected = labels.copy(), labels.copy()
    _labels.fill_holes(filled, boxes, order)
    reference.fill_holes(expected, boxes, order)
    np.testing.assert_array_equal(filled, expected)
    np.testing.assert_array_equal(filled[labels > 0], labels[labels > 0])
