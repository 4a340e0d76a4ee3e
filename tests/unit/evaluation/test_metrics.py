import math

import numpy as np
import pytest
from cellserve_evaluation.metrics import (
    BOUNDARY_TOLERANCE,
    aggregated_jaccard_index,
    average_precision,
    boundary_scores,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from scipy.optimize import linear_sum_assignment

from tests.unit.postprocess.shapes import boxed, disks

# Few labels on few pixels, gaps in the numbers and all.
PAIRS = st.tuples(st.integers(1, 7), st.integers(1, 7)).flatmap(
    lambda shape: st.tuples(*[arrays.arrays(np.uint16, shape, elements=st.sampled_from([0, 1, 2, 5, 9]))] * 2)
)


def plain_aggregated_jaccard(truth, predicted):
    """Kumar et al. 2017, algorithm 1, one object at a time."""
    intersections = unions = 0
    used = set()
    for i in sorted({*truth.flat} - {0}):
        true, best, best_iou = truth == i, None, 0
        for j in sorted({*predicted.flat} - {0}):
            found = predicted == j
            iou = (true & found).sum() / (true | found).sum()
            if iou > best_iou:
                best, best_iou = j, iou
        intersections += (true & (predicted == best)).sum() if best else 0
        unions += (true | (predicted == best)).sum() if best else true.sum()
        used.add(best)
    unions += sum((predicted == j).sum() for j in {*predicted.flat} - {0} - used)
    return intersections / unions if unions else 1


def plain_boundary_scores(truth, predicted, tolerance):
    """Resizes, then measures the distance of every boundary pixel to every other, one pixel at a time."""
    if not truth.any():
        return (1, 1, 1) if not predicted.any() else (0, 0, 0)
    diameters = [2 * math.sqrt((truth == i).sum() / math.pi) for i in {*truth.flat} - {0}]
    wanted = 30 / (sum(diameters) / len(diameters))
    scale = min(4, wanted)
    height, width = (max(1, int(length * scale)) for length in truth.shape)
    sets = []
    for labels in (truth, predicted):
        resized = {}
        for y in range(height):
            for x in range(width):
                centre = int((y + 0.5) * labels.shape[0] / height), int((x + 0.5) * labels.shape[1] / width)
                resized[y, x] = labels[centre]
        steps = ((0, 1), (1, 0), (0, -1), (-1, 0))
        sets.append(
            {
                (y, x)
                for (y, x), label in resized.items()
                if label and any(resized.get((y + dy, x + dx), label) != label for dy, dx in steps)
            }
        )
    true, found = sets
    if not true and not found:
        return (1, 1, 1) if predicted.any() else (0, 0, 0)
    if not true or not found:
        return 0, 0, 0
    limit = tolerance * scale / wanted + 1e-9
    precision, recall = (
        sum(any(math.dist(p, q) <= limit for q in others) for p in own) / len(own)
        for own, others in ((found, true), (true, found))
    )
    return precision, recall, 2 * precision * recall / (precision + recall) if precision + recall else 0


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


@given(PAIRS)
def test_the_aggregated_jaccard_index_is_algorithm_1_of_the_paper(pair):
    truth, predicted = pair
    assert aggregated_jaccard_index(truth, predicted) == pytest.approx(plain_aggregated_jaccard(truth, predicted))


def test_the_aggregated_jaccard_index_of_a_hit_a_miss_and_one_too_many():
    truth = boxed((20, 60), (0, 0, 10, 10), (0, 20, 10, 30))
    predicted = boxed((20, 60), (0, 0, 10, 9), (0, 40, 10, 50))
    assert aggregated_jaccard_index(truth, predicted) == pytest.approx(90 / 300)


def test_one_prediction_may_serve_two_objects():
    truth, predicted = boxed((10, 20), (0, 0, 10, 10), (0, 10, 10, 20)), boxed((10, 20), (0, 0, 10, 20))
    assert aggregated_jaccard_index(truth, predicted) == pytest.approx(200 / 400)


@settings(deadline=None)
@given(PAIRS, st.sampled_from([0.0, 1.0, 2.0, 3.5]))
def test_boundary_scores_are_distances_between_boundaries(pair, tolerance):
    assert boundary_scores(*pair, tolerance) == pytest.approx(plain_boundary_scores(*pair, tolerance))


@given(PAIRS)
def test_swapping_the_sides_swaps_precision_and_recall(pair):
    # The same areas on both sides: the true objects decide how much both are enlarged.
    truth, predicted = pair[0], pair[0][::-1]
    there, back = boundary_scores(truth, predicted), boundary_scores(predicted, truth)
    assert (there.precision, there.recall, there.f) == pytest.approx((back.recall, back.precision, back.f))


@pytest.mark.parametrize(("offset", "score"), [(0, 1), (2, 1), (3, 0)])
def test_boundaries_may_lie_the_tolerance_apart(offset, score):
    # A square of about diameter 30 in a corner: only its right side is a boundary.
    side = round(15 * math.sqrt(math.pi))
    truth, predicted = (boxed((side, 80), (0, 0, side, side + moved)) for moved in (0, offset))
    assert BOUNDARY_TOLERANCE == 2
    assert boundary_scores(truth, predicted) == (score, score, score)


def test_boundary_scores_do_not_depend_on_magnification():
    truth, predicted = disks((60, 60), [(30, 30)], 15), disks((60, 60), [(31, 32)], 16)
    once = boundary_scores(truth, predicted)
    for times in (2, 5):
        larger = boundary_scores(*(np.kron(labels, np.ones((times, times), int)) for labels in (truth, predicted)))
        assert larger == pytest.approx(once, abs=0.03)


def test_specks_are_not_enlarged_without_bounds():
    truth = np.zeros((900, 900), dtype=np.uint16)
    truth[450, 450] = 1
    assert boundary_scores(truth, truth) == (1, 1, 1)
    assert boundary_scores(truth, np.roll(truth, 1)) == (0, 0, 0)


def test_empty_images_have_all_or_nothing_in_common():
    empty, full, some = (boxed((9, 9), *box) for box in ([], [(0, 0, 9, 9)], [(2, 2, 6, 6)]))
    nothing = np.zeros((0, 0), dtype=np.uint16)
    for a, b, score in (
        (empty, empty, 1),
        (nothing, nothing, 1),
        (full, full, 1),
        (empty, full, 0),
        (full, empty, 0),
        (empty, some, 0),
        (some, empty, 0),
    ):
        assert aggregated_jaccard_index(a, b) == score
        assert boundary_scores(a, b) == (score, score, score)


def test_what_cannot_be_compared_is_refused():
    labels = np.zeros((5, 5), dtype=np.uint16)
    other = np.zeros((5, 6), dtype=np.uint16)
    for compare in (aggregated_jaccard_index, boundary_scores, lambda a, b: average_precision(a, b, 0.5)):
        with pytest.raises(ValueError, match="compared"):
            compare(labels, other)
    with pytest.raises(ValueError, match="tolerance"):
        boundary_scores(labels, labels, -1)
    for level in (0, 1.1, float("nan")):
        with pytest.raises(ValueError, match="thresholds"):
            average_precision(labels, labels, level)
