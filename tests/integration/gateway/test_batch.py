"""`cellserve batch` beside real gateways and a real Triton with tiny networks: nothing lost, nothing twice.

A run that nothing disturbs is compared with single calls, and all other runs byte for byte with that run.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
import tifffile
from cellserve import Client, DeadlineError
from cellserve.batch.window import FIRST

from devtools import stack
from tests.clusters import dask_cluster

from .pods import Pod, send

IMAGES, DIAMETER, SIDE = 12, 30, 500
"""Each image takes nine tiles."""
DEADLINE_S = 1.8
"""Less than the slow Triton needs for all images: it takes 20 ms for a tile."""
WAIT_S = 60

Start = Callable[..., subprocess.Popen[str]]


def cells(number: int) -> np.ndarray:
    """Bright disks on dark ground, uint8, each image another."""
    numbers = np.random.default_rng(number)
    y, x = np.mgrid[:SIDE, :SIDE]
    pixels = numbers.integers(10, 30, (SIDE, SIDE))
    for centre_y in range(25, SIDE, 50):
        for centre_x in range(25, SIDE, 50):
            dy, dx = numbers.integers(-8, 9, 2)
            pixels[(y - centre_y - dy) ** 2 + (x - centre_x - dx) ** 2 <= numbers.integers(60, 200)] = 200
    return pixels.astype(np.uint8)


@pytest.fixture(scope="module")
def images(tmp_path_factory) -> Path:
    """TIFF and PNG files in two folders; names in different folders are equal."""
    folder = tmp_path_factory.mktemp("images")
    for number in range(IMAGES):
        place = folder / f"well {number % 2}"
        place.mkdir(exist_ok=True)
        if number % 3:
            tifffile.imwrite(place / f"{number // 2}.tif", cells(number))
        else:
            (place / f"{number // 2}.png").write_bytes(imagecodecs.png_encode(cells(number)))
    return folder


@pytest.fixture(scope="module")
def files(images) -> list[Path]:
    return sorted(path for path in images.rglob("*") if path.is_file())


@pytest.fixture(scope="module")
def start(images) -> Iterator[Start]:
    """Starts the command in a process of its own: `start(out, *addresses, options=())`."""
    started = []

    def call(out: Path, *addresses: str, options: tuple[str, ...] = ()) -> subprocess.Popen[str]:
        servers = [word for address in addresses for word in ("--address", address)]
        more = ["--diameter", DIAMETER, "--save", "masks,csv", "--json", *servers, *options]
        command = [sys.executable, "-m", "cellserve", "batch", images, "--out", out, *more]
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
        process = subprocess.Popen(
            [str(word) for word in command], env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        started.append(process)
        return process

    yield call
    for process in started:
        process.kill()
        process.communicate()


def results(out: Path) -> dict[str, bytes]:
    """The result files and the table of all images. The report has times."""
    paths = [*out.glob("well */*"), out / "images.csv"]
    return {str(path.relative_to(out)): path.read_bytes() for path in paths}


def check_end(process: subprocess.Popen[str], out: Path) -> None:
    """Waits for the end of the command: each image is done, and has one outcome."""
    said, errors = process.communicate(timeout=WAIT_S)
    assert process.returncode == 0, errors
    assert f"{IMAGES} segmented, 0 skipped, 0 failed" in errors
    outcomes = Counter(json.loads(line)["image"] for line in said.splitlines())
    assert (len(outcomes), set(outcomes.values())) == (IMAGES, {1})
    with contextlib.closing(sqlite3.connect(out / ".cellserve" / "journal.sqlite")) as journal:
        assert journal.execute("SELECT state, count(*) FROM rows GROUP BY state").fetchall() == [("done", IMAGES)]
    assert not list((out / ".cellserve" / "parts").iterdir())


def wait_done(out: Path, count: int) -> None:
    """Waits until so many images have their masks, but not all of them."""
    end = time.monotonic() + WAIT_S
    while (done := sum(1 for _ in out.rglob("*_cp_masks.tif"))) < count:
        assert time.monotonic() < end
        time.sleep(0.02)
    assert done < IMAGES


@pytest.fixture(scope="module")
def undisturbed(start, gateway, tmp_path_factory) -> Path:
    """Results of a run that nothing disturbs."""
    out = tmp_path_factory.mktemp("undisturbed")
    check_end(start(out, gateway.address), out)
    return out


@pytest.fixture
def out(tmp_path) -> Path:
    return tmp_path / "results"


def test_labels_are_those_of_single_calls(gateway, undisturbed, images, files):
    with Client(gateway.address) as client:
        for path in files:
            labels = client.segment(path, diameter=DIAMETER).labels
            found = tifffile.imread(undisturbed / path.relative_to(images).with_name(f"{path.stem}_cp_masks.tif"))
            assert labels.max() > 20
            assert found.dtype == labels.dtype
            np.testing.assert_array_equal(found, labels)
    assert len(results(undisturbed)) == 2 * IMAGES + 1


def test_a_gateway_dies_and_comes_back(
    start, slow_gateway, slow_triton, tiny_repository, tmp_path_factory, undisturbed, out
):
    def start_gateway(port: int) -> stack.Process:
        folder = tmp_path_factory.mktemp("gateway")
        return stack.start_gateway(folder, slow_triton.grpc, port=port, model_repository=tiny_repository)

    pod = Pod(start_gateway)
    with contextlib.ExitStack() as cleanup:
        cleanup.callback(pod.close)
        stack.wait_serving(pod.wait_ready())
        process = start(out, pod.address, slow_gateway.address)
        wait_done(out, 2)
        for pid in pod.pids("cellserve_gateway"):
            send(pid, signal.SIGKILL)
        check_end(process, out)
        stack.wait_serving(pod.address)
    assert pod.starts == 2
    assert results(out) == results(undisturbed)


def test_a_gateway_without_room(start, slow_triton, start_gateway, scrape, undisturbed, out):
    full = start_gateway(slow_triton.grpc, max_requests_in_flight=2)
    check_end(start(out, full.address), out)
    assert scrape(full)['cellserve_requests_total{code="RESOURCE_EXHAUSTED",method="Segment"}'] > 0
    full.process.stop()
    assert results(out) == results(undisturbed)


def test_no_deadline_passes_beside_a_slow_server(start, slow_triton, start_gateway, files, scrape, undisturbed, out):
    """All images at once wait too long for the server. The command sends again what was late, with fewer in work."""
    slow = start_gateway(slow_triton.grpc, max_deadline_s=DEADLINE_S)

    def late() -> float:
        codes = ("DEADLINE_EXCEEDED", "CANCELLED")
        return sum(scrape(slow).get(f'cellserve_requests_total{{code="{code}",method="Segment"}}', 0) for code in codes)

    with Client(slow.address) as client:
        answers = list(client.segment_many(files, diameter=DIAMETER, concurrency=IMAGES))
    assert any(isinstance(answer, DeadlineError) for _, answer in answers)
    before = late()
    check_end(start(out, slow.address), out)
    assert late() - before <= FIRST, "only the images of the beginning can be late: nothing is known of the server yet"
    slow.process.stop()
    assert results(out) == results(undisturbed)


def test_a_worker_of_a_cluster_dies(start, slow_gateway, tmp_path, undisturbed, out):
    with dask_cluster(tmp_path) as (scheduler, workers):
        process = start(out, slow_gateway.address, options=("--scheduler", scheduler))
        wait_done(out, 2)
        workers[0].kill()
        check_end(process, out)
    assert results(out) == results(undisturbed)
