"""The service of the contract, answered from label images."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterator
from typing import Any, cast

import cellserve_formats
import grpc
import numpy as np
from cellserve_contract import wire
from cellserve_contract.arrays import ArrayError, view_array
from cellserve_contract.channels import resolve_channels
from cellserve_contract.chunks import Assembly, ChunkError, cut
from cellserve_contract.packing import IMAGE_DTYPES
from cellserve_contract.params import MIN_SIZE, ParameterError, SegmentParams
from cellserve_contract.reasons import DOMAIN, ErrorReason
from cellserve_formats import Image, ImageError, PixelSize, check_pixels, planes
from cellserve_proto import v1 as pb
from cellserve_proto.v1 import segmentation_pb2_grpc
from google.rpc import error_details_pb2, status_pb2
from numpy.typing import ArrayLike, NDArray

from .answers import consecutive, fill_answer, median_diameter

Segmenter = Callable[[Image], ArrayLike]
"""Returns the label image [Y, X] of an image; 0 is background."""

Receiver = Callable[[pb.SegmentRequest | pb.EstimateDiameterRequest, grpc.ServicerContext], None]
"""Takes note of a request."""

_ARRAY_REASONS = {"type": "DATA_TYPE_UNSUPPORTED", "size": "IMAGE_SIZE_MISMATCH", "packing": "IMAGE_UNDECODABLE"}


class Refusal(Exception):  # noqa: N818
    """A request fails with a status."""

    def __init__(self, status: status_pb2.Status) -> None:
        super().__init__(status.message)
        self.status = status


def status_of(
    reason: ErrorReason, message: str = "", retry_after_s: float | None = None, **metadata: Any
) -> status_pb2.Status:
    """Returns the status of a failure as a server sends it."""
    code = grpc.StatusCode[reason.status]
    status = status_pb2.Status(code=code.value[0], message=message or reason.meaning)
    facts = {name: str(value) for name, value in metadata.items()}
    status.details.add().Pack(error_details_pb2.ErrorInfo(reason=reason.name, domain=DOMAIN, metadata=facts))
    if retry_after_s is not None:
        retry = error_details_pb2.RetryInfo()
        retry.retry_delay.FromMilliseconds(round(retry_after_s * 1000))
        status.details.add().Pack(retry)
    return status


class Service(segmentation_pb2_grpc.SegmentationServiceServicer):
    """Answers every call of the client that label images can answer.

    Args:
        segment: Finds the objects of an image.
        model: The only model family.
        version: Version of the server.
        receive: Gets each request with an image before the work on it. May raise `Refusal`.
    """

    def __init__(self, segment: Segmenter, model: pb.Model, version: str, receive: Receiver) -> None:
        self.segmenter = segment
        self.model = model
        self.version = version
        self.receive = receive

    def Segment(self, request: pb.SegmentRequest, context: grpc.ServicerContext) -> pb.SegmentResponse:
        """Answers `Segment`."""
        with refusing(context):
            self.receive(request, context)
            return self.segmented(request)

    def EstimateDiameter(
        self, request: pb.EstimateDiameterRequest, context: grpc.ServicerContext
    ) -> pb.EstimateDiameterResponse:
        """Answers `EstimateDiameter`."""
        with refusing(context):
            self.receive(request, context)
            return self.estimated(request)

    def SegmentLarge(
        self, requests: Iterator[pb.SegmentLargeRequest], context: grpc.ServicerContext
    ) -> Iterator[pb.SegmentLargeResponse]:
        """Answers `SegmentLarge`."""
        with refusing(context):
            header = next(requests).header
            yield pb.SegmentLargeResponse(upload=pb.UploadProgress())
            upload = Assembly(header.image_bytes)
            while len(upload.data) < header.image_bytes:
                chunk = next(requests).chunk
                upload.add(chunk, chunk.data)
            segments = header.HasField("segment")
            work = header.segment if segments else header.estimate_diameter
            encoded = work.image.HasField("encoded")
            place = work.image.encoded if encoded else work.image.raw.pixels
            place.data = bytes(upload.data)
            yield pb.SegmentLargeResponse(work=pb.WorkProgress(stage=pb.WORK_STAGE_INFERENCE))
            self.receive(work, context)
            if segments:
                yield from in_parts(self.segmented(header.segment))
            else:
                yield pb.SegmentLargeResponse(diameter=self.estimated(header.estimate_diameter))

    def RunNetworks(self, request: pb.RunNetworksRequest, context: grpc.ServicerContext) -> pb.RunNetworksResponse:
        """Refuses `RunNetworks`: nothing follows for parts of planes from the label images of a test."""
        with refusing(context):
            message = "this server of a test has label images, and no networks to run"
            raise Refusal(status_of(ErrorReason.NOT_IMPLEMENTED, message, feature="RunNetworks"))
        raise AssertionError("refusing always ends the call")

    def ListModels(self, request: pb.ListModelsRequest, context: grpc.ServicerContext) -> pb.ListModelsResponse:
        """Answers `ListModels`."""
        return pb.ListModelsResponse(models=[self.model], default_model=self.model.name)

    def GetModel(self, request: pb.GetModelRequest, context: grpc.ServicerContext) -> pb.GetModelResponse:
        """Answers `GetModel`."""
        with refusing(context):
            self._check_model(request.name)
            return pb.GetModelResponse(model=self.model)

    def GetLimits(self, request: pb.GetLimitsRequest, context: grpc.ServicerContext) -> pb.GetLimitsResponse:
        """Answers `GetLimits`: no limit is known."""
        return pb.GetLimitsResponse(limits=pb.Limits(), server_version=self.version)

    def segmented(self, request: pb.SegmentRequest) -> pb.SegmentResponse:
        """Returns the answer to a request.

        Raises:
            Refusal: A server would refuse the image or a parameter, or the label image has another size.
        """
        image = read(request.image)
        labels = self._labels(image)
        diameter, source = self.diameter(labels, request.params)
        answer = pb.SegmentResponse(
            request_id=request.request_id,
            axes="YX",
            server_version=self.version,
            diameter_source=source,
            model=self.model.versions[0],
        )
        wire.write_params(
            answer.params, dataclasses.replace(self._params(request.params, image).resolved(2), diameter=diameter)
        )
        if image.pixel_size is not None:
            answer.pixel_size.y_um, answer.pixel_size.x_um = image.pixel_size.y, image.pixel_size.x
            if image.pixel_size.z is not None:
                answer.pixel_size.z_um = image.pixel_size.z
        fill_answer(answer, request, labels)
        return answer

    def estimated(self, request: pb.EstimateDiameterRequest) -> pb.EstimateDiameterResponse:
        """Returns the answer to a request for the diameter; errors as in `segmented`."""
        image = read(request.image)
        self._params(request.params, image)
        diameter, source = self.diameter(self._labels(image), request.params)
        return pb.EstimateDiameterResponse(
            request_id=request.request_id,
            diameter=diameter,
            source=source,
            model=self.model.versions[0],
            server_version=self.version,
        )

    def diameter(self, labels: NDArray[Any], params: pb.SegmentParams) -> tuple[float, pb.DiameterSource]:
        """Returns the diameter that the caller gave, or the median of the objects, and where it comes from."""
        if params.diameter:
            return params.diameter, pb.DIAMETER_SOURCE_CALLER
        found = median_diameter(labels)
        if found is None:
            return self.model.working_diameter, pb.DIAMETER_SOURCE_TRAINING_DIAMETER
        return found, pb.DIAMETER_SOURCE_SIZE_MODEL

    def _params(self, message: pb.SegmentParams, image: Image) -> SegmentParams:
        """Returns the parameters as used."""
        try:
            params = wire.read_params(message)
            self._check_model(params.model or self.model.name)
            cytoplasm, nucleus = resolve_channels(
                params.cytoplasm_channel,
                params.nucleus_channel,
                len(planes(image)),
                self.model.name,
                self.model.channels,
            )
        except ParameterError as error:
            reason = ErrorReason.PARAMETER_OUT_OF_RANGE
            raise Refusal(status_of(reason, str(error), parameter=error.parameter, allowed=error.allowed)) from error
        return dataclasses.replace(
            params,
            model=self.model.name,
            cytoplasm_channel=cytoplasm,
            nucleus_channel=nucleus,
            min_size=MIN_SIZE if params.min_size is None else params.min_size,
        )

    def _check_model(self, name: str) -> None:
        if name != self.model.name:
            message = f"there is no model '{name}'; known: {self.model.name}"
            raise Refusal(status_of(ErrorReason.MODEL_UNKNOWN, message, model=name, known=self.model.name))

    def _labels(self, image: Image) -> NDArray[Any]:
        """Returns the label image, 1 to N."""
        labels, shape = np.asarray(self.segmenter(image)), planes(image).shape[1:]
        if labels.shape != shape or labels.dtype.kind not in "biu":
            raise Refusal(
                status_of(
                    ErrorReason.INTERNAL,
                    f"the test gives labels of shape {labels.shape} and type {labels.dtype} for an image of "
                    f"{shape[0]} x {shape[1]} pixels; labels are integers of the size of the image",
                )
            )
        return consecutive(labels)


@contextlib.contextmanager
def refusing(context: grpc.ServicerContext) -> Iterator[None]:
    """Ends a call with the status of a `Refusal`; any other exception, as of a test's own function, is INTERNAL."""
    try:
        yield
        return
    except Refusal as error:
        status = error.status
    except ChunkError as error:
        status = status_of(ErrorReason.CHUNK_INVALID, str(error))
    except Exception as error:
        status = status_of(ErrorReason.INTERNAL, f"{type(error).__name__}: {error}")
    context.set_trailing_metadata([("grpc-status-details-bin", status.SerializeToString())])
    context.abort(next(code for code in grpc.StatusCode if code.value[0] == status.code), status.message)


def read(message: pb.Image) -> Image:
    """Returns the image of a request.

    Raises:
        Refusal: A server would refuse the image.
    """
    try:
        if message.WhichOneof("content") is None:
            raise ImageError("the request holds no image", "IMAGE_EMPTY")
        if message.HasField("encoded"):
            series = message.encoded.series if message.encoded.HasField("series") else None
            image = cellserve_formats.read_image(message.encoded.data, stacks=False, series=series)
        else:
            pixels = view_array(message.raw.pixels)
            if 0 in pixels.shape:
                raise ImageError(f"the image is empty: its shape is {pixels.shape}", "IMAGE_EMPTY")
            if pixels.dtype not in IMAGE_DTYPES:
                raise ImageError(f"pixels of type {pixels.dtype} are not taken", "DATA_TYPE_UNSUPPORTED")
            check_pixels(pixels)
            image = Image(pixels, message.raw.axes)
        planes(image)
    except ImageError as error:
        raise Refusal(status_of(ErrorReason[error.reason], error.message, **error.metadata)) from error
    except ArrayError as error:
        raise Refusal(status_of(ErrorReason[_ARRAY_REASONS[error.kind]], str(error))) from error
    if message.HasField("pixel_size"):
        size = message.pixel_size
        depth = size.z_um if size.HasField("z_um") else None
        image = dataclasses.replace(image, pixel_size=PixelSize(size.y_um, size.x_um, depth))
    return image


def in_parts(answer: pb.SegmentResponse) -> Iterator[pb.SegmentLargeResponse]:
    """Yields an answer as `SegmentLarge` sends it: the answer without arrays and objects, the objects, the arrays."""
    arrays = {
        number: getattr(answer, name) for name, number in wire.words(pb.ResultArray).items() if answer.HasField(name)
    }
    parts = [(number, array.data) for number, array in arrays.items()]
    objects = pb.ObjectBatch(objects=answer.objects)
    for array in arrays.values():
        array.ClearField("data")
    answer.ClearField("objects")
    yield pb.SegmentLargeResponse(result=answer)
    yield pb.SegmentLargeResponse(objects=objects)
    for number, data in parts:
        for chunk, piece in cut(data):
            chunk.data = bytes(piece)
            yield pb.SegmentLargeResponse(chunk=pb.ResultChunk(array=cast(pb.ResultArray, number), chunk=chunk))
