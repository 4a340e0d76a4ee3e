"""Traces: one span per call and stage, one trace from the caller through the gateway to Triton."""

from __future__ import annotations

import contextlib

import grpc
import numpy as np
import pytest
from cellserve_proto import v1 as pb
from cellserve_proto.v1 import segmentation_pb2_grpc

from .collector import collecting
from .messages import FAST, raw

TRACE = "0af7651916cd43dd8448eb211c80319c"
CALLER = "b7ad6b7169203331"
STAGES = {"decode", "preprocess", "rescale", "inference", "reassemble", "postprocess", "encode"}


def test_one_trace_from_the_caller_to_triton(start_triton, start_gateway, image):
    with collecting() as collector, contextlib.ExitStack() as cleanup:
        traced = ("--", "--trace-config=mode=opentelemetry", "--trace-config=rate=1", "--trace-config=level=TIMESTAMPS")
        triton = start_triton(*traced, f"--trace-config=opentelemetry,url={collector.http}")
        cleanup.callback(triton.stop)
        gateway = start_gateway(triton.grpc, otlp_endpoint=collector.grpc)
        cleanup.callback(gateway.process.stop)
        with grpc.insecure_channel(gateway.address) as channel:
            stub = segmentation_pb2_grpc.SegmentationServiceStub(channel)
            request = pb.SegmentRequest(
                request_id="traced", image=raw(image("nuclei_fluorescence")[:200, :200].copy()), params=FAST
            )
            stub.Segment(request, metadata=[("traceparent", f"00-{TRACE}-{CALLER}-01")])
            with pytest.raises(grpc.RpcError):
                stub.Segment(pb.SegmentRequest(image=raw(np.zeros((0, 4), np.uint8))))

        def ours(spans):
            return [(service, span) for service, span in spans if span.trace_id.hex() == TRACE]

        spans = collector.wait(
            lambda spans: (
                any(span.name == "compute" for _, span in ours(spans))
                and sum(span.name.endswith("/Segment") for _, span in spans) == 2
            )
        )
        gateways = {span.name: span for service, span in ours(spans) if service == "cellserve-gateway"}
        call = gateways["cellserve.v1.SegmentationService/Segment"]
        assert call.parent_span_id.hex() == CALLER
        assert call.kind == call.SPAN_KIND_SERVER
        attributes = {a.key: a.value.string_value for a in call.attributes}
        assert attributes["cellserve.request_id"] == "traced"
        assert gateways.keys() - {call.name} == STAGES
        assert all(gateways[stage].parent_span_id == call.span_id for stage in STAGES)
        assert all(
            call.start_time_unix_nano <= gateways[stage].start_time_unix_nano <= call.end_time_unix_nano
            for stage in STAGES
        )
        tritons = [span for service, span in ours(spans) if service == "triton-inference-server"]
        (inference,) = [span for span in tritons if span.parent_span_id == gateways["inference"].span_id]
        assert inference.name == "InferRequest"

        (failed,) = [s for _, s in spans if s.name.endswith("/Segment") and s.trace_id.hex() != TRACE]
        assert failed.status.code == failed.status.STATUS_CODE_ERROR
        assert not failed.events, "no stack trace leaves the process"
