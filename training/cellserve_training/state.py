"""The state of a training on disk: enough to go on after a kill as if nothing had happened."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from cellserve_formats import replacing
from torch import Tensor


class StateError(Exception):
    """A training cannot go on from what a folder holds."""


@dataclass(slots=True)
class State:
    """Where a training stands.

    Attributes:
        settings: What the training was started with; another training is not continued from it.
        step: Steps done.
        seconds: Time they took.
        network: State dict.
        averaged: State dict of the moving average; the network's own where there is no averaging.
        optimizer: State dict.
    """

    settings: dict[str, Any]
    step: int = 0
    seconds: float = 0.0
    network: dict[str, Tensor] = field(default_factory=dict)
    averaged: dict[str, Tensor] = field(default_factory=dict)
    optimizer: dict[str, Any] = field(default_factory=dict)


def save_state(path: Path, state: State) -> None:
    """Writes a state, whole or not at all."""
    with replacing(path) as file:
        torch.save(asdict(state), file)


def load_state(path: Path, settings: dict[str, Any]) -> State | None:
    """Reads the state of a training started with the same settings; None where there is none yet.

    Raises:
        StateError: The state is damaged, or that of another training.
    """
    if not path.exists():
        return None
    try:
        state = State(**torch.load(path, map_location="cpu", weights_only=True))
    except Exception as error:  # torch raises a dozen unrelated types for a file that is not its own
        raise StateError(f"{path}: not the state of a training ({type(error).__name__}: {error})") from error
    changed = [
        f"{name} was {state.settings.get(name)!r}, now {settings.get(name)!r}"
        for name in sorted(state.settings.keys() | settings.keys())
        if state.settings.get(name) != settings.get(name)
    ]
    if changed:
        raise StateError(f"{path} belongs to another training ({'; '.join(changed)}): choose another folder")
    return state
