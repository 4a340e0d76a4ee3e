import numpy as np
import pytest
from cellserve_formats.limits import DEFAULT_LIMITS
from cellserve_formats.montage import montage, spread, time_montage, write_montage
from cellserve_formats.overlay import PALETTE
from cellserve_formats.png_reader import read_png

TRUTH, FOUND = (0, 213, 255), (255, 61, 0)


def volume():
    """A bright block in the dark, and its label."""
    labels = np.zeros((10, 40, 60), np.uint16)
    labels[3:7, 10:30, 20:50] = 1
    return np.uint8(40) + 160 * np.uint8(labels > 0), labels


def has(picture, colour):
    return bool((picture == colour).all(axis=-1).any())


def test_sections_and_planes_lie_where_they_should():
    image, labels = volume()
    picture = montage(image, labels * 0, planes=3)
    scale, gap = 320 // 60, 10
    plane, frame = (40 * scale, 60 * scale), 2 * gap
    assert picture.dtype == np.uint8
    assert picture.shape[0] == 2 * (plane[0] + frame) + 10 * scale + frame
    assert picture.shape[1] == 3 * (plane[1] + frame)
    middle = picture[gap : gap + plane[0], gap : gap + plane[1]]
    side = picture[gap : gap + plane[0], plane[1] + frame + gap :][:, : 10 * scale]
    below = picture[plane[0] + frame + gap :][: 10 * scale, gap : gap + plane[1]]
    for section, cut in ((middle, labels[5]), (side, labels[:, :, 30].T), (below, labels[:, 20])):
        bright = cut.repeat(scale, axis=0).repeat(scale, axis=1) > 0
        np.testing.assert_array_equal(section[20:, :, 0] > 100, bright[20:])  # above are the numbers of planes


def test_sections_are_stretched_by_the_anisotropy():
    image, labels = volume()
    flat, stretched = (montage(image, labels, anisotropy=a, planes=1) for a in (1, 2.5))
    assert stretched.shape[0] - flat.shape[0] == 75  # 10 planes of 5 pixels each, 1.5 times that more


def test_outlines_of_truth_and_labels():
    image, labels = volume()
    moved = np.roll(labels, 3, axis=2)
    assert not has(montage(image, labels), TRUTH)
    both = montage(image, moved, truth=labels)
    assert has(both, TRUTH)
    assert has(both, FOUND)
    agreed = montage(image, labels, truth=labels)
    assert (agreed == FOUND).all(axis=-1).sum() > (agreed == TRUTH).all(axis=-1).sum() > 0


def test_an_object_has_one_colour_in_all_panels():
    image, labels = volume()
    picture = montage(np.zeros_like(image), labels * 3, planes=10)
    vivid = picture[np.ptp(picture.astype(int), axis=-1) > 50]
    assert len(vivid) > 0
    assert (vivid == vivid[0]).all()


@pytest.mark.parametrize("channels", [1, 2, 3])
def test_channels(channels):
    image, labels = volume()
    picture = montage(np.stack([image] * channels, axis=1), labels * 0, planes=1)
    assert picture.max() > 150


@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 30, 40), (70, 2, 3), (3, 2000, 900)])
def test_volumes_of_any_shape(shape):
    image = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    picture = montage(image, np.ones(shape, np.uint32), truth=np.zeros(shape, np.uint8), anisotropy=100)
    assert max(picture.shape) < 3200


def test_a_constant_volume_is_black():
    image, labels = volume()
    assert montage(np.full_like(image, 7), labels * 0, planes=1)[100, 100].max() == 0


def test_the_file_is_the_picture(tmp_path):
    image, labels = volume()
    write_montage(tmp_path / "a.png", image, labels, planes=2)
    written = read_png((tmp_path / "a.png").read_bytes(), DEFAULT_LIMITS, "a.png")
    np.testing.assert_array_equal(written.pixels, montage(image, labels, planes=2))


def test_arrays_that_do_not_fit_are_refused():
    image, labels = volume()
    with pytest.raises(ValueError, match="do not fit"):
        montage(image, labels[1:])
    with pytest.raises(ValueError, match="do not fit"):
        montage(image, labels, truth=labels[0])
    for bad in (image[0], np.zeros((3, 4, 5, 6)), np.zeros((0, 4, 5))):
        with pytest.raises(ValueError, match="a volume has axes"):
            montage(bad, labels)
    for options in ({"anisotropy": 0}, {"anisotropy": float("nan")}, {"planes": 0}):
        with pytest.raises(ValueError, match="positive"):
            montage(image, labels, **options)


def test_time_points_lie_in_rows_of_four():
    labels = np.zeros((6, 40, 60), np.uint16)
    for number in range(6):
        labels[number, 15:30, 5 * number : 5 * number + 20] = 1
    image = 40 + 160 * np.uint8(labels > 0)
    picture = time_montage(image[:, np.newaxis], labels * 0, range(6))
    scale, gap = 320 // 60, 10
    height, width = 40 * scale + 2 * gap, 60 * scale + 2 * gap
    assert picture.shape == (2 * height, 4 * width, 3)
    for number in range(6):
        row, column = divmod(number, 4)
        panel = picture[row * height + gap :, column * width + gap :][: 40 * scale, : 60 * scale, 0]
        bright = (labels[number] > 0).repeat(scale, axis=0).repeat(scale, axis=1)
        np.testing.assert_array_equal(panel[20:] > 100, bright[20:])  # above are the numbers
    assert has(time_montage(image[:, np.newaxis], labels, range(6)), tuple(PALETTE[1].astype(np.uint8)))


@pytest.mark.parametrize(("count", "most"), [(1, 8), (3, 8), (8, 8), (9, 8), (1000, 8), (5, 1)])
def test_numbers_are_spread(count, most):
    numbers = spread(count, most)
    assert numbers[0] == 0
    assert len(set(numbers)) == len(numbers) == min(count, most)
    if most > 1:
        assert numbers[-1] == count - 1
        assert np.ptp(np.diff(numbers)) <= 1 if count > 1 else True
