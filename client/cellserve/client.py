"""The synchronous client."""

from __future__ import annotations

import contextlib
from collections.abc import Generator, Iterable, Iterator, Sequence
from types import TracebackType
from typing import Any, Never, Self, TypeVar, Unpack, overload

import grpc
import numpy as np
from cellserve_contract.payload import Detached
from cellserve_formats import Image
from cellserve_proto import v1 as pb
from grpc_health.v1 import health_pb2
from grpc_health.v1.health_pb2_grpc import HealthStub
from numpy.typing import NDArray

from . import messages
from .calls import CallGroup, ServiceCalls
from .channel import DEFAULT_ADDRESS, addresses, authority, channel_options, target, with_size
from .errors import CellServeError, UnavailableError, from_rpc_error, is_unknown_call
from .images import ImageLike, of_volume
from .items import Pairs, keyed
from .keywords import at_a_time, check_client, in_types
from .large import LargeCall, call_large, is_large, takes_large
from .many import in_parallel
from .messages import ImageRequest, Keyed, Template
from .models import Model, ModelList
from .networks import Grid, TileSums, decode_sums, networks_request
from .params import DiameterOptions, Priority, SegmentOptions, SegmentParams
from .progress import ProgressCallback
from .results import DiameterEstimate, Limits, Segmentation
from .retry import Retries
from .streams import in_stream
from .time_series import at_time, of_time_series, read_time_points

K = TypeVar("K")


class Client:
    """Segments images on one CellServe server or several.

    Thread-safe; keep one for as long as you work. Calls go round the servers in turn. A call that no server takes, or
    that a server invites to come back, is made again until its deadline; see `cellserve.retry`. A client that has not
    reached any server yet gives up after five seconds. Every failure is a `CellServeError`.

    Args:
        address: "host:port", or several of them; see `cellserve.channel.target`.
        deadline_s: Seconds a call may take, retries included, unless it says otherwise.
        credentials: TLS credentials (`grpc.ssl_channel_credentials()`); None connects without encryption.
        metadata: Pairs sent with every call, such as `("authorization", "Bearer ...")`.

    Raises:
        TypeError: An argument that does not exist, or a value of a wrong type.
        ValueError: An address makes no sense.
        OSError: One of several host names cannot be resolved.
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
        self._deadline_s = in_types({"deadline_s": deadline_s})["deadline_s"]
        self._metadata = tuple(metadata)
        options = [*channel_options(), *authority(address)]
        self._channel = (
            grpc.secure_channel(target(address), credentials, options)
            if credentials
            else grpc.insecure_channel(target(address), options)
        )
        self._stub = ServiceCalls(self._channel)
        self._health: Any = HealthStub(self._channel)
        self._retries = Retries()
        self._calls = CallGroup()

    def segment(
        self,
        image: ImageLike,
        params: SegmentParams | None = None,
        *,
        request_id: str | None = None,
        progress: ProgressCallback | None = None,
        **options: Unpack[SegmentOptions],
    ) -> Segmentation:
        """Segments one image.

        Args:
            image: An array [Y, X], [Y, X, C] (RGB) or, with `axes`, [C, Y, X] of any real dtype, an `Image`, an
                `EncodedImage`, or the path of a file.
            params: Parameters; None: the server's defaults.
            request_id: Name of the request in the server's log, at most 128 printable ASCII characters. Default:
                random.
            progress: Is called with the progress of the work, on the thread of the caller: at each change, but not more
                than twice a second. An exception that it raises ends the call. If the call breaks and is made again,
                the progress begins anew.
            **options: The fields of `SegmentParams`, such as diameter=30, and of `SegmentOptions`, such as axes,
                outputs, compression, priority, deadline_s.

        Returns:
            Label image, objects, and how they came about. The result refers to the image.

        Raises:
            TypeError: A keyword that does not exist, or a value of a wrong type.
            CellServeError: See `cellserve.errors`.
        """
        return self._segment(Template.of(params, **options), image, request_id, self._calls, progress)

    def segment_volume(
        self,
        image: ImageLike,
        params: SegmentParams | None = None,
        *,
        request_id: str | None = None,
        progress: ProgressCallback | None = None,
        **options: Unpack[SegmentOptions],
    ) -> Segmentation:
        """Segments a stack: `segment` with stack_mode="volume", unless the call says "stitch" or "planes".

        Args:
            image: As in `segment`. Arrays have axes [Z, Y, X] or [Z, C, Y, X] unless `axes` says otherwise.
            params: As in `segment`.
            request_id: As in `segment`.
            progress: As in `segment`.
            **options: As in `segment`. anisotropy is the distance of planes over that of pixels; it follows from the
                pixel size of the image if that is known.

        Returns:
            Labels [Z, Y, X] and objects; boxes and centroids begin with z.

        Raises:
            TypeError: A keyword that does not exist, or a value of a wrong type.
            CellServeError: See `cellserve.errors`.
        """
        filled = of_volume(image, params, options)
        return self.segment(image, params, request_id=request_id, progress=progress, **filled)

    @overload
    def segment_many(
        self,
        images: Pairs[K],
        params: SegmentParams | None = ...,
        *,
        concurrency: int = ...,
        **options: Unpack[SegmentOptions],
    ) -> Iterator[Keyed[K]]: ...
    @overload
    def segment_many(
        self,
        images: Iterable[ImageLike],
        params: SegmentParams | None = ...,
        *,
        concurrency: int = ...,
        **options: Unpack[SegmentOptions],
    ) -> Iterator[Keyed[Any]]: ...
    def segment_many(
        self,
        images: Any,
        params: SegmentParams | None = None,
        *,
        concurrency: int = 8,
        **options: Unpack[SegmentOptions],
    ) -> Iterator[Keyed[Any]]:
        """Segments many images, several at a time, each in a call of its own that any server may take.

        Args:
            images: A dict of images, or an iterable of images, paths and pairs (key, image), such as
                `sorted(Path("plate").glob("*.tif"))` or `enumerate(frames)`; read only as far as needed. A pair is a
                tuple of two. An array is one image: `list(stack)` gives those of a stack.
            params: As in `segment`.
            concurrency: Images in work at a time; no more than that are held in memory, results included.
            **options: As in `segment`.

        Yields:
            Pairs of a key and the result, or the `CellServeError` of that image, as they finish. The key is that of the
            dict or pair; the path as given for a path; the number of the image, from 0, for others. Ending the
            iteration early cancels what is under way.

        Raises:
            TypeError: `images` is one image, or nothing to iterate over; while iterating: an item is no image.
        """
        template = Template.of(params, **options).for_many()
        return self._segment_many(keyed(images), template, at_a_time(concurrency))

    def segment_series(
        self,
        image: ImageLike,
        params: SegmentParams | None = None,
        *,
        concurrency: int = 8,
        **options: Unpack[SegmentOptions],
    ) -> Iterator[Segmentation]:
        """Segments the time points of a series, several at a time, each in a call of its own that any server may take.

        Args:
            image: As in `segment`, or `segment_volume` if a stack mode is given. Arrays have axes [T, Y, X] or
                [T, C, Y, X], with a stack mode [T, Z, Y, X] or [T, Z, C, Y, X], unless `axes` says otherwise. An image
                without axis T is one time point. A file is read whole.
            params: As in `segment`. A diameter that is left out is estimated from each time point.
            concurrency: Time points in work at a time. Results that wait for an earlier time point count.
            **options: As in `segment`.

        Yields:
            Results in order of time. They keep no pixels. Ending the iteration early cancels what is under way.

        Raises:
            CellServeError: While iterating: the image cannot be read, or a time point failed. The message and the
                entry `time_point` of the metadata name the time point. The iteration ends; `segment_many` goes on after
                errors.
        """
        template = Template.of(params, **of_time_series(image, params, options)).for_many()
        return self._segment_series(read_time_points(image, template), template, at_a_time(concurrency))

    @overload
    def segment_stream(
        self,
        frames: Pairs[K],
        params: SegmentParams | None = ...,
        *,
        concurrency: int = ...,
        newest_only: bool = ...,
        **options: Unpack[SegmentOptions],
    ) -> Iterator[Keyed[K]]: ...
    @overload
    def segment_stream(
        self,
        frames: Iterable[ImageLike],
        params: SegmentParams | None = ...,
        *,
        concurrency: int = ...,
        newest_only: bool = ...,
        **options: Unpack[SegmentOptions],
    ) -> Iterator[Keyed[Any]]: ...
    def segment_stream(
        self,
        frames: Any,
        params: SegmentParams | None = None,
        *,
        concurrency: int = 8,
        newest_only: bool = False,
        **options: Unpack[SegmentOptions],
    ) -> Iterator[Keyed[Any]]:
        """Segments the frames of an acquisition while it runs. Results come while the next frame is awaited.

        Each frame is a call of its own, as in `segment_many`. An acquisition may last for days, whatever connections
        and servers come and go.

        Args:
            frames: As in `segment_many`; read in a thread of its own, as far as `concurrency` allows.
            params: As in `segment`.
            concurrency: Frames that may be unanswered at a time.
            newest_only: For live views. `frames` is read without a pause. One frame at most waits to be sent: the
                newest. The frame that it replaces has a `SkippedError` as its result.
            **options: As in `segment`; deadline_s is the time of each frame, from when it is sent.

        Yields:
            Pairs of a key and the result, or the `CellServeError` of that frame, as they finish; keys as in
            `segment_many`. Ending the iteration early cancels what is under way.
        """
        template = Template.of(params, **options).for_many()
        return self._segment_stream(keyed(frames), template, at_a_time(concurrency), newest_only)

    def estimate_diameter(
        self,
        image: ImageLike,
        params: SegmentParams | None = None,
        *,
        request_id: str | None = None,
        **options: Unpack[DiameterOptions],
    ) -> DiameterEstimate:
        """Estimates the median diameter of the objects in an image.

        Args:
            image: As in `segment`.
            params: Model, channels, normalisation and tile overlap matter.
            request_id: As in `segment`.
            **options: The fields of `SegmentParams`, and those of `DiameterOptions`.

        Raises:
            CellServeError: See `cellserve.errors`.
        """
        template = Template.of_diameter(params, **options)
        request = template.diameter(image, request_id)
        answer = self._call_once(self._stub.estimate_diameter, request, template.deadline_s, self._calls)
        if answer is None:
            return self._large(request, template.deadline_s, self._calls).diameter()
        return messages.decode_diameter(answer, request.warnings)

    def run_networks(
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
        """Runs the networks on planes that are ready for them, for an image that is segmented block by block.

        The server neither normalises nor scales the planes, and recovers no masks. Request and answer are one message
        each: the answer has 12 bytes for each pixel of a plane, and `Limits.max_message_bytes` is the limit.

        Args:
            planes: float32 [N, C, y, x], the rows and columns that the tiles of the part lie in. C is 1 (cytoplasm) or
                2 (cytoplasm, nucleus). Sent without a copy if they are C-contiguous.
            grid: The part of the grid of tiles that all planes have, such as a `cellserve_preprocess.TileGrid`.
            model: Model family; "": the server's default.
            ensemble: The average of the family's networks; False: network 0 alone.
            priority: As in `segment`.
            request_id: As in `segment`.
            deadline_s: Seconds until the call fails with DeadlineError. Default: the client's.

        Raises:
            CellServeError: See `cellserve.errors`.
        """
        deadline_s = in_types({"deadline_s": deadline_s}).get("deadline_s")
        request = networks_request(planes, grid, model, ensemble, priority, request_id)
        return decode_sums(self._call(self._stub.run_networks, request, deadline_s), request)

    def models(self) -> ModelList:
        """Returns the model families the server offers."""
        return messages.decode_models(self._call(self._stub.list_models, pb.ListModelsRequest()))

    def model(self, name: str) -> Model:
        """Returns one model family; InvalidRequestError where the server has none of that name."""
        return messages.decode_model(self._call(self._stub.get_model, pb.GetModelRequest(name=name)).model)

    def limits(self) -> Limits | None:
        """Returns what the server takes at most; None if the server is older than this call and does not say.

        Of several servers, one answers. `check_limits` compares an image with the limits before it is sent.
        """
        try:
            return messages.decode_limits(self._call(self._stub.get_limits, pb.GetLimitsRequest()))
        except CellServeError as error:
            if is_unknown_call(error):
                return None
            raise

    def health(self) -> str:
        """Returns what a server says of itself: "SERVING", or "NOT_SERVING" while it starts, drains or lacks models."""
        answer = self._call(self._health.Check, health_pb2.HealthCheckRequest())
        return str(health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status))

    def take_refusals(self) -> int:
        """Returns how often a server had no room for a call (RESOURCE_EXHAUSTED) since this was last asked."""
        return self._retries.take_refusals()

    def close(self) -> None:
        """Closes the connections; calls under way fail."""
        self._calls.cancel()
        self._channel.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _call(self, method: Any, request: Any, deadline_s: float | None = None, calls: CallGroup | None = None) -> Any:
        """Makes one unary call; the boundary where gRPC's exceptions become ours."""
        total_s = self._deadline_s if deadline_s is None else deadline_s
        group = calls or self._calls
        request_id = request.message.request_id if isinstance(request, Detached) else ""
        metadata = with_size(self._metadata, request)

        def attempt(left_s: float) -> Any:
            with group.cancelling(method.future(request, timeout=left_s, metadata=metadata)) as call:
                try:
                    return call.result()
                except grpc.FutureCancelledError as error:
                    raise UnavailableError(
                        "the client was closed", grpc.StatusCode.CANCELLED, request_id=request_id
                    ) from error
                except grpc.RpcError as error:
                    raise from_rpc_error(
                        error, address=self._address, deadline_s=total_s, request_id=request_id
                    ) from error

        return self._retries.call(attempt, total_s, group.wait, in_line=isinstance(request, Detached))

    def _segment(
        self,
        template: Template,
        image: ImageLike,
        request_id: str | None,
        calls: CallGroup,
        progress: ProgressCallback | None = None,
    ) -> Segmentation:
        request = template.segment(image, request_id)
        answer = None
        if progress is None:  # a unary call tells no progress
            answer = self._call_once(self._stub.segment, request, template.deadline_s, calls)
        if answer is None:
            return self._large(request, template.deadline_s, calls, progress).segmentation()
        return messages.decode_segmentation(answer, request)

    def _call_once(
        self, method: Any, request: ImageRequest[Any], deadline_s: float | None, calls: CallGroup
    ) -> Any | None:
        """Makes a unary call; returns None if its request or its answer exceeds the limit of a message."""
        if is_large(request):
            return None
        try:
            return self._call(method, request, deadline_s, calls)
        except CellServeError as error:
            if takes_large(error):
                return None
            raise

    def _large(
        self,
        request: ImageRequest[Any],
        deadline_s: float | None,
        calls: CallGroup,
        progress: ProgressCallback | None = None,
    ) -> LargeCall:
        deadline_s = self._deadline_s if deadline_s is None else deadline_s
        return call_large(
            self._stub, request, deadline_s, self._metadata, self._address, calls, self._retries, progress
        )

    def _segment_many(
        self, images: Iterator[tuple[K, ImageLike]], template: Template, concurrency: int, *, in_order: bool = False
    ) -> Generator[Keyed[K]]:
        with self._calls.cancelling(CallGroup()) as calls:
            yield from in_parallel(
                lambda image: self._segment(template, image, None, calls),
                images,
                concurrency,
                calls.cancel,
                in_order=in_order,
            )

    def _segment_series(
        self, points: Iterator[tuple[int, Image]], template: Template, concurrency: int
    ) -> Iterator[Segmentation]:
        with contextlib.closing(self._segment_many(points, template, concurrency, in_order=True)) as results:
            yield from map(at_time, results)

    def _segment_stream(
        self, frames: Iterator[tuple[K, ImageLike]], template: Template, concurrency: int, newest_only: bool
    ) -> Iterator[Keyed[K]]:
        with self._calls.cancelling(CallGroup()) as calls:
            yield from in_stream(
                lambda image: self._segment(template, image, None, calls),
                frames,
                concurrency,
                newest_only,
                calls.cancel,
            )
