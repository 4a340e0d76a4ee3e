"""The parity gate lets right graphs pass and wrong ones not."""

import copy
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from cellserve_export.errors import ParityError
from cellserve_export.graph import Precision, ensemble_graph, style_graph
from cellserve_export.parity import TOLERANCE, check_parity, random_tiles
from cellserve_networks.network import CPnet, StyleNetwork
from numpy.typing import NDArray

Tiles = NDArray[np.float32]


def _write(network: CPnet, precision: Precision, path: Path) -> Path:
    path.write_bytes(ensemble_graph([network], precision).SerializeToString())
    return path


def test_right_graph_passes_and_rounding_is_reported(network: CPnet, tiles: Tiles, tmp_path: Path) -> None:
    model = _write(network, "fp16", tmp_path / "model.onnx")
    report = check_parity("net", model, network, ("flows", "style"), "fp16", {"blobs": tiles[:1]})
    assert [(entry.tiles, entry.output) for entry in report] == [("blobs", "flows"), ("blobs", "style")]
    maps = report[0]
    assert 0 < maps.deviation <= TOLERANCE < maps.rounding < 0.01 * maps.magnitude


def _scale_a_bias(network: CPnet) -> None:
    network.output[2].bias.data += 3e-4


def _swap_statistics(network: CPnet) -> None:
    norm = network.upsample.get_submodule("up.res_up_0.conv.conv_3.conv.0")
    norm.get_buffer("running_mean").copy_(norm.get_buffer("running_mean").flip(0))


@pytest.mark.parametrize("perturb", [_scale_a_bias, _swap_statistics])
def test_wrong_graph_fails(network: CPnet, tiles: Tiles, tmp_path: Path, perturb: Callable[[CPnet], None]) -> None:
    wrong = copy.deepcopy(network)
    perturb(wrong)
    model = _write(wrong, "fp32", tmp_path / "model.onnx")
    with pytest.raises(ParityError, match=r"net: .* flows on blobs tiles"):
        check_parity("net", model, network, ("flows", "style"), "fp32", {"blobs": tiles[:1]})


def test_not_a_number_fails(network: CPnet, tmp_path: Path) -> None:
    model = tmp_path / "style.onnx"
    model.write_bytes(style_graph(network, "fp32").SerializeToString())
    nothing = np.full((1, 2, 224, 224), np.nan, dtype=np.float32)
    with pytest.raises(ParityError, match="nan"):
        check_parity("style", model, StyleNetwork(network), ("style",), "fp32", {"nothing": nothing})


def test_random_tiles_follow_the_training_statistics() -> None:
    network = CPnet()
    norm = network.downsample.get_submodule("down.res_down_0.proj.0")
    norm.get_buffer("running_mean").copy_(torch.tensor([0.5, 0.0]))
    norm.get_buffer("running_var").copy_(torch.tensor([0.04, 0.0]))
    tiles = random_tiles(network, 3)
    assert (tiles.shape, tiles.dtype) == ((3, 2, 224, 224), np.float32)
    assert abs(tiles[:, 0].mean() - 0.5) < 0.01
    assert abs(tiles[:, 0].std() - 0.2) < 0.01
    assert not tiles[:, 1].any()
    np.testing.assert_array_equal(tiles, random_tiles(network, 3))
