"""Parameters: the client's object, its keywords and the contract say the same."""

from __future__ import annotations

import dataclasses
import typing

import cellserve
import numpy as np
import pytest
from cellserve import Normalization, SegmentParams
from cellserve.messages import Template, decode_params, encode_params
from cellserve.params import ParamFields
from cellserve_proto.v1 import segmentation_pb2 as pb

FULL = SegmentParams(
    model="generalist",
    ensemble=False,
    diameter=30.1,
    cytoplasm_channel=0,
    nucleus_channel=-1,
    normalization=Normalization("range", 10.5, 4000, invert=True),
    tile_overlap=0.1,
    augment=False,
    cellprob_threshold=-0.3,
    flow_threshold=0.4,
    niter=200,
    interpolation="nearest",
    min_size=15,
    max_size_fraction=0.4,
    fill_holes=False,
    exclude_on_edges=True,
    mask_rules="cellpose3",
)


def test_fields_are_the_contracts():
    names = [field.name for field in pb.SegmentParams.DESCRIPTOR.fields]
    assert [field.name for field in dataclasses.fields(SegmentParams)] == names
    assert typing.get_type_hints(ParamFields) == typing.get_type_hints(SegmentParams)


def test_what_is_left_out_stays_unset():
    assert encode_params(SegmentParams()) == pb.SegmentParams()
    assert encode_params(SegmentParams(cytoplasm_channel=0, flow_threshold=0.0)) == pb.SegmentParams(
        cytoplasm_channel=0, flow_threshold=0.0
    )


def test_full_round_trip():
    assert None not in dataclasses.astuple(FULL)
    assert decode_params(encode_params(FULL)) == FULL


@pytest.mark.parametrize(
    "normalization",
    [Normalization(), Normalization("percentiles", 0.1, 99.9), Normalization("off"), Normalization("off", invert=True)],
)
def test_normalizations(normalization):
    params = SegmentParams(normalization=normalization)
    assert decode_params(encode_params(params)).normalization == normalization


def test_off_is_short_for_a_normalization():
    assert encode_params(SegmentParams(normalization="off")).normalization.off


@pytest.mark.parametrize("arguments", [("range",), ("range", 1.0), ("off", 1.0), ("sometimes",)])
def test_senseless_normalizations(arguments):
    with pytest.raises(ValueError, match=r"."):
        Normalization(*arguments)


def test_keywords_win_over_params():
    template = Template.of(FULL, diameter=12, model=None)
    assert decode_params(template.params) == dataclasses.replace(FULL, diameter=12, model=None)


def test_numpy_numbers_will_do():
    params = Template.of(None, diameter=np.float64(30), niter=np.int64(5), ensemble=np.bool_(False)).params
    assert (params.diameter, params.niter, params.ensemble) == (30, 5, False)


@pytest.mark.parametrize(
    "wrong", [{"diametre": 30}, {"diameter": "30"}, {"niter": 1.5}, {"normalization": "sometimes"}, {"model": 3}]
)
def test_programming_errors_are_type_errors(wrong):
    with pytest.raises(TypeError):
        Template.of(None, **wrong)


@pytest.mark.parametrize(
    "wrong",
    [
        {"interpolation": "cubic"},
        {"mask_rules": "cellpose4"},
        {"priority": "urgent"},
        {"compression": "gzip"},
        {"outputs": ["masks"]},
        {"outputs": "flows"},
    ],
)
def test_unknown_words_are_refused_with_the_known_ones(wrong):
    with pytest.raises(cellserve.InvalidRequestError, match=r"is not one of .*, "):
        Template.of(None, **wrong)
