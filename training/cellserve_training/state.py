"""The state of a training on disk: enough to go on after a kill as if nothing had happened."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import torch
from cellserve_formats import replacing
from torch import Tensor

from .schedule import LENGTHS

STATE, NETWORK = "state.pt", "network.pt"
"""Files in the folder of a training: what a killed one goes on from, and what it came to."""


class StateError(Exception):
    """A training cannot go on from what a folder holds."""


# Settings that are told by a word of their own; the others have the names of their options.
_SAID = {
    "names": "the labelled images are others",
    "images": "there are {now} images to train on, there were {before}",
    "validation_images": "{now} images are kept for validation, {before} were",
    "start": "--start-from is another network, or is given in one of the two only",
}


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
        losses: Of each step since the last row of the log: float32 [2], flows and inside.
    """

    settings: dict[str, Any]
    step: int = 0
    seconds: float = 0.0
    network: dict[str, Tensor] = field(default_factory=dict)
    averaged: dict[str, Tensor] = field(default_factory=dict)
    optimizer: dict[str, Any] = field(default_factory=dict)
    losses: list[Tensor] = field(default_factory=list)


def save_state(path: Path, state: State) -> None:
    """Writes a state, whole or not at all."""
    with replacing(path) as file:
        torch.save({entry.name: getattr(state, entry.name) for entry in fields(state)}, file)


def load_state(path: Path, settings: dict[str, Any]) -> State | None:
    """Reads the state of a training of the same settings, or of the same training made longer.

    Args:
        path: File of `save_state`.
        settings: Of the training that goes on. With more `steps` than before, all of `LENGTHS` may differ.

    Returns:
        The state, with `settings` as its settings; None if there is no file.

    Raises:
        StateError: The state is damaged, or that of another training.
    """
    if not path.exists():
        return None
    try:
        state = State(**torch.load(path, map_location="cpu", weights_only=True))
    except Exception as error:  # torch raises a dozen unrelated types for a file that is not its own
        raise StateError(
            f"{path}: not the state of a training, or damaged ({type(error).__name__}); move the file away to train "
            "from the start, or choose another folder with --out"
        ) from error
    before = state.settings
    if settings["steps"] < before["steps"]:
        raise StateError(
            f"{path} belongs to a training of {before['steps']} steps, and --steps is {settings['steps']}: a training "
            "can be made longer, not shorter; choose another folder with --out"
        )
    longer = settings["steps"] > before["steps"]
    changed = [
        _said(name, before.get(name), settings.get(name))
        for name in sorted(before.keys() | settings.keys())
        if before.get(name) != settings.get(name) and not (longer and name in LENGTHS)
    ]
    if changed:
        raise StateError(
            f"{path} belongs to another training ({'; '.join(changed)}): give the earlier options, or choose another "
            f"folder with --out; --start-from {path.with_name(NETWORK)} begins there with what this one learned"
        )
    state.settings = settings
    return state


def _said(name: str, before: Any, now: Any) -> str:
    return _SAID.get(name, f"{name} was {before!r}, now {now!r}").format(before=before, now=now)
