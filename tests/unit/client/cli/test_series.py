"""Time series on the command line: one set of result files, one request for each time point."""

from __future__ import annotations

import csv
import json

import grpc
import imagecodecs
import numpy as np
import pytest
import tifffile
from cellserve_proto import v1 as pb
from scipy import ndimage

from tests.unit.client.scripted_server import Service, failure, pack, unpack

FRAMES = 5


class Stacks(Service):
    """Answers stacks, too: connected bright voxels are an object. Nothing of their table is true but its length."""

    def segmented(self, request):
        pixels = unpack(request.image.raw.pixels)
        if pixels.ndim < 3:
            return super().segmented(request)
        flat = pb.SegmentRequest()
        flat.CopyFrom(request)
        flat.image.raw.axes = "YX"
        flat.image.raw.pixels.CopyFrom(pack(pixels.max(axis=0)))
        answer = super().segmented(flat)
        answer.axes = "ZYX"
        answer.labels.CopyFrom(pack(ndimage.label(pixels > 1000)[0].astype(np.uint16)))
        return answer


@pytest.fixture
def service() -> Service:
    return Stacks()


@pytest.fixture
def movie(image) -> np.ndarray:
    """The disks of `image` come one after the other; time point 0 is empty."""
    frames = np.full((FRAMES, *image.shape), 100, np.uint16)
    disks, _ = ndimage.label(image > 1000)
    for number in range(FRAMES):
        frames[number][(disks > 0) & (disks <= number)] = 3000
    return frames


@pytest.fixture
def path(tmp_path, movie):
    """The movie as ImageJ writes it: 0.25 um, a time point each 30 s."""
    path = tmp_path / "movie.tif"
    facts = {"axes": "TYX", "unit": "um", "finterval": 30.0}
    tifffile.imwrite(path, movie, imagej=True, resolution=(4, 4), metadata=facts)
    return path


def test_results_hold_all_time_points(run, service, path, movie):
    result = run("segment", path)
    assert result.exit_code == 0, result.output
    assert len(service.requests) == FRAMES
    with tifffile.TiffFile(path.with_name("movie_cp_masks.tif")) as file:
        labels, facts = file.asarray(), file.imagej_metadata
        assert (file.series[0].axes, len(file.pages)) == ("TYX", FRAMES)
        assert file.pages[0].tags["XResolution"].value == (4, 1)
    np.testing.assert_array_equal(labels > 0, movie > 1000)
    wanted = {"frames": FRAMES, "hyperstack": True, "finterval": 30, "unit": "micron"}
    assert {name: facts[name] for name in wanted} == wanted
    rows = list(csv.DictReader(path.with_name("movie_objects.csv").open()))
    assert [(row["frame"], row["label"]) for row in rows] == [
        (str(frame), str(label)) for frame in range(FRAMES) for label in range(1, min(frame, 3) + 1)
    ]
    for row in rows:
        assert np.count_nonzero(labels[int(row["frame"])] == int(row["label"])) == int(row["area"])
        assert row["pixel_size_x_um"] == "0.25"
    picture = imagecodecs.png_decode(path.with_name("movie_overlay.png").read_bytes())
    assert picture.shape == (2 * (2 * 96 + 20), 4 * (2 * 128 + 20), 3)
    for part in (
        "objects   5 time points, 9 objects, median diameter",
        "image 5 x 96 x 128 px",
        "interval  30 s between time points",
        "diameter  30.1 px (mean of the objects that the model was trained on",
        "each time point on its own)",
        "warning   time point 0: ",
        "time      3.75 s on the server: the sum",
    ):
        assert part in result.stdout


def test_a_given_diameter_is_that_of_all(run, service, path):
    result = run("segment", path, "--diameter", 20)
    assert "diameter  20.0 px (as given)\n" in result.stdout
    assert {request.params.diameter for request in service.requests} == {20}


@pytest.mark.parametrize("ome", [False, True])
def test_stacks_over_time(run, service, tmp_path, movie, ome):
    pixels = np.stack([np.full_like(movie, 100), movie, movie, np.full_like(movie, 100)], axis=1)
    format_ = {"ome": True} if ome else {"imagej": True}
    facts = {"PhysicalSizeX": 1, "PhysicalSizeY": 1, "PhysicalSizeZ": 3, "TimeIncrement": 2, "TimeIncrementUnit": "min"}
    path = tmp_path / "stacks.tif"
    tifffile.imwrite(path, pixels, **format_, metadata={"axes": "TZYX", **(facts if ome else {})})
    refused = run("segment", path)
    assert refused.exit_code == 1
    assert all(choice in refused.stderr for choice in ("--volume", "--stitch", "--planes"))
    assert not service.requests
    result = run("segment", path, "--volume")
    assert result.exit_code == 0, result.output
    assert [request.image.raw.axes for request in service.requests] == ["ZYX"] * FRAMES
    with tifffile.TiffFile(tmp_path / "stacks_cp_masks.tif") as file:
        assert (file.series[0].axes, file.imagej_metadata["slices"]) == ("TZYX", 4)
        assert file.imagej_metadata.get("finterval") == (120 if ome else None)
        np.testing.assert_array_equal(file.asarray() > 0, pixels > 1000)
    header, *rows = (tmp_path / "stacks_objects.csv").read_text().splitlines()
    assert header.startswith("frame,label,bbox-0,bbox-1,bbox-2,bbox-3,bbox-4,bbox-5,centroid-0,")
    assert len(rows) == 9
    picture = imagecodecs.png_decode((tmp_path / "stacks_overlay.png").read_bytes())
    assert np.ptp(picture.astype(int), axis=-1).max() > 100, "outlines in the middle plane"


def test_series_and_images_in_one_run(run, service, path, files):
    result = run("segment", path, *files, "--json", "--concurrency", 3)
    assert result.exit_code == 0, result.output
    records = {record["file"]: record for record in map(json.loads, result.stdout.splitlines())}
    assert records.keys() == {str(name) for name in (path, *files)}
    record = records[str(path)]
    assert (record["objects"], record["frame_interval_s"], record["planes"]) == (9, 30, 1)
    assert record["files"]["masks"][0].endswith("movie_cp_masks.tif")
    assert [(frame["frame"], frame["objects"]) for frame in record["frames"]] == [
        (0, 0),
        (1, 1),
        (2, 2),
        (3, 3),
        (4, 3),
    ]
    assert record["frames"][0]["warnings"][0]["kind"] == "nothing_found"
    assert len({frame["request_id"] for frame in record["frames"]}) == FRAMES
    assert "frames" not in records[str(files[0])]
    assert service.most_running <= 3
    again = run("segment", path, *files, "--skip-existing")
    assert "0 segmented, 3 skipped, 0 failed" in again.stderr
    assert f"{path}: 5 time points, 9 objects, " in run("segment", path, files[0]).stdout


@pytest.mark.parametrize("concurrency", [1, 8])
def test_an_error_names_its_time_point_and_fails_the_file(run, service, path, files, concurrency):
    service.failures.append(failure(grpc.StatusCode.INVALID_ARGUMENT, "too many tiles", "IMAGE_TOO_LARGE"))
    result = run("segment", path, files[0], "--concurrency", concurrency)
    assert result.exit_code == 1
    (error,) = [line for line in result.stderr.splitlines() if line.startswith("error: ")]
    assert ": too many tiles [IMAGE_TOO_LARGE, request " in error
    assert error.startswith(f"error: {path}: time point {'0' if concurrency == 1 else ''}")
    assert result.stderr.splitlines()[-1] == "1 segmented, 0 skipped, 1 failed"
    assert not path.with_name("movie_cp_masks.tif").exists()
    if concurrency == 1:
        assert len(service.requests) == 2, "the other time points are not sent"
    assert run("segment", path, "--skip-existing").exit_code == 0
    assert path.with_name("movie_cp_masks.tif").exists()


def test_other_files_of_series_are_refused(run, service, path):
    result = run("segment", path, "--save", "masks,csv,overlay,probability,rois")
    assert result.exit_code == 1
    assert (
        f"{path}: the image is a time series, for which --save probability,rois writes no files: leave out "
        "probability, rois [FIELD_INVALID]" in result.stderr
    )
    assert not service.requests


def test_pages_without_names_can_be_time_points(run, tmp_path, movie):
    tifffile.imwrite(tmp_path / "pages.tif", movie, metadata=None)
    refused = run("segment", tmp_path / "pages.tif")
    assert "time points (--axes TYX)" in refused.stderr
    result = run("segment", tmp_path / "pages.tif", "--axes", "TYX")
    assert result.exit_code == 0, result.output
    assert "5 time points" in result.stdout


def test_limits_are_those_of_a_time_point(run, service, tmp_path, image):
    fits = np.broadcast_to(image, (40, *image.shape))
    tifffile.imwrite(tmp_path / "long.tif", fits, imagej=True, metadata={"axes": "TYX"})
    tifffile.imwrite(tmp_path / "wide.tif", np.zeros((2, 300, 400), "u1"), imagej=True, metadata={"axes": "TYX"})
    assert run("segment", tmp_path / "long.tif", "--save", "masks,csv").exit_code == 0
    assert len(service.requests) == 40
    result = run("segment", tmp_path / "wide.tif")
    assert "wide.tif: the image has 120,000 pixels; the limit is 100,000" in result.stderr


def test_the_diameter_of_a_series_is_refused_by_name(run, path):
    result = run("diameter", path)
    assert result.exit_code == 1
    assert "a time series" in result.stderr
    assert "`cellserve segment`" in result.stderr
