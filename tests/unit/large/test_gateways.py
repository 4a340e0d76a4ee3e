"""Gateways as networks: what is sent, by whom it may be answered, and how copies behave."""

import pickle
from dataclasses import dataclass

import numpy as np
import pytest
from cellserve import connection
from cellserve_large import Connection, Gateways, OtherNetworkError
from cellserve_preprocess import TileGrid

from .servers import VERSION, FakeClient, other

GRID = TileGrid.cover((20, 30))


@pytest.fixture
def connect(monkeypatch):
    def start(client):
        monkeypatch.setattr(connection, "_client", lambda connection: client)
        return Gateways.meet(Connection(), "generalist", True, "batch", 10.0)

    return start


def planes(nuclei):
    return np.stack([np.ones((20, 30)), np.full((20, 30), nuclei)])[np.newaxis].astype(np.float32)


def test_nuclei_are_sent_only_where_there_are_any(connect):
    client = FakeClient()
    networks = connect(client)
    assert networks.run(planes(0), GRID).shape == (1, 3, 20, 30)
    networks.run(planes(1), GRID)
    assert [sent.shape[1] for sent in client.planes[1:]] == [1, 2]
    assert client.planes[1].flags.c_contiguous


@pytest.mark.parametrize("field", ["sha256", "precision", "runtime"])
def test_a_run_never_mixes_networks(connect, field):
    networks = connect(FakeClient(versions=[VERSION, VERSION, other(**{field: "0" * 64})]))
    networks.run(planes(0), GRID)
    with pytest.raises(OtherNetworkError, match=r"another network than .*0000") as error:
        networks.run(planes(0), GRID)
    assert str(pickle.loads(pickle.dumps(error.value))) == str(error.value)


def test_another_version_number_of_the_same_file_is_the_same_network(connect):
    connect(FakeClient(versions=[VERSION, other(version="2")])).run(planes(0), GRID)


def test_copies_of_one_run_share_a_client_and_secrets_stay_out_of_messages():
    connection = Connection(("localhost:1",), "secret", (b"secret", None, None))
    copy = pickle.loads(pickle.dumps(connection))
    assert copy.client() is connection.client()
    assert "secret" not in repr(Gateways(connection=copy, ensemble=True, network=VERSION))
    again = Connection(("localhost:1",))
    assert again.client() is not Connection(("localhost:1",)).client(), "each run has its own"
    again.close()
    with pytest.raises(ValueError, match="closed"):
        again.client().models()


@dataclass(frozen=True)
class Fixed:
    """A connection with a client of its own."""

    own: object

    def client(self):
        return self.own


class Numbering(FakeClient):
    """Each tile adds its number, times the value of its plane, to the sums where the tile lies."""

    def run_networks(self, planes, grid, **options):
        answer = super().run_networks(planes, grid, **options)
        y, x = grid.extent
        for index in range(len(grid)):
            row, column = grid.position(index)
            top, left = (at - first for at, first in zip(grid.corner(index), (y.start, x.start), strict=True))
            tile = answer.sums[:, :, max(0, top) : top + 224, max(0, left) : left + 224]
            tile += (100 * row + column) * planes[:, :1, :1, :1].astype(np.int32)
        return answer


@pytest.mark.parametrize(
    ("limits", "calls"), [({"most_bytes": 1 << 22}, 6), ({"most_bytes": 1}, 48), ({"most_tiles": 5}, 12)]
)
def test_blocks_over_a_limit_of_the_server_go_as_several_calls(limits, calls):
    whole = TileGrid.cover((900, 700))
    grid = whole.part(range(1, len(whole.starts_y)), range(len(whole.starts_x)))
    size = [part.stop - part.start for part in grid.extent]
    planes = np.ones((3, 2, *size), np.float32) * np.arange(1, 4, dtype=np.float32)[:, None, None, None]
    expected = Gateways(connection=Fixed(Numbering()), ensemble=True, network=VERSION).run(planes, grid)
    client = Numbering()
    found = Gateways(connection=Fixed(client), ensemble=True, network=VERSION, **limits).run(planes, grid)
    np.testing.assert_array_equal(found, expected)
    assert len(client.planes) == calls
