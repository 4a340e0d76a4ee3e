"""Between our objects and the messages of the contract, without any input or output: what both clients share."""

from __future__ import annotations

import dataclasses
import uuid
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar, Unpack, cast

import numpy as np
from cellserve_contract import wire
from cellserve_contract.arrays import Packing
from cellserve_contract.params import PARAMETERS, ParameterError
from cellserve_contract.payload import Detached
from cellserve_contract.warnings import Warned, Warnings
from cellserve_formats import EncodedImage, Image, PixelSize
from cellserve_proto import v1 as pb
from google.protobuf.message import Message
from numpy.typing import NDArray

from .errors import CellServeError, invalid_answer, one_image, refusal
from .images import ImageLike, decode_array, describe_image
from .keywords import check_options, check_params, in_types
from .models import Model, ModelList, ModelVersion
from .params import DiameterOptions, DiameterSource, SegmentOptions, SegmentParams
from .progress import Progress, Stage
from .results import DiameterEstimate, Limits, Object, ResultWarning, Segmentation, Timing
from .sources import ImageSource

K = TypeVar("K")
M = TypeVar("M", bound=Message)
Keyed = tuple[K, Segmentation | CellServeError]


def number_of(enum: Any, word: str, option: str) -> Any:
    """Returns the number of a word of an enumeration; InvalidRequestError for a word that does not exist."""
    try:
        return wire.number_of(enum, word, option)
    except wire.UnknownWordError as error:
        raise refusal(str(error), "FIELD_INVALID", field=option) from error


@dataclass(frozen=True)
class Template:
    """What the requests of one call have in common; made once, so that a wrong parameter fails before anything is sent.

    Attributes:
        request: The request, without id and image.
        axes: Axes of plain arrays, or None.
        series: Number of the image in files that hold several, or None.
        packing: How pixels are packed on their way to the server.
        deadline_s: Deadline of each call in seconds, None for the client's.
        keeps_pixels: Whether results refer to images that are no paths.
    """

    request: pb.SegmentRequest
    axes: str | None
    series: int | None
    packing: Packing
    deadline_s: float | None
    keeps_pixels: bool = True

    @classmethod
    def of(cls, params: SegmentParams | None, **options: Unpack[SegmentOptions]) -> Template:
        """Sorts the keywords of a call; those that are not options are fields of `SegmentParams` and win over `params`.

        Raises:
            TypeError: A keyword that does not exist, or a value of a wrong type.
            InvalidRequestError: A word that is not among the allowed ones, or a parameter out of range.
        """
        return cls._of(params, options, SegmentOptions.__annotations__)

    @classmethod
    def of_diameter(cls, params: SegmentParams | None, **options: Unpack[DiameterOptions]) -> Template:
        """`of` for an estimate of the diameter."""
        return cls._of(params, options, DiameterOptions.__annotations__)

    @classmethod
    def _of(cls, params: SegmentParams | None, given: Mapping[str, Any], known: Collection[str]) -> Template:
        check_params(params)
        check_options(given, known)
        fields = {name: value for name, value in given.items() if name in PARAMETERS}
        options = in_types({name: value for name, value in given.items() if name not in PARAMETERS})
        compression = options.get("compression", "auto")
        request = pb.SegmentRequest(
            outputs=[number_of(pb.Output, word, "outputs") for word in options.get("outputs", ())],
            omit_labels=options.get("omit_labels"),
            maps_only=options.get("maps_only"),
            map_type=number_of(pb.DataType, options.get("map_type", "float32"), "map_type"),
            priority=number_of(pb.Priority, options.get("priority", "batch"), "priority"),
            compression=None if compression == "auto" else number_of(pb.Compression, compression, "compression"),
            work_budget_s=options.get("work_budget_s"),
        )
        defaults = {name: PARAMETERS[name].default for name, value in fields.items() if value is None}
        try:
            chosen = dataclasses.replace(params or SegmentParams(), **fields | defaults)
            wire.write_params(request.params, chosen, defaults=False)
        except ParameterError as error:
            facts = {"parameter": error.parameter, "allowed": error.allowed}
            raise refusal(str(error), "PARAMETER_OUT_OF_RANGE", **facts) from error
        packing: Packing = "zlib" if compression == "zlib" else "none"
        return cls(request, options.get("axes"), options.get("series"), packing, options.get("deadline_s"))

    @property
    def stacks(self) -> bool:
        """Whether the parameters say what the planes of a stack make."""
        return bool(self.request.params.stack_mode != pb.STACK_MODE_UNSPECIFIED)

    def for_many(self) -> Template:
        """Returns the template for many images, whose results do not keep the pixels of their images."""
        return dataclasses.replace(self, keeps_pixels=False)

    def segment(self, image: ImageLike, request_id: str | None = None) -> ImageRequest[pb.SegmentRequest]:
        """Makes the request for one image; a random id, if none is given, names even a call that gets lost.

        Raises:
            InvalidRequestError: The image cannot be sent.
        """
        request = pb.SegmentRequest()
        request.CopyFrom(self.request)
        request.request_id = request_id or uuid.uuid4().hex
        return self._request(request, request.image, image)

    def diameter(self, image: ImageLike, request_id: str | None = None) -> ImageRequest[pb.EstimateDiameterRequest]:
        """Makes the request for the size of the objects in one image."""
        request = pb.EstimateDiameterRequest(
            request_id=request_id or uuid.uuid4().hex, params=self.request.params, priority=self.request.priority
        )
        if self.request.HasField("work_budget_s"):
            request.work_budget_s = self.request.work_budget_s
        return self._request(request, request.image, image)

    def _request(self, message: M, place: pb.Image, image: ImageLike) -> ImageRequest[M]:
        """Puts an image into its place in a message."""
        source = ImageSource(image, self.axes, self.series, self.stacks)
        with one_image():
            sent = source.to_send()
            path, data = describe_image(place, sent, self.packing)
            if isinstance(sent, EncodedImage) and self.series is not None:
                place.encoded.series = self.series
        warnings = sent.warnings if isinstance(sent, Image) else ()
        kept = source if self.keeps_pixels else source.without_pixels()
        return ImageRequest(message, ("image", *path), data, warnings, kept)


@dataclass(frozen=True, slots=True, eq=False)
class ImageRequest(Detached[M]):
    """A request about an image.

    Attributes:
        warnings: What the client's reader of the image left out or did not heed.
        source: The image as it was given.
    """

    warnings: Warnings
    source: ImageSource


def decode_segmentation(
    message: pb.SegmentResponse, request: ImageRequest[Any], data: Mapping[str, bytes | memoryview] = {}
) -> Segmentation:
    """Unpacks the answer to one image.

    Args:
        message: The answer.
        request: The request. The warnings of the image's reader come first in the result.
        data: The bytes of arrays that came apart from the message, by field.

    Raises:
        ServerError: The answer makes no sense.
    """
    try:
        return Segmentation(
            label_image=_array(message, "labels", data),
            objects=tuple(_decode_object(entry, message.axes) for entry in message.objects),
            params=wire.read_params(message.params),
            diameter_source=_diameter_source(message.diameter_source),
            model=decode_version(message.model),
            timing=_decode_timing(message.timing),
            request_id=message.request_id,
            axes=message.axes,
            pixel_size=_decode_pixel_size(message.pixel_size) if message.HasField("pixel_size") else None,
            warnings=_decode_warnings(message.warnings, request.warnings),
            server_version=message.server_version,
            flows=_array(message, "flows", data),
            cell_probability=_array(message, "cell_probability", data),
            maps=_array(message, "maps", data),
            style=np.array(message.style, np.float32) if message.style else None,
            source=request.source,
        )
    except ValueError as error:
        raise invalid_answer(str(error), message.request_id) from error


def decode_diameter(message: pb.EstimateDiameterResponse, warnings: Warnings = ()) -> DiameterEstimate:
    """Unpacks the answer to `EstimateDiameter`; `warnings` as in `decode_segmentation`."""
    return DiameterEstimate(
        diameter=message.diameter,
        source=_diameter_source(message.source),
        model=decode_version(message.model),
        request_id=message.request_id,
        warnings=_decode_warnings(message.warnings, warnings),
        server_version=message.server_version,
    )


def decode_model(message: pb.Model) -> Model:
    """Unpacks one model family."""
    return Model(
        name=message.name,
        description=message.description,
        versions=tuple(decode_version(version) for version in message.versions),
        working_diameter=message.working_diameter,
        training_diameter=message.training_diameter if message.HasField("training_diameter") else None,
        channels=tuple(message.channels),
        license=message.license,
        provenance=message.provenance,
        has_size_model=message.has_size_model,
        ready=message.ready,
        tile_size=message.tile_size,
        max_batch_size=message.max_batch_size,
    )


def decode_models(message: pb.ListModelsResponse) -> ModelList:
    """Unpacks the list of model families."""
    return ModelList(tuple(decode_model(model) for model in message.models), message.default_model)


def decode_limits(message: pb.GetLimitsResponse) -> Limits:
    """Unpacks the limits of a server."""
    names = (field.name for field in dataclasses.fields(Limits) if field.name != "server_version")
    return Limits(**{name: getattr(message.limits, name) for name in names}, server_version=message.server_version)


def _array(message: pb.SegmentResponse, name: str, data: Mapping[str, bytes | memoryview]) -> NDArray[Any] | None:
    return decode_array(getattr(message, name), data.get(name)) if message.HasField(name) else None


def _decode_object(message: pb.Object, axes: str) -> Object:
    low, high, centre = (
        tuple(getattr(part, prefix.format(axis.lower())) for axis in axes)
        for part, prefix in ((message.bbox, "{}_min"), (message.bbox, "{}_max"), (message.centroid, "{}"))
    )
    return Object(
        label=message.label,
        bbox=low + high,
        centroid=centre,
        area=message.area,
        equivalent_diameter_area=message.equivalent_diameter_area,
        mean_probability=message.mean_probability,
        flow_error=message.flow_error,
        outlines={entry.z: np.array(entry.points, np.int32).reshape(-1, 2) for entry in message.outlines},
    )


def _decode_pixel_size(message: pb.PixelSize) -> PixelSize:
    return PixelSize(message.y_um, message.x_um, message.z_um if message.HasField("z_um") else None)


def _decode_warnings(messages: Iterable[pb.Warning], of_reader: Iterable[Warned]) -> tuple[ResultWarning, ...]:
    return (
        *(
            ResultWarning(kind.name.lower(), kind.meaning, kind.suggestion, dict(metadata))
            for kind, metadata in of_reader
        ),
        *(
            ResultWarning(_word(pb.WarningKind, entry.kind), entry.message, entry.suggestion, dict(entry.metadata))
            for entry in messages
        ),
    )


def decode_version(message: pb.ModelVersion) -> ModelVersion:
    """Unpacks one network."""
    return ModelVersion(
        family=message.family,
        name=message.name,
        version=message.version,
        sha256=message.sha256,
        weights=_word(pb.Precision, message.weights),
        precision=_word(pb.Precision, message.precision),
        runtime=message.runtime,
    )


def _word(enum: Any, number: int) -> str:
    """Returns the word of a number, "" for a number this client does not know."""
    return next((word for word, value in wire.words(enum).items() if value == number), "")


def _decode_timing(message: pb.Timing) -> Timing:
    return Timing(**{field.name: getattr(message, field.name) for field in dataclasses.fields(Timing)})


def decode_progress(message: pb.WorkProgress) -> Progress:
    """Unpacks what a server says of its work."""
    return Progress(
        cast(Stage, _word(pb.WorkStage, message.stage)),
        message.sections_done,
        message.sections_total,
        message.tiles_done,
        message.tiles_total,
        message.left_s if message.HasField("left_s") else None,
    )


def _diameter_source(number: pb.DiameterSource) -> DiameterSource:
    return cast(DiameterSource, _word(pb.DiameterSource, number))
