"""Messages to parameters and back."""

from __future__ import annotations

import zlib

import numpy as np
import pytest
from cellserve_gateway.app.context import Priority
from cellserve_gateway.app.families import Family
from cellserve_gateway.app.networks import Network
from cellserve_gateway.app.params import DiameterSource, SegmentParams
from cellserve_gateway.app.pipeline import Segmentation
from cellserve_gateway.errors import InvalidRequest
from cellserve_gateway.fronts.grpc import codec
from cellserve_postprocess import RecoveryParams, measure_objects
from cellserve_preprocess import Normalization, ParameterError
from cellserve_proto.v1 import segmentation_pb2 as pb
from hypothesis import given
from hypothesis import strategies as st

FAMILY = Family(
    family="generalist",
    description="",
    diam_mean=30.0,
    channels=("cytoplasm", "nucleus"),
    license="",
    provenance="",
    tile_size=224,
    networks={},
)
NETWORK = Network("generalist", "1", "0" * 64, 8)


def normalizations():
    percentile = st.floats(0, 49)
    return st.one_of(
        st.builds(Normalization, st.just("percentiles"), percentile, percentile.map(lambda p: p + 50), st.booleans()),
        st.builds(Normalization, st.just("range"), percentile, percentile.map(lambda p: p + 50), st.booleans()),
        st.builds(Normalization, st.just("off"), invert=st.booleans()),
    )


def all_params():
    recovery = st.builds(
        RecoveryParams,
        cellprob_threshold=st.floats(-20, 20),
        flow_threshold=st.floats(0, 100),
        niter=st.integers(1, 10_000),
        interpolation=st.sampled_from(["nearest", "bilinear"]),
        min_size=st.integers(0, 1_000_000),
        max_size_fraction=st.floats(0.001, 1),
        fill_holes=st.booleans(),
        exclude_on_edges=st.booleans(),
        mask_rules=st.sampled_from(["paper", "cellpose3"]),
    )
    return st.builds(
        SegmentParams,
        model=st.just("generalist"),
        ensemble=st.booleans(),
        diameter=st.floats(1, 10_000),
        cytoplasm_channel=st.integers(-1, 1),
        nucleus_channel=st.integers(-1, 1),
        normalization=normalizations(),
        tile_overlap=st.floats(0, 0.5),
        augment=st.booleans(),
        recovery=recovery,
    )


def answer(params: SegmentParams, labels: np.ndarray) -> Segmentation:
    errors = np.zeros(int(labels.max(initial=0)), np.float32)
    objects = measure_objects(labels, np.zeros(labels.shape, np.float32), errors)
    return Segmentation(labels, objects, params, DiameterSource.CALLER, NETWORK)


@given(all_params())
def test_params_survive_the_wire(params):
    """What an answer echoes, sent again, means the same to the last bit."""
    labels = np.zeros((3, 4), np.uint16)
    echoed = codec.segment_response(answer(params, labels), "id", pb.COMPRESSION_NONE).params
    assert codec.to_params(pb.SegmentParams.FromString(echoed.SerializeToString()), "other") == params
    set_fields = {field.name for field, _ in echoed.ListFields()}
    assert set_fields == {field.name for field in pb.SegmentParams.DESCRIPTOR.fields}, "the echo leaves nothing out"


def test_defaults():
    params = codec.to_params(pb.SegmentParams(), "generalist")
    assert params == SegmentParams(model="generalist")
    assert codec.to_params(pb.SegmentParams(diameter=0), "generalist").diameter is None


@pytest.mark.parametrize(
    ("message", "parameter"),
    [
        (pb.SegmentParams(diameter=0.5), "diameter"),
        (pb.SegmentParams(diameter=-1), "diameter"),
        (pb.SegmentParams(diameter=float("nan")), "diameter"),
        (pb.SegmentParams(diameter=float("inf")), "diameter"),
        (pb.SegmentParams(tile_overlap=0.51), "tile_overlap"),
        (pb.SegmentParams(tile_overlap=float("nan")), "tile_overlap"),
        (pb.SegmentParams(cellprob_threshold=21), "cellprob_threshold"),
        (pb.SegmentParams(cellprob_threshold=float("nan")), "cellprob_threshold"),
        (pb.SegmentParams(flow_threshold=-0.1), "flow_threshold"),
        (pb.SegmentParams(flow_threshold=float("nan")), "flow_threshold"),
        (pb.SegmentParams(niter=0), "niter"),
        (pb.SegmentParams(niter=10_001), "niter"),
        (pb.SegmentParams(min_size=-1), "min_size"),
        (pb.SegmentParams(min_size=1_000_001), "min_size"),
        (pb.SegmentParams(max_size_fraction=0), "max_size_fraction"),
        (pb.SegmentParams(max_size_fraction=1.1), "max_size_fraction"),
        (pb.SegmentParams(normalization=pb.Normalization(percentiles={"low": 99, "high": 1})), None),
        (pb.SegmentParams(normalization=pb.Normalization(percentiles={"low": -1, "high": 99})), None),
        (pb.SegmentParams(normalization=pb.Normalization(range={"low": 5, "high": 5})), None),
        (pb.SegmentParams(normalization=pb.Normalization(range={"low": 0, "high": float("inf")})), None),
    ],
)
def test_ranges(message, parameter):
    with pytest.raises(ParameterError) as error:
        codec.to_params(message, "generalist")
    assert parameter is None or error.value.parameter == parameter
    assert "allowed" in str(error.value)


@pytest.mark.parametrize(
    ("planes", "given_channels", "expected"),
    [
        (1, (None, None), (0, -1)),
        (2, (None, None), (0, 1)),
        (3, (None, None), (-1, -1)),
        (2, (1, None), (1, -1)),
        (3, (1, 2), (1, 2)),
        (5, (4, 0), (4, 0)),
        (5, (4, None), (4, -1)),
    ],
)
def test_channels(planes, given_channels, expected):
    params = SegmentParams("generalist", cytoplasm_channel=given_channels[0], nucleus_channel=given_channels[1])
    resolved, source = params.resolved(planes, FAMILY)
    assert (resolved.cytoplasm_channel, resolved.nucleus_channel) == expected
    assert (resolved.diameter, source) == (30.0, DiameterSource.WORKING_DIAMETER)


@pytest.mark.parametrize(
    ("planes", "channels"), [(4, (None, None)), (1, (1, None)), (2, (0, 2)), (2, (-2, None)), (1, (0, -2))]
)
def test_channels_refused(planes, channels):
    with pytest.raises(ParameterError):
        SegmentParams("generalist", cytoplasm_channel=channels[0], nucleus_channel=channels[1]).resolved(planes, FAMILY)


def test_a_family_trained_without_nuclei():
    family = FAMILY.model_copy(update={"channels": ("cytoplasm",)})
    resolved, _ = SegmentParams("generalist").resolved(2, family)
    assert (resolved.cytoplasm_channel, resolved.nucleus_channel) == (0, -1)
    with pytest.raises(ParameterError, match="without nuclei"):
        SegmentParams("generalist", nucleus_channel=1).resolved(2, family)


@pytest.mark.parametrize(
    "convert",
    [
        lambda: codec.to_outputs([99]),
        lambda: codec.to_outputs([pb.OUTPUT_UNSPECIFIED]),
        lambda: codec.to_priority(7),
        lambda: codec.to_params(pb.SegmentParams(interpolation=9), "generalist"),  # type: ignore[arg-type]
        lambda: codec.to_params(pb.SegmentParams(mask_rules=9), "generalist"),  # type: ignore[arg-type]
    ],
)
def test_unknown_enumeration_values(convert):
    with pytest.raises(InvalidRequest) as error:
        convert()
    assert error.value.reason == "FIELD_INVALID"


def test_priorities():
    assert codec.to_priority(pb.PRIORITY_UNSPECIFIED) is Priority.BATCH
    assert codec.to_priority(pb.PRIORITY_ACQUISITION) is Priority.ACQUISITION


@pytest.mark.parametrize("dtype", [np.uint16, np.uint32])
@pytest.mark.parametrize("compression", [pb.COMPRESSION_NONE, pb.COMPRESSION_ZLIB, pb.COMPRESSION_UNSPECIFIED])
def test_labels_survive_the_wire(dtype, compression):
    labels = np.zeros((6, 7), dtype)
    labels[1:3, 2:5], labels[4, 6] = 1, 2
    response = codec.segment_response(
        answer(SegmentParams("generalist").resolved(1, FAMILY)[0], labels), "id", compression
    )
    data = response.labels.data
    if compression == pb.COMPRESSION_ZLIB:
        data = zlib.decompress(data)
    sent = np.frombuffer(data, codec.DTYPES[response.labels.data_type]).reshape(response.labels.shape)
    np.testing.assert_array_equal(sent, labels)
    assert [o.label for o in response.objects] == [1, 2]
    first = response.objects[0]
    assert (first.area, first.centroid_y, first.centroid_x) == (6, 1.5, 3.0)
    assert (first.bounding_box.y_min, first.bounding_box.x_min, first.bounding_box.y_max, first.bounding_box.x_max) == (
        1,
        2,
        3,
        5,
    )
    assert response.diameter_source == pb.DIAMETER_SOURCE_CALLER
