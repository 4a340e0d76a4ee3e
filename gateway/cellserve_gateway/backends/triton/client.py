"""The connection to one Triton. Only this module knows the client library; it translates its exceptions."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Coroutine, Iterator, Mapping
from functools import cache, partial
from typing import Any

import numpy as np
from cellserve_preprocess import TILE
from numpy.typing import NDArray
from tritonclient.grpc import InferInput, InferRequestedOutput, InferResult
from tritonclient.grpc.aio import InferenceServerClient
from tritonclient.utils import InferenceServerException

from cellserve_gateway.app.context import Priority, RequestContext
from cellserve_gateway.app.networks import Network, TileOutput, TileOutputs
from cellserve_gateway.errors import BackendUnavailable, DeadlinePassed, InternalError, Overloaded, ServiceError
from cellserve_gateway.ops.metrics import Metrics

from .dispatcher import AsyncDispatcher

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
OUTPUT_NAMES: dict[TileOutput, str] = {"maps": "flows", "style": "style"}
"""Names of the outputs in the ONNX graph."""
MAX_FAILED_PROBES = 2
"""After this many health probes in a row without an answer, tiles already sent are cancelled and sent elsewhere."""


class TritonClient:
    """A connection to one Triton.

    Args:
        address: "host:port" of its gRPC interface.
        expected: SHA-256 of each network's file, by the network's name.
        metrics: Where requests are counted.
        headers: Gives the headers of a request: they tell Triton which trace it belongs to.

    Attributes:
        ready: Whether the server served every network at its last health probe or request.
        networks: The networks, as the server served them when it last became ready.
        fault: Why the server must not be used, if it serves other files than expected; else None.
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
        self._dispatchers = {
            (name, priority): AsyncDispatcher(partial(self._wake, name, priority))
            for name in expected
            for priority in Priority
        }
        self._calls: set[asyncio.Task[InferResult]] = set()
        self._wakes: set[asyncio.Task[None]] = set()
        self._failed_probes = 0
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
        """Makes a health probe, and reads the limits of the networks when the server has (re)appeared."""
        try:
            if not await self._client.is_server_ready(client_timeout=PROBE_TIMEOUT_S):
                self.ready = False
            elif not self.ready:
                self.networks = {name: await self._read_network(name) for name in self._expected}
                self.fault, self.ready = None, True
                for network in self.networks.values():
                    self._metrics.models.labels(network.name, network.version, network.sha256).set(1)
            self._failed_probes = 0
        except InferenceServerException as error:
            self.ready = False
            self._failed_probes = (
                self._failed_probes + 1 if str(error.status()) == "StatusCode.DEADLINE_EXCEEDED" else 0
            )
        except ServiceError as error:
            self.fault, self.ready = error, False
            self.networks.clear()  # answers of another file are not ours

    @property
    def state(self) -> str:
        """State of the server, for the log."""
        if self.fault:
            return f"not usable: {self.fault.reason}, {self.fault.message}, {self.fault.metadata}"
        return "ready" if self.ready else "not ready"

    @property
    def busy(self) -> bool:
        """Whether requests are at the server or wait for it."""
        return any(dispatcher.load for dispatcher in self._dispatchers.values())

    def load(self, name: str, priority: Priority) -> int:
        """Returns how many tiles of a network and priority class are at the server, or wait for it."""
        return self._dispatchers[name, priority].load

    def give_up(self) -> None:
        """Fails the requests that wait for the server, and those at the server if it fails its health probes.

        The backend pool sends their tiles to other servers.
        """
        for dispatcher in self._dispatchers.values():
            dispatcher.fail_waiting(lambda: BackendUnavailable("the inference server is not ready; try again"))
        if self._failed_probes >= MAX_FAILED_PROBES:
            for call in self._calls:
                call.cancel()

    async def infer(
        self, name: str, tiles: NDArray[np.float32], outputs: tuple[TileOutput, ...], context: RequestContext
    ) -> TileOutputs:
        """Runs a network on tiles; see `cellserve_gateway.app.networks.Backend.infer`."""
        tensor = InferInput("image", list(tiles.shape), "FP32")
        tensor.set_data_from_numpy(tiles)
        async with contextlib.AsyncExitStack() as stack:
            with self._metrics.permit_wait(name):
                await stack.enter_async_context(self._dispatchers[name, context.priority].permit())
            timeout_s = context.deadline - asyncio.get_running_loop().time()
            if timeout_s <= 0:
                raise DeadlinePassed("the deadline passed before the inference server was asked", stage="inference")
            with self._metrics.triton_request(name, len(tiles)), _translated(name):
                call = self._client.infer(
                    name,
                    [tensor],
                    outputs=[InferRequestedOutput(OUTPUT_NAMES[output]) for output in outputs],
                    priority=context.priority,
                    timeout=int(timeout_s * 1e6),
                    headers=self._headers(),
                    client_timeout=timeout_s,
                )
                result = await self._answer(call)
        answer = {output: result.as_numpy(OUTPUT_NAMES[output]) for output in outputs}
        for output, array in answer.items():
            if array is None or len(array) != len(tiles):
                raise InternalError(
                    "the inference server's answer does not fit the request", reason="TRITON_BAD_ANSWER", output=output
                )
        return TileOutputs(answer.get("maps"), answer.get("style"))

    async def _answer(self, call: Coroutine[Any, Any, InferResult]) -> InferResult:
        """Waits for Triton's answer, unless `give_up` cancels the request."""
        task = asyncio.create_task(call)
        self._calls.add(task)
        try:
            return await task
        except asyncio.CancelledError:
            if (ours := asyncio.current_task()) and ours.cancelling():
                raise  # our caller has left
            raise BackendUnavailable("the inference server does not answer; try again") from None
        finally:
            self._calls.discard(task)

    def _wake(self, name: str, priority: Priority) -> None:
        task = asyncio.create_task(self._send_wake(name, priority))
        self._wakes.add(task)
        task.add_done_callback(self._wakes.discard)

    async def _send_wake(self, name: str, priority: Priority) -> None:
        """Makes Triton inspect a queue: sends a tile whose deadline is over at its arrival, so that no network runs."""
        self._metrics.triton_wakes.labels(name).inc()
        with contextlib.suppress(InferenceServerException):  # Triton refuses it, and counts it as REJECTED
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
        batch = max(1, config.max_batch_size)
        network = Network(name, metadata.versions[-1], served, batch, config.backend, _precision(config))
        for priority in Priority:
            self._dispatchers[name, priority].set_batch_size(network.max_batch_size)
        return network


def _precision(config: Any) -> str:
    """Returns the precision that a model's configuration demands, "" where it demands none."""
    accelerators = config.optimization.execution_accelerators
    found = (
        accelerator.parameters.get("precision", "")
        for accelerator in (*accelerators.cpu_execution_accelerator, *accelerators.gpu_execution_accelerator)
    )
    return next((word for word in found if word in ("f32", "bf16")), "")


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
        return BackendUnavailable("the inference server cannot be reached; try again", network=name)
    return InternalError("the inference server refused the request", reason="TRITON_REFUSED", network=name)
