"""The real Triton that the integration tests share."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest

from devtools import stack


@dataclass(frozen=True)
class Triton:
    """A running server: its addresses ("host:port"), the launcher's process id, and how to stop it."""

    http: str
    grpc: str
    metrics: str
    pid: int
    stop: Callable[[], int]


@pytest.fixture(scope="session")
def triton(tmp_path_factory) -> Iterator[Triton]:
    """The repository's own model_repository, served on free ports."""
    process = stack.start_triton(tmp_path_factory.mktemp("triton"))
    at = process.wait_ready()
    yield Triton(at["http"], at["grpc"], at["metrics"], process.pid, process.stop)
    process.stop()
