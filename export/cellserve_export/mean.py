"""Mean of the weights of networks from one line of training: it can be better on new images.

Continued training moves a network within one basin, where the mean of two points is a network too; networks of other
seeds lie in other basins, and their mean computes nothing.
"""

from collections.abc import Sequence

import torch
from cellserve_networks.checkpoint import Checkpoint
from cellserve_networks.network import CPnet
from torch import Tensor

from cellserve_export.errors import MeanError

LEAST_COSINE = 0.5
"""Between the kernels of two networks: about .8 after 3,600 steps of training on, 0 between other seeds."""


def mean_network(checkpoints: Sequence[Checkpoint]) -> CPnet:
    """Takes the mean of all weights and of the statistics of the batchnorms, float32, in evaluation mode.

    Source: Izmailov et al. 2018 (arXiv 1803.05407) for points of one training, Wortsman et al. 2022
    (arXiv 2109.01903) for a network and what was made of it. The mean of the statistics stands for those of the mean,
    which would take the training images to measure.

    Args:
        checkpoints: two networks or more, of one line of training.

    Raises:
        MeanError: fewer than two, other diameters or channels, or networks that do not come from each other.
    """
    if len(checkpoints) < 2:
        raise MeanError(f"the mean takes two checkpoints or more, got {len(checkpoints)}")
    first = checkpoints[0]
    kernels = _kernels(first.network)
    for number, other in enumerate(checkpoints[1:], start=2):
        if other.diam_mean != first.diam_mean:
            raise MeanError(f"diam_mean of checkpoint {number} is {other.diam_mean}, {first.diam_mean} of 1")
        if other.channels != first.channels:
            raise MeanError(
                f"checkpoint {number} was trained on {' and '.join(other.channels)}, checkpoint 1 on "
                f"{' and '.join(first.channels)}: a network trained on images of one plane has lost the other channel; "
                "serve one of the two, or train on images of the same planes"
            )
        cosine = float(torch.cosine_similarity(kernels, _kernels(other.network), dim=0))
        if not cosine >= LEAST_COSINE:
            raise MeanError(
                f"checkpoint {number} did not come from checkpoint 1, nor both from a third: the cosine between their "
                f"kernels is {cosine:.2f}, expected {LEAST_COSINE} or more; serve both instead, as an ensemble"
            )
    mean = CPnet()
    states = [checkpoint.network.state_dict() for checkpoint in checkpoints]
    for name, tensor in mean.state_dict().items():
        if tensor.is_floating_point():
            tensor.copy_(torch.stack([state[name].double() for state in states]).mean(0))
        else:
            tensor.copy_(max(state[name] for state in states))  # batches seen
    return mean.eval().requires_grad_(False)


def _kernels(network: CPnet) -> Tensor:
    return torch.cat([tensor.double().flatten() for tensor in network.state_dict().values() if tensor.ndim == 4])
