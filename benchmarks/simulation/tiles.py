"""Images and tiles on their way through a gateway, and the feed that lets tiles pass."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Literal

from cellserve_gateway.feed import BATCHES_AHEAD

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
    """`cellserve_gateway.feed.Feed`, step by step."""

    def __init__(self, clock: Clock, batch: int, forming_s: float, send: Callable[[Tile], None]) -> None:
        self._clock, self._batch, self._forming_s, self._send = clock, batch, forming_s, send
        self.waiting: deque[Tile] = deque()
        self.at_triton = 0
        self._busy_since = 0.0

    def join(self, tile: Tile) -> None:
        """A tile waits for its turn."""
        tile.feed = self
        self.waiting.append(tile)
        self._release(answered=False)

    def answered(self) -> None:
        """A tile came back, or was given up."""
        self.at_triton -= 1
        self._release(answered=True)

    def _release(self, *, answered: bool) -> None:
        while self.waiting and self.at_triton < BATCHES_AHEAD * self._batch:
            if self.waiting[0].attempt.failed:
                self.waiting.popleft()
                continue
            if len(self.waiting) == 1 and not self._may_send_last(answered):
                return
            if self.at_triton == 0:
                self._busy_since = self._clock.now
            self.at_triton += 1
            tile = self.waiting.popleft()
            tile.attempt.flying[tile] = None
            self._send(tile)

    def _may_send_last(self, answered: bool) -> bool:
        if self.at_triton == 0:
            return True
        forming = self._clock.now - self._busy_since < self._forming_s
        return self.at_triton < self._batch and (answered or forming)
