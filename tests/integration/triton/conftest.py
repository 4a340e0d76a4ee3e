"""Launchers of Triton, and a server of two convolutions, which is ready within two or three seconds."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.processes import below

from .models import write_model

ROOT = Path(__file__).resolve().parents[3]
SERVE = ROOT / "deploy" / "triton" / "serve.py"
PYTHON = os.environ.get("CELLSERVE_TRITON_PYTHON", str(ROOT / ".venv-triton" / "bin" / "python"))
FREE_PORTS = ("--http-port=0", "--grpc-port=0", "--metrics-port=0")


@dataclass(frozen=True)
class Launcher:
    """A running serve.py and the files it uses."""

    process: subprocess.Popen[bytes]
    ready_file: Path
    errors: Path
    temporary: Path
    older_regions: frozenset[Path]

    def wait_ready(self) -> dict[str, str]:
        end = time.monotonic() + 60
        while not self.ready_file.exists():
            assert self.process.poll() is None, self.errors.read_text()
            assert time.monotonic() < end, self.errors.read_text()
            time.sleep(0.02)
        return json.loads(self.ready_file.read_text())

    def children(self) -> list[int]:
        """Process ids below the launcher: tritonserver and its stubs."""
        return below(self.process.pid)

    def regions(self) -> list[Path]:
        """Its shared memory. An earlier launcher of the same process id may have left some, too."""
        named = Path("/dev/shm").glob(f"cellserve_{self.process.pid}_*")
        return [region for region in named if region not in self.older_regions]


@pytest.fixture(scope="session")
def launch(tmp_path_factory) -> Iterator[Callable[..., Launcher]]:
    """Starts serve.py on a repository; what still runs at the end is stopped."""
    started: list[Launcher] = []

    def start(repository: Path, *options: str, python: str = PYTHON, temporary: Path | None = None) -> Launcher:
        directory = tmp_path_factory.mktemp("launcher")
        if temporary is None:
            temporary = directory / "tmp"
            temporary.mkdir()
        ready, errors = directory / "ready.json", directory / "errors.log"
        older = frozenset(Path("/dev/shm").glob("cellserve_*"))
        ours = ("--model-repository", str(repository), "--ready-file", str(ready), *FREE_PORTS)
        with errors.open("wb") as output:
            process = subprocess.Popen(
                [python, str(SERVE), *ours, f"--log-file={directory / 'triton.log'}", *options],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=output,
                env=os.environ | {"TMPDIR": str(temporary)},
            )
        started.append(Launcher(process, ready, errors, temporary, older))
        return started[-1]

    yield start
    for launcher in started:
        if launcher.process.poll() is None:
            launcher.process.terminate()
        launcher.process.wait(timeout=60)


@pytest.fixture(scope="session")
def convolutions(launch, tmp_path_factory) -> str:
    """gRPC address of a server with the models `exact` (f32) and `auto` (the processor's best precision)."""
    repository = tmp_path_factory.mktemp("repository")
    write_model(repository, "exact")
    write_model(repository, "auto", precision="auto")
    write_model(repository, "any_size", sides="-1, -1")
    return launch(repository).wait_ready()["grpc"]


@pytest.fixture(scope="session")
def python_here() -> str:
    """This interpreter, whose environment has no server."""
    return sys.executable
