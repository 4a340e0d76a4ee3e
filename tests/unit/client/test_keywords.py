"""Wrong keywords and wrong types: the error says what to write instead."""

from __future__ import annotations

import inspect

import cellserve
import numpy as np
import pytest
from cellserve import AsyncClient, Client, DiameterOptions, SegmentOptions, SegmentParams
from cellserve.keywords import _TYPES
from cellserve.messages import Template
from cellserve_contract.cellpose_names import CELLPOSE_NAMES
from cellserve_contract.params import PARAMETERS

KNOWN = SegmentOptions.__annotations__


@pytest.mark.parametrize(
    ("wrong", "nearest"),
    [
        ("diamter", "diameter"),
        ("diametre", "diameter"),
        ("flow_treshold", "flow_threshold"),
        ("min_sise", "min_size"),
        ("deadline", "deadline_s"),
        ("output", "outputs"),
        ("Diameter", "diameter"),
    ],
)
def test_the_nearest_keyword_is_named(wrong, nearest):
    with pytest.raises(TypeError, match=f"^unknown parameter {wrong}; the nearest is {nearest}$"):
        Template.of(None, **{wrong: 1})


def test_without_a_near_keyword_all_are_named():
    with pytest.raises(TypeError, match=r"unknown parameter xyzzy; known: .*diameter.*deadline_s.*outputs"):
        Template.of(None, xyzzy=1)


def test_names_of_cellpose_are_translated():
    for name, translation in CELLPOSE_NAMES.items():
        assert name not in KNOWN, "the same name in both needs no translation"
        assert set(translation.ours) <= set(KNOWN)
        with pytest.raises(TypeError) as caught:
            Template.of(None, **{name: 1})
        assert str(caught.value) == f"unknown parameter {name}: {translation}"
        assert all(ours in str(caught.value) for ours in translation.ours)
    with pytest.raises(TypeError, match=r"channels=\[2, 3\] is cytoplasm_channel=1, nucleus_channel=2"):
        Template.of(None, channels=[0, 0])
    with pytest.raises(TypeError, match="the nearest is channels: use cytoplasm_channel and nucleus_channel"):
        Template.of(None, chanels=[0, 0])


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"diameter": "auto"}, "diameter is 'auto', of type str; expected float. Left out: estimated from the image"),
        ({"niter": 1.5}, "niter is 1.5, of type float; expected int"),
        ({"niter": True}, "niter is True, of type bool; expected int"),
        ({"augment": 1}, "augment is 1, of type int; expected bool"),
        ({"normalization": 3}, "expected Normalization, or text such as 'percentiles:1,99'"),
        ({"model": 3}, "model is 3, of type int; expected str"),
        ({"axes": 3}, "axes is 3, of type int; expected str"),
        ({"series": "0"}, "series is '0', of type str; expected int"),
        ({"deadline_s": "10"}, "deadline_s is '10', of type str; expected float"),
        ({"work_budget_s": [1]}, "work_budget_s is [1], of type list; expected float"),
        ({"priority": 1}, "priority is 1, of type int; expected str"),
        ({"compression": True}, "compression is True, of type bool; expected str"),
        ({"omit_labels": "no"}, "omit_labels is 'no', of type str; expected bool"),
        ({"outputs": "flows"}, "outputs is 'flows', of type str; expected a list: outputs=['flows']"),
        ({"outputs": 3}, "outputs is 3, of type int; expected Collection"),
    ],
)
def test_a_wrong_type_is_named_with_the_right_one(wrong, message):
    with pytest.raises(TypeError) as caught:
        Template.of(None, **wrong)
    assert message in str(caught.value)


@pytest.mark.parametrize("wrong", [{"deadline_s": 0}, {"work_budget_s": -1.0}, {"series": -1}])
def test_numbers_out_of_range(wrong):
    with pytest.raises(cellserve.InvalidRequestError, match="allowed: ") as caught:
        Template.of(None, **wrong)
    assert (caught.value.reason, caught.value.metadata["parameter"]) == ("PARAMETER_OUT_OF_RANGE", *wrong)


def test_every_option_has_a_type_and_none_is_the_default():
    own = KNOWN.keys() - PARAMETERS.keys()
    assert own <= _TYPES.keys()
    assert DiameterOptions.__annotations__.keys() < KNOWN.keys()
    assert Template.of(None, **dict.fromkeys(own)) == Template.of(None)


@pytest.mark.parametrize("wrong", [30, {"diameter": 30}, "cyto3"])
def test_params_are_segment_params(wrong):
    with pytest.raises(TypeError, match=r"expected a SegmentParams. Parameters may be keywords: segment\(image, diam"):
        Template.of(wrong)
    assert Template.of(SegmentParams(diameter=30)) == Template.of(None, diameter=30)


async def test_keywords_of_another_call(either, image):
    with pytest.raises(TypeError, match="concurrency: segment_many and segment_stream take"):
        await either.segment(image, concurrency=3)
    with pytest.raises(TypeError, match="unknown parameter outputs: segment, segment_many and segment_stream take"):
        await either.estimate_diameter(image, outputs=["flows"])
    for method in (either.segment_many, either.segment_stream):
        for wrong, error, message in (
            ({"request_id": "r"}, TypeError, "request_id: segment and estimate_diameter take"),
            ({"concurency": 3}, TypeError, "the nearest is concurrency"),
            ({"concurrency": "3"}, TypeError, "expected int"),
            ({"concurrency": 0}, cellserve.InvalidRequestError, "allowed: 1 or more"),
        ):
            with pytest.raises(error, match=message):
                [entry async for entry in method([(0, image)], **wrong)]


@pytest.mark.parametrize("kind", [Client, AsyncClient])
@pytest.mark.parametrize(
    ("wrong", "error", "message"),
    [
        ({"adress": "host"}, TypeError, "unknown parameter adress; the nearest is address"),
        ({"host": "host"}, TypeError, r"Client\('host:50051'\)"),
        ({"timeout": 3}, TypeError, "use deadline_s, in seconds"),
        ({"token": "secret"}, TypeError, r"metadata=\[\('authorization', 'Bearer ...'\)\]"),
        ({"deadline_s": "3"}, TypeError, "deadline_s is '3', of type str; expected float"),
        ({"deadline_s": 0}, ValueError, "allowed: seconds, above 0"),
        ({"address": 50051}, TypeError, "address is 50051, of type int; expected 'localhost:50051', or a list"),
        ({"address": ["host", 3]}, TypeError, "3 is no address"),
        ({"address": []}, ValueError, "no address given"),
    ],
)
def test_keywords_of_the_clients(kind, wrong, error, message):
    with pytest.raises(error, match=message) as caught:
        kind(**wrong)
    assert "secret" not in str(caught.value)


def test_type_checkers_know_every_keyword():
    parameters = inspect.signature(Client).parameters
    assert parameters["unknown"].annotation == "Never"
    assert np.isin(["address", "deadline_s", "credentials", "metadata"], list(parameters)).all()
