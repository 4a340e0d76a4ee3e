"""Which Triton takes a tile, and what happens when it does not; with scripted servers in place of Tritons."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest
from cellserve_gateway import fleet as fleet_module
from cellserve_gateway.errors import InternalError, Overloaded, TritonUnavailable
from cellserve_gateway.families import Family, NetworkFile
from cellserve_gateway.fleet import ATTEMPTS, Fleet
from cellserve_gateway.metrics import Metrics
from cellserve_gateway.triton import Maps, Network, Priority

TILE = np.zeros((1, 2, 4, 4), np.float32)


class Server:
    """Answers at once, unless it is told to fail or to hold what it gets."""

    def __init__(self, address: str, expected, metrics, headers) -> None:
        self.address, self.ready, self.fault, self.state, self.busy = address, False, None, "ready", False
        self.networks: dict[str, Network] = {}
        self.up, self.error, self.held, self.taken, self.dismissed, self.closed = True, None, 0, 0, 0, False

    async def probe(self) -> None:
        self.ready = self.up
        if self.up:
            self.networks = {"cells": Network("cells", "1", "0" * 64, 8)}

    def load(self, name: str, priority: Priority) -> int:
        return self.held

    def dismiss(self) -> None:
        self.dismissed += 1

    async def infer(self, *_) -> Maps:
        self.taken += 1
        if self.error:
            raise self.error
        return Maps(None, np.zeros((1, 256), np.float32))

    async def close(self) -> None:
        self.closed = True


class Places:
    """The addresses of a name: what `now` says."""

    def __init__(self, target: str) -> None:
        self.now: object = target.split(",")

    async def resolve(self) -> frozenset[str]:
        if isinstance(self.now, OSError):
            raise self.now
        return frozenset(self.now)  # type: ignore[call-overload]

    async def close(self) -> None:
        pass


@pytest.fixture
def fleet(monkeypatch):
    """Makes a fleet of servers by their names, looked at once."""
    monkeypatch.setattr(fleet_module, "Triton", Server)
    monkeypatch.setattr(fleet_module, "Addresses", Places)
    networks = {"cells": NetworkFile(sha256="0" * 64)}
    about = {"description": "", "license": "", "provenance": ""}
    family = Family(name="cells", diam_mean=30.0, channels=(), tile_size=4, networks=networks, **about)

    async def make(*names: str) -> Fleet:
        made = Fleet(",".join(names), {"cells": family}, Metrics())
        await made.refresh()
        return made

    return make


def server(fleet: Fleet, name: str) -> Server:
    return fleet._servers[name]


async def infer(fleet: Fleet) -> Maps:
    return await fleet.infer("cells", TILE, ("style",), Priority.BATCH, asyncio.get_running_loop().time() + 10)


async def test_the_least_loaded_one_takes_it(fleet):
    made = await fleet("a", "b", "c")
    server(made, "a").held, server(made, "b").held, server(made, "c").held = 3, 1, 2
    for _ in range(5):
        await infer(made)
    assert [server(made, name).taken for name in "abc"] == [0, 5, 0]


async def test_equals_share(fleet):
    made = await fleet("a", "b")
    for _ in range(10):
        await infer(made)
    assert [server(made, name).taken for name in "ab"] == [5, 5]


async def test_another_one_takes_what_failed(fleet):
    made = await fleet("a", "b")
    server(made, "b").held = 1
    server(made, "a").error = TritonUnavailable("gone")
    await infer(made)
    assert (server(made, "a").taken, server(made, "b").taken) == (1, 1)
    await infer(made)
    assert server(made, "a").taken == 1, "left alone until it is ready again"
    server(made, "a").error = None
    await made.refresh()
    await infer(made)
    assert server(made, "a").taken == 2


async def test_it_gives_up_after_some_and_when_none_is_left(fleet):
    many = await fleet("a", "b", "c", "d", "e")
    for name in "abcde":
        server(many, name).error = TritonUnavailable("gone")
    with pytest.raises(TritonUnavailable):
        await infer(many)
    assert sum(server(many, name).taken for name in "abcde") == ATTEMPTS
    alone = await fleet("a")
    server(alone, "a").error = TritonUnavailable("gone")
    with pytest.raises(TritonUnavailable):
        await infer(alone)
    assert server(alone, "a").taken == 1


@pytest.mark.parametrize("error", [Overloaded("full"), InternalError("broken")])
async def test_other_failures_are_not_repeated(fleet, error):
    made = await fleet("a", "b")
    for name in "ab":
        server(made, name).error = error
    with pytest.raises(type(error)):
        await infer(made)
    assert sum(server(made, name).taken for name in "ab") == 1


async def test_who_is_not_ready_gets_nothing_while_another_is(fleet):
    made = await fleet("a", "b")
    server(made, "a").up, server(made, "b").held = False, 100
    await made.refresh()
    assert (made.size, made.known, made.is_ready) == (1, 2, True)
    assert server(made, "a").dismissed == 1
    await infer(made)
    assert server(made, "b").taken == 1


async def test_where_none_is_ready_one_is_tried(fleet):
    """A look can fail because the machine is busy: work must not stop for that."""
    made = await fleet("a")
    server(made, "a").up = False
    await made.refresh()
    assert not made.is_ready
    assert server(made, "a").dismissed == 0
    await infer(made)
    assert server(made, "a").taken == 1


async def test_servers_follow_their_name(fleet):
    made = await fleet("a", "b")
    gone = server(made, "a")
    gone.busy = True
    made._addresses.now = ["b", "c"]
    await made.refresh()
    assert set(made._servers) == {"b", "c"}
    assert gone.dismissed == 1, "what waits for it goes to others"
    assert not gone.closed, "what it has, it finishes"
    gone.busy = False
    await made.refresh()
    assert gone.closed


@pytest.mark.parametrize("answer", [[], OSError("no name server answers")])
async def test_a_name_without_addresses_takes_nobody_away(fleet, answer):
    made = await fleet("a")
    made._addresses.now = answer
    await made.refresh()
    assert made.is_ready
    await infer(made)


async def test_nobody_has_been_seen(fleet):
    made = await fleet("a")
    made._servers.clear()
    with pytest.raises(TritonUnavailable, match="no inference server"):
        made.network("cells")
    with pytest.raises(TritonUnavailable, match="no inference server"):
        await infer(made)
