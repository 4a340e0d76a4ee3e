"""CPnet checkpoints: those of Cellpose 1 (311 tensors), 2 and 3 (313), and what users of either trained."""

import hashlib
import io
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeGuard

import torch
from cellserve_formats import replacing
from torch import Tensor

from cellserve_networks.errors import CheckpointError
from cellserve_networks.foreign import describe_file, describe_network, some
from cellserve_networks.network import CPnet

CHANNELS = ("cytoplasm", "nucleus")
"""What the networks' two input planes show."""

_DIAMETERS = {"diam_mean", "diam_labels"}
_ROOTS = {"downsample", "upsample", "output", *_DIAMETERS}
_PREFIXES = ("module.", "_orig_mod.", "model.", "net.")  # of DataParallel, torch.compile, and classes around a network
_NESTED = ("state_dict", "model_state_dict", "model", "net", "network", "weights")  # where trainers keep a state dict


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A network and what its file says about it."""

    network: CPnet  # float32, evaluation mode
    sha256: str  # of the file, lower-case hexadecimal
    diam_mean: float | None  # pixels; None where the file has none (Cellpose 1)
    diam_labels: float | None  # pixels; None where training never set it
    channels: tuple[str, ...]  # those of CHANNELS that training filled


def load_checkpoint(path: Path) -> Checkpoint:
    """Loads a CPnet from a torch state dict. Nothing in the file is executed; weights of any precision become float32.

    The state dict can be an entry of a dictionary, as trainers save it beside their optimizer.

    Raises:
        CheckpointError: not a torch file, another kind of network, or tensors of other names or shapes; the message
            says which, and what would do.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read: {error.strerror}") from error
    try:
        state = _state_dict(content)
        if problem := describe_network(state):
            raise CheckpointError(problem)
        network = CPnet()
        _check_tensors(state, network.state_dict())
    except CheckpointError as error:
        raise CheckpointError(f"{path}: {error}") from error.__cause__
    network.load_state_dict(state, strict=False)  # only the diameters can be missing by now
    diam_mean, diam_labels = (float(state[name]) if name in state else None for name in ("diam_mean", "diam_labels"))
    return Checkpoint(
        network=network.eval().requires_grad_(False),
        sha256=hashlib.sha256(content).hexdigest(),
        diam_mean=diam_mean,
        # Cellpose starts diam_labels at diam_mean and overwrites it in training: equal values mean nobody measured.
        diam_labels=None if diam_labels == diam_mean else diam_labels,
        channels=_trained_channels(network),
    )


def save_checkpoint(path: Path, network: CPnet) -> None:
    """Writes a checkpoint in Cellpose's format: a state dict of 313 tensors, weights in float32."""
    with replacing(path) as file:
        torch.save({name: tensor.detach().cpu().contiguous() for name, tensor in network.state_dict().items()}, file)


def _trained_channels(network: CPnet) -> tuple[str, ...]:
    """The input channels that were not always zero in training.

    A batchnorm that has only met zeros divides by almost nothing: real pixels in that channel come out hundreds of
    times too large, and the network's answer is nonsense.
    """
    variance = network.get_buffer("downsample.down.res_down_0.conv.conv_0.0.running_var")
    return CHANNELS if float(variance[1]) > 1e-6 else CHANNELS[:1]


def _state_dict(content: bytes) -> dict[str, Tensor]:
    try:
        loaded = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises a dozen unrelated types for a file that is not its own
        raise CheckpointError(describe_file(content)) from error
    if isinstance(loaded, Mapping) and {"averaged", "optimizer", "settings"} <= loaded.keys():
        raise CheckpointError(
            "the state of a training by cellserve-train: its network is network.pt in the same folder once the "
            "training has ended, and the command that began the training goes on with it"
        )
    state = next((found for found in _candidates(loaded) if _is_state_dict(found)), None)
    if state is None:
        holds = some(map(str, loaded)) if isinstance(loaded, Mapping) else f"a {type(loaded).__name__}"
        raise CheckpointError(
            f"holds {holds or 'nothing'}, expected a state dict of tensors, or one in an entry state_dict"
        )
    for prefix in _PREFIXES:
        bare = {name.removeprefix(prefix): tensor for name, tensor in state.items()}
        if all(name.startswith(prefix) for name in state) and {name.split(".")[0] for name in bare} <= _ROOTS:
            return bare
    return dict(state)


def _candidates(loaded: object) -> Iterator[object]:
    yield loaded
    if isinstance(loaded, Mapping):
        yield from (loaded[name] for name in _NESTED if name in loaded)


def _is_state_dict(found: object) -> TypeGuard[Mapping[str, Tensor]]:
    return (
        isinstance(found, Mapping)
        and bool(found)
        and all(isinstance(name, str) and isinstance(value, Tensor) for name, value in found.items())
    )


def _check_tensors(state: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> None:
    missing = sorted(expected.keys() - state.keys() - _DIAMETERS)
    unknown = sorted(state.keys() - expected.keys())
    if missing or unknown:
        raise CheckpointError(
            f"not a CPnet: missing {some(missing) or 'nothing'}; unknown {some(unknown) or 'nothing'}"
        )
    shapes = [
        f"{name} is {tuple(tensor.shape)}, expected {tuple(expected[name].shape)}"
        for name, tensor in state.items()
        if tensor.shape != expected[name].shape
    ]
    if shapes:
        raise CheckpointError(f"a CPnet of another size: {some(shapes)}")
    broken = [name for name, tensor in state.items() if not tensor.isfinite().all()]
    if broken:
        raise CheckpointError(f"NaN or infinite values in {some(broken)}")
