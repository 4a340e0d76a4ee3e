"""Which planes show what: one rule for the gateway and its callers."""

from __future__ import annotations

import pytest
from cellserve_contract.channels import check_nucleus, default_channels, resolve_channels
from cellserve_contract.params import ParameterError

BOTH = ("cytoplasm", "nucleus")


@pytest.mark.parametrize(("planes", "channels"), [(1, (0, -1)), (2, (0, 1)), (3, (-1, -1))])
def test_default_channels_follow_the_number_of_planes(planes, channels):
    assert default_channels(planes) == channels


@pytest.mark.parametrize("planes", [4, 17])
def test_more_planes_need_the_callers_word(planes):
    with pytest.raises(
        ParameterError, match=rf"not set; allowed: 0 to {planes - 1}, .*mean of all {planes}"
    ) as refused:
        default_channels(planes)
    assert refused.value.parameter == "cytoplasm_channel"


@pytest.mark.parametrize(
    ("given", "planes", "inputs", "expected"),
    [
        ((None, None), 2, BOTH, (0, 1)),
        ((None, None), 2, BOTH[:1], (0, -1)),
        ((1, None), 2, BOTH, (1, -1)),
        ((None, 0), 2, BOTH, (0, 0)),
        ((2, 0), 5, BOTH, (2, 0)),
        ((-1, None), 5, BOTH, (-1, -1)),
        ((None, -1), 1, BOTH[:1], (0, -1)),
    ],
)
def test_channels_that_are_left_out_are_resolved(given, planes, inputs, expected):
    assert resolve_channels(*given, planes, "some", inputs) == expected


@pytest.mark.parametrize(
    ("given", "planes", "parameter"),
    [
        ((None, None), 4, "cytoplasm_channel"),
        ((2, 0), 2, "cytoplasm_channel"),
        ((-2, None), 2, "cytoplasm_channel"),
        ((0, 2), 2, "nucleus_channel"),
        ((0, -2), 2, "nucleus_channel"),
    ],
)
def test_channels_that_do_not_exist_are_refused(given, planes, parameter):
    with pytest.raises(ParameterError) as refused:
        resolve_channels(*given, planes, "some", BOTH)
    assert refused.value.parameter == parameter


def test_a_family_without_nuclei_takes_no_nucleus_channel():
    for check in (lambda: check_nucleus(1, "bodies", BOTH[:1]), lambda: resolve_channels(0, 1, 2, "bodies", BOTH[:1])):
        with pytest.raises(ParameterError, match="'bodies' was trained without nuclei"):
            check()
    for nucleus in (None, -1):
        check_nucleus(nucleus, "bodies", BOTH[:1])
