"""The networks of the tests of `networks`, as checkpoints."""

import pytest
from cellserve_networks.checkpoint import CHANNELS, Checkpoint
from cellserve_networks.network import CPnet

from tests.unit.networks import conftest as shared

network, networks, one_thread, tiles = shared.network, shared.networks, shared.one_thread, shared.tiles


@pytest.fixture(scope="session")
def checkpoints(networks: list[CPnet]) -> list[Checkpoint]:
    return [
        Checkpoint(network, f"{index:064x}", diam_mean=30.0, diam_labels=22.5 if index else None, channels=CHANNELS)
        for index, network in enumerate(networks)
    ]
