"""How weights follow their gradients: one or two optimizers that act as one."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from cellserve_networks.network import CPnet
from torch import Tensor, nn

from .precision import has_bfloat16
from .schedule import Schedule

MOMENTUM = 0.95
ADAMW_LENGTH = 0.2
"""Root mean square of AdamW's steps in units of the rate, about: Muon's are scaled to it, so that both share a rate."""

_FEWEST = 16
"""Rows and columns of a matrix worth orthogonalising: the first and the last convolution have fewer."""

_COEFFICIENTS = (3.4445, -4.775, 2.0315)
_ITERATIONS = 5


class Descent:
    """The optimizer of a schedule.

    Args:
        network: On its device and in its memory format, which must stay.
        schedule: Which optimizer ("muon" leaves what is no matrix, and small ones, to AdamW), with what weight decay.
    """

    def __init__(self, network: CPnet, schedule: Schedule) -> None:
        decay = schedule.weight_decay
        self._parts: list[torch.optim.Optimizer]
        if schedule.optimizer == "sgd":
            self._parts = [torch.optim.SGD(network.parameters(), schedule.rate, momentum=0.9, weight_decay=decay)]
            return
        matrices: list[nn.Parameter] = []
        others: list[nn.Parameter] = []
        for parameter in network.parameters():
            large = parameter.ndim > 1 and min(_as_matrix(parameter).shape) >= _FEWEST
            (matrices if large else others).append(parameter)
        self._parts = [
            Muon(matrices, schedule.rate, decay),
            torch.optim.AdamW(others, schedule.rate, weight_decay=decay),
        ]

    def step(self, rate: float) -> None:
        """Moves all parameters by their gradients, which are then forgotten."""
        for part in self._parts:
            for group in part.param_groups:
                group["lr"] = rate
            part.step()
            part.zero_grad(set_to_none=True)

    def state_dict(self) -> dict[str, Any]:
        """What `load_state_dict` of another one takes to go on."""
        return {"parts": [part.state_dict() for part in self._parts]}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Goes on from a state."""
        for part, content in zip(self._parts, state["parts"], strict=True):
            part.load_state_dict(content)


class Muon(torch.optim.Optimizer):
    """Momentum whose steps are orthogonalised (Jordan et al. 2024).

    `torch.optim.Muon`, of which this is the twin, takes no convolutions and computes in bfloat16 on every processor:
    one without it then needs seconds a step.

    Args:
        params: Linear layers [out, in] and convolutions [out, in, y, x], these as matrices [out, y * x * in].
        lr: Rate; that of AdamW will do.
        weight_decay: As in AdamW.
    """

    def __init__(self, params: Iterable[nn.Parameter], lr: float, weight_decay: float) -> None:
        super().__init__(params, {"lr": lr, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """Moves all parameters that have a gradient; `closure` must be None."""
        assert closure is None
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is None:
                    continue
                state = self.state[parameter]
                if not state:
                    state["momentum"] = torch.zeros_like(parameter)
                momentum = state["momentum"].lerp_(parameter.grad, 1 - MOMENTUM)
                update = orthogonalize(_as_matrix(parameter.grad.lerp(momentum, MOMENTUM)))
                matrix = _as_matrix(parameter)
                matrix.mul_(1 - group["lr"] * group["weight_decay"])
                matrix.add_(update, alpha=-group["lr"] * ADAMW_LENGTH * max(matrix.shape) ** 0.5)


def orthogonalize(matrix: Tensor) -> Tensor:
    """Brings the singular values of a matrix near one (.7 to 1.2) by five Newton-Schulz iterations, and keeps the
    singular vectors; in bfloat16 where the processor has it."""
    first, third, fifth = _COEFFICIENTS
    wide = matrix.T if matrix.shape[0] > matrix.shape[1] else matrix
    x = wide.to(torch.bfloat16 if has_bfloat16(matrix.device) else torch.float32)
    x = x / x.norm().clamp(min=1e-7)
    for _ in range(_ITERATIONS):
        gram = x @ x.T
        x = torch.addmm(x, torch.addmm(gram, gram, gram, beta=third, alpha=fifth), x, beta=first)
    return x.T if wide is not matrix else x


def _as_matrix(values: Tensor) -> Tensor:
    """The weights of a layer as a matrix [out, in], of the same memory where a convolution's channels come last."""
    return values.permute(0, 2, 3, 1).flatten(1) if values.ndim == 4 else values
