from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class DataType(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    DATA_TYPE_UNSPECIFIED: _ClassVar[DataType]
    DATA_TYPE_UINT8: _ClassVar[DataType]
    DATA_TYPE_UINT16: _ClassVar[DataType]
    DATA_TYPE_UINT32: _ClassVar[DataType]
    DATA_TYPE_INT16: _ClassVar[DataType]
    DATA_TYPE_FLOAT32: _ClassVar[DataType]
    DATA_TYPE_FLOAT64: _ClassVar[DataType]

class Compression(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    COMPRESSION_UNSPECIFIED: _ClassVar[Compression]
    COMPRESSION_NONE: _ClassVar[Compression]
    COMPRESSION_ZLIB: _ClassVar[Compression]

class Priority(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    PRIORITY_UNSPECIFIED: _ClassVar[Priority]
    PRIORITY_ACQUISITION: _ClassVar[Priority]
    PRIORITY_BATCH: _ClassVar[Priority]

class Interpolation(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    INTERPOLATION_UNSPECIFIED: _ClassVar[Interpolation]
    INTERPOLATION_NEAREST: _ClassVar[Interpolation]
    INTERPOLATION_BILINEAR: _ClassVar[Interpolation]

class MaskRules(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    MASK_RULES_UNSPECIFIED: _ClassVar[MaskRules]
    MASK_RULES_PAPER: _ClassVar[MaskRules]
    MASK_RULES_CELLPOSE3: _ClassVar[MaskRules]

class Output(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    OUTPUT_UNSPECIFIED: _ClassVar[Output]
    OUTPUT_OUTLINES: _ClassVar[Output]
    OUTPUT_FLOWS: _ClassVar[Output]
    OUTPUT_CELL_PROBABILITY: _ClassVar[Output]
    OUTPUT_STYLE: _ClassVar[Output]

class DiameterSource(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    DIAMETER_SOURCE_UNSPECIFIED: _ClassVar[DiameterSource]
    DIAMETER_SOURCE_CALLER: _ClassVar[DiameterSource]
    DIAMETER_SOURCE_FAMILY_MEAN: _ClassVar[DiameterSource]
    DIAMETER_SOURCE_SIZE_MODEL: _ClassVar[DiameterSource]
DATA_TYPE_UNSPECIFIED: DataType
DATA_TYPE_UINT8: DataType
DATA_TYPE_UINT16: DataType
DATA_TYPE_UINT32: DataType
DATA_TYPE_INT16: DataType
DATA_TYPE_FLOAT32: DataType
DATA_TYPE_FLOAT64: DataType
COMPRESSION_UNSPECIFIED: Compression
COMPRESSION_NONE: Compression
COMPRESSION_ZLIB: Compression
PRIORITY_UNSPECIFIED: Priority
PRIORITY_ACQUISITION: Priority
PRIORITY_BATCH: Priority
INTERPOLATION_UNSPECIFIED: Interpolation
INTERPOLATION_NEAREST: Interpolation
INTERPOLATION_BILINEAR: Interpolation
MASK_RULES_UNSPECIFIED: MaskRules
MASK_RULES_PAPER: MaskRules
MASK_RULES_CELLPOSE3: MaskRules
OUTPUT_UNSPECIFIED: Output
OUTPUT_OUTLINES: Output
OUTPUT_FLOWS: Output
OUTPUT_CELL_PROBABILITY: Output
OUTPUT_STYLE: Output
DIAMETER_SOURCE_UNSPECIFIED: DiameterSource
DIAMETER_SOURCE_CALLER: DiameterSource
DIAMETER_SOURCE_FAMILY_MEAN: DiameterSource
DIAMETER_SOURCE_SIZE_MODEL: DiameterSource

class Array(_message.Message):
    __slots__ = ("data_type", "shape", "compression", "data")
    DATA_TYPE_FIELD_NUMBER: _ClassVar[int]
    SHAPE_FIELD_NUMBER: _ClassVar[int]
    COMPRESSION_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    data_type: DataType
    shape: _containers.RepeatedScalarFieldContainer[int]
    compression: Compression
    data: bytes
    def __init__(self, data_type: _Optional[_Union[DataType, str]] = ..., shape: _Optional[_Iterable[int]] = ..., compression: _Optional[_Union[Compression, str]] = ..., data: _Optional[bytes] = ...) -> None: ...

class RawImage(_message.Message):
    __slots__ = ("pixels", "axes")
    PIXELS_FIELD_NUMBER: _ClassVar[int]
    AXES_FIELD_NUMBER: _ClassVar[int]
    pixels: Array
    axes: str
    def __init__(self, pixels: _Optional[_Union[Array, _Mapping]] = ..., axes: _Optional[str] = ...) -> None: ...

class EncodedImage(_message.Message):
    __slots__ = ("format", "data")
    class Format(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        FORMAT_UNSPECIFIED: _ClassVar[EncodedImage.Format]
        FORMAT_PNG: _ClassVar[EncodedImage.Format]
        FORMAT_TIFF: _ClassVar[EncodedImage.Format]
    FORMAT_UNSPECIFIED: EncodedImage.Format
    FORMAT_PNG: EncodedImage.Format
    FORMAT_TIFF: EncodedImage.Format
    FORMAT_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    format: EncodedImage.Format
    data: bytes
    def __init__(self, format: _Optional[_Union[EncodedImage.Format, str]] = ..., data: _Optional[bytes] = ...) -> None: ...

class Image(_message.Message):
    __slots__ = ("raw", "encoded")
    RAW_FIELD_NUMBER: _ClassVar[int]
    ENCODED_FIELD_NUMBER: _ClassVar[int]
    raw: RawImage
    encoded: EncodedImage
    def __init__(self, raw: _Optional[_Union[RawImage, _Mapping]] = ..., encoded: _Optional[_Union[EncodedImage, _Mapping]] = ...) -> None: ...

class Normalization(_message.Message):
    __slots__ = ("percentiles", "range", "off", "invert")
    class Range(_message.Message):
        __slots__ = ("low", "high")
        LOW_FIELD_NUMBER: _ClassVar[int]
        HIGH_FIELD_NUMBER: _ClassVar[int]
        low: float
        high: float
        def __init__(self, low: _Optional[float] = ..., high: _Optional[float] = ...) -> None: ...
    class Percentiles(_message.Message):
        __slots__ = ("low", "high")
        LOW_FIELD_NUMBER: _ClassVar[int]
        HIGH_FIELD_NUMBER: _ClassVar[int]
        low: float
        high: float
        def __init__(self, low: _Optional[float] = ..., high: _Optional[float] = ...) -> None: ...
    PERCENTILES_FIELD_NUMBER: _ClassVar[int]
    RANGE_FIELD_NUMBER: _ClassVar[int]
    OFF_FIELD_NUMBER: _ClassVar[int]
    INVERT_FIELD_NUMBER: _ClassVar[int]
    percentiles: Normalization.Percentiles
    range: Normalization.Range
    off: bool
    invert: bool
    def __init__(self, percentiles: _Optional[_Union[Normalization.Percentiles, _Mapping]] = ..., range: _Optional[_Union[Normalization.Range, _Mapping]] = ..., off: _Optional[bool] = ..., invert: _Optional[bool] = ...) -> None: ...

class SegmentParams(_message.Message):
    __slots__ = ("model", "ensemble", "diameter", "cytoplasm_channel", "nucleus_channel", "normalization", "tile_overlap", "augment", "cellprob_threshold", "flow_threshold", "niter", "interpolation", "min_size", "max_size_fraction", "fill_holes", "exclude_on_edges", "mask_rules")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    ENSEMBLE_FIELD_NUMBER: _ClassVar[int]
    DIAMETER_FIELD_NUMBER: _ClassVar[int]
    CYTOPLASM_CHANNEL_FIELD_NUMBER: _ClassVar[int]
    NUCLEUS_CHANNEL_FIELD_NUMBER: _ClassVar[int]
    NORMALIZATION_FIELD_NUMBER: _ClassVar[int]
    TILE_OVERLAP_FIELD_NUMBER: _ClassVar[int]
    AUGMENT_FIELD_NUMBER: _ClassVar[int]
    CELLPROB_THRESHOLD_FIELD_NUMBER: _ClassVar[int]
    FLOW_THRESHOLD_FIELD_NUMBER: _ClassVar[int]
    NITER_FIELD_NUMBER: _ClassVar[int]
    INTERPOLATION_FIELD_NUMBER: _ClassVar[int]
    MIN_SIZE_FIELD_NUMBER: _ClassVar[int]
    MAX_SIZE_FRACTION_FIELD_NUMBER: _ClassVar[int]
    FILL_HOLES_FIELD_NUMBER: _ClassVar[int]
    EXCLUDE_ON_EDGES_FIELD_NUMBER: _ClassVar[int]
    MASK_RULES_FIELD_NUMBER: _ClassVar[int]
    model: str
    ensemble: bool
    diameter: float
    cytoplasm_channel: int
    nucleus_channel: int
    normalization: Normalization
    tile_overlap: float
    augment: bool
    cellprob_threshold: float
    flow_threshold: float
    niter: int
    interpolation: Interpolation
    min_size: int
    max_size_fraction: float
    fill_holes: bool
    exclude_on_edges: bool
    mask_rules: MaskRules
    def __init__(self, model: _Optional[str] = ..., ensemble: _Optional[bool] = ..., diameter: _Optional[float] = ..., cytoplasm_channel: _Optional[int] = ..., nucleus_channel: _Optional[int] = ..., normalization: _Optional[_Union[Normalization, _Mapping]] = ..., tile_overlap: _Optional[float] = ..., augment: _Optional[bool] = ..., cellprob_threshold: _Optional[float] = ..., flow_threshold: _Optional[float] = ..., niter: _Optional[int] = ..., interpolation: _Optional[_Union[Interpolation, str]] = ..., min_size: _Optional[int] = ..., max_size_fraction: _Optional[float] = ..., fill_holes: _Optional[bool] = ..., exclude_on_edges: _Optional[bool] = ..., mask_rules: _Optional[_Union[MaskRules, str]] = ...) -> None: ...

class SegmentRequest(_message.Message):
    __slots__ = ("request_id", "image", "params", "outputs", "compression", "priority")
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    IMAGE_FIELD_NUMBER: _ClassVar[int]
    PARAMS_FIELD_NUMBER: _ClassVar[int]
    OUTPUTS_FIELD_NUMBER: _ClassVar[int]
    COMPRESSION_FIELD_NUMBER: _ClassVar[int]
    PRIORITY_FIELD_NUMBER: _ClassVar[int]
    request_id: str
    image: Image
    params: SegmentParams
    outputs: _containers.RepeatedScalarFieldContainer[Output]
    compression: Compression
    priority: Priority
    def __init__(self, request_id: _Optional[str] = ..., image: _Optional[_Union[Image, _Mapping]] = ..., params: _Optional[_Union[SegmentParams, _Mapping]] = ..., outputs: _Optional[_Iterable[_Union[Output, str]]] = ..., compression: _Optional[_Union[Compression, str]] = ..., priority: _Optional[_Union[Priority, str]] = ...) -> None: ...

class BoundingBox(_message.Message):
    __slots__ = ("y_min", "x_min", "y_max", "x_max")
    Y_MIN_FIELD_NUMBER: _ClassVar[int]
    X_MIN_FIELD_NUMBER: _ClassVar[int]
    Y_MAX_FIELD_NUMBER: _ClassVar[int]
    X_MAX_FIELD_NUMBER: _ClassVar[int]
    y_min: int
    x_min: int
    y_max: int
    x_max: int
    def __init__(self, y_min: _Optional[int] = ..., x_min: _Optional[int] = ..., y_max: _Optional[int] = ..., x_max: _Optional[int] = ...) -> None: ...

class Object(_message.Message):
    __slots__ = ("label", "bounding_box", "centroid_y", "centroid_x", "area", "diameter", "mean_probability", "flow_error", "outline")
    LABEL_FIELD_NUMBER: _ClassVar[int]
    BOUNDING_BOX_FIELD_NUMBER: _ClassVar[int]
    CENTROID_Y_FIELD_NUMBER: _ClassVar[int]
    CENTROID_X_FIELD_NUMBER: _ClassVar[int]
    AREA_FIELD_NUMBER: _ClassVar[int]
    DIAMETER_FIELD_NUMBER: _ClassVar[int]
    MEAN_PROBABILITY_FIELD_NUMBER: _ClassVar[int]
    FLOW_ERROR_FIELD_NUMBER: _ClassVar[int]
    OUTLINE_FIELD_NUMBER: _ClassVar[int]
    label: int
    bounding_box: BoundingBox
    centroid_y: float
    centroid_x: float
    area: int
    diameter: float
    mean_probability: float
    flow_error: float
    outline: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, label: _Optional[int] = ..., bounding_box: _Optional[_Union[BoundingBox, _Mapping]] = ..., centroid_y: _Optional[float] = ..., centroid_x: _Optional[float] = ..., area: _Optional[int] = ..., diameter: _Optional[float] = ..., mean_probability: _Optional[float] = ..., flow_error: _Optional[float] = ..., outline: _Optional[_Iterable[int]] = ...) -> None: ...

class ModelVersion(_message.Message):
    __slots__ = ("family", "name", "version", "sha256")
    FAMILY_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    SHA256_FIELD_NUMBER: _ClassVar[int]
    family: str
    name: str
    version: str
    sha256: str
    def __init__(self, family: _Optional[str] = ..., name: _Optional[str] = ..., version: _Optional[str] = ..., sha256: _Optional[str] = ...) -> None: ...

class Timing(_message.Message):
    __slots__ = ("decode_s", "preprocess_s", "inference_s", "reassemble_s", "postprocess_s", "encode_s", "total_s", "tiles")
    DECODE_S_FIELD_NUMBER: _ClassVar[int]
    PREPROCESS_S_FIELD_NUMBER: _ClassVar[int]
    INFERENCE_S_FIELD_NUMBER: _ClassVar[int]
    REASSEMBLE_S_FIELD_NUMBER: _ClassVar[int]
    POSTPROCESS_S_FIELD_NUMBER: _ClassVar[int]
    ENCODE_S_FIELD_NUMBER: _ClassVar[int]
    TOTAL_S_FIELD_NUMBER: _ClassVar[int]
    TILES_FIELD_NUMBER: _ClassVar[int]
    decode_s: float
    preprocess_s: float
    inference_s: float
    reassemble_s: float
    postprocess_s: float
    encode_s: float
    total_s: float
    tiles: int
    def __init__(self, decode_s: _Optional[float] = ..., preprocess_s: _Optional[float] = ..., inference_s: _Optional[float] = ..., reassemble_s: _Optional[float] = ..., postprocess_s: _Optional[float] = ..., encode_s: _Optional[float] = ..., total_s: _Optional[float] = ..., tiles: _Optional[int] = ...) -> None: ...

class SegmentResponse(_message.Message):
    __slots__ = ("request_id", "labels", "objects", "params", "diameter_source", "model", "timing", "flows", "cell_probability", "style")
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    LABELS_FIELD_NUMBER: _ClassVar[int]
    OBJECTS_FIELD_NUMBER: _ClassVar[int]
    PARAMS_FIELD_NUMBER: _ClassVar[int]
    DIAMETER_SOURCE_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    TIMING_FIELD_NUMBER: _ClassVar[int]
    FLOWS_FIELD_NUMBER: _ClassVar[int]
    CELL_PROBABILITY_FIELD_NUMBER: _ClassVar[int]
    STYLE_FIELD_NUMBER: _ClassVar[int]
    request_id: str
    labels: Array
    objects: _containers.RepeatedCompositeFieldContainer[Object]
    params: SegmentParams
    diameter_source: DiameterSource
    model: ModelVersion
    timing: Timing
    flows: Array
    cell_probability: Array
    style: _containers.RepeatedScalarFieldContainer[float]
    def __init__(self, request_id: _Optional[str] = ..., labels: _Optional[_Union[Array, _Mapping]] = ..., objects: _Optional[_Iterable[_Union[Object, _Mapping]]] = ..., params: _Optional[_Union[SegmentParams, _Mapping]] = ..., diameter_source: _Optional[_Union[DiameterSource, str]] = ..., model: _Optional[_Union[ModelVersion, _Mapping]] = ..., timing: _Optional[_Union[Timing, _Mapping]] = ..., flows: _Optional[_Union[Array, _Mapping]] = ..., cell_probability: _Optional[_Union[Array, _Mapping]] = ..., style: _Optional[_Iterable[float]] = ...) -> None: ...

class SegmentStreamRequest(_message.Message):
    __slots__ = ("frame_id", "request")
    FRAME_ID_FIELD_NUMBER: _ClassVar[int]
    REQUEST_FIELD_NUMBER: _ClassVar[int]
    frame_id: str
    request: SegmentRequest
    def __init__(self, frame_id: _Optional[str] = ..., request: _Optional[_Union[SegmentRequest, _Mapping]] = ...) -> None: ...

class FrameError(_message.Message):
    __slots__ = ("code", "message", "reason", "metadata", "retry_after_s")
    class MetadataEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    CODE_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    METADATA_FIELD_NUMBER: _ClassVar[int]
    RETRY_AFTER_S_FIELD_NUMBER: _ClassVar[int]
    code: int
    message: str
    reason: str
    metadata: _containers.ScalarMap[str, str]
    retry_after_s: float
    def __init__(self, code: _Optional[int] = ..., message: _Optional[str] = ..., reason: _Optional[str] = ..., metadata: _Optional[_Mapping[str, str]] = ..., retry_after_s: _Optional[float] = ...) -> None: ...

class SegmentStreamResponse(_message.Message):
    __slots__ = ("frame_id", "response", "error")
    FRAME_ID_FIELD_NUMBER: _ClassVar[int]
    RESPONSE_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    frame_id: str
    response: SegmentResponse
    error: FrameError
    def __init__(self, frame_id: _Optional[str] = ..., response: _Optional[_Union[SegmentResponse, _Mapping]] = ..., error: _Optional[_Union[FrameError, _Mapping]] = ...) -> None: ...

class SegmentLargeRequest(_message.Message):
    __slots__ = ("header", "chunk")
    HEADER_FIELD_NUMBER: _ClassVar[int]
    CHUNK_FIELD_NUMBER: _ClassVar[int]
    header: SegmentRequest
    chunk: Chunk
    def __init__(self, header: _Optional[_Union[SegmentRequest, _Mapping]] = ..., chunk: _Optional[_Union[Chunk, _Mapping]] = ...) -> None: ...

class Chunk(_message.Message):
    __slots__ = ("offset", "data")
    OFFSET_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    offset: int
    data: bytes
    def __init__(self, offset: _Optional[int] = ..., data: _Optional[bytes] = ...) -> None: ...

class Progress(_message.Message):
    __slots__ = ("tiles_done", "tiles_total")
    TILES_DONE_FIELD_NUMBER: _ClassVar[int]
    TILES_TOTAL_FIELD_NUMBER: _ClassVar[int]
    tiles_done: int
    tiles_total: int
    def __init__(self, tiles_done: _Optional[int] = ..., tiles_total: _Optional[int] = ...) -> None: ...

class SegmentLargeResponse(_message.Message):
    __slots__ = ("progress", "header", "chunk")
    PROGRESS_FIELD_NUMBER: _ClassVar[int]
    HEADER_FIELD_NUMBER: _ClassVar[int]
    CHUNK_FIELD_NUMBER: _ClassVar[int]
    progress: Progress
    header: SegmentResponse
    chunk: Chunk
    def __init__(self, progress: _Optional[_Union[Progress, _Mapping]] = ..., header: _Optional[_Union[SegmentResponse, _Mapping]] = ..., chunk: _Optional[_Union[Chunk, _Mapping]] = ...) -> None: ...

class EstimateDiameterRequest(_message.Message):
    __slots__ = ("request_id", "image", "params")
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    IMAGE_FIELD_NUMBER: _ClassVar[int]
    PARAMS_FIELD_NUMBER: _ClassVar[int]
    request_id: str
    image: Image
    params: SegmentParams
    def __init__(self, request_id: _Optional[str] = ..., image: _Optional[_Union[Image, _Mapping]] = ..., params: _Optional[_Union[SegmentParams, _Mapping]] = ...) -> None: ...

class EstimateDiameterResponse(_message.Message):
    __slots__ = ("request_id", "diameter", "source", "model")
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    DIAMETER_FIELD_NUMBER: _ClassVar[int]
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    request_id: str
    diameter: float
    source: DiameterSource
    model: ModelVersion
    def __init__(self, request_id: _Optional[str] = ..., diameter: _Optional[float] = ..., source: _Optional[_Union[DiameterSource, str]] = ..., model: _Optional[_Union[ModelVersion, _Mapping]] = ...) -> None: ...

class ListModelsRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ListModelsResponse(_message.Message):
    __slots__ = ("models", "default_model")
    MODELS_FIELD_NUMBER: _ClassVar[int]
    DEFAULT_MODEL_FIELD_NUMBER: _ClassVar[int]
    models: _containers.RepeatedCompositeFieldContainer[Model]
    default_model: str
    def __init__(self, models: _Optional[_Iterable[_Union[Model, _Mapping]]] = ..., default_model: _Optional[str] = ...) -> None: ...

class GetModelRequest(_message.Message):
    __slots__ = ("name",)
    NAME_FIELD_NUMBER: _ClassVar[int]
    name: str
    def __init__(self, name: _Optional[str] = ...) -> None: ...

class GetModelResponse(_message.Message):
    __slots__ = ("model",)
    MODEL_FIELD_NUMBER: _ClassVar[int]
    model: Model
    def __init__(self, model: _Optional[_Union[Model, _Mapping]] = ...) -> None: ...

class Model(_message.Message):
    __slots__ = ("name", "description", "versions", "diam_mean", "diam_labels", "channels", "license", "provenance", "has_size_model", "ready", "tile_size", "max_batch_size")
    NAME_FIELD_NUMBER: _ClassVar[int]
    DESCRIPTION_FIELD_NUMBER: _ClassVar[int]
    VERSIONS_FIELD_NUMBER: _ClassVar[int]
    DIAM_MEAN_FIELD_NUMBER: _ClassVar[int]
    DIAM_LABELS_FIELD_NUMBER: _ClassVar[int]
    CHANNELS_FIELD_NUMBER: _ClassVar[int]
    LICENSE_FIELD_NUMBER: _ClassVar[int]
    PROVENANCE_FIELD_NUMBER: _ClassVar[int]
    HAS_SIZE_MODEL_FIELD_NUMBER: _ClassVar[int]
    READY_FIELD_NUMBER: _ClassVar[int]
    TILE_SIZE_FIELD_NUMBER: _ClassVar[int]
    MAX_BATCH_SIZE_FIELD_NUMBER: _ClassVar[int]
    name: str
    description: str
    versions: _containers.RepeatedCompositeFieldContainer[ModelVersion]
    diam_mean: float
    diam_labels: float
    channels: _containers.RepeatedScalarFieldContainer[str]
    license: str
    provenance: str
    has_size_model: bool
    ready: bool
    tile_size: int
    max_batch_size: int
    def __init__(self, name: _Optional[str] = ..., description: _Optional[str] = ..., versions: _Optional[_Iterable[_Union[ModelVersion, _Mapping]]] = ..., diam_mean: _Optional[float] = ..., diam_labels: _Optional[float] = ..., channels: _Optional[_Iterable[str]] = ..., license: _Optional[str] = ..., provenance: _Optional[str] = ..., has_size_model: _Optional[bool] = ..., ready: _Optional[bool] = ..., tile_size: _Optional[int] = ..., max_batch_size: _Optional[int] = ...) -> None: ...
