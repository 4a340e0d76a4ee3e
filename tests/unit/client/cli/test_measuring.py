"""`cellserve segment --measure`: columns and values of the table, for an image and for a time series."""

from __future__ import annotations

import csv

import numpy as np
import pytest
import tifffile
from cellserve import PixelSize
from cellserve_contract.objects import columns, intensity_columns, shape_columns
from cellserve_measurements import measure

SIZE_UM = (0.5, 0.5)
SHAPE = [column.name for column in shape_columns("YX", SIZE_UM)]
INTENSITY = [column.name for column in intensity_columns(1)]
BASE = [column.name for column in columns()]


def table(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def check_rows(rows, labels, pixels=None):
    """Compares rows with the measurements of a label image."""
    expected = measure(labels, pixels, ["shape"] if pixels is None else ["shape", "intensity"], PixelSize(*SIZE_UM))
    assert [int(row["label"]) for row in rows] == expected["label"].tolist()
    for name, values in expected.items():
        np.testing.assert_allclose([float(row[name]) for row in rows], values, rtol=1e-6, err_msg=name)


@pytest.fixture
def path(tmp_path, image):
    path = tmp_path / "cells.tif"
    tifffile.imwrite(path, image, imagej=True, resolution=(2, 2), metadata={"unit": "um"})
    return path


@pytest.fixture
def movie(tmp_path, image):
    """Three time points; the first is empty, the others differ in brightness."""
    path = tmp_path / "movie.tif"
    frames = np.stack([np.full_like(image, 100), image, image // 2])
    tifffile.imwrite(path, frames, imagej=True, resolution=(2, 2), metadata={"axes": "TYX", "unit": "um"})
    return path


@pytest.mark.parametrize("groups", [["shape"], ["shape", "intensity"], []])
def test_the_table_of_an_image_has_the_measurements(run, path, image, groups):
    more = ["--measure", ",".join(groups)] if groups else []
    result = run("segment", path, "--save", "masks,csv", *more)
    assert result.exit_code == 0, result.output
    rows = table(path.with_name("cells_objects.csv"))
    measured = [*(SHAPE if "shape" in groups else []), *(INTENSITY if "intensity" in groups else [])]
    assert [name for name in rows[0] if not name.startswith("pixel_size_")] == [*BASE, *measured]
    labels = tifffile.imread(path.with_name("cells_cp_masks.tif"))
    assert len(rows) == labels.max() == 3
    if groups:
        check_rows(rows, labels, image if "intensity" in groups else None)


@pytest.mark.parametrize("groups", ["shape", "shape,intensity"])
def test_the_table_of_a_time_series_has_the_measurements_of_each_time_point(run, movie, groups):
    result = run("segment", movie, "--save", "masks,csv", "--measure", groups)
    assert result.exit_code == 0, result.output
    rows = table(movie.with_name("movie_objects.csv"))
    labels, frames = tifffile.imread(movie.with_name("movie_cp_masks.tif")), tifffile.imread(movie)
    assert [row["frame"] for row in rows] == ["1"] * 3 + ["2"] * 3
    measured = [*SHAPE, *(INTENSITY if "intensity" in groups else [])]
    assert [name for name in rows[0] if not name.startswith("pixel_size_")] == ["frame", *BASE, *measured]
    for frame in (1, 2):
        found = [row for row in rows if row["frame"] == str(frame)]
        check_rows(found, labels[frame], frames[frame] if "intensity" in groups else None)


def test_an_unknown_group_is_refused_before_any_work(run, service, path):
    result = run("segment", path, "--measure", "shape,texture")
    assert result.exit_code == 2
    assert "texture" in result.stderr
    assert "intensity" in result.stderr, "what there is"
    assert service.requests == []
    assert not list(path.parent.glob("*_objects.csv"))
