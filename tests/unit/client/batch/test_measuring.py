"""`cellserve batch --measure`: the columns of all tables, for a square of known size and brightness."""

from __future__ import annotations

import csv
import json
import math

import numpy as np
import pytest
import tifffile

from .conftest import counted, names, square

anndata = pytest.importorskip("anndata")
parquet = pytest.importorskip("pyarrow.parquet")

SIDE, Y, X = 12, 20, 30
SECOND = (np.add.outer(np.arange(60), np.arange(80)) // 2).astype(np.uint8)
"""The second channel rises to 68: the square of the first channel stays the brightest."""
INSIDE = SECOND[Y : Y + SIDE, X : X + SIDE]
MEASURED = {
    "axis_major_length": 4 * math.sqrt((SIDE**2 - 1) / 12),
    "axis_minor_length": 4 * math.sqrt((SIDE**2 - 1) / 12),
    "eccentricity": 0,
    "perimeter": 4 * (SIDE - 1),
    "solidity": 1,
    "touches_border": 0,
    "area_um2": SIDE**2 / 4,
    "perimeter_um": 4 * (SIDE - 1) / 2,
    "centroid-0_um": (Y + (SIDE - 1) / 2) / 2,
    "centroid-1_um": (X + (SIDE - 1) / 2) / 2,
    "intensity_mean-0": 200,
    "intensity_median-0": 200,
    "intensity_max-0": 200,
    "intensity_sum-0": 200 * SIDE**2,
    "intensity_mean-1": INSIDE.mean(),
    "intensity_median-1": np.median(INSIDE),
    "intensity_max-1": INSIDE.max(),
    "intensity_sum-1": INSIDE.sum(),
}


@pytest.fixture
def image(tmp_path):
    """Two channels, pixels of half a micrometre. The scripted server segments their mean."""
    path = tmp_path / "cells.ome.tif"
    facts = {"axes": "CYX", "PhysicalSizeX": 0.5, "PhysicalSizeY": 0.5}
    tifffile.imwrite(path, np.stack([square(y=Y, x=X, side=SIDE), SECOND]), ome=True, metadata=facts)
    return path


def table(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_all_tables_have_the_measurements(run, image, out):
    result = run(
        "batch", image, "--out", out, "--measure", "shape,intensity", "--save", "masks,csv,parquet,geojson,anndata"
    )
    assert result.exit_code == 0, result.stderr
    labels = tifffile.imread(out / "cells.ome_cp_masks.tif")
    np.testing.assert_array_equal(labels, square(y=Y, x=X, side=SIDE) > 100)

    (row,) = table(out / "cells.ome_objects.csv")
    assert {name: float(row[name]) for name in MEASURED} == pytest.approx(MEASURED)
    assert (float(row["area"]), row["bbox-0"], row["bbox-3"]) == (SIDE**2, str(Y), str(X + SIDE))
    (of_parquet,) = parquet.read_table(out / "cells.ome_objects.parquet").to_pylist()
    assert {name: of_parquet[name] for name in MEASURED} == pytest.approx(MEASURED)
    (feature,) = json.loads((out / "cells.ome_objects.geojson").read_text())["features"]
    shown = feature["properties"]["measurements"]
    assert {name: shown[name] for name in MEASURED} == pytest.approx(MEASURED)
    data = anndata.read_h5ad(out / "cells.ome_objects.h5ad")
    found = dict(zip(data.var_names, data.X[0].tolist(), strict=True))
    assert {name: found[name] for name in MEASURED} == pytest.approx(MEASURED)


def test_other_measurements_make_the_tables_again(run, image, out):
    run("batch", image, "--out", out)
    assert "perimeter" not in table(out / "cells.ome_objects.csv")[0]
    again = run("batch", image, "--out", out, "--measure", "shape")
    assert counted(again) == "1 segmented, 0 skipped, 0 failed"
    (row,) = table(out / "cells.ome_objects.csv")
    assert "perimeter" in row
    assert "intensity_mean-0" not in row
    assert counted(run("batch", image, "--out", out, "--measure", "shape")) == "0 segmented, 1 skipped, 0 failed"


def test_an_unknown_group_is_refused(run, service, image, out):
    result = run("batch", image, "--out", out, "--measure", "shape,texture")
    assert result.exit_code == 2
    assert "texture" in result.stderr
    assert service.requests == []
    assert not out.exists()


def test_an_image_without_objects_has_the_columns(run, tmp_path, out):
    tifffile.imwrite(tmp_path / "empty.tif", np.full((60, 80), 20, np.uint8))
    result = run("batch", tmp_path / "empty.tif", "--out", out, "--measure", "shape", "--save", "csv")
    assert result.exit_code == 0, result.stderr
    assert names(out) >= {"empty_objects.csv"}
    assert "perimeter" in (out / "empty_objects.csv").read_text().split("\n")[0]
