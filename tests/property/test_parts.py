"""Kernels on parts of an image against their plain twins; sets that are joined against a search."""

import numpy as np
from cellserve_large.union import union
from cellserve_postprocess import reference, stages
from cellserve_postprocess._parts import mark_escaped
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

SHAPES = hnp.array_shapes(min_dims=2, max_dims=3, max_side=8)


@given(counts=hnp.arrays(np.int32, SHAPES, elements=st.integers(0, 6)))
def test_components_of_dense_positions(counts):
    np.testing.assert_array_equal(stages.components(counts), reference.label_components(counts, 2))


@given(labels=hnp.arrays(np.int32, SHAPES, elements=st.integers(0, 4)))
def test_sums_of_places(labels):
    np.testing.assert_array_equal(stages.place_sums(labels, 4), reference.sum_places(labels, 4))


@given(data=st.data(), shape=SHAPES)
def test_ends_and_their_sinks(data, shape):
    size = int(np.prod(shape))
    ends = data.draw(hnp.arrays(np.int32, shape, elements=st.integers(-2, size - 1)))
    outside = data.draw(hnp.arrays(np.bool_, shape))
    expected = reference.mark_escaped(ends, outside)
    mark_escaped(ends, outside)
    np.testing.assert_array_equal(ends, expected)
    numbered, *expected = reference.sinks(ends)
    for found, array in zip(stages.sinks(ends, shape), expected, strict=True):
        np.testing.assert_array_equal(found, array)
    np.testing.assert_array_equal(ends, numbered)


@given(labels=hnp.arrays(np.int32, SHAPES, elements=st.integers(-1, 4)))
def test_other_numbers(labels):
    numbers = np.array([0, 7, 0, 9, 1, 5], np.int32)
    expected = numbers[labels]
    stages.renumber(labels, numbers)
    np.testing.assert_array_equal(labels, expected)


@given(count=st.integers(1, 30), data=st.data())
def test_joined_sets(count, data):
    pairs = data.draw(st.lists(st.tuples(*[st.integers(0, count - 1)] * 2), max_size=40))
    first, second = np.array(pairs, np.int64).reshape(-1, 2).T
    groups = [{i} for i in range(count)]
    for left, right in pairs:
        joined = groups[left] | groups[right]
        for member in joined:
            groups[member] = joined
    np.testing.assert_array_equal(union(count, first, second), [min(group) for group in groups])
