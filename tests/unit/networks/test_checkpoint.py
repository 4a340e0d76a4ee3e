"""Official checkpoints load unchanged; everything else is refused with a message that says what was found."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from cellserve_networks.checkpoint import load_checkpoint
from cellserve_networks.errors import CheckpointError
from cellserve_networks.network import CPnet

State = dict[str, torch.Tensor]
SaveState = Callable[[State], Path]
CONVOLUTION = "downsample.down.res_down_0.conv.conv_0.2.weight"


@pytest.fixture
def state(network: CPnet) -> State:
    return dict(network.state_dict())


def test_loads_cellpose_3(state: State, save_state: SaveState) -> None:
    state |= {"diam_mean": torch.tensor([17.0]), "diam_labels": torch.tensor([21.5])}
    checkpoint = load_checkpoint(save_state(state))
    loaded = checkpoint.network.state_dict()
    assert loaded.keys() == state.keys()
    assert all(torch.equal(loaded[name], tensor) for name, tensor in state.items())
    assert not checkpoint.network.training
    assert (checkpoint.diam_mean, checkpoint.diam_labels) == (17.0, 21.5)


def test_loads_cellpose_1_which_knows_no_diameters(state: State, save_state: SaveState) -> None:
    del state["diam_mean"], state["diam_labels"]
    assert len(state) == 311
    checkpoint = load_checkpoint(save_state(state))
    assert (checkpoint.diam_mean, checkpoint.diam_labels) == (None, None)
    assert torch.equal(checkpoint.network.state_dict()[CONVOLUTION], state[CONVOLUTION])


def test_loads_half_precision_as_float32(state: State, save_state: SaveState) -> None:
    half = {name: tensor.half() if tensor.is_floating_point() else tensor for name, tensor in state.items()}
    loaded = load_checkpoint(save_state(half)).network.state_dict()
    assert loaded[CONVOLUTION].dtype == torch.float32
    assert torch.equal(loaded[CONVOLUTION], half[CONVOLUTION].float())


def test_loads_a_file_saved_by_data_parallel(state: State, save_state: SaveState) -> None:
    loaded = load_checkpoint(save_state({f"module.{name}": tensor for name, tensor in state.items()}))
    assert torch.equal(loaded.network.state_dict()[CONVOLUTION], state[CONVOLUTION])


def test_diameters_left_at_their_start_are_not_measurements(state: State, save_state: SaveState) -> None:
    checkpoint = load_checkpoint(save_state(state))
    assert (checkpoint.diam_mean, checkpoint.diam_labels) == (30.0, None)


def _without(state: State) -> State:
    return {name: tensor for name, tensor in state.items() if name != CONVOLUTION}


REFUSED: dict[str, tuple[Callable[[State], State], str]] = {
    "Cellpose-SAM": (
        lambda _: {f"encoder.blocks.{i}.weight": torch.zeros(1) for i in range(9)},
        r"Cellpose-SAM .*found encoder\.\* \(9\)",
    ),
    "SegFormer": (lambda _: {"net.encoder.patch_embed1.weight": torch.zeros(1)}, "SegFormer"),
    "another network": (lambda _: {"conv1.weight": torch.zeros(1)}, "another network: found conv1"),
    "missing tensor": (_without, f"missing {CONVOLUTION}; unknown nothing"),
    "unknown tensor": (lambda state: state | {"output.7.weight": torch.zeros(1)}, r"unknown output\.7\.weight"),
    "one input channel": (
        lambda state: state | {CONVOLUTION: torch.zeros(32, 1, 3, 3)},
        rf"another size: {CONVOLUTION} is \(32, 1, 3, 3\), expected \(32, 2, 3, 3\)",
    ),
    "not a number": (lambda state: state | {CONVOLUTION: torch.full((32, 2, 3, 3), torch.nan)}, "NaN or infinite"),
    "empty": (lambda _: {}, "expected a state dict"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_refuses_other_networks(kind: str, state: State, save_state: SaveState) -> None:
    change, message = REFUSED[kind]
    path = save_state(change(state))
    with pytest.raises(CheckpointError, match=message) as caught:
        load_checkpoint(path)
    assert str(caught.value).startswith(f"{path}: ")


@pytest.mark.parametrize("content", [b"", b"not a checkpoint", b"PK\x03\x04 truncated"], ids=["empty", "text", "zip"])
def test_refuses_other_files(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "file.pt"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match="not a torch file"):
        load_checkpoint(path)


def test_refuses_a_truncated_checkpoint(state: State, save_state: SaveState) -> None:
    path = save_state(state)
    path.write_bytes(path.read_bytes()[:-100_000])
    with pytest.raises(CheckpointError, match="not a torch file"):
        load_checkpoint(path)


def test_refuses_a_nested_file(tmp_path: Path, state: State) -> None:
    torch.save({"state_dict": state, "epoch": 3}, tmp_path / "training.pt")
    with pytest.raises(CheckpointError, match="state_dict, epoch hold something else"):
        load_checkpoint(tmp_path / "training.pt")


@pytest.mark.parametrize("name", ["missing.pt", "."])
def test_refuses_what_cannot_be_read(tmp_path: Path, name: str) -> None:
    with pytest.raises(CheckpointError, match="cannot be read"):
        load_checkpoint(tmp_path / name)


class _Payload:
    """Makes a directory when unpickled."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[Callable[[str], None], tuple[str]]:
        return os.mkdir, (str(self.target),)


def test_executes_nothing(tmp_path: Path) -> None:
    torch.save({"output.2.bias": _Payload(tmp_path / "executed")}, tmp_path / "payload.pt")
    with pytest.raises(CheckpointError, match="not a torch file of plain tensors"):
        load_checkpoint(tmp_path / "payload.pt")
    assert not (tmp_path / "executed").exists()


@pytest.mark.parametrize(("variance", "channels"), [(0.5, ("cytoplasm", "nucleus")), (1e-9, ("cytoplasm",))])
def test_a_channel_that_was_always_zero_is_known(
    save_state: SaveState, network: CPnet, variance: float, channels: tuple[str, ...]
) -> None:
    state = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    state["downsample.down.res_down_0.conv.conv_0.0.running_var"][1] = variance
    assert load_checkpoint(save_state(state)).channels == channels
