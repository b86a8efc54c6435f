from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Metric(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    METRIC_UNSPECIFIED: _ClassVar[Metric]
    METRIC_COSINE: _ClassVar[Metric]
    METRIC_L2: _ClassVar[Metric]
    METRIC_IP: _ClassVar[Metric]
METRIC_UNSPECIFIED: Metric
METRIC_COSINE: Metric
METRIC_L2: Metric
METRIC_IP: Metric

class Scheme(_message.Message):
    __slots__ = ("name", "json")
    NAME_FIELD_NUMBER: _ClassVar[int]
    JSON_FIELD_NUMBER: _ClassVar[int]
    name: str
    json: str
    def __init__(self, name: _Optional[str] = ..., json: _Optional[str] = ...) -> None: ...

class Hnsw(_message.Message):
    __slots__ = ("m", "ef_construction", "ef", "min_rows", "seed", "builder")
    M_FIELD_NUMBER: _ClassVar[int]
    EF_CONSTRUCTION_FIELD_NUMBER: _ClassVar[int]
    EF_FIELD_NUMBER: _ClassVar[int]
    MIN_ROWS_FIELD_NUMBER: _ClassVar[int]
    SEED_FIELD_NUMBER: _ClassVar[int]
    BUILDER_FIELD_NUMBER: _ClassVar[int]
    m: int
    ef_construction: int
    ef: int
    min_rows: int
    seed: int
    builder: str
    def __init__(self, m: _Optional[int] = ..., ef_construction: _Optional[int] = ..., ef: _Optional[int] = ..., min_rows: _Optional[int] = ..., seed: _Optional[int] = ..., builder: _Optional[str] = ...) -> None: ...

class NoIndex(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class CollectionConfig(_message.Message):
    __slots__ = ("dim", "metric", "scheme", "refine", "index", "recall")
    DIM_FIELD_NUMBER: _ClassVar[int]
    METRIC_FIELD_NUMBER: _ClassVar[int]
    SCHEME_FIELD_NUMBER: _ClassVar[int]
    REFINE_FIELD_NUMBER: _ClassVar[int]
    INDEX_FIELD_NUMBER: _ClassVar[int]
    RECALL_FIELD_NUMBER: _ClassVar[int]
    dim: int
    metric: Metric
    scheme: Scheme
    refine: Scheme
    index: Hnsw
    recall: float
    def __init__(self, dim: _Optional[int] = ..., metric: _Optional[_Union[Metric, str]] = ..., scheme: _Optional[_Union[Scheme, _Mapping]] = ..., refine: _Optional[_Union[Scheme, _Mapping]] = ..., index: _Optional[_Union[Hnsw, _Mapping]] = ..., recall: _Optional[float] = ...) -> None: ...

class CreateRequest(_message.Message):
    __slots__ = ("name", "dim", "metric", "scheme", "refine", "hnsw", "no_index", "exist_ok", "recall")
    NAME_FIELD_NUMBER: _ClassVar[int]
    DIM_FIELD_NUMBER: _ClassVar[int]
    METRIC_FIELD_NUMBER: _ClassVar[int]
    SCHEME_FIELD_NUMBER: _ClassVar[int]
    REFINE_FIELD_NUMBER: _ClassVar[int]
    HNSW_FIELD_NUMBER: _ClassVar[int]
    NO_INDEX_FIELD_NUMBER: _ClassVar[int]
    EXIST_OK_FIELD_NUMBER: _ClassVar[int]
    RECALL_FIELD_NUMBER: _ClassVar[int]
    name: str
    dim: int
    metric: Metric
    scheme: Scheme
    refine: Scheme
    hnsw: Hnsw
    no_index: NoIndex
    exist_ok: bool
    recall: float
    def __init__(self, name: _Optional[str] = ..., dim: _Optional[int] = ..., metric: _Optional[_Union[Metric, str]] = ..., scheme: _Optional[_Union[Scheme, _Mapping]] = ..., refine: _Optional[_Union[Scheme, _Mapping]] = ..., hnsw: _Optional[_Union[Hnsw, _Mapping]] = ..., no_index: _Optional[_Union[NoIndex, _Mapping]] = ..., exist_ok: _Optional[bool] = ..., recall: _Optional[float] = ...) -> None: ...

class CreateResponse(_message.Message):
    __slots__ = ("config",)
    CONFIG_FIELD_NUMBER: _ClassVar[int]
    config: CollectionConfig
    def __init__(self, config: _Optional[_Union[CollectionConfig, _Mapping]] = ...) -> None: ...

class GetRequest(_message.Message):
    __slots__ = ("name",)
    NAME_FIELD_NUMBER: _ClassVar[int]
    name: str
    def __init__(self, name: _Optional[str] = ...) -> None: ...

class GetResponse(_message.Message):
    __slots__ = ("config",)
    CONFIG_FIELD_NUMBER: _ClassVar[int]
    config: CollectionConfig
    def __init__(self, config: _Optional[_Union[CollectionConfig, _Mapping]] = ...) -> None: ...

class ListRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ListResponse(_message.Message):
    __slots__ = ("names",)
    NAMES_FIELD_NUMBER: _ClassVar[int]
    names: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, names: _Optional[_Iterable[str]] = ...) -> None: ...

class DropRequest(_message.Message):
    __slots__ = ("name",)
    NAME_FIELD_NUMBER: _ClassVar[int]
    name: str
    def __init__(self, name: _Optional[str] = ...) -> None: ...

class DropResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class StatsRequest(_message.Message):
    __slots__ = ("name",)
    NAME_FIELD_NUMBER: _ClassVar[int]
    name: str
    def __init__(self, name: _Optional[str] = ...) -> None: ...

class StatsResponse(_message.Message):
    __slots__ = ("rows", "delta_rows", "deleted_rows", "segments", "bytes_per_vector", "generation", "id_type", "columns")
    class BytesPerVectorEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: float
        def __init__(self, key: _Optional[str] = ..., value: _Optional[float] = ...) -> None: ...
    ROWS_FIELD_NUMBER: _ClassVar[int]
    DELTA_ROWS_FIELD_NUMBER: _ClassVar[int]
    DELETED_ROWS_FIELD_NUMBER: _ClassVar[int]
    SEGMENTS_FIELD_NUMBER: _ClassVar[int]
    BYTES_PER_VECTOR_FIELD_NUMBER: _ClassVar[int]
    GENERATION_FIELD_NUMBER: _ClassVar[int]
    ID_TYPE_FIELD_NUMBER: _ClassVar[int]
    COLUMNS_FIELD_NUMBER: _ClassVar[int]
    rows: int
    delta_rows: int
    deleted_rows: int
    segments: _containers.RepeatedCompositeFieldContainer[SegmentStats]
    bytes_per_vector: _containers.ScalarMap[str, float]
    generation: int
    id_type: str
    columns: _containers.RepeatedCompositeFieldContainer[ColumnType]
    def __init__(self, rows: _Optional[int] = ..., delta_rows: _Optional[int] = ..., deleted_rows: _Optional[int] = ..., segments: _Optional[_Iterable[_Union[SegmentStats, _Mapping]]] = ..., bytes_per_vector: _Optional[_Mapping[str, float]] = ..., generation: _Optional[int] = ..., id_type: _Optional[str] = ..., columns: _Optional[_Iterable[_Union[ColumnType, _Mapping]]] = ...) -> None: ...

class ColumnType(_message.Message):
    __slots__ = ("name", "type")
    NAME_FIELD_NUMBER: _ClassVar[int]
    TYPE_FIELD_NUMBER: _ClassVar[int]
    name: str
    type: str
    def __init__(self, name: _Optional[str] = ..., type: _Optional[str] = ...) -> None: ...

class SegmentStats(_message.Message):
    __slots__ = ("segment", "rows", "deleted", "scheme", "refine", "graph", "bytes", "calibration")
    class BytesEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: int
        def __init__(self, key: _Optional[str] = ..., value: _Optional[int] = ...) -> None: ...
    SEGMENT_FIELD_NUMBER: _ClassVar[int]
    ROWS_FIELD_NUMBER: _ClassVar[int]
    DELETED_FIELD_NUMBER: _ClassVar[int]
    SCHEME_FIELD_NUMBER: _ClassVar[int]
    REFINE_FIELD_NUMBER: _ClassVar[int]
    GRAPH_FIELD_NUMBER: _ClassVar[int]
    BYTES_FIELD_NUMBER: _ClassVar[int]
    CALIBRATION_FIELD_NUMBER: _ClassVar[int]
    segment: str
    rows: int
    deleted: int
    scheme: str
    refine: str
    graph: bool
    bytes: _containers.ScalarMap[str, int]
    calibration: str
    def __init__(self, segment: _Optional[str] = ..., rows: _Optional[int] = ..., deleted: _Optional[int] = ..., scheme: _Optional[str] = ..., refine: _Optional[str] = ..., graph: _Optional[bool] = ..., bytes: _Optional[_Mapping[str, int]] = ..., calibration: _Optional[str] = ...) -> None: ...

class FlushRequest(_message.Message):
    __slots__ = ("name",)
    NAME_FIELD_NUMBER: _ClassVar[int]
    name: str
    def __init__(self, name: _Optional[str] = ...) -> None: ...

class FlushResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class OptimizeRequest(_message.Message):
    __slots__ = ("name",)
    NAME_FIELD_NUMBER: _ClassVar[int]
    name: str
    def __init__(self, name: _Optional[str] = ...) -> None: ...

class OptimizeResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class CompressRequest(_message.Message):
    __slots__ = ("name", "scheme", "refine", "budget_share", "budget_bytes")
    NAME_FIELD_NUMBER: _ClassVar[int]
    SCHEME_FIELD_NUMBER: _ClassVar[int]
    REFINE_FIELD_NUMBER: _ClassVar[int]
    BUDGET_SHARE_FIELD_NUMBER: _ClassVar[int]
    BUDGET_BYTES_FIELD_NUMBER: _ClassVar[int]
    name: str
    scheme: Scheme
    refine: Scheme
    budget_share: float
    budget_bytes: int
    def __init__(self, name: _Optional[str] = ..., scheme: _Optional[_Union[Scheme, _Mapping]] = ..., refine: _Optional[_Union[Scheme, _Mapping]] = ..., budget_share: _Optional[float] = ..., budget_bytes: _Optional[int] = ...) -> None: ...

class CompressResponse(_message.Message):
    __slots__ = ("rows", "bytes_before", "bytes_after", "relative_error", "seconds", "cosine")
    ROWS_FIELD_NUMBER: _ClassVar[int]
    BYTES_BEFORE_FIELD_NUMBER: _ClassVar[int]
    BYTES_AFTER_FIELD_NUMBER: _ClassVar[int]
    RELATIVE_ERROR_FIELD_NUMBER: _ClassVar[int]
    SECONDS_FIELD_NUMBER: _ClassVar[int]
    COSINE_FIELD_NUMBER: _ClassVar[int]
    rows: int
    bytes_before: int
    bytes_after: int
    relative_error: float
    seconds: float
    cosine: float
    def __init__(self, rows: _Optional[int] = ..., bytes_before: _Optional[int] = ..., bytes_after: _Optional[int] = ..., relative_error: _Optional[float] = ..., seconds: _Optional[float] = ..., cosine: _Optional[float] = ...) -> None: ...
