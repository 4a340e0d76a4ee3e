import math

import pytest
from cellserve_postprocess import RecoveryParams
from cellserve_preprocess import ParameterError


def test_defaults_are_those_of_the_contract():
    params = RecoveryParams()
    assert (params.cellprob_threshold, params.flow_threshold, params.niter) == (0.0, 0.4, 200)
    assert (params.interpolation, params.min_size, params.max_size_fraction) == ("bilinear", 15, 0.4)
    assert (params.fill_holes, params.exclude_on_edges, params.mask_rules) == (True, False, "paper")


@pytest.mark.parametrize(
    "arguments",
    [
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
    RecoveryParams(**arguments)


@pytest.mark.parametrize(
    ("parameter", "value"),
    [
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
def test_out_of_range_is_refused(parameter, value):
    with pytest.raises(ParameterError) as refused:
        RecoveryParams(**{parameter: value})
    assert refused.value.parameter == parameter
