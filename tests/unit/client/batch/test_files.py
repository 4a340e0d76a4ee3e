"""Batches of files with several images, images in several files, and channels by name."""

from __future__ import annotations

import csv
import os
from pathlib import Path

import numpy as np
import pytest
import tifffile

from tests.unit.client.cli.test_series import Stacks

from .conftest import counted, names, square

SUMMARIES = {"images.csv", "report.html"}
UUIDS = [f"urn:uuid:00000000-0000-0000-0000-00000000000{number}" for number in range(3)]
PARTS = [f"cells_C{number}.ome.tif" for number in range(3)]


def states(out: Path) -> dict[str, str]:
    with (out / "images.csv").open(newline="") as file:
        return {row["image"]: row["state"] for row in csv.DictReader(file)}


def write_part(folder: Path, number: int, pixels: np.ndarray) -> Path:
    """Writes one file of an OME-TIFF image of three channels, each in a file of its own."""
    data = "".join(
        f'<TiffData IFD="0" PlaneCount="1" FirstC="{part}">'
        f'<UUID FileName="{PARTS[part]}">{UUIDS[part]}</UUID></TiffData>'
        for part in range(3)
    )
    height, width = pixels.shape
    text = (
        '<?xml version="1.0" encoding="UTF-8"?>'
        f'<OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06" UUID="{UUIDS[number]}">'
        f'<Image ID="Image:0"><Pixels ID="Pixels:0" DimensionOrder="XYCZT" Type="uint8" SizeX="{width}" '
        f'SizeY="{height}" SizeC="3" SizeZ="1" SizeT="1">{data}</Pixels></Image></OME>'
    )
    path = folder / PARTS[number]
    tifffile.imwrite(path, pixels, description=text.encode(), metadata=None)
    return path


@pytest.fixture
def images(tmp_path) -> Path:
    """A set of three files, and another image before and behind them by name."""
    folder = tmp_path / "images"
    folder.mkdir()
    for number in range(3):
        write_part(folder, number, square() if number == 0 else np.full((60, 80), 20, np.uint8))
    for name in ("a.tif", "z.tif"):
        tifffile.imwrite(folder / name, square(y=30))
    return folder


def test_an_image_in_several_files_is_segmented_once(run, service, images, out):
    result = run("batch", images, "--out", out, "--save", "masks")
    assert result.exit_code == 0, result.stderr
    assert counted(result) == "3 segmented, 0 skipped, 0 failed"
    assert states(out) == dict.fromkeys(["a.tif", PARTS[0], "z.tif"], "done")
    np.testing.assert_array_equal(tifffile.imread(out / "cells_C0.ome_cp_masks.tif"), square() > 100)
    again = run("batch", images, "--out", out, "--save", "masks")
    assert counted(again) == "0 segmented, 3 skipped, 0 failed"
    write_part(images, 1, square(y=40))  # not the first file
    os.utime(images / PARTS[1], ns=(1, 1))
    changed = run("batch", images, "--out", out, "--save", "masks")
    assert counted(changed) == "1 segmented, 2 skipped, 0 failed"
    labels = tifffile.imread(out / "cells_C0.ome_cp_masks.tif")
    np.testing.assert_array_equal(labels > 0, (square() > 100) | (square(y=40) > 100))
    assert len(service.requests) == 4


@pytest.mark.parametrize("first_left_out", [False, True])
@pytest.mark.parametrize("count", [1, 3, 7])
def test_of_all_shards_one_segments_an_image_in_several_files(run, service, images, out, count, first_left_out):
    more = ["--exclude", PARTS[0]] if first_left_out else []
    done = skipped = 0
    for _ in range(2):
        for index in range(count):
            result = run("batch", images, "--out", out, "--save", "masks", "--shard", f"{index}/{count}", *more)
            assert result.exit_code == 0, result.stderr
            done += int(counted(result).split()[0])
            skipped += int(counted(result).split()[2])
    assert (done, skipped, len(service.requests)) == (3, 3, 3)
    first = f"cells_C{int(first_left_out)}.ome_cp_masks.tif"
    masks = {name for name in names(out) if name.endswith(".tif")}
    assert masks == {"a_cp_masks.tif", first, "z_cp_masks.tif"}


def test_a_set_with_a_missing_file_fails_alone(run, images, out):
    (images / PARTS[2]).unlink()
    result = run("batch", images, "--out", out, "--save", "masks")
    assert result.exit_code == 1
    assert f"{PARTS[2]} is missing; put it into the same folder" in result.stderr
    assert {name: state for name, state in states(out).items() if state == "done"} == {"a.tif": "done", "z.tif": "done"}
    write_part(images, 2, square(y=40))
    again = run("batch", images, "--out", out, "--save", "masks")
    assert (again.exit_code, counted(again)) == (0, "1 segmented, 2 skipped, 0 failed")


def test_scenes_and_time_points_of_a_microscopes_file(run, tmp_path, out):
    czi = pytest.importorskip("pylibCZIrw.czi")
    pytest.importorskip("bioio_czi")
    path = tmp_path / "cells.czi"
    pixels = {place: square(y=4 + 8 * number) for number, place in enumerate(np.ndindex(2, 3))}
    with czi.create_czi(str(path)) as writer:
        for (scene, point), plane in pixels.items():
            writer.write(
                plane[..., np.newaxis], plane={"T": point, "C": 0, "Z": 0}, scene=scene, location=(200 * scene, 0)
            )
        writer.write_metadata("cells", scale_x=0.25e-6, scale_y=0.25e-6)
    with czi.edit_czi(str(path)) as editor, editor.edit_session() as metadata:
        # A name cannot lead out of the folder of the results.
        scenes = '<Dimensions><S><Scenes><Scene Index="0" Name="P1"/><Scene Index="1" Name="../../P2"/></Scenes></S>'
        metadata.set_xml(metadata.get_xml().replace("<Dimensions>", scenes, 1))
    result = run("batch", path, "--out", out, "--save", "masks")
    assert result.exit_code == 0, result.stderr
    assert set(states(out)) == {f"cells.czi[{scene}][t{point}]" for scene in ("P1", "../../P2") for point in range(3)}
    assert names(out) - SUMMARIES == {f"cells_s{scene}_t{point}_cp_masks.tif" for scene, point in pixels}
    for (scene, point), plane in pixels.items():
        labels = tifffile.imread(out / f"cells_s{scene}_t{point}_cp_masks.tif")
        np.testing.assert_array_equal(labels, plane > 100)
    again = run("batch", path, "--out", out, "--save", "masks")
    assert counted(again) == "0 segmented, 6 skipped, 0 failed"


def test_channels_by_name(run, service, tmp_path, out):
    """Files have the channels in different orders; a file without the name fails alone."""
    folder = tmp_path / "images"
    folder.mkdir()
    orders = {"first.ome.tif": ["DAPI", "GFP"], "second.ome.tif": ["GFP", "DAPI"], "third.ome.tif": ["GFP", "mCherry"]}
    for name, channels in orders.items():
        planes = np.stack([square(), square(y=30)])
        tifffile.imwrite(folder / name, planes, ome=True, metadata={"axes": "CYX", "Channel": {"Name": channels}})
    result = run(
        "batch", folder, "--out", out, "--save", "masks", "--cytoplasm-channel", "GFP", "--nucleus-channel", "DAPI"
    )
    assert (result.exit_code, counted(result)) == (1, "2 segmented, 0 skipped, 1 failed")
    assert "no channel of the file has the name 'DAPI'" in result.stderr
    assert "0 'GFP', 1 'mCherry'" in result.stderr
    assert states(out) == {"first.ome.tif": "done", "second.ome.tif": "done", "third.ome.tif": "failed"}
    sent = [(request.params.cytoplasm_channel, request.params.nucleus_channel) for request in service.requests]
    assert sorted(sent) == [(0, 1), (1, 0)]
    again = run(
        "batch", folder, "--out", out, "--save", "masks", "--cytoplasm-channel", "GFP", "--nucleus-channel", "DAPI"
    )
    assert counted(again) == "0 segmented, 2 skipped, 1 failed"
    swapped = run(
        "batch", folder, "--out", out, "--save", "masks", "--cytoplasm-channel", "DAPI", "--nucleus-channel", "GFP"
    )
    assert counted(swapped) == "2 segmented, 0 skipped, 1 failed"


@pytest.fixture
def stack(tmp_path) -> np.ndarray:
    """A cube in four planes, and a file of it beside one plane."""
    folder = tmp_path / "images"
    folder.mkdir()
    pixels = np.stack([np.full((60, 80), 20, np.uint8), square(), square(), np.full((60, 80), 20, np.uint8)])
    pixels[pixels > 100] = 255
    tifffile.imwrite(folder / "stack.tif", pixels.astype(np.uint16) * 10, imagej=True, metadata={"axes": "ZYX"})
    tifffile.imwrite(folder / "plane.tif", square())
    return pixels


def test_stacks(run, serve, stack, tmp_path, out):
    options = {"env": {"CELLSERVE_ADDRESS": serve(Stacks())}}
    result = run("batch", tmp_path / "images", "--out", out, "--save", "masks", "--volume", **options)
    assert (result.exit_code, counted(result)) == (0, "2 segmented, 0 skipped, 0 failed")
    np.testing.assert_array_equal(tifffile.imread(out / "stack_cp_masks.tif"), stack > 100)


def test_files_that_no_stack_has_are_refused_before_any_work(run, serve, stack, tmp_path, out):
    service = Stacks()
    options = {"env": {"CELLSERVE_ADDRESS": serve(service)}}
    result = run("batch", tmp_path / "images", "--out", out, "--save", "masks,rois", "--volume", **options)
    assert (result.exit_code, counted(result)) == (1, "1 segmented, 0 skipped, 1 failed")
    assert "the image is a stack, for which --save rois writes no files: leave out rois [FIELD_INVALID" in result.stderr
    assert len(service.requests) == 1
