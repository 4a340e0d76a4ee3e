import numpy as np
import pytest
from cellserve_evaluation.baseline import MIN_SIZE, otsu_watershed
from cellserve_evaluation.metrics import average_precision


def blobs():
    """Two touching disks and one apart, cut by the border; labels and a grey image, objects 100 on a ground of 20."""
    y, x = np.indices((100, 120))
    labels = np.zeros((100, 120), np.uint16)
    for number, (centre_y, centre_x) in enumerate([(40, 40), (40, 62), (98, 100)], start=1):
        labels[(np.hypot(y - centre_y, x - centre_x) <= 12) & (labels == 0)] = number
    return labels, np.where(labels > 0, 100, 20) + np.random.default_rng(0).normal(0, 5, labels.shape)


def test_touching_objects_are_divided():
    labels, image = blobs()
    found = otsu_watershed(image[None], 24)
    assert found.dtype == np.int32
    assert average_precision(labels, found, 0.8) == [1]


@pytest.mark.parametrize(
    "change", [lambda image: 255 - image, lambda image: 1e4 + 1e3 * image], ids=["dark objects", "other units"]
)
def test_polarity_and_units_do_not_matter(change):
    _, image = blobs()
    np.testing.assert_array_equal(otsu_watershed(change(image)[None], 24), otsu_watershed(image[None], 24))


def test_colour_is_judged_by_its_mean():
    _, image = blobs()
    colour = np.stack([image + 30, image, image - 30])
    np.testing.assert_array_equal(otsu_watershed(colour, 24), otsu_watershed(image[None], 24))


def test_the_diameter_decides_how_far_apart_objects_are():
    labels, image = blobs()
    assert otsu_watershed(image[None], 60).max() < labels.max()


def test_specks_are_dropped_and_numbers_have_no_gaps():
    image = np.zeros((1, 60, 60), np.uint8)
    image[0, 2:5, 2:5] = image[0, 20:40, 20:40] = 200
    found = otsu_watershed(image, 20)
    assert np.unique(found).tolist() == [0, 1]
    assert (found > 0).sum() == 400 > MIN_SIZE


def test_a_constant_image_has_no_objects():
    assert not otsu_watershed(np.full((1, 20, 20), 7, np.uint16), 10).any()
