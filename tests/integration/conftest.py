"""The real Tritons that the integration tests share.

Three servers, each started when a test first asks for it:

- `triton` runs the tiny networks (`tiny.py`). Most tests use it.
- `slow_triton` runs the tiny networks at a speed that does not depend on the machine. Tests of what happens while tiles
  are under way use it.
- `generalist_triton` runs the trained networks. Only tests of accuracy and of the model files use it.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest

from devtools import stack

from . import tiny


@dataclass(frozen=True)
class Triton:
    """A running server: its addresses ("host:port"), its model repository, its process, and how to stop it.

    `process` and `stop` are those of the launcher, `deploy/triton/serve.py`.
    """

    http: str
    grpc: str
    metrics: str
    repository: Path
    process: stack.Process

    @property
    def server_pid(self) -> int:
        """Process id of the server, which the launcher starts."""
        return int(Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text())

    def stop(self) -> int:
        """Stops the server and returns the launcher's exit status."""
        return self.process.stop()


@pytest.fixture(scope="session")
def tiny_repository(tmp_path_factory) -> Path:
    """The model repository of the tiny networks."""
    return tiny.write_repository(tmp_path_factory.mktemp("repository") / "models")


@pytest.fixture(scope="session")
def start_triton(tiny_repository, tmp_path_factory) -> Iterator[Callable[..., Triton]]:
    """Starts further Tritons, of the tiny networks unless told otherwise; all are stopped at the end."""
    started: list[stack.Process] = []

    def start(*options: str, repository: Path = tiny_repository, **environment: str) -> Triton:
        directory = tmp_path_factory.mktemp("triton")
        process = stack.start_triton(directory, *options, repository=repository, environment=environment)
        started.append(process)
        at = process.wait_ready()
        return Triton(at["http"], at["grpc"], at["metrics"], repository, process)

    yield start
    with ThreadPoolExecutor(len(started) or 1) as pool:  # all at once: each takes its time
        list(pool.map(stack.Process.stop, started))


@pytest.fixture(scope="session")
def start_slow_triton(start_triton, tiny_repository, request, tmp_path_factory) -> Callable[..., Triton]:
    """Starts Tritons whose batches take a stated time, sleeping; all are stopped at the end."""
    backends = tmp_path_factory.mktemp("backends")
    backend = backends / "onnxruntime"
    backend.mkdir()
    root = request.config.rootpath
    shutil.copy(root / "deploy" / "triton" / "backends" / "onnxruntime" / "model.py", backend / "openvino_backend.py")
    shutil.copy(root / "tests" / "integration" / "slow" / "model.py", backend)

    def start(*options: str, batch_s: float = 0, tile_s: float, repository: Path = tiny_repository) -> Triton:
        speed = {"CELLSERVE_TEST_BATCH_S": str(batch_s), "CELLSERVE_TEST_TILE_S": str(tile_s)}
        return start_triton("--backends", str(backends), *options, repository=repository, **speed)

    return start


@pytest.fixture(scope="session")
def triton(start_triton) -> Triton:
    """The tiny networks, as quick as they are."""
    return start_triton()


@pytest.fixture(scope="session")
def slow_triton(start_slow_triton) -> Triton:
    """The tiny networks, a tile every 20 ms."""
    return start_slow_triton(tile_s=0.02)


@pytest.fixture(scope="session")
def generalist_triton(start_triton, request) -> Triton:
    """The repository's own networks."""
    return start_triton(repository=request.config.rootpath / "model_repository")
