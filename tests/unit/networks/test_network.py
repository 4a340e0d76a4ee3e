"""The network has the tensors of the official checkpoints and computes on any size a U-Net of four scales can."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from cellserve_networks.network import CPnet, Ensemble, StyleNetwork
from numpy.typing import NDArray


def _layer(path: str, narrow: int, wide: int, size: int, convolution: int) -> dict[str, tuple[int, ...]]:
    """Names and shapes of a batch norm and a convolution, the latter at the given position of its sequence."""
    norm = dict.fromkeys((f"{path}.0.{key}" for key in ("weight", "bias", "running_mean", "running_var")), (narrow,))
    return {
        **norm,
        f"{path}.0.num_batches_tracked": (),
        f"{path}.{convolution}.weight": (wide, narrow, size, size),
        f"{path}.{convolution}.bias": (wide,),
    }


def _official_tensors() -> dict[str, tuple[int, ...]]:
    """As Cellpose 2 and 3 write them, spelled out from the published layout."""
    expected: dict[str, tuple[int, ...]] = {"diam_mean": (1,), "diam_labels": (1,)}
    for scale, (narrow, wide) in enumerate(pairwise((2, 32, 64, 128, 256))):
        path = f"downsample.down.res_down_{scale}"
        expected |= _layer(f"{path}.proj", narrow, wide, 1, 1)
        for index in range(4):
            expected |= _layer(f"{path}.conv.conv_{index}", wide if index else narrow, wide, 3, 2)
    for scale, (wide, narrow) in enumerate(((64, 32), (128, 64), (256, 128), (256, 256))):
        path = f"upsample.up.res_up_{scale}"
        expected |= _layer(f"{path}.proj", wide, narrow, 1, 1) | _layer(f"{path}.conv.conv_0", wide, narrow, 3, 2)
        for index in (1, 2, 3):
            expected |= _layer(f"{path}.conv.conv_{index}.conv", narrow, narrow, 3, 2)
            expected[f"{path}.conv.conv_{index}.full.weight"] = (narrow, 256)
            expected[f"{path}.conv.conv_{index}.full.bias"] = (narrow,)
    return expected | _layer("output", 32, 3, 1, 2)


def test_state_dict_is_that_of_official_checkpoints() -> None:
    state = CPnet().state_dict()
    assert {name: tuple(tensor.shape) for name, tensor in state.items()} == _official_tensors()
    assert len(state) == 313


@pytest.mark.parametrize("shape", [(224, 224), (64, 96)])
def test_outputs_have_the_shape_of_the_tile(network: CPnet, shape: tuple[int, int]) -> None:
    with torch.inference_mode():
        maps, style = network(torch.rand(2, 2, *shape))
    assert maps.shape == (2, 3, *shape)
    torch.testing.assert_close(style.norm(dim=1), torch.ones(2))


def test_style_reaches_the_maps(network: CPnet, tiles: NDArray[np.float32]) -> None:
    image = torch.from_numpy(tiles[:1, :, :64, :64].copy())
    with torch.inference_mode():
        maps = network.downsample(image)
        neutral = network.output(network.upsample(maps, torch.zeros(1, 256)))
        maps, _ = network(image)
    assert (maps - neutral).abs().max() > 0.01


def test_ensemble_is_the_mean_and_the_first_style(networks: list[CPnet]) -> None:
    image = torch.rand(1, 2, 64, 64)
    with torch.inference_mode():
        maps, style = Ensemble(networks)(image)
        (first, first_style), (second, second_style) = (network(image) for network in networks)
        alone = StyleNetwork(networks[0])(image)
    torch.testing.assert_close(maps, (first + second) / 2)
    assert torch.equal(style, first_style)
    assert torch.equal(style, alone)
    assert not torch.allclose(first_style, second_style, atol=1e-2)
