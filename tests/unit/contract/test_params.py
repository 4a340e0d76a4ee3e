"""Declarations of parameters, and all that follows from them."""

from __future__ import annotations

import math
import pickle
import typing
from dataclasses import replace

import numpy as np
import pytest
from cellserve_contract import wire
from cellserve_contract.declarations import ParameterError, parameters
from cellserve_contract.fields import ParamFields
from cellserve_contract.params import PARAMETERS, PRESETS, Normalization, RecoveryParams, SegmentParams
from cellserve_proto import v1 as pb
from hypothesis import given
from hypothesis import strategies as st


def test_the_message_names_parameter_value_and_what_is_allowed():
    error = ParameterError("tile_overlap", 0.7, "0 to 0.5")
    assert str(error) == "tile_overlap is 0.7; allowed: 0 to 0.5"
    assert (error.parameter, error.value, error.allowed) == ("tile_overlap", 0.7, "0 to 0.5")


def test_the_error_survives_pickling():
    error = pickle.loads(pickle.dumps(ParameterError("niter", 0, "1 to 10000")))
    assert (error.parameter, error.value, error.allowed) == ("niter", 0, "1 to 10000")


def normalizations():
    low = st.floats(0, 49)
    pairs = st.tuples(low, low)
    return st.one_of(
        st.builds(Normalization, st.just("percentiles"), low, low.map(lambda p: p + 50), st.booleans()),
        st.builds(Normalization, st.just("range"), low, low.map(lambda p: p + 50), st.booleans()),
        st.builds(Normalization, st.just("range"), pairs, pairs.map(lambda p: (p[0] + 50, p[1] + 50)), st.booleans()),
        st.builds(Normalization, st.just("off"), invert=st.booleans()),
    )


def values_of(parameter):
    """Draws allowed values of any declared parameter, so that a new one is drawn, too."""
    about = parameter.about
    if parameter.words:
        return st.sampled_from(parameter.words)
    if parameter.kind is Normalization:
        return normalizations()
    if parameter.kind in (int, float):
        numbers = st.integers(about.low, about.high) if parameter.kind is int else st.floats(about.low, about.high)
        return numbers.filter(lambda value: value > about.low) if about.above_low else numbers
    return {bool: st.booleans(), str: st.text("abc_", max_size=5)}[parameter.kind]


def all_params():
    return st.builds(SegmentParams, **{name: values_of(parameter) for name, parameter in PARAMETERS.items()})


def test_the_declaration_has_the_fields_of_the_contract():
    assert list(PARAMETERS) == [field.name for field in pb.SegmentParams.DESCRIPTOR.fields]
    assert set(parameters(RecoveryParams)) < set(PARAMETERS)


def test_keywords_are_the_declared_parameters():
    hints = typing.get_type_hints(ParamFields)
    assert list(hints) == list(PARAMETERS)
    declared = typing.get_type_hints(SegmentParams)
    for name, hint in hints.items():
        text = str if name == "normalization" else None
        assert set(typing.get_args(hint)) == {*_parts(declared[name]), type(None), *([text] if text else [])}


def _parts(hint):
    return typing.get_args(hint) if type(None) in typing.get_args(hint) else (hint,)


@given(all_params())
def test_parameters_survive_the_wire(params):
    """What an answer carries, sent again, means the same to the last bit."""
    message = pb.SegmentParams()
    wire.write_params(message, params)
    assert wire.read_params(pb.SegmentParams.FromString(message.SerializeToString())) == params


def test_an_empty_message_has_the_defaults():
    assert wire.read_params(pb.SegmentParams()) == SegmentParams()
    assert wire.read_params(pb.SegmentParams(diameter=0)).diameter is None


@given(normalizations())
def test_a_normalization_survives_its_text_form(normalization):
    assert Normalization.parse(str(normalization), normalization.invert) == normalization


@pytest.mark.parametrize(
    "text", ["", "of", "off:1", "range", "range:1", "range:1,2,3", "percentiles:1,2,3,4", "range:a,b"]
)
def test_texts_that_are_no_normalization(text):
    with pytest.raises(ParameterError, match="percentiles:LOW,HIGH"):
        Normalization.parse(text)


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("diameter", "30", 30.0),
        ("niter", "7", 7),
        ("fill_holes", "FALSE", False),
        ("mask_rules", "paper", "paper"),
        ("normalization", "range:0,9", Normalization("range", 0, 9)),
    ],
)
def test_values_from_text(name, text, value):
    assert PARAMETERS[name].parse(text) == value


@pytest.mark.parametrize(("name", "text"), [("diameter", "thick"), ("niter", "1.5"), ("fill_holes", "maybe")])
def test_texts_that_are_no_value(name, text):
    with pytest.raises(ParameterError) as refused:
        PARAMETERS[name].parse(text)
    assert refused.value.parameter == name


def test_a_json_schema():
    assert PARAMETERS["max_size_fraction"].schema == {
        "type": "number",
        "description": PARAMETERS["max_size_fraction"].about.help,
        "exclusiveMinimum": 0,
        "maximum": 1,
        "default": 0.4,
    }
    assert PARAMETERS["mask_rules"].schema["enum"] == ["paper", "cellpose3"]
    assert PARAMETERS["normalization"].schema["default"] == "percentiles:1,99"
    assert "default" not in PARAMETERS["diameter"].schema


def test_numbers_of_numpy_become_those_of_python():
    params = SegmentParams(
        diameter=np.float32(30), niter=np.int64(5), ensemble=np.bool_(False), cytoplasm_channel=np.uint8(1)
    )
    assert [type(value) for value in (params.diameter, params.niter, params.ensemble, params.cytoplasm_channel)] == [
        float,
        int,
        bool,
        int,
    ]


@pytest.mark.parametrize(
    "wrong",
    [{"diameter": "30"}, {"niter": 1.5}, {"niter": True}, {"model": 3}, {"fill_holes": 1}, {"normalization": 3}],
)
def test_wrong_types(wrong):
    with pytest.raises(TypeError, match=next(iter(wrong))):
        SegmentParams(**wrong)


def test_defaults_are_those_of_the_contract():
    params = SegmentParams()
    assert (params.cellprob_threshold, params.flow_threshold, params.niter) == (None, None, None)
    assert (params.interpolation, params.min_size, params.max_size_fraction) == ("bilinear", None, 0.4)
    assert (params.fill_holes, params.exclude_on_edges, params.mask_rules) == (True, False, "paper")
    image, volume = params.resolved(2), params.resolved(3)
    assert (image.cellprob_threshold, image.flow_threshold, image.min_size) == (0.0, 0.4, 15)
    assert (volume.cellprob_threshold, volume.flow_threshold, volume.min_size, volume.niter) == (-0.75, 0.7, 15, 200)
    chosen = SegmentParams(cellprob_threshold=1, flow_threshold=0, min_size=3, niter=7)
    assert chosen.resolved(3) == chosen


def test_a_preset_is_a_set_of_values_and_given_values_win():
    preset = SegmentParams.preset("cellpose3")
    assert preset != SegmentParams()
    assert preset == SegmentParams(**PRESETS["cellpose3"])
    chosen = SegmentParams.preset("cellpose3", tile_margin="fixed", diameter=12, normalization="off")
    assert (chosen.tile_margin, chosen.diameter, chosen.normalization.rule) == ("fixed", 12, "off")
    assert replace(chosen, tile_margin="cellpose3", diameter=None, normalization=preset.normalization) == preset
    with pytest.raises(ParameterError, match="preset is 'cellpose4'; allowed: cellpose3"):
        SegmentParams.preset("cellpose4")


def test_cellpose_measures_no_flow_errors_of_volumes():
    image, volume = (SegmentParams.preset("cellpose3").resolved(axes) for axes in (2, 3))
    assert (image.cellprob_threshold, image.flow_threshold) == (0, 0.4)
    assert (volume.cellprob_threshold, volume.flow_threshold) == (0, 0)


@pytest.mark.parametrize(
    "arguments",
    [
        {"diameter": 1},
        {"diameter": 10_000},
        {"cytoplasm_channel": -1},
        {"tile_overlap": 0.5},
        {"cellprob_threshold": -20},
        {"cellprob_threshold": 20},
        {"flow_threshold": 0},
        {"flow_threshold": 100},
        {"niter": 1},
        {"niter": 10_000},
        {"min_size": 0},
        {"min_size": 1_000_000},
        {"max_size_fraction": 1},
        {"max_size_fraction": 1e-9},
    ],
)
def test_ends_of_the_ranges_are_allowed(arguments):
    SegmentParams(**arguments)


@pytest.mark.parametrize(
    ("parameter", "value"),
    [
        ("diameter", 0.5),
        ("diameter", -1),
        ("diameter", 10_001),
        ("diameter", math.nan),
        ("diameter", math.inf),
        ("cytoplasm_channel", -2),
        ("nucleus_channel", 2**31),
        ("tile_overlap", 0.51),
        ("tile_overlap", math.nan),
        ("cellprob_threshold", -20.1),
        ("cellprob_threshold", 20.1),
        ("cellprob_threshold", math.nan),
        ("flow_threshold", -0.1),
        ("flow_threshold", 100.1),
        ("flow_threshold", math.nan),
        ("niter", 0),
        ("niter", 10_001),
        ("min_size", -1),
        ("min_size", 1_000_001),
        ("max_size_fraction", 0),
        ("max_size_fraction", 1.01),
        ("max_size_fraction", math.nan),
        ("interpolation", "cubic"),
        ("mask_rules", "cellpose4"),
    ],
)
def test_recovery_out_of_range_is_refused(parameter, value):
    with pytest.raises(ParameterError) as refused:
        SegmentParams(**{parameter: value})
    assert refused.value.parameter == parameter


@pytest.mark.parametrize(
    ("arguments", "parameter"),
    [
        ({"low": -0.1}, "normalization.percentiles.low"),
        ({"low": 101.0, "high": 102.0}, "normalization.percentiles.low"),
        ({"high": 100.1}, "normalization.percentiles.high"),
        ({"low": 50.0, "high": 50.0}, "normalization.percentiles.high"),
        ({"high": math.nan}, "normalization.percentiles.high"),
        ({"rule": "range", "low": 5.0, "high": 5.0}, "normalization.range.high"),
        ({"rule": "range", "low": 0.0, "high": math.inf}, "normalization.range.high"),
        ({"rule": "range", "low": math.nan, "high": 1.0}, "normalization.range.low"),
        ({"rule": "range"}, "normalization.range.low"),
        ({"rule": "range", "low": 1.0}, "normalization.range.high"),
        ({"rule": "range", "low": (1, 2), "high": 3}, "normalization.range.high"),
        ({"rule": "range", "low": (1, 2, 3), "high": (4, 5, 6)}, "normalization.range.high"),
        ({"rule": "range", "low": (1, 2), "high": (3, 2)}, "normalization.range.high"),
        ({"low": (1, 2), "high": (98, 99)}, "normalization.percentiles.high"),
        ({"rule": "off", "low": 1.0}, "normalization.off"),
        ({"rule": "minmax"}, "normalization.rule"),
    ],
)
def test_normalizations_out_of_range_are_refused(arguments, parameter):
    with pytest.raises(ParameterError) as refused:
        Normalization(**arguments)
    assert refused.value.parameter == parameter
