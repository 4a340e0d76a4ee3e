"""Prometheus metrics of the gateway, prefix `cellserve_`."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info

from . import __version__

# From a small tile on a GPU to a whole slide on a CPU.
SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0)


class Metrics:
    """All metrics of one gateway, in a registry of its own.

    Attributes:
        registry: What the metrics port exposes.
    """

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        r = self.registry
        self.requests = Counter(
            "cellserve_requests", "Requests answered, stream frames included", ["method", "code"], registry=r
        )
        self.errors = Counter("cellserve_errors", "Requests failed, by reason", ["method", "reason"], registry=r)
        self.request_seconds = Histogram(
            "cellserve_request_seconds", "Time from request to answer", ["method"], buckets=SECONDS, registry=r
        )
        self.stage_seconds = Histogram(
            "cellserve_stage_seconds", "Time of an image in a stage", ["stage"], buckets=SECONDS, registry=r
        )
        self.tiles = Counter("cellserve_tiles", "Tiles the networks ran on", ["network"], registry=r)
        self.pixels = Counter("cellserve_pixels", "Pixels of the images segmented", registry=r)
        self.objects = Counter("cellserve_objects", "Objects found", registry=r)
        self.requests_in_flight = Gauge("cellserve_requests_in_flight", "Images worked on or waiting", registry=r)
        self.pixels_in_flight = Gauge("cellserve_pixels_in_flight", "Pixels worked on or waiting", registry=r)
        self.bytes_in_flight = Gauge("cellserve_bytes_in_flight", "Bytes of images worked on or waiting", registry=r)
        self.triton_in_flight = Gauge(
            "cellserve_triton_requests_in_flight", "Requests at Triton, queued or running", ["network"], registry=r
        )
        self.triton_seconds = Histogram(
            "cellserve_triton_request_seconds",
            "Time of a request at Triton, queue included",
            ["network"],
            buckets=SECONDS,
            registry=r,
        )
        self.ready = Gauge("cellserve_ready", "1 while requests can be served", registry=r)
        Info("cellserve_build", "Version of the gateway", registry=r).info({"version": __version__})

    @contextlib.contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Measures a stage."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self.stage_seconds.labels(name).observe(time.perf_counter() - start)

    @contextlib.contextmanager
    def triton_request(self, network: str, tiles: int) -> Iterator[None]:
        """Measures one request to Triton; its tiles count when it succeeds."""
        start = time.perf_counter()
        with self.triton_in_flight.labels(network).track_inprogress():
            yield
        self.triton_seconds.labels(network).observe(time.perf_counter() - start)
        self.tiles.labels(network).inc(tiles)
