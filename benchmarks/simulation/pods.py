"""Gateways and Tritons as a model of queues. Durations are drawn from measured ones.

The model uses the gateway's own dispatcher, choice of a server and settings. Admission, the window of tiles of an image
and Triton's batcher under priority levels (docs/decisions/0005) are modelled here. There is one network and one
priority class.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable, Sequence

from cellserve_gateway.backends.triton.balancer import LeastLoaded
from cellserve_gateway.backends.triton.dispatcher import BATCHES_AHEAD, Dispatcher
from cellserve_gateway.settings import Settings

from .deployment import Deployment, Image, Outcome, Times
from .events import Clock, Pool, Processor
from .tiles import Attempt, Status, Tile

CANDIDATES = 8
"""Tritons among which the least loaded one is chosen. A gateway compares all Tritons; the limit is for speed."""
SETTINGS = Settings.model_construct()
"""Default settings of a gateway."""
BATCHER_TIMER_S = 0.5
"""Period of the timer of Triton's batcher. The batcher also inspects its queue when a request finds the model idle."""
NOTICE_PROBABILITY = 0.5
"""Probability that the batcher inspects its queue at the end of a batch (docs/decisions/0005)."""


class Cluster:
    """What all pods share: clock, random numbers, measured times, and the Tritons that can be reached."""

    def __init__(self, deployment: Deployment, times: Times, seed: int) -> None:
        self.deployment, self.times = deployment, times
        self.clock = Clock()
        self.chance = random.Random(seed)
        self.outcome = Outcome()
        self.machine = Processor(self.clock, deployment.shared_cores) if deployment.shared_cores else None
        self.tritons = [Triton(self) for _ in range(deployment.tritons)]
        self.gateways = [Gateway(self) for _ in range(deployment.gateways)]

    def compute(self, tiles: int, done: Callable[[], None]) -> None:
        """Computes a batch of one Triton. Calls `done` at its end."""
        seconds = self.chance.choice(self.times.batch_s[tiles])
        if self.machine:
            assert self.deployment.shared_cores
            self.machine.run(seconds, done, threads=self.deployment.shared_cores)
        else:
            self.clock.call_later(seconds, done)

    def fail(self, share: float, avoided_s: float, cancelled_s: float) -> None:
        """Stops random Tritons now.

        Args:
            share: Share of all Tritons that stop.
            avoided_s: Delay after which gateways send no more tiles to the stopped Tritons.
            cancelled_s: Delay after which gateways cancel the tiles sent to the stopped Tritons.
        """
        stopped = self.chance.sample(self.tritons, round(share * len(self.tritons)))
        for triton in stopped:
            triton.stop()
        self.clock.call_later(avoided_s, lambda: self._avoid(stopped))
        self.clock.call_later(cancelled_s, lambda: self._cancel(stopped))

    def _avoid(self, stopped: Sequence[Triton]) -> None:
        avoided = set(stopped)
        self.tritons = [triton for triton in self.tritons if triton not in avoided]
        for gateway in self.gateways:
            gateway.avoid(avoided)

    def _cancel(self, stopped: Sequence[Triton]) -> None:
        for triton in stopped:
            for tile in triton.lost():
                tile.gateway.failed(tile, "unavailable")


class Triton:
    """One model instance with its batcher and its queue."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._queue: deque[tuple[float, Tile]] = deque()
        self._batch: list[Tile] = []
        self._began = 0.0
        self._delayed = False
        self._lost: list[Tile] | None = None

    def receive(self, tile: Tile) -> None:
        """Puts a request into the queue. The batcher inspects the queue if the model is idle."""
        if self._lost is not None:
            self._lost.append(tile)
        elif len(self._queue) >= self._cluster.deployment.queue_limit:
            tile.gateway.failed(tile, "refused")
        else:
            self._queue.append((self._cluster.clock.time(), tile))
            self.inspect_queue()

    def stop(self) -> None:
        """Stops this Triton: no batch ends and no answer is sent from now on."""
        self._lost = [*self._batch, *(tile for _, tile in self._queue)]

    def lost(self) -> list[Tile]:
        """Returns the tiles that were here when this Triton stopped, and those sent to it since."""
        assert self._lost is not None
        return self._lost

    def inspect_queue(self) -> None:
        """Starts a batch if the model is idle and the batch is full or its delay is over."""
        if self._batch or self._lost is not None:
            return
        deployment, clock = self._cluster.deployment, self._cluster.clock
        while self._queue and self._queue[0][1].attempt.failed:  # Triton drops cancelled requests
            self._queue.popleft()
        if not self._queue:
            return
        due = self._queue[0][0] + deployment.delay_s
        if len(self._queue) < deployment.max_batch and clock.time() < due:
            if not self._delayed:
                self._delayed = True
                clock.call_at(due, self._delay_over)
            return
        while self._queue and len(self._batch) < deployment.max_batch:
            _, tile = self._queue.popleft()
            if not tile.attempt.failed:
                self._batch.append(tile)
        self._began = clock.time()
        self._cluster.compute(len(self._batch), self._computed)

    def _delay_over(self) -> None:
        self._delayed = False
        self.inspect_queue()

    def _computed(self) -> None:
        if self._lost is not None:
            return
        cluster, batch, self._batch = self._cluster, self._batch, []
        now = cluster.clock.time()
        took = now - self._began
        cluster.outcome.batches.append((now, len(batch), took))
        cluster.clock.call_later(cluster.chance.choice(cluster.times.exchange_s), lambda: _deliver(batch))
        if self._queue and cluster.chance.random() < NOTICE_PROBABILITY:
            self.inspect_queue()
        elif self._queue:
            cluster.clock.call_later(BATCHER_TIMER_S - took % BATCHER_TIMER_S, self.inspect_queue)


def _deliver(batch: Sequence[Tile]) -> None:
    for tile in batch:
        tile.gateway.answered(tile)


class Gateway:
    """Admission, the event loop, worker threads, and the dispatchers."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        deployment = cluster.deployment
        processor = cluster.machine or Processor(cluster.clock, deployment.gateway_cores)
        self._loop = Pool(processor, 1)
        self._threads = Pool(processor, deployment.shared_cores or deployment.gateway_cores)
        self._requests = 0
        self._pixels = 0.0
        self._position = cluster.chance.randrange(deployment.tritons)
        self._per_triton = deployment.per_triton
        self._balancer: LeastLoaded[Triton] | None = None
        if deployment.policy == "per Triton, rotating ties":
            self._balancer = LeastLoaded(cluster.chance)
            for triton in cluster.tritons:
                self._balancer.add(triton)
        self._dispatchers: dict[Triton, Dispatcher[Tile]] = {}  # made when first used: many pairs never meet
        batches = 1 if deployment.policy == "one dispatcher" else deployment.tritons
        self._common = self._dispatcher(batches, self._send_round_robin, self._wake_all)

    def segment(self, image: Image, done: Callable[[Status], None]) -> None:
        """Processes an image. Calls `done` with the result."""
        if self._requests and self._full(image):
            done("refused")
            return
        self._requests += 1
        self._pixels += image.pixels
        cluster = self._cluster
        attempt = Attempt(image, cluster.chance.choice(cluster.times.scatter), done)
        loop, threads = self._work(attempt)
        before = cluster.times.before * threads
        self._loop.run(loop / 2, lambda: self._threads.run(before, lambda: self._infer(attempt)))

    def answered(self, tile: Tile) -> None:
        """Receives the answer for a tile."""
        if tile in tile.attempt.at_triton:
            self._loop.run(self._cluster.times.loop.tile / 2 * tile.attempt.scale, lambda: self._process_answer(tile))

    def failed(self, tile: Tile, why: Status) -> None:
        """Receives the failure of a tile. The tile is sent to another Triton, or its image fails."""
        attempt = tile.attempt
        if tile not in attempt.at_triton:
            return
        if why == "unavailable" and self._per_triton:
            self._release(tile)
            self._submit(tile)
            return
        attempt.failed = True
        for other in list(attempt.at_triton):
            self._release(other)
        self._end(attempt, why)

    def avoid(self, stopped: set[Triton]) -> None:
        """Sends no more tiles to these Tritons. Tiles that wait for them go to other Tritons."""
        for triton in [one for one in self._dispatchers if one in stopped]:
            for tile in self._dispatchers.pop(triton).take_waiting():
                self._submit(tile)

    def _full(self, image: Image) -> bool:
        return (
            self._requests >= SETTINGS.max_requests_in_flight
            or self._pixels + image.pixels > SETTINGS.max_pixels_in_flight
        )

    def _dispatcher(self, batches: int, send: Callable[[Tile], None], wake: Callable[[], None]) -> Dispatcher[Tile]:
        def on_permit(tile: Tile) -> bool:
            if tile.attempt.failed:
                return False
            tile.attempt.at_triton[tile] = None
            send(tile)
            return True

        return Dispatcher(self._cluster.clock, on_permit, wake, self._cluster.deployment.max_batch * batches)

    def _wake_all(self) -> None:
        for triton in self._cluster.tritons:
            triton.inspect_queue()

    def _send_round_robin(self, tile: Tile) -> None:
        self._position += 1
        tritons = self._cluster.tritons
        tritons[self._position % len(tritons)].receive(tile)

    def _work(self, attempt: Attempt) -> tuple[float, float]:
        """Returns the seconds of event loop and worker threads for an image, without its tiles."""
        times, megapixels = self._cluster.times, attempt.image.megapixels
        return times.loop.of(megapixels, 0) * attempt.scale, times.threads.of(megapixels, 0) * attempt.scale

    def _infer(self, attempt: Attempt) -> None:
        ahead = BATCHES_AHEAD * self._cluster.deployment.max_batch
        if self._per_triton:
            ahead *= len(self._cluster.tritons)
        for _ in range(min(max(SETTINGS.tiles_in_flight_per_image, ahead), attempt.image.tiles)):
            self._send(attempt)

    def _send(self, attempt: Attempt) -> None:
        attempt.unsent -= 1
        tile = Tile(attempt, self)
        times = self._cluster.times
        loop = times.loop.tile / 2 * attempt.scale
        self._threads.run(times.threads.tile * attempt.scale, lambda: self._loop.run(loop, lambda: self._submit(tile)))

    def _submit(self, tile: Tile) -> None:
        if tile.attempt.failed:
            return
        tile.dispatcher = self._least_loaded() if self._per_triton else self._common
        tile.dispatcher.submit(tile)

    def _least_loaded(self) -> Dispatcher[Tile]:
        """Returns the dispatcher of the least loaded Triton among some candidates."""
        tritons = self._cluster.tritons
        number = min(len(tritons), CANDIDATES)
        if self._balancer:
            start = self._position % len(tritons)
            candidates = (tritons[start : start + number] + tritons[:number])[:number]
            chosen = self._balancer.choose(candidates, self._load)
            self._position = start + candidates.index(chosen) + 1
        else:
            chosen = min(self._cluster.chance.sample(tritons, number), key=self._load)
        if chosen not in self._dispatchers:
            self._dispatchers[chosen] = self._dispatcher(1, chosen.receive, chosen.inspect_queue)
        return self._dispatchers[chosen]

    def _load(self, triton: Triton) -> int:
        dispatcher = self._dispatchers.get(triton)
        return dispatcher.load if dispatcher else 0

    def _release(self, tile: Tile) -> None:
        assert tile.dispatcher
        del tile.attempt.at_triton[tile]
        tile.dispatcher.release()

    def _process_answer(self, tile: Tile) -> None:
        attempt = tile.attempt
        if tile not in attempt.at_triton:
            return
        self._release(tile)
        attempt.unanswered -= 1
        if attempt.unsent:
            self._send(attempt)
        elif not attempt.unanswered:
            loop, threads = self._work(attempt)
            after = (1 - self._cluster.times.before) * threads
            self._threads.run(after, lambda: self._loop.run(loop / 2, lambda: self._end(attempt, "finished")))

    def _end(self, attempt: Attempt, status: Status) -> None:
        self._requests -= 1
        self._pixels -= attempt.image.pixels
        attempt.done(status)
