"""Gateways and Tritons as a model: who waits for whom, for how long, with times drawn from measured ones.

It follows the code: cellserve_gateway's feed.py, fleet.py, admission.py, the window of tiles of an image (pipeline.py),
and Triton's batcher under priority lanes (docs/decisions/0005). One network and one lane.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable, Sequence

from cellserve_gateway.backends.triton.dispatcher import BATCHES_AHEAD
from cellserve_gateway.settings import Settings

from .deployment import Deployment, Outcome, Picture, Times
from .events import Clock, Pool, Processor
from .tiles import Attempt, End, Feed, Tile

LOOKED_AT = 8
"""Tritons among which the least loaded is chosen. A gateway looks at all; of many, chance picks these, for speed."""
SETTINGS = Settings.model_construct()
"""The defaults of a gateway."""
LOOK_AGAIN_S = 0.5
"""Triton's batcher looks at its queue when a tile finds the instance idle, or after this time."""
NOTICES = 0.5
"""How often it looks when its instance becomes idle as well: about half of the times (docs/decisions/0005)."""


class World:
    """What all pods share: the clock, chance, the measured times, and who can be reached."""

    def __init__(self, deployment: Deployment, times: Times, seed: int) -> None:
        self.deployment, self.times = deployment, times
        self.clock = Clock()
        self.chance = random.Random(seed)
        self.outcome = Outcome()
        self.machine = Processor(self.clock, deployment.shared_cores) if deployment.shared_cores else None
        self.tritons = [Triton(self) for _ in range(deployment.tritons)]
        self.gateways = [Gateway(self) for _ in range(deployment.gateways)]

    def compute(self, tiles: int, done: Callable[[], None]) -> None:
        """Lets a Triton compute on a batch; `done` follows."""
        seconds = self.chance.choice(self.times.batch_s[tiles])
        if self.machine:
            assert self.deployment.shared_cores
            self.machine.run(seconds, done, threads=self.deployment.shared_cores)
        else:
            self.clock.after(seconds, done)

    def vanish(self, share: float, avoided_s: float, noticed_s: float) -> None:
        """Lets Tritons vanish now, chosen by chance; some time later gateways avoid them, and give up what is there."""
        gone = self.chance.sample(self.tritons, round(share * len(self.tritons)))
        for triton in gone:
            triton.vanish()
        self.clock.after(avoided_s, lambda: self._avoid(gone))
        self.clock.after(noticed_s, lambda: self._give_up(gone))

    def _avoid(self, gone: Sequence[Triton]) -> None:
        dead = set(gone)
        self.tritons = [triton for triton in self.tritons if triton not in dead]
        for gateway in self.gateways:
            gateway.avoid(dead)

    def _give_up(self, gone: Sequence[Triton]) -> None:
        for triton in gone:
            for tile in triton.lost():
                tile.gateway.failed(tile, "unavailable")


class Triton:
    """One model instance, its batcher and its queue."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._queue: deque[tuple[float, Tile]] = deque()
        self._batch: list[Tile] = []
        self._began = 0.0
        self._look_set = False
        self._vanished: list[Tile] | None = None

    def arrive(self, tile: Tile) -> None:
        """Takes a request, which makes the batcher look if the instance is idle."""
        if self._vanished is not None:
            self._vanished.append(tile)
        elif len(self._queue) >= self._world.deployment.queue_limit:
            tile.gateway.failed(tile, "refused")
        else:
            self._queue.append((self._world.clock.now, tile))
            self.look()

    def vanish(self) -> None:
        """Neither computes nor answers from now on."""
        self._vanished = [*self._batch, *(tile for _, tile in self._queue)]

    def lost(self) -> list[Tile]:
        """Returns what has vanished with it, or was sent to it since."""
        assert self._vanished is not None
        return self._vanished

    def look(self) -> None:
        """Lets the batcher look at its queue, and begin a batch if the instance is idle."""
        if self._batch or self._vanished is not None:
            return
        deployment, clock = self._world.deployment, self._world.clock
        while self._queue and self._queue[0][1].attempt.failed:  # cancelled: Triton drops it
            self._queue.popleft()
        if not self._queue:
            return
        due = self._queue[0][0] + deployment.delay_s
        if len(self._queue) < deployment.max_batch and clock.now < due:
            if not self._look_set:
                self._look_set = True
                clock.at(due, self._look_when_due)
            return
        while self._queue and len(self._batch) < deployment.max_batch:
            _, tile = self._queue.popleft()
            if not tile.attempt.failed:
                self._batch.append(tile)
        self._began = clock.now
        self._world.compute(len(self._batch), self._computed)

    def _look_when_due(self) -> None:
        self._look_set = False
        self.look()

    def _computed(self) -> None:
        if self._vanished is not None:
            return
        world, batch, self._batch = self._world, self._batch, []
        took = world.clock.now - self._began
        world.outcome.batches.append((world.clock.now, len(batch), took))
        world.clock.after(world.chance.choice(world.times.exchange_s), lambda: _deliver(batch))
        if self._queue and world.chance.random() < NOTICES:
            self.look()
        elif self._queue:
            world.clock.after(LOOK_AGAIN_S - took % LOOK_AGAIN_S, self.look)


def _deliver(batch: Sequence[Tile]) -> None:
    for tile in batch:
        tile.gateway.answered(tile)


class Gateway:
    """Admission, the event loop, the threads of numerics, and the feed."""

    def __init__(self, world: World) -> None:
        self._world = world
        deployment = world.deployment
        processor = world.machine or Processor(world.clock, deployment.gateway_cores)
        self._loop = Pool(processor, 1)
        self._threads = Pool(processor, deployment.shared_cores or deployment.gateway_cores)
        self._requests = 0
        self._pixels = 0.0
        self._turn = world.chance.randrange(deployment.tritons)
        self._per_triton = deployment.per_triton
        self._feeds: dict[Triton, Feed] = {}  # made when first used: many gateways never meet most Tritons
        self._common = self._feed(
            1 if deployment.policy == "one feed" else deployment.tritons, self._in_turn, self._wake_all
        )

    def segment(self, picture: Picture, done: Callable[[End], None]) -> None:
        """Works on an image; `done` is told how that ended."""
        if self._requests and self._full(picture):
            done("refused")
            return
        self._requests += 1
        self._pixels += picture.pixels
        world = self._world
        attempt = Attempt(picture, world.chance.choice(world.times.scatter), done)
        loop, threads = self._work(attempt)
        before = world.times.before * threads
        self._loop.run(loop / 2, lambda: self._threads.run(before, lambda: self._infer(attempt)))

    def answered(self, tile: Tile) -> None:
        """Takes the answer of a tile."""
        if tile in tile.attempt.flying:
            self._loop.run(self._world.times.loop.tile / 2 * tile.attempt.scale, lambda: self._taken(tile))

    def failed(self, tile: Tile, why: End) -> None:
        """Takes the failure of a tile: it is sent again, or the image fails with all that is under way of it."""
        attempt = tile.attempt
        if tile not in attempt.flying:
            return
        if why == "unavailable" and self._per_triton:
            self._landed(tile)
            self._join(tile)
            return
        attempt.failed = True
        for other in list(attempt.flying):
            self._landed(other)
        self._end(attempt, why)

    def avoid(self, dead: set[Triton]) -> None:
        """Sends nothing more to these Tritons; what waits for them goes to others."""
        for triton in [one for one in self._feeds if one in dead]:
            feed = self._feeds.pop(triton)
            waiting, feed.waiting = feed.waiting, deque()
            for tile in waiting:
                self._join(tile)

    def _full(self, picture: Picture) -> bool:
        return (
            self._requests >= SETTINGS.max_requests_in_flight
            or self._pixels + picture.pixels > SETTINGS.max_pixels_in_flight
        )

    def _feed(self, tritons: int, send: Callable[[Tile], None], wake: Callable[[], None]) -> Feed:
        return Feed(self._world.clock, self._world.deployment.max_batch * tritons, send, wake)

    def _wake_all(self) -> None:
        for triton in self._world.tritons:
            triton.look()

    def _in_turn(self, tile: Tile) -> None:
        self._turn += 1
        tritons = self._world.tritons
        tritons[self._turn % len(tritons)].arrive(tile)

    def _work(self, attempt: Attempt) -> tuple[float, float]:
        """Returns the seconds that event loop and threads spend on an image beside its tiles."""
        times, megapixels = self._world.times, attempt.picture.megapixels
        return times.loop.of(megapixels, 0) * attempt.scale, times.threads.of(megapixels, 0) * attempt.scale

    def _infer(self, attempt: Attempt) -> None:
        ahead = BATCHES_AHEAD * self._world.deployment.max_batch
        if self._per_triton:
            ahead *= len(self._world.tritons)
        for _ in range(min(max(SETTINGS.tiles_in_flight_per_image, ahead), attempt.picture.tiles)):
            self._send(attempt)

    def _send(self, attempt: Attempt) -> None:
        attempt.unsent -= 1
        tile = Tile(attempt, self)
        times = self._world.times
        loop = times.loop.tile / 2 * attempt.scale
        self._threads.run(times.threads.tile * attempt.scale, lambda: self._loop.run(loop, lambda: self._join(tile)))

    def _join(self, tile: Tile) -> None:
        if tile.attempt.failed:
            return
        (self._least_loaded() if self._per_triton else self._common).join(tile)

    def _least_loaded(self) -> Feed:
        tritons = self._world.tritons
        number = min(len(tritons), LOOKED_AT)
        if self._world.deployment.policy == "feeds in turn":
            looked_at = [tritons[(self._turn + step) % len(tritons)] for step in range(number)]
        else:
            looked_at = self._world.chance.sample(tritons, number)
        chosen = min(looked_at, key=self._load)
        self._turn += looked_at.index(chosen) + 1
        if chosen not in self._feeds:
            self._feeds[chosen] = self._feed(1, chosen.arrive, chosen.look)
        return self._feeds[chosen]

    def _load(self, triton: Triton) -> int:
        feed = self._feeds.get(triton)
        return feed.at_triton + len(feed.waiting) if feed else 0

    def _landed(self, tile: Tile) -> None:
        assert tile.feed
        del tile.attempt.flying[tile]
        tile.feed.answered()

    def _taken(self, tile: Tile) -> None:
        attempt = tile.attempt
        if tile not in attempt.flying:
            return
        self._landed(tile)
        attempt.unanswered -= 1
        if attempt.unsent:
            self._send(attempt)
        elif not attempt.unanswered:
            loop, threads = self._work(attempt)
            after = (1 - self._world.times.before) * threads
            self._threads.run(after, lambda: self._loop.run(loop / 2, lambda: self._end(attempt, "finished")))

    def _end(self, attempt: Attempt, how: End) -> None:
        self._requests -= 1
        self._pixels -= attempt.picture.pixels
        attempt.done(how)
