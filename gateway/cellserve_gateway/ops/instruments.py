"""Metrics and traces, measured together."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass

from .metrics import Metrics
from .tracing import Tracing


@dataclass(frozen=True, slots=True)
class Instruments:
    """Metrics and traces of one gateway."""

    metrics: Metrics
    tracing: Tracing

    @contextlib.contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Measures a stage of an image."""
        with self.metrics.stage(name), self.tracing.stage(name):
            yield
