"""Images and tiles on their way through a gateway, and the feed that lets tiles pass."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Literal

from cellserve_gateway.backends.triton.dispatcher import AGAIN_S, BATCHES_AHEAD, PATIENCE_S, QUIET_S

from .deployment import Picture
from .events import Clock

if TYPE_CHECKING:
    from .pods import Gateway

End = Literal["finished", "refused", "unavailable"]


class Attempt:
    """An image at one gateway."""

    __slots__ = ("done", "failed", "flying", "picture", "scale", "unanswered", "unsent")

    def __init__(self, picture: Picture, scale: float, done: Callable[[End], None]) -> None:
        self.picture, self.scale, self.done = picture, scale, done
        self.unsent = self.unanswered = picture.tiles
        self.flying: dict[Tile, None] = {}  # at Triton, in the order sent
        self.failed = False


class Tile:
    """A request to Triton."""

    __slots__ = ("attempt", "feed", "gateway")

    def __init__(self, attempt: Attempt, gateway: Gateway) -> None:
        self.attempt, self.gateway = attempt, gateway
        self.feed: Feed | None = None


class Feed:
    """`cellserve_gateway.feed.Feed`, step by step, but for a timer that starts anew with each answer or tile sent."""

    def __init__(self, clock: Clock, batch: int, send: Callable[[Tile], None], wake: Callable[[], None]) -> None:
        self._clock, self._batch, self._send, self._wake = clock, batch, send, wake
        self.waiting: deque[Tile] = deque()
        self.at_triton = 0
        self._heard = 0

    def join(self, tile: Tile) -> None:
        """A tile waits for its turn."""
        tile.feed = self
        self.waiting.append(tile)
        self._release()

    def answered(self) -> None:
        """A tile came back, or was given up."""
        self.at_triton -= 1
        self._release()
        if self.at_triton and not self.waiting:
            self._listen(QUIET_S)

    def _release(self) -> None:
        while self.waiting and self.at_triton < BATCHES_AHEAD * self._batch:
            tile = self.waiting.popleft()
            if tile.attempt.failed:
                continue
            self.at_triton += 1
            tile.attempt.flying[tile] = None
            self._send(tile)
            if not self.waiting:
                self._listen(PATIENCE_S)

    def _listen(self, patience_s: float) -> None:
        self._heard += 1
        heard = self._heard

        def look() -> None:
            if heard == self._heard and self.at_triton:
                if not self.waiting:
                    self._wake()
                if patience_s < AGAIN_S:
                    self._listen(AGAIN_S)

        self._clock.after(patience_s, look)
