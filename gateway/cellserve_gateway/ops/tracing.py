"""OpenTelemetry traces: a span for each call and each of its stages, and their context on the way to Triton.

Off unless an endpoint is set; the packages are the extra `tracing`.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any

from cellserve_gateway import __version__


class Tracing:
    """Makes spans and sends them to a collector, in batches and in the background.

    Args:
        endpoint: OTLP/gRPC address of the collector, `http://host:4317`; None: no spans are made. What OpenTelemetry
            defines besides (OTEL_TRACES_SAMPLER, OTEL_SERVICE_NAME, OTEL_EXPORTER_OTLP_HEADERS, ...) counts as well.

    Raises:
        ValueError: An endpoint is set, but the packages are not installed.
    """

    def __init__(self, endpoint: str | None) -> None:
        self._provider: Any = None
        if endpoint is None:
            return
        try:
            from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
            from opentelemetry.sdk.resources import SERVICE_NAME, SERVICE_VERSION, OTELResourceDetector, Resource
            from opentelemetry.sdk.trace import TracerProvider
            from opentelemetry.sdk.trace.export import BatchSpanProcessor
            from opentelemetry.trace import SpanKind
            from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
        except ImportError as error:
            raise ValueError("CELLSERVE_OTLP_ENDPOINT is set, which needs: pip install 'cellserve[tracing]'") from error
        named = Resource({SERVICE_NAME: "cellserve-gateway", SERVICE_VERSION: __version__})
        self._provider = TracerProvider(resource=named.merge(OTELResourceDetector().detect()))
        self._provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint=endpoint)))
        self._tracer = self._provider.get_tracer("cellserve_gateway", __version__)
        self._propagator = TraceContextTextMapPropagator()
        self._server_kind = SpanKind.SERVER

    @contextlib.contextmanager
    def call(self, name: str, attributes: Mapping[str, str], metadata: Mapping[str, str | bytes]) -> Iterator[None]:
        """Makes the span of a call. The parent is the caller's span, if the metadata name one."""
        if self._provider is None:
            yield
            return
        carrier = {key: value for key, value in metadata.items() if isinstance(value, str)}
        with self._tracer.start_as_current_span(
            name,
            self._propagator.extract(carrier),
            self._server_kind,
            attributes,
            record_exception=False,  # the log has it; a span tells that the call failed
        ):
            yield

    @contextlib.contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Makes the span of a stage."""
        if self._provider is None:
            yield
            return
        with self._tracer.start_as_current_span(name, record_exception=False):
            yield

    def headers(self) -> dict[str, str]:
        """Returns the headers that tell another server the current span."""
        headers: dict[str, str] = {}
        if self._provider is not None:
            self._propagator.inject(headers)
        return headers

    def close(self) -> None:
        """Sends what is left."""
        if self._provider is not None:
            self._provider.shutdown()
