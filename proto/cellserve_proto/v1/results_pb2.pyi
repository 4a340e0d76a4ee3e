from cellserve_proto.v1 import errors_pb2 as _errors_pb2
from cellserve_proto.v1 import image_pb2 as _image_pb2
from cellserve_proto.v1 import models_pb2 as _models_pb2
from cellserve_proto.v1 import params_pb2 as _params_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class DiameterSource(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    DIAMETER_SOURCE_UNSPECIFIED: _ClassVar[DiameterSource]
    DIAMETER_SOURCE_CALLER: _ClassVar[DiameterSource]
    DIAMETER_SOURCE_TRAINING_DIAMETER: _ClassVar[DiameterSource]
    DIAMETER_SOURCE_SIZE_MODEL: _ClassVar[DiameterSource]
DIAMETER_SOURCE_UNSPECIFIED: DiameterSource
DIAMETER_SOURCE_CALLER: DiameterSource
DIAMETER_SOURCE_TRAINING_DIAMETER: DiameterSource
DIAMETER_SOURCE_SIZE_MODEL: DiameterSource

class BoundingBox(_message.Message):
    __slots__ = ("z_min", "y_min", "x_min", "z_max", "y_max", "x_max")
    Z_MIN_FIELD_NUMBER: _ClassVar[int]
    Y_MIN_FIELD_NUMBER: _ClassVar[int]
    X_MIN_FIELD_NUMBER: _ClassVar[int]
    Z_MAX_FIELD_NUMBER: _ClassVar[int]
    Y_MAX_FIELD_NUMBER: _ClassVar[int]
    X_MAX_FIELD_NUMBER: _ClassVar[int]
    z_min: int
    y_min: int
    x_min: int
    z_max: int
    y_max: int
    x_max: int
    def __init__(self, z_min: _Optional[int] = ..., y_min: _Optional[int] = ..., x_min: _Optional[int] = ..., z_max: _Optional[int] = ..., y_max: _Optional[int] = ..., x_max: _Optional[int] = ...) -> None: ...

class Centroid(_message.Message):
    __slots__ = ("z", "y", "x")
    Z_FIELD_NUMBER: _ClassVar[int]
    Y_FIELD_NUMBER: _ClassVar[int]
    X_FIELD_NUMBER: _ClassVar[int]
    z: float
    y: float
    x: float
    def __init__(self, z: _Optional[float] = ..., y: _Optional[float] = ..., x: _Optional[float] = ...) -> None: ...

class Outline(_message.Message):
    __slots__ = ("z", "points")
    Z_FIELD_NUMBER: _ClassVar[int]
    POINTS_FIELD_NUMBER: _ClassVar[int]
    z: int
    points: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, z: _Optional[int] = ..., points: _Optional[_Iterable[int]] = ...) -> None: ...

class Object(_message.Message):
    __slots__ = ("label", "bbox", "centroid", "area", "equivalent_diameter_area", "mean_probability", "flow_error", "outlines")
    LABEL_FIELD_NUMBER: _ClassVar[int]
    BBOX_FIELD_NUMBER: _ClassVar[int]
    CENTROID_FIELD_NUMBER: _ClassVar[int]
    AREA_FIELD_NUMBER: _ClassVar[int]
    EQUIVALENT_DIAMETER_AREA_FIELD_NUMBER: _ClassVar[int]
    MEAN_PROBABILITY_FIELD_NUMBER: _ClassVar[int]
    FLOW_ERROR_FIELD_NUMBER: _ClassVar[int]
    OUTLINES_FIELD_NUMBER: _ClassVar[int]
    label: int
    bbox: BoundingBox
    centroid: Centroid
    area: int
    equivalent_diameter_area: float
    mean_probability: float
    flow_error: float
    outlines: _containers.RepeatedCompositeFieldContainer[Outline]
    def __init__(self, label: _Optional[int] = ..., bbox: _Optional[_Union[BoundingBox, _Mapping]] = ..., centroid: _Optional[_Union[Centroid, _Mapping]] = ..., area: _Optional[int] = ..., equivalent_diameter_area: _Optional[float] = ..., mean_probability: _Optional[float] = ..., flow_error: _Optional[float] = ..., outlines: _Optional[_Iterable[_Union[Outline, _Mapping]]] = ...) -> None: ...

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
    __slots__ = ("request_id", "labels", "axes", "pixel_size", "objects", "params", "diameter_source", "model", "server_version", "warnings", "timing", "flows", "cell_probability", "maps", "style")
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    LABELS_FIELD_NUMBER: _ClassVar[int]
    AXES_FIELD_NUMBER: _ClassVar[int]
    PIXEL_SIZE_FIELD_NUMBER: _ClassVar[int]
    OBJECTS_FIELD_NUMBER: _ClassVar[int]
    PARAMS_FIELD_NUMBER: _ClassVar[int]
    DIAMETER_SOURCE_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    SERVER_VERSION_FIELD_NUMBER: _ClassVar[int]
    WARNINGS_FIELD_NUMBER: _ClassVar[int]
    TIMING_FIELD_NUMBER: _ClassVar[int]
    FLOWS_FIELD_NUMBER: _ClassVar[int]
    CELL_PROBABILITY_FIELD_NUMBER: _ClassVar[int]
    MAPS_FIELD_NUMBER: _ClassVar[int]
    STYLE_FIELD_NUMBER: _ClassVar[int]
    request_id: str
    labels: _image_pb2.Array
    axes: str
    pixel_size: _image_pb2.PixelSize
    objects: _containers.RepeatedCompositeFieldContainer[Object]
    params: _params_pb2.SegmentParams
    diameter_source: DiameterSource
    model: _models_pb2.ModelVersion
    server_version: str
    warnings: _containers.RepeatedCompositeFieldContainer[_errors_pb2.Warning]
    timing: Timing
    flows: _image_pb2.Array
    cell_probability: _image_pb2.Array
    maps: _image_pb2.Array
    style: _containers.RepeatedScalarFieldContainer[float]
    def __init__(self, request_id: _Optional[str] = ..., labels: _Optional[_Union[_image_pb2.Array, _Mapping]] = ..., axes: _Optional[str] = ..., pixel_size: _Optional[_Union[_image_pb2.PixelSize, _Mapping]] = ..., objects: _Optional[_Iterable[_Union[Object, _Mapping]]] = ..., params: _Optional[_Union[_params_pb2.SegmentParams, _Mapping]] = ..., diameter_source: _Optional[_Union[DiameterSource, str]] = ..., model: _Optional[_Union[_models_pb2.ModelVersion, _Mapping]] = ..., server_version: _Optional[str] = ..., warnings: _Optional[_Iterable[_Union[_errors_pb2.Warning, _Mapping]]] = ..., timing: _Optional[_Union[Timing, _Mapping]] = ..., flows: _Optional[_Union[_image_pb2.Array, _Mapping]] = ..., cell_probability: _Optional[_Union[_image_pb2.Array, _Mapping]] = ..., maps: _Optional[_Union[_image_pb2.Array, _Mapping]] = ..., style: _Optional[_Iterable[float]] = ...) -> None: ...

class EstimateDiameterResponse(_message.Message):
    __slots__ = ("request_id", "diameter", "source", "model", "warnings", "server_version")
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    DIAMETER_FIELD_NUMBER: _ClassVar[int]
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    WARNINGS_FIELD_NUMBER: _ClassVar[int]
    SERVER_VERSION_FIELD_NUMBER: _ClassVar[int]
    request_id: str
    diameter: float
    source: DiameterSource
    model: _models_pb2.ModelVersion
    warnings: _containers.RepeatedCompositeFieldContainer[_errors_pb2.Warning]
    server_version: str
    def __init__(self, request_id: _Optional[str] = ..., diameter: _Optional[float] = ..., source: _Optional[_Union[DiameterSource, str]] = ..., model: _Optional[_Union[_models_pb2.ModelVersion, _Mapping]] = ..., warnings: _Optional[_Iterable[_Union[_errors_pb2.Warning, _Mapping]]] = ..., server_version: _Optional[str] = ...) -> None: ...
