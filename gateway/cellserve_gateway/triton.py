"""The only module that knows Triton's client: tiles in, maps out, Triton's exceptions turned into ours."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray
from tritonclient.grpc import InferInput, InferRequestedOutput
from tritonclient.grpc.aio import InferenceServerClient
from tritonclient.utils import InferenceServerException

from .errors import DeadlinePassed, InternalError, Overloaded, ServiceError, TritonUnavailable
from .families import Family
from .feed import Feed
from .metrics import Metrics

# Round robin over all addresses of a headless service; reconnect within seconds of a server's return.
CHANNEL_ARGS = [
    ("grpc.max_send_message_length", -1),
    ("grpc.max_receive_message_length", -1),
    ("grpc.lb_policy_name", "round_robin"),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1000),
    ("grpc.keepalive_time_ms", 20_000),
    ("grpc.keepalive_timeout_ms", 5_000),
]
PROBE_TIMEOUT_S = 2.0


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
    queue_delay_s: float


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
    """A connection to one or several Tritons that serve the same model repository.

    Args:
        address: gRPC address, `host:port` or `dns:///host:port`.
        families: The families that should be served, by name.
        metrics: Where requests are counted.
    """

    def __init__(self, address: str, families: Mapping[str, Family], metrics: Metrics) -> None:
        self.address = address
        self._client = InferenceServerClient(address, channel_args=CHANNEL_ARGS)
        self._expected = {name: file.sha256 for family in families.values() for name, file in family.networks.items()}
        self._networks: dict[str, Network] = {}
        self._ready: set[str] = set()
        self._feeds = {(name, priority): Feed() for name in self._expected for priority in Priority}
        self._metrics = metrics

    async def close(self) -> None:
        """Closes the connection."""
        await self._client.close()

    async def probe(self) -> bool:
        """Looks whether Triton serves every network of every family, and reads their limits when it has (re)appeared.

        Returns:
            True if requests can be served now.

        Raises:
            ServiceError: Triton serves another file than model.json describes.
        """
        try:
            if not await self._client.is_server_ready(client_timeout=PROBE_TIMEOUT_S):
                self._ready.clear()
                return False
            for name in self._expected:
                if not await self._client.is_model_ready(name, client_timeout=PROBE_TIMEOUT_S):
                    self._ready.discard(name)
                elif name not in self._ready:
                    self._networks[name] = await self._read_network(name)
                    self._ready.add(name)
        except InferenceServerException:
            self._ready.clear()
        return len(self._ready) == len(self._expected)

    def ready(self, name: str) -> bool:
        """Returns whether Triton served the network when last looked at."""
        return name in self._ready

    def network(self, name: str) -> Network:
        """Returns a network's limits and version.

        Raises:
            TritonUnavailable: Triton has not been seen serving it yet.
        """
        try:
            return self._networks[name]
        except KeyError:
            raise TritonUnavailable(
                "the inference server cannot be reached or is still loading; try again", network=name
            ) from None

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
        async with self._feeds[name, priority].turn():
            timeout_s = deadline - asyncio.get_running_loop().time()
            if timeout_s <= 0:
                raise DeadlinePassed("the deadline passed before the inference server was asked", stage="inference")
            with self._metrics.triton_request(name, len(tiles)), _translated(name):
                result = await self._client.infer(
                    name,
                    [tensor],
                    outputs=[InferRequestedOutput(output) for output in outputs],
                    priority=priority,
                    timeout=int(timeout_s * 1e6),
                    client_timeout=timeout_s,
                )
        answer = {output: result.as_numpy(output) for output in outputs}
        for output, array in answer.items():
            if array is None or len(array) != len(tiles):
                raise InternalError(
                    "the inference server's answer does not fit the request", reason="TRITON_BAD_ANSWER", output=output
                )
        return Maps(answer.get("flows"), answer.get("style"))

    async def _read_network(self, name: str) -> Network:
        metadata = await self._client.get_model_metadata(name, client_timeout=PROBE_TIMEOUT_S)
        config = (await self._client.get_model_config(name, client_timeout=PROBE_TIMEOUT_S)).config
        served = config.parameters["sha256"].string_value if "sha256" in config.parameters else ""
        if served != self._expected[name]:
            self._networks.pop(name, None)  # answers of another file are not ours
            raise InternalError(
                f"Triton serves another file as '{name}' than model.json describes",
                reason="MODEL_MISMATCH",
                served=served or "unknown",
                described=self._expected[name],
            )
        network = Network(
            name,
            metadata.versions[-1],
            served,
            max(1, config.max_batch_size),
            config.dynamic_batching.max_queue_delay_microseconds / 1e6,
        )
        for priority in Priority:
            self._feeds[name, priority].expect(network.max_batch_size, network.queue_delay_s)
        return network


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
