"""The choice of a Triton for each tile, and retries; with scripted servers in place of Tritons."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest
from cellserve_contract.model_card import Family, NetworkFile
from cellserve_gateway.app.context import Priority, RequestContext
from cellserve_gateway.app.networks import Network, TileOutputs
from cellserve_gateway.backends.triton import pool as pool_module
from cellserve_gateway.backends.triton.client import NotSent
from cellserve_gateway.backends.triton.pool import ATTEMPTS, BackendPool
from cellserve_gateway.errors import BackendUnavailable, InternalError, Overloaded
from cellserve_gateway.ops.metrics import Metrics
from cellserve_preprocess import TILE

WHOLE, SMALL = (np.zeros((1, 2, side, side), np.float32) for side in (TILE, 32))


class Server:
    """Answers at once, unless it is told to fail or to hold what it gets."""

    def __init__(self, address: str, expected, metrics, headers) -> None:
        self.address, self.ready, self.fault, self.state, self.busy = address, False, None, "ready", False
        self.networks: dict[str, Network] = {}
        self.up, self.error, self.held, self.taken, self.given_up, self.closed = True, None, 0, 0, 0, False
        self.silent, self.speed = False, None

    async def probe(self) -> None:
        self.ready = self.up
        if self.up:
            self.networks = {"cells": Network("cells", "1", "0" * 64, 8)}

    def load(self, name: str, priority: Priority) -> int:
        return self.held

    def waiting(self, name: str, priority: Priority) -> int:
        return self.held

    def tiles_per_s(self, name: str) -> float | None:
        return self.speed

    def give_up(self) -> None:
        self.given_up += 1

    async def infer(self, *_) -> TileOutputs:
        self.taken += 1
        if self.error:
            self.ready = not isinstance(self.error, BackendUnavailable) and self.error.reason != "TRITON_BAD_ANSWER"
            raise self.error
        return TileOutputs(None, np.zeros((1, 256), np.float32), self.networks["cells"])

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
def make_pool(monkeypatch):
    """Makes a pool of servers by their names, after one health probe."""
    monkeypatch.setattr(pool_module, "TritonClient", Server)
    monkeypatch.setattr(pool_module, "Resolver", Places)
    networks = {"cells": NetworkFile(sha256="0" * 64)}
    about = {"description": "", "license": "", "provenance": ""}
    family = Family(name="cells", diam_mean=30.0, channels=(), tile_size=4, networks=networks, **about)

    async def make(*names: str) -> BackendPool:
        made = BackendPool(",".join(names), {"cells": family}, Metrics())
        await made.refresh()
        return made

    return make


def server(pool: BackendPool, name: str) -> Server:
    return pool._servers[name]


async def infer(pool: BackendPool, patience_s: float = 10, tile: np.ndarray = WHOLE) -> TileOutputs:
    context = RequestContext(deadline=asyncio.get_running_loop().time() + patience_s)
    return await pool.infer("cells", tile, ("style",), context)


async def test_the_least_loaded_one_takes_it(make_pool):
    made = await make_pool("a", "b", "c")
    server(made, "a").held, server(made, "b").held, server(made, "c").held = 3, 1, 2
    for _ in range(5):
        await infer(made)
    assert [server(made, name).taken for name in "abc"] == [0, 5, 0]


async def test_equals_share(make_pool):
    made = await make_pool("a", "b")
    for _ in range(10):
        await infer(made)
    assert [server(made, name).taken for name in "ab"] == [5, 5]


async def test_another_one_takes_what_failed(make_pool):
    made = await make_pool("a", "b")
    server(made, "b").held = 1
    server(made, "a").error = BackendUnavailable("gone")
    await infer(made)
    assert (server(made, "a").taken, server(made, "b").taken) == (1, 1)
    await infer(made)
    assert server(made, "a").taken == 1, "left alone until it is ready again"
    server(made, "a").error = None
    await made.refresh()
    await infer(made)
    assert server(made, "a").taken == 2


async def test_it_gives_up_after_some_and_when_none_is_left(make_pool):
    many = await make_pool("a", "b", "c", "d", "e")
    for name in "abcde":
        server(many, name).error = BackendUnavailable("gone")
    with pytest.raises(BackendUnavailable):
        await infer(many)
    assert sum(server(many, name).taken for name in "abcde") == ATTEMPTS
    alone = await make_pool("a")
    server(alone, "a").error = BackendUnavailable("gone")
    with pytest.raises(BackendUnavailable, match="no inference server is ready"):
        await infer(alone, patience_s=0.2)
    assert server(alone, "a").taken == 1


async def test_a_tile_waits_for_the_next_server(make_pool):
    made = await make_pool("a")
    server(made, "a").error = BackendUnavailable("shuts down")
    tile = asyncio.create_task(infer(made))
    await asyncio.sleep(0.05)
    assert not tile.done()
    with pytest.raises(BackendUnavailable):
        made.check("cells")
    server(made, "a").error = None
    await made.refresh()
    await tile
    assert server(made, "a").taken == 2
    made.check("cells")


async def test_a_tile_that_was_not_sent_has_not_failed(make_pool):
    """However often: only servers that had the tile count as attempts."""
    made = await make_pool("a")
    for _ in range(2 * ATTEMPTS):
        server(made, "a").error = NotSent("not ready")
        tile = asyncio.create_task(infer(made))
        await asyncio.sleep(0)
        server(made, "a").error = None
        await made.refresh()
        await tile


async def test_a_bad_answer_is_repeated_by_another_server_only(make_pool):
    made = await make_pool("a", "b")
    server(made, "b").held = 1
    server(made, "a").error = InternalError("two planes", reason="TRITON_BAD_ANSWER")
    await infer(made)
    assert server(made, "b").taken == 1
    server(made, "b").error = InternalError("one plane", reason="TRITON_BAD_ANSWER")
    with pytest.raises(InternalError, match="one plane"):
        await infer(made)


async def test_the_least_time_comes_from_the_speed_of_every_server(make_pool):
    made = await make_pool("a", "b")
    server(made, "a").speed = 10.0
    assert made.least_seconds("cells", 100, Priority.BATCH) is None, "the other one may be quicker"
    server(made, "b").speed = 40.0
    server(made, "b").held = 50
    assert made.least_seconds("cells", 100, Priority.BATCH) == pytest.approx((100 + 50) / (10 + 40))
    server(made, "b").up = False
    await made.refresh()
    assert made.least_seconds("cells", 100, Priority.BATCH) == pytest.approx(100 / 10)


@pytest.mark.parametrize(("sizes", "any_size"), [((True, True), True), ((True, False), False)])
async def test_tiles_have_any_size_if_every_server_takes_them(make_pool, sizes, any_size):
    made = await make_pool("a", "b")
    for name, size in zip("ab", sizes, strict=True):
        server(made, name).networks["cells"] = Network("cells", "1", "0" * 64, 8, any_size=size)
    assert made.network("cells").any_size is any_size


async def test_a_small_tile_goes_to_servers_that_take_it(make_pool):
    """The servers may change between the plan of an image and its last tile."""
    made = await make_pool("a", "b")
    server(made, "b").networks["cells"] = Network("cells", "1", "0" * 64, 8, any_size=True)
    server(made, "b").held = 100
    await infer(made, tile=SMALL)
    await infer(made)
    assert [server(made, name).taken for name in "ab"] == [1, 1]
    server(made, "b").ready = False
    with pytest.raises(BackendUnavailable, match="replaced"):
        await infer(made, tile=SMALL)
    await infer(made)


@pytest.mark.parametrize("error", [Overloaded("full"), InternalError("broken")])
async def test_other_failures_are_not_repeated(make_pool, error):
    made = await make_pool("a", "b")
    for name in "ab":
        server(made, name).error = error
    with pytest.raises(type(error)):
        await infer(made)
    assert sum(server(made, name).taken for name in "ab") == 1


async def test_who_is_not_ready_gets_nothing_while_another_is(make_pool):
    made = await make_pool("a", "b")
    server(made, "a").up, server(made, "b").held = False, 100
    await made.refresh()
    assert (made.tiles_ahead(Network("cells", "1", "0" * 64, 8)), made.known, made.is_ready) == (2 * 8, 2, True)
    assert server(made, "a").given_up == 1
    await infer(made)
    assert server(made, "b").taken == 1


async def test_where_none_is_ready_one_is_tried(make_pool):
    """A health probe can fail because the machine is busy: work must not stop for that."""
    made = await make_pool("a")
    server(made, "a").up, server(made, "a").silent = False, True
    await made.refresh()
    assert not made.is_ready
    assert server(made, "a").given_up == 0
    made.check("cells")
    await infer(made)
    assert server(made, "a").taken == 1


async def test_servers_follow_their_name(make_pool):
    made = await make_pool("a", "b")
    gone = server(made, "a")
    gone.busy = True
    made._resolver.now = ["b", "c"]
    await made.refresh()
    assert set(made._servers) == {"b", "c"}
    assert gone.given_up == 1, "what waits for it goes to others"
    assert not gone.closed, "what it has, it finishes"
    gone.busy = False
    await made.refresh()
    assert gone.closed


@pytest.mark.parametrize("answer", [[], OSError("no name server answers")])
async def test_a_name_without_resolver_takes_nobody_away(make_pool, answer):
    made = await make_pool("a")
    made._resolver.now = answer
    await made.refresh()
    assert made.is_ready
    await infer(made)


async def test_nobody_has_been_seen(make_pool):
    made = await make_pool("a")
    made._servers.clear()
    with pytest.raises(BackendUnavailable, match="no inference server"):
        made.network("cells")
    with pytest.raises(BackendUnavailable, match="no inference server"):
        await infer(made, patience_s=0.1)
