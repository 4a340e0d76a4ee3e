"""Label images of other programs: their labels as they were drawn, or a refusal that says what to do."""

import imagecodecs
import numpy as np
import pytest
import tifffile
from cellserve_evaluation.labels import LabelsError, check_labels, read_labels

from tests.unit.formats.samples import palette_png

RNG = np.random.default_rng(0)
COLOURS = RNG.integers(0, 256, (256, 3), dtype=np.uint8)


def grid(numbers) -> np.ndarray:
    """One square for each number, apart from each other."""
    labels = np.zeros((12, 12 * len(numbers)), np.int64)
    for at, number in enumerate(numbers):
        labels[2:10, 12 * at + 2 : 12 * at + 10] = number
    return labels


LABELS = grid([12, 3, 200, 7])


def png(path, labels):
    path.write_bytes(imagecodecs.png_encode(labels.astype(np.uint16)))


def palette_of_png(path, labels):
    path.write_bytes(palette_png(labels, COLOURS))


def palette_of_tiff(path, labels):
    table = np.ascontiguousarray(COLOURS.T).astype(np.uint16) * 257
    tifffile.imwrite(path, labels.astype(np.uint8), photometric="palette", colormap=table)


def floats(path, labels):
    tifffile.imwrite(path, labels.astype(np.float32))


def long_integers(path, labels):
    tifffile.imwrite(path, labels.astype(np.uint64))


def array(path, labels):
    with path.open("wb") as file:
        np.save(file, labels)


WRITERS = {
    "a.png": png,
    "b.png": palette_of_png,
    "c.tif": palette_of_tiff,
    "d.tif": floats,
    "e.tif": long_integers,
    "f.npy": array,
}


@pytest.mark.parametrize("name", WRITERS)
def test_labels_are_read_as_they_were_drawn(tmp_path, name):
    WRITERS[name](tmp_path / name, LABELS)
    labels = read_labels(tmp_path / name)
    assert labels.dtype.kind in "iu"
    np.testing.assert_array_equal(labels, LABELS)


@pytest.mark.parametrize("value", [1, 255, 65535])
@pytest.mark.parametrize("dtype", [bool, np.uint16, np.float32])
def test_a_mask_of_several_objects_is_no_label_image(value, dtype):
    with pytest.raises(LabelsError, match=r"one number, \d+, for 5 separate objects; give each object a number"):
        check_labels(grid([value] * 5).astype(dtype))


def test_classes_are_no_objects():
    with pytest.raises(LabelsError, match="2 numbers for 6 separate objects"):
        check_labels(grid([1, 1, 2, 2, 1, 2]))


@pytest.mark.parametrize("numbers", [[255], [255, 0, 0], [1, 2, 2], [4, 4, 5, 6, 7]])
def test_one_object_and_an_object_in_two_pieces_are_labels(numbers):
    labels = grid(numbers)
    labels[0, ::3] = numbers[0]  # specks
    np.testing.assert_array_equal(check_labels(labels), labels)


def colours(path):
    path.write_bytes(imagecodecs.png_encode(COLOURS[LABELS]))


def jpeg(path):
    path.write_bytes(imagecodecs.jpeg8_encode(LABELS.astype(np.uint8)))


def text(path):
    path.write_text("no array")


@pytest.mark.parametrize(
    ("name", "write", "problem"),
    [
        ("a.png", colours, "3 planes, expected one; save the numbers"),
        ("b.png", jpeg, "JPEG changes labels"),
        ("c.npy", text, "no file of a NumPy array"),
        ("d.tif", text, "neither TIFF nor PNG nor JPEG"),
        ("e.tif", lambda path: None, "No such file"),
        ("f.npy", lambda path: array(path, LABELS + 0.5), "with fractions"),
        ("g.npy", lambda path: array(path, LABELS - 1), "a label of -1"),
        ("h.npy", lambda path: array(path, np.stack([LABELS] * 2)), r"shape \(2, 12, 48\), expected two axes"),
        ("i.npy", lambda path: array(path, LABELS + 1j), "complex128"),
    ],
)
def test_what_is_no_label_image_is_said(tmp_path, name, write, problem):
    write(tmp_path / name)
    with pytest.raises(LabelsError, match=problem):
        read_labels(tmp_path / name)
