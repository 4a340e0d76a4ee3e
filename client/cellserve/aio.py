"""The asynchronous client: the same methods as `Client`, awaited."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, AsyncIterator, Iterable, Sequence
from types import TracebackType
from typing import Any, Self, TypeVar, Unpack

import grpc
from cellserve_contract.arrays import Detached
from cellserve_proto import v1 as pb
from grpc_health.v1 import health_pb2
from grpc_health.v1.health_pb2_grpc import HealthStub

from . import messages
from .calls import ServiceCalls
from .channel import DEFAULT_ADDRESS, authority, channel_options, target, with_size
from .errors import CellServeError, from_rpc_error
from .images import ImageLike
from .large import LargeCall, call_large_async, is_large, takes_large
from .messages import Frames, ImageRequest, Keyed, Template
from .params import DiameterOptions, SegmentOptions, SegmentParams
from .results import DiameterEstimate, Model, ModelList, Segmentation

K = TypeVar("K")
Items = Iterable[tuple[K, ImageLike]] | AsyncIterable[tuple[K, ImageLike]]


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
    ) -> None:
        self._address = address if isinstance(address, str) else ", ".join(address)
        self._target = target(address)
        self._deadline_s = deadline_s
        self._credentials = credentials
        self._metadata = tuple(metadata)
        self._options = [*channel_options(), *authority(address)]
        self._channel: grpc.aio.Channel | None = None

    async def segment(
        self,
        image: ImageLike,
        params: SegmentParams | None = None,
        *,
        request_id: str | None = None,
        **options: Unpack[SegmentOptions],
    ) -> Segmentation:
        """Segments one image; see `Client.segment`."""
        return await self._segment(Template.of(params, **options), image, request_id)

    def segment_many(
        self,
        images: Items[K],
        params: SegmentParams | None = None,
        *,
        concurrency: int = 8,
        **options: Unpack[SegmentOptions],
    ) -> AsyncIterator[Keyed[K]]:
        """Segments many images, several at a time; see `Client.segment_many`. An asynchronous iterable will do too."""
        return self._segment_many(images, Template.of(params, **options), concurrency)

    def segment_stream(
        self,
        frames: Items[K],
        params: SegmentParams | None = None,
        *,
        concurrency: int = 8,
        **options: Unpack[SegmentOptions],
    ) -> AsyncIterator[Keyed[K]]:
        """Segments frames over one stream; see `Client.segment_stream`. An asynchronous iterable will do too."""
        return self._segment_stream(frames, Template.of(params, **options), concurrency)

    async def estimate_diameter(
        self,
        image: ImageLike,
        params: SegmentParams | None = None,
        *,
        request_id: str | None = None,
        **options: Unpack[DiameterOptions],
    ) -> DiameterEstimate:
        """Estimates the median diameter of the objects in an image; see `Client.estimate_diameter`."""
        template = Template.of(params, **options)
        request = await asyncio.to_thread(template.diameter, image, request_id)
        answer = await self._call_once(self._stub().estimate_diameter, request, template.deadline_s)
        if answer is None:
            return (await self._large(request, template.deadline_s)).diameter()
        return messages.decode_diameter(answer, request.warnings)

    async def models(self) -> ModelList:
        """Returns the model families the server offers."""
        return messages.decode_models(await self._call(self._stub().list_models, pb.ListModelsRequest()))

    async def model(self, name: str) -> Model:
        """Returns one model family; InvalidRequestError where the server has none of that name."""
        return messages.decode_model((await self._call(self._stub().get_model, pb.GetModelRequest(name=name))).model)

    async def health(self) -> str:
        """Returns what a server says of itself; see `Client.health`."""
        answer = await self._call(HealthStub(self._connected()).Check, health_pb2.HealthCheckRequest())
        return str(health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status))

    async def close(self) -> None:
        """Closes the connections; calls under way fail."""
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
        deadline_s = self._deadline_s if deadline_s is None else deadline_s
        request_id = request.message.request_id if isinstance(request, Detached) else ""
        try:
            return await method(request, timeout=deadline_s, metadata=with_size(self._metadata, request))
        except grpc.RpcError as error:
            raise from_rpc_error(error, address=self._address, deadline_s=deadline_s, request_id=request_id) from error

    async def _segment(self, template: Template, image: ImageLike, request_id: str | None) -> Segmentation:
        request = await asyncio.to_thread(template.segment, image, request_id)
        answer = await self._call_once(self._stub().segment, request, template.deadline_s)
        if answer is None:
            return await self._segment_large(template, request)
        return await asyncio.to_thread(messages.decode_segmentation, answer, request.warnings)

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

    async def _segment_large(self, template: Template, request: ImageRequest[pb.SegmentRequest]) -> Segmentation:
        return await asyncio.to_thread((await self._large(request, template.deadline_s)).segmentation)

    async def _large(self, request: ImageRequest[Any], deadline_s: float | None) -> LargeCall:
        deadline_s = self._deadline_s if deadline_s is None else deadline_s
        return await call_large_async(self._stub(), request, deadline_s, self._metadata, self._address)

    async def _segment_many(self, images: Items[K], template: Template, concurrency: int) -> AsyncIterator[Keyed[K]]:
        keys: dict[asyncio.Task[Segmentation], K] = {}
        remaining = aiter(_asynchronous(images))
        exhausted = False
        try:
            while True:
                while len(keys) < concurrency and not exhausted:
                    try:
                        key, image = await anext(remaining)
                    except StopAsyncIteration:
                        exhausted = True
                    else:
                        keys[asyncio.create_task(self._segment(template, image, None))] = key
                        del image  # the image belongs to its task: it must not outlive the call
                if not keys:
                    return
                done, _ = await asyncio.wait(keys, return_when=asyncio.FIRST_COMPLETED)
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

    async def _segment_stream(self, images: Items[K], template: Template, concurrency: int) -> AsyncIterator[Keyed[K]]:
        frames: Frames[K] = Frames()
        slots = asyncio.Semaphore(concurrency)
        # What both tasks tell the caller: an answer, an exception to raise, or None at the end.
        outcomes: asyncio.Queue[Keyed[K] | Exception | None] = asyncio.Queue()
        apart: set[asyncio.Task[None]] = set()
        call = self._stub().segment_stream(timeout=template.deadline_s, metadata=self._metadata)

        async def segment_apart(key: K, request: ImageRequest[pb.SegmentRequest]) -> None:
            """Segments a frame that exceeds the limit of a message, or whose answer does, in a call of its own."""
            try:
                await outcomes.put((key, await self._segment_large(template, request)))
            except CellServeError as error:
                await outcomes.put((key, error))

        async def send() -> None:
            try:
                async for key, image in _asynchronous(images):
                    await slots.acquire()
                    try:
                        request = await asyncio.to_thread(template.segment, image)
                    except CellServeError as error:
                        await outcomes.put((key, error))
                        continue
                    if is_large(request):
                        apart.add(asyncio.create_task(segment_apart(key, request)))
                    else:
                        await call.write(frames.encode(key, request))
                await call.done_writing()
            except (grpc.RpcError, asyncio.InvalidStateError):
                pass  # the stream is over: `receive` learns why
            except Exception as error:  # the caller's own iterable failed: raised where the caller listens
                await outcomes.put(error)

        async def receive() -> None:
            try:
                async for response in call:
                    key, outcome, request = await asyncio.to_thread(frames.decode, response)
                    if isinstance(outcome, CellServeError) and takes_large(outcome):
                        apart.add(asyncio.create_task(segment_apart(key, request)))
                    else:
                        await outcomes.put((key, outcome))
                frames.check_complete()
                if apart:
                    await asyncio.wait(apart)
                await outcomes.put(None)
            except CellServeError as error:
                await outcomes.put(error)
            except grpc.RpcError as error:
                await outcomes.put(
                    from_rpc_error(error, address=self._address, deadline_s=template.deadline_s, request_id="")
                )

        tasks = [asyncio.create_task(send()), asyncio.create_task(receive())]
        try:
            while (outcome := await outcomes.get()) is not None:
                if isinstance(outcome, Exception):
                    raise outcome
                slots.release()
                yield outcome
        finally:
            call.cancel()
            ending = [*tasks, *apart]
            for task in ending:
                task.cancel()
            await asyncio.gather(*ending, return_exceptions=True)


async def _asynchronous(items: Items[K]) -> AsyncIterator[tuple[K, ImageLike]]:
    """Iterates over either kind of iterable."""
    if isinstance(items, AsyncIterable):
        async for item in items:
            yield item
    else:
        for item in items:
            yield item
