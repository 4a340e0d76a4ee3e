"""Kernels on parts of an image against their plain twins; sets that are joined against a search."""

import numpy as np
from cellserve_large.union import union
from cellserve_postprocess import reference, stages
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
