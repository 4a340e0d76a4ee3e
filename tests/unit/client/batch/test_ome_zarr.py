"""Batches of OME-Zarr images: fields of plates, where their labels go, time points, damaged fields."""

from __future__ import annotations

import csv
import os
import shutil
import warnings
from functools import partial

import numpy as np
import pytest
import tifffile
import zarr
from cellserve.batch import work

from .conftest import counted, names, square
from .stores import PIXEL_UM, VERSIONS, attributes_of, write_image, write_plate

ngff_zarr = pytest.importorskip("ngff_zarr")
SUMMARIES = {"images.csv", "report.html"}


def table(out):
    with (out / "images.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def zarr_format(version):
    return 2 if version == "0.4" else 3


@pytest.mark.parametrize("version", VERSIONS)
def test_the_fields_of_a_plate_are_rows_and_their_labels_go_into_the_plate(run, service, tmp_path, out, version):
    path = tmp_path / "plate.ome.zarr"
    fields = write_plate(path, version)
    result = run("batch", path, "--out", out, "--save", "masks,zarr,csv")
    assert result.exit_code == 0, result.stderr
    assert counted(result) == "4 segmented, 0 skipped, 0 failed"
    assert [row["image"] for row in table(out)] == [f"plate.ome.zarr/{name}" for name in fields]
    assert names(out) - SUMMARIES == {
        f"plate/{name}{ending}" for name in fields for ending in ("_cp_masks.tif", "_objects.csv")
    }
    for name, pixels in fields.items():
        masks = tifffile.imread(out / "plate" / f"{name}_cp_masks.tif")
        np.testing.assert_array_equal(masks, pixels[0] > 100)
        assert attributes_of(path / name / "labels")["labels"] == ["cellserve"]
        labels = path / name / "labels" / "cellserve"
        said = attributes_of(labels)
        assert said["image-label"]["source"] == {"image": "../../"}
        (multiscales,) = said["multiscales"]
        assert [axis["name"] for axis in multiscales["axes"]] == ["y", "x"]
        first = multiscales["datasets"][0]
        assert first["coordinateTransformations"][0] == {"type": "scale", "scale": [PIXEL_UM] * 2}
        array = zarr.open_array(labels / first["path"], mode="r")
        assert array.metadata.zarr_format == zarr_format(version)
        np.testing.assert_array_equal(array[:], masks)
        assert "labels" not in attributes_of(path / name)
        read = partial(ngff_zarr.from_ngff_zarr, version=version, validate=True)  # another library
        np.testing.assert_array_equal(read(labels).images[0].data, masks)
        np.testing.assert_array_equal(read(path / name).images[0].data, pixels)
    well = ngff_zarr.from_hcs_zarr(path, validate=True).get_well("B", "2")
    np.testing.assert_array_equal(well.get_image(1).images[0].data, fields["B/2/1"])
    sent = len(service.requests)
    again = run("batch", path, "--out", out, "--save", "masks,zarr,csv")
    assert (again.exit_code, counted(again)) == (0, "0 segmented, 4 skipped, 0 failed")
    assert len(service.requests) == sent


@pytest.mark.parametrize("version", VERSIONS)
def test_labels_that_are_gone_are_made_again(run, tmp_path, out, version):
    path = tmp_path / "plate.ome.zarr"
    write_plate(path, version)
    run("batch", path, "--out", out, "--save", "masks,zarr")
    shutil.rmtree(path / "A" / "1" / "1" / "labels" / "cellserve")
    result = run("batch", path, "--out", out, "--save", "masks,zarr")
    assert (result.exit_code, counted(result)) == (0, "1 segmented, 3 skipped, 0 failed")
    assert (path / "A" / "1" / "1" / "labels" / "cellserve").is_dir()


@pytest.mark.parametrize("version", VERSIONS)
def test_collected_metadata_do_not_make_an_image_another_one(run, tmp_path, out, version):
    """Labels are added to the collected metadata of their image, if the image has any."""
    path = write_image(tmp_path / "cells.ome.zarr", square(), version, "yx")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the specification of format 3 does not have them
        zarr.consolidate_metadata(path, zarr_format=zarr_format(version))
    assert run("batch", path, "--out", out, "--save", "zarr").exit_code == 0
    assert "cellserve" in zarr.open_group(path, mode="r", use_consolidated=True)["labels"]
    again = run("batch", path, "--out", out, "--save", "zarr")
    assert counted(again) == "0 segmented, 1 skipped, 0 failed"


@pytest.mark.parametrize("version", VERSIONS)
def test_a_damaged_field_fails_alone(run, tmp_path, out, version):
    path = tmp_path / "plate.ome.zarr"
    write_plate(path, version)
    described = path / "A" / "1" / "0" / ("zarr.json" if version == "0.5" else ".zattrs")
    whole = described.read_bytes()
    described.write_bytes(whole[:-30])
    result = run("batch", path, "--out", out, "--save", "masks")
    assert (result.exit_code, counted(result)) == (1, "3 segmented, 0 skipped, 1 failed")
    assert [(row["image"], row["state"]) for row in table(out)] == [
        ("plate.ome.zarr/A/1/0", "failed"),
        ("plate.ome.zarr/A/1/1", "done"),
        ("plate.ome.zarr/B/2/0", "done"),
        ("plate.ome.zarr/B/2/1", "done"),
    ]
    assert table(out)[0]["reason"] == "IMAGE_UNDECODABLE"
    described.write_bytes(whole)
    again = run("batch", path, "--out", out, "--save", "masks")
    assert (again.exit_code, counted(again)) == (0, "1 segmented, 3 skipped, 0 failed")
    assert (out / "plate" / "A" / "1" / "0_cp_masks.tif").is_file()


@pytest.mark.parametrize("version", VERSIONS)
def test_time_points_have_stores_of_their_own(run, tmp_path, out, version):
    frames = np.stack([square(y=y) for y in (5, 20, 35)])
    path = write_image(tmp_path / "movie.ome.zarr", frames, version, "tyx")
    result = run("batch", path, "--out", out, "--save", "masks,zarr")
    assert result.exit_code == 0, result.stderr
    assert [row["image"] for row in table(out)] == [f"movie.ome.zarr[t{number}]" for number in range(3)]
    assert not (path / "labels").exists(), "labels of one time point are no labels of the image"
    for number, frame in enumerate(frames):
        labels = zarr.open_array(out / f"movie_t{number}_cp_masks.ome.zarr" / "0", mode="r")
        np.testing.assert_array_equal(labels[:], frame > 100)
        np.testing.assert_array_equal(tifffile.imread(out / f"movie_t{number}_cp_masks.tif"), frame > 100)
    again = run("batch", path, "--out", out, "--save", "masks,zarr")
    assert counted(again) == "0 segmented, 3 skipped, 0 failed"
    other = run("batch", path, "--out", out, "--save", "masks", "--diameter", 20)
    assert counted(other) == "3 segmented, 0 skipped, 0 failed"
    assert not list(out.glob("*.zarr")), "labels of other parameters"


@pytest.mark.parametrize("name", ["/", "a/b", "../../elsewhere", "/elsewhere"])
def test_the_name_that_an_image_gives_itself_names_no_files(run, tmp_path, out, name):
    """Some programs name every image "/". A name must not lead out of the folder of the results either."""
    path = write_image(tmp_path / "cells.ome.zarr", square(), "0.4", "yx", name=name)
    result = run("batch", path, "--out", out, "--save", "masks")
    assert result.exit_code == 0, result.stderr
    assert names(out) - SUMMARIES == {"cells_cp_masks.tif"}
    assert [row["image"] for row in table(out)] == ["cells.ome.zarr"]
    assert {entry.name for entry in tmp_path.iterdir()} == {"cells.ome.zarr", "results"}


def test_reading_a_field_opens_no_plate(run, tmp_path, out, monkeypatch):
    """A plate describes thousands of images."""
    opened, open_input = [], work.open_input

    def noted(path, axes):
        opened.append(path)
        return open_input(path, axes)

    monkeypatch.setattr(work, "open_input", noted)
    path = tmp_path / "plate.ome.zarr"
    fields = write_plate(path, "0.5")
    assert run("batch", path, "--out", out, "--save", "masks").exit_code == 0
    assert sorted(opened) == [path / name for name in fields]


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("what", ["pixels", "metadata"])
def test_a_changed_field_is_made_again(run, tmp_path, out, version, what):
    path = tmp_path / "plate.ome.zarr"
    write_plate(path, version)
    run("batch", path, "--out", out, "--save", "masks,zarr")
    field = path / "B" / "2" / "0"
    if what == "pixels":
        zarr.open_array(field / "0", mode="r+")[0] = square(y=40)
    else:
        described = field / ("zarr.json" if version == "0.5" else ".zattrs")
        before = described.stat()
        described.write_text(described.read_text().replace("micrometer", "millimeter"))
        os.utime(described, ns=(before.st_atime_ns, before.st_mtime_ns))
    result = run("batch", path, "--out", out, "--save", "masks,zarr")
    assert counted(result) == "1 segmented, 3 skipped, 0 failed"
    if what == "pixels":
        masks = tifffile.imread(out / "plate" / "B" / "2" / "0_cp_masks.tif")
        np.testing.assert_array_equal(masks, square(y=40) > 100)


def test_a_changed_array_is_made_again(run, tmp_path, out):
    """A Zarr store that is an array, without the metadata of OME-Zarr."""
    array = zarr.create_array(tmp_path / "cells.zarr", data=square())
    assert run("batch", tmp_path / "cells.zarr", "--out", out, "--axes", "YX", "--save", "masks").exit_code == 0
    again = run("batch", tmp_path / "cells.zarr", "--out", out, "--axes", "YX", "--save", "masks")
    assert counted(again) == "0 segmented, 1 skipped, 0 failed"
    array[:] = square(y=40)
    changed = run("batch", tmp_path / "cells.zarr", "--out", out, "--axes", "YX", "--save", "masks")
    assert counted(changed) == "1 segmented, 0 skipped, 0 failed"
    np.testing.assert_array_equal(tifffile.imread(out / "cells_cp_masks.tif"), square(y=40) > 100)


def test_labels_of_several_images_in_one_folder_do_not_meet(run, tmp_path, out):
    path = write_image(tmp_path / "cells.ome.zarr", square(), "0.4", "yx")
    group = zarr.open_group(path, mode="a", zarr_format=2)
    group.create_array("other", data=square(y=40))
    (first,) = group.attrs["multiscales"]
    group.attrs["multiscales"] = [first, first | {"datasets": [first["datasets"][0] | {"path": "other"}]}]
    result = run("batch", path, "--out", out, "--save", "zarr")
    assert (result.exit_code, counted(result)) == (0, "2 segmented, 0 skipped, 0 failed")
    assert not (path / "labels").exists()
    for number, y in enumerate((10, 40)):
        labels = zarr.open_array(out / f"cells_s{number}_cp_masks.ome.zarr" / "0", mode="r")
        np.testing.assert_array_equal(labels[:], square(y=y) > 100)
    assert counted(run("batch", path, "--out", out, "--save", "zarr")) == "0 segmented, 2 skipped, 0 failed"
