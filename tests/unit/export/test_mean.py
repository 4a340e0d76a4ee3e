"""The mean of networks of one line of training; others are refused."""

import copy
import dataclasses
from pathlib import Path

import pytest
import torch
from cellserve_export.cli import app
from cellserve_export.errors import MeanError
from cellserve_export.mean import mean_network
from cellserve_networks.checkpoint import CHANNELS, Checkpoint, load_checkpoint, save_checkpoint
from typer.testing import CliRunner


@pytest.fixture(scope="module")
def later(checkpoints: list[Checkpoint]) -> Checkpoint:
    """The first network as a training might leave it: every kernel and statistic changed by a third."""
    network = copy.deepcopy(checkpoints[0].network)
    generator = torch.Generator().manual_seed(3)
    for name, tensor in network.state_dict().items():
        if tensor.is_floating_point() and not name.startswith("diam"):
            tensor.mul_(1 + torch.empty(tensor.shape).uniform_(-1 / 3, 1 / 3, generator=generator))
        elif name.endswith("num_batches_tracked"):
            tensor.fill_(7)
    return dataclasses.replace(checkpoints[0], network=network)


def test_every_weight_and_statistic_is_the_mean(checkpoints: list[Checkpoint], later: Checkpoint) -> None:
    states = [checkpoint.network.state_dict() for checkpoint in (checkpoints[0], later, later)]
    mean = mean_network([checkpoints[0], later, later])
    assert not mean.training
    for name, tensor in mean.state_dict().items():
        if name.endswith("num_batches_tracked"):
            assert tensor == 7
        else:
            expected = (states[0][name] + 2 * states[1][name]) / 3
            torch.testing.assert_close(tensor, expected, rtol=1e-6, atol=1e-7, msg=name)


def test_the_command_writes_a_checkpoint(checkpoints: list[Checkpoint], later: Checkpoint, tmp_path: Path) -> None:
    for name, checkpoint in (("before", checkpoints[0]), ("after", later)):
        save_checkpoint(tmp_path / f"{name}.pt", checkpoint.network)
    files = [str(tmp_path / f"{name}.pt") for name in ("before", "after", "mean")]
    result = CliRunner().invoke(app, ["mean", *files[:2], "--out", files[2]])
    assert result.exit_code == 0, result.output
    state = load_checkpoint(tmp_path / "mean.pt").network.state_dict()
    for name, tensor in mean_network([checkpoints[0], later]).state_dict().items():
        assert torch.equal(state[name], tensor), name


def test_networks_of_other_seeds_have_no_mean(checkpoints: list[Checkpoint]) -> None:
    with pytest.raises(MeanError, match=r"did not come from checkpoint 1.*cosine between their kernels is -?0\.0"):
        mean_network(checkpoints)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"diam_mean": 17.0}, "diam_mean of checkpoint 2 is 17.0, 30.0 of 1"),
        (
            {"channels": CHANNELS[:1]},
            "2 was trained on cytoplasm, checkpoint 1 on cytoplasm and nucleus: a network",
        ),
    ],
)
def test_networks_made_for_other_images_have_no_mean(checkpoints: list[Checkpoint], change, said: str) -> None:
    with pytest.raises(MeanError, match=said):
        mean_network([checkpoints[0], dataclasses.replace(checkpoints[0], **change)])


def test_one_network_is_refused(checkpoints: list[Checkpoint], tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "one.pt", checkpoints[0].network)
    result = CliRunner().invoke(app, ["mean", str(tmp_path / "one.pt"), "--out", str(tmp_path / "mean.pt")])
    assert result.exit_code == 1
    assert "error: the mean takes two checkpoints or more, got 1" in result.output
    assert not (tmp_path / "mean.pt").exists()
