"""Shapes of drawn objects, by their plain definitions."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from cellserve_contract.objects import shape_columns
from cellserve_formats import PixelSize
from cellserve_measurements import measure

SHAPE = ["shape"]
ANGLES = [-1.2, -0.4, 0.0, 0.3, 1.0, 1.5]


def ellipse(shape, centre, semi_axes, angle=0.0, spacing=(1.0, 1.0)):
    """An ellipse whose first semi-axis lies at an angle from the axis Y towards X; lengths in the unit of spacing."""
    y, x = (np.arange(length) * step - c for length, step, c in zip(shape, spacing, centre, strict=True))
    along = y[:, np.newaxis] * np.cos(angle) + x * np.sin(angle)
    across = x * np.cos(angle) - y[:, np.newaxis] * np.sin(angle)
    return (np.hypot(along / semi_axes[0], across / semi_axes[1]) <= 1).astype(np.uint16)


def ellipsoid(shape, centre, semi_axes):
    grid = np.indices(shape)
    parts = ((axis - c) / r for axis, c, r in zip(grid, centre, semi_axes, strict=True))
    return (sum(part**2 for part in parts) <= 1).astype(np.uint16)


def test_a_rectangle():
    labels = np.zeros((40, 60), np.uint16)
    labels[10:22, 20:50] = 7  # 12 x 30
    found = measure(labels, groups=SHAPE)
    assert {name: values.tolist() for name, values in found.items() if values.dtype == np.int64} == {
        "label": [7],
        "touches_border": [0],
    }
    expected = {
        "axis_major_length": 4 * np.sqrt((30**2 - 1) / 12),
        "axis_minor_length": 4 * np.sqrt((12**2 - 1) / 12),
        "eccentricity": np.sqrt(1 - (12**2 - 1) / (30**2 - 1)),
        "perimeter": 2 * (30 - 1) + 2 * (12 - 1),
        "solidity": 1,
    }
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], [value], rtol=1e-12, err_msg=name)
    assert abs(found["orientation"][0]) == pytest.approx(np.pi / 2)


def test_a_disk():
    found = measure(ellipse((140, 140), (70, 70), (50, 50)), groups=SHAPE)
    np.testing.assert_allclose([found["axis_major_length"], found["axis_minor_length"]], 100, rtol=1e-3)
    assert found["eccentricity"][0] < 0.03
    # Steps go along the axes and the diagonals: their way around a circle is 5 % longer than the circle.
    assert found["perimeter"][0] == pytest.approx(16 * (np.sqrt(2) - 1) * 50, rel=0.01)
    assert 0.98 < found["solidity"][0] <= 1


@pytest.mark.parametrize("angle", ANGLES)
def test_an_ellipse_has_its_axes_and_its_angle(angle):
    found = measure(ellipse((160, 160), (80.3, 79.6), (60, 25), angle), groups=SHAPE)
    assert found["axis_major_length"][0] == pytest.approx(120, rel=2e-3)
    assert found["axis_minor_length"][0] == pytest.approx(50, rel=2e-3)
    assert found["eccentricity"][0] == pytest.approx(np.sqrt(1 - (25 / 60) ** 2), rel=1e-3)
    assert found["orientation"][0] == pytest.approx(angle, abs=2e-3)


def test_the_same_pixel_size_along_both_axes():
    labels = ellipse((90, 90), (40, 45), (30, 20), 0.4)
    found = measure(labels, groups=SHAPE, pixel_size=PixelSize(0.25, 0.25))
    area = float(labels.sum())
    y, x = np.nonzero(labels)
    np.testing.assert_allclose(found["area_um2"], area / 16)
    np.testing.assert_allclose(found["equivalent_diameter_area_um"], np.sqrt(area / np.pi) / 2)
    np.testing.assert_allclose(found["centroid-0_um"], y.mean() / 4)
    np.testing.assert_allclose(found["centroid-1_um"], x.mean() / 4)
    for name in ("axis_major_length", "axis_minor_length", "perimeter"):
        np.testing.assert_allclose(found[f"{name}_um"], found[name] / 4)
    without = measure(labels, groups=SHAPE)
    for name in without:
        np.testing.assert_allclose(found[name], without[name])


@pytest.mark.parametrize("angle", ANGLES)
def test_pixels_that_are_not_square(angle):
    size = PixelSize(0.5, 0.2)
    labels = ellipse((120, 300), (30, 30), (24, 12), angle, size[:2])
    found = measure(labels, groups=SHAPE, pixel_size=size)
    assert found["axis_major_length_um"][0] == pytest.approx(48, rel=5e-3)
    assert found["axis_minor_length_um"][0] == pytest.approx(24, rel=5e-3)
    assert found["area_um2"][0] == pytest.approx(np.pi * 24 * 12, rel=5e-3)
    assert found["eccentricity"][0] == pytest.approx(np.sqrt(0.75), rel=2e-3)
    assert found["orientation"][0] == pytest.approx(angle, abs=4e-3)
    assert found["axis_major_length"][0] == measure(labels, groups=SHAPE)["axis_major_length"][0]
    assert "perimeter_um" not in found, "a step across pixels has no length of its own"


def test_a_hull_fills_the_notch():
    labels = np.ones((9, 9), np.uint8)
    labels[:, 3:6][3:] = 0  # an upside-down U
    assert measure(labels, groups=SHAPE)["solidity"].tolist() == [63 / 81]


def test_pieces_of_one_label_are_one_object():
    labels = np.zeros((9, 11), np.uint8)
    labels[0, 0] = labels[8, 0] = labels[8, 10] = 3
    found = measure(labels, groups=SHAPE)
    # The slanted side of the hull goes from (-0.5, 0) to (7.5, 10): row y has the columns up to 1.25 y + 0.625.
    assert found["solidity"].tolist() == [3 / (1 + 2 + 4 + 5 + 6 + 7 + 9 + 10 + 11)]
    assert found["perimeter"].tolist() == [0]


def test_objects_at_the_border():
    labels = np.zeros((20, 30), np.int32)
    places = [(0, 10), (19, 10), (10, 0), (10, 29), (1, 1), (18, 28)]
    for number, place in enumerate(places, 1):
        labels[place] = number
    assert measure(labels, groups=SHAPE)["touches_border"].tolist() == [1, 1, 1, 1, 0, 0]


def test_the_first_and_last_plane_are_no_border():
    labels = np.zeros((4, 9, 9), np.int32)
    labels[:, 3:5, 3:5] = 1
    labels[1:3, 0:2, 6:8] = 2
    assert measure(labels, groups=SHAPE, axes="ZYX")["touches_border"].tolist() == [0, 1]


def test_an_ellipsoid():
    labels = ellipsoid((40, 60, 70), (20, 30, 35), (12, 18, 27))
    found = measure(labels, groups=SHAPE, axes="ZYX", pixel_size=PixelSize(0.5, 0.5, 2.0))
    assert found["axis_major_length"][0] == pytest.approx(54, rel=1e-2)
    assert found["axis_minor_length"][0] == pytest.approx(24, rel=1e-2)
    assert found["axis_major_length_um"][0] == pytest.approx(48, rel=1e-2)  # along Z
    assert found["axis_minor_length_um"][0] == pytest.approx(18, rel=1e-2)
    assert found["area_um3"][0] == labels.sum() * 0.5
    assert found["equivalent_diameter_area_um"][0] == pytest.approx(np.cbrt(6 / np.pi * found["area_um3"][0]))
    np.testing.assert_allclose([found[f"centroid-{n}_um"][0] for n in range(3)], [40, 15, 17.5])
    assert 0.93 < found["solidity"][0] <= 1
    assert not found.keys() & {"eccentricity", "orientation", "perimeter", "perimeter_um"}


def test_a_hull_in_three_dimensions():
    labels = np.zeros((8, 9, 10), np.uint8)
    labels[1:7, 1:8, 1:9] = 1
    labels[3:7, 3:6, 1:9] = 0  # a groove along X
    assert measure(labels, groups=SHAPE, axes="ZYX")["solidity"].tolist() == [1 - 4 * 3 * 8 / (6 * 7 * 8)]


def test_a_flat_object_of_a_volume_has_a_hull():
    labels = np.zeros((3, 9, 9), np.uint8)
    labels[1] = 1
    labels[1, 3:, 3:6] = 0
    labels[0, 0, 0] = 2
    assert measure(labels, groups=SHAPE, axes="ZYX")["solidity"].tolist() == [63 / 81, 1]


def test_without_the_distance_of_planes_a_volume_has_no_micrometres():
    labels = ellipsoid((12, 12, 12), (6, 6, 6), (4, 4, 4))
    found = measure(labels, groups=SHAPE, axes="ZYX", pixel_size=PixelSize(0.5, 0.5))
    assert list(found) == ["label", *(column.name for column in shape_columns("ZYX"))]


@pytest.mark.parametrize("size", [None, PixelSize(0.5, 0.5), PixelSize(0.5, 0.5, 2.0)])
def test_objects_of_planes_are_measured_in_their_planes(size):
    planes = [ellipse((50, 60), (20 + n, 30), (15, 6 + n), 0.3 * n) for n in range(3)]
    labels = np.stack([plane * np.uint16(number) for number, plane in enumerate(planes, 1)])
    found = measure(labels, groups=SHAPE, pixel_size=size, axes="ZYX", planes=True)
    alone = [measure(plane, groups=SHAPE, pixel_size=size) for plane in planes]
    assert found.pop("label").tolist() == [1, 2, 3]
    expected = {name: np.concatenate([entry[name] for entry in alone]) for name in alone[0] if name != "label"}
    if size is not None:
        y, x = expected.pop("centroid-0_um"), expected.pop("centroid-1_um")
        if size.z is not None:
            expected |= {"centroid-0_um": np.array([0.0, 2.0, 4.0]), "centroid-1_um": y, "centroid-2_um": x}
    assert found.keys() == expected.keys()
    for name, values in expected.items():
        np.testing.assert_allclose(found[name], values, rtol=1e-12, err_msg=name)


def test_objects_of_several_planes_are_not_measured_in_planes():
    labels = np.zeros((2, 5, 5), np.uint8)
    labels[0, 1, 1], labels[:, 3, 3] = 4, 9
    with pytest.raises(ValueError, match="the object 9 lies in several planes: measure it with planes=False"):
        measure(labels, groups=SHAPE, axes="ZYX", planes=True)


def test_only_the_hulls_of_volumes_need_scipy():
    program = (
        "import sys\n"
        "import numpy as np\n"
        "sys.modules['scipy'] = sys.modules['scipy.spatial'] = None\n"
        "import cellserve\n"
        "from cellserve_contract import extras\n"
        "from cellserve_measurements import measure\n"
        "extras.missing_packages = lambda extra: ['scipy'] if extra == 'measurements' else []\n"
        "print(measure(np.ones((5, 5), int), np.ones((5, 5)))['solidity'])\n"
        "try:\n"
        "    measure(np.ones((5, 5, 5), int), axes='ZYX', groups=['shape'])\n"
        "except extras.MissingExtraError as error:\n"
        "    print(error)\n"
    )
    output = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    assert output.splitlines() == [
        "[1.]",
        "The solidity of objects in volumes needs scipy, which is not installed. Install the part 'measurements' of "
        "CellServe:",
        "    pip install 'cellserve[measurements]'",
    ]
