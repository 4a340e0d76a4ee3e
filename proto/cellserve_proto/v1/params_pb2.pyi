from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

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

class TileMargin(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    TILE_MARGIN_UNSPECIFIED: _ClassVar[TileMargin]
    TILE_MARGIN_FIXED: _ClassVar[TileMargin]
    TILE_MARGIN_CELLPOSE3: _ClassVar[TileMargin]

class StackMode(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    STACK_MODE_UNSPECIFIED: _ClassVar[StackMode]
    STACK_MODE_VOLUME: _ClassVar[StackMode]
    STACK_MODE_STITCH: _ClassVar[StackMode]
    STACK_MODE_PLANES: _ClassVar[StackMode]
INTERPOLATION_UNSPECIFIED: Interpolation
INTERPOLATION_NEAREST: Interpolation
INTERPOLATION_BILINEAR: Interpolation
MASK_RULES_UNSPECIFIED: MaskRules
MASK_RULES_PAPER: MaskRules
MASK_RULES_CELLPOSE3: MaskRules
TILE_MARGIN_UNSPECIFIED: TileMargin
TILE_MARGIN_FIXED: TileMargin
TILE_MARGIN_CELLPOSE3: TileMargin
STACK_MODE_UNSPECIFIED: StackMode
STACK_MODE_VOLUME: StackMode
STACK_MODE_STITCH: StackMode
STACK_MODE_PLANES: StackMode

class Normalization(_message.Message):
    __slots__ = ("percentiles", "ranges", "off", "cellpose3", "invert")
    class Range(_message.Message):
        __slots__ = ("low", "high")
        LOW_FIELD_NUMBER: _ClassVar[int]
        HIGH_FIELD_NUMBER: _ClassVar[int]
        low: float
        high: float
        def __init__(self, low: _Optional[float] = ..., high: _Optional[float] = ...) -> None: ...
    class Ranges(_message.Message):
        __slots__ = ("ranges",)
        RANGES_FIELD_NUMBER: _ClassVar[int]
        ranges: _containers.RepeatedCompositeFieldContainer[Normalization.Range]
        def __init__(self, ranges: _Optional[_Iterable[_Union[Normalization.Range, _Mapping]]] = ...) -> None: ...
    class Percentiles(_message.Message):
        __slots__ = ("low", "high")
        LOW_FIELD_NUMBER: _ClassVar[int]
        HIGH_FIELD_NUMBER: _ClassVar[int]
        low: float
        high: float
        def __init__(self, low: _Optional[float] = ..., high: _Optional[float] = ...) -> None: ...
    PERCENTILES_FIELD_NUMBER: _ClassVar[int]
    RANGES_FIELD_NUMBER: _ClassVar[int]
    OFF_FIELD_NUMBER: _ClassVar[int]
    CELLPOSE3_FIELD_NUMBER: _ClassVar[int]
    INVERT_FIELD_NUMBER: _ClassVar[int]
    percentiles: Normalization.Percentiles
    ranges: Normalization.Ranges
    off: bool
    cellpose3: Normalization.Percentiles
    invert: bool
    def __init__(self, percentiles: _Optional[_Union[Normalization.Percentiles, _Mapping]] = ..., ranges: _Optional[_Union[Normalization.Ranges, _Mapping]] = ..., off: _Optional[bool] = ..., cellpose3: _Optional[_Union[Normalization.Percentiles, _Mapping]] = ..., invert: _Optional[bool] = ...) -> None: ...

class SegmentParams(_message.Message):
    __slots__ = ("model", "ensemble", "diameter", "cytoplasm_channel", "nucleus_channel", "normalization", "tile_overlap", "augment", "tile_margin", "stack_mode", "anisotropy", "resample_stack", "view_weight", "view_smoothing", "sum_views", "stitch_threshold", "cellprob_threshold", "flow_threshold", "niter", "interpolation", "min_size", "max_size_fraction", "min_volume_fraction", "fill_holes", "exclude_on_edges", "mask_rules")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    ENSEMBLE_FIELD_NUMBER: _ClassVar[int]
    DIAMETER_FIELD_NUMBER: _ClassVar[int]
    CYTOPLASM_CHANNEL_FIELD_NUMBER: _ClassVar[int]
    NUCLEUS_CHANNEL_FIELD_NUMBER: _ClassVar[int]
    NORMALIZATION_FIELD_NUMBER: _ClassVar[int]
    TILE_OVERLAP_FIELD_NUMBER: _ClassVar[int]
    AUGMENT_FIELD_NUMBER: _ClassVar[int]
    TILE_MARGIN_FIELD_NUMBER: _ClassVar[int]
    STACK_MODE_FIELD_NUMBER: _ClassVar[int]
    ANISOTROPY_FIELD_NUMBER: _ClassVar[int]
    RESAMPLE_STACK_FIELD_NUMBER: _ClassVar[int]
    VIEW_WEIGHT_FIELD_NUMBER: _ClassVar[int]
    VIEW_SMOOTHING_FIELD_NUMBER: _ClassVar[int]
    SUM_VIEWS_FIELD_NUMBER: _ClassVar[int]
    STITCH_THRESHOLD_FIELD_NUMBER: _ClassVar[int]
    CELLPROB_THRESHOLD_FIELD_NUMBER: _ClassVar[int]
    FLOW_THRESHOLD_FIELD_NUMBER: _ClassVar[int]
    NITER_FIELD_NUMBER: _ClassVar[int]
    INTERPOLATION_FIELD_NUMBER: _ClassVar[int]
    MIN_SIZE_FIELD_NUMBER: _ClassVar[int]
    MAX_SIZE_FRACTION_FIELD_NUMBER: _ClassVar[int]
    MIN_VOLUME_FRACTION_FIELD_NUMBER: _ClassVar[int]
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
    tile_margin: TileMargin
    stack_mode: StackMode
    anisotropy: float
    resample_stack: bool
    view_weight: float
    view_smoothing: float
    sum_views: bool
    stitch_threshold: float
    cellprob_threshold: float
    flow_threshold: float
    niter: int
    interpolation: Interpolation
    min_size: int
    max_size_fraction: float
    min_volume_fraction: float
    fill_holes: bool
    exclude_on_edges: bool
    mask_rules: MaskRules
    def __init__(self, model: _Optional[str] = ..., ensemble: _Optional[bool] = ..., diameter: _Optional[float] = ..., cytoplasm_channel: _Optional[int] = ..., nucleus_channel: _Optional[int] = ..., normalization: _Optional[_Union[Normalization, _Mapping]] = ..., tile_overlap: _Optional[float] = ..., augment: _Optional[bool] = ..., tile_margin: _Optional[_Union[TileMargin, str]] = ..., stack_mode: _Optional[_Union[StackMode, str]] = ..., anisotropy: _Optional[float] = ..., resample_stack: _Optional[bool] = ..., view_weight: _Optional[float] = ..., view_smoothing: _Optional[float] = ..., sum_views: _Optional[bool] = ..., stitch_threshold: _Optional[float] = ..., cellprob_threshold: _Optional[float] = ..., flow_threshold: _Optional[float] = ..., niter: _Optional[int] = ..., interpolation: _Optional[_Union[Interpolation, str]] = ..., min_size: _Optional[int] = ..., max_size_fraction: _Optional[float] = ..., min_volume_fraction: _Optional[float] = ..., fill_holes: _Optional[bool] = ..., exclude_on_edges: _Optional[bool] = ..., mask_rules: _Optional[_Union[MaskRules, str]] = ...) -> None: ...
