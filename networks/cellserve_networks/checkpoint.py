"""CPnet checkpoints: those of Cellpose 1 (311 tensors), 2 and 3 (313), and what users of either trained."""

import hashlib
import io
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from cellserve_formats import replacing
from torch import Tensor

from cellserve_networks.errors import CheckpointError
from cellserve_networks.network import CPnet

CHANNELS = ("cytoplasm", "nucleus")
"""What the networks' two input planes show."""

_DIAMETERS = {"diam_mean", "diam_labels"}
_DATA_PARALLEL = "module."  # DataParallel puts this before every name


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

    Raises:
        CheckpointError: not a torch file, another kind of network, or tensors of other names or shapes; the message
            says which.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read: {error.strerror}") from error
    try:
        state = _state_dict(content)
        _check_architecture(state)
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
        state = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises a dozen unrelated types for a file that is not its own
        raise CheckpointError(f"not a torch file of plain tensors ({type(error).__name__})") from error
    if not isinstance(state, Mapping) or not state:
        raise CheckpointError(f"holds a {type(state).__name__}, expected a state dict of tensors")
    others = [str(name) for name, value in state.items() if not (isinstance(name, str) and isinstance(value, Tensor))]
    if others:
        raise CheckpointError(f"not a state dict of tensors: {_some(others)} hold something else")
    prefix = _DATA_PARALLEL if all(name.startswith(_DATA_PARALLEL) for name in state) else ""
    return {name.removeprefix(prefix): tensor for name, tensor in state.items()}


def _check_architecture(state: Mapping[str, Tensor]) -> None:
    """Refuses other networks by their kind, before single tensors are compared."""
    roots = Counter(name.split(".")[0] for name in state)
    if roots.keys() <= {"downsample", "upsample", "output", *_DIAMETERS}:
        return
    kind = "another network"
    if "encoder" in roots:
        kind = "a Cellpose-SAM network (Cellpose 4)"
    elif any(name.startswith("net.encoder.") for name in state):
        kind = "a SegFormer network (the transformer of Cellpose 3)"
    found = _some([f"{root}.* ({count})" if count > 1 else root for root, count in roots.most_common()])
    raise CheckpointError(f"{kind}: found {found}; only CPnet (downsample.*, upsample.*, output.*) can be loaded")


def _check_tensors(state: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> None:
    missing = sorted(expected.keys() - state.keys() - _DIAMETERS)
    unknown = sorted(state.keys() - expected.keys())
    if missing or unknown:
        raise CheckpointError(
            f"not a CPnet: missing {_some(missing) or 'nothing'}; unknown {_some(unknown) or 'nothing'}"
        )
    shapes = [
        f"{name} is {tuple(tensor.shape)}, expected {tuple(expected[name].shape)}"
        for name, tensor in state.items()
        if tensor.shape != expected[name].shape
    ]
    if shapes:
        raise CheckpointError(f"a CPnet of another size: {_some(shapes)}")
    broken = [name for name, tensor in state.items() if not tensor.isfinite().all()]
    if broken:
        raise CheckpointError(f"NaN or infinite values in {_some(broken)}")


def _some(names: list[str], limit: int = 4) -> str:
    more = f" and {len(names) - limit} more" if len(names) > limit else ""
    return ", ".join(names[:limit]) + more
