"""Recovery in blocks against recovery in memory."""

import numpy as np
import pytest
from cellserve_large import following
from cellserve_postprocess import RecoveryParams

from tests.unit.postprocess.shapes import perfect_maps

from .fields import assert_recovered, balls, crowd, rings, wind

SHAPE = (57, 94)
PARAMS = {
    "defaults": {},
    "cellpose3": {"mask_rules": "cellpose3"},
    "nearest": {"interpolation": "nearest"},
    "small": {"min_size": 4},
    "small, nearest": {"min_size": 3, "interpolation": "nearest", "flow_threshold": 0},
    "all": {"min_size": 0, "flow_threshold": 0, "max_size_fraction": 1, "fill_holes": False},
    "inner": {"exclude_on_edges": True, "niter": 50},
}


@pytest.mark.parametrize(("name", "side"), [*((name, 40) for name in PARAMS), ("defaults", 16), ("defaults", 100)])
def test_drawn_cells(tmp_path, name, side):
    assert assert_recovered(tmp_path, crowd(SHAPE, 1), RecoveryParams(**PARAMS[name]), side) > 3


@pytest.mark.parametrize(("name", "side"), [*((name, 40) for name in PARAMS), ("all", 20)])
def test_paths_that_wander_far(tmp_path, monkeypatch, name, side):
    """They leave their windows time and again; their regions span many blocks."""
    monkeypatch.setitem(following.HALO, 2, 4)
    params = RecoveryParams(**PARAMS[name] | {"flow_threshold": 0, "min_size": PARAMS[name].get("min_size", 1)})
    assert assert_recovered(tmp_path, wind(SHAPE, 2), params, side) > 0


@pytest.mark.parametrize(("side", "rules"), [(37, "paper"), (60, "cellpose3"), (200, "paper")])
def test_nested_rings_and_their_holes(tmp_path, side, rules):
    params = RecoveryParams(flow_threshold=0, max_size_fraction=1, mask_rules=rules)
    assert assert_recovered(tmp_path, rings((81, 173)), params, side) >= 6


@pytest.mark.parametrize("side", [31])
@pytest.mark.parametrize("shape", [(30, 60), (57, 94), (13, 90), (1, 1)])
def test_a_smaller_label_image(tmp_path, side, shape):
    params = RecoveryParams(min_size=3, flow_threshold=0)
    assert_recovered(tmp_path, crowd(SHAPE, 3), params, side, shape=shape)


@pytest.mark.parametrize("shape", [(0, 0), (0, 5), (1, 1), (1, 90), (90, 1)])
@pytest.mark.parametrize("logit", [-6, 6])
def test_constant_maps_of_any_shape(tmp_path, shape, logit):
    maps = np.zeros((3, *shape), np.float32)
    maps[2] = logit
    assert assert_recovered(tmp_path, maps, RecoveryParams(), 32) == 0


@pytest.mark.parametrize("interpolation", ["bilinear", "nearest"])
def test_outputs_no_network_should_give(tmp_path, interpolation):
    rng = np.random.default_rng(0)
    maps = crowd(SHAPE, 4)
    maps[:2, rng.random(SHAPE) < 0.02] = np.nan
    maps[:2, rng.random(SHAPE) < 0.02] = 3e38
    assert_recovered(tmp_path, maps, RecoveryParams(interpolation=interpolation, flow_threshold=0), 40)


def test_a_few_large_objects_over_many_blocks(tmp_path):
    labels = np.zeros((330, 610), np.uint16)
    labels[20:310, 10:300] = 1
    labels[100:200, 100:200] = 0
    labels[110:190, 110:190] = 2
    labels[20:310, 300:600] = 3
    params = RecoveryParams(max_size_fraction=1)
    assert assert_recovered(tmp_path, perfect_maps(labels), params, 100) == 3


@pytest.mark.parametrize(("name", "side"), [*((name, 20) for name in PARAMS), ("defaults", 13), ("defaults", 60)])
def test_volumes(tmp_path, name, side):
    params = RecoveryParams(**PARAMS[name] | {"min_volume_fraction": 0.2})
    assert assert_recovered(tmp_path, balls((22, 33, 41), 5), params, side) > 1


@pytest.mark.parametrize("interpolation", ["bilinear", "nearest"])
def test_paths_that_wander_far_in_a_volume(tmp_path, monkeypatch, interpolation):
    monkeypatch.setitem(following.HALO, 3, 3)
    params = RecoveryParams(interpolation=interpolation, flow_threshold=0, min_size=1, min_volume_fraction=0)
    assert assert_recovered(tmp_path, wind((25, 30, 41), 6), params, 15) > 0


def test_a_volume_of_one_plane(tmp_path):
    maps = balls((1, 33, 41), 5)
    assert assert_recovered(tmp_path, maps, RecoveryParams(flow_threshold=0), 20) > 1
