"""An OpenTelemetry collector that keeps what it gets: OTLP over gRPC (the gateway) and over HTTP (Triton)."""

from __future__ import annotations

import base64
import json
import threading
import time
from collections.abc import Iterator
from concurrent import futures
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import grpc
from google.protobuf import json_format
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2_grpc import (
    TraceServiceServicer,
    add_TraceServiceServicer_to_server,
)
from opentelemetry.proto.trace.v1.trace_pb2 import Span


class Collector(TraceServiceServicer):
    def __init__(self) -> None:
        self.grpc = self.http = ""
        self._spans: list[tuple[str, Span]] = []
        self._changed = threading.Condition()

    def Export(self, request, context):
        with self._changed:
            for resource in request.resource_spans:
                service = {a.key: a.value.string_value for a in resource.resource.attributes}.get("service.name", "")
                self._spans += [(service, span) for scope in resource.scope_spans for span in scope.spans]
            self._changed.notify_all()
        return ExportTraceServiceResponse()

    def wait(self, found, timeout_s: float = 30) -> list[tuple[str, Span]]:
        """Waits until `found` is true of the spans: (service, span) each."""
        end = time.monotonic() + timeout_s
        with self._changed:
            while not found(self._spans):
                assert self._changed.wait(end - time.monotonic()), [span.name for _, span in self._spans]
            return list(self._spans)


def read_json(body: bytes) -> ExportTraceServiceRequest:
    """Reads OTLP's JSON, whose ids are hexadecimal where protobuf's own would be base64."""

    def ids(entry: dict) -> dict:
        for key in entry.keys() & {"traceId", "spanId", "parentSpanId"}:
            entry[key] = base64.b64encode(bytes.fromhex(entry[key])).decode()
        return entry

    content = json.loads(body, object_hook=ids)
    return json_format.ParseDict(content, ExportTraceServiceRequest(), ignore_unknown_fields=True)


@contextmanager
def collecting() -> Iterator[Collector]:
    collector = Collector()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            collector.Export(read_json(body), None)
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_) -> None:
            pass

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=http.serve_forever, daemon=True).start()
    server = grpc.server(futures.ThreadPoolExecutor(2))
    add_TraceServiceServicer_to_server(collector, server)
    collector.grpc = f"http://127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    collector.http = f"http://127.0.0.1:{http.server_port}/v1/traces"
    server.start()
    yield collector
    server.stop(None).wait()
    http.shutdown()
    http.server_close()
