"""The process: composes the parts, serves, follows the readiness of the backend, drains on SIGTERM.

With `--local`, the process also runs a Triton, whose end is the gateway's end.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import sys
from pathlib import Path

import cellserve_postprocess
import cv2
import structlog
from pydantic import ValidationError

from . import __version__
from .access.certificates import CertificateFiles
from .access.tokens import Tokens
from .app.admission import Admission
from .app.context import RequestContext
from .app.families import Families
from .app.files import ImageFiles
from .app.memory import MemoryGuard
from .app.segmenter import Segmenter
from .app.threads import WorkerThreads
from .backends.triton.pool import BackendPool
from .fronts.grpc.front import GrpcFront
from .fronts.http.front import HttpFront
from .fronts.http.monitoring import monitoring_listener
from .local import Process, refuse_taken_ports, running_triton
from .ops.instruments import Instruments
from .ops.logging import configure_logging
from .ops.metrics import Metrics
from .ops.tracing import Tracing
from .settings import Settings, describe_settings, refuse_unknown_settings

log = structlog.get_logger()
PROBE_INTERVAL_PER_TRITON_S = 0.01
"""Health probes of hundreds of Tritons are spread: each costs a fraction of a millisecond of processor time."""
MONITORING_GRACE_S = 1.0
"""Time for a scrape under way at the end."""
LOCAL_DEFAULTS = {"http_port": 8080, "log_format": "console"}
"""Defaults of `--local`: browser and ImageJ of the same machine can call, and a person reads the log."""


class Gateway:
    """One gateway process."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._metrics = Metrics()
        self._tracing = Tracing(settings.otlp_endpoint)
        instruments = Instruments(self._metrics, self._tracing)
        families = Families.load(settings.model_repository, settings.default_model)
        self._workers = WorkerThreads(settings.worker_threads, settings.max_decoding)
        self._files = ImageFiles(settings)
        self._backend = BackendPool(settings.triton_address, families, self._metrics, self._tracing.headers)
        self._admission = Admission(settings, self._metrics)
        segmenter = Segmenter(settings, families, self._backend, self._workers, instruments, self._files)
        parts = settings, segmenter, self._admission, instruments, Tokens(settings.tokens_file)
        self._grpc = GrpcFront(*parts, CertificateFiles.of(settings), self._workers)
        self._http = None if settings.http_port is None else HttpFront(*parts, CertificateFiles.of(settings))
        self._warm = self._ready = False
        self._stopping = asyncio.Event()

    async def run(self) -> None:
        """Serves until SIGTERM or SIGINT, then drains and returns.

        Raises:
            OSError, RuntimeError: A port cannot be bound.
        """
        settings, loop = self.settings, asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.stop)
        self._files.start()
        monitoring = monitoring_listener(settings, self._metrics, lambda: self._ready)
        monitoring.start()
        grpc_port, health_port = await self._grpc.start(
            settings.address(settings.port), settings.address(settings.health_port)
        )
        addresses = {
            "triton": settings.triton_address,
            "monitoring": settings.address(monitoring.port),
            "health": settings.address(health_port),
            "grpc": settings.address(grpc_port),
        }
        if self._http:
            self._http.start()
            addresses["http"] = settings.address(self._http.port)
        log.info("listening", version=__version__, **addresses)
        if settings.ready_file:
            _write_json(settings.ready_file, {"pid": os.getpid(), **addresses})
        try:
            async with asyncio.TaskGroup() as tasks:
                follow = tasks.create_task(self._follow_backend())
                guard = tasks.create_task(MemoryGuard(settings, self._admission).run())
                tasks.create_task(self._warm_up())
                await self._stopping.wait()
                await self._drain()
                follow.cancel()
                guard.cancel()
        finally:
            await self._backend.close()
            self._workers.close()
            self._files.close()
            await self._grpc.health.stop()
            await monitoring.stop(MONITORING_GRACE_S)
            self._tracing.close()
            if settings.ready_file:
                settings.ready_file.unlink(missing_ok=True)
            log.info("stopped")

    def stop(self) -> None:
        """Begins the end, as SIGTERM does."""
        self._stopping.set()

    async def _warm_up(self) -> None:
        """Compiles the kernels: the first image must not wait for the compiler."""
        await self._workers.run(RequestContext(), cellserve_postprocess.warm_up)
        self._warm = True
        log.info("kernels ready")

    async def _follow_backend(self) -> None:
        """Keeps readiness in step with the readiness of the backend, and measures the delay of the event loop."""
        loop = asyncio.get_running_loop()
        while True:
            await self._backend.refresh()
            self._set_ready(self._backend.is_ready and self._warm and not self._stopping.is_set())
            interval = max(self.settings.triton_probe_interval_s, PROBE_INTERVAL_PER_TRITON_S * self._backend.known)
            pause = interval if self._warm else 0.1
            due = loop.time() + pause
            await asyncio.sleep(pause)
            self._metrics.loop_delay_seconds.observe(loop.time() - due)

    async def _drain(self) -> None:
        """Tells load balancers to send no more calls, then refuses new work and finishes the work in flight."""
        log.info("draining", delay_s=self.settings.drain_delay_s, grace_s=self.settings.drain_s)
        self._set_ready(False)
        await asyncio.sleep(self.settings.drain_delay_s)
        self._admission.drain()
        async with asyncio.TaskGroup() as fronts:
            fronts.create_task(self._grpc.stop(self.settings.drain_s))
            if self._http:
                fronts.create_task(self._http.stop(self.settings.drain_s))

    def _set_ready(self, ready: bool) -> None:
        if ready != self._ready:
            log.info("serving" if ready else "not serving")
        self._grpc.health.set(ready)
        self._ready = ready
        self._metrics.ready.set(ready)


def _write_json(path: Path, content: dict[str, object]) -> None:
    """Writes a file whole or not at all."""
    partial = path.with_name(f"{path.name}.{os.getpid()}")
    partial.write_text(json.dumps(content))
    partial.replace(path)


def main() -> None:
    """Entry point of `cellserve-gateway`. All settings come from the environment (CELLSERVE_*)."""
    parser = argparse.ArgumentParser(
        prog="cellserve-gateway",
        description="Takes images over gRPC and HTTP, and segments them with the networks that Triton serves.",
        epilog=f"Settings are environment variables. Their defaults:\n\n{describe_settings()}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=__version__)
    parser.add_argument(
        "--local",
        action="store_true",
        help="start a Triton beside the gateway, for one user on this machine; HTTP is open on port 8080",
    )
    local = parser.parse_args().local
    try:
        refuse_unknown_settings()
        settings = Settings()
        cv2.setNumThreads(1)  # images run side by side; more threads within one image would only compete
        if local:
            _run_local(settings)
        else:
            configure_logging(settings)
            asyncio.run(_serve(settings))
    except (ValidationError, ValueError, OSError, RuntimeError) as error:
        sys.exit(f"cellserve-gateway: {error}")
    except KeyboardInterrupt:  # before the gateway runs
        sys.exit(130)


def _run_local(settings: Settings) -> None:
    """Runs a Triton and a gateway of its models until SIGTERM or SIGINT. The gateway ends first, while Triton answers.

    Raises:
        ValueError: The settings contradict `--local`, or there are no models.
        RuntimeError: One of the servers did not start, or Triton ended before the gateway.
    """
    if "triton_address" in settings.model_fields_set:
        raise ValueError("--local starts a Triton of its own; unset CELLSERVE_TRITON_ADDRESS, or leave out --local")
    settings = settings.model_copy(
        update={name: value for name, value in LOCAL_DEFAULTS.items() if name not in settings.model_fields_set}
    )
    configure_logging(settings)
    Families.load(settings.model_repository, settings.default_model)  # a fault in them is known before Triton starts
    refuse_taken_ports(settings)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # until the gateway handles the signal
    log.info("starting Triton", models=str(settings.model_repository.resolve()))
    with running_triton(settings.model_repository) as (triton, address):
        asyncio.run(_serve_beside(triton, settings.model_copy(update={"triton_address": address})))


async def _serve(settings: Settings) -> None:
    await Gateway(settings).run()


async def _serve_beside(triton: Process, settings: Settings) -> None:
    """Serves until a signal, or until Triton ends."""
    gateway, loop = Gateway(settings), asyncio.get_running_loop()
    ended = os.pidfd_open(triton.pid)  # readable once the process has ended

    def follow() -> None:
        loop.remove_reader(ended)
        gateway.stop()

    loop.add_reader(ended, follow)
    try:
        await gateway.run()
    finally:
        loop.remove_reader(ended)
        os.close(ended)
