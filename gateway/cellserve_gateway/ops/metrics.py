"""Prometheus metrics of the gateway, prefix `cellserve_`."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    GCCollector,
    Histogram,
    Info,
    PlatformCollector,
    ProcessCollector,
)

from cellserve_gateway import __version__

# From a small tile on a GPU to a whole slide on a CPU.
SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0)
# From one tile (224 px) to 16 times the default limit of an image.
PIXELS = tuple(224.0 * 224 * 4**power for power in range(8))


class Metrics:
    """All metrics of one gateway, in a registry of its own.

    Attributes:
        registry: What the monitoring port exposes.
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
        self.image_pixels = Histogram("cellserve_image_pixels", "Pixels of an image", buckets=PIXELS, registry=r)
        self.objects = Counter("cellserve_objects", "Objects found", registry=r)
        self.in_flight = Gauge(
            "cellserve_in_flight", "Requests, their pixels and bytes worked on or waiting", ["resource"], registry=r
        )
        self.limits = Gauge("cellserve_in_flight_limit", "What may be in flight at most", ["resource"], registry=r)
        self.triton_servers = Gauge("cellserve_triton_servers", "Tritons behind the name", ["state"], registry=r)
        self.triton_waiting = Gauge(
            "cellserve_triton_requests_waiting", "Requests held back until Triton has room", ["network"], registry=r
        )
        self.triton_wait_seconds = Histogram(
            "cellserve_triton_wait_seconds",
            "Time of a request before it is sent to Triton",
            ["network"],
            buckets=SECONDS,
            registry=r,
        )
        self.triton_in_flight = Gauge(
            "cellserve_triton_requests_in_flight", "Requests at Triton, queued or running", ["network"], registry=r
        )
        self.triton_failovers = Counter(
            "cellserve_triton_failovers", "Requests sent to another Triton after one failed", ["network"], registry=r
        )
        self.triton_wakes = Counter(
            "cellserve_triton_wakes", "Requests that only make Triton inspect its queue", ["network"], registry=r
        )
        self.triton_seconds = Histogram(
            "cellserve_triton_request_seconds",
            "Time of a request at Triton, queue included",
            ["network"],
            buckets=SECONDS,
            registry=r,
        )
        self.http_connections = Gauge("cellserve_http_connections", "Open HTTP connections", ["port"], registry=r)
        self.http_connections_ended = Counter(
            "cellserve_http_connections_ended",
            "HTTP connections that the gateway ended; greedy: undeclared bytes; replaced, refused: too many; idle and "
            "stalled: too slow; failed: no answer was possible",
            ["port", "why"],
            registry=r,
        )
        self.ready = Gauge("cellserve_ready", "1 while requests can be served", registry=r)
        self.loop_delay_seconds = Histogram(
            "cellserve_event_loop_delay_seconds",
            "Lateness of a timer: how long the event loop was busy",
            buckets=SECONDS,
            registry=r,
        )
        Info("cellserve_build", "Version of the gateway", registry=r).info({"version": __version__})
        self.models = Gauge(
            "cellserve_model_info", "1 for each network that is served", ["network", "version", "sha256"], registry=r
        )
        ProcessCollector(registry=r)
        PlatformCollector(registry=r)
        GCCollector(registry=r)

    @contextlib.contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Measures a stage."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self.stage_seconds.labels(name).observe(time.perf_counter() - start)

    @contextlib.contextmanager
    def permit_wait(self, network: str) -> Iterator[None]:
        """Measures the time that one request waits for its permit."""
        start = time.perf_counter()
        with self.triton_waiting.labels(network).track_inprogress():
            yield
        self.triton_wait_seconds.labels(network).observe(time.perf_counter() - start)

    @contextlib.contextmanager
    def triton_request(self, network: str, tiles: int) -> Iterator[None]:
        """Measures one request to Triton; its tiles count when it succeeds."""
        start = time.perf_counter()
        with self.triton_in_flight.labels(network).track_inprogress():
            yield
        self.triton_seconds.labels(network).observe(time.perf_counter() - start)
        self.tiles.labels(network).inc(tiles)
