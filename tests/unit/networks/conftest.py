"""Networks with random weights and, so that every parameter matters, random batch-norm statistics."""

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from cellserve_networks.network import CPnet
from numpy.typing import NDArray

SaveState = Callable[[dict[str, torch.Tensor]], Path]


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def _random_network(seed: int) -> CPnet:
    generator = torch.Generator().manual_seed(seed)
    network = CPnet().eval().requires_grad_(False)
    for name, tensor in network.state_dict().items():
        if tensor.ndim > 1:
            tensor.normal_(0, (0.5 / tensor[0].numel()) ** 0.5, generator=generator)
        elif name.endswith(".running_var"):
            tensor.uniform_(0.5, 1.5, generator=generator)
        elif tensor.is_floating_point() and not name.startswith("diam"):
            tensor.normal_(1.0 if name.endswith(".0.weight") else 0.0, 0.2, generator=generator)
    return network


@pytest.fixture(scope="session")
def networks() -> list[CPnet]:
    return [_random_network(seed) for seed in (0, 1)]


@pytest.fixture(scope="session")
def network(networks: list[CPnet]) -> CPnet:
    return networks[0]


@pytest.fixture(scope="session")
def tiles() -> NDArray[np.float32]:
    """Two tiles of smooth random blobs, in 0 to 1."""
    coarse = torch.rand(2, 2, 14, 14, generator=torch.Generator().manual_seed(7))
    return torch.nn.functional.interpolate(coarse, size=(224, 224), mode="bilinear").numpy()


@pytest.fixture
def save_state(tmp_path: Path) -> SaveState:
    """Writes a state dict as torch does and returns the file."""

    def save(state: dict[str, torch.Tensor]) -> Path:
        path = tmp_path / "checkpoint.pt"
        torch.save(state, path)
        return path

    return save
