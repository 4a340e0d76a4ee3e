"""The network without its parts (paper, Extended Data Fig. 2)."""

import pytest
import torch
from cellserve_networks.network import CPnet


@pytest.fixture
def tile():
    return torch.rand(2, 2, 32, 32, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("style", [True, False])
@pytest.mark.parametrize("residual", [True, False])
@pytest.mark.parametrize("concatenation", [True, False])
def test_every_combination_learns(tile, style, residual, concatenation):
    torch.manual_seed(0)
    network = CPnet(style=style, residual=residual, concatenation=concatenation).train()
    maps, styles = network(tile)
    assert maps.shape == (2, 3, 32, 32)
    assert styles.shape == (2, 256)
    maps.square().mean().backward()
    last = network.upsample.up[0].conv[1]
    assert last.conv[2].weight.grad.abs().sum() > 0
    assert (last.full.weight.grad.abs().sum() > 0) == style
    projections = [module.proj[1].weight.grad for module in (*network.downsample.down, *network.upsample.up)]
    assert all((gradient is not None) == residual for gradient in projections)


def test_concatenation_widens_one_layer_of_each_scale():
    plain, wide = (CPnet(concatenation=flag) for flag in (False, True))
    for block, other in zip(plain.upsample.up, wide.upsample.up, strict=True):
        widths = [layer.conv[2].in_channels for layer in list(block.conv)[1:]]
        assert [layer.conv[2].in_channels for layer in list(other.conv)[1:]] == [2 * widths[0], *widths[1:]]


def test_without_style_the_layers_add_their_bias_alone(tile):
    torch.manual_seed(0)
    told, untold = CPnet().eval(), CPnet(style=False).eval()
    untold.load_state_dict(told.state_dict())
    with torch.no_grad():
        assert not torch.allclose(told(tile)[0], untold(tile)[0])
        for block in told.upsample.up:
            for layer in list(block.conv)[1:]:
                layer.full.weight.zero_()
        torch.testing.assert_close(told(tile)[0], untold(tile)[0], rtol=0, atol=1e-6)
