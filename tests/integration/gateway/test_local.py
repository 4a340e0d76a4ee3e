"""`cellserve-gateway --local`: a gateway and its own Triton, which begin and end together."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from cellserve import Client

from devtools import stack
from tests.processes import below


@dataclass(frozen=True)
class Pair:
    """A gateway with a Triton beside it: its address, and the processes below it when Triton was ready."""

    address: str
    process: stack.Process
    below: list[int]

    def wait_ended(self) -> bool:
        """Waits until no process of the pair is left. Returns whether that came true."""
        end = time.monotonic() + 20
        while any(_is_alive(pid) for pid in (self.process.pid, *self.below)):
            if time.monotonic() > end:
                return False
            time.sleep(0.05)
        return True


def _is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.fixture
def start_local(tiny_repository, tmp_path) -> Iterator[Callable[[], Pair]]:
    started: list[stack.Process] = []

    def start() -> Pair:
        started.append(stack.start_local(tmp_path, model_repository=tiny_repository))
        return Pair(started[-1].wait_ready()["grpc"], started[-1], below(started[-1].pid))

    yield start
    for process in started:
        process.stop()


def test_it_segments_and_stops_cleanly(start_local, image):
    pair = start_local()
    stack.wait_serving(pair.address)
    with Client(pair.address) as client:
        assert client.segment(image("nuclei_fluorescence"), diameter=30).labels.max() > 10
    os.kill(pair.process.pid, signal.SIGINT)
    assert pair.wait_ended()
    assert pair.process.stop() == 0
    assert '"event": "draining"' in pair.process.log.read_text()


def test_the_end_of_triton_ends_the_gateway(start_local):
    pair = start_local()
    (launcher,) = (pid for pid in pair.below if b"serve.py" in Path(f"/proc/{pid}/cmdline").read_bytes())
    os.kill(launcher, signal.SIGKILL)
    assert pair.wait_ended()
    assert pair.process.stop() == 1
    assert "cellserve-gateway: Triton ended with status -9" in pair.process.log.read_text()


def test_triton_does_not_outlive_a_killed_gateway(start_local):
    pair = start_local()
    os.kill(pair.process.pid, signal.SIGKILL)
    assert len(pair.below) >= 3  # the launcher, Triton, its models
    assert pair.wait_ended()
