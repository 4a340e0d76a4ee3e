"""Properties of mask recovery: perfect flows give the truth back, wherever and however the image lies."""

from dataclasses import replace

import numpy as np
import pytest
from cellserve_postprocess import RecoveryParams, measure_objects, recover_masks
from cellserve_training.targets import masks_to_flows
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage

SIDE = 80
KINDS = ("ellipse", "rectangle", "crescent", "ring", "line")
PARAMS = {
    f"{rules}, {interpolation}": RecoveryParams(
        mask_rules=rules, interpolation=interpolation, min_size=0, max_size_fraction=1, fill_holes=False
    )
    for rules in ("paper", "cellpose3")
    for interpolation in ("bilinear", "nearest")
}


def ellipse(y, x, centre, radii, angle):
    along, across = np.cos(angle), np.sin(angle)
    first = (y - centre[0]) * along + (x - centre[1]) * across
    second = (x - centre[1]) * along - (y - centre[0]) * across
    return (first / radii[0]) ** 2 + (second / radii[1]) ** 2 <= 1


def shapes(kind, draw):
    """One object, bool [SIDE, SIDE]."""
    y, x = np.indices((SIDE, SIDE))
    centre = draw(st.tuples(st.integers(8, SIDE - 8), st.integers(8, SIDE - 8)))
    radii = draw(st.tuples(st.integers(8, 16), st.integers(8, 16)))
    angle = draw(st.floats(0, np.pi))
    match kind:
        case "ellipse":
            return ellipse(y, x, centre, radii, angle)
        case "rectangle":
            return (abs(y - centre[0]) <= radii[0]) & (abs(x - centre[1]) <= radii[1])
        case "crescent":
            aside = (centre[0], centre[1] + 1.5 * radii[1])
            return ellipse(y, x, centre, radii, 0) & ~ellipse(y, x, aside, radii, 0)
        case "ring":
            # Where both ways round the hole are equally long, a row of pixels points into it: rings must be large.
            centre = (SIDE // 2 + centre[0] % 4, SIDE // 2 - centre[1] % 4)
            radii = (radii[0] + 20, radii[1] + 20)
            inner = (radii[0] / 3, radii[1] / 3)
            return ellipse(y, x, centre, radii, angle) & ~ellipse(y, x, centre, inner, angle)
        case "line":
            line = (y == centre[0]) & (abs(x - centre[1]) <= 24)
            return line.T if draw(st.booleans()) else line
    raise ValueError(kind)


@st.composite
def crowds(draw):
    """Label images of several convex objects, some of which touch."""
    labels = np.zeros((SIDE, SIDE), np.int32)
    for kind in draw(st.lists(st.sampled_from(["ellipse", "rectangle"]), min_size=2, max_size=6)):
        shape = shapes(kind, draw)
        # An object that covers much of another would leave a remnant of any form.
        if not (shape & ndimage.binary_erosion(labels > 0, iterations=2)).any():
            labels[shape & (labels == 0)] = labels.max() + 1
    return labels


def maps_of(labels):
    logit = np.where(labels > 0, np.float32(6), np.float32(-6))
    return np.concatenate([5 * masks_to_flows(labels), logit[np.newaxis]])


def ious(truth, recovered):
    found = []
    for number in range(1, truth.max() + 1):
        mask = truth == number
        best = np.bincount(recovered[mask]).argmax()
        found.append((mask & (recovered == best)).sum() / (mask | (recovered == best)).sum())
    return np.array(found)


def flipped_y(maps):
    return maps[:, ::-1] * np.array([-1, 1, 1], np.float32)[:, np.newaxis, np.newaxis]


def flipped_x(maps):
    return maps[:, :, ::-1] * np.array([1, -1, 1], np.float32)[:, np.newaxis, np.newaxis]


def transposed(maps):
    return maps[[1, 0, 2]].transpose(0, 2, 1)


@pytest.mark.parametrize("params", PARAMS.values(), ids=PARAMS)
@pytest.mark.parametrize("kind", KINDS)
@given(data=st.data())
def test_perfect_flows_give_an_object_back(kind, params, data):
    labels = shapes(kind, data.draw).astype(np.int32)
    recovered = recover_masks(maps_of(labels), params).labels
    assert recovered.max() == 1
    assert ious(labels, recovered).min() >= 0.99


@pytest.mark.parametrize("params", PARAMS.values(), ids=PARAMS)
@given(labels=crowds())
def test_perfect_flows_give_touching_objects_back(params, labels):
    recovered = recover_masks(maps_of(labels), params).labels
    assert recovered.max() == labels.max()
    assert ious(labels, recovered).min() >= 0.99


@pytest.mark.parametrize("params", PARAMS.values(), ids=PARAMS)
@pytest.mark.parametrize(
    ("turn_maps", "turn_labels"),
    [
        pytest.param(flipped_y, lambda labels: labels[::-1], id="flip along y"),
        pytest.param(flipped_x, lambda labels: labels[:, ::-1], id="flip along x"),
        pytest.param(transposed, np.transpose, id="transposition"),
    ],
)
@given(labels=crowds(), length=st.floats(0.6, 1))
def test_masks_turn_with_the_image(turn_maps, turn_labels, params, labels, length):
    maps = maps_of(labels) * np.float32(length)
    masks = turn_labels(recover_masks(maps, params).labels)
    turned = recover_masks(turn_maps(maps), params).labels
    assert turned.max() == masks.max()
    assert ious(masks, turned).min() >= 0.99


@st.composite
def fields(draw):
    """What a network might put out for several objects, in steps of 1/256: positions are then never rounded."""
    labels = draw(crowds())
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    noise = ndimage.gaussian_filter(rng.normal(size=(3, SIDE, SIDE)), (0, 2, 2)) * draw(st.floats(0, 8))
    maps = maps_of(labels) + noise
    maps[:2] = 5 * np.round(maps[:2] / 5 * 256) / 256
    return maps.astype(np.float32)


EXACT = RecoveryParams(interpolation="nearest", max_size_fraction=1)


@given(maps=fields())
def test_transposition_changes_no_pixel_of_any_field(maps):
    # Unfiltered: of several pixels equally close to the middle of an object, the first in rows is the source of heat.
    params = replace(EXACT, flow_threshold=0)
    masks = recover_masks(maps, params).labels
    turned = recover_masks(transposed(maps), params).labels.T
    numbers = np.zeros(masks.max() + 1, np.int32)  # objects are numbered by where they converge
    numbers[masks] = turned
    np.testing.assert_array_equal(numbers[masks], turned)
    assert turned.max() == masks.max()


@pytest.mark.parametrize("rules", ["paper", "cellpose3"])
@given(maps=fields(), down=st.integers(0, 40), right=st.integers(0, 40))
def test_masks_move_with_the_image(rules, maps, down, right):
    params = replace(EXACT, mask_rules=rules)
    framed = np.pad(maps, ((0, 0), (1, 1), (1, 1)), constant_values=-6)
    moved = np.pad(framed, ((0, 0), (down, 0), (right, 0)), constant_values=-6)
    masks, others = recover_masks(framed, params), recover_masks(moved, params)
    np.testing.assert_array_equal(others.labels[down:, right:], masks.labels)
    np.testing.assert_array_equal(others.flow_errors, masks.flow_errors)


@given(labels=crowds(), seed=st.integers(0, 2**32 - 1))
def test_numbers_of_objects_mean_nothing(labels, seed):
    order = np.random.default_rng(seed).permutation(labels.max()).astype(np.int32)
    renumbered = np.concatenate([[np.int32(0)], order + 1])[labels]
    np.testing.assert_array_equal(maps_of(renumbered), maps_of(labels))
    none = np.zeros(labels.max(), np.float32)
    logit = np.zeros(labels.shape, np.float32)
    table = measure_objects(labels, logit, none)
    other = measure_objects(renumbered, logit, none)
    np.testing.assert_array_equal(other.area[order], table.area)
    np.testing.assert_array_equal(other.bbox[order], table.bbox)
    np.testing.assert_array_equal(other.centroid[order], table.centroid)
