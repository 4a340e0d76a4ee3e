import numpy as np
import pytest
from cellserve_postprocess import Stitcher, _stitching, reference_stitching, stitch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from .shapes import boxed

VOLUMES = array_shapes(min_dims=3, max_dims=3, max_side=5).flatmap(
    lambda shape: arrays(np.int32, shape, elements=st.integers(0, min(4, shape[1] * shape[2])))
)
RULES = st.sampled_from(["paper", "cellpose3"])


@given(VOLUMES, st.sampled_from([0.01, 0.25, 1 / 3, 0.5, 1.0]), RULES)
def test_streaming_equals_the_plain_twin(labels, threshold, rules):
    np.testing.assert_array_equal(
        stitch(labels, threshold, rules), reference_stitching.stitch(labels, threshold, rules)
    )


@given(VOLUMES)
def test_scan_equals_its_twin(labels):
    below, above = labels[0], labels[-1]
    count = int(above.max(initial=0))
    for found, expected in zip(
        _stitching.scan(below, above, count), reference_stitching.scan(below, above, count), strict=True
    ):
        np.testing.assert_array_equal(found, expected)
        assert found.dtype == expected.dtype


@given(st.lists(st.tuples(st.integers(0, 19), st.integers(0, 19))))
def test_sets_are_joined_as_by_the_twin(pairs):
    firsts, seconds = np.array(pairs, np.int64).reshape(-1, 2).T.copy()
    found, expected = np.arange(20), np.arange(20)
    _stitching.join(found, firsts, seconds)
    _stitching.settle(found)
    reference_stitching.join(expected, firsts, seconds)
    np.testing.assert_array_equal(found, expected)


@given(VOLUMES, st.integers(0, 8), st.sampled_from([0.0, 0.1, 0.5, 1.0]))
def test_small_objects_are_dropped_by_voxels_then_by_the_median_of_the_rest(labels, min_size, fraction):
    whole = stitch(labels)
    volumes = np.bincount(whole.ravel())[1:]
    kept = volumes >= min_size
    if kept.any():
        kept &= volumes >= fraction * np.median(volumes[kept])
    numbers = np.concatenate([[0], np.cumsum(kept) * kept])
    np.testing.assert_array_equal(
        stitch(labels, min_size=min_size, min_volume_fraction=fraction), numbers.astype(np.uint16)[whole]
    )


def test_the_threshold_is_inclusive():
    first, second = boxed((4, 10), (0, 0, 1, 5)), boxed((4, 10), (0, 3, 1, 8))  # IoU 2 / 8
    assert stitch([first, second], 0.25).max() == 1
    assert stitch([first, second], 0.2501).max() == 2


def test_a_fork_is_one_object_by_the_paper_and_two_by_cellpose():
    one, two = boxed((4, 10), (0, 0, 4, 10)), boxed((4, 10), (0, 0, 4, 4), (0, 5, 4, 10))
    np.testing.assert_array_equal(stitch([two, one, two]).max(axis=(1, 2)), [1, 1, 1])
    found = stitch([two, one, two], rules="cellpose3")
    np.testing.assert_array_equal([found[z, 0, [0, 9]] for z in range(3)], [[1, 2], [2, 2], [3, 2]])


def test_nothing_is_linked_across_an_empty_plane():
    plane, empty = boxed((6, 6), (1, 1, 5, 5)), np.zeros((6, 6), np.uint16)
    for rules in ("paper", "cellpose3"):
        found = stitch([empty, plane, plane, empty, plane, empty], rules=rules)
        np.testing.assert_array_equal(found.max(axis=(1, 2)), [0, 1, 1, 0, 2, 0])
    assert not stitch([empty, empty]).any()
    np.testing.assert_array_equal(stitch([plane]), plane[np.newaxis])


def test_objects_are_numbered_by_their_first_voxels_whatever_their_numbers_in_planes():
    first = boxed((6, 9), (4, 0, 6, 3), (0, 6, 2, 9)) * np.uint16(3)  # 3 and 6, with gaps, against the raster order
    second = boxed((6, 9), (4, 0, 6, 3), (0, 3, 2, 5), (0, 6, 2, 9))
    found = stitch([first, second])
    np.testing.assert_array_equal(found[:, [0, 0, 4], [3, 6, 0]], [[0, 1, 2], [3, 1, 2]])


def test_more_objects_than_uint16_counts():
    plane = np.zeros((370, 370), np.uint32)
    plane[::2, ::2] = np.arange(1, 185**2 + 1).reshape(185, 185)
    empty = np.zeros_like(plane)
    found = stitch([plane, empty, plane, plane])
    assert found.dtype == np.uint32
    assert found.max() == 2 * 185**2 > 65_535
    np.testing.assert_array_equal(found[0], plane)
    np.testing.assert_array_equal(found[2], np.where(plane > 0, plane + np.uint32(185**2), 0))
    np.testing.assert_array_equal(found[2], found[3])


def test_a_stitcher_keeps_no_plane_of_its_caller():
    buffer = boxed((6, 8), (1, 1, 5, 5)).astype(np.int32)
    stitcher = Stitcher()
    stitcher.add(buffer)
    buffer[:] = np.roll(buffer, 4, axis=1)
    stitcher.add(buffer)
    stitched = stitcher.finish()
    assert len(stitched) == 2
    np.testing.assert_array_equal(stitched.volumes, [16, 16])


@pytest.mark.parametrize("threshold", [0, -0.1, 1.1, float("nan")])
def test_thresholds_out_of_range_are_refused(threshold):
    with pytest.raises(ValueError, match="threshold"):
        Stitcher(threshold)


def test_planes_that_do_not_fit_are_refused():
    stitcher = Stitcher()
    stitcher.add(np.zeros((4, 5), np.uint16))
    for plane, message in (
        (np.zeros((5, 4), np.uint16), "not of one volume"),
        (np.zeros((1, 4, 5), np.uint16), "two axes"),
        (np.zeros((4, 5), np.float32), "integers"),
        (np.full((4, 5), -1), "numbers from 1"),
        (np.full((4, 5), 21), "numbers from 1"),
    ):
        with pytest.raises(ValueError, match=message):
            stitcher.add(plane)
    with pytest.raises(ValueError, match="one plane"):
        stitch([])
