"""The connection to one Triton."""

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
from tritonclient.utils import InferenceServerException

from cellserve_gateway.app.context import Priority, RequestContext
from cellserve_gateway.app.networks import Network, TileOutput, TileOutputs
from cellserve_gateway.app.tasks import leaves, start_task
from cellserve_gateway.errors import BackendUnavailable, DeadlinePassed, InternalError, ServiceError
from cellserve_gateway.ops.metrics import Metrics

from . import provenance
from .answers import OUTPUT_NAMES, ModelFailed, arrays_of, service_error
from .connection import Connection
from .dispatcher import AsyncDispatcher
from .speed import ModelWork

PROBE_TIMEOUT_S = 2.0
TRIAL_TIMEOUT_S = 30.0
"""Time that a model that failed gets to compute one tile. Tiles of other gateways may be in front."""
MAX_FAILED_PROBES = 2
"""After this many health probes in a row without an answer, tiles already sent are cancelled and sent elsewhere."""


class NotSent(BackendUnavailable):
    """A tile was not sent: its server has stopped being ready."""


class TritonClient:
    """A connection to one Triton.

    A server is ready once it has shown, on the present connection, that it serves the expected files. Behind a new
    connection, there may be another server with other weights. An answer of a connection that has ended does not count.
    Our backend also states the SHA-256 in each answer (docs/decisions/0021).

    A server whose model failed is ready again once the model has computed a tile. Triton itself says that it is ready
    although the process of a model has died.

    Args:
        address: "host:port" of its gRPC interface.
        expected: SHA-256 of each network's file, by the network's name.
        metrics: Where requests are counted.
        headers: Gives the headers of a request: they tell Triton which trace it belongs to.

    Attributes:
        networks: The networks, as the server served them when it last became ready.
        fault: Why the server must not be used, if it serves other files than expected; else None.
    """

    def __init__(
        self, address: str, expected: Mapping[str, str], metrics: Metrics, headers: Callable[[], dict[str, str]]
    ) -> None:
        self.address = address
        self._healthy = False
        self.networks: dict[str, Network] = {}
        self.fault: ServiceError | None = None
        self._connection = Connection(address)
        self._client = self._connection.client
        self._expected = expected
        self._states_provenance: dict[str, bool] = {}
        self._dispatchers = {
            (name, priority): AsyncDispatcher(partial(self._wake, name, priority))
            for name in expected
            for priority in Priority
        }
        self._calls: dict[str, set[asyncio.Task[InferResult]]] = {name: set() for name in expected}
        self._tasks: set[asyncio.Task[None]] = set()
        self._failed_probes = 0
        self._failures = 0
        self._verified: int | None = None  # number of the connection on which the server has shown its files
        self._failed_models: dict[str, str] = {}  # and why
        self._missing = ""  # a model that the server does not know
        self._trial: asyncio.Task[None] | None = None
        self._work: dict[str, ModelWork] = {}
        self._metrics = metrics
        for name in expected:
            metrics.triton_wakes.labels(name)  # a series from the start
        self._headers = headers

    async def close(self) -> None:
        """Closes the connection."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._connection.close()

    async def probe(self) -> None:
        """Makes a health probe. Reads the networks of a server that was not ready, and tries models that failed."""
        try:
            if not await self._client.is_server_ready(client_timeout=PROBE_TIMEOUT_S):
                self._healthy = False
            elif self.ready:
                await self._read_statistics()
            else:
                await self._verify()
            self._failed_probes = 0
        except InferenceServerException as error:
            self._healthy = False
            self._failed_probes = (
                self._failed_probes + 1 if str(error.status()) == "StatusCode.DEADLINE_EXCEEDED" else 0
            )
        except ServiceError as error:
            self._refuse(error)
        except Exception as error:  # whatever a server says, the gateway goes on
            self._refuse(
                InternalError(
                    "the inference server's description of itself makes no sense",
                    reason="TRITON_BAD_ANSWER",
                    cause=repr(error)[:200],
                )
            )

    @property
    def ready(self) -> bool:
        """Whether the server may get tiles."""
        return self._healthy and self._verified == self._connection.number

    @property
    def silent(self) -> bool:
        """Whether the last health probe was not answered in time. A busy server may compute all the same."""
        return self._failed_probes > 0 and self._verified == self._connection.number

    @property
    def state(self) -> str:
        """State of the server, for the log."""
        if self.fault:
            return f"not usable: {self.fault.reason}, {self.fault.message}, {self.fault.metadata}"
        if self._missing:
            return (
                f"not ready: it does not serve the model {self._missing}. If Triton neither starts nor stops now, its "
                "model repository lacks the family: restart Triton with the repository of the gateway"
            )
        if self._failed_models:
            return "not ready: " + "; ".join(
                f"{name} failed, {why}" for name, why in sorted(self._failed_models.items())
            )
        return "ready" if self.ready else "not ready"

    @property
    def busy(self) -> bool:
        """Whether requests are at the server or wait for it."""
        return any(dispatcher.load for dispatcher in self._dispatchers.values())

    def load(self, name: str, priority: Priority) -> int:
        """Returns how many tiles of a network and priority class are at the server, or wait for it."""
        return self._dispatchers[name, priority].load

    def waiting(self, name: str, priority: Priority) -> int:
        """Returns how many tiles of a network and priority class wait for a permit."""
        return self._dispatchers[name, priority].waiting

    def tiles_per_s(self, name: str) -> float | None:
        """Returns the best speed of a network that was measured; None: none was."""
        return self._work[name].tiles_per_s if name in self._work else None

    def give_up(self) -> None:
        """Fails the requests that wait for the server, and those at the server if nothing comes of them.

        The backend pool sends their tiles to other servers.
        """
        for dispatcher in self._dispatchers.values():
            dispatcher.fail_waiting(lambda: NotSent("the inference server is not ready; try again"))
        for name, calls in self._calls.items():
            if self._failed_probes >= MAX_FAILED_PROBES or name in self._failed_models:
                for call in calls:
                    call.cancel()

    async def infer(
        self, name: str, tiles: NDArray[np.float32], outputs: tuple[TileOutput, ...], context: RequestContext
    ) -> TileOutputs:
        """Runs a network on tiles; see `cellserve_gateway.app.networks.Backend.infer`.

        Raises:
            BackendUnavailable: The server is not ready from now on.
        """
        tensor = InferInput("image", list(tiles.shape), "FP32")
        tensor.set_data_from_numpy(tiles)
        connection = self._connection.number
        try:
            async with contextlib.AsyncExitStack() as stack:
                with self._metrics.permit_wait(name):
                    await stack.enter_async_context(self._dispatchers[name, context.priority].permit())
                if not (self.ready or self.silent):
                    raise NotSent("the inference server is not ready; try again", network=name)
                timeout_s = context.deadline - asyncio.get_running_loop().time()
                if timeout_s <= 0:
                    raise DeadlinePassed("the deadline passed before the inference server was asked", stage="inference")
                connection, network = self._connection.number, self.networks[name]
                with self._metrics.triton_request(name, len(tiles)), self._measured(name, tiles):
                    result = await self._answer(
                        name,
                        self._client.infer(
                            name,
                            [tensor],
                            outputs=self._asked(name, outputs),
                            priority=context.priority,
                            timeout=int(timeout_s * 1e6),
                            headers=self._headers(),
                            client_timeout=timeout_s,
                        ),
                    )
                if connection != self._connection.number:
                    raise BackendUnavailable("the connection to the inference server was lost; try again", network=name)
                arrays = arrays_of(result, tiles.shape, outputs, name)
                return TileOutputs(arrays.get("maps"), arrays.get("style"), self._stated(network, result))
        except ServiceError as error:
            if connection == self._connection.number and not isinstance(error, NotSent):
                self._note(error, name)
            raise

    @contextlib.contextmanager
    def _measured(self, name: str, tiles: NDArray[np.float32]) -> Iterator[None]:
        """Keeps tiles of other sizes out of the speed of a network, while they are at the server."""
        small = tiles.shape[2:] != (TILE, TILE)
        try:
            if small:
                self._work[name].note_small()
            yield
        finally:
            if small:
                self._work[name].note_small()

    def _asked(self, name: str, outputs: tuple[TileOutput, ...]) -> list[InferRequestedOutput]:
        names = [OUTPUT_NAMES[output] for output in outputs] + [provenance.OUTPUT] * self._states_provenance[name]
        return [InferRequestedOutput(name) for name in names]

    def _stated(self, network: Network, result: InferResult) -> Network:
        """Returns a network as an answer states it, or else as its configuration does."""
        statements = result.as_numpy(provenance.OUTPUT)
        if statements is None:
            return network
        stated = provenance.stated(network, statements.item(0))
        if network.name in self.networks:  # not if the server turned out to serve other files meanwhile
            self.networks[network.name] = stated
        return stated

    def _note(self, error: ServiceError, name: str) -> None:
        """Takes the server out of use after a failure that is its own."""
        broken = isinstance(error, ModelFailed) or error.reason == "TRITON_BAD_ANSWER"
        if broken:
            self._failed_models[name] = str(error.__cause__ or error)
        if broken or isinstance(error, BackendUnavailable):
            self._healthy = False
            self._failures += 1

    def _refuse(self, fault: ServiceError) -> None:
        self.fault, self._healthy, self._verified = fault, False, None
        self.networks.clear()  # answers of another file are not ours

    async def _answer(self, name: str, call: Coroutine[Any, Any, InferResult]) -> InferResult:
        """Waits for Triton's answer, unless `give_up` cancels the request."""
        task = start_task(call)
        self._calls[name].add(task)
        try:
            return await task
        except asyncio.CancelledError:
            if leaves():
                raise  # our caller has left
            raise BackendUnavailable("the inference server does not answer; try again", network=name) from None
        except InferenceServerException as error:
            raise service_error(error, name) from error
        finally:
            self._calls[name].discard(task)
            del task  # see app/tasks.py

    async def _verify(self) -> None:
        """Makes the server ready if it serves the expected files, and if each model that failed computes a tile."""
        connection, failures = self._connection.number, self._failures
        networks = {name: await self._read_network(name) for name in self._expected}
        if connection != self._connection.number or not await self._works_again():
            return
        self.networks, self.fault, self._verified = networks, None, connection
        self._healthy = failures == self._failures
        for network in networks.values():
            self._metrics.models.labels(network.name, network.version, network.sha256).set(1)

    async def _works_again(self) -> bool:
        """Returns whether every model that failed has computed a tile since; waits for the tile, but not long."""
        if not self._failed_models:
            return True
        trial = self._trial = self._trial or self._start(self._try_models())
        await asyncio.wait({trial}, timeout=PROBE_TIMEOUT_S)
        if not trial.done():
            return False
        self._trial = None
        return not self._failed_models

    async def _try_models(self) -> None:
        for name in list(self._failed_models):
            with contextlib.suppress(InferenceServerException, InternalError):
                result = await self._client.infer(
                    name,
                    [_blank()],
                    priority=Priority.ACQUISITION,
                    timeout=int(TRIAL_TIMEOUT_S * 1e6),
                    client_timeout=TRIAL_TIMEOUT_S,
                )
                offered = {output: name for output, name in OUTPUT_NAMES.items() if result.get_output(name)}
                arrays_of(result, (1, 2, TILE, TILE), tuple(offered), name)
                self._failed_models.pop(name, None)

    async def _read_statistics(self) -> None:
        """Reads how quickly the models compute, and notices those that have stopped."""
        found = (await self._client.get_inference_statistics("", client_timeout=PROBE_TIMEOUT_S)).model_stats
        for name in self._work.keys() & {model.name for model in found}:
            (model,) = (model for model in found if model.name == name)
            at_model, now = len(self._calls[name]), asyncio.get_running_loop().time()
            if self._work[name].observe(model, at_model, now):
                self._note(ModelFailed("the model has finished nothing for too long", network=name), name)

    def _start(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = start_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def _wake(self, name: str, priority: Priority) -> None:
        self._start(self._send_wake(name, priority))

    async def _send_wake(self, name: str, priority: Priority) -> None:
        """Makes Triton inspect a queue: sends a tile whose deadline is over at its arrival, so that no network runs."""
        self._metrics.triton_wakes.labels(name).inc()
        with contextlib.suppress(InferenceServerException):  # Triton refuses it, and counts it as REJECTED
            await self._client.infer(name, [_blank()], priority=priority, timeout=1, client_timeout=PROBE_TIMEOUT_S)

    async def _read_network(self, name: str) -> Network:
        try:
            metadata = await self._client.get_model_metadata(name, client_timeout=PROBE_TIMEOUT_S)
        except InferenceServerException as error:
            self._missing = name if str(error.status()) == "StatusCode.NOT_FOUND" else ""
            raise
        self._missing = ""
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
        if not metadata.versions:
            raise InternalError(
                f"Triton lists no version of '{name}'", reason="TRITON_BAD_ANSWER", server=self.address, network=name
            )
        batch = max(1, config.max_batch_size)
        self._states_provenance[name] = any(output.name == provenance.OUTPUT for output in config.output)
        any_size = any(-1 in image.dims for image in config.input)
        network = Network(name, metadata.versions[-1], served, batch, *provenance.configured(config), any_size)
        for priority in Priority:
            self._dispatchers[name, priority].set_batch_size(network.max_batch_size)
        instances = sum(group.count * max(1, len(group.gpus)) for group in config.instance_group)
        self._work[name] = ModelWork(batch, max(1, instances))
        return network


@cache
def _blank() -> InferInput:
    """A tile of zeros."""
    tensor = InferInput("image", [1, 2, TILE, TILE], "FP32")
    tensor.set_data_from_numpy(np.zeros(tensor.shape(), np.float32))
    return tensor
