"""The asynchronous client: the same methods as `Client`, awaited."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Iterable, Sequence
from types import TracebackType
from typing import Any, Never, Self, TypeVar, Unpack, overload

import grpc
import numpy as np
from cellserve_contract.payload import Detached
from cellserve_proto import v1 as pb
from grpc_health.v1 import health_pb2
from grpc_health.v1.health_pb2_grpc import HealthStub
from numpy.typing import NDArray

from . import messages
from .calls import ServiceCalls
from .channel import DEFAULT_ADDRESS, addresses, authority, channel_options, target, with_size
from .errors import CellServeError, from_rpc_error, is_unknown_call
from .images import ImageLike, of_volume
from .items import AsyncPairs, keyed_async
from .keywords import at_a_time, check_client, in_types
from .large import LargeCall, call_large_async, is_large, takes_large
from .messages import ImageRequest, Keyed, Template
from .models import Model, ModelList
from .networks import Grid, TileSums, decode_sums, networks_request
from .params import DiameterOptions, Priority, SegmentOptions, SegmentParams
from .progress import ProgressCallback
from .results import DiameterEstimate, Limits, Segmentation
from .retry import Retries
from .streams import in_stream_async
from .time_series import at_time, of_time_series, read_time_points

K = TypeVar("K")


class AsyncClient:
    """`Client` for asyncio: packing and unpacking of images run in threads, never on the event loop.

    It may be constructed anywhere and connects at its first call; use and close it within one event loop. Arguments
    and errors are those of `Client`.
    """

    def __init__(
        self,
        address: str | Sequence[str] = DEFAULT_ADDRESS,
        *,
        deadline_s: float = 300.0,
        credentials: grpc.ChannelCredentials | None = None,
        metadata: Sequence[tuple[str, str]] = (),
        **unknown: Never,
    ) -> None:
        check_client(unknown)
        self._address = ", ".join(addresses(address))
        self._target = target(address)
        self._deadline_s = in_types({"deadline_s": deadline_s})["deadline_s"]
        self._credentials = credentials
        self._metadata = tuple(metadata)
        self._options = [*channel_options(), *authority(address)]
        self._channel: grpc.aio.Channel | None = None
        self._retries = Retries()
        self._closed = asyncio.Event()

    async def segment(
        self,
        image: ImageLike,
        params: SegmentParams | None = None,
        *,
        request_id: str | None = None,
        progress: ProgressCallback | None = None,
        **options: Unpack[SegmentOptions],
    ) -> Segmentation:
        """Segments one image; see `Client.segment`. `progress` is called on the event loop."""
        return await self._segment(Template.of(params, **options), image, request_id, progress)

    async def segment_volume(
        self,
        image: ImageLike,
        params: SegmentParams | None = None,
        *,
        request_id: str | None = None,
        progress: ProgressCallback | None = None,
        **options: Unpack[SegmentOptions],
    ) -> Segmentation:
        """Segments a stack; see `Client.segment_volume`."""
        filled = of_volume(image, params, options)
        return await self.segment(image, params, request_id=request_id, progress=progress, **filled)

    @overload
    def segment_many(
        self,
        images: AsyncPairs[K],
        params: SegmentParams | None = ...,
        *,
        concurrency: int = ...,
        **options: Unpack[SegmentOptions],
    ) -> AsyncIterator[Keyed[K]]: ...
    @overload
    def segment_many(
        self,
        images: Iterable[ImageLike] | AsyncIterable[ImageLike],
        params: SegmentParams | None = ...,
        *,
        concurrency: int = ...,
        **options: Unpack[SegmentOptions],
    ) -> AsyncIterator[Keyed[Any]]: ...
    def segment_many(
        self,
        images: Any,
        params: SegmentParams | None = None,
        *,
        concurrency: int = 8,
        **options: Unpack[SegmentOptions],
    ) -> AsyncIterator[Keyed[Any]]:
        """Segments many images, several at a time; see `Client.segment_many`.

        An asynchronous iterable will do too. A plain one is read in a thread.
        """
        template = Template.of(params, **options).for_many()
        return self._segment_many(keyed_async(images), template, at_a_time(concurrency))

    def segment_series(
        self,
        image: ImageLike,
        params: SegmentParams | None = None,
        *,
        concurrency: int = 8,
        **options: Unpack[SegmentOptions],
    ) -> AsyncIterator[Segmentation]:
        """Segments the time points of a series, several at a time; see `Client.segment_series`."""
        template = Template.of(params, **of_time_series(image, params, options)).for_many()
        return self._segment_series(keyed_async(read_time_points(image, template)), template, at_a_time(concurrency))

    @overload
    def segment_stream(
        self,
        frames: AsyncPairs[K],
        params: SegmentParams | None = ...,
        *,
        concurrency: int = ...,
        newest_only: bool = ...,
        **options: Unpack[SegmentOptions],
    ) -> AsyncIterator[Keyed[K]]: ...
    @overload
    def segment_stream(
        self,
        frames: Iterable[ImageLike] | AsyncIterable[ImageLike],
        params: SegmentParams | None = ...,
        *,
        concurrency: int = ...,
        newest_only: bool = ...,
        **options: Unpack[SegmentOptions],
    ) -> AsyncIterator[Keyed[Any]]: ...
    def segment_stream(
        self,
        frames: Any,
        params: SegmentParams | None = None,
        *,
        concurrency: int = 8,
        newest_only: bool = False,
        **options: Unpack[SegmentOptions],
    ) -> AsyncIterator[Keyed[Any]]:
        """Segments the frames of an acquisition while it runs; see `Client.segment_stream`.

        An asynchronous iterable will do too. A plain one is read in a thread.
        """
        template = Template.of(params, **options).for_many()
        return in_stream_async(
            lambda image: self._segment(template, image, None), keyed_async(frames), at_a_time(concurrency), newest_only
        )

    async def estimate_diameter(
        self,
        image: ImageLike,
        params: SegmentParams | None = None,
        *,
        request_id: str | None = None,
        **options: Unpack[DiameterOptions],
    ) -> DiameterEstimate:
        """Estimates the median diameter of the objects in an image; see `Client.estimate_diameter`."""
        template = Template.of_diameter(params, **options)
        request = await asyncio.to_thread(template.diameter, image, request_id)
        answer = await self._call_once(self._stub().estimate_diameter, request, template.deadline_s)
        if answer is None:
            return (await self._large(request, template.deadline_s)).diameter()
        return messages.decode_diameter(answer, request.warnings)

    async def run_networks(
        self,
        planes: NDArray[np.float32],
        grid: Grid,
        *,
        model: str = "",
        ensemble: bool = True,
        priority: Priority = "batch",
        request_id: str | None = None,
        deadline_s: float | None = None,
    ) -> TileSums:
        """Runs the networks on planes that are ready for them; see `Client.run_networks`."""
        deadline_s = in_types({"deadline_s": deadline_s}).get("deadline_s")
        request = await asyncio.to_thread(networks_request, planes, grid, model, ensemble, priority, request_id)
        answer = await self._call(self._stub().run_networks, request, deadline_s)
        return await asyncio.to_thread(decode_sums, answer, request)

    async def models(self) -> ModelList:
        """Returns the model families the server offers."""
        return messages.decode_models(await self._call(self._stub().list_models, pb.ListModelsRequest()))

    async def model(self, name: str) -> Model:
        """Returns one model family; InvalidRequestError where the server has none of that name."""
        return messages.decode_model((await self._call(self._stub().get_model, pb.GetModelRequest(name=name))).model)

    async def limits(self) -> Limits | None:
        """Returns what the server takes at most; see `Client.limits`."""
        try:
            return messages.decode_limits(await self._call(self._stub().get_limits, pb.GetLimitsRequest()))
        except CellServeError as error:
            if is_unknown_call(error):
                return None
            raise

    async def health(self) -> str:
        """Returns what a server says of itself; see `Client.health`."""
        answer = await self._call(HealthStub(self._connected()).Check, health_pb2.HealthCheckRequest())
        return str(health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status))

    def take_refusals(self) -> int:
        """`Client.take_refusals`."""
        return self._retries.take_refusals()

    async def close(self) -> None:
        """Closes the connections; calls under way fail."""
        self._closed.set()
        if self._channel is not None:
            await self._channel.close(None)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    def _connected(self) -> Any:
        """Returns the channel, made at the first call because it belongs to the running event loop."""
        if self._channel is None:
            self._channel = (
                grpc.aio.secure_channel(self._target, self._credentials, self._options)
                if self._credentials
                else grpc.aio.insecure_channel(self._target, self._options)
            )
        return self._channel

    def _stub(self) -> ServiceCalls:
        return ServiceCalls(self._connected())

    async def _call(self, method: Any, request: Any, deadline_s: float | None = None) -> Any:
        """Makes one unary call; the boundary where gRPC's exceptions become ours."""
        total_s = self._deadline_s if deadline_s is None else deadline_s
        request_id = request.message.request_id if isinstance(request, Detached) else ""
        metadata = with_size(self._metadata, request)

        async def attempt(left_s: float) -> Any:
            try:
                return await method(request, timeout=left_s, metadata=metadata)
            except grpc.RpcError as error:
                raise from_rpc_error(error, address=self._address, deadline_s=total_s, request_id=request_id) from error

        in_line = isinstance(request, Detached)
        return await self._retries.call_async(attempt, total_s, self._wait, in_line=in_line)

    async def _wait(self, timeout_s: float) -> bool:
        """Waits until the client is closed, `timeout_s` seconds at most. Tells whether it is."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._closed.wait(), timeout_s)
        return self._closed.is_set()

    async def _segment(
        self,
        template: Template,
        image: ImageLike,
        request_id: str | None,
        progress: ProgressCallback | None = None,
    ) -> Segmentation:
        request = await asyncio.to_thread(template.segment, image, request_id)
        answer = None
        if progress is None:  # a unary call tells no progress
            answer = await self._call_once(self._stub().segment, request, template.deadline_s)
        if answer is None:
            large = await self._large(request, template.deadline_s, progress)
            return await asyncio.to_thread(large.segmentation)
        return await asyncio.to_thread(messages.decode_segmentation, answer, request)

    async def _call_once(self, method: Any, request: ImageRequest[Any], deadline_s: float | None) -> Any | None:
        """Makes a unary call; returns None if its request or its answer exceeds the limit of a message."""
        if is_large(request):
            return None
        try:
            return await self._call(method, request, deadline_s)
        except CellServeError as error:
            if takes_large(error):
                return None
            raise

    async def _large(
        self, request: ImageRequest[Any], deadline_s: float | None, progress: ProgressCallback | None = None
    ) -> LargeCall:
        deadline_s = self._deadline_s if deadline_s is None else deadline_s
        return await call_large_async(
            self._stub(), request, deadline_s, self._metadata, self._address, self._wait, self._retries, progress
        )

    async def _segment_many(
        self,
        images: AsyncIterator[tuple[K, ImageLike]],
        template: Template,
        concurrency: int,
        *,
        in_order: bool = False,
    ) -> AsyncGenerator[Keyed[K], None]:
        keys: dict[asyncio.Task[Segmentation], K] = {}
        exhausted = False
        try:
            while True:
                while len(keys) < concurrency and not exhausted:
                    try:
                        key, image = await anext(images)
                    except StopAsyncIteration:
                        exhausted = True
                    else:
                        keys[asyncio.create_task(self._segment(template, image, None))] = key
                        del image  # the image belongs to its task: it must not outlive the call
                if not keys:
                    return
                awaited = [next(iter(keys))] if in_order else keys
                done, _ = await asyncio.wait(awaited, return_when=asyncio.FIRST_COMPLETED)
                task = done.pop()
                key = keys.pop(task)
                try:
                    result: Segmentation | CellServeError = task.result()
                except CellServeError as error:
                    result = error
                yield key, result
        finally:
            for task in keys:
                task.cancel()
            await asyncio.gather(*keys, return_exceptions=True)

    async def _segment_series(
        self, points: AsyncIterator[tuple[int, ImageLike]], template: Template, concurrency: int
    ) -> AsyncIterator[Segmentation]:
        async with contextlib.aclosing(self._segment_many(points, template, concurrency, in_order=True)) as results:
            async for result in results:
                yield at_time(result)
