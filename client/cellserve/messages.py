"""Between our objects and the messages of the contract, without any input or output: what both clients share."""

from __future__ import annotations

import dataclasses
import itertools
import os
import uuid
from dataclasses import dataclass
from typing import Any, Generic, TypeVar, Unpack, cast

import grpc
import numpy as np
from cellserve_proto.v1 import segmentation_pb2 as pb
from numpy.typing import NDArray

from .errors import CellServeError, ServerError, from_frame_error, refusal
from .files import read_image
from .images import ImageLike, decode_array, encode_image
from .params import DiameterSource, Normalization, SegmentOptions, SegmentParams
from .results import BoundingBox, DiameterEstimate, Model, ModelList, ModelVersion, Object, Segmentation, Timing

K = TypeVar("K")
Keyed = tuple[K, Segmentation | CellServeError]


def _number(enum: Any, prefix: str, name: str) -> Any:
    """Returns the number of a generated enumeration's value by its lower-case name without the prefix."""
    allowed = [key.removeprefix(prefix).lower() for key, number in enum.items() if number]
    if name not in allowed:
        raise refusal(f"{name!r} is not one of {', '.join(allowed)}", "FIELD_INVALID")
    return enum.Value(prefix + name.upper())


def _name(enum: Any, prefix: str, number: int) -> str:
    """Returns the lower-case name of an enumeration's value; the reverse of `_number`."""
    return str(enum.Name(number)).removeprefix(prefix).lower()


@dataclass(frozen=True)
class Template:
    """What the requests of one call have in common; made once, so that a wrong parameter fails before anything is sent.

    Attributes:
        params: Parameters.
        axes: Axes of plain arrays, or None.
        outputs: Optional parts wanted.
        compression: "none" or "zlib", both ways.
        priority: Lane in the queue.
        deadline_s: Deadline of each call in seconds, None for the client's.
    """

    params: pb.SegmentParams
    axes: str | None
    outputs: list[pb.Output]
    compression: str
    priority: pb.Priority
    deadline_s: float | None

    @classmethod
    def of(cls, params: SegmentParams | None, **options: Unpack[SegmentOptions]) -> Template:
        """Sorts the keywords of a call; those that are not options are fields of `SegmentParams` and win over `params`.

        Raises:
            TypeError: A keyword that does not exist, or a value of a wrong type.
            InvalidRequestError: A word that is not among the allowed ones.
        """
        axes = options.pop("axes", None)
        outputs = options.pop("outputs", ())
        compression = options.pop("compression", "none")
        priority = options.pop("priority", "batch")
        deadline_s = options.pop("deadline_s", None)
        _number(pb.Compression, "COMPRESSION_", compression)
        return cls(
            params=encode_params(dataclasses.replace(params or SegmentParams(), **cast(dict[str, Any], options))),
            axes=axes,
            outputs=[_number(pb.Output, "OUTPUT_", name) for name in outputs],
            compression=compression,
            priority=_number(pb.Priority, "PRIORITY_", priority),
            deadline_s=deadline_s,
        )

    def segment(self, image: ImageLike, request_id: str | None = None) -> pb.SegmentRequest:
        """Makes the request for one image; a random id, if none is given, names even a call that gets lost."""
        return pb.SegmentRequest(
            request_id=request_id or uuid.uuid4().hex,
            image=self._image(image),
            params=self.params,
            outputs=self.outputs,
            compression=_number(pb.Compression, "COMPRESSION_", self.compression),
            priority=self.priority,
        )

    def diameter(self, image: ImageLike, request_id: str | None = None) -> pb.EstimateDiameterRequest:
        """Makes the request for the size of the objects in one image."""
        return pb.EstimateDiameterRequest(
            request_id=request_id or uuid.uuid4().hex, image=self._image(image), params=self.params
        )

    def _image(self, image: ImageLike) -> pb.Image:
        if isinstance(image, str | os.PathLike):
            image = read_image(image, self.axes)
        return encode_image(image, self.axes, self.compression)


class Frames(Generic[K]):
    """The frames of one stream: names them on the way out, recognises them on the way back."""

    def __init__(self, template: Template) -> None:
        self._template = template
        self._open: dict[str, tuple[K, str]] = {}
        self._numbers = itertools.count()

    def encode(self, key: K, image: ImageLike) -> pb.SegmentStreamRequest:
        """Makes the message of one frame.

        Raises:
            InvalidRequestError: The image cannot be sent.
        """
        frame_id = str(next(self._numbers))
        message = pb.SegmentStreamRequest(frame_id=frame_id, request=self._template.segment(image))
        self._open[frame_id] = key, message.request.request_id
        return message

    def decode(self, response: pb.SegmentStreamResponse) -> Keyed[K]:
        """Returns the caller's key and what became of the frame.

        Raises:
            ServerError: The answer belongs to no open frame, or makes no sense.
        """
        if response.frame_id not in self._open:
            raise _invalid_answer(f"frame {response.frame_id!r} is not open", "")
        key, request_id = self._open.pop(response.frame_id)
        if response.HasField("error"):
            return key, from_frame_error(response.error, request_id)
        return key, decode_segmentation(response.response)

    def check_complete(self) -> None:
        """Raises ServerError where the stream ended with frames unanswered."""
        if self._open:
            raise _invalid_answer(f"the stream ended with {len(self._open)} frames unanswered", "")


_ENUMS = {
    "interpolation": (pb.Interpolation, "INTERPOLATION_"),
    "mask_rules": (pb.MaskRules, "MASK_RULES_"),
}


def encode_params(params: SegmentParams) -> pb.SegmentParams:
    """Packs parameters; what is None stays unset.

    Raises:
        TypeError: A value of a wrong type.
        InvalidRequestError: An unknown interpolation, or unknown mask rules.
    """
    fields = {field.name: getattr(params, field.name) for field in dataclasses.fields(params)}
    normalization = fields.pop("normalization")
    for name, (numbers, prefix) in _ENUMS.items():
        value = fields.pop(name)
        if value is not None:
            fields[name] = _number(numbers, prefix, value)
    if normalization is not None:
        fields["normalization"] = _encode_normalization(normalization)
    return pb.SegmentParams(**fields)


def decode_params(message: pb.SegmentParams) -> SegmentParams:
    """Unpacks parameters; what is unset becomes None."""
    fields: dict[str, Any] = {field.name: value for field, value in message.ListFields()}
    if "normalization" in fields:
        fields["normalization"] = _decode_normalization(message.normalization)
    for name in _ENUMS.keys() & fields.keys():
        fields[name] = _name(*_ENUMS[name], fields[name])
    return SegmentParams(**fields)


def _encode_normalization(normalization: Normalization | str) -> pb.Normalization:
    rule = Normalization("off") if normalization == "off" else normalization
    if not isinstance(rule, Normalization):
        raise TypeError(f"normalization is {normalization!r}; give a Normalization or 'off'")
    if rule.rule == "off":
        return pb.Normalization(off=True, invert=rule.invert)
    bounds: dict[str, Any] = {"low": rule.low, "high": rule.high}
    if rule.rule == "range":
        return pb.Normalization(range=pb.Normalization.Range(**bounds), invert=rule.invert)
    return pb.Normalization(percentiles=pb.Normalization.Percentiles(**bounds), invert=rule.invert)


def _decode_normalization(message: pb.Normalization) -> Normalization:
    match message.WhichOneof("rule"):
        case "off":
            return Normalization("off", invert=message.invert)
        case "range":
            return Normalization("range", message.range.low, message.range.high, message.invert)
        case "percentiles":
            return Normalization("percentiles", message.percentiles.low, message.percentiles.high, message.invert)
        case _:
            return Normalization(invert=message.invert)


def decode_segmentation(message: pb.SegmentResponse) -> Segmentation:
    """Unpacks the answer to one image.

    Raises:
        ServerError: The answer makes no sense.
    """
    try:
        return Segmentation(
            labels=decode_array(message.labels),
            objects=tuple(_decode_object(entry) for entry in message.objects),
            params=decode_params(message.params),
            diameter_source=_diameter_source(message.diameter_source),
            model=_decode_version(message.model),
            timing=_decode_timing(message.timing),
            request_id=message.request_id,
            flows=decode_array(message.flows) if message.HasField("flows") else None,
            cell_probability=decode_array(message.cell_probability) if message.HasField("cell_probability") else None,
            style=np.array(message.style, np.float32) if message.style else None,
        )
    except ValueError as error:
        raise _invalid_answer(str(error), message.request_id) from error


def decode_diameter(message: pb.EstimateDiameterResponse) -> DiameterEstimate:
    """Unpacks the answer to `EstimateDiameter`."""
    return DiameterEstimate(
        diameter=message.diameter,
        source=_diameter_source(message.source),
        model=_decode_version(message.model),
        request_id=message.request_id,
    )


def decode_model(message: pb.Model) -> Model:
    """Unpacks one model family."""
    return Model(
        name=message.name,
        description=message.description,
        versions=tuple(_decode_version(version) for version in message.versions),
        diam_mean=message.diam_mean,
        diam_labels=message.diam_labels,
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


def _decode_object(message: pb.Object) -> Object:
    box = message.bounding_box
    outline: NDArray[np.int32] | None = None
    if message.outline:
        outline = np.array(message.outline, np.int32).reshape(-1, 2)
    return Object(
        label=message.label,
        bounding_box=BoundingBox(box.y_min, box.x_min, box.y_max, box.x_max),
        centroid=(message.centroid_y, message.centroid_x),
        area=message.area,
        diameter=message.diameter,
        mean_probability=message.mean_probability,
        flow_error=message.flow_error,
        outline=outline,
    )


def _decode_version(message: pb.ModelVersion) -> ModelVersion:
    return ModelVersion(message.family, message.name, message.version, message.sha256)


def _decode_timing(message: pb.Timing) -> Timing:
    return Timing(**{field.name: getattr(message, field.name) for field in dataclasses.fields(Timing)})


def _diameter_source(number: pb.DiameterSource) -> DiameterSource:
    return cast(DiameterSource, _name(pb.DiameterSource, "DIAMETER_SOURCE_", number))


def _invalid_answer(message: str, request_id: str) -> ServerError:
    return ServerError(
        f"the server's answer makes no sense: {message}", grpc.StatusCode.INTERNAL, "ANSWER_INVALID", None, request_id
    )
