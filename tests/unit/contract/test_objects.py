"""Columns of measurements."""

from __future__ import annotations

import pytest
from cellserve_contract.objects import columns, intensity_columns, measured_column, shape_columns

SPACINGS = [
    ("YX", (0.5, 0.5), False),
    ("YX", (0.5, 0.2), False),
    ("ZYX", (2, 0.5, 0.5), False),
    ("ZYX", (2, 1, 1), True),
]


def names(found):
    return [column.name for column in found]


@pytest.mark.parametrize(("axes", "spacing", "planes"), SPACINGS)
def test_names_are_distinct_and_lengths_come_in_both_units(axes, spacing, planes):
    found = shape_columns(axes, spacing, planes=planes)
    all_names = [*names(columns(axes)), *names(found), *names(intensity_columns(3))]
    assert len(all_names) == len(set(all_names))
    in_pixels = {column.name: column for column in (*columns(axes), *found) if column.unit == "pixels"}
    for column in found:
        name, _, power = column.name.partition("_um")
        if name != column.name:
            assert in_pixels[name].kind in ("int", "float")
            words = {"": "micrometres", "2": "square micrometres", "3": "cubic micrometres"}
            assert column.unit == words[power]


@pytest.mark.parametrize(("axes", "spacing", "planes"), SPACINGS)
def test_columns_are_found_by_their_names(axes, spacing, planes):
    for column in (*shape_columns(axes, spacing, planes=planes), *intensity_columns(11)):
        assert measured_column(column.name, axes, planes=planes) == column


@pytest.mark.parametrize("name", ["area", "label", "bbox-0", "intensity_mean", "intensity_min-0", "perimeter_um2", ""])
def test_other_names_are_not_found(name):
    assert measured_column(name) is None


def test_in_three_dimensions_there_is_no_perimeter():
    assert not {"perimeter", "orientation", "eccentricity"} & set(names(shape_columns("ZYX", (1, 1, 1))))
    assert {"perimeter", "orientation", "eccentricity"} < set(names(shape_columns("ZYX", (1, 1, 1), planes=True)))


def test_micrometres_need_the_spacing():
    for found in (shape_columns("YX"), shape_columns("ZYX", (None, 1, 1))):
        assert not [name for name in names(found) if "_um" in name]
    planes = names(shape_columns("ZYX", (None, 1, 1), planes=True))
    assert "area_um2" in planes
    assert "centroid-0_um" not in planes
    assert "perimeter_um" in names(shape_columns("YX", (0.325, 0.325 * (1 + 1e-9)))), "rounded in a file"
    assert "perimeter_um" not in names(shape_columns("YX", (0.325, 0.326)))
