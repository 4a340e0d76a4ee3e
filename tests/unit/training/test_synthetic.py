from pathlib import Path

import cv2
import numpy as np
import pytest
import tifffile
from cellserve_postprocess import median_diameter
from cellserve_training.synthetic import SMALLEST_CELL, synthesize, write_synthetic


@pytest.fixture(scope="module")
def pairs():
    return [synthesize(np.random.default_rng([1, i]), (160, 192)) for i in range(24)]


def test_the_same_seed_gives_the_same_image_and_another_seed_another():
    (image, labels), (again, labels_again), (other, _) = (synthesize(np.random.default_rng(s)) for s in (7, 7, 8))
    np.testing.assert_array_equal(image, again)
    np.testing.assert_array_equal(labels, labels_again)
    assert (image != other).any()


def test_shapes_and_dtypes_are_as_described(pairs):
    for image, labels in pairs:
        assert (image.dtype, image.shape) == (np.uint8, (2, 160, 192))
        assert (labels.dtype, labels.shape) == (np.uint16, (160, 192))


def test_every_cell_is_one_piece_and_numbers_have_no_gaps(pairs):
    for _, labels in pairs:
        areas = np.bincount(labels.ravel())[1:]
        assert len(areas) >= 1
        assert areas.min() >= SMALLEST_CELL
        for label in range(1, len(areas) + 1):
            pieces, _ = cv2.connectedComponents((labels == label).astype(np.uint8), connectivity=4)
            assert pieces == 2  # ground and the cell


def test_nuclei_shine_inside_cells(pairs):
    for image, labels in pairs:
        assert image[1][labels > 0].mean() > image[1][labels == 0].mean()


def test_most_cells_hold_a_spot_brighter_than_their_outline(pairs):
    """The stained nucleus is what plane 1 has to tell about touching cells."""
    brighter = []
    for image, labels in pairs:
        nuclear = cv2.GaussianBlur(image[1].astype(np.float32), (0, 0), 1.5)
        outline = cv2.erode(labels, np.ones((3, 3))) != cv2.dilate(labels, np.ones((3, 3)))
        for label in range(1, int(labels.max()) + 1):
            cell = labels == label
            brighter.append(nuclear[cell].max() > 1.2 * nuclear[cell & outline].mean())
    assert np.mean(brighter) > 0.8


def test_cells_are_brighter_than_ground_in_the_first_plane(pairs):
    sparse = [(image, labels) for image, labels in pairs if (labels == 0).mean() > 0.1]
    assert len(sparse) > len(pairs) / 3
    for image, labels in sparse:
        assert image[0][labels > 0].mean() > image[0][labels == 0].mean()


def test_images_differ_in_the_size_and_number_of_their_cells(pairs):
    diameters = [median_diameter(labels) for _, labels in pairs]
    assert min(diameters) < 25
    assert max(diameters) > 40
    assert min(diameters) > 14
    assert max(diameters) < 75
    assert np.ptp([labels.max() for _, labels in pairs]) > 50


def test_a_shape_too_small_for_cells_is_refused():
    with pytest.raises(ValueError, match="at least 64"):
        synthesize(np.random.default_rng(0), (256, 63))


def test_written_pairs_read_back_equal_and_do_not_depend_on_their_number(tmp_path: Path):
    write_synthetic(tmp_path, count=2, seed=3, shape=(96, 128))
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "synthetic_0000_img.tif",
        "synthetic_0000_masks.png",
        "synthetic_0001_img.tif",
        "synthetic_0001_masks.png",
    ]
    image, labels = synthesize(np.random.default_rng([3, 1]), (96, 128))
    with tifffile.TiffFile(tmp_path / "synthetic_0001_img.tif") as file:
        assert file.series[0].axes == "CYX"
        assert file.pages[0].compression == tifffile.COMPRESSION.ADOBE_DEFLATE
        np.testing.assert_array_equal(file.asarray(), image)
    read = cv2.imread(str(tmp_path / "synthetic_0001_masks.png"), cv2.IMREAD_UNCHANGED)
    assert read.dtype == np.uint16
    np.testing.assert_array_equal(read, labels)
