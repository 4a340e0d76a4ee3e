"""How weights follow their gradients: one or two optimizers that act as one."""

from __future__ import annotations

from typing import Any

import torch
from cellserve_export.network import CPnet
from torch import Tensor, nn

from .schedule import Schedule

_FEWEST = 16
"""Rows and columns of a matrix worth orthogonalising: the first and the last convolution have fewer."""


class Descent:
    """The optimizer of a schedule.

    "muon" (Jordan et al. 2024) orthogonalises the steps of matrices, among them convolutions as [out, y * x * in],
    and leaves the other parameters to AdamW; its steps are scaled to the length of AdamW's, so that both share a rate.

    Args:
        network: On its device and in its memory format, which must stay.
        schedule: Which optimizer, with what weight decay.
    """

    def __init__(self, network: CPnet, schedule: Schedule) -> None:
        self._network = network
        self._matrices: list[tuple[nn.Parameter, Tensor]] = []
        decay = schedule.weight_decay
        if schedule.optimizer == "sgd":
            self._parts: list[torch.optim.Optimizer] = [
                torch.optim.SGD(network.parameters(), schedule.rate, momentum=0.9, weight_decay=decay)
            ]
            return
        others = []
        for parameter in network.parameters():
            matrix = _as_matrix(parameter.detach())
            if matrix is None:
                others.append(parameter)
            else:
                self._matrices.append((parameter, matrix))
        self._parts = [
            torch.optim.Muon(
                [matrix for _, matrix in self._matrices],
                schedule.rate,
                weight_decay=decay,
                adjust_lr_fn="match_rms_adamw",
            ),
            torch.optim.AdamW(others, schedule.rate, weight_decay=decay),
        ]

    def step(self, rate: float) -> None:
        """Moves all parameters by their gradients, which are then forgotten."""
        for parameter, matrix in self._matrices:
            assert parameter.grad is not None  # every part of a network takes part in every step
            matrix.grad = _as_matrix(parameter.grad)
        for part in self._parts:
            for group in part.param_groups:
                group["lr"] = rate
            part.step()
        self._network.zero_grad(set_to_none=True)

    def state_dict(self) -> dict[str, Any]:
        """What `load_state_dict` of another one takes to go on."""
        return {"parts": [part.state_dict() for part in self._parts]}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Goes on from a state."""
        for part, content in zip(self._parts, state["parts"], strict=True):
            part.load_state_dict(content)


def _as_matrix(values: Tensor) -> Tensor | None:
    """The weights of a layer, or their gradient, as a matrix [out, in]; None for what is none, or a small one.

    A convolution in the memory format of channels last, and a linear layer, give views: steps move the layer itself.
    """
    if values.ndim == 4:
        values = values.permute(0, 2, 3, 1).flatten(1)
    return values if values.ndim == 2 and min(values.shape) >= _FEWEST else None
