"""Positions and time points of Zarr stores: images, series of images, plates of both versions, whole and damaged."""

from __future__ import annotations

import json
import shutil
import sys

import numpy as np
import pytest
from cellserve_contract.extras import MissingExtraError
from cellserve_contract.warnings import WarningKind
from cellserve_formats import ImageError, Limits, PixelSize
from cellserve_formats.contents import open_images

zarr = pytest.importorskip("zarr")

RNG = np.random.default_rng(9)
LENGTHS = {"T": 3, "C": 2, "Z": 2, "Y": 12, "X": 18}
SIZES = {"T": 5.0, "C": 1.0, "Z": 2.0, "Y": 0.5, "X": 0.25}
UNITS = {"T": "minute", "Z": "micrometer", "Y": "micrometer", "X": "micrometer"}
VERSIONS = ["0.4", "0.5"]


def pixels_of(axes, dtype=np.uint16):
    return RNG.integers(0, 60000, [LENGTHS[letter] for letter in axes], np.uint16).astype(dtype)


def group_of(path, version, attributes):
    """A Zarr group with attributes of a version of OME-Zarr."""
    group = zarr.open_group(path, mode="a", zarr_format=2 if version == "0.4" else 3)
    group.attrs.update(attributes if version == "0.4" else {"ome": {"version": version, **attributes}})
    return group


def write_image(path, pixels, axes, version="0.4", names=None, name="cells"):
    described = {
        "version": version,
        "name": name,
        "axes": [
            {"name": letter.lower(), "type": "space", **({"unit": UNITS[letter]} if letter in UNITS else {})}
            for letter in axes
        ],
        "datasets": [
            {"path": "0", "coordinateTransformations": [{"type": "scale", "scale": [SIZES[a] for a in axes]}]}
        ],
    }
    attributes = {"multiscales": [described]}
    if names is not None:
        attributes["omero"] = {"channels": [{"label": label, "active": True} for label in names]}
    group = group_of(path, version, attributes)
    chunks = tuple(8 if letter in "YX" else 1 for letter in axes)
    group.create_array("0", data=pixels, chunks=chunks)
    return path


def write_plate(path, version, wells=("A/1", "B/12"), fields=2):
    """Returns the pixels of each field by its name."""
    group_of(path, version, {"plate": {"version": version, "wells": [{"path": well} for well in wells]}})
    found = {}
    for well in wells:
        images = [{"path": str(field), "acquisition": 0} for field in range(fields)]
        group_of(path / well, version, {"well": {"version": version, "images": images}})
        for field in range(fields):
            found[f"{well}/{field}"] = pixels_of("TCYX")
            write_image(path / well / str(field), found[f"{well}/{field}"], "TCYX", version, ["DAPI", "GFP"])
    return found


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("axes", ["YX", "CYX", "TYX", "TCZYX", "CTYX"])
def test_time_points_of_an_image(tmp_path, axes, version):
    pixels = pixels_of(axes)
    path = write_image(tmp_path / "image.zarr", pixels, axes, version, ["DAPI", " GFP\n"] if "C" in axes else None)
    with open_images(path) as file:
        (position,) = file.positions
        assert file.files == (path,)
        assert (position.number, position.name, position.folder) == (0, "cells", path)
        assert (position.axes, position.shape, position.dtype) == (axes, pixels.shape, pixels.dtype)
        assert position.channels == (("DAPI", "GFP") if "C" in axes else ())
        assert position.pixel_size == PixelSize(0.5, 0.25, 2.0 if "Z" in axes else None)
        assert position.frame_interval_s == (300.0 if "T" in axes else None)
        for number in range(position.time_points):
            found = file.read(position, number)
            assert (found.axes, found.name, found.warnings) == (axes.replace("T", ""), "image.zarr", ())
            assert (found.channels, found.pixel_size) == (position.channels, position.pixel_size)
            np.testing.assert_array_equal(
                found.pixels, np.take(pixels, number, axes.index("T")) if "T" in axes else pixels
            )


def test_axes_of_length_one_are_dropped_but_not_their_name(tmp_path):
    pixels = pixels_of("TCZYX")[:1, :1]
    with open_images(write_image(tmp_path / "a.zarr", pixels, "TCZYX", names=["DAPI"])) as file:
        (position,) = file.positions
        assert (position.axes, position.shape, position.channels) == ("ZYX", (2, 12, 18), ("DAPI",))
        np.testing.assert_array_equal(file.read(position).pixels, pixels[0, 0])


@pytest.mark.parametrize("names", [["only one"], ["a", "b", "c"], ["", None], [1, 2]])
def test_names_that_do_not_fit_the_channels_are_none(tmp_path, names):
    with open_images(write_image(tmp_path / "a.zarr", pixels_of("CYX"), "CYX", names=names)) as file:
        assert file.positions[0].channels == ()


def test_types_are_those_of_read_image(tmp_path):
    pixels = pixels_of("YX", np.int32) % 30_000
    pixels[0, 0] = -5
    with open_images(write_image(tmp_path / "a.zarr", pixels, "YX")) as file:
        assert file.positions[0].dtype == np.int32
        assert file.read(0).pixels.dtype == np.int16
        np.testing.assert_array_equal(file.read(0).pixels, pixels)


@pytest.mark.parametrize("version", VERSIONS)
def test_fields_of_a_plate(tmp_path, version):
    pixels = write_plate(tmp_path / "plate.zarr", version)
    with open_images(tmp_path / "plate.zarr") as file:
        assert [position.name for position in file.positions] == list(pixels) == ["A/1/0", "A/1/1", "B/12/0", "B/12/1"]
        assert [position.number for position in file.positions] == [0, 1, 2, 3]
        assert file.files == (tmp_path / "plate.zarr",)
        for position in reversed(file.positions):
            assert (position.folder, position.time_points) == (tmp_path / "plate.zarr" / position.name, 3)
            assert position.channels == ("DAPI", "GFP")
            for number in (2, 0):
                found = file.read(position, number)
                assert found.name == "plate.zarr"
                np.testing.assert_array_equal(found.pixels, pixels[position.name][number])
    with open_images(tmp_path / "plate.zarr" / "B/12") as file:
        assert [position.name for position in file.positions] == ["0", "1"]
        np.testing.assert_array_equal(file.read(1, 1).pixels, pixels["B/12/1"][1])


@pytest.mark.parametrize("version", VERSIONS)
def test_damaged_and_missing_fields_do_not_hinder_the_others(tmp_path, version):
    path = tmp_path / "plate.zarr"
    pixels = write_plate(path, version, ("A/1", "A/2", "A/3"), 3)
    shutil.rmtree(path / "A/1/0")
    meta = path / "A/1/1" / ("zarr.json" if version == "0.5" else ".zattrs")
    meta.write_text(meta.read_text()[:-30])
    shutil.rmtree(path / "A/1/2/0")
    shutil.rmtree(path / "A/2")
    chunk = path / "A/3/0/0" / ("c/0/0/0/0" if version == "0.5" else "0.0.0.0")
    chunk.write_bytes(chunk.read_bytes()[:20])
    with open_images(path) as file:
        names = [position.name for position in file.positions]
        assert names == ["A/1/0", "A/1/1", "A/1/2", "A/2", "A/3/0", "A/3/1", "A/3/2"]
        problems = ["is not there", "damaged", "array 0 is not there", "is not there"]
        for position, problem in zip(file.positions[:4], problems, strict=True):
            assert (position.axes, position.shape, position.time_points) == ("", (), 1)
            for _ in range(2):
                with pytest.raises(ImageError, match=problem) as caught:
                    file.read(position)
                assert caught.value.reason == "IMAGE_UNDECODABLE"
        with pytest.raises(ImageError, match="chunk"):
            file.read(4, 0)
        for number in (5, 6):
            np.testing.assert_array_equal(file.read(number, 1).pixels, pixels[names[number]][1])


def test_a_plate_cannot_name_folders_elsewhere(tmp_path):
    write_image(tmp_path / "secret.zarr", pixels_of("YX"), "YX")
    path = tmp_path / "plate.zarr"
    wells = ["../secret.zarr", str(tmp_path / "secret.zarr"), 7, ""]
    group_of(path, "0.4", {"plate": {"wells": [{"path": well} for well in wells] + [{"path": "A/1"}]}})
    group_of(path / "A/1", "0.4", {"well": {"images": [{"path": "../../../secret.zarr"}]}})
    with open_images(path) as file:
        assert len(file.positions) == 5
        for position in file.positions:
            with pytest.raises(ImageError, match="not in the store"):
                file.read(position)


@pytest.mark.parametrize("version", VERSIONS)
def test_images_of_a_series(tmp_path, version):
    path = tmp_path / "raw.zarr"
    group_of(path, version, {"bioformats2raw.layout": 3})
    pixels = [pixels_of(axes) for axes in ("CYX", "TYX")]
    for number, (axes, values) in enumerate(zip(("CYX", "TYX"), pixels, strict=True)):
        write_image(path / str(number), values, axes, version, name=f"scene {number}")
    with open_images(path) as file:
        assert [(position.name, position.axes) for position in file.positions] == [
            ("scene 0", "CYX"),
            ("scene 1", "TYX"),
        ]
        assert [position.folder for position in file.positions] == [path / "0", path / "1"]
        np.testing.assert_array_equal(file.read(1, 2).pixels, pixels[1][2])
        np.testing.assert_array_equal(file.read(0).pixels, pixels[0])


def test_several_images_of_one_group(tmp_path):
    path = write_image(tmp_path / "a.zarr", pixels_of("CYX"), "CYX")
    other = pixels_of("CYX")
    group = zarr.open_group(path, mode="a", zarr_format=2)
    group.create_array("other", data=other)
    (first,) = group.attrs["multiscales"]
    second = {**first, "name": "other", "datasets": [{**first["datasets"][0], "path": "other"}]}
    group.attrs["multiscales"] = [first, second]
    with open_images(path) as file:
        assert [position.name for position in file.positions] == ["cells", "other"]
        np.testing.assert_array_equal(file.read(1).pixels, other)


@pytest.mark.parametrize("zarr_format", [2, 3])
def test_a_plain_array(tmp_path, zarr_format):
    pixels = pixels_of("TYX")
    zarr.create_array(tmp_path / "a.zarr", data=pixels, zarr_format=zarr_format)
    with open_images(tmp_path / "a.zarr", axes="TYX") as file:
        assert (file.positions[0].time_points, file.positions[0].folder) == (3, None)
        np.testing.assert_array_equal(file.read(0, 1).pixels, pixels[1])
    with open_images(tmp_path / "a.zarr") as file, pytest.raises(ImageError) as caught:
        file.read(0)
    assert caught.value.reason == "AXES_UNKNOWN"


def test_missing_chunks_are_told(tmp_path):
    pixels = pixels_of("TYX")
    path = write_image(tmp_path / "a.zarr", pixels, "TYX")
    (path / "0" / "1.0.0").unlink()
    with open_images(path) as file:
        found = file.read(0, 1)
    assert found.warnings == ((WarningKind.TILES_MISSING, {"missing": "1", "tiles": "18"}),)
    assert not found.pixels[:8, :8].any()
    np.testing.assert_array_equal(found.pixels[8:], pixels[1, 8:])


def test_metadata_alone_describe_a_store(tmp_path, monkeypatch):
    write_plate(tmp_path / "plate.zarr", "0.5")
    for name in [module for module in sys.modules if module.split(".")[0] in ("zarr", "numcodecs")]:
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.delitem(sys.modules, "cellserve_formats.lazy.zarr_source", raising=False)
    with open_images(tmp_path / "plate.zarr") as file:
        assert [position.shape for position in file.positions] == [(3, 2, 12, 18)] * 4
        monkeypatch.setattr("cellserve_contract.extras.missing_packages", lambda extra: ["zarr"])
        with pytest.raises(MissingExtraError, match=r"cellserve\[large\]"):
            file.read(0)


def test_limits(tmp_path):
    path = tmp_path / "plate.zarr"
    pixels = write_plate(path, "0.4")
    size = pixels["A/1/0"][0].nbytes
    with open_images(path, limits=Limits(bytes=size)) as file:
        np.testing.assert_array_equal(file.read(0, 1).pixels, pixels["A/1/0"][1])
    refused = {}
    with open_images(path, limits=Limits(bytes=size - 1)) as file, pytest.raises(ImageError) as caught:
        file.read(0)
    refused["bytes"] = caught.value
    for name, value in {"pages": 3, "metadata_bytes": 40}.items():
        with pytest.raises(ImageError) as caught:
            open_images(path, limits=Limits(**{name: value}))
        refused[name] = caught.value
    for name, error in refused.items():
        assert (error.reason, error.metadata["resource"]) == ("IMAGE_TOO_LARGE", name)


def test_a_huge_array_takes_no_memory(tmp_path):
    path = write_image(tmp_path / "a.zarr", pixels_of("YX"), "YX")
    facts = json.loads((path / "0/.zarray").read_text())
    facts["shape"] = facts["chunks"] = [1 << 20, 1 << 20]
    (path / "0/.zarray").write_text(json.dumps(facts))
    with open_images(path) as file, pytest.raises(ImageError) as caught:
        file.read(0)
    assert caught.value.reason == "IMAGE_TOO_LARGE"


@pytest.mark.parametrize("attributes", [{}, {"plate": {}}, {"plate": {"wells": [1]}}, {"well": {"images": None}}])
def test_groups_without_images(tmp_path, attributes):
    group_of(tmp_path / "a.zarr", "0.4", attributes)
    with pytest.raises(ImageError) as caught:
        open_images(tmp_path / "a.zarr")
    assert caught.value.reason in ("IMAGE_UNKNOWN", "IMAGE_UNDECODABLE")
