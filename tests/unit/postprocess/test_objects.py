import numpy as np
import pytest
from cellserve_postprocess import measure_objects, median_diameter

from .shapes import boxed, disks


def test_every_quantity_of_two_boxes():
    labels = boxed((20, 30), (2, 3, 6, 13), (10, 20, 20, 30))
    logit = np.where(labels == 1, np.float32(0), np.float32(np.log(3)))
    table = measure_objects(labels, logit, np.array([0.1, 0.2], dtype=np.float32))
    assert len(table) == 2
    np.testing.assert_array_equal(table.label, [1, 2])
    np.testing.assert_array_equal(table.bbox, [[2, 3, 6, 13], [10, 20, 20, 30]])
    np.testing.assert_array_equal(table.centroid, [[3.5, 7.5], [14.5, 24.5]])
    np.testing.assert_array_equal(table.area, [40, 100])
    np.testing.assert_allclose(table.equivalent_diameter_area, 2 * np.sqrt(np.array([40, 100]) / np.pi), rtol=1e-6)
    np.testing.assert_allclose(table.mean_probability, [0.5, 0.75], rtol=1e-6)
    np.testing.assert_array_equal(table.flow_error, np.array([0.1, 0.2], dtype=np.float32))


def test_types_are_those_of_the_contract():
    labels = boxed((20, 30), (2, 3, 6, 13)).astype(np.uint32)
    table = measure_objects(labels, np.zeros((20, 30), dtype=np.float32), np.zeros(1, dtype=np.float32))
    types = {name: getattr(table, name).dtype for name in table.__slots__}
    assert types == {
        "label": np.uint32,
        "bbox": np.int32,
        "centroid": np.float32,
        "area": np.int64,
        "equivalent_diameter_area": np.float32,
        "mean_probability": np.float32,
        "flow_error": np.float32,
    }


def test_extreme_logits_are_probabilities_too():
    labels = boxed((4, 8), (0, 0, 4, 4), (0, 4, 4, 8))
    logit = np.where(labels == 1, np.float32(-3e38), np.float32(3e38))
    table = measure_objects(labels, logit, np.zeros(2, dtype=np.float32))
    np.testing.assert_array_equal(table.mean_probability, [0, 1])


@pytest.mark.parametrize("shape", [(0, 0), (5, 7)])
def test_no_objects(shape):
    table = measure_objects(np.zeros(shape, np.uint16), np.zeros(shape, np.float32), np.zeros(0, np.float32))
    assert len(table) == 0
    assert table.bbox.shape == (0, 4)
    assert table.centroid.shape == (0, 2)


def test_arrays_that_do_not_fit_are_refused():
    labels = boxed((20, 30), (2, 3, 6, 13), (10, 20, 20, 30))
    with pytest.raises(ValueError, match="fit"):
        measure_objects(labels, np.zeros((20, 31), dtype=np.float32), np.zeros(2, dtype=np.float32))
    with pytest.raises(ValueError, match="fit"):
        measure_objects(labels, np.zeros((20, 30), dtype=np.float32), np.zeros(1, dtype=np.float32))
    with pytest.raises(ValueError, match="gaps"):
        measure_objects(labels * (labels == 2), np.zeros((20, 30), dtype=np.float32), np.zeros(2, dtype=np.float32))


def test_median_diameter_of_disks():
    labels = disks((60, 200), [(30, 30), (30, 90), (30, 150)], 20)
    assert median_diameter(labels) == pytest.approx(40, rel=0.01)


def test_median_diameter_skips_gaps_and_is_zero_without_objects():
    labels = boxed((20, 30), (2, 3, 6, 13), (10, 20, 20, 30))
    labels[labels == 1] = 7
    assert median_diameter(labels) == pytest.approx(np.sqrt(np.array([40, 100]) / np.pi).sum())
    assert median_diameter(np.zeros((5, 5), dtype=np.uint16)) == 0
