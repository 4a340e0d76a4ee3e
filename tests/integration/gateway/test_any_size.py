"""Images of any size through real gateways: the result of one request, whatever the blocks, kills and workers."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import zarr
from cellserve import Client
from cellserve.cli import app
from cellserve_formats import PixelSize
from cellserve_formats.ome_zarr import OmeZarrWriter
from cellserve_large import segment_image
from typer.testing import CliRunner

from tests.clusters import dask_cluster
from tests.unit.postprocess.shapes import disks

DIAMETER = 24.0
DEAD = "127.0.0.1:9"


def drawn(shape, seed=0):
    """Bright discs that touch here and there, uint8."""
    rng = np.random.default_rng(seed)
    centres = [rng.normal((y, x), 4) for y in range(16, shape[0], 30) for x in range(16, shape[1], 30)]
    bright = np.where(disks(shape, centres, 12) > 0, 190, 30)
    return (bright + rng.normal(0, 4, shape)).clip(0, 255).astype(np.uint8)


def stack():
    """Bright balls, uint8 [Z, Y, X], planes twice as far apart as pixels."""
    shape, rng = (14, 110, 130), np.random.default_rng(5)
    z, y, x = np.indices(shape)
    pixels = rng.normal(30, 4, shape)
    for centre in np.argwhere(np.ones((1, 4, 4))) * (0, 28, 32) + (7, 14, 16) + rng.normal(0, 2, (16, 3)):
        pixels[((z - centre[0]) * 2) ** 2 + (y - centre[1]) ** 2 + (x - centre[2]) ** 2 < 11**2] = 190
    return pixels.clip(0, 255).astype(np.uint8)


def stored(folder, pixels, name="image.ome.zarr", pixel_size=None):
    """Writes an image as OME-Zarr, and returns its path."""
    axes, path = "ZYX"[-pixels.ndim :], folder / name
    writer = OmeZarrWriter(path, axes, pixels.shape, pixels.dtype, chunks=pixels.shape, pixel_size=pixel_size)
    writer.write([slice(0, length) for length in pixels.shape], pixels)
    writer.finish()
    return path


def labels_of(folder):
    return zarr.open_array(folder / "0", mode="r")[:]


def command(*arguments):
    result = CliRunner(env={"COLUMNS": "100"}).invoke(app, [str(argument) for argument in arguments])
    assert result.exit_code == 0, result.output
    return result


@pytest.fixture(scope="module")
def pixels():
    return drawn((1300, 1500))


@pytest.fixture(scope="module")
def expected(gateway, pixels):
    with Client(gateway.address) as client:
        return client.segment(pixels, diameter=DIAMETER)


def test_blocks_of_any_side_give_the_labels_of_one_request(gateway, pixels, expected, tmp_path):
    path = stored(tmp_path, pixels)
    inside = command("segment", path, "--diameter", DIAMETER, "-a", gateway.address, "-a", DEAD)
    options = ["--block-size", 400, "--out", tmp_path / "out", "--json", "--save", "masks,overlay"]
    beside = command("segment", path, "--diameter", DIAMETER, "-a", gateway.address, *options)
    record = json.loads(beside.stdout)
    for labels in (path / "labels" / "cellserve", tmp_path / "out" / "image_cp_masks.ome.zarr"):
        np.testing.assert_array_equal(labels_of(labels), expected.labels)
    assert f"objects   {len(expected.objects)} objects" in inside.stdout
    assert record["objects"] == len(expected.objects) > 1000
    assert record["params"]["min_size"] == expected.params.min_size
    assert list(record["files"]) == ["masks", "parquet", "overlay"]
    assert record["model"]["sha256"] == expected.model.sha256
    import pandas as pd

    found = pd.read_parquet(tmp_path / "out" / "image_objects.parquet")
    np.testing.assert_array_equal(found["flow_error"], expected.table["flow_error"])
    np.testing.assert_allclose(found["mean_probability"], expected.table["mean_probability"], atol=1e-6)
    assert sorted(entry.name for entry in tmp_path.iterdir()) == [
        *("image.ome.zarr", "image_objects.csv", "image_objects.parquet", "image_overlay.png", "out")
    ]


@pytest.mark.parametrize("mode", ["volume", "stitch"])
def test_a_stack_gives_the_labels_of_one_request(gateway, tmp_path, mode):
    size = PixelSize(0.5, 0.5, 1)
    path = stored(tmp_path, stack(), pixel_size=size)
    options = ["--block-size", 48] if mode == "volume" else []
    command("segment", path, f"--{mode}", "--diameter", DIAMETER, "-a", gateway.address, *options)
    with Client(gateway.address) as client:
        expected = client.segment_volume(stack(), stack_mode=mode, diameter=DIAMETER, anisotropy=2)
    assert len(expected.objects) > 5
    np.testing.assert_array_equal(labels_of(path / "labels" / "cellserve"), expected.labels)


def test_an_estimate_of_the_diameter_is_told_and_kept(gateway, tmp_path):
    path = stored(tmp_path, drawn((150, 160)))
    result = command("segment", path, "-a", gateway.address, "--json")
    record = json.loads(result.stdout)
    assert record["diameter_source"] == "size_model"
    assert f"the diameter is {record['params']['diameter']:.1f} px, the median of the estimates from 1 of 1" in (
        result.stderr
    )


def test_an_array_of_dask_is_an_image(gateway, pixels, expected, tmp_path):
    import dask.array as da

    part = da.from_array(pixels, chunks=(500, 400))
    told = []
    result = segment_image(
        part,
        tmp_path / "part",
        diameter=DIAMETER,
        address=gateway.address,
        overlay=False,
        progress=lambda *what: told.append(what),
    )
    np.testing.assert_array_equal(labels_of(result.labels), expected.labels)
    assert told[-1][0] == "write"
    assert result.overlay is None
    assert not (tmp_path / ".part.cellserve").exists()


def test_a_run_that_is_killed_twice_goes_on(gateway, pixels, expected, tmp_path):
    path = stored(tmp_path, pixels)
    folder = tmp_path / ".image.cellserve"
    arguments = ["segment", path, "--diameter", DIAMETER, "--block-size", 256, "-a", gateway.address, "--save", "csv"]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    program = [sys.executable, "-m", "cellserve", *map(str, arguments)]
    for stage, count in (("sums-0", 1), ("sinks", 3)):
        run = subprocess.Popen(program, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        end = time.monotonic() + 60
        while len(list((folder / stage).glob("[0-9]*"))) < count and run.poll() is None:
            assert time.monotonic() < end
            time.sleep(0.002)
        assert run.poll() is None, "killed in the middle"
        os.kill(run.pid, signal.SIGKILL)
        run.wait()
        assert not (path / "labels").exists()
    done = {file: file.stat().st_mtime_ns for file in folder.rglob("[0-9]*")}
    assert done
    subprocess.run(program, env=environment, check=True, capture_output=True, timeout=120)
    np.testing.assert_array_equal(labels_of(path / "labels" / "cellserve"), expected.labels)
    assert not folder.exists()


def test_a_cluster_of_which_workers_are_killed(gateway, pixels, expected, tmp_path):
    """A real scheduler with three workers, which reach the gateway. One is left in the end."""
    path = stored(tmp_path, pixels)
    killed = {}
    with dask_cluster(tmp_path, workers=3) as (scheduler, processes):

        def kill(stage, done, of):
            if stage in ("networks", "follow") and done == 1 and stage not in killed:
                processes[len(killed)].kill()
                killed[stage] = of

        result = segment_image(
            path, diameter=DIAMETER, address=gateway.address, scheduler=scheduler, block_size=200, progress=kill
        )
    assert list(killed) == ["networks", "follow"]
    assert min(killed.values()) > 3, "blocks were left for the other workers"
    np.testing.assert_array_equal(labels_of(result.labels), expected.labels)
