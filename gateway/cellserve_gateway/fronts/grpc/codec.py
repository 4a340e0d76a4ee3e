"""Between messages and the objects of the core."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from typing import Any, TypeVar

import numpy as np
from cellserve_formats import Limits
from cellserve_postprocess import RecoveryParams
from cellserve_preprocess import Normalization
from cellserve_proto.v1 import segmentation_pb2 as pb
from numpy.typing import NDArray

from cellserve_gateway.app import decode
from cellserve_gateway.app.context import Priority, Timing
from cellserve_gateway.app.decode import Pixels
from cellserve_gateway.app.networks import Network
from cellserve_gateway.app.params import DiameterSource, SegmentParams
from cellserve_gateway.app.pipeline import Output, Segmentation
from cellserve_gateway.app.segmenter import DiameterEstimate, FamilyStatus
from cellserve_gateway.errors import InvalidImage, InvalidRequest, ServiceError

T = TypeVar("T")

DTYPES: dict[int, np.dtype[Any]] = {
    pb.DATA_TYPE_UINT8: np.dtype(np.uint8),
    pb.DATA_TYPE_UINT16: np.dtype(np.uint16),
    pb.DATA_TYPE_UINT32: np.dtype(np.uint32),
    pb.DATA_TYPE_INT16: np.dtype(np.int16),
    pb.DATA_TYPE_FLOAT32: np.dtype(np.float32),
    pb.DATA_TYPE_FLOAT64: np.dtype(np.float64),
}
DATA_TYPES: dict[np.dtype[Any], Any] = {dtype: number for number, dtype in DTYPES.items()}
OUTPUTS: dict[int, Output] = {
    pb.OUTPUT_OUTLINES: "outlines",
    pb.OUTPUT_FLOWS: "flows",
    pb.OUTPUT_CELL_PROBABILITY: "cell_probability",
    pb.OUTPUT_STYLE: "style",
}
INTERPOLATIONS = {"nearest": pb.INTERPOLATION_NEAREST, "bilinear": pb.INTERPOLATION_BILINEAR}
MASK_RULES = {"paper": pb.MASK_RULES_PAPER, "cellpose3": pb.MASK_RULES_CELLPOSE3}
SOURCES = {
    DiameterSource.CALLER: pb.DIAMETER_SOURCE_CALLER,
    DiameterSource.WORKING_DIAMETER: pb.DIAMETER_SOURCE_FAMILY_MEAN,
    DiameterSource.SIZE_MODEL: pb.DIAMETER_SOURCE_SIZE_MODEL,
}
PRIORITIES = {
    pb.PRIORITY_UNSPECIFIED: Priority.BATCH,
    pb.PRIORITY_BATCH: Priority.BATCH,
    pb.PRIORITY_ACQUISITION: Priority.ACQUISITION,
}
ZLIB_LEVEL = 1  # label images shrink twentyfold at the fastest level already


def image_bytes(image: pb.Image) -> int:
    """Returns the bytes an image occupies in its message."""
    return len(image.raw.pixels.data) if image.WhichOneof("content") == "raw" else len(image.encoded.data)


def to_pixels(image: pb.Image, limits: Limits) -> Pixels:
    """Returns an image's planes.

    Returns:
        [C, Y, X], finite; a read-only view of the message's bytes where possible.

    Raises:
        InvalidImage, ImageTooLarge: As in `decode`.
    """
    match image.WhichOneof("content"):
        case "raw":
            array = image.raw.pixels
            if array.data_type not in DTYPES:
                raise decode.unsupported_dtype(f"number {array.data_type}" if array.data_type else "'unspecified'")
            compressed = _is_zlib(array.compression)
            return decode.from_array(
                array.data, compressed, DTYPES[array.data_type], tuple(array.shape), image.raw.axes, limits
            )
        case "encoded" if image.encoded.format == pb.EncodedImage.FORMAT_PNG:
            return decode.from_file(image.encoded.data, "png", limits)
        case "encoded" if image.encoded.format == pb.EncodedImage.FORMAT_TIFF:
            return decode.from_file(image.encoded.data, "tiff", limits)
        case "encoded":
            raise InvalidImage("the file format is not set; PNG and TIFF are taken", reason="IMAGE_UNDECODABLE")
        case _:
            raise InvalidImage("the request holds no image", reason="IMAGE_EMPTY")


def to_params(message: pb.SegmentParams, default_model: str) -> SegmentParams:
    """Returns the parameters of a request, defaults filled in.

    Raises:
        ParameterError: A value is outside its range.
        InvalidRequest: An enumeration has an unknown value.
    """

    def given(owner: Any, **names: str) -> dict[str, Any]:
        return {ours: getattr(owner, theirs) for ours, theirs in names.items() if owner.HasField(theirs)}

    recovery = given(message, **{name: name for name in RECOVERY_FIELDS})
    for name, numbers in (("interpolation", INTERPOLATIONS), ("mask_rules", MASK_RULES)):
        if getattr(message, name):
            recovery[name] = _lookup({v: k for k, v in numbers.items()}, getattr(message, name), name)
    fields = given(message, **{name: name for name in PARAMS_FIELDS})
    if not fields.get("diameter"):
        fields.pop("diameter", None)
    if message.HasField("normalization"):
        fields["normalization"] = _to_normalization(message.normalization)
    return SegmentParams(model=message.model or default_model, recovery=RecoveryParams(**recovery), **fields)


RECOVERY_FIELDS = (
    "cellprob_threshold",
    "flow_threshold",
    "niter",
    "min_size",
    "max_size_fraction",
    "fill_holes",
    "exclude_on_edges",
)
PARAMS_FIELDS = ("ensemble", "diameter", "cytoplasm_channel", "nucleus_channel", "tile_overlap", "augment")


def to_outputs(outputs: Any) -> frozenset[Output]:
    """Returns the optional parts wanted. Raises InvalidRequest for an unknown one."""
    return frozenset(_lookup(OUTPUTS, output, "outputs") for output in outputs)


def to_priority(priority: int) -> Priority:
    """Returns the priority class. Raises InvalidRequest for an unknown one."""
    return _lookup(PRIORITIES, priority, "priority")


def check_compression(compression: int) -> None:
    """Raises InvalidRequest for an unknown packing of the answer."""
    _is_zlib(compression)


def segment_response(result: Segmentation, request_id: str, compression: int) -> pb.SegmentResponse:
    """Returns the answer, complete but for its timing. Arrays are packed as `compression` says."""
    objects = result.objects
    response = pb.SegmentResponse(
        request_id=request_id,
        labels=_array(result.labels, compression),
        params=_params(result.params),
        diameter_source=SOURCES[result.diameter_source],
        model=model_version(result.params.model, result.network),
        flows=None if result.flows is None else _array(result.flows, compression),
        cell_probability=None if result.cell_probability is None else _array(result.cell_probability, compression),
        style=None if result.style is None else result.style.tolist(),
    )
    rows = zip(
        objects.label.tolist(),
        objects.bounding_box.tolist(),
        objects.centroid.tolist(),
        objects.area.tolist(),
        objects.diameter.tolist(),
        objects.mean_probability.tolist(),
        objects.flow_error.tolist(),
        strict=True,
    )
    for index, (label, box, centroid, area, diameter, probability, error) in enumerate(rows):
        response.objects.add(
            label=label,
            bounding_box=pb.BoundingBox(y_min=box[0], x_min=box[1], y_max=box[2], x_max=box[3]),
            centroid_y=centroid[0],
            centroid_x=centroid[1],
            area=area,
            diameter=diameter,
            mean_probability=probability,
            flow_error=error,
            outline=None if result.outlines is None else result.outlines[index].ravel().tolist(),
        )
    return response


def timing(seconds: Timing, total_s: float) -> pb.Timing:
    """Returns the message of the stages' seconds."""
    return pb.Timing(
        decode_s=seconds.decode,
        preprocess_s=seconds.preprocess,
        inference_s=seconds.inference,
        reassemble_s=seconds.reassemble,
        postprocess_s=seconds.postprocess,
        encode_s=seconds.encode,
        total_s=total_s,
        tiles=seconds.tiles,
    )


def model_version(family: str, network: Network) -> pb.ModelVersion:
    """Returns the message of a network."""
    return pb.ModelVersion(family=family, name=network.name, version=network.version, sha256=network.sha256)


def model(status: FamilyStatus) -> pb.Model:
    """Returns the message of a family and its state at the backend."""
    family = status.family
    return pb.Model(
        name=family.name,
        description=family.description,
        versions=[model_version(family.name, network) for network in status.served]
        or [
            pb.ModelVersion(family=family.name, name=name, sha256=family.networks[name].sha256)
            for name in status.networks
        ],
        diam_mean=family.diam_mean,
        diam_labels=family.diam_labels or 0.0,
        channels=family.channels,
        license=family.license,
        provenance=family.provenance,
        has_size_model=family.size_model is not None,
        ready=bool(status.served),
        tile_size=family.tile_size,
        max_batch_size=status.served[0].max_batch_size if status.served else 0,
    )


def diameter_response(estimate: DiameterEstimate, request_id: str) -> pb.EstimateDiameterResponse:
    """Returns the answer to a request for the diameter."""
    return pb.EstimateDiameterResponse(
        request_id=request_id,
        diameter=estimate.diameter,
        source=SOURCES[estimate.source],
        model=model_version(estimate.family, estimate.network),
    )


def frame_error(error: ServiceError) -> pb.FrameError:
    """Returns the message of a frame's failure."""
    return pb.FrameError(
        code=error.code.value,
        message=error.message,
        reason=error.reason,
        metadata=error.metadata,
        retry_after_s=error.retry_after_s,
    )


def _params(params: SegmentParams) -> pb.SegmentParams:
    rule = params.normalization
    normalization = pb.Normalization(invert=rule.invert)
    if rule.rule == "percentiles":
        normalization.percentiles.low, normalization.percentiles.high = rule.low, rule.high
    elif rule.rule == "range":
        normalization.range.low, normalization.range.high = rule.low, rule.high
    else:
        normalization.off = True
    return pb.SegmentParams(
        model=params.model,
        normalization=normalization,
        interpolation=INTERPOLATIONS[params.recovery.interpolation],
        mask_rules=MASK_RULES[params.recovery.mask_rules],
        **{name: getattr(params, name) for name in PARAMS_FIELDS},
        **{name: getattr(params.recovery, name) for name in RECOVERY_FIELDS},
    )


def _to_normalization(message: pb.Normalization) -> Normalization:
    match message.WhichOneof("rule"):
        case "percentiles":
            return Normalization("percentiles", message.percentiles.low, message.percentiles.high, message.invert)
        case "range":
            return Normalization("range", message.range.low, message.range.high, message.invert)
        case "off" if message.off:
            return Normalization("off", invert=message.invert)
        case _:
            return Normalization(invert=message.invert)


def _array(array: NDArray[Any], compression: int) -> pb.Array:
    packed = _is_zlib(compression)
    plain = np.ascontiguousarray(array, array.dtype.newbyteorder("<"))
    return pb.Array(
        data_type=DATA_TYPES[array.dtype],
        shape=array.shape,
        compression=pb.COMPRESSION_ZLIB if packed else pb.COMPRESSION_NONE,
        data=zlib.compress(plain.data, ZLIB_LEVEL) if packed else plain.tobytes(),
    )


def _is_zlib(compression: int) -> bool:
    kinds = {pb.COMPRESSION_UNSPECIFIED: False, pb.COMPRESSION_NONE: False, pb.COMPRESSION_ZLIB: True}
    return _lookup(kinds, compression, "compression")


def _lookup(table: Mapping[Any, T], value: int, field: str) -> T:
    try:
        return table[value]
    except KeyError:
        raise InvalidRequest(f"{field} has the unknown value {value}", field=field, value=value) from None
