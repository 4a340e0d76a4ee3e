"""The process: builds the parts, serves, follows Triton's readiness, drains on SIGTERM."""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import os
import signal
import sys
from pathlib import Path

import cellserve_postprocess
import cv2
import grpc
import structlog
from cellserve_proto.v1 import segmentation_pb2_grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_health.v1.health import aio as health_aio
from grpc_reflection.v1alpha import reflection
from pydantic import ValidationError

from . import __version__
from .access import Tokens, server_credentials
from .admission import Admission
from .diameter import Diameters
from .families import load_families
from .fleet import Fleet
from .interceptors import ObservingInterceptor
from .lanes import Lane
from .metrics import Metrics
from .monitoring import HttpServer, join, start_health_server
from .observe import SERVICE, Observer
from .pipeline import Pipeline
from .service import SegmentationService
from .settings import Settings, describe_settings, unknown_settings
from .tracing import Tracing
from .triton import Priority

log = structlog.get_logger()
SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
LIVENESS = "liveness"  # health service that answers SERVING as long as the process lives, whatever Triton does
POLL_PER_TRITON_S = 0.01  # looks at hundreds of Tritons are spread: each costs a fraction of a millisecond of processor


class Gateway:
    """One gateway process.

    Readiness is the health of "" and of the service's name: kernels compiled, a Triton serving every network, not
    draining.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.metrics = Metrics()
        families = load_families(settings.model_repository)
        if settings.default_model not in families:
            raise ValueError(f"the default model '{settings.default_model}' is not among {', '.join(families)}")
        # An image from a microscope does not wait behind a hundred of a batch.
        self._lanes = {lane: Lane(lane.name.lower(), settings.numeric_threads) for lane in Priority}
        self._tracing = Tracing(settings.otlp_endpoint)
        self._triton = Fleet(settings.triton_address, families, self.metrics, self._tracing.headers)
        self._admission = Admission(settings, self.metrics)
        self._health = health_aio.HealthServicer()
        self._credentials = server_credentials(settings)
        observer = Observer(self.metrics, self._tracing, Tokens(settings.tokens_file))
        pipeline = Pipeline(settings, families, self._triton, self._lanes, self.metrics, self._tracing)
        self._server = grpc.aio.server(
            interceptors=[ObservingInterceptor(observer)],
            options=[
                ("grpc.max_receive_message_length", settings.max_message_bytes),
                ("grpc.max_send_message_length", settings.max_message_bytes),
                ("grpc.max_connection_age_ms", round(settings.max_connection_age_s * 1000)),
                # Calls under way when a connection ages out go on for as long as any may take.
                ("grpc.max_connection_age_grace_ms", round(settings.max_deadline_s * 1000)),
                ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
                ("grpc.keepalive_permit_without_calls", 1),
                ("grpc.so_reuseport", 0),  # a second gateway on the port is a mistake, not a partner
            ],
        )
        segmentation_pb2_grpc.add_SegmentationServiceServicer_to_server(  # type: ignore[no-untyped-call]
            SegmentationService(settings, pipeline, Diameters(settings, pipeline), self._admission, observer),
            self._server,
        )
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        reflection.enable_server_reflection(
            (SERVICE, health_pb2.DESCRIPTOR.services_by_name["Health"].full_name, reflection.SERVICE_NAME), self._server
        )
        self._warm = self._ready = False
        self._stopping = asyncio.Event()

    async def run(self) -> None:
        """Serves until SIGTERM or SIGINT, then drains and returns.

        Raises:
            OSError, RuntimeError: A port cannot be had.
        """
        settings, loop = self.settings, asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stopping.set)
        await self._set_health(ready=False)
        await self._health.set(LIVENESS, SERVING)
        http = HttpServer(settings.host, settings.metrics_port, self.metrics, lambda: self._ready)
        health_server, health_port = await start_health_server(settings.host, settings.health_port, self._health)
        address = join(settings.host, settings.port)
        port = (
            self._server.add_secure_port(address, self._credentials)
            if self._credentials
            else self._server.add_insecure_port(address)
        )
        await self._server.start()
        addresses = {
            "grpc": join(settings.host, port),
            "health": join(settings.host, health_port),
            "metrics": join(settings.host, http.port),
        }
        log.info("listening", version=__version__, triton=settings.triton_address, **addresses)
        if settings.ready_file:
            _write_json(settings.ready_file, {"pid": os.getpid(), **addresses})
        try:
            async with asyncio.TaskGroup() as tasks:
                follow = tasks.create_task(self._follow_triton())
                tasks.create_task(self._warm_up())
                await self._stopping.wait()
                await self._drain()
                follow.cancel()
        finally:
            await self._triton.close()
            for lane in self._lanes.values():
                lane.close()
            await health_server.stop(None)
            http.close()
            self._tracing.close()
            if settings.ready_file:
                settings.ready_file.unlink(missing_ok=True)
            log.info("stopped")

    async def _warm_up(self) -> None:
        """Compiles the kernels: the first image must not wait for the compiler."""
        await asyncio.get_running_loop().run_in_executor(
            self._lanes[Priority.BATCH].images, cellserve_postprocess.warm_up
        )
        self._warm = True
        log.info("kernels ready")

    async def _follow_triton(self) -> None:
        """Keeps readiness in step with the Tritons', and watches how busy the event loop is."""
        loop = asyncio.get_running_loop()
        while True:
            await self._triton.refresh()
            await self._set_health(self._triton.is_ready and self._warm and not self._stopping.is_set())
            pause = max(self.settings.triton_poll_s, POLL_PER_TRITON_S * self._triton.known) if self._warm else 0.1
            due = loop.time() + pause
            await asyncio.sleep(pause)
            self.metrics.loop_delay_seconds.observe(loop.time() - due)

    async def _drain(self) -> None:
        """Lets balancers look elsewhere, refuses new work, finishes what runs."""
        log.info("draining", delay_s=self.settings.drain_delay_s, grace_s=self.settings.drain_s)
        await self._set_health(ready=False)
        await asyncio.sleep(self.settings.drain_delay_s)
        self._admission.drain()
        await self._server.stop(self.settings.drain_s)

    async def _set_health(self, ready: bool) -> None:
        for service in ("", SERVICE):
            await self._health.set(service, SERVING if ready else NOT_SERVING)
        self._ready = ready
        self.metrics.ready.set(ready)


def _write_json(path: Path, content: dict[str, object]) -> None:
    """Writes a file whole or not at all."""
    partial = path.with_name(f"{path.name}.{os.getpid()}")
    partial.write_text(json.dumps(content))
    partial.replace(path)


def _configure_logging(settings: Settings) -> None:
    renderer: structlog.typing.Processor = (
        structlog.processors.JSONRenderer()
        if settings.log_format == "json"
        else structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
    )
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso"),
            structlog.processors.format_exc_info,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(getattr(logging, settings.log_level.upper())),
        logger_factory=structlog.WriteLoggerFactory(sys.stderr),
    )


def main() -> None:
    """Entry point of `cellserve-gateway`. All settings come from the environment (CELLSERVE_*)."""
    parser = argparse.ArgumentParser(
        prog="cellserve-gateway",
        description="Segments images over gRPC. All settings are environment variables:",
        epilog=describe_settings(),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=__version__)
    parser.parse_args()
    try:
        settings = Settings()
        _configure_logging(settings)
        for name in unknown_settings():
            log.warning("unknown setting in the environment", name=name)
        cv2.setNumThreads(1)  # images run side by side; more threads within one would only compete
        asyncio.run(_serve(settings))
    except (ValidationError, ValueError, OSError, RuntimeError) as error:
        sys.exit(f"cellserve-gateway: {error}")


async def _serve(settings: Settings) -> None:
    await Gateway(settings).run()


if __name__ == "__main__":
    main()
