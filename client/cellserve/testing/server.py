"""The server that tests start."""

from __future__ import annotations

import functools
import threading
import time
from collections import deque
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib.metadata import version
from types import TracebackType
from typing import Any, Self

import grpc
import numpy as np
from cellserve_contract import wire
from cellserve_contract.params import SegmentParams
from cellserve_contract.reasons import ErrorReason
from cellserve_formats import Image
from cellserve_proto import v1 as pb
from cellserve_proto.v1 import segmentation_pb2_grpc
from google.rpc import status_pb2
from grpc_health.v1 import health_pb2_grpc
from grpc_health.v1.health import HealthServicer
from numpy.typing import ArrayLike, NDArray

from .service import Refusal, Segmenter, Service, read, status_of

_CALLS = 32
"""Calls answered at a time."""


@dataclass(frozen=True, slots=True, eq=False)
class Received:
    """A request that a `FakeServer` got.

    Attributes:
        image: The image.
        params: The parameters as sent; what the caller left out has its default.
        request_id: Name of the request.
        priority: "batch" or "acquisition".
        metadata: Metadata of the call, such as "authorization".
    """

    image: Image
    params: SegmentParams
    request_id: str
    priority: str
    metadata: Mapping[str, str]


class FakeServer:
    """A CellServe server in this process, which answers with given label images.

    The server checks images and parameters as a real one, but recovers no masks: parameters do not change the objects.
    Objects have a probability of 1 and a flow error of 0. The server stops with `close` or at the end of `with`.

    Args:
        labels: Integers [Y, X], the answer to every image of this size; 0 is background. Or a function that returns
            the labels of an `Image`.
        model: Name of the only model family.
        delay_s: Seconds that each image takes.

    Attributes:
        address: "host:port" for `Client` and `AsyncClient`.
        received: The requests that came, in order; without those whose image or parameters no server takes.
    """

    def __init__(self, labels: ArrayLike | Segmenter, *, model: str = "generalist", delay_s: float = 0.0) -> None:
        segment: Segmenter = labels if callable(labels) else functools.partial(_given, np.asarray(labels))
        self.received: list[Received] = []
        self._failures: deque[status_pb2.Status] = deque()
        self._lock = threading.Lock()
        self._delay_s = delay_s
        options = [("grpc.max_receive_message_length", -1), ("grpc.so_reuseport", 0)]
        self._server: Any = grpc.server(ThreadPoolExecutor(_CALLS, "cellserve-fake"), options=options)
        service = Service(segment, _model(model), version("cellserve"), self._receive)
        add_servicer: Any = segmentation_pb2_grpc.add_SegmentationServiceServicer_to_server
        add_servicer(service, self._server)
        health_pb2_grpc.add_HealthServicer_to_server(HealthServicer(), self._server)
        self.address = f"127.0.0.1:{self._server.add_insecure_port('127.0.0.1:0')}"
        self._server.start()

    def fail(
        self,
        reason: str,
        *,
        times: int = 1,
        retry_after_s: float | None = None,
        message: str = "",
        **metadata: Any,
    ) -> None:
        """Lets the next requests with an image fail.

        Args:
            reason: A reason of docs/reference/errors.md. Clients raise "GATEWAY_FULL" as `OverloadedError`.
            times: How many requests. Clients repeat those that failed with the status UNAVAILABLE.
            retry_after_s: Seconds after which the server invites a retry. Clients follow the invitation.
            message: Message of the error. Default: the meaning of the reason.
            **metadata: Facts of the error.

        Raises:
            ValueError: No server fails for this reason.
        """
        known = {entry.name: entry for entry in ErrorReason if entry.source == "server"}
        if reason not in known:
            raise ValueError(f"{reason} is no reason of a server; known: {', '.join(known)}")
        with self._lock:
            self._failures.extend([status_of(known[reason], message, retry_after_s, **metadata)] * times)

    def close(self) -> None:
        """Stops the server. Calls under way fail."""
        self._server.stop(None).wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _receive(self, request: Any, context: grpc.ServicerContext) -> None:
        received = Received(
            read(request.image),
            wire.read_params(request.params),
            request.request_id,
            wire.word_of(pb.Priority, request.priority or pb.PRIORITY_BATCH, "priority"),
            {name: value for name, value in context.invocation_metadata() if isinstance(value, str)},
        )
        with self._lock:
            self.received.append(received)
            failure = self._failures.popleft() if self._failures else None
        end = time.monotonic() + self._delay_s
        while context.is_active() and (left_s := end - time.monotonic()) > 0:
            time.sleep(min(left_s, 0.01))
        if failure is not None:
            raise Refusal(failure)


def _given(labels: NDArray[Any], image: Image) -> ArrayLike:
    """A segmenter that returns one label image."""
    return labels


def _model(name: str) -> pb.Model:
    """Returns the description of the model family."""
    network = pb.ModelVersion(
        family=name,
        name=name,
        version="1",
        sha256="0" * 64,
        weights=pb.PRECISION_FLOAT32,
        precision=pb.PRECISION_FLOAT32,
        runtime="label images of a test",
    )
    return pb.Model(
        name=name,
        description="Label images of a test.",
        versions=[network],
        working_diameter=30.0,
        training_diameter=30.0,
        channels=["cytoplasm", "nucleus"],
        license="none",
        provenance="A test.",
        has_size_model=True,
        ready=True,
        tile_size=224,
        max_batch_size=8,
    )
