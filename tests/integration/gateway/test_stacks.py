"""Stacks through every door, on real networks (tiny ones)."""

from __future__ import annotations

import io
import json
import zipfile

import cellserve
import httpx
import numpy as np
import pytest
import tifffile
from cellserve.cli import app
from typer.testing import CliRunner

from .conftest import Gateway

SHAPE = (24, 60, 70)
CENTRES = [(8, 16, 16), (8, 16, 50), (16, 44, 34)]
OPTIONS = {"diameter": 17, "min_size": 15, "anisotropy": 1}


def stack() -> np.ndarray:
    """Bright balls on a dark ground, uint16 [Z, Y, X]."""
    z, y, x = np.indices(SHAPE, dtype=float)
    ground = np.random.default_rng(0).normal(100, 3, SHAPE)
    for at_z, at_y, at_x in CENTRES:
        ground[(z - at_z) ** 2 + (y - at_y) ** 2 + (x - at_x) ** 2 < 7.5**2] += 900
    return ground.astype(np.uint16)


def imagej(pixels: np.ndarray) -> bytes:
    file = io.BytesIO()
    metadata = {"axes": "ZYX", "spacing": 1.0, "unit": "um"}
    tifffile.imwrite(file, pixels, imagej=True, resolution=(1, 1), metadata=metadata)
    return file.getvalue()


@pytest.fixture(scope="module")
def gateway(triton, start_gateway) -> Gateway:
    return start_gateway(triton.grpc, http_port=0, max_message_bytes=1_200_000, max_stack_voxels=200_000)


@pytest.fixture(scope="module")
def client(gateway):
    with cellserve.Client(gateway.address) as client:
        yield client


@pytest.mark.parametrize("mode", ["volume", "stitch", "planes"])
def test_all_doors_give_the_same_labels(gateway, client, mode):
    pixels = stack()
    plain = client.segment(pixels, axes="ZYX", stack_mode=mode, **OPTIONS)
    assert (plain.axes, plain.labels.shape) == ("ZYX", SHAPE)
    channels = np.stack([pixels, np.zeros_like(pixels)], axis=1).astype(np.float64)
    assert channels.nbytes > 1_200_000, "sent in chunks"
    for sent, axes, more in (
        (channels, "ZCYX", {"nucleus_channel": -1}),
        (pixels, "ZYX", {"compression": "zlib"}),
    ):
        again = client.segment(sent, axes=axes, stack_mode=mode, **OPTIONS, **more)
        np.testing.assert_array_equal(again.labels, plain.labels)
    query = {"stack_mode": mode, **OPTIONS}
    answer = httpx.post(
        f"http://{gateway.http}/v1/segment",
        params=query,
        content=imagej(pixels),
        headers={"Accept": "image/tiff"},
        timeout=60,
    )
    assert answer.status_code == 200, answer.text
    with tifffile.TiffFile(io.BytesIO(answer.content)) as file:
        assert file.series[0].axes == "ZYX"
        np.testing.assert_array_equal(file.asarray(), plain.labels)
    assert all(plain.labels[centre] for centre in CENTRES), "each ball is an object"
    if mode != "planes":
        assert len(plain.objects) == len(CENTRES)
        centres = sorted(tuple(map(round, entry.centroid)) for entry in plain.objects)
        np.testing.assert_allclose(centres, CENTRES, atol=1)


def test_a_zip_leaves_out_what_cannot_show_a_stack(gateway):
    query = {"stack_mode": "stitch", "outlines": "true", **OPTIONS}
    answer = httpx.post(
        f"http://{gateway.http}/v1/segment",
        params=query,
        content=imagej(stack()),
        headers={"Accept": "application/zip"},
        timeout=60,
    )
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        assert archive.namelist() == ["result.json", "labels.tif", "objects.csv"]
        result = json.loads(archive.read("result.json"))
        assert archive.read("objects.csv").startswith(b"label,bbox-0,bbox-1,bbox-2,bbox-3,bbox-4,bbox-5,centroid-0")
    assert sorted(map(int, result["objects"][0]["outlines"]))[0] == result["objects"][0]["bbox-0"]
    picture = httpx.post(
        f"http://{gateway.http}/v1/segment",
        params=query,
        content=imagej(stack()),
        headers={"Accept": "image/png"},
        timeout=60,
    )
    assert (picture.status_code, "image/tiff" in picture.text) == (406, True)


def test_a_stack_without_a_mode_is_refused(gateway, client):
    with pytest.raises(cellserve.InvalidRequestError) as error:
        client.segment(stack(), axes="ZYX")
    assert error.value.reason == "STACK_MODE_MISSING"
    answer = httpx.post(f"http://{gateway.http}/v1/segment", content=imagej(stack()), timeout=60)
    assert (answer.status_code, answer.json()["reason"]) == (400, "STACK_MODE_MISSING")


def test_limits_are_told_before_the_upload(client):
    pixels = np.zeros((50, 64, 64), np.uint16)
    with pytest.raises(cellserve.InvalidRequestError, match="204,800 voxels; the limit is 200,000"):
        client.segment(pixels, axes="ZYX", stack_mode="volume")
    assert client.limits().max_stack_voxels == 200_000


def test_the_command_line_writes_stacks(gateway, tmp_path):
    path = tmp_path / "balls.tif"
    path.write_bytes(imagej(stack()))
    arguments = ["segment", str(path), "--volume", "--diameter", "17", "--address", gateway.address]
    result = CliRunner().invoke(app, [*arguments, "--out", str(tmp_path / "out")])
    assert result.exit_code == 0, result.output
    assert "centre z" in result.stdout
    assert "24 x 60 x 70 px" in result.stdout
    with tifffile.TiffFile(tmp_path / "out" / "balls_cp_masks.tif") as file:
        assert (file.series[0].axes, file.imagej_metadata["spacing"]) == ("ZYX", 1.0)
        assert file.asarray().max() == len(CENTRES)
    assert (tmp_path / "out" / "balls_objects.csv").read_text().startswith("label,bbox-0,bbox-1,bbox-2,bbox-3")
    assert (tmp_path / "out" / "balls_overlay.png").stat().st_size > 10_000
    refused = CliRunner().invoke(app, ["segment", str(path), "--address", gateway.address])
    assert refused.exit_code == 1
    assert all(choice in refused.stderr for choice in ("--volume", "--stitch", "--planes"))


def test_each_time_point_of_a_series_is_segmented_as_a_stack(gateway, client, tmp_path):
    points = [stack()[:12], np.roll(stack()[4:16], 5, axis=2)]
    metadata = {"axes": "TZYX", "spacing": 1.0, "unit": "um", "finterval": 60.0}
    path = tmp_path / "movie.tif"
    tifffile.imwrite(path, np.stack(points), imagej=True, resolution=(1, 1), metadata=metadata)
    arguments = ["segment", str(path), "--stitch", "--diameter", "17", "--min-size", "15", "--address", gateway.address]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    alone = [client.segment(point, axes="ZYX", stack_mode="stitch", **OPTIONS).labels for point in points]
    assert all(labels.max() > 0 for labels in alone)
    with tifffile.TiffFile(tmp_path / "movie_cp_masks.tif") as file:
        assert (file.series[0].axes, file.imagej_metadata["finterval"]) == ("TZYX", 60.0)
        np.testing.assert_array_equal(file.asarray(), alone)
    series = client.segment_series(path, stack_mode="stitch", **OPTIONS)
    np.testing.assert_array_equal([one.labels for one in series], alone)
    answer = httpx.post(f"http://{gateway.http}/v1/segment", content=path.read_bytes(), timeout=60)
    assert (answer.status_code, answer.json()["reason"]) == (400, "AXES_UNKNOWN")
    assert "segment_series" in answer.json()["detail"]
