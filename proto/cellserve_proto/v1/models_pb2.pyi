from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Precision(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    PRECISION_UNSPECIFIED: _ClassVar[Precision]
    PRECISION_FLOAT32: _ClassVar[Precision]
    PRECISION_FLOAT16: _ClassVar[Precision]
    PRECISION_BFLOAT16: _ClassVar[Precision]
    PRECISION_TENSORFLOAT32: _ClassVar[Precision]
    PRECISION_INT8: _ClassVar[Precision]
PRECISION_UNSPECIFIED: Precision
PRECISION_FLOAT32: Precision
PRECISION_FLOAT16: Precision
PRECISION_BFLOAT16: Precision
PRECISION_TENSORFLOAT32: Precision
PRECISION_INT8: Precision

class ModelVersion(_message.Message):
    __slots__ = ("family", "name", "version", "sha256", "weights", "precision", "runtime")
    FAMILY_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    SHA256_FIELD_NUMBER: _ClassVar[int]
    WEIGHTS_FIELD_NUMBER: _ClassVar[int]
    PRECISION_FIELD_NUMBER: _ClassVar[int]
    RUNTIME_FIELD_NUMBER: _ClassVar[int]
    family: str
    name: str
    version: str
    sha256: str
    weights: Precision
    precision: Precision
    runtime: str
    def __init__(self, family: _Optional[str] = ..., name: _Optional[str] = ..., version: _Optional[str] = ..., sha256: _Optional[str] = ..., weights: _Optional[_Union[Precision, str]] = ..., precision: _Optional[_Union[Precision, str]] = ..., runtime: _Optional[str] = ...) -> None: ...

class Model(_message.Message):
    __slots__ = ("name", "description", "versions", "working_diameter", "training_diameter", "channels", "license", "provenance", "has_size_model", "ready", "tile_size", "max_batch_size")
    NAME_FIELD_NUMBER: _ClassVar[int]
    DESCRIPTION_FIELD_NUMBER: _ClassVar[int]
    VERSIONS_FIELD_NUMBER: _ClassVar[int]
    WORKING_DIAMETER_FIELD_NUMBER: _ClassVar[int]
    TRAINING_DIAMETER_FIELD_NUMBER: _ClassVar[int]
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
    working_diameter: float
    training_diameter: float
    channels: _containers.RepeatedScalarFieldContainer[str]
    license: str
    provenance: str
    has_size_model: bool
    ready: bool
    tile_size: int
    max_batch_size: int
    def __init__(self, name: _Optional[str] = ..., description: _Optional[str] = ..., versions: _Optional[_Iterable[_Union[ModelVersion, _Mapping]]] = ..., working_diameter: _Optional[float] = ..., training_diameter: _Optional[float] = ..., channels: _Optional[_Iterable[str]] = ..., license: _Optional[str] = ..., provenance: _Optional[str] = ..., has_size_model: _Optional[bool] = ..., ready: _Optional[bool] = ..., tile_size: _Optional[int] = ..., max_batch_size: _Optional[int] = ...) -> None: ...
