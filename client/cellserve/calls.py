"""The calls of the service on a channel, and groups of calls under way."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from typing import Any, Protocol, TypeVar

from cellserve_contract.payload import Detached
from cellserve_proto import v1 as pb
from cellserve_proto.v1 import segmentation_pb2

C = TypeVar("C", bound="Cancellable")
SERVICE = segmentation_pb2.DESCRIPTOR.services_by_name["SegmentationService"].full_name


class ServiceCalls:
    """The calls of the service. The generated stub would copy an image four times more on its way to gRPC.

    Args:
        channel: A channel of `grpc` or of `grpc.aio`.
    """

    def __init__(self, channel: Any) -> None:
        self.segment = channel.unary_unary(
            f"/{SERVICE}/Segment",
            request_serializer=Detached.serialize,
            response_deserializer=pb.SegmentResponse.FromString,
        )
        self.segment_large = channel.stream_stream(
            f"/{SERVICE}/SegmentLarge",
            request_serializer=Detached.serialize,
            response_deserializer=pb.SegmentLargeResponse.FromString,
        )
        self.estimate_diameter = channel.unary_unary(
            f"/{SERVICE}/EstimateDiameter",
            request_serializer=Detached.serialize,
            response_deserializer=pb.EstimateDiameterResponse.FromString,
        )
        self.run_networks = channel.unary_unary(
            f"/{SERVICE}/RunNetworks",
            request_serializer=Detached.serialize,
            response_deserializer=lambda data: Detached.parse(data, pb.RunNetworksResponse),
        )
        self.list_models = channel.unary_unary(
            f"/{SERVICE}/ListModels",
            request_serializer=pb.ListModelsRequest.SerializeToString,
            response_deserializer=pb.ListModelsResponse.FromString,
        )
        self.get_model = channel.unary_unary(
            f"/{SERVICE}/GetModel",
            request_serializer=pb.GetModelRequest.SerializeToString,
            response_deserializer=pb.GetModelResponse.FromString,
        )
        self.get_limits = channel.unary_unary(
            f"/{SERVICE}/GetLimits",
            request_serializer=pb.GetLimitsRequest.SerializeToString,
            response_deserializer=pb.GetLimitsResponse.FromString,
        )


class Cancellable(Protocol):
    """A call, or a group of calls."""

    def cancel(self) -> object:
        """Ends the call."""


class CallGroup:
    """The calls under way for one purpose, to be cancelled together. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._running: set[Cancellable] = set()
        self._cancelled = threading.Event()

    @contextlib.contextmanager
    def cancelling(self, call: C) -> Iterator[C]:
        """Keeps a call cancellable while the body waits for it; a body that is interrupted cancels it."""
        with self._lock:
            self._running.add(call)
            cancelled = self._cancelled.is_set()
        try:
            if cancelled:
                call.cancel()
            yield call
        finally:
            with self._lock:
                self._running.discard(call)
            call.cancel()  # without effect on a finished call

    def cancel(self) -> None:
        """Cancels all calls, and those that begin later."""
        with self._lock:
            self._cancelled.set()
            running = list(self._running)
        for call in running:
            call.cancel()

    def wait(self, timeout_s: float) -> bool:
        """Waits until the group is cancelled, `timeout_s` seconds at most. Tells whether it is."""
        return self._cancelled.wait(timeout_s)
