"""The keywords of a call become one request."""

from __future__ import annotations

import dataclasses

import cellserve
import numpy as np
import pytest
from cellserve import Normalization, SegmentParams
from cellserve.messages import Template
from cellserve_contract import wire
from cellserve_proto import v1 as pb

FULL = SegmentParams(
    model="generalist",
    ensemble=False,
    diameter=30.1,
    normalization=Normalization("range", 10.5, 4000, invert=True),
    interpolation="nearest",
    mask_rules="cellpose3",
)


def params_of(template):
    return wire.read_params(template.request.params)


@pytest.mark.parametrize("text", ["off", "range:1,2,3,4", "percentiles:0.1,99.9"])
def test_a_normalization_may_be_text(text):
    assert params_of(Template.of(None, normalization=text)).normalization == Normalization.parse(text)


def test_what_is_not_said_is_the_default():
    template = Template.of(None)
    assert params_of(template) == SegmentParams()
    request = template.request
    assert (request.map_type, request.priority) == (pb.DATA_TYPE_FLOAT32, pb.PRIORITY_BATCH)
    assert (request.compression, template.packing) == (pb.COMPRESSION_UNSPECIFIED, "none")
    assert not request.HasField("work_budget_s")


def test_keywords_win_over_params():
    template = Template.of(FULL, diameter=12, model=None)
    assert params_of(template) == dataclasses.replace(FULL, diameter=12, model="")


def test_none_stands_for_the_default():
    template = Template.of(FULL, diameter=None, interpolation=None, niter=None)
    assert params_of(template) == dataclasses.replace(FULL, diameter=None, interpolation="bilinear")


def test_options_of_the_request():
    request = Template.of(
        None,
        outputs=["maps"],
        omit_labels=True,
        maps_only=True,
        map_type="float16",
        work_budget_s=2.5,
        compression="zlib",
    ).request
    assert (list(request.outputs), request.omit_labels, request.maps_only) == ([pb.OUTPUT_MAPS], True, True)
    assert (request.map_type, request.work_budget_s) == (pb.DATA_TYPE_FLOAT16, 2.5)
    assert request.compression == pb.COMPRESSION_ZLIB


def test_numpy_numbers_will_do():
    params = params_of(Template.of(None, diameter=np.float64(30), niter=np.int64(5), ensemble=np.bool_(False)))
    assert (params.diameter, params.niter, params.ensemble) == (30, 5, False)


@pytest.mark.parametrize(
    "wrong",
    [
        {"priority": "urgent"},
        {"compression": "gzip"},
        {"outputs": ["masks"]},
        {"map_type": "float64x"},
    ],
)
def test_unknown_words_are_refused_with_the_known_ones(wrong):
    with pytest.raises(cellserve.InvalidRequestError, match=r"unknown value .*allowed: .*, "):
        Template.of(None, **wrong)


@pytest.mark.parametrize(
    ("wrong", "parameter"),
    [
        ({"niter": 0}, "niter"),
        ({"interpolation": "cubic"}, "interpolation"),
        ({"mask_rules": "cellpose4"}, "mask_rules"),
        ({"normalization": "sometimes"}, "normalization"),
    ],
)
def test_values_out_of_range_are_refused_before_anything_is_sent(wrong, parameter):
    with pytest.raises(cellserve.InvalidRequestError, match="allowed") as caught:
        Template.of(None, **wrong)
    assert (caught.value.reason, caught.value.metadata["parameter"]) == ("PARAMETER_OUT_OF_RANGE", parameter)
