import numpy as np
import pytest
from cellserve_postprocess.metrics import average_precision
from scipy.optimize import linear_sum_assignment

from .shapes import boxed, disks


def test_a_perfect_prediction_scores_one():
    labels = disks((60, 100), [(30, 25), (30, 70)], 18)
    np.testing.assert_array_equal(average_precision(labels, labels, [0.5, 0.9, 1.0]), [1, 1, 1])


def test_numbers_do_not_matter_nor_do_their_gaps():
    labels = disks((60, 100), [(30, 25), (30, 70)], 18)
    renumbered = np.where(labels == 1, 900, np.where(labels == 2, 5, 0))
    assert average_precision(labels, renumbered, 0.9) == [1]


def test_one_hit_one_miss_one_too_many():
    truth = boxed((20, 60), (0, 0, 10, 10), (0, 20, 10, 30))
    predicted = boxed((20, 60), (0, 0, 10, 9), (0, 40, 10, 50))
    np.testing.assert_allclose(average_precision(truth, predicted, [0.5, 0.9, 0.91]), [1 / 3, 1 / 3, 0])


def test_two_halves_match_one_object_once():
    truth = boxed((10, 20), (0, 0, 10, 20))
    predicted = boxed((10, 20), (0, 0, 10, 10), (0, 10, 10, 20))
    np.testing.assert_allclose(average_precision(truth, predicted, [0.5, 0.51]), [1 / 2, 0])


def test_empty_images():
    empty, full = np.zeros((9, 9), dtype=np.uint16), boxed((9, 9), (0, 0, 9, 9))
    assert average_precision(empty, empty, 0.5) == [1]
    assert average_precision(empty, full, 0.5) == [0]
    assert average_precision(full, empty, 0.5) == [0]
    assert average_precision(full, full, 0.5) == [1]
    assert average_precision(np.zeros((0, 0), dtype=np.uint16), np.zeros((0, 0), dtype=np.uint16), 0.5) == [1]


@pytest.mark.parametrize("seed", range(20))
def test_it_is_the_hungarian_matching(seed):
    rng = np.random.default_rng(seed)
    truth, predicted = (rng.integers(0, 6, (5, 6)) for _ in range(2))
    levels = [0.1, 0.2, 0.3, 0.5]
    iou = np.array(
        [
            [((truth == i) & (predicted == j)).sum() / ((truth == i) | (predicted == j)).sum() for j in range(1, 6)]
            for i in range(1, 6)
            if (truth == i).any()
        ]
    )[:, np.unique(predicted[predicted > 0]) - 1]
    expected = []
    for level in levels:
        rows, columns = linear_sum_assignment(iou >= level, maximize=True)
        matched = (iou[rows, columns] >= level).sum()
        expected.append(matched / (sum(iou.shape) - matched))
    np.testing.assert_allclose(average_precision(truth, predicted, levels), expected)


def test_what_cannot_be_compared_is_refused():
    labels = np.zeros((5, 5), dtype=np.uint16)
    with pytest.raises(ValueError, match="compared"):
        average_precision(labels, np.zeros((5, 6), dtype=np.uint16), 0.5)
    for level in (0, 1.1, float("nan")):
        with pytest.raises(ValueError, match="thresholds"):
            average_precision(labels, labels, level)
