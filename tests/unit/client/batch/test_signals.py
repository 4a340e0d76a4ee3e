"""Signals to the command, in a process of its own beside a scripted server."""

from __future__ import annotations

import csv
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import tifffile

from tests.unit.client.scripted_server import Service

from .conftest import counted, names, square

IMAGES, AT_A_TIME = 6, 2
WAIT_S = 30


class Gated(Service):
    """Answers some requests; others wait until the gate is open."""

    def __init__(self) -> None:
        super().__init__()
        self.free = 0
        self.gate = threading.Event()

    def delay_of(self, request) -> float:
        if len(self.requests) > self.free:
            self.gate.wait(WAIT_S)
        return 0


@pytest.fixture
def service() -> Iterator[Gated]:
    service = Gated()
    yield service
    service.gate.set()


@pytest.fixture
def images(tmp_path) -> Path:
    folder = tmp_path / "images"
    folder.mkdir()
    for number in range(IMAGES):
        tifffile.imwrite(folder / f"{number}.tif", square(y=4 + 7 * number))
    return folder


@pytest.fixture
def command(images, out) -> list[object]:
    return ["batch", images, "--out", out, "--save", "masks", "--concurrency", AT_A_TIME]


@pytest.fixture
def started(command, address) -> Iterator[Callable[[], subprocess.Popen[str]]]:
    """Starts the command in a process of its own."""
    processes = []

    def start() -> subprocess.Popen[str]:
        program = [sys.executable, "-m", "cellserve", *map(str, command)]
        environment = os.environ | {"CELLSERVE_ADDRESS": address, "PYTHONPATH": os.pathsep.join(sys.path)}
        process = subprocess.Popen(program, env=environment, stderr=subprocess.PIPE, text=True)
        processes.append(process)
        return process

    yield start
    for process in processes:
        process.kill()
        process.communicate()


def told(process: subprocess.Popen[str], words: str) -> str:
    """Waits for a line of standard error."""
    assert process.stderr is not None
    return next(line for line in process.stderr if words in line)


def awaited(condition: Callable[[], object]) -> None:
    end = time.monotonic() + WAIT_S
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


def check_whole(out: Path) -> None:
    """All images have their results, and nothing else is there."""
    assert names(out) == {"images.csv", "report.html", *(f"{number}_cp_masks.tif" for number in range(IMAGES))}
    for number in range(IMAGES):
        labels = tifffile.imread(out / f"{number}_cp_masks.tif")
        np.testing.assert_array_equal(labels, square(y=4 + 7 * number) > 100)
    with (out / "images.csv").open(newline="") as file:
        assert [row["state"] for row in csv.DictReader(file)] == ["done"] * IMAGES
    assert {path.name for path in (out / ".cellserve").iterdir()} == {"journal.sqlite", "parts", "status.json"}
    assert not list((out / ".cellserve" / "parts").iterdir())
    assert not list(out.rglob("*.part"))


def test_sigterm_lets_the_images_in_work_end_and_nobody_else_runs_meanwhile(run, service, started, command, out):
    process = started()
    service.wait_received(AT_A_TIME)
    awaited(lambda: "running, 2 in work" in run("batch", "--status", out).stdout)
    assert "0 done, 0 failed, 6 left; running" in run("batch", "--status", out).stdout
    refused = run(*command)
    assert refused.exit_code == 1
    assert f"another batch runs in {out / '.cellserve'}: wait for its end, or stop it" in refused.stderr
    process.send_signal(signal.SIGTERM)
    told(process, "stopping: the images in work are finished first")
    service.gate.set()
    _, errors = process.communicate(timeout=WAIT_S)
    assert process.returncode == 128 + signal.SIGTERM
    assert "2 segmented, 0 skipped, 0 failed, 4 not done" in errors
    assert "The same command goes on." in errors
    assert len(service.requests) == AT_A_TIME
    assert run("batch", "--status", out).stdout == "2 done, 0 failed, 4 left; stopped: stopped by SIGTERM\n"
    assert names(out) == {"images.csv", "report.html", "0_cp_masks.tif", "1_cp_masks.tif"}
    again = run(*command)
    assert (again.exit_code, counted(again)) == (0, "4 segmented, 2 skipped, 0 failed")
    assert len(service.requests) == IMAGES
    check_whole(out)


def test_a_second_ctrl_c_ends_the_images_in_work(run, service, started, command, out):
    process = started()
    service.wait_received(AT_A_TIME)
    process.send_signal(signal.SIGINT)
    told(process, "stopping: ")
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=10)  # the gate is closed
    assert process.returncode == 128 + signal.SIGINT
    assert errors.splitlines()[-1] == "stopped: the images in work were given up. The same command goes on."
    assert service.cancelled.wait(WAIT_S), "the server is told"
    status = run("batch", "--status", out).stdout
    assert status.startswith("0 done, 0 failed, 6 left; stopped: ")
    service.gate.set()
    again = run(*command)
    assert (again.exit_code, counted(again)) == (0, "6 segmented, 0 skipped, 0 failed")
    check_whole(out)


def test_a_killed_run_leaves_nothing_behind(run, service, started, command, out):
    service.free = 3
    process = started()
    service.wait_received(3 + AT_A_TIME)
    process.kill()
    process.wait()
    for half in ("parts/0123456789abcdef", "parts/.0123456789abcdef.part", ".0123456789abcdef.part"):
        (out / ".cellserve" / half).write_bytes(b"half")  # a kill while a file is written
    status = run("batch", "--status", out).stdout
    assert status.endswith("; stopped: the run was killed\n")
    done, left = (int(part.split()[0]) for part in (status.split(", ")[0], status.split(", ")[2]))
    assert done <= 3
    assert done + left == IMAGES
    service.gate.set()
    again = run(*command)
    assert (again.exit_code, counted(again)) == (0, f"{left} segmented, {done} skipped, 0 failed")
    check_whole(out)
    assert run("batch", "--status", out).stdout == "6 done, 0 failed, 0 left; ended\n"
