"""One Triton, and the only module that knows its client: tiles in, maps out, its exceptions turned into ours."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from functools import cache, partial
from typing import Any

import numpy as np
from cellserve_preprocess import TILE
from numpy.typing import NDArray
from tritonclient.grpc import InferInput, InferRequestedOutput, InferResult
from tritonclient.grpc.aio import InferenceServerClient
from tritonclient.utils import InferenceServerException

from .errors import DeadlinePassed, InternalError, Overloaded, ServiceError, TritonUnavailable
from .feed import Feed
from .metrics import Metrics

# Reconnect within seconds of a server's return; notice within half a minute a connection that is dead.
CHANNEL_ARGS = [
    ("grpc.max_send_message_length", -1),
    ("grpc.max_receive_message_length", -1),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1000),
    ("grpc.keepalive_time_ms", 20_000),
    ("grpc.keepalive_timeout_ms", 5_000),
]
PROBE_TIMEOUT_S = 2.0
SILENT_LOOKS = 2  # looks in a row without an answer, after which it has no more time for what it was sent


class Priority(IntEnum):
    """Lane in Triton's queue: a lower number overtakes."""

    ACQUISITION = 1
    BATCH = 2


@dataclass(frozen=True, slots=True)
class Network:
    """A network as Triton serves it."""

    name: str
    version: str
    sha256: str
    max_batch_size: int


@dataclass(frozen=True, slots=True)
class Maps:
    """Network outputs of tiles.

    Attributes:
        flows: float32 [3, tile, tile] of each tile: 5 * flow_y, 5 * flow_x, logit; None if not asked for.
        style: float32 [n, 256]; None if not asked for.
    """

    flows: Sequence[NDArray[np.float32]] | NDArray[np.float32] | None
    style: NDArray[np.float32] | None


class Triton:
    """A connection to one Triton.

    Args:
        address: "host:port" of its gRPC interface.
        expected: SHA-256 of each network's file, by the network's name.
        metrics: Where requests are counted.
        headers: Gives the headers of a request: they tell Triton which trace it belongs to.

    Attributes:
        ready: Whether it served every network when last looked at or asked.
        networks: The networks, as it served them when it last became ready.
        fault: Why it must not be used, where it serves other files than expected; else None.
    """

    def __init__(
        self, address: str, expected: Mapping[str, str], metrics: Metrics, headers: Callable[[], dict[str, str]]
    ) -> None:
        self.address = address
        self.ready = False
        self.networks: dict[str, Network] = {}
        self.fault: ServiceError | None = None
        self._client = InferenceServerClient(address, channel_args=CHANNEL_ARGS)
        self._expected = expected
        self._feeds = {
            (name, priority): Feed(partial(self._wake, name, priority)) for name in expected for priority in Priority
        }
        self._calls: set[asyncio.Task[InferResult]] = set()
        self._wakes: set[asyncio.Task[None]] = set()
        self._silent = 0
        self._metrics = metrics
        for name in expected:
            metrics.triton_wakes.labels(name)  # a series from the start
        self._headers = headers

    async def close(self) -> None:
        """Closes the connection."""
        for task in self._wakes:
            task.cancel()
        await asyncio.gather(*self._wakes, return_exceptions=True)
        await self._client.close()

    async def probe(self) -> None:
        """Looks whether it serves every network, and reads their limits when it has (re)appeared."""
        try:
            if not await self._client.is_server_ready(client_timeout=PROBE_TIMEOUT_S):
                self.ready = False
            elif not self.ready:
                self.networks = {name: await self._read_network(name) for name in self._expected}
                self.fault, self.ready = None, True
                for network in self.networks.values():
                    self._metrics.models.labels(network.name, network.version, network.sha256).set(1)
            self._silent = 0
        except InferenceServerException as error:
            self.ready = False
            self._silent = self._silent + 1 if str(error.status()) == "StatusCode.DEADLINE_EXCEEDED" else 0
        except ServiceError as error:
            self.fault, self.ready = error, False
            self.networks.clear()  # answers of another file are not ours

    @property
    def state(self) -> str:
        """What is to be said of it in the log."""
        if self.fault:
            return f"not usable: {self.fault.reason}, {self.fault.message}, {self.fault.metadata}"
        return "ready" if self.ready else "not ready"

    @property
    def busy(self) -> bool:
        """Whether requests are there or wait."""
        return any(len(feed) for feed in self._feeds.values())

    def load(self, name: str, priority: Priority) -> int:
        """Returns how many tiles of a network and lane this gateway has there, or holds back for it."""
        return len(self._feeds[name, priority])

    def dismiss(self) -> None:
        """Fails every request that waits to be sent, and, if it has gone silent, those sent: others may take them."""
        for feed in self._feeds.values():
            feed.dismiss(lambda: TritonUnavailable("the inference server is not ready; try again"))
        if self._silent >= SILENT_LOOKS:
            for call in self._calls:
                call.cancel()

    async def infer(
        self, name: str, tiles: NDArray[np.float32], outputs: tuple[str, ...], priority: Priority, deadline: float
    ) -> Maps:
        """Runs a network on tiles; Triton batches them with those of other requests.

        Args:
            name: Network on Triton.
            tiles: float32 [n, 2, tile, tile], C-contiguous, n at most the network's max_batch_size.
            outputs: Names of the outputs wanted: "flows", "style".
            priority: Lane in the queue.
            deadline: Event loop time after which an answer is of no use; Triton drops the request from its queue then.

        Raises:
            TritonUnavailable, Overloaded, DeadlinePassed: As they say.
            InternalError: Triton refused the request or its answer does not fit.
        """
        tensor = InferInput("image", list(tiles.shape), "FP32")
        tensor.set_data_from_numpy(tiles)
        with self._metrics.triton_turn(name):
            turn = await self._feeds[name, priority].turn()
        with turn:
            timeout_s = deadline - asyncio.get_running_loop().time()
            if timeout_s <= 0:
                raise DeadlinePassed("the deadline passed before the inference server was asked", stage="inference")
            with self._metrics.triton_request(name, len(tiles)), _translated(name):
                call = self._client.infer(
                    name,
                    [tensor],
                    outputs=[InferRequestedOutput(output) for output in outputs],
                    priority=priority,
                    timeout=int(timeout_s * 1e6),
                    headers=self._headers(),
                    client_timeout=timeout_s,
                )
                result = await self._answer(call)
        answer = {output: result.as_numpy(output) for output in outputs}
        for output, array in answer.items():
            if array is None or len(array) != len(tiles):
                raise InternalError(
                    "the inference server's answer does not fit the request", reason="TRITON_BAD_ANSWER", output=output
                )
        return Maps(answer.get("flows"), answer.get("style"))

    async def _answer(self, call: Coroutine[Any, Any, InferResult]) -> InferResult:
        """Waits for Triton's answer, unless `dismiss` gives it up."""
        task = asyncio.create_task(call)
        self._calls.add(task)
        try:
            return await task
        except asyncio.CancelledError:
            if (ours := asyncio.current_task()) and ours.cancelling():
                raise  # our caller has left
            raise TritonUnavailable("the inference server does not answer; try again") from None
        finally:
            self._calls.discard(task)

    def _wake(self, name: str, priority: Priority) -> None:
        task = asyncio.create_task(self._send_wake(name, priority))
        self._wakes.add(task)
        task.add_done_callback(self._wakes.discard)

    async def _send_wake(self, name: str, priority: Priority) -> None:
        """Makes Triton look at a queue, by a tile whose time is over when it gets there: nothing computes on it."""
        self._metrics.triton_wakes.labels(name).inc()
        with contextlib.suppress(InferenceServerException):  # it is refused, counted by Triton as REJECTED
            await self._client.infer(name, [_blank()], priority=priority, timeout=1, client_timeout=PROBE_TIMEOUT_S)

    async def _read_network(self, name: str) -> Network:
        metadata = await self._client.get_model_metadata(name, client_timeout=PROBE_TIMEOUT_S)
        config = (await self._client.get_model_config(name, client_timeout=PROBE_TIMEOUT_S)).config
        served = config.parameters["sha256"].string_value if "sha256" in config.parameters else ""
        if served != self._expected[name]:
            raise InternalError(
                f"Triton serves another file as '{name}' than model.json describes",
                reason="MODEL_MISMATCH",
                server=self.address,
                served=served or "unknown",
                described=self._expected[name],
            )
        network = Network(name, metadata.versions[-1], served, max(1, config.max_batch_size))
        for priority in Priority:
            self._feeds[name, priority].expect(network.max_batch_size)
        return network


@cache
def _blank() -> InferInput:
    """A tile of zeros."""
    tensor = InferInput("image", [1, 2, TILE, TILE], "FP32")
    tensor.set_data_from_numpy(np.zeros(tensor.shape(), np.float32))
    return tensor


@contextlib.contextmanager
def _translated(name: str) -> Iterator[None]:
    try:
        yield
    except InferenceServerException as error:
        raise _service_error(error, name) from error


def _service_error(error: InferenceServerException, name: str) -> ServiceError:
    """Returns our error for Triton's; its queue speaks of itself in the message only."""
    status, message = str(error.status()), str(error.message())
    if "maximum queue size" in message:
        return Overloaded(
            "the queue of the inference server is full; try again later", reason="TRITON_QUEUE_FULL", network=name
        )
    if status == "StatusCode.DEADLINE_EXCEEDED" or "timeout expired" in message:
        return DeadlinePassed(
            "the inference server did not answer before the deadline", stage="inference", network=name
        )
    if status in ("StatusCode.UNAVAILABLE", "StatusCode.CANCELLED"):
        return TritonUnavailable("the inference server cannot be reached; try again", network=name)
    return InternalError("the inference server refused the request", reason="TRITON_REFUSED", network=name)
