"""Optimizers: convolutions move as matrices do, and a state goes on."""

import copy

import pytest
import torch
from cellserve_networks.network import CPnet
from cellserve_training.descent import Descent, orthogonalize
from cellserve_training.schedule import Preset, Schedule

SCHEDULE = Schedule.of(Preset.FAST, images=9, steps=10)


@pytest.fixture
def network():
    torch.manual_seed(0)
    return CPnet().to(memory_format=torch.channels_last)


def push(network, seed):
    """Gives every parameter a gradient."""
    generator = torch.Generator().manual_seed(seed)
    for parameter in network.parameters():
        parameter.grad = torch.randn(parameter.shape, generator=generator)


def test_a_convolution_moves_as_torch_moves_its_matrix(network):
    """The twin of torch's Muon, up to the rounding of other orders of summation."""
    layer = network.downsample.down.res_down_2.conv.conv_1[2]
    matrix = torch.nn.Parameter(layer.weight.detach().permute(0, 2, 3, 1).flatten(1).clone())
    alone = torch.optim.Muon([matrix], 1e-3, weight_decay=SCHEDULE.weight_decay, adjust_lr_fn="match_rms_adamw")
    descent = Descent(network, SCHEDULE)
    start = matrix.detach().clone()
    for seed in range(3):
        push(network, seed)
        matrix.grad = layer.weight.grad.permute(0, 2, 3, 1).flatten(1).clone()
        alone.step()
        descent.step(1e-3)
        assert layer.weight.grad is None
    moved = matrix - start
    assert moved.square().mean().sqrt() > 1e-4
    difference = layer.weight.permute(0, 2, 3, 1).flatten(1) - matrix
    assert difference.norm() < 0.02 * moved.norm()


@pytest.mark.parametrize("shape", [(64, 288), (256, 128), (32, 32)])
def test_orthogonal_up_to_the_known_bounds(shape):
    matrix = torch.randn(shape, generator=torch.Generator().manual_seed(1))
    values = torch.linalg.svdvals(orthogonalize(matrix).float())
    assert values[:-2].min() > 0.6  # the smallest of a square matrix are all but zero, and stay small
    assert values.max() < 1.3


@pytest.mark.parametrize("preset", list(Preset))
def test_every_parameter_moves_by_about_the_rate(network, preset):
    before = copy.deepcopy(network)
    descent = Descent(network, Schedule.of(preset, images=9, steps=10))
    push(network, 0)
    descent.step(1e-3)
    for (name, old), new in zip(before.named_parameters(), network.parameters(), strict=True):
        moved = (new - old).square().mean().sqrt()
        assert 1e-4 < moved < 3e-3, name


@pytest.mark.parametrize("preset", list(Preset))
def test_a_state_goes_on(network, preset):
    schedule = Schedule.of(preset, images=9, steps=10)
    descent = Descent(network, schedule)
    push(network, 0)
    descent.step(1e-3)
    resumed = copy.deepcopy(network)
    other = Descent(resumed, schedule)
    other.load_state_dict(copy.deepcopy(descent.state_dict()))
    for each, optimizer in ((network, descent), (resumed, other)):
        push(each, 1)
        optimizer.step(1e-3)
    for (name, left), right in zip(network.named_parameters(), resumed.parameters(), strict=True):
        assert left.equal(right), name
